"""The monitor of the interpreter lock sees who holds it."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

import pytest

from dnn_offload.runtime import gil
from dnn_offload.runtime.gil import GilMonitor, PERIOD_S
from dnn_offload.runtime.shared import Spent

HOLD_MS = 200.0


def count_for(duration_ms: float) -> int:
    """How far to add up to be busy for so long, in CPU time."""
    count = 100_000
    while True:
        started_s = time.thread_time()
        sum(range(count))
        took_ms = (time.thread_time() - started_s) * 1e3
        if took_ms > duration_ms / 10.0:
            return int(count * duration_ms / took_ms * 1.2)
        count *= 4


def test_a_long_call_that_keeps_the_lock_is_seen_and_quiet_is_not() -> None:
    count = count_for(HOLD_MS)
    monitor = GilMonitor()
    monitor.start()
    try:
        quiet, held = [], []
        for _ in range(3):
            time.sleep(0.02)
            monitor.take()
            time.sleep(HOLD_MS * 1e-3)  # lets go of the lock
            quiet.append(monitor.take())
            assert quiet[-1].wakes > 0
            sum(range(count))  # one call into C that never lets go
            time.sleep(0.02)  # the monitor gets it, and tells
            held.append(monitor.take())
    finally:
        monitor.stop()
    # The monitor's own waiting for a CPU is taken out: on a busy machine a part of the hold
    # goes with it, never the most of three.
    assert max(report.longest_ms for report in held) >= 0.5 * HOLD_MS
    assert min(report.longest_ms for report in quiet) < 0.25 * HOLD_MS


def test_waiting_for_a_cpu_is_taken_out_and_taking_resets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = [Spent(PERIOD_S * 1e3 + 60.0, 0.1, 20.0), Spent(PERIOD_S * 1e3 + 50.0, 0.1, 0.0)]
    monitor = GilMonitor()

    class Scripted:
        """A thread that is late by 60 ms, of which 20 ms in the run queue, then by 50 ms."""

        def measure(self, work: Callable[[], Any]) -> tuple[Any, Spent]:
            spent = script.pop(0)
            if not script:
                monitor._stop.set()
            return None, spent

        def close(self) -> None:
            pass

    monkeypatch.setattr(gil, 'ThreadClock', Scripted)
    monitor.start()
    monitor._thread.join(10.0)
    report = monitor.take()
    assert report.wakes == 2
    assert report.longest_raw_ms == pytest.approx(60.0)
    assert report.longest_ms == pytest.approx(50.0)
    assert monitor.take_longest_ms() == 0.0
