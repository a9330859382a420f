"""Whether it is the world that has moved: then a change of plan is no sign of noise. Pure.

Under constant conditions the price of the plan that runs, which rests on its own frames, stays
where it is, and so does the what-if price of one that was left. A price that is far off what it
was while nothing else explains it is a link, a load or a server that has changed.
"""

from __future__ import annotations

from collections import deque
import math

from dnn_offload.planning.plan import Key
from dnn_offload.planning.promises import RUNS_S

FAR = 1.5            # ratio of prices of one plan; estimates scatter by a fifth of that
REMEMBERED_S = 10.0  # what it has cost before that is no measure any more


class MovedWorld:
    """Watches the price of the plan that runs, and of those that were left."""

    def __init__(self) -> None:
        self._runs: Key | None = None
        self._since_s = 0.0
        self._prices: deque[tuple[float, float]] = deque()
        self._left: dict[str, float] = {}  # by server: what-if price, once steady

    def runs(self, key: Key, price: float, now_s: float) -> None:
        """Take the price of the plan that runs, at every tick."""
        if key != self._runs:
            self._runs, self._since_s = key, now_s
            self._prices.clear()
            self._left.pop(key[2], None)
        elif now_s - self._since_s >= RUNS_S:
            self._prices.append((now_s, price))
            while self._prices[0][0] < now_s - REMEMBERED_S:
                self._prices.popleft()

    def left(self, key: Key, price: float) -> None:
        """Take the what-if price that a plan has had, steadily, since it was left."""
        self._left[key[2]] = price

    def made_worse(self, price: float) -> bool:
        """Whether the plan that runs costs far more than it did; its price now."""
        # The lower quartile: neither one good moment nor what it costs since is the measure.
        known = sorted(each for _, each in self._prices)
        return price > FAR * (known[len(known) // 4] if known else math.inf)

    def made_better(self, key: Key, price: float) -> bool:
        """Whether a place that was left would cost far less than then.

        Args:
            key: The best plan there now.
            price: Its what-if price.
        """
        return FAR * price < self._left.get(key[2], 0.0)
