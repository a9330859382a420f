"""Compressed pictures of cameras: read, decoded, refused; and sent on as they came."""

from __future__ import annotations

import struct
import tracemalloc

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.codec import bundle
from dnn_offload.codec.compressed_picture import decode_picture, read_picture
from dnn_offload.errors import CodecError, ImageError
from dnn_offload.tensors import contiguous_strides, TensorSpec
from dnn_offload.vision.preprocess import mapping_of, MODES, prepare, PreprocessSpec

_y, _x = np.mgrid[0:96, 0:128].astype(np.uint8)
BGR = np.stack((_x, _y * 2, 200 - _x), 2)


def encoded(kind: str, pixels: np.ndarray = BGR, *options: int) -> bytes:
    done, data = cv2.imencode(f'.{kind}', pixels, list(options))
    assert done
    return data.tobytes()


JPEG = encoded('jpg')


def exif(jpeg: bytes, orientation: int, thumbnail: bytes = b'') -> bytes:
    """A JPEG with an APP1 segment that asks for a rotation."""
    tiff = b'II*\0\x08\0\0\0' + struct.pack('<HHHII', 1, 0x0112, 3, 1, orientation) + b'\0' * 4
    body = b'Exif\0\0' + tiff + thumbnail
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]


def test_a_plain_jpeg() -> None:
    picture = read_picture(JPEG, 'bgr8; jpeg compressed bgr8')
    assert (picture.kind, picture.height, picture.width) == ('jpeg', 96, 128)
    assert picture.is_plain and picture.data == JPEG
    np.testing.assert_array_equal(decode_picture(picture), cv2.imdecode(
        np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR
    ))


@pytest.mark.parametrize('behind', [b'\0' * 5000, encoded('jpg', BGR[::-1])[700:], b'\xff\xda'])
def test_what_a_drivers_buffer_has_behind_the_picture_is_cut_off(behind: bytes) -> None:
    """usb_cam publishes buffers of the raw size: zeros, or the rest of an older picture."""
    picture = read_picture(JPEG + behind, 'jpeg')
    if behind != b'\xff\xda':  # looks like another scan: kept, decoded here
        assert picture.data == JPEG and picture.is_plain
    decoded = decode_picture(picture)
    np.testing.assert_array_equal(decoded, decode_picture(read_picture(JPEG)))


@pytest.mark.parametrize('made', [
    encoded('jpg', BGR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), encoded('jpg', BGR[..., 0]),
    exif(JPEG, 1, thumbnail=JPEG), encoded('png'),
])
def test_other_kinds_are_decoded_but_not_sent_on(made: bytes) -> None:
    picture = read_picture(made)
    assert not picture.is_plain
    assert decode_picture(picture).shape == (96, 128, 3)


def test_exif_rotation_is_ignored_as_image_transport_does() -> None:
    picture = read_picture(exif(JPEG, 6))
    assert decode_picture(picture).shape == (96, 128, 3)
    assert picture.is_plain


def test_colours_that_were_put_in_as_rgb_change_places() -> None:
    picture = read_picture(JPEG, 'rgb8; jpeg compressed rgb8')
    assert picture.swapped and not picture.is_plain
    straight = decode_picture(read_picture(JPEG, 'rgb8; jpeg compressed bgr8'))
    np.testing.assert_array_equal(decode_picture(picture), straight[..., ::-1])


@pytest.mark.parametrize('pixels', [
    BGR, BGR[..., 0], BGR.astype(np.uint16) * 257, BGR[..., 0].astype(np.uint16) * 257,
    np.concatenate((BGR, BGR[..., :1]), 2),
], ids=['colour', 'grey', 'colour 16', 'grey 16', 'alpha'])  # fmt: skip
def test_png_of_all_kinds(pixels: np.ndarray) -> None:
    decoded = decode_picture(read_picture(encoded('png', pixels), 'x; png compressed '))
    wanted = BGR if pixels.ndim == 3 else np.repeat(BGR[..., :1], 3, 2)
    np.testing.assert_array_equal(decoded, wanted)


def with_size(jpeg: bytes, height: int, width: int) -> bytes:
    made = bytearray(jpeg)
    at = made.index(b'\xff\xc0')
    made[at + 5:at + 9] = struct.pack('>HH', height, width)
    return bytes(made)


@pytest.mark.parametrize(('data', 'text', 'said'), [
    (JPEG[:-2], 'jpeg', 'ends early.*without an end mark'),
    (JPEG[:400], 'jpeg', 'JPEG is damaged'),
    (JPEG[:3], 'jpeg', 'JPEG is damaged'),
    (encoded('png')[:-20], 'png', 'PNG is damaged: it ends early'),
    (b'', 'jpeg', 'no kind that is taken.*0 bytes.*JPEG, PNG.*republish'),
    (encoded('bmp'), 'bmp', "format 'bmp'"),
    (b'\0\0\0\1\x67rest', 'h264', "'h264'"),
    (b'\0' * 12 + encoded('png'), '16UC1; compressedDepth png', 'depth'),
    (with_size(JPEG, 60000, 60000), 'jpeg', 'impossible size.*60000 x 60000'),
    (with_size(JPEG, 0, 128), 'jpeg', 'impossible size'),
])  # fmt: skip
def test_what_is_no_whole_picture_is_refused(data: bytes, text: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        read_picture(data, text)


def test_a_jpeg_whose_data_is_no_picture_is_refused_when_it_is_decoded() -> None:
    at = JPEG.index(b'\xff\xc4')  # a Huffman table
    picture = read_picture(JPEG[:at + 4] + b'\xff' * 20 + JPEG[at + 24:])
    assert picture.is_plain
    with pytest.raises(ImageError, match='it cannot be decoded'):
        decode_picture(picture)
    spec = input_spec(64, 64)
    assert 'damaged' in refusal(bundle.wrap_jpeg(picture.data, spec), spec)


@settings(deadline=None, max_examples=300)
@given(
    start=st.sampled_from([JPEG, encoded('png'), b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'']),
    at=st.integers(0, 3000), other=st.binary(max_size=60), kept=st.integers(0, 5000),
)
def test_whatever_comes_is_a_picture_or_refused(start, at, other, kept) -> None:
    data = (start[:at] + other + start[at + len(other):])[:kept]
    try:
        picture = read_picture(data)
        if picture.height * picture.width < 1 << 20:
            assert decode_picture(picture).shape == (picture.height, picture.width, 3)
    except ImageError:
        pass


# -- in the place of the network's input ---------------------------------------------------


def input_spec(height: int, width: int) -> TensorSpec:
    shape = (1, height, width, 3)
    return TensorSpec('picture', 'uint8', shape, contiguous_strides(shape))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('size', [(96, 128), (64, 64), (224, 160)])
def test_the_server_sees_what_the_robot_would_have_seen(mode: str, size: tuple[int, int]) -> None:
    wanted = PreprocessSpec(*size, mode)
    here, mapping = prepare(decode_picture(read_picture(JPEG)), wanted, is_bgr=True)
    there, = bundle.decode(
        bundle.wrap_jpeg(JPEG, input_spec(*size)), [input_spec(*size)], max_bytes=1 << 20,
        prepare=lambda bgr: prepare(bgr, wanted, is_bgr=True)[0],
    )
    np.testing.assert_array_equal(there, here)
    assert mapping_of(96, 128, wanted) == mapping


def refusal(payload: bytes, spec: TensorSpec, size: tuple[int, int] | None = (64, 64)) -> str:
    """Why it is refused, and that nothing large is allocated for it."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError) as error:
            bundle.decode(payload, [spec], max_bytes=1 << 20, prepare=None if size is None else (
                lambda bgr: prepare(bgr, PreprocessSpec(*size), is_bgr=True)[0]
            ))
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    return str(error.value)


def test_it_is_taken_only_where_somebody_can_prepare_it_and_for_pictures() -> None:
    payload = bundle.wrap_jpeg(JPEG, input_spec(64, 64))
    assert 'encoding that its codec does not use' in refusal(payload, input_spec(64, 64), None)
    flat = TensorSpec('flat', 'uint8', (12288,), (1,))
    with pytest.raises(CodecError, match='cannot stand for'):
        bundle.wrap_jpeg(JPEG, flat)
    with pytest.raises(CodecError, match='at most 192 bytes'):
        bundle.wrap_jpeg(JPEG, input_spec(8, 8))


def test_bombs_and_damage_are_refused_before_anything_is_allocated() -> None:
    spec = input_spec(64, 64)
    for made, said in (
        (with_size(JPEG, 40000, 40000), '40000 x 40000'),
        (with_size(JPEG, 0, 64), 'impossible size'),
        (encoded('jpg', BGR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 'JPEG'),
        (encoded('png')[:4000], 'not a JPEG'),
    ):
        assert said in refusal(bundle.wrap_jpeg(made, spec), spec)
