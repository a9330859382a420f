"""One frame on its way through the engine, and the record that is left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from dnn_offload.graph.routes import Ends, Route
from dnn_offload.runtime.outcomes import DropReason, Outcome

# A piece of the network: between two cuts of the list by their indices, or by values.
Span = tuple[int, int] | Ends

# What the node gives with a frame: called on the worker thread, returns the network's input
# (uint8, (1, H, W, 3), RGB) and whatever is needed to map results back to the image.
PictureSource = Callable[[], tuple[np.ndarray, Any]]


@dataclass(frozen=True)
class JpegSource:
    """A picture source whose JPEG a server can take as it is.

    Attributes:
        jpeg: A baseline colour JPEG of one scan.
        mapping: What ``decode`` would return beside the picture.
        decode: Makes the network's input of it.
    """

    jpeg: bytes
    mapping: Any
    decode: PictureSource

    def __call__(self) -> tuple[np.ndarray, Any]:
        """As any picture source."""
        return self.decode()


class Stage(Enum):
    """Where an open frame is. Every stage can also end it (drop)."""

    WAITING = 'waiting'  # newest frame, not started
    RUNNING = 'running'  # the worker preprocesses it and runs its head or the whole network
    SENT = 'sent'  # handed to the uplink, no answer yet
    RESCUING = 'rescuing'  # the worker runs its tail from the kept cut tensors
    RETURNED = 'returned'  # the server's part has come back; the worker runs the rest
    FINISHING = 'finishing'  # outputs are there; the responder decodes and publishes them


@dataclass(slots=True)
class StageTimes:
    """Stage times of one frame [ms]; see ``msg/FrameReport.msg`` for each."""

    age_ms: float = 0.0
    wait_ms: float = 0.0
    preprocess_ms: float = 0.0
    head_ms: float = 0.0
    head_cpu_ms: float = 0.0
    head_wait_ms: float = 0.0
    encode_ms: float = 0.0
    overlap_ms: float = 0.0
    uplink_ms: float = 0.0
    queue_ms: float = 0.0
    decode_ms: float = 0.0
    tail_ms: float = 0.0
    downlink_ms: float = 0.0
    rest_ms: float = 0.0
    finish_ms: float = 0.0
    latency_ms: float = 0.0


@dataclass(frozen=True)
class FramePlan:
    """The plan that one frame runs under; ``server == ''`` means all on the robot.

    Attributes:
        head: Runs before the tensors are sent; all there is where the plan is local.
        tail: Runs where no answer comes.
        depth: Weighted layers before anything that is sent.
        route: What runs where, for plans that are more than one cut of the list.
        return_id, return_index, return_codec: The second cut and the codec of what comes back
            there; empty: the server runs to the end.
        threads: Compute threads of the worker; 0 = as set.
    """

    plan_id: int
    epoch: int
    cut_index: int
    cut_id: str
    label: str
    codec: str
    server: str
    head: Span
    tail: Span
    depth: int = 0
    route: Route | None = None
    return_id: str = ''
    return_index: int = -1
    return_codec: str = ''
    threads: int = 0

    @property
    def is_local(self) -> bool:
        """Whether everything runs on the robot."""
        return self.server == ''

    @property
    def rest(self) -> Ends | None:
        """What runs on the robot after the answer; None = the answer is the network's."""
        return self.route.rest if self.route is not None else None


@dataclass(slots=True)
class Frame:
    """An open frame. Only the frame table moves ``stage``; only the engine fills the rest.

    Attributes:
        seq: Count of frames that entered, from 1.
        stamp_s: Acquisition stamp on the node's clock, as published with the result.
        acquired_s: The same instant on the engine's steady clock.
        entered_s: When it entered, steady clock.
        token: The node's own (header, image); never looked at.
        source: Gives picture and mapping; dropped once used.
        passed: Whether the camera's JPEG was sent as it came; ``kept`` is then made of
            ``source`` where it is needed.
        rescue_at_s: When its rescue is due, steady clock; ``inf`` before it is sent.
        rescue_fits: Whether a rescue at ``rescue_at_s`` is in time for the deadline.
        rescue_why: Why it will not be answered, where that is known before it is due.
        answered: Whether its outputs came (or come) from an answer.
        deadline_s: When its result should be out, steady clock; ``inf`` without a deadline.
        kept: The cut tensors, kept until the frame ends.
        returned: What the server has sent back for the rest of the network.
        spare: Outputs of a rescue that an answer overtook, and what its tail took [ms].
        behind_ms, encoded_s: Encoding after its beginning was handed over, and when that ended.
        stood_in: Whether torch ran a piece of it in place of one that is still being compiled.
    """

    seq: int
    stamp_s: float
    acquired_s: float
    entered_s: float
    token: Any = None
    source: PictureSource | None = None
    stage: Stage = Stage.WAITING
    plan: FramePlan | None = None
    rescue_at_s: float = float('inf')
    rescue_fits: bool = True
    rescue_why: str = ''
    answered: bool = False
    deadline_s: float = float('inf')
    mapping: Any = None
    kept: list[np.ndarray] | None = None
    passed: bool = False
    returned: list[np.ndarray] | None = None
    spare: tuple[list[np.ndarray], float] | None = None
    uplink_bytes: int = 0
    behind_ms: float = 0.0
    encoded_s: float = float('-inf')
    stood_in: bool = False
    times: StageTimes = field(default_factory=StageTimes)


@dataclass(frozen=True)
class Counters:
    """Frame counters; ``entered == remote + local + rescued + dropped + in_flight``, always."""

    entered: int
    remote: int
    local: int
    rescued: int
    dropped: int
    in_flight: int
    late_answers: int
    drop_reasons: dict[DropReason, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EndedFrame:
    """A frame with its outcome, and the counters just after it ended."""

    frame: Frame
    outcome: Outcome
    reason: DropReason
    counters: Counters


@dataclass(frozen=True)
class FrameRecord:
    """What the node publishes as FrameReport (and what it needs to publish a result).

    Attributes:
        token: What the node gave to ``enter``.
        plan: The plan that ran, None if the frame was dropped before it was started.
        times: Stage times; a copy, safe to keep.
        stood_in: Whether they are of torch in place of a piece that is still being compiled.
        deadline_met: True without a deadline or when the result was in time.
    """

    frame_seq: int
    stamp_s: float
    token: Any
    outcome: Outcome
    drop_reason: DropReason
    plan: FramePlan | None
    uplink_bytes: int
    times: StageTimes
    deadline_met: bool
    pid: int
    compute_tid: int
    counters: Counters
    stood_in: bool = False
