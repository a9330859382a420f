"""Average precision as COCO defines it: 101 recall points, IoU 0.50 to 0.95. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0, 1, 101)
SMALL_PX = 32.0  # square root of a small object's area, in network-input pixels


@dataclass(frozen=True)
class Found:
    """Detections of one picture: boxes (N, 4) px, scores (N,), class_ids (N,)."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class Wanted:
    """Truth of one picture: boxes (M, 4) px, class_ids (M,)."""

    boxes: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class Score:
    """Result over a set of pictures.

    Attributes:
        ap: Mean over classes and thresholds, mAP@[.5:.95].
        ap50: Mean over classes at IoU 0.5.
        ap_small: As ``ap``, for true boxes below 32 x 32 px.
        ap_large: As ``ap``, for the others.
        per_class: ap of each class that occurs.
        recall: Recall at IoU 0.5 with all detections.
        count: Number of true boxes.
    """

    ap: float
    ap50: float
    ap_small: float
    ap_large: float
    per_class: dict[int, float]
    recall: float
    count: int


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of every pair: (N, 4), (M, 4) -> (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    top = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = np.clip(top - low, 0, None).prod(-1)
    area_a = np.clip(first[:, 2:] - first[:, :2], 0, None).prod(-1)
    area_b = np.clip(second[:, 2:] - second[:, :2], 0, None).prod(-1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def suppress(found: Found, iou_threshold: float = 0.6) -> Found:
    """Greedy non-maximum suppression within each class; keeps the order by score."""
    order = np.argsort(-found.scores, kind='stable')
    boxes, kinds = found.boxes[order], found.class_ids[order]
    overlap = iou_matrix(boxes, boxes) * (kinds[:, None] == kinds[None])
    keep = np.ones(len(order), bool)
    for index in range(len(order)):
        if keep[index]:
            keep[index + 1 :] &= overlap[index, index + 1 :] <= iou_threshold
    chosen = order[keep]
    return Found(found.boxes[chosen], found.scores[chosen], found.class_ids[chosen])


def from_output(output: np.ndarray, iou_threshold: float = 0.6, floor: float = 0.01) -> Found:
    """One row (100, 6) of the network's output -> detections after suppression."""
    rows = output[output[:, 4] > floor]
    found = Found(rows[:, :4], rows[:, 4], np.round(rows[:, 5]).astype(np.int64))
    return suppress(found, iou_threshold)


def _average_precision(
    scores: np.ndarray, hits: np.ndarray, counts: np.ndarray, total: int
) -> float:
    """AP of one class at one threshold.

    Args:
        scores: (N,) of all detections.
        hits: (N,) bool, matched a true box.
        counts: (N,) bool, False where a detection is to be left out (matched an ignored box).
        total: Number of true boxes.
    """
    order = np.argsort(-scores, kind='stable')
    hits, counts = hits[order], counts[order]
    true_positives = np.cumsum(hits & counts)
    false_positives = np.cumsum(~hits & counts)
    recall = true_positives / total
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALL_POINTS, side='left')
    return float(
        np.where(at < len(envelope), envelope[np.minimum(at, len(envelope) - 1)], 0).mean()
    )


def _match(
    found: Found, wanted: Wanted, kind: int, in_range: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Greedy matching of one class: scores (N,), hits (T, N), counts (T, N)."""
    mine = np.flatnonzero(found.class_ids == kind)
    mine = mine[np.argsort(-found.scores[mine], kind='stable')]
    true = np.flatnonzero(wanted.class_ids == kind)
    inside = in_range[true]
    boxes = found.boxes[mine]
    size = np.sqrt(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1))
    hits = np.zeros((len(IOU_THRESHOLDS), len(mine)), bool)
    counts = np.tile((size >= low) & (size < high), (len(IOU_THRESHOLDS), 1))
    if len(true) == 0:
        return found.scores[mine], hits, counts
    overlap = iou_matrix(boxes, wanted.boxes[true])
    for level, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(true), bool)
        for row in range(len(mine)):
            # true boxes in range come first, then ignored ones
            fitting = np.where(free & (overlap[row] >= threshold), overlap[row] + inside, -1)
            best = int(fitting.argmax())
            if fitting[best] < 0:
                continue
            free[best] = False
            hits[level, row] = inside[best]
            counts[level, row] = inside[best]
    return found.scores[mine], hits, counts


def _ap_table(
    found: Sequence[Found], wanted: Sequence[Wanted], low: float, high: float
) -> dict[int, np.ndarray]:
    """AP per class at each threshold, true boxes outside low..high ignored."""
    sizes = [np.sqrt(np.prod(w.boxes[:, 2:] - w.boxes[:, :2], axis=1)) for w in wanted]
    ranges = [(size >= low) & (size < high) for size in sizes]
    table: dict[int, np.ndarray] = {}
    kinds = np.unique(np.concatenate([w.class_ids for w in wanted]))
    for kind in kinds:
        total = sum(
            int(((w.class_ids == kind) & ok).sum()) for w, ok in zip(wanted, ranges, strict=True)
        )
        if total == 0:
            continue
        parts = [
            _match(f, w, kind, ok, low, high)
            for f, w, ok in zip(found, wanted, ranges, strict=True)
        ]
        scores = np.concatenate([part[0] for part in parts])
        hits = np.concatenate([part[1] for part in parts], axis=1)
        counts = np.concatenate([part[2] for part in parts], axis=1)
        table[int(kind)] = np.array(
            [
                _average_precision(scores, hits[level], counts[level], total)
                if len(scores)
                else 0.0
                for level in range(len(IOU_THRESHOLDS))
            ]
        )
    return table


def evaluate(found: Sequence[Found], wanted: Sequence[Wanted]) -> Score:
    """Score detections against the truth, picture by picture."""
    count = sum(len(w.boxes) for w in wanted)
    if count == 0:
        return Score(0.0, 0.0, 0.0, 0.0, {}, 0.0, 0)
    table = _ap_table(found, wanted, 0, np.inf)
    small = _ap_table(found, wanted, 0, SMALL_PX)
    large = _ap_table(found, wanted, SMALL_PX, np.inf)

    def mean(values: dict[int, np.ndarray]) -> float:
        return float(np.mean([row.mean() for row in values.values()])) if values else 0.0

    recalled = 0
    for f, w in zip(found, wanted, strict=True):
        for kind in np.unique(w.class_ids):
            _, hits, _ = _match(f, w, int(kind), np.ones(len(w.boxes), bool), 0, np.inf)
            recalled += int(hits[0].sum())
    return Score(
        mean(table),
        float(np.mean([row[0] for row in table.values()])),
        mean(small),
        mean(large),
        {kind: float(row.mean()) for kind, row in table.items()},
        recalled / count,
        count,
    )
