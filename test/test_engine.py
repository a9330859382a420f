"""The engine under a scripted uplink: ends of frames, order, settings, callbacks."""

from __future__ import annotations

from collections.abc import Iterator
import time

import numpy as np
import pytest

from dnn_offload.errors import ConfigurationError, ImageError
from dnn_offload.runtime import worker
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.runtime.scheduling import decide, Decision, Job, Situation
from engine_parts import check_accounts, FakeModel, FakeNode, Rig, SHAPE, STAGES, Stream

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


def test_runs_all_local_without_an_uplink() -> None:
    model, node = FakeModel(), FakeNode()
    engine = InferenceEngine(model, node)
    assert engine.enter(1.0, None, lambda: (None, None)) == 0  # not running: not counted
    engine.start(None)
    stream = Stream(engine)
    stream.push()
    node.wait(lambda: len(node.reports) == 1)
    record = node.reports[0]
    assert record.outcome is Outcome.LOCAL and record.plan.is_local and record.plan.epoch == 0
    assert record.compute_tid == engine.compute_tid > 0
    assert model.threads == [1] and model.runs[0] == (0, STAGES)
    engine.stop()
    check_accounts(node, 1)
    assert engine.enter(9e9, None, lambda: (None, None)) == 0


@pytest.mark.parametrize('codec', ['raw', 'fp16', 'int8', 'int8_zstd'])
def test_remote_answer(rig: Rig, codec: str) -> None:
    rig.start(cut=2, codec=codec)
    rig.push_and_wait()
    record = rig.node.reports[0]
    assert record.outcome is Outcome.REMOTE
    assert (record.plan.cut_index, record.plan.codec, record.plan.epoch) == (2, codec, 1)
    assert record.uplink_bytes == len(rig.uplink.sent[0].payload)
    assert record.times.tail_ms == 0.3 and record.times.uplink_ms == 2.0
    assert record.deadline_met and record.times.latency_ms > 0
    rig.engine.stop()
    check_accounts(rig.node, 1)


def test_picture_can_be_sent_as_it_is(rig: Rig) -> None:
    rig.start(cut=0, codec='zstd')
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.REMOTE
    assert rig.uplink.sent[0].specs[0].dtype == 'uint8'


def test_stamps_that_do_not_increase_are_dropped_and_a_restarted_clock_is_followed(
    rig: Rig,
) -> None:
    rig.start()
    now_s = time.time()
    for stamp_s in (now_s, now_s, now_s - 0.5, now_s - 100.0, now_s - 99.9):
        rig.engine.enter(stamp_s, 0, lambda: (np.zeros(SHAPE, dtype=np.uint8), 0))
        rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.engine.stop()
    got = [(record.outcome, record.drop_reason) for record in rig.node.reports]
    bad = (Outcome.DROPPED, DropReason.BAD_IMAGE)
    fine = (Outcome.LOCAL, DropReason.NONE)
    assert got == [fine, bad, bad, fine, fine]


def test_picture_of_a_recording_older_than_its_deadline_is_sent_all_the_same() -> None:
    rig = Rig(deadline_ms=60.0).start(cut=2)
    rig.stream.push(age_s=1000.0)
    rig.node.wait(lambda: len(rig.node.reports) == 1)
    record = rig.node.reports[0]
    assert record.outcome is Outcome.REMOTE and not record.deadline_met
    rig.stop()


def test_errors_end_their_frame_only(rig: Rig) -> None:
    rig.start(cut=2)

    def unreadable() -> None:
        raise ImageError('no picture')

    def broken() -> None:
        raise RuntimeError('broken')

    rig.engine.enter(time.time(), 1, unreadable)
    rig.node.wait(lambda: len(rig.node.reports) == 1)
    rig.engine.enter(time.time(), 2, broken)
    rig.node.wait(lambda: len(rig.node.reports) == 2)
    rig.engine.reject(time.time(), 3, 'encoding is unknown')
    rig.node.wait(lambda: len(rig.node.reports) == 3)
    finish, rig.node.finish = rig.node.finish, lambda outputs, mapping: broken()
    rig.push_and_wait()
    rig.node.finish = finish
    rig.push_and_wait()
    assert [record.drop_reason for record in rig.node.reports] == [
        DropReason.BAD_IMAGE, DropReason.ERROR, DropReason.BAD_IMAGE, DropReason.ERROR,
        DropReason.NONE,
    ]
    assert [seq for _, seq in rig.node.errors] == [1, 2, 3, 4]


def test_bad_settings_are_refused_and_change_nothing(rig: Rig) -> None:
    with pytest.raises(ConfigurationError, match='window'):
        rig.engine.configure(window=0)
    assert rig.engine.settings.window == 4


def test_thread_count_changes_in_the_worker(rig: Rig) -> None:
    rig.start(cut=1)
    rig.engine.configure(threads=2)
    rig.push_and_wait()
    assert rig.model.threads == [1, 2]


def test_just_in_time_start_waits_for_the_sender() -> None:
    rig = Rig(window=4).start(cut=1)
    rig.push_and_wait()
    rig.uplink.behave = lambda request: 'drop'
    rig.stream.push()
    rig.node.wait(lambda: len(rig.uplink.sent) == 2)
    time.sleep(0.02)
    rig.uplink.backlog = 10 ** 9
    rig.stream.push()
    time.sleep(0.05)
    assert len(rig.uplink.sent) == 2
    rig.uplink.backlog = 0
    rig.engine.on_uplinked(2, 2.0, 2.0)
    rig.node.wait(lambda: len(rig.uplink.sent) == 3)
    rig.stop()


def test_stop_in_full_stream_reports_everything() -> None:
    rig = Rig(no_answer_timeout_ms=60e3).start(cut=1)
    rig.uplink.behave = lambda request: 'drop'
    rig.stream.run(20, 0.004)
    rig.stop()
    check_accounts(rig.node, 20)
    assert rig.engine.counters().in_flight == 0
    assert any(r.drop_reason is DropReason.SHUTDOWN for r in rig.node.reports)


def test_callbacks_that_fail_do_no_harm(rig: Rig) -> None:
    rig.start()

    def fail(*args: object) -> None:
        raise RuntimeError('node is going down')

    rig.node.on_plan = fail  # type: ignore[method-assign]
    rig.plan(1)
    on_result, rig.node.on_result = rig.node.on_result, fail  # type: ignore[method-assign]
    rig.push_and_wait()
    rig.node.on_result = on_result  # type: ignore[method-assign]
    rig.push_and_wait()
    assert [record.drop_reason for record in rig.node.reports] == [
        DropReason.ERROR, DropReason.NONE
    ]


def test_engine_is_idle_when_nothing_happens(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions: list[Decision] = []

    def counting(situation: Situation) -> Decision:
        decisions.append(decide(situation))
        return decisions[-1]

    monkeypatch.setattr(worker, 'decide', counting)
    rig.start(cut=1)
    rig.push_and_wait()
    rig.node.wait(lambda: decisions[-1] == Decision(Job.WAIT))
    before = len(decisions)
    time.sleep(0.5)
    # A wake-up that was on its way may come in; polling would make hundreds.
    assert len(decisions) - before <= 2


def test_pictures_without_a_stamp_are_taken_as_new_and_it_is_said_once(rig: Rig) -> None:
    rig.start()
    for number in range(3):
        rig.engine.enter(0.0, number, lambda: (np.zeros(SHAPE, dtype=np.uint8), 0))
        rig.node.wait(lambda n=number: len(rig.node.reports) == n + 1)
    assert [record.outcome for record in rig.node.reports] == [Outcome.LOCAL] * 3
    stamps = [record.stamp_s for record in rig.node.reports]
    assert stamps == sorted(set(stamps)) and abs(stamps[0] - time.time()) < 60.0
    assert [seq for text, seq in rig.node.errors if 'no stamp' in text] == [1]


def test_a_result_that_cannot_be_decoded_lets_an_older_frame_be_rescued() -> None:
    # While it is being decoded no frame is the one to rescue, and the worker waits without end.
    rig = Rig(deadline_ms=300.0, no_answer_timeout_ms=300.0).start(cut=2)
    try:
        rig.push_and_wait()
        rig.uplink.behave = lambda request: 'drop' if request.frame_seq == 2 else 'answer'
        finish = rig.node.finish

        def fail_at_3(outputs: list[np.ndarray], mapping: object) -> object:
            if mapping == 3:
                rig.engine.configure(window=3)  # the worker decides again meanwhile
                time.sleep(0.05)
                raise RuntimeError('cannot be decoded')
            return finish(outputs, mapping)

        rig.node.finish = fail_at_3  # type: ignore[method-assign]
        rig.stream.push()
        time.sleep(0.02)
        rig.stream.push()
        rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
        assert rig.engine.counters().rescued == 1
    finally:
        rig.stop()
