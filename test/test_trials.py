"""Plans whose price is a prediction: tried on single frames, corrected, then chosen or not."""

from __future__ import annotations

from dataclasses import replace
import math

import pytest

from dnn_offload.exchange import TRIAL_PATIENCE_S
from dnn_offload.planning.costs import with_lateness
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import ALL_SHAPES
from dnn_offload.planning.search import plan as plans_of
from dnn_offload.planning.session import (
    FrameEvidence,
    PlannerSession,
    PlannerSettings,
    PlanningOutcome,
)
from dnn_offload.planning.switch import SwitchPolicy
from dnn_offload.planning.trials import FORGET_S, is_predicted, Trials
from dnn_offload.simulate.made_up import made_up_profile
from test_session_shapes import profiles, run

EDGE = made_up_profile(cuts=12, whole_ms=40.0)
SERVER = ServerState('s', EDGE, LinkState(1.0, 100e6, 1.0, 100e6, 1.0))
AT = Conditions(EDGE, servers=(SERVER,))
TWO = Candidate(
    3, EDGE.cuts[3].cut_id, 'x', 'raw', 's', head_ms=10.0, uplink_ms=2.0, tail_ms=4.0,
    rest_ms=6.0, return_id=EDGE.cuts[9].cut_id, return_index=9, return_codec='raw',
)
LOCAL = Candidate(12, '', 'all on the robot', '', '', head_ms=30.0)


def _frame(plan_id: int, **values: object) -> FrameEvidence:
    made = {
        'plan_id': plan_id, 'cut': TWO.cut_id, 'server': 's', 'finished': True, 'answered': True,
        'unanswered': False, 'head_ms': 14.0, 'head_cpu_ms': 10.0, 'latency_ms': 40.0,
        'tail_ms': 5.0, 'rest_ms': 6.0,
    }  # fmt: skip
    return FrameEvidence(**{**made, **values})  # type: ignore[arg-type]


def test_what_rests_on_measured_pieces_is_no_prediction() -> None:
    cut = EDGE.cuts[3]
    one = Candidate(3, cut.cut_id, cut.label, 'raw', 's')
    assert not is_predicted(LOCAL, AT) and not is_predicted(one, AT)
    assert is_predicted(TWO, AT)
    assert is_predicted(replace(TWO, return_id='', frontier=('a', 'b')), AT)
    cuts = tuple(replace(c, measured=c.index != 3) for c in EDGE.cuts)
    there = replace(SERVER, profile=replace(EDGE, cuts=cuts))
    assert is_predicted(one, replace(AT, servers=(there,)))
    other = replace(one, cut_index=4, cut_id=EDGE.cuts[4].cut_id)
    assert not is_predicted(other, replace(AT, servers=(there,)))
    # A server of another version knows fewer cuts; where they stand says nothing.
    few = tuple(replace(c, index=n) for n, c in enumerate((cuts[0], cuts[3], cuts[5], cuts[-1])))
    other = replace(one, cut_index=5, cut_id=EDGE.cuts[5].cut_id)
    for plan, predicted in ((one, True), (other, False)):
        there = replace(SERVER, profile=replace(EDGE, cuts=few))
        assert is_predicted(plan, replace(AT, servers=(there,))) is predicted


def test_pieces_are_corrected_by_what_frames_took() -> None:
    trials = Trials()
    assert trials.untried(TWO, AT, 0.0)
    trials.begin(TWO, 7, 0.0)
    assert trials.corrected([TWO]) == [TWO]
    assert not trials.frame(_frame(6), 0.1)  # of the plan in force
    for number in range(4):
        assert trials.trial_id == 7
        assert trials.frame(_frame(7, head_ms=60.0 if number == 0 else 14.0), 0.2)  # cold
        trials.settle(0.2)
    assert trials.trial is None and not trials.untried(TWO, AT, 0.3)
    other = replace(TWO, codec='fp16', uplink_ms=1.0)  # the same pieces
    for plan in trials.corrected([TWO, other]):
        assert (plan.head_ms, plan.tail_ms, plan.rest_ms) == (14.0, 5.0, 6.0)
    assert trials.corrected([LOCAL]) == [LOCAL]
    # While it runs, its own frames go on telling; the machine may have changed.
    for _ in range(9):
        trials.corrected([TWO])
        trials.ran(TWO, _frame(8, head_ms=10.0, tail_ms=4.0), 10.0)
    assert trials.corrected([TWO])[0].head_ms == 10.0
    for _ in range(9):  # no piece is so far off: the load was
        trials.corrected([TWO])
        trials.ran(TWO, _frame(8, head_ms=90.0), 10.0)
    assert trials.corrected([TWO])[0].head_ms == 15.0
    assert trials.untried(TWO, AT, 10.0 + FORGET_S + 1.0)
    trials.reset()
    assert trials.untried(TWO, AT, 10.0)


def test_frames_are_set_against_the_price_of_the_very_plan_that_ran() -> None:
    trials = Trials()
    # The codec of what comes back is a part of the server's piece and of the rest.
    packed = replace(TWO, return_codec='int8_zstd', tail_ms=8.0, rest_ms=9.0)
    trials.begin(TWO, 7, 0.0)
    trials.corrected([packed, TWO])
    for _ in range(4):
        trials.frame(_frame(7, head_ms=10.0, tail_ms=4.0, rest_ms=6.0), 0.2)  # as predicted
    trials.settle(0.2)
    assert trials.corrected([packed, TWO]) == [packed, TWO]
    # Another thread count is another piece: nothing was learnt of it, and it teaches nothing.
    two_threads = replace(TWO, threads=2, head_ms=6.0, rest_ms=4.0)
    for _ in range(9):
        trials.corrected([TWO, two_threads])
        trials.ran(two_threads, _frame(8, head_ms=6.0, tail_ms=4.0, rest_ms=4.0), 1.0)
    assert trials.corrected([TWO, two_threads]) == [TWO, two_threads]


def test_a_corrected_plan_is_late_by_its_corrected_times() -> None:
    edge, server = profiles(4_000)
    there = ServerState('s', server, LinkState(1.0, 40e6, 1.0, 40e6, 1.0))
    at = Conditions(edge, servers=(there,))
    limits = Constraints(deadline_ms=600.0, shapes=ALL_SHAPES)
    priced = plans_of('auto', at, limits)
    for plan in priced:  # of all shapes: lateness follows from what a plan tells of itself
        if not plan.is_local:
            again = with_lateness(replace(plan, late_ms=math.nan), limits.deadline_ms)
            assert again.late_ms == pytest.approx(plan.late_ms)
    assert {bool(plan.return_id) for plan in priced} == {False, True}
    tried = next(plan for plan in priced if plan.frontier)
    assert tried.late_ms < 1.0
    trials = Trials()
    trials.begin(tried, 7, 0.0)
    for _ in range(4):
        trials.frame(_frame(7, tail_ms=1.5 * tried.tail_ms, head_ms=1.5 * tried.head_ms), 0.1)
    # A deadline that it would just have kept: the robot has to finish frames of it now.
    short = replace(limits, deadline_ms=tried.latency_ms + tried.rescue_ms + 8.0)
    before = next(plan for plan in plans_of('auto', at, short) if plan.key == tried.key)
    after = plans_of('auto', at, short, trials.corrected)
    found = next(plan for plan in after if plan.key == tried.key)
    assert found.tail_ms == pytest.approx(1.5 * tried.tail_ms)
    assert found.late_ms == pytest.approx(with_lateness(found, short.deadline_ms).late_ms)
    assert found.late_ms > before.late_ms + 20.0
    assert all(math.isfinite(plan.cost) for plan in after)


def test_a_trial_without_frames_ends_and_the_plan_stays_as_priced() -> None:
    trials = Trials()
    trials.begin(TWO, 7, 0.0)
    trials.settle(0.9 * TRIAL_PATIENCE_S)
    assert trials.trial is not None
    trials.frame(_frame(7, answered=False, unanswered=True, tail_ms=90.0), 1.0)  # rescued
    trials.settle(TRIAL_PATIENCE_S)
    assert trials.trial is None and not trials.untried(TWO, AT, TRIAL_PATIENCE_S)
    assert trials.corrected([TWO]) == [TWO]


def test_what_torch_ran_in_place_of_a_compiled_piece_teaches_nothing() -> None:
    trials = Trials()
    trials.begin(TWO, 7, 0.0)
    trials.corrected([TWO])
    for _ in range(9):
        assert trials.frame(_frame(7, head_ms=15.0, tail_ms=6.0, stood_in=True), 0.2)
        trials.settle(0.2)
    assert trials.trial is TWO  # not judged yet
    for _ in range(4):
        trials.frame(_frame(7, head_ms=10.0, tail_ms=4.0), 0.9)
    trials.settle(0.9)
    assert trials.trial is None and trials.corrected([TWO]) == [TWO]
    for _ in range(9):
        trials.corrected([TWO])
        trials.ran(TWO, _frame(8, head_ms=15.0, stood_in=True), 2.0)
    assert trials.corrected([TWO]) == [TWO]


def test_the_policy_does_not_switch_to_what_was_not_tried() -> None:
    policy = SwitchPolicy(2.0, 0.1, 2)
    tried: set[object] = set()

    def decide(now_s: float, *plans: Candidate):  # type: ignore[no-untyped-def]
        ranked = sorted(plans, key=lambda plan: plan.cost)
        return policy.decide(ranked, now_s, untried=lambda plan: plan.key not in tried)

    tried.add(LOCAL.key)
    first = decide(0.0, LOCAL, TWO)
    assert (first.candidate, first.switched, first.trial) == (LOCAL, True, TWO)
    again = decide(0.2, LOCAL, TWO)
    assert (again.candidate, again.switched, again.trial) == (LOCAL, False, TWO)
    tried.add(TWO.key)
    chosen = decide(0.4, LOCAL, TWO)  # a first plan needs no gain that lasts
    assert (chosen.candidate, chosen.switched, chosen.trial) == (TWO, True, None)
    # Meanwhile the stream stays where it is, however close others are.
    policy.reset()
    tried.discard(TWO.key)
    near = replace(LOCAL, threads=2, head_ms=29.9)
    tried.add(near.key)
    decide(0.6, replace(LOCAL, head_ms=29.8), near, TWO)
    waits = decide(0.8, LOCAL, near, TWO)
    assert (waits.candidate, waits.switched, waits.trial) == (LOCAL, False, TWO)
    gone = decide(1.0, LOCAL, near)  # the server, and what was tried with it
    assert (gone.candidate, gone.switched, gone.trial) == (near, True, None)
    # In a running stream: only after the gain has lasted, and not if the trial says otherwise.
    policy.reset()
    dear = replace(TWO, tail_ms=90.0)
    decide(1.0, LOCAL, dear)
    tried.discard(TWO.key)
    assert decide(1.2, LOCAL, TWO).trial is None
    assert [decide(1.4 + 0.2 * n, LOCAL, TWO).trial for n in range(3)][-1] == TWO
    tried.add(TWO.key)
    kept = decide(2.4, LOCAL, replace(TWO, head_ms=16.0))
    assert (kept.candidate.key, kept.switched) == (LOCAL.key, False)
    for n in range(3):
        went = decide(2.6 + 0.2 * n, LOCAL, TWO)
    assert went.candidate == TWO
    # Where the plan cannot go on there is no time for trials.
    tried.discard(TWO.key)
    one = replace(TWO, return_id='', return_index=-1, server='other')
    lost = policy.decide(
        [one, LOCAL], 9.0, ['s'], untried=lambda plan: plan.key not in tried
    )
    assert (lost.candidate, lost.urgent, lost.trial) == (LOCAL, True, None)


def test_the_stream_does_not_wait_for_a_chain_of_trials() -> None:
    policy = SwitchPolicy(2.0, 0.1, 2)
    tried: set[object] = {LOCAL.key}

    def decide(now_s: float, *plans: Candidate):  # type: ignore[no-untyped-def]
        ranked = sorted(plans, key=lambda plan: plan.cost)
        return policy.decide(ranked, now_s, untried=lambda plan: plan.key not in tried)

    here = replace(LOCAL, head_ms=90.0)
    plans = [replace(TWO, cut_id=f'c{n}', head_ms=10.0 + n) for n in range(5)]
    decide(0.0, here)
    for number in range(3):
        first = decide(0.2 + 0.2 * number, here, *plans)
    assert (first.candidate, first.trial) == (here, plans[0])
    assert decide(0.8, here, *plans[1:], plans[0]).trial == plans[0]
    # It is dearer than was predicted, and the next ones look better; but it is good enough.
    tried.add(plans[0].key)
    dearer = replace(plans[0], head_ms=15.0)
    taken = decide(1.0, here, dearer, *plans[1:])
    assert (taken.candidate, taken.switched, taken.trial) == (dearer, True, None)
    # From there on only what gains enough is tried.
    for number in range(10):
        kept = decide(1.2 + 0.2 * number, here, dearer, *plans[1:])
        assert kept.candidate == dearer
    assert kept.trial == plans[1]
    # Where it gains too little the others have their turn.
    policy = SwitchPolicy(2.0, 0.1, 2)
    tried -= {plans[0].key}
    decide(3.0, here)
    for number in range(3):
        decide(3.2 + 0.2 * number, here, *plans)
    tried.add(plans[0].key)
    poor = decide(3.8, here, replace(plans[0], head_ms=72.0), *plans[1:])
    assert (poor.candidate, poor.switched, poor.trial) == (here, False, plans[1])


@pytest.mark.parametrize('times', [1.0, 1.4])
def test_a_session_tries_a_placement_before_it_runs(times: float) -> None:
    session = PlannerSession(PlannerSettings(shapes=ALL_SHAPES))
    edge, server = profiles(4_000)
    session.feed_edge_profile(edge)
    session.feed_server_profile('desk', server)
    ran: list[Candidate] = []
    tried: list[Candidate] = []

    def look(outcome: PlanningOutcome, at_s: float) -> None:
        ran.append(outcome.decision.candidate)
        _answer(session, outcome, at_s, times, tried)
        if outcome.trial is not None:
            assert outcome.trial_id not in (0, outcome.plan_id)

    now_s, _ = run(session, 100.0, look)
    first = next(plan for plan in tried if plan.frontier == ('a', 'b'))
    assert all(plan.key != first.key for plan in ran[:2])  # four answers take two ticks
    assert ran[-1].key == first.key
    assert ran[-1].tail_ms == pytest.approx(times * first.tail_ms, rel=0.01)


def test_the_running_plan_tells_its_price_anew_when_a_profile_has_come_again() -> None:
    session = PlannerSession(PlannerSettings(shapes=ALL_SHAPES))
    edge, server = profiles(4_000)
    session.feed_edge_profile(edge)
    session.feed_server_profile('desk', server)
    now_s, before = run(session, 100.0)
    plan = before.decision.candidate
    assert plan.frontier == ('a', 'b')
    session.feed_server_profile('desk', server)  # the server has been restarted

    def look(outcome: PlanningOutcome, at_s: float) -> None:
        running = outcome.decision.candidate
        if running.key == plan.key:
            session.feed_frame(
                _frame(
                    outcome.plan_id, cut=plan.cut_id, server='desk', head_ms=plan.head_ms,
                    tail_ms=1.2 * plan.tail_ms,
                ),
                at_s,
            )

    _, after = run(session, now_s, look)
    assert after.decision.candidate.key == plan.key
    assert after.decision.candidate.tail_ms == pytest.approx(1.2 * plan.tail_ms, rel=0.01)


def test_other_demands_end_a_trial() -> None:
    session = PlannerSession(PlannerSettings(shapes=ALL_SHAPES))
    edge, server = profiles(4_000)
    session.feed_edge_profile(edge)
    session.feed_server_profile('desk', server)
    seen: list[tuple[int, int]] = []

    def look(outcome: PlanningOutcome, at_s: float) -> None:
        seen.append((outcome.trial_id, outcome.plan_id))
        if len(seen) == 1:
            assert outcome.trial is not None
            session.set_settings(PlannerSettings(shapes=ALL_SHAPES, servers=('other',)))

    run(session, 100.0, look)
    assert seen[1][0] == 0
    # The plan that goes out is newer than the trial, which tells the robot to end it.
    assert seen[1][1] > seen[0][0] > seen[0][1]


def _answer(
    session: PlannerSession, outcome: PlanningOutcome, now_s: float, times: float,
    tried: list[Candidate],
) -> None:
    """Two frames per tick of the trial, whose server part takes longer than was predicted."""
    plan = outcome.trial
    if plan is None:
        return
    tried.append(plan)
    for _ in range(2):
        session.feed_frame(
            _frame(
                outcome.trial_id, cut=plan.cut_id, server='desk', head_ms=plan.head_ms,
                tail_ms=times * plan.tail_ms, rest_ms=plan.rest_ms, return_cut=plan.return_id,
            ),
            now_s,
        )
