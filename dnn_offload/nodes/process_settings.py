"""What of the machine a node's process may take: cores, niceness, its place when memory runs out.

Navigation comes first: where both want a core or the last memory, ours yields. No ROS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
import contextlib
from dataclasses import dataclass, replace
import os
from pathlib import Path
import threading

from dnn_offload.cost.load_sources import control_groups
from dnn_offload.errors import ConfigurationError

MAX_CORES = 1024
PROCESS_PARAMETERS = {'cpu_affinity', 'nice', 'oom_score_adj'}
TASKS = Path('/proc/self/task')
OOM_SCORE_ADJ = Path('/proc/self/oom_score_adj')
AUTOGROUP = Path('/proc/sys/kernel/sched_autogroup_enabled')
CGROUPS = Path('/proc/self/cgroup')
CGROUP_FILES = Path('/sys/fs/cgroup')


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of one process.

    Attributes:
        cores: Cores that it may use.
        nice: Scheduling niceness; larger gives way to others.
        oom_score_adj: -1000 to 1000; of two processes of one size the kernel ends the one with
            more when memory runs out.
    """

    cores: frozenset[int]
    nice: int
    oom_score_adj: int

    @classmethod
    def now(cls) -> ProcessSettings:
        """Read those of this process."""
        return cls(
            frozenset(os.sched_getaffinity(0)),
            os.getpriority(os.PRIO_PROCESS, 0),
            _oom_score_adj(),
        )

    def yielding(
        self, cores: Collection[int], nice: int, oom_score_adj: int
    ) -> ProcessSettings:
        """Settings for a node of a process that was started with these.

        Whoever started it may have asked for more yielding (``Nice=`` of systemd): that stays,
        since taking it back needs privileges and was not meant. A niceness below 0 is meant.

        Args:
            cores: Parameter ``cpu_affinity``; empty = as started.
            nice: Parameter ``nice``.
            oom_score_adj: Parameter ``oom_score_adj``.
        """
        return replace(
            self,
            cores=frozenset(cores) or self.cores,
            nice=nice if nice < 0 else max(nice, self.nice),
            oom_score_adj=max(oom_score_adj, self.oom_score_adj),
        )

    def apply(self) -> str:
        """Apply to this process, all threads that exist; later ones inherit them.

        Returns:
            What could not be applied, with its cure; empty if all was.
        """
        problems = (
            _for_each_task(
                lambda task: os.sched_setaffinity(task, self.cores),
                f'cpu_affinity {sorted(self.cores)}', f'cores here: {sorted(cores_here())}',
            ),
            _for_each_task(
                self._renice, f'nice {self.nice}',
                'a lower one than before needs privileges (CAP_SYS_NICE or an entry in '
                '/etc/security/limits.conf)',
            ),
            _attempt(
                self._set_oom_score_adj, f'oom_score_adj {self.oom_score_adj}',
                'a lower one than before needs privileges (CAP_SYS_RESOURCE)',
            ),
        )
        return '; '.join(problem for problem in problems if problem)

    def _renice(self, task: int) -> None:
        if os.getpriority(os.PRIO_PROCESS, task) != self.nice:
            os.setpriority(os.PRIO_PROCESS, task, self.nice)

    def _set_oom_score_adj(self) -> None:
        if _oom_score_adj() != self.oom_score_adj:
            OOM_SCORE_ADJ.write_text(str(self.oom_score_adj), encoding='ascii')


def check_cores(cores: Collection[int]) -> None:
    """Refuse cores that are not there: the kernel would leave them out without a word.

    Raises:
        ConfigurationError: With those that are.
    """
    if cores and not cores_here().issuperset(cores):
        raise ConfigurationError(
            'parameter cpu_affinity is refused', given=str(sorted(cores)),
            allowed=f'cores that this process may have: {sorted(cores_here())}',
        )


def cores_here() -> frozenset[int]:
    """Cores that this process may be given, by the machine and by its container.

    The kernel tells only by what it leaves of a wish: a thread of its own wishes for all.
    """
    found = set(os.sched_getaffinity(0))

    def wish() -> None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(MAX_CORES))
            found.update(os.sched_getaffinity(0))

    thread = threading.Thread(target=wish, name='cores')
    thread.start()
    thread.join()
    return frozenset(found)


def _for_each_task(apply: Callable[[int], None], what: str, cure: str) -> str:
    """Apply to all threads; says what failed, with its cure."""
    def to_all() -> None:
        for task in TASKS.iterdir():
            with contextlib.suppress(ProcessLookupError):  # the thread ended meanwhile
                apply(int(task.name))

    return _attempt(to_all, what, cure)


def _attempt(apply: Callable[[], None], what: str, cure: str) -> str:
    """What failed, with its cure; '' if nothing did."""
    try:
        apply()
    except OSError as error:
        return f'cannot apply {what}: {error}; {cure}'
    return ''


def _oom_score_adj() -> int:
    """That of this process; 0 where a sandbox hides it."""
    try:
        return int(OOM_SCORE_ADJ.read_text(encoding='ascii'))
    except OSError:
        return 0


def why_nice_is_blind(
    autogroup: Path = AUTOGROUP, cgroups: Path = CGROUPS, files: Path = CGROUP_FILES
) -> str:
    """Why niceness does not count against all of this machine; '' if it does.

    With autogroups the kernel first shares a core among sessions (a terminal, a service), each
    alike, and by niceness within a session only (sched(7)). Processes in a control group with a
    CPU controller of its own are shared by the weights of the groups instead.
    """
    enabled = False
    with contextlib.suppress(OSError):
        enabled = autogroup.read_text(encoding='ascii').strip() == '1'
    if not enabled or _in_cpu_group(cgroups, files):
        return ''
    return (
        'niceness counts only against processes of the same terminal session or launch, since '
        'kernel.sched_autogroup_enabled is 1; to have it count everywhere: '
        'sudo sysctl -w kernel.sched_autogroup_enabled=0, or systemd with CPUWeight='
    )


def _in_cpu_group(cgroups: Path, files: Path) -> bool:
    """Whether this process is in a group below the root that has CPU shares of its own."""
    for controllers, path in control_groups(cgroups):
        if 'cpu' in controllers.split(',') and path != '/':
            return True  # version 1
        with contextlib.suppress(OSError):  # a folder that we may not look into
            if not controllers and (files / path.lstrip('/') / 'cpu.weight').exists():
                return True  # version 2
    return False
