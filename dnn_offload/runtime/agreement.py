"""How far a network's answers through a codec agree with its answers without one.

Per frame a score of 0 .. 1, by the task:

- classification: 1 if the best class is the same;
- detection: F1 of the detections, matched one to one within a class at IoU 0.5 or more; frames
  on which neither way finds anything tell nothing and do not count;
- segmentation: share of the pixels with the same class;
- anything else: 1 if the outputs differ by less than 5 % in relative L2 norm.

The agreement is the lower end of Wilson's 95 % interval, one-sided, on the mean score: a score
between 0 and 1 varies at most as much as a proportion with the same mean, and frames, not
pixels or boxes, are what is independent (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927).
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from dnn_offload.vision.decode import decode_detections, Detection
from dnn_offload.vision.preprocess import Mapping

Outputs = Sequence[np.ndarray]

IOU = 0.5
RELATIVE_L2 = 0.05
Z_95 = 1.6449  # one-sided


def score(task: str, reference: Outputs, outputs: Outputs) -> float | None:
    """Agreement on one frame, 0..1; None if it tells nothing.

    Args:
        task: As in a program.
        reference: What the network gives without a codec.
        outputs: What it gives with one; the same shapes.
    """
    if task == 'classification':
        return float(np.argmax(reference[0]) == np.argmax(outputs[0]))
    if task == 'detection':
        return _f1(_detections(reference), _detections(outputs))
    if task == 'segmentation':
        return float(np.mean(reference[0] == outputs[0]))
    off = math.sqrt(sum(_square(a - b) for a, b in zip(_wide(reference), _wide(outputs),
                                                       strict=True)))
    size = math.sqrt(sum(_square(a) for a in _wide(reference)))
    return float(off <= RELATIVE_L2 * size)  # False for anything that is not finite


def lower_bound(scores: Sequence[float]) -> float | None:
    """Lower end of Wilson's interval for the mean of scores 0..1; None without any."""
    count = len(scores)
    if count == 0:
        return None
    mean = sum(scores) / count
    z2 = Z_95**2
    centre = mean + z2 / (2 * count)
    spread = Z_95 * math.sqrt(max(mean * (1.0 - mean), 0.0) / count + z2 / (4 * count**2))
    return min(1.0, max(0.0, (centre - spread) / (1.0 + z2 / count)))


def _detections(outputs: Outputs) -> list[Detection]:
    """Detections in network pixels; nothing is clipped away."""
    side = 1 << 20
    return decode_detections(outputs, Mapping(1.0, 1.0, 0.0, 0.0, side, side), ())


def _f1(reference: list[Detection], found: list[Detection]) -> float | None:
    """2 TP / (both counts); best scores choose first."""
    if not reference and not found:
        return None
    left = list(reference)
    hits = 0
    for detection in found:
        overlaps = [
            _iou(detection.box, other.box) if other.class_id == detection.class_id else 0.0
            for other in left
        ]
        if overlaps and max(overlaps) >= IOU:
            del left[int(np.argmax(overlaps))]
            hits += 1
    return 2.0 * hits / (len(reference) + len(found))


def _iou(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(
        0.0, min(a[3], b[3]) - max(a[1], b[1])
    )
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common / max(areas - common, 1e-9)


def _wide(outputs: Outputs) -> list[np.ndarray]:
    return [np.asarray(output, dtype=np.float64) for output in outputs]


def _square(array: np.ndarray) -> float:
    return float(np.sum(array * array))
