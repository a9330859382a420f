"""The search over all pairs of cuts on one server: arrays in, the best plans out. Pure.

The equations are in ``two_cuts.py``.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from dnn_offload.planning.costs import sane_load
from dnn_offload.planning.cut_pairs import BYTES, CutPairs, DECODE, ENCODE, IMPOSSIBLE, Way
from dnn_offload.planning.lateness import late_costs_ms, with_late_cost
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, ServerState
from dnn_offload.planning.stage_weights import LATENCY, StageWeights

_TOO_MUCH = 1e15           # beyond any real plan, below anything with an impossible part
_FIRST_LOOKS = 128         # pairs whose lateness is reckoned before a bound is known

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_PAIRS = PairCache(CutPairs, size=4)


class PairSearch:
    """All pairs of cuts on one server under one belief about the loads."""

    def __init__(
        self,
        conditions: Conditions,
        server: ServerState,
        weights: StageWeights = LATENCY,
        edge_load: float | None = None,
        server_load: float | None = None,
        *,
        overheads: bool = True,
    ) -> None:
        self.pairs = _PAIRS.get(conditions.edge_profile, server.profile)
        self._server = server
        self._weights = weights
        self._load = sane_load(conditions.edge_load if edge_load is None else edge_load)
        self._tail_load = sane_load(server.load_factor if server_load is None else server_load)
        self._finish_ms = conditions.edge_profile.finish_ms * self._load
        self._queue_ms = max(server.queue_ms, 0.0)
        self._overhead_ms = server.overhead_ms if overheads else 0.0
        self._codecs: Bools = np.ones(len(self.pairs.codecs), dtype=bool)
        self._first: Bools = np.ones(len(self.pairs.here), dtype=bool)
        self._second: Bools = self._first
        self._floor = 0.0

    def restrict(
        self, constraints: Constraints, codecs: Collection[str], cuts: Collection[int]
    ) -> None:
        """Leave out what the user forbids or the strategy does not consider."""
        pairs = self.pairs
        for names in (constraints.codecs, codecs):
            if names:
                self._codecs = self._codecs & np.array([name in names for name in pairs.codecs])
        if cuts:
            self._second = np.array([cut.index in cuts for cut in pairs.here], dtype=bool)
        self._first = self._second & (pairs.depth >= constraints.private_layers)
        self._floor = float(getattr(constraints, 'min_agreement', 0.0))

    def totals(self, weights: StageWeights | None = None) -> Floats:
        """Weighted cost of every pair with its best codecs, (M, M); huge where impossible."""
        weights = weights or self._weights
        pairs = self.pairs
        up, down = self._ways(weights)
        base = self._base(weights)
        if self._floor > 0.0:
            return base + self._agreeing(up, down)
        best_up, best_down = up.whole().min(axis=0), down.whole().min(axis=0)
        base += best_up[:, None]
        base += best_down[None, :]
        flat, count = base.reshape(-1), len(best_up)
        for way, best, parts, share, axis in (
            (up, best_up, pairs.up_parts, pairs.up_share, 0),
            (down, best_down, pairs.down_parts, pairs.down_share, 1),
        ):
            cuts = parts // count if axis == 0 else parts % count
            flat[parts] += way.cost(cuts, share.reshape(-1)[parts]).min(axis=0) - best[cuts]
        return base

    def best(self, keep: int, deadline_ms: float) -> list[Candidate]:
        """The ``keep`` best plans."""
        if len(self.pairs.here) < 2 or not self._codecs.any():
            return []
        totals = self.totals().reshape(-1)
        if totals.min() >= _TOO_MUCH:
            return []
        if deadline_ms > 0.0:
            return self._best_in_time(totals, keep, deadline_ms)
        places = _lowest(totals, keep)
        return self._made_cheapest(places[totals[places] < _TOO_MUCH])

    def pareto(self, other: StageWeights) -> list[Candidate]:
        """Plans that no other pair of cuts beats in both weightings, by the first.

        Codecs are the best by the first weighting, so this is exact with one codec.
        """
        if len(self.pairs.here) < 2 or not self._codecs.any():
            return []
        one, two = self.totals().reshape(-1), self.totals(other).reshape(-1)
        order = np.lexsort((two, one))
        order = order[one[order] < _TOO_MUCH]
        lowest = np.minimum.accumulate(two[order])
        best = np.concatenate(([True], lowest[1:] < lowest[:-1]))[: len(order)]
        return self._made_cheapest(order[best])

    def possible(self, i: int, j: int, up: int, down: int) -> bool:
        """Whether both codecs can carry what crosses these cuts."""
        sent, back = self.pairs.up[BYTES, up, i], self.pairs.down[BYTES, down, j]
        return bool(max(sent, back) < IMPOSSIBLE)

    def candidate(self, i: int, j: int, up: int, down: int, deadline_ms: float) -> Candidate:
        """One plan in full."""
        pairs, link = self.pairs, self._server.link
        cut, back = pairs.here[i], pairs.here[j]
        encode_ms, decode_ms, sent_bytes = (pairs.up[:, up, i] * pairs.up_share[i, j]).tolist()
        pack_ms, unpack_ms, back_bytes = (pairs.down[:, down, j] * pairs.down_share[i, j]).tolist()
        made = Candidate(
            cut_index=cut.index,
            cut_id=cut.cut_id,
            label=cut.label,
            codec=pairs.codecs[up],
            server=self._server.name,
            uplink_bytes=round(sent_bytes),
            head_ms=float(pairs.head_ms[i]) * self._load,
            encode_ms=encode_ms * self._load,
            uplink_ms=link.uplink_ms(sent_bytes),
            queue_ms=self._queue_ms,
            decode_ms=decode_ms * self._tail_load,
            tail_ms=(float(pairs.middle_ms[i, j]) + pack_ms) * self._tail_load,
            downlink_ms=link.downlink_ms(back_bytes),
            finish_ms=self._finish_ms,
            overhead_ms=self._overhead_ms,
            rest_ms=(back.tail_ms + unpack_ms) * self._load,
            return_index=back.index,
            return_id=back.cut_id,
            return_codec=pairs.codecs[down],
            downlink_bytes=round(back_bytes),
        )
        return with_late_cost(made, cut.tail_ms * self._load, deadline_ms)

    # ---- inside ----------------------------------------------------------------------------

    def _ways(self, weights: StageWeights) -> tuple[Way, Way]:
        pairs, link = self.pairs, self._server.link
        robot, server = weights.robot * self._load, weights.server * self._tail_load
        up_codec = pairs.up[ENCODE] * robot + pairs.up[DECODE] * server
        down_codec = pairs.down[ENCODE] * server + pairs.down[DECODE] * robot
        for cost, allowed in ((up_codec, self._first), (down_codec, self._second)):
            cost[~self._codecs] = IMPOSSIBLE
            cost[:, ~allowed] = IMPOSSIBLE
        per_byte = weights.uplink * 8e3 / link.uplink_bps
        up = Way(up_codec, pairs.up[BYTES], per_byte, link.uplink_burst_bytes)
        per_byte = weights.downlink * 8e3 / link.downlink_bps
        return up, Way(down_codec, pairs.down[BYTES], per_byte, 0.0)

    def _base(self, weights: StageWeights) -> Floats:
        """What no codec changes; (M, M)."""
        pairs, link = self.pairs, self._server.link
        robot = weights.robot * self._load
        constant = (
            weights.robot * self._finish_ms
            + weights.server * (self._queue_ms + self._overhead_ms)
            + weights.uplink * link.uplink_alpha_ms
            + weights.downlink * link.downlink_alpha_ms
        )
        base: Floats = pairs.middle_ms * max(weights.server * self._tail_load, 1e-9)
        base += (pairs.head_ms * robot + constant)[:, None]
        base += (pairs.edge_tail_ms * robot)[None, :]
        return base

    def _agreeing(self, up: Way, down: Way) -> Floats:
        """Cheapest two codecs that together agree with the network as demanded; (M, M)."""
        pairs, count = self.pairs, len(self.pairs.here)
        i, j = np.divmod(np.arange(count * count), count)
        costs_up = up.cost(i, pairs.up_share.reshape(-1))
        costs_down = down.cost(j, pairs.down_share.reshape(-1))
        best = np.full(count * count, IMPOSSIBLE)
        for k, cost_up in enumerate(costs_up):
            for m, cost_down in enumerate(costs_down):
                if pairs.agreement[k].max() + pairs.agreement[m].max() - 1.0 < self._floor:
                    continue
                both = np.where(self._agrees(k, m, i, j), cost_up + cost_down, IMPOSSIBLE)
                np.minimum(best, both, out=best)
        return best.reshape(count, count)

    def _agrees(self, up: int, down: int, i: Ints, j: Ints) -> Bools:
        """Whether two codecs together pass the floor.

        Where one changes the answer on a share a of frames and the other on a share b, both
        change it on a + b at most.
        """
        there, back = self.pairs.agreement[up, i], self.pairs.agreement[down, j]
        agrees: Bools = (there >= 0.0) & (back >= 0.0)
        return agrees & (there + back - 1.0 >= self._floor - 1e-12)

    def _choices(self, places: Ints) -> tuple[Floats, Floats]:
        """Weighted costs of both ways for some pairs by codec; (K, len(places)) each."""
        pairs = self.pairs
        i, j = np.divmod(places, len(pairs.here))
        up, down = self._ways(self._weights)
        return up.cost(i, pairs.up_share[i, j]), down.cost(j, pairs.down_share[i, j])

    def _combinations(self, up: Floats, down: Floats, places: Ints) -> Floats:
        """Costs of all two codecs; (K, K, len(places))."""
        costs = up[:, None] + down[None, :]
        if self._floor > 0.0:
            i, j = np.divmod(places, len(self.pairs.here))
            for k, m in np.ndindex(costs.shape[:2]):
                costs[k, m, ~self._agrees(k, m, i, j)] = IMPOSSIBLE
        return costs

    def _best_in_time(self, totals: Floats, keep: int, deadline_ms: float) -> list[Candidate]:
        """The best where answers that come too late have their price; exact.

        Lateness only adds: pairs that without it cost more than the ``keep``-th best with it
        need not be looked at.
        """
        places = _lowest(totals, max(_FIRST_LOOKS, keep))
        priced, choice = self._with_lateness(places, deadline_ms)
        last = min(keep, len(priced)) - 1
        bound = np.partition(priced, last)[last]
        if len(places) < len(totals) and totals[places].max() < bound:
            places = np.flatnonzero(totals < min(bound, _TOO_MUCH))
            priced, choice = self._with_lateness(places, deadline_ms)
        order = _lowest(priced, keep)
        order = order[priced[order] < _TOO_MUCH]
        return self._made(places[order], choice[order], deadline_ms)

    def _with_lateness(self, places: Ints, deadline_ms: float) -> tuple[Floats, Ints]:
        """Cost of pairs with their best two codecs, and which these are (flat K x K)."""
        pairs, count = self.pairs, len(self.pairs.here)
        i, j = np.divmod(places, count)
        up, down = self._choices(places)
        costs = self._combinations(up, down, places)
        # The codec of the way back only adds: its best is the same, late or not.
        back = costs.argmin(axis=1)
        costs = np.take_along_axis(costs, back[:, None], axis=1)[:, 0]
        weights = self._weights
        base = self._base(weights)[i, j]
        latency_ms = costs + base
        if weights != LATENCY:
            plain = self._ways(LATENCY)
            both = np.take_along_axis(
                plain[1].cost(j, pairs.down_share[i, j]), back, axis=0
            ) + plain[0].cost(i, pairs.up_share[i, j])
            latency_ms = both + self._base(LATENCY)[i, j]
        encode_ms = pairs.up[ENCODE][:, i] * pairs.up_share[i, j]
        before_ms = (pairs.head_ms[i] + encode_ms) * self._load
        rescue_ms = pairs.edge_tail_ms[i] * self._load + self._finish_ms
        late_ms = late_costs_ms(
            latency_ms, before_ms, np.broadcast_to(rescue_ms, before_ms.shape), deadline_ms
        )
        priced = costs + base + late_ms * weights.server
        choice = priced.argmin(axis=0)
        some = np.arange(len(places))
        return priced[choice, some], choice * len(pairs.codecs) + back[choice, some]

    def _made_cheapest(self, places: Ints) -> list[Candidate]:
        """Plans with the cheapest two codecs each."""
        if not len(places):
            return []
        up, down = self._choices(places)
        costs = self._combinations(up, down, places)
        choice = costs.reshape(-1, len(places)).argmin(axis=0)
        return self._made(places, choice, 0.0)

    def _made(self, places: Ints, choices: Ints, deadline_ms: float) -> list[Candidate]:
        made = []
        for place, choice in zip(places.tolist(), choices.tolist(), strict=True):
            i, j = divmod(place, len(self.pairs.here))
            up, down = divmod(choice, len(self.pairs.codecs))
            made.append(self.candidate(i, j, up, down, deadline_ms))
        return made


def _lowest(values: Floats, count: int) -> Ints:
    """Places of the lowest values, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, count - 1)[:count]
