"""A few numbers that tell whether two machines hold the same network. No torch.

Both ends run one seeded picture, or whatever the network takes; the sampled outputs must agree
within a tolerance that covers other instruction sets, thread counts and torch versions, not other
weights. Of a network that chooses (boxes by score, the class of each pixel) the last cut before
that is sampled: rounding of another machine moves a number a little, but a choice to any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnn_offload.graph.cuts import is_picture
from dnn_offload.graph.program import Program
from dnn_offload.tensors import TensorSpec

MAX_NUMBERS = 256
TOLERANCE = 1e-2


def seeded_picture(height: int, width: int) -> np.ndarray:
    """The picture that is run: uint8 (1, height, width, 3), the same on every machine.

    Coarse random blocks under fine noise: a picture of noise alone averages out in deep layers.
    """
    generator = np.random.Generator(np.random.PCG64(2019))
    coarse = generator.integers(0, 192, (1, -(-height // 16), -(-width // 16), 3), np.uint8)
    blocks = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return blocks + generator.integers(0, 64, (1, height, width, 3), np.uint8)


def seeded_inputs(inputs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """What is run: the seeded picture, or tensors of the given dtypes and shapes.

    Floats are uniform in -1 .. 1. Integers and truth values are 0 or 1, since they mostly count
    in a table of unknown length; bytes take all their values.
    """
    generator = np.random.Generator(np.random.PCG64(2019))
    made = []
    for spec in inputs:
        if is_picture(spec):
            made.append(seeded_picture(spec.shape[1], spec.shape[2]))
        elif spec.dtype.startswith('float'):
            floats = 2.0 * generator.random(spec.shape, np.float32) - 1.0
            made.append(np.asarray(floats, spec.dtype))  # without axes, too
        else:
            bound = 256 if spec.dtype == 'uint8' else 2
            numbers = generator.integers(0, bound, spec.shape, np.uint8)
            made.append(np.asarray(numbers, spec.dtype))
    return made


def sampled_cut(program: Program) -> int:
    """Index of the cut whose tensors are sampled: the last one before the network chooses.

    Where an operator makes integers of floating-point numbers (the best boxes, the class of a
    pixel), rounding of another machine may turn the choice. Without one: the outputs.
    """
    specs = program.specs
    for position, instruction in enumerate(program.instructions):
        made = {specs[name].dtype for name in instruction.outputs if name}
        given = {specs[name].dtype for name in instruction.values()}
        if any('int' in dtype for dtype in made) and any(d.startswith('float') for d in given):
            before = max(cut.index for cut in program.cuts if cut.position <= position)
            return before or len(program.cuts) - 1
    return len(program.cuts) - 1


def sample(tensors: Sequence[np.ndarray]) -> tuple[float, ...]:
    """At most 256 numbers spread over all tensors.

    Rows of a list of detections, (1, n, k), are sorted column by column first: two detections
    of almost the same score may change places from machine to machine.
    """
    columns = [
        np.sort(tensor, axis=1) if tensor.ndim == 3 else tensor
        for tensor in (np.asarray(tensor) for tensor in tensors)
    ]
    ends = np.cumsum([column.size for column in columns])
    count = min(MAX_NUMBERS, int(ends[-1]))
    chosen = np.linspace(0, ends[-1] - 1, count).astype(np.int64)
    numbers: list[np.ndarray] = []
    for column, end in zip(columns, ends, strict=True):  # a few of millions: nothing is copied
        inside = (chosen >= end - column.size) & (chosen < end)
        numbers.append(column.flat[chosen[inside] - (end - column.size)].astype(np.float64))
    with np.errstate(over='ignore'):
        single = np.nan_to_num(np.concatenate(numbers).astype(np.float32))
    return tuple(float(number) for number in single)


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Relative L2 distance, 0 = equal; infinite if the counts differ or a number is not finite."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float('inf')
    scale = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)), 1e-12)
    return float(np.linalg.norm(a - b)) / scale


def agree(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether two fingerprints are of the same network, computed with rounding of its own."""
    return distance(ours, theirs) <= TOLERANCE
