"""Strategy ``auto``, the default: exact over all cuts, codecs and servers, load included. Our own.

    argmin over p of value(T(p), E(p)),  p: all-local, or a shape x codecs x server x threads

with ``value`` the objective (``objective.py``), E the robot's energy (``cost/energy.py``) and T
additive. For one cut c with codec k::

    T = head(c) L + encode(c, k) L + up + queue + decode(c, k) s + tail(c) s + down + finish L
        + wait + late + overhead

Cuts are few (cuts x codecs x servers, about a thousand plans for Inception v3), so all are priced:
no heuristic, nothing to tune. Where the user allows them (``Constraints.shapes``), two more stand
beside them:

- two cuts, after Kakolyris et al., "RoaD-RuNNer", DATE 2023, Algorithm 1, with skip connections by
  value (equation and search in ``two_cuts.py``);
- placements over the graph by minimum cut, after Hu et al., "Dynamic Adaptive DNN Surgery for
  Inference Acceleration on the Edge", INFOCOM 2019, with loads, codecs and values that are sent
  once however many layers read them (equation and what is not exact in ``placement.py``).

Threads are those that the user allows, by default as they are set. Backends are chosen where
pieces are measured, one for each side or one for each piece (parameter ``backend``): nothing else
of a plan's cost hangs on them, but for rescues under a deadline. It contains the best of every
other strategy's candidates, hence on the same costs it never predicts worse.
"""

from __future__ import annotations

from dnn_offload.planning import one_cut, placement, two_cuts
from dnn_offload.planning.costs import local_candidates
from dnn_offload.planning.limits import why_not
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local and every legal cut, codec and server under the true conditions.

    With a deadline, answers that would come after the robot has begun to finish the frame
    itself have their price (``Candidate.late_ms``).
    """
    scope = Scope(deadline_ms=constraints.deadline_ms)
    found = local_candidates(conditions, constraints)
    found += one_cut.candidates(conditions, constraints, scope)
    if two_cuts.SHAPE in constraints.shapes:
        # What is over the user's limits beats nothing; plans of one cut are within.
        known = [p for p in found if not (p.is_local and why_not(p, conditions, constraints))]
        found += two_cuts.candidates(conditions, constraints, scope, known=known)
    if placement.SHAPE in constraints.shapes:
        found += placement.candidates(conditions, constraints, scope)
    return found
