"""Whose namespaces and control groups may be removed: their maker's number is in their names."""

from __future__ import annotations

from pathlib import Path


def is_alive(pid: int, proc: Path = Path('/proc')) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for has."""
    try:
        state = (proc / str(pid) / 'stat').read_text(encoding='ascii', errors='replace')
    except OSError:
        return False
    return state.rpartition(')')[2].split()[:1] not in (['Z'], ['X'])
