"""Whether it is the world that has moved: then a change of plan is no sign of noise. Pure.

Under constant conditions the price of the plan that runs, which rests on its own frames, stays
where it is, and so do the what-if prices of the other places. A price that is far off what it
was a moment ago while nothing else explains it is a link, a load or a server that has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
import math
import statistics

from dnn_offload.planning.plan import Key
from dnn_offload.planning.promises import RUNS_S, SETTLE_S

FAR = 1.5            # ratio of prices of one place; estimates scatter by a fifth of that
REMEMBERED_S = 10.0  # what it has cost before that is no measure any more
KNOWN_S = 2.0        # for so long it must have been known

_Prices = deque[tuple[float, float]]  # when, price


class MovedWorld:
    """Watches the price of the plan that runs, and of the best plan of each other place."""

    def __init__(self) -> None:
        self._runs: Key | None = None
        self._since_s = 0.0
        self._prices: _Prices = deque()
        self._elsewhere: dict[str, _Prices] = {}  # by place

    def runs(self, key: Key, price: float, now_s: float) -> None:
        """Take the price of the plan that runs, at every tick."""
        if key != self._runs:  # what is measured here and elsewhere depends on what runs
            self._runs, self._since_s = key, now_s
            self._prices.clear()
            self._elsewhere.clear()
        elif now_s - self._since_s >= RUNS_S:
            _add(self._prices, price, now_s)

    def what_if(self, prices: Mapping[str, float], now_s: float) -> None:
        """Take the prices of the best plan of each place that does not run, at every tick."""
        if now_s - self._since_s < SETTLE_S:
            return
        self._elsewhere = {place: self._elsewhere.get(place, deque()) for place in prices}
        for place, price in prices.items():
            _add(self._elsewhere[place], price, now_s)

    def rests(self, now_s: float) -> None:
        """A tick in which no what-if price is known anew, since nothing has changed."""
        for prices in self._elsewhere.values():
            _add(prices, prices[-1][1], now_s)

    def made_worse(self, price: float) -> bool:
        """Whether the plan that runs costs far more than it did; its price now."""
        # The lower quartile: neither one good moment nor what it costs since is the measure.
        known = sorted(each for _, each in self._prices)
        return price > FAR * (known[len(known) // 4] if known else math.inf)

    def made_better(self, place: str, price: float, now_s: float) -> bool:
        """Whether a place that does not run would cost far less now than it usually did."""
        known = self._elsewhere.get(place)
        if not known or now_s - known[0][0] < KNOWN_S:
            return False
        return FAR * price < statistics.median(each for _, each in known)


def _add(prices: _Prices, price: float, now_s: float) -> None:
    prices.append((now_s, price))
    while prices[0][0] < now_s - REMEMBERED_S:
        prices.popleft()
