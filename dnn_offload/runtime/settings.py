"""What the engine can be told, before and while it runs, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from dnn_offload.codec.registry import codec_named
from dnn_offload.errors import ConfigurationError
from dnn_offload.runtime.frames import FramePlan, FrameRecord
from dnn_offload.runtime.passing import MODES


@dataclass(frozen=True)
class EngineSettings:
    """Settings; all of them can be changed while frames run.

    Attributes:
        deadline_ms: From acquisition to publication; 0 = none.
        window: Most frames that are started and have no outcome.
        threads: Compute threads of the worker.
        result_codec: Codec in which the server's answers are wanted.
        no_answer_timeout_ms: Without a deadline, when to give up waiting for an answer,
            from the frame's entry.
        pass_jpeg: Whether a camera's JPEG goes to the server as it came (``passing.MODES``).
        margin_ms: Kept free before the deadline, beside the time of tail and finish; at least
            4 % of the deadline are.
    """

    deadline_ms: float = 0.0
    window: int = 4
    threads: int = 1
    result_codec: str = 'raw'
    no_answer_timeout_ms: float = 2000.0
    margin_ms: float = 5.0
    pass_jpeg: str = 'auto'

    def __post_init__(self) -> None:
        """Raise ConfigurationError for what makes no sense."""
        codec_named(self.result_codec)
        if self.pass_jpeg not in MODES:
            raise ConfigurationError(
                'no such pass_jpeg', given=self.pass_jpeg, allowed=', '.join(MODES)
            )
        for name, low, high in (
            ('deadline_ms', 0.0, 60e3),
            ('window', 1, 16),
            ('threads', 1, 256),
            ('no_answer_timeout_ms', 10.0, 60e3),
            ('margin_ms', 0.0, 1e3),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigurationError(f'{name} is out of range', given=value,
                                         allowed=f'{low:g}..{high:g}')


class EngineEvents(Protocol):
    """What the engine tells the node.

    All methods are called on the engine's responder thread, one at a time, in the order in
    which things happened; they may publish, and should return within milliseconds. An
    exception in one is reported by ``on_failure`` and does no harm beyond its frame.
    """

    def finish(self, outputs: list[Any], mapping: Any) -> Any:
        """Decode the network's outputs into a result (detections or classes).

        Args:
            outputs: numpy arrays as the program's output specs say.
            mapping: What the frame's picture source returned beside the picture.
        """

    def on_result(self, record: FrameRecord, result: Any) -> None:
        """Publish a result. ``record.counters`` and the latency are still provisional."""

    def on_report(self, record: FrameRecord) -> None:
        """A frame has ended; called exactly once for every frame that entered."""

    def on_plan(self, plan: FramePlan) -> None:
        """A plan is in force from the next frame on."""

    def on_plan_failed(self, plan_id: int, why: str) -> None:
        """A requested plan is given up; the same request works again. ``on_failure`` said why.

        The plan in force goes on; all on the robot where the request does not allow that.
        """

    def on_failure(self, text: str, frame_seq: int) -> None:
        """Something failed; ``frame_seq`` 0 = not in a frame. To be logged."""

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """A server accepted us, or was lost."""
