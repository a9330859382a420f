"""What each encoding promises about values: error bounds, exact zeros, special numbers."""

from __future__ import annotations

import cv2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from dnn_offload.codec import fp16 as fp16_module
from dnn_offload.codec.bundle import decode, encode, Encoder
from dnn_offload.codec.int8_blocks import BLOCK_VALUES
from dnn_offload.codec.layout import is_picture
from dnn_offload.codec.zstd import compress
from dnn_offload.tensors import TensorSpec

ROOM = 1 << 26


def size_of(array: np.ndarray, codec: str) -> int:
    return len(encode([array], [TensorSpec.of_array('t', array)], codec))


def round_trip(array: np.ndarray, codec: str) -> np.ndarray:
    spec = TensorSpec.of_array('t', array)
    (back,) = decode(encode([array], [spec], codec), [spec], max_bytes=ROOM)
    return back


def finite_arrays(dtype):
    width = np.dtype(dtype).itemsize * 8
    return hnp.arrays(
        dtype,
        st.integers(1, 80),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=width),
    )


@settings(deadline=None, max_examples=300)
@example(array=np.array([-np.finfo(np.float64).max, 0, 0]), codec='int8')
@given(
    array=st.one_of(finite_arrays(np.float32), finite_arrays(np.float64), finite_arrays('f2')),
    codec=st.sampled_from(('int8', 'int8_zstd')),
)
def test_int8_errs_by_half_a_level_at_most(array, codec):
    back = round_trip(array, codec)
    low, high = float(array.min()), float(array.max())
    level = high / 255 - low / 255
    info = np.finfo(array.dtype)
    rounding = 2 * float(info.eps) * max(abs(low), abs(high)) + float(info.smallest_subnormal)
    error = np.abs(back / 2 - array.astype(np.float64) / 2).max() * 2
    assert np.isfinite(back).all()
    assert error <= level * 0.5003 + rounding


@pytest.mark.parametrize('codec', ['int8', 'int8_zstd'])
@pytest.mark.parametrize('low', [0.0, -0.3, -5.0, -1000.0])
def test_int8_keeps_zeros_exactly(codec, low):
    rng = np.random.default_rng(1)
    array = np.clip(rng.standard_normal(4000).astype(np.float32) * 3, low, None)
    array[::2] = 0.0
    back = round_trip(array, codec)
    assert not back[::2].any()


@pytest.mark.parametrize('codec', ['fp16', 'int8', 'int8_zstd'])
@pytest.mark.parametrize('special', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_go_losslessly(codec, special):
    array = np.linspace(-1, 1, 1000, dtype=np.float32)
    array[17] = special
    assert round_trip(array, codec).tobytes() == array.tobytes()


@pytest.mark.parametrize('codec', ['int8', 'int8_zstd'])
@pytest.mark.parametrize('value', [0.0, -0.7, 3.4e38, 1e-45, 65504.0])
def test_int8_keeps_constants_exactly(codec, value):
    array = np.full((10, 10), value, dtype=np.float32)
    assert np.array_equal(round_trip(array, codec), array)


def test_int8_far_from_zero_takes_the_careful_way():
    array = np.float32(1e6) + np.linspace(0, 1, 5000, dtype=np.float32)
    assert np.abs(round_trip(array, 'int8') - array).max() <= 0.5 / 255 + 0.07  # ulp is 0.0625


def test_int8_of_the_whole_range_does_not_overflow():
    array = np.array([-3.4e38, 0, 3.4e38] * 10, dtype=np.float32)
    back = round_trip(array, 'int8')
    assert np.isfinite(back).all()
    assert np.abs(back / 3.4e38 - array / 3.4e38).max() < 0.5 / 127


def test_every_level_is_used():
    array = np.linspace(-1, 2, 100_000, dtype=np.float32)
    assert len(np.unique(round_trip(array, 'int8'))) == 256


@settings(deadline=None, max_examples=150)
@given(array=st.one_of(finite_arrays(np.float32), finite_arrays(np.float64)))
def test_fp16_is_half_precision_or_exact(array):
    back = round_trip(array, 'fp16')
    if np.abs(array).max() > 65519.0:
        assert back.tobytes() == array.tobytes()  # no finite half: goes raw
    else:
        error = np.abs(back - array)
        assert (error <= np.abs(array) * 2**-11 + 2**-24).all()


def test_fp16_without_opencvs_cast_gives_the_same_bytes(monkeypatch):
    array = np.random.default_rng(2).standard_normal(1000).astype(np.float32)
    spec = TensorSpec.of_array('t', array)
    payload = encode([array], [spec], 'fp16')
    monkeypatch.delattr(fp16_module.cv2, 'convertFp16', raising=False)
    assert encode([array], [spec], 'fp16') == payload
    (back,) = decode(payload, [spec], max_bytes=ROOM)
    assert np.array_equal(back, array.astype(np.float16).astype(np.float32))


def test_sizes_are_what_the_planner_hopes_for():
    rng = np.random.default_rng(3)
    array = np.maximum(rng.standard_normal((1, 64, 55, 55)).astype(np.float32), 0)
    raw = size_of(array, 'raw')
    assert size_of(array, 'fp16') == pytest.approx(raw / 2, rel=0.01)
    assert size_of(array, 'int8') == pytest.approx(raw / 4, rel=0.01)
    assert size_of(array, 'int8_zstd') < 0.65 * raw / 4  # half of it is zeros


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'float16'])
def test_a_large_tensor_in_blocks_is_the_same_tensor(dtype):
    rng = np.random.default_rng(5)
    array = np.maximum(rng.standard_normal(3 * BLOCK_VALUES + 7), -0.5).astype(dtype)
    array[BLOCK_VALUES:2 * BLOCK_VALUES] = rng.uniform(-0.5, 3.0, BLOCK_VALUES)  # shrinks not
    assert (round_trip(array, 'int8_zstd') == round_trip(array, 'int8')).all()
    spec = TensorSpec.of_array('t', array)
    encoder = Encoder([array], [spec], 'int8_zstd')
    early = encoder.take(1000)
    assert not encoder.done and BLOCK_VALUES // 4 < len(early) <= BLOCK_VALUES + 100
    array[BLOCK_VALUES:] = 0.0  # what comes later is not looked at before
    late = []
    while not encoder.done:
        late.append(encoder.take(1000))
        assert late[-1]
    (back,) = decode(b''.join((early, *late)), [spec], max_bytes=ROOM)
    assert (back[BLOCK_VALUES:] == 0.0).all() and (back[:BLOCK_VALUES] != 0.0).any()


def test_what_is_encoded_at_once_is_given_at_once():
    arrays = [np.ones(3 * BLOCK_VALUES, np.float32), np.ones(3 * BLOCK_VALUES, np.float32)]
    specs = [TensorSpec.of_array('t', array) for array in arrays]
    for codec in ('raw', 'fp16', 'int8'):
        encoder = Encoder(arrays, specs, codec)
        assert encoder.take(1) == encode(arrays, specs, codec) and encoder.done


def test_blocks_cost_few_bytes():
    rng = np.random.default_rng(6)
    array = np.maximum(rng.standard_normal((1, 64, 111, 111)).astype(np.float32), 0)
    levels = cv2.convertScaleAbs(array.reshape(1, -1), alpha=255.0 / float(array.max()))
    assert size_of(array, 'int8_zstd') < 1.02 * len(compress(levels))


def test_noise_that_does_not_shrink_is_not_sent_larger():
    noise = np.random.default_rng(4).integers(0, 256, (1, 20, 20, 3), dtype=np.uint8)
    assert size_of(noise, 'zstd') == size_of(noise, 'raw')
    flat = np.random.default_rng(4).uniform(-1, 1, 5000).astype(np.float32)
    assert size_of(flat, 'int8_zstd') <= size_of(flat, 'int8')


def test_zstd_takes_large_tensors():
    array = np.tile(np.arange(1000, dtype=np.float32), 2000)  # 8 MB: beyond level 1's window
    assert np.array_equal(round_trip(array, 'zstd'), array)


@pytest.mark.parametrize('sides', [(1, 1), (7, 5), (33, 65), (224, 224)])
def test_jpeg_gives_nearly_the_picture(sides):
    height, width = sides
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256 // 2], axis=-1)
    picture = cv2.GaussianBlur(picture.astype(np.uint8), (5, 5), 0).reshape(1, height, width, 3)
    back = round_trip(picture, 'jpeg')
    assert np.abs(back.astype(int) - picture).mean() < 6


def test_pictures_are_known_by_the_strides_that_matter():
    shape = (1, 5, 4, 3)
    assert is_picture(TensorSpec('t', 'uint8', shape, (60, 12, 3, 1)))
    assert is_picture(TensorSpec('t', 'uint8', shape, (0, 12, 3, 1)))  # numpy's array[None]
    assert is_picture(TensorSpec('t', 'uint8', (1, 5, 1, 3), (60, 3, 99, 1)))
    assert not is_picture(TensorSpec('t', 'uint8', shape, (60, 1, 5, 20)))
    assert not is_picture(TensorSpec('t', 'uint8', (1, 5, 4, 1), (20, 4, 1, 1)))
    assert not is_picture(TensorSpec('t', 'uint8', (2, 5, 4, 3), (60, 12, 3, 1)))
    assert not is_picture(TensorSpec('t', 'float32', shape, (60, 12, 3, 1)))
    assert not is_picture(TensorSpec('t', 'uint8', (1, 0, 4, 3), (0, 12, 3, 1)))


def test_jpeg_keeps_the_order_of_colours():
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[..., 0] = 200  # red
    back = round_trip(picture, 'jpeg')
    assert back[..., 0].mean() == pytest.approx(200, abs=3)
    assert back[..., 2].mean() == pytest.approx(0, abs=3)
