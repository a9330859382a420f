"""Nodes of the rows that are no plan of ours: what they send is what arrives; a timeline."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from dataclasses import dataclass, replace
import io
import itertools
from pathlib import Path
import time
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import rclpy
from rich.console import Console
from std_msgs.msg import Header
import torch

from dnn_offload.bench import timeline
from dnn_offload.bench.outcome import write_outcome
from dnn_offload.bench.place import Place
from dnn_offload.bench.rows import other_rows
from dnn_offload.bench.rows.one_message import Head, pack, Tail, unpack
from dnn_offload.bench.rows.other_rows import _halves, measure_other
from dnn_offload.bench.rows.today import answer_of
from dnn_offload.bench.run import Bench, BenchOptions, BenchRun
from dnn_offload.bench.scenario.file import parse
from dnn_offload.bench.scenario.scenario import Conditions
from dnn_offload.bench.steady import Patience
from dnn_offload.bench.timeline import play
from dnn_offload.cost.profile import Profile
from dnn_offload.report.bench_records import BenchRecord
from dnn_offload.runtime.backends.names import missing
from dnn_offload.runtime.model_cache import cache_key, ModelRequest, ROLES
from dnn_offload.runtime.prepare import prepare
from dnn_offload.tensors import TensorSpec


def test_tensors_of_any_layout_arrive_as_they_were() -> None:
    generator = np.random.default_rng(1)
    plain = generator.standard_normal((1, 5, 4, 3)).astype(np.float32)
    last = np.ascontiguousarray(plain.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    small = generator.integers(0, 255, (1, 4, 6, 3), np.uint8)
    half = generator.standard_normal((7,)).astype(np.float16)
    arrays = [plain, last, small, half]
    specs = tuple(TensorSpec.of_array(str(n), one) for n, one in enumerate(arrays))
    message = pack(arrays)
    assert len(message.data) == sum(one.nbytes for one in arrays)
    for given, found in zip(arrays, unpack(message, specs), strict=True):
        np.testing.assert_array_equal(found, given)
        assert found.strides == given.strides and found.dtype == given.dtype


def test_an_answer_has_the_best_class_and_the_picture_s_header() -> None:
    header = Header(frame_id='camera')
    header.stamp.sec = 17
    answer = answer_of(header, (torch.tensor([[0.1, 0.7, 0.2]]),))
    assert answer.header.stamp.sec == 17
    (detection,) = answer.detections
    assert detection.results[0].hypothesis.class_id == '1'
    assert abs(detection.results[0].hypothesis.score - 0.7) < 1e-6


class SlowEmulation:
    """Conditions that take a while to be made."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    loadavg = None

    def apply(self, wanted: Conditions, session: Any) -> None:
        time.sleep(self._delay_s)


@dataclass(frozen=True)
class SimpleFrame:
    """What is looked at of a frame that nobody sums up."""

    time_s: float


TIMELINE = 'title: t\nrows: [auto]\nduration_s: 1.0\ntimeline: [{at_s: 0.2, load: 1}]'


def _session(check: Callable[[], None]) -> Any:
    """Nodes that were never started; ``check`` is called all the while."""
    start_s = time.monotonic() - 5.0
    recorder = SimpleNamespace(
        rows=[], loads=[], latest=SimpleNamespace(navigation=None), phase='', started_s=1e9,
        now_s=lambda: time.monotonic() - start_s,
    )
    return SimpleNamespace(recorder=recorder, fleet=SimpleNamespace(check=check))


def test_a_reaction_is_timed_from_the_command_on() -> None:
    """A change that takes a while to be made is in force before that has ended."""
    scenario = parse(TIMELINE, 'tiny')
    played = play(
        scenario, scenario.points[0], 'auto', 0, _session(lambda: None),
        cast(Any, SlowEmulation(0.4)), lambda seconds: None, None,
    )
    (step,) = played.steps
    assert step.what == 'load 0 to 1'
    assert 0.2 <= step.at_s < 0.5


def test_frames_of_the_row_that_an_early_end_meets_are_kept(tmp_path: Path) -> None:
    """Ctrl-C, or a node that ends, ten minutes into the first row."""
    bench = Bench(
        parse(TIMELINE, 'tiny'), BenchOptions(tmp_path), Console(file=io.StringIO())
    )
    looks = itertools.count()

    def check() -> None:
        rows = session.recorder.rows
        rows.append(SimpleFrame(session.recorder.now_s()))
        if next(looks) == 3:
            raise KeyboardInterrupt

    session = _session(check)
    place = SimpleNamespace(session=session, emulation=SlowEmulation(0.0))
    session.wait_for_server = lambda: True
    point = bench._scenario.points[0]
    with (
        mock.patch.object(bench, '_use'), mock.patch.object(bench, '_settle'),
        pytest.raises(KeyboardInterrupt),
    ):
        bench._timeline(0, point, cast(Any, place))
    assert [number for number, _ in bench.outcome.frames] == [0] * 4
    assert 0.0 <= bench.outcome.frames[0][1].time_s < 0.2  # from the start of the timeline
    assert bench.outcome.record.windows == []  # a part of a timeline is not compared
    written = write_outcome(bench._scenario, BenchOptions(tmp_path), BenchRun(BenchRecord(['a'])))
    assert written == [] and (tmp_path / 'report.html').is_file()


def test_what_users_do_today_is_played_along_a_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its detector dies with the server; windows have its answers, and what was dropped."""
    lives: list[bool] = []

    class Stream:
        def __init__(self, place: Any) -> None:
            self._session = place.session

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *failure: object) -> None: ...

        def check(self) -> None: ...

        def server(self, *, runs: bool) -> None:
            lives.append(runs)

        def answers(self) -> list[tuple[float, float]]:
            recorder = self._session.recorder
            end_s = recorder.started_s + recorder.now_s()
            return [(end_s - 0.95 + i / 10, 40.0 if i < 4 else 90.0) for i in range(8)] + [
                (end_s + 9.0, 40.0), (end_s - 9.0, 40.0),
            ]

    monkeypatch.setattr(timeline, 'todays_stream', Stream)
    scenario = parse(
        'title: t\nrows: [compressed_image]\nduration_s: 1.0\ndeadline_ms: 60\n'
        'timeline: [{at_s: 0.2, load: 1}, {at_s: 0.5, server: false}]', 'tiny',
    )
    session = _session(lambda: None)
    session.rate_hz = 10.0
    kept: list[Any] = []
    played = timeline.play_today(
        scenario, scenario.points[0], 1,
        cast(Any, SimpleNamespace(session=session, emulation=SlowEmulation(0.0))),
        lambda seconds: None, kept.extend,
    )
    assert lives == [True, False]
    assert list(played.frames) == kept and played.steps == ()
    whole, loaded = played.windows[:2]
    assert (whole.row, whole.round, whole.plan) == (
        'compressed_image', 1, 'JPEG to a detector node',
    )
    assert (whole.results, whole.dropped, whole.late) == (8, 2, 4)
    assert whole.latency_ms == 65.0 and whole.rate_hz == pytest.approx(8.0)
    assert loaded.results in (5, 6) and loaded.latency_ms == 90.0


@pytest.mark.parametrize('row', ['compressed_image', 'one_message'])
def test_a_row_of_answers_has_the_rate_of_its_pictures(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten pictures a second every other one is answered, in 50 ms: 5 results/s, not 10."""
    found = [(7.0 + i / 5, 50.0 if i else 150.0) for i in range(6)]
    monkeypatch.setattr(other_rows, '_answers', lambda place, frames, parts: found)
    monkeypatch.setattr(other_rows, '_raw_cut', lambda place: (3, 'conv'))
    monkeypatch.setattr(other_rows, '_halves', lambda place, cut: [])
    monkeypatch.setattr(other_rows, '_model', lambda place: [])
    monkeypatch.setattr(other_rows, '_silent', lambda place: contextlib.nullcontext())
    place = SimpleNamespace(session=SimpleNamespace(rate_hz=10.0))
    made = measure_other(row, cast(Any, place), 6, point=0, number=0, deadline_ms=100.0)
    assert made.rate_hz == pytest.approx(5.0)
    assert (made.results, made.dropped, made.late) == (6, 5, 1)


def test_what_is_measured_without_a_plan_that_stays_has_a_note(tmp_path: Path) -> None:
    start_s = time.monotonic()
    latest = SimpleNamespace(plan=None)
    recorder = SimpleNamespace(
        rows=[], latest=latest, now_s=lambda: time.monotonic() - start_s,
    )
    session = SimpleNamespace(recorder=recorder, fleet=SimpleNamespace(check=lambda: None))
    bench = Bench(
        parse('title: t\nrows: [auto]', 'tiny'), BenchOptions(tmp_path), Console(quiet=True)
    )
    bench._settle(cast(Any, session), 'auto', Patience(least_s=0.0, same_s=0.1, most_s=0.3))
    (note,) = bench.outcome.record.notes
    assert note.startswith('auto: no plan had stayed')


@pytest.fixture
def prepared(tmp_path: Path) -> Place:
    """A place without nodes: a small network, prepared for the robot and for the server."""
    asked = ModelRequest('torchvision:squeezenet1_1', 'random', input_size='64x64', backend='auto')
    request = replace(asked, backend='torch')
    folder = tmp_path / cache_key(request)
    for role in ROLES:
        prepare(replace(asked, role=role), tmp_path, 0.5, True, lambda *args, **more: None)
    profile = Profile.from_json((folder / asked.profile_name).read_text())
    session = SimpleNamespace(recorder=SimpleNamespace(profile=profile))
    return Place(cast(Any, session), cast(Any, None), request, tmp_path, tmp_path)


def test_the_server_s_profile_is_the_one_that_its_node_uses(prepared: Place) -> None:
    mine = prepared.server_profile()
    folder = prepared.server_cache / cache_key(prepared.request)
    other = folder / 'profile_server_torch_by_hand_1t.json'
    other.write_text(replace(mine, seconds_spent=77.0).to_json())  # newer
    assert prepared.server_profile() == mine


@pytest.mark.parametrize('backend', ['torch', 'onnxruntime', 'openvino'])
def test_one_message_runs_its_halves_by_the_backend_of_the_nodes(
    prepared: Place, backend: str
) -> None:
    if missing(backend):
        pytest.skip(missing(backend))
    profile = replace(prepared.robot_profile(), backend=backend)
    prepared.session.recorder.profile = profile
    halves = _halves(prepared, 1)
    assert [(side, arguments[0]) for side, _, arguments in halves] == [
        ('server', 'tail'), ('robot', 'head'),
    ]
    assert halves[1][2][-2:] == ['--backend', backend]
    assert halves[0][2][-2:] == ['--backend', prepared.server_profile().backend]
    folder = Path(halves[1][2][halves[1][2].index('--folder') + 1])
    rclpy.init()
    try:
        for made in (Head, Tail):
            node = made(folder, 1, backend)
            assert node._model.backend == backend
            if backend != 'torch':
                assert node._segment.ready, 'compiled before the first picture'
            node.destroy_node()
    finally:
        rclpy.try_shutdown()
