"""From an exported torch graph to a draft program: names, arguments and results as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
import operator
from typing import Any

import torch
from torch.export.exported_program import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from dnn_offload.errors import ModelError
from dnn_offload.graph.arguments import Argument
from dnn_offload.graph.export_errors import layer_of, refused_operator, refused_shape
from dnn_offload.graph.operators import ALLOWED, CREATION
from dnn_offload.graph.program import Instruction


@dataclass
class Draft:
    """A program in the making.

    Attributes:
        inputs: Names of what the network takes: the picture, or several tensors.
        instructions: Operators in order.
        outputs: Names of the values that the network returns.
        weights: Weights by name.
    """

    inputs: list[str]
    instructions: list[Instruction]
    outputs: list[str]
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def uses(self) -> dict[str, int]:
        """How often each value is read; being an output counts as one use."""
        count = dict.fromkeys(self.outputs, 1)
        for instruction in self.instructions:
            for name in instruction.values():
                count[name] = count.get(name, 0) + 1
        return count


def lower(exported: ExportedProgram, wrapper: str = 'module') -> Draft:
    """Translate a functional exported graph.

    Args:
        exported: What ``torch.export`` made.
        wrapper: Path of the model within what was exported; left out of all names.

    Raises:
        ModelError: It holds what a program cannot express (control flow, changing state,
            operators that are not on the list).
    """
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise ModelError(
            'the model changes its own state while it runs',
            given=', '.join(signature.buffers_to_mutate.values())
            or ', '.join(signature.user_inputs_to_mutate.values()),
            hint='call eval() in the factory, or remove the running statistics',
        )
    weights = _weights(exported, wrapper)
    names: dict[str, Argument] = {}
    instructions: list[Instruction] = []
    inputs: list[str] = []
    outputs: list[str] = []
    for node in exported.graph.nodes:
        if node.op == 'placeholder':
            if node.name in weights:
                names[node.name] = {'w': weights[node.name][0]}
            else:
                inputs.append(node.name)
                names[node.name] = {'v': node.name}
        elif node.op == 'output':
            outputs = _outputs(node, names, _output_names(exported))
        elif node.op == 'call_function':
            _lower_call(node, names, instructions, wrapper)
        # What remains is get_attr: the branch of a control flow operator, which is refused.
    _check_all_used(inputs, instructions, outputs)
    return Draft(inputs, instructions, outputs, dict(weights.values()))


def _check_all_used(
    inputs: list[str], instructions: list[Instruction], outputs: list[str]
) -> None:
    used = {name for instruction in instructions for name in instruction.values()}
    for name in inputs:
        if name not in used and name not in outputs:
            raise ModelError(
                'the model does not use one of its inputs',
                given=name,
                hint='leave it out of the forward function and of the example inputs',
            )


def _weights(exported: ExportedProgram, wrapper: str) -> dict[str, tuple[str, torch.Tensor]]:
    """Place holder -> (name of the weight, tensor), for parameters, buffers and constants."""
    signature = exported.graph_signature
    found: dict[str, tuple[str, torch.Tensor]] = {}
    sources: tuple[Mapping[str, str], ...] = (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    )
    for mapping in sources:
        for placeholder, full_name in mapping.items():
            tensor = exported.state_dict.get(full_name)
            if tensor is None:
                tensor = exported.constants[full_name]
            found[placeholder] = (full_name.removeprefix(f'{wrapper}.'), tensor.detach())
    return found


def _lower_call(
    node: Node, names: dict[str, Argument], instructions: list[Instruction], wrapper: str
) -> None:
    if node.target is operator.getitem:
        # The result of an operator with several results: its name was given there.
        return
    target = str(node.target)
    short = target.split('.')[1] if target.startswith('aten.') else target
    if short.startswith(('_assert', 'sym_constrain')) and not node.users:
        return
    layer = layer_of(node).removeprefix(wrapper).removeprefix('.')
    if not isinstance(node.target, torch._ops.OpOverload) or short not in ALLOWED | CREATION:
        raise refused_operator(node, layer)
    args = [_argument(item, names) for item in node.args]
    kwargs = {key: _argument(item, names) for key, item in node.kwargs.items()}
    if any(_holds_value(tree) for tree in kwargs.values()):
        args, kwargs = _positional(node.target, args, kwargs)
    instructions.append(
        Instruction(target, tuple(args), kwargs, _name_results(node, names, layer), layer)
    )


def _name_results(node: Node, names: dict[str, Argument], layer: str) -> tuple[str, ...]:
    made = node.meta['val']
    for tensor in made if isinstance(made, (list, tuple)) else [made]:
        if any(not isinstance(extent, int) for extent in tensor.shape):
            raise refused_shape(node, layer)
    if isinstance(made, torch.Tensor):
        names[node.name] = {'v': node.name}
        return (node.name,)
    results = [''] * len(made)
    for user in node.users:
        if user.target is not operator.getitem:
            raise ModelError(
                'a list of tensors is used as a whole',
                given=f'{user.target} after {node.target} in {layer or "the model"}',
                hint='take each tensor out of it by its number, and use those',
            )
        index = user.args[1]
        assert isinstance(index, int)
        results[index] = results[index] or user.name
        names[user.name] = {'v': results[index]}
    return tuple(results)


def _argument(item: Any, names: Mapping[str, Argument]) -> Argument:
    """An argument of a graph node as JSON tree."""
    if isinstance(item, Node):
        return names[item.name]
    if isinstance(item, (list, tuple)):
        return [_argument(element, names) for element in item]
    if isinstance(item, float) and not math.isfinite(item):
        return {'float': str(item)}
    if item is None or isinstance(item, (bool, int, float, str)):
        return item
    if isinstance(item, torch.device):
        return {'device': 'cpu'}
    for tag, kind in _TAGGED:
        if isinstance(item, kind):
            return {tag: str(item).removeprefix('torch.')}
    raise ModelError(
        'argument of an operator is not understood', given=repr(item),
        allowed='numbers, texts, tensors and lists of them',
        hint='give the layer plain numbers in the factory',
    )


_TAGGED: tuple[tuple[str, type], ...] = (
    ('dtype', torch.dtype),
    ('memory_format', torch.memory_format),
    ('layout', torch.layout),
)


def _holds_value(tree: Argument) -> bool:
    if isinstance(tree, dict):
        return 'v' in tree or 'w' in tree
    return isinstance(tree, list) and any(_holds_value(item) for item in tree)


def _positional(
    op: torch._ops.OpOverload, args: list[Argument], kwargs: dict[str, Argument]
) -> tuple[list[Argument], dict[str, Argument]]:
    """Move tensors out of the keywords, where segments do not look for them."""
    kwargs = dict(kwargs)
    for parameter in op._schema.arguments[len(args) :]:
        if parameter.kwarg_only:
            break
        default = parameter.default_value if parameter.has_default_value() else None
        args.append(kwargs.pop(parameter.name, default))
    if any(_holds_value(tree) for tree in kwargs.values()):
        raise ModelError(
            'operator takes a tensor by keyword only', given=str(op),
            hint='write that part of the model with another operator',
        )
    return args, kwargs


def _output_names(exported: ExportedProgram) -> list[str]:
    """Where each output is in what the model returns, e.g. ``['boxes']`` or ``[1]``."""
    form = exported.call_spec.out_spec
    if form is None:
        return []
    tree = pytree.tree_unflatten(list(range(form.num_leaves)), form)
    return [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]


def _outputs(node: Node, names: Mapping[str, Argument], where: list[str]) -> list[str]:
    outputs: list[str] = []
    for number, item in enumerate(node.args[0]):
        tree = names[item.name] if isinstance(item, Node) else item
        if not isinstance(tree, dict) or 'v' not in tree:
            name = where[number] if number < len(where) else ''
            raise ModelError(
                f'the output {name} of the model does not depend on its inputs'
                if name else 'an output of the model does not depend on its inputs',
                given=str(item),
                hint='leave it out: only tensors that are computed from the inputs may be '
                'returned',
            )
        outputs.append(tree['v'])
    if not outputs:
        raise ModelError(
            'the model returns no tensor', allowed='one tensor or several, in a tuple or a dict',
            hint='return what is computed in forward()',
        )
    again = next((name for name in outputs if outputs.count(name) > 1), None)
    if again is not None:
        raise ModelError(
            'the model returns the same tensor twice', given=again,
            hint='return each tensor once, and take it for both where the outputs are read',
        )
    return outputs
