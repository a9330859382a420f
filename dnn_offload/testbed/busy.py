"""Made load: processes that compute without end on given cores."""

from __future__ import annotations

import os
import subprocess
import sys

_LOOP = 'while True: sum(range(10000))'


class BusyProcesses:
    """Runs ``count`` busy processes while its ``with`` block lasts.

    Args:
        count: How many.
        cores: Where.
    """

    def __init__(self, count: int, cores: frozenset[int]) -> None:
        self._count = count
        self._cores = cores
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> BusyProcesses:
        for _ in range(self._count):
            process = subprocess.Popen([sys.executable, '-c', _LOOP])
            os.sched_setaffinity(process.pid, self._cores)
            self._processes.append(process)
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
