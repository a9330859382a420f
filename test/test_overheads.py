"""Overheads: learnt per place, assumed until then, and they decide between close plans."""

from __future__ import annotations

from dataclasses import replace
import math

import pytest

from dnn_offload.planning.costs import local_candidate
from dnn_offload.planning.overheads import (
    as_priced,
    ASSUMED_REMOTE_EXTRA_MS,
    ON_ROBOT,
    Overheads,
    RETURN,
)
from dnn_offload.planning.plan import Conditions, LinkState, ServerState
from dnn_offload.planning.search import plan
from dnn_offload.simulate.made_up import made_up_profile

EDGE = made_up_profile(cuts=12, whole_ms=40.0)
LINK = LinkState(1.0, 100e6, 1.0, 100e6, 1.0)


def test_a_place_is_assumed_until_it_was_seen() -> None:
    overheads = Overheads()
    assert overheads.of(ON_ROBOT) == 0.0
    assert overheads.of('s') == ASSUMED_REMOTE_EXTRA_MS
    for _ in range(10):
        overheads.add(ON_ROBOT, 27.0, 20.0)
    assert overheads.of(ON_ROBOT) == pytest.approx(7.0)
    assert overheads.of('s') == pytest.approx(7.0 + ASSUMED_REMOTE_EXTRA_MS)
    for _ in range(10):
        overheads.add('s', 35.0, 23.0)
    assert overheads.of('s') == pytest.approx(12.0)
    assert overheads.of('other') == pytest.approx(7.0 + ASSUMED_REMOTE_EXTRA_MS)


def test_frames_that_wait_less_than_the_model_says_tell_it() -> None:
    # A network of 90 ms keeps up with pictures every 100 ms; the model's border is soft.
    overheads = Overheads()
    for _ in range(10):
        overheads.add(ON_ROBOT, 93.0, 90.0 + 17.0)
    assert overheads.of(ON_ROBOT) == 0.0
    assert overheads.waits_less() == {ON_ROBOT: pytest.approx(14.0)}
    edge = made_up_profile(cuts=12, whole_ms=90.0 - EDGE.finish_ms)
    seen = Conditions(edge, frame_period_ms=100.0, waits_less=overheads.waits_less())
    blind = replace(seen, waits_less={})
    less_ms = local_candidate(blind).latency_ms - local_candidate(seen).latency_ms
    assert less_ms == pytest.approx(14.0, abs=0.5)
    fast = replace(seen, edge_profile=made_up_profile(cuts=12, whole_ms=9.0))
    assert local_candidate(fast).wait_ms == 0.0, 'never below nothing'


def test_pictures_that_arrive_late_make_all_places_dearer_alike() -> None:
    overheads = Overheads()
    for place, latency_ms, age_ms in (('s', 45.0, 16.0), (ON_ROBOT, 60.0, 30.0)):
        for _ in range(20):
            overheads.add_age(age_ms)
            overheads.add(place, latency_ms, 20.0, age_ms)
    # The server was used when pictures were young, the robot now that they are old.
    assert overheads.of(ON_ROBOT) == pytest.approx(10.0 + 30.0)
    assert overheads.of('s') == pytest.approx(9.0 + 30.0)
    for _ in range(20):
        overheads.add_age(math.nan)
        overheads.add_age(-3.0)  # clocks apart
        overheads.add_age(5000.0)
    assert overheads.of(ON_ROBOT) == pytest.approx(10.0 + 30.0)
    for _ in range(20):
        overheads.add_age(16.0)
    assert overheads.of('s') == pytest.approx(9.0 + 16.0)


def test_the_robots_own_overhead_goes_with_its_load() -> None:
    overheads = Overheads()
    for _ in range(20):
        overheads.add(ON_ROBOT, 60.0, 52.0, slow_down=4.0)
        overheads.add('s', 30.0, 20.0, slow_down=4.0)
    assert overheads.of(ON_ROBOT, 4.0) == pytest.approx(8.0)
    # Left under load, it is not as dear when the load has gone, nor as cheap when more comes.
    assert overheads.of(ON_ROBOT, 1.0) == pytest.approx(2.0)
    assert overheads.of(ON_ROBOT, 6.0) == pytest.approx(12.0)
    # A server's is as it was measured: a robot that waits for a server does not wait for itself.
    assert overheads.of('s', 1.0) == overheads.of('s', 4.0) == pytest.approx(10.0)
    assert overheads.of('new', 1.0) == pytest.approx(2.0 + ASSUMED_REMOTE_EXTRA_MS)


def test_what_load_adds_counts_for_what_the_robot_computes_of_an_answered_frame() -> None:
    overheads = Overheads()
    for _ in range(20):
        overheads.add(ON_ROBOT, 100.0, 40.0, slow_down=8.0)  # 60 ms: 7.5, and 52.5 by load
    assert overheads.by_load(8.0) == pytest.approx(52.5)
    assert overheads.by_load(1.0) == overheads.by_load(0.5) == 0.0
    for _ in range(20):  # half the network here: 26 of the 40 ms are of that
        overheads.add('s', 90.0, 50.0, slow_down=8.0, computed=0.5)
    assert overheads.of('s', 8.0) == overheads.of('s') == pytest.approx(40.0 - 0.5 * 52.5)
    for _ in range(40):  # less than that: none of its own is left
        overheads.add('s', 60.0, 50.0, slow_down=8.0, computed=1.0)
    assert overheads.of('s') == 0.0


def test_an_overhead_of_a_saturated_robot_is_none_too_long_to_be_learnt() -> None:
    overheads = Overheads()
    for _ in range(20):
        overheads.add(ON_ROBOT, 250.0, 120.0, slow_down=20.0)
    assert overheads.of(ON_ROBOT, 20.0) == pytest.approx(130.0)


def test_hiccups_and_unknown_stages_teach_nothing() -> None:
    overheads = Overheads()
    for _ in range(10):
        overheads.add(ON_ROBOT, 27.0, 20.0)
        overheads.add(ON_ROBOT, 900.0, 20.0)
        overheads.add(ON_ROBOT, 27.0, math.nan)
        overheads.add(ON_ROBOT, 10.0, 900.0)
    assert overheads.of(ON_ROBOT) == pytest.approx(7.0)


def test_frames_that_took_less_than_their_stages_count_in_the_median() -> None:
    overheads = Overheads()
    for extra_ms in (-4.0, -2.0, 1.0, 2.0, 6.0, 9.0, -1.0, 1.0, 7.0, -3.0, 1.0):
        overheads.add('s', 20.0 + extra_ms, 20.0)
    assert overheads.of('s') == pytest.approx(1.0)
    for _ in range(40):
        overheads.add('s', 15.0, 20.0)
    assert overheads.of('s') == 0.0, 'no place gives time back'


def test_waits_that_come_now_here_now_there_are_in_the_sum() -> None:
    """Each frame waits 3 ms for a busy processor once: in a stage, before all, or beside."""
    overheads = Overheads()
    for number in range(36):
        waits_ms = [3.0 * (number % 3 == part) for part in range(3)]
        stages_ms, age_ms = 10.0 + waits_ms[0], 1.0 + waits_ms[1]
        overheads.add_age(age_ms)
        overheads.add('s', stages_ms + age_ms + 1.0 + waits_ms[2], stages_ms, age_ms)
    # Priced from the usual stage, 10 ms; every single frame takes 15.
    assert 10.0 + overheads.of('s') == pytest.approx(15.0)


def test_stages_count_as_priced_where_that_is_nearly_what_they_took() -> None:
    assert as_priced(10.0, 9.0) == 9.0 and as_priced(10.0, 12.0) == 12.0
    # The load has come, or gone, and no price knows of it yet.
    assert as_priced(40.0, 10.0) == 40.0 and as_priced(10.0, 40.0) == 10.0
    assert math.isnan(as_priced(math.nan, 10.0))


def test_the_first_frames_to_a_server_are_cold() -> None:
    """Three of a visit's five took 9 ms more, and no frame went there again to tell otherwise."""
    overheads = Overheads()
    for extra_ms in (15.0, 13.0, 12.0, 4.0, 3.0):
        overheads.add('s', 20.0 + extra_ms, 20.0)
        overheads.add(ON_ROBOT, 20.0 + extra_ms, 20.0)
    assert overheads.of('s') == pytest.approx(4.0)
    assert overheads.of(ON_ROBOT) == pytest.approx(12.0), 'where frames run all the time'
    for _ in range(5):
        overheads.add('s', 26.0, 20.0)
    assert overheads.of('s') == pytest.approx(6.0)


def test_pictures_that_come_far_older_tell_that_the_robot_is_busy() -> None:
    overheads = Overheads()
    told = []
    for age_ms in [2.0, 3.0, 1.5] * 6 + [17.0, 2.0, 2.0, 17.0, 12.0, 27.0] + [20.0] * 15:
        overheads.add_age(age_ms)
        told.append(overheads.ages_rise)
    assert not any(told[:22]), 'one that was held up'
    assert told[22] and told[23], 'two of the newest three, and all'
    assert not told[-1], 'it is as usual now'
    for _ in range(3):
        overheads.add_age(2.0)
    assert not overheads.ages_rise


def test_overheads_decide_between_close_plans() -> None:
    server = ServerState('s', made_up_profile(cuts=12, whole_ms=40.0, speed=1.3), LINK)
    close = Conditions(EDGE, servers=(server,))
    assert not plan('auto', close)[0].is_local
    dear = replace(close, edge_overhead_ms=6.0, servers=(replace(server, overhead_ms=20.0),))
    best = plan('auto', dear)[0]
    assert best.is_local
    assert best.latency_ms == pytest.approx(40.0 + EDGE.finish_ms + 6.0)
    remote = next(c for c in plan('auto', dear) if not c.is_local)
    assert remote.overhead_ms == 20.0


def test_published_algorithms_do_not_know_overheads() -> None:
    server = ServerState('s', made_up_profile(cuts=12, whole_ms=40.0, speed=5.0), LINK)
    plain = Conditions(EDGE, servers=(server,))
    dear = replace(plain, edge_overhead_ms=6.0, servers=(replace(server, overhead_ms=20.0),))
    for name in ('neurosurgeon', 'dey2019'):
        assert plan(name, plain) == plan(name, dear)


def test_plans_that_come_back_have_an_overhead_of_their_own() -> None:
    overheads = Overheads()
    for _ in range(10):
        overheads.add('desk', 40.0, 36.0)
    assert overheads.of('desk' + RETURN) == overheads.of('desk') == 4.0
    for _ in range(10):
        overheads.add('desk' + RETURN, 70.0, 36.0)
    assert overheads.of('desk' + RETURN) == 34.0
    assert overheads.of('desk') == 4.0


def test_what_four_frames_of_a_visit_say_is_enough() -> None:
    overheads = Overheads()
    for latency_ms in (34.0, 29.0, 30.0, 28.0):
        assert not overheads.knows('s')
        overheads.add('s', latency_ms, 20.0)
    assert overheads.knows('s') and overheads.of('s') == pytest.approx(9.0)


def test_a_server_that_is_forgotten_is_a_stranger_when_it_comes_back() -> None:
    overheads = Overheads()
    for place in (ON_ROBOT, 's', 's' + RETURN, 't'):
        for _ in range(10):
            overheads.add(place, 27.0, 20.0)
    overheads.forget_servers({'t'})
    known = [place for place in (ON_ROBOT, 's', 's' + RETURN, 't') if overheads.knows(place)]
    assert known == [ON_ROBOT, 't']
