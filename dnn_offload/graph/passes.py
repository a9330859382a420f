"""Rewriting a draft program before it is cut: simpler, faster, the same function.

Order in ``export.py``: ``share_weights``, ``canonicalise``, ``split_levels``, ``fold_batch_norm``,
``remove_dead``, ``lay_out_weights``, ``trace`` (which evaluates constants), ``remove_dead``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.arguments import Argument, names_in
from dnn_offload.graph.lowering import Draft
from dnn_offload.graph.operators import base_name, LIKE
from dnn_offload.graph.program import Instruction
from dnn_offload.graph.weights import lay_out
from dnn_offload.tensors import TensorSpec

CONVOLUTIONS = frozenset(['conv2d', 'convolution', 'conv_transpose2d'])


def substitute(tree: Argument, change: Callable[[dict[str, str]], Argument]) -> Argument:
    """Copy of an argument with every ``{tag: word}`` replaced by ``change`` of it."""
    if isinstance(tree, dict):
        return change(tree)
    if isinstance(tree, (list, tuple)):
        return [substitute(item, change) for item in tree]
    return tree


def rewire(instruction: Instruction, names: Mapping[str, Argument]) -> Instruction:
    """The instruction with values renamed; a new name may be of a weight, too."""
    if not any(name in names for name in instruction.values()):
        return instruction

    def change(leaf: dict[str, str]) -> Argument:
        return names.get(leaf['v'], leaf) if 'v' in leaf else leaf

    return replace(
        instruction,
        args=tuple(substitute(tree, change) for tree in instruction.args),
        kwargs={key: substitute(tree, change) for key, tree in instruction.kwargs.items()},
    )


def canonicalise(draft: Draft) -> None:
    """Leave out operators that do nothing in inference; give views and norms one form."""
    names: dict[str, Argument] = {}
    kept: list[Instruction] = []
    for original in draft.instructions:
        instruction = rewire(original, names)
        name = base_name(instruction.target)
        if _does_nothing(instruction, name):
            (output,) = instruction.outputs
            names[output] = instruction.args[0]
            continue
        if name in ('view', '_unsafe_view'):
            # A view that fits contiguous memory may not fit channels_last: reshape fits both.
            instruction = replace(instruction, target='aten.reshape.default')
        elif name == '_native_batch_norm_legit_no_training' and not any(instruction.outputs[1:]):
            source, weight, bias, mean, var, momentum, eps = instruction.args
            instruction = replace(
                instruction,
                target='aten.batch_norm.default',
                args=(source, weight, bias, mean, var, False, momentum, eps, False),
                outputs=instruction.outputs[:1],
            )
        kept.append(instruction)
    draft.instructions = kept
    draft.outputs = list(
        dict.fromkeys(value_name(names.get(name, {'v': name})) for name in draft.outputs)
    )


def value_name(tree: Argument) -> str:
    """Name of the value that an output is; raises ModelError if it is a constant."""
    if not isinstance(tree, dict) or 'v' not in tree:
        raise ModelError('an output of the model does not depend on its inputs')
    return str(tree['v'])


def _does_nothing(instruction: Instruction, name: str) -> bool:
    if name in ('alias', 'detach', 'lift_fresh_copy'):
        return True
    _check_nothing_is_random(instruction, name)
    if name == 'dropout':
        return True
    preserve = {'memory_format': 'preserve_format'}
    return name == 'clone' and instruction.kwargs.get('memory_format', preserve) == preserve


# Operators that can drop at random: argument that says how likely, and the one that turns it on.
_RANDOM = {
    'dropout': (1, 2),
    'scaled_dot_product_attention': (4, 4),
    'lstm': (5, 6), 'gru': (5, 6), 'rnn_tanh': (5, 6), 'rnn_relu': (5, 6),
}  # fmt: skip


def _check_nothing_is_random(instruction: Instruction, name: str) -> None:
    if name in _RANDOM and all(
        at < len(instruction.args) and instruction.args[at] not in (False, None, 0)
        for at in _RANDOM[name]
    ):
        raise ModelError(
            'the model draws random numbers (dropout in training mode)',
            given=f'{instruction.target} in {instruction.module or "the model"}',
            hint='call eval() in the factory, and pass dropout=0 where a function takes it',
        )


def share_weights(draft: Draft) -> None:
    """Give tensors that lie in the same memory one name: what layers share is stored once."""
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    for name, tensor in draft.weights.items():
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        names[name] = first.setdefault(key, name) if tensor.numel() else name

    def change(leaf: dict[str, str]) -> Argument:
        return {'w': names[leaf['w']]} if 'w' in leaf else leaf

    draft.instructions = [
        replace(
            instruction,
            args=tuple(substitute(tree, change) for tree in instruction.args),
            kwargs={key: substitute(tree, change) for key, tree in instruction.kwargs.items()},
        )
        for instruction in draft.instructions
    ]
    draft.weights = {name: draft.weights[name] for name in dict.fromkeys(names.values())}


def fold_batch_norm(draft: Draft) -> int:
    """Fold each batch norm that follows a convolution into its weights; returns how many.

    The folded weights are computed in float64 and rounded once.
    """
    uses = draft.uses()
    weight_uses: dict[str, int] = {}
    producers: dict[str, int] = {}
    for index, instruction in enumerate(draft.instructions):
        for name in instruction.weights():
            weight_uses[name] = weight_uses.get(name, 0) + 1
        for name in instruction.outputs:
            producers[name] = index
    renamed: dict[str, Argument] = {}
    folded: set[int] = set()
    for index, norm in enumerate(draft.instructions):
        if base_name(norm.target) != 'batch_norm' or norm.args[5] is not False:
            continue
        source = norm.args[0].get('v', '')
        at = producers.get(source, -1)
        if at < 0 or uses.get(source) != 1 or not _foldable(draft.instructions[at], norm):
            continue
        draft.instructions[at] = _fold(draft, draft.instructions[at], norm, weight_uses)
        renamed[norm.outputs[0]] = {'v': source}
        folded.add(index)
    draft.instructions = [
        rewire(instruction, renamed)
        for index, instruction in enumerate(draft.instructions)
        if index not in folded
    ]
    draft.outputs = [renamed.get(name, {'v': name})['v'] for name in draft.outputs]
    return len(folded)


def _foldable(conv: Instruction, norm: Instruction) -> bool:
    name = base_name(conv.target)
    if name == 'convolution' and conv.args[6] is not False:
        return False  # transposed
    if name not in ('conv1d', 'conv2d', 'conv3d', 'convolution'):
        return False
    constants = (*conv.args[1:3], *norm.args[1:5])
    return all(tree is None or (isinstance(tree, dict) and 'w' in tree) for tree in constants)


def _fold(
    draft: Draft, conv: Instruction, norm: Instruction, weight_uses: Mapping[str, int]
) -> Instruction:
    weights = draft.weights
    name = conv.args[1]['w']
    old = weights[name].to(torch.float64)
    zero = torch.zeros(old.shape[0], dtype=torch.float64)

    def constant(tree: Argument, default: torch.Tensor) -> torch.Tensor:
        return default if tree is None else weights[tree['w']].to(torch.float64)

    bias = constant(conv.args[2] if len(conv.args) > 2 else None, zero)
    gain, shift, mean, var = (
        constant(tree, default)
        for tree, default in zip(norm.args[1:5], (zero + 1, zero, zero, zero + 1), strict=True)
    )
    scale = gain / torch.sqrt(var + norm.args[7])
    dtype = weights[name].dtype
    new_weight = (old * scale.reshape(-1, *[1] * (old.ndim - 1))).to(dtype)
    new_bias = ((bias - mean) * scale + shift).to(dtype)
    # A weight that two layers share must stay as it is for the other one.
    weight_name = name if weight_uses[name] == 1 else f'{name}.folded.{conv.outputs[0]}'
    bias_name = f'{weight_name}.bias'
    weights[weight_name], weights[bias_name] = new_weight, new_bias
    return replace(conv, args=(conv.args[0], {'w': weight_name}, {'w': bias_name}, *conv.args[3:]))


def remove_dead(draft: Draft) -> None:
    """Leave out instructions and weights that no output depends on."""
    needed = set(draft.outputs)
    kept: list[Instruction] = []
    for instruction in reversed(draft.instructions):
        if needed.intersection(instruction.outputs):
            needed.update(instruction.values())
            kept.append(instruction)
    draft.instructions = kept[::-1]
    used = {name for instruction in draft.instructions for name in instruction.weights()}
    draft.weights = {name: tensor for name, tensor in draft.weights.items() if name in used}
    read = draft.uses()
    draft.instructions = [
        replace(
            instruction,
            outputs=tuple(name if read.get(name) else '' for name in instruction.outputs),
        )
        for instruction in draft.instructions
    ]


def lay_out_weights(draft: Draft) -> None:
    """Put 4-D convolution weights into channels_last, everything else into C order.

    For 3-D convolutions it gains nothing (r3d_18: 5 % slower, within the noise).
    """
    convolution = {
        tree['w']
        for instruction in draft.instructions
        if base_name(instruction.target) in CONVOLUTIONS
        for tree in instruction.args[1:2]
        if isinstance(tree, dict) and 'w' in tree
    }
    draft.weights = {
        name: lay_out(tensor, convolution=name in convolution)
        for name, tensor in draft.weights.items()
    }


def is_dense(spec: TensorSpec) -> bool:
    """Whether the elements fill one block of memory without gap or overlap."""
    if 0 in spec.shape:
        return True
    step = 1
    for stride, extent in sorted(
        (stride, extent)
        for stride, extent in zip(spec.strides, spec.shape, strict=True)
        if extent > 1
    ):
        if stride != step:
            return False
        step *= extent
    return True


def is_constant(instruction: Instruction) -> bool:
    """Whether the result is known without the inputs (static shapes are)."""
    name = base_name(instruction.target)
    if name in LIKE:
        return not any(True for tree in instruction.args[1:] for _ in names_in(tree, 'v'))
    return not any(True for _ in instruction.values())
