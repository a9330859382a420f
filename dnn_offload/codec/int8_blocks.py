"""Encoding INT8_BLOCKS: like INT8_ZSTD, block by block, so that the first can be sent early.

Compressing takes longest of all that is done to a tensor before it is sent. The range of all
values is found first, then each block of ``BLOCK_VALUES`` is quantised, compressed and given away
before the next one is begun.

Body: offset and scale as float64, then per block its size as u32, the highest bit set where
compressing did not shrink it, and a zstd frame of the levels, or the levels themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
import struct

import numpy as np

from dnn_offload.codec.encoding import Buffer
from dnn_offload.codec.int8 import levels_of, look_up, pack_range, RANGE_BYTES, range_of, table_of
from dnn_offload.codec.zstd import compress, decompress
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec

BLOCK_VALUES = 1 << 17
LEAST_VALUES = 2 * BLOCK_VALUES  # of a tensor that is encoded so

_SIZE = struct.Struct('<I')
_PLAIN = 1 << 31  # flag of a block's size: not compressed


class Int8Blocks:
    """About an eighth of float32 after a ReLU, in blocks; for large tensors only."""

    def encode(self, values: np.ndarray, spec: TensorSpec) -> Iterator[Buffer] | None:
        """Quantise and compress lazily; None for few values, and where INT8 cannot."""
        if values.size < LEAST_VALUES:
            return None
        found = range_of(values)
        return None if found is None else _blocks(values, *found)

    def decode(self, body: memoryview, spec: TensorSpec, out: np.ndarray) -> None:
        """Decompress block by block, looking the levels up into place."""
        table = table_of(body, spec)
        at = RANGE_BYTES
        for start in range(0, out.size, BLOCK_VALUES):
            part = out[start:start + BLOCK_VALUES]
            if at + _SIZE.size > len(body):
                raise CodecError(f'tensor {spec.name!r}: ends before its blocks', given=len(body))
            (word,) = _SIZE.unpack_from(body, at)
            plain, nbytes = bool(word & _PLAIN), word & ~_PLAIN
            at += _SIZE.size
            block = body[at:at + nbytes]
            at += nbytes
            most = part.size if plain else part.size - 1
            if len(block) != nbytes or not 0 < nbytes <= most or (plain and nbytes != most):
                raise CodecError(
                    f'tensor {spec.name!r}: a block has an impossible size', given=nbytes,
                    allowed=f'{part.size} plain, less compressed, within the body',
                )
            content = block if plain else decompress(block, part.size, spec.name)
            look_up(np.frombuffer(content, dtype=np.uint8), table, part)
        if at != len(body):
            raise CodecError(
                f'tensor {spec.name!r}: bytes behind its last block', given=len(body) - at
            )


def _blocks(values: np.ndarray, offset: float, scale: float) -> Iterator[Buffer]:
    yield pack_range(offset, scale)
    for start in range(0, values.size, BLOCK_VALUES):
        levels = levels_of(values[start:start + BLOCK_VALUES], offset, scale)
        frame: Buffer = compress(levels)
        plain = len(frame) >= levels.size
        yield _SIZE.pack(levels.size | _PLAIN if plain else len(frame))
        yield levels.data if plain else frame
