"""Answers on their way to one robot, few bytes at a time. Pure: no ROS, the clock is passed in.

An answer of several slices (a plan with two cuts gets tensors back) is paced like the uplink: the
robot acknowledges each slice, and little is under way. Else 400 kB are 3 s of a link of 1 Mbit/s,
in which status and acknowledgements wait, and more than its queue holds. An answer of one slice is
not acknowledged, since all traffic of a stream would be a third more messages.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from dnn_offload.codec.chunks import slices
from dnn_offload.exchange import TailResult, Verdict
from dnn_offload.transport.pacing import FlowWindow

PATIENCE_S = 2.0  # without an acknowledgement for so long, and what is expected: nobody takes it
MAX_WAITING = 8   # answers; a robot has fewer frames under way
_KEY = 0          # the window's keys are (kind, frame, slice)


@dataclass
class OutgoingAnswer:
    """An answer and how much of it has been sent.

    Attributes:
        result: What is answered.
        parts: Its slices.
        next_index: The slice that is next.
        service_ms: From the last slice's arrival to the first one's departure [ms].
    """

    result: TailResult
    parts: list[memoryview]
    next_index: int = 0
    service_ms: float = 0.0


@dataclass
class AnswerQueue:
    """Answers to one robot, in order."""

    window: FlowWindow = field(default_factory=FlowWindow)
    _waiting: deque[OutgoingAnswer] = field(default_factory=deque)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of answers that have not been sent."""
        return sum(
            len(part) for answer in self._waiting for part in answer.parts[answer.next_index:]
        )

    def put(self, result: TailResult) -> None:
        """Take an answer to send after those before it; of too many the oldest is dropped."""
        payload = result.payload if result.verdict is Verdict.OK else b''
        self._waiting.append(OutgoingAnswer(result, slices(payload, self.window.chunk_bytes)))
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[1 if self._waiting[0].next_index else 0]

    def next_slice(self, now_s: float) -> tuple[OutgoingAnswer, int] | None:
        """Give the slice to publish now, counted as sent; None = not now."""
        if not self._waiting:
            return None
        answer = self._waiting[0]
        index = answer.next_index
        if len(answer.parts) > 1:
            nbytes = len(answer.parts[index])
            if not self.window.may_send(nbytes, now_s):
                return None
            self.window.sent((_KEY, answer.result.job.frame_seq, index), nbytes, now_s)
        if index == 0:
            answer.service_ms = 1e3 * (now_s - answer.result.job.arrived_s)
        answer.next_index += 1
        if answer.next_index == len(answer.parts):
            self._waiting.popleft()
        return answer, index

    def acked(self, frame_seq: int, index: int, now_s: float) -> None:
        """The robot has a slice, and so all before it."""
        self.window.acked((_KEY, frame_seq, index), now_s)

    def cancel(self, frame_seq: int) -> None:
        """Nobody waits for this frame's answer; what is not sent will not be."""
        self._waiting = deque(
            answer for answer in self._waiting if answer.result.job.frame_seq != frame_seq
        )

    def give_up(self, now_s: float) -> int:
        """Forget all if nothing was acknowledged for too long; gives the bytes dropped."""
        if self.window.oldest_age_s(now_s) <= PATIENCE_S + 3.0 * self.window.expected_s():
            return 0
        dropped = self.waiting_bytes + self.window.in_flight_bytes
        self._waiting.clear()
        self.window.forget()
        return dropped
