"""Strategy ``auto``, the default: exact over all cuts, codecs and servers, load included.

The cost is additive and the candidates are few (cuts x codecs x servers, about a thousand
for Inception v3), so all are priced: no heuristic, nothing to tune. It contains the
candidates of every other strategy, hence on the same costs it never predicts worse.
"""

from __future__ import annotations

from dnn_offload.planning.costs import local_candidate, remote_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local and every legal cut, codec and server under the true conditions.

    With a deadline, answers that would come after the robot has begun to finish the frame
    itself have their price (``Candidate.late_ms``).
    """
    deadline_ms = constraints.deadline_ms
    return [
        local_candidate(conditions),
        *remote_candidates(conditions, constraints, deadline_ms=deadline_ms),
    ]
