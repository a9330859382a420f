"""Slices: in order, bounded, without a copy, and together the payload."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.codec.chunks import CHUNK_BYTES, count, slices
from dnn_offload.errors import CodecError


@given(payload=st.binary(max_size=300), chunk_bytes=st.integers(1, 64))
def test_slices_join_to_the_payload(payload, chunk_bytes):
    parts = slices(payload, chunk_bytes)
    assert b''.join(parts) == payload
    assert len(parts) == count(len(payload), chunk_bytes)
    assert all(len(part) == chunk_bytes for part in parts[:-1])
    assert len(parts) == 1 or 1 <= len(parts[-1]) <= chunk_bytes


def test_slices_share_the_payloads_memory():
    payload = bytearray(CHUNK_BYTES * 2 + 1)
    parts = slices(payload)
    payload[-1] = 7
    assert [len(part) for part in parts] == [CHUNK_BYTES, CHUNK_BYTES, 1]
    assert parts[-1][0] == 7


@pytest.mark.parametrize('chunk_bytes', [0, -1, CHUNK_BYTES + 1])
def test_slice_size_is_checked(chunk_bytes):
    with pytest.raises(CodecError, match='61440'):
        slices(b'x', chunk_bytes)
