"""Frames of which the beginning is sent while the rest is still being encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dnn_offload.codec import bundle
from dnn_offload.errors import CodecError
from dnn_offload.runtime import worker
from dnn_offload.runtime.outcomes import Outcome
from engine_parts import check_accounts
from virtual_engine import VirtualRig

PARTS = 4
PART_S = 0.005  # of encoding


class Streamed:
    """The codec, but every payload comes in parts, each of which takes its time."""

    before_part: Callable[[int], None] = lambda number: None  # noqa: E731
    clock: Any = None
    taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(bundle, name)

    @property
    def Encoder(self) -> Callable[..., SlowEncoder]:  # noqa: N802  (as in the module)
        return lambda *arguments: SlowEncoder(self, *arguments)


class SlowEncoder(bundle.Encoder):
    def __init__(self, owner: Streamed, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.owner, self.number, self.payload = owner, 0, super().take()
        self.done = False

    def take(self, least_bytes: int | None = None) -> bytes:
        self.number += 1
        self.owner.clock.sleep(PART_S)
        type(self.owner).before_part(self.number)
        self.owner.taken += 1
        size = -(-len(self.payload) // PARTS)
        self.done = self.number == PARTS
        return self.payload[size * (self.number - 1):size * self.number]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualRig]:
    made = VirtualRig(monkeypatch, deadline_ms=200.0)
    made.start(cut=2)  # codecs are warm
    streamed = Streamed()
    streamed.clock = made.time
    monkeypatch.setattr(worker, 'bundle', streamed)
    yield made
    made.stop()


def _at_part(monkeypatch: pytest.MonkeyPatch, number: int, call: Callable[[], None]) -> None:
    monkeypatch.setattr(
        Streamed, 'before_part', lambda part: call() if part == number else None
    )


def test_the_rest_follows_and_the_answer_is_right(rig: VirtualRig) -> None:
    rig.pictures(5, 0.06)
    rig.run(0.5)
    check_accounts(rig.node, 5)
    assert {record.outcome for record in rig.node.reports} == {Outcome.REMOTE}
    sizes = {request.frame_seq: len(request.payload) for request in rig.uplink.sent}
    for record in rig.node.reports:
        assert record.times.encode_ms == pytest.approx(1e3 * PARTS * PART_S)
        assert record.times.overlap_ms == pytest.approx(1e3 * (PARTS - 1) * PART_S)
        assert record.uplink_bytes == sizes[record.frame_seq]
    assert rig.uplink.cancelled == [] and rig.uplink.begun == {}


def test_what_is_encoded_is_used_to_expect_the_next(rig: VirtualRig) -> None:
    rig.pictures(5, 0.06)
    rig.run(0.5)
    key = worker.sending_key(rig.engine.active_plan)
    expected_ms = rig._shared.times.expected_ms(key, rig.time.now_s)
    assert expected_ms == pytest.approx(1e3 * PARTS * PART_S, rel=0.05)


def test_a_server_that_is_lost_ends_the_encoding(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_part(monkeypatch, 2, rig.uplink.disconnect)
    rig.pictures(1, 0.1)
    rig.run(0.3)
    check_accounts(rig.node, 1)
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert rig.uplink.sent == [] and set(rig.uplink.cancelled) == {1}
    assert worker.bundle.taken == 2  # type: ignore[attr-defined]


def test_a_refusal_ends_the_encoding_and_the_stream_goes_on(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_part(monkeypatch, 3, lambda: rig.engine.on_refused(1, 'because'))
    rig.pictures(3, 0.06)
    rig.run(0.5)
    check_accounts(rig.node, 3)
    assert [record.outcome for record in rig.node.reports] == [
        Outcome.RESCUED, Outcome.REMOTE, Outcome.REMOTE
    ]
    assert 1 in rig.uplink.cancelled


def test_encoding_that_fails_is_rescued_from_the_kept_tensors(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        monkeypatch.setattr(Streamed, 'before_part', lambda part: None)
        raise CodecError('no memory')

    _at_part(monkeypatch, 3, fail)
    rig.pictures(2, 0.06)
    rig.run(0.4)
    check_accounts(rig.node, 2)
    assert [record.outcome for record in rig.node.reports] == [Outcome.RESCUED, Outcome.REMOTE]
    assert set(rig.uplink.cancelled) == {1}
    assert [text for text, seq in rig.node.errors if seq == 1] and rig.uplink.begun == {}


def test_a_stricter_request_stops_what_is_not_sent_yet(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at_part(monkeypatch, 2, lambda: rig.plan(3, plan_id=2, private_layers=3) and None)
    rig.pictures(1, 0.1)
    rig.run(0.3)
    check_accounts(rig.node, 1)
    assert rig.node.reports[0].outcome is Outcome.RESCUED
    assert rig.uplink.sent == [] and 1 in rig.uplink.cancelled


@pytest.mark.parametrize('part_s', [0.025, 0.04])
def test_an_encoder_that_is_late_does_not_keep_a_rescue_waiting(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch, part_s: float
) -> None:
    rig.engine.configure(deadline_ms=100.0)
    rig.pictures(20, 0.06)
    rig.run(1.5)
    before = len(rig.node.reports)
    monkeypatch.setattr(
        Streamed, 'before_part', lambda part: rig.time.sleep(part_s - PART_S)
    )
    rig.uplink.behave = lambda request: 'silence'
    rig.pictures(1, 0.1)
    rig.run(0.4)
    (record,) = rig.node.reports[before:]
    assert record.outcome is Outcome.RESCUED and record.deadline_met, record.times
    assert rig.uplink.lost_calls == [], 'it had not even got all of it'


def test_a_rescue_that_does_not_fit_behind_the_encoding_is_known_before(rig: VirtualRig) -> None:
    rig.pictures(5, 0.1)
    rig.run(0.6)
    kept = rig._shared.table.sent
    seen: list[float] = []

    def sent(seq: int, rescue_at_s: float, fits: bool) -> bool:
        seen.append(rescue_at_s - rig.time.now_s)
        assert fits
        return kept(seq, rescue_at_s, fits)

    rig._shared.table.sent = sent  # type: ignore[method-assign]
    rig.engine.configure(deadline_ms=45.0)
    rig.pictures(1, 0.1)
    rig.run(0.2)
    # The worker cannot rescue before it has encoded: 15 ms are left then.
    assert seen[0] >= 0.99 * (PARTS - 1) * PART_S
