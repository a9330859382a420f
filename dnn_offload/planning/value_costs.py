"""What codecs cost per value, from what they cost per cut. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.profile import CodecCost, CutProfile
from dnn_offload.planning.layer_graph import LayerGraph
from dnn_offload.planning.price_table import codecs_at, PICTURE_CUT, RAW

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
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
    positions: Ints,
) -> dict[str, ValueCosts]:
    """Costs per value: of the cut where it has the largest share, its share of the bytes.

    Where it crosses no cut at which the codec was profiled, it is reckoned in proportion to
    the bytes of the nearest one, in order, that other values cross. The picture is sent raw:
    codecs of activations leave it as it is, and its own are for it alone, which is a cut. Where
    it crosses beside other values its part is taken out first.

    Args:
        graph: V values.
        cuts: C cuts as the robot's profile has them.
        there: The same as the server's has them.
        crosses: Whether a value crosses a cut; (C, V).
        positions: Layers before each cut; (C,).
    """
    count = len(graph.names)
    picture = CodecCost(round(float(graph.nbytes[0])), 0.0, 0.0), 0.0
    for cut, other in zip(cuts, there, strict=True):
        if cut.index == PICTURE_CUT:
            raw = codecs_at(cut)[RAW]
            picture = raw, other.codecs.get(RAW, raw).decode_ms
    size = np.where(crosses, graph.nbytes, 0.0)
    size[:, 0] = 0.0
    total = size.sum(axis=1)
    inner = [cut for cut in cuts if cut.index != PICTURE_CUT]
    names = dict.fromkeys([RAW, *(name for cut in inner for name in codecs_at(cut))])
    known = {
        name: np.array([name in codecs_at(cut) for cut in cuts]) & (total > 0.0) for name in names
    }
    made = {}
    for name in names:
        encode, decode, nbytes = np.zeros(count), np.zeros(count), graph.nbytes.copy()
        encode[0], decode[0], nbytes[0] = picture[0].encode_ms, picture[1], picture[0].nbytes
        for value in range(1, count):
            place = -1
            for codec in (name, RAW):
                places = np.flatnonzero(known[codec])
                if len(places):
                    place = _reference(value, places, graph, crosses, total, positions)
                    break
            if place < 0:
                continue
            cost = codecs_at(cuts[place])[codec]
            decode_ms = there[place].codecs.get(codec, cost).decode_ms
            beside = float(crosses[place, 0])
            part = graph.nbytes[value] / total[place]
            encode[value] = part * max(cost.encode_ms - beside * encode[0], 0.0)
            decode[value] = part * max(decode_ms - beside * decode[0], 0.0)
            nbytes[value] = round(part * max(cost.nbytes - beside * nbytes[0], 0.0))
        made[name] = ValueCosts(encode, decode, nbytes)
    return made


def _reference(
    value: int,
    places: Ints,
    graph: LayerGraph,
    crosses: Bools,
    total: Floats,
    positions: Ints,
) -> int:
    """The cut of ``places`` that tells most of a value: its largest share, else the nearest."""
    crossed = places[crosses[places, value]]
    if len(crossed):
        return int(crossed[total[crossed].argmin()])
    return int(places[np.abs(positions[places] - graph.made[value]).argmin()])
