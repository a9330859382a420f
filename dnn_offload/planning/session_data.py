"""What goes into a planner's session and what comes out of it. Pure data."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.link import LinkDefaults
from dnn_offload.cost.load import AUTO
from dnn_offload.planning import search
from dnn_offload.planning.edge_load import EdgeLoadEstimate
from dnn_offload.planning.objective import LATENCY_OBJECTIVE, Objective
from dnn_offload.planning.plan import Candidate, Conditions, Key, LinkState
from dnn_offload.planning.switch import Decision

WANTED = 64  # plans of each server and thread count that are looked at one by one
MAX_TABLE = 512  # rows of a published cost table: the bound of Plan.table


@dataclass(frozen=True)
class PlannerSettings:
    """What the user sets; see ``nodes/planner_parameters.py``."""

    strategy: str = search.DEFAULT_STRATEGY
    load_source: str = AUTO
    private_layers: int = 0
    codecs: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    min_gain_ms: float = 1.0
    min_gain_ratio: float = 0.12
    hold_ticks: int = 3
    server_timeout_s: float = 2.0
    link_defaults: LinkDefaults = field(default_factory=LinkDefaults)
    objective: Objective = LATENCY_OBJECTIVE
    min_agreement: float = 0.0
    max_edge_memory_mb: float = 0.0
    max_server_memory_mb: float = 0.0
    threads: tuple[int, ...] = ()
    shapes: tuple[str, ...] = search.ALL_SHAPES
    power: PowerModel | None = None
    most: int = WANTED


@dataclass(frozen=True)
class FrameEvidence:
    """A ``FrameReport`` message, as far as planning needs it; times [ms].

    Attributes:
        plan_id: Plan that it ran under.
        cut: Identity of the cut that was run.
        server: Server of that plan; empty = the whole network ran here.
        finished: Whether there is a result.
        answered: Whether the result is the server's.
        unanswered: Whether the server's answer was waited for in vain.
        head_ms: Head, or the whole network, on the robot, wall time.
        head_cpu_ms: CPU time in it.
        latency_ms: Acquisition to publication.
        deadline_ms: Deadline in force at the robot; 0 = none.
        age_ms: Acquisition to the picture's arrival at the inference; a part of the latency.
        stages_ms: Sum of the stages that a plan prices, as measured; NaN = unknown.
        period_ms: The slowest of what works side by side, as ``Candidate.period_ms``, as measured;
            NaN = unknown.
        max_uplink_bps: Limit of the robot's uplink; 0 = none, NaN = unknown.
        result_codec: Codec in which the robot wants its answers; empty = not said.
        return_cut: Identity of the plan's second cut; empty = none.
        tail_ms: The server's part, by its clock; with two cuts encoding included, as priced; NaN =
            unknown.
        rest_ms: Decoding the answer and what ran here after it, with two cuts; NaN = unknown.
        stood_in: Whether torch ran in place of a piece that is still being compiled, here or at
            the server: then these times say nothing about load or plan.
        frame_seq: Its number among all that entered, from 1; 0 = not said.
        stamp_s: Its acquisition [s]; NaN = unknown.
        sent_bytes: Size of what went up as the plan's codec made it; 0 = not known, or a picture
            of the camera's own.
    """

    plan_id: int
    cut: str
    server: str
    finished: bool
    answered: bool
    unanswered: bool
    head_ms: float
    head_cpu_ms: float
    latency_ms: float
    deadline_ms: float = 0.0
    age_ms: float = 0.0
    stages_ms: float = math.nan
    period_ms: float = math.nan
    max_uplink_bps: float = math.nan
    result_codec: str = ''
    return_cut: str = ''
    tail_ms: float = math.nan
    rest_ms: float = math.nan
    stood_in: bool = False
    frame_seq: int = 0
    stamp_s: float = math.nan
    sent_bytes: int = 0


@dataclass(frozen=True)
class PlanningOutcome:
    """What one tick came to.

    Attributes:
        plan_id: Counts plans, from 1; changes only when the plan does.
        decision: What to run and why.
        conditions: What is known now.
        priced_under: What the costs were made from, at the last search.
        edge_load: The robot's load and its source.
        ranked: All candidates, best first.
        planning_ms: Time the search took; nothing is searched while nothing moves.
        switch_reason, switch_urgent, previous_ms: Of the last switch.
        unusable: Servers that were not considered, and why.
        private_layers: Layers with weights that must run on the robot under this plan.
        scout_period_s: So often a frame is to run all on the robot; 0 = never.
        objective: What was minimised.
        front: Plans that no other beats in both latency and energy; empty where the power of
            the robot is not known.
        problem: Why the objective that the user set is not the one that was minimised.
        trial: A plan of which single frames shall tell the price; None = none now.
        trial_id: Its number, out of the same count as ``plan_id``; 0 = none.
        trial_reason: Why, for people; of the tick that begins it.
    """

    plan_id: int
    decision: Decision
    conditions: Conditions
    priced_under: Conditions
    edge_load: EdgeLoadEstimate
    ranked: tuple[Candidate, ...]
    planning_ms: float
    switch_reason: str
    switch_urgent: bool
    previous_ms: float
    unusable: dict[str, str]
    private_layers: int = 0
    scout_period_s: float = 0.0
    objective: Objective = LATENCY_OBJECTIVE
    front: frozenset[Key] = frozenset()
    problem: str = ''
    trial: Candidate | None = None
    trial_id: int = 0
    trial_reason: str = ''

    @property
    def link(self) -> LinkState | None:
        """Link to the chosen server, else to the first one; None without servers."""
        links = {server.name: server.link for server in self.conditions.servers}
        chosen = links.get(self.decision.candidate.server)
        return chosen or next(iter(links.values()), None)

    @property
    def server_load(self) -> float:
        """Load of the chosen server, else of the first one; NaN without servers."""
        loads = {server.name: server.load_factor for server in self.conditions.servers}
        chosen = loads.get(self.decision.candidate.server)
        return chosen if chosen is not None else next(iter(loads.values()), math.nan)

    def table(self, size: int) -> list[Candidate]:
        """The chosen plan, all-local and the front, then the best others; best first.

        Args:
            size: Rows wanted; more come only where the front has more, never above ``MAX_TABLE``.
        """
        local = next((c.key for c in self.ranked if c.is_local), None)
        ends = {self.decision.candidate.key, local}
        by_need = sorted(self.ranked, key=lambda c: (c.key not in ends, c.key not in self.front))
        needed = sum(c.key in ends or c.key in self.front for c in self.ranked)
        return sorted(by_need[: min(max(size, needed), MAX_TABLE)], key=search.rank_key)
