"""Single frames run under a plan that is tried; the one in force goes on, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import random
import time

import pytest

from dnn_offload.exchange import Answer, TRIAL_PATIENCE_S, UplinkRequest
from dnn_offload.runtime import plan_slot
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.plan_slot import PlanRequest
from engine_parts import check_accounts, Rig
from virtual_engine import VirtualRig

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(delay_s=0.002)
    yield made
    made.stop()


def _try(rig: Rig, cut: int, plan_id: int, frames: int = 3, private_layers: int = 0) -> bool:
    wanted = PlanRequest(plan_id, rig.model.cuts[cut].cut_id, 'raw', 'server', private_layers)
    return rig.engine.try_plan(wanted, frames)


def _stream(rig: Rig, frames: int) -> list[tuple[int, int, Outcome]]:
    """Plan, cut and outcome of each."""
    before = len(rig.node.reports)
    for _ in range(frames):
        rig.push_and_wait()
    made = rig.node.reports[before:]
    return [(r.plan.plan_id, r.plan.cut_index, r.outcome) for r in made if r.plan is not None]


def test_as_many_frames_as_asked_for_run_under_a_trial(rig: Rig) -> None:
    rig.start(cut=1)
    assert _try(rig, 3, 7)
    rig.node.wait(lambda: (0, 3) in rig.model.runs and (3, 4) in rig.model.runs)  # warm
    ran = _stream(rig, 8)
    assert ran.count((7, 3, Outcome.REMOTE)) == 3
    assert ran.count((1, 1, Outcome.REMOTE)) == 5
    assert ran[-1][0] == 1
    assert len(rig.node.plans) == 2  # a trial is no switch
    assert {r.plan.epoch for r in rig.node.reports} == {1}


class Part(tuple):  # type: ignore[type-arg]
    """A segment of the fake model for which torch may stand in."""

    stood_in = False


@pytest.mark.parametrize('where', ['robot', 'server'])
def test_frames_by_a_stand_in_say_so_and_a_trial_goes_on_for_as_many_more(
    rig: Rig, where: str
) -> None:
    head = Part((0, 3))
    answer = rig.uplink.answer
    compiling = [True]

    def segment(start: int, end: int) -> tuple[int, int]:
        if (start, end) != head:
            return (start, end)
        head.stood_in = where == 'robot' and compiling[0]
        return head

    def answered(request: UplinkRequest) -> Answer:
        slow = where == 'server' and compiling[0] and request.cut_id == rig.model.cuts[3].cut_id
        return replace(answer(request), stood_in=slow)

    rig.model.segment = segment  # type: ignore[method-assign]
    rig.uplink.answer = answered  # type: ignore[method-assign]
    rig.start(cut=1)
    assert _try(rig, 3, 7)
    rig.node.wait(lambda: (0, 3) in rig.model.runs and (3, 4) in rig.model.runs)
    assert (7, 3, Outcome.REMOTE) in _stream(rig, 6)
    compiling[0] = False
    _stream(rig, 9)
    tried = [r for r in rig.node.reports if r.plan is not None and r.plan.plan_id == 7]
    others = [r for r in rig.node.reports if r.plan is not None and r.plan.plan_id != 7]
    assert any(r.stood_in for r in tried) and not any(r.stood_in for r in others)
    assert sum(not r.stood_in for r in tried) == 3
    assert rig.node.reports[-1].plan.plan_id == 1  # type: ignore[union-attr]


def test_a_stand_in_that_stays_does_not_keep_a_trial_alive(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_slot, 'TRIAL_PATIENCE_S', 1.0)
    answer = rig.uplink.answer
    rig.uplink.answer = lambda request: replace(  # type: ignore[method-assign]
        answer(request), stood_in=True
    )
    rig.start(cut=1)
    assert _try(rig, 3, 7)
    rig.node.wait(lambda: (0, 3) in rig.model.runs and (3, 4) in rig.model.runs)
    assert _stream(rig, 8).count((7, 3, Outcome.REMOTE)) > 3
    time.sleep(1.0)
    assert (7, 3, Outcome.REMOTE) not in _stream(rig, 4)


def test_a_trial_obeys_what_must_stay_here_and_needs_its_server(rig: Rig) -> None:
    rig.start()
    assert rig.plan(2, plan_id=2, private_layers=2)
    rig.node.wait(lambda: len(rig.node.plans) == 2)
    assert _try(rig, 1, 7)
    rig.node.wait(lambda: (1, 4) in rig.model.runs)
    assert all(plan_id == 2 for plan_id, _, _ in _stream(rig, 4))
    assert _try(rig, 3, 8)
    rig.node.wait(lambda: (3, 4) in rig.model.runs)
    rig.uplink.disconnect()
    assert all(outcome is Outcome.LOCAL for _, _, outcome in _stream(rig, 4))


@pytest.mark.parametrize(('pause_s', 'tried'), [(0.5, 3), (TRIAL_PATIENCE_S + 0.1, 0)])
def test_a_trial_is_over_when_nobody_waits_for_its_frames_any_more(
    monkeypatch: pytest.MonkeyPatch, pause_s: float, tried: int
) -> None:
    rig = VirtualRig(monkeypatch).start(cut=1)
    assert _try(rig, 3, 7)
    rig.run(pause_s)  # the camera stands still
    for _ in range(6):
        rig.stream.push()
        rig.run(0.1)
    ids = [r.plan.plan_id for r in rig.node.reports if r.plan is not None]
    assert len(ids) == 6
    assert ids.count(7) == tried


def test_a_newer_plan_ends_a_trial_and_an_older_one_does_not(rig: Rig) -> None:
    rig.start(cut=1)
    assert _try(rig, 3, 7)
    assert rig.plan(2, plan_id=6)  # was said before the trial, has come after it
    rig.node.wait(lambda: len(rig.node.plans) == 3 and (3, 4) in rig.model.runs)
    assert [plan_id for plan_id, _, _ in _stream(rig, 1)] == [7]
    assert rig.plan(1, plan_id=8)
    rig.node.wait(lambda: len(rig.node.plans) == 4)
    assert [plan_id for plan_id, _, _ in _stream(rig, 4)] == [8] * 4


def test_what_cannot_be_tried_is_said_and_changes_nothing(rig: Rig) -> None:
    rig.start(cut=1)
    assert not rig.engine.try_plan(PlanRequest(7, 'ffffffffffff', 'raw', 'server'), 3)
    assert not rig.engine.try_plan(
        PlanRequest(7, rig.model.cuts[2].cut_id, 'morse', 'server'), 3
    )

    def fail(span: tuple[int, int]) -> None:
        if span == (0, 3):
            raise RuntimeError('no memory')

    rig.model.fail = fail
    assert _try(rig, 3, 8)
    rig.node.wait(lambda: len(rig.node.errors) == 3)
    assert all(plan_id == 1 for plan_id, _, _ in _stream(rig, 4))


def test_trials_and_switches_under_a_stream_lose_nothing() -> None:
    rig = Rig(deadline_ms=100.0, delay_s=0.002).start()
    chance = random.Random(3)
    rig.uplink.behave = lambda request: 'answer' if chance.random() < 0.97 else 'drop'
    for number in range(400):
        if chance.random() < 0.5:
            _try(rig, chance.choice((0, 1, 2, 3)), 10_000 + number, chance.choice((1, 3)))
        else:
            cut = chance.choice((0, 1, 2, 3, 4))
            rig.plan(cut, plan_id=number + 1, server='' if cut == 4 else 'server')
        for _ in range(3):
            rig.stream.push()
            time.sleep(chance.uniform(0.0, 0.003))
        if not rig.uplink.connected('server') and chance.random() < 0.2:
            rig.uplink.connect()
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.stop()
    check_accounts(rig.node, rig.stream.count)
    tried = [r for r in rig.node.reports if r.plan is not None and r.plan.plan_id > 10_000]
    assert sum(r.outcome is Outcome.REMOTE for r in tried) > 50
    by_seq = sorted(
        (r.frame_seq, r.plan.epoch) for r in rig.node.reports if r.plan is not None
    )
    assert all(a[1] <= b[1] for a, b in zip(by_seq, by_seq[1:], strict=False))
    assert not [text for text, _ in rig.node.errors]
