"""How many compute threads run a network where no number is named."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dnn_offload.cost.load_sources import cores_of

PER_CORE = 0  # of the parameter: as many threads as there are physical cores
# On a robot navigation comes first; on a server a tail has all there is.
DEFAULTS = {'edge': 1, 'server': PER_CORE}
MOST = 8      # the layers of the networks this is for have no work for more
_CPUS = 'sys/devices/system/cpu'
_QUOTA = 'sys/fs/cgroup/cpu.max'


def thread_count(wanted: int, root: Path = Path('/')) -> int:
    """The count that is wanted, or one thread per physical core that this process may use.

    A second thread on the same core waits for the first one's arithmetic. A container that may use
    two cores' time of sixteen has two: more would all stand still for the rest of each period.

    Args:
        wanted: 1 or more, or ``PER_CORE``.
        root: Where /sys is.

    Returns:
        1 or more; at most ``MOST`` where none was named.
    """
    if wanted != PER_CORE:
        return wanted
    cores = len({_core_of(cpu, root) for cpu in _usable()})
    return max(1, min(cores, _quota_cores(root), MOST))


def _usable() -> Collection[int]:
    return cores_of()


def _core_of(cpu: int, root: Path) -> tuple[str, str]:
    """Package and core of a logical processor; itself where the machine does not tell."""
    folder = root / _CPUS / f'cpu{cpu}' / 'topology'
    try:
        return (folder / 'physical_package_id').read_text(), (folder / 'core_id').read_text()
    except OSError:
        return '', str(cpu)


def _quota_cores(root: Path) -> int:
    """Whole cores' worth of time that a container has, at least 1; ``MOST`` if it is not told."""
    try:
        quota_us, period_us = (root / _QUOTA).read_text().split()
        return max(1, int(quota_us) // int(period_us))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or max: no limit
        return MOST
