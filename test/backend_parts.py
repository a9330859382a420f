"""Networks on disk, compilers that are none, and which runtimes there are. A helper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

import numpy as np
import pytest

from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.weights import save_weights
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.compiled import CompiledModel, OnnxProgram
from dnn_offload.runtime.backends.torch_backend import TorchBackend

INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(
        names.missing(name) != '', reason=names.missing(name)
    ))
    for name in names.COMPILED
]  # fmt: skip


def save(loaded: LoadedModel, folder: Path) -> Path:
    """Export a network into a folder."""
    program, weights = export(loaded)
    save_weights(folder, weights)
    program.save(folder)
    return folder


def wait_until(true: Callable[[], Any], timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def fake_compiler(delay_s: float = 0.0, error: Exception | None = None) -> Any:
    """Compiles to what torch would give: zeros of the right shape will do here."""

    def compile_piece(piece: Any, threads: int) -> Any:
        time.sleep(delay_s)
        if error is not None:
            raise error
        return lambda arrays: [np.zeros(b.shape, b.spec.dtype) for b in piece.outputs]

    return compile_piece


def with_compiler(folder: Path, compile_piece: Any, said: list[str]) -> CompiledModel:
    model = TorchBackend().load(folder)
    onnx = OnnxProgram(model.program, folder)
    return CompiledModel(
        model.program, model.weights, onnx, 'fake', compile_piece, log=said.append
    )
