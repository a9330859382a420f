"""Slower machines out of one: CPU quotas by cgroup, version 1 or 2. Root only.

A period of 5 ms, not the kernel's 100 ms: with that, short work runs at full speed and long work
waits for the rest of the period, which is not what a slower processor does. The kernel grants no
less than 1 ms at a time, so that below a fifth of a core the period becomes longer.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
import re
import signal
import time

from dnn_offload.errors import ConfigurationError, OffloadError
from dnn_offload.testbed.left_over import is_alive

PERIOD_US = 5_000
MIN_QUOTA_US = 1_000      # kernel/sched/core.c: min_cfs_quota_period
MAX_PERIOD_US = 1_000_000
MIN_SPEED = MIN_QUOTA_US / MAX_PERIOD_US
_ROOT = Path('/sys/fs/cgroup')
_PREFIX = 'dnn_offload_'
_EMPTY_TIMEOUT_S = 3.0
_UNUSED = {'cpu.max': 'max', 'cpu.weight': '100', 'cpu.idle': '0'}  # how groups begin, version 2
_shared: set[Path] = set()  # where this process lets groups have quotas, and nobody did before


def quota_us(speed: float) -> tuple[int, int]:
    """Quota and period of a share of one core [us].

    Args:
        speed: In cores: 0.25 = a quarter of one, 2 = two whole ones.

    Raises:
        ConfigurationError: Not positive, or less than the kernel can grant.
    """
    if not speed >= MIN_SPEED:
        raise ConfigurationError(
            'speed of a machine', given=speed, allowed=f'{MIN_SPEED:g} cores or more'
        )
    period = min(max(PERIOD_US, round(MIN_QUOTA_US / speed)), MAX_PERIOD_US)
    return max(round(speed * period), MIN_QUOTA_US), period


def cgroup_folder(root: Path = _ROOT) -> tuple[Path, int] | None:
    """Where groups with a CPU quota are made, and the version of cgroups there; None = nowhere."""
    if (root / 'cpu' / 'cpu.cfs_quota_us').exists() or (root / 'cpu' / 'tasks').exists():
        return root / 'cpu', 1
    controllers = root / 'cgroup.controllers'
    if controllers.exists() and 'cpu' in controllers.read_text(encoding='ascii').split():
        return root, 2
    return None


def why_no_quota(root: Path = _ROOT) -> str:
    """Why CPU quotas cannot be made here; '' when they can."""
    if os.geteuid() != 0:
        return 'CPU quotas need root'
    found = cgroup_folder(root)
    if found is None:
        return f'no CPU controller of cgroups in {root}'
    if not os.access(found[0], os.W_OK):
        return f'{found[0]} cannot be written'
    if found[1] == 2:
        try:
            _share_cpu(found[0])
        except OffloadError as error:  # as in a container: its root group is not the kernel's
            return f'processes in {found[0]} itself keep its groups from having quotas: {error}'
        _unshare_cpu(found[0])
    return ''


class CpuGroup:
    """Processes that share a quota, while the ``with`` block lasts; what is left is killed then.

    Groups of processes that were killed before they could remove theirs are removed on entering.
    With version 2 the last group of a process takes back that groups may have quotas, if that was
    its doing and nobody uses it; after a kill -9 it stays, as nobody knows whose doing it was.

    Args:
        name: Of the machine that is played, e.g. ``robot``.
        speed: Share of one core (``quota_us``); 0 = no limit, the group only counts.
        root: Where cgroups are.

    Attributes:
        folder: The group.
    """

    def __init__(self, name: str, speed: float = 0.0, root: Path = _ROOT) -> None:
        self._root, self._speed = root, speed
        self._name = f'{_PREFIX}{os.getpid()}_{name}'
        if speed:
            quota_us(speed)
        self.folder = Path()

    def __enter__(self) -> CpuGroup:
        reason = why_no_quota(self._root)
        found = cgroup_folder(self._root)
        if reason or found is None:
            raise OffloadError('cannot limit the CPU', hint=reason)
        base, version = found
        remove_left_over(self._root)
        try:
            if version == 2:
                _share_cpu(base)
            self.folder = base / self._name
            self.folder.mkdir(exist_ok=True)
            if self._speed:
                self.limit(self._speed, version)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        _remove(self.folder)
        found = cgroup_folder(self._root)
        if found is not None:
            _unshare_cpu(found[0])

    def limit(self, speed: float, version: int) -> None:
        """Set the quota."""
        quota, period = quota_us(speed)
        if version == 2:
            _write(self.folder / 'cpu.max', f'{quota} {period}')
        else:
            _write(self.folder / 'cpu.cfs_period_us', str(period))
            _write(self.folder / 'cpu.cfs_quota_us', str(quota))

    def tasks(self) -> list[int]:
        """Thread ids of all that is in the group."""
        for name in ('cgroup.threads', 'tasks'):
            with contextlib.suppress(OSError):
                return [int(word) for word in (self.folder / name).read_text().split()]
        return []


def entrance(folder: Path) -> Path:
    """The file into which a process writes 0 to enter a group."""
    return folder / 'cgroup.procs'


def remove_left_over(root: Path = _ROOT) -> None:
    """Remove the groups of processes that have ended, and what runs in them."""
    found = cgroup_folder(root)
    for path in () if found is None else found[0].glob(f'{_PREFIX}*'):
        match = re.fullmatch(rf'{_PREFIX}(\d+)_\w+', path.name)
        if match is not None and not is_alive(int(match[1])):
            _remove(path)


def _share_cpu(base: Path) -> None:
    """Let groups below have quotas (version 2)."""
    control = base / 'cgroup.subtree_control'
    if not control.exists() or 'cpu' not in control.read_text(encoding='ascii').split():
        _write(control, '+cpu')
        _shared.add(base)


def _unshare_cpu(base: Path) -> None:
    """Take that back if it was ours, unless a group there has come to use it (version 2)."""
    if base not in _shared:
        return
    for group in (path for path in base.iterdir() if path.is_dir()):
        if group.name.startswith(_PREFIX):
            return  # one of ours that is still there, or another process's
        for name, unused in _UNUSED.items():
            with contextlib.suppress(OSError):  # gone meanwhile, or an older kernel
                if (group / name).read_text(encoding='ascii').split()[0] != unused:
                    return
    _shared.discard(base)
    with contextlib.suppress(OffloadError):  # a group further down uses it
        _write(base / 'cgroup.subtree_control', '-cpu')


def _remove(folder: Path) -> None:
    """Kill what is in a group, and remove it."""
    end_s = time.monotonic() + _EMPTY_TIMEOUT_S
    while folder.name and folder.is_dir():
        try:
            folder.rmdir()
            return
        except OSError as error:
            pids = entrance(folder).read_text(encoding='ascii').split()
            if time.monotonic() > end_s:
                raise OffloadError(
                    'cannot remove a control group', given=str(folder),
                    hint=f'{error.strerror}; processes in it: {" ".join(pids) or "none"}',
                ) from error
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.02)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding='ascii')
    except OSError as error:
        raise OffloadError(
            'cannot set up a CPU quota', given=f'{text} into {path}', hint=str(error.strerror)
        ) from error
