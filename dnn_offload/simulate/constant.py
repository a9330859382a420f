"""An hour in which nothing changes but the noise: the planner must settle and stay.

The conditions are the worst for it: all-local and the best remote plan cost the same, and
the sources that price what does not run disagree with those that price what does, in either
direction. Run ``python -m dnn_offload.simulate.constant [--only TEXT]``; prints one line per
scenario and exits non-zero when the planner went back and forth.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
import sys
from typing import Any

from dnn_offload.cost.profile import Profile
from dnn_offload.planning.costs import local_candidate
from dnn_offload.planning.plan import Conditions, LinkState, ServerState
from dnn_offload.planning.search import plan
from dnn_offload.simulate.closed_loop import constant, run, Sensors, Trace, World
from dnn_offload.simulate.made_up import made_up_profile

HOUR_S = 3600.0
SETTLE_S = 60.0


@dataclass(frozen=True)
class Scenario:
    """Constant conditions.

    Attributes:
        name: For people.
        load_over_tie: The robot's load over that at which all-local and remote cost the same.
        sensors: How the truth is seen.
        deadline_over_edge: Deadline over that at which the best remote plan is just not
            rescued; 0 = no deadline.
        pictures_over_edge: Rate of the pictures over that which all-local just keeps up with;
            0 = as they come, and nothing waits.
    """

    name: str
    load_over_tie: float
    sensors: Sensors
    deadline_over_edge: float = 0.0
    pictures_over_edge: float = 0.0


def _sensors(probe_bias: float, probe_link_bias: float) -> Sensors:
    return Sensors(probe_bias=probe_bias, probe_link_bias=probe_link_bias, cpu_growth=1.0)


SCENARIOS = tuple(
    Scenario(f'{where}, what does not run looks {how}', ratio, _sensors(*biases))
    for where, ratio in (('tie', 1.0), ('robot 7 % faster', 0.93), ('server 7 % faster', 1.07))
    for how, biases in (
        ('10 % too fast', (0.9, 0.9)),
        ('right', (1.0, 1.0)),
        ('10 % too slow', (1.1, 1.1)),
    )
)
# Rescues begin about when answers come: a price limit that is hard makes plans come and go.
DEADLINE_SCENARIOS = tuple(
    Scenario(
        f'deadline {edge:.2f} of its edge, {name}', load, _sensors(1.0, 1.0), edge
    )
    for load, name in (
        (1.07, 'robot nearly as fast'),
        (1.5, 'robot slow'),
        (2.0, 'as much rescued as costs the same'),
        (3.0, 'robot very slow'),
    )
    for edge in (0.95, 1.0, 1.1, 1.2)
)
# The robot just keeps up with its camera, or just does not: half a picture's period is at stake.
STREAM_SCENARIOS = tuple(
    Scenario(
        f'camera {rate:.2f} of what the robot keeps up with, {name}', load, _sensors(*biases),
        pictures_over_edge=rate,
    )
    for load, name, biases in (
        (0.93, 'robot 7 % faster', (1.0, 1.0)),
        (1.0, 'tie', (0.9, 0.9)),
        (1.07, 'server 7 % faster', (1.1, 1.1)),
    )
    for rate in (0.95, 1.0, 1.1)
)
WORLD = World(uplink_bps=2e6)


def profiles() -> tuple[Profile, Profile]:
    """The two machines of all scenarios: the server is five times as fast."""
    return made_up_profile(cuts=12), made_up_profile(cuts=12, speed=5.0)


def tie_load(edge: Profile, server: Profile, world: World = WORLD) -> float:
    """The robot's load at which all-local and the best remote plan cost the same."""
    low, high = 0.01, 100.0
    link = LinkState(world.alpha_ms, world.uplink_bps, world.alpha_ms, world.downlink_bps)
    state = ServerState('s', server, link, world.server_load, world.queue_ms)
    for _ in range(50):
        middle = (low * high) ** 0.5
        if plan('auto', Conditions(edge, middle, 1.0, (state,)))[0].is_local:
            low = middle
        else:
            high = middle
    return high


def simulate(scenario: Scenario, seconds: float = HOUR_S, *, seed: int = 0) -> Trace:
    """One scenario, from the planner's start on."""
    edge, server = profiles()
    load = scenario.load_over_tie * tie_load(edge, server)
    world = replace(WORLD, edge_load=load)
    deadline_ms = scenario.deadline_over_edge * edge_of_deadline_ms(edge, server, world)
    stream: dict[str, Any] = {}
    if scenario.pictures_over_edge > 0.0:
        period_ms = local_candidate(Conditions(edge, load)).period_ms
        stream = {'waiting': True, 'frame_hz': scenario.pictures_over_edge * 1e3 / period_ms}
    return run(
        edge, server, constant(world), seconds,
        sensors=scenario.sensors, deadline_ms=deadline_ms, seed=seed, **stream,
    )


def edge_of_deadline_ms(edge: Profile, server: Profile, world: World) -> float:
    """Deadline under which the best remote plan's answers come just when the rescue begins."""
    link = LinkState(world.alpha_ms, world.uplink_bps, world.alpha_ms, world.downlink_bps)
    state = ServerState('s', server, link, world.server_load, world.queue_ms)
    ranked = plan('auto', Conditions(edge, world.edge_load, 1.0, (state,)))
    best = next(candidate for candidate in ranked if not candidate.is_local)
    return best.latency_ms + edge.cuts[best.cut_index].tail_ms * world.edge_load + best.finish_ms


def main() -> int:
    """Run the scenarios; 0 when none went back and forth."""
    parser = argparse.ArgumentParser(
        prog='python -m dnn_offload.simulate.constant', description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('--only', default='', metavar='TEXT', help='hours with TEXT in their name')
    only = parser.parse_args().only
    returns = 0
    every = [
        scenario for scenario in SCENARIOS + DEADLINE_SCENARIOS + STREAM_SCENARIOS
        if only in scenario.name
    ]
    if not every:
        parser.error(f'no hour has {only!r} in its name')
    for scenario in every:
        trace = simulate(scenario)
        late = trace.switches_after(SETTLE_S)
        returns += trace.returns_after(SETTLE_S)
        print(
            f'{scenario.name:56} {len(late)} changes of plan after {SETTLE_S:g} s, '
            f'{100 * trace.regret(SETTLE_S):.1f} % slower than the best'
        )
        for switch in late[:5]:
            print(f'    {switch.at_s:7.1f} s {switch.reason}')
    print(f'returns to a plan that had been left: {returns} in {len(every)} hours')
    return 0 if returns == 0 else 1


if __name__ == '__main__':
    sys.exit(main())
