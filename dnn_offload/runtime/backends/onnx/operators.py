"""From ATen operators to those of ONNX: one small function each, found by name.

What has no entry, or stands in a form that ONNX rounds or pads in another way, raises
``ModelError``: the network stays with torch then, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, TypeAlias

import numpy as np

from dnn_offload.errors import ModelError
from dnn_offload.graph.arguments import END
from dnn_offload.graph.instruction import Instruction
from dnn_offload.graph.operators import base_name
from dnn_offload.runtime.backends.onnx import protobuf
from dnn_offload.tensors import TensorSpec


class Call:
    """One instruction being translated: its arguments by position, and the nodes made so far.

    Args:
        instruction: The instruction.
        position: Its index, from which names are made that nothing else has.
        specs: What every value of the program looks like.
        weights: Shape and dtype of every weight.
    """

    def __init__(
        self,
        instruction: Instruction,
        position: int,
        specs: Mapping[str, TensorSpec],
        weights: Mapping[str, tuple[tuple[int, ...], str]],
    ) -> None:
        self.instruction = instruction
        self.made: list[bytes] = []
        self._position = position
        self._specs = specs
        self._weights = weights
        self._count = 0

    # ---- arguments -------------------------------------------------------------------------

    def argument(self, index: int, default: Any = None) -> Any:
        """A plain argument; ``default`` where it is left out or None."""
        args = self.instruction.args
        found = args[index] if index < len(args) else None
        if isinstance(found, dict) and 'float' in found:
            return float(found['float'])
        return default if found is None else found

    def keyword(self, name: str, default: Any = None) -> Any:
        """A plain keyword argument."""
        found = self.instruction.kwargs.get(name)
        return default if found is None else found

    def name(self, index: int) -> str:
        """ONNX's name of the tensor given as argument; a number becomes a constant."""
        return self._named(self.argument(index))

    def names(self, index: int) -> list[str]:
        """The same of a list of tensors."""
        return [self._named(tree) for tree in self.argument(index)]

    def _named(self, tree: Any) -> str:
        if isinstance(tree, dict) and 'v' in tree:
            return value_name(tree['v'])
        if isinstance(tree, dict) and 'w' in tree:
            return weight_name(tree['w'])
        if isinstance(tree, (bool, int, float)):
            return self.constant(np.array(tree, self.output.dtype))
        raise self.refusal(f'argument {tree!r}')

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of the tensor given as argument."""
        return self._described(index)[0]

    def dtype(self, index: int) -> str:
        """Dtype of the tensor given as argument; that of the result for a number."""
        return self._described(index)[1]

    def _described(self, index: int) -> tuple[tuple[int, ...], str]:
        tree = self.argument(index)
        if isinstance(tree, dict) and 'v' in tree:
            spec = self._specs[tree['v']]
            return spec.shape, spec.dtype
        if isinstance(tree, dict) and 'w' in tree:
            return self._weights[tree['w']]
        return (), self.output.dtype

    def pair(self, index: int, default: int) -> tuple[int, int]:
        """Two numbers for height and width, given as one, two or not at all."""
        found = self.argument(index, default) or default
        both = [found] * 2 if isinstance(found, int) else list(found) * (2 // len(found))
        return int(both[0]), int(both[1])

    def axis(self, index: int, default: int = 0, rank: int | None = None) -> int:
        """An axis, counted from the front."""
        rank = len(self.shape(0)) if rank is None else rank
        return int(self.argument(index, default)) % max(1, rank)

    @property
    def output(self) -> TensorSpec:
        """The first result that anybody uses."""
        return self._specs[next(name for name in self.instruction.outputs if name)]

    def output_spec(self, index: int) -> TensorSpec | None:
        """A result; None if nobody uses it."""
        name = self.instruction.outputs[index]
        return self._specs[name] if name else None

    # ---- results ---------------------------------------------------------------------------

    def constant(self, array: np.ndarray) -> str:
        """Add a constant; gives its name."""
        name = self._new_name()
        self.made.append(protobuf.constant(name, array))
        return name

    def integers(self, numbers: Sequence[int]) -> str:
        """Add a 1-D constant of int64; gives its name."""
        return self.constant(np.array(numbers, np.int64))

    def node(self, op: str, inputs: Sequence[str], **attributes: protobuf.Attribute) -> str:
        """Add a node with one result, for further use; gives its name."""
        name = self._new_name()
        self.made.append(protobuf.node(op, inputs, [name], attributes))
        return name

    def finish(self, op: str, inputs: Sequence[str], **attributes: protobuf.Attribute) -> None:
        """Add the node that gives what the instruction gives."""
        outputs = [  # a result that nobody uses needs a name all the same
            value_name(name) if name else self._new_name() for name in self.instruction.outputs
        ]
        self.made.append(protobuf.node(op, inputs, outputs, attributes))

    def give(self, index: int, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add the node that gives one result of several, unless nobody uses that."""
        if self.instruction.outputs[index]:
            name = value_name(self.instruction.outputs[index])
            self.made.append(protobuf.node(op, inputs, [name], attributes))

    def _new_name(self) -> str:
        self._count += 1
        return f'{self._position}:{self._count}'

    def refusal(self, what: str) -> ModelError:
        """An error that says what of the instruction ONNX cannot take."""
        target = self.instruction.target
        return ModelError('there is no ONNX operator for a part of the network',
                          given=f'{target}, {what}')


def value_name(name: str) -> str:
    """ONNX's name of a value."""
    return f'v:{name}'


def weight_name(name: str) -> str:
    """ONNX's name of a weight."""
    return f'w:{name}'


Rule: TypeAlias = Callable[[Call], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a function for ATen operators."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


def translate(call: Call) -> list[bytes]:
    """The nodes and constants of one instruction, as fields of a graph.

    Raises:
        ModelError: There is no rule for it, or not for its arguments.
    """
    found = RULES.get(base_name(call.instruction.target))
    if found is None:
        raise call.refusal('no rule')
    for name in call.instruction.outputs:
        spec = call._specs.get(name)
        if spec is not None and spec.dtype not in protobuf.DTYPES:
            raise call.refusal(f'dtype {spec.dtype}')
    try:
        found(call)
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
        # A form that the rule does not foresee, such as a pooling without batch.
        raise call.refusal(f'in this form ({type(error).__name__}: {error})') from error
    return call.made


# ---- element by element ---------------------------------------------------------------------

_UNARY = {
    'relu': 'Relu', 'sigmoid': 'Sigmoid', 'tanh': 'Tanh', 'exp': 'Exp', 'log': 'Log',
    'sqrt': 'Sqrt', 'neg': 'Neg', 'abs': 'Abs', 'floor': 'Floor', 'ceil': 'Ceil', 'erf': 'Erf',
    'reciprocal': 'Reciprocal', 'mish': 'Mish', 'hardswish': 'HardSwish',
    'logical_not': 'Not', 'clone': 'Identity', 'contiguous': 'Identity', 'alias': 'Identity',
    'detach': 'Identity', 'dropout': 'Identity', 'lift_fresh_copy': 'Identity',
}  # fmt: skip
_BINARY = {
    'add': 'Add', 'sub': 'Sub', 'mul': 'Mul', 'div': 'Div', 'maximum': 'Max', 'minimum': 'Min',
}  # fmt: skip


@rule(*_UNARY)
def _unary(call: Call) -> None:
    name = base_name(call.instruction.target)
    if name == 'dropout' and call.argument(2, False):
        raise call.refusal('in training')
    call.finish(_UNARY[name], [call.name(0)])


@rule(*_BINARY)
def _binary(call: Call) -> None:
    name, dtype = base_name(call.instruction.target), call.output.dtype
    alpha, rounding = call.keyword('alpha', 1), call.keyword('rounding_mode')
    # ONNX cuts the fraction off integers' quotients, and keeps it for floats.
    exact = dtype.startswith('float') and rounding is None
    if name == 'div' and not exact and (rounding, dtype[:3]) != ('trunc', 'int'):
        raise call.refusal(f'rounding {rounding}, {dtype}')
    sides = []
    for index in (0, 1):
        side = call.name(index)
        if call.dtype(index) != dtype:  # torch promotes by itself
            side = call.node('Cast', [side], to=protobuf.DTYPES[dtype])
        sides.append(side)
    if alpha != 1:
        sides[1] = call.node('Mul', [sides[1], call.constant(np.array(alpha, dtype))])
    call.finish(_BINARY[name], sides)


@rule('_to_copy')
def _to_copy(call: Call) -> None:
    call.finish('Cast', [call.name(0)], to=protobuf.DTYPES[call.output.dtype])


@rule('hardsigmoid')
def _hardsigmoid(call: Call) -> None:
    call.finish('HardSigmoid', [call.name(0)], alpha=1.0 / 6.0, beta=0.5)


@rule('silu')
def _silu(call: Call) -> None:
    call.finish('Mul', [call.name(0), call.node('Sigmoid', [call.name(0)])])


@rule('gelu')
def _gelu(call: Call) -> None:
    call.finish('Gelu', [call.name(0)], approximate=call.keyword('approximate', 'none'))


@rule('leaky_relu')
def _leaky_relu(call: Call) -> None:
    call.finish('LeakyRelu', [call.name(0)], alpha=float(call.argument(1, 0.01)))


@rule('hardtanh', 'relu6', 'clamp', 'clamp_min', 'clamp_max')
def _clip(call: Call) -> None:
    name = base_name(call.instruction.target)
    lowest, highest = {
        'hardtanh': (call.argument(1, -1.0), call.argument(2, 1.0)),
        'relu6': (0.0, 6.0),
        'clamp_max': (None, call.argument(1)),
    }.get(name, (call.argument(1), call.argument(2)))
    bounds = []
    for bound in (lowest, highest):
        if isinstance(bound, dict):
            raise call.refusal('bounds that are tensors')
        given = bound is not None
        bounds.append(call.constant(np.array(bound, call.output.dtype)) if given else '')
    call.finish('Clip', [call.name(0), *bounds])


@rule('pow')
def _pow(call: Call) -> None:
    call.finish('Pow', [call.name(0), call.name(1)])


# ---- layers ---------------------------------------------------------------------------------


@rule('conv2d')
def _conv2d(call: Call) -> None:
    if isinstance(call.argument(4), str):
        raise call.refusal('padding by name')
    (top, left), shape = call.pair(4, 0), call.shape(1)
    inputs = [call.name(0), call.name(1)]
    if call.argument(2) is not None:
        inputs.append(call.name(2))
    call.finish(
        'Conv', inputs, strides=call.pair(3, 1), pads=(top, left, top, left),
        dilations=call.pair(5, 1), group=int(call.argument(6, 1)), kernel_shape=shape[2:],
    )


@rule('linear')
def _linear(call: Call) -> None:
    bias = [call.name(2)] if call.argument(2) is not None else []
    if len(call.shape(0)) == 2:
        call.finish('Gemm', [call.name(0), call.name(1), *bias], transB=1)
        return
    turned = call.node('Transpose', [call.name(1)], perm=(1, 0))
    if not bias:
        call.finish('MatMul', [call.name(0), turned])
        return
    call.finish('Add', [call.node('MatMul', [call.name(0), turned]), *bias])


@rule('addmm')
def _addmm(call: Call) -> None:
    if call.keyword('alpha', 1) != 1 or call.keyword('beta', 1) != 1:
        raise call.refusal('factors')
    call.finish('Gemm', [call.name(1), call.name(2), call.name(0)])


@rule('matmul', 'mm', 'bmm')
def _matmul(call: Call) -> None:
    call.finish('MatMul', [call.name(0), call.name(1)])


@rule('batch_norm')
def _batch_norm(call: Call) -> None:
    if call.argument(5, False):
        raise call.refusal('in training')
    channels = call.shape(0)[1]
    scale = call.name(1) if call.argument(1) else call.constant(np.ones(channels, np.float32))
    shift = call.name(2) if call.argument(2) else call.constant(np.zeros(channels, np.float32))
    call.finish('BatchNormalization', [call.name(0), scale, shift, call.name(3), call.name(4)],
                epsilon=float(call.argument(7, 1e-5)))


@rule('layer_norm')
def _layer_norm(call: Call) -> None:
    shape = tuple(call.argument(1))
    scale = call.name(2) if call.argument(2) else call.constant(np.ones(shape, np.float32))
    inputs = [call.name(0), scale]
    if call.argument(3):
        inputs.append(call.name(3))
    call.finish('LayerNormalization', inputs, axis=-len(shape),
                epsilon=float(call.argument(4, 1e-5)))


@rule('scaled_dot_product_attention')
def _attention(call: Call) -> None:
    if len(call.instruction.args) > 3 or call.keyword('is_causal') or call.keyword('enable_gqa'):
        raise call.refusal('a mask')
    rank, depth = len(call.shape(0)), call.shape(0)[-1]
    turned = call.node('Transpose', [call.name(1)],
                       perm=(*range(rank - 2), rank - 1, rank - 2))
    scale = np.array(call.keyword('scale', 1.0 / math.sqrt(depth)), np.float32)
    query = call.node('Mul', [call.name(0), call.constant(scale)])
    shares = call.node('Softmax', [call.node('MatMul', [query, turned])], axis=-1)
    call.finish('MatMul', [shares, call.name(2)])


@rule('softmax', '_softmax')
def _softmax(call: Call) -> None:
    call.finish('Softmax', [call.name(0)], axis=call.axis(1))


# ---- pooling --------------------------------------------------------------------------------


def _pool_pads(call: Call, dilation: tuple[int, int]) -> tuple[int, ...]:
    """Padding that gives just the windows of the result, whichever way torch has rounded."""
    kernel, padding = call.pair(1, 1), call.pair(3, 0)
    stride = call.pair(2, 0) if call.argument(2) else kernel
    after = []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        covered = (call.output.shape[2 + axis] - 1) * stride[axis] + reach
        more = covered - call.shape(0)[2 + axis] - padding[axis]
        # Less than the padding: the last window ends before it, and rounding down finds that.
        after.append(max(more, padding[axis]))
    return (*padding, *after)


@rule('max_pool2d')
def _max_pool2d(call: Call) -> None:
    kernel, dilation = call.pair(1, 1), call.pair(4, 1)
    call.finish(
        'MaxPool', [call.name(0)], kernel_shape=kernel, pads=_pool_pads(call, dilation),
        strides=call.pair(2, 0) if call.argument(2) else kernel, dilations=dilation,
    )


@rule('avg_pool2d')
def _avg_pool2d(call: Call) -> None:
    kernel, pads = call.pair(1, 1), _pool_pads(call, (1, 1))
    counts_padding = bool(call.argument(5, True)) and max(pads) > 0
    if call.argument(6) is not None or (counts_padding and pads[:2] != pads[2:]):
        raise call.refusal('a divisor of its own, or rounding up with padding')
    call.finish(
        'AveragePool', [call.name(0)], kernel_shape=kernel, pads=pads,
        strides=call.pair(2, 0) if call.argument(2) else kernel,
        count_include_pad=int(counts_padding),
    )


@rule('adaptive_avg_pool2d')
def _adaptive_avg_pool2d(call: Call) -> None:
    given, wanted = call.shape(0)[2:], call.output.shape[2:]
    if wanted == (1, 1):
        call.finish('GlobalAveragePool', [call.name(0)])
    elif all(a % b == 0 for a, b in zip(given, wanted, strict=True)):
        step = tuple(a // b for a, b in zip(given, wanted, strict=True))
        call.finish('AveragePool', [call.name(0)], kernel_shape=step, strides=step)
    else:
        raise call.refusal(f'{given} to {wanted}, windows of different sizes')


# ---- over axes ------------------------------------------------------------------------------


@rule('mean', 'sum', 'amax', 'amin')
def _reduce(call: Call) -> None:
    name = base_name(call.instruction.target)
    op = {'mean': 'ReduceMean', 'sum': 'ReduceSum', 'amax': 'ReduceMax', 'amin': 'ReduceMin'}
    rank = len(call.shape(0))
    axes = call.argument(1, list(range(rank)))
    axes = [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]
    call.finish(op[name], [call.name(0), call.integers(axes)],
                keepdims=int(bool(call.argument(2, False))))


@rule('max')
def _max(call: Call) -> None:
    if not call.instruction.target.endswith('.dim'):
        raise call.refusal('without an axis')
    axis, keep = call.axis(1), int(bool(call.argument(2, False)))
    call.give(0, 'ReduceMax', [call.name(0), call.integers([axis])], keepdims=keep)
    call.give(1, 'ArgMax', [call.name(0)], axis=axis, keepdims=keep)


@rule('topk')
def _topk(call: Call) -> None:
    call.finish('TopK', [call.name(0), call.integers([int(call.argument(1))])],
                axis=call.axis(2, -1), largest=int(call.argument(3, True)),
                sorted=int(call.argument(4, True)))


# ---- moving elements about ------------------------------------------------------------------


@rule('reshape', 'view', '_unsafe_view', 'flatten', 'unflatten', 'squeeze', 'unsqueeze')
def _reshape(call: Call) -> None:
    call.finish('Reshape', [call.name(0), call.integers(call.output.shape)])


@rule('permute')
def _permute(call: Call) -> None:
    rank = len(call.shape(0))
    call.finish('Transpose', [call.name(0)], perm=[axis % rank for axis in call.argument(1)])


@rule('transpose', 'swapaxes', 't')
def _transpose(call: Call) -> None:
    order = list(range(len(call.shape(0))))
    if base_name(call.instruction.target) == 't':
        order.reverse()
    else:
        a, b = call.axis(1), call.axis(2)
        order[a], order[b] = order[b], order[a]
    call.finish('Transpose', [call.name(0)], perm=order)


@rule('expand')
def _expand(call: Call) -> None:
    call.finish('Expand', [call.name(0), call.integers(call.output.shape)])


@rule('cat')
def _cat(call: Call) -> None:
    call.finish('Concat', call.names(0), axis=int(call.argument(1, 0)))


@rule('slice')
def _slice(call: Call) -> None:
    start, end = int(call.argument(2, 0)), int(call.argument(3, END))
    call.finish('Slice', [call.name(0), *(
        call.integers([number]) for number in (start, end, call.axis(1), call.argument(4, 1))
    )])


@rule('select')
def _select(call: Call) -> None:
    index = call.constant(np.array(int(call.argument(2)), np.int64))
    call.finish('Gather', [call.name(0), index], axis=call.axis(1))


@rule('split', 'split_with_sizes', 'chunk')
def _split(call: Call) -> None:
    axis = call.axis(2)
    whole, given = call.shape(0)[axis], call.argument(1)
    if base_name(call.instruction.target) == 'chunk':
        given = -(-whole // int(given))
    if isinstance(given, int):
        count = len(call.instruction.outputs)
        given = [min(given, whole - i * given) for i in range(count)]
    start = 0
    for index, size in enumerate(given):  # slices: what nobody uses is not made
        ends = [call.integers([number]) for number in (start, start + size, axis)]
        call.give(index, 'Slice', [call.name(0), *ends])
        start += size


@rule('gather')
def _gather(call: Call) -> None:
    call.finish('GatherElements', [call.name(0), call.name(2)], axis=call.axis(1))


@rule('constant_pad_nd', 'pad')
def _pad(call: Call) -> None:
    if call.argument(2, 'constant') != 'constant' and isinstance(call.argument(2), str):
        raise call.refusal('padding that is not constant')
    fill = call.argument(3 if base_name(call.instruction.target) == 'pad' else 2, 0)
    rank, given = len(call.shape(0)), list(call.argument(1))
    before, after = [0] * rank, [0] * rank
    for number, axis in enumerate(reversed(range(rank - len(given) // 2, rank))):
        before[axis], after[axis] = given[2 * number : 2 * number + 2]
    call.finish('Pad', [call.name(0), call.integers(before + after),
                        call.constant(np.array(fill, call.output.dtype))])


@rule('upsample_nearest2d')
def _upsample_nearest2d(call: Call) -> None:
    given, wanted = call.shape(0)[2:], call.output.shape[2:]
    factors = call.argument(2)
    ratios = [b / a for a, b in zip(given, wanted, strict=True)]
    if factors is not None and (not isinstance(factors, list) or factors != ratios):
        raise call.refusal('factors of its own')
    if all(b % a == 0 for a, b in zip(given, wanted, strict=True)):
        scales = [1, 1, *(b // a for a, b in zip(given, wanted, strict=True))]
        call.finish('Resize', [call.name(0), '', call.constant(np.array(scales, np.float32))],
                    mode='nearest', coordinate_transformation_mode='asymmetric',
                    nearest_mode='floor')
        return
    rows, columns = (_nearest(a, b) for a, b in zip(given, wanted, strict=True))
    tall = call.node('Gather', [call.name(0), call.constant(rows)], axis=2)
    call.finish('Gather', [tall, call.constant(columns)], axis=3)


@rule('upsample_bilinear2d')
def _upsample_bilinear2d(call: Call) -> None:
    # Sizes stand second or, as factors, behind (`.vec`): the output tells either way. torch
    # takes the factors from the sizes, but for factors of its own that are not whole.
    given, wanted = call.shape(0)[2:], call.output.shape[2:]
    factors = call.argument(3)
    ratios = [b / a for a, b in zip(given, wanted, strict=True)]
    if factors is not None and call.argument(1) is None and list(factors) != ratios:
        raise call.refusal('factors of its own')
    corners = bool(call.argument(2, False))
    call.finish('Resize', [call.name(0), '', '', call.integers(call.output.shape)], mode='linear',
                coordinate_transformation_mode='align_corners' if corners else 'half_pixel')


def _nearest(given: int, wanted: int) -> np.ndarray:
    """Source of each row, rounded as torch does it: a runtime's own rule may differ by one."""
    scale = np.float32(given) / np.float32(wanted)
    source = np.floor(np.arange(wanted, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(source, given - 1)
