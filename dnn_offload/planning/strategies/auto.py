"""Strategy ``auto``, the default: exact over all cuts, codecs and servers, load included.

The cost is additive and the cuts are few (cuts x codecs x servers, about a thousand plans for
Inception v3), so all are priced: no heuristic, nothing to tune. Where the runtime can run them
(``Constraints.shapes``), the best plans with two cuts and the best placements over the graph
stand beside them, both found exactly. It contains the best of every other strategy's
candidates, hence on the same costs it never predicts worse.
"""

from __future__ import annotations

from dnn_offload.planning import placement, two_cuts
from dnn_offload.planning.costs import local_candidate, remote_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local and every legal cut, codec and server under the true conditions.

    With a deadline, answers that would come after the robot has begun to finish the frame
    itself have their price (``Candidate.late_ms``).
    """
    deadline_ms = constraints.deadline_ms
    found = [
        local_candidate(conditions),
        *remote_candidates(conditions, constraints, deadline_ms=deadline_ms),
    ]
    if two_cuts.SHAPE in constraints.shapes:
        found += two_cuts.candidates(conditions, constraints, deadline_ms=deadline_ms)
    if placement.SHAPE in constraints.shapes:
        found += placement.candidates(conditions, constraints, deadline_ms=deadline_ms)
    return found
