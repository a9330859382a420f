"""Strategy ``remote``: the picture goes to a server as JPEG, as a user would do it."""

from __future__ import annotations

from dnn_offload.planning.costs import PICTURE_CUT, remote_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints

CODEC = 'jpeg'


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """One plan per usable server; none where the picture may not leave or none is ready."""
    return remote_candidates(conditions, constraints, codecs=(CODEC,), cuts=(PICTURE_CUT,))
