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

CALM = 1.25                # readings below this tell the base, others the slope
REMEMBERED = 7             # comparisons behind each median
BASE_RANGE = (0.7, 1.7)    # beyond, the load changed meanwhile, or a frame had a hiccup
SLOPE_RANGE = (0.2, 2.5)


class Calibration:
    """Of one load source."""

    def __init__(self) -> None:
        self._bases: deque[float] = deque(maxlen=REMEMBERED)
        self._slopes: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, reading: float, seen: float, growth: float) -> bool:
        """Take a comparison.

        Args:
            reading: What the source read, relative to the profile.
            seen: Slow-down of a frame that ran at that time.
            growth: Assumed base while none is known.

        Returns:
            Whether it was plausible.
        """
        base, slope = self._parameters(growth)
        if reading < CALM:
            value, (low, high), known = (
                seen / (1.0 + slope * max(reading - 1.0, 0.0)), BASE_RANGE, self._bases
            )
        else:
            value, (low, high), known = (
                (seen / base - 1.0) / (reading - 1.0), SLOPE_RANGE, self._slopes
            )
        plausible = low <= value <= high
        if plausible:
            known.append(value)
        return plausible

    def factor(self, reading: float, growth: float) -> float:
        """Slow-down of frames at a reading; ``growth`` as in ``learn``."""
        base, slope = self._parameters(growth)
        return base * (1.0 + slope * (reading - 1.0)) if reading > 1.0 else base * reading

    def _parameters(self, growth: float) -> tuple[float, float]:
        base = statistics.median(self._bases) if self._bases else growth
        return base, statistics.median(self._slopes) if self._slopes else 1.0
