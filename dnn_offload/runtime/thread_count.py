"""How many compute threads run a network where no number is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dnn_offload.cost.load_sources import control_groups, cores_of

PER_CORE = 0  # of the parameter: as many threads as there are physical cores
# On a robot navigation comes first; on a server a tail has all there is.
DEFAULTS = {'edge': 1, 'server': PER_CORE}
MOST = 8      # the layers of the networks this is for have no work for more
_CPUS = 'sys/devices/system/cpu'
_GROUPS = 'sys/fs/cgroup'


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
    cores = len({_core_of(cpu, root) for cpu in cores_of()})
    return max(1, min(cores, _quota_cores(root), MOST))


def _core_of(cpu: int, root: Path) -> tuple[str, str]:
    """Package and core of a logical processor; itself where the machine does not tell."""
    folder = root / _CPUS / f'cpu{cpu}' / 'topology'
    try:
        return (folder / 'physical_package_id').read_text(), (folder / 'core_id').read_text()
    except OSError:
        return '', str(cpu)


def _quota_cores(root: Path) -> int:
    """Whole cores' worth of time that our control groups leave, at least 1; ``MOST`` = all."""
    least = float(MOST)
    for folder in _groups(root):
        for names in (('cpu.max',), ('cpu.cfs_quota_us', 'cpu.cfs_period_us')):
            try:
                quota, period = ' '.join((folder / name).read_text() for name in names).split()
                if int(quota) > 0:  # version 1 says -1 where version 2 says max: no limit
                    least = min(least, int(quota) / int(period))
            except (OSError, ValueError, ZeroDivisionError):
                continue
    return max(1, int(least))


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that this process is in, up to the top of each tree."""
    for controllers, path in control_groups(root / 'proc/self/cgroup') or [('', '/')]:
        if controllers and 'cpu' not in controllers.split(','):
            continue
        # In a container the path is the host's, and the group is the top of what is seen.
        for top in (root / _GROUPS / controllers, root / _GROUPS / 'cpu'):
            own = Path(path.lstrip('/'))
            yield from (top / each for each in (own, *own.parents))
