"""``import torchvision`` where its compiled operators do not fit the installed torch.

A pip torchvision beside a CPU-only torch stops at "operator torchvision::nms does not exist".
Its Python models work once the schemas exist; ``nms`` gets a plain implementation, too, since
models may call it. Matching builds (and those of Linux distributions) never come here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch

from dnn_offload.errors import ModelError

# torch removes operators when their library object is collected.
_libraries: list[Any] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, mending it if need be.

    Raises:
        ModelError: It is not installed, or broken in another way.
    """
    try:
        return _import()
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error) or _libraries:
            raise ModelError(
                f'torchvision cannot be imported: {error}',
                hint='install the torchvision that belongs to the installed torch',
            ) from error
    except ImportError as error:
        raise ModelError(
            f'torchvision cannot be imported: {error}',
            hint='install it: pip install torchvision (python3-torchvision with rosdep)',
        ) from error
    _define_operators()
    torchvision = _import()
    torchvision.extension._has_ops = lambda: True  # the one that is there now may be called
    return torchvision


def _import() -> ModuleType:
    import torchvision

    return torchvision


def _define_operators() -> None:
    library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        library.impl(name, nms, 'CPU')
    _libraries.append(library)


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Non-maximum suppression.

    Args:
        dets: Boxes x1, y1, x2, y2 (n, 4).
        scores: (n,).
        iou_threshold: A box that overlaps a better one by more than this is left out.

    Returns:
        Indices of the boxes that stay, best first (k,).
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order].to(torch.float32)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(order), dtype=torch.bool)
    for index in range(len(order)):
        if not alive[index]:
            continue
        top_left = torch.maximum(boxes[index, :2], boxes[index + 1 :, :2])
        bottom_right = torch.minimum(boxes[index, 2:], boxes[index + 1 :, 2:])
        overlap = (bottom_right - top_left).clamp(min=0).prod(dim=1)
        iou = overlap / (area[index] + area[index + 1 :] - overlap)
        alive[index + 1 :] &= iou <= iou_threshold
    return order[alive]
