"""Whatever arrives: a CodecError or tensors of the expected kind, and memory stays bounded."""

from __future__ import annotations

import struct
import tracemalloc

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import zstandard

from dnn_offload.codec.bundle import decode, encode, encode_bound
from dnn_offload.codec.encoding import Kind
from dnn_offload.codec.int8_blocks import BLOCK_VALUES
from dnn_offload.codec.jpeg import declared_size
from dnn_offload.codec.registry import CODECS
from dnn_offload.errors import CodecError
from dnn_offload.tensors import TensorSpec
from hostile_bundles import (
    CRC_BYTES,
    DESCRIPTION,
    descriptions_of,
    HEAD_BYTES,
    jpeg_bomb,
    one_tensor,
    resealed,
    sealed,
)

ROOM = 1 << 20

_rng = np.random.default_rng(0)
ACTIVATION = np.maximum(_rng.standard_normal((1, 8, 6, 6)).astype(np.float32), 0)
MASK = _rng.integers(0, 2, (1, 6)).astype(bool)
PICTURE = cv2.GaussianBlur(
    _rng.integers(0, 256, (48, 40, 3), dtype=np.uint8), (7, 7), 0
).reshape(1, 48, 40, 3)


def case(codec: str) -> tuple[list[np.ndarray], list[TensorSpec]]:
    arrays = [PICTURE] if codec == 'jpeg' else [ACTIVATION, MASK]
    return arrays, [TensorSpec.of_array(f't{i}', array) for i, array in enumerate(arrays)]


def try_decode(payload: bytes, specs: list[TensorSpec]) -> bool:
    """True if it decodes to what is expected, False on CodecError; all else fails the test."""
    try:
        arrays = decode(payload, specs, max_bytes=ROOM)
    except CodecError:
        return False
    for array, spec in zip(arrays, specs, strict=True):
        assert TensorSpec.of_array(spec.name, array) == spec
    return True


@settings(deadline=None, max_examples=300)
@given(payload=st.binary(max_size=600), codec=st.sampled_from(tuple(CODECS)))
def test_random_bytes(payload, codec):
    _, specs = case(codec)
    assert not try_decode(payload, specs)
    assert not try_decode(resealed(b'DNNO\x02' + payload), specs)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), codec=st.sampled_from(tuple(CODECS)), seal=st.booleans())
def test_mutated_payloads(data, codec, seal):
    arrays, specs = case(codec)
    payload = bytearray(encode(arrays, specs, codec))
    original = bytes(payload)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(payload) - 1))
        action = data.draw(st.sampled_from(('flip', 'set', 'cut', 'insert', 'repeat')))
        if action == 'flip':
            payload[at] ^= 1 << data.draw(st.integers(0, 7))
        elif action == 'set':
            payload[at:at + 8] = data.draw(st.sampled_from((b'\xff' * 8, b'\0' * 8, b'\x7f' * 8)))
        elif action == 'cut':
            del payload[at:at + data.draw(st.integers(1, 50))]
        elif action == 'insert':
            payload[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        else:
            payload[at:at] = payload[at:at + 30]
        if not payload:
            break
    decoded = try_decode(resealed(payload) if seal else bytes(payload), specs)
    if not seal and bytes(payload) != original:
        assert not decoded  # the check sum sees accidents


@settings(deadline=None, max_examples=200)
@given(data=st.data(), codec=st.sampled_from(tuple(CODECS)))
def test_bodies_of_an_attacker(data, codec):
    """Right descriptions, arbitrary bodies of every kind that the codec has."""
    arrays, specs = case(codec)
    payload = encode(arrays, specs, codec)
    described = descriptions_of(payload, specs)
    bodies = b''
    at = 0
    for spec in specs:
        kind = data.draw(st.sampled_from(CODECS[codec].kinds(spec.dtype)))
        prefix = data.draw(st.sampled_from((
            b'', zstandard.compress(b'\1' * spec.numel), b'\xff\xd8\xff\xe0',
            struct.pack('<dd', 0.0, 1e308) + zstandard.compress(b'\xff' * spec.numel),
        )))
        body = (prefix + data.draw(st.binary(max_size=200)))[:spec.nbytes]
        described[at] = kind
        described[at + 4:at + 12] = struct.pack('<Q', len(body))
        at += DESCRIPTION.size + 16 * len(spec.shape)
        bodies += body
    try_decode(sealed(payload[:HEAD_BYTES], bodies, bytes(described)), specs)


def peak_bytes(payload: bytes, specs: list[TensorSpec], max_bytes: int = 1 << 34) -> int:
    """Most that decoding allocates."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(payload, specs, max_bytes=max_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gigabyte_expected_is_refused_before_it_is_allocated():
    spec = TensorSpec('t', 'float32', (1, 2**28), (2**28, 1))
    assert peak_bytes(b'\0' * 1000, [spec], max_bytes=ROOM) < 50_000


@pytest.mark.parametrize('field', ['extent', 'stride', 'body'])
def test_a_gigabyte_declared_is_refused_before_it_is_allocated(field):
    arrays, specs = case('int8_zstd')
    payload = bytearray(encode(arrays, specs, 'int8_zstd'))
    offset = {'body': 4, 'extent': DESCRIPTION.size, 'stride': DESCRIPTION.size + 32}[field]
    at = len(payload) - CRC_BYTES - len(descriptions_of(payload, specs)) + offset
    payload[at:at + 8] = struct.pack('<Q', 1 << 30)
    assert peak_bytes(resealed(payload), specs) < 50_000


@pytest.mark.parametrize('declares_size', [True, False])
def test_a_zstd_bomb_is_refused_before_it_is_unpacked(declares_size):
    spec = TensorSpec('t', 'uint8', (1, 100, 100, 3), (30000, 300, 3, 1))
    packer = zstandard.ZstdCompressor(write_content_size=declares_size)
    bomb = packer.compress(b'\0' * (64 << 20))
    assert len(bomb) < spec.nbytes
    assert peak_bytes(one_tensor(spec, 'zstd', Kind.ZSTD, bomb), [spec]) < 200_000


def test_a_zstd_frame_that_lies_about_its_content_is_refused():
    spec = TensorSpec('t', 'uint8', (1, 10, 10, 3), (300, 30, 3, 1))
    frame = bytearray(zstandard.ZstdCompressor().compress(b'\0' * 100_000))
    size_at = 5 if frame[4] & 0x20 else 6
    for n in (2, 4):
        liar = bytearray(frame)
        liar[size_at:size_at + n] = (300).to_bytes(n, 'little')
        assert peak_bytes(one_tensor(spec, 'zstd', Kind.ZSTD, bytes(liar)), [spec]) < 50_000


def test_a_zstd_frame_with_a_huge_window_is_refused():
    spec = TensorSpec('t', 'uint8', (1, 10, 10, 3), (300, 30, 3, 1))
    # Magic, descriptor (2-byte content size, no single segment), window of 2 GiB, size 300.
    frame = struct.pack('<IBBH', 0xFD2FB528, 0x40, 21 << 3, 300 - 256) + b'\x01\0\0'
    payload = one_tensor(spec, 'zstd', Kind.ZSTD, frame)
    with pytest.raises(CodecError, match='window'):
        decode(payload, [spec], max_bytes=ROOM)


def jpeg_of(height: int, width: int, *options: int) -> bytes:
    done, data = cv2.imencode('.jpg', np.zeros((height, width, 3), np.uint8), list(options))
    assert done
    return data.tobytes()


def test_a_jpeg_of_another_size_is_refused_before_it_is_decoded():
    spec = TensorSpec('t', 'uint8', (1, 200, 200, 3), (120000, 600, 3, 1))
    payload = jpeg_bomb(spec, 65000)
    assert peak_bytes(payload, [spec]) < 200_000
    with pytest.raises(CodecError, match='65000 x 65000'):
        decode(payload, [spec], max_bytes=ROOM)


@pytest.mark.parametrize('trick', ['fill bytes', 'second header', 'progressive', 'scans', 'grey'])
def test_jpegs_that_we_would_not_write_are_refused(trick):
    spec = TensorSpec('t', 'uint8', (1, 64, 64, 3), (12288, 192, 3, 1))
    plain = jpeg_of(64, 64)
    huge = b'\xff\xc0' + struct.pack('>HBHH', 17, 8, 60000, 60000)
    huge += b'\x03\1\x22\0\2\x11\1\3\x11\1'
    scan = plain[plain.index(b'\xff\xda'):-2]
    made = {
        'fill bytes': plain[:2] + b'\xff' + huge + plain[2:],
        'second header': plain[:plain.index(b'\xff\xda')] + huge + scan + b'\xff\xd9',
        'progressive': jpeg_of(64, 64, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        'scans': plain[:-2] + scan + b'\xff\xd9',
        'grey': cv2.imencode('.jpg', np.zeros((64, 64), np.uint8))[1].tobytes(),
    }[trick]
    assert peak_bytes(one_tensor(spec, 'jpeg', Kind.JPEG, made), [spec]) < 200_000


LARGE = TensorSpec('t', 'float32', (2 * BLOCK_VALUES + 5,), (1,))
_RANGE = struct.pack('<dd', 0.0, 1.0)
_ZEROS = zstandard.compress(b'\0' * BLOCK_VALUES)
_LAST = struct.pack('<I', 5 | 1 << 31) + b'\1' * 5


def _block(frame: bytes, plain: bool = False) -> bytes:
    return struct.pack('<I', len(frame) | plain << 31) + frame


def test_blocks_of_a_large_tensor_are_read() -> None:
    body = _RANGE + _block(_ZEROS) + _block(b'\2' * BLOCK_VALUES, True) + _LAST
    payload = one_tensor(LARGE, 'int8_zstd', Kind.INT8_BLOCKS, body)
    (array,) = decode(payload, [LARGE], max_bytes=4 << 20)
    assert array[:BLOCK_VALUES].max() == 0.0
    assert set(array[BLOCK_VALUES:2 * BLOCK_VALUES]) == {2.0} and set(array[-5:]) == {1.0}


@pytest.mark.parametrize(
    'body',
    [
        _RANGE + _block(_ZEROS),
        _RANGE + _block(_ZEROS) * 2 + _LAST + b'\0',
        _RANGE + _block(_ZEROS) * 2 + struct.pack('<I', 4 | 1 << 31) + b'\1' * 4,
        _RANGE + _block(_ZEROS) * 2 + struct.pack('<I', 6 | 1 << 31) + b'\1' * 6,
        _RANGE + _block(_ZEROS) * 2 + struct.pack('<I', 0),
        _RANGE + _block(_ZEROS) * 2 + struct.pack('<I', 0x7fffffff) + b'\1' * 5,
        _RANGE + _block(zstandard.compress(b'\0' * (64 << 20))) + _block(_ZEROS) + _LAST,
        _RANGE + _block(_ZEROS[:-3]) + _block(_ZEROS) + _LAST,
        _RANGE[:-1],
    ],
)
def test_blocks_that_we_would_not_write_are_refused(body: bytes) -> None:
    payload = one_tensor(LARGE, 'int8_zstd', Kind.INT8_BLOCKS, body)
    assert peak_bytes(payload, [LARGE]) < LARGE.nbytes + 500_000


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300))
def test_declared_size_of_anything(data):
    for candidate in (data, b'\xff\xd8' + data, b'\xff\xd8\xff\xda' + data):
        try:
            height, width = declared_size(memoryview(candidate))
        except CodecError:
            continue
        assert height >= 0 and width >= 0


def test_a_jpeg_that_ends_early_gives_a_picture_or_a_refusal():
    spec = TensorSpec.of_array('t', PICTURE)
    done, data = cv2.imencode('.jpg', PICTURE[0])
    assert done
    for end in (len(data) // 2, len(data) - 3, 30):
        try_decode(one_tensor(spec, 'jpeg', Kind.JPEG, data.tobytes()[:end]), [spec])


@pytest.mark.parametrize('codec', [name for name in CODECS if name != 'jpeg'])
def test_decoding_allocates_a_small_multiple(codec):
    array = np.maximum(_rng.standard_normal((1, 64, 64, 64)).astype(np.float32), 0)
    spec = TensorSpec.of_array('t', array)
    payload = encode([array], [spec], codec)
    tracemalloc.start()
    try:
        decode(payload, [spec], max_bytes=array.nbytes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * array.nbytes + 50_000


def test_one_byte_too_few_allowed_is_refused():
    arrays, specs = case('raw')
    payload = encode(arrays, specs, 'raw')
    total = sum(spec.nbytes for spec in specs)
    assert len(decode(payload, specs, max_bytes=total)) == 2
    with pytest.raises(CodecError, match='too large'):
        decode(payload, specs, max_bytes=total - 1)


def test_bools_other_than_zero_and_one_are_refused():
    spec = TensorSpec.of_array('t', MASK)
    payload = bytearray(encode([MASK], [spec], 'raw'))
    payload[HEAD_BYTES] = 2
    with pytest.raises(CodecError, match='bool'):
        decode(resealed(payload), [spec], max_bytes=ROOM)


def test_another_models_tensors_are_refused_with_the_expected_ones_named():
    other = TensorSpec('features', 'float32', (1, 8, 6, 7), (336, 42, 7, 1))
    payload = encode([ACTIVATION], [TensorSpec.of_array('t', ACTIVATION)], 'raw')
    with pytest.raises(CodecError, match=r'features.*\(1, 8, 6, 7\)'):
        decode(payload, [other], max_bytes=ROOM)
    last = TensorSpec('features', 'float32', (1, 8, 6, 6), (288, 1, 48, 8))
    with pytest.raises(CodecError, match='strides'):
        decode(payload, [last], max_bytes=ROOM)


def test_an_oversized_payload_is_refused_by_its_length():
    arrays, specs = case('raw')
    bound = encode_bound(specs, 'raw')
    with pytest.raises(CodecError, match='impossible length'):
        decode(b'\0' * (bound + 1), specs, max_bytes=ROOM)
