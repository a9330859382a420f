"""What one message tells the view, without ROS. Numbers that are not known are NaN.

The fields are those of ``msg/FrameReport.msg``, ``Plan.msg``, ``Load.msg``, ``LinkSample.msg`` and
``ServerStatus.msg`` that are shown. Texts come from the network: ``plain`` them first.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnn_offload.exchange import SERVER_STATES

MAX_TEXT = 400
UPLINK, DOWNLINK, LOST = 'uplink', 'downlink', 'lost'
LINK_KINDS = (UPLINK, DOWNLINK, LOST)
PREPARING, READY, STOPPING, FAILED = SERVER_STATES


def plain(text: str) -> str:
    """Text that cannot move a terminal's cursor or change its colours: one line, printable."""
    return ''.join(c if c.isprintable() else ' ' for c in text[:MAX_TEXT]).strip()


@dataclass(frozen=True)
class FrameFact:
    """The end of one frame; counters are of the inference process since activation."""

    pid: int
    outcome: str
    drop_reason: str
    latency_ms: float
    deadline_ms: float
    deadline_met: bool
    server: str
    entered: int
    remote: int
    local: int
    rescued: int
    dropped: int
    late_answers: int
    lost_pictures: int


@dataclass(frozen=True)
class PlanFact:
    """The plan in force, and what it was chosen by."""

    plan_id: int
    model_identity: str
    strategy: str
    objective: str
    cut_index: int
    label: str
    codec: str
    server: str
    return_index: int | None
    predicted_ms: float
    reason: str
    private_layers: int
    uplink_bps: float
    uplink_alpha_ms: float
    downlink_bps: float
    link_confidence: float


@dataclass(frozen=True)
class LoadFact:
    """Load of the robot's machine."""

    host: str
    factor: float
    source: str
    loadavg_1min: float
    cores: int
    cpu_percent: float
    clock_hz: float
    clock_max_hz: float
    temperature_c: float
    throttled: bool
    memory_available_bytes: int
    memory_total_bytes: int


@dataclass(frozen=True)
class LinkFact:
    """One transfer between a robot and a server; ``kind`` is one of ``LINK_KINDS``."""

    kind: str
    payload_bytes: int
    duration_ms: float


@dataclass(frozen=True)
class HealthFact:
    """What one of our nodes says of itself; ``level`` as in ``diagnostic_msgs`` (0 = fine)."""

    node: str
    level: int
    message: str
    model: str = ''


@dataclass(frozen=True)
class ServerFact:
    """A server's word on itself; ``state`` is one of ``exchange.SERVER_STATES``."""

    server: str
    session: int
    state: str
    detail: str
    model: str
    model_identity: str
    load_factor: float
    queue_ms: float
    clients: int
    frames_served: int
    frames_superseded: int
    frames_refused: int
    cpu_percent: float
    memory_available_bytes: int
