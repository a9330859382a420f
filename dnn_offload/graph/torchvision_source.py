"""Classification networks of torchvision, without training heads; weights by enum or file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import random_weights
from dnn_offload.graph.loaded_model import (
    assign,
    IMAGENET_MEAN,
    IMAGENET_STD,
    is_file,
    LoadedModel,
    read_state,
)
from dnn_offload.graph.torchvision_compat import import_torchvision

_NORM_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')


def load_torchvision(name: str, weights: str, input_size: tuple[int, int] | None) -> LoadedModel:
    """Load a classification network of torchvision; see ``sources.resolve``."""
    models = import_torchvision().models
    try:
        builder = models.get_model_builder(name)
    except ValueError as error:
        raise ModelError(
            'torchvision has no such model',
            given=name,
            allowed=', '.join(models.list_models(module=models)[:100]),
        ) from error
    if name not in models.list_models(module=models):
        raise ModelError(
            'this torchvision model is not a classification network',
            given=name,
            hint='wrap it in a factory that returns plain tensors: python:pkg.mod:factory',
        )
    options: dict[str, Any] = {}
    if name in ('inception_v3', 'googlenet'):
        # Their own input transform only undoes ImageNet's normalisation; ours does without.
        options = {'aux_logits': False, 'transform_input': False, 'init_weights': False}
    module = _build(lambda: builder(weights=None, **options))
    enum = models.get_model_weights(builder)
    stamp = ''
    if weights == 'random':
        random_weights.fill(module)
        stamp = random_weights.STAMP
    elif is_file(weights):
        assign(module, read_state(weights), weights)
    else:
        assign(module, _download(enum, weights, name), f'torchvision weights {weights}')
    meta = next(iter(enum)).meta if len(enum) else {}
    size = _own_size(enum, weights)
    halved = bool(options)
    return LoadedModel(
        source='',
        module=module,
        height=size,
        width=size,
        mean=(0.5, 0.5, 0.5) if halved else IMAGENET_MEAN,
        std=(0.5, 0.5, 0.5) if halved else IMAGENET_STD,
        class_names=tuple(meta.get('categories', ())),
        stamp=stamp,
    )


def _own_size(enum: Any, weights: str) -> int:
    """Crop size of the weights' own transform; of the first weights where none are named."""
    members = list(enum)
    member = next((m for m in members if m.name == weights), members[0] if members else None)
    if weights == 'DEFAULT' and members:
        member = enum.DEFAULT
    if member is None:
        return 224
    return int(member.transforms().crop_size[0])


def _build(factory: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build without filling the weights twice: on the meta device where that is safe.

    It is not where the constructor computes constants, which would be lost.
    """
    try:
        with torch.device('meta'):
            module = factory()
    except (NotImplementedError, RuntimeError):
        return factory()
    names = {name.rsplit('.', 1)[-1] for name, _ in module.named_buffers()}
    return module if names <= set(_NORM_BUFFERS) else factory()


def _download(enum: Any, weights: str, name: str) -> dict[str, torch.Tensor]:
    names = [member.name for member in enum]
    if weights != 'DEFAULT' and weights not in names:
        raise ModelError(
            f'torchvision has no such weights for {name}',
            given=weights,
            allowed=', '.join(['DEFAULT', *names, 'random', 'a path of a .safetensors file']),
        )
    member = enum.DEFAULT if weights == 'DEFAULT' else enum[weights]
    try:
        state: dict[str, torch.Tensor] = member.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location='cpu'
        )
    except (OSError, RuntimeError, EOFError) as error:
        raise ModelError(
            f'the weights of {name} cannot be downloaded from {member.url} ({error})',
            hint='connect to the internet once, or give a .safetensors file as weights, or '
            "weights 'random' to try the rest",
        ) from error
    # The heads that only training uses are not built.
    return {k: v for k, v in state.items() if not k.startswith(('AuxLogits.', 'aux1.', 'aux2.'))}
