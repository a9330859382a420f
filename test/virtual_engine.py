"""The engine in virtual time: one thread, exact clocks, the same course on every machine.

The real worker and responder run step by step on the test's thread. Time passes only where the
worker waits, or where the fake model or node "sleeps"; meanwhile what is due elsewhere happens
(pictures come in, answers arrive), in order. So the deadline promise is tested to the
microsecond, and a busy test machine changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
import heapq

import pytest

from dnn_offload.runtime import engine, responder, shared, worker
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.settings import EngineSettings
import engine_parts
from engine_parts import FakeModel, FakeNode, FakeUplink, Rig, Stream

EPOCH_S = 1.7e9  # what the wall clock shows at virtual time 0


class VirtualTime:
    """Stands in for the module ``time``."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now_s

    perf_counter = thread_time = monotonic

    def time(self) -> float:
        return EPOCH_S + self.now_s

    def sleep(self, duration_s: float) -> None:
        """Let everything happen that is due meanwhile."""
        end_s = self.now_s + duration_s
        while self._due and self._due[0][0] <= end_s:
            self.next_event()
        self.now_s = max(self.now_s, end_s)

    def at(self, instant_s: float, call: Callable[[], object]) -> None:
        """Have something happen."""
        self._count += 1
        heapq.heappush(self._due, (instant_s, self._count, call))

    def next_event(self) -> None:
        """Go on to what happens next."""
        instant_s, _, call = heapq.heappop(self._due)
        self.now_s = max(self.now_s, instant_s)
        call()

    def wait(self, timeout_s: float) -> bool:
        """Stands in for ``Condition.wait``: until something happens."""
        if self._due and self._due[0][0] <= self.now_s + timeout_s:
            self.next_event()
        else:
            self.now_s += timeout_s
        return True


class VirtualUplink(FakeUplink):
    """Answers come in virtual time."""

    clock: VirtualTime
    after: Callable[[], None]

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        def happen() -> None:
            call()
            self.after()

        self.clock.at(self.clock.now_s + delay_s, happen)


class VirtualRig(Rig):
    """An engine with all its fakes, no thread of which runs."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        step_s: float = 0.004,
        delay_s: float = 0.005,
        **settings: float,
    ) -> None:
        self.time = VirtualTime()
        for module in (engine, responder, shared, worker, engine_parts):
            patch.setattr(module, 'time', self.time)
        self.model = FakeModel(step_s)
        self.node = FakeNode()
        self.engine = InferenceEngine(
            self.model, self.node, EngineSettings(**settings), clock_s=self.time.time
        )
        self.uplink = VirtualUplink(self.model, self.engine, delay_s)
        self.uplink.clock, self.uplink.after = self.time, self._respond
        self.stream = Stream(self.engine)
        self._shared = self.engine._shared
        patch.setattr(self._shared.changed, 'wait', self.time.wait)

    def start(self, cut: int | None = None, codec: str = 'raw') -> VirtualRig:
        self._shared.uplink = self.uplink
        self._shared.running = True
        self.engine._worker.begin()
        if cut is not None:
            self.plan(cut, codec)
            self.run(0.5)
            assert self.engine.active_plan.cut_index == cut
        return self

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        end_s = self.time.now_s + duration_s
        self.time.at(end_s, lambda: None)
        while self.time.now_s < end_s:
            self.engine._worker.step()
            self._respond()

    def pictures(self, count: int, period_s: float) -> None:
        """Have pictures come in from now on."""
        for number in range(count):
            self.time.at(self.time.now_s + number * period_s, self._push)

    def stop(self) -> None:
        self.uplink.close()

    def _push(self) -> None:
        self.stream.push()
        self._respond()

    def _respond(self) -> None:
        while self.engine._responder.has_work:
            self.engine._responder.step()
