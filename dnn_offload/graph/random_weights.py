"""Seeded weights that are the same on every machine, for trying things without a download.

The values come from numpy's PCG64 (bit for bit the same everywhere), scaled by the number of
inputs of each layer, so that activations neither vanish nor overflow through the network.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch

STAMP = 'random weights'


def fill(module: torch.nn.Module, *, seed: int = 0) -> None:
    """Replace all parameters and the statistics of batch norms; other buffers stay.

    Parameters may lie on the meta device: they come to the CPU. Each tensor has its own stream,
    named by its path, so that the order of the layers does not matter.
    """
    for path, layer in module.named_modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            values = _values(f'{path}.{name}', tuple(parameter.shape), name, seed)
            layer._parameters[name] = torch.nn.Parameter(
                values.to(parameter.dtype), requires_grad=False
            )
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if name == 'num_batches_tracked':
                layer._buffers[name] = torch.zeros((), dtype=torch.int64)
            elif name in ('running_mean', 'running_var'):
                values = _values(f'{path}.{name}', tuple(buffer.shape), name, seed)
                layer._buffers[name] = values.to(buffer.dtype)


def _values(path: str, shape: tuple[int, ...], name: str, seed: int) -> torch.Tensor:
    """Uniform values of one tensor, float32."""
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(path.encode())]))
    values = torch.from_numpy(generator.random(shape, np.float32))
    if name == 'running_var' or (name == 'weight' and len(shape) == 1):
        low, high = 0.8, 1.2
    elif len(shape) >= 2:
        # He et al. 2015: keeps the variance through a layer that is followed by a ReLU.
        high = math.sqrt(6.0 / max(math.prod(shape[1:]), 1))
        low = -high
    else:
        low, high = -0.05, 0.05
    return values.mul_(high - low).add_(low)
