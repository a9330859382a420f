"""The codecs by name: for each, the encodings that it tries for a tensor, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnn_offload.codec.encoding import Encoding, Kind
from dnn_offload.codec.fp16 import Fp16
from dnn_offload.codec.int8 import Int8, Int8Zstd
from dnn_offload.codec.int8_blocks import Int8Blocks
from dnn_offload.codec.jpeg import Jpeg
from dnn_offload.codec.raw import Raw
from dnn_offload.codec.zstd import Zstd
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec

AUTO = 'auto'  # of the answers

ENCODINGS: dict[Kind, Encoding] = {
    Kind.RAW: Raw(),
    Kind.ZSTD: Zstd(),
    Kind.FP16: Fp16(),
    Kind.INT8: Int8(),
    Kind.INT8_ZSTD: Int8Zstd(),
    Kind.JPEG: Jpeg(),
    Kind.INT8_BLOCKS: Int8Blocks(),
}


@dataclass(frozen=True)
class Codec:
    """One codec: what a plan names.

    Attributes:
        name: Name in plans, messages and parameters.
        number: Its number on the wire.
        description: One line for people.
        lossless: Whether every tensor comes back bit for bit.
        for_picture: Offered at cut 0.
        for_activations: Offered at inner cuts.
        floats: Encodings of floating-point tensors, tried in this order.
        others: Encodings of integer and bool tensors.
        as_it_came: Encodings of what need not be encoded: never tried, but read.
    """

    name: str
    number: int
    description: str
    lossless: bool
    for_picture: bool
    for_activations: bool
    floats: tuple[Kind, ...]
    others: tuple[Kind, ...]
    as_it_came: tuple[Kind, ...] = ()

    @property
    def for_answers(self) -> bool:
        """Offered for what the network gives: takes tensors of any dtype."""
        return bool(self.floats)

    def kinds(self, dtype: str) -> tuple[Kind, ...]:
        """Encodings of a tensor of ``dtype``, best first."""
        return self.floats if dtype.startswith('float') else self.others


_RAW = (Kind.RAW,)
_ZSTD = (Kind.ZSTD, Kind.RAW)

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec('raw', 0, 'elements as they are', True, True, True, _RAW, _RAW),
        Codec('zstd', 1, 'elements, zstd level 1', True, True, False, _ZSTD, _ZSTD),
        Codec('jpeg', 2, 'picture as JPEG, quality 85', False, True, False, (),
              (Kind.JPEG, Kind.RAW), (Kind.CAMERA_JPEG,)),
        Codec('fp16', 3, 'half precision', False, False, True,
              (Kind.FP16, Kind.RAW), _RAW),
        Codec('int8', 4, '8 bit affine per tensor', False, False, True,
              (Kind.INT8, Kind.RAW), _RAW),
        Codec('int8_zstd', 5, '8 bit affine per tensor, zstd level 1', False, False, True,
              (Kind.INT8_BLOCKS, Kind.INT8_ZSTD, Kind.INT8, *_ZSTD), _ZSTD),
    )
}


def codec_named(name: str) -> Codec:
    """Look a codec up.

    Raises:
        CodecError: There is none of that name.
    """
    try:
        return CODECS[name]
    except KeyError:
        raise CodecError('no such codec', given=name, allowed=', '.join(CODECS)) from None


def names_for_cut(is_picture: bool) -> tuple[str, ...]:
    """Codecs that are candidates at a cut: cut 0 (the picture) or an inner one."""
    return tuple(
        codec.name
        for codec in CODECS.values()
        if (codec.for_picture if is_picture else codec.for_activations)
    )


def names_for_answers() -> tuple[str, ...]:
    """Codecs in which a robot may want its answers."""
    return tuple(codec.name for codec in CODECS.values() if codec.for_answers)


def answer_codec(wanted: str, outputs: Sequence[TensorSpec]) -> str:
    """Name of the codec of the answers.

    Args:
        wanted: A name, or ``auto``: ``zstd`` for masks and other integers, which shrink to a few
            percent without loss, ``raw`` for floating-point numbers, which do not.
        outputs: What the network gives.
    """
    if wanted != AUTO:
        return wanted
    return 'raw' if any(spec.dtype.startswith('float') for spec in outputs) else 'zstd'
