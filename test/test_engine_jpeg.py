"""The engine with a camera's JPEGs: passed on, or decoded once, and finished here all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
import time
from typing import Any

import cv2
import numpy as np
import pytest

from dnn_offload.codec import bundle
from dnn_offload.codec.compressed_picture import decode_picture, read_picture
from dnn_offload.errors import ImageError
from dnn_offload.exchange import Answer, UplinkRequest
from dnn_offload.graph.cuts import signature
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.frames import JpegSource
from dnn_offload.runtime.outcomes import DropReason, Outcome
from dnn_offload.runtime.plan_slot import PlanRequest
from dnn_offload.runtime.server_part import ServerParts
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.tensors import contiguous_strides, TensorSpec
from dnn_offload.vision.preprocess import mapping_of, prepare, PreprocessSpec
from engine_parts import FakeModel, FakeNode, FakeUplink, STAGES

WANTED = PreprocessSpec(64, 64)
_shape = (1, 64, 64, 3)
PICTURE = TensorSpec('picture', 'uint8', _shape, contiguous_strides(_shape))


class PictureModel(FakeModel):
    """``FakeModel`` with a picture that a JPEG fits into; its outputs are of the same size."""

    def __init__(self) -> None:
        super().__init__()
        specs = [PICTURE] + [
            TensorSpec(cut.frontier[0].name, 'float32', _shape, contiguous_strides(_shape))
            for cut in self.cuts[1:]
        ]
        self.cuts = tuple(
            replace(cut, cut_id=signature((spec,)), frontier=(spec,))
            for cut, spec in zip(self.cuts, specs, strict=True)
        )
        self.outputs = self.cuts[-1].frontier


    def run(self, segment: tuple[int, int], arrays: Any) -> list[np.ndarray]:
        assert all(array.shape == _shape for array in arrays)
        return super().run(segment, arrays)


class PreparingUplink(FakeUplink):
    """Its server prepares camera pictures, and takes as long for them as ``delay_s`` says."""

    def answer(self, request: UplinkRequest) -> Answer:
        arrays = bundle.decode(
            request.payload, [PICTURE], max_bytes=1 << 20,
            prepare=lambda bgr: prepare(bgr, WANTED, is_bgr=True)[0],
        )
        part = ServerParts(self.model).find(request.cut_id, request.return_id, ())
        start, end = part.span if isinstance(part.span[0], int) else self.model.piece(*part.span)
        outputs = [arrays[0].astype(np.float32) + (end - start)]
        payload = bundle.encode(outputs, part.outputs, request.result_codec)
        return Answer(request.frame_seq, payload, 'raw', 0.1, 0.2, 0.3, 0.4, 1.0, 2.0, 0.5)


class Node(FakeNode):
    """Keeps whole outputs."""

    def finish(self, outputs: list[Any], mapping: Any) -> Any:
        return outputs[0].copy(), mapping


@dataclass
class Rig:
    engine: InferenceEngine
    uplink: PreparingUplink
    node: Node
    decoded: int = 0
    refuse: bool = False

    def push(self, number: int) -> JpegSource:
        """One picture of 128 x 96; returns its source."""
        pixels = np.full((96, 128, 3), (number * 37 % 200, 90, 250 - number), np.uint8)
        data = cv2.imencode('.jpg', pixels)[1].tobytes()

        def decode() -> tuple[np.ndarray, Any]:
            self.decoded += 1
            if self.refuse:
                raise ImageError('JPEG is damaged')
            return prepare(decode_picture(read_picture(data)), WANTED, is_bgr=True)

        source = JpegSource(data, mapping_of(96, 128, WANTED), decode)
        self.engine.enter(time.time(), number, source)
        return source

    def outcome(self, number: int) -> Outcome:
        self.node.wait(lambda: len(self.node.reports) >= number)
        return self.node.reports[number - 1].outcome

    def frames(self, count: int) -> None:
        for number in range(1, count + 1):
            self.push(number)
            self.outcome(number)


def rig_with(pass_jpeg: str, codec: str = 'jpeg', cut: int = 0, **settings: float) -> Rig:
    model, node = PictureModel(), Node()
    engine = InferenceEngine(model, node, EngineSettings(pass_jpeg=pass_jpeg, **settings))
    rig = Rig(engine, PreparingUplink(model, engine), node)
    engine.start(rig.uplink)
    engine.set_plan(PlanRequest(1, model.cuts[cut].cut_id, codec, 'server'))
    node.wait(lambda: len(node.plans) == 2)
    return rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = rig_with('always')
    yield made
    made.engine.stop()
    made.uplink.close()


def test_a_jpeg_that_passes_is_not_decoded_here_and_gives_the_same_result(rig: Rig) -> None:
    sources = []
    for number in range(1, 4):
        sources.append(rig.push(number))
        assert rig.outcome(number) is Outcome.REMOTE
    assert rig.decoded == 0
    for source, (record, (outputs, mapping)) in zip(sources, rig.node.results, strict=True):
        picture, here = source.decode()
        np.testing.assert_array_equal(outputs, picture.astype(np.float32) + STAGES)
        assert mapping == here
        assert record.times.preprocess_ms == record.times.encode_ms == 0.0
        assert record.uplink_bytes > len(source.jpeg)


def test_one_that_is_not_answered_is_decoded_and_finished_here(rig: Rig) -> None:
    rig.engine.configure(deadline_ms=150.0)
    rig.uplink.behave = lambda request: 'drop'
    source = rig.push(1)
    assert rig.outcome(1) is Outcome.RESCUED
    assert rig.decoded == 1
    _, (outputs, _) = rig.node.results[0]
    np.testing.assert_array_equal(outputs, source.decode()[0].astype(np.float32) + STAGES)


def test_a_plan_with_a_second_cut_passes_it_too(rig: Rig) -> None:
    cuts = rig.uplink.model.cuts
    rig.engine.set_plan(PlanRequest(
        2, cuts[0].cut_id, 'jpeg', 'server', return_id=cuts[2].cut_id, return_codec='raw',
    ))
    rig.node.wait(lambda: len(rig.node.plans) == 3)
    source = rig.push(1)
    assert rig.outcome(1) is Outcome.REMOTE and rig.decoded == 0
    _, (outputs, _) = rig.node.results[0]
    np.testing.assert_array_equal(outputs, source.decode()[0].astype(np.float32) + STAGES)


def test_a_refused_one_is_finished_here_and_the_server_stays(rig: Rig) -> None:
    rig.uplink.behave = lambda request: 'refuse'
    rig.push(1)
    assert rig.outcome(1) is Outcome.RESCUED
    rig.uplink.behave = lambda request: 'answer'
    rig.push(2)
    assert rig.outcome(2) is Outcome.REMOTE
    assert rig.node.reports[1].times.preprocess_ms > 0.0, 'the next one should go to size'
    assert rig.uplink.lost_calls == []


def test_a_damaged_one_is_a_bad_image_and_the_server_stays(rig: Rig) -> None:
    rig.uplink.behave = lambda request: 'refuse'
    rig.refuse = True
    for number in range(1, 5):
        rig.push(number)
        assert rig.outcome(number) is Outcome.DROPPED
        assert rig.node.reports[-1].drop_reason is DropReason.BAD_IMAGE
    assert rig.uplink.lost_calls == []


def test_an_unreadable_answer_is_made_good_here(rig: Rig) -> None:
    rig.uplink.behave = lambda request: 'garbage'
    rig.push(1)
    assert rig.outcome(1) is Outcome.RESCUED


def test_a_private_plan_sends_none(rig: Rig) -> None:
    rig.engine.set_plan(PlanRequest(2, '', 'raw', '', private_layers=1))
    rig.frames(2)
    assert rig.uplink.sent == [] and rig.decoded == 2


@pytest.mark.parametrize(('mode', 'codec', 'cut'), [
    ('never', 'jpeg', 0), ('always', 'raw', 0), ('always', 'raw', 1),
])
def test_decoded_once_where_it_does_not_pass(mode: str, codec: str, cut: int) -> None:
    rig = rig_with(mode, codec, cut)
    try:
        if cut:
            rig.uplink.behave = lambda request: 'supersede'
        rig.frames(3)
        assert rig.decoded == 3
        assert all(r.times.preprocess_ms > 0.0 for r in rig.node.reports)
    finally:
        rig.engine.stop()
        rig.uplink.close()


def test_auto_brings_to_size_first_and_then_times_both() -> None:
    rig = rig_with('auto')
    try:
        rig.frames(12)
        passed = [record.times.preprocess_ms == 0.0 for record in rig.node.reports]
        assert not passed[0] and any(passed) and rig.decoded == passed.count(False)
    finally:
        rig.engine.stop()
        rig.uplink.close()
