"""Frames sent when the server will be free: none waits there, and none of its time is lost."""

from __future__ import annotations

from collections import deque
import random
import statistics

import pytest

from dnn_offload.runtime.server_pace import ENOUGH, KEPT_FRAMES, ServerPace

KEY = ('server', 1)


def taught(busy_ms: float = 100.0) -> ServerPace:
    """One that has seen answers, the last of a frame sent at 10 s."""
    pace = ServerPace()
    for seq in range(ENOUGH):
        pace.sent(seq, KEY, 10.0)
        pace.answered(seq, 0.0, busy_ms)
    return pace


def test_nothing_is_known_at_first_and_frames_do_not_wait() -> None:
    pace = ServerPace()
    assert pace.free_ms(KEY, {1}, 0.0) == 0.0
    for seq in range(ENOUGH - 1):
        pace.sent(seq, KEY, 0.0)
        pace.answered(seq, 0.0, 100.0)
    pace.sent(9, KEY, 0.0)
    assert pace.free_ms(KEY, {9}, 0.0) == 0.0


def test_the_next_goes_one_service_time_after_the_one_before() -> None:
    pace = taught()
    pace.sent(7, KEY, 20.0)
    assert pace.free_ms(KEY, {7}, 20.03) == pytest.approx(90.0 - 30.0)
    assert pace.free_ms(KEY, {7}, 20.2) == 0.0
    pace.sent(8, KEY, 20.03)  # another waits behind it
    assert pace.free_ms(KEY, {7, 8}, 20.03) == pytest.approx(180.0 - 30.0)


def test_an_answer_says_when_it_really_was_free() -> None:
    pace = taught()
    pace.sent(7, KEY, 20.0)
    pace.sent(8, KEY, 20.05)
    pace.answered(7, 50.0, 150.0)  # another robot's frame was before it
    assert pace.free_ms(KEY, {8}, 20.2) == pytest.approx(90.0)


def test_frames_that_are_given_up_do_not_count() -> None:
    pace = taught()
    pace.sent(7, KEY, 20.0)
    assert pace.free_ms(KEY, set(), 20.01) == 0.0


def test_another_plan_or_server_is_learnt_anew() -> None:
    pace = taught()
    pace.sent(7, ('server', 2), 20.0)
    assert pace.free_ms(('server', 2), {7}, 20.0) == 0.0
    assert pace.free_ms(KEY, {7}, 20.0) == 0.0
    pace.answered(7, 0.0, 5.0)


@pytest.mark.parametrize('busy_ms', [float('nan'), float('inf'), -1.0])
def test_times_that_cannot_be_are_not_believed(busy_ms: float) -> None:
    pace = taught()
    pace.sent(7, KEY, 20.0)
    pace.answered(7, 0.0, busy_ms)
    pace.sent(8, KEY, 21.0)
    assert pace.free_ms(KEY, {8}, 21.0) == pytest.approx(90.0)


def test_frames_that_nobody_answers_are_not_kept() -> None:
    pace = taught()
    for seq in range(100, 100 + 10 * KEPT_FRAMES):
        pace.sent(seq, KEY, 20.0)
    assert len(pace._sent_s) == KEPT_FRAMES


def stream(paced: bool, busy_ms: float, spread: float, way_ms: float) -> tuple[float, float]:
    """A camera of 30 Hz, a window of two and a server that is too slow.

    Returns:
        Results per service time, and the mean age of a picture at its result [ms].
    """
    rng, pace = random.Random(1), ServerPace()
    free_at, ages, flight = 0.0, [], deque[tuple[float, int, float, float, float]]()
    now, end = 0.0, 60.0
    seq = 0
    while now < end:
        while flight and flight[0][0] <= now:
            _, number, picture, queue, busy = flight.popleft()
            pace.answered(number, 1e3 * queue, 1e3 * busy)
            ages.append(1e3 * (now - picture))
        wait_ms = pace.free_ms(KEY, {entry[1] for entry in flight}, now) if paced else 0.0
        if len(flight) < 2 and (wait_ms <= 0.0 or not flight):
            seq += 1
            pace.sent(seq, KEY, now)
            there = now + 1e-3 * way_ms
            begin = max(there, free_at)
            busy = 1e-3 * busy_ms * rng.uniform(1.0 - spread, 1.0 + spread)
            free_at = begin + busy
            picture = now - now % (1.0 / 30.0)  # the newest
            flight.append((free_at + 2e-3, seq, picture, begin - there, busy))
        now += 1e-3
    return len(ages) * busy_ms * 1e-3 / end, statistics.fmean(ages)


@pytest.mark.parametrize(('busy_ms', 'spread', 'way_ms'), [
    (100.0, 0.05, 20.0), (100.0, 0.2, 20.0), (60.0, 0.1, 40.0), (150.0, 0.1, 5.0),
])
def test_pictures_are_newer_and_no_result_is_lost(
    busy_ms: float, spread: float, way_ms: float
) -> None:
    blind, old = stream(False, busy_ms, spread, way_ms)
    paced, new = stream(True, busy_ms, spread, way_ms)
    assert paced >= 0.95 * blind and paced >= 0.9
    # Without, a frame waits while the one before it is served, less the way.
    waited = busy_ms - way_ms
    assert new <= old - 0.4 * waited
