"""Which values a placement may send, and how deep in the network they surely lie. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.profile import Profile
from dnn_offload.planning.layer_graph import layer_graph, LayerGraph

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def sendable_values(graph: LayerGraph, crosses: Bools) -> Bools:
    """Which values may be sent; (V,)."""
    sendable: Bools = np.asarray(crosses.any(axis=0), dtype=bool)
    for value, readers in enumerate(graph.reads_of_values()):
        joined = any(len(graph.reads[position - 1]) > 1 for position in readers)
        if value and (len(readers) > 1 or joined):
            sendable[value] = True
    return sendable


def least_depths(graph: LayerGraph, crosses: Bools, cut_depths: Sequence[int]) -> Ints:
    """Depths that are never more than a value's own; (V,).

    A cut is as deep as the shallowest value that crosses it, and no layer makes a value that
    is less deep than all that it reads.
    """
    known: Ints = np.where(crosses, np.array(cut_depths)[:, None], 0).max(axis=0, initial=0)
    for layer, values in enumerate(graph.makes):
        least = min((int(known[value]) for value in graph.reads[layer]), default=0)
        for value in values:
            known[value] = max(int(known[value]), least)
    return known


def frontier_depth(profile: Profile, names: Iterable[str]) -> int:
    """Weighted layers that surely run before any of these values; -1 = one is not known."""
    graph = layer_graph(profile)
    values = list(names)
    if graph is None or not values or any(name not in graph.index for name in values):
        return -1
    known = least_depths(graph, graph.alive, [cut.depth for cut in profile.cuts])
    return int(min(known[graph.index[name]] for name in values))
