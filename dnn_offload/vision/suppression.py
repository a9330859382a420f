"""Non-maximum suppression: of boxes that overlap, the best one stays. NumPy alone.

What torchvision's compiled operator does (``batched_nms``), for the few hundred boxes that leave
a network, where torch or its operators are not there or do not fit.
"""

from __future__ import annotations

import numpy as np

# Rows of the table of overlaps that are computed at a time: 128 x 1000 numbers stay in the cache.
_BLOCK = 128


def non_maximum_suppression(
    boxes: np.ndarray, classes: np.ndarray, iou_threshold: float
) -> np.ndarray:
    """Indices (M,) of the boxes that stay, in order; a box only suppresses its own class.

    Overlap is intersection over union, computed in float64. A box without area overlaps nothing.

    Args:
        boxes: (N, 4) x1 y1 x2 y2, best first.
        classes: (N,)
        iou_threshold: Overlap above which the later box goes.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    count = len(boxes)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # (N,)
    alive = np.ones(count, dtype=bool)
    for start in range(0, count, _BLOCK):
        rows = start + np.flatnonzero(alive[start:start + _BLOCK])
        rivals = start + np.flatnonzero(alive[start:])  # what is gone already suppresses nothing
        close = _too_close(boxes, areas, rows, rivals, iou_threshold)
        close &= classes[rows, None] == classes[rivals]
        for row, near in zip(rows, close, strict=True):
            if alive[row]:
                near &= rivals > row
                alive[rivals[near]] = False
    return np.flatnonzero(alive)


def _too_close(
    boxes: np.ndarray, areas: np.ndarray, rows: np.ndarray, rivals: np.ndarray, limit: float
) -> np.ndarray:
    """(R, C): whether boxes ``rows`` and ``rivals`` overlap by more than ``limit``."""
    width = np.minimum(boxes[rows, None, 2], boxes[rivals, 2])
    width -= np.maximum(boxes[rows, None, 0], boxes[rivals, 0])
    height = np.minimum(boxes[rows, None, 3], boxes[rivals, 3])
    height -= np.maximum(boxes[rows, None, 1], boxes[rivals, 1])
    common = np.clip(width, 0.0, None, out=width)
    common *= np.clip(height, 0.0, None, out=height)
    union = areas[rows, None] + areas[rivals]
    union -= common
    union *= limit
    close: np.ndarray = common > union
    return close
