"""A model that a server can serve without torch. A helper."""

from __future__ import annotations

from collections.abc import Sequence
import threading

import numpy as np

from dnn_offload.errors import CutError
from dnn_offload.graph.cuts import Cut, signature
from dnn_offload.graph.routes import Ends, Route
from dnn_offload.tensors import contiguous_strides, TensorSpec


def spec(name: str, dtype: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, dtype, shape, contiguous_strides(shape))


def cut(index: int, *frontier: TensorSpec) -> Cut:
    return Cut(index, signature(frontier), f'layer {index}', index, index, frontier)


class FakeModel:
    """Doubles the sum of what arrives; waits while ``gate`` is closed; fails on 666."""

    identity = 'a' * 40

    def __init__(self) -> None:
        self.cuts = (
            cut(0, spec('picture', 'uint8', (1, 8, 8, 3))),
            cut(1, spec('inner', 'float32', (1, 4, 4)), spec('skip', 'float32', (1, 2))),
            cut(2, spec('large', 'float32', (1, 40_000))),
            cut(3, spec('outputs', 'float32', (1, 2))),
        )
        self.outputs = self.cuts[-1].frontier
        self.gate = threading.Event()
        self.gate.set()
        self.threads: list[int] = []
        self.runs: list[tuple[int, int]] = []

    def segment(self, start: int, end: int) -> tuple[int, int]:
        return (start, end)

    def route(self, cut_id: str, return_id: str, frontier: Sequence[str]) -> Route:
        """One plan with two cuts is known: from 1 to 2, where ``skip`` stays on the robot."""
        cuts = self.cuts
        if (cut_id, return_id, tuple(frontier)) != (cuts[1].cut_id, cuts[2].cut_id, ()):
            raise CutError('no such way', given=f'{cut_id} {return_id} {frontier}')
        names = tuple(spec.name for spec in cuts[1].frontier)
        return Route(
            Ends(('picture',), names), cuts[1].frontier, cuts[1].frontier[:1],
            Ends(('inner',), ('large',)), cuts[2].frontier,
            Ends(('skip', 'large'), ('outputs',)), Ends(names, ('outputs',)), 1,
        )

    def piece(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Ends:
        return Ends(inputs, outputs)

    def run(self, segment: tuple[int, int], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.runs.append(segment)
        assert self.gate.wait(10.0)
        total = sum(float(array.sum()) for array in arrays)
        if total == 666.0:
            raise RuntimeError('a kernel failed')
        shape = (1, 40_000) if isinstance(segment, Ends) else (1, 2)
        return [np.full(shape, 2.0 * total, np.float32)]

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [array.astype(np.float16) for array in arrays]

    def set_threads(self, threads: int) -> None:
        self.threads.append(threads)
