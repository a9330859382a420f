"""Pixels of a ``sensor_msgs/Image``, of any encoding that cameras use, as a colour picture.

Own code and not cv_bridge: apt's and the one on PyPI take different encodings, neither takes NV12,
NV21 or NV24, and the latter ignores ``step``. What both convert comes out the same here (in
``cv_bridge.cpp``: colours first, then 65535 becomes 255). REP 118: 16UC1 and 32FC1 are depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dnn_offload.errors import ImageError

MAX_PIXELS = 64 << 20


@dataclass(frozen=True)
class PackedEncoding:
    """Pixels one after another.

    Attributes:
        channels: Numbers per pixel; with two, pairs of pixels share their colour.
        item_bytes: Size of a number.
        code: OpenCV's conversion; None = they are colours already.
        is_bgr: Order of the colours after it.
    """

    channels: int
    item_bytes: int = 1
    code: int | None = None
    is_bgr: bool = False


# OpenCV names a Bayer pattern by its second row: RGGB here is BG there.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB, 'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB, 'grbg': cv2.COLOR_BayerGB2RGB,
}
_UYVY = PackedEncoding(2, 1, cv2.COLOR_YUV2RGB_UYVY)
_YUYV = PackedEncoding(2, 1, cv2.COLOR_YUV2RGB_YUY2)
PACKED: dict[str, PackedEncoding] = {
    'rgb8': PackedEncoding(3),
    'bgr8': PackedEncoding(3, is_bgr=True),
    'rgba8': PackedEncoding(4, 1, cv2.COLOR_RGBA2RGB),
    'bgra8': PackedEncoding(4, 1, cv2.COLOR_BGRA2RGB),
    'mono8': PackedEncoding(1, 1, cv2.COLOR_GRAY2RGB),
    'rgb16': PackedEncoding(3, 2),
    'bgr16': PackedEncoding(3, 2, is_bgr=True),
    'rgba16': PackedEncoding(4, 2, cv2.COLOR_RGBA2RGB),
    'bgra16': PackedEncoding(4, 2, cv2.COLOR_BGRA2RGB),
    'mono16': PackedEncoding(1, 2, cv2.COLOR_GRAY2RGB),
    'yuv422': _UYVY, 'uyvy': _UYVY, 'yuv422_yuy2': _YUYV, 'yuyv': _YUYV,
    # What cv_bridge names arrays of OpenCV whose colours nobody told it: BGR, OpenCV's order.
    '8UC1': PackedEncoding(1, 1, cv2.COLOR_GRAY2RGB),
    '8UC3': PackedEncoding(3, is_bgr=True),
    '8UC4': PackedEncoding(4, 1, cv2.COLOR_BGRA2RGB),
}  # fmt: skip
for _pattern, _code in _BAYER.items():
    PACKED[f'bayer_{_pattern}8'] = PackedEncoding(1, 1, _code)
    PACKED[f'bayer_{_pattern}16'] = PackedEncoding(1, 2, _code)


def _half_chroma(planes: np.ndarray, height: int, code: int) -> np.ndarray:
    """NV12, NV21: rows of brightness, then half as many of colour."""
    return np.asarray(cv2.cvtColor(planes, code))


def _full_chroma(planes: np.ndarray, height: int, code: int) -> np.ndarray:
    """NV24: a colour for each pixel, in rows of two numbers; every other one is taken."""
    width = planes.shape[1]
    colours = planes[height:].reshape(height, width, 2)[::2, ::2]
    halved = np.concatenate((planes[:height], colours.reshape(height // 2, width)))
    return np.asarray(cv2.cvtColor(halved, code))


# Brightness of all pixels, then their colours: rows per row of pixels, OpenCV's conversion, how.
_Planes = tuple[float, int, Callable[[np.ndarray, int, int], np.ndarray]]
PLANAR: dict[str, _Planes] = {
    'nv12': (1.5, cv2.COLOR_YUV2RGB_NV12, _half_chroma),
    'nv21': (1.5, cv2.COLOR_YUV2RGB_NV21, _half_chroma),
    'nv24': (3.0, cv2.COLOR_YUV2RGB_NV12, _full_chroma),
}
ENCODINGS = (*PACKED, *PLANAR)


def to_colours(
    data: Any, *, height: int, width: int, step: int, encoding: str, is_bigendian: bool = False
) -> tuple[np.ndarray, bool]:
    """Pixels as a colour picture.

    Args:
        data: A buffer of bytes.
        height: Rows of pixels.
        width: Pixels in a row.
        step: Length of a row [byte]; more than its pixels take is padding.
        encoding: As in ``sensor_msgs/image_encodings.hpp``, or one of ``nv12``.
        is_bigendian: Byte order of 16-bit numbers.

    Returns:
        The picture uint8 (height, width, 3), a view of ``data`` where nothing had to be
        converted, and whether it is BGR; else it is RGB.

    Raises:
        ImageError: Another encoding, or size, step and data contradict each other.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ImageError(
            'picture has an impossible size', given=f'{width} x {height}',
            allowed=f'1 .. {MAX_PIXELS} pixels', hint='check what the camera publishes',
        )
    if encoding in PLANAR:
        return _planar(data, height, width, step, encoding), False
    packed = PACKED.get(encoding)
    if packed is None:
        raise ImageError(
            'picture has an encoding that is not taken', given=encoding[:40] or 'none',
            allowed=', '.join(ENCODINGS), hint=_advice(encoding),
        )
    _check_rows(data, height, step, width * packed.channels * packed.item_bytes, encoding)
    if packed.channels == 2 and width % 2:
        raise ImageError(
            f'{encoding} has pixels in pairs', given=f'width {width}', allowed='an even width'
        )
    kind = np.dtype('u1' if packed.item_bytes == 1 else '>u2' if is_bigendian else '<u2')
    shape = (height, width, packed.channels) if packed.channels > 1 else (height, width)
    inner = (packed.channels * kind.itemsize, kind.itemsize)
    strides = (step, *(inner if packed.channels > 1 else inner[1:]))
    pixels: np.ndarray = np.ndarray(shape, kind, data, 0, strides)
    if kind.itemsize == 2:
        pixels = pixels.astype(np.uint16)  # as this machine has it, and where OpenCV can read it
    if packed.code is not None:
        pixels = np.asarray(cv2.cvtColor(pixels, packed.code))
    if kind.itemsize == 2:
        pixels = np.asarray(cv2.convertScaleAbs(pixels, alpha=255.0 / 65535.0))
    return pixels, packed.is_bgr


def _planar(data: Any, height: int, width: int, step: int, encoding: str) -> np.ndarray:
    rows_each, code, convert = PLANAR[encoding]
    if height % 2 or width % 2:
        raise ImageError(
            f'{encoding} has colours for 2 x 2 pixels', given=f'{width} x {height}',
            allowed='even sizes',
        )
    rows = round(rows_each * height)
    _check_rows(data, rows, step, width, encoding)
    planes: np.ndarray = np.ndarray((rows, width), np.uint8, data, 0, (step, 1))
    return convert(np.ascontiguousarray(planes), height, code)


def _check_rows(data: Any, rows: int, step: int, least: int, encoding: str) -> None:
    if step < least:
        raise ImageError(
            'picture is damaged: a row of pixels is longer than its step',
            given=f'{step} bytes', allowed=f'at least {least} for {encoding} of this width',
        )
    if len(data) != rows * step:
        raise ImageError(
            'picture is damaged', given=f'{len(data)} bytes',
            allowed=f'{rows} rows of {step} bytes for {encoding}',
        )


def _advice(encoding: str) -> str:
    if encoding in ('16UC1', '32FC1', '64FC1'):
        return 'this is depth (REP 118); remap image_raw to the colour picture of that camera'
    if encoding.lower() in ('jpeg', 'jpg', 'png', 'mjpeg', 'unknown'):
        return 'compressed pictures are sensor_msgs/CompressedImage on image_raw/compressed'
    return 'set another encoding in the driver, or put image_proc in between (docs/cameras.md)'
