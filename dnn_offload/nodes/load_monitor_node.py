"""Publishes how loaded this machine is; the measuring is in ``cost/load.py``.

One thread does all the reading: it is the one runnable thread that the number of runnable
processes is corrected for, and a probe that waits for a busy core delays no callback. What
callbacks hear is left for it in a queue.
"""

from __future__ import annotations

from collections import deque
import math
import socket
import threading
import time
from typing import Any, NamedTuple

from dnn_offload.cost.load import LoadReadings, LoadTracker, MIN_EVIDENCE_MS
from dnn_offload.cost.machine_facts import MachineFacts, MachineReader
from dnn_offload.exchange import SCOUT_LABEL
from dnn_offload.msg import FrameReport, Load
from dnn_offload.nodes import base, load_monitor_parameters, topics
from dnn_offload.nodes.process import run

FACTS_PERIOD_S = 1.0
STALE_S = 3.0
DOUBT_SHARE = 0.3  # of the period, until the next probe tells whether the load has changed
MAX_HEARD = 1000   # reports that wait to be read; a stuck reader keeps the newest


class _Heard(NamedTuple):
    """What a frame report says of the inference process."""

    at_s: float
    pid: int
    tids: tuple[int, ...]
    cpu_ms: float


class LoadMonitorNode(base.OffloadNode):
    """See ``load_monitor_parameters.SUMMARY``."""

    NODE = load_monitor_parameters.NODE
    PARAMETERS = load_monitor_parameters.PARAMETERS

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(**node_arguments)
        self._stop = threading.Event()  # of the thread
        self._thread: threading.Thread | None = None
        self._heard: deque[_Heard] = deque(maxlen=MAX_HEARD)
        self._due_publish_s = self._due_probe_s = self._due_facts_s = 0.0
        self._renew()
        self._apply()

    def _renew(self) -> None:
        """Know nothing yet."""
        self._tracker = LoadTracker()
        self._machine = MachineReader()
        self._facts = self._machine.read()
        self._readings = LoadReadings()
        self._read_at_s = -math.inf
        self._reported_at_s = -math.inf
        self._probes = 0

    def configure(self) -> None:
        """Make the readers and the publisher."""
        self._renew()
        self._apply()
        self._loads = self.advertise(Load, topics.LOAD)

    def activate(self) -> None:
        """Watch the inference process, start to read."""
        self.subscribe(
            FrameReport, topics.FRAMES_FOR_LOAD, self._on_frame_report, may_wait=True
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop, self._thread), name='load', daemon=True
        )
        self._thread.start()

    def deactivate(self) -> None:
        """Stop to read; a probe that waits for its core ends later."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Everything is live."""
        self._apply()

    def _apply(self) -> None:
        self._period_s = 1.0 / self.setting('rate_hz')
        self._sample_period_s = 1.0 / self.setting('sample_rate_hz')
        self._probe_period_s = 1.0 / self.setting('probe_rate_hz')
        self._probe_when: str = self.setting('probe')
        self._inference_timeout_s: float = self.setting('inference_timeout_s')

    def _on_frame_report(self, message: FrameReport) -> None:
        # One scout among short bursts would make their waits look like a load.
        cpu_ms = 0.0 if message.label == SCOUT_LABEL else message.head_cpu_ms
        tids = (message.compute_tid,) if message.compute_tid else ()
        self._heard.append(_Heard(time.monotonic(), message.pid, tids, cpu_ms))

    # ---- in the thread ---------------------------------------------------------------------

    def _run(self, stop: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()  # the tracker is for one
        step = self.guarded(lambda: self._step(stop))
        self._due_publish_s = self._due_probe_s = self._due_facts_s = time.monotonic()
        due_s = time.monotonic()
        while not stop.is_set():
            step()
            now_s = time.monotonic()
            due_s = max(due_s + self._sample_period_s, now_s)
            stop.wait(due_s - now_s)

    def _step(self, stop: threading.Event) -> None:
        now_s = time.monotonic()
        tracker = self._tracker
        self._listen(now_s)
        tracker.sample(now_s)
        if now_s >= self._due_probe_s and self._wants_probe():
            if tracker.probe(now_s):
                self._due_publish_s = now_s  # the load is another: planners wait for that
            soon = DOUBT_SHARE if tracker.wants_probe_soon else 1.0
            self._due_probe_s = now_s + soon * self._probe_period_s
            self._probes += 1
        if now_s >= self._due_facts_s:
            self._due_facts_s = now_s + FACTS_PERIOD_S
            self._facts = self._machine.read()
        if now_s >= self._due_publish_s and not stop.is_set():
            self._due_publish_s = max(self._due_publish_s + self._period_s, now_s)
            self._readings = tracker.readings(time.monotonic())
            self._read_at_s = now_s
            self._loads.publish(self._message(self._readings, self._facts))

    def _listen(self, now_s: float) -> None:
        """Watch the inference process that speaks, until it falls silent."""
        while self._heard:
            heard = self._heard.popleft()
            self._reported_at_s = heard.at_s
            if heard.pid:
                self._tracker.watch(heard.pid, heard.tids)
                self._tracker.ran(heard.at_s, heard.cpu_ms)
        silent = now_s - self._reported_at_s > self._inference_timeout_s
        if silent and self._tracker.watched_pid:
            self._tracker.watch(0)

    def _wants_probe(self) -> bool:
        if self._probe_when == 'always':
            return True
        idle = self._readings.schedstat_cpu_ms < MIN_EVIDENCE_MS
        return self._probe_when == 'idle' and idle

    def _message(self, readings: LoadReadings, facts: MachineFacts) -> Load:
        message = Load(
            host=socket.gethostname(),
            cores=self._tracker.cores,
            loadavg_1min=readings.loadavg_1min,
            factor_loadavg=readings.loadavg,
            factor_loadavg_own_removed=readings.loadavg_own_removed,
            factor_schedstat=readings.schedstat,
            schedstat_cpu_ms=readings.schedstat_cpu_ms,
            factor_procs_running=readings.procs_running,
            factor_probe=readings.probe,
            factor_psi=readings.psi,
            factor=readings.factor,
            factor_source=readings.source,
            cpu_percent=facts.cpu_percent,
            clock_hz=facts.clock_hz,
            clock_max_hz=facts.clock_max_hz,
            temperature_c=facts.temperature_c,
            throttled=bool(facts.throttled),
            throttled_known=facts.throttled is not None,
            memory_total_bytes=facts.memory_total_bytes,
            memory_available_bytes=facts.memory_available_bytes,
            inference_pid=self._tracker.watched_pid,
        )
        message.header.stamp = self.now_msg()
        return message

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """WARN when hot, throttled or short of memory."""
        if not self.is_active:
            return base.OK, 'inactive', {}
        readings, facts = self._readings, self._facts
        free_percent = 100.0 * facts.memory_available_bytes / max(facts.memory_total_bytes, 1)
        warnings = []
        if time.monotonic() - self._read_at_s > max(STALE_S, 3.0 * self._period_s):
            warnings.append('the load is not read any more')
        if facts.throttled:
            warnings.append('the machine is throttled (heat or supply voltage)')
        if facts.temperature_c > self.setting('warn_temperature_c'):
            warnings.append(f'{facts.temperature_c:.0f} degree Celsius')
        if free_percent < self.setting('warn_memory_percent'):
            warnings.append(f'only {free_percent:.0f} % of memory available')
        message = '; '.join(warnings) or f'load factor {readings.factor:.2f} ({readings.source})'
        values: dict[str, object] = {
            'factor': readings.factor,
            'factor_source': readings.source,
            'factor_schedstat': readings.schedstat,
            'factor_procs_running': readings.procs_running,
            'factor_probe': readings.probe,
            'factor_loadavg': readings.loadavg,
            'factor_loadavg_own_removed': readings.loadavg_own_removed,
            'factor_psi': readings.psi,
            'loadavg_1min': readings.loadavg_1min,
            'probes': self._probes,
            'inference_pid': self._tracker.watched_pid,
            'cpu_percent': facts.cpu_percent,
            'clock_hz': facts.clock_hz,
            'clock_max_hz': facts.clock_max_hz,
            'temperature_c': facts.temperature_c,
            'throttled': 'unknown' if facts.throttled is None else facts.throttled,
            'memory_available_mb': facts.memory_available_bytes / 1e6,
            'memory_available_percent': free_percent,
        }
        return base.WARN if warnings else base.OK, message, values


def main() -> None:
    """Entry point of the executable ``load_monitor_node``."""
    raise SystemExit(run(LoadMonitorNode))


if __name__ == '__main__':
    main()
