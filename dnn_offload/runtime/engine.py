"""The inference engine: frames in, results and reports out, whatever the link does.

How a node uses it::

    model = TorchBackend().load(folder)                      # runtime/backends
    engine = InferenceEngine(model, events, settings, clock_s=node_clock, profile=profile)
    uplink = DdsUplink(..., events=engine)                   # transport/uplink.py
    engine.start(uplink)                                     # or start(None): no servers
    engine.set_plan(PlanRequest(plan_id, cut_id, codec, server))       # any thread
    seq = engine.enter(stamp_s, (header, image), picture_source)       # image callback
    engine.configure(deadline_ms=80.0, window=2, threads=1)            # any thread, any time
    engine.note_load(1.7, 'probe')                           # from the load monitor
    engine.adopt(model, profile)                             # the same network, measured
    engine.counters(), engine.compute_tid, engine.active_plan
    engine.stop()                                            # drops what is left, joins

``events`` is an ``EngineEvents`` (``settings.py``); all its methods run on one thread, the
responder. ``picture_source`` runs on the worker thread and returns ``(picture, mapping)``.

What happens to a frame whose answer does not come, with deadline D
(docs/architecture.md, "The path of a frame"):

* It is rescued at ``D - p95(local tail, at the load of now) - p95(finish and publish) -
  2 p95(waking a thread) - margin``, from the kept cut tensors, if no newer frame is unanswered.
  The answer may still overtake the rescue.
* Older unanswered frames end as ``no_answer`` when a newer result is published.
* Its server counts as lost if it was silent since, or at the second such frame in a row
  (``misses.py``); frames run all on the robot (label ``fallback``) until the uplink says that
  it is connected again.
* If the tail does not fit into what is left of D, the answer has until D (or as long as the
  tail would take, if that is later). Then the frame is dropped as ``cannot_rescue`` where
  a newer frame waits to be worked on, else finished late: a late result beats none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math
import time
from typing import Any

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
from dnn_offload.exchange import Answer, Uplink
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.expectations import expect
from dnn_offload.runtime.frames import Counters, FramePlan, PictureSource
from dnn_offload.runtime.plan_slot import PlanRequest
from dnn_offload.runtime.responder import Responder
from dnn_offload.runtime.settings import EngineEvents, EngineSettings
from dnn_offload.runtime.shared import Shared
from dnn_offload.runtime.worker import Worker

STOP_TIMEOUT_S = 10.0


class InferenceEngine:
    """Runs one model under one plan at a time; implements ``exchange.UplinkEvents``.

    An engine is started once and stopped once. All methods may be called by any thread and
    return at once (``stop`` waits for the work in progress).

    Args:
        model: The model, not used by anybody else.
        events: The node.
        settings: Initial settings.
        clock_s: The clock that stamps the pictures; its differences are used, with sim time
            too [s].
        profile: Measured profile that seeds the expectations; they are learnt anyway.
    """

    def __init__(
        self,
        model: LoadedModel,
        events: EngineEvents,
        settings: EngineSettings | None = None,
        *,
        clock_s: Callable[[], float] = time.time,
        profile: Profile | None = None,
    ) -> None:
        self._shared = Shared(model, settings or EngineSettings(), clock_s)
        self._events = events
        self._responder = Responder(self._shared, events)
        self._worker = Worker(self._shared, self._responder)
        self._told_unstamped = False
        if profile is not None:
            expect(self._shared, profile, profile.threads)

    # -- life ---------------------------------------------------------------------------

    def start(self, uplink: Uplink | None = None) -> None:
        """Start the threads; the worker warms the whole network before the first frame."""
        shared = self._shared
        with shared.lock:
            if shared.running:
                raise OffloadError('engine is running already')
            shared.uplink = uplink
            shared.running = True
        self._responder.start()
        self._responder.post_plan(shared.slot.active)
        self._worker.start()

    def stop(self) -> None:
        """End both threads; every frame left is reported as ``shutdown`` before it returns."""
        shared = self._shared
        with shared.changed:
            if not shared.running:
                return
            shared.running = False
            shared.changed.notify_all()
        self._worker.join(STOP_TIMEOUT_S)
        self._responder.stop(STOP_TIMEOUT_S)

    def adopt(self, model: LoadedModel, profile: Profile) -> None:
        """Go on with another profile from the next frame on, and with what it is of.

        Such as the measured one after a provisional one, and the same network by the backend that
        was fastest. What is in flight is finished; what plans are warm is warmed anew.

        Args:
            model: The same network, used by nobody else from now on; may be the one that runs.
            profile: Its profile.

        Raises:
            OffloadError: It is another network.
        """
        shared = self._shared
        if model.identity != shared.model.identity:
            raise OffloadError(
                'another network cannot take over', given=model.identity[:12],
                allowed=shared.model.identity[:12], hint='stop this engine and make one for it',
            )
        with shared.changed:
            shared.coming = model, profile
            shared.changed.notify_all()

    # -- work ---------------------------------------------------------------------------

    def enter(self, stamp_s: float, token: Any, source: PictureSource) -> int:
        """Let a picture in; it takes the place of one that waits.

        Args:
            stamp_s: Its acquisition stamp on ``clock_s``'s clock [s]; 0 = none, now is taken.
            token: Comes back in every record of this frame.
            source: Gives picture and mapping, on the worker thread.

        Returns:
            Its frame_seq; 0 if the engine is not running (then nothing is counted).
        """
        shared = self._shared
        clock_s = shared.clock_s()
        unstamped = stamp_s == 0.0
        if unstamped:
            stamp_s = clock_s
        age_s = max(0.0, clock_s - stamp_s)
        with shared.changed:
            if not shared.running:
                return 0
            tell = unstamped and not self._told_unstamped
            self._told_unstamped |= unstamped
            now_s = time.monotonic()
            frame = shared.table.enter(stamp_s, now_s - age_s, now_s, token, source)
            shared.changed.notify_all()
        if tell:
            self._responder.post_error(
                'pictures have no stamp: taken as new when they come in, their age is not known; '
                'let the driver stamp them', frame.seq,
            )
        if shared.table.has_ended:  # the one that it superseded, or itself
            self._responder.flush()
        return frame.seq

    def reject(self, stamp_s: float, token: Any, why: str) -> int:
        """Count a picture that cannot even be read: it enters and ends as ``bad_image``."""
        shared = self._shared
        with shared.changed:
            if not shared.running:
                return 0
            seq = shared.table.reject(stamp_s, time.monotonic(), token).seq
        self._responder.post_error(why, seq)
        return seq

    def set_plan(self, wanted: PlanRequest) -> bool:
        """Prepare a plan and switch to it when it is warm; the active one goes on till then.

        ``private_layers`` acts at once: what it forbids is not sent from now on, a frame that
        is being sent is stopped and finished here.

        Returns:
            False if the cut is unknown, the codec is, or the plan contradicts itself
            (reported by ``on_failure`` and ``on_plan_failed``).
        """
        shared = self._shared
        with shared.changed:
            try:
                shared.slot.request(wanted, time.monotonic())
            except OffloadError as error:
                self._responder.post_plan_failed(wanted.plan_id, error)
                return False
            finally:
                self._recall_private()
                shared.changed.notify_all()
        return True

    def try_plan(self, wanted: PlanRequest, frames: int) -> bool:
        """Run single frames under a plan, so that its price is known; the active one goes on.

        They run when nothing else is in flight, each with a result like any other. A plan that
        is tried already gives way to this one.

        Args:
            wanted: A plan with a server.
            frames: How many frames.

        Returns:
            False if the cut or the codec is unknown (reported by ``on_plan_failed``).
        """
        shared = self._shared
        with shared.changed:
            try:
                shared.slot.request_trial(wanted, frames, time.monotonic())
            except OffloadError as error:
                self._responder.post_plan_failed(wanted.plan_id, error)
                return False
            shared.changed.notify_all()
        return True

    def set_scout_period(self, period_s: float) -> None:
        """Run one frame all on the robot every ``period_s`` [s] under a plan that offloads.

        Its report tells the planner what that costs now, which no load signal knows exactly.
        0, and what is no time, = never.
        """
        with self._shared.lock:
            self._shared.scout_period_s = period_s if math.isfinite(period_s) else 0.0

    def _recall_private(self) -> None:
        """Stop sending what may not leave any more; the caller holds the lock."""
        shared = self._shared
        for frame in shared.table.unanswered():
            if frame.plan is not None and not shared.slot.allows(frame.plan):
                shared.table.answer_will_not_come(frame.seq, time.monotonic(), 'private')
                if shared.uplink is not None:
                    shared.uplink.cancel(frame.seq)

    def configure(self, **changes: Any) -> None:
        """Change fields of ``EngineSettings``; raises ConfigurationError and changes nothing."""
        with self._shared.changed:
            self._shared.settings = replace(self._shared.settings, **changes)
            self._shared.changed.notify_all()

    def note_load(self, factor: float, source: str = 'schedstat') -> None:
        """Tell the slow-down against an idle machine (``Load.factor``, ``factor_source``).

        It matters where nothing else tells the load: when pictures go out as they are.
        """
        self._shared.times.note_load(factor, source, time.monotonic())

    # -- looking at it ------------------------------------------------------------------

    @property
    def settings(self) -> EngineSettings:
        """Settings in force."""
        return self._shared.settings

    @property
    def active_plan(self) -> FramePlan:
        """The plan under which the next frame runs (a lost server is not shown here)."""
        with self._shared.lock:
            return self._shared.slot.active

    @property
    def compute_tid(self) -> int:
        """Native id of the worker thread; 0 before it runs."""
        return self._shared.compute_tid

    def counters(self) -> Counters:
        """Frame counters now."""
        return self._shared.table.counters()

    # -- UplinkEvents -------------------------------------------------------------------

    def on_uplinked(self, frame_seq: int, uplink_ms: float, own_ms: float) -> None:
        """The last slice of a frame has been acknowledged."""
        self._note_heard(frame_seq)
        frame = self._shared.table.get(frame_seq)
        if frame is not None:
            now_s = time.monotonic()
            frame.times.uplink_ms = uplink_ms
            # Its own slices may have begun to go later than they were handed over.
            in_time_ms = 1e3 * (frame.encoded_s - now_s) + uplink_ms
            frame.times.overlap_ms = min(max(in_time_ms, 0.0), frame.behind_ms)
            self._shared.note_sent(frame.uplink_bytes, own_ms, now_s)
        self._shared.wake_for_work()

    def on_answer(self, answer: Answer) -> None:
        """An answer is complete."""
        self._note_heard(answer.frame_seq)
        self._worker.note_answered()
        with self._shared.lock:
            frame = self._shared.table.answered(answer.frame_seq)
            if frame is not None:
                self._shared.misses.answered(answer.frame_seq)
                busy_ms = answer.decode_ms + answer.compute_ms + answer.encode_ms
                self._shared.pace.answered(answer.frame_seq, answer.queue_ms, busy_ms)
        if frame is not None:
            self._responder.post_answer(frame, answer)

    def on_superseded(self, frame_seq: int) -> None:
        """The server took a newer frame of ours instead."""
        self._note_heard(frame_seq)
        if self._shared.table.superseded_at_server(frame_seq):
            self._responder.flush()
            self._shared.wake()

    def on_refused(self, frame_seq: int, reason: str) -> None:
        """The server refused the frame: finish it here."""
        self._note_heard(frame_seq)
        frame = self._shared.table.get(frame_seq)
        why = f'refused by the server: {reason}'
        if self._shared.table.answer_will_not_come(frame_seq, time.monotonic(), why):
            self._responder.post_error(why, frame_seq)
            if frame is not None and frame.passed:  # the picture may be damaged, not the server
                with self._shared.lock:
                    self._shared.passing.refused(time.monotonic())
            elif frame is not None and frame.plan is not None:
                self._worker.note_refused(frame.plan.server, reason)
            self._shared.wake()

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """A server accepted us, or was lost: its frames are finished here at once."""
        with self._shared.lock:
            self._shared.misses.forget(server)
        if not connected:
            now_s, table, why = time.monotonic(), self._shared.table, f'server lost: {reason}'
            for frame in table.unanswered():
                if frame.plan is not None and frame.plan.server == server:
                    table.answer_will_not_come(frame.seq, now_s, why)
        self._responder.post(self._events.on_connection, server, connected, reason)
        self._shared.wake()

    def _note_heard(self, frame_seq: int) -> None:
        with self._shared.lock:
            self._shared.misses.heard(frame_seq, time.monotonic())
