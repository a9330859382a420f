"""Files that other processes read while they are written: whole, or as they were.

That holds for a power cut, too: bytes are on the disk before the name is, since file systems
may keep a rename and lose what was written before it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import os
from pathlib import Path
import re
import time
from typing import BinaryIO
import zlib

_PART = re.compile(r'\.(\d+)\.part$')  # NAME.PID.part
_BLOCK_BYTES = 1 << 20
OLD_S = 3600.0  # nobody writes to one file for so long: its PID is another process's by now


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name ``path`` when the block ends well, and else is gone.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_suffix(f'.{os.getpid()}.part')
    try:
        with temporary.open('wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it.

    Raises:
        OSError: It cannot be written.
    """
    with whole_file(path) as file:
        file.write(data)


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def check_sum_of(path: Path) -> int:
    """CRC-32 of a file's content, in a quarter of a digest's time: against accidents.

    Raises:
        OSError: It cannot be read.
    """
    total = 0
    for block in _blocks(path):
        total = zlib.crc32(block, total)
    return total


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open('rb') as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left in ``folder`` that were killed while they wrote."""
    for path in folder.glob('*.part'):
        found = _PART.search(path.name)
        # Somebody else's cleaning up may come first, and what cannot be removed harms nobody.
        with contextlib.suppress(OSError):
            if found and (not _runs(int(found[1])) or _age_s(path) > OLD_S):
                path.unlink()


def _sync_folder(folder: Path) -> None:
    # Not every file system can; then the name is as safe as it makes it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime
