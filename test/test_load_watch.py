"""The server's load is looked after by a thread of its own, probed only while idle."""

from __future__ import annotations

import math
import threading
import time
from typing import cast

import pytest

from dnn_offload.cost.load import LoadReadings, LoadTracker
from dnn_offload.nodes.load_watch import LoadWatch


class Tracker:
    """Counts who asks for what."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.probes = 0

    def sample(self, now_s: float) -> None:
        self.threads.add(threading.current_thread().name)

    def probe(self, now_s: float) -> None:
        self.threads.add(threading.current_thread().name)
        self.probes += 1

    def readings(self, now_s: float) -> LoadReadings:
        self.threads.add(threading.current_thread().name)
        return LoadReadings(probe=float(self.probes), factor=2.0, source='probe')


def wait_for_probes(tracker: Tracker, count: int) -> None:
    end_s = time.monotonic() + 20.0
    while tracker.probes < count:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def watch_of(tracker: Tracker, idle: threading.Event) -> LoadWatch:
    return LoadWatch(idle.is_set, tracker=cast('LoadTracker', tracker), probe_period_s=0.0)


def test_probes_run_in_the_thread_and_only_while_idle() -> None:
    tracker, idle = Tracker(), threading.Event()
    watch = watch_of(tracker, idle)
    assert math.isnan(watch.readings.factor)
    watch.start()
    watch.start()
    end_s = time.monotonic() + 20.0
    while math.isnan(watch.readings.factor):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert tracker.probes == 0
    idle.set()
    wait_for_probes(tracker, 2)
    watch.stop()
    assert tracker.threads == {'load'}
    assert 'load' not in {thread.name for thread in threading.enumerate()}


def test_it_can_be_started_again() -> None:
    tracker, idle = Tracker(), threading.Event()
    idle.set()
    watch = watch_of(tracker, idle)
    watch.stop()
    for count in (1, 5):
        watch.start()
        wait_for_probes(tracker, count)
        watch.stop()


def test_a_failure_makes_the_load_unknown_until_it_is_known_again(
    capfd: pytest.CaptureFixture[str]
) -> None:
    tracker, idle = Tracker(), threading.Event()
    watch = watch_of(tracker, idle)
    broken = threading.Event()

    def probe(now_s: float) -> None:
        if broken.is_set():
            raise RuntimeError('cannot start new thread')

    tracker.probe = probe  # type: ignore[method-assign]
    idle.set()

    def wait_until(known: bool) -> None:
        end_s = time.monotonic() + 20.0
        while math.isnan(watch.readings.factor) is known:
            assert time.monotonic() < end_s
            time.sleep(0.01)

    watch.start()
    wait_until(known=True)
    broken.set()
    wait_until(known=False)
    broken.clear()
    wait_until(known=True)
    watch.stop()
    assert capfd.readouterr().err.count('Traceback') == 1


def test_the_real_tracker_gives_a_factor() -> None:
    watch = LoadWatch(lambda: True)
    watch.start()
    end_s = time.monotonic() + 30.0
    while not watch.readings.probe >= 0.5:  # NaN before the first
        assert time.monotonic() < end_s
        time.sleep(0.05)
    watch.stop()
    assert watch.readings.factor > 0.0
