"""What a planner takes and gives: conditions, constraints, candidates. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from dnn_offload.cost.link_state import LinkState as LinkState  # re-exported
from dnn_offload.cost.profile import Profile


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
    """

    private_layers: int = 0
    codecs: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    deadline_ms: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """One plan with the breakdown of its predicted cost (ms, load included).

    ``cut_id == ''``, ``codec == ''`` and ``server == ''`` mean all on the robot. ``late_ms``
    is what answers that come too late are expected to cost on top, where there is a deadline;
    ``overhead_ms`` what frames take beside the stages (``overheads.py``).
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

    @property
    def is_local(self) -> bool:
        """Whether everything runs on the robot."""
        return self.server == ''

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two candidates the same plan: cut, codec, server."""
        return (self.cut_id, self.codec, self.server)

    @property
    def latency_ms(self) -> float:
        """Expected latency: all stages, and what late answers cost [ms]."""
        return (
            self.head_ms + self.encode_ms + self.uplink_ms + self.queue_ms
            + self.decode_ms + self.tail_ms + self.downlink_ms + self.finish_ms
            + self.late_ms + self.overhead_ms
        )

    @property
    def period_ms(self) -> float:
        """Slowest resource, hence the period of a pipelined stream [ms]."""
        return max(
            self.head_ms + self.encode_ms + self.finish_ms,
            self.uplink_ms,
            self.decode_ms + self.tail_ms,
            self.downlink_ms,
        )
