"""The network's outputs into detections or classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from dnn_offload.errors import ModelError
from dnn_offload.vision.classes import class_name
from dnn_offload.vision.preprocess import Mapping
from dnn_offload.vision.suppression import non_maximum_suppression

# Narrower or lower than this after clipping to the picture: nothing of it is visible.
MIN_SIDE_PX = 1.0


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        box: x1, y1, x2, y2 in source pixels, within the picture.
        class_id: Index of the class.
        class_name: Its name.
        score: 0..1.
    """

    box: tuple[float, float, float, float]
    class_id: int
    class_name: str
    score: float


@dataclass(frozen=True)
class Classification:
    """One class and its probability."""

    class_id: int
    class_name: str
    score: float


def decode_detections(
    outputs: Sequence[np.ndarray],
    mapping: Mapping,
    class_names: Sequence[str],
    score_threshold: float = 0.4,
    iou_threshold: float = 0.5,
    *,
    class_ids: Collection[int] | None = None,
    max_detections: int = 300,
) -> list[Detection]:
    """Objects from the output of a detector, best first.

    Args:
        outputs: One tensor (1, K, 6): x1, y1, x2, y2 in network pixels, score, class index.
            Rows that are not finite, inside out or of a negative class are left out.
        mapping: Of the picture that went in.
        class_names: Names by index.
        score_threshold: Lowest score that counts.
        iou_threshold: Of two boxes of one class that overlap more than this, the better stays.
        class_ids: Classes that count; None = all.
        max_detections: The best so many are returned.

    Raises:
        ModelError: The output has another shape.
    """
    rows = first_output(outputs, 'a detector')
    if rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] != 6:
        raise ModelError(
            "the network's output is not that of a detector",
            given=f'shape {rows.shape}',
            allowed='(1, K, 6): x1, y1, x2, y2, score, class',
            hint="set the model's task to 'classification' if it is one, to 'tensor' if nothing "
            'here decodes it',
        )
    found = rows[0].astype(np.float64)  # (K, 6)
    found = found[np.isfinite(found).all(axis=1)]
    good = (
        (found[:, 4] >= score_threshold)
        & (found[:, 2] > found[:, 0])
        & (found[:, 3] > found[:, 1])
        & (found[:, 5] > -0.5)
        & (found[:, 5] < 2**31)
    )
    found = found[good]
    classes = np.rint(found[:, 5]).astype(np.int64)
    if class_ids is not None:
        wanted = np.isin(classes, list(class_ids))
        found, classes = found[wanted], classes[wanted]
    order = np.argsort(-found[:, 4], kind='stable')
    found, classes = found[order], classes[order]
    keep = non_maximum_suppression(found[:, :4], classes, iou_threshold)
    boxes = mapping.to_image(found[keep, :4])
    # What lies outside the picture, or is too small to be seen, takes nobody's place.
    seen = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= MIN_SIDE_PX
    boxes, keep = boxes[seen][:max_detections], keep[seen][:max_detections]
    return [
        Detection(
            (x1, y1, x2, y2), class_id, class_name(class_names, class_id), min(score, 1.0)
        )
        for (x1, y1, x2, y2), score, class_id in zip(
            boxes.tolist(), found[keep, 4].tolist(), classes[keep].tolist(), strict=True
        )
    ]


def decode_classes(
    outputs: Sequence[np.ndarray],
    class_names: Sequence[str],
    top_k: int = 5,
    class_ids: Collection[int] | None = None,
) -> list[Classification]:
    """The ``top_k`` most probable classes, best first.

    Args:
        outputs: The first is (1, K): logits.
        class_names: Names by index.
        top_k: How many, at least 1.
        class_ids: Classes that count; None = all. Probabilities are those among all classes.

    Raises:
        ModelError: The output has another shape, or is not finite.
    """
    logits = first_output(outputs, 'a classifier')
    if logits.ndim != 2 or logits.shape[0] != 1 or logits.shape[1] == 0:
        raise ModelError(
            "the network's output is not that of a classifier",
            given=f'shape {logits.shape}',
            allowed='(1, K)',
            hint="set the model's task to 'detection' if it is one, to 'tensor' if nothing here "
            'decodes it',
        )
    values = logits[0].astype(np.float64)
    if not np.isfinite(values).all():
        raise ModelError(
            "the network's output is not finite",
            hint='check the weights; a picture cannot do that to a sound network',
        )
    powers = np.exp(values - values.max())
    scores = powers / powers.sum()
    best = np.argsort(-scores, kind='stable')
    if class_ids is not None:
        best = best[np.isin(best, list(class_ids))]
    best = best[:max(1, top_k)]
    return [
        Classification(int(i), class_name(class_names, int(i)), float(scores[i])) for i in best
    ]


def first_output(outputs: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The output that is decoded; raises ModelError if there is none."""
    if len(outputs) == 0:
        raise ModelError(f'the network has no output, {what} has one')
    return np.asarray(outputs[0])
