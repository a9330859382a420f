"""What rooms that do not know each other hand to each other: words, pure data and protocols.

``runtime/engine.py`` (no ROS) and ``transport/uplink.py`` (no torch) meet here on the robot,
``runtime/tail_server.py`` and ``transport/tensor_server.py`` on the server, so that neither
imports the other. The words are those of planner, robot and reports.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
from typing import Protocol

from dnn_offload.tensors import TensorSpec

UNLISTED = 'dag:'  # so begin the identities of cuts that only the names of their values tell
TRIAL_FRAMES = 5  # run under a plan that is tried; the first of them finds caches cold
TRIAL_PATIENCE_S = 2.0  # then a trial is over, for planner and robot: no stream, or a slow one
SCOUT_LABEL = 'scout'  # of a frame that runs on the robot under a plan that offloads, as a probe
SERVER_STATES = ('preparing', 'ready', 'stopping', 'failed')  # ServerStatus.msg STATE_*, in order
MAX_ANSWER_BYTES = 16 << 20  # larger answers are neither made nor taken


@dataclass(frozen=True)
class UplinkRequest:
    """One frame on its way to a server.

    Attributes:
        frame_seq: Count of frames that entered, from 1.
        plan_epoch: Count of plan switches.
        server: Name of the server.
        cut_id: Identity of the cut whose frontier this is.
        codec: Codec of ``payload``.
        result_codec: Codec wanted for the answer.
        return_id: Identity of the cut whose frontier is wanted back; empty = the outputs.
        specs: The tensors before encoding.
        payload: Encoded bundle (``codec/bundle.py``), or its beginning.
        budget_ms: Time left until the frame would be rescued [ms]; 0 = no deadline.
        complete: Whether ``payload`` is all of it; else the rest comes by ``Uplink.send_more``.
    """

    frame_seq: int
    plan_epoch: int
    server: str
    cut_id: str
    codec: str
    result_codec: str
    specs: tuple[TensorSpec, ...]
    payload: bytes | bytearray
    budget_ms: float = 0.0
    return_id: str = ''
    complete: bool = True


@dataclass(frozen=True)
class Answer:
    """A server's answer; the server's times are on its own clock, the others on ours.

    ``stood_in``: torch ran in place of a piece that is still being compiled, so that
    ``compute_ms`` says nothing about the next frames.
    """

    frame_seq: int
    payload: bytes | bytearray
    codec: str
    queue_ms: float
    decode_ms: float
    compute_ms: float
    encode_ms: float
    service_ms: float
    uplink_ms: float
    downlink_ms: float
    stood_in: bool = False


class Uplink(Protocol):
    """The way to the servers. All methods return at once and may be called by any thread."""

    def send(self, request: UplinkRequest) -> None:
        """Send a frame as fast as the link allows; what has to wait goes in the background."""

    def send_more(self, server: str, frame_seq: int, part: bytes, *, last: bool) -> None:
        """Send what was encoded since, of a frame that is not complete.

        Nothing else is sent to that server until the ``last`` part came, which is not empty, or
        the frame is cancelled. A frame that was cancelled or lost meanwhile takes no more.
        """

    def cancel(self, frame_seq: int) -> None:
        """Stop sending a frame that nobody waits for; its unsent slices are not sent."""

    def connected(self, server: str) -> bool:
        """Whether the server has accepted us and is not known to be lost."""

    def backlog_bytes(self) -> int:
        """Bytes handed over by ``send`` that are not acknowledged."""

    def lost(self, server: str, why: str) -> None:
        """The engine saw no answer: treat the server as lost until a probe gets through."""


class UplinkEvents(Protocol):
    """What the uplink tells the engine; called from the uplink's threads, must be short."""

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        """The last slice of a frame has been acknowledged.

        Args:
            frame_seq: The frame.
            uplink_ms: From its first slice until then [ms].
            own_ms: The same, less what it waited behind the frame before it, and for parts that
                were still being encoded [ms].
        """

    def on_answer(self, answer: Answer) -> None:
        """An answer is complete."""

    def on_superseded(self, frame_seq: int) -> None:
        """The server took a newer frame of ours instead."""

    def on_refused(self, frame_seq: int, reason: str) -> None:
        """The server refused the frame."""

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """A server accepted us, or was lost."""


class Verdict(enum.Enum):
    """How a frame ended at the server."""

    OK = 'ok'
    SUPERSEDED = 'superseded'
    REFUSED = 'refused'


@dataclass(frozen=True)
class TailJob:
    """A frame that has arrived at the server and was admitted.

    Attributes:
        client: Name of the robot's inference process.
        frame_seq, plan_epoch: Copied into the answer.
        cut_id: Identity of the cut whose frontier this is.
        codec: Codec of ``payload``.
        result_codec: Codec wanted for the answer.
        payload: Encoded bundle.
        arrived_s: When the last slice arrived, server's monotonic clock [s].
        budget_ms: Time left at sending until the robot rescues the frame [ms]; 0 = no deadline.
        return_id: Identity of the cut whose frontier is wanted back; empty = the outputs.
        names: Names of the tensors, in order.
    """

    client: str
    frame_seq: int
    plan_epoch: int
    cut_id: str
    codec: str
    result_codec: str
    payload: bytes | bytearray
    arrived_s: float
    budget_ms: float = 0.0
    return_id: str = ''
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TailResult:
    """What became of a frame at the server; times on the server's own clock; see ``Answer``."""

    job: TailJob
    verdict: Verdict
    reason: str = ''
    payload: bytes = b''
    specs: tuple[TensorSpec, ...] = ()
    queue_ms: float = 0.0
    decode_ms: float = 0.0
    compute_ms: float = 0.0
    encode_ms: float = 0.0
    stood_in: bool = False
