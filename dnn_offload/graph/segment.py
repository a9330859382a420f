"""A piece of a program, run operator by operator on torch tensors.

Building a segment resolves names and counts uses: no weight is copied, so that a new plan costs
microseconds per operator and all segments share one set of weights. Running it frees every
value after its last use, and lets an activation overwrite a value that dies there (2 to 8 % of
SqueezeNet and MobileNetV2: fewer fresh pages; the same kernel, so the same bits). Operators are
looked up from the list in ``operators.py`` and must be functional by torch's own schema: a
program cannot name anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
import time
from typing import Any

import torch

from dnn_offload.errors import CutError, ModelError
from dnn_offload.graph.arguments import Argument
from dnn_offload.graph.operators import check_allowed
from dnn_offload.graph.placements import between, Piece
from dnn_offload.graph.program import Program
from dnn_offload.tensors import TensorSpec

# Activations that may overwrite their input, and what makes a tensor with memory of its own.
IN_PLACE = frozenset(
    f'aten.{name}.default'
    for name in ('relu', 'hardtanh', 'hardswish', 'hardsigmoid', 'silu', 'leaky_relu', 'sigmoid')
)
_FRESH = frozenset(
    f'aten.{name}'
    for name in (
        'conv2d.default', 'convolution.default', 'conv1d.default', 'linear.default',
        'batch_norm.default', 'add.Tensor', 'mul.Tensor',
    )
)  # fmt: skip


CPU = torch.device('cpu')


@lru_cache(maxsize=1024)
def resolve(target: str) -> Any:
    """The torch operator that a program names.

    Raises:
        ModelError: Not on the list, unknown to this torch, or not functional.
    """
    name = check_allowed(target)
    overload_name = target.rsplit('.', 1)[1]
    try:
        overload = getattr(getattr(torch.ops.aten, name), overload_name)
    except AttributeError as error:
        raise ModelError(
            'this version of torch lacks an operator of the program',
            given=f'{target}, torch {torch.__version__}',
            hint='export again on this machine',
        ) from error
    if overload._schema.is_mutable:
        raise ModelError('program holds an operator that writes into its input', given=target)
    return overload


@lru_cache(maxsize=1024)
def _returns_one_tensor(op: Any) -> bool:
    returns = op._schema.returns
    return len(returns) == 1 and str(returns[0].type) == 'Tensor'


def decode_argument(
    tree: Argument, weights: Mapping[str, torch.Tensor], device: torch.device = CPU
) -> Any:
    """An argument without values as torch takes it; values stay ``_Value`` place holders."""
    if isinstance(tree, list):
        return [decode_argument(item, weights, device) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, word),) = tree.items()
    if tag == 'w':
        return weights[word]
    if tag == 'v':
        return _Value(word)
    if tag == 'float':
        return float(word)
    if tag == 'device':
        return device  # programs are exported on the CPU, the only one that they may name
    return getattr(torch, word)


@dataclass(frozen=True)
class _Value:
    name: str


class _Step:
    """One operator, ready to call: arguments with holes, where they come from, what to free."""

    __slots__ = ('args', 'fills', 'free', 'kwargs', 'lists', 'op', 'outputs', 'single')

    def __init__(self, op: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.op = op
        self.args = args
        self.kwargs = kwargs
        self.fills: list[tuple[int, int]] = []  # (argument, slot)
        self.lists: list[tuple[int, list[tuple[int, int]]]] = []  # (argument, [(item, slot)])
        self.single = -1  # slot of the only result, -1 if the operator returns several
        self.outputs: list[tuple[int, int]] = []  # (result, slot)
        self.free: tuple[int, ...] = ()

    def call(self, slots: list[Any]) -> None:
        args = self.args.copy()
        for index, slot in self.fills:
            args[index] = slots[slot]
        for index, items in self.lists:
            filled = args[index].copy()
            for item, slot in items:
                filled[item] = slots[slot]
            args[index] = filled
        result = self.op(*args, **self.kwargs)
        if self.single >= 0:
            slots[self.single] = result
        else:
            for index, slot in self.outputs:
                slots[slot] = result[index]
        for slot in self.free:
            slots[slot] = None


class Segment:
    """A piece of a program, ready to run: between two cuts, or between two sets of values.

    Args:
        program: The whole program.
        weights: Its weights; shared, never written to.
        start, end: Indices of the cuts, 0 <= start < end <= N.
        device: Where the weights are, and the tensors will be.

    Attributes:
        input_specs, output_specs: What it takes and gives.
        positions: Instruction of each step, as index into ``program.instructions``.

    Raises:
        CutError: No such cuts.
        ModelError: An operator or a weight cannot be found.
    """

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, torch.Tensor],
        start: int,
        end: int,
        device: torch.device = CPU,
    ) -> None:
        self._prepare(program, weights, between(program, start, end), device)

    @classmethod
    def of(
        cls,
        program: Program,
        weights: Mapping[str, torch.Tensor],
        piece: Piece,
        device: torch.device = CPU,
    ) -> Segment:
        """A piece that is not one between two cuts (``graph/placements.py``)."""
        made = cls.__new__(cls)
        made._prepare(program, weights, piece, device)
        return made

    def _prepare(
        self,
        program: Program,
        weights: Mapping[str, torch.Tensor],
        piece: Piece,
        device: torch.device,
    ) -> None:
        self._device = device
        self.input_specs: tuple[TensorSpec, ...] = piece.inputs
        self.output_specs: tuple[TensorSpec, ...] = piece.outputs
        self.positions = piece.positions
        self._origin = piece.origin
        self._slots: dict[str, int] = {}
        for spec in self.input_specs:
            self._slot(spec.name)
        try:
            self._steps = [self._build(program, weights, position) for position in self.positions]
        except KeyError as error:
            raise ModelError('a weight of the program is missing', given=str(error)) from error
        self._outputs = [self._slot(spec.name) for spec in self.output_specs]
        self._plan_frees(program)
        self._overwrite_dead(program)
        self._expected = [
            (getattr(torch, spec.dtype), spec.shape, spec.strides) for spec in self.input_specs
        ]

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run the segment.

        Args:
            inputs: Tensors as ``input_specs`` says, strides included.

        Raises:
            CutError: The tensors are not those of the cut.
        """
        slots = self._enter(inputs)
        step = None
        try:
            with torch.inference_mode():
                for step in self._steps:
                    step.call(slots)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise ModelError(
                f'an operator of the model fails: {str(error).strip()[:300]}',
                given=str(step.op) if step else None,
            ) from error
        return [slots[slot] for slot in self._outputs]

    def stamps(self, inputs: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[int]]:
        """Run the segment and take the time of each operator in place.

        Returns:
            The outputs, and the duration of each step [ns], in order of ``positions``.
        """
        slots = self._enter(inputs)
        durations = []
        with torch.inference_mode():
            before = time.perf_counter_ns()
            for step in self._steps:
                step.call(slots)
                if self._device.type != 'cpu':  # there a call returns before it has computed
                    torch.get_device_module(self._device).synchronize(self._device)
                after = time.perf_counter_ns()
                durations.append(after - before)
                before = after
        return [slots[slot] for slot in self._outputs], durations

    def _enter(self, inputs: Sequence[torch.Tensor]) -> list[Any]:
        if len(inputs) != len(self._expected):
            raise CutError(
                f'{self._origin} has another number of tensors',
                given=len(inputs),
                allowed=str(len(self._expected)),
            )
        slots: list[Any] = [None] * len(self._slots)
        for index, tensor in enumerate(inputs):
            dtype, shape, strides = self._expected[index]
            if tensor.dtype != dtype or tensor.shape != shape:
                raise CutError(
                    f'tensor {self.input_specs[index].name!r} is not the one of {self._origin}',
                    given=f'{tensor.dtype} {tuple(tensor.shape)}',
                    allowed=f'{dtype} {shape}',
                )
            # Kernels choose their way, and so their rounding, by the strides: restore them.
            slots[index] = tensor if tensor.stride() == strides else _restride(tensor, strides)
        return slots

    def _slot(self, name: str) -> int:
        return self._slots.setdefault(name, len(self._slots))

    def _build(self, program: Program, weights: Mapping[str, torch.Tensor], at: int) -> _Step:
        instruction = program.instructions[at]
        op = resolve(instruction.target)
        args = [decode_argument(tree, weights, self._device) for tree in instruction.args]
        kwargs = {
            name: decode_argument(tree, weights, self._device)
            for name, tree in instruction.kwargs.items()
        }
        step = _Step(op, args, kwargs)
        for index, argument in enumerate(args):
            if isinstance(argument, _Value):
                step.fills.append((index, self._known(argument.name)))
            elif isinstance(argument, list):
                items = [
                    (item, self._known(value.name))
                    for item, value in enumerate(argument)
                    if isinstance(value, _Value)
                ]
                if items:
                    step.lists.append((index, items))
        if any(isinstance(argument, _Value) for argument in kwargs.values()):
            raise ModelError('program passes a value by keyword', given=instruction.target)
        if _returns_one_tensor(op):
            step.single = self._slot(instruction.outputs[0])
        else:
            step.outputs = [
                (index, self._slot(name)) for index, name in enumerate(instruction.outputs) if name
            ]
        return step

    def _known(self, name: str) -> int:
        if name not in self._slots:
            raise ModelError('program reads a value that the cut does not carry', given=name)
        return self._slots[name]

    def _plan_frees(self, program: Program) -> None:
        """Free each value after the step that uses it last; values made unused at once."""
        kept = set(self._outputs)
        freed: set[int] = set()
        for step, position in zip(reversed(self._steps), reversed(self.positions), strict=True):
            instruction = program.instructions[position]
            touched = {
                self._slots[name] for name in (*instruction.values(), *instruction.outputs) if name
            }
            step.free = tuple(touched - kept - freed)
            freed |= touched

    def _overwrite_dead(self, program: Program) -> None:
        """Run an activation in place where its input is used by nothing else.

        The input must come from an operator of this segment that makes a tensor of its own, be
        read once and not be sent: then no other value shares its memory.
        """
        readers: dict[str, int] = {spec.name: 1 for spec in self.output_specs}
        for position in self.positions:
            for name in program.instructions[position].values():
                readers[name] = readers.get(name, 0) + 1
        fresh: set[str] = set()
        for step, position in zip(self._steps, self.positions, strict=True):
            instruction = program.instructions[position]
            if instruction.target in _FRESH:
                fresh.update(instruction.outputs)
            elif instruction.in_place and instruction.target in IN_PLACE:
                source = instruction.args[0].get('v', '')
                if source in fresh and readers[source] == 1:
                    name = instruction.target.split('.')[1]
                    step.op = getattr(torch.ops.aten, f'{name}_').default
                    fresh.update(instruction.outputs)


def _restride(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        once = tensor
        for axis, stride in enumerate(strides):
            if stride == 0 and tensor.shape[axis] > 1:  # an expanded axis repeats one element
                once = once.narrow(axis, 0, 1)
        made = torch.empty_strided(
            once.shape, strides, dtype=tensor.dtype, device=tensor.device
        ).copy_(once)
        return made.expand(tensor.shape)
