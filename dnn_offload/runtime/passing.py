"""Whether a camera's JPEG goes to the server as it came, or is brought to size here first. Pure.

As it came costs the robot nothing but more bytes; brought to size costs decoding, resizing and
encoding, and few bytes. Which is earlier at the server depends on the link, so both are timed on
the stream itself, from the start of a frame to its decoded picture there, and the JPEG passes
unless that is later. The other way is tried now and then, unless its bytes would take too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
import statistics

MODES = ('auto', 'always', 'never')
KEPT = 7            # frames of each way that are remembered
ENOUGH = 3          # frames of a way before it is judged
TRY_PERIOD_S = 5.0  # the way that is not taken is looked at so often
MEMORY_S = 30.0     # what is older says nothing about the link of now
REFUSED_S = 30.0    # a server that refused one gets none for so long
LONGEST_TRY_MS = 50.0  # most that the bytes of a try may take more than those of the other way
# Passing frees the robot's processor: it may be later by this before it is given up.
TOLERANCE_MS, TOLERANCE = 1.0, 0.05


class Passing:
    """Times both ways, for one server and plan at a time; not thread-safe."""

    def __init__(self) -> None:
        self._key: Hashable = None
        # passed or not -> when, from the frame's start to its decoded picture at the server [ms]
        self._ways: dict[bool, deque[tuple[float, float]]] = {}
        self._bytes: dict[bool, int] = {}
        self._tried_s: dict[bool, float] = {}
        self._missed_s = float('-inf')
        self._refused_s = float('-inf')
        self._restart(None)

    def _restart(self, key: Hashable) -> None:
        self._key = key
        self._ways = {True: deque(maxlen=KEPT), False: deque(maxlen=KEPT)}
        self._bytes = {}
        self._tried_s = {}
        self._missed_s = float('-inf')

    def wanted(
        self, mode: str, key: Hashable, jpeg_bytes: int, bytes_per_ms: float, now_s: float
    ) -> bool:
        """Whether the next frame's JPEG shall pass.

        Args:
            mode: One of ``MODES``.
            key: Server and plan.
            jpeg_bytes: Size of the JPEG.
            bytes_per_ms: Rate at which frames went lately; 0 = unknown.
            now_s: Steady clock [s].
        """
        if mode == 'never' or now_s - self._refused_s < REFUSED_S:
            return False
        if mode == 'always':
            return True
        if key != self._key:
            self._restart(key)
        affordable = self._affordable(jpeg_bytes, bytes_per_ms)
        chosen = affordable and self._better(now_s)
        other = not chosen
        if self._due(other, now_s) and (affordable or not other):
            self._tried_s[other] = now_s
            return other
        return chosen

    def timed(
        self, key: Hashable, passed: bool, taken_ms: float, nbytes: int, now_s: float
    ) -> None:
        """A frame was answered: what it took, from its start to its decoded picture there."""
        if key == self._key:
            self._ways[passed].append((now_s, taken_ms))
            self._bytes[passed] = nbytes

    def missed(self, now_s: float) -> None:
        """A frame that passed was not answered in time: to size at once, tried again later."""
        self._ways[True].clear()
        self._tried_s[True] = self._missed_s = now_s

    def refused(self, now_s: float) -> None:
        """The server refused a JPEG that passed."""
        self._refused_s = now_s

    def _due(self, passed: bool, now_s: float) -> bool:
        """Whether a way should be tried, that is not the better one as far as is known."""
        if now_s - self._tried_s.get(passed, float('-inf')) >= TRY_PERIOD_S:
            return True
        missed = passed and now_s - self._missed_s < TRY_PERIOD_S
        return not missed and len(self._recent(passed, now_s)) < ENOUGH

    def _recent(self, passed: bool, now_s: float) -> list[float]:
        return [ms for at_s, ms in self._ways[passed] if now_s - at_s <= MEMORY_S]

    def _better(self, now_s: float) -> bool:
        """The way that is not later; to size while nothing is known of passing."""
        passed, sized = self._recent(True, now_s), self._recent(False, now_s)
        if len(passed) < ENOUGH or not sized:
            return False
        sized_ms = statistics.median(sized)
        return statistics.median(passed) <= sized_ms + max(TOLERANCE_MS, TOLERANCE * sized_ms)

    def _affordable(self, jpeg_bytes: int, bytes_per_ms: float) -> bool:
        """Whether a JPEG that passes could not hold up the link for long."""
        if False not in self._bytes or bytes_per_ms <= 0.0:
            return False
        return (jpeg_bytes - self._bytes[False]) / bytes_per_ms <= LONGEST_TRY_MS
