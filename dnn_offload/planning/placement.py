"""Placement over the operator graph: one branch on the robot, its sister on the server.

The cost of a placement with the layers S on the robot is additive and sequential::

    T(S) = L * sum_{l in S} t_edge(l) + s * sum_{l not in S} t_server(l)
         + sum_{v sent} (encode(v)*L + bytes(v)/B_up + decode(v)*s)
         + alpha_up + queue + downlink + finish*L

A value is sent once however many layers read it, and what is on the server stays there: S is
closed under "makes what is read by". That is a minimum cut (every layer is cut from the robot
or from the server, every sent value once through a node of its own), found exactly by maximum
flow. The last line is the same for every placement that uses the server, so it plays no part;
all on the robot is a candidate of its own. Answers come back whole, as with any cut.

Profiles know what codecs cost per cut, not per value: a value costs its share of the bytes at
the cut where that share is largest. The candidate is then priced from measured heads and tails
(``PlacementGraph.placed``), so that it stands beside the cuts without favour.
"""

from __future__ import annotations

from collections.abc import Collection
import statistics

from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import (
    answer_bytes,
    in_full,
    local_candidate,
    sane_load,
    slow_down,
    thread_counts,
    threads_of,
    usable_servers,
)
from dnn_offload.planning.limits import LOSSLESS
from dnn_offload.planning.minimum_cut import best_placement, Prices
from dnn_offload.planning.objective import THROUGHPUT
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.placement_graph import (
    frontier_id,
    Placed,
    placement_graph,
    PlacementGraph,
)
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    EVERYTHING,
    Key,
    Scope,
    ServerState,
)
from dnn_offload.planning.stage_weights import ALL_EQUAL, stage_weights, StageWeights

SHAPE = 'dag'
Solved = tuple[list[Prices], list[Prices]]  # under the objective, and for the fastest

GRAPHS: PairCache[PlacementGraph | None] = PairCache(placement_graph, size=64)


def candidates(
    conditions: Conditions, constraints: Constraints, scope: Scope = EVERYTHING
) -> list[Candidate]:
    """The best placement per server, where it beats all cuts in linear order.

    Each thread count has its own, but for those that no price speaks for. It is exact for
    latency, energy and their mix. A deadline, and waiting for the slowest stage, price the result
    only, and for ``throughput`` the fastest placement stands in. Those of ``constraints.keep``
    come on top.

    Args:
        conditions: What is known now, or believed.
        constraints: What the user demands. A floor on agreement leaves lossless codecs only:
            agreement was measured at cuts.
        scope: What the strategy considers; a placement has no position, so ``cuts`` say nothing.
    """
    found: dict[Key, Candidate] = {}
    wanted = [key for key in constraints.keep if not key[3]]
    local = local_candidate(conditions)
    for server in usable_servers(conditions, constraints):
        searches = [
            _Search(conditions, server, constraints, scope, threads)
            for threads in thread_counts(conditions.edge_profile, constraints)
        ]
        solved: Solved = ([], [])
        for search in sorted(searches, key=lambda search: search.slowness):
            plans = [*search.best(local, solved), *search.kept(wanted)]
            found |= {plan.key: plan for plan in plans}
    return list(found.values())


def price(
    candidate: Candidate, conditions: Conditions, deadline_ms: float = 0.0
) -> Candidate:
    """Price a placement under these conditions.

    Raises:
        PlanningError: Its server is gone, or its values or codec are not in both profiles.
    """
    only = Constraints(servers=(candidate.server,))
    for server in usable_servers(conditions, only):
        scope = Scope(deadline_ms=deadline_ms)
        search = _Search(conditions, server, only, scope, candidate.threads)
        made = search.of_names(candidate.frontier, candidate.codec)
        if made is not None:
            return made
    raise PlanningError(
        'placement cannot be priced',
        given=f'{", ".join(candidate.frontier)} as {candidate.codec} on {candidate.server}',
        allowed='a ready server with a live link, and profiles with these values and codec',
    )


class _Search:
    """Placements on one server with one thread count."""

    def __init__(
        self,
        conditions: Conditions,
        server: ServerState,
        constraints: Constraints,
        scope: Scope,
        threads: int,
    ) -> None:
        self._graph = GRAPHS.get(conditions.edge_profile, server.profile)
        self._conditions, self._server, self._constraints = conditions, server, constraints
        self._deadline_ms, self._threads = scope.deadline_ms, threads
        self._load = sane_load(conditions.edge_load)
        self._tail_load = sane_load(server.load_factor)
        self._all_threads = threads_of(threads, conditions.edge_profile)
        self._slower = slow_down(self._load, self._all_threads)
        self._codecs: list[str] = []
        if self._graph is not None:
            self._codecs = [
                name
                for name in self._graph.codecs
                if (not constraints.codecs or name in constraints.codecs)
                and (not scope.codecs or name in scope.codecs)
                and (name in LOSSLESS or constraints.min_agreement <= 0.0)
            ]

    @property
    def slowness(self) -> float:
        """How slow the robot's layers are, beside other thread counts."""
        graph = self._graph
        return 0.0 if graph is None else self._slower * graph.thread_ratio(self._threads)

    def best(self, local: Candidate, solved: Solved) -> list[Candidate]:
        """The best under the objective, and the fastest where that is another.

        Args:
            local: The all-local plan.
            solved: Prices of other thread counts; ours are added. With prices none of which is
                lower than in one of these, no placement is better than the best with that one.
        """
        graph, codecs = self._graph, self._codecs
        if graph is None or not graph.branches or not codecs:
            return []
        constraints, power = self._constraints, self._conditions.power
        objective = constraints.objective
        own = ALL_EQUAL  # for throughput, too
        if objective.name != THROUGHPUT:
            own = stage_weights(objective, power, self._load, self._all_threads, local)
        made = []
        for weights, before in zip(dict.fromkeys((own, ALL_EQUAL)), solved, strict=False):
            prices = self._prices(graph, weights)
            if any(prices.nowhere_below(other) for other in before):
                continue
            before.append(prices)
            found = best_placement(graph, codecs, prices)
            placed = None if found is None else graph.placed(found[0])
            if found is not None and placed is not None:
                made.append(self._candidate(graph, placed, found[1]))
        return made

    def kept(self, keys: Collection[Key]) -> list[Candidate]:
        """The placements among ``keys`` that are legal here, whatever they cost."""
        made = []
        for cut_id, codec, server, _, _, threads in keys:
            frontier = None if self._graph is None else self._graph.known_as(cut_id)
            if frontier is None or self._graph is None or codec not in self._codecs:
                continue
            placed = self._graph.placed(frontier)
            if (
                placed is not None
                and server == self._server.name
                and threads == self._threads
                and placed.depth >= self._constraints.private_layers
            ):
                made.append(self._candidate(self._graph, placed, codec))
        return made

    def of_names(self, names: Collection[str], codec: str) -> Candidate | None:
        """The placement that sends these values; None where there is no such thing."""
        graph = self._graph
        if graph is None or codec not in self._codecs:
            return None
        index = graph.graph.index
        if not names or any(name not in index for name in names):
            return None
        placed = graph.placed(tuple(index[name] for name in names))
        return None if placed is None else self._candidate(graph, placed, codec)

    def _prices(self, graph: PlacementGraph, weights: StageWeights) -> Prices:
        computed = weights.robot + weights.server * self._conditions.wake_ratio
        return Prices(
            computed * self.slowness,
            weights.server * self._tail_load,
            weights.robot * self._load,
            weights.uplink * 8e3 / self._server.link.uplink_bps,
            self._constraints,
        )

    def _size_ratio(self, codec: str) -> float:
        """Real over profiled size, as far as cuts with that codec tell; 1 = nothing is known."""
        known = [ratio for (_, name), ratio in self._conditions.sizes.items() if name == codec]
        return statistics.median(known) if known else 1.0

    def _candidate(self, graph: PlacementGraph, placed: Placed, codec: str) -> Candidate:
        """The plan in full, without its value."""
        server, conditions, load = self._server, self._conditions, self._load
        costs, values = graph.codecs[codec], list(placed.frontier)
        nbytes = round(float(costs.nbytes[values].sum()) * self._size_ratio(codec))
        answer = answer_bytes(conditions, server)
        names = tuple(graph.graph.names[value] for value in values)
        head_ms, rest_ms = graph.robot_times(placed, self._threads)
        stages = {
            'head_ms': head_ms * self._slower,
            'encode_ms': float(costs.encode_ms[values].sum()) * load,
            'uplink_ms': server.link.uplink_ms(float(nbytes)),
            'queue_ms': max(server.queue_ms, 0.0),
            'decode_ms': float(costs.decode_ms[values].sum()) * self._tail_load,
            'tail_ms': placed.tail_ms * self._tail_load,
            'downlink_ms': server.link.downlink_ms(float(answer)),
            'finish_ms': conditions.edge_profile.finish_ms * load,
            'overhead_ms': server.overhead_ms + conditions.wake_ratio * head_ms * self._slower,
        }
        rescue_ms = 0.0
        if self._deadline_ms > 0.0:
            rescue_ms = rest_ms * self._slower + stages['finish_ms']
        made = Candidate(
            cut_index=placed.near.index,
            cut_id=frontier_id(names),
            label=f'branches near {placed.near.label}',
            codec=codec,
            server=server.name,
            uplink_bytes=nbytes,
            downlink_bytes=answer,
            frontier=names,
            threads=self._threads,
            return_index=-1,
            return_id='',
            return_codec='',
            rescue_ms=rescue_ms,
            **stages,
        )
        return in_full(made, conditions, self._deadline_ms)
