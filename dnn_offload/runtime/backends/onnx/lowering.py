"""A program as ONNX: every operator encoded once, any piece put together from those bytes.

The weights stay where they are, in the one file of the program (``graph/weights.py``): the
models name places in it, so that any number of pieces takes the disk space of one.

A tensor at a border lies in memory as its spec says (channels_last mostly), since the other end
may be torch. ONNX knows C order only: a model therefore takes and gives each tensor with its
axes in the order of memory, and turns it inside, where runtimes merge that with their own
change of layout.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path

from dnn_offload.codec.layout import layout_of
from dnn_offload.errors import CodecError, ModelError
from dnn_offload.graph.instruction import WeightSpec
from dnn_offload.graph.placements import Piece
from dnn_offload.graph.program import Program
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from dnn_offload.runtime.backends.onnx import protobuf
from dnn_offload.runtime.backends.onnx.operators import (
    Call,
    translate,
    value_name,
    weight_name,
)
from dnn_offload.tensors import TensorSpec

MAX_HEADER_BYTES = 16 << 20


@dataclass(frozen=True)
class Border:
    """One tensor that a model takes or gives.

    Attributes:
        name: ONNX's name of it.
        spec: What it looks like to everybody else.
        order: Its axes from the slowest to the fastest: how the model has them.
        byte_strides: Strides in memory [byte].
    """

    name: str
    spec: TensorSpec
    order: tuple[int, ...]
    byte_strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape within the model."""
        return tuple(self.spec.shape[axis] for axis in self.order)


@dataclass(frozen=True)
class OnnxPiece:
    """A piece of a program as an ONNX model.

    Attributes:
        data: The model; its weights lie in ``weights.safetensors`` beside it.
        inputs, outputs: What it takes and gives, in the order of the piece.
    """

    data: bytes
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]


class OnnxProgram:
    """All operators of a program, encoded; gives a model for any piece.

    Args:
        program: The program.
        folder: Where its weights are.

    Raises:
        ModelError: ONNX lacks an operator that the program needs, or the weights cannot be read.
    """

    def __init__(self, program: Program, folder: Path | str) -> None:
        self.program = program
        self._weights_path = Path(folder) / WEIGHTS_FILE
        self._weights_then = _state_of(self._weights_path)
        places = _places(self._weights_path)
        specs = program.specs
        shapes = {weight.name: (weight.shape, weight.dtype) for weight in program.weights}
        self._encoded = [
            b''.join(translate(Call(instruction, position, specs, shapes)))
            for position, instruction in enumerate(program.instructions)
        ]
        used = {name for item in program.instructions for name in item.weights()}
        self._weights = {
            weight.name: _encode_weight(weight, places)
            for weight in program.weights
            if weight.name in used
        }

    def piece(self, piece: Piece) -> OnnxPiece:
        """The model of a piece.

        Raises:
            ModelError: A tensor at its border has gaps or repeats, or the weights were replaced:
                what is compiled from now on would have others than what runs.
        """
        if _state_of(self._weights_path) != self._weights_then:
            raise ModelError(
                f'{self._weights_path} has been replaced since it was loaded',
                hint='deactivate and activate the node to load the new network',
            )
        inputs = tuple(_border(spec, 'in') for spec in piece.inputs)
        outputs = tuple(_border(spec, 'out') for spec in piece.outputs)
        instructions = self.program.instructions
        names = dict.fromkeys(
            name for position in piece.positions for name in instructions[position].weights()
        )
        fields = [self._weights[name] for name in names]
        for border in inputs:
            back = tuple(border.order.index(axis) for axis in range(len(border.order)))
            fields.append(protobuf.graph_input(border.name, border.spec.dtype, border.shape))
            fields.append(_turn(border.name, value_name(border.spec.name), back))
        fields += [self._encoded[position] for position in piece.positions]
        for border in outputs:
            fields.append(_turn(value_name(border.spec.name), border.name, border.order))
            fields.append(protobuf.graph_output(border.name, border.spec.dtype, border.shape))
        return OnnxPiece(protobuf.model(fields), inputs, outputs)


def _border(spec: TensorSpec, side: str) -> Border:
    try:
        layout = layout_of(spec)
    except CodecError as error:
        raise ModelError(f'a tensor at the cut cannot be taken: {error}') from error
    if not layout.dense or spec.dtype not in protobuf.DTYPES:
        raise ModelError(
            'a tensor at the cut has gaps, repeats or a dtype that ONNX lacks',
            given=f'{spec.name}: {spec.dtype} {spec.shape}, strides {spec.strides}',
        )
    return Border(f'{side}:{spec.name}', spec, layout.order, layout.byte_strides)


def _turn(source: str, target: str, order: tuple[int, ...]) -> bytes:
    if order == tuple(range(len(order))):
        return protobuf.node('Identity', [source], [target], {})
    return protobuf.node('Transpose', [source], [target], {'perm': order})


def _encode_weight(weight: WeightSpec, places: dict[str, tuple[int, int]]) -> bytes:
    """A weight in the file, turned to ONNX's order of axes where it lies channels_last."""
    if weight.name not in places or weight.dtype not in protobuf.DTYPES:
        given = f'{weight.name}, {weight.dtype}'
        raise ModelError('a weight cannot be given to ONNX', given=given)
    offset, length = places[weight.name]
    name, shape = weight_name(weight.name), weight.shape
    if not weight.channels_last:
        return protobuf.external(name, weight.dtype, shape, WEIGHTS_FILE, offset, length)
    out, channels, height, width = shape
    if channels == 1 or height * width == 1:  # lies in memory in both orders at once
        return protobuf.external(name, weight.dtype, shape, WEIGHTS_FILE, offset, length)
    stored, kept = f'{name}:stored', (out, height, width, channels)
    return protobuf.external(
        stored, weight.dtype, kept, WEIGHTS_FILE, offset, length
    ) + protobuf.node('Transpose', [stored], [name], {'perm': (0, 3, 1, 2)})


def _state_of(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Name of a weight -> (offset in the file, length) [byte], from safetensors' header."""
    try:
        with path.open('rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            if length > MAX_HEADER_BYTES:
                raise ValueError(f'a header of {length} bytes')
            header = json.loads(file.read(length))
        header.pop('__metadata__', None)
        return {
            name: (8 + length + entry['data_offsets'][0],
                   entry['data_offsets'][1] - entry['data_offsets'][0])
            for name, entry in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f'cannot read {path}: {error}', hint='export again') from error
