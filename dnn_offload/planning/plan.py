"""What a planner takes and gives: conditions, constraints, candidates. Pure data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
import math
from typing import TypeAlias

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.link_state import LinkState as LinkState  # re-exported
from dnn_offload.cost.profile import Profile
from dnn_offload.planning.objective import LATENCY_OBJECTIVE, Objective

Key: TypeAlias = tuple[str, str, str, str, str, int]
Sent: TypeAlias = tuple[str, str]  # what crosses: identity of the cut, codec


@dataclass(frozen=True)
class ServerState:
    """An edge server as the robot sees it now.

    Attributes:
        name: As in its status.
        profile: What pieces cost there.
        link: The way there and back.
        load_factor: Its slow-down relative to its profile.
        queue_ms: Expected wait there.
        overhead_ms: What frames that are answered there take beside the priced stages.
        return_overhead_ms: The same of plans with a second cut; NaN = as the others.
    """

    name: str
    profile: Profile
    link: LinkState
    load_factor: float = 1.0
    queue_ms: float = 0.0
    overhead_ms: float = 0.0
    return_overhead_ms: float = math.nan


@dataclass(frozen=True)
class Conditions:
    """Everything that a strategy may look at.

    Attributes:
        edge_profile: The robot's profile.
        edge_load: Slow-down of the robot relative to its profile, by the default source.
        edge_load_raw: Load average per core, raw, for ``dey2019``.
        servers: Servers that are ready and whose model matches; may be empty.
        result_codec: Codec of the answers.
        edge_overhead_ms: What frames that run here take beside the priced stages.
        wake_ratio: What frames that a server answers take beside stages and ``overhead_ms``, per
            millisecond that the robot computes for them (``overheads.py``).
        frame_period_ms: Between two pictures of the stream; 0 = not known, nothing waits then.
        waits_less: By how much frames at a place (``overheads.py``) wait less than the model says.
        sizes: Ratio of real to profiled bytes by cut and codec, where it is known and not 1.
        power: Power of the robot in each state; None = not known, plans have no energy then.
    """

    edge_profile: Profile
    edge_load: float = 1.0
    edge_load_raw: float = 1.0
    servers: tuple[ServerState, ...] = ()
    result_codec: str = 'raw'
    edge_overhead_ms: float = 0.0
    power: PowerModel | None = None
    wake_ratio: float = 0.0
    frame_period_ms: float = 0.0
    waits_less: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[Sent, float] = field(default_factory=dict)

    def believed(self, *, edge_load: float, server_load: float | None = None) -> Conditions:
        """The same as a strategy sees it that knows nothing of overheads and of waiting.

        Args:
            edge_load: Load of the robot that it believes in.
            server_load: Load of every server that it believes in; None = what each reports.
        """
        servers = tuple(
            replace(
                server,
                load_factor=server.load_factor if server_load is None else server_load,
                overhead_ms=0.0,
                return_overhead_ms=0.0,
            )
            for server in self.servers
        )
        return replace(
            self, edge_load=edge_load, servers=servers, edge_overhead_ms=0.0, wake_ratio=0.0,
            frame_period_ms=0.0,
        )


@dataclass(frozen=True)
class Constraints:
    """What the user demands, and what is wanted of the answer.

    Attributes:
        private_layers: Weighted layers that must run on the robot before anything may leave
            it; 0 = even the picture may leave, 1 = no picture.
        codecs: Codecs that may be used; empty = all that were profiled.
        servers: Servers that may be used; empty = all.
        deadline_ms: A frame is finished on the robot in time for it; 0 = none.
        shapes: Plans beside one cut that may be used: ``two_cuts``, ``dag``.
        min_agreement: Least share of frames on which the network must answer as without the
            codec, 0 .. 1; a codec whose agreement was not measured has none. 0 = no floor.
        max_edge_memory_mb, max_server_memory_mb: Most memory of the network's pieces on the
            robot and on a server [MB]; 0 = no limit (``limits.py`` tells what is counted).
        threads: Compute threads on the robot that may be used; empty = as they are set.
        objective: What to minimise.
        most: Plans wanted of each server, the best ones; 0 = all. Those of the front of latency
            and energy, and those of ``keep``, come on top.
        keep: Plans that are wanted whatever they cost.
    """

    private_layers: int = 0
    codecs: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    deadline_ms: float = 0.0
    shapes: tuple[str, ...] = ()
    min_agreement: float = 0.0
    max_edge_memory_mb: float = 0.0
    max_server_memory_mb: float = 0.0
    threads: tuple[int, ...] = ()
    objective: Objective = LATENCY_OBJECTIVE
    most: int = 0
    keep: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Scope:
    """What a strategy considers of that which the user allows.

    Attributes:
        codecs: Codecs; empty = all.
        cuts: Positions, of both cuts where there are two; empty = all.
        deadline_ms: Deadline for which late answers are priced; 0 = none.
    """

    codecs: Collection[str] = ()
    cuts: Collection[int] = ()
    deadline_ms: float = 0.0


EVERYTHING = Scope()


@dataclass(frozen=True)
class Candidate:
    """One plan with the breakdown of its predicted cost (ms, load included).

    ``cut_id == ''``, ``codec == ''`` and ``server == ''`` mean all on the robot. ``late_ms``
    is what answers that come too late are expected to cost on top, where there is a deadline, and
    ``rescue_ms`` what the robot then takes to finish a frame itself (no part of the latency);
    ``overhead_ms`` what frames take beside the stages (``overheads.py``); ``wait_ms`` what a
    picture waits while the slowest stage is busy with older ones (``costs.expected_wait_ms``);
    ``overlap_ms`` the part of the encoding that goes on while the first slices are on their way,
    which is no addition to the latency (``costs.hidden_ms``).

    With two cuts the server stops at a second one and the robot runs the rest: ``return_id``,
    ``return_index`` and ``return_codec`` name that cut and the codec of what comes back,
    ``tail_ms`` is then the piece on the server and ``rest_ms`` the one after it on the robot.
    ``return_id == ''``: the server runs to the end.

    ``frontier`` names the values that are sent where the cut is none of the profile's (a
    placement over the graph); empty = the cut is one of the profile's. ``threads`` are the
    compute threads on the robot, 0 = as they are set. ``energy_j`` is the robot's energy per
    frame, NaN where its power is not known; ``value`` what the plan is judged by where that is
    not the latency (``search.plan`` sets it).
    """

    cut_index: int
    cut_id: str
    label: str
    codec: str
    server: str
    uplink_bytes: int = 0
    head_ms: float = 0.0
    encode_ms: float = 0.0
    uplink_ms: float = 0.0
    queue_ms: float = 0.0
    decode_ms: float = 0.0
    tail_ms: float = 0.0
    downlink_ms: float = 0.0
    finish_ms: float = 0.0
    late_ms: float = 0.0
    overhead_ms: float = 0.0
    rest_ms: float = 0.0
    return_index: int = -1
    return_id: str = ''
    return_codec: str = ''
    downlink_bytes: int = 0
    threads: int = 0
    frontier: tuple[str, ...] = ()
    rescue_ms: float = 0.0
    energy_j: float = math.nan
    value: float = math.nan
    wait_ms: float = 0.0
    overlap_ms: float = 0.0

    @property
    def cost(self) -> float:
        """What the plan is judged by: the value of the objective, else the latency [ms]."""
        return self.latency_ms if math.isnan(self.value) else self.value

    @property
    def is_local(self) -> bool:
        """Whether everything runs on the robot."""
        return self.server == ''

    @property
    def where(self) -> str:
        """Its cuts for people: ``cut 12``, ``cut 12 to 40`` or ``branches near cut 12``."""
        near = 'branches near ' if self.frontier else ''
        back = f' to {self.return_index}' if self.return_id else ''
        return f'{near}cut {self.cut_index}{back}'

    @property
    def key(self) -> Key:
        """What makes two candidates the same plan: cuts, codecs, server, threads."""
        return (
            self.cut_id, self.codec, self.server, self.return_id, self.return_codec, self.threads,
        )

    @property
    def stages_ms(self) -> float:
        """Its stages, one after the other but for what overlaps [ms]."""
        return (
            self.head_ms + self.encode_ms + self.uplink_ms + self.queue_ms
            + self.decode_ms + self.tail_ms + self.downlink_ms + self.finish_ms
            + self.rest_ms - self.overlap_ms
        )

    @property
    def latency_ms(self) -> float:
        """Expected latency: stages, what is beside them, waiting, and what lateness costs [ms]."""
        return self.stages_ms + self.late_ms + self.overhead_ms + self.wait_ms

    @property
    def period_ms(self) -> float:
        """Slowest resource, hence the period of a pipelined stream [ms]."""
        return max(
            self.head_ms + self.encode_ms + self.rest_ms + self.finish_ms,
            self.uplink_ms,
            self.decode_ms + self.tail_ms,
            self.downlink_ms,
        )


def changed(candidate: Candidate, **values: float | str) -> Candidate:
    """The candidate with other values, as by ``dataclasses.replace`` but ten times faster.

    A planning step makes hundreds of plans, and a frozen dataclass sets each field by a call.

    Args:
        candidate: A plan.
        values: Its fields that differ, by name.
    """
    made = object.__new__(Candidate)
    made.__dict__.update(candidate.__dict__, **values)
    return made


def plan_name(candidate: Candidate) -> str:
    """A plan in a few words."""
    count = candidate.threads
    threads = f' with {count} thread{"s" if count > 1 else ""}' if count else ''
    if candidate.is_local:
        return f'all on the robot{threads}'
    back = f', back at cut {candidate.return_index}' if candidate.return_id else ''
    return (
        f'cut {candidate.cut_index} ({candidate.label}) as {candidate.codec} '
        f'on {candidate.server}{back}{threads}'
    )
