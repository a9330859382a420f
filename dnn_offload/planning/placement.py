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
import hashlib

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import _output_bytes, _usable_servers, RAW, sane_load
from dnn_offload.planning.lateness import with_late_cost
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.placement_graph import (
    Placed,
    placement_graph,
    PlacementGraph,
    ROBOT,
    SERVER,
)
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, ServerState
from dnn_offload.planning.stage_weights import LATENCY, StageWeights
from dnn_offload.planning.value_costs import ValueCosts

SHAPE = 'dag'
ID_PREFIX = 'dag:'

# Flows are whole numbers: the best cut in linear order costs so many, and bounds all flows.
_UNITS = 1 << 28
_TOLERANCE = 1e-6          # gains below this share of the cost are rounding

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GRAPHS: PairCache[PlacementGraph | None] = PairCache(placement_graph, size=4)


def frontier_id(names: Collection[str]) -> str:
    """Identity of a placement that is no cut of the profile: ``dag:`` and 12 hex digits."""
    text = '\n'.join(names)
    return ID_PREFIX + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def candidates(
    conditions: Conditions,
    constraints: Constraints,
    *,
    weights: StageWeights = LATENCY,
    edge_load: float | None = None,
    server_load: float | None = None,
    codecs: Collection[str] = (),
    deadline_ms: float = 0.0,
    overheads: bool = True,
) -> list[Candidate]:
    """The best placement per server, where it beats all cuts in linear order under the model.

    Args:
        conditions: What is known now.
        constraints: What the user demands. A floor on agreement leaves raw tensors only:
            agreement was measured at cuts.
        weights: What is minimised; latency by default.
        edge_load: Load of the robot to believe in; None = ``conditions.edge_load``.
        server_load: Load of the servers to believe in; None = what each reports.
        codecs: Codecs that the strategy considers; empty = all.
        deadline_ms: Deadline that prices the result; the search itself does without.
        overheads: Whether the strategy knows learnt overheads.
    """
    found = []
    load = sane_load(conditions.edge_load if edge_load is None else edge_load)
    for server in _usable_servers(conditions, constraints):
        graph = GRAPHS.get(conditions.edge_profile, server.profile)
        if graph is None or not graph.branches:
            continue
        tail_load = sane_load(server.load_factor if server_load is None else server_load)
        allowed = [
            name
            for name in graph.codecs
            if (not constraints.codecs or name in constraints.codecs)
            and (not codecs or name in codecs)
            and (name == RAW or getattr(constraints, 'min_agreement', 0.0) <= 0.0)
        ]
        best = _best(graph, allowed, _Prices(server, load, tail_load, weights, constraints))
        if best is not None:
            frontier, codec = best
            placed = graph.placed(frontier)
            if placed is not None:
                made = _candidate(
                    graph, placed, codec, conditions, server, load, tail_load, overheads
                )
                found.append(with_late_cost(made, placed.edge_tail_ms * load, deadline_ms))
    return found


def price(candidate: Candidate, conditions: Conditions) -> Candidate:
    """Price a placement under these conditions.

    Raises:
        PlanningError: Its server is gone, or its values or codec are not in both profiles.
    """
    for server in _usable_servers(conditions, Constraints(servers=(candidate.server,))):
        graph = GRAPHS.get(conditions.edge_profile, server.profile)
        if graph is None or candidate.codec not in graph.codecs:
            continue
        index = graph.graph.index
        if all(name in index for name in candidate.frontier):
            placed = graph.placed(tuple(index[name] for name in candidate.frontier))
            if placed is not None:
                return _candidate(
                    graph, placed, candidate.codec, conditions, server,
                    sane_load(conditions.edge_load), sane_load(server.load_factor), True,
                )  # fmt: skip
    raise PlanningError(
        'placement cannot be priced',
        given=f'{", ".join(candidate.frontier)} as {candidate.codec} on {candidate.server}',
        allowed='a ready server with a live link, and profiles with these values and codec',
    )


class _Prices:
    """What a value costs to send under one belief."""

    def __init__(
        self,
        server: ServerState,
        load: float,
        tail_load: float,
        weights: StageWeights,
        constraints: Constraints,
    ) -> None:
        self.robot = weights.robot * load
        self.server = weights.server * tail_load
        self._per_byte = weights.uplink * 8e3 / server.link.uplink_bps
        self._private_layers = constraints.private_layers
        self._codecs = constraints.codecs

    def sending(self, graph: PlacementGraph, costs: ValueCosts) -> Floats:
        """Price of each value; infinite where it must stay on the robot."""
        price: Floats = (
            costs.encode_ms * self.robot
            + costs.decode_ms * self.server
            + costs.nbytes * self._per_byte
        )
        price[graph.depth < self._private_layers] = np.inf
        if self._codecs and RAW not in self._codecs:
            price[0] = np.inf  # beside other values the picture travels raw
        return price


def _best(
    graph: PlacementGraph, codecs: Collection[str], prices: _Prices
) -> tuple[tuple[int, ...], str] | None:
    """Frontier and codec of the best placement, if it is better than every cut."""
    if not codecs:
        return None
    sending = {name: prices.sending(graph, graph.codecs[name]) for name in codecs}
    # The codec is one for all values. With the cheapest for each value the cost is a bound.
    least = np.minimum.reduce(list(sending.values()))
    linear = min(_best_cut(graph, prices, price) for price in sending.values())
    if not np.isfinite(linear):
        linear = float(np.where(np.isfinite(least), least, 0.0).sum())
        linear += float(graph.edge_ms.sum()) * prices.robot
        linear += float(graph.server_ms.sum()) * prices.server
    bound = minimum_cut(graph, prices.robot, prices.server, least, linear)
    best = None
    if bound is None:
        return None
    # Codecs in order of what they would cost there: the first is mostly the right one.
    mixed = list(graph.frontier(bound[1]))
    for name in sorted(codecs, key=lambda name: float(sending[name][mixed].sum())):
        if bound[0] >= linear * (1.0 - _TOLERANCE):
            break
        solved = minimum_cut(graph, prices.robot, prices.server, sending[name], linear)
        if solved is not None and solved[0] < linear * (1.0 - _TOLERANCE):
            linear, on_robot = solved
            best = graph.frontier(on_robot), name
    if best is None or frozenset(best[0]) in graph.frontiers:
        return None
    return best


def _best_cut(graph: PlacementGraph, prices: _Prices, sending: Floats) -> float:
    """Cost of the best cut in linear order under the model."""
    finite = np.where(np.isfinite(sending), sending, 1e30)
    costs = graph.before @ graph.edge_ms * prices.robot
    costs += ~graph.before @ graph.server_ms * prices.server
    costs += graph.crosses @ finite
    best = float(costs.min())
    return best if best < 1e29 else float('inf')


def minimum_cut(
    graph: PlacementGraph, robot: float, server: float, sending: Floats, bound: float
) -> tuple[float, Bools] | None:
    """The cheapest placement: its cost, and which layers run on the robot.

    Args:
        graph: Layers and values.
        robot: Price of a millisecond on the robot, load included.
        server: The same on the server.
        sending: Price of sending each value; infinite = it may not be sent; (V,).
        bound: Cost of some placement; costs are exact to a few 1e-9 of it.

    Returns:
        None if every placement costs more than ``bound``.
    """
    capacity, constant = graph.capacities(robot, server, sending)
    if bound <= 0.0 or constant > bound * (1.0 + _TOLERANCE):
        return None
    unit = bound / _UNITS
    most = float(_UNITS + len(capacity))
    whole = np.rint(np.minimum(capacity / unit, most)).astype(np.int32)[graph.edge_order]
    shape = (graph.nodes, graph.nodes)
    network = csr_matrix((whole, graph.edge_ends, graph.edge_starts), shape=shape)
    flow = maximum_flow(network, ROBOT, SERVER, method='dinic')
    if flow.flow_value > _UNITS:
        return None
    # Of equal placements the one with the most on the robot: on the server is only what can
    # still reach it.
    left = whole - flow.flow.data
    open_ = left > 0
    back = csr_matrix(
        (np.ones(int(open_.sum())), (graph.edge_ends[open_], graph.edge_sources[open_])), shape
    )
    reached = np.zeros(graph.nodes, dtype=bool)
    reached[breadth_first_order(back, SERVER, return_predecessors=False)] = True
    on_robot = ~reached[graph.node_of_layer]
    return constant + flow.flow_value * unit, on_robot


def _candidate(
    graph: PlacementGraph,
    placed: Placed,
    codec: str,
    conditions: Conditions,
    server: ServerState,
    load: float,
    tail_load: float,
    overheads: bool,
) -> Candidate:
    """The plan in full."""
    costs, values = graph.codecs[codec], list(placed.frontier)
    nbytes = round(float(costs.nbytes[values].sum()))
    names = tuple(graph.graph.names[value] for value in values)
    return Candidate(
        cut_index=placed.near.index,
        cut_id=frontier_id(names),
        label=f'branches near {placed.near.label}',
        codec=codec,
        server=server.name,
        uplink_bytes=nbytes,
        head_ms=placed.head_ms * load,
        encode_ms=float(costs.encode_ms[values].sum()) * load,
        uplink_ms=server.link.uplink_ms(nbytes),
        queue_ms=max(server.queue_ms, 0.0),
        decode_ms=float(costs.decode_ms[values].sum()) * tail_load,
        tail_ms=placed.tail_ms * tail_load,
        downlink_ms=server.link.downlink_ms(_output_bytes(conditions, server)),
        finish_ms=conditions.edge_profile.finish_ms * load,
        overhead_ms=server.overhead_ms if overheads else 0.0,
        frontier=names,
    )
