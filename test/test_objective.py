"""Objectives: values by hand, ranking by each, energy refused where power is not known."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.planning import one_cut
from dnn_offload.planning.costs import local_candidate, with_value
from dnn_offload.planning.objective import late_share, Objective, OBJECTIVES
from dnn_offload.planning.pareto import pareto_set
from dnn_offload.planning.plan import Candidate, Constraints
from dnn_offload.planning.search import plan, reprice, STRATEGIES
from plan_cases import BOARD, case, two_plans


def test_values_by_hand() -> None:
    local = (200.0, 0.4)
    plan_values = (120.0, 50.0, 0.3, 0.0, local)
    assert Objective('latency').value(*plan_values) == 120.0
    assert Objective('throughput', window=2).value(*plan_values) == 60.0  # 120 ms / 2 frames
    assert Objective('throughput', window=4).value(*plan_values) == 50.0  # its slowest stage
    assert Objective('energy').value(*plan_values) == 0.3
    # 0.25 * 120/200 + 0.75 * 0.3/0.4
    assert Objective('weighted', 0.25).value(*plan_values) == pytest.approx(0.7125)
    assert Objective('weighted', 1.0).value(120.0, 50.0, math.nan, 0.0, local) == 0.6


def test_a_late_result_is_worth_nothing() -> None:
    energy = Objective('energy')
    assert energy.value(1.0, 1.0, 0.3, 0.5, (1.0, 1.0)) == pytest.approx(0.3 / 0.505)
    assert late_share(100.0, 0.0) == 0.0
    assert late_share(100.0, 100.0) == pytest.approx(0.5)
    assert late_share(300.0, 100.0) > 0.999
    assert late_share(50.0, 100.0) < 0.001


@pytest.mark.parametrize('bad', [('speed', 0.5, 2), ('latency', 1.5, 2), ('latency', 0.5, 0)])
def test_bad_objectives_are_refused(bad: tuple[str, float, int]) -> None:
    with pytest.raises(ConfigurationError, match='allowed'):
        Objective(*bad)


@pytest.mark.parametrize('name', ['energy', 'weighted'])
def test_energy_without_known_power_is_refused_with_what_to_do(name: str) -> None:
    wanted = Constraints(objective=Objective(name))
    with pytest.raises(PlanningError, match='dnn-offload power'):
        plan('auto', case(power=None), wanted)
    assert plan('auto', case(), wanted)


def test_weighted_without_weight_on_energy_needs_no_power() -> None:
    wanted = Constraints(objective=Objective('weighted', 1.0))
    ranked = plan('auto', case(power=None), wanted)
    assert [c.key for c in ranked] == [c.key for c in plan('auto', case(power=None))]
    assert next(c for c in ranked if c.is_local).cost == pytest.approx(1.0)


def test_energy_of_a_remote_plan_by_hand() -> None:
    at = replace(two_plans(power=True), edge_load=2.0)
    local, remote = sorted(plan('auto', at), key=lambda c: not c.is_local)
    # 200 ms under load 2: computes 100 ms at 3 W, waits 100 ms at 2 W
    assert local.energy_j == pytest.approx(0.5)
    # up 1 + 50 ms at 2.5 W, down 1 ms at 2.2 W, the server's 20 ms at 2 W
    assert remote.energy_j == pytest.approx(1e-3 * (51.0 * 2.5 + 1.0 * 2.2 + 20.0 * 2.0))


def test_without_power_there_is_no_energy() -> None:
    assert all(math.isnan(c.energy_j) for c in plan('auto', case(power=None)))
    assert pareto_set(plan('auto', case(power=None))) == []


def test_each_objective_has_its_own_winner() -> None:
    at = case(bps=3e6, power=BOARD.above_idle())
    winners = {}
    for name in OBJECTIVES:
        ranked = plan('auto', at, Constraints(objective=Objective(name)))
        winners[name] = ranked[0]
        assert [c.cost for c in ranked] == sorted(c.cost for c in ranked)
    everything = plan('auto', at)
    assert winners['latency'].latency_ms == min(c.latency_ms for c in everything)
    assert winners['energy'].energy_j == min(c.energy_j for c in everything)
    assert winners['throughput'].cost == min(
        max(c.period_ms, c.latency_ms / Objective().window) for c in everything
    )


def test_of_equal_periods_the_faster_plan_wins() -> None:
    # A slow head is the bottleneck of both codecs of a cut; the smaller one is faster.
    at = case(bps=50e6)
    ranked = plan('auto', at, Constraints(objective=Objective('throughput', window=8)))
    for one, other in zip(ranked, ranked[1:], strict=False):
        assert one.cost < other.cost or one.latency_ms <= other.latency_ms


@pytest.mark.parametrize('strategy', sorted(STRATEGIES))
def test_every_strategy_can_be_judged_by_energy(strategy: str) -> None:
    ranked = plan(strategy, case(), Constraints(objective=Objective('energy')))
    assert [c.energy_j for c in ranked] == sorted(c.energy_j for c in ranked)
    assert all(c.cost == c.energy_j for c in ranked)


def test_a_plan_that_misses_the_deadline_is_not_taken_for_its_energy() -> None:
    # Sending needs less energy than computing, but takes too long.
    power = replace(BOARD, radio_tx_w=0.1, radio_rx_w=0.1, idle_w=0.05)
    at = replace(two_plans(nbytes=400_000), power=power)
    energy = Objective('energy')
    assert not plan('auto', at, Constraints(objective=energy))[0].is_local
    bound = plan('auto', at, Constraints(objective=energy, deadline_ms=200.0))
    assert bound[0].is_local
    assert len(bound) == 2, 'it stays a candidate'


def test_all_local_that_is_late_loses_to_what_is_not() -> None:
    power = replace(BOARD, radio_tx_w=9.0)
    at = replace(two_plans(), power=power)
    energy = Objective('energy')
    assert plan('auto', at, Constraints(objective=energy))[0].is_local
    assert not plan('auto', at, Constraints(objective=energy, deadline_ms=85.0))[0].is_local


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(OBJECTIVES),
    st.floats(0.0, 1.0),
    st.floats(1e5, 1e9),
    st.floats(0.5, 10.0),
    st.sampled_from([0.0, 40.0, 120.0]),
    st.integers(1, 9),
)
def test_few_plans_are_the_best_of_all(
    name: str, weight: float, bps: float, load: float, deadline_ms: float, most: int
) -> None:
    at = case(bps=bps, load=load)
    wanted = Constraints(objective=Objective(name, weight), deadline_ms=deadline_ms)
    everything = plan('auto', at, wanted)
    few = plan('auto', at, replace(wanted, most=most))
    assert few[0] == everything[0]
    assert {c.key for c in few} >= {c.key for c in everything[:most]}
    assert len(few) < len(everything)
    by_key = {c.key: c for c in everything}
    assert all(by_key[c.key] == c for c in few)
    assert {c.key for c in pareto_set(few)} == {c.key for c in pareto_set(everything)}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(OBJECTIVES), st.floats(0.0, 1.0), st.floats(1e5, 1e9), st.floats(0.5, 10.0),
    st.sampled_from([BOARD, BOARD.above_idle()]),
)
def test_auto_is_never_worse_than_another_strategy(
    name: str, weight: float, bps: float, load: float, power: PowerModel
) -> None:
    at = case(bps=bps, load=load, power=power)
    wanted = Constraints(objective=Objective(name, weight))
    best = plan('auto', at, wanted)[0]
    local = local_candidate(at)
    for strategy in STRATEGIES:
        chosen = reprice(plan(strategy, at, wanted)[0], at)
        assert best.cost <= with_value(chosen, wanted, local).value * (1 + 1e-9)


def test_plans_to_keep_are_kept_wherever_they_rank() -> None:
    everything = plan('auto', case(power=None))
    worst = [c.key for c in everything[-5:]]
    few = plan('auto', case(power=None), Constraints(most=3, keep=frozenset(worst)))
    assert set(worst) <= {c.key for c in few}
    assert len(few) <= 1 + 3 + 5
    absent = Constraints(most=3, keep=frozenset(worst), private_layers=100)
    assert [c.is_local for c in plan('auto', case(power=None), absent)] == [True]


def test_cost_is_the_latency_until_a_value_is_set() -> None:
    local = local_candidate(case())
    assert local.cost == local.latency_ms
    assert replace(local, value=0.25).cost == 0.25
    assert Candidate(1, 'a', '', 'raw', 's', head_ms=3.0).cost == 3.0


def test_numbers_are_plain() -> None:
    """Messages refuse NumPy's integers."""
    for candidate in one_cut.candidates(case(), Constraints(objective=Objective('energy'))):
        assert all(not isinstance(value, np.generic) for value in vars(candidate).values())
