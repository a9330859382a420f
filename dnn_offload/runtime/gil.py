"""How long a thread waits for the interpreter lock: what holds it stops inference."""

from __future__ import annotations

from dataclasses import dataclass
import threading
import time

from dnn_offload.runtime.shared import ThreadClock

PERIOD_S = 1e-3


@dataclass(frozen=True)
class GilReport:
    """Longest delays since the last report [ms].

    Attributes:
        longest_ms: Longest time from being due to running Python code, less the time in the
            CPU's run queue: what the interpreter lock alone accounts for.
        longest_raw_ms: The same with the run queue in it.
        wakes: How often was looked.
    """

    longest_ms: float
    longest_raw_ms: float
    wakes: int


class GilMonitor:
    """A thread that sleeps 1 ms at a time and notes how late it can go on.

    Sleeping releases the lock; waking needs it back. Being late by more than the sleep thus
    means that somebody held the lock, or that the CPU was taken; the kernel tells the latter
    (schedstat), and it is taken out; a holder of the lock that itself waits for a CPU does count.
    Costs about 1 % of a core: for diagnosis.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._longest_ms = 0.0
        self._longest_raw_ms = 0.0
        self._wakes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name='gil monitor', daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(1.0)

    def take(self) -> GilReport:
        """The longest delays since the last call."""
        with self._lock:
            report = GilReport(self._longest_ms, self._longest_raw_ms, self._wakes)
            self._longest_ms = self._longest_raw_ms = 0.0
            self._wakes = 0
        return report

    def take_longest_ms(self) -> float:
        """The longest delay by the interpreter lock since the last call [ms]."""
        return self.take().longest_ms

    def _loop(self) -> None:
        clock = ThreadClock()
        try:
            while not self._stop.is_set():
                _, spent = clock.measure(lambda: time.sleep(PERIOD_S))
                late_ms = spent.wall_ms - PERIOD_S * 1e3
                with self._lock:
                    self._wakes += 1
                    self._longest_raw_ms = max(self._longest_raw_ms, late_ms)
                    self._longest_ms = max(self._longest_ms, late_ms - spent.wait_ms)
        finally:
            clock.close()
