"""Every encoding that cameras publish becomes the same picture; what cannot is refused."""

from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.errors import ImageError
from dnn_offload.vision.encodings import ENCODINGS, to_colours

HEIGHT, WIDTH = 48, 64
# Blocks of 8 x 8 pixels of one colour: patterns and halved colours are exact within them.
RGB = np.kron(
    np.random.default_rng(1).integers(20, 236, (HEIGHT // 8, WIDTH // 8, 3)), np.ones((8, 8, 1))
).astype(np.uint8)
INSIDE = np.zeros((HEIGHT, WIDTH), bool)
INSIDE.reshape(HEIGHT // 8, 8, WIDTH // 8, 8)[:, 2:6, :, 2:6] = True
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)


def bayer(pattern: str) -> np.ndarray:
    """One number for each pixel, of the colour that the pattern has there."""
    colours = ['rgb'.index(letter) for letter in pattern]
    mosaic = np.empty((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(colours):
        y, x = divmod(place, 2)
        mosaic[y::2, x::2] = RGB[y::2, x::2, colour]
    return mosaic


def yuv_planes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brightness (H, W) and the two colours (H / 2, W / 2)."""
    planar = cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    quarter = HEIGHT * WIDTH // 4
    y, u, v = np.split(planar, [4 * quarter, 5 * quarter])
    half = (HEIGHT // 2, WIDTH // 2)
    return y.reshape(HEIGHT, WIDTH), u.reshape(half), v.reshape(half)


def made(encoding: str) -> np.ndarray:
    """The picture in an encoding: rows of bytes or 16-bit numbers."""
    alpha = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
    bgr = RGB[..., ::-1]
    y, u, v = yuv_planes()
    wide_u, wide_v = (np.repeat(plane, 2, axis=0) for plane in (u, v))  # (H, W / 2)
    pairs = np.empty((HEIGHT, WIDTH, 2), np.uint8)
    simple = {
        'rgb8': RGB, 'bgr8': bgr, '8UC3': bgr, 'mono8': GREY, '8UC1': GREY,
        'rgba8': np.concatenate((RGB, alpha), 2), 'bgra8': np.concatenate((bgr, alpha), 2),
        '8UC4': np.concatenate((bgr, alpha), 2),
    }
    if encoding in simple:
        return simple[encoding].reshape(HEIGHT, -1)
    if encoding.endswith('16'):
        eight = made(f'{encoding[:-2]}8')
        return eight.astype(np.uint16) * 257  # 255 becomes 65535
    if encoding.startswith('bayer_'):
        return bayer(encoding[6:10])
    if encoding in ('yuv422', 'uyvy'):
        pairs[..., 1], pairs[:, ::2, 0], pairs[:, 1::2, 0] = y, wide_u, wide_v
    elif encoding in ('yuv422_yuy2', 'yuyv'):
        pairs[..., 0], pairs[:, ::2, 1], pairs[:, 1::2, 1] = y, wide_u, wide_v
    elif encoding == 'nv24':
        full = np.stack((np.repeat(wide_u, 2, 1), np.repeat(wide_v, 2, 1)), 2)
        return np.concatenate((y, full.reshape(2 * HEIGHT, WIDTH)))
    else:
        both = (u, v) if encoding == 'nv12' else (v, u)
        return np.concatenate((y, np.stack(both, 2).reshape(HEIGHT // 2, WIDTH)))
    return pairs.reshape(HEIGHT, -1)


def padded(rows: np.ndarray, more: int) -> tuple[bytes, int]:
    """Rows with ``more`` bytes behind each, and the step."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    wide = np.concatenate((flat, np.full((len(rows), more), 99, np.uint8)), 1)
    return wide.tobytes(), wide.shape[1]


@pytest.mark.parametrize('more', [0, 6, 7])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_all_encodings_show_the_same_picture(encoding: str, more: int) -> None:
    data, step = padded(made(encoding), more)
    picture, is_bgr = to_colours(
        memoryview(b'.' + data)[1:], height=HEIGHT, width=WIDTH, step=step, encoding=encoding
    )  # a byte before: in a message pixels lie at any address
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    rgb = picture[..., ::-1] if is_bgr else picture
    grey = encoding in ('mono8', 'mono16', '8UC1')
    wanted = np.repeat(GREY[..., None], 3, 2) if grey else RGB
    apart = np.abs(rgb.astype(int) - wanted)[INSIDE].max()
    assert apart <= (4 if encoding.startswith(('yu', 'uy', 'nv')) else 0), apart


@pytest.mark.parametrize('encoding', [name for name in ENCODINGS if name.endswith('16')])
def test_either_byte_order(encoding: str) -> None:
    rows = made(encoding)
    little, big = rows.astype('<u2').tobytes(), rows.astype('>u2').tobytes()
    step = len(little) // HEIGHT
    given = {'height': HEIGHT, 'width': WIDTH, 'step': step, 'encoding': encoding}
    first, _ = to_colours(little, **given)
    second, _ = to_colours(big, **given, is_bigendian=True)
    np.testing.assert_array_equal(first, second)


def test_the_byte_order_of_bytes_does_not_matter() -> None:
    picture, _ = to_colours(
        RGB.tobytes(), height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding='rgb8',
        is_bigendian=True,
    )
    np.testing.assert_array_equal(picture, RGB)


def test_colours_that_need_no_conversion_are_not_copied() -> None:
    data = bytearray(RGB.tobytes())
    picture, _ = to_colours(data, height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding='bgr8')
    data[0] ^= 255
    assert picture[0, 0, 0] == data[0]


@pytest.mark.parametrize(('change', 'said'), [
    ({'step': 3 * WIDTH - 1}, 'longer than its step.*given: 191 bytes.*at least 192'),
    ({'step': 3 * WIDTH + 1}, 'picture is damaged.*48 rows of 193 bytes'),
    ({'step': 0}, 'longer than its step'),
    ({'height': HEIGHT + 1}, 'picture is damaged'),
    ({'height': HEIGHT - 1}, 'picture is damaged'),
    ({'height': 0}, 'impossible size.*64 x 0'),
    ({'width': 0}, 'impossible size'),
    ({'height': 1 << 31, 'width': 1 << 31}, 'impossible size'),
    ({'encoding': '32FC1'}, 'given: 32FC1.*rgb8, bgr8.*depth'),
    ({'encoding': '16UC1'}, 'depth'),
    ({'encoding': 'unknown'}, 'image_raw/compressed'),
    ({'encoding': 'yuv411'}, 'yuv411.*docs/cameras.md'),
    ({'encoding': ''}, 'given: none'),
    ({'encoding': 'uyvy', 'width': 63, 'step': 192}, 'even width'),
    ({'encoding': 'nv21', 'height': 31, 'step': 64}, 'even sizes'),
    ({'encoding': 'nv21'}, 'picture is damaged.*72 rows'),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_with_what_is_allowed(
    change: dict[str, object], said: str
) -> None:
    given: dict[str, object] = {
        'height': HEIGHT, 'width': WIDTH, 'step': 3 * WIDTH, 'encoding': 'rgb8',
    }
    with pytest.raises(ImageError, match=said):
        to_colours(RGB.tobytes(), **{**given, **change})  # type: ignore[arg-type]


@settings(deadline=None, max_examples=300)
@given(
    data=st.binary(max_size=600), height=st.integers(0, 20), width=st.integers(0, 20),
    step=st.integers(0, 100), encoding=st.sampled_from([*ENCODINGS, 'x']), big=st.booleans(),
)
def test_whatever_comes_is_a_picture_or_refused(data, height, width, step, encoding, big) -> None:
    try:
        picture, _ = to_colours(
            data, height=height, width=width, step=step, encoding=encoding, is_bigendian=big
        )
    except ImageError:
        return
    assert picture.shape == (height, width, 3) and picture.dtype == np.uint8
