"""A camera's compressed picture (``sensor_msgs/CompressedImage``): what it is, and its pixels.

JPEG and PNG, told by their first bytes; ``format`` only says in which order the colours were put
in. The header is read before anything is decoded: nothing is allocated for a size that is not
allowed, and a picture that ends early is refused instead of being filled up with grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dnn_offload.codec.camera_jpeg import can_be_sent, FLAGS
from dnn_offload.codec.jpeg import declared_size
from dnn_offload.errors import CodecError, ImageError

MAX_SIDE = 16384
MAX_PIXELS = 64 << 20

_JPEG = b'\xff\xd8'
_PNG = b'\x89PNG\r\n\x1a\n'
_END_OF_IMAGE = b'\xff\xd9'
_START_OF_SCAN = 0xDA
_FRAME_HEADERS = frozenset((*range(0xC0, 0xD0),)) - {0xC4, 0xC8, 0xCC}  # T.81, table B.1


@dataclass(frozen=True)
class CompressedPicture:
    """A compressed picture whose header has been read.

    Attributes:
        kind: ``jpeg`` or ``png``.
        height, width: Size as declared [px].
        data: Its bytes, without what a driver's buffer has behind them.
        swapped: Red and blue have changed places in it (format ``...; jpeg compressed rgb8``).
        is_plain: A baseline colour JPEG of one scan, colours in their places: what a server
            takes as it is.
    """

    kind: str
    height: int
    width: int
    data: bytes
    swapped: bool
    is_plain: bool


def read_picture(data: bytes, format_text: str = '') -> CompressedPicture:
    """Read the header of a compressed picture.

    Args:
        data: All bytes of the message.
        format_text: ``format`` of the message.

    Raises:
        ImageError: It is no JPEG or PNG, is cut short, or of an impossible size.
    """
    if 'compressedDepth' in format_text:
        raise ImageError(
            'compressed picture is depth', given=format_text[:60],
            allowed='colours or grey as JPEG or PNG',
            hint='remap image_raw to the colour picture of that camera',
        )
    if data.startswith(_JPEG):
        kind, (height, width, end) = 'jpeg', _read_jpeg(data)
    elif data.startswith(_PNG):
        kind, (height, width, end) = 'png', _read_png(data)
    else:
        raise ImageError(
            'compressed picture is of no kind that is taken',
            given=f'format {format_text[:60]!r}, {len(data)} bytes, the first {data[:8].hex()}',
            allowed='JPEG, PNG',
            hint='let image_transport decode it: ros2 run image_transport republish',
        )
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise ImageError(
            'compressed picture has an impossible size', given=f'{width} x {height}',
            allowed=f'1..{MAX_SIDE} each way, at most {MAX_PIXELS} pixels',
        )
    swapped = 'compressed rgb' in format_text
    kept = data[:end]
    plain = kind == 'jpeg' and not swapped and can_be_sent(height, width) and _is_plain(kept)
    return CompressedPicture(kind, height, width, kept, swapped, plain)


def decode_picture(picture: CompressedPicture) -> np.ndarray:
    """Pixels uint8 (height, width, 3), BGR.

    Raises:
        ImageError: It is damaged.
    """
    try:
        bgr = cv2.imdecode(np.frombuffer(picture.data, np.uint8), FLAGS)
    except cv2.error as error:
        raise ImageError(f'{picture.kind.upper()} is damaged', given=str(error)) from error
    if bgr is None or bgr.shape != (picture.height, picture.width, 3):
        raise ImageError(
            f'{picture.kind.upper()} is damaged: it cannot be decoded',
            given=f'{len(picture.data)} bytes', hint='check cable and driver of the camera',
        )
    return np.asarray(bgr[..., ::-1] if picture.swapped else bgr, np.uint8)


def _read_jpeg(data: bytes) -> tuple[int, int, int]:
    """Height, width and length, from the segments before the first scan (T.81, annex B)."""
    at, size = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2:at + 4], 'big')
        if marker in _FRAME_HEADERS:
            size = (
                int.from_bytes(data[at + 5:at + 7], 'big'),
                int.from_bytes(data[at + 7:at + 9], 'big'),
            )
        if marker == _START_OF_SCAN:
            break
        at += 2 + length
    else:
        raise ImageError('JPEG is damaged: no picture in it', given=f'{len(data)} bytes')
    # 0xFF 0xD9 cannot occur in the scan itself, so the first one ends it; not so where tables
    # stand between scans.
    several = data.find(b'\xff\xda', at + 2) >= 0
    end = data.rfind(_END_OF_IMAGE) if several else data.find(_END_OF_IMAGE, at)
    if size is None or end < at:
        raise ImageError(
            'JPEG is damaged: it ends early', given=f'{len(data)} bytes without an end mark',
            hint='check cable, driver and buffer size of the camera',
        )
    return (*size, end + 2)


def _read_png(data: bytes) -> tuple[int, int, int]:
    end = data.rfind(b'IEND')
    if data[12:16] != b'IHDR' or end < 0:
        raise ImageError('PNG is damaged: it ends early', given=f'{len(data)} bytes')
    width, height = (int.from_bytes(data[at:at + 4], 'big') for at in (16, 20))
    return height, width, min(end + 8, len(data))  # the mark and its check sum


def _is_plain(jpeg: bytes) -> bool:
    try:
        declared_size(memoryview(jpeg))
    except CodecError:
        return False
    return True
