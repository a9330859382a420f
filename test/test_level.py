"""Steps in rows of noisy values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.level import MIN_BEFORE, newest_level, STEPS


@pytest.mark.parametrize('before', [1.0, 30.0])
@pytest.mark.parametrize('ratio, needed', [(3.0, 3), (1.5, 4), (1.0 / 3.0, 3), (1.0 / 1.5, 4)])
def test_the_further_off_the_fewer_make_a_step(before: float, ratio: float, needed: int) -> None:
    row = [before] * 6
    for count in range(1, needed):
        assert newest_level([*row, *[ratio * before] * count]) == 0
    assert newest_level([*row, *[ratio * before] * needed]) == len(row)


def test_neither_a_hiccup_nor_an_end_of_hiccups_is_a_step() -> None:
    assert newest_level([1.0, 1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0]) == 0
    assert newest_level([1.0, 1.0, 1.0, 1.0, 9.0, 9.0]) == 0
    assert newest_level([1.0, 1.0, 1.0, 9.0, 0.1, 9.0, 9.0]) == 0


def test_few_values_make_no_level() -> None:
    assert newest_level([]) == 0
    assert newest_level([1.0] * (MIN_BEFORE - 1) + [9.0] * 3) == 0


def test_where_the_newest_do_not_say_enough_more_must_be_off() -> None:
    row = [1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    assert newest_level(row, enough=lambda start: len(row) - start >= 5) == 4
    assert newest_level(row[:-1], enough=lambda start: len(row) - 1 - start >= 5) == 0


@given(st.lists(st.floats(0.87, 1.15), max_size=40))
def test_what_scatters_by_less_than_the_smallest_step_makes_none(row: list[float]) -> None:
    smallest = min(ratio for _, ratio in STEPS)
    assert not row or max(row) < smallest * min(row)
    assert newest_level(row) == 0


@given(st.lists(st.floats(0.1, 10.0), max_size=30))
def test_what_is_left_is_never_less_than_the_shortest_step(row: list[float]) -> None:
    start = newest_level(row)
    assert start == 0 or MIN_BEFORE <= start <= len(row) - min(count for count, _ in STEPS)
