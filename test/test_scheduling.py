"""The worker's decision, case by case: rescues first, nothing that would delay them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dnn_offload.runtime.scheduling import (
    decide,
    Decision,
    Job,
    Situation,
    Unanswered,
    WARM_PATIENCE_S,
)

NOW_S = 100.0
LATER = Unanswered(rescue_at_s=100.05, fits=True, deadline_s=100.1, tail_ms=40.0)
DUE = replace(LATER, rescue_at_s=99.99)
TOO_LATE = replace(DUE, deadline_s=100.02)
IDLE = Situation(NOW_S)
WAITING = replace(IDLE, waiting=True, start_ms=10.0)


def job(situation: Situation) -> Job:
    return decide(situation).job


def test_nothing_to_do_waits_for_whatever_happens() -> None:
    assert decide(IDLE).job is Job.WAIT and decide(IDLE).until_s == float('inf')


def test_due_rescue_goes_before_everything() -> None:
    busy = replace(WAITING, unanswered=DUE, can_commit=True, must_warm=True)
    assert job(busy) is Job.RESCUE


def test_rescue_that_is_too_late_gives_way_to_newer_work_only() -> None:
    assert job(replace(WAITING, unanswered=TOO_LATE)) is Job.GIVE_UP
    assert job(replace(IDLE, unanswered=TOO_LATE)) is Job.RESCUE


def test_ready_plan_is_taken_before_the_next_frame() -> None:
    assert job(replace(WAITING, can_commit=True)) is Job.COMMIT


def test_window_bounds_what_is_started() -> None:
    assert job(replace(WAITING, started=1)) is Job.START
    assert job(replace(WAITING, started=2)) is Job.WAIT


def test_nothing_is_started_that_would_run_into_a_rescue() -> None:
    assert job(replace(WAITING, unanswered=LATER, started=1)) is Job.START
    decision = decide(replace(WAITING, unanswered=LATER, started=1, start_ms=60.0))
    assert (decision.job, decision.until_s) == (Job.WAIT, LATER.rescue_at_s)


def test_worker_is_not_kept_free_for_a_rescue_that_cannot_be_in_time() -> None:
    hopeless = replace(LATER, fits=False)
    assert job(replace(WAITING, unanswered=hopeless, started=1, start_ms=60.0)) is Job.START


def test_head_is_started_just_in_time_for_the_sender() -> None:
    sending = replace(WAITING, started=1, ready_ms=10.0, backlog_ms=30.0)
    decision = decide(sending)
    assert decision.job is Job.WAIT and abs(decision.until_s - NOW_S - 0.020) < 1e-9
    assert job(replace(sending, backlog_ms=9.0)) is Job.START
    assert job(replace(sending, started=0)) is Job.START  # a backlog that nobody waits for
    assert job(replace(sending, ready_ms=0.0)) is Job.START  # runs locally


def test_warming_waits_for_an_idle_worker_but_not_for_ever() -> None:
    fresh = replace(WAITING, must_warm=True, warm_since_s=NOW_S, warm_ms=20.0)
    assert job(replace(fresh, waiting=False)) is Job.WARM
    assert job(fresh) is Job.START
    old = replace(fresh, warm_since_s=NOW_S - 2 * WARM_PATIENCE_S)
    assert job(old) is Job.WARM
    blocked = decide(replace(old, warm_ms=80.0, unanswered=LATER, started=1))
    assert (blocked.job, blocked.until_s) == (Job.WAIT, LATER.rescue_at_s)


times_ms = st.floats(0.0, 200.0)
situations = st.builds(
    Situation,
    now_s=st.just(NOW_S),
    unanswered=st.none() | st.builds(
        Unanswered, rescue_at_s=st.floats(99.9, 100.2), fits=st.booleans(),
        deadline_s=st.floats(99.9, 100.3), tail_ms=times_ms,
    ),
    can_commit=st.booleans(), must_warm=st.booleans(), warm_since_s=st.floats(99.0, 100.0),
    warm_ms=times_ms, waiting=st.booleans(), started=st.integers(0, 3),
    window=st.integers(1, 3), start_ms=times_ms, ready_ms=times_ms, backlog_ms=times_ms,
)


@given(situations)
def test_rescues_are_never_missed_and_waiting_never_spins(situation: Situation) -> None:
    decision = decide(situation)
    lost = situation.unanswered
    if lost is not None and lost.rescue_at_s <= NOW_S:
        assert decision.job in (Job.RESCUE, Job.GIVE_UP)
        return
    assert decision.job not in (Job.RESCUE, Job.GIVE_UP)
    if decision.job is Job.WAIT:
        assert decision.until_s > NOW_S
        assert lost is None or decision.until_s <= lost.rescue_at_s
    if decision.job in (Job.START, Job.WARM) and lost is not None and lost.fits:
        took_ms = situation.start_ms if decision.job is Job.START else situation.warm_ms
        assert NOW_S + took_ms * 1e-3 <= lost.rescue_at_s
    if decision.job is Job.START:
        assert situation.waiting and situation.started < situation.window


def test_a_rest_runs_at_once_unless_a_rescue_would_wait_for_it() -> None:
    lost = Unanswered(rescue_at_s=10.0, fits=True, deadline_s=10.1, tail_ms=20.0)
    back = Situation(now_s=9.9, unanswered=lost, returned=True, rest_ms=60.0, waiting=True)
    assert decide(back).job is Job.REST
    late = replace(back, now_s=9.97)
    assert decide(late) == Decision(Job.WAIT, 10.0)
    assert decide(replace(back, now_s=10.0)).job is Job.RESCUE
    hopeless = replace(lost, fits=False)
    assert decide(replace(late, unanswered=hopeless)).job is Job.REST
    assert decide(replace(late, unanswered=None)).job is Job.REST
