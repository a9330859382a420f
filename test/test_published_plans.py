"""What is remembered of the plans that went out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.published_plans import KEPT_PLANS, PublishedPlans
from dnn_offload.planning.session_data import FrameEvidence
from dnn_offload.simulate.made_up import made_up_profile

EDGE = made_up_profile(cuts=12, whole_ms=40.0)


def _plan(index: int) -> Candidate:
    cut = EDGE.cuts[index]
    return Candidate(index, cut.cut_id, cut.label, 'raw', 's', head_ms=cut.head_ms)


def _frame(plan_id: int, index: int) -> FrameEvidence:
    return FrameEvidence(plan_id, EDGE.cuts[index].cut_id, 's', True, True, False, 10.0, 9.0, 30.0)


def test_the_plan_in_force_is_not_forgotten_however_many_are_tried() -> None:
    published = PublishedPlans()
    number = published.add(_plan(3), 1.0, EDGE)
    for _ in range(3 * KEPT_PLANS):
        trial = published.add(_plan(4), 1.0, EDGE, trial=True)
    assert published.last_id == number != trial
    assert published.last() == _plan(3)
    assert published.profiled_ms(_frame(number, 3), EDGE) == EDGE.cuts[3].head_ms
    assert published.profiled_ms(_frame(trial, 4), EDGE) == EDGE.cuts[4].head_ms


def test_plans_of_long_ago_are_forgotten() -> None:
    published = PublishedPlans()
    first = published.add(_plan(3), 1.0, EDGE)
    for _ in range(KEPT_PLANS):
        published.add(_plan(4), 1.0, EDGE)
    assert published.profiled_ms(_frame(first, 3), EDGE) == 0.0
    assert published.profiled_ms(_frame(first + 1, 4), EDGE) == EDGE.cuts[4].head_ms


def test_what_runs_behind_the_server_is_the_robots_as_well() -> None:
    published = PublishedPlans()
    number = published.add(_plan(3), 1.0, EDGE)
    there = _frame(number, 3)
    back = replace(there, return_cut=EDGE.cuts[8].cut_id)
    head_ms = published.profiled_ms(there, EDGE)
    assert published.robot_share(there, head_ms, EDGE) == head_ms / EDGE.whole_ms
    assert published.robot_share(back, head_ms, EDGE) == pytest.approx(
        (head_ms + EDGE.cuts[8].tail_ms) / EDGE.whole_ms
    )


def test_threads_are_those_of_the_plan_or_of_the_profile() -> None:
    published = PublishedPlans()
    two = published.add(replace(_plan(3), threads=2), 1.0, EDGE)
    as_set = published.add(_plan(3), 1.0, EDGE)
    four = replace(EDGE, threads=4)
    assert published.threads(_frame(two, 3), four) == 2
    assert published.threads(_frame(as_set, 3), four) == 4
    assert published.threads(_frame(0, 3), four) == 4
