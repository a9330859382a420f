"""Strategy ``dey2019``: the robot's layer times scaled by its raw load average.

Dey, Mondal and Mukherjee, "Offloaded Execution of Deep Learning Inference at Edge:
Challenges and Insights", PerCom Workshops 2019, Algorithm 1 with the line of Fig. 17:

    P_i^e <- P_i^e * max(1, loadavg per core)          for all layers i
    argmin_j  sum_{i<=j} P_i^e + sum_{i>j} P_i^c + T_j,  T_j = (D_j / M) alpha + D_j beta

As the paper means it, which is not as it is printed: Fig. 17 divides where the text scales
*up*; the loops leave out "send everything" (j = 0), which the paper's results use; the
load average is the kernel's over one minute and contains our own inference. The packet
term (D/M) alpha is proportional to D, so it is inside the measured rate; the fixed cost
per transfer, the return path and the server's queue, all missing there, are counted as for
every strategy. The server's load is not: the paper scales the robot only.
"""

from __future__ import annotations

from dnn_offload.planning import one_cut
from dnn_offload.planning.costs import local_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope
from dnn_offload.planning.price_table import RAW


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """Cuts 0..N with raw tensors, robot scaled by the raw load average per core."""
    load = max(1.0, conditions.edge_load_raw)
    believed = conditions.believed(edge_load=load, server_load=1.0)
    cuts = one_cut.candidates(believed, constraints, Scope(codecs=(RAW,)))
    return [*local_candidates(believed, constraints), *cuts]
