"""Strategy ``remote``: the picture goes to a server as JPEG, as a user would do it."""

from __future__ import annotations

from dnn_offload.planning import one_cut
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope
from dnn_offload.planning.price_table import PICTURE_CUT

CODEC = 'jpeg'


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """One plan per usable server; none where the picture may not leave or none is ready."""
    scope = Scope(codecs=(CODEC,), cuts=(PICTURE_CUT,))
    return one_cut.candidates(conditions, constraints, scope)
