"""What a user's factory put into its ``LoadedModel``: brought into form, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import math
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from dnn_offload.errors import ModelError
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.task import TASKS

SHOWN_CHARS = 80
EXAMPLES = 'LoadedModel(source="", module=net, examples=(torch.zeros(1, 16),))'


def checked(loaded: LoadedModel) -> LoadedModel:
    """The model with fields of the types that they are declared with.

    Raises:
        ModelError: Names the field, what it holds, and what it may.
    """
    _check_module(loaded)
    if loaded.task not in ('', *TASKS):
        raise ModelError(
            'there is no such task', given=loaded.task,
            allowed=f"{', '.join(TASKS)}, or '' to have it told by the outputs",
        )
    return replace(
        loaded,
        mean=_three(loaded.mean, 'mean'),
        std=_three(loaded.std, 'std', positive=True),
        preprocess=_preprocess(loaded.preprocess),
        class_names=_class_names(loaded.class_names),
        examples=_examples(loaded.examples),
    )


def _check_module(loaded: LoadedModel) -> None:
    module: object = loaded.module
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            'the model is no network', given=_shown(module),
            allowed='module: an instance of torch.nn.Module, its class or a function is none',
        )
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        why = ''
        if is_lazy(tensor):
            why = 'has no shape yet: run the network once in the factory'
        elif tensor.is_meta:
            why = 'has no numbers: it is on the device meta'
        elif tensor.layout is not torch.strided:
            why = f'is {tensor.layout}: a tensor with strides is wanted'
        if why:
            raise ModelError(f'the tensor {name!r} of the network {why}', given=loaded.source)
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f'{name!r} in the state of the network is no tensor', given=_shown(value),
                hint='quantised layers and get_extra_state cannot be exported; give the network '
                'as it was before',
            )


def _three(values: Any, name: str, positive: bool = False) -> tuple[float, ...]:
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError, RuntimeError):
        found = ()
    if len(found) != 3 or not all(map(math.isfinite, found)) or (positive and min(found) <= 0.0):
        raise ModelError(
            f'{name} must be three numbers' + (', all above 0' if positive else ''),
            given=_shown(values), allowed='one number each for red, green and blue',
        )
    return found


def _preprocess(options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise ModelError(
            'preprocess must be a dictionary', given=_shown(options),
            hint="preprocess={'mode': 'letterbox'}",
        )
    if sizes := options.keys() & {'height', 'width'}:
        raise ModelError(
            'the size of the picture is told by height and width of the LoadedModel, not by '
            'preprocess', given=', '.join(sorted(sizes)),
        )
    return dict(options)


def _class_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return tuple(names)
    hint = "class_names=('cup', 'ball')"
    if isinstance(names, str):
        hint = f"a comma is missing: class_names=({names!r},)"
    elif isinstance(names, Mapping):
        hint = 'of a dictionary by number: tuple(names[i] for i in range(len(names)))'
    raise ModelError(
        'class_names must be a tuple of names, by the number of the class', given=_shown(names),
        hint=hint,
    )


def _examples(examples: Any) -> tuple[torch.Tensor, ...]:
    if isinstance(examples, (list, tuple)) and all(
        isinstance(example, torch.Tensor) for example in examples
    ):
        return tuple(examples)
    raise ModelError(
        'examples must be a tuple of tensors', given=_shown(examples),
        hint=EXAMPLES,
    )


def _shown(value: object) -> str:
    return ' '.join(f'{type(value).__name__} {value!r}'.split())[:SHOWN_CHARS]
