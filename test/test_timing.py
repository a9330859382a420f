"""Expectations of run times: own samples, profile times slow-down, load relative to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.runtime.timing import MAX_AGE_S, MAX_FACTOR, quantile, RunTimes

HEAD, TAIL, OTHER = ('run', 0, 3), ('run', 3, 9), ('preprocess', 0, 0)


@given(st.lists(st.floats(0.0, 1e6), min_size=1), st.floats(0.0, 1.0))
def test_quantile_is_a_sample_with_enough_below(samples: list[float], q: float) -> None:
    value = quantile(samples, q)
    assert value in samples
    assert sum(sample <= value for sample in samples) >= q * len(samples)


def test_unknown_work_takes_nothing() -> None:
    times = RunTimes()
    assert times.expected_ms(HEAD, 0.0) == 0.0 and not times.knows(HEAD)
    assert times.factor(0.0) == 1.0


def test_what_runs_all_the_time_takes_what_it_took() -> None:
    times = RunTimes()
    times.seed(HEAD, 100.0)
    for number in range(30):
        times.add(HEAD, 10.0 + number % 3, float(number) / 30)
    assert times.expected_ms(HEAD, 1.0) == 11.0
    assert times.expected_ms(HEAD, 1.0, 0.95) == 12.0


def test_another_profile_makes_what_was_slow_relative_to_the_old_one_void() -> None:
    times = RunTimes()
    times.seed(HEAD, 5.0)
    times.seed(TAIL, 40.0)
    for number in range(5):
        times.add(HEAD, 10.0, 0.1 * number)
    assert times.expected_ms(TAIL, 0.5, 0.95) == 80.0
    times.seed(HEAD, 10.0)
    times.forget_factors()
    assert times.expected_ms(TAIL, 0.5, 0.95) == 40.0
    times.add(HEAD, 10.0, 0.5)
    assert times.expected_ms(TAIL, 0.5, 0.95) == 40.0


def test_rare_work_follows_the_load_seen_in_other_work() -> None:
    times = RunTimes()
    times.seed(HEAD, 10.0)
    times.seed(TAIL, 40.0)
    assert times.expected_ms(TAIL, 0.0, 0.95) == 40.0
    times.add(HEAD, 25.0, 1.0)
    assert times.expected_ms(TAIL, 1.0, 0.95) == 100.0
    assert times.expected_ms(TAIL, 1.0 + 2 * MAX_AGE_S, 0.95) == 40.0


def test_profile_of_a_loaded_machine_is_corrected_downwards() -> None:
    times = RunTimes()
    times.set_load_ratios({'schedstat': 3.0, 'probe': 2.0})
    times.seed(TAIL, 30.0)
    times.add(OTHER, 2.0, 0.0, cpu_ms=2.0)  # idle now
    assert times.expected_ms(TAIL, 0.0) == pytest.approx(10.0)
    times.note_load(4.0, 'probe', 0.0)  # it had seen 2 while the profiler waited 3 times as long
    assert times.expected_ms(TAIL, 0.0) == pytest.approx(40.0)


def test_work_without_a_baseline_is_known_from_its_fast_runs() -> None:
    times = RunTimes()
    for wall_ms in (30.0, 8.0, 9.0, 50.0):
        times.add(TAIL, wall_ms, 0.0)
    assert times.expected_ms(TAIL, 0.0) == 9.0 and times.knows(TAIL)


def test_one_stall_does_not_put_rescues_out_of_reach() -> None:
    times = RunTimes()
    times.seed(HEAD, 1.0)
    times.seed(TAIL, 10.0)
    for number in range(29):
        times.add(HEAD, 1.0, number / 30)
    times.add(HEAD, 1e6, 1.0)
    assert times.expected_ms(TAIL, 1.0, 0.95) == 10.0
    assert times.factor(1.0, 1.0) == MAX_FACTOR


def test_bad_hints_are_harmless() -> None:
    times = RunTimes()
    times.seed(TAIL, 10.0)
    for factor in (float('nan'), -1.0, 0.0):
        times.note_load(factor, 'probe', 0.0)
        assert times.expected_ms(TAIL, 0.0) == 10.0


def test_another_thread_count_starts_anew_with_its_own_baselines() -> None:
    times = RunTimes()
    times.seed(TAIL, 100.0)
    for number in range(12):
        times.add(TAIL, 35.0, 0.1 * number)
        times.add(OTHER, 2.0, 0.1 * number)
    assert times.expected_ms(TAIL, 1.2, 0.95) == 35.0
    times.restart({TAIL: 90.0})
    assert times.expected_ms(TAIL, 1.2, 0.95) == 90.0
    assert times.expected_ms(OTHER, 1.2, 0.95) == 2.0
