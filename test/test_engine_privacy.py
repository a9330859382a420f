"""What may not leave the robot does not, from the request on; failed plans are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import threading

import numpy as np
import pytest

from dnn_offload.errors import PlanningError
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.plan_slot import PlanRequest, PlanSlot
from engine_parts import check_accounts, FakeModel, Rig, STAGES

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


def cuts_sent(rig: Rig) -> list[int]:
    by_id = {cut.cut_id: cut.index for cut in rig.model.cuts}
    return [by_id[request.cut_id] for request in rig.uplink.sent]


def test_no_picture_is_sent_while_the_private_plan_is_warmed(rig: Rig) -> None:
    rig.start(cut=0)
    rig.push_and_wait()
    assert cuts_sent(rig) == [0]
    warming, go_on = threading.Event(), threading.Event()

    def slow(span: tuple[int, int]) -> None:
        if span == (0, 2):
            warming.set()
            go_on.wait(10.0)

    rig.model.fail = slow
    assert rig.plan(2, plan_id=2, private_layers=1)
    rig.stream.push()
    warming.wait(10.0)
    go_on.set()
    rig.node.wait(lambda: len(rig.node.plans) == 3)
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.push_and_wait()
    assert cuts_sent(rig) in ([0, 2], [0, 2, 2])  # the frame came before or after the switch


def test_no_picture_is_sent_when_the_private_plan_cannot_run(rig: Rig) -> None:
    rig.start(cut=0)

    def fail(span: tuple[int, int]) -> None:
        if span == (0, 2):
            raise RuntimeError('no memory')

    rig.model.fail = fail
    assert rig.plan(2, plan_id=7, private_layers=1)
    for _ in range(3):
        rig.push_and_wait()
    rig.node.wait(lambda: len(rig.node.failed_plans) == 1)
    rig.push_and_wait()
    assert rig.uplink.sent == []
    assert [(r.outcome, r.plan.label) for r in rig.node.reports] == [
        (Outcome.LOCAL, 'private')
    ] * 4
    assert rig.node.failed_plans[0][0] == 7 and 'no memory' in rig.node.failed_plans[0][1]
    assert sum('no memory' in text for text, _ in rig.node.errors) == 1

    rig.model.fail = lambda span: None
    assert rig.plan(2, plan_id=7, private_layers=1)  # the same again
    rig.node.wait(lambda: rig.node.plans[-1].plan_id == 7)
    rig.push_and_wait()
    assert cuts_sent(rig) == [2]


def test_plan_that_contradicts_itself_is_refused_and_all_runs_here(rig: Rig) -> None:
    rig.start(cut=3)
    assert not rig.plan(1, plan_id=5, private_layers=2)
    rig.push_and_wait()
    assert rig.uplink.sent == [] and rig.node.reports[0].plan.label == 'private'
    assert rig.model.runs[-1] == (0, STAGES)  # known before the head is run
    assert rig.node.failed_plans[0][0] == 5
    assert rig.plan(2, plan_id=6, private_layers=2)
    rig.node.wait(lambda: rig.node.plans[-1].plan_id == 6)
    rig.push_and_wait()
    assert cuts_sent(rig) == [2]


def test_privacy_of_a_plan_with_an_unknown_cut_is_in_force(rig: Rig) -> None:
    rig.start(cut=1)
    assert not rig.engine.set_plan(PlanRequest(9, 'ffffffffffff', 'raw', 'server', 2))
    rig.push_and_wait()
    assert rig.uplink.sent == [] and rig.node.reports[0].plan.label == 'private'
    assert [plan_id for plan_id, _ in rig.node.failed_plans] == [9]


def test_frame_that_is_being_worked_on_is_kept_here() -> None:
    rig = Rig().start(cut=2, codec='fp16')
    to_half = rig.model.to_half

    def forbid_then_encode(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        rig.plan(3, plan_id=2, private_layers=3)
        return to_half(arrays)

    rig.model.to_half = forbid_then_encode  # type: ignore[method-assign]
    rig.push_and_wait()
    rig.stop()
    record = rig.node.reports[0]
    assert rig.uplink.sent == []
    assert (record.outcome, record.plan.label) == (Outcome.LOCAL, 'private')
    assert record.uplink_bytes == 0
    check_accounts(rig.node, 1)


def test_frame_that_is_being_sent_is_recalled(rig: Rig) -> None:
    rig.start(cut=0)
    rig.uplink.behave = lambda request: 'drop'
    rig.stream.push()
    rig.node.wait(lambda: len(rig.uplink.sent) == 1)
    assert rig.plan(2, plan_id=2, private_layers=1)
    rig.node.wait(lambda: len(rig.node.reports) == 1)
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert 1 in rig.uplink.cancelled
    assert rig.uplink.lost_calls == []  # not the server's fault


def test_slot_drops_a_pending_plan_that_a_newer_request_forbids() -> None:
    model = FakeModel()
    slot = PlanSlot(model)
    slot.request(PlanRequest(1, model.cuts[1].cut_id, 'raw', 'server'), 0.0)
    assert slot.pending is not None
    with pytest.raises(PlanningError):
        slot.request(PlanRequest(2, model.cuts[1].cut_id, 'raw', 'server', 2), 0.0)
    assert slot.pending is None and slot.commit() is None


def test_slice_that_nobody_wants_any_more_does_not_fail_the_newer_plan() -> None:
    model = FakeModel()
    slot = PlanSlot(model)
    slot.request(PlanRequest(1, model.cuts[1].cut_id, 'raw', 'server'), 0.0)
    slot.request(PlanRequest(2, model.cuts[2].cut_id, 'raw', 'server'), 0.0)
    assert slot.not_warmed((0, 1)) is None and slot.pending is not None
    failed = slot.not_warmed((0, 2))
    assert failed is not None and failed.plan_id == 2 and slot.pending is None
