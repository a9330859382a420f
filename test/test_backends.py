"""The torch backend: arrays in and out of slices of a saved program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import time

import numpy as np
import pytest
import torch

from dnn_offload.codec import bundle
from dnn_offload.errors import ConfigurationError, CutError, ModelError
from dnn_offload.exchange import Answer, UplinkRequest
from dnn_offload.graph.export import export
from dnn_offload.graph.fingerprint import sample, seeded_picture
from dnn_offload.graph.weights import save_weights
from dnn_offload.runtime.backends.torch_backend import MAX_SEGMENTS, TorchBackend, TorchModel
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.runtime.plan_slot import PlanRequest
from dnn_offload.runtime.prepared_model import load_prepared_model
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.tensors import TensorSpec
from engine_parts import FakeModel, FakeNode, FakeUplink
import tiny_factory


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp('model')
    program, weights = export(tiny_factory.make())
    save_weights(where, weights)
    program.save(where)
    return where


@pytest.fixture
def model(folder: Path) -> TorchModel:
    loaded = TorchBackend().load(folder)
    loaded.set_threads(1)
    return loaded


@pytest.fixture
def picture(model: TorchModel) -> np.ndarray:
    return seeded_picture(*model.program.input.shape[1:3])


def test_whole_network_gives_its_fingerprint(model: TorchModel, picture: np.ndarray) -> None:
    outputs = model.run(model.segment(0, len(model.cuts) - 1), [picture])
    assert sample(outputs) == pytest.approx(model.program.fingerprint, rel=1e-5)


def test_every_cut_gives_the_same_after_a_trip_as_bytes(
    model: TorchModel, picture: np.ndarray
) -> None:
    last = len(model.cuts) - 1
    whole = model.run(model.segment(0, last), [picture])
    for cut in model.cuts[1:-1]:
        head = model.run(model.segment(0, cut.index), [picture])
        described = [
            TensorSpec.of_array(spec.name, array)
            for spec, array in zip(cut.frontier, head, strict=True)
        ]
        assert [spec.strides for spec in described] == [spec.strides for spec in cut.frontier]
        payload = bundle.encode(head, cut.frontier, 'raw')
        arrived = bundle.decode(payload, cut.frontier, max_bytes=1 << 24)
        tail = model.run(model.segment(cut.index, last), arrived)
        assert all(np.array_equal(a, b) for a, b in zip(whole, tail, strict=True)), cut.label


def test_half_keeps_strides_and_leaves_integers_alone(model: TorchModel) -> None:
    floats = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    ints = np.arange(4, dtype=np.int64)
    half, same = model.to_half([floats, ints])
    assert half.dtype == np.float16 and same is ints
    assert [step // 2 for step in half.strides] == [step // 4 for step in floats.strides]
    assert np.array_equal(half, floats.astype(np.float16))


@pytest.mark.parametrize('value', [7e4, -1e9, np.inf, np.nan])
def test_what_has_no_finite_half_goes_raw(model: TorchModel, value: float) -> None:
    values = np.array([1.0, value, 3.0], np.float32)
    spec = TensorSpec.of_array('x', values)
    kept, = model.to_half([values])
    assert kept is values
    payload = bundle.encode([kept], [spec], 'fp16')
    arrived, = bundle.decode(payload, [spec], max_bytes=1 << 20)
    assert np.array_equal(arrived, values, equal_nan=True)


def test_arrays_are_not_copied(model: TorchModel, picture: np.ndarray) -> None:
    cut = model.cuts[1]
    outputs = model.run(model.segment(0, cut.index), [picture])
    assert all(not array.flags.owndata for array in outputs)


def test_read_only_arrays_are_taken_without_a_warning(
    model: TorchModel, picture: np.ndarray, recwarn: pytest.WarningsRecorder
) -> None:
    picture.setflags(write=False)
    model.run(model.segment(0, 1), [picture])
    assert not recwarn.list


def test_wrong_tensors_are_refused(model: TorchModel, picture: np.ndarray) -> None:
    with pytest.raises(CutError):
        model.run(model.segment(0, 1), [picture[:, :8]])
    with pytest.raises(CutError):
        model.segment(0, 99)


def test_segments_are_cached_and_bounded(model: TorchModel) -> None:
    assert model.segment(0, 1) is model.segment(0, 1)
    last = len(model.cuts) - 1
    for start in range(last):
        for end in range(start + 1, last + 1):
            model.segment(start, end)
    assert len(model._segments) <= MAX_SEGMENTS


def test_stamps_cover_every_operator(model: TorchModel, picture: np.ndarray) -> None:
    segment = model.segment(0, len(model.cuts) - 1)
    stamps = model.stamps(segment, [picture])
    assert len(stamps) == len(model.program.instructions) and min(stamps) >= 0.0


def test_threads_are_those_of_the_calling_thread(model: TorchModel) -> None:
    model.set_threads(2)
    assert torch.get_num_threads() == 2
    model.set_threads(1)


def test_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='program.json'):
        TorchBackend().load(tmp_path)


class TorchUplink(FakeUplink):
    """A server that runs the tail with a model of its own."""

    server: TorchModel

    def answer(self, request: UplinkRequest) -> Answer:
        cut = self.server.program.cut(request.cut_id)
        arrays = bundle.decode(request.payload, cut.frontier, max_bytes=1 << 24)
        last = len(self.server.cuts) - 1
        outputs = self.server.run(self.server.segment(cut.index, last), arrays)
        payload = bundle.encode(outputs, self.server.outputs, request.result_codec)
        return Answer(request.frame_seq, payload, 'raw', 0, 0, 0, 0, 0, 1, 1)


class Collector(FakeNode):
    """Results as they come out of the network."""

    def finish(self, outputs: list[np.ndarray], mapping: object) -> np.ndarray:
        return outputs[0].copy()


@pytest.mark.timeout(60)
def test_engine_gives_the_same_result_here_there_and_rescued_at_every_cut(
    folder: Path, model: TorchModel, picture: np.ndarray
) -> None:
    last = len(model.cuts) - 1
    expected = model.run(model.segment(0, last), [picture])[0]
    node = Collector()
    engine = InferenceEngine(
        TorchBackend().load(folder), node, EngineSettings(no_answer_timeout_ms=10.0)
    )
    uplink = TorchUplink(FakeModel(), engine, 0.0)
    uplink.server = model
    engine.start(uplink)
    seen = set()

    def try_out(index: int, behaviour: str) -> None:
        uplink.behave = lambda request: behaviour
        uplink.connect()
        engine.set_plan(PlanRequest(index + 1, model.cuts[index].cut_id, 'raw', 'server'))
        node.wait(lambda: engine.active_plan.plan_id == index + 1)
        before = len(node.reports)
        engine.enter(time.time(), None, lambda: (picture, None))
        node.wait(lambda: len(node.reports) > before)
        assert np.array_equal(node.results[-1][1], expected), model.cuts[index].label
        seen.add(node.reports[-1].outcome)

    for cut in model.cuts[:-1]:
        try_out(cut.index, 'answer')
        try_out(cut.index, 'drop')
    engine.stop()
    uplink.close()
    assert {Outcome.REMOTE, Outcome.RESCUED} <= seen
    assert not node.errors


def test_a_network_that_nodes_cannot_feed_or_decode_is_refused(
    folder: Path, tmp_path: Path, model: TorchModel
) -> None:
    weights = 'weights.safetensors'
    (tmp_path / weights).write_bytes((folder / weights).read_bytes())
    replace(model.program, task='tensor').save(tmp_path)
    with pytest.raises(ConfigurationError, match='cannot run this network'):
        load_prepared_model(tmp_path, tmp_path / 'no profile', 1)
    model.program.save(tmp_path)
    with pytest.raises(ModelError, match='profile cannot be read'):
        load_prepared_model(tmp_path, tmp_path / 'no profile', 1)
