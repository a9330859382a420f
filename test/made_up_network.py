"""A made-up network between a ServerLink and a server: rate, delay, burst, loss. A helper."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
import heapq

from dnn_offload.exchange import UplinkRequest
from dnn_offload.transport.link import ServerLink
from dnn_offload.transport.link_events import Event, Uplinked
from dnn_offload.transport.transfer import (
    KIND_CANCEL,
    KIND_HELLO,
    Step,
)


@dataclass
class Network:
    """Simulated time: carries steps of the link, answers as a server would.

    Bytes wait for a token bucket of ``burst`` bytes (as tbf and radios have), then for
    ``delay_s``; acknowledgements come back after ``delay_s``.
    """

    link: ServerLink
    rate_bps: float
    burst: float = 32e3
    delay_s: float = 0.001
    now_s: float = 100.0
    limit_bps: float = 0.0
    server_alive: bool = True
    ready: bool = True
    session: int = 7
    events: list[tuple[float, Event]] = field(default_factory=list)
    sent: list[tuple[float, Step]] = field(default_factory=list)
    most_queued_bytes: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = self.burst
        self._queue: deque[tuple[float, Step]] = deque()
        self._arriving: list[tuple[float, int, str, Step | None]] = []
        self._count = 0
        self._status_s = self.now_s

    def run(self, duration_s: float, step_s: float = 0.0005) -> None:
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            self.now_s += step_s
            self._tick(step_s)

    def names(self) -> list[str]:
        return [type(event).__name__ for _, event in self.events]

    def _tick(self, step_s: float) -> None:
        now = self.now_s
        if self.server_alive and now >= self._status_s:
            self._status_s = now + 0.2
            self._later(self.delay_s, 'status', None)
        self._tokens = min(self._tokens + self.rate_bps / 8 * step_s, max(self.burst, 1))
        while self._queue and self._queue[0][0] <= self._tokens:
            nbytes, step = self._queue.popleft()
            self._tokens -= nbytes
            if self.server_alive:
                self._later(2 * self.delay_s, 'answer', step)
        if self._queue and self._queue[0][0] > self.burst:  # larger than the bucket
            nbytes, step = self._queue[0]
            self._queue[0] = (nbytes - self._tokens, step)
            self._tokens = 0.0
        while self._arriving and self._arriving[0][0] <= now:
            self._arrive(*heapq.heappop(self._arriving)[2:])
        self._tell(self.link.check(now))
        while True:
            step = self.link.next_step(now, self.limit_bps, matched=self.server_alive)
            if step.kind < 0:
                break
            self.sent.append((now, step))
            nbytes = len(step.transfer.parts[step.index]) if step.transfer else 200
            self._queue.append((nbytes, step))
            self.most_queued_bytes = max(
                self.most_queued_bytes, sum(size for size, _ in self._queue)
            )

    def _later(self, delay_s: float, what: str, step: Step | None) -> None:
        self._count += 1
        heapq.heappush(self._arriving, (self.now_s + delay_s, self._count, what, step))

    def _arrive(self, what: str, step: Step | None) -> None:
        if what == 'status':
            self._tell(self.link.on_status(self.session, self.ready, 'x', self.now_s))
        elif step is not None and step.kind == KIND_HELLO:
            self.link.on_accepted(self.now_s)
        elif step is not None and step.kind != KIND_CANCEL and step.transfer is not None:
            transfer = step.transfer
            self._tell(
                self.link.on_acked(transfer.kind, transfer.seq, step.index, self.now_s)
            )

    def _tell(self, events: list[Event]) -> None:
        self.events += [(self.now_s, event) for event in events]


def frame(seq: int, nbytes: int) -> UplinkRequest:
    return UplinkRequest(seq, 1, 'srv', 'cut', 'raw', 'raw', (), bytes(nbytes))


def connected(rate_bps: float, **options: float) -> Network:
    network = Network(ServerLink('srv'), rate_bps, **options)
    for _ in range(100):
        network.run(0.05)
        if network.link.connected:
            return network
    raise AssertionError('never connected')


def stream(network: Network, nbytes: int, count: int) -> list[float]:
    """Send frames one after the other; gives their uplink times [ms]."""
    took = []
    for seq in range(1, count + 1):
        assert not network.link.send(frame(seq, nbytes), network.limit_bps, network.now_s)
        for _ in range(20_000):
            network.run(0.001)
            done = [e for _, e in network.events if isinstance(e, Uplinked) and e.frame_seq == seq]
            if done:
                took.append(done[0].uplink_ms)
                break
    assert len(took) == count
    return took
