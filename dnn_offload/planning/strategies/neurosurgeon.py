"""Strategy ``neurosurgeon``: latency-optimal layer cut, blind to the robot's own load.

Kang et al., "Neurosurgeon: Collaborative Intelligence Between the Cloud and Mobile Edge",
SIGARCH Comput. Archit. News 45(1), 2017, https://doi.org/10.1145/3093337.3037698.

    argmin_j  sum_{i<=j} TM_i + D_j / B + K * sum_{i>j} TC_i

TM: layer times on the device as profiled (whatever its load now is), D_j: raw output of
layer j, B: measured uplink, K: the datacenter's load. Here the load is ``load_factor`` and
``queue_ms`` of the server's status; the return path is counted, as for every strategy.
"""

from __future__ import annotations

from dnn_offload.planning import one_cut
from dnn_offload.planning.costs import local_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope
from dnn_offload.planning.price_table import RAW


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """Cuts 0..N with raw tensors (at cut 0 the uint8 picture), robot believed idle."""
    believed = conditions.believed(edge_load=1.0)
    cuts = one_cut.candidates(believed, constraints, Scope(codecs=(RAW,)))
    return [*local_candidates(believed, constraints), *cuts]
