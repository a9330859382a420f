"""What codecs cost per value, from what they cost per cut. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.profile import CodecCost, CutProfile
from dnn_offload.planning.layer_graph import LayerGraph
from dnn_offload.planning.price_table import _codecs, PICTURE_CUT, RAW

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ValueCosts:
    """What one codec costs for each value alone; (V,) each."""

    encode_ms: Floats
    decode_ms: Floats
    nbytes: Floats


def value_costs(
    graph: LayerGraph,
    cuts: Sequence[CutProfile],
    there: Sequence[CutProfile],
    crosses: Bools,
) -> dict[str, ValueCosts]:
    """Costs per value: of the cut where it has the largest share, its share of the bytes.

    The picture, and what crosses no cut at which the codec was profiled, is sent raw: codecs
    of activations leave the picture as it is, and its own are for it alone, which is a cut.
    Where it crosses beside other values its part is taken out first.

    Args:
        graph: V values.
        cuts: C cuts as the robot's profile has them.
        there: The same as the server's has them.
        crosses: Whether a value crosses a cut; (C, V).
    """
    count = len(graph.names)
    picture = CodecCost(round(float(graph.nbytes[0])), 0.0, 0.0), 0.0
    for cut, other in zip(cuts, there, strict=True):
        if cut.index == PICTURE_CUT:
            raw = _codecs(cut)[RAW]
            picture = raw, other.codecs.get(RAW, raw).decode_ms
    size = np.where(crosses, graph.nbytes, 0.0)
    size[:, 0] = 0.0
    share = size / np.maximum(size.sum(axis=1, keepdims=True), 1e-9)
    inner = [cut for cut in cuts if cut.index != PICTURE_CUT]
    names = dict.fromkeys([RAW, *(name for cut in inner for name in _codecs(cut))])
    made = {}
    for name in names:
        encode, decode, nbytes = np.zeros(count), np.zeros(count), graph.nbytes.copy()
        encode[0], decode[0], nbytes[0] = picture[0].encode_ms, picture[1], picture[0].nbytes
        for value in np.flatnonzero(crosses[:, 1:].any(axis=0)) + 1:
            order = np.argsort(-share[:, value], kind='stable')
            place, codec = _profiled(cuts, order[crosses[order, value]], name)
            if place < 0:
                continue
            cost = _codecs(cuts[place])[codec]
            decode_ms = there[place].codecs.get(codec, cost).decode_ms
            beside = float(crosses[place, 0])
            part = share[place, value]
            encode[value] = part * max(cost.encode_ms - beside * encode[0], 0.0)
            decode[value] = part * max(decode_ms - beside * decode[0], 0.0)
            nbytes[value] = round(part * max(cost.nbytes - beside * nbytes[0], 0.0))
        made[name] = ValueCosts(encode, decode, nbytes)
    return made


def _profiled(
    cuts: Sequence[CutProfile], places: Iterable[int], name: str
) -> tuple[int, str]:
    """The first of some cuts at which a codec was profiled, else raw; -1 = none."""
    some = [int(place) for place in places]
    for codec in (name, RAW):
        for place in some:
            if codec in _codecs(cuts[place]):
                return place, codec
    return -1, RAW
