"""One planner's life: facts come in, plans come out. Pure, clocks are passed in.

``nodes/partition_planner_node.py`` turns messages into the calls of ``PlannerSession`` and
its ``PlanningOutcome`` into a message; everything that is decided is decided here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
import math
import statistics
import time

from dnn_offload.cost.energy import UNKNOWN_HINT
from dnn_offload.cost.link import LinkEvidence, sane_limit
from dnn_offload.cost.load import LoadReadings
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import PlanningError
from dnn_offload.planning import search
from dnn_offload.planning.costs import (
    expected_wait_ms,
    load_behind,
    sane_load,
)
from dnn_offload.planning.demands import changed, is_legal, unmeasured_threads
from dnn_offload.planning.edge_load import EdgeLoad, says_load
from dnn_offload.planning.frame_period import FramePeriod
from dnn_offload.planning.limits import forbidden_ends
from dnn_offload.planning.objective import LATENCY_OBJECTIVE, Objective
from dnn_offload.planning.overheads import as_priced, ON_ROBOT, Overheads, place_of, RETURN
from dnn_offload.planning.pareto import pareto_set
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    ServerState,
)
from dnn_offload.planning.published_plans import PublishedPlans
from dnn_offload.planning.scouting import scout_period_s, SingleFrames
from dnn_offload.planning.server_book import ServerBook, ServerReport, Survey
from dnn_offload.planning.session_data import (
    FrameEvidence,
    PlannerSettings,
    PlanningOutcome,
    WANTED,
)
from dnn_offload.planning.standstill import Standstill
from dnn_offload.planning.switch import SwitchPolicy
from dnn_offload.planning.trials import is_predicted
from dnn_offload.planning.uptake import Uptake

__all__ = ['FrameEvidence', 'PlannerSession', 'PlannerSettings', 'PlanningOutcome', 'WANTED']

MEASURED_FRAMES = 30       # frames behind `measured_ms`
MAX_UNANSWERED = 5         # frames in a row without an answer: the server is left


class PlannerSession:
    """Facts in, decisions out; not thread-safe.

    The ``feed_*`` methods return True when the plan that runs now cannot go on, so that the
    caller ticks at once instead of at its next period.

    Attributes:
        stepped: The load or a link is known to be another since the last tick: the caller need
            not wait for its next period either.
    """

    def __init__(self, settings: PlannerSettings | None = None) -> None:
        self._settings = settings or PlannerSettings()
        self._policy = self._make_policy()
        self._servers = ServerBook(self._settings.link_defaults)
        self._edge_profile: Profile | None = None
        self._edge_load = EdgeLoad()
        self._overheads = Overheads()
        self._frame_period = FramePeriod()
        self._max_uplink_bps = 0.0
        self._limit_told = False  # by a frame report
        self._deadline_ms = 0.0
        self._published = PublishedPlans()
        self._repriced = False  # the plan in force has been priced with the profile of now
        self._cause = ''
        self._switch = ('', False, math.nan)  # reason, urgent, previous_ms
        self._latencies_ms: deque[float] = deque(maxlen=MEASURED_FRAMES)
        self._unanswered = 0
        self._result_codec = 'raw'
        self._outlawed = False  # the plan that runs breaks what the user demands since
        self._last_servers: tuple[ServerState, ...] = ()
        self._uptake = Uptake()
        self._singles = SingleFrames()
        self._trials = self._singles.trials
        self._standstill = Standstill()
        self._last: PlanningOutcome | None = None
        self.stepped = False

    def _make_policy(self) -> SwitchPolicy:
        settings = self._settings
        policy = SwitchPolicy(settings.min_gain_ms, settings.min_gain_ratio, settings.hold_ticks)
        policy.objective = self._objective
        return policy

    @property
    def _objective(self) -> Objective:
        """What can be minimised: latency where the power that another needs is not known."""
        wanted = self._settings.objective
        known = self._settings.power is not None
        return wanted if known or not wanted.needs_energy else LATENCY_OBJECTIVE

    @property
    def edge_profile(self) -> Profile | None:
        """The robot's profile, None while unknown."""
        return self._edge_profile

    @property
    def current_server(self) -> str:
        """Server of the plan that runs; empty for none."""
        current = self._policy.current
        return current.server if current is not None else ''

    @property
    def max_uplink_bps(self) -> float:
        """Limit on the uplink that is in force; 0 = none."""
        return self._max_uplink_bps

    @property
    def measured_ms(self) -> float:
        """Median latency of the last frames under the plan that runs; NaN while unknown."""
        return statistics.median(self._latencies_ms) if self._latencies_ms else math.nan

    @property
    def objective_problem(self) -> str:
        """Why latency is minimised instead of what the user set; empty while it is not."""
        wanted = self._settings.objective
        if self._objective == wanted:
            return ''
        return (
            f'objective {wanted.name} is refused, latency is minimised: the power of the robot '
            f'is not known; {UNKNOWN_HINT}'
        )

    @property
    def uptake_problem(self) -> str:
        """Why the plan that was published is not what runs; empty while it is."""
        return self._uptake.problem

    # ---- facts -----------------------------------------------------------------------------

    def set_settings(self, settings: PlannerSettings) -> None:
        """Take new settings; another strategy or load source plans afresh."""
        old, self._settings = self._settings, settings
        policy = self._policy
        policy.min_gain_ms = settings.min_gain_ms
        policy.min_gain_ratio = settings.min_gain_ratio
        policy.hold_ticks = settings.hold_ticks
        # Costs in another unit have nothing to do with what was learnt of prices before.
        same_unit = policy.objective.name == self._objective.name
        policy.objective = self._objective
        self._servers.set_link_defaults(settings.link_defaults)
        changes = changed(old, settings)
        if changes:
            self._cause = ', '.join(changes)
            self._outlawed = self._outlawed or not self._is_legal(policy.current)
            self._uptake.reset()
            self._singles.drop()
            policy.reset(keep_promises=same_unit)

    def _is_legal(self, plan: Candidate | None) -> bool:
        """Whether a plan breaks none of the user's demands."""
        if plan is None or self._edge_profile is None:
            return True
        at = Conditions(self._edge_profile, servers=self._last_servers)
        return is_legal(plan, at, self._constraints())

    def feed_edge_profile(self, profile: Profile) -> bool:
        """The robot's profile; another model plans afresh."""
        profile = profile.to_plan_with()
        old, self._edge_profile = self._edge_profile, profile
        self._repriced = False
        self._edge_load.reset_frames()
        self._published.sizes.reset()
        self._uptake.reset()
        self._singles.reset()
        if old is not None and old.model_identity != profile.model_identity:
            self._cause = f'model {profile.model}'
            self._policy.reset()
        return True

    def feed_server_profile(self, name: str, profile: Profile) -> None:
        """A server's profile."""
        self._singles.reset()
        self._servers.add_profile(name, profile)

    def knows_server(self, name: str) -> bool:
        """Whether a server is remembered; if not (any more), its profile is not either."""
        return self._servers.knows(name)

    def feed_status(self, report: ServerReport, now_s: float) -> bool:
        """A server's status."""
        gone = self._servers.add_report(report, now_s)
        return gone and report.server == self.current_server

    def feed_load(self, readings: LoadReadings, now_s: float) -> None:
        """A message of the load monitor."""
        decides = self._last is not None and self._last.edge_load.source == readings.source
        self.stepped |= self._edge_load.add_readings(readings, now_s) and decides

    def feed_link(self, name: str, evidence: LinkEvidence, now_s: float) -> bool:
        """A measured transfer, or a loss."""
        limit_bps = sane_limit(evidence.max_uplink_bps)
        if not self._limit_told:  # a sample may be read behind reports that are newer
            self._max_uplink_bps = limit_bps
        checked = replace(evidence, max_uplink_bps=limit_bps)
        told = self._servers.add_transfer(name, checked, now_s)
        self.stepped |= told.stepped
        return told.dead and name == self.current_server

    def feed_frame(self, frame: FrameEvidence, now_s: float) -> bool:
        """The end of a frame."""
        profile = self._edge_profile
        if profile is None:
            return False
        self._deadline_ms = max(frame.deadline_ms, 0.0)
        if math.isfinite(frame.max_uplink_bps):
            self._max_uplink_bps, self._limit_told = sane_limit(frame.max_uplink_bps), True
        if frame.result_codec in profile.output_bytes:
            self._result_codec = frame.result_codec
        self._frame_period.add(frame.frame_seq, frame.stamp_s)
        if self._singles.frame(frame, now_s):
            # It says nothing of the plan in force, but what a frame takes there beside its stages.
            if frame.answered and not frame.stood_in:
                self._learn_extras(frame, profile, now_s)
            return False
        gone = self._count_unanswered(frame, now_s)
        gone = self._uptake.frame(frame.plan_id, now_s) or gone
        if not frame.finished:
            return gone
        self._overheads.add_age(frame.age_ms)
        # Scouts wait until nothing is in flight: no overhead.
        at_home = not frame.server and not self.current_server
        if at_home or frame.answered:
            self._learn_extras(frame, profile, now_s)
        if frame.stood_in:
            return gone  # what it took is soon another
        if frame.plan_id and self._as_planned(frame):
            self._latencies_ms.append(frame.latency_ms)
            plan = self._published.last()
            if plan is not None and frame.answered:
                self._trials.ran(plan, frame, now_s)
        profiled_ms = self._published.profiled_ms(frame, profile)
        self.stepped |= self._edge_load.add_frame(
            profiled_ms,
            self._load_behind(frame, profiled_ms, profile) * profiled_ms,
            frame.head_cpu_ms,
            profile.load_ratios,
            now_s,
            whole=not frame.server,
        )
        return gone

    def _load_behind(self, frame: FrameEvidence, profiled_ms: float, profile: Profile) -> float:
        """The robot's load that explains what a frame's piece on it took; 0 = nothing ran."""
        if profiled_ms <= 0.0:
            return 0.0
        threads = self._published.threads(frame, profile)
        return load_behind(frame.head_ms / profiled_ms, threads)

    def _learn_extras(self, frame: FrameEvidence, profile: Profile, now_s: float) -> None:
        self._published.learn_size(frame, now_s)
        profiled_ms = self._published.profiled_ms(frame, profile)
        load = self._load_behind(frame, profiled_ms, profile)
        stages_ms = frame.stages_ms
        if self._last is not None and self._as_planned(frame):
            stages_ms = as_priced(stages_ms, self._last.decision.candidate.stages_ms)
        self._overheads.add(
            place_of(frame.server, frame.return_cut),
            frame.latency_ms, stages_ms + self._wait_ms(frame), frame.age_ms,
            slow_down=self._slow_down(frame, profiled_ms, load),
            computed=self._published.robot_share(frame, profiled_ms, profile),
        )

    def _wait_ms(self, frame: FrameEvidence) -> float:
        """What a frame waited by the model that plans are priced with, so that both agree."""
        if math.isnan(frame.period_ms):
            return 0.0
        return expected_wait_ms(frame.period_ms, self._frame_period.period_ms)

    def _wake_ratio(self, profile: Profile, load: float) -> float:
        """What load adds to the overhead, per millisecond that the robot computes."""
        load = sane_load(load)
        whole_ms = profile.whole_ms * load
        return self._overheads.by_load(load) / whole_ms if whole_ms > 0.0 else 0.0

    def _slow_down(self, frame: FrameEvidence, profiled_ms: float, load: float) -> float:
        """Of the robot while a frame ran: what the frame shows (``load``), where it says that."""
        telling = says_load(profiled_ms, whole=not frame.server)
        if telling and frame.head_ms > 0.0 and not frame.stood_in:
            return load
        return self._last.edge_load.factor if self._last is not None else 1.0

    def _as_planned(self, frame: FrameEvidence) -> bool:
        """Whether a frame ran under the last plan, and where that says."""
        same_plan = frame.plan_id == self._published.last_id
        return same_plan and frame.server == self.current_server

    def _count_unanswered(self, frame: FrameEvidence, now_s: float) -> bool:
        """A server that speaks but does not answer (e.g. refuses us) is as good as lost."""
        if not self._as_planned(frame):
            return False
        if frame.answered or not frame.unanswered:
            self._unanswered = 0 if frame.answered else self._unanswered
            return False
        self._unanswered += 1
        if self._unanswered < MAX_UNANSWERED:
            return False
        self._unanswered = 0
        self._servers.give_up(frame.server, now_s)
        return True

    # ---- decisions -------------------------------------------------------------------------

    def tick(self, now_s: float) -> PlanningOutcome | None:
        """Plan under the conditions of now; None while the robot's profile is unknown."""
        profile = self._edge_profile
        if profile is None:
            return None
        began_s = time.perf_counter()
        self.stepped = False
        settings = self._settings
        self._published.sizes.tick(now_s)
        edge_load = self._edge_load.estimate(profile, settings.load_source, now_s)
        survey = self._servers.survey(
            profile, settings.servers, self._max_uplink_bps, settings.server_timeout_s, now_s
        )
        conditions = Conditions(
            edge_profile=profile,
            edge_load=edge_load.factor,
            edge_load_raw=self._edge_load.loadavg(now_s),
            servers=tuple(
                replace(
                    server,
                    overhead_ms=self._overheads.of(server.name, edge_load.factor),
                    return_overhead_ms=self._overheads.of(server.name + RETURN, edge_load.factor),
                )
                for server in survey.usable
            ),
            edge_overhead_ms=self._overheads.of(ON_ROBOT, edge_load.factor),
            result_codec=self._result_codec,
            power=settings.power,
            wake_ratio=self._wake_ratio(profile, edge_load.factor),
            frame_period_ms=self._frame_period.period_ms,
            waits_less=self._overheads.waits_less(),
            sizes=self._published.sizes.ratios,
        )
        self._last_servers = conditions.servers
        constraints = self._constraints()
        note = ''
        ours = settings.strategy == search.DEFAULT_STRATEGY
        self._singles.settle(now_s)
        self._overheads.forget_servers(self._servers.names)
        self._singles.forget_servers(self._servers.names)
        if (
            self._last is not None
            and self._nothing_under_way
            and not survey.lost
            and self._last.unusable == survey.unusable
            and self._standstill.holds(conditions, constraints, edge_load.sure, now_s)
        ):
            self._policy.rest(now_s)
            return replace(self._last, conditions=conditions, edge_load=edge_load)
        try:
            ranked = search.plan(
                settings.strategy, conditions, constraints,
                self._trials.corrected if ours else list,
            )
        except PlanningError as error:
            ranked, note = [], str(error)
        fallback = search.fallback(conditions, constraints)
        if self._uptake.must_be_local(now_s):
            ranked, note = [], self._uptake.problem
        sure = (ON_ROBOT,) if edge_load.sure else ()
        self._policy.frame_period_ms = conditions.frame_period_ms
        self._policy.robot_busier = self._overheads.ages_rise and not edge_load.sure
        decision = self._policy.decide(
            ranked, now_s, survey.lost, fallback=fallback, sure=sure,
            untried=lambda plan: ours and self._trials.untried(plan, conditions, now_s),
        )
        if decision.switched:
            ends = forbidden_ends(conditions, constraints)
            parts = (self._cause, decision.reason, note, *ends, self.objective_problem)
            reason = '; '.join(part for part in parts if part)
            self._switch = (reason, decision.urgent or self._outlawed, decision.previous_ms)
            self._cause, self._outlawed = '', False
            self._publish(decision.candidate, edge_load.factor, profile)
        elif self._uptake.take_repeat():
            self._switch = (f'said again: {self._uptake.problem}', *self._switch[1:])
            self._publish(decision.candidate, edge_load.factor, profile, again=True)
        if not self._repriced:
            self._repriced = True
            plan = self._trials.as_predicted(decision.candidate)
            self._published.renew(plan, edge_load.factor, profile)
        if ours:
            self._trials.follow(decision.candidate, conditions)
        trial = None
        if ours:
            trial = self._singles.due(decision, ranked, self._strangers(survey, now_s), now_s)
        if trial is not None:
            number = self._published.add(
                self._trials.as_predicted(trial), edge_load.factor, profile, trial=True
            )
            self._trials.begin(
                trial, number, now_s, predicted=is_predicted(trial, conditions)
            )
        self._standstill.searched(
            conditions, constraints, edge_load.sure, decision.candidate.latency_ms, now_s
        )
        outcome = PlanningOutcome(
            plan_id=self._published.last_id,
            decision=decision,
            conditions=conditions,
            priced_under=conditions,
            edge_load=edge_load,
            ranked=tuple(ranked or [fallback]),
            planning_ms=1e3 * (time.perf_counter() - began_s),
            switch_reason=self._switch[0],
            switch_urgent=self._switch[1],
            previous_ms=self._switch[2],
            unusable={**survey.unusable, **self._waiting(now_s, survey.unusable)},
            private_layers=settings.private_layers,
            scout_period_s=self._scout_period_s(decision.candidate, fallback),
            objective=constraints.objective,
            front=frozenset(plan.key for plan in pareto_set(ranked)),
            problem=self.objective_problem or unmeasured_threads(profile, constraints),
            trial=self._trials.trial,
            trial_id=self._trials.trial_id,
            trial_reason=self._singles.reason,
        )
        self._last = replace(
            outcome, decision=replace(decision, switched=False, urgent=False)
        )
        return outcome

    def _strangers(self, survey: Survey, now_s: float) -> list[str]:
        """Trusted servers of which no frames have told what they take beside their stages."""
        blocked = self._policy.blocked(now_s)
        names = [server.name for server in survey.usable if server.name not in blocked]
        return [name for name in names if not self._overheads.knows(name)]

    @property
    def _nothing_under_way(self) -> bool:
        """Whether the last tick may have been the end of the matter."""
        return (
            self._policy.at_rest
            and self._trials.trial is None
            and self._repriced
            and not self._uptake.problem
        )

    def _constraints(self) -> Constraints:
        settings = self._settings
        return Constraints(
            private_layers=settings.private_layers,
            codecs=settings.codecs,
            servers=settings.servers,
            deadline_ms=self._deadline_ms,
            shapes=settings.shapes,
            min_agreement=settings.min_agreement,
            max_edge_memory_mb=settings.max_edge_memory_mb,
            max_server_memory_mb=settings.max_server_memory_mb,
            threads=settings.threads,
            objective=self._objective,
            most=settings.most,
            keep=self._policy.wanted | self._singles.wanted,
        )

    def _scout_period_s(self, chosen: Candidate, local: Candidate) -> float:
        """Scouts belong to our own strategy; the published ones run as they were meant."""
        if self._settings.strategy != search.DEFAULT_STRATEGY:
            return 0.0
        return scout_period_s(chosen, local.latency_ms, self._deadline_ms)

    def _publish(
        self, plan: Candidate, edge_load: float, profile: Profile, *, again: bool = False
    ) -> None:
        """Give the plan that goes out a new id."""
        self._published.add(self._trials.as_predicted(plan), edge_load, profile)
        self._singles.drop()
        self._latencies_ms.clear()
        self._unanswered = 0
        self._uptake.published(self._published.last_id, plan.is_local, again=again)

    def _waiting(self, now_s: float, known: dict[str, str]) -> dict[str, str]:
        return {
            name: f'back, trusted again in {wait_s:.1f} s'
            for name, wait_s in self._policy.blocked(now_s).items()
            if name not in known and math.isfinite(wait_s)
        }
