"""What networks end in: chosen boxes, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph import fingerprint
from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.outputs import best_boxes, ClassMask, corners_of
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import resolve
from graph_models import check_every_cut

pytestmark = pytest.mark.usefixtures('one_thread')


def test_best_boxes_are_those_of_the_best_scores():
    corners = torch.tensor([[[0, 0, 2, 4], [5, 5, 9, 9], [1, 1, 3, 3]]]).float()
    scores = torch.tensor([[[0.1, 0.9], [0.3, 0.2], [0.8, 0.4]]])
    rows = best_boxes(corners, scores, first_class=1, candidates=4)
    expected = [
        [0, 0, 2, 4, 0.9, 2], [1, 1, 3, 3, 0.8, 1], [1, 1, 3, 3, 0.4, 2], [5, 5, 9, 9, 0.3, 1],
    ]
    assert rows.shape == (1, 4, 6)
    torch.testing.assert_close(rows[0], torch.tensor(expected))
    assert best_boxes(corners, scores).shape == (1, 6, 6)  # there are no more


def test_centres_and_sizes_become_corners():
    assert corners_of(torch.tensor([[10.0, 20.0, 4.0, 6.0]])).tolist() == [[8, 17, 12, 23]]


@pytest.mark.parametrize('form', ['tensor', 'dictionary', 'mask'])
def test_a_mask_is_the_best_class_of_each_pixel(form):
    scores = torch.randn(1, 5, 8, 9)

    class Net(nn.Module):
        def forward(self, picture: torch.Tensor) -> object:
            made = scores + 0.0 * picture.mean()
            if form == 'mask':
                return made.argmax(1)
            return {'out': made, 'aux': made} if form == 'dictionary' else made

    mask = ClassMask(Net())(torch.zeros(1, 3, 8, 9))
    assert mask.dtype == torch.uint8
    assert torch.equal(mask, scores.argmax(1).to(torch.uint8))


@pytest.mark.parametrize(
    'result', [torch.zeros(1, 5), torch.zeros(1, 8, 9), torch.zeros(2, 5, 8, 9), {'mask': 0}]
)
def test_what_is_no_mask_is_refused(result):
    class Net(nn.Module):
        def forward(self, picture: torch.Tensor) -> object:
            return result

    with pytest.raises(ModelError, match=r'gives no mask.*\(1, classes, H, W\)'):
        ClassMask(Net())(torch.zeros(1, 3, 8, 9))


def test_a_mask_has_at_most_255_classes():
    with pytest.raises(ModelError, match=r'256.*2 \.\. 255'):
        ClassMask(nn.Conv2d(3, 256, 1))(torch.zeros(1, 3, 4, 4))


def test_a_network_that_chooses_is_sampled_before_its_choice():
    """Else rounding of another machine could turn a class, and two ends would not agree."""
    loaded = resolve('torchvision:lraspp_mobilenet_v3_large', weights='random',
                     input_size=(64, 96))
    program, weights = export(loaded)
    at = fingerprint.sampled_cut(program)
    assert at == len(program.cuts) - 2
    assert [spec.dtype for spec in program.cuts[at].frontier] == ['float32']
    assert program.outputs[0].dtype == 'uint8' and program.outputs[0].shape == (1, 64, 96)
    assert len(set(program.fingerprint)) > 200
    (mask,) = check_every_cut(program, weights, 10)
    seeded = [torch.from_numpy(array) for array in fingerprint.seeded_inputs(program.inputs)]
    scores = Segment(program, weights, 0, at)(seeded)
    assert fingerprint.sample([t.numpy() for t in scores]) == pytest.approx(program.fingerprint)
    assert np.array_equal(
        Segment(program, weights, at, len(program.cuts) - 1)(scores)[0], scores[0].argmax(1)
    )
    assert mask.unique().numel() > 1


def test_a_network_that_does_not_choose_is_sampled_at_its_outputs():
    program, _ = export(LoadedModel('test', nn.Conv2d(3, 4, 3), 32, 32))
    assert fingerprint.sampled_cut(program) == len(program.cuts) - 1
