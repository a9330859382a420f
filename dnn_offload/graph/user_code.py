"""Code of the user's own that fails: where, in one line."""

from __future__ import annotations

from pathlib import Path
import sysconfig
import traceback
from types import TracebackType

import torch

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ('stdlib', 'purelib', 'platlib')})


def failure(error: BaseException) -> str:
    """An exception for people, e.g. ``RuntimeError: no weights``; its first line."""
    if isinstance(error, SystemExit):
        return f'it ended the program by sys.exit({error.code!r})'
    reason = next(iter(str(error).strip().splitlines()), '')[:160]
    return f'{type(error).__name__}: {reason}' if reason else type(error).__name__


def line_of_user(error: BaseException) -> str:
    """The last line of the user's code that an exception passed, ``''`` if none.

    Where no line is outside of installed libraries, the last one that is not torch's.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return _shown(error.text or '', error.filename, error.lineno)
    return line_of_trace(error.__traceback__)


def line_of_trace(trace: TracebackType | None) -> str:
    """The same, given the traceback."""
    library = user = ''
    for frame in traceback.extract_tb(trace):
        if frame.filename.startswith((_TORCH, _OURS, '<')):
            continue
        library = _shown(frame.line or '', frame.filename, frame.lineno)
        if not frame.filename.startswith(_LIBRARIES):
            user = library
    return user or library


def _shown(line: str, file: str, number: int | None) -> str:
    return f'{line.strip()} ({Path(file).name}:{number})'.strip()
