"""What the worker does next: one pure decision over what is open, due and expected.

Order of importance: the rest of a frame whose answer has come back; a rescue that is due (first,
where the rest would delay it); then
a plan switch that is ready (it costs nothing); then warming a slice for the next plan; then the
newest waiting frame. Nothing that would still run when a rescue falls due is started, so that
the worker is free when it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WARM_PATIENCE_S = 0.3  # how long a plan waits for an idle worker before frames give way
MIN_WAIT_S = 1e-3  # shortest wait for a sender that is about to be free: no spinning


class Job(Enum):
    """Kinds of work."""

    WAIT = 'wait'  # until `until_s`, or until something happens
    RESCUE = 'rescue'  # run the local tail of the newest unanswered frame
    REST = 'rest'  # run what is left of a frame whose answer has come back
    GIVE_UP = 'give up'  # drop it: its tail does not fit, and there is newer work
    COMMIT = 'commit'  # switch to the pending plan
    WARM = 'warm'  # run a slice of the pending plan once
    START = 'start'  # start the newest frame


@dataclass(frozen=True)
class Unanswered:
    """The newest frame without an answer. Instants on the steady clock [s]."""

    rescue_at_s: float
    fits: bool
    deadline_s: float
    tail_ms: float  # expected tail and publication, median; counts once the rescue is due


@dataclass(frozen=True)
class Situation:
    """All that the decision depends on.

    Attributes:
        now_s: Steady clock.
        unanswered: The frame that would be rescued.
        returned: A frame's answer has come back and its rest must run here.
        rest_ms: Pessimistic time of that rest.
        can_commit: A pending plan is warm.
        must_warm: A pending plan is not warm yet.
        warm_since_s: Since when it is pending.
        warm_ms: Pessimistic time of one warming run.
        waiting: A frame waits to be started.
        started: Frames that were started and have no outcome.
        window: How many may be.
        start_ms: Pessimistic time for which starting the frame would hold the worker.
        ready_ms: Expected time until the frame's first byte could be sent; 0 = runs locally.
        backlog_ms: Expected time until a frame would wait neither for the sender nor, once there,
            for the server.
    """

    now_s: float
    unanswered: Unanswered | None = None
    returned: bool = False
    rest_ms: float = 0.0
    can_commit: bool = False
    must_warm: bool = False
    warm_since_s: float = 0.0
    warm_ms: float = 0.0
    waiting: bool = False
    started: int = 0
    window: int = 2
    start_ms: float = 0.0
    ready_ms: float = 0.0
    backlog_ms: float = 0.0


@dataclass(frozen=True)
class Decision:
    """A job, or how long to wait for something to happen (``inf`` = until it does)."""

    job: Job
    until_s: float = float('inf')


def decide(situation: Situation) -> Decision:
    """Choose the worker's next job."""
    now_s = situation.now_s
    lost = situation.unanswered
    due_s = lost.rescue_at_s if lost is not None and lost.fits else float('inf')
    if situation.returned and now_s + situation.rest_ms * 1e-3 <= due_s:
        return Decision(Job.REST)
    if lost is not None and lost.rescue_at_s <= now_s:
        too_late = now_s + lost.tail_ms * 1e-3 > lost.deadline_s
        if too_late and situation.waiting:
            return Decision(Job.GIVE_UP)
        return Decision(Job.RESCUE)
    if situation.can_commit:
        return Decision(Job.COMMIT)
    rescue_at_s = lost.rescue_at_s if lost is not None else float('inf')
    # A frame that cannot be rescued in time is not worth keeping the worker free for.
    free_until_s = rescue_at_s if lost is not None and lost.fits else float('inf')
    if situation.must_warm:
        overdue = now_s - situation.warm_since_s >= WARM_PATIENCE_S
        fits = now_s + situation.warm_ms * 1e-3 <= free_until_s
        if fits and (overdue or not situation.waiting):
            return Decision(Job.WARM)
        if overdue:
            return Decision(Job.WAIT, rescue_at_s)  # what is in flight ends, nothing starts
        rescue_at_s = min(rescue_at_s, situation.warm_since_s + WARM_PATIENCE_S)
    if situation.returned or not situation.waiting or situation.started >= situation.window:
        return Decision(Job.WAIT, rescue_at_s)
    if now_s + situation.start_ms * 1e-3 > free_until_s:
        return Decision(Job.WAIT, rescue_at_s)
    # Just in time: a head that is done before sender and server are free only ages its frame.
    early_s = (situation.backlog_ms - situation.ready_ms) * 1e-3
    if situation.ready_ms > 0.0 and situation.started > 0 and early_s > 0.0:
        return Decision(Job.WAIT, min(rescue_at_s, now_s + max(early_s, MIN_WAIT_S)))
    return Decision(Job.START)
