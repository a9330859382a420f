"""Outputs of any network that the nodes run into what they publish, by its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dnn_offload.errors import ModelError
from dnn_offload.vision.decode import (
    Classification,
    decode_classes,
    decode_detections,
    Detection,
)
from dnn_offload.vision.preprocess import Mapping
from dnn_offload.vision.segmentation import decode_mask, Segmentation

DECODED_TASKS = ('classification', 'detection', 'segmentation')
Answers: TypeAlias = list[Detection] | list[Classification] | Segmentation


@dataclass(frozen=True)
class DecodeSettings:
    """What of a network's answer is wanted; nothing of it changes what the network computes.

    Attributes:
        score_threshold: Lowest score of a detection.
        iou_threshold: Of two detections of one class that overlap more, the better one stays.
        class_ids: Classes that are wanted; None = all.
        max_detections: Most detections.
        top_k: Most classes of a classification.
    """

    score_threshold: float = 0.4
    iou_threshold: float = 0.5
    class_ids: frozenset[int] | None = None
    max_detections: int = 100
    top_k: int = 5


def decode(
    task: str,
    outputs: Sequence[np.ndarray],
    mapping: Mapping,
    class_names: Sequence[str],
    settings: DecodeSettings = DecodeSettings(),  # noqa: B008 (frozen)
) -> Answers:
    """The answer of a network of one of ``DECODED_TASKS``.

    Args:
        task: Of the network.
        outputs: What it gave.
        mapping: Of the picture that went in.
        class_names: Names by index.
        settings: What is wanted.

    Raises:
        ModelError: The outputs are not those of the task, or nobody decodes such.
    """
    if task == 'detection':
        return decode_detections(
            outputs, mapping, class_names, settings.score_threshold, settings.iou_threshold,
            class_ids=settings.class_ids, max_detections=settings.max_detections,
        )
    if task == 'segmentation':
        return decode_mask(outputs, mapping, class_names, settings.class_ids)
    if task == 'classification':
        return decode_classes(outputs, class_names, settings.top_k, settings.class_ids)
    raise ModelError(
        'nothing decodes the outputs of such a network', given=task,
        allowed=', '.join(DECODED_TASKS),
    )
