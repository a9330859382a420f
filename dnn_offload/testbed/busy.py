"""Made load: processes that compute without end on given cores."""

from __future__ import annotations

import os
import subprocess
import sys

from dnn_offload.testbed.processes import bound_to_us

_LOOP = 'while True: sum(range(10000))'


class BusyProcesses:
    """Runs ``count`` busy processes while its ``with`` block lasts, and not after the program.

    Args:
        count: How many.
        cores: Where.
        nice: Their niceness.
    """

    def __init__(self, count: int, cores: frozenset[int], nice: int = 0) -> None:
        self._count = count
        self._cores = cores
        self._nice = nice
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> BusyProcesses:
        bind = bound_to_us()

        def prepare() -> None:
            os.sched_setaffinity(0, self._cores)
            os.nice(self._nice)
            bind()

        try:
            for _ in range(self._count):
                self._processes.append(
                    subprocess.Popen([sys.executable, '-c', _LOOP], preexec_fn=prepare)
                )
        except BaseException:  # a signal, say: those that were started are busy already
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()
