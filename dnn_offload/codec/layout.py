"""Memory order of a tensor: from any strides to one flat run of elements, and back.

A tensor travels in the order in which its elements lie in memory, so that channels_last
costs no transposition on either side, and arrives with the strides it left with: bit
equality of a cut network needs them (measured: 19 of 277 cuts differ without).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import math

import numpy as np

from dnn_offload.errors import CodecError
from dnn_offload.tensors import contiguous_strides, TensorSpec

MAX_NDIM = 8  # bound of TensorMeta.shape in the IDL
_MAX_BYTES = 1 << 62  # beyond, numpy's own arithmetic would overflow


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory.

    Attributes:
        order: Axes from the slowest to the fastest.
        dense: Whether the elements fill their span once: no gaps, no overlaps.
        span: Elements from the first to the last one, both included.
        byte_strides: Strides in bytes.
    """

    order: tuple[int, ...]
    dense: bool
    span: int
    byte_strides: tuple[int, ...]


@lru_cache(maxsize=512)
def layout_of(spec: TensorSpec) -> Layout:
    """Work out the layout that ``spec`` demands; allocates nothing.

    Raises:
        CodecError: More than 8 axes, or an impossible extent or stride.
    """
    if len(spec.shape) > MAX_NDIM:
        raise CodecError(
            f'tensor {spec.name!r} has too many axes',
            given=len(spec.shape),
            allowed=f'0..{MAX_NDIM}',
        )
    if any(n < 0 for n in spec.shape) or any(step < 0 for step in spec.strides):
        raise CodecError(
            f'tensor {spec.name!r} has a negative extent or stride',
            given=f'shape {spec.shape}, strides {spec.strides}',
            allowed='zero or more',
        )
    order = tuple(sorted(range(len(spec.shape)), key=lambda axis: (-spec.strides[axis], axis)))
    itemsize = np.dtype(spec.dtype).itemsize
    reach = math.prod(max(n, 1) for n in spec.shape) + sum(
        max(n, 1) * stride for n, stride in zip(spec.shape, spec.strides, strict=True)
    )
    if reach * itemsize > _MAX_BYTES:
        raise CodecError(
            f'tensor {spec.name!r} is larger than any memory',
            given=f'shape {spec.shape}, strides {spec.strides}',
        )
    if 0 in spec.shape:
        return Layout(order, True, 0, tuple(step * itemsize for step in spec.strides))
    step = 1
    dense = True
    for axis in reversed(order):
        if spec.shape[axis] == 1:  # the stride of a single element is never used
            continue
        dense = dense and spec.strides[axis] == step
        step *= spec.shape[axis]
    span = 1 + sum(
        (n - 1) * stride for n, stride in zip(spec.shape, spec.strides, strict=True)
    )
    return Layout(order, dense, span, tuple(stride * itemsize for stride in spec.strides))


def flatten(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Elements of ``array`` in the memory order of ``spec``, 1-D; a view where possible."""
    ordered = array.transpose(layout_of(spec).order)
    return np.ascontiguousarray(ordered).reshape(-1)


def buffer_bytes(spec: TensorSpec) -> int:
    """What a tensor takes in memory, gaps and repeats included [byte]."""
    return max(layout_of(spec).span, spec.numel) * np.dtype(spec.dtype).itemsize


class Target:
    """A tensor about to be filled: ``flat`` is written in memory order, then ``array()``.

    Where the layout is dense, ``flat`` is the tensor's own memory: decoders write straight
    into place. A tensor with gaps or repeats (a slice, an expanded axis) takes one copy.
    """

    def __init__(self, spec: TensorSpec) -> None:
        """Allocate ``flat``."""
        self._spec = spec
        self._layout = layout_of(spec)
        self.flat: np.ndarray = np.empty(spec.numel, dtype=spec.dtype)

    def array(self) -> np.ndarray:
        """The tensor with exactly the shape and strides of its spec, writeable."""
        spec, layout = self._spec, self._layout
        if layout.dense:
            return np.ndarray(spec.shape, spec.dtype, self.flat, 0, layout.byte_strides)
        storage = np.zeros(layout.span, dtype=spec.dtype)  # zeros: gaps must not leak memory
        view: np.ndarray = np.ndarray(spec.shape, spec.dtype, storage, 0, layout.byte_strides)
        view.transpose(layout.order)[...] = self.flat.reshape(
            [spec.shape[axis] for axis in layout.order]
        )
        return view


def is_picture(spec: TensorSpec) -> bool:
    """Whether ``spec`` is a network input: uint8 (1, H, W, 3), C-contiguous, not empty."""
    if spec.dtype != 'uint8' or len(spec.shape) != 4 or math.prod(spec.shape) == 0:
        return False
    if spec.shape[0] != 1 or spec.shape[3] != 3:
        return False
    return all(
        extent == 1 or stride == wanted  # the stride of a single element is never used
        for extent, stride, wanted in zip(
            spec.shape, spec.strides, contiguous_strides(spec.shape), strict=True
        )
    )
