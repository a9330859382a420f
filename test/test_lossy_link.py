"""The relay that loses packets: how many, which, when the rest arrive, what it leaves behind."""

from __future__ import annotations

from pathlib import Path
import socket
import statistics
import time

import pytest

from dnn_offload.errors import OffloadError
from dnn_offload.testbed.lossy_link import LossyNetwork, why_no_lossy_network

needs_network = pytest.mark.skipif(
    why_no_lossy_network() != '', reason=f'no lossy link: {why_no_lossy_network()}'
)
COUNT = 1000


def _sockets(network: LossyNetwork) -> tuple[socket.socket, socket.socket]:
    """From robot to server; the first message has found the way."""
    with network.inside(network.server):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with network.inside(network.robot):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind((network.server.address, 0))
    receiver.settimeout(3.0)
    sender.connect(receiver.getsockname())
    sender.send(b'first')
    assert receiver.recv(100) == b'first'
    receiver.settimeout(0.3)
    return sender, receiver


def _arrived(network: LossyNetwork) -> list[int]:
    """Which of ``COUNT`` small datagrams come through, in their order."""
    sender, receiver = _sockets(network)
    arrived = []
    with sender, receiver:
        for number in range(COUNT):
            sender.send(number.to_bytes(4, 'big') * 100)
            if number % 20 == 19:  # what waits fits into the smallest of buffers
                arrived += _waiting(receiver)
        return arrived + _waiting(receiver)


def _waiting(receiver: socket.socket) -> list[int]:
    time.sleep(0.03)
    receiver.setblocking(False)
    numbers = []
    while True:
        try:
            numbers.append(int.from_bytes(receiver.recv(1000)[:4], 'big'))
        except BlockingIOError:
            return numbers


@needs_network
def test_the_share_that_was_asked_for_is_lost() -> None:
    with LossyNetwork(10e6, 10e6) as network:
        assert _arrived(network) == list(range(COUNT))
        network.lose(0.05)
        before, _ = network.packets()
        arrived = _arrived_with_retries(network)
        after, _ = network.packets()
    lost = after.lost - before.lost
    assert arrived == sorted(arrived)
    assert COUNT - lost <= len(arrived) < COUNT
    assert 0.025 * COUNT < lost < 0.085 * COUNT  # 50 +- 5 sigma


def _arrived_with_retries(network: LossyNetwork) -> list[int]:
    """As ``_arrived``; the datagram that finds the way may be lost itself."""
    for _ in range(5):
        try:
            return _arrived(network)
        except TimeoutError:
            continue
    raise AssertionError('nothing comes through')


@needs_network
def test_all_can_be_lost() -> None:
    with LossyNetwork(10e6, 10e6) as network:
        sender, receiver = _sockets(network)
        with sender, receiver:
            network.lose(1.0)
            sender.send(b'gone')
            with pytest.raises(TimeoutError):
                receiver.recv(100)
            network.lose(0.0)
            sender.send(b'there')
            assert receiver.recv(100) == b'there'


@needs_network
def test_the_delay_is_kept() -> None:
    with LossyNetwork(0.0, 0.0, delay_ms=50.0) as network:
        sender, receiver = _sockets(network)
        taken_ms = []
        with sender, receiver:
            for _ in range(5):
                began_s = time.monotonic()
                sender.send(b'x')
                receiver.recv(100)
                taken_ms.append(1e3 * (time.monotonic() - began_s))
    assert min(taken_ms) >= 50.0
    assert statistics.median(taken_ms) < 80.0


@needs_network
def test_nothing_is_left() -> None:
    with LossyNetwork(1e6, 1e6) as network:
        relay = network._relay
        assert relay is not None and relay.poll() is None
    assert relay.poll() == 0
    assert not Path('/run/netns', network.robot.namespace).exists()
    assert not Path('/run/netns', network.server.namespace).exists()


@needs_network
def test_a_dead_relay_is_told() -> None:
    with LossyNetwork(1e6, 1e6) as network:
        relay = network._relay
        assert relay is not None
        relay.kill()
        relay.wait()
        with pytest.raises(OffloadError, match='does not answer'):
            network.packets()


@pytest.mark.parametrize('share', [-0.1, 1.1, float('nan')])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(OffloadError, match='share of lost packets'):
        LossyNetwork(1e6, 1e6, loss=share)


def test_impossible_delays_are_refused() -> None:
    with pytest.raises(OffloadError, match='delay'):
        LossyNetwork(1e6, 1e6, delay_ms=-1.0)


def test_it_has_to_be_entered() -> None:
    with pytest.raises(OffloadError, match='not entered'):
        LossyNetwork(1e6, 1e6).packets()
