"""The worker thread: the only one that computes with the model.

It asks ``scheduling.decide`` what to do, does it without the lock, and waits on a condition
when there is nothing: no polling.
"""

from __future__ import annotations

from collections.abc import Sequence
import threading
import time

import numpy as np

from dnn_offload.codec import bundle
from dnn_offload.codec.chunks import CHUNK_BYTES
from dnn_offload.codec.layout import Target
from dnn_offload.codec.registry import names_for_cut
from dnn_offload.errors import ImageError, OffloadError
from dnn_offload.exchange import UplinkRequest
from dnn_offload.runtime.backends.base import segment_of, stood_in
from dnn_offload.runtime.expectations import expect
from dnn_offload.runtime.frames import Frame, FramePlan, JpegSource, PictureSource, Span
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.runtime.outlook import (
    beginning_key,
    pace_key,
    rescue_time,
    run_key,
    running_plan,
    sending_key,
    situation,
)
from dnn_offload.runtime.plan_slot import FALLBACK_LABEL, PRIVATE_LABEL
from dnn_offload.runtime.responder import Responder
from dnn_offload.runtime.scheduling import decide, Decision, Job
from dnn_offload.runtime.shared import PREPROCESS, Shared, Spent, ThreadClock
from dnn_offload.tensors import TensorSpec

REFUSALS_UNTIL_LOST = 3  # refusals in a row after which a server counts as lost
MAX_WAIT_S = 3600.0  # Condition.wait overflows on infinity


class Worker:
    """Owns the thread.

    Args:
        shared: The engine's state.
        responder: Where outputs and errors go.
    """

    def __init__(self, shared: Shared, responder: Responder) -> None:
        self._shared = shared
        self._responder = responder
        self._thread = threading.Thread(target=self._loop, name='worker', daemon=True)
        self._clock: ThreadClock | None = None
        self._threads = 0
        self._refusals = 0

    def start(self) -> None:
        """Start the thread; it warms the whole network first."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after ``shared.running`` has become False."""
        self._thread.join(timeout_s)

    def note_refused(self, server: str, reason: str) -> None:
        """A server refused a frame; several in a row mean that it is of no use."""
        self._refusals += 1
        if self._refusals >= REFUSALS_UNTIL_LOST:
            self._refusals = 0
            self._lose(server, f'{REFUSALS_UNTIL_LOST} refusals in a row, the last: {reason}')

    def note_answered(self) -> None:
        """A server answered a frame."""
        self._refusals = 0

    # -- deciding -----------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            try:
                self.begin()
            except Exception as error:  # cold it computes as well
                self._responder.post_error(error)
            while self._shared.running:
                try:
                    self.step()
                except Exception as error:  # not a frame's fault: say so, do not spin
                    self._responder.post_error(error)
                    time.sleep(0.1)
        finally:
            if self._clock is not None:
                self._clock.close()

    def begin(self) -> None:
        """Warm the network and the codecs; on the worker's thread, before the first ``step``."""
        self._clock = ThreadClock()
        self._shared.compute_tid = threading.get_native_id()
        self._apply_threads()
        self._warm((0, self._shared.slot.last_cut), self._shared.slot.cut(0).frontier)
        self._hold(())
        self._warm_codecs()

    def step(self) -> None:
        """Decide once, and do it or wait; on the worker's thread."""
        shared = self._shared
        self._apply_threads()
        self._adopt()
        with shared.changed:
            if not shared.running:
                return
            decision = decide(situation(shared, time.monotonic()))
            if decision.job is Job.WAIT:
                shared.changed.wait(
                    min(max(decision.until_s - time.monotonic(), 0.0), MAX_WAIT_S)
                )
                return
            frame = self._take(decision)
            cold = shared.slot.next_to_warm() if decision.job is Job.WARM else None
            specs = shared.slot.specs_before(cold[0]) if cold is not None else ()
            active = shared.slot.active
        if decision.job is Job.COMMIT:
            self._hold(shared.slot.spans(active))
        elif cold is not None:
            self._warm(cold[0], specs)
        elif frame is not None and decision.job is Job.START:
            self._start(frame)
        elif frame is not None and decision.job is Job.RESCUE:
            self._rescue(frame)
        elif frame is not None and decision.job is Job.REST:
            self._rest(frame)

    def _take(self, decision: Decision) -> Frame | None:
        """The part of a job that must happen under the lock."""
        shared, table = self._shared, self._shared.table
        now_s = time.monotonic()
        if decision.job is Job.COMMIT:
            plan = shared.slot.commit()
            if plan is not None:
                self._responder.post_plan(plan)
        elif decision.job is Job.GIVE_UP:
            frame = table.to_rescue()
            if frame is not None and table.drop(frame.seq, DropReason.CANNOT_RESCUE):
                self._responder.flush()
                self._blame(frame)
        elif decision.job is Job.RESCUE:
            frame = table.to_rescue()
            return table.begin_rescue(frame.seq) if frame is not None else None
        elif decision.job is Job.REST:
            frame = table.to_complete()
            return table.begin_rest(frame.seq) if frame is not None else None
        elif decision.job is Job.START and table.waiting is not None:
            plan = running_plan(shared, now_s)
            if plan.is_local:
                shared.note_whole(now_s)
            frame = table.start(table.waiting.seq, now_s)
            if frame is not None:
                frame.plan = plan
                shared.slot.started(plan)
            return frame
        return None

    # -- doing --------------------------------------------------------------------------

    def _run(
        self, frame: Frame, span: Span, arrays: list[np.ndarray]
    ) -> tuple[list[np.ndarray], Spent]:
        model = self._shared.model
        if span[0] == span[1]:
            return arrays, Spent(0.0, 0.0, 0.0)
        segment = segment_of(model, span)
        assert self._clock is not None
        outputs, spent = self._clock.measure(lambda: model.run(segment, arrays))
        if stood_in(segment):
            frame.stood_in = True
        else:
            self._shared.times.add(run_key(span), spent.wall_ms, time.monotonic(), spent.cpu_ms)
        return outputs, spent

    def _apply_threads(self) -> None:
        shared = self._shared
        with shared.lock:
            wanted = shared.slot.active.threads or shared.settings.threads
        if wanted == self._threads:
            return
        shared.model.set_threads(wanted)
        shared.times.restart(shared.baselines(wanted) if self._threads else {})
        with shared.lock:
            if self._threads:
                shared.slot.cool()
            self._threads = wanted

    def _adopt(self) -> None:
        """Take the profile that has come, and what it is of: before a frame, never within one."""
        shared = self._shared
        with shared.lock:
            coming, shared.coming = shared.coming, None
            if coming is None:
                return
            model, profile = coming
            is_other = model is not shared.model
            if is_other:
                shared.model = model
                shared.slot.adopt(model)
            spans = shared.slot.spans(shared.slot.active)
        if is_other:
            model.set_threads(self._threads)
            shared.times.restart({})  # what ran before says nothing
            self._hold(spans)
        expect(shared, profile, self._threads)

    def _warm(self, span: Span, specs: Sequence[TensorSpec]) -> None:
        """Run a slice once on zeros; a plan whose slice fails is given up.

        A cold run is slower than the next ones: it counts only where nothing else is known.
        """
        shared = self._shared
        assert self._clock is not None
        try:
            segment = segment_of(shared.model, span)
            arrays = []
            for spec in specs:
                target = Target(spec)
                target.flat[...] = 0
                arrays.append(target.array())
            _, spent = self._clock.measure(lambda: shared.model.run(segment, arrays))
            if not shared.times.knows(run_key(span)):
                shared.times.add(run_key(span), spent.wall_ms, time.monotonic())
            with shared.lock:
                shared.slot.warmed(span)
        except Exception as error:
            with shared.lock:
                plan = shared.slot.not_warmed(span)
            if plan is not None:
                self._responder.post_plan_failed(plan.plan_id, error)
            else:  # the whole network at the start, or a plan that is not wanted any more
                self._responder.post_error(error)

    def _hold(self, spans: Sequence[Span]) -> None:
        """Keep the whole network and the pieces of the plan in force ready, whatever is tried."""
        shared = self._shared
        try:
            shared.model.hold([
                segment_of(shared.model, span) for span in ((0, shared.slot.last_cut), *spans)
            ])
        except Exception as error:  # a slice that cannot be made: its frames say so, too
            self._responder.post_error(error)

    def _warm_codecs(self) -> None:
        """Run each codec once on zeros: the first use of one reads 1.5 MB of code from disk."""
        slot = self._shared.slot
        for cut in (slot.cut(0), slot.cut(1)):
            arrays = [np.zeros(spec.shape, spec.dtype) for spec in cut.frontier]
            for name in names_for_cut(cut.index == 0):
                try:
                    bundle.encode(arrays, cut.frontier, name)
                except OffloadError as error:  # then plans with it fail too, and say so
                    self._responder.post_error(error)

    def _start(self, frame: Frame) -> None:
        """Preprocess, run the head (or everything), encode, hand over."""
        plan, source = frame.plan, frame.source
        assert plan is not None and source is not None and self._clock is not None
        try:
            if isinstance(source, JpegSource) and self._passes(source, plan):
                frame.passed, frame.mapping = True, source.mapping
                why_not = self._send_jpeg(frame, plan, source.jpeg)
                if why_not:
                    frame.passed = False
                    self._finish_here(frame, plan, [self._picture(frame, source)], why_not)
                return
            arrays, spent = self._run(frame, plan.head, [self._picture(frame, source)])
            frame.source = None
            frame.times.head_ms = spent.wall_ms
            frame.times.head_cpu_ms = spent.cpu_ms
            frame.times.head_wait_ms = spent.wait_ms
            why_not = '' if plan.is_local else self._send(frame, plan, arrays)
            if plan.is_local or why_not:
                self._finish_here(frame, plan, arrays, why_not)
        except Exception as error:
            self._drop(frame, error)

    def _drop(self, frame: Frame, error: Exception) -> None:
        self._shared.table.drop(frame.seq, _reason(error))
        self._responder.post_error(error, frame.seq)

    def _picture(self, frame: Frame, source: PictureSource) -> np.ndarray:
        """Make a frame's input of its camera picture."""
        assert self._clock is not None
        (picture, frame.mapping), spent = self._clock.measure(source)
        frame.times.preprocess_ms = spent.wall_ms
        self._shared.times.add(PREPROCESS, spent.wall_ms, time.monotonic(), spent.cpu_ms)
        return picture

    def _passes(self, source: JpegSource, plan: FramePlan) -> bool:
        """Whether a frame's JPEG goes to the server as it came."""
        shared = self._shared
        picture = shared.slot.cut(0).frontier
        leaves = picture if plan.route is None and plan.cut_index == 0 else ()
        if plan.route is not None and plan.route.sent == plan.route.kept:
            leaves = plan.route.sent
        if plan.is_local or leaves != picture or plan.codec != 'jpeg':
            return False
        if len(source.jpeg) > picture[0].nbytes:
            return False
        with shared.lock:
            return shared.passing.wanted(
                shared.settings.pass_jpeg, pace_key(plan), len(source.jpeg), shared.bytes_per_ms,
                time.monotonic(),
            )

    def _send_jpeg(self, frame: Frame, plan: FramePlan, jpeg: bytes) -> str:
        """Hand the camera's JPEG over; else the label of why the frame must be finished here."""
        specs = self._shared.slot.cut(0).frontier
        if not self._shared.slot.allows(plan):
            return PRIVATE_LABEL
        return self._hand_over(frame, plan, specs, bundle.wrap_jpeg(jpeg, specs[0]), None)

    def _finish_here(
        self, frame: Frame, plan: FramePlan, arrays: list[np.ndarray], label: str
    ) -> None:
        """Run what is left of a frame that is not sent, and hand its outputs over."""
        shared = self._shared
        if not plan.is_local:
            frame.uplink_bytes = 0
            frame.plan = shared.slot.here(plan, label)
            arrays, spent = self._run(frame, plan.tail, arrays)
            frame.times.head_ms += spent.wall_ms
            frame.times.head_cpu_ms += spent.cpu_ms
            frame.times.head_wait_ms += spent.wait_ms
        if shared.table.computed(frame.seq):
            self._responder.post_outputs(frame, arrays, Outcome.LOCAL)

    def _send(self, frame: Frame, plan: FramePlan, arrays: list[np.ndarray]) -> str:
        """Encode and hand over; else the label of why the frame must be finished here."""
        shared = self._shared
        route, sent = plan.route, arrays
        if route is None:
            specs = shared.slot.cut(plan.cut_index).frontier
        else:  # only what the server needs
            specs = route.sent
            made = {spec.name: array for spec, array in zip(route.kept, arrays, strict=True)}
            sent = [made[spec.name] for spec in specs]
        assert self._clock is not None

        def begin() -> tuple[bundle.Encoder, bytes]:
            halved = shared.model.to_half(sent) if plan.codec == 'fp16' else sent
            encoder = bundle.Encoder(halved, specs, plan.codec)
            return encoder, encoder.take(CHUNK_BYTES)

        if not shared.slot.allows(plan):
            return PRIVATE_LABEL
        (encoder, payload), spent = self._clock.measure(begin)
        frame.times.encode_ms = spent.wall_ms
        if encoder.done:
            shared.times.add(sending_key(plan), spent.wall_ms, time.monotonic())
            return self._hand_over(frame, plan, specs, payload, arrays)
        shared.times.add(beginning_key(plan), spent.wall_ms, time.monotonic())
        why_not = self._hand_over(frame, plan, specs, payload, arrays, complete=False)
        if not why_not and not self._send_rest(frame, plan, encoder):
            assert shared.uplink is not None
            shared.uplink.cancel(frame.seq)
        return why_not

    def _send_rest(self, frame: Frame, plan: FramePlan, encoder: bundle.Encoder) -> bool:
        """Encode the rest of a payload while its beginning is on its way; False if not to the end.

        The rescue, which is this thread's as well, does not wait for an encoder that is late.
        """
        shared, table, times = self._shared, self._shared.table, frame.times
        assert self._clock is not None and shared.uplink is not None
        part_s = 0.0  # the next is expected to take as long as the one before
        try:
            while table.awaits_answer(frame.seq):
                if frame.rescue_fits and time.monotonic() + part_s >= frame.rescue_at_s:
                    table.answer_will_not_come(frame.seq, time.monotonic(), 'encoding is late')
                    return False
                part, spent = self._clock.measure(lambda: encoder.take(CHUNK_BYTES))
                part_s = 1e-3 * spent.wall_ms
                times.encode_ms += spent.wall_ms
                frame.encoded_s = time.monotonic()
                frame.behind_ms += spent.wall_ms
                frame.uplink_bytes += len(part)
                with shared.lock:
                    shared.note_sending(len(part), frame.encoded_s)
                shared.uplink.send_more(plan.server, frame.seq, part, last=encoder.done)
                if encoder.done:
                    shared.times.add(sending_key(plan), times.encode_ms, frame.encoded_s)
                    return True
        except Exception as error:
            table.answer_will_not_come(frame.seq, time.monotonic(), 'encoding failed')
            self._responder.post_error(error, frame.seq)
        return False

    def _hand_over(
        self, frame: Frame, plan: FramePlan, specs: Sequence[TensorSpec], payload: bytes,
        kept: list[np.ndarray] | None, *, complete: bool = True,
    ) -> str:
        """Give a payload to the uplink; else the label of why the frame is finished here."""
        shared, now_s = self._shared, time.monotonic()
        frame.uplink_bytes = len(payload)
        frame.kept = kept
        free_s = now_s  # of the worker, which would have to rescue
        if not complete:
            encode_ms = shared.times.expected_ms(sending_key(plan), now_s)
            free_s += 1e-3 * max(encode_ms - frame.times.encode_ms, 0.0)
        rescue_at_s, fits = rescue_time(shared, frame, plan, free_s)
        request = UplinkRequest(
            frame.seq, plan.epoch, plan.server, plan.cut_id, plan.codec,
            plan.return_codec or shared.settings.result_codec, tuple(specs), payload,
            max(0.0, (rescue_at_s - now_s) * 1e3) if frame.deadline_s < float('inf') else 0.0,
            plan.return_id, complete,
        )
        with shared.lock:  # no stricter request comes in between asking and sending
            if not shared.slot.allows(plan):
                return PRIVATE_LABEL
            if not fits and shared.misses.doubted(plan.server, now_s):
                return FALLBACK_LABEL
            if not shared.table.sent(frame.seq, rescue_at_s, fits):
                return ''  # has ended
            try:
                if not shared.connected(plan.server):
                    why = 'server lost before sending'
                    shared.table.answer_will_not_come(frame.seq, now_s, why)
                else:
                    assert shared.uplink is not None
                    shared.misses.sent(frame.seq, plan.server, now_s)
                    shared.pace.sent(frame.seq, pace_key(plan), now_s)
                    shared.note_sending(len(payload), now_s)
                    shared.uplink.send(request)
            except Exception as error:
                shared.table.answer_will_not_come(frame.seq, now_s, 'sending failed')
                self._responder.post_error(error, frame.seq)
        return ''

    def _rescue(self, frame: Frame) -> None:
        """Finish a frame from its kept cut tensors."""
        shared, plan = self._shared, frame.plan
        assert plan is not None
        kept, source = frame.kept, frame.source
        self._blame(frame)
        if kept is None and (source is None or not frame.passed):  # ended in the meantime
            return
        try:
            if kept is None and source is not None:
                kept = [self._picture(frame, source)]
            outputs, spent = self._run(frame, plan.tail, kept or [])
            if shared.table.computed(frame.seq, (outputs, spent.wall_ms)):
                frame.times.tail_ms = spent.wall_ms
                self._responder.post_outputs(frame, outputs, Outcome.RESCUED)
        except Exception as error:
            shared.table.rescue_failed(frame.seq, _reason(error))
            self._responder.post_error(error, frame.seq)

    def _rest(self, frame: Frame) -> None:
        """Run what comes after the server's part, from its answer and the kept tensors."""
        plan, kept, returned = frame.plan, frame.kept, frame.returned
        if plan is None or plan.route is None or plan.rest is None:
            return
        source = frame.source if frame.passed else None
        if returned is None or (kept is None and source is None):  # ended in the meantime
            return
        route = plan.route
        try:
            if kept is None and source is not None:
                wanted = route.kept[0].name in plan.rest.inputs
                kept = [self._picture(frame, source) if wanted else np.empty(0, np.uint8)]
            values = dict(zip((spec.name for spec in route.kept), kept or (), strict=True))
            values |= dict(zip((spec.name for spec in route.returned), returned, strict=True))
            outputs, spent = self._run(
                frame, plan.rest, [values[name] for name in plan.rest.inputs]
            )
            frame.times.rest_ms += spent.wall_ms  # decoding what came back is in it
            self._responder.post_outputs(frame, outputs, Outcome.REMOTE)
        except Exception as error:
            self._shared.table.drop(frame.seq, DropReason.ERROR)
            self._responder.post_error(error, frame.seq)

    def _blame(self, frame: Frame) -> None:
        """No answer in time: the server is doubted or lost, unless a better reason is known."""
        if frame.plan is None or frame.rescue_why != '':
            return
        with self._shared.lock:
            if frame.passed:
                self._shared.passing.missed(time.monotonic())
            why = self._shared.misses.missed(frame.seq, time.monotonic(), frame.rescue_fits)
        if why:
            self._lose(frame.plan.server, why)

    def _lose(self, server: str, why: str) -> None:
        uplink = self._shared.uplink
        if uplink is not None and uplink.connected(server):
            uplink.lost(server, why)


def _reason(error: Exception) -> DropReason:
    return DropReason.BAD_IMAGE if isinstance(error, ImageError) else DropReason.ERROR
