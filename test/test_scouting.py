"""How often a frame runs on the robot to see what that costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.scouting import (
    LATER_SHARE,
    LONGEST_PERIOD_S,
    scout_period_s,
    SHORTEST_PERIOD_S,
    VISIT_AGAIN_S,
    Visits,
    WORK_SHARE,
)

THERE = replace(Candidate(0, 'c', 'picture', 'jpeg', 's'), queue_ms=30.0)
HERE = Candidate(9, '', 'all', '', '')


@pytest.mark.parametrize('local_ms', [20.0, 30.0, 33.0, 45.0, 90.0, 120.0])
def test_scouts_cost_a_bounded_share_of_the_time(local_ms: float) -> None:
    period_s = scout_period_s(THERE, local_ms, 0.0)
    assert SHORTEST_PERIOD_S <= period_s <= LONGEST_PERIOD_S
    assert (local_ms - THERE.latency_ms) * 1e-3 <= LATER_SHARE * period_s + 1e-9
    assert local_ms * 1e-3 <= WORK_SHARE * period_s + 1e-9


def test_no_scouts_where_they_say_nothing_or_come_too_late() -> None:
    assert scout_period_s(HERE, 30.0, 0.0) == 0.0
    assert scout_period_s(THERE, 40.0, 50.0) == 0.0
    assert scout_period_s(THERE, 40.0, 60.0) > 0.0
    assert scout_period_s(THERE, 4000.0, 0.0) == 0.0


def test_a_server_is_visited_once_where_it_is_not_far_from_being_worth_it() -> None:
    visits = Visits()
    here = replace(HERE, head_ms=20.0)
    near, far = replace(THERE, queue_ms=59.0), replace(THERE, queue_ms=61.0)
    assert visits.due(here, [here, far], ['s'], 0.0) is None
    assert visits.due(here, [here, near], [], 0.0) is None, 'frames have been there'
    assert visits.due(near, [near, here], ['s'], 0.0) is None, 'frames are there'
    two = replace(near, return_id='r', queue_ms=1.0)
    threads = replace(near, threads=2, queue_ms=2.0)
    assert visits.due(here, [two, threads, here, near], ['s'], 0.0) == near
    # Its frames did not come, or too few of them.
    assert visits.due(here, [here, near], ['s'], 0.9 * VISIT_AGAIN_S) is None
    other = replace(near, server='t')
    assert visits.due(here, [here, near, other], ['s', 't'], 0.9 * VISIT_AGAIN_S) == other
    assert visits.due(here, [here, near, other], ['s', 't'], VISIT_AGAIN_S) == near
    # Who does not answer is visited ever more rarely.
    assert visits.due(here, [here, near], ['s'], 2.9 * VISIT_AGAIN_S) is None
    assert visits.due(here, [here, near], ['s'], 3.0 * VISIT_AGAIN_S) == near
    visits.interrupted('t')
    assert visits.due(here, [here, near], ['s'], 3.1 * VISIT_AGAIN_S) is None
    visits.interrupted('s')
    assert visits.due(here, [here, near], ['s'], 3.1 * VISIT_AGAIN_S) == near
    assert visits.due(here, [here, near], ['s'], 4.0 * VISIT_AGAIN_S) is None
    assert visits.due(here, [here, near], ['s'], 4.2 * VISIT_AGAIN_S) == near
