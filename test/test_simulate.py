"""The planner in a made-up world: stays when nothing changes, moves when something does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.session import PlannerSettings
from dnn_offload.simulate import constant, step
from dnn_offload.simulate.closed_loop import run, Sensors, Switch, Trace, World
from dnn_offload.simulate.made_up import made_up_profile


@pytest.mark.timeout(300)
def test_an_hour_of_constant_noisy_conditions() -> None:
    """The worst case: a tie, and whatever does not run looks 10 % better than it is."""
    scenario = constant.SCENARIOS[0]
    assert scenario.load_over_tie == 1.0
    assert scenario.sensors.probe_bias == 0.9
    trace = constant.simulate(scenario)
    assert len(trace.true_ms) == 18_000
    assert trace.returns_after(constant.SETTLE_S) == 0
    assert len(trace.switches_after(constant.SETTLE_S)) <= 1
    assert trace.regret(constant.SETTLE_S) < 0.05


@pytest.mark.timeout(300)
def test_an_hour_at_the_edge_of_a_deadline() -> None:
    """Answers come about when the rescue begins: no plan may come and go with the noise."""
    scenario = constant.DEADLINE_SCENARIOS[-2]
    assert (scenario.load_over_tie, scenario.deadline_over_edge) == (3.0, 1.1)
    trace = constant.simulate(scenario)
    assert len(trace.switches_after(constant.SETTLE_S)) <= 3
    assert trace.returns_after(constant.SETTLE_S) == 0
    assert not any(switch.urgent for switch in trace.switches)


@pytest.mark.timeout(120)
def test_a_robot_that_just_keeps_up_with_its_camera_stays_where_it_is() -> None:
    """Half a picture's period hangs on a few percent of the network's time there."""
    trace = constant.simulate(constant.STREAM_SCENARIOS[0], 1500.0)
    assert trace.returns_after(constant.SETTLE_S) == 0
    assert len(trace.switches_after(constant.SETTLE_S)) <= 1
    assert trace.regret(constant.SETTLE_S) < 0.1


@pytest.mark.timeout(120)
@pytest.mark.parametrize('scenario', constant.DEADLINE_SCENARIOS, ids=lambda s: s.name)
def test_minutes_near_the_edge_of_a_deadline(scenario: constant.Scenario) -> None:
    trace = constant.simulate(scenario, 120.0, seed=1)
    assert len(trace.switches) <= 4
    assert not any(switch.urgent for switch in trace.switches)


@pytest.mark.timeout(120)
@pytest.mark.parametrize('scenario', constant.SCENARIOS, ids=lambda s: s.name)
def test_minutes_near_a_tie(scenario: constant.Scenario) -> None:
    trace = constant.simulate(scenario, 240.0, seed=1)
    assert trace.returns_after(constant.SETTLE_S) == 0
    assert len(trace.switches_after(constant.SETTLE_S)) <= 1
    assert trace.regret(constant.SETTLE_S) < 0.15


@pytest.mark.timeout(120)
def test_sources_that_disagree_grossly_are_learned() -> None:
    """The probe reads 30 % low: a naive planner changes every two seconds."""
    edge, server = constant.profiles()
    load = constant.tie_load(edge, server)
    world = replace(constant.WORLD, edge_load=load)
    sensors = Sensors(probe_bias=0.7, probe_link_bias=0.8, cpu_growth=1.2)
    trace = run(edge, server, lambda now_s: world, 300.0, sensors=sensors)
    assert len(trace.switches) <= 8


@pytest.mark.parametrize('case', step.STEPS, ids=lambda s: s.name)
def test_step_response(case: step.Step) -> None:
    for seed in range(2):
        trace = step.simulate(case, seed=seed)
        assert trace.reaction_s(step.STEP_S) <= case.allowed_s


def test_tie_is_a_tie() -> None:
    edge, server = constant.profiles()
    load = constant.tie_load(edge, server)
    exact = Sensors(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
    for factor, local in ((0.9, True), (1.1, False)):
        world = replace(constant.WORLD, edge_load=factor * load)
        trace = run(edge, server, lambda now_s, w=world: w, 1.0, sensors=exact)
        local_ms = (edge.whole_ms + edge.finish_ms) * world.edge_load
        assert (trace.best_ms[0] == pytest.approx(local_ms)) == local


def test_same_seed_same_trace() -> None:
    edge, server = made_up_profile(cuts=4), made_up_profile(cuts=4, speed=4.0)
    traces = [run(edge, server, lambda now_s: World(), 10.0, seed=5) for _ in range(2)]
    assert traces[0] == traces[1]


def test_constraints_hold_in_the_loop() -> None:
    edge, server = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=20.0)
    trace = run(
        edge,
        server,
        lambda now_s: World(edge_load=6.0, uplink_bps=50e6),
        20.0,
        settings=PlannerSettings(private_layers=2),
    )
    cuts = [s.candidate.cut_index for s in trace.switches if not s.candidate.is_local]
    assert cuts
    assert min(cuts) >= 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize('deadline_ms', [90.0, 110.0, 120.0, 130.0, 140.0, 160.0])
def test_deadline_that_can_hardly_be_met(deadline_ms: float) -> None:
    """Near the limit a plan must not come and go with the noise."""
    edge, server = constant.profiles()
    world = replace(constant.WORLD, edge_load=3.0)
    trace = run(edge, server, lambda now_s: world, 120.0, deadline_ms=deadline_ms, seed=1)
    assert trace.returns_after(20.0) == 0
    assert len(trace.switches) <= 5


def test_trace_counts_returns() -> None:
    here = Candidate(9, '', 'all', '', '')
    there = Candidate(0, 'c', 'picture', 'jpeg', 's')
    trace = Trace([Switch(float(t), c, False, '') for t, c in enumerate([here, there] * 3)])
    assert trace.returns_after(-1.0) == 4
    assert trace.returns_after(2.5) == 2  # what runs at that time is left later as well
    assert trace.returns_after(9.0) == 0
