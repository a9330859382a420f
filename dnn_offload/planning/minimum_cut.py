"""The cheapest placement over the graph: by looking at all, or by maximum flow. Pure.

The model is in ``placement.py``, the network of flow in ``placement_graph.py``, the list of all
placements, where they are few enough, in ``placement_list.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import copy

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from dnn_offload.planning.placement_graph import PlacementGraph, ROBOT, SERVER
from dnn_offload.planning.placement_list import PlacementList
from dnn_offload.planning.plan import Constraints
from dnn_offload.planning.price_table import RAW
from dnn_offload.planning.value_costs import ValueCosts

# Flows are whole numbers: the best cut in linear order costs so many, and bounds all flows.
_UNITS = 1 << 28
_TOLERANCE = 1e-6          # gains below this share of the cost are rounding
_EQUAL = 1e-9              # and so are differences below this one

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Prices:
    """Prices of one belief: per millisecond of layers on either side, and of sending values.

    Args:
        robot, server: Of a millisecond of layers, loads included.
        codec: Of a millisecond of encoding.
        per_byte: Of a byte on the uplink.
        constraints: What may be sent.
    """

    def __init__(
        self,
        robot: float,
        server: float,
        codec: float,
        per_byte: float,
        constraints: Constraints,
    ) -> None:
        self.robot, self.server = robot, server
        self._codec, self._per_byte = codec, per_byte
        self._private_layers, self._codecs = constraints.private_layers, constraints.codecs

    def nowhere_below(self, other: Prices) -> bool:
        """Whether no part of any placement is cheaper than with the others, all else equal."""
        return (
            self.robot >= other.robot
            and self.server >= other.server
            and self._codec >= other._codec
            and self._per_byte >= other._per_byte
        )

    def sending(self, costs: ValueCosts, depth: Ints, picture: Bools) -> Floats:
        """Price of values, or of several together; infinite where they must stay on the robot.

        Args:
            costs: What a codec costs for each.
            depth: Of each, or the least of several.
            picture: Whether it is the picture, or the picture is among them.
        """
        price: Floats = (
            costs.encode_ms * self._codec
            + costs.decode_ms * self.server
            + costs.nbytes * self._per_byte
        )
        price[depth < self._private_layers] = np.inf
        if self._codecs and RAW not in self._codecs:
            price[picture] = np.inf  # beside other values it travels raw
        return price


def best_placement(
    graph: PlacementGraph, codecs: Collection[str], prices: Prices
) -> tuple[tuple[int, ...], str] | None:
    """Frontier and codec of the best placement, if it is better than every cut.

    Of equal ones that with the most on the robot.
    """
    if not codecs:
        return None
    listed = graph.listed
    return _by_flow(graph, codecs, prices) if listed is None else _of_all(listed, codecs, prices)


def _of_all(
    listed: PlacementList, codecs: Collection[str], prices: Prices
) -> tuple[tuple[int, ...], str] | None:
    """The best placement by pricing all of them."""
    names = list(codecs)
    layers = listed.robot_ms * prices.robot + listed.server_ms * prices.server
    costs = np.array(
        [prices.sending(listed.codecs[name], listed.depth, listed.picture) for name in names]
    )
    costs += layers
    least = float(costs.min())
    linear = float(costs[:, listed.is_cut].min(initial=np.inf))
    if not least < linear * (1.0 - _TOLERANCE):
        return None
    place = int((costs <= least * (1.0 + _EQUAL)).any(axis=0).argmax())
    return listed.frontier(place), names[int(costs[:, place].argmin())]


def _by_flow(
    graph: PlacementGraph, codecs: Collection[str], prices: Prices
) -> tuple[tuple[int, ...], str] | None:
    """The best placement by maximum flow, a few of them where codecs differ."""
    picture = np.arange(len(graph.depth)) == 0
    sending = {
        name: prices.sending(graph.codecs[name], graph.depth, picture) for name in codecs
    }
    # The codec is one for all values. With the cheapest for each value the cost is a bound.
    least = np.minimum.reduce(list(sending.values()))
    linear = _best_cut(graph, prices, np.array(list(sending.values())))
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
        if solved is not None:
            linear, on_robot = solved
            best = on_robot, name
    if best is None:
        return None
    sent = graph.sent(best[0][None])
    return None if graph.are_cuts(sent)[0] else (tuple(np.flatnonzero(sent).tolist()), best[1])


def _best_cut(graph: PlacementGraph, prices: Prices, sending: Floats) -> float:
    """Cost of the best cut in linear order under the model; ``sending`` is (codecs, V)."""
    costs = graph.before @ graph.edge_ms * prices.robot
    costs += ~graph.before @ graph.server_ms * prices.server
    finite = np.where(np.isfinite(sending), sending, 1e30)
    best = float((finite @ graph.crosses.T + costs).min())
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
        None if no placement costs less than ``bound``.
    """
    capacity, constant = graph.capacities(robot, server, sending)
    if bound <= 0.0 or constant > bound * (1.0 + _TOLERANCE):
        return None
    unit = bound / _UNITS
    most = float(_UNITS + len(capacity))
    whole = np.rint(np.minimum(capacity / unit, most)).astype(np.int32)[graph.edge_order]
    network = copy(graph.network)
    network.data = whole
    flow = maximum_flow(network, ROBOT, SERVER, method='dinic')
    cost = constant + flow.flow_value * unit
    if cost >= bound * (1.0 - _TOLERANCE):
        return None
    # Of equal placements the one with the most on the robot: on the server is only what can
    # still reach it.
    left = whole - flow.flow.data
    back = graph.backwards(left > 0)
    reached = np.zeros(graph.nodes, dtype=bool)
    reached[breadth_first_order(back, SERVER, return_predecessors=False)] = True
    on_robot = ~reached[graph.node_of_layer]
    return cost, on_robot
