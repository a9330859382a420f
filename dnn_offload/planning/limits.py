"""What the user's limits forbid, plan by plan, and in words.

Memory of the robot: the whole network for all-local, for plans with two cuts or over the graph,
and for every plan while there is a deadline, since the robot then keeps the tail to finish frames
itself; otherwise the head. Memory of a server: its piece. A size or an agreement that
nobody measured passes no limit. Lossless codecs agree by construction.
"""

from __future__ import annotations

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.planning.plan import Candidate, Conditions, Constraints

LOSSLESS = ('raw', 'zstd')
MB = 1e6
MAX_FRONTIER = 64  # values that one message names and one transfer carries


def why_not(candidate: Candidate, conditions: Conditions, constraints: Constraints) -> str:
    """What a limit on agreement or memory has against a plan; empty = nothing."""
    edge = conditions.edge_profile
    problem = _edge_memory(candidate, edge, constraints)
    if problem or candidate.is_local:
        return problem
    cuts = edge.by_id()
    for cut_id, codec in (
        (candidate.cut_id, candidate.codec), (candidate.return_id, candidate.return_codec),
    ):
        if codec and not agrees(cuts.get(cut_id), codec, constraints.min_agreement):
            floor = 100.0 * constraints.min_agreement
            return f'{codec} is not known to agree on {floor:g} % of frames'
    if constraints.max_server_memory_mb > 0.0:
        server = next((s.profile for s in conditions.servers if s.name == candidate.server), None)
        nbytes = 0
        if server is not None and not candidate.return_id and not candidate.frontier:
            there = server.by_id().get(candidate.cut_id)
            nbytes = there.tail_bytes if there is not None else 0
        elif server is not None:
            nbytes = server.cuts[-1].head_bytes  # a piece of it; more is not known
        return _over('server', nbytes, constraints.max_server_memory_mb)
    return ''


def agrees(cut: CutProfile | None, codec: str, floor: float) -> bool:
    """Whether a codec at a cut keeps the floor; ``cut`` None = not one of the profile's."""
    if floor <= 0.0 or codec in LOSSLESS:
        return True
    cost = cut.codecs.get(codec) if cut is not None else None
    return cost is not None and cost.agreement is not None and cost.agreement >= floor


def keeps_whole(constraints: Constraints) -> bool:
    """Whether the robot must hold the whole network under any plan."""
    return constraints.deadline_ms > 0.0


def forbidden_ends(conditions: Conditions, constraints: Constraints) -> list[str]:
    """Why all-local or all-remote is no candidate, in words; empty = both are."""
    found = []
    edge = conditions.edge_profile
    problem = _edge_memory(_LOCAL, edge, constraints)
    if problem:
        found.append(f'all-local is forbidden: {problem}')
    if constraints.private_layers > 0:
        found.append(f'all-remote is forbidden: private_layers = {constraints.private_layers}')
        return found
    picture = edge.cuts[0]
    codecs = {'raw', *picture.codecs}
    allowed = codecs & set(constraints.codecs) if constraints.codecs else codecs
    if not allowed:
        found.append(f'all-remote is forbidden: codecs = {", ".join(constraints.codecs)}')
    elif not any(agrees(picture, codec, constraints.min_agreement) for codec in allowed):
        found.append(f'all-remote is forbidden: min_agreement = {constraints.min_agreement:g}')
    for server in conditions.servers:
        if constraints.servers and server.name not in constraints.servers:
            continue
        there = server.profile.by_id().get(picture.cut_id)
        nbytes = there.tail_bytes if there is not None else 0
        problem = _over('server', nbytes, constraints.max_server_memory_mb)
        if problem:
            found.append(f'all-remote on {server.name} is forbidden: {problem}')
    return found


_LOCAL = Candidate(0, '', '', '', '')


def _edge_memory(candidate: Candidate, edge: Profile, constraints: Constraints) -> str:
    if constraints.max_edge_memory_mb <= 0.0:
        return ''
    cut = edge.by_id().get(candidate.cut_id)
    one_piece = cut is not None and not candidate.return_id and not candidate.frontier
    if candidate.is_local or keeps_whole(constraints) or not one_piece:
        nbytes = edge.cuts[-1].head_bytes
    else:
        assert cut is not None
        if cut.index == 0:
            return ''  # nothing runs here
        nbytes = cut.head_bytes
    return _over('edge', nbytes, constraints.max_edge_memory_mb)


def _over(where: str, nbytes: int, limit_mb: float) -> str:
    if limit_mb <= 0.0 or 0 < nbytes <= limit_mb * MB:
        return ''
    needs = f'needs {nbytes / MB:.0f} MB' if nbytes else 'needs an unknown size'
    return f'{needs}, max_{where}_memory_mb = {limit_mb:g}'
