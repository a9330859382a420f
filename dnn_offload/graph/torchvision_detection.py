"""One-stage detectors of torchvision as networks that can be cut: picture in, boxes out.

torchvision's own forward function makes lists of pictures, chooses boxes by score, whose number
depends on the picture, and suppresses in the middle of a loop: none of that can be exported. The
same layers are called here in a row, with the boxes chosen by ``topk``; suppression is left to
``vision/decode.py``, as for every detector of this package (Liu et al. 2016, SSD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.loaded_model import check_fixed_size, LoadedModel
from dnn_offload.graph.outputs import best_candidates
from dnn_offload.graph.torchvision_weights import give_weights

NAMES = ('ssd300_vgg16', 'ssdlite320_mobilenet_v3_large')


class SingleShot(torch.nn.Module):
    """Backbone, heads and boxes of an ``SSD`` of torchvision.

    Args:
        detector: The network; its layers are shared, its transform is not used.
        height, width: Of the picture [px].
    """

    limits: torch.Tensor  # (4,): right and lower border, twice [px]
    anchors: torch.Tensor  # (1, n, 4): centre x, centre y, width, height [px]

    def __init__(self, detector: torch.nn.Module, height: int, width: int) -> None:
        super().__init__()
        from torchvision.models.detection.image_list import ImageList

        self.backbone, self.head = detector.backbone, detector.head
        self.weights: tuple[float, ...] = tuple(detector.box_coder.weights)
        picture = torch.zeros(1, 3, height, width)
        with torch.no_grad():
            features = list(self.backbone.eval()(picture).values())
            corners = detector.anchor_generator(ImageList(picture, [(height, width)]), features)[0]
        size = corners[:, 2:] - corners[:, :2]
        self.register_buffer('limits', torch.tensor([width, height] * 2).float())
        anchors = torch.cat([corners[:, :2] + 0.5 * size, size], 1)
        self.register_buffer('anchors', anchors.unsqueeze(0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Picture (1, 3, H, W) to (1, K, 6): x1, y1, x2, y2 [px], score, class; best first."""
        found = self.head(list(self.backbone(image).values()))
        scores = found['cls_logits'].softmax(-1)[:, :, 1:]  # (1, n, classes): 0 is background
        best, box, kind = best_candidates(scores)
        label = (kind + 1).to(best.dtype)
        # Chosen before they are computed: 300 boxes instead of thousands.
        chosen = box.unsqueeze(-1).expand(-1, -1, 4)
        offsets = found['bbox_regression'].gather(1, chosen)  # (1, K, 4)
        anchors = self.anchors.gather(1, chosen)  # (1, K, 4)
        wx, wy, ww, wh = self.weights
        centre = offsets[..., :2] / offsets.new_tensor([wx, wy]) * anchors[..., 2:]
        centre = centre + anchors[..., :2]
        # torchvision's bound, so that random weights give no infinite boxes.
        growth = (offsets[..., 2:] / offsets.new_tensor([ww, wh])).clamp(max=_LARGEST_GROWTH)
        half = 0.5 * growth.exp() * anchors[..., 2:]
        corners = torch.cat([centre - half, centre + half], -1).clamp(min=0.0)
        corners = torch.minimum(corners, self.limits)
        return torch.cat([corners, best.unsqueeze(-1), label.unsqueeze(-1)], -1)


_LARGEST_GROWTH = 4.135166556742356  # log(1000 / 16): BoxCoder.bbox_xform_clip


def load(
    name: str,
    builder: Callable[..., torch.nn.Module],
    weights: str,
    input_size: tuple[int, int] | None,
) -> LoadedModel:
    """Load one of ``NAMES``; see ``sources.resolve``."""
    from torchvision.models import get_model_weights

    detector = builder(weights=None, weights_backbone=None)
    enum = get_model_weights(builder)
    stamp = give_weights(detector, enum, weights, name)
    made = single_shot(detector, tuple(next(iter(enum)).meta['categories']))
    check_fixed_size(name, (made.height, made.width), input_size)
    return replace(made, stamp=stamp)


def single_shot(detector: Any, class_names: tuple[str, ...]) -> LoadedModel:
    """A trained ``SSD`` of torchvision as a model: what a ``python:`` factory may return.

    Args:
        detector: ``ssd300_vgg16`` or ``ssdlite320_mobilenet_v3_large``, with any number of
            classes, and its weights.
        class_names: By index; the first is the background.

    Raises:
        ModelError: It is another kind of detector, or has another number of classes.
    """
    if type(detector).__name__ != 'SSD':
        raise ModelError(
            'only detectors of one stage can be taken apart', given=type(detector).__name__,
            allowed='an SSD of torchvision: ' + ', '.join(NAMES),
        )
    classes = detector.head.classification_head.num_columns
    if len(class_names) != classes:
        raise ModelError(
            'the detector has another number of classes than there are names',
            given=f'{len(class_names)} names', allowed=f'{classes}, the background first',
        )
    width, height = detector.transform.fixed_size
    return LoadedModel(
        source='',
        module=SingleShot(detector, height, width),
        height=height,
        width=width,
        mean=tuple(detector.transform.image_mean),
        std=tuple(detector.transform.image_std),
        preprocess={'mode': 'stretch'},
        task='detection',
        class_names=class_names,
    )
