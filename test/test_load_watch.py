"""The server's load is looked after by a thread of its own, probed only while idle."""

from __future__ import annotations

import math
from pathlib import Path
import threading
import time
from typing import cast

import pytest

from dnn_offload.cost import load_sources
from dnn_offload.cost.load import LoadReadings, LoadTracker
from dnn_offload.cost.load_sources import ProbeRun
from dnn_offload.nodes.load_watch import (
    DOUBT_SHARE,
    LoadWatch,
    PROBE_PERIOD_S,
    READ_PERIOD_S,
    WINDOW,
)


class Tracker:
    """Counts who asks for what."""

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.probes = 0
        self.wants_probe_soon = False

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


def test_one_probe_that_met_somebody_is_no_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window holds several, and one in doubt is looked after soon."""
    slow_down = [1.0, 1.0, 1.0, 1.0, 1.0, 1.6]
    monkeypatch.setattr(load_sources, 'run_probe', lambda cpu_ms, cores, nice: ProbeRun(
        cpu_ms * (slow_down.pop(0) if slow_down else 1.0), cpu_ms
    ))
    tracker = LoadTracker(str(tmp_path), probe_window_s=WINDOW * PROBE_PERIOD_S)
    highest, due_s, doubts = 0.0, 0.0, 0
    for tick in range(60):
        now_s = READ_PERIOD_S * tick
        if now_s >= due_s:
            assert not tracker.probe(now_s)
            doubts += tracker.wants_probe_soon
            due_s = now_s + PROBE_PERIOD_S * (DOUBT_SHARE if tracker.wants_probe_soon else 1.0)
        highest = max(highest, tracker.readings(now_s).probe)
    assert highest < 1.25 and doubts == 4 + 1, 'the first few, and the one that is off'


def test_a_probe_in_doubt_is_followed_by_the_next_one_soon() -> None:
    tracker, idle = Tracker(), threading.Event()
    idle.set()
    watch = LoadWatch(
        idle.is_set, tracker=cast('LoadTracker', tracker), probe_period_s=600.0
    )
    watch.start()
    wait_for_probes(tracker, 1)
    watch.stop()
    assert tracker.probes == 1
    tracker.wants_probe_soon = True
    watch = LoadWatch(
        idle.is_set, tracker=cast('LoadTracker', tracker), probe_period_s=1.0
    )
    began_s = time.monotonic()
    watch.start()
    wait_for_probes(tracker, 4)
    assert time.monotonic() - began_s < 2.0, 'two of them would take that long'
    watch.stop()
