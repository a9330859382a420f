"""Whether it is the world that has moved: prices of a place against its own last seconds."""

from __future__ import annotations

import pytest

from dnn_offload.planning.moved_world import MovedWorld
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.switch import SwitchPolicy
from test_switch import Clock, joules, local, remote, run_for

HERE, CUT = ('', '', ''), ('c3', 'int8', 's')
TICK_S = 0.2


class Watch:
    """Feeds a world tick by tick, all on the robot."""

    def __init__(self) -> None:
        self.world = MovedWorld()
        self.now_s = 0.0

    def tick(
        self, count: int, here: float, key: tuple[str, str, str] = HERE, **there: float
    ) -> None:
        for _ in range(count):
            self.now_s += TICK_S
            self.world.runs(key, here, self.now_s)
            self.world.what_if(there, self.now_s)

    def better(self, price: float, place: str = 's') -> bool:
        return self.world.made_better(place, price, self.now_s)


def test_far_below_the_usual_price_is_a_moved_world() -> None:
    watch = Watch()
    watch.tick(60, 70.0, s=140.0)
    assert watch.better(93.0)
    assert not watch.better(94.0)


def test_what_it_costs_since_is_soon_the_usual_price() -> None:
    watch = Watch()
    watch.tick(60, 70.0, s=140.0)
    watch.tick(20, 70.0, s=60.0)
    assert watch.better(60.0), 'four seconds later'
    watch.tick(10, 70.0, s=60.0)
    assert not watch.better(60.0), 'six'


def test_a_price_that_scatters_is_measured_by_its_middle() -> None:
    watch = Watch()
    for _ in range(15):
        watch.tick(2, 70.0, s=200.0)
        watch.tick(2, 70.0, s=90.0)
        watch.tick(1, 70.0, s=120.0)
    assert not watch.better(90.0), 'as often before'
    assert watch.better(75.0)


@pytest.mark.parametrize('ticks, known', [(18, False), (22, True)])
def test_no_price_is_usual_before_it_has_settled_and_lasted(ticks: int, known: bool) -> None:
    """Two seconds after the plan that runs, and two more."""
    watch = Watch()
    watch.tick(1, 70.0)
    watch.tick(ticks, 70.0, s=140.0)
    assert watch.better(50.0) == known


def test_another_plan_here_ends_what_was_known_of_elsewhere() -> None:
    """A robot that computes reads its load elsewhere than one that does not."""
    watch = Watch()
    watch.tick(60, 70.0, s=140.0)
    watch.tick(15, 70.0, ('c5', 'int8', 't'), s=80.0)
    assert not watch.better(80.0)


def test_a_place_that_was_away_is_known_anew() -> None:
    watch = Watch()
    watch.tick(60, 70.0, s=140.0, t=90.0)
    watch.tick(5, 70.0, t=90.0)
    for _ in range(50):
        watch.now_s += TICK_S
        watch.world.rests(watch.now_s)
    watch.tick(1, 70.0, s=60.0, t=90.0)
    assert not watch.better(60.0), 'its last word is eleven seconds old'
    assert watch.better(50.0, 't'), 'of this one nothing had changed'


def test_a_plan_that_costs_far_more_than_it_did() -> None:
    watch = Watch()
    watch.tick(4, 70.0)
    assert not watch.world.made_worse(200.0), 'its price rests on no frames of its own yet'
    watch.tick(30, 70.0)
    assert watch.world.made_worse(106.0)
    assert not watch.world.made_worse(104.0)


# ---- what it does to a change of plan ----------------------------------------------------------


def make_cautious(clock: Clock) -> None:
    """As after much going back and forth, ending now."""
    clock.policy._memory.returns, clock.policy._memory.returns_at_s = 3.0, clock.now_s


def test_caution_ends_where_the_world_has_moved() -> None:
    """After much going back and forth a link gets slow and fast again, by less than a half."""
    clock = Clock()
    run_for(clock, 8.0, local(100.0), remote(82.0))
    make_cautious(clock)
    cautious = clock.policy._memory.returns
    assert run_for(clock, 0.4, local(100.0), remote(150.0)) == 1, 'two ticks'
    assert run_for(clock, 8.0, local(100.0), remote(150.0)) == 0
    assert run_for(clock, 1.0, local(100.0), remote(60.0)) == 1
    assert clock.policy._memory.returns > cautious, 'it was a return all the same'
    # What has not become cheaper must gain as much as caution demands.
    assert run_for(clock, 8.0, local(40.0), remote(60.0)) == 0


@pytest.mark.parametrize('busier, switches', [(False, 1), (True, 0)])
def test_the_robot_is_no_hasty_refuge_while_it_gets_busier(busier: bool, switches: int) -> None:
    """Load comes: frames of the server tell at once what a probe of the robot tells in 0.6 s."""
    clock = Clock()
    run_for(clock, 8.0, local(12.0), remote(10.0))
    clock.policy.robot_busier = busier
    assert run_for(clock, 0.4, local(12.0), remote(50.0)) == switches
    if busier:
        assert run_for(clock, 2.0, local(62.0), remote(50.0)) == 0
        assert run_for(clock, 1.0, local(20.0), remote(50.0)) == 1, 'three rounds are enough'


def test_a_place_that_was_never_steady_is_taken_once_it_is_far_cheaper() -> None:
    """A slow link's price scatters widely; after much going back and forth it is fast again."""
    clock = Clock()
    run_for(clock, 8.0, local(70.0), remote(34.0))
    assert run_for(clock, 1.0, local(70.0), remote(140.0)) == 1
    make_cautious(clock)
    for price in (180.0, 120.0, 150.0, 200.0) * 4:
        assert run_for(clock, 0.4, local(70.0), remote(price)) == 0
    assert clock.policy._memory.promises.watched is None
    assert run_for(clock, 1.2, local(70.0), remote(37.0)) == 1


def test_what_a_place_seemed_to_cost_just_after_it_was_left_is_no_measure() -> None:
    """Readings settle within two seconds of a switch: no price that falls then has moved."""
    clock = Clock()
    run_for(clock, 8.0, local(70.0), remote(100.0))
    assert run_for(clock, 2.0, local(150.0), remote(100.0)) == 1
    make_cautious(clock)
    run_for(clock, 0.8, local(150.0), remote(100.0))
    assert run_for(clock, 8.0, local(55.0), remote(100.0)) == 0


@pytest.mark.parametrize('energy_j, ticks', [(0.34, 3), (0.29, 1)])
def test_a_place_that_is_suddenly_a_third_cheaper_is_taken_after_one_round(
    energy_j: float, ticks: int
) -> None:
    policy = SwitchPolicy()
    policy.objective = Objective('energy')
    here, there = joules(local(20.0), 0.50), joules(remote(90.0), 0.46)
    for tick in range(50):
        policy.decide([there, here] if tick else [here], 0.2 * tick)
    there = joules(remote(90.0), energy_j)
    for tick in range(1, ticks + 1):
        assert policy.decide([there, here], 10.0 + 0.2 * tick).switched == (tick == ticks)
