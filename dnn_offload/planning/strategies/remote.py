"""Strategy ``remote``: the picture goes to a server as JPEG, as a user would do it.

The baseline of the papers: "Offload All" of Kakolyris et al., "RoaD-RuNNer", DATE 2023, section
IV-A; the cloud-only way that Kang et al., "Neurosurgeon", SIGARCH Comput. Archit. News 45(1),
2017, start from.

    T = encode * L + alpha_up + max(bytes - burst, 0) / B_up + queue + decode * s + tail(0) * s
        + alpha_down + bytes(outputs) / B_down + finish * L

encode, bytes, decode: of the picture as JPEG; tail(0): the whole network on the server; L and s:
loads of robot and server; alpha, B, burst: the link each way. The papers send the input as it is,
and count neither codec nor fixed cost nor queue.
"""

from __future__ import annotations

from dnn_offload.planning import one_cut
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope
from dnn_offload.planning.price_table import PICTURE_CUT

CODEC = 'jpeg'


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """One plan per usable server; none where the picture may not leave or none is ready."""
    scope = Scope(codecs=(CODEC,), cuts=(PICTURE_CUT,))
    return one_cut.candidates(conditions, constraints, scope)
