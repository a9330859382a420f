"""Whether results can be written: asked before the work that makes them, not after it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
import tempfile

from dnn_offload.errors import ConfigurationError

PICTURES = ('.jpeg', '.jpg', '.pdf', '.png', '.svg')


def check_file(option: str, path: Path, endings: Collection[str] = ()) -> None:
    """Make sure that a file can be written; what is there already stays as it is.

    Args:
        option: Which argument names it, e.g. ``--plot``.
        path: The file.
        endings: Those that are known, where the ending says what is written; none = any.

    Raises:
        ConfigurationError: It cannot, or has another ending.
    """
    if endings and path.suffix.lower() not in endings:
        raise ConfigurationError(
            f'{option} needs a file whose ending names the format', given=str(path),
            allowed=', '.join(endings),
        )
    try:
        new = not path.exists()
        # Trying is the only sure way: root passes every check of permissions, also in /proc.
        # A pipe would wait for its reader.
        if new or path.is_file() or path.is_dir():
            path.open('ab').close()
        if new:
            path.unlink()
    except OSError as error:
        raise ConfigurationError(
            f'{option} cannot be written', given=f'{path}: {error.strerror or error}',
            allowed='a file in a folder that is there and may be written to',
        ) from error


def make_folder(option: str, path: Path) -> None:
    """Make a folder if need be, and sure that files can be written there.

    Args:
        option: Which argument names it.
        path: The folder.

    Raises:
        ConfigurationError: It cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigurationError(
            f'{option} cannot be written to', given=f'{path}: {error.strerror or error}',
            allowed='a folder, there or not yet, in which files may be made',
        ) from error
