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
