"""Encodings INT8 and INT8_ZSTD: affine per tensor, ``value = offset + scale * q``, q in 0..255.

``scale = (max - min) / 255``, so the error is at most half of that. Where zero lies in
range, ``offset`` is a whole multiple of ``scale``: zeros (half of what follows a ReLU, and
all padding) come back as exact zeros. A tensor with NaN or infinity has no such range; it
is sent losslessly instead, so that a broken network stays visibly broken and a mask of -inf
stays a mask.

Body: offset and scale as float64, then N bytes (INT8) or a zstd frame of them (INT8_ZSTD).
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import struct

import cv2
import numpy as np

from dnn_offload.codec.encoding import Buffer
from dnn_offload.codec.zstd import compress, decompress
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec

_RANGE = struct.Struct('<dd')
RANGE_BYTES = _RANGE.size
_LEVELS = 255
# One pass in float32 (x * alpha + beta) rounds at 2^-24 of its terms; they must stay small
# against one level, else the slow way in float64 is taken.
_ONE_PASS_OFFSET = 1024.0
_ONE_PASS_ALPHA = 1e30
# Beyond these, arithmetic in doubles itself under- or overflows (float64 tensors only).
_MIN_SCALE, _MAX_VALUE = 1e-300, 1e300


class Int8:
    """A quarter of float32."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Sequence[Buffer] | None:
        """Quantise; None for NaN, infinities and tensors of a few elements."""
        if RANGE_BYTES + values.size >= spec.nbytes:
            return None
        found = range_of(values)
        return None if found is None else [pack_range(*found), levels_of(values, *found).data]

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Look the levels up into place."""
        table = table_of(body, spec)
        levels = np.frombuffer(body, dtype=np.uint8, offset=RANGE_BYTES)
        if levels.size != out.size:
            raise CodecError(
                f'tensor {spec.name!r}: wrong number of bytes',
                given=len(body),
                allowed=str(RANGE_BYTES + out.size),
            )
        look_up(levels, table, out)


class Int8Zstd:
    """About an eighth of float32 after a ReLU."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Sequence[Buffer] | None:
        """Quantise and compress; None where INT8 cannot, or compressing gains nothing."""
        found = range_of(values)
        if found is None:
            return None
        frame = compress(levels_of(values, *found))
        nbytes = RANGE_BYTES + len(frame)
        if nbytes >= min(spec.nbytes, RANGE_BYTES + values.size):
            return None
        return [pack_range(*found), frame]

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Decompress, then look the levels up into place."""
        table = table_of(body, spec)
        content = decompress(body[RANGE_BYTES:], out.size, spec.name)
        look_up(np.frombuffer(content, dtype=np.uint8), table, out)


def range_of(values: np.ndarray) -> tuple[float, float] | None:
    """Offset and scale; None where a value is not finite (or near it)."""
    # NaN wins in min and max, so two reductions see everything.
    low, high = float(values.min()), float(values.max())
    if not (-_MAX_VALUE <= low <= high <= _MAX_VALUE):
        return None
    if low == high:
        return low, 0.0
    scale = (high - low) / _LEVELS
    if scale < _MIN_SCALE:
        return None
    return -round(-low / scale) * scale if low <= 0.0 <= high else low, scale


def pack_range(offset: float, scale: float) -> bytes:
    """The ``RANGE_BYTES`` that a body begins with."""
    return _RANGE.pack(offset, scale)


def levels_of(values: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """Levels uint8 (N,) of values (N,), of which ``range_of`` gave offset and scale."""
    if scale == 0.0:
        return np.zeros(values.size, dtype=np.uint8)
    alpha, beta = 1.0 / scale, -offset / scale
    if values.dtype == np.float32 and abs(beta) < _ONE_PASS_OFFSET and alpha < _ONE_PASS_ALPHA:
        # One pass of multiply, add, round, saturate. The absolute value in its name is
        # harmless: nothing lies below -0.5.
        levels = cv2.convertScaleAbs(values.reshape(1, -1), alpha=alpha, beta=beta)
        return np.asarray(levels).reshape(-1)
    steps = values.astype(np.float64)
    steps /= scale  # before the offset, in the same unit: neither overflows
    steps += beta
    np.rint(steps, out=steps)
    np.clip(steps, 0, _LEVELS, out=steps)
    return steps.astype(np.uint8)


def table_of(body: memoryview, spec: TensorSpec) -> np.ndarray:
    """The 256 values, dtype of ``spec``; the same bits on every machine.

    Raises:
        CodecError: The body is too short, or its numbers are not those of a range.
    """
    if len(body) < RANGE_BYTES:
        raise CodecError(f'tensor {spec.name!r}: body is too short', given=len(body))
    offset, scale = _RANGE.unpack_from(body)
    if not (math.isfinite(offset) and math.isfinite(scale) and scale >= 0.0):
        raise CodecError(
            f'tensor {spec.name!r}: offset or scale is impossible', given=f'{offset}, {scale}'
        )
    with np.errstate(over='ignore'):
        values = offset + scale * np.arange(_LEVELS + 1, dtype=np.float64)
    # The outer levels may round beyond the largest number of the dtype; the sender's own
    # extremes were finite, so the largest finite number is the nearer answer.
    limit = np.finfo(spec.dtype)
    return np.clip(values, float(limit.min), float(limit.max)).astype(spec.dtype)


def look_up(levels: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """``out = table[levels]``, all 1-D; OpenCV's is 3 times as fast as ``np.take``."""
    if table.dtype == np.float16:
        cv2.LUT(levels.reshape(1, -1), table.view(np.int16), dst=out.view(np.int16).reshape(1, -1))
    else:
        cv2.LUT(levels.reshape(1, -1), table, dst=out.reshape(1, -1))
