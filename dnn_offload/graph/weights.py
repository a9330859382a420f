"""Weights of a program on disk: safetensors, mapped into memory, never pickle.

safetensors keeps C-contiguous tensors only, so a channels_last weight (O, I, h, w) is written
as its (O, h, w, I) permutation, which lies in the file exactly as it shall lie in memory:
loading it back is a view on the mapped file, no copy.

Every weight starts at a multiple of 64 bytes, with tensors named ``padding.N`` in the gaps (the
format knows no gaps): a matrix product rounds differently when its weights are not aligned to
16 bytes (measured), and two ends shall compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import json
from pathlib import Path

import torch

from dnn_offload.graph.program import Program, WeightSpec
from dnn_offload.graph.weights_file import check_file, opened, SAFETENSORS_DTYPES, WEIGHTS_FILE
from dnn_offload.whole_file import whole_file

ALIGNMENT = 64
Weights = dict[str, torch.Tensor]


def lay_out(tensor: torch.Tensor, *, convolution: bool) -> torch.Tensor:
    """The tensor as programs hold it: channels_last for a 4-D convolution, else contiguous."""
    tensor = tensor.detach()
    if convolution and tensor.ndim == 4:
        return _packed(tensor.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return _packed(tensor)


def _packed(tensor: torch.Tensor) -> torch.Tensor:
    """C order in strides, too: torch calls any stride of an extent of 1 contiguous."""
    return tensor.contiguous().view(-1).view(tensor.shape)


def describe(weights: Mapping[str, torch.Tensor]) -> tuple[WeightSpec, ...]:
    """Name, dtype, shape and layout of every weight."""
    return tuple(
        WeightSpec(
            name,
            _name_of(tensor.dtype),
            tuple(tensor.shape),
            _is_channels_last(tensor),
        )
        for name, tensor in weights.items()
    )


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return (
        tensor.ndim == 4
        and tensor.permute(0, 2, 3, 1).is_contiguous()
        and (tensor.stride() != torch.empty(tensor.shape, device='meta').stride())
    )


def save_weights(folder: Path | str, weights: Mapping[str, torch.Tensor]) -> Path:
    """Write ``weights.safetensors`` into ``folder``; a reader never sees half a file.

    A process that has mapped the old file keeps it, since the new one replaces it by name.
    """
    path = Path(folder) / WEIGHTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = [
        (name, tensor.permute(0, 2, 3, 1) if _is_channels_last(tensor) else tensor)
        for name, tensor in weights.items()
    ]
    header = json.dumps(dict(_entries(flat)), separators=(',', ':')).encode()
    header += b' ' * (-(8 + len(header)) % ALIGNMENT)
    with whole_file(path) as file:
        file.write(len(header).to_bytes(8, 'little'))
        file.write(header)
        for _, tensor in flat:
            data = memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())
            file.write(data)
            file.write(bytes(-len(data) % ALIGNMENT))
    return path


def _entries(flat: list[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, dict[str, object]]]:
    """The header of a safetensors file: each tensor, and the padding after it."""
    start = 0
    for number, (name, tensor) in enumerate(flat):
        end = start + tensor.numel() * tensor.element_size()
        dtype = SAFETENSORS_DTYPES[_name_of(tensor.dtype)]
        yield name, {'dtype': dtype, 'shape': list(tensor.shape), 'data_offsets': [start, end]}
        start = end + -end % ALIGNMENT
        if start > end:
            yield (
                f'padding.{number}',
                {'dtype': 'U8', 'shape': [start - end], 'data_offsets': [end, start]},
            )


def load_weights(folder: Path | str, program: Program) -> Weights:
    """Map the weights of ``program`` from ``folder`` into memory.

    Raises:
        ModelError: The file is missing or damaged, or is not the one that belongs to ``program``.
    """
    weights: Weights = {}
    with opened(folder, 'pt') as file:
        check_file(file, folder, program)
        for spec in program.weights:
            tensor = file.get_tensor(spec.name)
            if spec.channels_last and tensor.ndim == 4:
                tensor = tensor.permute(0, 3, 1, 2)
            weights[spec.name] = tensor
    return weights


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
