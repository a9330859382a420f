"""Outputs of networks become detections and classes; nonsense among them is left out."""

from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from dnn_offload.errors import ModelError
from dnn_offload.vision.answers import decode
from dnn_offload.vision.decode import decode_classes, decode_detections
from dnn_offload.vision.preprocess import Mapping
from dnn_offload.vision.suppression import non_maximum_suppression

NAMES = ('person', 'cone')
DOUBLE = Mapping(0.5, 0.5, 0.0, 0.0, 200, 100)  # the source is twice the network's picture


def output(*rows: tuple[float, ...]) -> list[np.ndarray]:
    padded = np.zeros((1, 100, 6), np.float32)
    padded[0, :len(rows)] = rows
    return [padded]


def test_boxes_come_in_source_pixels_best_first():
    found = decode_detections(
        output((10, 10, 20, 30, 0.6, 1), (40, 5, 60, 45, 0.9, 0)), DOUBLE, NAMES, 0.5, 0.5
    )
    assert [d.class_name for d in found] == ['person', 'cone']
    assert found[0].box == (80, 10, 120, 90)
    assert found[0].score == pytest.approx(0.9)
    assert all(isinstance(value, float) for value in found[0].box)


def test_threshold_and_unknown_classes():
    outputs = output((0, 0, 9, 9, 0.49, 0), (20, 20, 40, 40, 0.51, 17))
    (only,) = decode_detections(outputs, DOUBLE, NAMES, 0.5, 0.5)
    assert (only.class_id, only.class_name) == (17, 'class 17')


@pytest.mark.parametrize(
    'row',
    [
        (np.nan, 0, 9, 9, 0.9, 0),
        (0, 0, np.inf, 9, 0.9, 0),
        (0, 0, 9, 9, np.nan, 0),
        (0, 0, 9, 9, 0.9, np.inf),
        (0, 0, 9, 9, 0.9, -1),
        (9, 0, 0, 9, 0.9, 0),
        (0, 9, 9, 9, 0.9, 0),
        (500, 0, 600, 9, 0.9, 0),  # outside the picture
        (0, 0, 0.2, 9, 0.9, 0),  # nothing to be seen
    ],
)
def test_nonsense_is_left_out(row):
    found = decode_detections(output(row, (1, 1, 30, 30, 0.8, 1)), DOUBLE, NAMES, 0.5, 0.5)
    assert [d.class_name for d in found] == ['cone']


def test_suppression_is_per_class():
    rows = ((0, 0, 20, 20, 0.9, 0), (1, 1, 21, 21, 0.8, 0), (1, 1, 21, 21, 0.7, 1))
    found = decode_detections(output(*rows), DOUBLE, NAMES, 0.5, 0.5)
    assert [(d.class_id, round(d.score, 1)) for d in found] == [(0, 0.9), (1, 0.7)]
    assert len(decode_detections(output(*rows), DOUBLE, NAMES, 0.5, 0.95)) == 3


@settings(deadline=None, max_examples=100)
@given(
    corners=hnp.arrays(np.float64, (12, 4), elements=st.floats(0, 50)),
    classes=hnp.arrays(np.int64, (12,), elements=st.integers(0, 2)),
    threshold=st.floats(0.1, 0.9),
)
def test_suppression_leaves_no_close_pair_and_drops_only_what_is_close(
    corners, classes, threshold
):
    boxes = np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:] + 1])
    keep = non_maximum_suppression(boxes, classes, threshold)

    def close(i: int, j: int) -> bool:
        side = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
        common = max(side[0], 0) * max(side[1], 0)
        area = (boxes[[i, j], 2] - boxes[[i, j], 0]) * (boxes[[i, j], 3] - boxes[[i, j], 1])
        return classes[i] == classes[j] and common > threshold * (area.sum() - common)

    assert all(not close(i, j) for i in keep for j in keep if i < j)
    for gone in set(range(12)) - set(keep.tolist()):
        assert any(close(i, gone) for i in keep if i < gone)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 400),
    side=st.floats(1.0, 90.0),
    threshold=st.sampled_from((0.3, 0.5, 0.55, 0.7)),
    seed=st.integers(0, 1000),
)
def test_suppression_is_that_of_opencv(count, side, threshold, seed):
    """A compiled one, written by others; boxes of whole heaps, more than one block of them."""
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0.0, 200.0, (count, 2))
    extent = generator.uniform(0.5, side, (count, 2))
    scores = np.sort(generator.random(count))[::-1].astype(np.float32)
    ours = non_maximum_suppression(
        np.hstack([corner, corner + extent]), np.zeros(count, np.int64), threshold
    )
    theirs = cv2.dnn.NMSBoxes(
        np.hstack([corner, extent]).tolist(), scores.tolist(), 0.0, threshold
    )
    assert ours.tolist() == list(theirs)


def test_boxes_without_area_suppress_nothing():
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10], [0, 0, 10, 10]], float)
    keep = non_maximum_suppression(boxes, np.zeros(4, np.int64), 0.5)
    assert keep.tolist() == [0, 1, 2]


def test_classes_that_are_not_wanted_make_room_for_others():
    rows = ((0, 0, 20, 20, 0.9, 0), (30, 30, 50, 50, 0.8, 1), (60, 0, 80, 20, 0.7, 0))
    found = decode_detections(output(*rows), DOUBLE, NAMES, class_ids={0}, max_detections=2)
    assert [round(d.score, 1) for d in found] == [0.9, 0.7]
    found = decode_detections(output(*rows), DOUBLE, NAMES, max_detections=2)
    assert [round(d.score, 1) for d in found] == [0.9, 0.8]
    assert decode_detections(output(*rows), DOUBLE, NAMES, class_ids=()) == []


def test_a_box_that_cannot_be_seen_takes_nobodys_place():
    rows = ((500, 0, 600, 9, 0.9, 0), (1, 1, 30, 30, 0.8, 1))
    (only,) = decode_detections(output(*rows), DOUBLE, NAMES, max_detections=1)
    assert only.class_name == 'cone'


def test_wanted_classes_keep_their_probability_among_all():
    logits = [np.array([[1.0, 3.0, 2.0]], np.float32)]
    (only,) = decode_classes(logits, NAMES, 5, {0})
    assert only.class_name == 'person'
    assert only.score == pytest.approx(np.exp(1.0) / np.exp([1.0, 2.0, 3.0]).sum())


def test_a_task_that_nobody_decodes_is_refused():
    with pytest.raises(ModelError, match=r'tensor.*classification, detection, segmentation'):
        decode('tensor', [np.zeros(1)], DOUBLE, NAMES)


@settings(deadline=None, max_examples=150)
@given(rows=hnp.arrays(np.float32, (1, 7, 6), elements=st.floats(width=32)))
def test_any_output_gives_boxes_within_the_picture(rows):
    for found in decode_detections([rows], DOUBLE, NAMES, 0.1, 0.5):
        x1, y1, x2, y2 = found.box
        assert 0 <= x1 < x2 <= 200 and 0 <= y1 < y2 <= 100
        assert 0.0 <= found.score <= 1.0


def test_an_empty_output_is_no_detection():
    assert decode_detections([np.zeros((1, 0, 6), np.float32)], DOUBLE, NAMES, 0.5, 0.5) == []


def test_classes_are_a_softmax():
    found = decode_classes([np.array([[1.0, 3.0, 2.0]], np.float32)], NAMES, top_k=2)
    assert [c.class_name for c in found] == ['cone', 'class 2']
    expected = np.exp([3.0, 2.0]) / np.exp([1.0, 2.0, 3.0]).sum()
    assert [c.score for c in found] == pytest.approx(expected.tolist())


def test_large_logits_do_not_overflow():
    (best,) = decode_classes([np.array([[3e38, -3e38]], np.float32)], NAMES, top_k=1)
    assert best.score == 1.0


@pytest.mark.parametrize('shape', [(1, 0), (2, 5), (5,), (1, 5, 1)])
def test_outputs_of_another_shape_are_refused(shape):
    with pytest.raises(ModelError, match='classifier'):
        decode_classes([np.zeros(shape, np.float32)], NAMES)
    with pytest.raises(ModelError, match='detector'):
        decode_detections([np.zeros(shape, np.float32)], DOUBLE, NAMES)


def test_broken_networks_are_told_apart_from_wrong_answers():
    with pytest.raises(ModelError, match='not finite'):
        decode_classes([np.array([[np.nan, 0.0]], np.float32)], NAMES)
    with pytest.raises(ModelError, match='no output'):
        decode_classes([], NAMES)


