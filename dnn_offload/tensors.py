"""What a tensor looks like at a cut: name, dtype, shape, strides. No torch, no ROS."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from dnn_offload.errors import CutError

# numpy dtype name -> (DLPack type code, bits). bfloat16 has no numpy dtype and is not sent.
DLPACK_CODES: dict[str, tuple[int, int]] = {
    'bool': (6, 8),
    'uint8': (1, 8),
    'int8': (0, 8),
    'int16': (0, 16),
    'int32': (0, 32),
    'int64': (0, 64),
    'float16': (2, 16),
    'float32': (2, 32),
    'float64': (2, 64),
}
DTYPE_OF_DLPACK: dict[tuple[int, int], str] = {code: name for name, code in DLPACK_CODES.items()}


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous tensor of ``shape``."""
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a frontier.

    Attributes:
        name: Name of the value in the exported graph.
        dtype: numpy dtype name, one of ``DLPACK_CODES``.
        shape: Extents in elements.
        strides: Strides in elements (channels_last is kept: bit equality needs it).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DLPACK_CODES:
            raise CutError(
                f'tensor {self.name!r} has an unsupported dtype',
                given=self.dtype,
                allowed=', '.join(DLPACK_CODES),
            )
        if len(self.shape) != len(self.strides):
            raise CutError(
                f'tensor {self.name!r}: shape and strides differ in length',
                given=f'{self.shape}, {self.strides}',
            )

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the raw elements in bytes."""
        return self.numel * DLPACK_CODES[self.dtype][1] // 8

    @classmethod
    def of_array(cls, name: str, array: np.ndarray) -> TensorSpec:
        """Describe ``array``."""
        return cls(
            name,
            array.dtype.name,
            tuple(array.shape),
            tuple(step // array.itemsize for step in array.strides),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {
            'name': self.name,
            'dtype': self.dtype,
            'shape': list(self.shape),
            'strides': list(self.strides),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        """Read what ``to_json`` wrote; raises CutError on anything else."""
        try:
            return cls(
                str(data['name']),
                str(data['dtype']),
                tuple(int(n) for n in data['shape']),
                tuple(int(n) for n in data['strides']),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CutError('tensor description is damaged', given=str(data)) from error
