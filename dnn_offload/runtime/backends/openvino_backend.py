"""Segments run by openvino, on the device that its string names: ``CPU``, ``GPU``, ``NPU`` ...

openvino chooses bfloat16 or float16 by itself where the device is faster with it, which is
another network: float32 is asked for. What was compiled for a device other than the CPU (that
takes seconds to minutes) is kept on disk, in the place of one more copy of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
import tempfile

import numpy as np
import openvino

from dnn_offload.errors import ModelError
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from dnn_offload.runtime.backends.compiled import Compile, Runner
from dnn_offload.runtime.backends.onnx.lowering import OnnxPiece

CACHE = 'openvino_cache'
CPU = 'CPU'


def compiler(folder: Path, device: str) -> Compile:
    """What compiles pieces of the program in ``folder`` for a device; '' = the CPU.

    Raises:
        ModelError: There is no such device here.
    """
    core = openvino.Core()
    device = device or CPU
    _check_device(core, device)

    def compile_piece(piece: OnnxPiece, threads: int) -> Runner:
        settings: dict[str, object] = {
            'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY',
        }
        if device == CPU:
            # By itself openvino ties threads to the first cores, in every process the same ones:
            # two networks then share one core while others are idle (measured: half as fast).
            settings |= {
                'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1, 'ENABLE_CPU_PINNING': False,
            }
        else:
            settings['CACHE_DIR'] = str(folder / CACHE)
        compiled = core.compile_model(_read(core, piece, folder), device, settings)
        if device != CPU:
            prune(folder / CACHE, (folder / WEIGHTS_FILE).stat().st_size)
        return _runner(compiled.create_infer_request(), len(piece.outputs))

    return compile_piece


def _check_device(core: openvino.Core, device: str) -> None:
    """Every device that a string such as ``HETERO:GPU,CPU`` or ``GPU.0`` names must be there."""
    virtual, _, named = device.rpartition(':')
    found = core.available_devices
    kinds = {name.partition('.')[0] for name in found}
    for name in (named or virtual).split(','):
        if name not in kinds and name not in found:
            raise ModelError(
                'openvino has no such device here', given=device, allowed=', '.join(found),
                hint="look at openvino's list of drivers for it",
            )


def _read(core: openvino.Core, piece: OnnxPiece, folder: Path) -> openvino.Model:
    """The model; openvino finds the weights beside a file only, so there is one for a moment."""
    handle, path = tempfile.mkstemp('.onnx', 'piece_', folder)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(piece.data)
        return core.read_model(path)
    finally:
        os.unlink(path)


def _runner(request: openvino.InferRequest, count: int) -> Runner:
    def call(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        request.infer(list(arrays), share_inputs=True)
        # The request's own memory is written to by the next run: a kept tensor needs a copy.
        return [request.get_output_tensor(index).data.copy() for index in range(count)]

    return call


def prune(folder: Path, most_bytes: int) -> None:
    """Delete the oldest files of a folder until the rest takes no more than ``most_bytes``."""
    files = [(path.stat(), path) for path in folder.glob('*') if path.is_file()]
    held = sum(state.st_size for state, _ in files)
    for state, path in sorted(files, key=lambda file: file[0].st_mtime):
        if held <= most_bytes:
            return
        held -= state.st_size
        path.unlink(missing_ok=True)
