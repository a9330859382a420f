"""Strategy ``local``: everything on the robot.

The baseline of the papers: "Offload None" of Kakolyris et al., "RoaD-RuNNer", DATE 2023, section
IV-A; "edge device only" of Dey et al., "Offloaded Execution of Deep Learning Inference at Edge",
PerCom Workshops 2019, Table III.

    T = head(N) * L + finish * L

head(N): the whole network of N layers as profiled; L: the robot's load, 1 in the papers; finish:
decoding the outputs. With k threads head(N) takes L * (1 + 0.1 (k - 1) max(L - 1, 0)) times as
long. The overhead that frames here were seen to have comes on top.
"""

from __future__ import annotations

from dnn_offload.planning.costs import local_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """The one all-local plan, at the load of the default source."""
    return local_candidates(conditions, constraints)
