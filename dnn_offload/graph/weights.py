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
import os
from pathlib import Path

from safetensors import safe_open, SafetensorError
import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph.program import Program, WeightSpec

WEIGHTS_FILE = 'weights.safetensors'
ALIGNMENT = 64
Weights = dict[str, torch.Tensor]

_SAFETENSORS_DTYPES = {
    torch.bool: 'BOOL',
    torch.uint8: 'U8',
    torch.int8: 'I8',
    torch.int16: 'I16',
    torch.int32: 'I32',
    torch.int64: 'I64',
    torch.float16: 'F16',
    torch.bfloat16: 'BF16',
    torch.float32: 'F32',
    torch.float64: 'F64',
}


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
            str(tensor.dtype).removeprefix('torch.'),
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
    temporary = path.with_suffix(f'.{os.getpid()}.part')
    flat = [
        (name, tensor.permute(0, 2, 3, 1) if _is_channels_last(tensor) else tensor)
        for name, tensor in weights.items()
    ]
    header = json.dumps(dict(_entries(flat)), separators=(',', ':')).encode()
    header += b' ' * (-(8 + len(header)) % ALIGNMENT)
    with temporary.open('wb') as file:
        file.write(len(header).to_bytes(8, 'little'))
        file.write(header)
        for _, tensor in flat:
            data = memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())
            file.write(data)
            file.write(bytes(-len(data) % ALIGNMENT))
    os.replace(temporary, path)
    return path


def _entries(flat: list[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, dict[str, object]]]:
    """The header of a safetensors file: each tensor, and the padding after it."""
    start = 0
    for number, (name, tensor) in enumerate(flat):
        end = start + tensor.numel() * tensor.element_size()
        dtype = _SAFETENSORS_DTYPES[tensor.dtype]
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
    path = Path(folder) / WEIGHTS_FILE
    weights: Weights = {}
    try:
        with safe_open(str(path), framework='pt', device='cpu') as file:
            names = set(file.keys())
            for spec in program.weights:
                if spec.name not in names:
                    raise ModelError(f'{path} lacks a weight', given=spec.name, hint=_EXPORT)
                tensor = file.get_tensor(spec.name)
                if spec.channels_last and tensor.ndim == 4:
                    tensor = tensor.permute(0, 3, 1, 2)
                found = (tuple(tensor.shape), str(tensor.dtype).removeprefix('torch.'))
                if found != (spec.shape, spec.dtype):
                    raise ModelError(
                        f'weight {spec.name!r} in {path} does not fit the program',
                        given=str(found),
                        allowed=str((spec.shape, spec.dtype)),
                        hint=_EXPORT,
                    )
                weights[spec.name] = tensor
    except (OSError, SafetensorError) as error:
        raise ModelError(f'cannot read {path}: {error}', hint=_EXPORT) from error
    return weights


_EXPORT = 'delete its folder and export again'
