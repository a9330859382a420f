"""Weights for a network of torchvision: random, from a file, or downloaded by its enum."""

from __future__ import annotations

from typing import Any

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import random_weights
from dnn_offload.graph.loaded_model import assign, is_file, read_state


def give_weights(module: torch.nn.Module, enum: Any, weights: str, name: str) -> str:
    """Give a module random weights, those of a file or a download; returns the stamp."""
    if weights == 'random':
        random_weights.fill(module)
        return random_weights.STAMP
    if is_file(weights):
        assign(module, read_state(weights), weights)
    else:
        assign(module, _download(enum, weights, name), f'torchvision weights {weights}')
    return ''


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
    unused = ('AuxLogits.', 'aux1.', 'aux2.', 'aux_classifier.')
    return {k: v for k, v in state.items() if not k.startswith(unused)}
