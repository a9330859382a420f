"""Aims of benchmarks: said as they are judged, and no figure passes unjudged by a slip."""

from __future__ import annotations

import pytest

from benchmarks.aims import Aim, judge, told

STEP = Aim('median_s', 1.0, 's', most=('worst_s', 2.0))


@pytest.mark.parametrize(('median_s', 'worst_s', 'met'), [
    (1.0, 2.0, True), (1.01, 1.5, False), (0.5, 2.01, False),
])
def test_the_wanted_and_the_most_are_both_kept(
    median_s: float, worst_s: float, met: bool
) -> None:
    numbers = {'figure': 'step', 'median_s': median_s, 'worst_s': worst_s}
    assert judge([STEP], numbers) is met
    assert told([STEP], numbers) == f'<= 1 s (2 s at most): {"kept" if met else "MISSED"}'


@pytest.mark.parametrize(('percent', 'extra_ms', 'met'), [
    (9.0, 5.0, True), (20.0, 2.0, True), (20.0, 5.0, False),
])
def test_either_of_two_will_do(percent: float, extra_ms: float, met: bool) -> None:
    aim = Aim('percent', 10.0, '%', instead=Aim('extra_ms', 3.0, 'ms'))
    assert str(aim) == '<= 10 % or <= 3 ms'
    assert judge([aim], {'percent': percent, 'extra_ms': extra_ms}) is met


def test_one_of_several_that_is_missed_misses_all() -> None:
    aims = [Aim('up_s', 1.0, 's'), Aim('down_s', 1.0, 's'), Aim('share', 99.0, '%', at_least=True)]
    numbers = {'up_s': 0.5, 'down_s': 3.0, 'share': 99.0}
    assert judge(aims, numbers) is False
    assert told(aims, numbers) == '<= 1 s: MISSED; >= 99 %: kept'


def test_what_was_not_measured_is_not_judged() -> None:
    numbers = {'figure': 'lock: not measured, network namespaces need root'}
    assert judge([STEP], numbers) is None
    assert told([STEP], numbers) == '<= 1 s (2 s at most): not judged'


def test_an_aim_for_a_number_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(KeyError, match='worst_s'):
        judge([STEP], {'median_s': 0.5})
    with pytest.raises(TypeError, match='median_s'):
        judge([STEP], {'median_s': 'fast', 'worst_s': 1.0})
    assert judge([Aim('figure', 1.0, 's')], {'figure': 'no numbers at all'}) is None
