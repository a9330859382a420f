"""Files that other processes read while they are written: whole, or as they were."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_suffix(f'.{os.getpid()}.part')
    temporary.write_bytes(data)
    os.replace(temporary, path)
