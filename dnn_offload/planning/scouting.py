"""Single frames that run where the others do not, to learn what that costs. Pure.

What a plan costs that does not run is read from probes, which err by 10 to 25 %; where two plans
are close, that decides wrongly. A scout is one real frame, run all on the robot under a plan that
offloads. It has a result, it is private, it needs no warming, and it tells the price exactly. It
costs processor time, and where frames overlap, a picture that comes meanwhile may be superseded.
So scouts are rare, and there are none where all-local is far from being worth it.

The other way round, what a frame takes on the way to a server beside its stages is an assumption
before frames have gone there, of several milliseconds. It must be on the safe side, so it can keep
a robot from a server that would be faster by less; and when load comes, there is no time to learn
it. So a few frames visit each server once, as soon as it would be worth it under load.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
import math

from dnn_offload.planning.plan import Candidate, Key
from dnn_offload.planning.session_data import FrameEvidence
from dnn_offload.planning.switch import Decision
from dnn_offload.planning.trials import Trials

LATER_SHARE = 0.01        # of the time: by so much may results come later for scouts
WORK_SHARE = 0.05         # of the time: for so long may scouts hold the robot's worker
SHORTEST_PERIOD_S = 0.8   # so that scouts alone are never taken for a stream (edge_load.py)
LONGEST_PERIOD_S = 10.0   # rarer ones say nothing about now (edge_load.SCOUTS_WITHIN_S): none then
# Times the latency of what runs, at most: navigation's load makes three times of it in a moment.
WORTH_A_VISIT = 3.0
VISIT_AGAIN_S = 60.0      # where a visit has not told enough: no stream, or no answers
LONGEST_PAUSE_S = 960.0   # between such visits, each pause twice the one before
STREAM_S = 1.0            # without a frame for so long there is none that could visit
DEADLINE_SHARE = 0.7      # of the deadline; the engine looks at each frame again


def scout_period_s(chosen: Candidate, local_ms: float, deadline_ms: float) -> float:
    """Time between scouts [s]; 0 = none.

    Args:
        chosen: The plan that runs.
        local_ms: Price of running all on the robot now [ms].
        deadline_ms: Deadline of a frame; 0 = none.
    """
    if chosen.is_local or 0.0 < DEADLINE_SHARE * deadline_ms <= local_ms:
        return 0.0
    later_s = max(local_ms - chosen.latency_ms, 0.0) * 1e-3
    period_s = max(later_s / LATER_SHARE, local_ms * 1e-3 / WORK_SHARE, SHORTEST_PERIOD_S)
    return period_s if period_s <= LONGEST_PERIOD_S else 0.0


class Visits:
    """When single frames visit a server that none has been to; clocks are passed in."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[float, float]] = {}  # the last one, and the pause behind it

    def interrupted(self, server: str) -> None:
        """Another plan has ended a visit, or no picture came: it may be made again at once."""
        self._made.pop(server, None)

    def forget_servers(self, known: Collection[str]) -> None:
        """Keep those that are still known."""
        self._made = {server: made for server, made in self._made.items() if server in known}

    def due(
        self,
        chosen: Candidate,
        ranked: Sequence[Candidate],
        strangers: Collection[str],
        now_s: float,
    ) -> Candidate | None:
        """The plan under which a few frames are to run now; None = none.

        Args:
            chosen: The plan that runs.
            ranked: All candidates, best first.
            strangers: Servers that can be planned with, of which no frame has told the overhead.
            now_s: Monotonic clock [s].
        """
        limit_ms = WORTH_A_VISIT * chosen.latency_ms
        for plan in ranked:
            last_s, pause_s = self._made.get(plan.server, (-math.inf, 0.5 * VISIT_AGAIN_S))
            if (
                plan.server in strangers
                and plan.server != chosen.server
                and plan.latency_ms <= limit_ms
                and not plan.return_id  # its overhead is another
                and not plan.threads   # a frame under another thread count changes it for all
                and now_s - last_s >= pause_s
            ):
                self._made[plan.server] = now_s, min(2.0 * pause_s, LONGEST_PAUSE_S)
                return plan
        return None


class SingleFrames:
    """Trials and visits of one planner, one at a time; clocks are passed in, not thread-safe.

    Attributes:
        trials: What is known of plans whose prices are predictions, and the plan that single
            frames run under now, on a visit, too.
        reason: Why they run under it, in words.
    """

    def __init__(self) -> None:
        self.trials = Trials()
        self.reason = ''
        self._visits = Visits()
        self._framed_s = -math.inf  # the last frame, under whatever plan

    @property
    def wanted(self) -> frozenset[Key]:
        """Plans that must be among the candidates of a tick wherever they rank."""
        trial = self.trials.trial
        return frozenset([trial.key] if trial is not None else [])

    def frame(self, frame: FrameEvidence, now_s: float) -> bool:
        """Take a frame; whether it was one of these."""
        self._framed_s = now_s
        return self.trials.frame(frame, now_s)

    def settle(self, now_s: float) -> None:
        """End what has told enough, or will tell no more."""
        ended = self.trials.settle(now_s)
        if ended is not None and self._framed_s < self.trials.began_s:  # the camera has paused
            self._visits.interrupted(ended.server)

    def forget_servers(self, known: Collection[str]) -> None:
        """Keep what is known of servers that are still known."""
        self._visits.forget_servers(known)

    def drop(self) -> None:
        """Another plan goes out, or other plans are demanded: what was begun ends untold."""
        trial = self.trials.trial
        if trial is not None:
            self._visits.interrupted(trial.server)
        self.trials.drop()

    def reset(self) -> None:
        """Forget what was learnt: a profile is another one."""
        self.drop()
        self.trials.reset()

    def due(
        self,
        decision: Decision,
        ranked: Sequence[Candidate],
        strangers: Collection[str],
        now_s: float,
    ) -> Candidate | None:
        """The plan that single frames are to run under from now on; None = no other.

        Args:
            decision: Of this tick; the trial that it asks for goes first.
            ranked: All candidates, best first.
            strangers: See ``Visits.due``. None is visited while no pictures come: that would
                end before its first frame.
            now_s: Monotonic clock [s].
        """
        if self.trials.trial is not None:
            return None
        if decision.trial is not None:
            self.reason = decision.reason
            return decision.trial
        if now_s - self._framed_s > STREAM_S:
            return None
        plan = self._visits.due(decision.candidate, ranked, strangers, now_s)
        if plan is not None:
            self.reason = 'visit: no frame has been to this server'
        return plan
