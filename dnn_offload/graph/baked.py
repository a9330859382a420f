"""Weights that a module computes anew at every call become weights that it has.

``weight_norm``, ``spectral_norm``, ``orthogonal`` and other parametrizations serve training; what
they compute does not change any more. Kept, each call would compute it, by operators that a
program does not have.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

_OLD_HOOKS = {  # class of the hook, in older networks: what takes it away
    'WeightNorm': nn.utils.remove_weight_norm,
    'SpectralNorm': nn.utils.remove_spectral_norm,
}


def bake(module: nn.Module) -> None:
    """Replace parametrizations by what they give in evaluation mode, in place."""
    with torch.no_grad():
        for part in module.modules():
            if parametrize.is_parametrized(part):
                for name in list(part.parametrizations):
                    parametrize.remove_parametrizations(part, name, leave_parametrized=True)
            for hook in list(part._forward_pre_hooks.values()):
                remove = _OLD_HOOKS.get(type(hook).__name__)
                if remove is not None:
                    remove(part, hook.name)
