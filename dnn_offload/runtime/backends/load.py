"""A saved model behind the backend that is wanted, or behind torch if that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dnn_offload.errors import ConfigurationError, ModelError
from dnn_offload.graph.fingerprint import sampled_cut, seeded_inputs
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.compiled import CompiledModel, CompiledSegment
from dnn_offload.runtime.backends.names import missing, parse, parts, tolerance, TORCH
from dnn_offload.runtime.backends.onnx.lowering import OnnxProgram
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel

Log = Callable[[str], None]


def load(
    folder: Path, backend: str, *, threads: int = 1, log: Log = lambda text: None,
    wait: bool = False,
) -> TorchModel:
    """Load a model whose pieces run on ``backend``; by torch if they cannot, and say why.

    Of several joined those that can; what runs each piece is to be told (``PieceModel.choose``).
    The whole network is compiled and run before anything else, and compared with torch on the
    seeded inputs: a runtime that computes something else is not used. One that chooses (boxes, the
    class of a pixel) is compared before and after that, since a choice may turn by rounding.

    Args:
        folder: What ``runtime/prepare.py`` saved.
        backend: Its name, or several joined: not ``auto`` or ``all``.
        threads: Compute threads, set for the calling thread.
        log: Gets the reason if torch must do.
        wait: Compile heads and tails before their first run (for measuring).

    Raises:
        ModelError: The model cannot be loaded at all.
        ConfigurationError: There is no such backend.
    """
    model = TorchBackend().load(folder)
    model.set_threads(threads)
    made = (_behind(model, folder, each, threads, log, wait) for each in parts(backend))
    # What cannot run the network comes back as torch, which is one of them or does no harm.
    models = {each.backend: each for each in made}
    if len(models) > 1 and TORCH not in parts(backend):
        models.pop(TORCH, None)
    return next(iter(models.values())) if len(models) == 1 else PieceModel(models)


def _behind(
    model: TorchModel, folder: Path, backend: str, threads: int, log: Log, wait: bool
) -> TorchModel:
    """The model behind one backend, or as it is."""
    name = parse(backend)
    if str(name) == TORCH:
        return model
    try:
        made: TorchModel
        if name.kind == TORCH:
            made = TorchBackend().place(model, name.device)
        else:
            made = _compiled(model, folder, backend, log, wait)
        made.set_threads(threads)
        _check(made, model, tolerance(name))
    except (ModelError, ImportError) as error:
        log(f'{backend} cannot run this network; torch does: {error}')
        return model
    return made


def _compiled(
    model: TorchModel, folder: Path, backend: str, log: Log, wait: bool
) -> CompiledModel:
    name = parse(backend)
    reason = missing(name.kind)
    if reason:
        raise ModelError(reason)
    onnx = OnnxProgram(model.program, folder)
    # Imported here: 0.1 s and 40 MiB that a robot with torch alone does not have.
    if name.kind == 'onnxruntime':
        from dnn_offload.runtime.backends.onnxruntime_backend import compiler
    elif name.kind == 'openvino':
        from dnn_offload.runtime.backends.openvino_backend import compiler
    else:
        raise ConfigurationError('no such backend', given=backend)
    return CompiledModel(
        model.program, model.weights, onnx, backend, compiler(folder, name.device),
        log=log, wait=wait,
    )


def _check(made: TorchModel, model: TorchModel, most: float) -> None:
    last = len(model.cuts) - 1
    if isinstance(made, CompiledModel):
        made.warm(0, last)
    segment, inputs = made.segment(0, last), seeded_inputs(model.program.inputs)
    found = made.run(segment, inputs)
    if isinstance(segment, CompiledSegment) and segment.failure:
        raise ModelError(segment.failure)  # of compiling, or of this run, which torch has done
    at = sampled_cut(model.program)
    if at == last:
        _compare(found, model.run(model.segment(0, last), inputs), most)
        return
    between = model.run(model.segment(0, at), inputs)
    _compare(_run_compiled(made, 0, at, inputs), between, most)
    after = model.run(model.segment(at, last), between)
    _compare(_run_compiled(made, at, last, between), after, most)


def _run_compiled(
    made: TorchModel, start: int, end: int, arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    if isinstance(made, CompiledModel):
        made.warm(start, end)
    return made.run(made.segment(start, end), arrays)


def _compare(found: list[np.ndarray], wanted: list[np.ndarray], most: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        off = deviation(one, other)
        if not off <= most:  # NaN, too
            raise ModelError('it computes something else than torch',
                             given=f'deviation {off:.2g}',
                             allowed=f'{most:g} of the largest number')


def deviation(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference, relative to the largest number that is wanted."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float('inf')
    if found.size == 0:
        return 0.0
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-12)
