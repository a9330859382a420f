"""How often pictures come, and what they wait where the slowest stage is slower than that."""

from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import pytest

from dnn_offload.planning.costs import expected_wait_ms, wait_doubt_ms
from dnn_offload.planning.frame_period import FramePeriod, LEAST_SPAN
from dnn_offload.planning.plan import Candidate


def test_frames_that_were_superseded_count_though_only_some_are_reported() -> None:
    period = FramePeriod()
    assert period.period_ms == 0.0
    for seq in (1, 2, 9, 4, 12, 11, 20):  # in no order, most of them not at all
        period.add(seq, 100.0 + 0.05 * seq)
    assert period.period_ms == pytest.approx(50.0)


def test_few_frames_and_odd_stamps_say_nothing() -> None:
    period = FramePeriod()
    for seq in range(1, LEAST_SPAN + 1):
        period.add(seq, 0.1 * seq)
    assert period.period_ms == 0.0
    period.add(LEAST_SPAN + 1, 0.1 * (LEAST_SPAN + 1))
    assert period.period_ms == pytest.approx(100.0)
    for number in range(40):
        period.add(0, 7.0)
        period.add(50 + number, math.nan)
    assert period.period_ms == pytest.approx(100.0)
    for seq in range(100, 130):  # a camera that stamps nothing, one that stamps backwards
        period.add(seq, 0.0)
    assert period.period_ms == 0.0
    for seq in range(130, 160):
        period.add(seq, -0.1 * seq)
    assert period.period_ms == 0.0


def test_another_life_of_the_robot_starts_anew() -> None:
    period = FramePeriod()
    for seq in range(500, 540):
        period.add(seq, 0.1 * seq)
    for seq in range(1, 12):
        period.add(seq, 900.0 + 0.03 * seq)
    assert period.period_ms == pytest.approx(30.0)


def test_the_newest_picture_is_half_a_period_old_on_average() -> None:
    """The model against a stream: a stage of 70 ms, pictures every 40 ms, the newest is taken."""
    rng = np.random.default_rng(1)
    free_s, waits_ms = 0.0, []
    for _ in range(4000):
        newest_s = 0.04 * math.floor(free_s / 0.04)
        waits_ms.append(1e3 * (free_s - newest_s))
        free_s += rng.normal(0.070, 0.004)
    assert expected_wait_ms(70.0, 40.0) == pytest.approx(float(np.mean(waits_ms)), abs=1.0)
    assert expected_wait_ms(20.0, 40.0) < 1.0, 'it is started when it comes'
    assert expected_wait_ms(40.0, 40.0) == pytest.approx(10.0), 'who knows'
    assert expected_wait_ms(70.0, 0.0) == 0.0, 'the rate is not known'
    many = expected_wait_ms(np.array([1.0, 70.0]), 40.0)
    assert many == pytest.approx([0.0, 20.0], abs=0.2)


def test_a_wait_is_doubtful_only_where_the_stage_just_keeps_up() -> None:
    def doubt_ms(head_ms: float, frame_period_ms: float = 40.0) -> float:
        plan = Candidate(9, '', 'all', '', '', head_ms=head_ms)
        wait_ms = expected_wait_ms(head_ms, frame_period_ms)
        return wait_doubt_ms(replace(plan, wait_ms=wait_ms), frame_period_ms)

    # A tenth more or less of its time, straight through the border.
    low_ms, high_ms = (expected_wait_ms(40.0 * ratio, 40.0) for ratio in (0.95, 1.05))
    assert doubt_ms(40.0) == pytest.approx(high_ms - low_ms, rel=0.05)
    assert doubt_ms(10.0) < 0.1
    assert doubt_ms(100.0) < 0.1
    assert doubt_ms(40.0, 0.0) == 0.0
