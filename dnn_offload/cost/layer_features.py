"""What predicts the time of one operator: its configuration as a few numbers. No torch.

The idea is Neurosurgeon's (Kang et al., ASPLOS 2017, section 4): latency of a layer as a function
of its configuration, per kind of layer. The same twelve numbers describe every kind, with 0 where
one does not apply, so that a data base of measured layers is one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

Shape = tuple[int, ...]

FEATURES = (
    'macs', 'input_bytes', 'output_bytes', 'weight_bytes', 'kernel_h', 'kernel_w', 'stride',
    'groups', 'in_channels', 'out_channels', 'out_h', 'out_w',
)  # fmt: skip

# Positions of stride and groups among the arguments of a convolution, by ATen's schemas.
_CONVOLUTIONS: Mapping[str, tuple[int, int]] = {
    'conv1d': (3, 6), 'conv2d': (3, 6), 'conv3d': (3, 6), 'convolution': (3, 8),
    'conv_transpose1d': (3, 6), 'conv_transpose2d': (3, 6), 'conv_transpose3d': (3, 6),
}  # fmt: skip
# Kernel and stride of a pooling are its arguments 1 and 2.
_POOLS = frozenset(
    """
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d
    avg_pool2d avg_pool3d
    """.split()
)
_PRODUCTS = frozenset(('mm', 'bmm', 'matmul', 'addmm', 'baddbmm'))
_RECURRENT = frozenset(('lstm', 'gru', 'rnn_tanh', 'rnn_relu'))


@dataclass(frozen=True)
class Facts:
    """What an operator's arguments say beside shapes.

    Attributes:
        kernel: Window of a pooling [elements]; of a convolution it is in the weights.
        stride: Along the first spatial axis.
        groups: Of a convolution.
        transposed: Whether a convolution is a transposed one.
    """

    kernel: tuple[int, ...] = ()
    stride: int = 0
    groups: int = 0
    transposed: bool = False


def facts_of(kind: str, arguments: Sequence[Any]) -> Facts:
    """Read stride, groups and window out of the positional arguments of an operator.

    Args:
        kind: Operator, e.g. ``conv2d``.
        arguments: As in a program: numbers, lists and place holders; shorter than the schema
            where the rest has its defaults.
    """
    if kind in _CONVOLUTIONS:
        stride_at, groups_at = _CONVOLUTIONS[kind]
        transposed = 'transpose' in kind or (
            kind == 'convolution' and len(arguments) > 6 and bool(arguments[6])
        )
        stride = _first(arguments, stride_at, 1)
        return Facts((), stride, _first(arguments, groups_at, 1), transposed)
    if kind in _POOLS:
        kernel = _numbers(arguments, 1)
        return Facts(kernel, _first(arguments, 2, kernel[0] if kernel else 1))
    return Facts()


def layer_features(
    kind: str,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    weights: Sequence[Shape] = (),
    facts: Facts = Facts(),  # noqa: B008 (frozen)
    *,
    input_bytes: int = 0,
    output_bytes: int = 0,
    weight_bytes: int = 0,
) -> dict[str, float]:
    """The features of one operator.

    Args:
        kind: Operator, e.g. ``conv2d``.
        inputs: Shapes of the values that it reads, batch first.
        outputs: Shapes of its results.
        weights: Shapes of its weights, the kernel of a convolution (O, I / groups, ...) first.
        facts: What its arguments say.
        input_bytes: Raw size of the inputs.
        output_bytes: Raw size of the results.
        weight_bytes: Raw size of the weights.

    Returns:
        All of ``FEATURES``; ``macs`` are multiply-accumulate operations of convolutions,
        matrix products, attention and recurrent layers, 0 for the others.
    """
    features = dict.fromkeys(FEATURES, 0.0)
    features['input_bytes'] = float(input_bytes)
    features['output_bytes'] = float(output_bytes)
    features['weight_bytes'] = float(weight_bytes)
    features['macs'] = float(_macs(kind, inputs, outputs, weights, facts))
    kernel = facts.kernel or (tuple(weights[0][2:]) if kind in _CONVOLUTIONS and weights else ())
    if kernel:
        features['kernel_h'], features['kernel_w'] = float(kernel[-2:][0]), float(kernel[-1])
    features['stride'], features['groups'] = float(facts.stride), float(facts.groups)
    for name, shapes in (('in_channels', inputs), ('out_channels', outputs)):
        if shapes:
            features[name] = float(_channels(shapes[0]))
    if outputs and len(outputs[0]) >= 4:
        features['out_h'], features['out_w'] = float(outputs[0][-2]), float(outputs[0][-1])
    return features


def _macs(
    kind: str,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    weights: Sequence[Shape],
    facts: Facts,
) -> int:
    if not inputs or not outputs:
        return 0
    if kind in _CONVOLUTIONS and weights:
        # Each element of the kernel meets each position of the smaller side of the layer once.
        positions = math.prod((inputs if facts.transposed else outputs)[0][2:])
        return math.prod(inputs[0][:1]) * positions * math.prod(weights[0])
    if kind == 'linear' and weights:
        return math.prod(outputs[0][:-1]) * math.prod(weights[0])
    if kind in _PRODUCTS:
        left = (*inputs, *weights)[1 if kind in ('addmm', 'baddbmm') and len(inputs) > 1 else 0]
        return math.prod(outputs[0]) * left[-1]
    if kind == 'scaled_dot_product_attention' and len(inputs) >= 2:
        return 2 * math.prod(inputs[0]) * inputs[1][-2]
    if kind in _RECURRENT:
        steps = math.prod(inputs[0][:-1])
        return steps * sum(math.prod(shape) for shape in weights if len(shape) == 2)
    return 0


def _channels(shape: Shape) -> int:
    """Channels of (N, C, ...), the features of a matrix."""
    if len(shape) >= 4:
        return shape[1]
    return shape[-1] if shape else 0


def _numbers(arguments: Sequence[Any], at: int) -> tuple[int, ...]:
    """Argument ``at`` as numbers; () if it is left out or none."""
    value = arguments[at] if at < len(arguments) else ()
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(int(item) for item in items if isinstance(item, int))


def _first(arguments: Sequence[Any], at: int, default: int) -> int:
    numbers = _numbers(arguments, at)
    return numbers[0] if numbers else default
