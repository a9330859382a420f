"""Encoding RAW: the elements as they lie in memory, little-endian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnn_offload.codec.encoding import Buffer
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec


class Raw:
    """Bit for bit."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Sequence[Buffer] | None:
        """Write the elements; no copy."""
        return [values.view(np.uint8).data]

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Copy the elements into place."""
        fill(out, body, spec)


def fill(out: np.ndarray, data: memoryview | bytes, spec: TensorSpec) -> None:
    """Copy the bytes ``data`` over the elements of ``out``.

    Raises:
        CodecError: The size differs, or a bool is neither 0 nor 1 (torch would compute
            nonsense with it).
    """
    if len(data) != out.nbytes:
        raise CodecError(
            f'tensor {spec.name!r}: wrong number of bytes',
            given=len(data),
            allowed=str(out.nbytes),
        )
    source = np.frombuffer(data, dtype=np.uint8)
    if out.dtype == np.bool_ and source.max(initial=0) > 1:
        raise CodecError(f'tensor {spec.name!r}: a bool is neither 0 nor 1')
    out.view(np.uint8)[...] = source
