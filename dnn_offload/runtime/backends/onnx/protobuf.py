"""The few messages of ONNX that a piece of a network needs, written as bytes.

ONNX is a Protocol Buffers format, and there a message is the concatenation of its fields: a model
is the bytes of its nodes one after the other. So every operator of a program is encoded once, and
a model of any piece is put together in microseconds, without the ``onnx`` package (31 MB) in
the process that runs inference. Field numbers: onnx/onnx.proto (IR version 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import struct
from typing import TypeAlias

import numpy as np

IR_VERSION = 9
OPSET = 20  # the newest one that belongs to this IR version

# numpy dtype name -> TensorProto.DataType
DTYPES: dict[str, int] = {
    'float32': 1, 'uint8': 2, 'int8': 3, 'int16': 5, 'int32': 6, 'int64': 7, 'bool': 9,
    'float16': 10, 'float64': 11,
}  # fmt: skip

Attribute: TypeAlias = int | float | str | Sequence[int]
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # AttributeProto.AttributeType
_EXTERNAL = 1  # TensorProto.DataLocation


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # a negative number is its two's complement
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _int(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Attribute]
) -> bytes:
    """One operator call, as field of a graph; '' is an input or output that is left out."""
    message = b''.join(_bytes(1, name) for name in inputs)
    message += b''.join(_bytes(2, name) for name in outputs)
    message += _bytes(4, op)
    for name, value in attributes.items():
        message += _bytes(5, _attribute(name, value))
    return _bytes(1, message)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name) + _int(3, value) + _int(20, _INT)
    if isinstance(value, float):
        return _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack('<f', value) + _int(20, _FLOAT)
    if isinstance(value, str):
        return _bytes(1, name) + _bytes(4, value) + _int(20, _STRING)
    return _bytes(1, name) + b''.join(_int(8, item) for item in value) + _int(20, _INTS)


def constant(name: str, array: np.ndarray) -> bytes:
    """A small constant that lies in the model itself, as field of a graph."""
    message = b''.join(_int(1, extent) for extent in array.shape)
    message += _int(2, DTYPES[array.dtype.name]) + _bytes(8, name) + _bytes(9, array.tobytes())
    return _bytes(5, message)


def external(
    name: str, dtype: str, shape: Sequence[int], file: str, offset: int, length: int
) -> bytes:
    """A constant that lies in another file, which the runtime maps; as field of a graph."""
    message = b''.join(_int(1, extent) for extent in shape)
    message += _int(2, DTYPES[dtype]) + _bytes(8, name)
    where = {'location': file, 'offset': str(offset), 'length': str(length)}
    for key, word in where.items():
        message += _bytes(13, _bytes(1, key) + _bytes(2, word))
    return _bytes(5, message + _int(14, _EXTERNAL))


def _tensor(field: int, name: str, dtype: str, shape: Sequence[int]) -> bytes:
    dims = b''.join(_bytes(1, _int(1, extent)) for extent in shape)
    tensor = _int(1, DTYPES[dtype]) + _bytes(2, dims)
    return _bytes(field, _bytes(1, name) + _bytes(2, _bytes(1, tensor)))


def graph_input(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    """What a graph takes."""
    return _tensor(11, name, dtype, shape)


def graph_output(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    """What a graph gives."""
    return _tensor(12, name, dtype, shape)


def model(fields: Sequence[bytes]) -> bytes:
    """A whole model from the fields of its graph, nodes in order."""
    graph = b''.join(fields) + _bytes(2, 'piece')
    opset = _bytes(1, '') + _int(2, OPSET)
    return _int(1, IR_VERSION) + _bytes(2, 'dnn_offload') + _bytes(7, graph) + _bytes(8, opset)
