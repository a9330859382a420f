"""Seeded weights that are the same on every machine, for trying things without a download.

The values come from numpy's PCG64 (bit for bit the same everywhere), scaled by the number of
inputs of each layer, so that activations neither vanish nor overflow through the network.
Where batch norms are, their variances are set to what one picture shows, rounded to powers of
two: exact enough for the scale, and too coarse for the rounding of another machine to matter.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.fingerprint import seeded_picture

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


def calibrate(module: torch.nn.Module, height: int, width: int) -> None:
    """Set the variances of batch norms from one picture, so that residual sums stay in scale.

    Args:
        module: In eval mode, filled by ``fill``; takes (1, 3, height, width) float32.
        height: Input height in pixels.
        width: Input width in pixels.

    Raises:
        ModelError: The model cannot run on a picture of this size.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    if not norms:
        return
    seen: set[torch.nn.Module] = set()

    def measure(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        variance = float(inputs[0].var()) if inputs[0].numel() > 1 else 0.0
        if layer in seen or not variance > 0.0 or not math.isfinite(variance):
            return
        seen.add(layer)
        statistics = layer.running_var
        assert isinstance(statistics, torch.Tensor)
        statistics.mul_(2.0 ** round(math.log2(variance)))

    hooks = [layer.register_forward_pre_hook(measure) for layer in norms]
    picture = torch.from_numpy(seeded_picture(height, width)).permute(0, 3, 1, 2)
    try:
        with torch.no_grad():
            module((picture.float() - 127.5) / 64.0)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f'the model does not run on a picture of {height}x{width}: {error}'
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


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
