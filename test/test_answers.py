"""Answers to a robot: in order, little under way, nothing kept for who does not take them."""

from __future__ import annotations

from collections import deque

import pytest

from dnn_offload.exchange import TailJob, TailResult, Verdict
from dnn_offload.transport.answers import AnswerQueue, MAX_WAITING, PATIENCE_S
from dnn_offload.transport.pacing import MAX_CHUNK_BYTES


def answer(seq: int, nbytes: int, verdict: Verdict = Verdict.OK) -> TailResult:
    job = TailJob('robot', seq, 1, 'cut', 'raw', 'raw', b'x', 10.0, 0.0, '', ())
    return TailResult(job, verdict, '', bytes(nbytes), ())


def sent_at_once(queue: AnswerQueue, now_s: float = 10.0) -> list[tuple[int, int]]:
    """Frame and slice of all that may go now."""
    seen = []
    while (step := queue.next_slice(now_s)) is not None:
        seen.append((step[0].result.job.frame_seq, step[1]))
    return seen


def test_small_answers_go_at_once_and_need_no_acknowledgement() -> None:
    queue = AnswerQueue()
    for seq in range(1, 101):
        queue.put(answer(seq, 1000, Verdict.OK if seq % 2 else Verdict.SUPERSEDED))
        assert sent_at_once(queue) == [(seq, 0)]
    assert queue.give_up(1e6) == 0


@pytest.mark.parametrize('mbps', [1.0, 10.0, 80.0])
def test_a_large_answer_fills_the_link_and_not_its_queue(mbps: float) -> None:
    queue, now_s, free_s, most = AnswerQueue(), 10.0, 10.0, 0
    under_way: deque[tuple[float, int, int]] = deque()
    for seq in (1, 2):  # the second knows the rate
        queue.put(answer(seq, 400_000))
        began_s, got, parts = now_s, 0, 1
        while got < parts:
            while (step := queue.next_slice(now_s)) is not None:
                parts = len(step[0].parts)
                free_s = max(free_s, now_s) + 8e-6 * len(step[0].parts[step[1]]) / mbps
                under_way.append((free_s + 0.002, seq, step[1]))
            most = max(most, queue.window.in_flight_bytes)
            now_s, _, index = under_way.popleft()
            queue.acked(seq, index, now_s)
            got += 1
    assert queue.waiting_bytes == 0 and not under_way
    assert now_s - began_s < 1.05 * 3.2 / mbps + 0.01
    assert most <= 2 * MAX_CHUNK_BYTES


def test_order_is_kept_and_what_is_cancelled_is_not_sent() -> None:
    queue = AnswerQueue()
    queue.put(answer(1, 200_000))
    queue.put(answer(2, 10))
    begun = sent_at_once(queue)
    assert begun and all(seq == 1 for seq, _ in begun)
    queue.cancel(1)
    assert sent_at_once(queue) == [(2, 0)]


def test_who_takes_nothing_is_given_up() -> None:
    queue = AnswerQueue()
    queue.put(answer(1, 200_000))
    assert sent_at_once(queue)
    assert queue.give_up(10.0 + 0.9 * PATIENCE_S) == 0
    assert queue.give_up(10.0 + 1.1 * PATIENCE_S) == 200_000
    queue.put(answer(2, 200_000))
    assert sent_at_once(queue, 20.0)[0] == (2, 0)


def test_what_waits_is_bounded() -> None:
    queue = AnswerQueue()
    for seq in range(1, 51):
        queue.put(answer(seq, 200_000))
        sent_at_once(queue)
    assert queue.waiting_bytes <= MAX_WAITING * 200_000
    begun = queue.next_slice(10.0)
    assert begun is None
    queue.cancel(1)
    queue.give_up(1e6)
    assert queue.waiting_bytes == 0
