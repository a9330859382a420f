"""Segments that another runtime compiles, with torch in their place until they are ready.

Compiling takes 30 to 1200 ms. It goes on in a thread of its own, in C++ code that lets go of
the interpreter lock (measured: no gap above 5 ms for onnxruntime on a quiet machine), so a
new plan runs at once, by torch, and the compiled piece swaps in between two frames. What cannot
be compiled, or fails while it runs, stays with torch, and the reason is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import ctypes
import sys
import threading
import time
from typing import Protocol

import numpy as np

from dnn_offload.errors import ModelError
from dnn_offload.graph.placements import between, Piece, piece
from dnn_offload.graph.program import Program
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.weights import Weights
from dnn_offload.runtime.backends.onnx.lowering import OnnxPiece, OnnxProgram
from dnn_offload.runtime.backends.torch_backend import Key, MAX_SEGMENTS, TorchModel
from dnn_offload.tensors import TensorSpec

HELD = 3.0  # weights of compiled pieces, relative to those of the network: whole, old and new plan
HELD_MEASURING_BYTES = 512 << 20  # while measuring: many cuts by turns
HOT_S = 10.0  # a piece used within this time does not make room for another
_COMPILER = ThreadPoolExecutor(1, thread_name_prefix='compiler')


class Runner(Protocol):
    """A compiled piece."""

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on tensors in C order, axes as the model has them; gives such tensors."""


Compile = Callable[[OnnxPiece, int], Runner]  # with a thread count


class CompiledSegment:
    """A piece of the program, by torch and, once it is ready, compiled.

    Attributes:
        torch: The same piece by torch.
        piece: Its instructions.
        stood_in: Whether torch ran in place of a compiled piece that is still to come, soon or
            when there is room: then the time of that run says nothing about the next ones.
        failure: Why it stays with torch; '' if nothing is wrong.
    """

    def __init__(self, torch: Segment, piece: Piece, weight_bytes: int) -> None:
        self.torch = torch
        self.piece = piece
        self.weight_bytes = weight_bytes
        self.stood_in = False
        self.failure = ''
        self.used_s = 0.0
        self.ready: dict[int, tuple[OnnxPiece, Runner]] = {}  # by thread count

    @property
    def positions(self) -> Sequence[int]:
        """Instruction of each step, as index into ``program.instructions``."""
        return self.torch.positions

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        return self.torch.input_specs

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        return self.torch.output_specs


class CompiledModel(TorchModel):
    """A program whose pieces another runtime runs. Used by one thread at a time.

    Args:
        program, weights: As for torch.
        onnx: The same program as ONNX.
        backend: Name of the backend.
        compile: Makes a runner of a piece for a thread count; called in another thread.
        log: Called with what stays with torch, and why; from any thread.
        wait: Compile heads and tails before their first run instead of standing in for them:
            for measuring.
    """

    def __init__(
        self,
        program: Program,
        weights: Weights,
        onnx: OnnxProgram,
        backend: str,
        compile: Compile,
        *,
        log: Callable[[str], None] = lambda text: None,
        wait: bool = False,
    ) -> None:
        super().__init__(program, weights)
        self.backend = backend
        self._onnx = onnx
        self._compile = compile
        self._log = log
        self._wait = wait
        self._threads = 1
        self._nbytes = {spec.name: spec.nbytes for spec in program.weights}
        whole_bytes = sum(self._nbytes.values())
        self._most_bytes = int(HELD * whole_bytes)
        self.most_segments = MAX_SEGMENTS
        if wait:
            self._most_bytes = max(self._most_bytes, HELD_MEASURING_BYTES)
            self.most_segments = sys.maxsize  # a piece dropped between rounds compiles anew
        # Head and tail hold the weights once; the whole network, measured beside them with two
        # thread counts, twice more.
        room = self._most_bytes // max(1, whole_bytes)
        self.most_units = max(1, room - 2) if wait else None
        self._lock = threading.Lock()
        # What holds a runner, and what will, by identity and thread count.
        self._compiled: dict[tuple[int, int], CompiledSegment] = {}
        self._coming: dict[tuple[int, int], CompiledSegment] = {}
        self._said: set[str] = set()
        self._held: frozenset[int] = frozenset()  # identities of segments

    # ---- the interface of a model ---------------------------------------------------------

    @property
    def by_torch(self) -> TorchModel:
        """The same network run by torch alone."""
        return TorchModel(self.program, self.weights)

    def _make(self, key: Key) -> CompiledSegment:
        start, end = key
        if isinstance(start, int) and isinstance(end, int):
            part = between(self.program, start, end)
        else:
            part = piece(self.program, start, end)  # type: ignore[arg-type]
        names = {n for p in part.positions for n in self.program.instructions[p].weights()}
        return CompiledSegment(
            Segment.of(self.program, self.weights, part), part,
            sum(self._nbytes[name] for name in names),
        )

    def segment(self, start: int, end: int) -> CompiledSegment:  # type: ignore[override]
        """The slice between two cuts; raises CutError if there is none."""
        found = self._cached((start, end), lambda: self._make((start, end)))
        if self._wait and (start == 0 or end == len(self.cuts) - 1):
            self._ensure(found)
        return found

    def piece(  # type: ignore[override]
        self, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> CompiledSegment:
        """What computes some values from others, by their names; raises CutError."""
        return self._cached((inputs, outputs), lambda: self._make((inputs, outputs)))

    def run(  # type: ignore[override]
        self, segment: CompiledSegment, arrays: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Run a slice, compiled if it is ready; gives the tensors of its last cut, strides kept.

        Raises:
            CutError: The tensors are not those of the cut.
        """
        segment.used_s = time.monotonic()
        ready = segment.ready.get(self._threads)
        if ready is not None:
            segment.stood_in = False
            try:
                return _run(*ready, arrays)
            except Exception as error:  # whatever a runtime raises: torch tells what is wrong
                made = super().run(segment.torch, arrays)
                self._give_up(segment, error)
                return made
        segment.stood_in = not self._wait and self._request(segment)
        return super().run(segment.torch, arrays)

    def hold(self, segments: Sequence[CompiledSegment]) -> None:  # type: ignore[override]
        """Pieces that are seldom run but must be fast then, such as the tail of a rescue.

        They are compiled if they are not, and make room for others last. The segments are those
        of the cache.
        """
        with self._lock:
            self._held = frozenset(id(segment) for segment in segments)
        for segment in segments:
            if self._threads not in segment.ready:
                self._request(segment)

    def let_go(self) -> None:
        """Drop all compiled pieces; those that run again are compiled again."""
        with self._lock:
            for (_, threads), segment in self._compiled.items():
                segment.ready.pop(threads, None)
            self._compiled.clear()
        _return_free_memory()

    def stamps(  # type: ignore[override]
        self, segment: CompiledSegment, arrays: Sequence[np.ndarray]
    ) -> list[float]:
        """Time of each operator in place [ms], by torch: compiled ones are merged."""
        return super().stamps(segment.torch, arrays)

    def set_threads(self, threads: int) -> None:
        """Set the compute threads of the calling thread, and of pieces compiled from now on."""
        super().set_threads(threads)
        self._threads = threads

    def warm(self, start: int, end: int) -> str:
        """Compile a slice now, in the calling thread; why it stays with torch, '' if not."""
        segment = self._cached((start, end), lambda: self._make((start, end)))
        self._ensure(segment)
        return segment.failure

    # ---- compiling -------------------------------------------------------------------------

    def _ensure(self, segment: CompiledSegment) -> None:
        """Compile in the calling thread."""
        if segment.failure == '' and self._threads not in segment.ready:
            self._build(segment, self._threads)

    def _request(self, segment: CompiledSegment) -> bool:
        """Have a segment compiled in the background; whether it ever will be."""
        threads = self._threads
        with self._lock:
            if segment.failure:
                return False
            if (id(segment), threads) in self._coming:
                return True
            if not self._has_room(segment):
                return True  # once others have not been used for a while
            self._coming[id(segment), threads] = segment
        _COMPILER.submit(self._build, segment, threads)
        return True

    def _build(self, segment: CompiledSegment, threads: int) -> None:
        try:
            made = self._onnx.piece(segment.piece)
            runner = self._compile(made, threads)
            given = [np.zeros(border.shape, border.spec.dtype) for border in made.inputs]
            _as_specified(made, runner(given))
        except Exception as error:
            self._give_up(segment, error)
            return
        with self._lock:
            segment.ready[threads] = (made, runner)
            self._coming.pop((id(segment), threads), None)
            self._compiled[id(segment), threads] = segment
            self._make_room(segment)
        _return_free_memory()

    def _give_up(self, segment: CompiledSegment, error: Exception) -> None:
        """A segment stays with torch; the same reason is said once."""
        reason = str(error) if isinstance(error, ModelError) else (
            f'{type(error).__name__}: {str(error).strip()[:300]}'
        )
        with self._lock:
            segment.failure = reason
            segment.stood_in = False
            segment.ready = {}
            for held in (self._compiled, self._coming):
                for key in [key for key, other in held.items() if other is segment]:
                    del held[key]
            new = reason not in self._said
            self._said.add(reason)
        if new:
            self._log(f'{self.backend} cannot run {segment.piece.origin}; torch does: {reason}')

    def _has_room(self, segment: CompiledSegment) -> bool:
        """Whether enough of what is held has not been used lately; the lock is held."""
        now_s = time.monotonic()
        hot = sum(s.weight_bytes for s in self._compiled.values() if now_s - s.used_s < HOT_S)
        hot += sum(s.weight_bytes for s in self._coming.values())
        return hot == 0 or hot + segment.weight_bytes <= self._most_bytes

    def _make_room(self, newest: CompiledSegment) -> None:
        """Let go of what was used longest ago, of what ``hold`` named last; the lock is held."""
        held = sum(segment.weight_bytes for segment in self._compiled.values())
        oldest = sorted(
            self._compiled.items(), key=lambda item: (item[0][0] in self._held, item[1].used_s)
        )
        # Pieces hardly have weights near the picture, and a runner costs memory all the same.
        count = len(oldest)
        for (identity, threads), segment in oldest:
            if held <= self._most_bytes and count <= self.most_segments:
                return
            if segment is not newest:
                held -= segment.weight_bytes
                count -= 1
                segment.ready.pop(threads, None)
                del self._compiled[identity, threads]


def _return_free_memory() -> None:
    """Give the system back what compiling has left: as much as the weights, or twice that."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # glibc only
    if trim is not None:
        trim(0)


def _run(
    made: OnnxPiece, runner: Runner, arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Tensors of a cut through a compiled piece; their memory is used as it is."""
    given = []
    for border, array in zip(made.inputs, arrays, strict=True):
        if array.dtype != border.spec.dtype or array.shape != border.spec.shape:
            raise ModelError('another tensor than the one of the cut', given=border.spec.name)
        given.append(np.ascontiguousarray(array.transpose(border.order)))
    return _as_specified(made, runner(given))


def _as_specified(made: OnnxPiece, results: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a runner gives, with the axes and strides of the specifications; no copy."""
    found: list[np.ndarray] = []
    for border, result in zip(made.outputs, results, strict=True):
        if result.dtype != border.spec.dtype or result.shape != border.shape:
            raise ModelError(
                'the runtime gives another tensor than torch',
                given=f'{border.spec.name}: {result.dtype} {result.shape}',
                allowed=f'{border.spec.dtype} {border.shape}',
            )
        found.append(
            np.ndarray(border.spec.shape, border.spec.dtype, result, 0, border.byte_strides)
        )
    return found
