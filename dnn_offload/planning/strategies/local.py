"""Strategy ``local``: everything on the robot."""

from __future__ import annotations

from dnn_offload.planning.costs import local_candidate
from dnn_offload.planning.plan import Candidate, Conditions, Constraints


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """The one all-local plan, at the load of the default source."""
    del constraints  # all-local breaks none
    return [local_candidate(conditions)]
