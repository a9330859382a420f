"""Stand-ins for the edges of the engine: a model of additions, a scripted uplink, a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
import heapq
import math
import random
import threading
import time
from typing import Any

import numpy as np

from dnn_offload.codec import bundle
from dnn_offload.errors import CutError
from dnn_offload.exchange import Answer, UplinkEvents, UplinkRequest
from dnn_offload.graph.cuts import Cut, signature
from dnn_offload.graph.routes import Ends, Route
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.frames import FramePlan, FrameRecord
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.plan_slot import PlanRequest
from dnn_offload.runtime.server_part import ServerParts
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.tensors import contiguous_strides, TensorSpec

SHAPE = (1, 2, 2, 3)
STAGES = 4


def spec(name: str, dtype: str = 'float32') -> TensorSpec:
    """A tensor of the fake model."""
    return TensorSpec(name, dtype, SHAPE, contiguous_strides(SHAPE))


class FakeModel:
    """``x -> x + 1`` four times; each step takes ``step_s`` (a live attribute)."""

    identity = 'fake'

    def __init__(self, step_s: float = 0.0) -> None:
        frontiers = [(spec('picture', 'uint8'),)]
        frontiers += [(spec(f'v{i}'),) for i in range(1, STAGES)]
        frontiers += [(spec('out'),)]
        self.cuts = tuple(
            Cut(i, signature(frontier), f'step {i}', i, i, frontier)
            for i, frontier in enumerate(frontiers)
        )
        self.outputs = self.cuts[-1].frontier
        self.step_s = step_s
        self.fail: Callable[[tuple[int, int]], None] = lambda span: None
        self.runs: list[tuple[int, int]] = []
        self.threads: list[int] = []
        self.held: list[tuple[int, int]] = []

    def segment(self, start: int, end: int) -> tuple[int, int]:
        return (start, end)

    def route(self, cut_id: str, return_id: str, frontier: Sequence[str]) -> Route:
        """A chain has no skips: what crosses a cut is all that is sent."""
        by_id = {cut.cut_id: cut for cut in self.cuts}
        by_name = {cut.frontier[0].name: cut for cut in self.cuts}
        first = by_name[frontier[0]] if frontier else by_id[cut_id]
        last = by_id[return_id] if return_id else self.cuts[-1]
        if first.index >= last.index:
            raise CutError('nothing is left for the server')
        names = [cut.frontier[0].name for cut in (self.cuts[0], first, last, self.cuts[-1])]
        steps = [Ends((a,), (b,)) for a, b in zip(names, names[1:], strict=False)]
        return Route(
            steps[0], first.frontier, first.frontier, steps[1], last.frontier,
            steps[2] if return_id else None, Ends((names[1],), (names[3],)), first.depth,
        )

    def piece(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> tuple[int, int]:
        at = {cut.frontier[0].name: cut.index for cut in self.cuts}
        return (at[inputs[0]], at[outputs[0]])

    def run(self, segment: tuple[int, int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.fail(segment)
        self.runs.append(segment)
        steps = segment[1] - segment[0]
        if self.step_s > 0.0:
            time.sleep(steps * self.step_s)
        return [arrays[0].astype(np.float32) + steps]

    def hold(self, segments: Sequence[tuple[int, int]]) -> None:
        self.held = list(segments)

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [array.astype(np.float16) for array in arrays]

    def set_threads(self, threads: int) -> None:
        self.threads.append(threads)


class FakeUplink:
    """A link and a server of its own thread: delays, drops, refuses, dies, comes back.

    Attributes:
        behave: Called for each request; returns 'answer', 'drop', 'refuse', 'supersede',
            'garbage' or 'silence' (no acknowledgement either).
        delay_s: Time from sending to the answer.
    """

    def __init__(self, model: FakeModel, events: UplinkEvents, delay_s: float = 0.005) -> None:
        self.model = model
        self.events = events
        self.delay_s = delay_s
        self.behave: Callable[[UplinkRequest], str] = lambda request: 'answer'
        self.begun: dict[int, tuple[UplinkRequest, float]] = {}
        self.sent: list[UplinkRequest] = []
        self.cancelled: list[int] = []
        self.lost_calls: list[tuple[str, str]] = []
        self.backlog = 0
        self._connected = {'server'}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    # Uplink
    def send(self, request: UplinkRequest, begun_s: float = math.inf) -> None:
        begun_s = min(begun_s, time.monotonic())
        if not request.complete:
            self.begun[request.frame_seq] = request, begun_s
            return
        self.sent.append(request)
        what = self.behave(request)
        seq = request.frame_seq
        if what == 'silence':
            return
        up_ms = 500.0 * self.delay_s + 1e3 * (time.monotonic() - begun_s)
        self._later(self.delay_s / 2, lambda: self.events.on_uplinked(seq, up_ms, up_ms))
        if what == 'answer':
            self._later(self.delay_s, lambda: self.events.on_answer(self.answer(request)))
        elif what == 'garbage':
            bad = Answer(seq, b'no bundle', 'raw', 0, 0, 0, 0, 0, 1, 1)
            self._later(self.delay_s, lambda: self.events.on_answer(bad))
        elif what == 'refuse':
            self._later(self.delay_s, lambda: self.events.on_refused(seq, 'because'))
        elif what == 'supersede':
            self._later(self.delay_s, lambda: self.events.on_superseded(seq))

    def send_more(self, server: str, frame_seq: int, part: bytes, *, last: bool) -> None:
        request, begun_s = self.begun.pop(frame_seq, (None, 0.0))
        if request is not None:
            self.send(replace(request, payload=request.payload + part, complete=last), begun_s)

    def cancel(self, frame_seq: int) -> None:
        self.begun.pop(frame_seq, None)
        self.cancelled.append(frame_seq)

    def connected(self, server: str) -> bool:
        return server in self._connected

    def backlog_bytes(self) -> int:
        return self.backlog

    def lost(self, server: str, why: str) -> None:
        self._connected.discard(server)
        self.lost_calls.append((server, why))

    # the script
    def connect(self, server: str = 'server') -> None:
        self._connected.add(server)
        self.events.on_connection(server, True, 'back')

    def disconnect(self, server: str = 'server') -> None:
        self._connected.discard(server)
        self.events.on_connection(server, False, 'gone')

    def answer(self, request: UplinkRequest) -> Answer:
        """Compute the tail as a server would."""
        part = ServerParts(self.model).find(
            request.cut_id, request.return_id, [spec.name for spec in request.specs]
        )
        start, end = part.span if isinstance(part.span[0], int) else self.model.piece(*part.span)
        arrays = bundle.decode(request.payload, part.inputs, max_bytes=1 << 20)
        outputs = [arrays[0].astype(np.float32) + (end - start)]
        payload = bundle.encode(outputs, part.outputs, request.result_codec)
        return Answer(request.frame_seq, payload, request.result_codec, 0.1, 0.2, 0.3, 0.4, 1.0,
                      2.0, 0.5)

    def close(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify()
        self._thread.join(5)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        with self._changed:
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + delay_s, self._count, call))
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if self._stop:
                    return
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is None or wait_s > 0.0:
                    self._changed.wait(wait_s)
                    continue
                call = heapq.heappop(self._due)[2]
            call()


@dataclass
class FakeNode:
    """Collects what the engine tells."""

    results: list[tuple[FrameRecord, Any]] = field(default_factory=list)
    reports: list[FrameRecord] = field(default_factory=list)
    plans: list[FramePlan] = field(default_factory=list)
    failed_plans: list[tuple[int, str]] = field(default_factory=list)
    errors: list[tuple[str, int]] = field(default_factory=list)
    connections: list[tuple[str, bool]] = field(default_factory=list)
    finish_s: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def finish(self, outputs: list[Any], mapping: Any) -> Any:
        if self.finish_s:
            time.sleep(self.finish_s)
        return float(outputs[0].ravel()[0]), mapping

    def on_result(self, record: FrameRecord, result: Any) -> None:
        self.results.append((record, result))

    def on_report(self, record: FrameRecord) -> None:
        with self.changed:
            self.reports.append(record)
            self.changed.notify_all()

    def on_plan(self, plan: FramePlan) -> None:
        with self.changed:
            self.plans.append(plan)
            self.changed.notify_all()

    def on_plan_failed(self, plan_id: int, why: str) -> None:
        with self.changed:
            self.failed_plans.append((plan_id, why))
            self.changed.notify_all()

    def on_failure(self, text: str, frame_seq: int) -> None:
        self.errors.append((text, frame_seq))

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        self.connections.append((server, connected))

    def wait(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait until something is true; checked after each report and plan."""
        end_s = time.monotonic() + timeout_s
        with self.changed:
            while not condition():
                assert time.monotonic() < end_s, f'timed out; errors: {self.errors[-3:]}'
                self.changed.wait(0.05)


class Stream:
    """Lets numbered pictures into an engine; the number comes back in the result."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.count = 0
        self._stamp_s = 0.0

    def push(self, age_s: float = 0.0) -> int:
        """One picture; returns its frame_seq."""
        self.count += 1
        number = self.count
        picture = np.full(SHAPE, number % 200, dtype=np.uint8)
        self._stamp_s = max(self._stamp_s + 1e-6, time.time() - age_s)
        return self.engine.enter(self._stamp_s, number, lambda: (picture, number))

    def run(self, frames: int, period_s: float, jitter: random.Random | None = None) -> None:
        """A stream of pictures."""
        for _ in range(frames):
            self.push()
            time.sleep(period_s * (jitter.uniform(0.2, 1.8) if jitter else 1.0))


def check_accounts(node: FakeNode, entered: int) -> None:
    """Every frame has exactly one report, results are right, in order, and counters add up."""
    seqs = [record.frame_seq for record in node.reports]
    assert sorted(seqs) == list(range(1, entered + 1))
    published = [record for record, _ in node.results]
    stamps = [record.stamp_s for record in published]
    assert all(a < b for a, b in zip(stamps, stamps[1:], strict=False))
    for record, (value, number) in node.results:
        assert number == record.token, record
        assert abs(value - (record.token % 200 + STAGES)) < 0.51, (value, record)
    for record in node.reports:
        counts = record.counters
        total = counts.remote + counts.local + counts.rescued + counts.dropped
        assert counts.entered == total + counts.in_flight
        assert counts.dropped == sum(counts.drop_reasons.values())
    final = max((record.counters for record in node.reports), key=lambda c: c.entered)
    assert final.entered == entered
    with_result = [r for r in node.reports if r.outcome != 3]
    assert [r.frame_seq for r in with_result] == [r.frame_seq for r in published]


class Rig:
    """An engine with all its fakes."""

    def __init__(self, step_s: float = 0.0, delay_s: float = 0.005, **settings: float) -> None:
        self.model = FakeModel(step_s)
        self.node = FakeNode()
        self.engine = InferenceEngine(self.model, self.node, EngineSettings(**settings))
        self.uplink = FakeUplink(self.model, self.engine, delay_s)
        self.stream = Stream(self.engine)

    def start(self, cut: int | None = None, codec: str = 'raw') -> Rig:
        self.engine.start(self.uplink)
        self.node.wait(lambda: len(self.node.plans) == 1)
        if cut is not None:
            self.plan(cut, codec)
            self.node.wait(lambda: len(self.node.plans) == 2)
        return self

    def plan(self, cut: int, codec: str = 'raw', plan_id: int = 1, server: str = 'server',
             private_layers: int = 0) -> bool:
        cut_id = self.model.cuts[cut].cut_id if server else ''
        return self.engine.set_plan(PlanRequest(plan_id, cut_id, codec, server, private_layers))

    def plan_two(self, cut: int, back: int, plan_id: int = 1, codec: str = 'raw') -> bool:
        """A plan with a second cut: the robot runs from ``back`` on."""
        cuts = self.model.cuts
        return self.engine.set_plan(PlanRequest(
            plan_id, cuts[cut].cut_id, codec, 'server',
            return_id=cuts[back].cut_id, return_codec='raw',
        ))

    def push_and_wait(self) -> None:
        before = len(self.node.reports)
        self.stream.push()
        self.node.wait(lambda: len(self.node.reports) > before)

    def stop(self) -> None:
        self.engine.stop()
        self.uplink.close()


def outcomes(rig: Rig) -> Counter[Outcome]:
    return Counter(record.outcome for record in rig.node.reports)
