"""Running a draft program once: what every value looks like, and what is constant.

Strides are known only when the kernels have run, and they are part of bit equality. What does
not depend on the inputs is evaluated here and becomes a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import passes
from dnn_offload.graph.arguments import Argument
from dnn_offload.graph.cuts import find_cuts
from dnn_offload.graph.lowering import Draft
from dnn_offload.graph.operators import base_name, CREATION
from dnn_offload.graph.program import Instruction
from dnn_offload.graph.segment import decode_argument, IN_PLACE, resolve
from dnn_offload.graph.weights import Weights
from dnn_offload.tensors import TensorSpec

ALIGNED_BYTES = 16  # what is allocated begins at a multiple; kernels round otherwise elsewhere
_MOST_TURNS = 20


def trace_until_dense(
    draft: Draft, inputs: Sequence[torch.Tensor]
) -> tuple[dict[str, TensorSpec], list[torch.Tensor]]:
    """Run the draft; give every value that crosses a cut a block of memory of its own.

    A slice of a larger tensor cannot be sent with its strides, so a copy (which keeps the order
    of the strides) takes its place, for whoever uses it, cut or not: equality needs that. So it
    does where a slice is one block, but one that begins where no tensor would: a matrix product
    of what is sent, which begins at a boundary, differs in the last bit.

    Raises:
        ModelError: Copies do not help.
    """
    for _ in range(_MOST_TURNS):
        specs, outputs, shifted = trace(draft, inputs)
        passes.remove_dead(draft)
        cuts = find_cuts(draft.instructions, specs, draft.inputs, draft.outputs)
        crossing = {spec.name: spec for cut in cuts for spec in cut.frontier}
        made = {name for instruction in draft.instructions for name in instruction.outputs}
        wanting = {name for name, spec in crossing.items() if not passes.is_dense(spec)}
        wanting |= {
            name for name in shifted & made
            if passes.is_dense(specs[name]) and _name_of_copy(name) not in made
        }
        if not wanting:
            return specs, outputs
        _copy_after(draft, wanting)
    raise ModelError(
        'values of the network cannot be brought into memory of their own',
        given=', '.join(sorted(wanting)[:8]),
        hint='end these slices of the network in .contiguous()',
    )


def _name_of_copy(name: str) -> str:
    return f'{name}_copy'


def _copy_after(draft: Draft, names: set[str]) -> None:
    renamed: dict[str, Argument] = {}
    instructions: list[Instruction] = []
    for instruction in draft.instructions:
        instructions.append(passes.rewire(instruction, renamed))
        for name in instruction.outputs:
            if name in names:
                renamed[name] = {'v': _name_of_copy(name)}
                instructions.append(
                    Instruction(
                        'aten.clone.default',
                        ({'v': name},),
                        {},
                        (_name_of_copy(name),),
                        instruction.module,
                    )
                )
    draft.instructions = instructions
    draft.outputs = [renamed.get(name, {'v': name})['v'] for name in draft.outputs]


def trace(
    draft: Draft, inputs: Sequence[torch.Tensor]
) -> tuple[dict[str, TensorSpec], list[torch.Tensor], set[str]]:
    """Run the draft on seeded inputs; what is constant becomes a weight.

    Returns:
        What each value looks like, the outputs, and the values that begin where no tensor of
        their own would (``ALIGNED_BYTES``).
    """
    shifted: set[str] = set()
    values = dict(zip(draft.inputs, inputs, strict=True))
    specs = {name: spec_of(name, tensor) for name, tensor in values.items()}
    renamed: dict[str, Argument] = {}
    kept: list[Instruction] = []
    # A value goes when it has been read for the last time: all at once are gigabytes.
    last_use = {
        name: index
        for index, instruction in enumerate(draft.instructions)
        for name in instruction.values()
    }
    last_use |= dict.fromkeys(draft.outputs, len(draft.instructions))
    for index, original in enumerate(draft.instructions):
        instruction = passes.rewire(original, renamed)
        results = _run(instruction, values, draft.weights)
        constant = passes.is_constant(instruction)
        for name, result in zip(instruction.outputs, results, strict=True):
            if not name:
                continue
            if constant:
                draft.weights[f'constant.{name}'] = result.contiguous()
                renamed[name] = {'w': f'constant.{name}'}
            elif _same_tensor(instruction, result, values):
                renamed[name] = instruction.args[0]
                source = instruction.args[0]['v']
                last_use[source] = max(last_use[source], last_use.get(name, -1))
            else:
                values[name] = result
                specs[name] = spec_of(name, result)
                if _is_shifted(result):
                    shifted.add(name)
        if not constant and any(name in specs for name in instruction.outputs):
            kept.append(_mark_in_place(instruction, specs))
        for name in {*instruction.values(), *instruction.outputs} & values.keys():
            if last_use.get(name, -1) <= index:
                del values[name]
    draft.instructions = kept
    draft.outputs = [passes.value_name(renamed.get(n, {'v': n})) for n in draft.outputs]
    return specs, [values[name] for name in draft.outputs], shifted


def _is_shifted(tensor: torch.Tensor) -> bool:
    """Whether it is a view that begins off the boundary on which tensors are allocated."""
    return tensor.storage_offset() * tensor.element_size() % ALIGNED_BYTES != 0


def _mark_in_place(instruction: Instruction, specs: Mapping[str, TensorSpec]) -> Instruction:
    if instruction.target not in IN_PLACE:
        return instruction
    before, after = specs[instruction.args[0]['v']], specs[instruction.outputs[0]]
    same = (before.dtype, before.shape, before.strides) == (
        after.dtype,
        after.shape,
        after.strides,
    )
    return replace(instruction, in_place=same)


def _same_tensor(
    instruction: Instruction, result: torch.Tensor, values: dict[str, torch.Tensor]
) -> bool:
    """Whether a conversion or reshape turned out to return its input as it was."""
    if base_name(instruction.target) not in ('_to_copy', 'to', 'reshape', 'expand', 'clone'):
        return False
    source = values.get(instruction.args[0].get('v', ''))
    if source is None or (base_name(instruction.target) == 'clone' and _is_shifted(source)):
        return False
    return (
        source.dtype == result.dtype
        and source.shape == result.shape
        and source.stride() == result.stride()
    )


def _run(
    instruction: Instruction, values: dict[str, torch.Tensor], weights: Weights
) -> tuple[torch.Tensor, ...]:
    name = base_name(instruction.target)
    if name in CREATION:
        op = getattr(getattr(torch.ops.aten, name), instruction.target.rsplit('.', 1)[1])
    else:
        op = resolve(instruction.target)

    def fill(tree: Argument) -> object:
        if isinstance(tree, list):
            return [fill(item) for item in tree]
        if isinstance(tree, dict) and 'v' in tree:
            return values[tree['v']]
        return decode_argument(tree, weights)

    with torch.no_grad():
        result = op(
            *(fill(tree) for tree in instruction.args),
            **{key: fill(tree) for key, tree in instruction.kwargs.items()},
        )
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def spec_of(name: str, tensor: torch.Tensor) -> TensorSpec:
    """What a tensor looks like; raises CutError for a dtype that cannot be sent."""
    return TensorSpec(
        name,
        str(tensor.dtype).removeprefix('torch.'),
        tuple(tensor.shape),
        tuple(tensor.stride()),
    )
