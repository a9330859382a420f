"""Seeded weights that are the same on every machine, for trying things without a download.

The values come from numpy's PCG64 (bit for bit the same everywhere), scaled by the number of
inputs of each layer, so that activations neither vanish nor overflow through the network.
Where batch norms are, their variances are set to what one picture shows, rounded to powers of
two: exact enough for the scale, and too coarse for the rounding of another machine to matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import math
import zlib

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dnn_offload.errors import ModelError

STAMP = 'random weights'


def fill(module: torch.nn.Module, *, seed: int = 0) -> None:
    """Replace all parameters and the statistics of batch norms; other buffers stay.

    Parameters may lie on the meta device: they come to the CPU. Each tensor has its own stream,
    named by its path, so that the order of the layers does not matter; what layers share stays
    shared and has the values of its first path.
    """
    count = Counter(id(p) for _, p in module.named_parameters(remove_duplicate=False))
    shared: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for path, layer in module.named_modules():
        for name, parameter in list(layer.named_parameters(recurse=False)):
            made = shared.get(parameter)
            if made is None:
                values = _values(f'{path}.{name}', tuple(parameter.shape), name, seed)
                made = torch.nn.Parameter(values.to(parameter.dtype), requires_grad=False)
                if count[id(parameter)] > 1:
                    shared[parameter] = made
            setattr(layer, name, made)  # recurrent layers keep a list of their own up to date
        for name, buffer in list(layer.named_buffers(recurse=False)):
            if name == 'num_batches_tracked':
                layer._buffers[name] = torch.zeros((), dtype=torch.int64)
            elif name in ('running_mean', 'running_var'):
                values = _values(f'{path}.{name}', tuple(buffer.shape), name, seed)
                layer._buffers[name] = values.to(buffer.dtype)


def calibrate(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Set the variances of batch norms from one picture, so that residual sums stay in scale.

    Args:
        module: In eval mode, filled by ``fill``.
        inputs: What it takes; uint8 pictures (1, H, W, 3) and clips (1, T, H, W, 3) stand for
            float32 with the channels in second place.

    Raises:
        ModelError: The model cannot run on inputs of this size.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
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
    try:
        with torch.no_grad():
            module(*(_as_float(tensor) for tensor in inputs))
    except (RuntimeError, ValueError) as error:
        sizes = ', '.join('x'.join(map(str, tensor.shape)) for tensor in inputs)
        raise ModelError(f'the model does not run on inputs of {sizes}: {error}') from error
    finally:
        for hook in hooks:
            hook.remove()


def _as_float(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype != torch.uint8 or tensor.ndim not in (4, 5):
        return tensor
    return (tensor.movedim(-1, 1).float() - 127.5) / 64.0


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
