"""What a load reading means for frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.planning.calibration import Calibration

factors = st.floats(1.0, 4.0)


@given(st.floats(0.8, 1.6), st.floats(0.5, 2.0), st.lists(st.floats(1.3, 4.0), min_size=1))
def test_a_straight_line_is_learnt_exactly(base: float, slope: float, loads: list[float]) -> None:
    calibration = Calibration()
    assert calibration.learn(1.0, base, 1.0)
    for reading in loads:
        assert calibration.learn(reading, base * (1.0 + slope * (reading - 1.0)), 1.0)
    for reading in (1.0, 1.7, 5.0):
        truth = base * (1.0 + slope * (reading - 1.0))
        assert calibration.factor(reading, 1.0) == pytest.approx(truth)


@given(factors, factors)
def test_nothing_learnt_means_growth_times_reading(reading: float, growth: float) -> None:
    assert Calibration().factor(reading, growth) == pytest.approx(reading * growth)


def test_hiccups_are_refused_and_single_outliers_count_little() -> None:
    calibration = Calibration()
    assert not calibration.learn(1.0, 9.0, 1.0)
    assert not calibration.learn(3.0, 30.0, 1.0)
    for seen in (2.0, 2.0, 2.0, 4.0):
        assert calibration.learn(2.0, seen, 1.0)
    assert calibration.factor(2.0, 1.0) == pytest.approx(2.0)


@given(st.floats(0.6, 4.0), st.floats(0.8, 1.3))
def test_what_was_learnt_at_a_reading_is_said_at_it(reading: float, ratio: float) -> None:
    """Also below 1: the profile was taken under load."""
    calibration = Calibration()
    seen = calibration.factor(reading, 1.0) * ratio
    assert calibration.learn(reading, seen, 1.0)
    assert calibration.factor(reading, 1.0) == pytest.approx(seen)


@given(st.lists(st.tuples(st.floats(0.5, 6.0), st.floats(0.5, 6.0))))
def test_the_factor_grows_with_the_reading(pairs: list[tuple[float, float]]) -> None:
    calibration = Calibration()
    for reading, seen in pairs:
        calibration.learn(reading, seen, 1.1)
    values = [calibration.factor(reading, 1.1) for reading in (0.6, 1.0, 1.5, 3.0, 10.0)]
    assert values == sorted(values)
    assert values[0] > 0.0


def test_another_base_is_known_after_three_comparisons() -> None:
    """The machine beneath has become faster: frames take less on it, calm or loaded."""
    calibration = Calibration()
    for _ in range(7):
        assert calibration.learn(1.0, 1.5, 1.0)
    for number in range(3):
        assert calibration.factor(1.0, 1.0) == pytest.approx(1.5), number
        assert calibration.learn(1.0, 1.1, 1.0)
    assert calibration.factor(1.0, 1.0) == pytest.approx(1.1)
