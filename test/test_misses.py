"""One miss is forgiven, two are not, and silence is not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnn_offload.runtime.misses import MAX_FRAMES, MEMORY_S, Misses


def acknowledged(misses: Misses, seq: int, now_s: float, server: str = 'server') -> None:
    misses.sent(seq, server, now_s)
    misses.heard(seq, now_s + 0.01)


def test_second_miss_within_the_memory_decides() -> None:
    misses = Misses()
    acknowledged(misses, 1, 0.0)
    assert misses.missed(1, 0.1, True) == '' and misses.doubted('server', 0.2)
    acknowledged(misses, 2, 0.2)
    assert 'second' in misses.missed(2, 0.3, True)


def test_an_answer_in_time_between_two_misses_forgives_the_first() -> None:
    misses = Misses()
    for seq in range(1, 20, 2):
        acknowledged(misses, seq, 0.1 * seq)
        assert misses.missed(seq, 0.1 * seq + 0.05, True) == ''
        acknowledged(misses, seq + 1, 0.1 * seq + 0.06)
        misses.answered(seq + 1)
        assert not misses.doubted('server', 0.1 * seq + 0.07)


def test_answers_to_the_missed_frame_or_older_ones_forgive_nothing() -> None:
    misses = Misses()
    for seq in (1, 2, 3):
        acknowledged(misses, seq, 0.1 * seq)
    assert misses.missed(2, 0.3, True) == ''
    misses.answered(2)  # it overtook its rescue
    misses.answered(1)
    assert 'in a row' in misses.missed(3, 0.4, True)


def test_misses_that_are_far_apart_are_forgiven() -> None:
    misses = Misses()
    for seq in range(1, 5):
        acknowledged(misses, seq, 3.0 * MEMORY_S * seq)
        assert misses.missed(seq, 3.0 * MEMORY_S * seq + 0.1, True) == ''


def test_silence_since_sending_decides_at_once() -> None:
    misses = Misses()
    acknowledged(misses, 1, 0.0)
    misses.sent(2, 'server', 0.05)  # dead since
    assert 'nothing heard' in misses.missed(2, 0.2, True)


def test_any_sign_of_life_counts_even_of_another_frame() -> None:
    misses = Misses()
    misses.sent(1, 'server', 0.0)
    misses.sent(2, 'server', 0.01)
    misses.heard(1, 0.02)
    assert misses.missed(2, 0.1, True) == ''


def test_frame_that_cannot_be_finished_here_in_time_decides_at_once() -> None:
    misses = Misses()
    acknowledged(misses, 1, 0.0)
    assert 'no time' in misses.missed(1, 0.1, False)


def test_servers_are_told_apart_and_start_anew() -> None:
    misses = Misses()
    acknowledged(misses, 1, 0.0, 'one')
    assert misses.missed(1, 0.1, True) == ''
    acknowledged(misses, 2, 0.1, 'two')
    assert misses.missed(2, 0.2, True) == ''
    misses.forget('one')
    acknowledged(misses, 3, 0.3, 'one')
    assert misses.missed(3, 0.4, True) == ''


def test_unknown_frames_do_no_harm() -> None:
    misses = Misses()
    misses.heard(7, 0.0)
    assert misses.missed(7, 0.0, False) == ''
    for seq in range(3 * MAX_FRAMES):
        misses.sent(seq, 'server', 0.0)
    assert misses.missed(0, 0.0, True) == ''


@given(st.lists(st.floats(0.0, 3.0), max_size=20), st.integers(0, 20))
def test_dead_server_is_lost_after_two_misses_at_most(gaps_s: list[float], dies: int) -> None:
    misses, now_s, after_death = Misses(), 0.0, 0
    for seq, gap_s in enumerate(gaps_s, start=1):
        now_s += gap_s
        misses.sent(seq, 'server', now_s)
        if seq < dies:
            misses.heard(seq, now_s)
            continue
        if seq == dies:
            misses.heard(seq, now_s)  # the ack was its last word
        after_death += 1
        if misses.missed(seq, now_s + 0.1, True):
            break
        now_s += 0.1
    assert after_death <= 2
