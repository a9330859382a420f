"""Whether JPEGs pass: timed both ways, the link spared, misses and refusals believed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dnn_offload.runtime.passing import MEMORY_S, Passing, REFUSED_S, TRY_PERIOD_S

PERIOD_S = 0.1
JPEG_BYTES, SIZED_BYTES = 60_000, 10_000


def stream(
    passing: Passing, frames: int, passed_ms: float, sized_ms: float, bytes_per_ms: float,
    began_s: float = 0.0,
) -> list[bool]:
    """What is decided for a stream whose frames are all answered."""
    decided = []
    for number in range(frames):
        now_s = began_s + number * PERIOD_S
        passed = passing.wanted('auto', 'plan', JPEG_BYTES, bytes_per_ms, now_s)
        taken_ms, nbytes = (passed_ms, JPEG_BYTES) if passed else (sized_ms, SIZED_BYTES)
        passing.timed('plan', passed, taken_ms, nbytes, now_s + 0.03)
        decided.append(passed)
    return decided


def share(decided: list[bool]) -> float:
    return sum(decided) / len(decided)


def test_the_first_frame_is_brought_to_size_and_tells_what_that_takes() -> None:
    assert stream(Passing(), 1, 1.0, 9.0, 100_000.0) == [False]


def test_passes_where_that_is_earlier() -> None:
    decided = stream(Passing(), 300, passed_ms=4.0, sized_ms=9.0, bytes_per_ms=10_000.0)
    assert share(decided[10:]) > 0.95  # the other way is looked at every few seconds
    assert not all(decided[60:])


def test_does_not_where_that_is_later() -> None:
    decided = stream(Passing(), 300, passed_ms=30.0, sized_ms=9.0, bytes_per_ms=2_000.0)
    assert share(decided[10:]) < 0.05
    assert any(decided[10:]), 'a link that has become faster would never be seen'


def test_equal_times_spare_the_robot() -> None:
    assert share(stream(Passing(), 100, 10.0, 10.0, 10_000.0)[10:]) > 0.9


def test_a_slow_link_is_never_tried() -> None:
    """At 1 Mbit/s the JPEG would take half a second."""
    assert not any(stream(Passing(), 300, 500.0, 90.0, 125.0))


def test_a_link_that_becomes_slow_is_believed_at_once() -> None:
    passing = Passing()
    stream(passing, 100, 4.0, 9.0, 10_000.0)
    assert not any(stream(passing, 100, 500.0, 90.0, 125.0, began_s=10.0))


def test_a_miss_sends_pictures_to_size_for_a_while() -> None:
    passing = Passing()
    stream(passing, 100, 4.0, 9.0, 10_000.0)
    passing.missed(10.0)
    again = stream(passing, 100, 4.0, 9.0, 10_000.0, began_s=10.0)
    assert not any(again[:round(TRY_PERIOD_S / PERIOD_S) - 1])
    assert share(again[-20:]) > 0.9


def test_a_refusal_too_whatever_was_asked_for() -> None:
    passing = Passing()
    passing.refused(10.0)
    assert not passing.wanted('always', 'plan', JPEG_BYTES, 1e6, 10.0 + REFUSED_S - 1.0)
    assert passing.wanted('always', 'plan', JPEG_BYTES, 1e6, 10.0 + REFUSED_S + 1.0)


def test_another_server_is_timed_anew_and_what_is_old_is_forgotten() -> None:
    passing = Passing()
    stream(passing, 100, 4.0, 9.0, 10_000.0)
    assert not passing.wanted('auto', 'other', JPEG_BYTES, 10_000.0, 10.0)
    stream(passing, 100, 4.0, 9.0, 10_000.0, began_s=20.0)
    assert stream(passing, 1, 4.0, 9.0, 10_000.0, began_s=31.0 + MEMORY_S) == [True]  # a try


@pytest.mark.parametrize(('mode', 'wanted'), [('always', all), ('never', lambda d: not any(d))])
def test_it_can_be_told(mode: str, wanted: Callable[[list[bool]], bool]) -> None:
    passing = Passing()
    assert wanted([passing.wanted(mode, 'plan', 10**6, 1.0, s) for s in range(20)])
