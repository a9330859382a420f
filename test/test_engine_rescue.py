"""The engine where no answer comes, or none that helps: every way to lose one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
import random
import threading
import time
from typing import Any

import numpy as np
import pytest

from dnn_offload.codec import bundle
from dnn_offload.exchange import UplinkRequest
from dnn_offload.runtime.frames import FrameRecord
from dnn_offload.runtime.outcomes import DropReason, Outcome
from engine_parts import check_accounts, outcomes, Rig

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


def test_server_that_comes_back_is_used_again(rig: Rig) -> None:
    rig.start(cut=1)
    rig.push_and_wait()
    rig.uplink.disconnect()
    rig.push_and_wait()
    rig.uplink.connect()
    rig.push_and_wait()
    assert [r.outcome for r in rig.node.reports] == [
        Outcome.REMOTE, Outcome.LOCAL, Outcome.REMOTE
    ]
    assert rig.node.connections == [('server', False), ('server', True)]
    assert rig.node.reports[1].plan.label == 'fallback'


def test_loss_of_the_connection_rescues_at_once() -> None:
    rig = Rig(deadline_ms=5000.0).start(cut=2)
    rig.uplink.behave = lambda request: 'drop'
    rig.stream.push()
    rig.node.wait(lambda: len(rig.uplink.sent) == 1)
    rig.uplink.disconnect()
    rig.node.wait(lambda: len(rig.node.reports) == 1, 4.0)
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert rig.uplink.lost_calls == []  # it was lost already
    rig.stop()


def test_refusals_are_rescued_and_three_in_a_row_lose_the_server(rig: Rig) -> None:
    rig.start(cut=2)
    rig.uplink.behave = lambda request: 'refuse'
    for _ in range(4):
        rig.push_and_wait()
    got = [record.outcome for record in rig.node.reports]
    assert got == [Outcome.RESCUED] * 3 + [Outcome.LOCAL]
    assert len(rig.uplink.lost_calls) == 1 and 'because' in rig.uplink.lost_calls[0][1]
    assert sum('because' in text for text, _ in rig.node.errors) == 3


def test_unreadable_answer_is_rescued(rig: Rig) -> None:
    rig.start(cut=2)
    rig.uplink.behave = lambda request: 'garbage'
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert any('unreadable' in text for text, _ in rig.node.errors)


def _overtaken(rig: Rig, tail: Callable[[], None]) -> UplinkRequest:
    """A frame whose answer does not come; ``tail`` is called in its rescue."""
    asked: list[UplinkRequest] = []
    rig.uplink.behave = lambda request: (asked.append(request), 'drop')[1]
    rig.start(2)
    rig.model.fail = lambda span: tail() if span == (2, 4) and asked else None
    rig.stream.push()
    rig.node.wait(lambda: len(asked) == 1)
    return asked[0]


def test_a_rescue_that_fails_after_its_answer_came_takes_nothing_back() -> None:
    rig = Rig(deadline_ms=60.0)
    rescued, published = threading.Event(), threading.Event()

    def out_of_memory() -> None:
        rescued.set()
        assert published.wait(10.0)
        raise RuntimeError('out of memory')

    take_result = rig.node.on_result

    def publish_slowly(record: FrameRecord, result: Any) -> None:
        take_result(record, result)
        published.set()  # meanwhile the rescue fails
        rig.node.wait(lambda: bool(rig.engine._responder.has_work))

    rig.node.on_result = publish_slowly  # type: ignore[method-assign]
    request = _overtaken(rig, out_of_memory)
    assert rescued.wait(10.0)
    rig.engine.on_answer(rig.uplink.answer(request))
    rig.node.wait(lambda: len(rig.node.reports) == 1)
    assert rig.node.reports[0].outcome is Outcome.REMOTE
    assert len(rig.node.results) == 1
    rig.node.wait(lambda: any('out of memory' in text for text, _ in rig.node.errors))
    rig.stop()


def test_a_rescue_overtaken_by_an_unreadable_answer_is_computed_once() -> None:
    rig = Rig(deadline_ms=60.0)
    rescued, answered = threading.Event(), threading.Event()

    def tail() -> None:
        rescued.set()
        assert answered.wait(10.0)

    request = _overtaken(rig, tail)
    assert rescued.wait(10.0)
    frame = rig.engine._shared.table.get(1)
    assert frame is not None
    # The answer has come, and waits for its turn while the rescue is finished.
    rig.engine._responder.post(lambda: rig.node.wait(lambda: frame.spare is not None))
    rig.engine.on_answer(replace(rig.uplink.answer(request), payload=b'no bundle'))
    answered.set()
    rig.node.wait(lambda: len(rig.node.reports) == 1)
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert rig.node.reports[0].times.tail_ms > 0.0
    assert rig.model.runs.count((2, 4)) == 2  # once to warm it, once for the frame
    rig.stop()


def test_a_start_that_fails_leaves_a_robot_that_works() -> None:
    rig = Rig()
    encode = bundle.encode

    def no_memory(*args: Any) -> bytes:
        monkey.undo()
        raise MemoryError('in the middle of warming')

    with pytest.MonkeyPatch.context() as monkey:
        monkey.setattr(bundle, 'encode', no_memory)
        rig.start(cut=2)
        rig.push_and_wait()
    assert bundle.encode is encode
    assert rig.node.reports[0].outcome is Outcome.REMOTE
    assert any('in the middle of warming' in text for text, _ in rig.node.errors)
    rig.stop()


def test_superseded_at_server(rig: Rig) -> None:
    rig.start(cut=2)
    rig.uplink.behave = lambda request: 'supersede'
    rig.push_and_wait()
    assert rig.node.reports[0].drop_reason is DropReason.SUPERSEDED_AT_SERVER


def test_no_deadline_still_never_stalls() -> None:
    rig = Rig(no_answer_timeout_ms=100.0).start(cut=2)
    rig.uplink.behave = lambda request: 'drop'
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert rig.node.reports[0].deadline_met
    rig.stop()


def test_server_lost_while_the_frame_is_encoded(rig: Rig) -> None:
    rig.start(cut=2, codec='fp16')
    rig.push_and_wait()
    to_half = rig.model.to_half

    def lose_then_encode(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        rig.uplink.disconnect()
        return to_half(arrays)

    rig.model.to_half = lose_then_encode  # type: ignore[method-assign]
    rig.push_and_wait()
    record = rig.node.reports[1]
    assert record.outcome is Outcome.RESCUED and record.uplink_bytes > 0
    assert len(rig.uplink.sent) == 1  # nothing was handed to a lost server


def test_sending_that_fails_is_rescued(rig: Rig) -> None:
    rig.start(cut=2)

    def fail(request: UplinkRequest) -> None:
        raise OSError('no route')

    rig.uplink.send = fail  # type: ignore[method-assign]
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert any('no route' in text for text, _ in rig.node.errors)


def test_faults_of_all_kinds_at_once_lose_nothing() -> None:
    chance = random.Random(11)
    rig = Rig(step_s=0.0005, deadline_ms=40.0, delay_s=0.004).start(cut=2)
    kinds = ['answer'] * 12 + ['drop', 'refuse', 'supersede', 'garbage']
    rig.uplink.behave = lambda request: chance.choice(kinds)

    def sometimes(span: tuple[int, int]) -> None:
        if chance.random() < 0.02:
            raise RuntimeError('made to fail')

    rig.model.fail = sometimes
    for number in range(700):
        if chance.random() < 0.03:
            rig.engine.reject(time.time(), 0, 'cannot be read')
            rig.stream.count += 1
        rig.stream.push()
        if chance.random() < 0.05:
            rig.plan(chance.randrange(4), chance.choice(['raw', 'raw', 'nonsense']), number)
        if chance.random() < 0.05:
            rig.engine.configure(
                window=chance.choice([1, 2, 3]), threads=chance.choice([1, 2]),
                deadline_ms=chance.choice([0.0, 3.0, 40.0]), no_answer_timeout_ms=30.0,
            )
        if chance.random() < 0.1:
            (rig.uplink.connect if chance.random() < 0.8 else rig.uplink.disconnect)()
        rig.uplink.delay_s = chance.choice([0.001, 0.004, 0.004, 0.02])
        time.sleep(chance.uniform(0.0, 0.006))
    rig.uplink.behave = lambda request: 'answer'
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.stop()
    counts = outcomes(rig)
    assert min(counts[outcome] for outcome in Outcome) > 0, counts
    reasons = {record.drop_reason for record in rig.node.reports}
    assert reasons >= {
        DropReason.SUPERSEDED, DropReason.SUPERSEDED_AT_SERVER, DropReason.BAD_IMAGE,
        DropReason.ERROR,
    }
    check_accounts(rig.node, rig.stream.count)
