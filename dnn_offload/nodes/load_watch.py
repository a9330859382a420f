"""How loaded a server is while no robot sends anything: a light thread that looks. No ROS."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
import traceback

from dnn_offload.cost.load import LoadReadings, LoadTracker

SAMPLE_PERIOD_S = 0.05
READ_PERIOD_S = 0.2
PROBE_PERIOD_S = 2.0
DOUBT_SHARE = 0.15  # of the period, until the next probe tells whether the load has changed
WINDOW = 3.5        # periods that probes are averaged over: one that met somebody is no load


class LoadWatch:
    """Keeps the what-if sources of ``cost/load.py`` fresh, in a thread of its own.

    A probe computes for 8 ms and waits longer where cores are busy; in the executor's thread
    status and services would wait for it.

    Args:
        idle: Whether a probe is wanted: measured frames tell better. Called from the thread.
        tracker: Replaced in tests; used by the thread only.
        probe_period_s: Time between two probes, where the last one is not in doubt [s].
    """

    def __init__(
        self,
        idle: Callable[[], bool],
        *,
        tracker: LoadTracker | None = None,
        probe_period_s: float = PROBE_PERIOD_S,
    ) -> None:
        self._idle = idle
        self._tracker = tracker or LoadTracker(probe_window_s=WINDOW * probe_period_s)
        self._probe_period_s = probe_period_s
        self._readings = LoadReadings()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def readings(self) -> LoadReadings:
        """The newest; everything is NaN before the first."""
        return self._readings

    def start(self) -> None:
        """Begin to look; does nothing if it already does."""
        if self._thread is None:
            self._stop = threading.Event()  # a thread that has not ended in time keeps its own
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name='load', daemon=True
            )
            self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; it can be started again."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(timeout_s)

    def _run(self, stop: threading.Event) -> None:
        read_s = due_s = float('-inf')
        told = False
        while not stop.is_set():
            now_s = time.monotonic()
            try:
                self._tracker.sample(now_s)
                if now_s >= due_s and self._idle():
                    self._tracker.probe(now_s)
                    soon = DOUBT_SHARE if self._tracker.wants_probe_soon else 1.0
                    due_s = now_s + soon * self._probe_period_s
                if now_s - read_s >= READ_PERIOD_S:
                    read_s = now_s
                    self._readings = self._tracker.readings(time.monotonic())
            except Exception:  # an old reading would be told for ever
                self._readings = LoadReadings()
                if not told:
                    traceback.print_exc()
                told = True
            stop.wait(SAMPLE_PERIOD_S)
