"""How much may be on its way, and how fast. Pure: the clock is passed in.

``publish()`` keeps Python's global lock while the socket blocks, so little may be
unacknowledged at a time (measured: a burst of reliable 60 kB samples held everything for 98 ms
a call at 10 Mbit/s). The window follows the measured rate of delivery: enough to keep the pipe
full, not more. It starts small whenever the link has been idle, since radios and shapers let a
first burst through at wire speed and so pretend to be fast.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_CHUNK_BYTES = 61440
MIN_CHUNK_BYTES = 23400   # with its header 16 packets of Ethernet: 3.4 % for all headers
MAX_WINDOW_BYTES = 2 * MAX_CHUNK_BYTES
BURST_BYTES = 49152       # radios and shapers let a first burst (32 kB and more) through at once
QUEUE_GOAL_MS = 20.0      # what may wait in the network beyond one round trip
IDLE_RESTART_S = 0.2      # after so long without anything in flight the window starts small
BURST_RESTART_S = 0.01    # after so long a burst may pass again
_RTT_MEMORY_S = 10.0


Key = tuple[int, int, int]  # kind of request, frame_seq, chunk_index


@dataclass
class _InFlight:
    key: Key
    nbytes: int
    sent_s: float
    delivered_then: int
    delivered_then_s: float


class FlowWindow:
    """Bytes in flight to one server, steered by its acknowledgements (in order).

    Args:
        max_window_bytes: Never more in flight than this [byte]. Two full slices is what the
            default socket buffer of Linux (212 kB) holds.
    """

    def __init__(self, max_window_bytes: int = MAX_WINDOW_BYTES) -> None:
        self.max_window_bytes = max_window_bytes
        self._flight: deque[_InFlight] = deque()
        self._rtts: deque[tuple[float, float]] = deque()
        self.in_flight_bytes = 0
        self.rate_bps = 0.0  # measured rate of delivery [bit/s]; 0 = unknown
        self._delivered = 0
        self._delivered_s = 0.0
        self._blocked = False    # the window, not the sender, limits now
        self._grown_bytes = 0    # acknowledged since the window last started small
        self._burst_bytes = 0    # acknowledged since a burst could last pass
        self._idle_since_s: float | None = None

    @property
    def chunk_bytes(self) -> int:
        """Size for the slices of the next frame [byte]: ``QUEUE_GOAL_MS`` of the link."""
        goal = int(self.rate_bps * QUEUE_GOAL_MS / 8e3)
        return min(max(goal, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES)

    @property
    def window_bytes(self) -> int:
        """Bytes that may be in flight now."""
        floor = 2 * self.chunk_bytes
        target = self.max_window_bytes
        if self.rate_bps > 0.0:
            goal_ms = QUEUE_GOAL_MS + (min(rtt for _, rtt in self._rtts) if self._rtts else 0.0)
            target = min(target, int(self.rate_bps * goal_ms / 8e3))
        return max(floor, min(target, floor + self._grown_bytes))

    def may_send(self, nbytes: int, now_s: float) -> bool:
        """Whether a slice of ``nbytes`` may go now; one may always go when nothing is out."""
        if not self._flight:
            idle_s = now_s - self._idle_since_s if self._idle_since_s is not None else 0.0
            if idle_s > IDLE_RESTART_S:
                self._grown_bytes = 0
            if idle_s > BURST_RESTART_S:
                self._burst_bytes = 0
            return True
        # Two slices of the size in use: where the rate has just been read 1 % lower than when the
        # frame was sliced, one at a time would leave the link idle for a round trip after each.
        most = max(self.window_bytes, min(2 * nbytes, self.max_window_bytes))
        allowed = self.in_flight_bytes + nbytes <= most
        self._blocked = self._blocked or not allowed
        return allowed

    def sent(self, key: Key, nbytes: int, now_s: float) -> None:
        """A slice has been published."""
        if not self._flight:
            self._delivered_s = now_s
            self._blocked = False
        self._flight.append(_InFlight(key, nbytes, now_s, self._delivered, self._delivered_s))
        self.in_flight_bytes += nbytes
        self._idle_since_s = None

    def acked(self, key: Key, now_s: float) -> float:
        """A slice, and so every older one, has arrived.

        Returns:
            Time from sending it to now [ms]; 0 if it was not out (any more).
        """
        if all(slice_.key != key for slice_ in self._flight):
            return 0.0
        while True:
            newest = self._flight.popleft()
            self.in_flight_bytes -= newest.nbytes
            self._delivered += newest.nbytes
            self._grown_bytes += newest.nbytes
            self._burst_bytes += newest.nbytes
            if newest.key == key:
                break
        rtt_ms = max(1e3 * (now_s - newest.sent_s), 1e-3)
        self._rtts.append((now_s, rtt_ms))
        while now_s - self._rtts[0][0] > _RTT_MEMORY_S:
            self._rtts.popleft()
        # Rate over the time in which this slice was under way (as in BBR): what was delivered
        # since the delivery that was last known when it was sent.
        duration_s = max(now_s - newest.delivered_then_s, 1e-5)
        self._learn(8.0 * (self._delivered - newest.delivered_then) / duration_s)
        self._delivered_s = now_s
        if not self._flight:
            self._idle_since_s = now_s
        return rtt_ms

    def _learn(self, sample_bps: float) -> None:
        past_burst = self._burst_bytes > BURST_BYTES
        if sample_bps > self.rate_bps and not past_burst:
            return
        if self.rate_bps <= 0.0:
            self.rate_bps = sample_bps
        elif self._blocked:
            self.rate_bps += 0.5 * (sample_bps - self.rate_bps)
        elif sample_bps > self.rate_bps:  # the sender was the limit: a lower bound only
            self.rate_bps += 0.25 * (sample_bps - self.rate_bps)

    def probed(self, rate_bps: float) -> None:
        """What a probe came through at behind the burst [bit/s]: all of it was there to be sent.

        A link that has become slower shows in nothing else while frames are small: they are the
        sender's limit, and pass in the burst. A round trip is in it, so only much less counts.
        """
        if 0.0 < rate_bps < 0.5 * self.rate_bps:
            self.rate_bps = rate_bps

    def oldest_age_s(self, now_s: float) -> float:
        """Since when the oldest unacknowledged slice is out [s]; 0 if nothing is."""
        return now_s - self._flight[0].sent_s if self._flight else 0.0

    def expected_s(self) -> float:
        """Time in which everything in flight should be acknowledged [s]; 0 = unknown."""
        return 8.0 * self.in_flight_bytes / self.rate_bps if self.rate_bps > 0.0 else 0.0

    def forget(self) -> None:
        """The connection is gone: nothing is in flight, what was learned stays as a guess."""
        self._flight.clear()
        self.in_flight_bytes = 0
        self._blocked = False
        self._grown_bytes = 0
        self._burst_bytes = 0
        self._idle_since_s = None


class Throttle:
    """A sender limited to a rate, as if the bytes left one by one.

    A slice may go when its last bit would have left, so that a transfer of ``n`` bytes takes
    ``8 n / rate`` however small it is (a bucket with depth would let small ones through free).
    """

    def __init__(self) -> None:
        self._free_s = 0.0
        self.free = True  # no limit was in force when this was last asked

    def due_s(self, nbytes: int, rate_bps: float, began_s: float) -> float:
        """When a slice that was ready at ``began_s`` may go; ``rate_bps`` 0 = no limit."""
        self.free = rate_bps <= 0.0
        if self.free:
            return began_s
        return max(began_s, self._free_s) + 8.0 * nbytes / rate_bps

    def sent(self, due_s: float) -> None:
        """The slice that was due then has gone."""
        self._free_s = due_s


def chunk_bytes_under(limit_bps: float, chunk_bytes: int) -> int:
    """Slice size when a limit is in force: small enough that a change of mind is cheap."""
    if limit_bps <= 0.0:
        return chunk_bytes
    goal = int(limit_bps * QUEUE_GOAL_MS / 8e3)
    return min(chunk_bytes, max(goal, MIN_CHUNK_BYTES))
