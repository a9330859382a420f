"""Nodes of the rows that are no plan of ours: what they send is what arrives; a timeline."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from std_msgs.msg import Header
import torch

from dnn_offload.bench.rows.one_message import pack, unpack
from dnn_offload.bench.rows.today import answer_of
from dnn_offload.bench.scenario.file import parse
from dnn_offload.bench.scenario.scenario import Conditions
from dnn_offload.bench.timeline import play
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

    def apply(self, wanted: Conditions, session: Any) -> None:
        time.sleep(self._delay_s)


def test_a_reaction_is_timed_from_the_command_on() -> None:
    """A change that takes a while to be made is in force before that has ended."""
    start_s = time.monotonic()
    recorder = SimpleNamespace(rows=[], phase='', now_s=lambda: time.monotonic() - start_s)
    session = SimpleNamespace(recorder=recorder, fleet=SimpleNamespace(check=lambda: None))
    scenario = parse(
        'title: t\nrows: [auto]\nduration_s: 1.0\ntimeline: [{at_s: 0.2, load: 1}]', 'tiny'
    )
    played = play(
        scenario, scenario.points[0], 'auto', 0, cast(Any, session),
        cast(Any, SlowEmulation(0.4)), lambda seconds: None, None,
    )
    (step,) = played.steps
    assert step.what == 'load 0 to 1'
    assert 0.2 <= step.at_s < 0.5
