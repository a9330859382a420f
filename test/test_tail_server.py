"""The server's queue and worker: newest wins, fair, bounded, every frame ends in one result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
import math
import queue
import time

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from backend_parts import wait_until
from dnn_offload.codec import bundle
from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.errors import RefusedError
from dnn_offload.exchange import TailJob, TailResult, Verdict
from dnn_offload.runtime import admission
from dnn_offload.runtime.admission import Admission
from dnn_offload.runtime.tail_server import _Load, TailQueue, TailServer
from fake_tail_model import FakeModel, spec


def job(client: str, seq: int, *, payload: bytes = b'', budget_ms: float = 0.0) -> TailJob:
    cut_id = FakeModel().cuts[1].cut_id
    return TailJob(client, seq, 1, cut_id, 'raw', 'raw', payload, time.monotonic(), budget_ms)


def filled(client: str, seq: int, value: float, *, budget_ms: float = 0.0) -> TailJob:
    frontier = FakeModel().cuts[1].frontier
    arrays = [np.zeros(s.shape, s.dtype) for s in frontier]
    arrays[1][0, 0] = value
    return job(client, seq, payload=bundle.encode(arrays, frontier, 'raw'), budget_ms=budget_ms)


class Bench:
    """A server with a gate, and its results in order."""

    def __init__(self, profile: Profile | None = None) -> None:
        self.model = FakeModel()
        self.results: queue.Queue[TailResult] = queue.Queue()
        self.logged: list[str] = []
        self.server = TailServer(
            self.model, self.results.put, log=self.logged.append, threads=2, profile=profile
        )
        self.server.start()

    def block(self, client: str) -> None:
        """Let one frame of ``client`` into the computation and hold it there."""
        self.model.gate.clear()
        before = len(self.model.runs)
        self.server.submit(filled(client, 1, 1.0))
        while len(self.model.runs) == before:
            time.sleep(0.001)

    def next(self) -> TailResult:
        return self.results.get(timeout=5.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.model.gate.set()
    bench.server.stop()


def test_answers_with_times_and_outputs(bench: Bench) -> None:
    bench.server.submit(filled('one', 7, 21.0))
    result = bench.next()
    assert result.verdict is Verdict.OK and result.job.frame_seq == 7
    (outputs,) = bundle.decode(result.payload, result.specs, max_bytes=1000)
    assert outputs.tolist() == [[42.0, 42.0]]
    assert bench.model.runs == [(1, 3)] and bench.model.threads == [2]
    assert min(result.queue_ms, result.decode_ms, result.compute_ms, result.encode_ms) >= 0.0


def test_newest_frame_of_a_robot_wins_and_the_other_is_announced(bench: Bench) -> None:
    bench.block('busy')
    for seq in (1, 2, 3):
        bench.server.submit(filled('one', seq, float(seq)))
    announced = [bench.next(), bench.next()]
    assert [(r.verdict, r.job.frame_seq) for r in announced] == [
        (Verdict.SUPERSEDED, 1), (Verdict.SUPERSEDED, 2)
    ]
    bench.model.gate.set()
    assert {bench.next().job.client, bench.next().job.frame_seq} == {'busy', 3}
    assert bench.server.statistics().superseded == 2


def test_slow_robot_is_not_starved_by_a_fast_one(bench: Bench) -> None:
    bench.block('fast')
    bench.server.submit(filled('fast', 2, 1.0))
    bench.server.submit(filled('slow', 1, 1.0))
    bench.model.gate.set()
    assert [bench.next().job.client for _ in range(3)] == ['fast', 'slow', 'fast']


def test_cancelled_and_forgotten_frames_are_not_computed(bench: Bench) -> None:
    bench.block('busy')
    bench.server.submit(filled('one', 1, 1.0))
    bench.server.submit(filled('two', 1, 1.0))
    bench.server.cancel('one', 1)
    bench.server.forget('two')
    bench.model.gate.set()
    bench.next()
    bench.server.submit(filled('three', 1, 1.0))
    assert bench.next().job.client == 'three'
    assert len(bench.model.runs) == 2


def test_frame_past_its_budget_is_refused_as_too_late(bench: Bench) -> None:
    bench.block('busy')
    bench.server.submit(filled('one', 1, 1.0, budget_ms=20.0))
    time.sleep(0.05)
    bench.model.gate.set()
    results = {bench.next().job.client: None for _ in range(1)}
    late = bench.next()
    assert list(results) == ['busy'] and late.verdict is Verdict.REFUSED
    assert late.reason.startswith('too late') and len(bench.model.runs) == 1


@pytest.mark.parametrize('payload', [b'', b'DNNO', bytes(1000), np.random.bytes(500)])
def test_damaged_payload_is_refused_with_a_reason(bench: Bench, payload: bytes) -> None:
    bench.server.submit(job('one', 1, payload=payload))
    result = bench.next()
    assert result.verdict is Verdict.REFUSED and 'payload' in result.reason
    bench.server.submit(filled('one', 2, 1.0))
    assert bench.next().verdict is Verdict.OK


def test_failing_computation_is_refused_logged_and_survived(bench: Bench) -> None:
    bench.server.submit(filled('one', 1, 666.0))
    result = bench.next()
    assert result.verdict is Verdict.REFUSED and 'RuntimeError' in result.reason
    assert 'a kernel failed' in bench.logged[0]
    bench.server.submit(filled('one', 2, 1.0))
    assert bench.next().verdict is Verdict.OK


def test_an_answer_that_cannot_be_sent_is_logged_and_survived(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(result: TailResult) -> None:
        monkeypatch.undo()
        raise MemoryError('no room for a message')

    monkeypatch.setattr(bench.server, '_respond', fail)
    bench.server.submit(filled('one', 1, 1.0))
    bench.server.submit(filled('two', 1, 1.0))
    assert bench.next().job.client == 'two'
    assert 'no room for a message' in bench.logged[0]


class Told:
    """What a server tells of its load, frame by frame, on a clock of our own."""

    def __init__(self) -> None:
        self.server = Bench().server
        self.now_s = 100.0
        self.noise = np.random.default_rng(2)

    def frames(
        self, count: int, load: float, work: str = 'one', scatter: float = 0.0
    ) -> list[float]:
        told = []
        for _ in range(count):
            self.now_s += 0.066
            seen = load * float(np.exp(scatter * self.noise.standard_normal()))
            self.server._take_load(_Load(self.now_s, seen, work))
            told.append(self.server.statistics(self.now_s).load_factor or math.nan)
        return told


@pytest.mark.parametrize('load', [0.6, 1.6])
def test_a_step_in_load_is_told_within_half_a_second(load: float) -> None:
    """The median of three seconds would tell half of them later."""
    told = Told()
    told.frames(40, 1.0)
    assert told.frames(7, load) == [1.0] * 4 + [load] * 3


def test_a_noisy_step_in_load_is_told_once() -> None:
    for _ in range(20):
        told = Told()
        told.frames(40, 1.0, scatter=0.05)
        high = [load > 1.25 for load in told.frames(60, 1.6, scatter=0.08)]
        assert sum(a != b for a, b in pairwise(high)) <= 1 and high[-1] and high.index(True) < 12


def test_a_hiccup_and_robots_of_different_work_are_no_steps() -> None:
    told = Told()
    told.frames(30, 1.0)
    assert told.frames(3, 2.5) == [1.0] * 3
    assert told.frames(5, 1.0) == [1.0] * 5
    both = Told()
    both.frames(10, 1.0, 'one')
    for _ in range(20):
        assert both.frames(1, 2.2, 'two') + both.frames(2, 1.0, 'one') == [1.0] * 3


def test_load_factor_is_relative_to_the_profile() -> None:
    cuts = tuple(
        CutProfile(c.cut_id, c.index, c.label, c.depth, c.nbytes, 1.0, 2.0)
        for c in FakeModel().cuts
    )
    profile = Profile('fake', 'a' * 40, {}, 'torch', 1, {}, 0.1, {}, 1.0, cuts)
    bench = Bench(profile)
    assert bench.server.statistics().load_factor is None
    for _ in range(1, 6):
        bench.block('one')
        time.sleep(0.010)
        bench.model.gate.set()
        bench.next()
    factor = bench.server.statistics().load_factor
    assert factor is not None and 4.5 < factor < 15.0
    assert bench.server.statistics(time.monotonic() + 60.0).load_factor is None
    # Another profile: what was measured against the old one says nothing, frames go on.
    slower = tuple(replace(cut, tail_ms=20.0) for cut in cuts)
    bench.server.adopt(bench.model, replace(profile, cuts=slower))
    wait_until(lambda: bench.server.statistics().load_factor is None)
    for _ in range(1, 6):
        bench.block('one')
        time.sleep(0.010)
        bench.model.gate.set()
        bench.next()
    now = bench.server.statistics().load_factor
    assert now is not None and 0.45 < now < 1.5
    bench.server.stop()


def test_another_model_takes_over_between_two_frames() -> None:
    cuts = tuple(
        CutProfile(c.cut_id, c.index, c.label, c.depth, c.nbytes, 1.0, 2.0)
        for c in FakeModel().cuts
    )
    bench, faster = Bench(), FakeModel()
    bench.block('one')  # computed by the first model to its end
    profile = Profile('fake', 'a' * 40, {}, 'onnxruntime', 2, {}, 0.1, {}, 1.0, cuts)
    bench.server.adopt(faster, profile)
    bench.server.submit(filled('two', 1, 3.0))
    assert faster.threads == faster.runs == []
    bench.model.gate.set()
    results = [bench.next(), bench.next()]
    assert [(result.job.client, result.verdict) for result in results] == [
        ('one', Verdict.OK), ('two', Verdict.OK),
    ]
    assert len(bench.model.runs) == len(faster.runs) == 1
    assert faster.threads == [2], 'not computed with the threads of the server'
    bench.server.stop()


def test_an_answer_by_a_stand_in_says_so_and_tells_no_load() -> None:
    class Part(tuple):  # type: ignore[type-arg]
        stood_in = True

    cuts = tuple(
        CutProfile(c.cut_id, c.index, c.label, c.depth, c.nbytes, 1.0, 2.0)
        for c in FakeModel().cuts
    )
    bench = Bench(Profile('fake', 'a' * 40, {}, 'torch', 1, {}, 0.1, {}, 1.0, cuts))
    bench.model.segment = lambda start, end: Part((start, end))  # type: ignore[method-assign]
    for number in range(5):
        bench.server.submit(filled('one', number + 1, 1.0))
        assert bench.next().stood_in
    assert bench.server.statistics().load_factor is None
    bench.model.segment = lambda start, end: (start, end)  # type: ignore[method-assign]
    bench.server.submit(filled('one', 9, 1.0))
    assert not bench.next().stood_in
    bench.server.stop()


def test_queue_time_is_reported(bench: Bench) -> None:
    bench.block('busy')
    bench.server.submit(filled('one', 1, 1.0))
    time.sleep(0.05)
    bench.model.gate.set()
    bench.next(), bench.next()
    statistics = bench.server.statistics()
    assert statistics.served == 2 and 15.0 < statistics.queue_ms < 500.0


def test_stop_is_quick_and_idempotent_enough(bench: Bench) -> None:
    began_s = time.monotonic()
    bench.server.stop()
    assert time.monotonic() - began_s < 1.0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just('put'), st.sampled_from('abc')),
            st.just(('take', '')),
            st.tuples(st.just('forget'), st.sampled_from('abc')),
        ),
        max_size=60,
    )
)
def test_queue_is_bounded_and_loses_nothing(steps: list[tuple[str, str]]) -> None:
    waiting = TailQueue()
    put = out = seq = 0
    for what, client in steps:
        if what == 'put':
            seq += 1
            put += 1
            out += waiting.put(job(client, seq)) is not None
        elif what == 'take':
            out += waiting.take() is not None
        else:
            before = len(waiting)
            waiting.forget(client)
            out += before - len(waiting)
        assert len(waiting) <= 3
        assert put == out + len(waiting)


def test_admission_gives_the_bound() -> None:
    model = FakeModel()
    admission = Admission(model)
    cut = model.cuts[1]
    bound = admission.admit(cut.cut_id, cut.frontier, 'raw', 'raw')
    arrays = [np.zeros(s.shape, s.dtype) for s in cut.frontier]
    assert len(bundle.encode(arrays, cut.frontier, 'raw')) == bound


@pytest.mark.parametrize(
    ('change', 'complaint'),
    [
        ({'cut_id': 'nonsense'}, 'no such cut'),
        ({'cut_id': FakeModel().cuts[-1].cut_id}, 'no such cut'),
        ({'codec': 'jpeg'}, 'not offered at this cut'),
        ({'codec': '../etc'}, 'not offered at this cut'),
        ({'result_codec': 'jpeg'}, 'not offered for answers'),
        ({'specs': ()}, 'number of tensors'),
        ({'specs': FakeModel().cuts[2].frontier * 2}, 'not the one'),
        ({'specs': (FakeModel().cuts[1].frontier[0], spec('skip', 'float64', (1, 2)))},
         'not the one'),
        ({'specs': (FakeModel().cuts[1].frontier[0], spec('skip', 'float32', (1, 1 << 40)))},
         'not the one'),
    ],
)
def test_admission_refuses_what_is_not_of_the_model(change: dict, complaint: str) -> None:
    model = FakeModel()
    cut = model.cuts[1]
    asked = {
        'cut_id': cut.cut_id, 'specs': cut.frontier, 'codec': 'raw', 'result_codec': 'raw',
        **change,
    }
    with pytest.raises(RefusedError, match=complaint):
        Admission(model).admit(**asked)


def test_middle_of_a_plan_with_two_cuts_goes_back_as_the_second_frontier(bench: Bench) -> None:
    cuts = bench.model.cuts
    sent = cuts[1].frontier[:1]  # the skip stays on the robot
    inner = np.full((1, 4, 4), 0.5, np.float32)
    admission = Admission(bench.model)
    args = (cuts[1].cut_id, sent, 'raw', 'fp16', cuts[2].cut_id)
    assert admission.admit(*args) == len(bundle.encode([inner], sent, 'raw'))
    with pytest.raises(RefusedError, match='number of tensors'):
        admission.admit(cuts[1].cut_id, cuts[1].frontier, 'raw', 'fp16', cuts[2].cut_id)
    bench.server.submit(TailJob(
        'robot', 1, 1, cuts[1].cut_id, 'raw', 'fp16', bundle.encode([inner], sent, 'raw'),
        time.monotonic(), return_id=cuts[2].cut_id, names=('inner',),
    ))
    result = bench.next()
    assert result.verdict is Verdict.OK, result.reason
    assert result.specs == cuts[2].frontier
    (large,) = bundle.decode(result.payload, cuts[2].frontier, max_bytes=1 << 20)
    assert np.all(large == 16.0)


def test_an_answer_that_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    cuts = model.cuts
    asked = (cuts[1].cut_id, cuts[1].frontier[:1], 'raw', 'raw', cuts[2].cut_id)
    Admission(model).admit(*asked)
    monkeypatch.setattr(admission, 'MAX_ANSWER_BYTES', 100_000)  # it has 160 kB
    with pytest.raises(RefusedError, match='too large'):
        Admission(model).admit(*asked)
