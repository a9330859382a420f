"""What all pairs of cuts cost on one server, as arrays: bounds, values, plans. Pure.

The equations are in ``two_cuts.py``. A sum over stages (``stage_weights.py``) bounds the value of
every pair from below; what it does not see, lateness and the slowest stage, is reckoned only for
the pairs that are asked for.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.energy import frame_energy_j
from dnn_offload.planning.costs import (
    expected_wait_ms,
    hidden_ms,
    in_full,
    late_cost_ms,
    sane_load,
    slow_down,
    threads_of,
)
from dnn_offload.planning.cut_pairs import (
    BEHIND,
    BYTES,
    CutPairs,
    DECODE,
    ENCODE,
    IMPOSSIBLE,
    Way,
)
from dnn_offload.planning.objective import late_share, LATENCY, MOST_LATE, THROUGHPUT
from dnn_offload.planning.overheads import RETURN
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope, ServerState
from dnn_offload.planning.stage_weights import (
    ALL_EQUAL,
    stage_weights,
    StageWeights,
)

TOO_MUCH = 1e15           # beyond any real plan, below anything with an impossible part
TIE = 1e-9                # of the latency: of plans with one period the fastest is the best

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Stages = tuple[Floats, Floats, Floats, Floats]

_PAIRS = PairCache(CutPairs, size=64)


class PairPrices:
    """All pairs of cuts on one server.

    Args:
        conditions: What is known now, or believed.
        server: Where the middle runs.
        constraints: What the user demands.
        scope: What the strategy considers.
        threads: Compute threads on the robot; 0 = as they are set.
        local: The all-local plan.
    """

    def __init__(
        self,
        conditions: Conditions,
        server: ServerState,
        constraints: Constraints,
        scope: Scope,
        threads: int,
        local: Candidate,
    ) -> None:
        self.pairs = pairs = _PAIRS.get(conditions.edge_profile, server.profile)
        self.up = pairs.sent(conditions.sizes)
        self.conditions, self.server, self._constraints = conditions, server, constraints
        self._deadline_ms, self.threads = scope.deadline_ms, threads
        self.load = sane_load(conditions.edge_load)
        self._all_threads = threads_of(threads, conditions.edge_profile)
        self._slower = slow_down(self.load, self._all_threads)
        self._tail_load = sane_load(server.load_factor)
        self._finish_ms = conditions.edge_profile.finish_ms * self.load
        self._queue_ms = max(server.queue_ms, 0.0)
        learnt_ms = server.return_overhead_ms
        self._overhead_ms = server.overhead_ms if math.isnan(learnt_ms) else learnt_ms
        head_ms, rest_ms = pairs.robot_times(threads)
        self._head_ms, self._rest_ms = head_ms * self._slower, rest_ms * self._slower
        self._wake_ratio = conditions.wake_ratio
        self._local = local
        self.weights = stage_weights(
            constraints.objective, conditions.power, self.load, self._all_threads, self._local
        )
        self.codecs: Bools = np.ones(len(pairs.codecs), dtype=bool)
        for names in (constraints.codecs, scope.codecs):
            if names:
                self.codecs = self.codecs & np.array([name in names for name in pairs.codecs])
        self.second: Bools = np.ones(len(pairs.here), dtype=bool)
        if scope.cuts:
            self.second = np.array([cut.index in scope.cuts for cut in pairs.here], dtype=bool)
        self.first: Bools = self.second & (pairs.depth >= constraints.private_layers)
        self.floor = constraints.min_agreement
        self._bounds: dict[StageWeights, Floats] = {}
        self._known_ways: dict[StageWeights, tuple[Way, Way]] = {}

    @property
    def empty(self) -> bool:
        """Whether there is no pair at all."""
        return len(self.pairs.here) < 2 or not self.codecs.any()

    @property
    def whole_ms(self) -> float:
        """The whole network on the robot."""
        return float(self._rest_ms[0])

    def bounds(self, weights: StageWeights) -> Floats:
        """Weighted cost that no pair goes below; huge where it is impossible.

        (M, M), to be read only. Without a burst on the uplink it is the pair's cost with its
        best codecs (``tighter`` sees that, too).
        """
        if weights not in self._bounds:
            self._bounds[weights] = self._bounds_of(weights)
        return self._bounds[weights]

    def _bounds_of(self, weights: StageWeights) -> Floats:
        pairs = self.pairs
        up, down = self._ways(weights)
        middle, first_ms, second_ms = self._base(weights)
        base: Floats = pairs.middle_ms * middle
        base += first_ms[:, None]
        base += second_ms[None, :]
        every, none = up.least()
        base += up.bound((every[:, None], none[:, None]), pairs.up_share)
        base += down.bound(down.least(), pairs.down_share)
        return base

    def candidate(self, i: int, j: int, up: int, down: int) -> Candidate:
        """One plan in full, without its value."""
        pairs, link = self.pairs, self.server.link
        cut, back = pairs.here[i], pairs.here[j]
        sent, back_again = self.up[:, up, i], pairs.down[:3, down, j]
        encode_ms, decode_ms, sent_bytes, behind_ms = (sent * pairs.up_share[i, j]).tolist()
        pack_ms, unpack_ms, back_bytes = (back_again * pairs.down_share[i, j]).tolist()
        stages = {
            'head_ms': float(self._head_ms[i]),
            'encode_ms': encode_ms * self.load,
            'uplink_ms': link.uplink_ms(sent_bytes),
            'queue_ms': self._queue_ms,
            'decode_ms': decode_ms * self._tail_load,
            'tail_ms': (float(pairs.middle_ms[i, j]) + pack_ms) * self._tail_load,
            'downlink_ms': link.downlink_ms(back_bytes),
            'finish_ms': self._finish_ms,
            'overhead_ms': self._overhead_ms
            + self._wake_ratio * float(self._head_ms[i] + self._rest_ms[j]),
            'rest_ms': float(self._rest_ms[j]) + unpack_ms * self.load,
            'overlap_ms': float(hidden_ms(behind_ms * self.load, sent_bytes, link)),
        }
        rescue_ms = 0.0
        if self._deadline_ms > 0.0:
            rescue_ms = float(self._rest_ms[i]) + self._finish_ms
        made = Candidate(
            cut_index=cut.index,
            cut_id=cut.cut_id,
            label=cut.label,
            codec=pairs.codecs[up],
            server=self.server.name,
            uplink_bytes=round(sent_bytes),
            return_index=back.index,
            return_id=back.cut_id,
            return_codec=pairs.codecs[down],
            downlink_bytes=round(back_bytes),
            threads=self.threads,
            rescue_ms=rescue_ms,
            **stages,
        )
        return in_full(made, self.conditions, self._deadline_ms)

    # ---- inside ----------------------------------------------------------------------------

    def _ways(self, weights: StageWeights) -> tuple[Way, Way]:
        if weights not in self._known_ways:
            self._known_ways[weights] = self._ways_of(weights)
        return self._known_ways[weights]

    def _ways_of(self, weights: StageWeights) -> tuple[Way, Way]:
        pairs, link = self.pairs, self.server.link
        robot, server = weights.robot * self.load, weights.server * self._tail_load
        up_codec = self.up[ENCODE] * robot + self.up[DECODE] * server
        down_codec = pairs.down[ENCODE] * server + pairs.down[DECODE] * robot
        for cost, allowed in ((up_codec, self.first), (down_codec, self.second)):
            cost[~self.codecs] = IMPOSSIBLE
            cost[:, ~allowed] = IMPOSSIBLE
        per_byte = weights.uplink * 8e3 / link.uplink_bps
        up = Way(
            up_codec, self.up[BYTES], per_byte, link.uplink_burst_bytes,
            # While the robot encodes and sends at a time, so much less of its time is idle.
            self.up[BEHIND] * self.load if pairs.in_parts else None,
            8e3 / link.uplink_bps, weights.server,
        )
        per_byte = weights.downlink * 8e3 / link.downlink_bps
        return up, Way(down_codec, pairs.down[BYTES], per_byte, 0.0)

    def _base(self, weights: StageWeights) -> tuple[float, Floats, Floats]:
        """What no codec changes: of a millisecond in the middle, of each first and second cut."""
        link = self.server.link
        constant = (
            weights.robot * self._finish_ms
            + weights.server * (self._queue_ms + self._overhead_ms)
            + weights.uplink * link.uplink_alpha_ms
            + weights.downlink * link.downlink_alpha_ms
        )
        computed = weights.robot + weights.server * self._wake_ratio
        middle = max(weights.server * self._tail_load, 1e-9)
        return middle, computed * self._head_ms + constant, computed * self._rest_ms

    def agrees(self, up: int, down: int, i: Ints, j: Ints) -> Bools:
        """Whether two codecs together pass the floor.

        Where one changes the answer on a share a of frames and the other on a share b, both
        change it on a + b at most.
        """
        there, back = self.pairs.agreement[up, i], self.pairs.agreement[down, j]
        agrees: Bools = (there >= 0.0) & (back >= 0.0)
        return agrees & (there + back - 1.0 >= self.floor - 1e-12)

    def both_ways(self, places: Ints, weights: StageWeights) -> tuple[Floats, Floats]:
        """Weighted costs of both ways for some pairs by codec; (K, len(places)) each."""
        pairs = self.pairs
        i, j = np.divmod(places, len(pairs.here))
        up, down = self._ways(weights)
        return up.cost(i, pairs.up_share[i, j]), down.cost(j, pairs.down_share[i, j])

    def combined(self, up: Floats, down: Floats, places: Ints) -> Floats:
        """Costs of all two codecs, forbidden ones huge; (K, K, len(places))."""
        costs: Floats = up[:, None] + down[None, :]
        if self.floor > 0.0:
            i, j = np.divmod(places, len(self.pairs.here))
            for k, m in np.ndindex(*costs.shape[:2]):
                costs[k, m, ~self.agrees(k, m, i, j)] = IMPOSSIBLE
        return costs

    def valued(self, places: Ints) -> tuple[Floats, Ints]:
        """Value of pairs with their best two codecs, and which these are (flat K x K).

        Many have one period, so for ``throughput`` a trace of the latency is in the value.
        """
        objective = self._constraints.objective
        in_stages = self.conditions.frame_period_ms > 0.0 or objective.name != LATENCY
        costs, latency_ms, stages, wait_ms = self._latency(places, in_stages=in_stages)
        values = latency_ms
        if objective.name != LATENCY and stages is not None:
            values = self._other_value(latency_ms, stages, wait_ms)
            if objective.name == THROUGHPUT:
                values = values + TIE * latency_ms
            values = np.where(costs >= TOO_MUCH, IMPOSSIBLE, values)
        flat = values.reshape(-1, len(places))
        choice = flat.argmin(axis=0)
        return flat[choice, np.arange(len(places))], choice

    def latency_and_energy(self, places: Ints) -> tuple[Floats, Floats]:
        """Both of pairs with any two codecs, the robot's power known; (K * K, len(places)) each.

        Infinite where it is forbidden.
        """
        costs, latency_ms, stages, wait_ms = self._latency(places, in_stages=True)
        assert stages is not None
        energy_j = self._energy_j(latency_ms, stages, wait_ms)
        both = (np.where(costs >= TOO_MUCH, np.inf, each) for each in (latency_ms, energy_j))
        latency_ms, energy_j = (each.reshape(-1, len(places)) for each in both)
        return latency_ms, energy_j

    def _latency(
        self, places: Ints, *, in_stages: bool
    ) -> tuple[Floats, Floats, Stages | None, Floats]:
        """Of pairs with any two codecs, (K, K, pairs): weighted sums, latency, stages, wait.

        Without ``in_stages`` there are no stages, and nothing waits for them.
        """
        pairs = self.pairs
        i, j = np.divmod(places, len(pairs.here))
        costs = self.combined(*self.both_ways(places, ALL_EQUAL), places)
        middle, first_ms, second_ms = self._base(ALL_EQUAL)
        latency_ms = costs + (pairs.middle_ms[i, j] * middle + first_ms[i] + second_ms[j])
        stages: Stages | None = None
        wait_ms: Floats = np.zeros(1)
        if in_stages:
            stages = self._stages(i, j, latency_ms.shape)
            wait_ms = self._wait_ms(stages[0])
            latency_ms = latency_ms + wait_ms
        if self._deadline_ms > 0.0:
            encode_ms = self.up[ENCODE][:, i] * pairs.up_share[i, j] * self.load
            latency_ms = latency_ms + late_cost_ms(
                latency_ms,
                np.broadcast_to((self._head_ms[i] + encode_ms)[:, None], latency_ms.shape),
                np.broadcast_to(self._rest_ms[i] + self._finish_ms, latency_ms.shape),
                self._deadline_ms,
            )
        return costs, latency_ms, stages, wait_ms

    def tighter(self, bounds: Floats, places: Ints) -> Floats:
        """Bounds on the value that see a burst, the deadline and the slowest stage."""
        if not len(places):
            return bounds
        objective = self._constraints.objective
        i, j = np.divmod(places, len(self.pairs.here))
        up, share = self._ways(self.weights)[0], self.pairs.up_share[i, j]
        if up.burst > 0.0:
            every, none = up.least()
            loose = up.bound((every[i], none[i]), share)
            bounds = bounds + (up.cost(i, share).min(axis=0) - loose)
        period_ms: Floats = np.zeros(len(places))
        if self.conditions.frame_period_ms > 0.0 or objective.name == THROUGHPUT:
            period_ms = self._least_period_ms(i, j)
        wait_ms = self._wait_ms(period_ms)
        if objective.name == LATENCY:
            bounds = bounds + wait_ms
            return bounds + self._least_late_ms(bounds, i)
        latency_ms = self.bounds(ALL_EQUAL).reshape(-1)[places] + wait_ms
        late_ms = self._least_late_ms(latency_ms, i)
        # Lateness is an idle robot's time; while a picture waits it works for another.
        bounds = bounds + self.weights.wait * wait_ms + self.weights.server * late_ms
        if objective.name == THROUGHPUT:
            bounds = np.maximum(bounds, period_ms)
        share = late_share(latency_ms + late_ms, self._constraints.deadline_ms)
        return bounds / (1.0 - MOST_LATE * share)

    def _wait_ms(self, period_ms: Floats) -> Floats:
        """What pictures wait for such a slowest stage."""
        less_ms = self.conditions.waits_less.get(self.server.name + RETURN, 0.0)
        return expected_wait_ms(period_ms, self.conditions.frame_period_ms, less_ms)

    def _least_late_ms(self, latency_ms: Floats, i: Ints) -> Floats:
        """Bound on the cost of lateness, of bounds on the latency.

        It is linear in the chance that a rescue fits, which falls with the time before sending:
        of the shortest and the longest time one gives the least.
        """
        if self._deadline_ms <= 0.0:
            return np.zeros(len(i))
        encode_ms = self.up[ENCODE]
        longest_ms = np.where(encode_ms < IMPOSSIBLE, encode_ms, 0.0).max(axis=0)
        rescue_ms = self._rest_ms[i] + self._finish_ms
        late_ms: list[Floats] = [
            late_cost_ms(latency_ms, before_ms, rescue_ms, self._deadline_ms)
            for before_ms in (self._head_ms[i], self._head_ms[i] + longest_ms[i] * self.load)
        ]
        return np.minimum(*late_ms)

    def _least_period_ms(self, i: Ints, j: Ints) -> Floats:
        """Bound on the slowest stage."""
        pairs = self.pairs
        robot_ms = self._head_ms[i] + self._rest_ms[j] + self._finish_ms
        server_ms = pairs.middle_ms[i, j] * self._tail_load
        sent = self.up[BYTES][self.codecs].min(axis=0)[i] * pairs.up_share[i, j]
        up_ms: Floats = self.server.link.uplink_ms(sent)
        return np.maximum(np.maximum(robot_ms, server_ms), up_ms)

    def _stages(self, i: Ints, j: Ints, shape: tuple[int, ...]) -> Stages:
        """Slowest stage; the robot's time, and those of both transfers; (K, K, pairs)."""
        pairs, link = self.pairs, self.server.link
        u, d = pairs.up_share[i, j], pairs.down_share[i, j]
        pack_ms, unpack_ms, sent = self.up[:3, :, i] * u
        repack_ms, decode_ms, back = pairs.down[:3, :, j] * d
        robot_ms = (
            (self._head_ms[i] + self._rest_ms[j] + self._finish_ms)
            + pack_ms[:, None] * self.load
            + decode_ms[None, :] * self.load
        )
        server_ms = (
            pairs.middle_ms[i, j] + unpack_ms[:, None] + repack_ms[None, :]
        ) * self._tail_load
        up_ms = np.broadcast_to(link.uplink_ms(sent)[:, None], shape)
        down_ms = np.broadcast_to(link.downlink_ms(back)[None, :], shape)
        period_ms = np.maximum(np.maximum(robot_ms, up_ms), np.maximum(server_ms, down_ms))
        return period_ms, robot_ms, up_ms, down_ms

    def _other_value(self, latency_ms: Floats, stages: Stages, wait_ms: Floats) -> Floats:
        """Value under an objective other than latency; (K, K, pairs)."""
        energy_j = np.full(latency_ms.shape, np.nan)
        if self.conditions.power is not None:
            energy_j = self._energy_j(latency_ms, stages, wait_ms)
        return self._constraints.objective.value(
            latency_ms,
            stages[0],
            energy_j,
            late_share(latency_ms, self._constraints.deadline_ms),
            (self._local.latency_ms, self._local.energy_j),
        )

    def _energy_j(self, latency_ms: Floats, stages: Stages, wait_ms: Floats) -> Floats:
        """Of the robot, its power known; (K, K, pairs)."""
        power = self.conditions.power
        assert power is not None
        _, robot_ms, up_ms, down_ms = stages
        own_ms = robot_ms / max(self.load, 1.0)
        idle_ms = latency_ms - own_ms - up_ms - down_ms - wait_ms
        return frame_energy_j(power, own_ms, up_ms, down_ms, idle_ms, self._all_threads)

    def made(self, places: Ints, choices: Ints) -> list[Candidate]:
        """The plans of some pairs (flat M x M) with two codecs each (flat K x K)."""
        made = []
        for place, choice in zip(places.tolist(), choices.tolist(), strict=True):
            i, j = divmod(place, len(self.pairs.here))
            up, down = divmod(choice, len(self.pairs.codecs))
            made.append(self.candidate(i, j, up, down))
        return made
