"""What a load reading means for frames: learnt from frames that ran while it was read. Pure.

A probe waits otherwise than a frame does: it reads up to a quarter too high or too low, and the
more the higher the load. On a calm machine it reads 1, while frames may still take longer than
the profile says (caches go cold between them). So the slow-down of frames is taken as

    factor = base * (1 + slope * (reading - 1))

with ``base`` learnt where the machine was calm and ``slope`` where it was not.
"""

from __future__ import annotations

from collections import deque
import statistics

from dnn_offload.cost.level import newest_level

CALM = 1.25                # readings below this tell the base, others the slope
REMEMBERED = 7             # comparisons behind each median
STEPS = ((3, 1.2),)        # so many in a row, so far off those before, are another base
PLAUSIBLE = (0.4, 2.5)     # seen over expected; beyond, the load changed, or a frame had a hiccup
BASE_RANGE = (0.6, 1.8)    # what is learnt stays within
SLOPE_RANGE = (0.1, 2.5)


class Calibration:
    """Of one load source."""

    def __init__(self) -> None:
        self._bases: deque[float] = deque(maxlen=REMEMBERED)
        self._slopes: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def knows_load(self) -> bool:
        """Whether it was ever compared on a machine that was not calm."""
        return bool(self._slopes)

    def learn(self, reading: float, seen: float, growth: float) -> bool:
        """Take a comparison.

        Args:
            reading: What the source read, relative to the profile.
            seen: Slow-down of a frame that ran at that time.
            growth: Assumed base while none is known.

        Returns:
            Whether it was plausible.
        """
        low, high = PLAUSIBLE
        if not low <= seen / self.factor(reading, growth) <= high:
            return False
        base, slope = self._parameters(growth)
        if reading < CALM:
            self._bases.append(_within(BASE_RANGE, seen / _shape(reading, slope)))
            for _ in range(newest_level(list(self._bases), STEPS)):
                self._bases.popleft()
        else:
            self._slopes.append(_within(SLOPE_RANGE, (seen / base - 1.0) / (reading - 1.0)))
        return True

    def factor(self, reading: float, growth: float) -> float:
        """Slow-down of frames at a reading; ``growth`` as in ``learn``."""
        base, slope = self._parameters(growth)
        return base * _shape(reading, slope)

    def _parameters(self, growth: float) -> tuple[float, float]:
        base = statistics.median(self._bases) if self._bases else growth
        return base, statistics.median(self._slopes) if self._slopes else 1.0


def _shape(reading: float, slope: float) -> float:
    """Factor over base; below 1 the machine is calmer than while it was profiled."""
    return 1.0 + slope * (reading - 1.0) if reading > 1.0 else reading


def _within(bounds: tuple[float, float], value: float) -> float:
    return min(max(value, bounds[0]), bounds[1])
