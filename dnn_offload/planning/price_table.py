"""What does not change between two plannings, as columns: prepared once per pair of profiles.

A row is one cut and codec that both machines know. ``one_cut.py`` turns columns into prices; plans
become objects only where they are wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile, Variant
from dnn_offload.planning.limits import keeps_whole, LOSSLESS, MB
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.plan import Constraints, Scope, Sent

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

PICTURE_CUT = 0
RAW = 'raw'
_CACHE_SIZE = 16  # pairs of profiles


@dataclass(frozen=True, eq=False)
class PriceTable:
    """Columns of all rows, shape (n,); times [ms] as profiled, sizes [byte].

    Attributes:
        position, depth: Of the cut.
        cut_ids, labels, codecs: Identity and name of the cut, name of the codec.
        nbytes: Encoded size of what crosses.
        head_ms, encode_ms, edge_tail_ms: On the robot.
        behind_ms: Of ``encode_ms`` what is left when the first bytes can be sent.
        decode_ms, tail_ms: On the server.
        agreement: Of the codec at that cut; 1 = lossless, NaN = not measured.
        head_bytes, tail_bytes: Memory of the pieces; infinite = not known.
        whole_bytes: Memory of the whole network on the robot; infinite = not known.
        index: (cut, codec) to its row.
        variants: Thread count to (head_ms, edge_tail_ms) with so many threads.
    """

    position: Integers
    depth: Integers
    cut_ids: tuple[str, ...]
    labels: tuple[str, ...]
    codecs: tuple[str, ...]
    nbytes: Integers
    head_ms: Floats
    encode_ms: Floats
    behind_ms: Floats
    decode_ms: Floats
    tail_ms: Floats
    edge_tail_ms: Floats
    agreement: Floats
    head_bytes: Floats
    tail_bytes: Floats
    whole_bytes: float
    index: dict[Sent, int]
    variants: dict[int, tuple[Floats, Floats]]
    codec_rows: dict[str, Mask]

    def allowed(self, constraints: Constraints, scope: Scope) -> Mask:
        """Rows that the user's limits and the strategy's own leave."""
        mask = self.depth >= constraints.private_layers
        for chosen in (constraints.codecs, scope.codecs):
            if chosen:
                mask = mask & self._with_codec(chosen)
        if scope.cuts:
            mask = mask & np.isin(self.position, list(scope.cuts))
        if constraints.min_agreement > 0.0:
            mask = mask & (self.agreement >= constraints.min_agreement)
        edge_mb, server_mb = constraints.max_edge_memory_mb, constraints.max_server_memory_mb
        if edge_mb > 0.0:
            if keeps_whole(constraints):
                mask = mask & (self.whole_bytes <= edge_mb * MB)
            else:
                mask = mask & (self.head_bytes <= edge_mb * MB)
        if server_mb > 0.0:
            mask = mask & (self.tail_bytes <= server_mb * MB)
        return mask

    def sent_bytes(self, ratios: Mapping[Sent, float]) -> Floats:
        """``nbytes`` times the ratio of real to profiled size, where one is known; (n,)."""
        sent = self.nbytes.astype(np.float64)
        for key, ratio in ratios.items():
            row = self.index.get(key)
            if row is not None:
                sent[row] *= ratio
        return sent

    def _with_codec(self, names: Collection[str]) -> Mask:
        mask = np.zeros(len(self.codecs), np.bool_)
        for name in names:
            rows = self.codec_rows.get(name)
            if rows is not None:
                mask |= rows
        return mask


def thread_variants(profile: Profile) -> dict[int, Variant]:
    """Other thread counts with which the profile's own backend was measured."""
    return {
        variant.threads: variant
        for variant in profile.variants
        if variant.backend == profile.backend and variant.threads != profile.threads
    }


def profiled_thread_counts(profile: Profile) -> set[int]:
    """Thread counts that plans can be priced with."""
    return {profile.threads, *thread_variants(profile)}


def _make(edge: Profile, server: Profile) -> PriceTable:
    rows = list(_rows(edge, server))
    here = [row[0] for row in rows]
    there = [row[1] for row in rows]
    codecs = tuple(row[2] for row in rows)
    costs = [row[3] for row in rows]
    position = np.array([cut.index for cut in here], np.int64)

    def floats(values: list[float]) -> Floats:
        return np.array(values, np.float64)

    variants = {}
    for threads, variant in thread_variants(edge).items():
        head_ms = floats(list(variant.head_ms))[position]
        variants[threads] = (
            np.where(position == PICTURE_CUT, 0.0, head_ms),
            floats(list(variant.tail_ms))[position],
        )
    return PriceTable(
        position=position,
        depth=np.array([cut.depth for cut in here], np.int64),
        cut_ids=tuple(cut.cut_id for cut in here),
        labels=tuple(cut.label for cut in here),
        codecs=codecs,
        nbytes=np.array([cost.nbytes for cost in costs], np.int64),
        # Nothing runs before the picture, whatever the profile's noise says.
        head_ms=floats([0.0 if cut.index == PICTURE_CUT else cut.head_ms for cut in here]),
        encode_ms=floats([cost.encode_ms for cost in costs]),
        behind_ms=floats([min(cost.behind_ms, cost.encode_ms) for cost in costs]),
        decode_ms=floats(
            [
                tail.codecs.get(codec, cost).decode_ms
                for tail, codec, cost in zip(there, codecs, costs, strict=True)
            ]
        ),
        tail_ms=floats([tail.tail_ms for tail in there]),
        edge_tail_ms=floats([cut.tail_ms for cut in here]),
        agreement=floats(
            [
                1.0 if codec in LOSSLESS
                else np.nan if cost.agreement is None else cost.agreement
                for codec, cost in zip(codecs, costs, strict=True)
            ]
        ),
        head_bytes=floats(
            [0.0 if cut.index == PICTURE_CUT else cut.head_bytes or np.inf for cut in here]
        ),
        tail_bytes=floats([tail.tail_bytes or np.inf for tail in there]),
        whole_bytes=float(edge.cuts[-1].head_bytes or np.inf),
        index={(row[0].cut_id, row[2]): at for at, row in enumerate(rows)},
        variants=variants,
        codec_rows={name: np.array([codec == name for codec in codecs]) for name in set(codecs)},
    )


def _rows(
    edge: Profile, server: Profile
) -> Iterator[tuple[CutProfile, CutProfile, str, CodecCost]]:
    """(cut here, cut there, codec, its cost here); the last cut leaves nothing to the server."""
    others = server.by_id()
    for here in edge.cuts[:-1]:
        there = others.get(here.cut_id)
        if there is None:
            continue
        for codec, cost in codecs_at(here).items():
            yield here, there, codec, cost


def codecs_at(cut: CutProfile) -> dict[str, CodecCost]:
    """Costs of the codecs at a cut; raw tensors need none, so they are always possible."""
    if RAW in cut.codecs:
        return cut.codecs
    return {RAW: CodecCost(cut.frontier_bytes, 0.0, 0.0), **cut.codecs}


TABLES = PairCache(_make, size=_CACHE_SIZE)


def price_table(edge: Profile, server: Profile) -> PriceTable:
    """All (cut, codec) that both sides know, cached per pair of profiles."""
    return TABLES.get(edge, server)
