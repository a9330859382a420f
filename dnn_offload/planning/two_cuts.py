"""Two cuts: robot, server, robot. Exact over all pairs of cuts, codecs each way and servers.

The server computes the layers between cut i and cut j, the robot those before and after
(Kakolyris et al., "RoaD-RuNNer", Algorithm 1)::

    T(i, j) = head_i*L + up(i, j) + queue + max(tail_i - tail_j, 0)*s + down(i, j) + rest_j*L
    up(i, j)   = u*encode_i*L + alpha_up + max(u*bytes_i - burst, 0)/B_up + u*decode_i*s
    down(i, j) = d*encode_j*s + alpha_down + d*bytes_j/B_down + d*decode_j*L

with L and s the load factors, head_i the robot's head, tail_i and tail_j the server's tails,
rest_j the robot's tail. Skip connections go by value: of the frontier at i only what the layers
between the cuts read is sent (share u of its bytes), of the frontier at j only what they made
comes back (share d); the rest is on the robot already. Without layers in the profile both
shares are 1.

The two ways share no codec, so the best codec of each is found on its own. In a candidate,
decoding what came back is part of ``rest_ms`` and encoding it part of ``tail_ms``.
"""

from __future__ import annotations

from collections.abc import Collection

from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import _usable_servers, thread_counts
from dnn_offload.planning.pair_search import PairSearch
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Key

SHAPE = 'two_cuts'
KEPT = 16                  # best candidates per server and thread count


def candidates(
    conditions: Conditions,
    constraints: Constraints,
    *,
    edge_load: float | None = None,
    server_load: float | None = None,
    codecs: Collection[str] = (),
    cuts: Collection[int] = (),
    deadline_ms: float = 0.0,
    overheads: bool = True,
    keep: int = KEPT,
) -> list[Candidate]:
    """The best plans with two cuts under the objective, in no particular order.

    Where the robot's power is known, those on the front of latency and energy come on top, and
    those of ``constraints.keep`` always.

    Args:
        conditions: What is known now.
        constraints: What the user demands.
        edge_load: Load of the robot to believe in; None = ``conditions.edge_load``.
        server_load: Load of the servers to believe in; None = what each reports.
        codecs: Codecs that the strategy considers; empty = all.
        cuts: Positions that the strategy considers for both cuts; empty = all.
        deadline_ms: Deadline that the strategy reckons with; 0 = none.
        overheads: Whether the strategy knows learnt overheads.
        keep: Plans per server and thread count; pairs of cuts, each with its best codecs.
    """
    found: dict[Key, Candidate] = {}
    wanted = [key for key in constraints.keep if key[3]]
    for server in _usable_servers(conditions, constraints):
        for threads in thread_counts(conditions.edge_profile, constraints):
            search = PairSearch(
                conditions, server, constraints, edge_load=edge_load, server_load=server_load,
                deadline_ms=deadline_ms, overheads=overheads, threads=threads, codecs=codecs,
                cuts=cuts,
            )  # fmt: skip
            plans = [*search.best(keep), *search.front(), *search.kept(wanted)]
            found |= {plan.key: plan for plan in plans}
    return list(found.values())


def price(candidate: Candidate, conditions: Conditions) -> Candidate:
    """Price a plan with two cuts under these conditions.

    Raises:
        PlanningError: Its server is gone, or its cuts or codecs are not in both profiles.
    """
    only = Constraints(servers=(candidate.server,))
    for server in _usable_servers(conditions, only):
        search = PairSearch(conditions, server, only, threads=candidate.threads)
        for found in search.kept([candidate.key]):
            return found
    raise PlanningError(
        'plan with two cuts cannot be priced',
        given=f'cuts {candidate.cut_index} and {candidate.return_index} as '
        f'{candidate.codec} and {candidate.return_codec} on {candidate.server}',
        allowed='a ready server with a live link, and cuts and codecs in both profiles',
    )
