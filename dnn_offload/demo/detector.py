"""What the detector is trained with: assignment of predictions to truth, and the loss.

The assignment follows TOOD's task alignment (Feng et al., ICCV 2021): of the points in a box,
those count whose own prediction is already best. Since nothing is predicted well at the start, a
geometric prior (near the centre, on the grid that suits the size) stands in and fades out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

TOP_POINTS = 9
SCORE_POWER, IOU_POWER = 0.5, 5.0
MIN_HALF_PX = 6.0  # points this close to the centre of a thin box count as inside
BOX_WEIGHT, EDGE_WEIGHT = 2.5, 0.5


@dataclass(frozen=True)
class Truth:
    """The labels of a batch, padded.

    Attributes:
        boxes: (B, M, 4) x1, y1, x2, y2 in px.
        labels: (B, M) class index.
        valid: (B, M) bool, False is padding.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor


def pair_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU (Rezatofighi et al., CVPR 2019) of broadcastable boxes (..., 4)."""
    low = torch.maximum(first[..., :2], second[..., :2])
    top = torch.minimum(first[..., 2:], second[..., 2:])
    inter = (top - low).clamp(min=0).prod(-1)
    area_a = (first[..., 2:] - first[..., :2]).clamp(min=0).prod(-1)
    area_b = (second[..., 2:] - second[..., :2]).clamp(min=0).prod(-1)
    union = (area_a + area_b - inter).clamp(min=1e-6)
    hull = (
        (
            torch.maximum(first[..., 2:], second[..., 2:])
            - torch.minimum(first[..., :2], second[..., :2])
        )
        .prod(-1)
        .clamp(min=1e-6)
    )
    iou = inter / union
    return iou, iou - (hull - union) / hull


def geometric_prior(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """How well a point suits a box by place and size alone: (B, M, P) in 0..1.

    Args:
        points: (P, 2) px.
        strides: (P, 1) px.
        boxes: (B, M, 4) px.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1).prod(-1).sqrt()
    away = (centre[:, :, None] - points).div(strides).square().sum(-1)
    octave = torch.log2(size[:, :, None] / (4 * strides[:, 0]))
    return torch.exp(-0.5 * away - 0.7 * octave.square())


@torch.no_grad()
def assign(
    boxes: Tensor, logits: Tensor, truth: Truth, points: Tensor, strides: Tensor, prior: float
) -> tuple[Tensor, Tensor]:
    """Choose the points that are to predict each true box.

    Args:
        boxes: (B, P, 4) predicted, px.
        logits: (B, P, C) predicted.
        truth: Labels, M per picture.
        points: (P, 2) px.
        strides: (P, 1) px.
        prior: Share of the geometric prior, 1 at the start, 0 later.

    Returns:
        Index of the true box per point (B, P), and the target score (B, P), 0 for background.
    """
    size = truth.boxes.shape[1]
    centre = (truth.boxes[..., :2] + truth.boxes[..., 2:]) / 2
    half = ((truth.boxes[..., 2:] - truth.boxes[..., :2]) / 2).clamp(min=MIN_HALF_PX)
    inside = ((points - centre[:, :, None]).abs() < half[:, :, None]).all(-1)  # (B, M, P)
    inside &= truth.valid[:, :, None]
    iou, _ = pair_iou(truth.boxes[:, :, None], boxes[:, None])
    quality = (1 - prior) * iou + prior * geometric_prior(points, strides, truth.boxes)
    score = torch.gather(
        logits.sigmoid().transpose(1, 2),
        1,
        truth.labels[:, :, None].expand(-1, -1, logits.shape[1]),
    )  # (B, M, P)
    metric = score.pow(SCORE_POWER) * quality.clamp(min=1e-4).pow(IOU_POWER)
    metric = torch.where(inside, metric, torch.zeros_like(metric))
    best, index = metric.topk(TOP_POINTS, dim=2)
    chosen = torch.zeros_like(inside).scatter_(2, index, best > 0)
    metric = metric * chosen
    # Normalised so that a box's best point aims at that box's best quality.
    peak = metric.amax(2, keepdim=True).clamp(min=1e-12)
    target = metric / peak * (quality * chosen).amax(2, keepdim=True)
    contested = (quality * chosen).argmax(1)  # (B, P) a point serves the box it fits best
    owner = F.one_hot(contested, size).transpose(1, 2).bool() & chosen
    return contested, (target * owner).amax(1)


def loss(
    boxes: Tensor, logits: Tensor, truth: Truth, points: Tensor, strides: Tensor, prior: float
) -> tuple[Tensor, dict[str, float]]:
    """Total loss of a batch and its parts; arguments as for ``assign``."""
    owner, target = assign(boxes.detach(), logits.detach(), truth, points, strides, prior)
    weight = target.sum().clamp(min=1.0)
    label = torch.gather(truth.labels, 1, owner)
    wanted = F.one_hot(label, logits.shape[2]) * target[..., None]
    probability = logits.detach().sigmoid()
    # Varifocal weighting (Zhang et al., CVPR 2021): easy background hardly counts.
    focus = torch.where(wanted > 0, wanted, 0.75 * probability.square())
    score_loss = (
        F.binary_cross_entropy_with_logits(logits, wanted, reduction='none') * focus
    ).sum() / weight
    positive = target > 0
    found = boxes[positive]
    true = torch.gather(truth.boxes, 1, owner[..., None].expand(-1, -1, 4))[positive]
    share = target[positive]
    _, giou = pair_iou(found, true)
    box_loss = ((1 - giou) * share).sum() / weight
    extent = (true[:, 2:] - true[:, :2]).clamp(min=4.0).repeat(1, 2)
    edge = F.smooth_l1_loss(found / extent, true / extent, beta=0.1, reduction='none').sum(-1)
    edge_loss = (edge * share).sum() / weight
    total = score_loss + BOX_WEIGHT * box_loss + EDGE_WEIGHT * edge_loss
    return total, {
        'score': float(score_loss.detach()),
        'box': float(box_loss.detach()),
        'edge': float(edge_loss.detach()),
        'positives': float(positive.sum()),
    }
