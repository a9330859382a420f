"""A network's mask of classes into one that lies over the camera's picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dnn_offload.errors import ModelError
from dnn_offload.vision.classes import class_name, is_background
from dnn_offload.vision.decode import first_output
from dnn_offload.vision.preprocess import Mapping

NO_CLASS = 255  # of a pixel that the network has not seen, or whose class is not wanted


@dataclass(frozen=True)
class Region:
    """One class of a mask.

    Attributes:
        class_id: Value of its pixels.
        class_name: Its name.
        share: Of the picture's pixels, 0..1.
        background: Whether it stands for nothing in particular.
    """

    class_id: int
    class_name: str
    share: float
    background: bool


@dataclass(frozen=True)
class Segmentation:
    """A class for each pixel of the camera's picture.

    Attributes:
        mask: uint8 (H, W): index of the class, or ``NO_CLASS``.
        regions: The classes that are there, the largest first.
    """

    mask: np.ndarray
    regions: tuple[Region, ...]


def decode_mask(
    outputs: Sequence[np.ndarray],
    mapping: Mapping,
    class_names: Sequence[str],
    class_ids: Collection[int] | None = None,
) -> Segmentation:
    """The mask over the picture that went in.

    Args:
        outputs: The first is the mask uint8 (1, h, w), in network pixels.
        mapping: Of the picture that went in.
        class_names: Names by index.
        class_ids: Classes that are wanted; None = all. The pixels of the others become
            background where the network has such a class, else ``NO_CLASS``.

    Raises:
        ModelError: The output is no mask.
    """
    mask = first_output(outputs, 'a segmentation network')
    if mask.ndim != 3 or mask.shape[0] != 1 or mask.dtype != np.uint8 or mask.size == 0:
        raise ModelError(
            "the network's output is not a mask",
            given=f'{mask.dtype} {mask.shape}',
            allowed='uint8 (1, H, W)',
        )
    small = mask[0]
    if class_ids is not None:
        small = cv2.LUT(np.ascontiguousarray(small), _kept(class_names, class_ids))
    whole = _over_picture(small, mapping)
    counts = cv2.calcHist([whole], [0], None, [256], [0, 256]).ravel()
    present = sorted(np.flatnonzero(counts[:NO_CLASS]).tolist(), key=lambda i: -counts[i])
    return Segmentation(whole, tuple(
        Region(
            i, class_name(class_names, i), float(counts[i] / whole.size),
            is_background(class_names, i),
        )
        for i in present
    ))


def _kept(class_names: Sequence[str], class_ids: Collection[int]) -> np.ndarray:
    """What becomes of each class, uint8 (256,)."""
    everything = range(len(class_names) or NO_CLASS)
    nothing = next((i for i in everything if is_background(class_names, i)), NO_CLASS)
    table = np.full(256, nothing, np.uint8)
    table[NO_CLASS] = NO_CLASS
    for i in class_ids:
        if 0 <= i < NO_CLASS:
            table[i] = i
    return table


def _over_picture(small: np.ndarray, mapping: Mapping) -> np.ndarray:
    """The mask (h, w) with the size of the picture (H, W); borders of a letterbox fall away.

    Each pixel takes the class of the network's pixel that its centre lies in.
    """
    def sources(extent: int, scale: float, offset: float, limit: int) -> tuple[np.ndarray, slice]:
        at = np.floor((np.arange(extent) + 0.5) * scale + offset).astype(np.int64)
        inside = np.flatnonzero((at >= 0) & (at < limit))
        first, last = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
        return at[first:last], slice(first, last)

    height, width = small.shape
    rows, tall = sources(mapping.image_height, mapping.scale_y, mapping.offset_y, height)
    columns, wide = sources(mapping.image_width, mapping.scale_x, mapping.offset_x, width)
    whole = np.full((mapping.image_height, mapping.image_width), NO_CLASS, np.uint8)
    whole[tall, wide] = small[rows][:, columns]
    return whole
