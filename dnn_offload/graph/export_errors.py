"""Why a model cannot be exported: the operator, the layer, and what to do about it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch.fx import Node

from dnn_offload.errors import ModelError
from dnn_offload.graph.user_code import failure, line_of_trace

_FIXED_SIZE = (
    'results need a size that does not depend on what the picture shows: torch.where instead of '
    'a mask as index, topk instead of nonzero or unique'
)
_NO_BRANCH = 'compute both and choose by torch.where, or decide after the network'
_HINTS = {
    'nms': 'let the model end before non-maximum suppression and return one tensor (1, K, 6): '
    'x1, y1, x2, y2, score, class; the robot suppresses by itself (vision/decode.py)',
    'item': 'keep the number in a tensor; ' + _NO_BRANCH,
    '_local_scalar_dense': 'keep the number in a tensor; ' + _NO_BRANCH,
    'nonzero': _FIXED_SIZE,
    'masked_select': _FIXED_SIZE,
    '_unique2': _FIXED_SIZE,
    'cond': _NO_BRANCH,
    'while_loop': 'unroll the loop to a fixed number of turns',
    'map_impl': 'write the loop out, or as one operator on a larger tensor',
    'roi_align': 'two-stage detectors cannot be cut; use a one-stage one, for instance '
    'torchvision:ssdlite320_mobilenet_v3_large',
}


def layer_of(node: Node) -> str:
    """Path of the layer that made a node, e.g. ``features.3.squeeze``, '' for the model itself."""
    stack = node.meta.get('nn_module_stack') or {}
    path = next(reversed(stack.values()))[0] if stack else ''
    return str(path).removeprefix("L['self'].")


def refused_operator(node: Node, layer: str) -> ModelError:
    """The error for a node that a program cannot express."""
    target = str(node.target)
    name = target.split('.')[1] if target.count('.') == 2 else target.rsplit('.', 1)[-1]
    what = 'the model holds an operator that a program cannot express'
    hint = (
        'only deterministic, functional ATen inference operators are supported: write this part '
        'with others, let the model end before it, or propose the operator for graph/operators.py'
    )
    if name in _HINTS:
        hint = _HINTS[name]
    elif _is_random(node.target):
        what += ', since it draws random numbers'
        hint = 'call eval() in the factory, or pass the numbers as an input'
    elif isinstance(node.target, torch._ops.OpOverload) and not target.startswith('aten.'):
        what += ', since it is a custom one'
        hint = 'write it in operators of torch, or let the model end before it'
    return ModelError(what, given=f'{target} in {layer or "the model"}', hint=hint)


def refused_shape(node: Node, layer: str) -> ModelError:
    """The error for a result whose size depends on the numbers in a tensor."""
    return ModelError(
        'the model holds a tensor whose size depends on what the picture shows',
        given=f'{node.target} in {layer or "the model"}',
        hint=_FIXED_SIZE,
    )


def refused_export(error: BaseException, source: str, module: torch.nn.Module) -> ModelError:
    """The error for whatever ``torch.export`` raised: it runs the model's own code."""
    layer, line = _place(error.__traceback__, module)
    where = f' in {layer}' if layer else ''
    if 'data-dependent' in str(error) or 'DataDependent' in type(error).__name__:
        return ModelError(
            f'torch.export cannot export {source}: control flow, or a size, depends on the '
            f'numbers in a tensor{where}',
            given=line or failure(error),
            hint=f'{_NO_BRANCH}; {_FIXED_SIZE}',
        )
    return ModelError(
        f'torch.export cannot export {source}: {failure(error)}{where}',
        given=line or None,
        hint='the model must take one (1, 3, H, W) float tensor, or the example inputs that its '
        'factory gives, and compute with torch operators only',
    )


def _is_random(target: Any) -> bool:
    return 'nondeterministic_seeded' in str(getattr(target, 'tags', ''))


def _place(trace: TracebackType | None, module: torch.nn.Module) -> tuple[str, str]:
    """Innermost layer on the stack, and the last line of the user's code."""
    names = {id(layer): name for name, layer in module.named_modules()}
    layer, line = '', line_of_trace(trace)
    while trace is not None:
        owner = trace.tb_frame.f_locals.get('self')
        if isinstance(owner, torch.nn.Module) and names.get(id(owner)):
            layer = names[id(owner)]
        trace = trace.tb_next
    return layer, line
