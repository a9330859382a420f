"""A mask of classes laid over the picture, for people: colours, edges between classes."""

from __future__ import annotations

import cv2
import numpy as np

from dnn_offload.vision.palette import colour_of
from dnn_offload.vision.segmentation import NO_CLASS, Segmentation

OPACITY = 0.45  # of the colour: the picture stays to be seen
_EDGE_OPACITY = 0.9
_COLOURS = np.array([colour_of(i) for i in range(256)], np.uint8).reshape(256, 1, 3)


def lay_over(canvas: np.ndarray, segmentation: Segmentation) -> None:
    """Colour the pixels of each class but the background, with a firm edge around each region.

    Args:
        canvas: Picture uint8 (H, W, 3), RGB; changed. Another size than the mask's is right.
        segmentation: What is laid over it.
    """
    mask = segmentation.mask
    if mask.shape != canvas.shape[:2]:
        mask = cv2.resize(
            mask, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_NEAREST
        )
    opacity = np.full((256, 1), OPACITY, np.float32)
    opacity[[NO_CLASS, *(r.class_id for r in segmentation.regions if r.background)]] = 0.0
    shown = cv2.LUT(mask, (opacity[:, 0] > 0).astype(np.uint8))
    if not shown.any():
        return
    colour = cv2.LUT(cv2.merge((mask, mask, mask)), _COLOURS)
    blended = cv2.addWeighted(canvas, 1.0 - OPACITY, colour, OPACITY, 0.0)
    cv2.copyTo(blended, shown, canvas)
    edge = shown & _edges(mask)
    firm = cv2.addWeighted(canvas, 1.0 - _EDGE_OPACITY, colour, _EDGE_OPACITY, 0.0)
    cv2.copyTo(firm, edge, canvas)


def _edges(mask: np.ndarray) -> np.ndarray:
    """1 where a neighbour is of another class, uint8 (H, W); wider in large pictures."""
    side = 3 if min(mask.shape) < 720 else 5
    kernel = np.ones((side, side), np.uint8)
    return (cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)).astype(np.uint8)
