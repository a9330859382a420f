"""Segments interpreted by torch: the default backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dnn_offload.graph.cuts import Cut
from dnn_offload.graph.program import Program
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.weights import load_weights, Weights
from dnn_offload.tensors import TensorSpec

MAX_SEGMENTS = 64  # a segment is small, its operators are Python objects all the same


class TorchModel:
    """A program with its weights, ready to run in slices. Used by one thread at a time.

    Arrays go in and come out without a copy; what comes out must not be written to, since it
    may share memory with an input.

    Args:
        program: The whole program.
        weights: Its weights, mapped or in memory; shared by all segments.
    """

    def __init__(self, program: Program, weights: Weights) -> None:
        self.program = program
        self._weights = weights
        self._segments: dict[tuple[int, int], Segment] = {}

    @property
    def identity(self) -> str:
        """Digest of weights and input specification."""
        return self.program.identity

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """All cuts, index 0 (the picture) .. N (all local)."""
        return self.program.cuts

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the whole network gives."""
        return self.program.outputs

    def segment(self, start: int, end: int) -> Segment:
        """The slice between two cuts; raises CutError if there is none."""
        made = self._segments.pop((start, end), None)
        if made is None:
            made = Segment(self.program, self._weights, start, end)
        self._segments[(start, end)] = made  # last used is last
        if len(self._segments) > MAX_SEGMENTS:
            del self._segments[next(iter(self._segments))]
        return made

    def run(self, segment: Segment, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a slice on the tensors of its first cut; gives those of its last, strides kept.

        Raises:
            CutError: The tensors are not those of the cut.
        """
        return [tensor.numpy() for tensor in segment([_tensor(array) for array in arrays])]

    def stamps(self, segment: Segment, arrays: Sequence[np.ndarray]) -> list[float]:
        """Run a slice and give the time of each of its operators in place [ms]."""
        return [ns * 1e-6 for ns in segment.stamps([_tensor(array) for array in arrays])[1]]

    def describe(
        self, segment: Segment, arrays: Sequence[np.ndarray]
    ) -> dict[str, tuple[str, tuple[int, ...], int]]:
        """Run a slice; dtype, shape and bytes of every value that it takes or makes."""
        return segment.describe([_tensor(array) for array in arrays])

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 and float64 as float16, strides kept; ten times faster than numpy."""
        with torch.inference_mode():
            return [
                _tensor(array).half().numpy() if array.dtype.kind == 'f' else array
                for array in arrays
            ]

    def set_threads(self, threads: int) -> None:
        """Set the compute threads of the calling thread (it changes nothing in others)."""
        torch.set_num_threads(threads)


class TorchBackend:
    """Loads what ``runtime/prepare.py`` saved."""

    def load(self, folder: Path | str) -> TorchModel:
        """Load a program and map its weights; raises ModelError."""
        program = Program.load(folder)
        return TorchModel(program, load_weights(folder, program))


def _tensor(array: np.ndarray) -> torch.Tensor:
    if not array.flags.writeable:  # torch warns of these, although nothing here writes
        array = array.copy(order='K')
    return torch.from_numpy(array)
