"""Signals of how loaded a Linux machine is, read from /proc: plain readings, no judgement.

Every reader takes the root of the file system (``root='/proc'``), so that tests can hand in
made-up files, and answers None or NaN where the kernel does not tell: a missing source is
not an error, the others stand in for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
import contextlib
import math
import os
from pathlib import Path
import threading
import time
from typing import NamedTuple

PROC = '/proc'
RUNNING = 'R'
_BLOCK_BYTES = 1 << 16
_SCHEDULER_CLOCK = 2  # of a process, as its C library's clock_getcpuclockid names it


class CpuTimes(NamedTuple):
    """Of one or several threads since their start [ns]: on a CPU, and waiting for one."""

    cpu_ns: int
    wait_ns: int


class ProbeRun(NamedTuple):
    """One made-up computation [ms]."""

    wall_ms: float
    cpu_ms: float


def _read(*path: str) -> str | None:
    """A file of /proc; None when it is not there or its process has gone.

    Some fifty times a second, so without the layers above the system calls: a third of the time.
    """
    try:
        handle = os.open('/'.join(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = b''
        while block := os.read(handle, _BLOCK_BYTES):
            text += block
        return text.decode('ascii', 'replace')
    except OSError:
        return None
    finally:
        os.close(handle)


def threads_of(pid: int, root: str = PROC) -> tuple[int, ...]:
    """Thread ids of a process; empty when it has gone."""
    try:
        names = os.listdir(Path(root, str(pid), 'task'))
    except OSError:
        return ()
    return tuple(sorted(int(name) for name in names if name.isdigit()))


def read_schedstat(
    pid: int, tids: Collection[int] = (), root: str = PROC
) -> CpuTimes | None:
    """CPU and run-queue time of a process's threads, summed.

    Args:
        pid: The process.
        tids: Threads that count; empty = all.
        root: Where /proc is.

    Returns:
        None when no such thread is there or the kernel keeps no schedstat.
    """
    cpu_ns = wait_ns = 0
    found = False
    for tid in tids or threads_of(pid, root):
        text = _read(root, str(pid), 'task', str(tid), 'schedstat')
        fields = (text or '').split()
        if len(fields) < 2:
            continue
        cpu_ns += int(fields[0])
        wait_ns += int(fields[1])
        found = True
    return CpuTimes(cpu_ns, wait_ns) if found else None


def read_process_cpu_ns(pid: int) -> int | None:
    """CPU time of a process so far, to the nanosecond; None when it has gone.

    By the clock that Linux keeps of each process: one call, where /proc has a file per thread.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | _SCHEDULER_CLOCK)
    except OSError:
        return None


def count_running(pid: int, tids: Collection[int] = (), root: str = PROC) -> int:
    """Threads of a process that run or want to run at this moment (state R)."""
    running = 0
    for tid in tids or threads_of(pid, root):
        text = _read(root, str(pid), 'task', str(tid), 'stat') or ''
        # The name in parentheses may contain anything, so look behind the last one.
        running += text.rpartition(')')[2].strip().startswith(RUNNING)
    return running


def read_procs_running(root: str = PROC) -> int | None:
    """Runnable threads of the whole machine, the reader itself among them."""
    for row in (_read(root, 'stat') or '').splitlines():
        if row.startswith('procs_running'):
            return int(row.split()[1])
    return None


def read_loadavg(root: str = PROC) -> float:
    """Load average over one minute, as the kernel reports it; NaN where it does not."""
    fields = (_read(root, 'loadavg') or '').split()
    return float(fields[0]) if fields else math.nan


def read_psi_us(root: str = PROC) -> int | None:
    """Time in which some thread waited for a CPU since boot [us].

    None where pressure stall information is switched off, as on Raspberry Pi kernels
    (``psi=1`` on the kernel's command line turns it on).
    """
    text = _read(root, 'pressure', 'cpu') or ''
    for row in text.splitlines():
        if row.startswith('some'):
            for field in row.split():
                if field.startswith('total='):
                    return int(field[len('total='):])
    return None


def cores_of(pid: int = 0) -> frozenset[int]:
    """Cores that a process may use (0 = this one); empty when it has gone."""
    try:
        return frozenset(os.sched_getaffinity(pid))
    except OSError:
        return frozenset()


def control_groups(file: Path) -> list[tuple[str, str]]:
    """Controllers (comma-separated; empty = version 2) and path of each group of a process.

    Args:
        file: Its ``cgroup`` in /proc.

    Returns:
        Empty where the kernel does not tell.
    """
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except OSError:
        return []
    parts = [line.split(':', 2) for line in lines]
    return [(part[1], part[2]) for part in parts if len(part) == 3]


def niceness_of(pid: int = 0) -> int:
    """Niceness of a process or thread (0 = the one that asks); 0 when it has gone."""
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except OSError:
        return 0


def run_probe(
    cpu_ms: float = 8.0, cores: Iterable[int] = (), nice: int | None = None
) -> ProbeRun:
    """Compute for ``cpu_ms`` of CPU time and see how long that takes.

    8 ms is longer than a scheduler's time slice: a shorter probe often finishes before
    anybody else gets the core (measured: 15 % error at 2 ms, 10 % at 8 ms).

    Args:
        cpu_ms: CPU time to spend [ms].
        cores: Cores to do it on, as the process that is asked about; the thread's own
            affinity is restored afterwards. Empty, or not permitted = where we are.
        nice: At the niceness of the process that is asked about. A thread can give way but not
            take that back, so another than ours means a thread that ends with the probe; a
            lower one, where it is not permitted, is ours.
    """
    if nice is None or nice == niceness_of():
        return _probe_here(cpu_ms, cores)
    runs: list[ProbeRun] = []

    def at_that_niceness() -> None:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        runs.append(_probe_here(cpu_ms, cores))

    thread = threading.Thread(target=at_that_niceness, name='probe', daemon=True)
    thread.start()
    thread.join()
    return runs[0]


def _probe_here(cpu_ms: float, cores: Iterable[int]) -> ProbeRun:
    wanted = set(cores)
    before = os.sched_getaffinity(0)
    if wanted and wanted != before:
        with contextlib.suppress(OSError):  # outside our cpuset: probe where we are
            os.sched_setaffinity(0, wanted)
    try:
        start_ns, start_cpu_ns = time.perf_counter_ns(), time.thread_time_ns()
        end_ns = start_cpu_ns + round(cpu_ms * 1e6)
        while time.thread_time_ns() < end_ns:
            sum(range(2000))  # some 20 us, so that reading the clock hardly counts
        spent_ns = time.thread_time_ns() - start_cpu_ns
        return ProbeRun((time.perf_counter_ns() - start_ns) / 1e6, spent_ns / 1e6)
    finally:
        if wanted and wanted != before:
            os.sched_setaffinity(0, before)
