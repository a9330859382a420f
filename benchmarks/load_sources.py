"""What each load source says against the true slow-down of inference-like work.

Starts busy processes (plain and niced), measures how much longer 9 ms of CPU time take at
10 Hz, and reads all sources meanwhile: ``auto`` as it is, and ``auto`` without ``schedstat``,
which is the what-if question of a robot that computes nothing.

Run: ``python benchmarks/load_sources.py [--seconds 6] [--cores 2]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import math
import os
import select
import statistics
import subprocess
import sys
import time

from dnn_offload.cost.load import combine, LoadReadings, LoadTracker
from dnn_offload.testbed.busy import BusyProcesses
from dnn_offload.testbed.processes import bound_to_us

WORK_MS = 9.0
FRAME_S = 0.1
SOURCES = ('schedstat', 'probe', 'procs_running', 'psi', 'loadavg_own_removed')


class Worker:
    """A process that computes like a small network at 10 Hz until it is stopped.

    A process, not a thread: the probe must meet it in the scheduler, not at Python's lock.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, '--work'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=bound_to_us(),
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it says when it is ready

    @property
    def pid(self) -> int:
        """Its process id, and that of its only thread."""
        return self._process.pid

    def stop(self) -> float:
        """Stop it; mean wall time of its frames [ms]."""
        answer, _ = self._process.communicate('stop\n')
        return float(answer)


def work() -> None:
    """What the worker process does."""
    rounds = _rounds(WORK_MS)
    print('ready', flush=True)
    walls_ms = []
    while not select.select([sys.stdin], [], [], FRAME_S)[0]:
        start = time.perf_counter()
        _compute(rounds)
        walls_ms.append(1e3 * (time.perf_counter() - start))
    print(statistics.mean(walls_ms))


def _compute(rounds: int) -> None:
    for _ in range(rounds):
        sum(range(2000))


def _rounds(ms: float) -> int:
    start = time.thread_time()
    _compute(2000)
    return max(round(2000 * ms / 1e3 / (time.thread_time() - start)), 1)


def observe(tracker: LoadTracker, seconds: float) -> LoadReadings:
    """Readings after so long, sampled as the load monitor does."""
    readings = LoadReadings()
    for tick in range(round(seconds * 25)):
        now_s = time.monotonic()
        tracker.sample(now_s)
        if tick % 12 == 0:
            tracker.probe(now_s)
        if tick % 5 == 0:
            readings = tracker.readings(now_s)
        time.sleep(0.04)
    return readings


def measure(seconds: float) -> tuple[float, LoadReadings]:
    """Slow-down of the frames and the readings meanwhile."""
    tracker = LoadTracker()
    worker = Worker()
    tracker.watch(worker.pid, (worker.pid,))
    readings = observe(tracker, seconds)
    return worker.stop() / WORK_MS, readings


def main() -> int:
    """Print a row per load."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=6.0, help='per reading')
    parser.add_argument('--cores', type=int, default=0, help='keep to so many cores; 0 = all')
    parser.add_argument('--work', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work()
        return 0
    if args.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    cores = len(os.sched_getaffinity(0))
    already = measure(args.seconds)[0]
    print(f'{cores} of {os.cpu_count()} cores; slow-down before we add anything: {already:.2f}')
    print(f'{"busy":>10} {"true":>6} {"running: auto":>24} {"what if: auto":>24}  all sources')
    errors: dict[str, list[float]] = {}
    for count, nice in ((1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (2, 10), (4, 10)):
        processes = max(count * cores // 2, 1)
        with BusyProcesses(processes, frozenset(os.sched_getaffinity(0)), nice):
            time.sleep(1.0)
            true, readings = measure(args.seconds)
        what_if = combine(replace(readings, schedstat=math.nan))
        parts = []
        for name in SOURCES:
            value = readings.of(name)
            parts.append(f'{name} {value:.2f}')
            if math.isfinite(value):
                errors.setdefault(name, []).append(abs(value / true - 1.0))
        label = f'{processes}{" niced" if nice else ""}'
        print(
            f'{label:>10} {true:6.2f} {readings.factor:8.2f} {readings.source:>15} '
            f'{what_if[0]:8.2f} {what_if[1]:>15}  {", ".join(parts)}',
            flush=True,
        )
    for name, values in errors.items():
        print(f'mean error of {name}: {100 * statistics.mean(values):.0f} %')
    return 0


if __name__ == '__main__':
    sys.exit(main())
