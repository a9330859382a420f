"""Turns messages into facts for ``planning/session.py`` and its outcome into a plan."""

from __future__ import annotations

import math
import time
from typing import Any

from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_msgs.msg import String
from visualization_msgs.msg import Marker

from dnn_offload.cost.energy import EnergyTerms
from dnn_offload.cost.link import LinkEvidence
from dnn_offload.cost.load import LoadReadings
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ProfileError
from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, PlanCost, ServerStatus
from dnn_offload.nodes import base, planner_parameters, topics
from dnn_offload.nodes.plan_marker import plan_marker
from dnn_offload.nodes.plan_words import plan_line, reason_line
from dnn_offload.nodes.planner_settings import check_planner_settings, planner_settings
from dnn_offload.nodes.process import run
from dnn_offload.planning.costs import energy_terms
from dnn_offload.planning.plan import Candidate, plan_name
from dnn_offload.planning.server_book import ServerReport
from dnn_offload.planning.session import (
    FrameEvidence,
    PlannerSession,
    PlanningOutcome,
)
from dnn_offload.transport import names
from dnn_offload.transport import topics as wire
from dnn_offload.transport.conversion import stamp_of

REFRESH_S = 1.0             # the table is published again at least so often
ALTERNATIVES = 3            # shown in diagnostics
LABEL_CHARS = 128           # bounds of the message fields
REASON_CHARS = 512
NO_CUT = 65535              # return_index without a second cut
UNKNOWN_TERMS = EnergyTerms(*(4 * [math.nan]))
# Stages of a frame that plans have a price for, by the place that they keep busy: robot, uplink,
# server, downlink. Beside them the server's queue has one, which keeps none busy; the rest is
# overhead.
PRICED_STAGES = (
    ('head_ms', 'encode_ms', 'rest_ms', 'finish_ms'), ('uplink_ms',), ('decode_ms', 'tail_ms'),
    ('downlink_ms',),
)
THIS_ROBOT = 'this robot'
STEPS_APART_S = 0.5  # ticks for steps in load or link, at least
UNANSWERED = (FrameReport.DROP_NO_ANSWER, FrameReport.DROP_CANNOT_RESCUE)


class PartitionPlannerNode(base.OffloadNode):
    """See ``planner_parameters.SUMMARY``."""

    NODE = planner_parameters.NODE
    PARAMETERS = planner_parameters.PARAMETERS

    def __init__(self, **node_arguments: Any) -> None:
        self._profile_topics: dict[str, Subscription] = {}
        self._timer: Timer | None = None
        self._watchdog: Timer | None = None
        super().__init__(**node_arguments)

    def configure(self) -> None:
        """Make the session and the publishers."""
        self._rendezvous = names.check_rendezvous(self.setting('rendezvous_namespace'))
        self._session = PlannerSession(planner_settings(self.setting))
        self._objective_problem = ''
        self._say_what_is_minimised()
        self._outcome: PlanningOutcome | None = None
        self._published_at_s = 0.0
        self._stepped_s = -math.inf  # the last tick between two periods
        self._tried_id = 0
        self._profile_problem = ''
        self._provisional: dict[str, str] = {}  # whose profile rests on what, until it is measured
        self._plans = self.advertise(Plan, topics.PLAN)
        self._trials = self.advertise(Plan, topics.PLAN_TRIAL)
        self._markers = self.advertise(Marker, topics.PLAN_MARKER)

    def activate(self) -> None:
        """Listen and plan."""
        self.subscribe(String, topics.EDGE_PROFILE_IN, self._on_edge_profile)
        self.subscribe(Load, topics.LOAD_FOR_PLANS, self._on_load)
        # Read together, before each tick; in this order, so that a loss is the last word.
        self.subscribe(
            FrameReport, topics.FRAMES_FOR_PLANS, self._on_frame_report, may_wait=True
        )
        self.subscribe(LinkSample, topics.LINK_SAMPLE_IN, self._on_link_sample, may_wait=True)
        self.subscribe(
            ServerStatus,
            wire.SERVER_STATUS_IN.at(names.server_status(self._rendezvous)),
            self._on_status,
        )
        self._start_timers()

    def deactivate(self) -> None:
        """Forget the subscriptions to profiles: they end with the active state."""
        self._profile_topics.clear()
        self._timer = self._watchdog = None

    def check_settings(self, changed: dict[str, Any]) -> None:
        """See ``OffloadNode``: an objective with energy in it needs a board with known power."""
        check_planner_settings(
            lambda name: changed[name] if name in changed else self.setting(name), changed
        )

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Everything is live; what changes the plan is planned at once."""
        self._session.set_settings(planner_settings(self.setting))
        self._say_what_is_minimised()
        if not self.is_active:
            return
        if 'rate_hz' in changed or 'server_timeout_s' in changed:
            self._start_timers()
        self._tick()

    def _say_what_is_minimised(self) -> None:
        """Warn, once, where it is not what the user set."""
        problem = self._session.objective_problem
        if problem and problem != self._objective_problem:
            self.get_logger().warning(problem)
        self._objective_problem = problem

    def _start_timers(self) -> None:
        for timer in (self._timer, self._watchdog):
            if timer is not None:
                self.end(timer)
        self._timer = self.every(1.0 / self.setting('rate_hz'), self._tick)
        # Set back by every status of the server in use: fires when it has been silent too long.
        self._watchdog = self.every(self.setting('server_timeout_s') + 0.01, self._tick)

    # ---- facts -----------------------------------------------------------------------------

    def _on_edge_profile(self, message: String) -> None:
        profile = self._read_profile(message.data, THIS_ROBOT)
        if profile is not None and self._session.feed_edge_profile(profile):
            self._tick()

    def _on_server_profile(self, server: str, message: String) -> None:
        profile = self._read_profile(message.data, f'server {server}')
        if profile is not None:
            self._session.feed_server_profile(server, profile)

    def _read_profile(self, text: str, whose: str) -> Profile | None:
        try:
            profile = Profile.from_json(text)
        except ProfileError as error:
            self._profile_problem = f'profile of {whose} is ignored: {error}'
            self.get_logger().warning(self._profile_problem)
            return None
        self._profile_problem = ''
        self._provisional.pop(whose, None)
        if profile.provisional:
            self._provisional[whose] = profile.provisional
        self.get_logger().info(
            f'profile of {whose}: {profile.model}, {len(profile.cuts)} cuts, whole network '
            f'{profile.whole_ms:.1f} ms'
            + (f'; provisional: {profile.provisional}' if profile.provisional else '')
        )
        return profile

    def _on_status(self, message: ServerStatus) -> None:
        name = names.check_name(message.server, 'server')
        urgent = self._session.feed_status(
            ServerReport(
                server=name,
                session=message.session,
                state=message.state,
                model_identity=message.model_identity,
                load_factor=message.load_factor,
                queue_ms=message.queue_ms,
                detail=message.detail,
            ),
            time.monotonic(),
        )
        self._follow_profile(name)
        if urgent:
            self._tick()
        elif name == self._session.current_server and self._watchdog is not None:
            self._watchdog.reset()

    def _follow_profile(self, server: str) -> None:
        if server in self._profile_topics or not self._session.knows_server(server):
            return
        self._leave_profiles()  # of the one that has made room for this one, above all
        self._profile_topics[server] = self.subscribe(
            String,
            wire.PROFILE_IN.at(names.profile(self._rendezvous, server)),
            lambda message: self._on_server_profile(server, message),
        )

    def _leave_profiles(self) -> None:
        """End the subscriptions to profiles of servers that are forgotten.

        A server that is back is told its latched profile again by a new one only.
        """
        for server in list(self._profile_topics):
            if not self._session.knows_server(server):
                self.end(self._profile_topics.pop(server))
                self._provisional.pop(f'server {server}', None)

    def _on_load(self, message: Load) -> None:
        self._session.feed_load(
            LoadReadings(
                loadavg=message.factor_loadavg,
                loadavg_own_removed=message.factor_loadavg_own_removed,
                schedstat=message.factor_schedstat,
                procs_running=message.factor_procs_running,
                probe=message.factor_probe,
                psi=message.factor_psi,
                schedstat_cpu_ms=message.schedstat_cpu_ms,
                loadavg_1min=message.loadavg_1min,
                factor=message.factor,
                source=message.factor_source,
            ),
            time.monotonic(),
        )
        self._tick_where_stepped()

    def _on_frame_report(self, message: FrameReport) -> None:
        for transfer in message.transfers:
            if self._take_transfer(transfer):
                self._tick()
        busy_ms = [sum(getattr(message, name) for name in stages) for stages in PRICED_STAGES]
        urgent = self._session.feed_frame(
            FrameEvidence(
                plan_id=message.plan_id,
                cut=message.cut,
                server=message.server,
                finished=message.outcome != FrameReport.OUTCOME_DROPPED,
                answered=message.outcome == FrameReport.OUTCOME_REMOTE,
                unanswered=message.outcome == FrameReport.OUTCOME_RESCUED
                or message.drop_reason in UNANSWERED,
                head_ms=message.head_ms,
                head_cpu_ms=message.head_cpu_ms,
                latency_ms=message.latency_ms,
                deadline_ms=message.deadline_ms,
                max_uplink_bps=message.max_uplink_bps,
                age_ms=message.age_ms,
                stages_ms=sum(busy_ms) + message.queue_ms - message.overlap_ms,
                period_ms=max(busy_ms),
                result_codec=message.result_codec,
                return_cut=message.return_cut,
                tail_ms=message.tail_ms,
                rest_ms=message.rest_ms,
                stood_in=message.stood_in,
                frame_seq=message.frame_seq,
                stamp_s=stamp_of(message),
                # A picture that passed as the camera made it was not encoded.
                sent_bytes=message.uplink_bytes if message.encode_ms > 0.0 else 0,
            ),
            time.monotonic(),
        )
        if urgent:
            self._tick()
        self._tick_where_stepped()

    def _on_link_sample(self, message: LinkSample) -> None:
        if self._take_transfer(message):
            self._tick()
        self._tick_where_stepped()

    def _take_transfer(self, message: LinkSample) -> bool:
        """Feed a measured transfer, or a loss; whether the plan that runs cannot go on."""
        return self._session.feed_link(
            names.check_name(message.server, 'server'),
            LinkEvidence(
                kind=message.kind,
                nbytes=message.payload_bytes,
                duration_ms=message.duration_ms,
                probe=message.probe,
                max_uplink_bps=message.max_uplink_bps,
            ),
            time.monotonic(),
        )

    # ---- plans -----------------------------------------------------------------------------

    def _tick_where_stepped(self) -> None:
        """Plan with another load or link at once; the next tick comes a whole period later.

        Rarely, however much wavers: each search costs some milliseconds, each tick is a round of
        ``hold_ticks``.
        """
        now_s = time.monotonic()
        due = self._session.stepped and now_s - self._stepped_s >= STEPS_APART_S
        if due and self._timer is not None:
            self._stepped_s = now_s
            self._timer.reset()
            self._tick()

    def _tick(self) -> None:
        if not self.is_active:
            return
        now_s = time.monotonic()
        before = self._outcome
        outcome = self._session.tick(now_s)
        self._leave_profiles()
        self._outcome = outcome
        if outcome is None:
            return
        log = self.get_logger()
        known = _of_another_model(before) if before is not None else {}
        for name, why in _of_another_model(outcome).items():
            if known.get(name) != why:
                log.warning(f'server {name} is not used: {why}')
        switched = before is None or outcome.plan_id != before.plan_id
        if switched:
            say = log.warning if self._session.uptake_problem else log.info
            say(f'plan {outcome.plan_id}: {outcome.switch_reason}')
        if switched or now_s - self._published_at_s >= REFRESH_S - 0.05:
            self._published_at_s = now_s
            self._plans.publish(self._plan_message(outcome))
            if self._markers.get_subscription_count() > 0:
                self._markers.publish(self._marker(outcome))
        if outcome.trial is not None and outcome.trial_id != self._tried_id:
            self._tried_id = outcome.trial_id
            trial = self._message_of(outcome.trial, outcome.trial_id, outcome)
            trial.reason = outcome.trial_reason[:REASON_CHARS]
            self._trials.publish(trial)

    def _plan_message(self, outcome: PlanningOutcome) -> Plan:
        """What shall run, with all that it was chosen from."""
        link = outcome.link
        message = self._message_of(outcome.decision.candidate, outcome.plan_id, outcome)
        message.previous_ms = outcome.previous_ms
        message.reason = self._reason(outcome)[:REASON_CHARS]
        message.weighed = outcome.decision.reason[:REASON_CHARS]
        message.urgent = outcome.switch_urgent
        message.scout_period_s = outcome.scout_period_s
        message.edge_load_factor = outcome.edge_load.factor
        message.server_load_factor = outcome.server_load
        message.uplink_bps = link.uplink_bps if link is not None else 0.0
        message.uplink_alpha_ms = link.uplink_alpha_ms if link is not None else 0.0
        message.uplink_burst_bytes = link.uplink_burst_bytes if link is not None else 0.0
        message.downlink_bps = link.downlink_bps if link is not None else 0.0
        message.link_confidence = link.confidence if link is not None else 0.0
        message.planning_ms = outcome.planning_ms
        message.table = [
            _plan_cost(c, c.key in outcome.front, energy_terms(c, outcome.priced_under))
            for c in outcome.table(self.setting('table_size'))
        ]
        return message

    def _message_of(self, plan: Candidate, plan_id: int, outcome: PlanningOutcome) -> Plan:
        """A plan by itself."""
        message = Plan(
            plan_id=plan_id,
            model_identity=outcome.conditions.edge_profile.model_identity,
            strategy=self.setting('strategy'),
            cut_index=plan.cut_index,
            cut=plan.cut_id,
            label=plan.label[:LABEL_CHARS],
            codec=plan.codec,
            server=plan.server,
            return_index=_return_index(plan),
            return_cut=plan.return_id,
            return_codec=plan.return_codec,
            frontier=list(plan.frontier),
            threads=plan.threads,
            objective=outcome.objective.name,
            objective_value=plan.cost,
            predicted_ms=plan.latency_ms,
            private_layers=outcome.private_layers,
        )
        message.header.stamp = self.now_msg()
        return message

    def _reason(self, outcome: PlanningOutcome) -> str:
        """Why the plan runs; and that profiles it rests on are provisional, while they are."""
        whose = [THIS_ROBOT, f'server {outcome.decision.candidate.server}']
        provisional = [name for name in whose if name in self._provisional]
        if not provisional:
            return outcome.switch_reason
        return f'{outcome.switch_reason}; profile of {" and ".join(provisional)} is provisional'

    def _marker(self, outcome: PlanningOutcome) -> Marker:
        return plan_marker(
            plan_line(outcome.decision.candidate, self._session.measured_ms),
            reason_line(self._reason(outcome)),
            self.setting('marker_frame_id'),
        )

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """What runs, why, what it should cost, and what else there is."""
        if not self.is_active:
            return base.OK, 'inactive', {}
        outcome = self._outcome
        if outcome is None:
            return base.WARN, self._profile_problem or 'waiting for edge_profile', {}
        chosen = outcome.decision.candidate
        values: dict[str, object] = {
            'plan_id': outcome.plan_id,
            'strategy': self.setting('strategy'),
            'objective': outcome.objective.name,
            'objective_value': chosen.cost,
            'predicted_ms': chosen.latency_ms,
            'predicted_energy_j': chosen.energy_j,
            'pareto_plans': len(outcome.front),
            'measured_ms': self._session.measured_ms,
            'reason': outcome.switch_reason,
            'now': outcome.decision.reason,
            'edge_load': outcome.edge_load.factor,
            'edge_load_source': outcome.edge_load.source,
            'server_load': outcome.server_load,
            'planning_ms': outcome.planning_ms,
            'candidates': len(outcome.ranked),
        }
        if outcome.link is not None:
            values['uplink_bps'] = outcome.link.uplink_bps
            values['downlink_bps'] = outcome.link.downlink_bps
            values['link_confidence'] = outcome.link.confidence
        if self._session.max_uplink_bps > 0.0:
            values['max_uplink_bps'] = self._session.max_uplink_bps
        for whose, what in self._provisional.items():
            values[f'profile of {whose}'] = f'provisional: {what}'
        for name, why in outcome.unusable.items():
            values[f'server {name} not used'] = why
        others = [c for c in outcome.ranked if c.key != chosen.key][:ALTERNATIVES]
        for rank, candidate in enumerate(others, 1):
            values[f'alternative {rank}'] = _describe(candidate)
        level, message = base.OK, _describe(chosen)
        mismatched = [f'server {name} {why}' for name, why in _of_another_model(outcome).items()]
        if self._profile_problem:
            level, message = base.WARN, self._profile_problem
        elif mismatched:
            level = base.WARN
            message = mismatched[0]
        elif self._session.uptake_problem:
            level, message = base.WARN, self._session.uptake_problem
        elif outcome.problem:
            level, message = base.WARN, outcome.problem
        elif outcome.edge_load.problem:
            why = outcome.edge_load.problem
            level, message = base.WARN, f'{message}; {why}, load 1 is assumed'
        return level, message, values


def _of_another_model(outcome: PlanningOutcome) -> dict[str, str]:
    """Servers that run another model than the robot: something for the user to mend."""
    return {name: why for name, why in outcome.unusable.items() if 'another model' in why}


def _describe(candidate: Candidate) -> str:
    energy = f', {candidate.energy_j:.2f} J' if candidate.energy_j >= 0.0 else ''
    return f'{plan_name(candidate)}: {candidate.latency_ms:.1f} ms{energy}'


def _return_index(candidate: Candidate) -> int:
    return candidate.return_index if candidate.return_id else NO_CUT


def _plan_cost(
    candidate: Candidate, pareto: bool, terms: EnergyTerms | None
) -> PlanCost:
    terms = terms or UNKNOWN_TERMS
    return PlanCost(
        cut_index=candidate.cut_index,
        cut=candidate.cut_id,
        label=candidate.label[:LABEL_CHARS],
        codec=candidate.codec,
        server=candidate.server,
        uplink_bytes=candidate.uplink_bytes,
        head_ms=candidate.head_ms,
        encode_ms=candidate.encode_ms,
        overlap_ms=candidate.overlap_ms,
        uplink_ms=candidate.uplink_ms,
        queue_ms=candidate.queue_ms,
        decode_ms=candidate.decode_ms,
        tail_ms=candidate.tail_ms,
        downlink_ms=candidate.downlink_ms,
        finish_ms=candidate.finish_ms,
        late_ms=candidate.late_ms,
        overhead_ms=candidate.overhead_ms,
        wait_ms=candidate.wait_ms,
        rest_ms=candidate.rest_ms,
        latency_ms=candidate.latency_ms,
        period_ms=candidate.period_ms,
        energy_j=candidate.energy_j,
        **terms._asdict(),
        objective_value=candidate.cost,
        pareto=pareto,
        downlink_bytes=candidate.downlink_bytes,
        return_index=_return_index(candidate),
        return_cut=candidate.return_id,
        return_codec=candidate.return_codec,
        threads=candidate.threads,
    )


def main() -> None:
    """Entry point of the executable ``partition_planner_node``."""
    raise SystemExit(run(PartitionPlannerNode))


if __name__ == '__main__':
    main()
