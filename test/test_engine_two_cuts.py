"""Robot, server, robot: the server's part comes back and the robot runs the rest."""

from __future__ import annotations

from collections.abc import Iterator
import random
import time

import pytest

from dnn_offload.codec import bundle
from dnn_offload.runtime import responder
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.runtime.plan_slot import PlanRequest
from engine_parts import check_accounts, outcomes, Rig

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(deadline_ms=2000.0).start()
    yield made
    made.stop()


def switch(rig: Rig, cut: int, back: int) -> None:
    before = len(rig.node.plans)
    assert rig.plan_two(cut, back)
    rig.node.wait(lambda: len(rig.node.plans) > before)


@pytest.mark.parametrize(('cut', 'back'), [(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_the_three_pieces_give_what_the_whole_gives(rig: Rig, cut: int, back: int) -> None:
    switch(rig, cut, back)
    for _ in range(5):
        rig.push_and_wait()
    assert outcomes(rig) == {Outcome.REMOTE: 5}
    check_accounts(rig.node, 5)  # the values too
    request = rig.uplink.sent[0]
    assert request.return_id == rig.model.cuts[back].cut_id
    assert rig.model.runs.count((back, 4)) >= 6  # warmed once, then for each frame
    plan = rig.node.reports[0].plan
    assert (plan.cut_index, plan.return_index) == (cut, back)


def test_pieces_are_timed_as_they_are_priced_with_the_codecs_between_them(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = bundle.decode

    def slowly(*given: object, **named: object) -> object:
        time.sleep(0.005)
        return decode(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(responder.bundle, 'decode', slowly)
    rig.model.step_s = 0.004
    switch(rig, 1, 3)
    rig.push_and_wait()
    times = rig.node.reports[0].times
    assert times.rest_ms >= 4.0 + 5.0  # one step, and what came back
    assert times.tail_ms == pytest.approx(0.3 + 0.4)  # what the server said of running, encoding
    assert rig.plan(1, plan_id=2)
    rig.node.wait(lambda: len(rig.node.plans) == 3)
    rig.push_and_wait()  # one cut: the outputs' codec is no part of the tail
    assert rig.node.reports[1].times.tail_ms == pytest.approx(0.3)
    assert rig.node.reports[1].times.rest_ms == 0.0


def test_no_answer_is_rescued_by_the_whole_tail(rig: Rig) -> None:
    switch(rig, 1, 3)
    rig.engine.configure(deadline_ms=60.0)
    rig.uplink.behave = lambda request: 'drop'
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert (1, 4) in rig.model.runs
    check_accounts(rig.node, 1)


def test_unreadable_answer_is_rescued(rig: Rig) -> None:
    switch(rig, 1, 3)
    rig.uplink.behave = lambda request: 'garbage'
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.RESCUED


def test_a_rest_that_fails_drops_its_frame_only(rig: Rig) -> None:
    switch(rig, 1, 3)
    rig.push_and_wait()

    def fail(span: tuple[int, int]) -> None:
        if span == (3, 4):
            raise RuntimeError('no memory')

    rig.model.fail = fail
    rig.push_and_wait()
    rig.model.fail = lambda span: None
    rig.push_and_wait()
    assert [r.outcome for r in rig.node.reports] == [
        Outcome.REMOTE, Outcome.DROPPED, Outcome.REMOTE,
    ]
    assert rig.node.reports[1].drop_reason is DropReason.ERROR


def test_a_cut_by_its_values_runs_like_a_listed_one(rig: Rig) -> None:
    wanted = PlanRequest(1, 'dag:0123456789ab', 'raw', 'server', frontier=('v2',))
    assert rig.engine.set_plan(wanted)
    rig.node.wait(lambda: len(rig.node.plans) == 2)
    rig.push_and_wait()
    assert outcomes(rig) == {Outcome.REMOTE: 1}
    check_accounts(rig.node, 1)


def test_second_cut_before_the_first_is_refused_and_the_old_plan_goes_on(rig: Rig) -> None:
    assert not rig.plan_two(2, 2)
    assert not rig.engine.set_plan(
        PlanRequest(2, rig.model.cuts[1].cut_id, 'raw', 'server', return_id='ffffffffffff')
    )
    rig.push_and_wait()
    assert outcomes(rig) == {Outcome.LOCAL: 1}


def test_privacy_counts_what_is_sent(rig: Rig) -> None:
    cuts = rig.model.cuts
    assert not rig.engine.set_plan(PlanRequest(
        1, cuts[1].cut_id, 'raw', 'server', 2, return_id=cuts[3].cut_id, return_codec='raw',
    ))
    rig.push_and_wait()
    assert rig.uplink.sent == []


def test_threads_of_a_plan_are_set_when_it_runs_and_put_back_after_it(rig: Rig) -> None:
    cut = rig.model.cuts[2].cut_id
    assert rig.engine.set_plan(PlanRequest(1, cut, 'raw', 'server', threads=3))
    rig.node.wait(lambda: len(rig.node.plans) == 2)
    rig.push_and_wait()
    assert rig.model.threads[-1] == 3
    assert rig.plan(1, plan_id=2)
    rig.node.wait(lambda: len(rig.node.plans) == 3)
    rig.push_and_wait()
    assert rig.model.threads[-1] == 1


def test_switches_between_one_and_two_cuts_under_a_stream_lose_nothing() -> None:
    rig = Rig(deadline_ms=100.0, delay_s=0.002).start()
    chance = random.Random(3)
    rig.uplink.behave = lambda request: 'answer' if chance.random() < 0.95 else 'drop'
    for number in range(300):
        cut = chance.choice((0, 1, 2))
        if chance.random() < 0.5:
            assert rig.plan_two(cut, chance.choice([b for b in (1, 2, 3) if b > cut]), number + 1)
        else:
            rig.plan(cut, plan_id=number + 1)
        rig.stream.push()
        time.sleep(0.004)
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.stop()
    check_accounts(rig.node, 300)
    assert outcomes(rig)[Outcome.REMOTE] > 100
    assert DropReason.ERROR not in {record.drop_reason for record in rig.node.reports}
