"""Weights for a network of torchvision: random, from a file, or downloaded by its enum."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import socket
from typing import Any
from urllib.parse import urlparse

import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import random_weights
from dnn_offload.graph.loaded_model import assign, is_file, read_state

STALLED_S = 30.0
_TRAINING_HEADS = ('AuxLogits.', 'aux1.', 'aux2.', 'aux_classifier.')


def give_weights(module: torch.nn.Module, enum: Any, weights: str, name: str) -> str:
    """Give a module random weights, those of a file or a download; returns the stamp."""
    if weights == 'random':
        random_weights.fill(module)
        return random_weights.STAMP
    if is_file(weights):
        state, origin = read_state(weights), weights
    else:
        state, origin = _download(enum, weights, name), f'torchvision weights {weights}'
    # The heads that only training uses are not built.
    used = {k: v for k, v in state.items() if not k.startswith(_TRAINING_HEADS)}
    assign(module, used, origin)
    return ''


def _download(enum: Any, weights: str, name: str) -> dict[str, torch.Tensor]:
    names = [member.name for member in enum]
    if weights != 'DEFAULT' and weights not in names:
        raise ModelError(
            f'torchvision has no such weights for {name}',
            given=weights,
            allowed=', '.join(['DEFAULT', *names, 'random', 'a path of a .safetensors file']),
        )
    if not names:
        raise ModelError(
            f'torchvision has no trained weights for {name}', given=weights,
            allowed="a path of a .safetensors file, or 'random' to try the rest",
        )
    member = enum.DEFAULT if weights == 'DEFAULT' else enum[weights]
    kept = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(member.url).path).name)
    try:
        with _patience(STALLED_S):
            state: dict[str, torch.Tensor] = member.get_state_dict(
                progress=False, check_hash=True, weights_only=True, map_location='cpu'
            )
    except (OSError, RuntimeError, EOFError) as error:
        raise ModelError(
            f'the weights of {name} cannot be downloaded from {member.url} ({error})',
            hint=f'connect to the internet once; or download that file elsewhere and copy it to '
            f"{kept}; or give a .safetensors file as weights, or 'random' to try the rest",
        ) from error
    return state


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Have connections fail that stand still for so long: torch's hub would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
