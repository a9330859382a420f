"""The monitor of the interpreter lock sees who holds it."""

from __future__ import annotations

import random
import time

from dnn_offload.runtime.gil import GilMonitor


def test_a_long_call_that_keeps_the_lock_is_seen() -> None:
    numbers = [random.random() for _ in range(400_000)]
    monitor = GilMonitor()
    monitor.start()
    try:
        time.sleep(0.05)
        assert monitor.take().wakes > 5
        started_s = time.perf_counter()
        numbers.sort()  # one call into C that never lets go
        held_ms = (time.perf_counter() - started_s) * 1e3
        time.sleep(0.05)
        report = monitor.take()
        assert report.longest_raw_ms >= 0.8 * held_ms
        # The sorting thread's own waiting for a CPU is in `held_ms`, and the monitor's is not.
        assert report.longest_ms <= report.longest_raw_ms
        assert monitor.take_longest_ms() < held_ms
    finally:
        monitor.stop()
