"""One operator call of a program, and one of its weights, as plain data. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import math
from typing import Any

from dnn_offload.graph.arguments import Argument, check_argument, NAME, names_in, TAGS
from dnn_offload.graph.operators import check_allowed
from dnn_offload.tensors import DLPACK_CODES


@dataclass(frozen=True)
class Instruction:
    """One operator call.

    Attributes:
        target: ATen overload, e.g. ``aten.conv2d.default``.
        args, kwargs: JSON trees; ``{'v': name}`` is a value, ``{'w': name}`` a weight.
        outputs: Names given to the results; '' for a result that nobody uses.
        module: Path of the layer in the original model, for people.
        in_place: Whether the result lies in memory as the first argument does, so that it may
            overwrite it where that is dead. With other strides it may not: they decide how the
            next kernel rounds, and must not depend on where the program is cut.
    """

    target: str
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]
    outputs: tuple[str, ...]
    module: str = ''
    in_place: bool = False

    def values(self) -> Iterator[str]:
        """Names of the values that are read, with repetitions."""
        return self._references('v')

    def weights(self) -> Iterator[str]:
        """Names of the weights that are read, with repetitions."""
        return self._references('w')

    def _references(self, tag: str) -> Iterator[str]:
        for tree in (*self.args, *self.kwargs.values()):
            yield from names_in(tree, tag)


@dataclass(frozen=True)
class WeightSpec:
    """One weight: how it lies in memory; 4-D convolution weights are channels_last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    channels_last: bool = False

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


_ITEM_BYTES = {**{name: bits // 8 for name, (_, bits) in DLPACK_CODES.items()}, 'bfloat16': 2}


def read_instruction(item: Any) -> Instruction:
    """Read what a program wrote; raises ValueError, TypeError or ModelError if damaged."""
    target, args, kwargs, outputs, module, in_place = item
    check_allowed(str(target))
    if not isinstance(args, list) or len(args) > 64 or len(kwargs) > 16 or len(outputs) > 512:
        raise ValueError('instruction is out of bounds')
    for tree in (*args, *kwargs.values()):
        check_argument(tree)
    if not all(name == '' or NAME.match(name) for name in outputs):
        raise ValueError('a value has an impossible name')
    return Instruction(
        str(target), tuple(args), dict(kwargs), tuple(outputs), str(module)[:200], bool(in_place)
    )


def read_weight(item: Any) -> WeightSpec:
    """Read what a program wrote; raises ValueError or TypeError if damaged."""
    name, dtype, shape, channels_last = item
    if not NAME.match(name) or dtype not in TAGS['dtype'] or len(shape) > 8:
        raise ValueError(f'weight is not understood: {str(item)[:100]}')
    return WeightSpec(name, dtype, tuple(int(extent) for extent in shape), bool(channels_last))
