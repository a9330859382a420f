"""The responder thread: answers become results, ends become reports, in order.

It is the only one that calls the node, so that the node's callbacks need no locks, and the
only one that publishes, so that results cannot overtake each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import os
import queue
import threading
import time
import traceback
from typing import Any

import numpy as np

from dnn_offload.codec import bundle
from dnn_offload.exchange import Answer
from dnn_offload.runtime.frames import Counters, EndedFrame, Frame, FramePlan, FrameRecord
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.runtime.outlook import pace_key
from dnn_offload.runtime.settings import EngineEvents
from dnn_offload.runtime.shared import FINISH, HANDOVER, Shared


def describe_error(error: BaseException) -> str:
    """An exception in one line: what, and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f' ({os.path.basename(last[0].filename)}:{last[0].lineno})' if last else ''
    return f'{type(error).__name__}: {error}{where}'


def _ms_since(instant_s: float) -> float:
    return (time.monotonic() - instant_s) * 1e3


class Responder:
    """Owns the thread and its inbox.

    Args:
        shared: The engine's state.
        events: The node.
    """

    def __init__(self, shared: Shared, events: EngineEvents) -> None:
        self._shared = shared
        self._events = events
        self._inbox: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._loop, name='responder', daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish what is in the inbox, drop what is left as shutdown, end the thread."""
        self._inbox.put(None)
        self._thread.join(timeout_s)

    # -- called by any thread -----------------------------------------------------------

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Call ``function`` on the responder's thread."""
        self._inbox.put((function, args))

    def post_answer(self, frame: Frame, answer: Answer) -> None:
        """A server's answer for a frame that is FINISHING now."""
        self.post(self._answer, frame, answer, time.monotonic())

    def post_outputs(self, frame: Frame, outputs: list[np.ndarray], outcome: Outcome) -> None:
        """Outputs that were computed here, for a frame that is FINISHING now."""
        self.post(self._finish, frame, outputs, outcome, time.monotonic())

    def post_error(self, error: BaseException | str, frame_seq: int = 0) -> None:
        """Something to be logged."""
        text = error if isinstance(error, str) else describe_error(error)
        self.post(self._events.on_failure, text, frame_seq)

    def post_plan(self, plan: FramePlan) -> None:
        """A plan is in force."""
        self.post(self._events.on_plan, plan)

    def post_plan_failed(self, plan_id: int, error: BaseException | str) -> None:
        """A plan is given up."""
        text = error if isinstance(error, str) else describe_error(error)
        self.post(self._plan_failed, plan_id, text)

    def flush(self) -> None:
        """Frames have ended: report them soon."""
        self.post(self._report_ended)

    # -- the thread ---------------------------------------------------------------------

    def _loop(self) -> None:
        while self.step():
            pass

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would not wait."""
        return not self._inbox.empty()

    def step(self) -> bool:
        """Do one thing, or wait for it; on the responder's thread. False at the end."""
        item = self._inbox.get()
        if item is None:
            self._shared.table.drop_all(DropReason.SHUTDOWN)
            self._report_ended()
            return False
        function, args = item
        try:
            function(*args)
        except Exception as error:  # the node's callback failed; say so and go on
            self._log(describe_error(error), 0)
        self._report_ended()
        return True

    def _log(self, text: str, frame_seq: int) -> None:
        try:
            self._events.on_failure(text, frame_seq)
        except Exception:  # the logger itself failed: nobody is left to be told
            traceback.print_exc()

    def _plan_failed(self, plan_id: int, why: str) -> None:
        self._log(f'plan {plan_id} is not taken: {why}', 0)
        self._events.on_plan_failed(plan_id, why)

    def _answer(self, frame: Frame, answer: Answer, posted_s: float) -> None:
        times = frame.times
        times.uplink_ms = answer.uplink_ms
        times.queue_ms = answer.queue_ms
        times.decode_ms = answer.decode_ms
        times.tail_ms = answer.compute_ms
        times.downlink_ms = answer.downlink_ms
        frame.stood_in = frame.stood_in or answer.stood_in
        started_s = time.monotonic()
        plan = frame.plan
        if plan is not None and plan.cut_index == 0:
            taken_ms = times.preprocess_ms + times.encode_ms + times.uplink_ms + times.decode_ms
            with self._shared.lock:
                self._shared.passing.timed(
                    pace_key(plan), frame.passed, taken_ms, frame.uplink_bytes, started_s
                )
        try:
            route = frame.plan.route if frame.plan is not None else None
            specs = self._shared.model.outputs if route is None else route.returned
            nbytes = sum(spec.nbytes for spec in specs)
            outputs = bundle.decode(answer.payload, specs, max_bytes=4 * nbytes)
        except Exception as error:  # unreadable: finish the frame here, the tensors are kept
            why = f'answer is unreadable: {describe_error(error)}'
            self._log(why, frame.seq)
            spare = frame.spare if self._shared.table.answer_unreadable(
                frame.seq, time.monotonic(), why
            ) else None
            if spare is not None:  # its rescue was computed meanwhile
                outputs, times.tail_ms = spare
                self._finish(frame, outputs, Outcome.RESCUED, time.monotonic())
            self._shared.wake()
            return
        if frame.plan is not None and frame.plan.rest is not None:
            # As plans are priced: what codecs take between the pieces belongs to the pieces.
            times.tail_ms += answer.encode_ms
            times.rest_ms = _ms_since(started_s)
            if self._shared.table.returned(frame.seq, outputs):
                self._shared.wake()
            return
        self._finish(frame, outputs, Outcome.REMOTE, posted_s, decode_ms=_ms_since(started_s))

    def _finish(
        self,
        frame: Frame,
        outputs: list[np.ndarray],
        outcome: Outcome,
        posted_s: float,
        decode_ms: float = 0.0,
    ) -> None:
        """Decode the outputs, publish, end the frame."""
        shared = self._shared
        started_s = time.monotonic()
        shared.times.add(HANDOVER, (started_s - posted_s) * 1e3 - decode_ms, started_s)
        try:
            result = self._events.finish(outputs, frame.mapping)
            frame.times.finish_ms = _ms_since(started_s) + decode_ms
            if shared.table.publishable(frame.seq):
                frame.times.latency_ms = _ms_since(frame.acquired_s)
                self._events.on_result(
                    self._record(frame, outcome, DropReason.NONE, shared.table.counters()), result
                )
                frame.times.latency_ms = _ms_since(frame.acquired_s)
                shared.table.published(frame.seq, outcome)
                shared.times.add(FINISH, _ms_since(started_s), time.monotonic())
                if outcome is Outcome.REMOTE and frame.plan is not None:
                    shared.stages.note(frame.plan.epoch, frame.times)
        except Exception as error:
            shared.table.drop(frame.seq, DropReason.ERROR)
            self._log(describe_error(error), frame.seq)
            shared.wake()  # an older frame may be the one to rescue now
        else:
            shared.wake_for_work()

    def _report_ended(self) -> None:
        for ended in self._shared.table.take_ended():
            self._stop_sending(ended)
            if ended.frame.stood_in and ended.frame.plan is not None:
                with self._shared.changed:
                    self._shared.slot.repeat(ended.frame.plan)
                    self._shared.changed.notify_all()
            record = self._record(ended.frame, ended.outcome, ended.reason, ended.counters)
            try:
                self._events.on_report(record)
            except Exception as error:
                self._log(describe_error(error), ended.frame.seq)

    def _stop_sending(self, ended: EndedFrame) -> None:
        """Nobody waits for this frame's answer any more: its unsent slices stay here."""
        uplink = self._shared.uplink
        if uplink is None or ended.frame.uplink_bytes == 0 or ended.outcome is Outcome.REMOTE:
            return
        try:
            uplink.cancel(ended.frame.seq)
        except Exception as error:
            self._log(describe_error(error), ended.frame.seq)

    def _record(
        self, frame: Frame, outcome: Outcome, reason: DropReason, counters: Counters
    ) -> FrameRecord:
        deadline_ms = self._shared.settings.deadline_ms
        in_time = deadline_ms <= 0.0 or frame.times.latency_ms <= deadline_ms
        return FrameRecord(
            frame_seq=frame.seq,
            stamp_s=frame.stamp_s,
            token=frame.token,
            outcome=outcome,
            drop_reason=reason,
            plan=frame.plan,
            uplink_bytes=frame.uplink_bytes,
            times=replace(frame.times),
            deadline_met=outcome is not Outcome.DROPPED and in_time,
            pid=os.getpid(),
            compute_tid=self._shared.compute_tid,
            counters=counters,
            stood_in=frame.stood_in,
        )
