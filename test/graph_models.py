"""Small networks and a split-against-whole check, shared by the graph tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hypothesis import strategies as st
import torch
from torch import nn

from dnn_offload.codec.layout import flatten, Target
from dnn_offload.graph.export import export
from dnn_offload.graph.fingerprint import seeded_inputs, seeded_picture
from dnn_offload.graph.placements import Piece, piece
from dnn_offload.graph.program import Program
from dnn_offload.graph.routes import Route
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import LoadedModel
from dnn_offload.graph.weights import load_weights, save_weights, Weights
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


KINDS = (
    'conv',
    'norm',
    'pool',
    'relu',
    'add',
    'cat',
    'chunk',
    'transpose',
    'scale',
    'excite',
    'interpolate',
)


class RandomDag(nn.Module):
    """Each node takes one or two earlier nodes; loose ends are concatenated at the end."""

    def __init__(self, nodes, channels):
        super().__init__()
        self.nodes = nodes
        self.channels = channels
        self.layers = nn.ModuleList(self._layer(kind) for kind, _, _ in nodes)
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)

    def _layer(self, kind):
        c = self.channels
        return {
            'conv': lambda: nn.Conv2d(c, c, 3, padding=1, groups=c if c % 2 else 1, bias=False),
            'norm': lambda: nn.Sequential(nn.Conv2d(c, c, 1), nn.BatchNorm2d(c)),
            'pool': lambda: nn.AvgPool2d(3, 1, 1),
            'cat': lambda: nn.Conv2d(2 * c, c, 1),
            'excite': lambda: nn.Conv2d(c, c, 1),
        }.get(kind, nn.Identity)()

    def forward(self, x):
        values = [self.stem(x)]
        used = set()
        for layer, (kind, first, second) in zip(self.layers, self.nodes, strict=True):
            first, second = first % len(values), second % len(values)
            used.update((first, second) if kind in ('add', 'cat', 'scale', 'excite') else (first,))
            a, b = values[first], values[second]
            if kind == 'relu':
                a = a.relu()
            elif kind == 'add':
                a = a + b
            elif kind == 'scale':
                a = a * b.mean((2, 3), keepdim=True).sigmoid()
            elif kind == 'excite':
                a = a * layer(b.mean((2, 3), keepdim=True)).relu()
            elif kind == 'cat':
                a = layer(torch.cat([a, b], 1))
            elif kind == 'chunk':
                left, right = a.split([1, self.channels - 1], 1)
                a = torch.cat([right, left], 1)
            elif kind == 'transpose':
                a = a.flatten(2).transpose(1, 2).softmax(1).transpose(1, 2).reshape(a.shape)
            elif kind == 'interpolate':
                a = nn.functional.interpolate(nn.functional.max_pool2d(a, 2), a.shape[2:])
            else:
                a = layer(a)
            values.append(a)
        ends = [value for index, value in enumerate(values) if index not in used]
        return ends[0] if len(ends) == 1 else tuple(ends)


def random_nodes(most: int) -> st.SearchStrategy:
    """Nodes of a ``RandomDag``: kind, and two earlier nodes."""
    node = st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9))
    return st.lists(node, min_size=1, max_size=most)


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


def run_pieces(
    program: Program,
    weights: Weights,
    inputs: Sequence[torch.Tensor],
    pieces: Sequence[Piece],
) -> list[torch.Tensor]:
    """Outputs of the last piece; what goes from one to another is sent."""
    known = dict(zip((spec.name for spec in program.inputs), inputs, strict=True))
    outputs: list[torch.Tensor] = []
    for part in pieces:
        outputs = Segment.of(program, weights, part)([known[s.name] for s in part.inputs])
        for spec, tensor in zip(part.outputs, outputs, strict=True):
            assert (tuple(tensor.shape), tensor.stride()) == (spec.shape, spec.strides), spec
            known[spec.name] = sent(tensor)
    return outputs


def pieces_of(program: Program, route: Route) -> list[Piece]:
    """Head, middle and, where there is one, rest."""
    ways = (route.head, route.middle, route.rest)
    return [piece(program, *ends) for ends in ways if ends is not None]


def names(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs)


def check_every_cut(program: Program, weights: Weights, step: int = 1) -> list[torch.Tensor]:
    """Head, transport and tail give the outputs of the whole, bit for bit, at every cut.

    ``step`` leaves cuts out where a network is large.
    """
    inputs = inputs_of(program)
    last = len(program.cuts) - 1
    whole = Segment(program, weights, 0, last)(inputs)
    for cut in program.cuts[1:-1:step]:
        crossing = Segment(program, weights, 0, cut.index)(inputs)
        for tensor, spec in zip(crossing, cut.frontier, strict=True):
            assert (tuple(tensor.shape), tensor.stride()) == (spec.shape, spec.strides), cut
            assert str(tensor.dtype) == f'torch.{spec.dtype}'
        answer = Segment(program, weights, cut.index, last)([sent(t) for t in crossing])
        for ours, theirs in zip(whole, answer, strict=True):
            assert torch.equal(ours, theirs), f'cut {cut.index} ({cut.label}) differs'
    return whole


def through_disk(loaded: LoadedModel, folder: Path) -> tuple[Program, Weights]:
    """Export, save, and load again what was saved."""
    program, weights = export(loaded)
    program.save(folder)
    save_weights(folder, weights)
    again = Program.load(folder)
    assert again == program
    return again, load_weights(folder, again)
