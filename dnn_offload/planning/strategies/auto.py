"""Strategy ``auto``, the default: exact over all cuts, codecs and servers, load included.

The cost is additive and the candidates are few (cuts x codecs x servers, about a thousand
for Inception v3), so all are priced: no heuristic, nothing to tune. It contains the
candidates of every other strategy, hence on the same costs it never predicts worse.
"""

from __future__ import annotations

from dnn_offload.planning.costs import answered_in_time, local_candidate, remote_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local and every legal cut, codec and server under the true conditions.

    With a deadline, what would be rescued before its answer comes is left out: the robot
    finishes a frame from its cut tensors when the deadline is one local tail away.
    """
    remote = remote_candidates(conditions, constraints)
    if constraints.deadline_ms > 0.0:
        remote = [c for c in remote if answered_in_time(c, conditions, constraints.deadline_ms)]
    return [local_candidate(conditions), *remote]
