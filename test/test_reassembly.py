"""Slices become payloads again; lies are refused and cost no memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.codec.chunks import slices
from dnn_offload.errors import RefusedError
from dnn_offload.transport.reassembly import (
    MAX_SLICE_BYTES,
    MIN_SLICE_BYTES,
    Reassembler,
    SliceHeader,
)

LIMIT = 1 << 20


def make(limit: int = LIMIT) -> Reassembler:
    return Reassembler(lambda header, specs: limit, LIMIT)


def headers(seq: int, payload: bytes, size: int) -> list[tuple[SliceHeader, memoryview]]:
    parts = slices(payload, size)
    first = SliceHeader(seq, 1, 'cut', 'raw', 'raw', 0, len(parts), len(payload))
    return [(replace(first, chunk_index=i), part) for i, part in enumerate(parts)]


def feed(stream: Reassembler, seq: int, payload: bytes, size: int = 8192) -> bytes | None:
    result = None
    for header, part in headers(seq, payload, size):
        arrival = stream.add(header, (), part)
        result = arrival.payload if arrival else None
    return result


@given(
    frames=st.lists(
        st.tuples(st.integers(1, 100_000), st.integers(MIN_SLICE_BYTES, MAX_SLICE_BYTES)),
        min_size=1, max_size=4,
    )
)
@settings(max_examples=50, deadline=None)
def test_whatever_is_sliced_comes_back(frames: list[tuple[int, int]]) -> None:
    stream = make()
    for seq, (nbytes, size) in enumerate(frames, start=1):
        payload = bytes(i % 251 for i in range(nbytes))
        assert feed(stream, seq, payload, size) == payload
        assert stream.held_bytes == 0


def in_parts(
    seq: int, payload: bytes, size: int, known_from: int
) -> list[tuple[SliceHeader, memoryview]]:
    """The slices of a frame of which the size is told from one of them on."""
    return [
        (replace(h, chunk_count=0, total_bytes=0) if h.chunk_index < known_from else h, part)
        for h, part in headers(seq, payload, size)
    ]


@given(
    nbytes=st.integers(1, 200_000), size=st.integers(MIN_SLICE_BYTES, MAX_SLICE_BYTES),
    known_from=st.integers(0, 60),
)
@settings(max_examples=100, deadline=None)
def test_the_size_of_a_frame_may_be_told_later(nbytes: int, size: int, known_from: int) -> None:
    stream, payload = make(), bytes(i % 251 for i in range(nbytes))
    known_from = min(known_from, -(-nbytes // size) - 1)
    arrivals = [stream.add(h, (), part) for h, part in in_parts(1, payload, size, known_from)]
    assert [arrival.payload for arrival in arrivals[:-1]] == [None] * (len(arrivals) - 1)
    assert arrivals[-1].payload == payload
    assert stream.held_bytes == 0


@pytest.mark.parametrize(
    'changed, reason',
    [
        ({'chunk_count': 3, 'total_bytes': 20_001}, 'contradicts'),
        ({'chunk_count': 0, 'total_bytes': 0}, 'contradicts'),
        ({'chunk_count': 4}, 'contradicts'),
    ],
)
def test_a_size_that_was_told_stays(changed: dict[str, int], reason: str) -> None:
    stream = make()
    slices_of = in_parts(1, bytes(20_000), 8192, 1)
    for header, part in slices_of[:2]:
        stream.add(header, (), part)
    with pytest.raises(RefusedError, match=reason):
        stream.add(replace(slices_of[2][0], **changed), (), slices_of[2][1])
    assert stream.held_bytes == 0


@pytest.mark.parametrize(
    'changed, reason',
    [
        ({'total_bytes': 8192, 'chunk_count': 1}, 'impossible size'),  # all of it was there
        ({'total_bytes': LIMIT + 1, 'chunk_count': 129}, 'impossible size'),
        ({'total_bytes': 20_000, 'chunk_count': 4}, 'number of slices'),
        ({'total_bytes': 20_000, 'chunk_count': 0}, 'number of slices'),
        ({'total_bytes': 0, 'chunk_count': 3}, 'impossible size'),
    ],
)
def test_a_size_that_cannot_be_is_refused_when_it_is_told(
    changed: dict[str, int], reason: str
) -> None:
    stream = make()
    (first, part), (second, more), _ = in_parts(1, bytes(20_000), 8192, 3)
    stream.add(first, (), part)
    with pytest.raises(RefusedError, match=reason):
        stream.add(replace(second, **changed), (), more)
    assert stream.held_bytes == 0


def test_a_frame_of_unknown_size_is_bounded() -> None:
    for size in (MIN_SLICE_BYTES - 1, MAX_SLICE_BYTES + 1):
        with pytest.raises(RefusedError, match='unknown size'):
            make().add(SliceHeader(1, 1, 'cut', 'raw', 'raw', 0, 0, 0), (), bytes(size))
    stream = make(limit=50_000)
    with pytest.raises(RefusedError, match='frame has an impossible size'):
        for index in range(100):
            header = SliceHeader(1, 1, 'cut', 'raw', 'raw', index, 0, 0)
            stream.add(header, (), bytes(8192))
            assert stream.held_bytes <= 50_000
    assert stream.held_bytes == 0 and index == 6
    with pytest.raises(RefusedError, match='impossible size'):  # slices are of one size
        stream.add(SliceHeader(2, 1, 'cut', 'raw', 'raw', 0, 0, 0), (), bytes(8192))
        stream.add(SliceHeader(2, 1, 'cut', 'raw', 'raw', 1, 0, 0), (), bytes(8191))


def test_received_bytes_count_up() -> None:
    stream = make()
    seen = [stream.add(h, (), p).received_bytes for h, p in headers(1, bytes(20_000), 8192)]
    assert seen == [8192, 16384, 20_000]


def test_declared_size_costs_nothing_and_is_bounded() -> None:
    stream = make()
    header = SliceHeader(1, 1, 'cut', 'raw', 'raw', 0, 17_477, 1 << 30)
    with pytest.raises(RefusedError, match='impossible size'):
        stream.add(header, (), bytes(MAX_SLICE_BYTES))
    assert stream.held_bytes == 0


@pytest.mark.parametrize(
    ('change', 'nbytes'),
    [
        ({'total_bytes': 0}, 8192),
        ({'total_bytes': 8193}, 8192),           # more than its slices hold
        ({'chunk_count': 0}, 8192),
        ({'chunk_count': 1 << 31}, 8192),
        ({'chunk_count': 2}, 8192),              # slices of another number
        ({'chunk_index': 1}, 8192),              # begins in the middle
        ({}, 0),                                 # empty slice
        ({}, 8191),                              # the second one cannot fit
        ({}, MAX_SLICE_BYTES + 1),
    ],
)
def test_lies_about_size_and_order_are_refused(change: dict[str, int], nbytes: int) -> None:
    stream = make()
    payload = bytes(20_000)
    good = headers(1, payload, 8192)
    with pytest.raises(RefusedError):
        stream.add(replace(good[0][0], **change), (), bytes(nbytes))
        for header, part in good[1:]:
            stream.add(replace(header, **change), (), part)
    assert stream.held_bytes == 0
    assert feed(stream, 2, payload) == payload, 'the stream goes on'


def test_slices_out_of_order_end_the_frame_only() -> None:
    stream = make()
    good = headers(1, bytes(30_000), 8192)
    stream.add(*_with(good[0]))
    with pytest.raises(RefusedError, match='out of order'):
        stream.add(*_with(good[2]))
    assert stream.add(*_with(good[1])) is None, 'what is left of it is ignored'
    assert feed(stream, 2, b'x' * 9000) == b'x' * 9000


def test_duplicates_are_refused() -> None:
    stream = make()
    good = headers(1, bytes(30_000), 8192)
    stream.add(*_with(good[0]))
    with pytest.raises(RefusedError):
        stream.add(*_with(good[0]))
    assert feed(stream, 2, bytes(9000)) is not None
    with pytest.raises(RefusedError, match='sent before'):
        stream.add(*_with(headers(2, bytes(9000), 8192)[0]))


def test_contradicting_slices_are_refused() -> None:
    stream = make()
    good = headers(1, bytes(30_000), 8192)
    stream.add(*_with(good[0]))
    with pytest.raises(RefusedError, match='contradicts'):
        stream.add(replace(good[1][0], total_bytes=30_001), (), good[1][1])


def test_newer_frame_replaces_unfinished_one() -> None:
    stream = make()
    old = headers(1, bytes(30_000), 8192)
    stream.add(*_with(old[0]))
    new = headers(2, bytes(9000), 8192)
    stream.add(*_with(new[0]))
    assert stream.held_bytes == 8192
    assert stream.add(*_with(old[1])) is None
    arrival = stream.add(*_with(new[1]))
    assert arrival is not None and arrival.payload == bytes(9000)


def test_refused_by_admission_keeps_nothing() -> None:
    def admit(header: SliceHeader, specs: object) -> int:
        raise RefusedError('no such cut')

    stream = Reassembler(admit, LIMIT)
    first, second = headers(1, bytes(9000), 8192)
    with pytest.raises(RefusedError, match='no such cut'):
        stream.add(*_with(first))
    assert stream.held_bytes == 0
    assert stream.add(*_with(second)) is None  # what follows of it is passed over
    assert stream.held_bytes == 0


@given(
    noise=st.lists(
        st.builds(
            SliceHeader,
            frame_seq=st.integers(0, 5), plan_epoch=st.just(1), cut_id=st.just('cut'),
            codec=st.just('raw'), result_codec=st.just('raw'),
            chunk_index=st.integers(0, 4), chunk_count=st.integers(0, 5),
            total_bytes=st.integers(0, 300_000),
        ),
        max_size=30,
    ),
    size=st.integers(0, MAX_SLICE_BYTES),
)
@settings(max_examples=100, deadline=None)
def test_noise_never_holds_more_than_admitted(noise: list[SliceHeader], size: int) -> None:
    stream = make(limit=200_000)
    for header in noise:
        try:
            stream.add(header, (), bytes(size))
        except RefusedError:
            pass
        assert stream.held_bytes <= 200_000
    assert feed(stream, 6, bytes(9000)) == bytes(9000)


def _with(pair: tuple[SliceHeader, memoryview]) -> tuple[SliceHeader, tuple, memoryview]:
    return pair[0], (), pair[1]
