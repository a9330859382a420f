"""A link that loses packets and takes time, where the kernel has no ``netem``.

Robot and server each get a TAP device instead of the two ends of a veth pair; a process of its
own (this module, run) carries frames from one to the other, and drops some. The shapers stay where
they are, in front of it: a lost packet has used up its share of the link, as on the air.

Limits: it carries about 80 000 packets a second on a free core, and costs a core of its own then;
beyond that, or where the cores are busy, frames wait in the device's queue (1000 of them) and
times are the relay's. Measured: 19.2 of 20 and 76.6 of 80 Mbit/s of TCP payload, 750 Mbit/s
unshaped. Losses are independent of each other, one share for packets of all sizes. A UDP datagram
of 60 kB is 42 packets, and lost with any of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
import fcntl
import json
import os
from pathlib import Path
import random
import selectors
import struct
import subprocess
import sys
import time

from dnn_offload.errors import OffloadError
from dnn_offload.own_program import own_program
from dnn_offload.testbed.network import Network, NetworkEnd, why_no_network

_TUN = Path('/dev/net/tun')
_TUNSETIFF = 0x400454CA   # linux/if_tun.h
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000       # frames only, without a header of the driver's
_FRAME_BYTES = 2048       # above an Ethernet frame of 1514 bytes
_AT_ONCE = 64             # frames taken from one side before the other is looked at
_ANSWER_S = 5.0


@dataclass(frozen=True)
class Packets:
    """Ethernet frames that came to the relay in one direction, and those lost on purpose."""

    seen: int
    lost: int


def why_no_lossy_network() -> str:
    """Why a lossy network cannot be made here; '' when it can."""
    return why_no_network() or ('' if _TUN.exists() else f'{_TUN} is missing: modprobe tun')


class LossyNetwork(Network):
    """A ``Network`` of which a share of the packets does not arrive.

    Args:
        uplink_bps, downlink_bps: See ``Network``.
        loss: Share of packets lost in each direction, 0..1.
        delay_ms: Time that a packet takes beyond the shaper, each way [ms].
        seed: Of the random numbers that choose the packets.

    Raises:
        OffloadError: A value is out of range; on entering, as ``Network``, or TAP devices
            cannot be made.
    """

    def __init__(
        self,
        uplink_bps: float,
        downlink_bps: float,
        *,
        loss: float = 0.0,
        delay_ms: float = 0.0,
        seed: int = 1,
    ) -> None:
        super().__init__(uplink_bps, downlink_bps)
        _check_loss(loss)
        if not 0.0 <= delay_ms <= 10_000.0:
            raise OffloadError('impossible delay', given=delay_ms, allowed='0..10000 ms')
        self._settings = {'loss': loss, 'delay_ms': delay_ms, 'seed': seed}
        self._relay: subprocess.Popen[str] | None = None

    def __enter__(self) -> LossyNetwork:
        reason = why_no_lossy_network()
        if reason:
            raise OffloadError('cannot make a lossy network', hint=reason)
        super().__enter__()
        return self

    def _join(self) -> None:
        descriptors: list[int] = []
        try:
            for end in (self.robot, self.server):
                descriptors.append(self._make_tap(end))
            up, down = descriptors
            self._relay = subprocess.Popen(
                own_program(__name__, str(up), str(down), json.dumps(self._settings)),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                pass_fds=descriptors,
            )
        finally:
            for descriptor in descriptors:  # the relay's copies keep the devices
                os.close(descriptor)
        self.packets()  # it runs

    def _make_tap(self, end: NetworkEnd) -> int:
        with self.inside(end):  # the device belongs to the namespace in which it is opened
            descriptor = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
        try:
            request = struct.pack('16sH22x', end.device.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(descriptor, _TUNSETIFF, request)
        except OSError as error:
            os.close(descriptor)
            raise OffloadError('cannot make a TAP device', given=end.device,
                               hint=str(error.strerror)) from error
        return descriptor

    def _remove(self) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.communicate()  # end of its input: it ends, and its devices with it
        super()._remove()

    def lose(self, share: float) -> None:
        """From now on lose this share of the packets, 0..1, in both directions."""
        _check_loss(share)
        self._ask({'loss': share})

    def packets(self) -> tuple[Packets, Packets]:
        """What has come to the relay so far, up and down."""
        up, down = self._ask({})
        return Packets(*up), Packets(*down)

    def _ask(self, change: dict[str, float]) -> list[list[int]]:
        relay = self._relay
        if relay is None or relay.stdin is None or relay.stdout is None:
            raise OffloadError('the lossy network is not entered', hint='use it as "with ... as"')
        try:
            relay.stdin.write(json.dumps(change) + '\n')
        except BrokenPipeError:
            line = ''
        else:
            with selectors.DefaultSelector() as answer:
                answer.register(relay.stdout, selectors.EVENT_READ)
                line = relay.stdout.readline() if answer.select(_ANSWER_S) else ''
        if not line:
            raise OffloadError('the relay of the lossy network does not answer',
                               given=f'exit {relay.poll()}')
        found: list[list[int]] = json.loads(line)
        return found


def _check_loss(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise OffloadError('impossible share of lost packets', given=share, allowed='0..1')


@dataclass
class _Way:
    """One direction: frames on their way, oldest first."""

    source: int
    target: int
    chance: random.Random
    under_way: deque[tuple[float, bytes]] = field(default_factory=deque)
    seen: int = 0
    lost: int = 0


class Relay:
    """Carries frames between two descriptors until its input ends.

    Args:
        robot, server: Descriptors, not blocking; one frame a read and a write.
        loss: Share of frames lost.
        delay_ms: How long a frame is kept [ms].
        seed: Of the choice.
    """

    def __init__(
        self, robot: int, server: int, *, loss: float, delay_ms: float, seed: int
    ) -> None:
        self.loss = loss
        self._delay_s = 1e-3 * delay_ms
        self.up = _Way(robot, server, random.Random(seed))
        self.down = _Way(server, robot, random.Random(seed + 1))

    def run(self, commands: int, answers: int) -> None:
        """Carry frames; answer each line of ``commands`` with the counters."""
        selector = selectors.DefaultSelector()
        selector.register(self.up.source, selectors.EVENT_READ, self.up)
        selector.register(self.down.source, selectors.EVENT_READ, self.down)
        selector.register(commands, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select(self._wait_s()):
                if key.data is not None:
                    self._take(key.data)
                    continue
                told = os.read(commands, 65536)
                if not told:
                    return
                for line in told.splitlines():
                    self.loss = json.loads(line).get('loss', self.loss)
                    counters = [[way.seen, way.lost] for way in (self.up, self.down)]
                    os.write(answers, (json.dumps(counters) + '\n').encode())
            now_s = time.monotonic()
            for way in (self.up, self.down):
                while way.under_way and way.under_way[0][0] <= now_s:
                    _put(way.target, way.under_way.popleft()[1])

    def _wait_s(self) -> float | None:
        due_s = [way.under_way[0][0] for way in (self.up, self.down) if way.under_way]
        return max(min(due_s) - time.monotonic(), 0.0) if due_s else None

    def _take(self, way: _Way) -> None:
        for _ in range(_AT_ONCE):
            try:
                frame = os.read(way.source, _FRAME_BYTES)
            except BlockingIOError:
                return
            way.seen += 1
            if way.chance.random() < self.loss:
                way.lost += 1
            elif self._delay_s > 0.0:
                way.under_way.append((time.monotonic() + self._delay_s, frame))
            else:
                _put(way.target, frame)


def _put(target: int, frame: bytes) -> None:
    try:
        os.write(target, frame)
    except OSError:  # the other end is down: the frame is lost, as on a cable
        return


def main() -> None:
    """Be the relay's process: two descriptors and the settings as arguments."""
    robot, server, settings = sys.argv[1:]
    relay = Relay(int(robot), int(server), **json.loads(settings))
    relay.run(sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == '__main__':
    main()
