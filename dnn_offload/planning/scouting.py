"""How often a frame should run on the robot while the others go to a server. Pure.

What a plan costs that does not run is read from probes, which err by 10 to 25 %; where two plans
are close, that decides wrongly. A scout is one real frame, run all on the robot under a plan that
offloads. It has a result, it is private, it needs no warming, and it tells the price exactly. It
costs processor time, and where frames overlap, a picture that comes meanwhile may be superseded.
So scouts are rare, and there are none where all-local is far from being worth it.
"""

from __future__ import annotations

from dnn_offload.planning.plan import Candidate

LATER_SHARE = 0.01        # of the time: by so much may results come later for scouts
WORK_SHARE = 0.05         # of the time: for so long may scouts hold the robot's worker
SHORTEST_PERIOD_S = 0.8   # so that scouts alone are never taken for a stream (edge_load.py)
LONGEST_PERIOD_S = 10.0   # rarer ones say nothing about now (edge_load.SCOUTS_WITHIN_S): none then
DEADLINE_SHARE = 0.7      # of the deadline; the engine looks at each frame again


def scout_period_s(chosen: Candidate, local_ms: float, deadline_ms: float) -> float:
    """Time between scouts [s]; 0 = none.

    Args:
        chosen: The plan that runs.
        local_ms: Price of running all on the robot now [ms].
        deadline_ms: Deadline of a frame; 0 = none.
    """
    if chosen.is_local or 0.0 < DEADLINE_SHARE * deadline_ms <= local_ms:
        return 0.0
    later_s = max(local_ms - chosen.latency_ms, 0.0) * 1e-3
    period_s = max(later_s / LATER_SHARE, local_ms * 1e-3 / WORK_SHARE, SHORTEST_PERIOD_S)
    return period_s if period_s <= LONGEST_PERIOD_S else 0.0
