"""Strategy ``auto``, the default: exact over all cuts, codecs and servers, load included.

The cost is additive and the cuts are few (cuts x codecs x servers, about a thousand plans for
Inception v3), so all are priced: no heuristic, nothing to tune. Where the runtime can run them
(``Constraints.shapes``), the best plans with two cuts and the best placements over the graph
stand beside them, both found exactly. It contains the best of every other strategy's
candidates, hence on the same costs it never predicts worse.
"""

from __future__ import annotations

from dnn_offload.planning import one_cut, placement, two_cuts
from dnn_offload.planning.costs import local_candidate
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local and every legal cut, codec and server under the true conditions.

    With a deadline, answers that would come after the robot has begun to finish the frame
    itself have their price (``Candidate.late_ms``).
    """
    scope = Scope(deadline_ms=constraints.deadline_ms)
    found = [local_candidate(conditions), *one_cut.candidates(conditions, constraints, scope)]
    for shape in (two_cuts, placement):
        if shape.SHAPE in constraints.shapes:
            found += shape.candidates(conditions, constraints, scope)
    return found
