"""Tensors survive the bundle: values, dtype, shape and exactly their strides."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.codec.bundle import decode, encode, encode_bound, MAX_TENSORS
from dnn_offload.codec.layout import buffer_bytes, layout_of
from dnn_offload.codec.registry import answer_codec, CODECS, names_for_answers, names_for_cut
from dnn_offload.errors import CodecError
from dnn_offload.tensors import contiguous_strides, DLPACK_CODES, TensorSpec

ROOM = 1 << 24
INNER = names_for_cut(is_picture=False)
LOSSLESS = tuple(name for name, codec in CODECS.items() if codec.lossless)


@st.composite
def specs(draw, dtypes=tuple(DLPACK_CODES)):
    """Any tensor of up to five small axes: dense in any order, with gaps, or repeated."""
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=5)))
    order = draw(st.permutations(range(len(shape))))
    strides = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1) * draw(st.sampled_from((1, 1, 1, 2)))
    for axis, extent in enumerate(shape):
        if extent == 1:  # torch leaves anything there
            strides[axis] = draw(st.integers(0, 1000))
        elif draw(st.integers(0, 9)) == 0:
            strides[axis] = 0  # expanded
    return TensorSpec('t', draw(st.sampled_from(dtypes)), shape, tuple(strides))


def random_array(spec: TensorSpec, seed: int, scale: float = 1.0) -> np.ndarray:
    """Random values with exactly the layout of ``spec``."""
    rng = np.random.default_rng(seed)
    storage = rng.standard_normal(max(layout_of(spec).span, 1)) * scale
    if spec.dtype == 'bool':
        storage = storage > 0
    elif not spec.dtype.startswith('float'):
        storage = rng.integers(0, 127, storage.size)
    storage = storage.astype(spec.dtype)
    return np.ndarray(spec.shape, spec.dtype, storage, 0, layout_of(spec).byte_strides)


def round_trip(array: np.ndarray, spec: TensorSpec, codec: str) -> np.ndarray:
    payload = encode([array], [spec], codec)
    assert len(payload) <= encode_bound([spec], codec)
    (back,) = decode(payload, [spec], max_bytes=ROOM)
    assert back.dtype.name == spec.dtype
    assert back.shape == spec.shape
    assert TensorSpec.of_array('t', back).strides == spec.strides
    return back


@settings(deadline=None, max_examples=150)
@given(spec=specs(), seed=st.integers(0, 2**32), codec=st.sampled_from(('raw', 'zstd')))
def test_lossless_codecs_keep_bits_and_strides(spec, seed, codec):
    array = random_array(spec, seed)
    back = round_trip(array, spec, codec)
    assert back.tobytes() == array.tobytes()


@settings(deadline=None, max_examples=150)
@given(spec=specs(), seed=st.integers(0, 2**32), codec=st.sampled_from(INNER))
def test_every_inner_codec_takes_every_tensor(spec, seed, codec):
    array = random_array(spec, seed)
    back = round_trip(array, spec, codec)
    if not spec.dtype.startswith('float'):
        assert back.tobytes() == array.tobytes()
    elif array.size:
        span = float(array.max()) - float(array.min())
        assert np.abs(back.astype(float) - array.astype(float)).max() <= span / 254 + 1e-3


@settings(deadline=None, max_examples=60)
@given(
    several=st.lists(specs(), max_size=5),
    seed=st.integers(0, 2**32),
    codec=st.sampled_from(INNER),
)
def test_several_tensors_in_one_bundle(several, seed, codec):
    arrays = [random_array(spec, seed + i) for i, spec in enumerate(several)]
    payload = encode(arrays, several, codec)
    assert len(payload) <= encode_bound(several, codec)
    back = decode(payload, several, max_bytes=ROOM)
    assert [b.shape for b in back] == [spec.shape for spec in several]
    for array, other, spec in zip(arrays, back, several, strict=True):
        single = round_trip(array, spec, codec)
        assert single.tobytes() == other.tobytes()


@settings(deadline=None, max_examples=60)
@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64),
    codec=st.sampled_from(LOSSLESS),
)
def test_lossless_codecs_keep_every_bit_pattern(bits, codec):
    array = np.array(bits, dtype=np.uint32).view(np.float32)  # NaN payloads, denormals, -0.0
    back = round_trip(array, TensorSpec.of_array('t', array), codec)
    assert back.tobytes() == array.tobytes()


def test_the_spec_and_not_the_array_decides_the_layout():
    plain = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    spec = TensorSpec('t', 'float32', (1, 2, 3, 4), (24, 1, 8, 2))  # channels_last
    back = round_trip(plain, spec, 'raw')
    assert np.array_equal(back, plain)


def test_channels_last_and_contiguous_cost_the_same_bytes():
    rng = np.random.default_rng(0)
    shape = (1, 16, 9, 9)
    plain = np.maximum(rng.standard_normal(shape).astype(np.float32), 0)
    last = np.ascontiguousarray(plain.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for codec in ('raw', 'fp16', 'int8'):
        sizes = {
            len(encode([array], [TensorSpec.of_array('t', array)], codec))
            for array in (plain, last)
        }
        assert len(sizes) == 1


def test_decoded_arrays_are_writeable_and_own_their_memory():
    array = np.zeros((3, 3), dtype=np.float32)
    spec = TensorSpec.of_array('t', array)
    payload = bytearray(encode([array], [spec], 'raw'))
    (back,) = decode(payload, [spec], max_bytes=ROOM)
    payload[:] = b'\xff' * len(payload)
    back[0, 0] = 1.0
    assert back.sum() == 1.0


def test_gaps_of_a_strided_tensor_do_not_leak_memory():
    spec = TensorSpec('t', 'uint8', (3,), (100,))
    back = round_trip(np.array([1, 2, 3], dtype=np.uint8), spec, 'raw')
    storage = np.ndarray((201,), np.uint8, back.base)
    assert storage.sum() == 6


def test_fp16_takes_what_torch_has_cast_already():
    array = np.linspace(-3, 3, 50, dtype=np.float32).reshape(5, 10)
    spec = TensorSpec.of_array('t', array)
    halved = array.astype(np.float16)
    assert encode([halved], [spec], 'fp16') == encode([array], [spec], 'fp16')
    with pytest.raises(CodecError, match='float16'):
        encode([halved], [spec], 'int8')


def test_names_for_cut():
    assert names_for_cut(is_picture=True) == ('raw', 'zstd', 'jpeg')
    assert names_for_cut(is_picture=False) == ('raw', 'fp16', 'int8', 'int8_zstd')
    assert names_for_answers() == ('raw', 'zstd', 'fp16', 'int8', 'int8_zstd')


def test_masks_are_answered_compressed_and_floats_raw():
    mask, scores = (TensorSpec(t, t, (1, 8), (8, 1)) for t in ('uint8', 'float32'))
    assert answer_codec('auto', [mask]) == 'zstd'
    assert answer_codec('auto', [scores]) == answer_codec('auto', [mask, scores]) == 'raw'
    assert answer_codec('int8', [mask]) == 'int8'


def test_numbers_on_the_wire_are_unique():
    assert len({codec.number for codec in CODECS.values()}) == len(CODECS)


@pytest.mark.parametrize(
    ('array', 'spec', 'codec', 'message'),
    [
        (np.zeros(3, np.float32), TensorSpec('t', 'float32', (4,), (1,)), 'raw', 'declares'),
        (np.zeros(4, np.float64), TensorSpec('t', 'float32', (4,), (1,)), 'raw', 'declares'),
        (np.zeros(4, np.float32), TensorSpec('t', 'float32', (4,), (1,)), 'gzip', 'raw, zstd'),
        (np.zeros(4, np.float32), TensorSpec('t', 'float32', (4,), (1,)), 'jpeg', 'jpeg'),
        (np.zeros(4, np.uint8), TensorSpec('t', 'uint8', (4,), (1,)), 'jpeg', 'cut 0'),
        (np.zeros(4, np.uint8), TensorSpec('t', 'uint8', (4,), (-1,)), 'raw', 'negative'),
    ],
)
def test_what_cannot_be_encoded_is_refused_in_words(array, spec, codec, message):
    with pytest.raises(CodecError, match=message):
        encode([array], [spec], codec)


def test_number_of_tensors_is_bounded():
    array = np.zeros(1, np.uint8)
    spec = TensorSpec.of_array('t', array)
    many = MAX_TENSORS + 1
    with pytest.raises(CodecError, match='number of tensors'):
        encode([array] * many, [spec] * many, 'raw')
    with pytest.raises(CodecError, match='number of tensors'):
        encode([array], [], 'raw')


@pytest.mark.parametrize(
    ('shape', 'strides'),
    [
        ((1,) * 9, (1,) * 9),
        ((2**40, 2**40), (2**40, 1)),
        ((1, 4), (2**62, 1)),
        ((0, 2**62), (1, 1)),
        ((-1,), (1,)),
        ((2,), (-1,)),
    ],
)
def test_impossible_specs_are_refused_by_arithmetic_alone(shape, strides):
    spec = TensorSpec('t', 'float32', shape, strides)
    with pytest.raises(CodecError):
        buffer_bytes(spec)
    with pytest.raises(CodecError):
        decode(b'\0' * 100, [spec], max_bytes=ROOM)


def test_scalars_and_contiguous_strides():
    array = np.array(7.5, dtype=np.float32)
    assert round_trip(array, TensorSpec('t', 'float32', (), ()), 'int8_zstd') == 7.5
    assert contiguous_strides((2, 0, 3)) == (3, 3, 1)
