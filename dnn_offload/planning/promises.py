"""How far the price of a plan that does not run can be trusted: learned at each switch.

A plan that runs is priced from its own frames, one that does not from what-if sources (a CPU
probe, a link probe), which read a little differently. Seen from either side the other looks
better, and the planner goes back and forth though nothing changes. What the sources disagree
by shows whenever a place (the robot, or a server) is left: the usual price of the plan while
it ran, over its prices in the moments after. That ratio corrects the price of the place
while it does not run. Until it is known for the first time, the worst is assumed. Where the
prices in those moments are far apart, those of the plan that was left or those of the plan
that runs since, it was the world that moved: they teach nothing, and nothing is assumed any
more. Nor is anything learnt of a plan that is left for a price that it did not have a moment
before: a burst of something else would be taken for what the plan costs. A ratio too large to be
a disagreement of sources is a move as well, however often it comes: load that ends just when a
plan was left because of it looks the same each time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
import math
import statistics

from dnn_offload.planning.plan import Key

SETTLE_S = 2.0         # readings after a switch still contain what was before: not looked at
OBSERVE_S = 2.0        # then looked at for so long
STEADY_S = 2.0         # the price of the plan that runs is its median over so long
ASSUMED_RATIO = 1.5    # of a place just left for the first time, until its ratio is known
LARGEST_RATIO = 2.5    # more than this is a change of the world and teaches nothing
MOVED_RATIO = 1.3      # of prices of one plan among themselves: a change of the world as well
RUNS_S = 1.0           # after a switch the price of the plan that runs rests on its own frames
HALF_LIFE_S = 1800.0   # of a correction


@dataclass
class _Left:
    """A plan that was left, until its what-if price is known."""

    key: Key
    running_ms: float
    left_s: float
    what_if_ms: list[float] = field(default_factory=list)
    runs_ms: list[float] = field(default_factory=list)  # prices of what runs since
    teaches: bool = True


class Promises:
    """Corrections of what-if prices, by place; the server in a key is the place, '' the robot."""

    def __init__(self) -> None:
        self._left: _Left | None = None
        self._running: deque[tuple[Key, float, float]] = deque()  # plan, price, when
        self._learned: dict[str, tuple[float, float]] = {}  # place -> log ratio, learned at

    @property
    def watched(self) -> Key | None:
        """The plan whose what-if price is wanted now."""
        return self._left.key if self._left is not None else None

    def runs(self, key: Key, price_ms: float, now_s: float) -> None:
        """Take the price of the plan that runs, at every tick."""
        self._running.append((key, price_ms, now_s))
        while self._running[0][0] != key or self._running[0][2] < now_s - STEADY_S:
            self._running.popleft()

    def leave(self, key: Key, running_ms: float, to_place: str, now_s: float) -> None:
        """A plan that ran is left for another; ``running_ms`` was its price while it ran."""
        self._left = None
        if key[2] == to_place or running_ms <= 0.0:
            return
        before_ms = [price for plan, price, _ in self._running if plan == key] or [running_ms]
        usual_ms = statistics.median(before_ms)
        self._left = _Left(key, usual_ms, now_s, teaches=not _moved([usual_ms, running_ms]))

    def observe(self, price_ms: float | None, runs_ms: float, now_s: float) -> None:
        """Take the prices of a tick.

        Args:
            price_ms: Of the watched plan; None = it is not possible any more.
            runs_ms: Of the plan that runs.
            now_s: Monotonic clock [s].
        """
        left = self._left
        if left is None:
            return
        if price_ms is None or price_ms <= 0.0:
            self._left = None
            return
        since_s = now_s - left.left_s
        if since_s >= RUNS_S:
            left.runs_ms.append(runs_ms)
        if since_s >= SETTLE_S:
            left.what_if_ms.append(price_ms)
        if _moved(left.runs_ms) or _moved(left.what_if_ms):
            self._left = None
            return
        if since_s < SETTLE_S + OBSERVE_S:
            return
        ratio = left.running_ms / statistics.fmean(left.what_if_ms)
        if left.teaches and 1.0 / LARGEST_RATIO <= ratio <= LARGEST_RATIO:
            self._learned[left.key[2]] = (math.log(ratio), now_s)
        self._left = None

    def correction(self, place: str, running_place: str, now_s: float) -> float:
        """Factor on the price of a plan at ``place`` while ``running_place`` runs."""
        if place == running_place:
            return 1.0
        if place not in self._learned:
            just_left = self._left is not None and self._left.key[2] == place
            return ASSUMED_RATIO if just_left else 1.0
        log_ratio, at_s = self._learned[place]
        return math.exp(log_ratio * math.pow(0.5, (now_s - at_s) / HALF_LIFE_S))


def _moved(prices_ms: list[float]) -> bool:
    """Whether prices of one plan are so far apart that the world has moved."""
    return bool(prices_ms) and max(prices_ms) > MOVED_RATIO * min(prices_ms)
