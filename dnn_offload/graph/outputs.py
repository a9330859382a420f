"""What a network of one's own ends in, so that the nodes can publish what it says.

These are torch operations within the network: they are cut, sent and run like its layers, on the
robot or on a server, and little is sent back. What depends on the picture in its size (how many
boxes stay) is left to ``vision/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dnn_offload.errors import ModelError

CANDIDATES = 300  # boxes that leave a detector; suppression takes most of them
MAX_CLASSES = 255  # of a mask; 255 itself marks pixels without a class


def best_candidates(
    scores: torch.Tensor, candidates: int = CANDIDATES
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best of all pairs of box and class; a box may be there once for each class.

    Args:
        scores: (1, n, classes), 0..1.
        candidates: Most that are taken.

    Returns:
        Their scores, best first, the indices of their boxes and of their classes, (1, K) each.
    """
    classes = scores.shape[2]
    best, index = scores.flatten(1).topk(min(candidates, scores[0].numel()), dim=1)
    box = index.div(classes, rounding_mode='trunc')
    return best, box, index - box * classes


def best_boxes(
    corners: torch.Tensor,
    scores: torch.Tensor,
    *,
    first_class: int = 0,
    candidates: int = CANDIDATES,
) -> torch.Tensor:
    """Boxes and scores of a detector in the form that the nodes publish.

    Args:
        corners: (1, n, 4): x1, y1, x2, y2 [px of the network's picture].
        scores: (1, n, classes), 0..1: after sigmoid or softmax, without a background class.
        first_class: Index of the first of these classes in ``class_names``; 1 where 0 is the
            background.
        candidates: Boxes that come out.

    Returns:
        (1, K, 6): x1, y1, x2, y2, score, class, best first; overlapping ones are still there.
    """
    best, box, label = best_candidates(scores, candidates)
    chosen = corners.gather(1, box.unsqueeze(-1).expand(-1, -1, 4))
    named = (label + first_class).to(chosen.dtype)
    return torch.cat([chosen, best.unsqueeze(-1), named.unsqueeze(-1)], -1)


def corners_of(boxes: torch.Tensor) -> torch.Tensor:
    """(..., 4) centre x, centre y, width, height to x1, y1, x2, y2."""
    centre, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([centre - half, centre + half], -1)


class ClassMask(torch.nn.Module):
    """The class of each pixel, of a network that gives a score for each class and pixel.

    A mask of one byte a pixel leaves the network instead of 4 bytes for each class: 270 kB
    instead of 23 MB at 520 x 520 and 21 classes.

    Args:
        module: Gives scores (1, classes, H, W), such a tensor under ``out`` of a dictionary (as
            torchvision's do), or a mask (1, H, W) of integers.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The network's inputs to uint8 (1, H, W)."""
        found: Any = self.module(*inputs)
        if isinstance(found, Mapping):
            found = found.get('out')
        if isinstance(found, torch.Tensor) and found.ndim == 4 and found.shape[0] == 1:
            if not 2 <= found.shape[1] <= MAX_CLASSES:
                raise ModelError(
                    'a mask cannot tell so many classes apart', given=found.shape[1],
                    allowed=f'2 .. {MAX_CLASSES}',
                    hint='of one score a pixel: return torch.cat([-y, y], 1), or the mask '
                    '(y[:, 0] > 0).long()',
                )
            # Three times as fast as argmax, which gives the same (torch 2.13, CPU).
            return found.max(dim=1)[1].to(torch.uint8)
        if (
            isinstance(found, torch.Tensor) and found.ndim == 3 and found.shape[0] == 1
            and not found.is_floating_point()
        ):
            return found.to(torch.uint8)
        raise ModelError(
            'the network gives no mask',
            given=str(tuple(found.shape)) if isinstance(found, torch.Tensor)
            else type(found).__name__,
            allowed="scores (1, classes, H, W), a dictionary with them as 'out', or a mask of "
            'integers (1, H, W)',
        )
