"""How often a frame should run on the robot while the others go to a server. Pure.

What a plan costs that does not run is read from probes, which err by 10 to 25 %; where two plans
are close, that decides wrongly. A scout is one real frame, run all on the robot under a plan that
offloads: it loses no frame, breaks no constraint, needs no warming, and tells the price exactly.
"""

from __future__ import annotations

from dnn_offload.planning.plan import Candidate

SHARE = 0.01              # of the time that may be lost by scouts
SHORTEST_PERIOD_S = 0.8   # so that scouts alone are never taken for a stream (edge_load.py)
LONGEST_PERIOD_S = 30.0   # rarer ones say nothing about now: none then


def scout_period_s(chosen: Candidate, local_ms: float, deadline_ms: float) -> float:
    """Time between scouts [s]; 0 = none.

    Args:
        chosen: The plan that runs.
        local_ms: Price of running all on the robot now [ms].
        deadline_ms: Deadline of a frame; 0 = none.
    """
    if chosen.is_local or 0.0 < deadline_ms <= local_ms:
        return 0.0
    lost_s = max(local_ms - chosen.latency_ms, 0.0) * 1e-3
    period_s = max(lost_s / SHARE, SHORTEST_PERIOD_S)
    return period_s if period_s <= LONGEST_PERIOD_S else 0.0
