"""Bundles as an attacker would write them: what is wrong in them is behind a right check sum."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import zstandard

from dnn_offload.codec.bundle import encode
from dnn_offload.codec.encoding import Kind
from dnn_offload.tensors import TensorSpec

HEAD_BYTES = 8
CRC_BYTES = 4
DESCRIPTION = struct.Struct('<BBBBQ')


def resealed(payload: bytes | bytearray) -> bytes:
    """The payload with a right check sum, as an attacker would send it."""
    checked = payload[:max(len(payload) - CRC_BYTES, 0)]
    return bytes(checked) + struct.pack('<I', zlib.crc32(checked))


def descriptions_of(payload: bytes, specs: list[TensorSpec]) -> bytearray:
    """What describes the tensors, behind the bodies."""
    nbytes = sum(DESCRIPTION.size + 16 * len(spec.shape) for spec in specs)
    return bytearray(payload[-CRC_BYTES - nbytes:-CRC_BYTES])


def sealed(head: bytes, bodies: bytes, described: bytes) -> bytes:
    return resealed(head + bodies + described + b'\0' * CRC_BYTES)


def one_tensor(spec: TensorSpec, codec: str, kind: Kind, body: bytes) -> bytes:
    """A payload whose description is right and whose body is ours."""
    dummy = np.zeros(spec.shape, dtype=spec.dtype)
    payload = encode([dummy], [spec], codec)
    described = descriptions_of(payload, [spec])
    described[0] = kind
    described[4:12] = struct.pack('<Q', len(body))
    return sealed(payload[:HEAD_BYTES], body, bytes(described))


def zstd_bomb(spec: TensorSpec, unpacked_bytes: int) -> bytes:
    """A picture that says it is as large as it should be, in a few kilobytes."""
    bomb = zstandard.compress(bytes(unpacked_bytes))
    return one_tensor(spec, 'zstd', Kind.ZSTD, bomb)


def jpeg_bomb(spec: TensorSpec, side_px: int) -> bytes:
    """A small JPEG whose header declares ``side_px`` x ``side_px``."""
    done, data = cv2.imencode('.jpg', np.zeros(spec.shape[1:], np.uint8))
    assert done
    large = bytearray(data.tobytes())
    frame = large.index(b'\xff\xc0')
    large[frame + 5:frame + 9] = struct.pack('>HH', side_px, side_px)
    return one_tensor(spec, 'jpeg', Kind.JPEG, bytes(large))
