"""A payload as slices that each fit into one RTPS packet.

A reliable sample that RTPS fragments is sent about twice; below 64 kB it goes once.
"""

from __future__ import annotations

from dnn_offload.errors import CodecError

CHUNK_BYTES = 61440  # bound of TensorChunk.data in the IDL


def slices(
    payload: bytes | bytearray | memoryview, chunk_bytes: int = CHUNK_BYTES
) -> list[memoryview]:
    """Cut ``payload`` into slices of ``chunk_bytes``, the last one shorter; no copy.

    An empty payload gives one empty slice, so that every frame has a first message.

    Raises:
        CodecError: ``chunk_bytes`` is out of range.
    """
    if not 1 <= chunk_bytes <= CHUNK_BYTES:
        raise CodecError('impossible slice size', given=chunk_bytes, allowed=f'1..{CHUNK_BYTES}')
    view = memoryview(payload).cast('B')
    return [view[at:at + chunk_bytes] for at in range(0, len(view), chunk_bytes)] or [view]


def count(total_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Slices that a payload of ``total_bytes`` makes."""
    return max(1, -(-total_bytes // chunk_bytes))
