"""Segments interpreted by torch, on the CPU (the default backend) or on another device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from dnn_offload.codec.fp16 import fits_half
from dnn_offload.errors import ModelError
from dnn_offload.graph.cuts import Cut
from dnn_offload.graph.placements import piece
from dnn_offload.graph.program import Program
from dnn_offload.graph.routes import find_route, Route
from dnn_offload.graph.segment import CPU, Segment
from dnn_offload.graph.weights import load_weights, Weights
from dnn_offload.tensors import TensorSpec

# Indices of two cuts, or the names of what goes in and comes out.
Key: TypeAlias = tuple[int, int] | tuple[tuple[str, ...], tuple[str, ...]]

S = TypeVar('S')

MAX_ROUTES = 256
MAX_SEGMENTS = 64  # a segment is small, its operators are Python objects all the same


class TorchModel:
    """A program with its weights, ready to run in slices. Used by one thread at a time.

    Arrays go in and come out without a copy; what comes out must not be written to, since it
    may share memory with an input.

    Args:
        program: The whole program.
        weights: Its weights, mapped or in memory; shared by all segments.
        device: Where it computes; tensors are copied there and back by ``run``.

    Attributes:
        backend: Name of what runs the segments.
        most_units: How many cuts can be measured by turns; None = any number.
        most_segments: How many segments are kept.
    """

    backend = 'torch'
    most_units: int | None = None
    most_segments = MAX_SEGMENTS

    def __init__(
        self, program: Program, weights: Weights, device: torch.device = CPU
    ) -> None:
        self.program = program
        self.weights = weights
        self.device = device
        self._placed = weights
        if device != CPU:
            self.backend = f'torch:{device}'
            self._placed = {name: tensor.to(device) for name, tensor in weights.items()}
        self._segments: dict[Key, Any] = {}
        self._routes: dict[tuple[str, str, tuple[str, ...]], Route] = {}

    @property
    def identity(self) -> str:
        """Digest of weights and input specification."""
        return self.program.identity

    @property
    def by_torch(self) -> TorchModel:
        """The same network run by torch alone."""
        return self if self.device == CPU else TorchModel(self.program, self.weights)

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
        return self._cached(
            (start, end),
            lambda: Segment(self.program, self._placed, start, end, self.device),
        )

    def piece(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Segment:
        """What computes some values from others, by their names (``graph/placements.py``).

        Raises:
            CutError: A name is unknown, is needed but not given, or is given but not needed.
        """
        return self._cached(
            (inputs, outputs),
            lambda: Segment.of(
                self.program, self._placed, piece(self.program, inputs, outputs), self.device
            ),
        )

    def route(self, cut_id: str, return_id: str, frontier: Sequence[str]) -> Route:
        """What runs where under a plan with a second cut, or with one that is not listed.

        Args:
            cut_id: Identity of the first cut; counts where ``frontier`` is empty.
            return_id: Identity of the second one; empty = the server runs to the end.
            frontier: Names of the values that cross a first cut that is not listed.

        Raises:
            CutError: There is no such cut, or nothing is left for the server.
        """
        key = (cut_id, return_id, tuple(frontier))
        made = self._routes.get(key)
        if made is None:
            first = frontier or [spec.name for spec in self.program.cut(cut_id).frontier]
            back = self.program.cut(return_id).frontier if return_id else ()
            made = find_route(self.program, first, [spec.name for spec in back])
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[key] = made
        return made

    def _cached(self, key: Key, make: Callable[[], S]) -> S:
        made = self._segments.pop(key, None) or make()
        self._segments[key] = made  # last used is last
        if len(self._segments) > self.most_segments:
            del self._segments[next(iter(self._segments))]
        return made

    def run(self, segment: Segment, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a slice on the tensors of its first cut; gives those of its last, strides kept.

        Raises:
            CutError: The tensors are not those of the cut.
        """
        return [tensor.cpu().numpy() for tensor in segment(self._given(arrays))]

    def hold(self, segments: Sequence[Segment]) -> None:
        """All is always ready."""

    def let_go(self) -> None:
        """Nothing is held beside the weights."""

    def stamps(self, segment: Segment, arrays: Sequence[np.ndarray]) -> list[float]:
        """Run a slice and give the time of each of its operators in place [ms]."""
        return [ns * 1e-6 for ns in segment.stamps(self._given(arrays))[1]]

    def _given(self, arrays: Sequence[np.ndarray]) -> list[torch.Tensor]:
        return [_tensor(array).to(self.device) for array in arrays]

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 and float64 as float16, strides kept; ten times faster than numpy.

        What has no finite half (beyond 65504, or NaN) stays as it is, for the codec to send raw.
        """
        with torch.inference_mode():
            halves = [_tensor(a).half().numpy() if a.dtype.kind == 'f' else a for a in arrays]
        return [
            half if half.dtype.kind != 'f' or fits_half(half) else array
            for half, array in zip(halves, arrays, strict=True)
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

    def place(self, model: TorchModel, device: str) -> TorchModel:
        """The same model on a device, with weights of its own there.

        float32 stays float32: TF32, which cuDNN takes by itself for convolutions, would differ
        by 1e-3 from what the other end computes.

        Raises:
            ModelError: There is no such device here, or it has not enough memory.
        """
        try:
            wanted = torch.device(device)
            if not torch.get_device_module(wanted).is_available():
                raise ModelError(
                    f'torch {torch.__version__} finds no device {device}',
                    hint='a driver, and a torch built for it, are needed: https://pytorch.org',
                )
            torch.backends.cudnn.allow_tf32 = False
            return TorchModel(model.program, model.weights, wanted)
        except (RuntimeError, AssertionError) as error:  # no such number, out of memory
            raise ModelError(f'torch cannot use {device}: {error}') from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    if not array.flags.writeable:  # torch warns of these, although nothing here writes
        array = array.copy(order='K')
    return torch.from_numpy(array)
