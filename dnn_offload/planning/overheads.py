"""What a frame takes beside the stages that are priced: learnt per place from real frames.

A frame waits for the camera's message, for threads to wake, for its result to be published;
one that goes to a server also for the hand-overs on both machines. No profile measures that,
and it differs by several milliseconds between the places, which decides between plans that are
close. So it is learnt: measured latency less the measured stages, per place, as a median that
forgets. Pure.
"""

from __future__ import annotations

from collections import deque
import math
import statistics

ON_ROBOT = ''
RETURN = ' and back'  # after a server's name: plans with a second cut, which wait for our worker
WINDOW = 40          # frames behind the median
MIN_FRAMES = 5       # fewer say nothing
ASSUMED_REMOTE_EXTRA_MS = 3.0  # a server's overhead over the robot's, before one was measured
LONGEST_MS = 100.0   # more is a hiccup of the machine, not an overhead


class Overheads:
    """Overhead of each place: the robot (``ON_ROBOT``), a server, or one with ``RETURN``."""

    def __init__(self) -> None:
        self._frames: dict[str, deque[float]] = {}

    def add(self, place: str, latency_ms: float, stages_ms: float) -> None:
        """Take a frame whose result came from ``place``.

        Args:
            place: ``ON_ROBOT``, or the server that answered.
            latency_ms: Acquisition to publication.
            stages_ms: Sum of its priced stages, as measured; NaN = unknown, nothing is learnt.
        """
        overhead_ms = latency_ms - stages_ms
        if math.isfinite(overhead_ms) and 0.0 <= overhead_ms <= LONGEST_MS:
            self._frames.setdefault(place, deque(maxlen=WINDOW)).append(overhead_ms)

    def of(self, place: str) -> float:
        """Overhead of a place [ms]; an assumption where nothing was measured."""
        measured = self._median(place)
        if measured is not None:
            return measured
        if place == ON_ROBOT:
            others = [self._median(other) for other in self._frames]
            known = [value for value in others if value is not None]
            return max(min(known) - ASSUMED_REMOTE_EXTRA_MS, 0.0) if known else 0.0
        if place.endswith(RETURN):
            return self.of(place.removesuffix(RETURN))
        return self.of(ON_ROBOT) + ASSUMED_REMOTE_EXTRA_MS

    def _median(self, place: str) -> float | None:
        frames = self._frames.get(place, ())
        return statistics.median(frames) if len(frames) >= MIN_FRAMES else None
