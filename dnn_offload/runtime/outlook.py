"""What is to be expected: how long the next pieces of work take and when rescues are due."""

from __future__ import annotations

from dataclasses import replace

from dnn_offload.exchange import SCOUT_LABEL
from dnn_offload.runtime.frames import Frame, FramePlan, Span
from dnn_offload.runtime.plan_slot import FALLBACK_LABEL, PRIVATE_LABEL
from dnn_offload.runtime.scheduling import Situation, Unanswered
from dnn_offload.runtime.shared import FINISH, HANDOVER, PREPROCESS, Shared
from dnn_offload.runtime.timing import Key

COLD_FACTOR = 2.0  # a first run against a warm one
SCOUT_PATIENCE = 2.0  # periods after which a scout waits until nothing is in flight
# A tail that meets a burst of navigation takes longer than any before it. Rescuing this part of
# the deadline earlier costs the few answers that would have come in between.
MARGIN_OF_DEADLINE = 0.04


def run_key(span: Span) -> Key:
    """Key of a slice's run times."""
    return ('run', *span)


def encode_key(cut_index: int, codec: str) -> Key:
    """Key of an encoder's run times at a cut of the list."""
    return (f'encode {codec}', cut_index, 0)


def sending_key(plan: FramePlan) -> Key:
    """Key of the run times of a plan's encoder: what is sent, and how."""
    if plan.route is None:
        return encode_key(plan.cut_index, plan.codec)
    return (f'encode {plan.codec}', *plan.route.middle)


def beginning_key(plan: FramePlan) -> Key:
    """Key of the time until the first bytes of a plan's frames can be sent."""
    name, *what = sending_key(plan)
    return (f'begin to {name}', *what)


def pace_key(plan: FramePlan) -> Key:
    """What decides on the time that a server needs for a frame."""
    return plan.server, plan.plan_id, plan.epoch  # numbers begin at 1 again with another planner


def running_plan(shared: Shared, now_s: float) -> FramePlan:
    """The plan of a frame that starts now: the active one, or all local where it cannot be.

    That is where it sends what may not leave the robot, and where its server is lost. Now and
    then it is all local to see what that costs, or a plan that is tried, when nothing is in
    flight that the frame could overtake.
    """
    slot, plan = shared.slot, shared.slot.active
    if not slot.allows(plan):
        return slot.here(plan, PRIVATE_LABEL)
    if not plan.is_local and not shared.connected(plan.server):
        return slot.here(plan, FALLBACK_LABEL)
    if shared.table.started() == 0 and _scout_due(shared, plan, now_s, 1.0):
        return slot.here(plan, SCOUT_LABEL)
    trial = _trial(shared)
    return trial if trial is not None and shared.table.started() == 0 else plan


def _trial(shared: Shared) -> FramePlan | None:
    """The plan that is tried, if it can run now."""
    trial = shared.slot.trial
    return trial if trial is not None and shared.connected(trial.server) else None


def _scout_due(shared: Shared, plan: FramePlan, now_s: float, periods: float) -> bool:
    """Whether none ran for so many periods, and the waiting frame, run here, would be in time."""
    if plan.is_local or shared.scout_overdue(now_s) < periods:
        return False
    frame, deadline_ms = shared.table.waiting, shared.settings.deadline_ms
    if frame is None or deadline_ms <= 0.0:
        return True
    left_ms = deadline_ms - (now_s - frame.acquired_s) * 1e3
    after_ms = _after_ms(shared, now_s) + _margin_ms(shared)
    here_ms = start_ms(shared, shared.slot.here(plan, SCOUT_LABEL), now_s, 0.95)
    return here_ms + after_ms <= left_ms


def _after_ms(shared: Shared, now_s: float) -> float:
    """Pessimistic time from outputs to publication [ms]: two threads must be woken."""
    times = shared.times
    return times.expected_ms(FINISH, now_s, 0.95) + 2.0 * times.expected_ms(HANDOVER, now_s, 0.95)


def _margin_ms(shared: Shared) -> float:
    settings = shared.settings
    return max(settings.margin_ms, MARGIN_OF_DEADLINE * settings.deadline_ms)


def situation(shared: Shared, now_s: float) -> Situation:
    """What the worker's next decision depends on; the caller holds the lock.

    The worker wakes several times a frame: what its decision cannot depend on is not reckoned.
    """
    table, times = shared.table, shared.times
    shared.slot.end_old_trial(now_s)
    pending, lost = shared.slot.pending, table.to_rescue()
    unanswered = None
    if lost is not None and lost.plan is not None:
        tail_ms = 0.0
        if lost.rescue_at_s <= now_s:
            tail_ms = _rescue_ms(shared, lost, lost.plan, now_s, 0.5)
            tail_ms += times.expected_ms(FINISH, now_s)
        unanswered = Unanswered(lost.rescue_at_s, lost.rescue_fits, lost.deadline_s, tail_ms)
    returned = table.to_complete()
    span, since_s = shared.slot.next_to_warm() or (None, 0.0)
    warm_ms = 0.0
    if span is not None:
        known = span if times.knows(run_key(span)) else (0, shared.slot.last_cut)
        warm_ms = times.expected_ms(run_key(known), now_s, 0.95) * COLD_FACTOR
    found = Situation(
        now_s=now_s,
        unanswered=unanswered,
        returned=returned is not None,
        rest_ms=_rest_ms(shared, returned, now_s),
        can_commit=pending is not None and not pending.to_warm,
        must_warm=span is not None,
        warm_since_s=since_s,
        warm_ms=warm_ms,
    )
    return found if table.waiting is None else _with_waiting(shared, found)


def _with_waiting(shared: Shared, found: Situation) -> Situation:
    """The same with what matters only where a frame waits to be started."""
    now_s = found.now_s
    plan = running_plan(shared, now_s)
    # A frame that is to run alone waits till nothing is in flight.
    alone = _trial(shared) is not None or _scout_due(shared, plan, now_s, SCOUT_PATIENCE)
    return replace(
        found,
        waiting=True,
        started=shared.table.started(),
        window=1 if alone else shared.stages.window(shared.settings.window),
        start_ms=start_ms(shared, plan, now_s, 0.95),
        ready_ms=0.0 if plan.is_local else _ready_ms(shared, plan, now_s),
        backlog_ms=0.0 if plan.is_local else _backlog_ms(shared, plan, now_s),
    )


def _backlog_ms(shared: Shared, plan: FramePlan, now_s: float) -> float:
    """Expected time until both the sender and the server have nothing else to do [ms]."""
    in_flight = {frame.seq for frame in shared.table.unanswered()}
    free_ms = shared.pace.free_ms(pace_key(plan), in_flight, now_s)
    return max(shared.backlog_ms(now_s), free_ms)


def _rest_ms(shared: Shared, frame: Frame | None, now_s: float) -> float:
    """Pessimistic time of what a frame that came back still needs here [ms]."""
    if frame is None or frame.plan is None or frame.plan.rest is None:
        return 0.0
    return shared.times.expected_ms(run_key(frame.plan.rest), now_s, 0.95)


def start_ms(shared: Shared, plan: FramePlan, now_s: float, q: float) -> float:
    """Expected time for which a frame under ``plan`` holds the worker [ms]."""
    times = shared.times
    total = times.expected_ms(PREPROCESS, now_s, q)
    if plan.head[0] != plan.head[1]:
        total += times.expected_ms(run_key(plan.head), now_s, q)
    if not plan.is_local:
        total += times.expected_ms(sending_key(plan), now_s, q)
    return total


def _ready_ms(shared: Shared, plan: FramePlan, now_s: float) -> float:
    """Expected time until the first bytes of a frame that starts now can be sent [ms]."""
    times, whole_ms = shared.times, start_ms(shared, plan, now_s, 0.5)
    if not times.knows(beginning_key(plan)):
        return whole_ms
    behind_ms = times.expected_ms(sending_key(plan), now_s)
    behind_ms -= times.expected_ms(beginning_key(plan), now_s)
    return whole_ms - max(behind_ms, 0.0)


def rescue_time(
    shared: Shared, frame: Frame, plan: FramePlan, now_s: float
) -> tuple[float, bool]:
    """When a frame's rescue is due [s], and whether it is then in time.

    A picture that is older than its deadline when it enters (a recording) cannot meet it;
    its rescue counts from its entry. Where the tail does not fit, the server gets the
    deadline, or as long as the tail would take: bounded, and never a stalled stream.
    """
    settings = shared.settings
    if settings.deadline_ms <= 0.0:
        return frame.entered_s + settings.no_answer_timeout_ms * 1e-3, True
    deadline = settings.deadline_ms * 1e-3
    fresh = frame.entered_s - frame.acquired_s < deadline
    frame.deadline_s = (frame.acquired_s if fresh else frame.entered_s) + deadline
    tail_ms = _rescue_ms(shared, frame, plan, now_s, 0.95)
    latest_s = frame.deadline_s - 1e-3 * (tail_ms + _after_ms(shared, now_s))
    if latest_s >= now_s:
        return max(latest_s - 1e-3 * _margin_ms(shared), now_s), True
    typical_ms = _rescue_ms(shared, frame, plan, now_s, 0.5)
    return max(frame.deadline_s, now_s + typical_ms * 1e-3), False


def _rescue_ms(shared: Shared, frame: Frame, plan: FramePlan, now_s: float, q: float) -> float:
    """What finishing a frame here takes [ms]; one whose JPEG passed must be decoded first."""
    times = shared.times
    decode_ms = times.expected_ms(PREPROCESS, now_s, q) if frame.passed else 0.0
    return decode_ms + times.expected_ms(run_key(plan.tail), now_s, q)
