"""What an encoding of one tensor is, and the numbers by which they are known on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

import numpy as np

from dnn_offload.tensors import TensorSpec

Buffer = bytes | memoryview  # of single bytes, contiguous


class Kind(IntEnum):
    """How the elements of one tensor are written; the number is part of the wire format."""

    RAW = 0
    ZSTD = 1
    FP16 = 2
    INT8 = 3
    INT8_ZSTD = 4
    JPEG = 5
    CAMERA_JPEG = 6  # of any size: the receiver brings it to the tensor's (camera_jpeg.py)
    INT8_BLOCKS = 7  # INT8_ZSTD of large tensors (int8_blocks.py)


class Encoding(Protocol):
    """One way to write the elements of a tensor. Stateless, callable from any thread."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Iterable[Buffer] | None:
        """Write ``values``.

        Args:
            values: 1-D, in memory order, at least one element; dtype of ``spec``, or
                float16 where the encoding says so.
            spec: The tensor.

        Returns:
            Buffers that follow one another, together smaller than the raw elements, maybe
            made only as they are taken, while ``values`` stays as it is; None where this
            encoding cannot represent these values or would not be smaller.

        Raises:
            CodecError: ``spec`` is nothing that this encoding takes.
        """

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Read ``body`` into ``out``, 1-D in memory order, dtype of ``spec``.

        Allocates no more than a small multiple of ``out`` whatever ``body`` says.

        Raises:
            CodecError: ``body`` is not what ``encode`` writes for such a tensor.
        """
