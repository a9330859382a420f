"""What a load reading means for frames: learnt from frames that ran while it was read. Pure.

A probe waits otherwise than a frame does: it reads up to a quarter too high or too low, and the
more the higher the load. On a calm machine it reads 1, while frames may still take longer than
the profile says (caches go cold between them). So the slow-down of frames is taken as

    factor = base * (1 + slope * (reading - 1))

with ``base`` learnt where the machine was calm and ``slope`` where it was not. A frame that was
far off that had a hiccup, or the load has changed since; if several in a row are off alike, it is
the source that is.
"""

from __future__ import annotations

from collections import deque
import math
import statistics

CALM = 1.25                # readings below this tell the base, others the slope
REMEMBERED = 7             # comparisons behind each median
PLAUSIBLE = (0.4, 2.5)     # seen over expected; beyond, the load changed, or a frame had a hiccup
ALIKE = 1.4                # largest over smallest of comparisons that are off alike
CONFIRM = 3                # so many of them are believed,
APART_S = (1.0, 120.0)     # each so long after the one before: frames of one burst are one
BASE_RANGE = (0.6, 1.8)    # what is learnt stays within
SLOPE_RANGE = (0.1, 2.5)


class Calibration:
    """Of one load source."""

    def __init__(self) -> None:
        self._bases: deque[float] = deque(maxlen=REMEMBERED)
        self._slopes: deque[float] = deque(maxlen=REMEMBERED)
        # When, and seen over expected: of the last in a row that were off.
        self._off: deque[tuple[float, float]] = deque(maxlen=CONFIRM)

    def learn(self, reading: float, seen: float, growth: float, at_s: float = 0.0) -> bool:
        """Take a comparison.

        Args:
            reading: What the source read, relative to the profile.
            seen: Slow-down of a frame that ran at that time.
            growth: Assumed base while none is known.
            at_s: When that was, by a monotonic clock.

        Returns:
            Whether it was believed.
        """
        if not self._believes(seen / self.factor(reading, growth), at_s):
            return False
        base, slope = self._parameters(growth)
        if reading < CALM:
            self._bases.append(_within(BASE_RANGE, seen / _shape(reading, slope)))
        else:
            self._slopes.append(_within(SLOPE_RANGE, (seen / base - 1.0) / (reading - 1.0)))
        return True

    def factor(self, reading: float, growth: float) -> float:
        """Slow-down of frames at a reading; ``growth`` as in ``learn``."""
        base, slope = self._parameters(growth)
        return base * _shape(reading, slope)

    def _believes(self, off: float, at_s: float) -> bool:
        """Whether what was seen over what was expected is plausible, or was seen before."""
        low, high = PLAUSIBLE
        if low <= off <= high:
            self._off.clear()
            return True
        since_s = at_s - self._off[-1][0] if self._off else math.inf
        if since_s < APART_S[0]:
            return False
        if since_s > APART_S[1]:
            self._off.clear()
        self._off.append((at_s, off))
        ratios = [each for _, each in self._off]
        return len(ratios) == CONFIRM and max(ratios) <= ALIKE * min(ratios)

    def _parameters(self, growth: float) -> tuple[float, float]:
        base = statistics.median(self._bases) if self._bases else growth
        return base, statistics.median(self._slopes) if self._slopes else 1.0


def _shape(reading: float, slope: float) -> float:
    """Factor over base; below 1 the machine is calmer than while it was profiled."""
    return 1.0 + slope * (reading - 1.0) if reading > 1.0 else reading


def _within(bounds: tuple[float, float], value: float) -> float:
    return min(max(value, bounds[0]), bounds[1])
