"""Near the edge of a deadline: how much caution against late answers costs, and what it saves.

A link of which 3 % of the transfers take three times as long, a deadline just above the one
under which the best remote plan's answers come when the rescue begins. For each margin of
``costs.late_cost_ms`` and each time for which the robot's engine remembers a missed answer
(``runtime/misses.py``; a second miss within it loses the server): mean latency of the frames,
changes of plan, rescues and late frames in ``--seconds``.

Run: ``python benchmarks/deadline_margin.py [--seconds 90]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import sys
from unittest import mock

from dnn_offload.planning import costs
from dnn_offload.simulate import frame_fates
from dnn_offload.simulate.closed_loop import constant, run, Sensors
from dnn_offload.simulate.constant import edge_of_deadline_ms, profiles, tie_load, WORLD

SENSORS = Sensors(probe_bias=1.0, probe_link_bias=1.0, cpu_growth=1.0)
CASES = ((2.0, 1.1), (2.0, 1.2), (3.0, 1.1), (3.0, 1.2))  # load over the tie's, deadline over edge


def main() -> int:
    """Print a row per setting and case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=90.0)
    parser.add_argument('--margins', default='2,1,0')
    parser.add_argument('--memories-s', default='2,0.35')
    args = parser.parse_args()
    edge, server = profiles()
    tie = tie_load(edge, server)
    for memory_s in map(float, args.memories_s.split(',')):
        for margin in map(float, args.margins.split(',')):
            for load, over in CASES:
                world = replace(WORLD, edge_load=load * tie)
                deadline_ms = over * edge_of_deadline_ms(edge, server, world)
                with mock.patch.object(costs, '_MISS_MARGIN', margin), mock.patch.object(
                    frame_fates, 'MISS_MEMORY_S', memory_s
                ):
                    told = run(
                        edge, server, constant(world), args.seconds, sensors=SENSORS,
                        deadline_ms=deadline_ms, seed=1, fates=True,
                    )
                frames = told.frames
                assert frames is not None
                print(
                    f'memory {memory_s:g} s, margin {margin:g}: deadline {deadline_ms:.0f} ms '
                    f'({over:g} of its edge), local {edge.whole_ms * world.edge_load:.0f} ms, '
                    f'best {told.best_ms[-1]:.0f} ms: mean {frames.mean_ms:.0f} ms, '
                    f'{len(told.switches) - 1} changes, {frames.rescued} rescued, '
                    f'{frames.late} late of {frames.entered}', flush=True,
                )
    return 0


if __name__ == '__main__':
    sys.exit(main())
