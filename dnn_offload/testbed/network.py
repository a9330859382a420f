"""A robot's and a server's network on one machine: two namespaces and a shaped link.

Root only. ``tbf`` limits each way: a first burst passes at wire speed, what follows waits in a
queue. An outage is the robot's interface going down. Loss and delay are not made here (``netem``
is not in every kernel) but in ``lossy_link.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import ctypes
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import shutil
import subprocess

from dnn_offload.errors import OffloadError
from dnn_offload.testbed.left_over import is_alive

BURST_BYTES = 32768
TICK_S = 0.004            # at 250 Hz; the shaper is filled once a tick
PACKET_BYTES = 1514
QUEUE_MS = 2000           # what the shaper holds before it drops
_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path('/run/netns')
_PREFIX = 'dnno'          # with a process id of 7 digits and an end: within 15 characters
_MULTICAST = '224.0.0.0/4'


@dataclass(frozen=True)
class NetworkEnd:
    """One end of the link.

    Attributes:
        namespace: Network namespace, of the same name as the device in it.
        address: Its IPv4 address.
        peer: Namespace of the other end.
    """

    namespace: str
    address: str
    peer: str

    @property
    def device(self) -> str:
        """Its interface on the link."""
        return self.namespace

    @property
    def entrance(self) -> list[str]:
        """What stands before a command that is to run there."""
        return entrance(self.namespace)


def entrance(namespace: str) -> list[str]:
    """The command that replaces itself by another one, in a namespace."""
    return ['ip', 'netns', 'exec', namespace]


def why_no_network() -> str:
    """Why a network cannot be made here; '' when it can."""
    if os.geteuid() != 0:
        return 'network namespaces need root'
    for program in ('ip', 'tc'):
        if shutil.which(program) is None:
            return f'{program} is missing: install iproute2'
    return ''


class Network:
    """Two namespaces joined by a link while its ``with`` block lasts; one at a time a process.

    Addresses and names are made from the process id, so that processes do not meet: Fast DDS
    tells machines apart by their addresses, and uses shared memory between equal ones.

    Args:
        uplink_bps: Rate from robot to server [bit/s]; 0 = not limited.
        downlink_bps: Rate from server to robot [bit/s]; 0 = not limited.
        burst_bytes: See ``shape``.

    Raises:
        OffloadError: On entering: not root, ``ip`` or ``tc`` missing, or the kernel refuses.
    """

    def __init__(
        self,
        uplink_bps: float = 0.0,
        downlink_bps: float = 0.0,
        burst_bytes: int = BURST_BYTES,
    ) -> None:
        name = f'{_PREFIX}{os.getpid()}'
        first = (10 << 24) + (os.getpid() << 2 & 0xFFFFFF)  # a /30 of 10.0.0.0/8
        self.robot = NetworkEnd(f'{name}r', _dotted(first + 1), f'{name}s')
        self.server = NetworkEnd(f'{name}s', _dotted(first + 2), f'{name}r')
        self._shape = uplink_bps, downlink_bps, burst_bytes

    def __enter__(self) -> Network:
        reason = why_no_network()
        if reason:
            raise OffloadError('cannot make a network', hint=reason)
        remove_left_over()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._remove()

    def _make(self) -> None:
        for end in (self.robot, self.server):
            _run('ip', 'netns', 'add', end.namespace)
            _ip(end, 'link', 'set', 'lo', 'up')
        self._join()
        for end in (self.robot, self.server):
            _ip(end, 'address', 'add', f'{end.address}/30', 'dev', end.device)
            _raise_link(end)
        self.shape(*self._shape)

    def _join(self) -> None:
        """Make the device of each end, joined to the other."""
        _ip(
            self.robot, 'link', 'add', self.robot.device, 'type', 'veth',
            'peer', 'name', self.server.device, 'netns', self.server.namespace,
        )

    def _remove(self) -> None:
        for end in (self.robot, self.server):
            _delete(end.namespace)

    def shape(
        self, uplink_bps: float, downlink_bps: float, burst_bytes: int = BURST_BYTES
    ) -> None:
        """Set what passes, now. What waits in the old queues is lost.

        Args:
            uplink_bps: Rate from robot to server [bit/s]; 0 = not limited.
            downlink_bps: Rate from server to robot [bit/s]; 0 = not limited.
            burst_bytes: What passes at wire speed after a pause [byte]; 0 = as little as works.
        """
        for end, rate_bps in ((self.robot, uplink_bps), (self.server, downlink_bps)):
            if rate_bps > 0.0:
                burst = self.burst_bytes(rate_bps, burst_bytes)
                _tc(
                    end, 'replace', 'dev', end.device, 'root', 'tbf', 'rate',
                    f'{int(rate_bps)}bit', 'burst', str(burst), 'latency', f'{QUEUE_MS}ms',
                )
            else:
                _tc(end, 'replace', 'dev', end.device, 'root', 'pfifo')

    @staticmethod
    def burst_bytes(rate_bps: float, wanted_bytes: int = BURST_BYTES) -> int:
        """What passes at wire speed after a pause where so much was asked for [byte]."""
        return max(wanted_bytes, int(rate_bps * TICK_S / 8), 2 * PACKET_BYTES)

    def set_link(self, up: bool) -> None:
        """Take the robot's interface down, or up again with its routes."""
        if up:
            _raise_link(self.robot)
        else:
            _ip(self.robot, 'link', 'set', self.robot.device, 'down')

    def sent_bytes(self, end: NetworkEnd) -> int:
        """Bytes that have left through the shaper of an end, headers counted."""
        text = _run('tc', '-n', end.namespace, '-s', '-j', 'qdisc', 'show', 'dev', end.device)
        return int(json.loads(text)[0]['bytes'])

    @contextlib.contextmanager
    def inside(self, end: NetworkEnd) -> Iterator[None]:
        """Put the calling thread, and what it starts meanwhile, at an end of the link."""
        home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            there = os.open(_NAMESPACES / end.namespace, os.O_RDONLY)
            try:
                _set_namespace(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _set_namespace(home)
        finally:
            os.close(home)


def _dotted(address: int) -> str:
    return '.'.join(str(address >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _run(*command: str) -> str:
    done = subprocess.run(  # in a session of its own: Ctrl-C is for us
        command, capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode != 0:
        raise OffloadError(
            'cannot set up the network', given=' '.join(command),
            hint=done.stderr.strip() or f'exit {done.returncode}',
        )
    return done.stdout


def _ip(end: NetworkEnd, *arguments: str) -> None:
    _run('ip', '-n', end.namespace, *arguments)


def _tc(end: NetworkEnd, *arguments: str) -> None:
    _run('tc', '-n', end.namespace, 'qdisc', *arguments)


def _raise_link(end: NetworkEnd) -> None:
    """Up, with the route that discovery's multicast takes: the kernel drops it on down."""
    _ip(end, 'link', 'set', end.device, 'up')
    _ip(end, 'route', 'replace', _MULTICAST, 'dev', end.device)


def _delete(namespace: str) -> None:
    """Remove a namespace and the device in it; its link and the peer go with the device."""
    if (_NAMESPACES / namespace).exists():
        # Deleted by hand, since a process that is still there would keep namespace and link.
        subprocess.run(
            ['ip', '-n', namespace, 'link', 'delete', namespace], capture_output=True, check=False
        )
        _run('ip', 'netns', 'delete', namespace)


def remove_left_over() -> None:
    """Remove the namespaces of processes that were killed before they could."""
    if not _NAMESPACES.exists():
        return
    for path in _NAMESPACES.iterdir():
        match = re.fullmatch(rf'{_PREFIX}(\d+)[rs]', path.name)
        if match is not None and not is_alive(int(match[1])):
            _delete(path.name)


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is there from Python 3.12 only
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise OffloadError('cannot enter a network namespace', hint=reason)
