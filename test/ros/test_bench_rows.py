"""Nodes of the rows that are no plan of ours: what they send is what arrives."""

from __future__ import annotations

import numpy as np
from std_msgs.msg import Header
import torch

from dnn_offload.bench.rows.one_message import pack, unpack
from dnn_offload.bench.rows.today import answer_of
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
