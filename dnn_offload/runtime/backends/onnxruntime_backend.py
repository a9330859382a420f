"""Segments run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import functools
from pathlib import Path

import numpy as np
import onnxruntime

from dnn_offload.runtime.backends.compiled import Compile, Runner
from dnn_offload.runtime.backends.onnx.lowering import OnnxPiece

_ERRORS_ONLY = 3


def compiler(folder: Path, device: str) -> Compile:
    """What compiles pieces of the program in ``folder``; the CPU is the only device."""
    _share_memory()

    def compile_piece(piece: OnnxPiece, threads: int) -> Runner:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that spin for work take it from navigation.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.add_session_config_entry('session.use_env_allocators', '1')
        options.add_session_config_entry(
            'session.model_external_initializers_file_folder_path', str(folder)
        )
        session = onnxruntime.InferenceSession(
            piece.data, options, providers=['CPUExecutionProvider']
        )
        return _runner(session.run, piece)

    return compile_piece


@functools.cache
def _share_memory() -> None:
    """One heap for all sessions of the process: with one each, SqueezeNet takes 33 MB more."""
    memory = onnxruntime.OrtMemoryInfo(
        'Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    limits = onnxruntime.OrtArenaCfg(0, -1, -1, -1)  # all as onnxruntime has them for a session
    onnxruntime.create_and_register_allocator(memory, limits)


def _runner(run: Callable[..., list[np.ndarray]], piece: OnnxPiece) -> Runner:
    inputs = [border.name for border in piece.inputs]
    outputs = [border.name for border in piece.outputs]

    def call(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return run(outputs, dict(zip(inputs, arrays, strict=True)))

    return call
