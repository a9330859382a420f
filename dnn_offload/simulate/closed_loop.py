"""The real planner in a made-up world: what runs decides what is measured, and back.

This loop is where planners oscillate although nothing changes: a robot that computes reads
its load from its own threads, one that offloads from a probe with another bias; a link that
is used is measured by its frames, one that is not by probes. ``run`` closes it around the
very ``PlannerSession`` that the planner node runs, with its estimators and its policy.

Everything is deterministic for a given seed. Times in ms unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from dnn_offload.cost.link import DOWNLINK, LinkEvidence, LOST, UPLINK
from dnn_offload.cost.load import combine, LoadReadings
from dnn_offload.cost.load_factors import StepFilter
from dnn_offload.cost.profile import Profile
from dnn_offload.planning.costs import local_candidate, remote_candidates
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    Key,
    LinkState,
    ServerState,
)
from dnn_offload.planning.server_book import READY, ServerReport
from dnn_offload.planning.session import FrameEvidence, PlannerSession, PlannerSettings

TICK_S = 0.2
SERVER = 'server'
PROBE_BYTES = 61_440
STATUS_EVERY_TICKS = 2
_LOCAL: Key = ('', '', '', '', '', 0)


@dataclass(frozen=True)
class World:
    """The truth at one moment.

    Attributes:
        edge_load, server_load: True slow-downs against the profiles.
        queue_ms: True wait at the server [ms].
        uplink_bps, downlink_bps, alpha_ms: The true link.
        server_up: Whether the server lives.
    """

    edge_load: float = 1.0
    server_load: float = 1.0
    queue_ms: float = 0.5
    uplink_bps: float = 20e6
    downlink_bps: float = 20e6
    alpha_ms: float = 3.0
    server_up: bool = True


@dataclass(frozen=True)
class Sensors:
    """How wrongly the truth is seen.

    Attributes:
        frame_noise: Scatter of a frame's compute times (log-normal).
        link_noise: Scatter of transfers; ``link_spikes`` of them take three times as long.
        load_noise: Scatter of load readings over one window.
        probe_bias: CPU probe's reading over the truth: other than what frames show.
        probe_link_bias: Duration of a link probe over what a frame of that size takes.
        cpu_growth: Growth of CPU time at the stream's rate against the profile.
    """

    frame_noise: float = 0.08
    link_noise: float = 0.15
    link_spikes: float = 0.03
    load_noise: float = 0.10
    probe_bias: float = 0.9
    probe_link_bias: float = 0.9
    cpu_growth: float = 1.1


@dataclass(frozen=True)
class Switch:
    """One change of plan."""

    at_s: float
    candidate: Candidate
    urgent: bool
    reason: str


@dataclass
class Trace:
    """What happened.

    Attributes:
        switches: All changes of plan, the first plan included.
        true_ms: True latency of the plan in force, per tick.
        best_ms: True latency of the best plan, per tick.
    """

    switches: list[Switch] = field(default_factory=list)
    true_ms: list[float] = field(default_factory=list)
    best_ms: list[float] = field(default_factory=list)

    def switches_after(self, at_s: float) -> list[Switch]:
        """Changes of plan later than ``at_s``."""
        return [switch for switch in self.switches if switch.at_s > at_s]

    def returns_after(self, at_s: float) -> int:
        """Changes later than ``at_s`` back to a plan that had been left later than ``at_s``."""
        left: set[Key] = set()
        count = 0
        running: Key | None = None
        for switch in self.switches:
            if switch.at_s > at_s:
                count += switch.candidate.key in left
                if running is not None:
                    left.add(running)
            running = switch.candidate.key
        return count

    def reaction_s(self, step_s: float, slack: float = 1.2) -> float:
        """Time after a step from which on the plan stays within ``slack`` of the best [s]."""
        pairs = list(zip(self.true_ms, self.best_ms, strict=True))
        bad = [i for i, (true, best) in enumerate(pairs) if true > slack * best]
        last_s = (bad[-1] + 1) * TICK_S if bad else 0.0
        return max(last_s - step_s, 0.0)

    def regret(self, after_s: float = 0.0) -> float:
        """Mean latency of what ran over that of the best plan at each moment, less one."""
        first = round(after_s / TICK_S)
        return sum(self.true_ms[first:]) / sum(self.best_ms[first:]) - 1.0


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
    """
    settings = settings or PlannerSettings()
    loop = _Loop(edge, server, settings, sensors or Sensors(), deadline_ms, seed)
    trace = Trace()
    frames_per_tick = frame_hz * TICK_S
    due = 0.0
    for tick in range(round(seconds / TICK_S)):
        now_s = tick * TICK_S
        world = world_at(now_s)
        due += frames_per_tick
        for _ in range(int(due)):
            loop.frame(world, now_s)
        due -= int(due)
        loop.sense(world, tick, now_s)
        loop.plan(trace, now_s)
        loop.judge(trace, world)
    return trace


class _Loop:
    """The robot's side of the world: frames, sensors, planner."""

    def __init__(
        self,
        edge: Profile,
        server: Profile,
        settings: PlannerSettings,
        sensors: Sensors,
        deadline_ms: float,
        seed: int,
    ) -> None:
        self.edge, self.server = edge, server
        # A session number that the planner has not seen marks a restart.
        self.life = 1
        self.was_up = True
        self.settings = settings
        self.sensors = sensors
        self.deadline_ms = deadline_ms
        self.random = np.random.default_rng(seed)
        self.session = PlannerSession(settings)
        self.session.feed_edge_profile(edge)
        self.current: Candidate | None = None
        self.plan_id = 0
        self.scout_period_s, self.scouted_s = 0.0, 0.0
        self.cpu_ms = 0.0      # of our threads since the last tick
        self.sent = False      # whether a frame used the link since the last tick
        self.filters = {name: StepFilter() for name in ('schedstat', 'probe')}
        self.source = ''
        self.truth: tuple[World, dict[Key, Candidate]] | None = None

    def noisy(self, value: float, scatter: float) -> float:
        """Log-normal noise around a value."""
        return float(value * np.exp(scatter * self.random.standard_normal()))

    def frame(self, world: World, now_s: float) -> None:
        """One frame under the current plan, and what is learnt from it."""
        if self.current is None:
            return
        scout = 0.0 < self.scout_period_s <= now_s - self.scouted_s
        if scout:
            self.scouted_s = now_s
        local = self.current.is_local or scout
        if not local and not world.server_up:
            self.session.feed_link(SERVER, LinkEvidence(LOST), now_s)
            return
        true = self._prices(world)[_LOCAL if local else self.current.key]
        sensors = self.sensors
        head_ms = self.noisy(true.head_ms, sensors.frame_noise)
        head_cpu_ms = head_ms / world.edge_load
        self.cpu_ms += head_cpu_ms
        if not local:
            self.sent = True
            up_ms = self._transfer_ms(true.uplink_ms)
            down_ms = self._transfer_ms(true.downlink_ms)
            answer = self.server.output_bytes['raw']
            feed = self.session.feed_link
            feed(SERVER, LinkEvidence(UPLINK, true.uplink_bytes, up_ms), now_s)
            feed(SERVER, LinkEvidence(DOWNLINK, answer, down_ms), now_s)
        self.session.feed_frame(
            FrameEvidence(
                plan_id=self.plan_id,
                cut=true.cut_id,
                server=true.server,
                finished=True,
                answered=not local,
                unanswered=False,
                head_ms=head_ms,
                head_cpu_ms=head_cpu_ms,
                latency_ms=true.latency_ms,
                deadline_ms=self.deadline_ms,
            ),
            now_s,
        )

    def sense(self, world: World, tick: int, now_s: float) -> None:
        """Load readings, link probe and server status of one tick."""
        sensors = self.sensors
        schedstat = self.noisy(world.edge_load, sensors.load_noise)
        probe = self.noisy(max(world.edge_load * sensors.probe_bias, 1.0), sensors.load_noise)
        readings = LoadReadings(
            loadavg=world.edge_load,
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
                    self.noisy(world.queue_ms, 0.3),
                ),
                now_s,
            )
            if tick == 0:
                self.session.feed_server_profile(SERVER, self.server)
        self.cpu_ms = 0.0
        self.sent = False

    def plan(self, trace: Trace, now_s: float) -> None:
        """One tick of the planner."""
        outcome = self.session.tick(now_s)
        if outcome is None:
            return
        decision = outcome.decision
        self.current, self.plan_id = decision.candidate, outcome.plan_id
        self.scout_period_s = outcome.scout_period_s
        if decision.switched:
            trace.switches.append(
                Switch(now_s, decision.candidate, decision.urgent, outcome.switch_reason)
            )

    def judge(self, trace: Trace, world: World) -> None:
        """What the plan in force costs in truth, and what the best would."""
        prices = self._prices(world)
        local_ms = prices[_LOCAL].latency_ms
        trace.best_ms.append(
            min(c.latency_ms for c in prices.values() if c.is_local or world.server_up)
        )
        current = self.current
        if current is None or current.is_local:
            trace.true_ms.append(local_ms)
        elif world.server_up:
            trace.true_ms.append(prices[current.key].latency_ms)
        else:
            # Rescue: the head has run, the rest of the network follows here.
            trace.true_ms.append(local_ms + prices[current.key].encode_ms)

    def _prices(self, world: World) -> dict[Key, Candidate]:
        """True prices of all plans, server dead or not; kept while the world stays."""
        if self.truth is None or self.truth[0] is not world:
            growth = self.sensors.cpu_growth
            link = LinkState(
                world.alpha_ms, world.uplink_bps, world.alpha_ms, world.downlink_bps, 1.0
            )
            state = ServerState(SERVER, self.server, link, world.server_load, world.queue_ms)
            truth = Conditions(self.edge, world.edge_load * growth, world.edge_load, (state,))
            settings = self.settings
            constraints = Constraints(settings.private_layers, settings.codecs, settings.servers)
            priced = [local_candidate(truth), *remote_candidates(truth, constraints)]
            self.truth = (world, {candidate.key: candidate for candidate in priced})
        return self.truth[1]

    def _transfer_ms(self, ms: float) -> float:
        spike = 3.0 if self.random.random() < self.sensors.link_spikes else 1.0
        return spike * self.noisy(ms, self.sensors.link_noise)


def constant(world: World) -> Callable[[float], World]:
    """A world in which nothing changes."""
    return lambda now_s: world


def step(before: World, at_s: float, **changes: float | bool) -> Callable[[float], World]:
    """A world that changes once."""
    after = replace(before, **changes)  # type: ignore[arg-type]
    return lambda now_s: after if now_s >= at_s else before
