"""What a network is for, told by its outputs or held against them.

Before anything is measured: a network whose answers nobody can read would fail after minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnn_offload.errors import ModelError
from dnn_offload.tensors import TensorSpec

if TYPE_CHECKING:
    import torch

CLASSIFICATION, DETECTION, SEGMENTATION, TENSOR = TASKS = (
    'classification', 'detection', 'segmentation', 'tensor',
)

_WHAT = {
    CLASSIFICATION: ('a classifier', '(1, classes)'),
    DETECTION: ('a detector', '(1, K, 6): x1, y1, x2, y2, score, class'),
    SEGMENTATION: ('a segmentation network', 'uint8 (1, H, W)'),
}


def task_of(wanted: str, outputs: Sequence[TensorSpec]) -> str:
    """The task of a network.

    Args:
        wanted: One of ``TASKS``, or empty: a classifier where it can be one, else ``tensor``.
        outputs: What the network returns, at least one.

    Raises:
        ModelError: The first output is not what the task that was set needs.
    """
    if wanted == '':
        classes = len(outputs) == 1 and _fits(CLASSIFICATION, outputs[0])
        return CLASSIFICATION if classes else TENSOR
    if wanted != TENSOR and not _fits(wanted, outputs[0]):
        what, allowed = _WHAT[wanted]
        raise ModelError(
            f"the network's output is not that of {what}, which its task says it is",
            given=describe(outputs), allowed=allowed,
            hint="set the model's task to what it is; 'tensor' for outputs that nothing here "
            'decodes (it can be cut, profiled and planned, the nodes cannot show it)',
        )
    return wanted


def describe(specs: Sequence[TensorSpec]) -> str:
    """Tensors for people, e.g. ``float32 [1, 10], int64 [1, 3]``."""
    return ', '.join(f'{spec.dtype} {list(spec.shape)}' for spec in specs)


def check_finite(outputs: Sequence[torch.Tensor]) -> None:
    """Refuse a network that gives no number at all: a profile of it would mean nothing.

    Raises:
        ModelError: Everything that it returns is NaN or infinite.
    """
    if any(not output.is_floating_point() or output.isfinite().any() for output in outputs):
        return
    raise ModelError(
        'the network computes nothing: all its outputs are NaN or infinite for the picture, or '
        'the inputs, that it is tried with',
        hint='check its weights and its mean and std',
    )


def _fits(task: str, output: TensorSpec) -> bool:
    shape = output.shape
    if 0 in shape or not shape or shape[0] != 1:
        return False
    if task == DETECTION:
        return len(shape) == 3 and shape[2] == 6
    if task == SEGMENTATION:
        return len(shape) == 3 and output.dtype == 'uint8'
    return len(shape) == 2
