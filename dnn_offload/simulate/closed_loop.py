"""The real planner in a made-up world: what runs decides what is measured, and back.

This loop is where planners oscillate although nothing changes: a robot that computes reads
its load from its own threads, one that offloads from a probe with another bias; a link that
is used is measured by its frames, one that is not by probes. ``run`` closes it around the
very ``PlannerSession`` that the planner node runs, with its estimators and its policy.

Everything is deterministic for a given seed. Times in ms unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math

import numpy as np

from dnn_offload.cost.link import DOWNLINK, LinkEvidence, LOST, UPLINK
from dnn_offload.cost.load import combine, LoadReadings, per_core
from dnn_offload.cost.load_factors import StepFilter
from dnn_offload.cost.profile import Profile
from dnn_offload.exchange import TRIAL_FRAMES
from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.server_book import READY, ServerReport
from dnn_offload.planning.session import FrameEvidence, PlannerSession, PlannerSettings
from dnn_offload.simulate.frame_fates import Fate, fate, FrameFates, rescue_ms
from dnn_offload.simulate.happened import Switch as Switch  # re-exported
from dnn_offload.simulate.happened import TICK_S as TICK_S
from dnn_offload.simulate.happened import Trace as Trace
from dnn_offload.simulate.load_average import LoadAverage, runnable
from dnn_offload.simulate.truth import Truth
from dnn_offload.simulate.world import constant as constant
from dnn_offload.simulate.world import Sensors as Sensors
from dnn_offload.simulate.world import step as step
from dnn_offload.simulate.world import World as World

SERVER = 'server'
PROBE_BYTES = 61_440
STATUS_EVERY_TICKS = 2


def run(
    edge: Profile,
    server: Profile,
    world_at: Callable[[float], World],
    seconds: float,
    *,
    settings: PlannerSettings | None = None,
    sensors: Sensors | None = None,
    frame_hz: float = 10.0,
    deadline_ms: float = 0.0,
    seed: int = 0,
    fates: bool = False,
    loadavg_at: Callable[[float], float] | None = None,
    cores: int = 1,
    waiting: bool = False,
) -> Trace:
    """Run the planner through a made-up world.

    Args:
        edge: Profile of the robot.
        server: Profile of the server.
        world_at: The truth at a time [s].
        seconds: Length of the simulated time [s].
        settings: The planner's settings.
        sensors: How the truth is seen.
        frame_hz: Rate of the stream [Hz].
        deadline_ms: Deadline in force at the robot; 0 = none.
        seed: Of all noise.
        fates: Whether frames are passed over, missed and rescued as ``frame_fates.py`` says;
            else each frame that is sent to a living server is answered in time.
        loadavg_at: Raw load average at a time; None or NaN = made from the load.
        cores: Of the robot; what its load average is divided by.
        waiting: Whether pictures wait where the slowest stage is slower than they come, and the
            planner is told how often they do.
    """
    settings = settings or PlannerSettings()
    sensors = sensors or Sensors()
    truth = Truth(
        edge, server, settings, sensors.cpu_growth, deadline_ms if fates else 0.0,
        frame_period_ms=1e3 / frame_hz if waiting else 0.0,
    )
    loop = _Loop(truth, settings, sensors, deadline_ms, seed)
    loop.frame_hz, loop.cores = frame_hz, cores
    loop.loadavg_at = loadavg_at or (lambda now_s: math.nan)
    loop.fates = FrameFates(frame_hz, deadline_ms) if fates else None
    trace = Trace()
    frames_per_tick = frame_hz * TICK_S
    due, count = 0.0, 0
    for tick in range(max(round(seconds / TICK_S), 1)):
        now_s = tick * TICK_S
        world = world_at(now_s)
        due += frames_per_tick
        for _ in range(int(due)):
            loop.frame(world, now_s, count / frame_hz)
            count += 1
        due -= int(due)
        loop.sense(world, tick, now_s)
        loop.plan(trace, now_s)
        true_ms, best_ms = truth.judge(world, loop.current)
        trace.true_ms.append(true_ms)
        trace.best_ms.append(best_ms)
    trace.best_changes = truth.best_changes
    trace.frames = loop.fates.counts if loop.fates is not None else None
    return trace


class _Loop:
    """The robot's side of the world: frames, sensors, planner."""

    def __init__(
        self,
        truth: Truth,
        settings: PlannerSettings,
        sensors: Sensors,
        deadline_ms: float,
        seed: int,
    ) -> None:
        self.truth = truth
        self.edge, self.server = truth.edge, truth.server
        # A session number that the planner has not seen marks a restart.
        self.life = 1
        self.was_up = True
        self.sensors = sensors
        self.deadline_ms = deadline_ms
        self.random = np.random.default_rng(seed)
        self.session = PlannerSession(settings)
        self.session.feed_edge_profile(truth.edge)
        self.current: Candidate | None = None
        self.plan_id = 0
        self.scout_period_s, self.scouted_s = 0.0, 0.0
        self.trial: Candidate | None = None
        self.trial_id, self.trial_frames = 0, 0
        self.cpu_ms = 0.0      # of our threads since the last tick
        self.sent = False      # whether a frame used the link since the last tick
        self.filters = {name: StepFilter() for name in ('schedstat', 'probe')}
        self.source = ''
        self.fates: FrameFates | None = None
        self.frame_hz, self.cores = 10.0, 1
        self.wall_ms = 0.0     # of our threads since the last tick, waiting included
        self.loadavg_at: Callable[[float], float] = lambda now_s: math.nan
        self.average: LoadAverage | None = None

    def noisy(self, value: float, scatter: float) -> float:
        """Log-normal noise around a value."""
        return float(value * np.exp(scatter * self.random.standard_normal()))

    def frame(self, world: World, now_s: float, enters_s: float) -> None:
        """One frame under the current plan, and what is learnt from it; times [s]."""
        current, fates, sensors = self.current, self.fates, self.sensors
        if current is None:
            return
        scout = 0.0 < self.scout_period_s <= now_s - self.scouted_s
        if scout:
            self.scouted_s = now_s
        plan, plan_id = current, self.plan_id
        if self.trial is not None and self.trial_frames > 0 and not scout:
            plan, plan_id = self.trial, self.trial_id
            self.trial_frames -= 1
        local = plan.is_local or scout
        local = local or (fates is not None and not fates.connected(now_s))
        true = self.truth.price(world, None if local else plan)
        if fates is not None and not fates.enters(enters_s, true.period_ms):
            return
        if fates is None and not local and not world.server_up:
            self.session.feed_link(SERVER, LinkEvidence(LOST), now_s)
            return
        head_ms = self.noisy(true.head_ms, sensors.frame_noise)
        head_cpu_ms = head_ms / world.edge_load
        self.cpu_ms += head_cpu_ms
        self.wall_ms += head_ms + true.encode_ms
        found = Fate('local', true.latency_ms)
        stream = {}
        if self.truth.frame_period_ms > 0.0:
            stream = {
                'stages_ms': true.latency_ms - true.wait_ms,
                'period_ms': self.noisy(true.period_ms, sensors.frame_noise),
                'frame_seq': 1 + round(enters_s * self.frame_hz),
                'stamp_s': enters_s,
            }
        if not local:
            self.sent = True
            up_ms = down_ms = math.inf
            if world.server_up:
                up_ms = self._transfer_ms(true.uplink_ms)
                down_ms = self._transfer_ms(true.downlink_ms)
                feed = self.session.feed_link
                feed(SERVER, LinkEvidence(UPLINK, true.uplink_bytes, up_ms), now_s)
                feed(SERVER, LinkEvidence(DOWNLINK, self.answer_bytes(true), down_ms), now_s)
            found = Fate('remote', true.latency_ms)
            if fates is not None:
                found = self._fate(true, world, head_ms, up_ms + down_ms, now_s)
        elif fates is not None:
            found = Fate('local', head_ms + true.finish_ms)
        if fates is not None:
            fates.ends(found)
        self.session.feed_frame(
            FrameEvidence(
                plan_id=plan_id,
                cut=true.cut_id,
                server=true.server,
                finished=found.outcome != 'lost',
                answered=found.outcome == 'remote',
                unanswered=found.outcome in ('rescued', 'lost'),
                head_ms=head_ms,
                head_cpu_ms=head_cpu_ms,
                latency_ms=found.latency_ms,
                deadline_ms=self.deadline_ms,
                tail_ms=true.tail_ms,
                rest_ms=true.rest_ms,
                **stream,  # type: ignore[arg-type]
            ),
            now_s,
        )

    def _fate(
        self, true: Candidate, world: World, head_ms: float, transfers_ms: float, now_s: float
    ) -> Fate:
        """What becomes of a frame that was sent; tells the planner of a lost server."""
        assert self.fates is not None
        before_ms = head_ms + true.encode_ms
        there_ms = self.noisy(true.decode_ms + true.tail_ms, self.sensors.frame_noise)
        queue_ms = self.noisy(true.queue_ms, self.sensors.queue_noise)
        answer_ms = (
            before_ms + transfers_ms + queue_ms + there_ms + true.rest_ms + true.finish_ms
            - true.overlap_ms
        )
        rest_ms = rescue_ms(true, self.edge, world.edge_load * self.sensors.cpu_growth)
        found = fate(answer_ms, before_ms, rest_ms, self.deadline_ms)
        if found.outcome != 'remote':
            self.wall_ms += rest_ms
            fits = self.deadline_ms <= 0.0 or before_ms <= self.deadline_ms - rest_ms
            if self.fates.missed(now_s, heard=world.server_up, fits=fits):
                self.session.feed_link(SERVER, LinkEvidence(LOST), now_s)
        return found

    def answer_bytes(self, plan: Candidate) -> int:
        """Size of what comes back under a plan."""
        return plan.downlink_bytes or self.server.output_bytes['raw']

    def load_average(self, world: World, now_s: float) -> float:
        """Raw load average: recorded, else what the kernel would make of this load."""
        recorded = self.loadavg_at(now_s)
        share = min(self.wall_ms / (1e3 * TICK_S), 1.0)
        tasks = runnable(world.edge_load, share, self.cores)
        if self.average is None:
            self.average = LoadAverage(tasks)
        made = self.average.update(now_s, tasks)
        return recorded if math.isfinite(recorded) else made

    def sense(self, world: World, tick: int, now_s: float) -> None:
        """Load readings, link probe and server status of one tick."""
        sensors = self.sensors
        schedstat = self.noisy(world.edge_load, sensors.load_noise)
        probe = self.noisy(max(world.edge_load * sensors.probe_bias, 1.0), sensors.load_noise)
        readings = LoadReadings(
            loadavg=per_core(self.load_average(world, now_s), self.cores),
            schedstat=self.filters['schedstat'].update(max(schedstat, 1.0)),
            probe=self.filters['probe'].update(max(probe, 1.0)),
            schedstat_cpu_ms=5.0 * self.cpu_ms,  # the monitor's window is five ticks
        )
        factor, self.source = combine(readings, last_source=self.source)
        self.session.feed_load(replace(readings, factor=factor, source=self.source), now_s)
        if world.server_up and not self.sent and tick % round(1.0 / TICK_S) == 0:
            ms = world.alpha_ms + 8e3 * PROBE_BYTES / world.uplink_bps
            probe_ms = self._transfer_ms(ms * sensors.probe_link_bias)
            seen = LinkEvidence(UPLINK, PROBE_BYTES, probe_ms, probe=True)
            self.session.feed_link(SERVER, seen, now_s)
        if world.server_up and not self.was_up:
            self.life += 1
        self.was_up = world.server_up
        if world.server_up and tick % STATUS_EVERY_TICKS == 0:
            self.session.feed_status(
                ServerReport(
                    SERVER,
                    self.life,
                    READY,
                    self.server.model_identity,
                    self.noisy(world.server_load, 0.05),
                    self.noisy(world.queue_ms, sensors.queue_noise),
                ),
                now_s,
            )
            if tick == 0:
                self.session.feed_server_profile(SERVER, self.server)
        self.cpu_ms = self.wall_ms = 0.0
        self.sent = False

    def plan(self, trace: Trace, now_s: float) -> None:
        """One tick of the planner."""
        outcome = self.session.tick(now_s)
        if outcome is None:
            return
        decision = outcome.decision
        self.current, self.plan_id = decision.candidate, outcome.plan_id
        self.scout_period_s = outcome.scout_period_s
        if outcome.trial_id != self.trial_id:
            self.trial, self.trial_id = outcome.trial, outcome.trial_id
            self.trial_frames = TRIAL_FRAMES
        if decision.switched:
            trace.switches.append(
                Switch(now_s, decision.candidate, decision.urgent, outcome.switch_reason)
            )

    def _transfer_ms(self, ms: float) -> float:
        spike = 3.0 if self.random.random() < self.sensors.link_spikes else 1.0
        return spike * self.noisy(ms, self.sensors.link_noise)
