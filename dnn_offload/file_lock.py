"""Whether somebody holds a lock on a file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def locked(path: Path) -> bool | None:
    """Whether a process holds a lock (flock) on a file; None when it may not be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)  # ends our own lock
    return False
