"""Several tensors as one self-describing payload, and back, with every size checked first.

Layout, little-endian::

    magic 'DNNO' | version u8 | codec u8 | tensors u16
    per tensor:  body
    per tensor:  kind u8 | dtype code u8 | dtype bits u8 | axes u8 | body bytes u64
                 shape i64 * axes | strides i64 * axes (in elements)
    crc32 of all that comes before u32

What is known only when all is encoded stands at the end, so that the beginning can be on its way
by then (``Encoder``).

The receiver knows from the model what must arrive; the payload describes itself so that a
disagreement is seen, not so that the receiver obeys it. Nothing is allocated on the word of
the payload: shapes come from ``expected``, and body sizes are checked against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import struct
import zlib

import numpy as np

from dnn_offload.codec.camera_jpeg import decode_jpeg
from dnn_offload.codec.encoding import Buffer, Kind
from dnn_offload.codec.int8_blocks import LEAST_VALUES
from dnn_offload.codec.layout import buffer_bytes, flatten, is_picture, layout_of, Target
from dnn_offload.codec.registry import Codec, codec_named, CODECS, ENCODINGS
from dnn_offload.errors import CodecError
from dnn_offload.tensors import DLPACK_CODES, TensorSpec

MAGIC = b'DNNO'
VERSION = 2
MAX_TENSORS = 64  # bound of TensorChunk.tensors in the IDL

_HEAD = struct.Struct('<4sBBH')
_CRC = struct.Struct('<I')
_TENSOR = struct.Struct('<BBBBQ')
_CODEC_OF_NUMBER = {codec.number: codec for codec in CODECS.values()}

# Makes the network's input, uint8 (1, H, W, 3) RGB, of a camera's picture (h, w, 3) BGR.
Prepare = Callable[[np.ndarray], np.ndarray]


def encode(arrays: Sequence[np.ndarray], specs: Sequence[TensorSpec], codec: str) -> bytes:
    """Encode the tensors of a frontier.

    Args:
        arrays: The tensors. Any strides are taken; those of the spec are what arrives. For
            codec ``fp16`` a floating-point tensor may come as float16 already.
        specs: What they are.
        codec: Name of a codec.

    Returns:
        At most ``encode_bound(specs, codec)`` bytes.

    Raises:
        CodecError: Unknown codec, arrays that are not what ``specs`` say, or tensors that
            the codec does not take.
    """
    return Encoder(arrays, specs, codec).take()


class Encoder:
    """A payload in the making: its beginning can be sent while the rest is being encoded.

    The arrays must not change before it is done.

    Args:
        arrays, specs, codec: As of ``encode``.

    Raises:
        CodecError: As ``encode``, in part by ``take``.

    Attributes:
        done: Whether all has been taken.
    """

    def __init__(
        self, arrays: Sequence[np.ndarray], specs: Sequence[TensorSpec], codec: str
    ) -> None:
        chosen = codec_named(codec)
        if len(arrays) != len(specs) or len(specs) > MAX_TENSORS:
            raise CodecError(
                'wrong number of tensors',
                given=f'{len(arrays)} arrays for {len(specs)} specs',
                allowed=f'as many as specs, at most {MAX_TENSORS}',
            )
        for array, spec in zip(arrays, specs, strict=True):
            _check_array(array, spec, chosen)
        self.done = False
        self._in_blocks = False  # what comes next is encoded when it is asked for
        self._parts = _parts(chosen, len(specs), self._bodies(arrays, specs, chosen))

    def take(self, least_bytes: int | None = None) -> bytes:
        """Give what comes next: all, or at least so much where it can be had before the rest.

        Never empty before it is done.
        """
        taken, nbytes = [], 0
        for part in self._parts:
            taken.append(part)
            nbytes += len(part)
            if least_bytes is not None and nbytes >= least_bytes and self._in_blocks:
                break
        else:
            self.done = True
        return b''.join(taken)

    def _bodies(
        self, arrays: Sequence[np.ndarray], specs: Sequence[TensorSpec], codec: Codec
    ) -> Iterator[tuple[TensorSpec, Kind, Iterable[Buffer]]]:
        for array, spec in zip(arrays, specs, strict=True):
            kind, body = _encode_tensor(array, spec, codec)
            self._in_blocks = isinstance(body, Iterator)
            yield spec, kind, body
        self._in_blocks = False


def comes_in_parts(specs: Sequence[TensorSpec], codec: str) -> bool:
    """Whether an ``Encoder`` of such tensors gives more than one part; all values finite."""
    chosen = codec_named(codec)
    return any(
        Kind.INT8_BLOCKS in chosen.kinds(spec.dtype) and spec.numel >= LEAST_VALUES
        for spec in specs
    )


def wrap_jpeg(jpeg: bytes, spec: TensorSpec) -> bytes:
    """A camera's JPEG in the place of the network's input picture; nothing is decoded.

    Raises:
        CodecError: The tensor is no picture, or the JPEG is larger than it.
    """
    if not is_picture(spec) or len(jpeg) > spec.nbytes:
        raise CodecError(
            f'JPEG cannot stand for tensor {spec.name!r}', given=f'{len(jpeg)} bytes',
            allowed=f'a picture and at most {spec.nbytes} bytes',
        )
    return b''.join(_parts(codec_named('jpeg'), 1, [(spec, Kind.CAMERA_JPEG, [jpeg])]))


def _parts(
    codec: Codec, count: int, encoded: Iterable[tuple[TensorSpec, Kind, Iterable[Buffer]]]
) -> Iterator[Buffer]:
    head = _HEAD.pack(MAGIC, VERSION, codec.number, count)
    crc = zlib.crc32(head)
    yield head
    descriptions = b''
    for spec, kind, body in encoded:
        nbytes = 0
        for part in body:
            nbytes += len(part)
            crc = zlib.crc32(part, crc)
            yield part
        descriptions += _describe(spec, kind, nbytes)
    yield descriptions + _CRC.pack(zlib.crc32(descriptions, crc))


def decode(
    payload: bytes | bytearray | memoryview,
    expected: Sequence[TensorSpec],
    *,
    max_bytes: int,
    prepare: Prepare | None = None,
) -> list[np.ndarray]:
    """Decode a payload that came from anywhere.

    Args:
        payload: What ``encode`` returned, or anything else.
        expected: What must be in it, in order; names are not compared.
        max_bytes: Most that the decoded tensors may take together [byte].
        prepare: Brings a camera's picture to the network's input; None = none is taken.

    Returns:
        Writeable arrays with exactly the dtype, shape and strides of ``expected``.

    Raises:
        CodecError: Whatever is wrong; no other exception leaves. Until all sizes are found
            right nothing is allocated, afterwards a small multiple of the decoded size.
    """
    view = memoryview(payload).cast('B')
    needed = sum(buffer_bytes(spec) for spec in expected)
    if needed > max_bytes:
        raise CodecError('tensors are too large', given=f'{needed} bytes', allowed=f'{max_bytes}')
    codec = _read_head(view, expected)
    ends = len(view) - _CRC.size
    at = bodies_end = len(view) - _least(expected) + _HEAD.size
    pieces: list[tuple[TensorSpec, Kind, int]] = []
    for spec in expected:
        kind, nbytes, at = _read_tensor(view, at, spec, codec, prepare is not None)
        pieces.append((spec, kind, nbytes))
    said = sum(nbytes for _, _, nbytes in pieces)
    if _HEAD.size + said != bodies_end:
        raise CodecError(
            'payload has another length than it says', given=len(view),
            allowed=str(len(view) - bodies_end + _HEAD.size + said),
        )
    if _CRC.unpack_from(view, ends) != (zlib.crc32(view[:ends]),):
        raise CodecError('payload is damaged: its check sum differs')
    arrays = []
    at = _HEAD.size
    for spec, kind, nbytes in pieces:
        target = Target(spec)
        if kind is Kind.CAMERA_JPEG and prepare is not None:
            target.flat[...] = prepare(decode_jpeg(view[at:at + nbytes])).reshape(-1)
        elif spec.numel:
            ENCODINGS[kind].decode(view[at:at + nbytes], spec, target.flat)
        arrays.append(target.array())
        at += nbytes
    return arrays


def encode_bound(specs: Sequence[TensorSpec], codec: str) -> int:
    """Size of the largest legal payload [byte].

    The same for all codecs: a tensor that an encoding cannot represent or shrink goes raw.
    """
    codec_named(codec)
    return _bound(specs)


def _bound(specs: Sequence[TensorSpec]) -> int:
    return _least(specs) + sum(spec.nbytes for spec in specs)


def _least(specs: Sequence[TensorSpec]) -> int:
    """Size of a payload with empty bodies [byte]."""
    described = sum(_TENSOR.size + 16 * len(spec.shape) for spec in specs)
    return _HEAD.size + described + _CRC.size


def _check_array(array: np.ndarray, spec: TensorSpec, codec: Codec) -> None:
    halved = (
        codec.name == 'fp16'
        and array.dtype == np.float16
        and spec.dtype.startswith('float')
    )
    if array.shape != spec.shape or not (array.dtype.name == spec.dtype or halved):
        raise CodecError(
            f'tensor {spec.name!r} is not what its cut declares',
            given=f'{array.dtype.name} {array.shape}',
            allowed=f'{spec.dtype} {spec.shape}',
        )


def _encode_tensor(
    array: np.ndarray, spec: TensorSpec, codec: Codec
) -> tuple[Kind, Iterable[Buffer]]:
    if spec.numel == 0:
        layout_of(spec)
        return Kind.RAW, []
    values = flatten(array, spec)
    for kind in codec.kinds(spec.dtype):
        if kind is Kind.RAW and values.dtype.name != spec.dtype:
            values = values.astype(spec.dtype)
        body = ENCODINGS[kind].encode(values, spec)
        if body is not None:
            return kind, body
    raise CodecError(
        f'codec {codec.name!r} does not take tensor {spec.name!r}',
        given=f'{spec.dtype} {spec.shape}',
    )


def _describe(spec: TensorSpec, kind: Kind, nbytes: int) -> bytes:
    code, bits = DLPACK_CODES[spec.dtype]
    axes = len(spec.shape)
    return _TENSOR.pack(kind, code, bits, axes, nbytes) + struct.pack(
        f'<{2 * axes}q', *spec.shape, *spec.strides
    )


def _read_head(view: memoryview, expected: Sequence[TensorSpec]) -> Codec:
    if not _least(expected) <= len(view) <= _bound(expected):
        raise CodecError(
            'payload has an impossible length',
            given=f'{len(view)} bytes',
            allowed=f'{_least(expected)}..{_bound(expected)}',
        )
    magic, version, number, count = _HEAD.unpack_from(view)
    if magic != MAGIC or version != VERSION:
        raise CodecError(
            'payload is not a tensor bundle of this version',
            given=f'{magic!r} version {version}',
            allowed=f'{MAGIC!r} version {VERSION}',
            hint='run the same version of dnn_offload on both sides',
        )
    codec = _CODEC_OF_NUMBER.get(number)
    if codec is None:
        raise CodecError(
            'payload has an unknown codec', given=number, allowed=str(sorted(_CODEC_OF_NUMBER))
        )
    if count != len(expected):
        raise CodecError('wrong number of tensors', given=count, allowed=str(len(expected)))
    return codec


def _read_tensor(
    view: memoryview, at: int, spec: TensorSpec, codec: Codec, prepares: bool
) -> tuple[Kind, int, int]:
    """Kind, body size and the position after the description at ``at``."""
    wanted = _describe(spec, Kind.RAW, 0)
    end = at + len(wanted)
    number, code, bits, axes, nbytes = _TENSOR.unpack_from(view, at)
    same_type = (code, bits) == DLPACK_CODES[spec.dtype] and axes == len(spec.shape)
    if not same_type or view[at + _TENSOR.size:end] != wanted[_TENSOR.size:]:
        raise CodecError(
            f'tensor {spec.name!r} is not the expected one',
            given=f'type code {code}, {bits} bits, {axes} axes, or its extents or strides',
            allowed=f'{spec.dtype}, shape {spec.shape}, strides {spec.strides}',
        )
    allowed = codec.kinds(spec.dtype) if spec.numel else (Kind.RAW,)
    if prepares and is_picture(spec):
        allowed += codec.as_it_came
    if number not in allowed:
        raise CodecError(
            f'tensor {spec.name!r} has an encoding that its codec does not use',
            given=number,
            allowed=', '.join(f'{int(kind)} ({kind.name})' for kind in allowed),
        )
    if nbytes > spec.nbytes:
        raise CodecError(
            f'tensor {spec.name!r}: body is larger than the tensor',
            given=nbytes,
            allowed=f'at most {spec.nbytes}',
        )
    return Kind(number), nbytes, end
