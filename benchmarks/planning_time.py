"""Time of one planning step for a network of Inception v3's size (aim: <= 10 ms).

Run: ``python benchmarks/planning_time.py``; prints the median and the worst of the runs and
exits non-zero when the median misses the aim.
"""

from __future__ import annotations

import statistics
import sys
import time

from dnn_offload.planning.plan import Conditions, LinkState, ServerState
from dnn_offload.planning.search import plan
from dnn_offload.planning.switch import SwitchPolicy
from dnn_offload.simulate.made_up import made_up_profile

CUTS = 220  # single- and multi-tensor cuts of Inception v3
RUNS = 200
AIM_MS = 10.0


def planning_times_ms(runs: int = RUNS) -> tuple[list[float], list[float]]:
    """Wall and CPU times of search and switch decision, all cuts and four codecs [ms]."""
    edge = made_up_profile(cuts=CUTS, whole_ms=120.0)
    server = made_up_profile(cuts=CUTS, whole_ms=120.0, speed=4.0)
    policy = SwitchPolicy()
    walls, cpus = [], []
    for run in range(runs):
        # New conditions each time, so that nothing but the profiles can be cached.
        link = LinkState(3.0, 20e6 + run, 3.0, 20e6, 1.0)
        conditions = Conditions(
            edge, 1.0 + 0.001 * run, 1.0, (ServerState('s', server, link, 1.0, 0.5),)
        )
        start, start_cpu = time.perf_counter(), time.thread_time()
        policy.decide(plan('auto', conditions), 0.2 * run)
        walls.append(1e3 * (time.perf_counter() - start))
        cpus.append(1e3 * (time.thread_time() - start_cpu))
    return walls, cpus


def main() -> int:
    """Print the figures; 0 when the aim is met."""
    walls, cpus = planning_times_ms()
    median, worst = statistics.median(walls), max(walls)
    print(
        f'planning, {CUTS} cuts x 4 codecs: median {median:.2f} ms, worst {worst:.2f} ms of '
        f'{len(walls)} runs, CPU time {statistics.median(cpus):.2f} ms (aim {AIM_MS:g} ms)'
    )
    return 0 if median <= AIM_MS else 1


if __name__ == '__main__':
    sys.exit(main())
