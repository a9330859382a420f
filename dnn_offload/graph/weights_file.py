"""Whether a weights file is whole and belongs to a program, without torch and in no time.

Its header is read and held against the length of the file, not a byte of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
from typing import Any

from safetensors import safe_open, SafetensorError

from dnn_offload.errors import ModelError
from dnn_offload.graph.program import Program, WeightSpec

WEIGHTS_FILE = 'weights.safetensors'

SAFETENSORS_DTYPES = {
    'bool': 'BOOL',
    'uint8': 'U8',
    'int8': 'I8',
    'int16': 'I16',
    'int32': 'I32',
    'int64': 'I64',
    'float16': 'F16',
    'bfloat16': 'BF16',
    'float32': 'F32',
    'float64': 'F64',
}
_HINT = 'delete its folder and export again'


@contextlib.contextmanager
def opened(folder: Path | str, framework: str) -> Iterator[Any]:
    """The weights file of a folder; opening it compares the header with the file's length.

    Args:
        folder: Where it is.
        framework: Of what tensors are made: ``pt`` or ``np``.

    Raises:
        ModelError: It is missing, cut short or otherwise damaged.
    """
    path = Path(folder) / WEIGHTS_FILE
    try:
        with safe_open(str(path), framework=framework) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise ModelError(f'cannot read {path}: {error}', hint=_HINT) from error


def check_weights(folder: Path | str, program: Program) -> None:
    """Check that ``folder`` holds the weights of ``program``, as far as the header tells.

    Raises:
        ModelError: It does not.
    """
    with opened(folder, 'np') as file:
        check_file(file, folder, program)


def check_file(file: Any, folder: Path | str, program: Program) -> None:
    """Check that an opened file has every weight of ``program``, of its shape and dtype.

    Raises:
        ModelError: One is missing, or another.
    """
    path, names = Path(folder) / WEIGHTS_FILE, set(file.keys())
    for spec in program.weights:
        if spec.name not in names:
            raise ModelError(f'{path} lacks a weight', given=spec.name, hint=_HINT)
        stored = file.get_slice(spec.name)
        found = (tuple(stored.get_shape()), stored.get_dtype())
        wanted = (_stored_shape(spec), SAFETENSORS_DTYPES.get(spec.dtype))
        if found != wanted:
            raise ModelError(
                f'weight {spec.name!r} in {path} does not fit the program',
                given=str(found), allowed=str(wanted), hint=_HINT,
            )


def _stored_shape(spec: WeightSpec) -> tuple[int, ...]:
    """Of the permutation in which it lies in the file (``graph/weights.py``)."""
    if spec.channels_last and len(spec.shape) == 4:
        out, channels, height, width = spec.shape
        return out, height, width, channels
    return spec.shape
