"""Detectors of torchvision, taken apart: the same boxes as torchvision's own detector finds.

Where torchvision's compiled operators do not fit the installed torch, its side of the comparison
suppresses by ``torchvision_compat.nms``; ours is NumPy's in ``vision/suppression.py`` either way.
Weights are random and sharpened, so that scores reach from 0 to 1 as those of a trained network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from hypothesis import assume, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from dnn_offload.cli import models_command
from dnn_offload.demo.scenes.render import render
from dnn_offload.errors import ModelError
from dnn_offload.graph.export import export
from dnn_offload.graph.outputs import CANDIDATES
from dnn_offload.graph.program import Program
from dnn_offload.graph.random_weights import calibrate, fill
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.torchvision_detection import single_shot
from dnn_offload.graph.weights import Weights
from dnn_offload.vision.classes import is_background
from dnn_offload.vision.decode import decode_detections, Detection
from dnn_offload.vision.preprocess import Mapping
from graph_models import check_every_cut

pytestmark = pytest.mark.usefixtures('one_thread')

ROOT = Path(__file__).resolve().parents[1]
NAME = 'ssdlite320_mobilenet_v3_large'
SIDE = 320
WHOLE = Mapping(1.0, 1.0, 0.0, 0.0, SIDE, SIDE)
IOU = 0.55  # torchvision's own
SHARPEN = 8.0


def build(classes: int = 91) -> Any:
    builder = import_torchvision().models.get_model_builder(NAME)
    detector = builder(weights=None, weights_backbone=None, num_classes=classes).eval()
    fill(detector)
    return detector


def pictures() -> list[np.ndarray]:
    return [cv2.resize(render(seed, 'val').rgb, (SIDE, SIDE)) for seed in range(4)]


@pytest.fixture(scope='module')
def sharp() -> tuple[Any, Program, Weights]:
    """A detector of torchvision, and the same one as a program."""
    detector = build()
    loaded = single_shot(detector, tuple(f'name {i}' for i in range(91)))
    calibrate(loaded.module, [torch.from_numpy(pictures()[0])[None]])
    with torch.no_grad():
        for head in (detector.head.classification_head, detector.head.regression_head):
            for block in head.module_list:
                block[-1].weight.mul_(SHARPEN)
                block[-1].bias.mul_(SHARPEN)
    return detector, *export(loaded)


def theirs(result: dict[str, torch.Tensor]) -> np.ndarray:
    """Rows x1 y1 x2 y2 score class, without boxes that are too thin to be seen."""
    rows = torch.cat([
        result['boxes'], result['scores'][:, None], result['labels'][:, None].float()
    ], 1).numpy()
    seen = np.minimum(rows[:, 2] - rows[:, 0], rows[:, 3] - rows[:, 1]) >= 1.0
    made: np.ndarray = rows[seen]
    return made


def ours(found: list[Detection]) -> np.ndarray:
    return np.array([[*d.box, d.score, d.class_id] for d in found]).reshape(-1, 6)


def test_pictures_give_the_boxes_that_torchvision_finds(sharp):
    detector, program, weights = sharp
    last = len(program.cuts) - 1
    counts = []
    for rgb in pictures():
        (rows,) = Segment(program, weights, 0, last)([torch.from_numpy(rgb)[None]])
        scores = rows[0, :, 4].numpy()
        # A limit in the widest gap: rounding of folded weights moves no candidate across it.
        gap = 150 + int(np.argmax(scores[150:-1] - scores[151:]))
        limit = float(scores[gap : gap + 2].mean())
        detector.score_thresh, detector.detections_per_img = limit, CANDIDATES
        with torch.inference_mode():
            (result,) = detector([torch.from_numpy(rgb).permute(2, 0, 1) / 255.0])
        expected = theirs(result)
        found = ours(decode_detections([rows.numpy()], WHOLE, (), limit, IOU))
        assert found.shape == expected.shape
        # Each of ours is one of theirs; of almost equal scores either may come first.
        off = np.abs(found[:, None] - expected[None])
        close = (off[..., :4].max(2) < 0.01) & (off[..., 4] < 1e-4) & (off[..., 5] == 0)
        assert (close.sum(0) == 1).all() and (close.sum(1) == 1).all()
        counts.append(len(found))
    assert min(counts) > 30 and float(scores[0]) > 0.8


def test_suppression_is_in_no_piece_and_the_cuts_reach_to_the_boxes(sharp):
    _, program, weights = sharp
    assert not any('nms' in instruction.target for instruction in program.instructions)
    assert (program.task, program.preprocess['mode']) == ('detection', 'stretch')
    assert len(program.cuts) > 100
    assert program.outputs[0].shape == (1, CANDIDATES, 6)
    assert program.cuts[-2].nbytes > 100 * program.cuts[-1].nbytes  # before and after the choice
    check_every_cut(program, weights, 30)


class Said(torch.nn.Module):
    """Stands for backbone and head: gives what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, torch.Tensor] = {}

    def forward(self, features: object) -> dict[str, torch.Tensor]:
        return self.outputs


@pytest.fixture(scope='module')
def bare() -> tuple[Any, Any]:
    """A detector of five classes, and ours of the same, whose head says what it is told."""
    detector = build(6)
    module = single_shot(detector, tuple('abcdef')).module
    module.backbone, module.head = torch.nn.Identity(), Said()
    module.backbone.forward = lambda image: {'0': image}
    return detector, module


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    seed=st.integers(0, 10_000), sharpness=st.floats(0.5, 2.5), spread=st.floats(0.0, 6.0),
    iou=st.sampled_from((0.3, 0.45, 0.55, 0.7)),
)
def test_any_head_gives_the_boxes_that_torchvision_makes_of_it(
    bare, seed, sharpness, spread, iou
):
    detector, module = bare
    generator = np.random.default_rng(seed)
    count = module.anchors.shape[1]

    def numbers(width: int, scale: float) -> torch.Tensor:
        values = scale * generator.standard_normal((1, count, width))
        return torch.from_numpy(values.astype(np.float32))

    said = {'cls_logits': numbers(6, sharpness), 'bbox_regression': numbers(4, spread)}
    module.head.outputs = said
    with torch.inference_mode():
        rows = module(torch.zeros(1, 3, SIDE, SIDE))
        scores = rows[0, :, 4].numpy()
        assume(np.unique(scores).size == scores.size)  # of equal ones either may come first
        limit = float(scores[-40])
        detector.score_thresh, detector.nms_thresh = limit, iou
        detector.detections_per_img = CANDIDATES
        half = 0.5 * module.anchors[0, :, 2:]
        anchors = torch.cat([module.anchors[0, :, :2] - half, module.anchors[0, :, :2] + half], 1)
        (result,) = detector.postprocess_detections(said, [anchors], [(SIDE, SIDE)])
    expected = theirs(result)
    found = ours(decode_detections([rows.numpy()], WHOLE, (), np.nextafter(limit, 1.0), iou))
    # torchvision takes what is above the limit, we what is not below it.
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-3)


def test_labels_are_those_of_the_weights():
    loaded = resolve(f'torchvision:{NAME}', weights='random')
    assert len(loaded.class_names) == 91
    assert (loaded.class_names[0], loaded.class_names[1]) == ('__background__', 'person')
    assert (loaded.stamp, loaded.mean) == ('random weights', (0.5, 0.5, 0.5))


def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(ModelError, match=r'one stage.*Linear.*ssdlite320'):
        single_shot(torch.nn.Linear(2, 2), ())
    with pytest.raises(ModelError, match=r'3 names.*6, the background first'):
        single_shot(build(6), ('__background__', 'cup', 'ball'))
    with pytest.raises(ModelError, match='fixed'):
        resolve(f'torchvision:{NAME}', weights='random', input_size=(240, 320))


def test_what_is_said_of_its_classes_is_what_it_can_say() -> None:
    """Of its 91 numbers some are the background, or were never used."""
    import_torchvision()
    from torchvision.models import get_model_weights

    names = next(iter(get_model_weights(NAME))).meta['categories']
    count = sum(not is_background(names, number) for number in range(len(names)))
    page = (ROOT / 'docs/first-day.md').read_text(encoding='utf-8')
    assert f'the {count} classes of COCO' in page
    assert f'{count} classes of COCO' in dict(models_command.TRIED)[f'torchvision:{NAME}']
