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
    return Slicer(chunk_bytes).add(payload, last=True)


class Slicer:
    """Cuts a payload that comes in parts into slices of one size, the last one shorter.

    Raises:
        CodecError: ``chunk_bytes`` is out of range.
    """

    def __init__(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        if not 1 <= chunk_bytes <= CHUNK_BYTES:
            raise CodecError(
                'impossible slice size', given=chunk_bytes, allowed=f'1..{CHUNK_BYTES}'
            )
        self._chunk_bytes = chunk_bytes
        self._kept = b''  # less than a slice
        self._any = False

    def add(self, part: bytes | bytearray | memoryview, *, last: bool) -> list[memoryview]:
        """Give the slices that are whole now, with the ``last`` part all; copies seams only.

        The last part is not empty, but where it is the only one.
        """
        view = memoryview(part).cast('B')
        made: list[memoryview] = []
        if self._kept:
            missing = self._chunk_bytes - len(self._kept)
            self._kept += view[:missing]
            view = view[missing:]
            if len(self._kept) == self._chunk_bytes or last:
                made.append(memoryview(self._kept))
                self._kept = b''
        whole = len(view) if last else len(view) - len(view) % self._chunk_bytes
        made += [view[at:at + self._chunk_bytes] for at in range(0, whole, self._chunk_bytes)]
        if whole < len(view):
            self._kept = bytes(view[whole:])
        self._any = self._any or bool(made)
        return made if self._any or not last else [view]


def count(total_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Slices that a payload of ``total_bytes`` makes."""
    return max(1, -(-total_bytes // chunk_bytes))
