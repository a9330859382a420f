"""Stages of successive frames overlap, and nothing queues: exact, in virtual time.

Every stage has one place: the worker (head), the uplink, the server (tail, the newest wins), the
downlink. Pictures come faster than any stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dnn_offload.exchange import UplinkRequest
from dnn_offload.runtime.frames import StageTimes
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.window import LEAST, StageWatch, useful_window
from virtual_engine import VirtualRig, VirtualUplink

pytestmark = pytest.mark.timeout(60)

PICTURE_S = 0.01
LENGTH_S = 8.0
SETTLED_S = 3.0
CUT = 1  # of four steps: the head is one of them


class StagedUplink(VirtualUplink):
    """Uplink, server and downlink with one place each, and times of their own [s]."""

    uplink_s = server_s = downlink_s = 0.05

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._up_free_s = self._down_free_s = 0.0
        self._running = False
        self._waiting: tuple[UplinkRequest, float] | None = None
        self._frame_bytes = 0

    def backlog_bytes(self) -> int:
        """Slices are acknowledged one by one."""
        left_s = max(self._up_free_s - self.clock.now_s, 0.0)
        return round(self._frame_bytes * left_s / self.uplink_s)

    def send(self, request: UplinkRequest) -> None:
        now_s = self.clock.now_s
        self.sent.append(request)
        self._frame_bytes = len(request.payload)
        self._up_free_s = max(now_s, self._up_free_s) + self.uplink_s
        up_ms = 1e3 * (self._up_free_s - now_s)
        self._later(self._up_free_s - now_s, lambda: self._arrive(request, up_ms))

    def _arrive(self, request: UplinkRequest, up_ms: float) -> None:
        self.events.on_uplinked(request.frame_seq, up_ms, 1e3 * self.uplink_s)
        if self._waiting is not None:
            self.events.on_superseded(self._waiting[0].frame_seq)
        self._waiting = (request, up_ms)
        self._next()

    def _next(self) -> None:
        if self._running or self._waiting is None:
            return
        (request, up_ms), self._waiting = self._waiting, None
        self._running = True
        self._later(self.server_s, lambda: self._computed(request, up_ms))

    def _computed(self, request: UplinkRequest, up_ms: float) -> None:
        now_s = self.clock.now_s
        self._down_free_s = max(now_s, self._down_free_s) + self.downlink_s
        down_s = self._down_free_s - now_s
        answer = replace(
            self.answer(request), uplink_ms=up_ms, compute_ms=1e3 * self.server_s, queue_ms=0.0,
            decode_ms=0.0, encode_ms=0.0, downlink_ms=1e3 * down_s,
        )
        self._later(down_s, lambda: self.events.on_answer(answer))
        self._running = False
        self._next()


Make = Callable[..., VirtualRig]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[VirtualRig] = []

    def new(head_s: float, uplink_s: float, server_s: float, downlink_s: float,
            **settings: float) -> VirtualRig:
        rig = VirtualRig(monkeypatch, step_s=head_s, deadline_ms=10000.0, **settings)
        made.append(rig)
        rig.uplink.close()
        rig.uplink = StagedUplink(rig.model, rig.engine, 0.0)
        rig.uplink.clock, rig.uplink.after = rig.time, rig._respond
        rig.uplink.uplink_s, rig.uplink.server_s = uplink_s, server_s
        rig.uplink.downlink_s = downlink_s
        rig.start()
        rig.plan(CUT)
        rig.run(3.0)  # warming takes some runs of the network
        assert rig.engine.active_plan.cut_index == CUT
        return rig

    yield new
    for rig in made:
        rig.stop()


def stream(rig: VirtualRig) -> tuple[float, float]:
    """Play pictures; results per second and worst latency [s], once it has settled."""
    rig.pictures(int(LENGTH_S / PICTURE_S), PICTURE_S)
    rig.run(LENGTH_S)
    assert rig.engine.active_plan.cut_index == CUT
    begin_s = rig.time.time() - LENGTH_S + SETTLED_S
    ends_s = [
        (record.stamp_s + 1e-3 * record.times.latency_ms, 1e-3 * record.times.latency_ms)
        for record in rig.node.reports if record.outcome is Outcome.REMOTE
    ]
    settled = [(end_s, latency_s) for end_s, latency_s in ends_s if end_s >= begin_s]
    rate_hz = (len(settled) - 1) / (settled[-1][0] - settled[0][0])
    return rate_hz, max(latency_s for _, latency_s in settled)


STAGES_S = {
    'all alike': (0.05, 0.05, 0.05, 0.05),
    'the head is slow': (0.15, 0.05, 0.05, 0.05),
    'the uplink is slow': (0.05, 0.15, 0.05, 0.05),
    'the server is slow': (0.05, 0.05, 0.15, 0.05),
    'the downlink is slow': (0.05, 0.05, 0.05, 0.15),
    'head and server': (0.1, 0.01, 0.1, 0.01),
    'two of four': (0.02, 0.1, 0.1, 0.02),
}


@pytest.mark.parametrize('stages_s', STAGES_S.values(), ids=STAGES_S)
def test_stages_overlap_and_nothing_queues(
    make: Make, stages_s: tuple[float, float, float, float]
) -> None:
    rig = make(*stages_s)
    rate_hz, worst_s = stream(rig)
    slowest_s = max(stages_s)
    assert rate_hz >= 0.9 / slowest_s
    # A queue anywhere would add a turn of the slowest stage for each frame in it.
    assert worst_s <= sum(stages_s) + slowest_s + PICTURE_S


def test_as_many_frames_as_keep_the_slowest_stage_busy() -> None:
    assert useful_window([]) == useful_window([0.0, 0.0]) == LEAST
    assert useful_window([50.0, 50.0, 50.0, 50.0]) == 4
    assert useful_window([150.0, 50.0, 50.0, 50.0]) == 2
    assert useful_window([10.0, 100.0, 1.0, 1.0]) == LEAST


def test_the_window_is_of_the_plan_that_runs_and_below_the_limit() -> None:
    watch = StageWatch()
    alike = StageTimes(head_ms=50.0, uplink_ms=50.0, tail_ms=50.0, downlink_ms=50.0)
    assert watch.window(4) == LEAST
    for _ in range(3):
        watch.note(1, alike)
    assert watch.window(8) == 4 and watch.window(3) == 3 and watch.window(1) == 1
    watch.note(2, StageTimes(head_ms=90.0, uplink_ms=10.0))
    assert watch.window(8) == LEAST
