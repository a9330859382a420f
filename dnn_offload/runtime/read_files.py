"""Which files a user's factory read, so that its network is exported anew when one has changed.

``python:`` sources build their network by code: modules that the factory's own imports, weights,
names of classes. A network made of the old ones must not run on silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import importlib.metadata
import json
from pathlib import Path
import site
import sys
import sysconfig
from typing import Any

from dnn_offload.whole_file import digest_of

READ_FILES = 'read_files.json'  # in the folder of a cached model: path to digest
PACKAGE = 'package:'  # so begins what is noted of an installed package: its name to its version
_COMPILED = ('.pyc', '.so')

_noting: list[set[str]] = []  # one for each ``noting`` that is under way
_hooked = False


@contextlib.contextmanager
def noting() -> Iterator[Callable[[], dict[str, str]]]:
    """Watch what is read meanwhile, by whoever in this process; what is given tells it.

    That is a digest of each file, also of modules that were imported before, and the version of
    each installed package of which a module is loaded. Files that are opened beside Python (by
    C++ code) are not seen.
    """
    global _hooked
    opened: set[str] = set()
    _noting.append(opened)
    if not _hooked:
        _hooked = True  # a hook cannot be taken away again
        sys.addaudithook(_audit)
    with contextlib.ExitStack() as stack:
        stack.callback(_noting.remove, opened)
        _watch_safetensors(stack, opened)
        yield lambda: _noted(opened)


def _noted(opened: set[str]) -> dict[str, str]:
    modules = {getattr(module, '__file__', None) for module in list(sys.modules.values())}
    every = {path for path in modules if isinstance(path, str)} | set(opened)
    paths = {path for path in map(_resolved, every) if path and not _installed(path)}
    read = {path: found for path in sorted(paths) if (found := _digest(path))}
    owners = importlib.metadata.packages_distributions()
    top = {name.partition('.')[0] for name in list(sys.modules)}
    packages = {owner for name in top for owner in owners.get(name, ())}
    return read | {PACKAGE + name: package_version(name) for name in sorted(packages)}


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
    return next((str(name) for name, then in noted.items() if _now(str(name)) != then), '')


def _now(name: str) -> str:
    """Digest of a file, version of a package."""
    if name.startswith(PACKAGE):
        return package_version(name.removeprefix(PACKAGE))
    return _digest(name)


def package_version(package: str) -> str:
    """Version of an installed distribution; '' where it is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != 'open' or not _noting:
        return
    path, mode = arguments[0], arguments[1]
    if isinstance(path, str) and (mode is None or 'r' in str(mode)):
        for opened in _noting:
            opened.add(path)


def _watch_safetensors(stack: contextlib.ExitStack, opened: set[str]) -> None:
    """Its files are opened beside Python's ``open``.

    Its torch half imports torch, so it is not imported here; imported later, it takes what it
    finds in the other.
    """
    import safetensors

    original = safetensors.safe_open

    def noted(filename: Any, *arguments: Any, **named: Any) -> Any:
        opened.add(str(filename))
        return original(filename, *arguments, **named)

    def put(now: Any, before: Any) -> None:
        for module in (safetensors, sys.modules.get('safetensors.torch')):
            if getattr(module, 'safe_open', None) is before:
                module.safe_open = now  # type: ignore[union-attr]

    put(noted, original)
    stack.callback(put, original, noted)


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
    # Not all of Python's: the ``data`` of a virtual environment may be the user's own folder.
    kinds = ('stdlib', 'platstdlib', 'purelib', 'platlib')
    places = {
        *(sysconfig.get_path(kind) for kind in kinds), *site.getsitepackages(),
        '/proc', '/sys', '/dev', str(Path(__file__).parent.parent),
    }
    return tuple(f'{Path(place).resolve()}/' for place in places)


def _digest(path: str) -> str:
    try:
        return digest_of(Path(path))
    except OSError:
        return ''
