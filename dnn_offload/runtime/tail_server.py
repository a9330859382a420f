"""The server's work: a short queue that forgets what is old, and one thread that computes.

Each robot has one place in the queue: its newer frame takes the place of its older one, which
is announced. Between robots the one that was served longest ago comes first, so that a fast
robot cannot starve a slow one. No ROS here; answers leave through a callback.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import statistics
import threading
import time
from typing import Any, NamedTuple

from dnn_offload.codec import bundle
from dnn_offload.cost.level import newest_level
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
from dnn_offload.exchange import TailJob, TailResult, Verdict
from dnn_offload.runtime.backends.base import LoadedModel, segment_of, stood_in
from dnn_offload.runtime.server_part import ServerPart, ServerParts
from dnn_offload.vision.preprocess import prepare, PreprocessSpec

MEMORY_S = 3.0          # how long a frame says something about queue and load
_ENOUGH_FRAMES = 3
_SHORTEST_TAIL_MS = 0.3  # shorter ones are mostly overhead and say nothing about load
_SHORTEST_STEP_S = 0.25  # frames that are all off for less are a hiccup


class _Load(NamedTuple):
    """What a frame told of the load: its compute time over the profiled one."""

    at_s: float
    load: float
    work: str  # whose frame, and between which cuts


class TailQueue:
    """One place per robot, the longest unserved robot first. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[str, TailJob] = {}
        self._served: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, job: TailJob) -> TailJob | None:
        """Take a frame; gives the older one of the same robot back, which it replaces."""
        superseded = self._waiting.get(job.client)
        self._waiting[job.client] = job
        return superseded

    def take(self) -> TailJob | None:
        """The next frame to compute, if any."""
        if not self._waiting:
            return None
        client = min(self._waiting, key=lambda name: self._served.get(name, 0))
        self._count += 1
        self._served[client] = self._count
        return self._waiting.pop(client)

    def cancel(self, client: str, frame_seq: int) -> bool:
        """Drop a waiting frame; True if it was there."""
        job = self._waiting.get(client)
        if job is None or job.frame_seq != frame_seq:
            return False
        del self._waiting[client]
        return True

    def forget(self, client: str) -> None:
        """The robot is gone."""
        self._waiting.pop(client, None)
        self._served.pop(client, None)

    def clear(self) -> list[TailJob]:
        """Empty the queue."""
        jobs = list(self._waiting.values())
        self._waiting.clear()
        return jobs


@dataclass(frozen=True)
class TailStatistics:
    """Where the server stands now.

    Attributes:
        served, superseded, refused: Counters since start.
        waiting: Frames in the queue.
        queue_ms: Expected wait of a frame that arrives now.
        load_factor: Compute time over profiled compute time; None without fresh evidence.
    """

    served: int
    superseded: int
    refused: int
    waiting: int
    queue_ms: float
    load_factor: float | None


class TailServer:
    """Computes tails, one at a time, in its own thread.

    Args:
        model: The model; used by the thread only, until another takes over.
        respond: Called with every frame's end, from the thread or from ``submit``; must be
            thread-safe.
        log: Called with what went wrong inside, in words.
        threads: Threads of the compute library.
        profile: The profile of this server, for the load factor.
        preprocess: What the network wants to see, for pictures that come as the camera made
            them; None = none is taken.
        max_bytes: Most that the decoded tensors of one frame may take.
    """

    def __init__(
        self,
        model: LoadedModel,
        respond: Callable[[TailResult], None],
        *,
        log: Callable[[str], None],
        threads: int = 1,
        profile: Profile | None = None,
        preprocess: PreprocessSpec | None = None,
        max_bytes: int = 256 << 20,
    ) -> None:
        self._model = model
        self._parts = ServerParts(model)
        self._coming: tuple[LoadedModel, Profile] | None = None
        self._respond = respond
        self._log = log
        self._threads = threads
        self._max_bytes = max_bytes
        self._preprocess = preprocess
        self._tail_ms: dict[str, float] = {}
        self._layers_ms: list[float] = []
        self._changed = threading.Condition()
        self._queue = TailQueue()
        self._running = False
        self._waits: deque[tuple[float, float]] = deque(maxlen=64)
        self._loads: deque[_Load] = deque(maxlen=64)
        self._compute_ms: deque[float] = deque(maxlen=16)
        self._served = self._superseded = self._refused = 0
        self._thread = threading.Thread(target=self._run, name='tail', daemon=True)
        if profile is not None:
            self._expect(profile)

    def start(self) -> None:
        """Start to compute."""
        self._running = True
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the frame that is being computed; waiting ones get no answer."""
        with self._changed:
            self._running = False
            self._queue.clear()
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def adopt(self, model: LoadedModel, profile: Profile) -> None:
        """Serve with another profile from the next frame on, and with what it is of.

        Args:
            model: The same network, used by nobody else; may be the one that runs.
            profile: What the load factor is relative to; older frames are no evidence.
        """
        with self._changed:
            self._coming = model, profile
            self._changed.notify()

    def _take_over(self) -> None:
        """What has come takes the place of what was; on the thread, the lock is held."""
        if self._coming is None:
            return
        (model, profile), self._coming = self._coming, None
        if model is not self._model:
            self._model, self._parts = model, ServerParts(model)
            self._compute_ms.clear()
            model.set_threads(self._threads)
        self._expect(profile)

    def _expect(self, profile: Profile) -> None:
        self._tail_ms = {cut.cut_id: cut.tail_ms for cut in profile.cuts}
        self._layers_ms = [layer.time_ms for layer in profile.layers]
        self._loads.clear()

    def submit(self, job: TailJob) -> None:
        """Take a frame; an older one of the same robot that still waits is superseded."""
        with self._changed:
            superseded = self._queue.put(job)
            if superseded is not None:
                self._superseded += 1
            self._changed.notify()
        if superseded is not None:
            waited_ms = 1e3 * (time.monotonic() - superseded.arrived_s)
            self._respond(TailResult(superseded, Verdict.SUPERSEDED, queue_ms=waited_ms))

    def cancel(self, client: str, frame_seq: int) -> None:
        """The robot does not want this frame any more."""
        with self._changed:
            self._queue.cancel(client, frame_seq)

    def forget(self, client: str) -> None:
        """The robot is gone; its frame is not computed."""
        with self._changed:
            self._queue.forget(client)

    def statistics(self, now_s: float | None = None) -> TailStatistics:
        """Where the server stands."""
        now_s = time.monotonic() if now_s is None else now_s
        with self._changed:
            waits = [wait for at_s, wait in self._waits if now_s - at_s <= MEMORY_S]
            loads = [seen.load for seen in self._loads if now_s - seen.at_s <= MEMORY_S]
            typical_ms = statistics.median(self._compute_ms) if self._compute_ms else 0.0
            # What is known now, or what frames met lately, whichever is worse.
            backlog_ms = typical_ms * len(self._queue)
            mean_wait_ms = statistics.fmean(waits) if waits else 0.0
            return TailStatistics(
                served=self._served,
                superseded=self._superseded,
                refused=self._refused,
                waiting=len(self._queue),
                queue_ms=max(backlog_ms, mean_wait_ms),
                load_factor=statistics.median(loads) if len(loads) >= _ENOUGH_FRAMES else None,
            )

    # ---- the compute thread ----------------------------------------------------------------

    def _run(self) -> None:
        self._model.set_threads(self._threads)
        while True:
            with self._changed:
                while self._running and not self._queue:
                    self._take_over()
                    self._changed.wait()
                if not self._running:
                    return
                self._take_over()
                job = self._queue.take()
            assert job is not None
            result = self._finish(job)
            with self._changed:
                self._served += result.verdict is Verdict.OK
                self._refused += result.verdict is Verdict.REFUSED
            try:
                self._respond(result)
            except Exception as error:  # a robot without an answer helps itself
                self._log(f'answer to {job.client}: {type(error).__name__}: {error}')

    def _finish(self, job: TailJob) -> TailResult:
        """Compute one frame; whatever happens, it ends in a result."""
        began_s = time.monotonic()
        queue_ms = 1e3 * (began_s - job.arrived_s)
        with self._changed:
            self._waits.append((began_s, queue_ms))
        if 0.0 < job.budget_ms < queue_ms:
            reason = f'too late: waited {queue_ms:.0f} ms of a budget of {job.budget_ms:.0f} ms'
            return TailResult(job, Verdict.REFUSED, reason, queue_ms=queue_ms)
        try:
            return self._compute(job, queue_ms)
        except OffloadError as error:
            return TailResult(job, Verdict.REFUSED, str(error), queue_ms=queue_ms)
        except Exception as error:  # one robot's frame must not end the service of all
            self._log(f'frame {job.frame_seq} of {job.client}: {type(error).__name__}: {error}')
            reason = f'the server failed on it: {type(error).__name__}'
            return TailResult(job, Verdict.REFUSED, reason, queue_ms=queue_ms)

    def _take_load(self, newest: _Load) -> None:
        """Remember what a frame took; all before a step in load says nothing any more.

        Frames of one kind are compared: others have ratios of their own.
        """
        self._loads.append(newest)
        alike = [
            seen for seen in self._loads
            if seen.work == newest.work and newest.at_s - seen.at_s <= MEMORY_S
        ]
        start = newest_level(
            [seen.load for seen in alike],
            enough=lambda index: newest.at_s - alike[index].at_s >= _SHORTEST_STEP_S,
        )
        if start:
            while self._loads[0] is not alike[start]:
                self._loads.popleft()

    def _expected_ms(self, job: TailJob, part: ServerPart, segment: Any) -> float:
        """What a frame's work took when it was profiled; 0 = not known [ms].

        The difference of two tails would be their noise: a route's layers are added up.
        """
        if isinstance(part.span[0], int):
            return self._tail_ms.get(job.cut_id, 0.0)
        if not self._layers_ms:
            return 0.0
        return sum(self._layers_ms[position] for position in segment.positions)

    def _compute(self, job: TailJob, queue_ms: float) -> TailResult:
        began_s = time.monotonic()
        part = self._parts.find(job.cut_id, job.return_id, job.names)
        spec = self._preprocess if part.is_picture else None
        arrays = bundle.decode(
            job.payload, part.inputs, max_bytes=self._max_bytes,
            prepare=None if spec is None else lambda bgr: prepare(bgr, spec, is_bgr=True)[0],
        )
        decoded_s = time.monotonic()
        segment = segment_of(self._model, part.span)
        outputs = self._model.run(segment, arrays)
        computed_s = time.monotonic()
        by_torch = stood_in(segment)
        specs = part.outputs
        halved = self._model.to_half(outputs) if job.result_codec == 'fp16' else outputs
        payload = bundle.encode(halved, specs, job.result_codec)
        encoded_s = time.monotonic()
        compute_ms = 1e3 * (computed_s - decoded_s)
        with self._changed:
            self._compute_ms.append(compute_ms)
            expected_ms = 0.0 if by_torch else self._expected_ms(job, part, segment)
            if expected_ms >= _SHORTEST_TAIL_MS:
                work = f'{job.client} {job.cut_id} {job.return_id}'
                self._take_load(_Load(computed_s, compute_ms / expected_ms, work))
        return TailResult(
            job, Verdict.OK, '', payload, specs, queue_ms=queue_ms,
            decode_ms=1e3 * (decoded_s - began_s), compute_ms=compute_ms,
            encode_ms=1e3 * (encoded_s - computed_s), stood_in=by_torch,
        )
