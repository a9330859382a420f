"""Truly different devices out of one machine: instruction set, layout, number type, library.

A CPU quota alone slows everything by one factor, and any factorisation fills such a matrix
perfectly. These differ in kind: which instructions the kernels may use, whether convolutions
run in oneDNN or in ATen's own code, how activations lie in memory, float32 or bfloat16, one or
two threads, and whether fresh memory costs page faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from dnn_offload.graph.program import Instruction, Program
from dnn_offload.graph.weights import Weights
from dnn_offload.runtime.backends.torch_backend import TorchModel


@dataclass(frozen=True)
class Device:
    """One made device.

    Attributes:
        name: Short name.
        environment: Variables of its process, read by the libraries when they are loaded.
        threads: Compute threads.
        contiguous: Whether activations and weights lie as NCHW instead of channels_last.
        onednn: Whether convolutions and products may use oneDNN.
        bfloat16: Whether it computes in bfloat16.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    contiguous: bool = False
    onednn: bool = True
    bfloat16: bool = False

    def describe(self) -> dict[str, object]:
        """What a reader of the data base wants to know."""
        return {
            'environment': self.environment,
            'threads': self.threads,
            'layout': 'contiguous' if self.contiguous else 'channels_last',
            'convolutions': 'oneDNN' if self.onednn else 'ATen',
            'number': 'bfloat16' if self.bfloat16 else 'float32',
        }


def _isa(aten: str, onednn: str, **more: str) -> dict[str, str]:
    return {'ATEN_CPU_CAPABILITY': aten, 'ONEDNN_MAX_CPU_ISA': onednn, **more}


_AVX512 = _isa('avx512', 'AVX512_CORE_BF16')
_AVX = _isa('avx2', 'AVX')
_SSE = _isa('default', 'SSE41')
# Threads that spin for each other would count as busy: let them sleep.
_PASSIVE = {'OMP_WAIT_POLICY': 'PASSIVE'}
_FRESH_PAGES = {'MALLOC_MMAP_THRESHOLD_': '65536', 'MALLOC_TRIM_THRESHOLD_': '65536'}

# With oneDNN held to AVX2 instead of AVX-512 this machine is equally fast, and so it is when
# allowed to compute float32 in bfloat16: such twins would make the hold-out too easy.
DEVICES = (
    Device('avx512', _AVX512),
    Device('avx', _AVX),
    Device('sse', _SSE),
    Device('mixed', _isa('default', 'AVX2')),
    Device('avx512-nchw', _AVX512, contiguous=True),
    Device('avx-nchw', _AVX, contiguous=True),
    Device('sse-nchw', _SSE, contiguous=True),
    Device('aten', _AVX512, onednn=False),
    Device('aten-nchw', _isa('avx2', 'AVX2'), contiguous=True, onednn=False),
    Device('bf16', _AVX512, bfloat16=True),
    Device('bf16-emulated', _isa('avx512', 'AVX512_CORE'), bfloat16=True),
    Device('fresh-pages', {**_isa('avx2', 'AVX2'), **_FRESH_PAGES}),
    Device('avx512-2', {**_AVX512, **_PASSIVE}, threads=2),
    Device('mixed-nchw-2', {**_isa('default', 'AVX2'), **_PASSIVE}, threads=2, contiguous=True),
)


def by_name(name: str) -> Device:
    """The device of that name; raises KeyError."""
    return {device.name: device for device in DEVICES}[name]


def build(device: Device, program: Program, weights: Weights) -> TorchModel:
    """The model as that device runs it; in the device's own process."""
    torch.set_num_threads(device.threads)
    torch.backends.mkldnn.enabled = device.onednn
    number = torch.bfloat16 if device.bfloat16 else torch.float32

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float32:
            tensor = tensor.to(number)
        return tensor.contiguous() if device.contiguous else tensor

    instructions = tuple(
        _convert(instruction, device) for instruction in program.instructions
    )
    return TorchModel(
        replace(program, instructions=instructions),
        {name: convert(tensor) for name, tensor in weights.items()},
    )


def _convert(instruction: Instruction, device: Device) -> Instruction:
    """The picture's conversion decides the number type and the layout of all that follows."""
    if instruction.target != 'aten._to_copy.default':
        return instruction
    kwargs = dict(instruction.kwargs)
    if device.bfloat16 and kwargs.get('dtype') == {'dtype': 'float32'}:
        kwargs['dtype'] = {'dtype': 'bfloat16'}
    if device.contiguous:
        kwargs['memory_format'] = {'memory_format': 'contiguous_format'}
    return replace(instruction, kwargs=kwargs)
