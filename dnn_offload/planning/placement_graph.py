"""The network of flow behind a placement over the graph: built once per pair of profiles. Pure.

Nodes are the robot (source), the server (sink), groups of layers, and one node per value that
several groups read. Layers form a group when a value that may not be sent ties them together.
A value may be sent when it crosses some cut that both profiles have, when several layers read
it, or when the layer that does joins it with others: the cuts' rule that views and cheap
operators stay with their producer, for networks in which a join has several.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
import hashlib

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from dnn_offload.cost.profile import CutProfile, LayerProfile, Profile
from dnn_offload.exchange import UNLISTED
from dnn_offload.planning.layer_graph import layer_graph, LayerGraph
from dnn_offload.planning.placement_list import closed_sets, PlacementList
from dnn_offload.planning.price_table import PICTURE_CUT, thread_variants
from dnn_offload.planning.value_costs import value_costs
from dnn_offload.planning.value_rules import least_depths, sendable_values

ROBOT, SERVER = 0, 1       # nodes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """Which layers run on the robot, and what no condition changes about that.

    Attributes:
        frontier: Numbers of the values that are sent.
        depth: Fewest weighted layers before any of them, as far as the cuts tell.
        near: The cut that differs least.
        step_ms: What the robot runs more than before that cut, by its layers' times.
        tail_ms: Layers on the server.
    """

    frontier: tuple[int, ...]
    depth: int
    near: CutProfile
    step_ms: float
    tail_ms: float


class PlacementGraph:
    """Layers, values and edges of two profiles of one network.

    Attributes:
        graph: The robot's operator graph; N layers, V values.
        edge_ms, server_ms: In-place times of the layers, scaled to the whole network's; (N,).
        cuts: Cuts that both profiles have, the last ("all here") left out; C of them.
        crosses: Whether a value crosses each of them; (C, V).
        before: Whether a layer runs before each of them; (C, N).
        depth: Of each value, a depth that is never more than its own: of the deepest cut that
            it crosses, else of what it was made from; (V,).
        codecs: Codec name to its costs per value.
    """

    def __init__(
        self, edge: Profile, server: Profile, graph: LayerGraph, server_layers: Floats
    ) -> None:
        self.graph = graph
        self.edge_ms = _scaled([layer.time_ms for layer in edge.layers], edge.whole_ms)
        self.server_ms = _scaled(server_layers, server.whole_ms)
        theirs = server.by_id()
        self.cuts = tuple(cut for cut in edge.cuts[:-1] if cut.cut_id in theirs)
        self._there = tuple(theirs[cut.cut_id] for cut in self.cuts)
        rows = [cut.index for cut in self.cuts]
        self.crosses = graph.alive[rows]
        positions = np.array([graph.positions[row] for row in rows], dtype=np.int64)
        before = [np.arange(len(graph.reads)) < position for position in positions]
        self.before: Bools = np.array(before, dtype=bool)
        self.sendable = sendable_values(graph, self.crosses)
        self.depth = least_depths(graph, self.crosses, [cut.depth for cut in self.cuts])
        self._cut_rows = {row.tobytes() for row in np.packbits(self.crosses, axis=1)}
        self.codecs = value_costs(graph, self.cuts, self._there, self.crosses, positions)
        self._placed: dict[tuple[int, ...], Placed] = {}
        self._by_id: dict[str, tuple[int, ...]] = {}
        self._variants = thread_variants(edge)
        self._whole_ms = edge.whole_ms
        read = [
            (value, layer) for layer, values in enumerate(graph.reads) for value in values
        ]
        self._read_value = np.array([value for value, _ in read], dtype=np.int64)
        self._read_layer = np.array([layer for _, layer in read], dtype=np.int64)
        self._build()

    @property
    def branches(self) -> bool:
        """Whether there is anything that the cuts in linear order do not offer."""
        between = self.sendable & ~self.crosses.any(axis=0)
        return bool((self.crosses.sum(axis=1) > 1).any() or between.any())

    # ---- the network of flow ---------------------------------------------------------------

    def _build(self) -> None:
        graph = self.graph
        ends = graph.is_output
        group = _Groups(len(graph.reads))
        maker = np.full(len(graph.names), -1)
        for layer, values in enumerate(graph.makes):
            maker[list(values)] = layer
        readers: list[list[int]] = [[] for _ in graph.names]
        for value, layer in zip(self._read_value, self._read_layer, strict=True):
            readers[value].append(int(layer))
        for value in np.flatnonzero(~self.sendable):
            at = group.of_layer(int(maker[value])) if maker[value] >= 0 else ROBOT
            for layer in readers[value]:
                group.tie(at, group.of_layer(layer))
            if ends[value]:
                group.tie(at, SERVER)
        self.possible = group.find(ROBOT) != group.find(SERVER)
        nodes = {group.find(ROBOT): ROBOT, group.find(SERVER): SERVER}
        for layer in range(len(graph.reads)):
            nodes.setdefault(group.find(group.of_layer(layer)), len(nodes))
        self.node_of_layer = np.array(
            [nodes[group.find(group.of_layer(layer))] for layer in range(len(graph.reads))]
        )
        count = self.layer_nodes = len(nodes)

        edges: dict[tuple[int, int], int] = {}

        def edge(start: int, end: int) -> int:
            return edges.setdefault((start, end), len(edges))

        fixed: set[int] = set()
        self._needs: set[tuple[int, int]] = set()
        value_edge = np.full(len(graph.names), -1)
        for value in np.flatnonzero(self.sendable):
            start = int(self.node_of_layer[maker[value]]) if maker[value] >= 0 else ROBOT
            targets = {int(self.node_of_layer[layer]) for layer in readers[value]}
            if ends[value]:
                targets.add(SERVER)
            targets.discard(start)
            for target in sorted(targets):
                # Once on the server, it stays there: who reads a value runs where it is.
                if target != SERVER and start != ROBOT:
                    fixed.add(edge(target, start))
                    self._needs.add((target, start))
            if not targets or start == SERVER or targets == {ROBOT}:
                continue
            if len(targets) == 1:
                value_edge[value] = edge(start, targets.pop())
                continue
            value_edge[value] = edge(start, count)
            fixed |= {edge(count, target) for target in targets}
            count += 1
        compute = sorted(set(self.node_of_layer.tolist()) - {ROBOT, SERVER})
        self._on_robot = np.array([edge(node, SERVER) for node in compute], dtype=np.int64)
        self._on_server = np.array([edge(ROBOT, node) for node in compute], dtype=np.int64)
        self._compute = np.array(compute, dtype=np.int64)
        for start, end in list(edges):  # a flow may go back: an edge each way, of capacity 0
            edge(end, start)

        self.nodes = count
        pairs = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        self.edge_order = order
        # An edge goes each way between two nodes, so turned round they have the same form.
        starts = np.concatenate(([0], np.cumsum(np.bincount(pairs[:, 0], minlength=count))))
        ends = pairs[order, 1].astype(np.int32)
        # Made once: to check its form anew takes as long as the flow itself.
        self.network = csr_matrix(
            (np.zeros(len(order), np.int32), ends, starts.astype(np.int32)), (count, count)
        )
        self._turned = np.lexsort((pairs[order, 0], pairs[order, 1]))
        self.fixed = np.array(sorted(fixed), dtype=np.int64)
        self.value_edge = value_edge
        self._edge_count = len(edges)

    def backwards(self, open_: Bools) -> csr_matrix:
        """The edges of the network, in its order, that are open, each turned round."""
        open_ = open_[self._turned]
        turned = copy(self.network)
        turned.indices = self.network.indices[open_]
        turned.indptr = np.concatenate(([0], np.cumsum(open_)))[self.network.indptr].astype(
            np.int32
        )
        turned.data = np.ones(len(turned.indices), np.int32)
        return turned

    def capacities(self, robot: float, server: float, sending: Floats) -> tuple[Floats, float]:
        """Capacity of each edge, unordered, and the cost that no placement avoids.

        Args:
            robot: Price of a millisecond on the robot, load included.
            server: The same on the server.
            sending: Price of sending each value; infinite = it may not be sent; (V,).
        """
        capacity = np.zeros(self._edge_count)
        sent = np.flatnonzero(self.value_edge >= 0)
        np.add.at(capacity, self.value_edge[sent], sending[sent])
        here = np.bincount(self.node_of_layer, self.edge_ms, minlength=self.nodes) * robot
        there = np.bincount(self.node_of_layer, self.server_ms, minlength=self.nodes) * server
        least = np.minimum(here, there)[self._compute]
        capacity[self._on_robot] += here[self._compute] - least
        capacity[self._on_server] += there[self._compute] - least
        capacity[self.fixed] = np.inf
        return capacity, float(least.sum() + here[ROBOT] + there[SERVER])

    # ---- placements ------------------------------------------------------------------------

    @cached_property
    def listed(self) -> PlacementList | None:
        """All placements; None where there are too many, or none."""
        held = closed_sets(self.layer_nodes, self._needs, ROBOT, SERVER)
        if held is None or not len(held):
            return None
        on_robot: Bools = held[:, self.node_of_layer]
        sent, times_ms = self.sent(on_robot), (self.edge_ms, self.server_ms)
        return PlacementList(
            on_robot, sent, times_ms, self.depth, self.codecs, self.are_cuts(sent)
        )

    def are_cuts(self, sent: Bools) -> Bools:
        """Whether what placements send, (F, V), is what crosses a cut in linear order; (F,)."""
        packed = np.packbits(sent, axis=1)
        return np.array([row.tobytes() in self._cut_rows for row in packed], dtype=bool)

    def sent(self, on_robot: Bools) -> Bools:
        """Values that the server needs and the robot has, of placements; (F, N) to (F, V)."""
        graph = self.graph
        here: Bools = np.ones((len(on_robot), len(graph.names)), dtype=bool)
        needed = np.broadcast_to(graph.is_output, here.shape).copy()
        for layer, values in enumerate(graph.makes):
            here[:, list(values)] = on_robot[:, layer, None]
        for value, layer in zip(self._read_value, self._read_layer, strict=True):
            needed[:, value] |= ~on_robot[:, layer]
        return here & needed

    def frontier(self, on_robot: Bools) -> tuple[int, ...]:
        """Values that the server needs when these layers, (N,), run on the robot."""
        return tuple(np.flatnonzero(self.sent(on_robot[None])).tolist())

    def layers_before(self, frontier: Iterable[int]) -> Bools:
        """Layers that must run before these values are there; (N,)."""
        wanted = set(frontier)
        on_robot = np.zeros(len(self.graph.reads), dtype=bool)
        for layer in range(len(on_robot) - 1, -1, -1):
            if wanted.intersection(self.graph.makes[layer]):
                on_robot[layer] = True
                wanted.update(self.graph.reads[layer])
        return on_robot

    def placed(self, frontier: tuple[int, ...]) -> Placed | None:
        """What is known of a frontier; None where it is none: more or less must be sent.

        Heads and tails were measured as units, and sums of layers miss them by some percent.
        So the times are those of the cut that differs least, and only the layers by which it
        differs are added and taken away.
        """
        if frontier not in self._placed:
            on_robot = self.layers_before(frontier)
            if self.frontier(on_robot) != frontier or not self.sendable[list(frontier)].all():
                return None
            self._by_id[frontier_id([self.graph.names[value] for value in frontier])] = frontier
            weight = self._weight
            difference = np.where(self.before != on_robot, weight, 0.0).sum(axis=1)
            place = int(difference.argmin())
            cut, there = self.cuts[place], self._there[place]
            step = on_robot.astype(float) - self.before[place]
            self._placed[frontier] = Placed(
                frontier,
                int(self.depth[list(frontier)].min()),
                cut,
                float(step @ self.edge_ms),
                max(there.tail_ms - float(step @ self.server_ms), 0.0),
            )
        return self._placed[frontier]

    def robot_times(self, placed: Placed, threads: int) -> tuple[float, float]:
        """Layers on the robot, and the others if it had to run them too [ms].

        Args:
            placed: The placement.
            threads: Compute threads, one of the profiled counts; 0 = as they are set.
        """
        cut = placed.near
        head_ms, tail_ms = cut.head_ms, cut.tail_ms
        variant = self._variants.get(threads)
        if variant is not None:
            head_ms, tail_ms = variant.head_ms[cut.index], variant.tail_ms[cut.index]
        if cut.index == PICTURE_CUT:
            head_ms = 0.0
        step_ms = placed.step_ms * self.thread_ratio(threads)
        return max(head_ms + step_ms, 0.0), max(tail_ms - step_ms, 0.0)

    def thread_ratio(self, threads: int) -> float:
        """The whole network's time with so many threads, over that as they are set."""
        variant = self._variants.get(threads)
        return 1.0 if variant is None else variant.head_ms[-1] / max(self._whole_ms, 1e-9)

    def known_as(self, cut_id: str) -> tuple[int, ...] | None:
        """The frontier of that identity, if it was ever a plan."""
        return self._by_id.get(cut_id)

    @cached_property
    def _weight(self) -> Floats:
        """How much each layer counts when placements are compared."""
        return self.edge_ms / max(float(self.edge_ms.sum()), 1e-9) + self.server_ms / max(
            float(self.server_ms.sum()), 1e-9
        )


class _Groups:
    """Union-find over robot, server and layers."""

    def __init__(self, layers: int) -> None:
        self._parent = list(range(layers + 2))

    @staticmethod
    def of_layer(layer: int) -> int:
        return layer + 2

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def tie(self, one: int, other: int) -> None:
        self._parent[self.find(other)] = self.find(one)


def frontier_id(names: Iterable[str]) -> str:
    """Identity of a placement that is no cut of the profile: ``dag:`` and 12 hex digits."""
    text = '\n'.join(names)
    return UNLISTED + hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def placement_graph(edge: Profile, server: Profile) -> PlacementGraph | None:
    """The graph of two profiles; None where their layers are unknown or do not fit."""
    graph = layer_graph(edge)
    if graph is None:
        return None
    times = {_made(layer): layer.time_ms for layer in server.layers}
    found = [times.get(_made(layer)) for layer in edge.layers]
    if any(time_ms is None for time_ms in found):
        return None
    made = PlacementGraph(edge, server, graph, np.array(found, dtype=float))
    return made if made.possible and len(made.cuts) > 0 else None


def _made(layer: LayerProfile) -> tuple[str, ...]:
    return tuple(name for name, _ in layer.makes)


def _scaled(times_ms: Iterable[float], whole_ms: float) -> Floats:
    """Times of layers, scaled so that they add up to the whole network."""
    times = np.array(list(times_ms), dtype=float)
    total = float(times.sum())
    return times * (whole_ms / total) if total > 0.0 else times
