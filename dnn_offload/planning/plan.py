"""What a planner takes and gives: conditions, constraints, candidates. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TypeAlias

from dnn_offload.cost.link_state import LinkState as LinkState  # re-exported
from dnn_offload.cost.profile import Profile

Key: TypeAlias = tuple[str, str, str, str, str, int]


@dataclass(frozen=True)
class ServerState:
    """An edge server as the robot sees it now."""

    name: str
    profile: Profile
    link: LinkState
    load_factor: float = 1.0
    queue_ms: float = 0.0
    overhead_ms: float = 0.0


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
    """

    edge_profile: Profile
    edge_load: float = 1.0
    edge_load_raw: float = 1.0
    servers: tuple[ServerState, ...] = ()
    result_codec: str = 'raw'
    edge_overhead_ms: float = 0.0


@dataclass(frozen=True)
class Constraints:
    """What the user demands.

    Attributes:
        private_layers: Weighted layers that must run on the robot before anything may leave
            it; 0 = even the picture may leave, 1 = no picture.
        codecs: Codecs that may be used; empty = all that were profiled.
        servers: Servers that may be used; empty = all.
        deadline_ms: A frame is finished on the robot in time for it; 0 = none.
        shapes: Plans that are considered beside single cuts: ``two_cuts``, ``dag``.
    """

    private_layers: int = 0
    codecs: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    deadline_ms: float = 0.0
    shapes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One plan with the breakdown of its predicted cost (ms, load included).

    ``cut_id == ''``, ``codec == ''`` and ``server == ''`` mean all on the robot. ``late_ms``
    is what answers that come too late are expected to cost on top, where there is a deadline;
    ``overhead_ms`` what frames take beside the stages (``overheads.py``).

    With two cuts the server stops at a second one and the robot runs the rest: ``return_id``,
    ``return_index`` and ``return_codec`` name that cut and the codec of what comes back,
    ``tail_ms`` is then the piece on the server and ``rest_ms`` the one after it on the robot.
    ``return_id == ''``: the server runs to the end.

    ``frontier`` names the values that are sent where the cut is none of the profile's (a
    placement over the graph); empty = the cut is one of the profile's. ``threads`` are the
    compute threads on the robot, 0 = as they are set.
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
    energy_j: float = math.nan

    @property
    def is_local(self) -> bool:
        """Whether everything runs on the robot."""
        return self.server == ''

    @property
    def key(self) -> Key:
        """What makes two candidates the same plan: cuts, codecs, server, threads."""
        return (
            self.cut_id, self.codec, self.server, self.return_id, self.return_codec, self.threads,
        )

    @property
    def latency_ms(self) -> float:
        """Expected latency: all stages, and what late answers cost [ms]."""
        return (
            self.head_ms + self.encode_ms + self.uplink_ms + self.queue_ms
            + self.decode_ms + self.tail_ms + self.downlink_ms + self.finish_ms
            + self.rest_ms + self.late_ms + self.overhead_ms
        )

    @property
    def period_ms(self) -> float:
        """Slowest resource, hence the period of a pipelined stream [ms]."""
        return max(
            self.head_ms + self.encode_ms + self.rest_ms + self.finish_ms,
            self.uplink_ms,
            self.decode_ms + self.tail_ms,
            self.downlink_ms,
        )
