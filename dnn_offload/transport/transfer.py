"""A frame or a probe on its way to a server, and what is to be published next. Pure: no ROS."""

from __future__ import annotations

from dataclasses import dataclass

from dnn_offload.codec.chunks import Slicer
from dnn_offload.exchange import UplinkRequest

# Values of TensorChunk.KIND_*, repeated so that this module needs no ROS.
KIND_TENSORS = 0
KIND_PROBE = 1
KIND_HELLO = 2
KIND_CANCEL = 3
KIND_BYE = 4
KIND_RECEIVED = 5


@dataclass
class Transfer:
    """A frame or a probe on its way, slice by slice."""

    kind: int
    seq: int
    parts: list[memoryview]
    total_bytes: int             # as far as it has been given
    given_s: float               # since when what is to be sent next is there
    request: UplinkRequest | None = None
    deadline_s: float = 0.0      # when it will be rescued, if its budget is not 0
    next_index: int = 0
    began_s: float = -1.0        # when its first slice was ready to go
    ready_s: float = -1.0        # when its next slice was ready to go
    acked_bytes: int = 0
    first_ack_ms: float = 0.0    # round trip of its first slice
    burst_bytes: int = 0         # of a probe: what is measured comes behind them
    burst_over: tuple[int, float] | None = None  # bytes and time when they had come through
    is_look: bool = False        # a probe that is too short to measure (probing.py)
    slicer: Slicer | None = None  # of what is still to come; None = complete
    starved_s: float = -1.0      # since when the link has nothing of it to carry
    idle_s: float = 0.0          # for so long it had nothing

    @property
    def sent_all(self) -> bool:
        """Whether no slice is left to send, nor to come."""
        return self.slicer is None and self.next_index == len(self.parts)

    def extend(self, part: bytes | bytearray, now_s: float, *, last: bool) -> None:
        """More of it has been encoded."""
        if self.slicer is None:
            return
        parts = self.slicer.add(part, last=last)
        self.total_bytes += len(part)
        if self.next_index == len(self.parts):  # else slices of before are still waiting
            self.given_s = now_s
        if last:
            self.slicer = None
        if parts and self.starved_s >= 0.0:
            self.idle_s += now_s - self.starved_s
            self.starved_s = -1.0
        self.parts += parts


@dataclass(frozen=True)
class Step:
    """What to publish now, or until when there is nothing to publish.

    Attributes:
        kind: One of ``KIND_*``; -1 = nothing.
        until_s: Nothing to do before this time.
        transfer, index: The slice to publish, for KIND_TENSORS and KIND_PROBE; the slice of an
            answer (index), for KIND_RECEIVED.
        count, total_bytes: Slices and bytes of the whole transfer; 0 = not known yet.
        frame_seq: The frame to cancel, for KIND_CANCEL; whose answer arrives, for KIND_RECEIVED.
    """

    kind: int = -1
    until_s: float = float('inf')
    transfer: Transfer | None = None
    index: int = 0
    frame_seq: int = 0
    count: int = 0
    total_bytes: int = 0
