"""What the engine promises about time, in virtual time: no result is late while a tail fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
import itertools
import random
from typing import Any

import pytest

from dnn_offload.exchange import UplinkRequest
from dnn_offload.runtime.frames import FrameRecord
from dnn_offload.runtime.outcomes import DropReason, Outcome
from engine_parts import check_accounts, outcomes, STAGES
from virtual_engine import VirtualRig

pytestmark = pytest.mark.timeout(60)

Make = Callable[..., VirtualRig]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[VirtualRig] = []

    def new(**settings: float) -> VirtualRig:
        made.append(VirtualRig(monkeypatch, **settings))
        return made[-1]

    yield new
    for rig in made:
        rig.stop()


def late(records: list[FrameRecord]) -> list[FrameRecord]:
    return [r for r in records if r.outcome is not Outcome.DROPPED and not r.deadline_met]


@pytest.mark.parametrize(('behaviour', 'rescues'), [('silence', 1), ('drop', 2)])
def test_dead_or_mute_server_costs_two_rescues_at_most_and_no_deadline(
    make: Make, behaviour: str, rescues: int
) -> None:
    rig = make(deadline_ms=120.0).start(cut=2)
    rig.pictures(35, 0.02)
    rig.run(0.099)
    assert outcomes(rig) == {Outcome.REMOTE: 5}
    rig.uplink.behave = lambda request: behaviour
    rig.run(2.0)
    check_accounts(rig.node, 35)
    later = rig.node.reports[5:]
    counts = Counter(record.outcome for record in later)
    assert counts[Outcome.RESCUED] == rescues and counts[Outcome.REMOTE] == 0
    assert counts[Outcome.LOCAL] >= 5
    assert not late(later)
    for record in later:
        if record.outcome is Outcome.RESCUED:  # as late as the margin allows
            assert record.times.latency_ms == pytest.approx(115.0)
            assert record.frame_seq in rig.uplink.cancelled
        if record.outcome is Outcome.LOCAL:
            assert record.plan is not None and record.plan.label == 'fallback'
    assert len(rig.uplink.lost_calls) == 1
    assert {record.drop_reason for record in later} <= {
        DropReason.NONE, DropReason.SUPERSEDED, DropReason.NO_ANSWER
    }


def test_one_unanswered_frame_does_not_lose_the_server(make: Make) -> None:
    rig = make(deadline_ms=100.0).start(cut=2)
    rig.uplink.behave = lambda request: 'drop' if request.frame_seq == 4 else 'answer'
    rig.pictures(10, 0.1)
    rig.run(2.0)
    assert [record.outcome for record in rig.node.reports] == (
        [Outcome.REMOTE] * 3 + [Outcome.RESCUED] + [Outcome.REMOTE] * 6
    )
    assert rig.uplink.lost_calls == [] and not late(rig.node.reports)


@pytest.mark.parametrize('cut', [0, 1, 3])
def test_rescue_is_in_time_at_every_cut_under_a_slower_machine(make: Make, cut: int) -> None:
    rig = make(step_s=0.003, deadline_ms=100.0).start(cut=cut)
    rig.pictures(12, 0.1)
    rig.run(1.2)
    rig.model.step_s = 0.006  # twice the load, seen in the heads that run
    rig.engine.note_load(2.0)  # and told by the load monitor, for cut 0 has no head
    rig.pictures(12, 0.1)
    rig.run(1.2)
    rig.uplink.behave = lambda request: 'drop'
    rig.pictures(1, 0.1)
    rig.run(0.5)
    record = rig.node.reports[-1]
    assert record.outcome is Outcome.RESCUED
    assert 85.0 < record.times.latency_ms <= 100.0


def test_frame_of_a_doubted_server_is_kept_here_where_no_rescue_would_fit(make: Make) -> None:
    rig = make(deadline_ms=100.0).start(cut=2)
    rig.uplink.behave = lambda request: 'drop'
    rig.pictures(1, 0.1)
    rig.run(0.2)
    rig.engine.configure(deadline_ms=15.0)  # head, tail and margin take 21 ms
    rig.pictures(1, 0.1)
    rig.run(0.2)
    assert len(rig.uplink.sent) == 1 and rig.uplink.lost_calls == []
    record = rig.node.reports[1]
    assert record.outcome is Outcome.LOCAL and record.uplink_bytes == 0
    assert record.plan is not None and record.plan.label == 'fallback'


@pytest.mark.parametrize('reason', ['refused', 'lost'])
def test_news_that_come_too_late_do_not_take_a_rescue_back(make: Make, reason: str) -> None:
    """The server's 'too late' arrives just when the rescue is in the responder's hands."""
    rig = make(deadline_ms=100.0).start(cut=1)
    rig.uplink.behave = lambda request: 'drop'
    finish = rig.node.finish

    def refuse_and_finish(outputs: list[Any], mapping: Any) -> Any:
        if reason == 'refused':
            rig.engine.on_refused(1, 'too late')
        else:
            rig.uplink.disconnect()
        return finish(outputs, mapping)

    rig.node.finish = refuse_and_finish  # type: ignore[method-assign]
    before = len(rig.model.runs)
    rig.pictures(1, 0.1)
    rig.run(0.5)
    assert rig.model.runs[before:] == [(0, 1), (1, STAGES)]
    assert [record.outcome for record in rig.node.reports] == [Outcome.RESCUED]
    assert not late(rig.node.reports)


def test_refusal_while_the_rescue_runs_changes_nothing(make: Make) -> None:
    rig = make(deadline_ms=100.0).start(cut=1)
    rig.uplink.behave = lambda request: 'drop'
    rig.time.at(rig.time.now_s + 0.090, lambda: rig.engine.on_refused(1, 'too late'))
    before = len(rig.model.runs)
    rig.pictures(1, 0.1)
    rig.run(0.5)
    assert rig.model.runs[before:] == [(0, 1), (1, STAGES)]
    assert [record.outcome for record in rig.node.reports] == [Outcome.RESCUED]
    assert not late(rig.node.reports)


@pytest.mark.parametrize('seed', range(12))
def test_no_result_is_late_whatever_the_server_does(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    rig = make(step_s=chance.choice([0.001, 0.004]), deadline_ms=120.0,
               window=chance.choice([1, 2, 3])).start(cut=chance.choice([0, 1, 2, 3]))

    def behave(request: UplinkRequest) -> str:
        rig.uplink.delay_s = chance.choice([0.004, 0.02, 0.06, 0.099, 0.15])
        return chance.choice(
            ['answer'] * 4 + ['drop', 'silence', 'refuse', 'supersede', 'garbage']
        )

    rig.uplink.behave = behave
    period_s = chance.uniform(0.01, 0.05)
    rig.pictures(300, period_s)
    begin_s = rig.time.now_s
    for number in range(60):
        happens = chance.choice([
            rig.uplink.connect, rig.uplink.disconnect, rig.uplink.connect,
            lambda: rig.plan(chance.randrange(4), 'raw', 2),
        ])
        rig.time.at(begin_s + number * period_s * 5.0, happens)
    rig.run(300 * period_s + 5.0)
    check_accounts(rig.node, 300)
    # Not in the promise: an answer that comes and turns out to be garbled with no time left,
    # and an older frame whose rescue was left out for a newer one that was under way.
    garbled = {seq for text, seq in rig.node.errors if 'unreadable' in text}
    for record in late(rig.node.reports):
        end_s = record.stamp_s + record.times.latency_ms * 1e-3
        assert record.frame_seq in garbled or any(
            other.frame_seq > record.frame_seq
            and other.plan is not None
            and other.stamp_s + other.times.wait_ms * 1e-3 < end_s
            for other in rig.node.reports
        ), record
    assert outcomes(rig)[Outcome.RESCUED] > 0


def test_tail_that_cannot_fit_is_given_up_for_newer_work_and_else_finished_late(
    make: Make,
) -> None:
    rig = make(step_s=0.03, deadline_ms=50.0).start(cut=1)
    rig.uplink.behave = lambda request: 'drop'
    rig.pictures(1, 1.0)
    rig.run(1.0)  # nothing newer: a late result beats none
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert not rig.node.reports[0].deadline_met
    assert len(rig.uplink.lost_calls) == 1
    rig.uplink.connect()
    rig.engine.configure(window=1)
    rig.pictures(12, 0.02)
    rig.run(2.0)
    reasons = Counter(record.drop_reason for record in rig.node.reports)
    assert reasons[DropReason.CANNOT_RESCUE] == 1
    check_accounts(rig.node, 13)


def test_late_answer_is_counted_and_not_published(make: Make) -> None:
    rig = make(step_s=0.001, delay_s=0.15, deadline_ms=40.0).start(cut=2)
    rig.pictures(1, 1.0)
    rig.run(0.3)
    assert [record.outcome for record in rig.node.reports] == [Outcome.RESCUED]
    assert rig.engine.counters().late_answers == 1
    assert len(rig.node.results) == 1


def test_switch_is_prompt_without_frames_and_warms_each_slice_once(make: Make) -> None:
    rig = make(step_s=0.001).start()
    rig.run(0.001)
    for cut in (1, 2, 1, 2):
        rig.plan(cut)
        rig.run(0.005)  # one warming run of head and tail takes 4 ms
        assert rig.engine.active_plan.cut_index == cut
    assert Counter(rig.model.runs) == {
        (0, 4): 1, (0, 1): 1, (1, 4): 1, (0, 2): 1, (2, 4): 1
    }
    assert [plan.epoch for plan in rig.node.plans] == [1, 2, 3, 4]


def test_switch_happens_under_a_saturated_stream(make: Make) -> None:
    rig = make(step_s=0.005).start()
    rig.pictures(100, 0.01)
    rig.time.at(rig.time.now_s + 0.2, lambda: rig.plan(2))
    rig.run(3.0)
    assert [plan.epoch for plan in rig.node.plans] == [1]
    first = next(r for r in rig.node.reports if r.plan is not None and r.plan.epoch == 1)
    assert 20 < first.frame_seq < 60  # patience of 0.3 s, two warming runs
    check_accounts(rig.node, 100)


def test_newest_waiting_frame_wins(make: Make) -> None:
    rig = make(step_s=0.02).start()
    rig.pictures(6, 0.005)
    rig.run(1.0)
    check_accounts(rig.node, 6)
    assert [record.drop_reason for record in rig.node.reports] == (
        [DropReason.SUPERSEDED] * 4 + [DropReason.NONE] * 2
    )
    assert [record.frame_seq for record, _ in rig.node.results] == [1, 6]


def test_answer_that_overtakes_the_rescue_is_published(make: Make) -> None:
    rig = make(step_s=0.05, deadline_ms=250.0).start(cut=1)
    held: list[UplinkRequest] = []
    rig.uplink.behave = lambda request: held.append(request) or 'drop'
    begin_s = rig.time.now_s
    rig.pictures(1, 1.0)
    # The head takes 50 ms, the tail 150: it is begun 155 ms before the deadline.
    rig.time.at(begin_s + 0.200, lambda: rig.engine.on_answer(rig.uplink.answer(held[0])))
    rig.run(1.0)
    assert rig.model.runs[-1] == (1, STAGES)
    assert [record.outcome for record in rig.node.reports] == [Outcome.REMOTE]
    check_accounts(rig.node, 1)


@pytest.mark.parametrize('busy', [False, True])
def test_scouts_run_here_now_and_then_and_overtake_nothing(make: Make, busy: bool) -> None:
    """Also where a frame is always in flight: the scout then waits for it."""
    rig = make(deadline_ms=500.0)
    rig.uplink.delay_s = 0.06 if busy else 0.005
    rig.start(cut=1)
    rig.engine.set_scout_period(0.5)
    rig.pictures(100, 0.05)
    rig.run(5.5)
    scouts = [r for r in rig.node.reports if r.plan is not None and r.plan.label == 'scout']
    others = [r for r in rig.node.reports if r not in scouts]
    assert 5 <= len(scouts) <= 10
    assert {r.outcome for r in scouts} == {Outcome.LOCAL}
    dropped = [r.drop_reason for r in others if r.outcome is Outcome.DROPPED]
    assert len(dropped) <= (len(scouts) if busy else 0)
    assert set(dropped) <= {DropReason.SUPERSEDED}
    for never in (0.0, float('nan'), float('inf')):
        rig.engine.set_scout_period(never)
        before = len(rig.node.reports)
        rig.pictures(40, 0.05)
        rig.run(2.5)
        plans = [r.plan for r in rig.node.reports[before:] if r.plan is not None]
        assert 'scout' not in {plan.label for plan in plans}
    check_accounts(rig.node, rig.stream.count)


def test_scouts_are_not_in_step_with_a_loop_beside_them(make: Make) -> None:
    """At 15 Hz every twelfth frame met another program's loop of 10 Hz in the same place."""
    shared = make().engine._shared
    shared.scout_period_s = 0.8
    scouts_s = []
    for frame in range(15 * 60):
        now_s = frame / 15.0
        if shared.scout_overdue(now_s) >= 1.0:
            shared.note_whole(now_s)
            scouts_s.append(now_s)
    gaps_s = [after - before for before, after in itertools.pairwise(scouts_s)]
    assert min(gaps_s) >= 0.8 and max(gaps_s) <= 1.25 * 0.8 + 1.0 / 15.0
    places = Counter(round(frame_s * 15.0) % 3 for frame_s in scouts_s)  # 0.2 s = 3 frames
    assert len(places) == 3 and max(places.values()) < 0.5 * len(scouts_s)


def test_no_scout_makes_a_frame_late(make: Make) -> None:
    """The whole network fits into the deadline of a fresh picture, not into that of an old one."""
    rig = make(deadline_ms=100.0).start(cut=1)
    rig.engine.set_scout_period(0.2)
    rig.model.step_s = 0.015
    for _ in range(3):
        rig.pictures(20, 0.1)
        rig.run(2.0)
    assert [r for r in rig.node.reports if r.plan is not None and r.plan.label == 'scout']
    before = len(rig.node.reports)
    for number in range(20):
        rig.time.at(rig.time.now_s + 0.1 * number, lambda: rig.stream.push(age_s=0.05))
    rig.run(2.5)
    assert not [r for r in rig.node.reports[before:] if r.plan.label == 'scout']
    assert not late(rig.node.reports)


def test_a_tail_that_fits_without_the_margin_is_run_at_once(make: Make) -> None:
    rig = make(deadline_ms=100.0, margin_ms=30.0, step_s=0.015).start(cut=1)
    rig.uplink.behave = lambda request: 'silence'
    before = len(rig.node.reports)
    rig.time.at(rig.time.now_s + 0.01, lambda: rig.stream.push(age_s=0.02))
    rig.run(0.5)
    (record,) = rig.node.reports[before:]
    assert record.outcome is Outcome.RESCUED
    assert record.deadline_met and record.times.latency_ms < 90.0


def test_a_scout_that_cannot_be_in_time_does_not_hold_the_stream(make: Make) -> None:
    """Old pictures that must overlap to keep up: none waits for a scout that never comes."""
    rig = make(deadline_ms=250.0, step_s=0.026).start(cut=1)
    rig.uplink.delay_s = 0.06
    rig.engine.set_scout_period(0.2)
    rig.run(1.0)
    for number in range(60):
        rig.time.at(rig.time.now_s + 0.05 * number, lambda: rig.stream.push(age_s=0.15))
    rig.run(3.5)
    assert {r.outcome for r in rig.node.reports} == {Outcome.REMOTE}
    check_accounts(rig.node, rig.stream.count)
