"""Plans whose price is a prediction: tried on single frames, corrected, then chosen or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.exchange import TRIAL_PATIENCE_S
from dnn_offload.planning.plan import Candidate, Conditions, LinkState, ServerState
from dnn_offload.planning.search import ALL_SHAPES
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
    assert not is_predicted(replace(one, cut_index=4), replace(AT, servers=(there,)))


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
