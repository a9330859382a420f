"""Which files a user's factory read, so that its network is exported anew when one has changed.

``python:`` sources build their network by code: modules that the factory's own imports, weights,
names of classes. A network made of the old ones must not run on silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import functools
import json
from pathlib import Path
import site
import sys
import sysconfig
from typing import Any

from dnn_offload.whole_file import digest_of

READ_FILES = 'read_files.json'  # in the folder of a cached model: path to digest
_COMPILED = ('.pyc', '.so')

_noting: list[set[str]] = []  # one for each ``noting`` that is under way
_hooked = False


@contextlib.contextmanager
def noting() -> Iterator[set[str]]:
    """Gather the files that are read meanwhile, by whoever in this process; filled at the end.

    Left out is what belongs to Python and to installed packages: their versions are looked at.
    """
    global _hooked
    opened: set[str] = set()
    found: set[str] = set()
    before = set(sys.modules)
    _noting.append(opened)
    if not _hooked:
        _hooked = True  # a hook cannot be taken away again
        sys.addaudithook(_audit)
    with contextlib.ExitStack() as stack:
        stack.callback(_noting.remove, opened)
        _watch_safetensors(stack, opened)
        yield found
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], '__file__', None)
        if isinstance(path, str):
            opened.add(path)
    found |= {path for path in map(_resolved, opened) if path and not _installed(path)}


def digests(paths: set[str]) -> dict[str, str]:
    """Path to the digest of its content; those that have gone are left out."""
    return {path: found for path in sorted(paths) if (found := _digest(path))}


def changed_file(folder: Path) -> str:
    """The first file of those noted in a folder that is not what it was; '' if all are."""
    try:
        noted: Any = json.loads((folder / READ_FILES).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return ''
    except (OSError, ValueError):
        return READ_FILES
    if not isinstance(noted, Mapping):
        return READ_FILES
    return next((str(path) for path, then in noted.items() if _digest(str(path)) != then), '')


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != 'open' or not _noting:
        return
    path, mode = arguments[0], arguments[1]
    if isinstance(path, str) and (mode is None or 'r' in str(mode)):
        for opened in _noting:
            opened.add(path)


def _watch_safetensors(stack: contextlib.ExitStack, opened: set[str]) -> None:
    """Its files are opened beside Python's ``open``."""
    import safetensors
    import safetensors.torch

    original = safetensors.safe_open

    def noted(filename: Any, *arguments: Any, **named: Any) -> Any:
        opened.add(str(filename))
        return original(filename, *arguments, **named)

    modules: tuple[Any, ...] = (safetensors, safetensors.torch)
    for module in modules:
        if getattr(module, 'safe_open', None) is original:
            module.safe_open = noted
            stack.callback(setattr, module, 'safe_open', original)


def _resolved(path: str) -> str:
    try:
        found = Path(path).resolve()
        return str(found) if found.is_file() else ''
    except OSError:
        return ''


def _installed(path: str) -> bool:
    return path.endswith(_COMPILED) or path.startswith(_installed_places())


@functools.cache
def _installed_places() -> tuple[str, ...]:
    places = {
        *sysconfig.get_paths().values(), *site.getsitepackages(), '/proc', '/sys', '/dev', '/etc',
        str(Path(__file__).parent.parent),
    }
    return tuple(f'{Path(place).resolve()}/' for place in places)


def _digest(path: str) -> str:
    try:
        return digest_of(Path(path))
    except OSError:
        return ''
