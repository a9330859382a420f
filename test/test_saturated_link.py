"""A link that is the slowest stage, in virtual time: the real sender and the real engine.

Heads are timed to be done when the sender is free. Too late and it idles; too early and a frame
waits at the sender, where newer pictures overtake it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import statistics
from typing import Any

import numpy as np
import pytest

from dnn_offload.codec import bundle
from dnn_offload.exchange import UplinkRequest
from dnn_offload.runtime import worker
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.transport.link import ServerLink
from dnn_offload.transport.link_events import Uplinked
from dnn_offload.transport.uplink_settings import LinkTiming
from made_up_network import Network
from virtual_engine import VirtualRig, VirtualTime, VirtualUplink

TICK_S = 0.0005
WAY_S = 0.002
SERVER_S = 0.005
PICTURES_HZ = 30.0
FRAME_BYTES = 50_000
PARTS, PART_S = 2, 0.04  # of an encoder that gives parts of more than a slice


class Padded:
    """The codec, but every payload has ``FRAME_BYTES``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(bundle, name)

    @staticmethod
    def encode(*arguments: Any) -> bytes:
        return PaddedEncoder(*arguments).take()

    @property
    def Encoder(self) -> type[bundle.Encoder]:  # noqa: N802  (as in the module)
        return PaddedEncoder


class SlowEncoder(bundle.Encoder):
    """Takes ``PART_S`` for each of ``PARTS``; ``whole``: gives nothing before it has all."""

    clock: VirtualTime
    whole = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        payload = super().take()
        self.left = [bytes(FRAME_BYTES // PARTS) for _ in range(PARTS - 1)]
        self.left.insert(0, payload + bytes(FRAME_BYTES // PARTS - len(payload)))
        self.done = False

    def take(self, least_bytes: int | None = None) -> bytes:
        taken = b''
        while self.left and (self.whole or least_bytes is None or not taken):
            self.clock.sleep(PART_S)
            taken += self.left.pop(0)
        self.done = not self.left
        return taken


class PaddedEncoder(bundle.Encoder):
    def take(self, least_bytes: int | None = None) -> bytes:
        payload = super().take()
        return payload + bytes(FRAME_BYTES - len(payload))


class LinkUplink(VirtualUplink):
    """Sends by a ``ServerLink`` over a made-up network."""

    def begin(self, rig: VirtualRig, rate_bps: float) -> None:
        link = ServerLink('server', timing=LinkTiming(server_timeout_s=5.0))
        self.rig, self.clock, self.after = rig, rig.time, rig._respond
        self.net = Network(
            link, rate_bps, now_s=rig.time.now_s, burst=3000.0, delay_s=WAY_S
        )
        self.net.run(1.0)
        assert link.connected
        self.ahead_s = self.net.now_s - rig.time.now_s
        self.told = len(self.net.events)
        self.requests: dict[int, UplinkRequest] = {}
        self.server_free_s = 0.0
        rig.time.at(rig.time.now_s + TICK_S, self.tick)

    def tick(self) -> None:
        now_s = self.rig.time.now_s
        self.net.now_s = now_s + self.ahead_s
        self.net._tick(TICK_S)
        for _, event in self.net.events[self.told:]:
            if isinstance(event, Uplinked):
                self.events.on_uplinked(event.frame_seq, event.uplink_ms, event.own_ms)
                self.after()
                self.compute(event, now_s)
        self.told = len(self.net.events)
        self.rig.time.at(now_s + TICK_S, self.tick)

    def compute(self, event: Uplinked, now_s: float) -> None:
        request = self.requests.pop(event.frame_seq)
        self.server_free_s = max(self.server_free_s, now_s) + SERVER_S
        plain = bundle.encode(
            [np.zeros(spec.shape, spec.dtype) for spec in request.specs], request.specs,
            request.codec,
        )
        answer = replace(
            self.answer(replace(request, payload=plain)), uplink_ms=event.uplink_ms,
            compute_ms=1e3 * SERVER_S, queue_ms=0.0, decode_ms=0.0, encode_ms=0.0,
            downlink_ms=1e3 * WAY_S,
        )
        self._later(
            self.server_free_s - now_s + WAY_S, lambda: self.events.on_answer(answer)
        )

    def send(self, request: UplinkRequest) -> None:
        self.requests[request.frame_seq] = request
        assert self.net.link.send(request, 0.0, self.net.now_s) == []

    def send_more(self, server: str, frame_seq: int, part: bytes, *, last: bool) -> None:
        self.net.link.send_more(frame_seq, part, self.net.now_s, last=last)

    def cancel(self, frame_seq: int) -> None:
        self.net.link.cancel(frame_seq)

    def backlog_bytes(self) -> int:
        return self.net.link.backlog_bytes


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Gives the latencies [ms] of a stream at a rate, of a time after it has settled."""
    rigs: list[VirtualRig] = []

    def start(rate_bps: float, deadline_ms: float) -> VirtualRig:
        rig = VirtualRig(monkeypatch, step_s=0.01, deadline_ms=deadline_ms, window=4)
        monkeypatch.setattr(worker, 'bundle', Padded())
        rig.uplink.close()
        rig.uplink = LinkUplink(rig.model, rig.engine, 0.0)
        rig.uplink.begin(rig, rate_bps)
        rig.start()
        rig.plan(1)
        rig.run(1.0)
        rigs.append(rig)
        return rig

    yield start
    for rig in rigs:
        rig.stop()


def latencies_ms(rig: VirtualRig, seconds: float) -> list[float]:
    """Of the results of the next seconds."""
    first = len(rig.node.reports)
    rig.pictures(round(seconds * PICTURES_HZ), 1.0 / PICTURES_HZ)
    rig.run(seconds)
    return [
        report.times.latency_ms for report in rig.node.reports[first:]
        if report.outcome is not Outcome.DROPPED
    ]


TAKES_MS = {4e6: 100.0, 1.5e6: 267.0}  # a frame of 50 kB


def test_no_frame_stands_at_the_sender_of_a_saturated_link(stream: Any) -> None:
    rig = stream(4e6, 10_000.0)
    latencies_ms(rig, 3.0)
    settled = latencies_ms(rig, 5.0)
    assert len(settled) >= 0.9 * 5.0 / 0.1, 'the sender must not idle either'
    assert statistics.median(settled) < 1.6 * TAKES_MS[4e6]  # head, server, age of the picture


def test_a_link_that_becomes_slower_leaves_no_queue_behind(stream: Any) -> None:
    rig = stream(20e6, 10_000.0)
    latencies_ms(rig, 3.0)
    rig.uplink.net.rate_bps = 1.5e6
    latencies_ms(rig, 4.0)
    assert statistics.median(latencies_ms(rig, 4.0)) < 1.3 * TAKES_MS[1.5e6]


def test_frames_over_a_saturated_link_are_in_time(stream: Any) -> None:
    rig = stream(4e6, 190.0)
    latencies_ms(rig, 3.0)
    settled = latencies_ms(rig, 5.0)
    assert sum(ms <= 190.0 for ms in settled) >= 0.95 * len(settled) > 40


def _streamed(
    stream: Any, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> tuple[float, float, float]:
    """Of frames over a saturated link, medians: latency, its part beside the stages, overlap."""
    rig = stream(4e6, 10_000.0)
    SlowEncoder.clock, SlowEncoder.whole = rig.time, whole
    monkeypatch.setattr(Padded, 'Encoder', SlowEncoder)
    latencies_ms(rig, 4.0)
    first = len(rig.node.reports)
    latencies_ms(rig, 6.0)
    times = [r.times for r in rig.node.reports[first:] if r.outcome is Outcome.REMOTE]
    assert len(times) >= 0.9 * 6.0 / 0.1
    beside = statistics.median(
        t.latency_ms - t.age_ms - t.wait_ms - t.head_ms - t.encode_ms - t.uplink_ms - t.tail_ms
        - t.downlink_ms - t.finish_ms + t.overlap_ms
        for t in times
    )
    middle_ms = statistics.median(t.latency_ms for t in times)
    return middle_ms, beside, statistics.median(t.overlap_ms for t in times)


def test_streamed_frames_are_begun_when_the_sender_is_free(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_ms, whole_beside_ms, none_ms = _streamed(stream, monkeypatch, whole=True)
    ms, beside_ms, overlap_ms = _streamed(stream, monkeypatch, whole=False)
    behind_ms = 1e3 * (PARTS - 1) * PART_S
    assert none_ms == 0.0 and overlap_ms == pytest.approx(behind_ms, abs=6.0)
    assert whole_ms - ms == pytest.approx(behind_ms, abs=15.0)
    # What is reported adds up, so no overhead of the server is learnt from it.
    assert beside_ms == pytest.approx(whole_beside_ms, abs=6.0)
