"""How often pictures come, and what they wait where the slowest stage is slower than that."""

from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import pytest

from dnn_offload.planning.costs import expected_wait_ms, wait_doubt_ms
from dnn_offload.planning.frame_period import FramePeriod, LEAST_SPAN
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.switch import SwitchPolicy


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
    assert expected_wait_ms(40.0, 40.0) == pytest.approx(10.0, abs=0.1), 'who knows'
    assert expected_wait_ms(0.0, 10_000.0) == 0.0, 'rare pictures make no wait of nothing'
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


def test_a_sure_gain_is_not_hidden_by_a_doubtful_one() -> None:
    policy = SwitchPolicy()
    policy.frame_period_ms = 100.0
    old = Candidate(9, '', 'all', '', '', head_ms=249.9)
    doubtful = Candidate(0, 'c0', 'picture', 'jpeg', 's', head_ms=100.0, wait_ms=25.0,
                         queue_ms=89.5)
    sure = Candidate(1, 'c1', 'conv', 'raw', 's', head_ms=10.0, queue_ms=204.6)
    assert doubtful.cost < sure.cost and wait_doubt_ms(doubtful, 100.0) > 5.0
    policy.decide([old], 0.0, frozenset(), fallback=old)
    for tick in range(1, 60):
        decision = policy.decide(
            [doubtful, sure, old], 0.2 * tick, frozenset(), fallback=old,
        )
    assert decision.candidate.key == sure.key


@pytest.mark.parametrize('name', ['throughput', 'latency'])
def test_what_a_wait_may_be_off_by_is_asked_of_latencies_only(name: str) -> None:
    policy = SwitchPolicy()
    policy.frame_period_ms = 100.0
    policy.objective = Objective(name)
    slow = Candidate(9, '', 'all', '', '', head_ms=100.0, wait_ms=25.0, value=100.0)
    fast = Candidate(0, 'c0', 'picture', 'jpeg', 's', head_ms=80.0, value=80.0)
    if name == 'latency':
        slow, fast = replace(slow, value=math.nan), replace(fast, value=math.nan, queue_ms=25.0)
    policy.decide([slow], 0.0, frozenset(), fallback=slow)
    for tick in range(1, 60):
        decision = policy.decide([fast, slow], 0.2 * tick, frozenset(), fallback=slow)
    assert (decision.candidate.key == fast.key) == (name == 'throughput')


def test_a_pause_of_the_camera_is_no_rate() -> None:
    period = FramePeriod()
    for seq in range(1, 30):
        period.add(seq, 0.1 * seq + (1.0 if seq > 20 else 0.0))
    assert period.period_ms == pytest.approx(100.0)


def test_a_robot_that_restarts_at_once_starts_anew() -> None:
    period = FramePeriod()
    for seq in range(1, 12):
        period.add(seq, 100.0 + 0.1 * seq)
    for seq in range(1, 9):
        period.add(seq, 105.0 + 0.03 * seq)
    assert period.period_ms == pytest.approx(30.0)
