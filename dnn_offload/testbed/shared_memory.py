"""What Fast DDS leaves in shared memory where a process is killed: each segment is memory.

The owner of a segment holds a lock (flock) on the file beside it, and takes that before it makes
the segment. So a segment whose lock is free belongs to nobody, whoever tries it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
import contextlib
import os
from pathlib import Path
import re

from dnn_offload.file_lock import locked

FOLDER = Path('/dev/shm')
_SEGMENT = re.compile(r'fastrtps_[0-9a-f]{16}')
_LOCK = '_el'


@contextlib.contextmanager
def swept_segments(folder: Path = FOLDER) -> Iterator[None]:
    """Remove what processes left that were killed meanwhile; what was there before stays.

    Killing is what tests, the demo and the bench are for: 0.5 to 16 MB each time, until the
    machine is started anew.
    """
    before = segments(folder)
    try:
        yield
    finally:
        sweep(before, folder)


def sweep(before: Collection[str], folder: Path = FOLDER) -> bool:
    """Remove what nobody owns, but for ``before``; tells whether somebody still owns some."""
    new = segments(folder).difference(before)
    dead = nobodys(new, folder)
    for name in dead:
        (folder / name).unlink(missing_ok=True)
        (folder / f'{name}{_LOCK}').unlink(missing_ok=True)
    return len(dead) < len(new)


def segments(folder: Path = FOLDER) -> set[str]:
    """Names of what is there, whoever owns it."""
    try:
        return {name for name in os.listdir(folder) if _SEGMENT.fullmatch(name)}
    except OSError:
        return set()  # no such folder: nothing is left anywhere


def nobodys(names: Iterable[str], folder: Path = FOLDER) -> list[str]:
    """Those whose owner is gone."""
    # Where we may not look (None) it is somebody else's.
    return [name for name in names if locked(folder / f'{name}{_LOCK}') is False]
