"""Small networks and a split-against-whole check, shared by the graph tests."""

from __future__ import annotations

import torch
from torch import nn

from dnn_offload.codec.layout import flatten, Target
from dnn_offload.graph.export import export
from dnn_offload.graph.fingerprint import seeded_inputs, seeded_picture
from dnn_offload.graph.program import Program
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import LoadedModel
from dnn_offload.graph.weights import Weights
from dnn_offload.tensors import TensorSpec


class Branches(nn.Module):
    """A stem, two branches, a skip around both, a shared head; every kind of frontier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.left = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        )
        self.right = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 8, 1), nn.ReLU6())
        self.shared = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.left(x) + self.right(x)
        a, b = x.chunk(2, dim=1)
        x = torch.cat([self.shared(torch.cat([b, a], 1)), self.shared(x)], 1)
        x = nn.functional.dropout(x.mean((2, 3)), 0.5, self.training)
        return self.head(x.flatten(1))


def loaded(
    module: nn.Module, *, size: tuple[int, int] = (32, 48), **changes: object
) -> LoadedModel:
    """The module as ``sources.resolve`` would return it."""
    height, width = size
    preprocess = {'height': height, 'width': width, 'mode': 'stretch'}
    return LoadedModel('test', module.eval(), height, width, preprocess=preprocess, **changes)  # type: ignore[arg-type]


def exported(module: nn.Module, *, size: tuple[int, int] = (32, 48)) -> tuple[Program, Weights]:
    return export(loaded(module, size=size))


def picture_of(program: Program) -> torch.Tensor:
    return torch.from_numpy(seeded_picture(program.input.shape[1], program.input.shape[2]))


def inputs_of(program: Program) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in seeded_inputs(program.inputs)]


def sent(tensor: torch.Tensor) -> torch.Tensor:
    """What arrives: the same numbers and strides, in other memory."""
    array = tensor.numpy()
    target = Target(TensorSpec('sent', array.dtype.name, tuple(tensor.shape), tensor.stride()))
    target.flat[:] = flatten(array, TensorSpec.of_array('sent', array))
    return torch.from_numpy(target.array())


def check_every_cut(program: Program, weights: Weights) -> list[torch.Tensor]:
    """Head, transport and tail give the outputs of the whole, bit for bit, at every cut."""
    inputs = inputs_of(program)
    last = len(program.cuts) - 1
    whole = Segment(program, weights, 0, last)(inputs)
    for cut in program.cuts[1:-1]:
        crossing = Segment(program, weights, 0, cut.index)(inputs)
        for tensor, spec in zip(crossing, cut.frontier, strict=True):
            assert (tuple(tensor.shape), tensor.stride()) == (spec.shape, spec.strides), cut
            assert str(tensor.dtype) == f'torch.{spec.dtype}'
        answer = Segment(program, weights, cut.index, last)([sent(t) for t in crossing])
        for ours, theirs in zip(whole, answer, strict=True):
            assert torch.equal(ours, theirs), f'cut {cut.index} ({cut.label}) differs'
    return whole
