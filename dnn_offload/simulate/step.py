"""Steps in load, link and server: how long until the plan is right again.

Run ``python -m dnn_offload.simulate.step``; prints one line per step and exits non-zero when
one takes longer than is allowed: two seconds for load and link, including the estimators'
own delay, at once for a lost server, five seconds for one that is ready again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import sys

from dnn_offload.simulate.closed_loop import run, step, Trace, World
from dnn_offload.simulate.made_up import made_up_profile

STEP_S = 30.0
AFTER_S = 15.0
DEATH_S = 10.0     # how long a server that dies stays away


@dataclass(frozen=True)
class Step:
    """One change of the world at ``STEP_S``, and the time allowed for a new plan [s]."""

    name: str
    world_at: Callable[[float], World]
    allowed_s: float


def _death(now_s: float) -> World:
    return replace(_IDLE, edge_load=3.0, server_up=not STEP_S - DEATH_S <= now_s < STEP_S)


_IDLE = World(uplink_bps=2e6)
_FAST = World(uplink_bps=20e6, edge_load=1.5)
_BUSY = replace(_IDLE, edge_load=3.0)

STEPS = (
    Step('load of the robot 1 -> 3', step(_IDLE, STEP_S, edge_load=3.0), 2.0),
    Step('load of the robot 1 -> 2', step(_IDLE, STEP_S, edge_load=2.0), 2.0),
    Step('load of the robot 3 -> 1', step(_BUSY, STEP_S, edge_load=1.0), 2.0),
    Step('uplink 20 -> 0.5 Mbit/s', step(_FAST, STEP_S, uplink_bps=5e5), 2.0),
    # Nothing is sent meanwhile, so only the probes, one per second, can tell.
    Step(
        'uplink 0.5 -> 20 Mbit/s',
        step(replace(_FAST, uplink_bps=5e5), STEP_S, uplink_bps=20e6),
        6.0,
    ),
    Step('load of the server 1 -> 10', step(_FAST, STEP_S, server_load=10.0), 2.0),
    Step('server lost', step(_BUSY, STEP_S, server_up=False), 0.6),
    Step(f'server ready again after {DEATH_S:g} s', _death, 5.0),
)


def simulate(case: Step, *, seed: int = 0) -> Trace:
    """One step, from the planner's start on."""
    edge, server = made_up_profile(cuts=12), made_up_profile(cuts=12, speed=5.0)
    return run(edge, server, case.world_at, STEP_S + AFTER_S, seed=seed)


def main() -> int:
    """Run all steps; 0 when each was met in time."""
    late = 0
    for case in STEPS:
        trace = simulate(case)
        reaction_s = trace.reaction_s(STEP_S)
        late += reaction_s > case.allowed_s
        print(
            f'{case.name:32} right again after {reaction_s:.1f} s (allowed {case.allowed_s:g} s), '
            f'{len(trace.switches_after(STEP_S - 1e-9))} changes of plan'
        )
    return 0 if late == 0 else 1


if __name__ == '__main__':
    sys.exit(main())
