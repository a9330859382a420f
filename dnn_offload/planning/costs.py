"""What a plan costs: profiles and conditions in, candidates with a breakdown out.

The cost of one frame is additive::

    head*load + encode*load + uplink + queue + decode*s + tail*s + downlink + finish*load

with ``load`` the robot's and ``s`` the server's slow-down relative to their profiles. Every
strategy prices through this module, so strategies differ only in what they believe
(``edge_load``, ``server_load``) and in which cuts and codecs they consider. All times ms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
import math
from typing import NamedTuple

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.errors import PlanningError
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, ServerState

PICTURE_CUT = 0
RAW = 'raw'
MIN_LOAD_FACTOR = 0.01
MAX_LOAD_FACTOR = 1e4
# Widths of the soft limits of a deadline (logistic; the standard deviation is 1.8 times it).
_LATENCY_SCATTER = 0.08    # of the predicted latency
_RESCUE_SCATTER = 0.08     # of the local tail
_FIT_SCATTER = 0.05        # of the deadline
# In scatters: two misses in a row lose the server, so a few late frames cost as all do.
_MISS_MARGIN = 2.0
_CACHE_SIZE = 16


class _Row(NamedTuple):
    """What does not change between two plannings: one cut and codec, both profiles."""

    position: int
    cut_id: str
    label: str
    depth: int
    codec: str
    nbytes: int
    head_ms: float
    encode_ms: float
    decode_ms: float
    tail_ms: float
    edge_tail_ms: float


# Profiles hold dicts and cannot be hashed: rows are cached by object identity, with the
# profiles kept alive beside them so that an identity is never reused.
_rows_cache: dict[tuple[int, int], tuple[Profile, Profile, tuple[_Row, ...]]] = {}


def sane_load(factor: float) -> float:
    """A usable load factor: unknown (NaN, infinite, not positive) counts as 1."""
    if not math.isfinite(factor) or factor <= 0.0:
        return 1.0
    return min(max(factor, MIN_LOAD_FACTOR), MAX_LOAD_FACTOR)


def local_candidate(
    conditions: Conditions, *, edge_load: float | None = None, overheads: bool = True
) -> Candidate:
    """Everything on the robot; always legal.

    Args:
        conditions: What is known now.
        edge_load: Load to believe in; None = ``conditions.edge_load``.
        overheads: Whether the strategy knows learnt overheads.
    """
    load = sane_load(conditions.edge_load if edge_load is None else edge_load)
    profile = conditions.edge_profile
    last = profile.cuts[-1]
    return Candidate(
        cut_index=last.index,
        cut_id='',
        label='all on the robot',
        codec='',
        server='',
        head_ms=profile.whole_ms * load,
        finish_ms=profile.finish_ms * load,
        overhead_ms=conditions.edge_overhead_ms if overheads else 0.0,
    )


def remote_candidates(
    conditions: Conditions,
    constraints: Constraints,
    *,
    edge_load: float | None = None,
    server_load: float | None = None,
    codecs: Collection[str] = (),
    cuts: Collection[int] = (),
    deadline_ms: float = 0.0,
    overheads: bool = True,
) -> list[Candidate]:
    """Price every legal way to use a server, in no particular order.

    A cut is a candidate when both profiles have it (by ``cut_id``); the last one is not,
    since nothing is left for the server.

    Args:
        conditions: What is known now.
        constraints: What the user demands.
        edge_load: Load of the robot to believe in; None = ``conditions.edge_load``.
        server_load: Load of the servers to believe in; None = what each reports.
        codecs: Codecs that the strategy considers; empty = all.
        cuts: Cut positions that the strategy considers; empty = all.
        deadline_ms: Deadline that the strategy reckons with; 0 = none.
        overheads: Whether the strategy knows learnt overheads.
    """
    load = sane_load(conditions.edge_load if edge_load is None else edge_load)
    profile = conditions.edge_profile
    finish_ms = profile.finish_ms * load
    allowed = constraints.codecs
    private = constraints.private_layers
    found = []
    for server in _usable_servers(conditions, constraints):
        tail_load = sane_load(server.load_factor if server_load is None else server_load)
        downlink_ms = server.link.downlink_ms(_output_bytes(conditions, server))
        queue_ms = max(server.queue_ms, 0.0)
        overhead_ms = server.overhead_ms if overheads else 0.0
        for row in _rows(profile, server.profile):
            if row.depth < private:
                continue
            if allowed and row.codec not in allowed:
                continue
            if codecs and row.codec not in codecs:
                continue
            if cuts and row.position not in cuts:
                continue
            stages = (
                row.head_ms * load,
                row.encode_ms * load,
                server.link.uplink_ms(row.nbytes),
                queue_ms,
                row.decode_ms * tail_load,
                row.tail_ms * tail_load,
                downlink_ms,
                finish_ms,
            )
            late_ms = 0.0
            if deadline_ms > 0.0:
                rescue_ms = row.edge_tail_ms * load + finish_ms
                late_ms = late_cost_ms(
                    sum(stages) + overhead_ms, stages[0] + stages[1], rescue_ms, deadline_ms
                )
            found.append(
                Candidate(
                    row.position, row.cut_id, row.label, row.codec, server.name, row.nbytes,
                    *stages, late_ms, overhead_ms,
                )
            )
    return found


def late_cost_ms(
    latency_ms: float, before_ms: float, rescue_ms: float, deadline_ms: float
) -> float:
    """What answers that come too late are expected to cost [ms].

    The robot finishes a frame itself when the deadline is one local tail away: an answer
    later than that is worth a result at the deadline. Where the local tail does not fit
    behind the head any more, an answer later than the deadline is worth nothing. Latencies
    scatter and estimates err, so both limits are soft: a hard one would make a plan near it
    come and go with the noise, and the planner with it.

    Args:
        latency_ms: Predicted latency of the answer.
        before_ms: Of which before the frame is sent: head and encoding.
        rescue_ms: Local tail and decoding of the outputs.
        deadline_ms: Allowed from acquisition to publication.
    """
    starts_ms = deadline_ms - rescue_ms
    fits = _sigmoid((starts_ms - before_ms) / (_FIT_SCATTER * deadline_ms))
    scatter_ms = _LATENCY_SCATTER * latency_ms + 1e-9
    # The moment of the rescue is a prediction as well, and errs with the load.
    start_scatter_ms = scatter_ms + _RESCUE_SCATTER * rescue_ms
    rescued = _sigmoid((latency_ms - starts_ms) / start_scatter_ms + _MISS_MARGIN)
    missed = _sigmoid((latency_ms - deadline_ms) / scatter_ms)
    return (
        fits * rescued * max(deadline_ms - latency_ms, 0.0)
        + (1.0 - fits) * missed * deadline_ms
    )


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), exactly 0 or 1 far out."""
    if abs(x) > 30.0:
        return float(x > 0.0)
    return 1.0 / (1.0 + math.exp(-x))


def reprice(candidate: Candidate, conditions: Conditions) -> Candidate:
    """Price a candidate of any strategy under the true conditions.

    Raises:
        PlanningError: The server is gone, its link is dead, or the cut is not in both
            profiles: the candidate cannot run.
    """
    if candidate.is_local:
        return local_candidate(conditions)
    if candidate.return_id or candidate.frontier:
        # These modules price through this one.
        from dnn_offload.planning import placement, two_cuts

        shape = two_cuts if candidate.return_id else placement
        return shape.price(candidate, conditions)
    only = Constraints(servers=(candidate.server,))
    for other in remote_candidates(
        conditions, only, codecs=(candidate.codec,), cuts=(candidate.cut_index,)
    ):
        if other.key == candidate.key:
            return other
    raise PlanningError(
        'plan cannot be priced',
        given=f'cut {candidate.cut_index} ({candidate.label}), {candidate.codec}, '
        f'{candidate.server}',
        allowed='a ready server with a live link, and a cut and codec in both profiles',
    )


def _usable_servers(conditions: Conditions, constraints: Constraints) -> Iterator[ServerState]:
    """Servers that may be used and can be reached."""
    for server in conditions.servers:
        if constraints.servers and server.name not in constraints.servers:
            continue
        if server.link.alive:
            yield server


def _output_bytes(conditions: Conditions, server: ServerState) -> int:
    """Size of an answer; the robot's own profile stands in where the server's is silent."""
    for profile in (server.profile, conditions.edge_profile):
        nbytes = profile.output_bytes.get(conditions.result_codec)
        if nbytes is not None:
            return nbytes
    raise PlanningError(
        'size of an answer is unknown',
        given=conditions.result_codec,
        allowed=', '.join(sorted(server.profile.output_bytes)) or 'none: measure a new profile',
    )


def _rows(edge: Profile, server: Profile) -> tuple[_Row, ...]:
    """All (cut, codec) that both sides know, cached per pair of profiles."""
    key = (id(edge), id(server))
    cached = _rows_cache.get(key)
    if cached is None:
        while len(_rows_cache) >= _CACHE_SIZE:
            del _rows_cache[next(iter(_rows_cache))]
        cached = (edge, server, tuple(_make_rows(edge, server)))
        _rows_cache[key] = cached
    return cached[2]


def _make_rows(edge: Profile, server: Profile) -> Iterator[_Row]:
    there = server.by_id()
    for here in edge.cuts[:-1]:
        tail = there.get(here.cut_id)
        if tail is None:
            continue
        for codec, cost in _codecs(here).items():
            decode_ms = tail.codecs.get(codec, cost).decode_ms
            # Nothing runs before the picture, whatever the profile's noise says.
            head_ms = 0.0 if here.index == PICTURE_CUT else here.head_ms
            yield _Row(
                here.index,
                here.cut_id,
                here.label,
                here.depth,
                codec,
                cost.nbytes,
                head_ms,
                cost.encode_ms,
                decode_ms,
                tail.tail_ms,
                here.tail_ms,
            )


def _codecs(cut: CutProfile) -> dict[str, CodecCost]:
    """Profiled codecs; raw tensors need no codec, so they are always possible."""
    if RAW in cut.codecs:
        return cut.codecs
    return {RAW: CodecCost(cut.frontier_bytes, 0.0, 0.0), **cut.codecs}
