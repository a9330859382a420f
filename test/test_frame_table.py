"""The frame table under every order of calls: each frame ends once, counters add up."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    invariant,
    rule,
    RuleBasedStateMachine,
)
import pytest

from dnn_offload.runtime.frame_table import FrameTable, STAMP_RESET_S
from dnn_offload.runtime.frames import EndedFrame, Stage
from dnn_offload.runtime.outcomes import DropReason, Outcome

INF = float('inf')


def entered(table: FrameTable, count: int = 1) -> int:
    """Let frames in, one after the other; the last one waits."""
    for _ in range(count):
        number = table.counters().entered + 1
        table.enter(float(number), 0.0, 0.0)
    return table.counters().entered


def sent(table: FrameTable) -> int:
    """A frame that was sent."""
    seq = entered(table)
    assert table.start(seq, 0.0) is not None
    assert table.sent(seq, INF, True)
    return seq


def ends(table: FrameTable) -> list[tuple[int, Outcome, DropReason]]:
    """Who ended, and how."""
    return [(end.frame.seq, end.outcome, end.reason) for end in table.take_ended()]


def test_newer_frame_supersedes_the_waiting_one() -> None:
    table = FrameTable()
    entered(table, 3)
    assert ends(table) == [
        (1, Outcome.DROPPED, DropReason.SUPERSEDED), (2, Outcome.DROPPED, DropReason.SUPERSEDED)
    ]
    assert table.waiting is not None and table.waiting.seq == 3
    assert table.counters().in_flight == 1


def test_frame_that_was_started_is_not_superseded() -> None:
    table = FrameTable()
    table.start(entered(table), 2.0)
    entered(table)
    assert ends(table) == []
    assert table.started() == 1 and table.counters().in_flight == 2
    first = table.get(1)
    assert first is not None and first.times.wait_ms == 2000.0


def test_publishing_ends_all_older_frames() -> None:
    table = FrameTable()
    old, new = sent(table), sent(table)
    assert table.answered(new) is not None
    assert table.published(new, Outcome.REMOTE)
    assert ends(table) == [
        (old, Outcome.DROPPED, DropReason.NO_ANSWER), (new, Outcome.REMOTE, DropReason.NONE)
    ]
    assert table.answered(old) is None
    assert table.counters().late_answers == 1
    assert not table.published(old, Outcome.REMOTE)


def test_answer_overtakes_a_rescue_and_the_rescue_is_void() -> None:
    table = FrameTable()
    seq = sent(table)
    assert table.begin_rescue(seq) is not None
    assert table.answered(seq) is not None
    assert not table.computed(seq)
    assert table.published(seq, Outcome.REMOTE)


def test_a_rescue_that_fails_ends_no_frame_that_an_answer_has_overtaken() -> None:
    table = FrameTable()
    seq = sent(table)
    table.begin_rescue(seq)
    table.answered(seq)
    assert not table.rescue_failed(seq, DropReason.ERROR)
    assert table.answer_unreadable(seq, 5.0, 'garbage')  # then it ends it
    assert table.rescue_failed(seq, DropReason.ERROR)
    assert ends(table) == [(seq, Outcome.DROPPED, DropReason.ERROR)]


def test_a_rescue_that_was_overtaken_by_garbage_is_not_run_again() -> None:
    table = FrameTable()
    seq = sent(table)
    table.begin_rescue(seq)
    table.answered(seq)
    assert not table.computed(seq, ([], 7.0))
    assert table.answer_unreadable(seq, 5.0, 'garbage')
    frame = table.get(seq)
    assert frame is not None and frame.spare == ([], 7.0)
    assert table.to_rescue() is None
    assert table.answered(seq) is None  # it has its outputs
    assert table.published(seq, Outcome.RESCUED)


def test_rescue_overtakes_the_answer() -> None:
    table = FrameTable()
    seq = sent(table)
    table.begin_rescue(seq)
    assert table.computed(seq)
    assert table.answered(seq) is None and table.counters().late_answers == 1
    assert table.published(seq, Outcome.RESCUED)


def test_newest_unanswered_frame_is_rescued_unless_a_newer_one_has_its_outputs() -> None:
    table = FrameTable()
    first, second = sent(table), sent(table)
    assert table.to_rescue() is table.get(second)
    table.answered(second)
    assert table.to_rescue() is None
    table.drop(second, DropReason.ERROR)
    assert table.to_rescue() is table.get(first)


def test_unreadable_answer_makes_the_rescue_due() -> None:
    table = FrameTable()
    seq = sent(table)
    table.answered(seq)
    assert not table.answer_will_not_come(seq, 4.0, 'refused')
    assert table.answer_unreadable(seq, 5.0, 'unreadable')
    frame = table.to_rescue()
    assert frame is not None and (frame.rescue_at_s, frame.rescue_why) == (5.0, 'unreadable')
    assert not table.answer_unreadable(seq, 6.0, 'again')


@pytest.mark.parametrize('stage', list(Stage))
def test_late_refusal_makes_a_rescue_due_and_never_takes_one_back(stage: Stage) -> None:
    table = FrameTable()
    seq = entered(table)
    table.start(seq, 0.0)
    if stage is not Stage.RUNNING:
        table.sent(seq, INF, True)
    if stage in (Stage.RESCUING, Stage.FINISHING):
        table.begin_rescue(seq)
    if stage is Stage.FINISHING:
        table.computed(seq)
    if stage is Stage.RETURNED:
        table.answered(seq)
        assert table.returned(seq, [])
    if stage is Stage.WAITING:
        seq = entered(table)
    frame = table.get(seq)
    assert frame is not None and frame.stage is stage
    assert table.answer_will_not_come(seq, 4.0, 'too late') == (stage is Stage.SENT)
    assert not table.answer_unreadable(seq, 4.0, 'not an answer')
    assert frame.stage is stage
    assert frame.rescue_at_s == (4.0 if stage is Stage.SENT else INF)
    if stage is Stage.FINISHING:
        assert table.published(seq, Outcome.RESCUED)


def test_rescue_that_was_overtaken_by_an_unreadable_answer_is_used() -> None:
    table = FrameTable()
    seq = sent(table)
    table.begin_rescue(seq)
    table.answered(seq)
    assert table.answer_unreadable(seq, 5.0, 'unreadable')
    assert table.computed(seq) and table.to_rescue() is None
    assert not table.answer_unreadable(seq, 6.0, 'late news')
    assert table.published(seq, Outcome.RESCUED)


def test_tensors_are_let_go_when_a_frame_ends() -> None:
    table = FrameTable()
    frame = table.enter(1.0, 0.0, 0.0, 'token', lambda: None)  # type: ignore[arg-type]
    table.drop(frame.seq, DropReason.ERROR)
    assert frame.source is None and frame.kept is None and frame.token == 'token'


def test_shutdown_ends_everything() -> None:
    table = FrameTable()
    sent(table)
    entered(table)
    assert table.drop_all(DropReason.SHUTDOWN) == 2
    assert table.counters().in_flight == 0
    assert table.drop_all(DropReason.SHUTDOWN) == 0


def test_dropped_is_not_an_outcome_of_publishing() -> None:
    with pytest.raises(ValueError, match='not dropped'):
        FrameTable().published(1, Outcome.DROPPED)


class TableMachine(RuleBasedStateMachine):
    """Any call, in any order, for any frame."""

    frames = Bundle('frames')

    @initialize()
    def begin(self) -> None:
        self.table = FrameTable()
        self.stamp_s = 0.0
        self.clock = 0  # how often it was set back
        self.clock_of: dict[int, int] = {}
        self.ended: list[EndedFrame] = []
        self.answers: set[int] = set()  # whose outputs come from an answer
        self.published: list[tuple[int, float]] = []

    @rule(target=frames, step_s=st.sampled_from([0.1, 0.1, 0.0, -0.5, -50.0]))
    def enter(self, step_s: float) -> int:
        self.stamp_s += step_s
        self.clock += step_s <= -STAMP_RESET_S
        seq = self.table.enter(self.stamp_s, 0.0, 0.0).seq
        self.clock_of[seq] = self.clock
        return seq

    @rule(target=frames, how=st.sampled_from(['sent', 'answered', 'rescued']))
    def enter_and_go_far(self, how: str) -> int:
        """What chance alone reaches seldom: late stages."""
        seq = self.enter(0.1)
        self.start(seq)
        self.send(seq)
        if how == 'answered':
            self.answered(seq)
        elif how == 'rescued':
            self.rescue(seq)
            self.computed(seq)
        return seq

    @rule(target=frames)
    def reject(self) -> int:
        return self.table.reject(self.stamp_s, 0.0).seq

    @rule(seq=frames)
    def start(self, seq: int) -> None:
        waiting = self.table.waiting
        frame = self.table.start(seq, 0.0)
        assert (frame is not None) == (waiting is not None and waiting.seq == seq)

    @rule(seq=frames)
    def send(self, seq: int) -> None:
        self.table.sent(seq, 1.0, True)

    @rule(seq=frames)
    def answer_will_not_come(self, seq: int) -> None:
        frame = self.table.get(seq)
        before = frame.stage if frame is not None else None
        assert self.table.answer_will_not_come(seq, 0.0, 'why') == (before is Stage.SENT)
        assert frame is None or frame.stage is before

    @rule(seq=frames)
    def answer_unreadable(self, seq: int) -> None:
        frame = self.table.get(seq)
        before = frame.stage if frame is not None else None
        may = seq in self.answers and before is Stage.FINISHING
        assert self.table.answer_unreadable(seq, 0.0, 'why') == may
        assert frame is None or frame.stage is (Stage.SENT if may else before)
        self.answers.discard(seq)

    @rule(seq=frames)
    def superseded_at_server(self, seq: int) -> None:
        self.table.superseded_at_server(seq)

    @rule(seq=frames)
    def rescue(self, seq: int) -> None:
        self.table.begin_rescue(seq)

    @rule(seq=frames)
    def rescue_next(self, seq: int) -> None:
        frame = self.table.to_rescue()
        if frame is not None:
            assert frame.stage is Stage.SENT
            assert self.table.begin_rescue(frame.seq) is frame

    @rule(seq=frames)
    def computed(self, seq: int) -> None:
        self.table.computed(seq)

    @rule(seq=frames)
    def answered(self, seq: int) -> None:
        before = self.table.counters().late_answers
        frame = self.table.answered(seq)
        assert self.table.counters().late_answers == before + (frame is None)
        if frame is not None:
            self.answers.add(seq)

    @rule(seq=frames, outcome=st.sampled_from([Outcome.REMOTE, Outcome.LOCAL, Outcome.RESCUED]))
    def publish(self, seq: int, outcome: Outcome) -> None:
        frame = self.table.get(seq)
        may = self.table.publishable(seq)
        assert self.table.published(seq, outcome) == may
        if may and frame is not None:
            self.published.append((seq, frame.stamp_s))

    @rule(seq=frames, reason=st.sampled_from(list(DropReason)[1:]))
    def drop(self, seq: int, reason: DropReason) -> None:
        is_open = self.table.get(seq) is not None
        assert self.table.drop(seq, reason) == is_open

    @rule(seq=consumes(frames))
    def forget(self, seq: int) -> None:
        """Fewer names for the same table: older frames stay open."""

    @rule()
    def shut_down(self) -> None:
        self.table.drop_all(DropReason.SHUTDOWN)

    @invariant()
    def every_frame_ends_once_and_counters_add_up(self) -> None:
        self.ended += self.table.take_ended()
        seqs = [end.frame.seq for end in self.ended]
        assert len(seqs) == len(set(seqs))
        for end in self.ended[-3:]:
            assert (end.outcome is Outcome.DROPPED) == (end.reason is not DropReason.NONE)
        counts = self.table.counters()
        ended = counts.remote + counts.local + counts.rescued + counts.dropped
        assert ended == len(seqs)
        assert counts.entered == ended + counts.in_flight
        assert sum(counts.drop_reasons.values()) == counts.dropped
        assert counts.in_flight == self.table.started() + (self.table.waiting is not None)

    @invariant()
    def results_are_in_order(self) -> None:
        order = [seq for seq, _ in self.published]
        assert order == sorted(set(order))
        for one, two in zip(self.published, self.published[1:], strict=False):
            assert two[1] > one[1] or self.clock_of[two[0]] != self.clock_of[one[0]]


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_came_back_is_completed_oldest_first_and_only_once() -> None:
    table = FrameTable()
    seqs = []
    for _ in range(2):
        seq = entered(table)
        table.start(seq, 0.0)
        table.sent(seq, INF, True)
        seqs.append(seq)
    for seq in reversed(seqs):
        assert table.answered(seq) is not None and table.returned(seq, [])
        assert not table.returned(seq, [])
    assert table.to_rescue() is None
    for seq in seqs:
        frame = table.to_complete()
        assert frame is not None and frame.seq == seq
        assert table.begin_rest(seq) is frame and table.begin_rest(seq) is None
        assert table.published(seq, Outcome.REMOTE)
    assert table.to_complete() is None
    assert table.counters().remote == 2
