"""How fast the robot may go, by what is detected how near. No ROS, no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

NO_LIMIT = 100.0  # % of the robot's highest speed


@dataclass(frozen=True)
class SpeedSettings:
    """The rule's numbers.

    Attributes:
        full_beyond_m: Farther detections slow nothing.
        slowest_within_m: Nearer ones slow most; between the two it is a straight line.
        slowest_percent: Of the robot's highest speed. Above 0: Nav2 takes 0 for *no limit*.
        hold_s: A limit is kept for so long after its reason has gone: a detector blinks.
        stale_s: Without any result for so long the robot is blind.
        blind_percent: Limit then; 100 = none.
    """

    full_beyond_m: float = 4.0
    slowest_within_m: float = 1.0
    slowest_percent: float = 20.0
    hold_s: float = 1.0
    stale_s: float = 1.0
    blind_percent: float = 50.0


class SpeedRule:
    """Remembers the last results; slower at once, faster after a while.

    Args:
        settings: The rule's numbers; may be replaced at any time.
    """

    def __init__(self, settings: SpeedSettings) -> None:
        self.settings = settings
        self._heard_s = -math.inf
        self._limit_percent = NO_LIMIT
        self._reason_s = -math.inf

    def see(self, now_s: float, distances_m: Sequence[float]) -> None:
        """Take one result: how far its detections are; none is a result, too."""
        self._heard_s = now_s
        wanted = min(map(self._percent, distances_m), default=NO_LIMIT)
        if wanted <= self._limit_percent or now_s - self._reason_s > self.settings.hold_s:
            self._limit_percent, self._reason_s = wanted, now_s

    def limit_percent(self, now_s: float) -> float:
        """Limit in force, 100 = none."""
        if now_s - self._heard_s > self.settings.stale_s:
            return min(self.settings.blind_percent, self._limit_percent)
        return self._limit_percent

    def _percent(self, distance_m: float) -> float:
        rule = self.settings
        span_m = max(rule.full_beyond_m - rule.slowest_within_m, 1e-6)
        share = min(max((distance_m - rule.slowest_within_m) / span_m, 0.0), 1.0)
        return rule.slowest_percent + share * (NO_LIMIT - rule.slowest_percent)


def limited(
    forward_mps: float, left_mps: float, turn_radps: float, percent: float, highest_mps: float
) -> tuple[float, float, float]:
    """A velocity within a share of the highest speed; its direction and its curve stay."""
    speed_mps = math.hypot(forward_mps, left_mps)
    allowed_mps = highest_mps * percent / NO_LIMIT
    if speed_mps <= allowed_mps:
        return forward_mps, left_mps, turn_radps
    share = allowed_mps / speed_mps
    return share * forward_mps, share * left_mps, share * turn_radps
