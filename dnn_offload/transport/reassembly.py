"""Slices from the network become one payload again, in bounded memory. Pure: no ROS.

Whoever sends is not trusted. A stream of slices (one robot's, or one server's answers) has at
most one frame under construction; what a frame may be is asked of ``admit`` when its first
slice comes, before anything is kept; memory grows with bytes that have arrived, never with
bytes that were declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dnn_offload.errors import RefusedError
from dnn_offload.tensors import TensorSpec

MAX_SLICE_BYTES = 61440   # bound of TensorChunk.data and TensorResult.data in the IDL
MIN_SLICE_BYTES = 4096    # all slices but the last are at least so large
UNKNOWN = (0, 0)          # bytes and slices of a frame that is still being encoded


@dataclass(frozen=True)
class SliceHeader:
    """What a slice says about itself; see ``msg/TensorChunk.msg``.

    Cut, codecs and second cut count in a frame's first slice only; later ones leave them empty.
    ``chunk_count`` and ``total_bytes`` are both 0 as long as the rest is still being encoded.
    """

    frame_seq: int
    plan_epoch: int
    cut_id: str
    codec: str
    result_codec: str
    chunk_index: int
    chunk_count: int
    total_bytes: int
    budget_ms: float = 0.0
    return_id: str = ''


@dataclass(frozen=True)
class Arrival:
    """What a slice led to.

    Attributes:
        received_bytes: Bytes of this frame that have arrived in order.
        first: Header of the frame's first slice.
        specs: The tensors, as the first slice described them.
        payload: All bytes, once the last slice is there.
    """

    received_bytes: int
    first: SliceHeader
    specs: tuple[TensorSpec, ...]
    payload: bytes | bytearray | None = None


Admit = Callable[[SliceHeader, tuple[TensorSpec, ...]], int]


class Reassembler:
    """One stream of slices, frame after frame; newer frames replace unfinished older ones.

    Args:
        admit: Called with a frame's first slice: returns the most bytes that such a frame may
            have, or raises RefusedError.
        max_frame_bytes: Most that any frame may have [byte]; may be changed, for frames that
            begin later.
    """

    def __init__(self, admit: Admit, max_frame_bytes: int) -> None:
        self._admit = admit
        self.max_frame_bytes = max_frame_bytes
        self._first: SliceHeader | None = None
        self._specs: tuple[TensorSpec, ...] = ()
        self._buffer = bytearray()
        self._next_index = 0
        self._slice_bytes = 0
        self._bound_bytes = 0
        self._whole = UNKNOWN  # bytes and slices of the frame
        self._closed_seq = 0  # frames up to here are finished, refused or abandoned

    @property
    def held_bytes(self) -> int:
        """Memory held for the frame under construction [byte]."""
        return len(self._buffer)

    def add(
        self, header: SliceHeader, specs: tuple[TensorSpec, ...], data: bytes | memoryview
    ) -> Arrival | None:
        """Take one slice.

        Args:
            header: What the slice says.
            specs: What it says about the tensors; only read on a frame's first slice.
            data: Its bytes; copied.

        Returns:
            How far the frame is; None for the remains of a frame that was already refused or
            abandoned (its sender learns that from the first refusal).

        Raises:
            RefusedError: The frame cannot be. It is forgotten, its remaining slices are
                ignored, the stream goes on with the next frame.
        """
        if header.frame_seq <= self._closed_seq:
            if header.chunk_index == 0 or header.frame_seq < 1:
                raise RefusedError(
                    'frame was sent before',
                    given=header.frame_seq,
                    allowed=f'numbers above {self._closed_seq}',
                )
            return None
        if self._first is not None and header.frame_seq < self._first.frame_seq:
            return None  # left over from a frame that a newer one has replaced
        try:
            if header.chunk_index == 0:
                self._begin(header, specs, len(data))
            first = self._check_order(header)
            self._check_whole(header)
            self._check_size(header, len(data))
        except RefusedError:
            self.abandon(header.frame_seq)
            raise
        self._buffer += data
        self._next_index += 1
        arrival = Arrival(len(self._buffer), first, self._specs)
        if self._next_index == self._whole[1]:
            arrival = Arrival(len(self._buffer), first, self._specs, self._buffer)
            self.abandon(header.frame_seq)  # the next frame gets a new buffer: no copy
        return arrival

    def abandon(self, frame_seq: int) -> None:
        """Forget a frame, and all before it, at whatever stage."""
        self._closed_seq = max(self._closed_seq, frame_seq)
        if self._first is not None and self._first.frame_seq <= frame_seq:
            self._first = None
            self._specs = ()
            self._buffer = bytearray()

    def _begin(
        self, header: SliceHeader, specs: tuple[TensorSpec, ...], slice_bytes: int
    ) -> None:
        if self._first is not None:
            if self._first.frame_seq == header.frame_seq:
                raise RefusedError('first slice came twice', given=header.frame_seq)
            self.abandon(self._first.frame_seq)
        bound = min(self._admit(header, specs), self.max_frame_bytes)
        whole = header.total_bytes, header.chunk_count
        if whole == UNKNOWN:
            if not MIN_SLICE_BYTES <= slice_bytes <= MAX_SLICE_BYTES:
                raise RefusedError(
                    'slice has an impossible size',
                    given=f'{slice_bytes} bytes in the first slice of a frame of unknown size',
                    allowed=f'{MIN_SLICE_BYTES}..{MAX_SLICE_BYTES}',
                )
        else:
            _check_bytes(header.total_bytes, 1, bound)
            fewest = -(-header.total_bytes // MAX_SLICE_BYTES)
            most = -(-header.total_bytes // MIN_SLICE_BYTES)
            _check_count(header, fewest, most)
        self._first = header
        self._specs = specs
        self._slice_bytes = slice_bytes
        self._bound_bytes = bound
        self._whole = whole
        self._next_index = 0

    def _check_order(self, header: SliceHeader) -> SliceHeader:
        first = self._first
        if first is None or first.frame_seq != header.frame_seq:
            raise RefusedError(
                'frame does not begin with its first slice', given=header.chunk_index, allowed='0'
            )
        if header.chunk_index != self._next_index:
            raise RefusedError(
                'slice is out of order', given=header.chunk_index, allowed=str(self._next_index)
            )
        return first

    def _check_whole(self, header: SliceHeader) -> None:
        """What a slice says of the whole frame may become known once, and stays."""
        whole = header.total_bytes, header.chunk_count
        if whole == self._whole:
            return
        if self._whole != UNKNOWN:
            raise RefusedError(
                'slice contradicts one before it of its frame',
                given=f'{whole[0]} bytes, {whole[1]} slices',
                allowed=f'{self._whole[0]} bytes, {self._whole[1]} slices',
            )
        _check_bytes(header.total_bytes, len(self._buffer) + 1, self._bound_bytes)
        count = -(-header.total_bytes // self._slice_bytes)
        _check_count(header, count, count)
        self._whole = whole

    def _check_size(self, header: SliceHeader, nbytes: int) -> None:
        total_bytes, count = self._whole
        last = header.chunk_index == count - 1
        wanted = total_bytes - len(self._buffer) if last else self._slice_bytes
        if nbytes != wanted or not 0 < nbytes <= MAX_SLICE_BYTES:
            raise RefusedError(
                'slice has an impossible size',
                given=f'{nbytes} bytes in slice {header.chunk_index} of {count or "unknown"}',
                allowed=f'{wanted} bytes, at most {MAX_SLICE_BYTES}',
            )
        if self._whole == UNKNOWN:  # at least a byte is to come
            _check_bytes(len(self._buffer) + nbytes + 1, 1, self._bound_bytes)


def _check_bytes(total_bytes: int, least: int, most: int) -> None:
    if not least <= total_bytes <= most:
        raise RefusedError(
            'frame has an impossible size', given=f'{total_bytes} bytes',
            allowed=f'{least}..{most}',
        )


def _check_count(header: SliceHeader, fewest: int, most: int) -> None:
    if not fewest <= header.chunk_count <= most:
        raise RefusedError(
            'frame has an impossible number of slices',
            given=f'{header.chunk_count} for {header.total_bytes} bytes',
            allowed=f'{fewest}..{most}',
        )
