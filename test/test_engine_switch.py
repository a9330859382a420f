"""The engine changes plans: make before break, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
import random
import time

import pytest

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.errors import OffloadError
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.outlook import run_key
from dnn_offload.runtime.plan_slot import PlanRequest
from engine_parts import check_accounts, FakeModel, outcomes, Rig, STAGES

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


def test_failing_segment_drops_the_frame_and_failing_plan_is_not_taken(rig: Rig) -> None:
    rig.start()

    def fail(span: tuple[int, int]) -> None:
        if span == (0, 3):
            raise RuntimeError('no memory')

    rig.model.fail = fail
    assert rig.plan(3)
    rig.push_and_wait()
    assert rig.node.reports[0].outcome is Outcome.LOCAL
    assert len(rig.node.plans) == 1
    rig.node.wait(lambda: any('not taken' in text for text, _ in rig.node.errors))
    assert len(rig.node.plans) == 1


def test_unknown_cut_or_codec_is_an_error_and_the_old_plan_goes_on(rig: Rig) -> None:
    rig.start(cut=1)
    assert not rig.engine.set_plan(PlanRequest(9, 'ffffffffffff', 'raw', 'server'))
    assert not rig.plan(2, codec='morse')
    rig.push_and_wait()
    assert rig.node.reports[0].plan.cut_index == 1
    assert len(rig.node.errors) == 2


def test_another_model_takes_over_under_a_stream(rig: Rig) -> None:
    rig.start(cut=2)
    last = STAGES
    rig.stream.run(20, 0.003)
    times = rig.engine._shared.times
    rig.node.wait(lambda: times.expected_ms(run_key((0, 2)), time.monotonic()) < 100.0)
    faster = FakeModel()
    profile = Profile(
        'fake', 'fake', {}, 'onnxruntime', 1, {}, 0.1, {}, 1.0, tuple(
            CutProfile(c.cut_id, c.index, c.label, c.depth, c.nbytes, 300.0 * c.index, 700.0)
            for c in rig.model.cuts
        ),
    )
    rig.engine.adopt(faster, profile)
    rig.engine.adopt(faster, profile)  # the newest counts
    rig.node.wait(lambda: bool(faster.held))
    # The whole network for fallbacks, and both pieces of the plan in force; as many threads.
    assert faster.held == [(0, last), (0, 2), (2, last)] and faster.threads == [1]
    assert times.expected_ms(run_key((0, 2)), time.monotonic()) == pytest.approx(600.0)
    before = len(rig.model.runs)
    rig.stream.run(20, 0.003)
    rig.plan(3)  # warmed by the one that runs now
    rig.node.wait(lambda: len(rig.node.plans) == 3)
    rig.stream.run(5, 0.003)
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    assert len(rig.model.runs) == before and {(0, 2), (0, 3), (3, last)} <= set(faster.runs)
    with pytest.raises(OffloadError, match='another network cannot take over'):
        other = FakeModel()
        other.identity = 'other'
        rig.engine.adopt(other, profile)
    rig.stop()
    check_accounts(rig.node, rig.stream.count)
    assert not rig.node.errors


def test_thousand_plan_switches_under_a_stream_lose_nothing() -> None:
    rig = Rig(deadline_ms=100.0, delay_s=0.002).start()
    chance = random.Random(7)
    rig.uplink.behave = lambda request: 'answer' if chance.random() < 0.97 else 'drop'
    switches = 0
    while switches < 1000:
        wanted = chance.choice((0, 1, 2, 3, 4))
        codec = 'raw' if wanted == 0 else chance.choice(('raw', 'fp16', 'int8_zstd'))
        before = len(rig.node.plans)
        rig.plan(wanted, codec, switches + 1, '' if wanted == 4 else 'server')
        rig.stream.push()
        if chance.random() < 0.7:
            rig.node.wait(lambda n=before: len(rig.node.plans) > n)
        time.sleep(chance.uniform(0.0, 0.003))
        if not rig.uplink.connected('server') and chance.random() < 0.2:
            rig.uplink.connect()
        if chance.random() < 0.01:
            rig.uplink.disconnect()
        switches = rig.node.plans[-1].epoch
    rig.node.wait(lambda: rig.engine.counters().in_flight == 0)
    rig.stop()
    check_accounts(rig.node, rig.stream.count)
    epochs = [plan.epoch for plan in rig.node.plans]
    assert epochs == list(range(len(epochs))) and len(epochs) > 1000
    assert outcomes(rig)[Outcome.REMOTE] > 100 and outcomes(rig)[Outcome.LOCAL] > 50
    by_seq = sorted(
        (r.frame_seq, r.plan.epoch) for r in rig.node.reports if r.plan is not None
    )
    assert all(a[1] <= b[1] for a, b in zip(by_seq, by_seq[1:], strict=False))
    assert not [text for text, _ in rig.node.errors]
