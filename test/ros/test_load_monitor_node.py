"""load_monitor_node: what it publishes, idle and under load, with and without inference."""

from __future__ import annotations

import math
import os
from pathlib import Path
import subprocess
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from harness import NodeProcess, running_graph, wait_for
import psutil

from dnn_offload.msg import FrameReport, Load


def monitor(log: Path, *parameters: str) -> NodeProcess:
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('load_monitor_node', ['-r', '__ns:=/robot', *given], log)


def test_publishes_what_the_machine_tells(tmp_path: Path) -> None:
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/robot/load')
        arrays: list[DiagnosticArray] = graph.collect(DiagnosticArray, '/diagnostics')
        with monitor(tmp_path / 'log', 'rate_hz:=10.0') as process:
            assert wait_for(lambda: len(loads) > 20, 20.0)
            cpu = psutil.Process(process.process.pid)
            before = sum(cpu.cpu_times()[:2])
            began_s, count = time.monotonic(), len(loads)
            time.sleep(3.0)
            passed_s = time.monotonic() - began_s
            cpu_share = (sum(cpu.cpu_times()[:2]) - before) / passed_s
            rate_hz = (len(loads) - count) / passed_s
            assert wait_for(lambda: bool(arrays))
        load = loads[-1]
        assert load.cores >= 1
        assert load.loadavg_1min >= 0.0
        assert load.factor >= 1.0
        assert load.factor_source in ('probe', 'procs_running')
        assert load.factor_probe >= 1.0  # nothing is watched, so it probes
        assert load.factor_procs_running >= 1.0
        assert load.inference_pid == 0
        assert load.memory_total_bytes > load.memory_available_bytes > 0
        assert 0.0 <= load.cpu_percent <= 100.0
        assert load.host
        assert 5.0 < rate_hz < 11.0
        assert cpu_share < 0.10
        values = {v.key: v.value for a in arrays for s in a.status for v in s.values}
        assert values['factor_source'] == load.factor_source


def test_watches_the_inference_process(tmp_path: Path) -> None:
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/robot/load')
        reports = graph.publisher(FrameReport, '/robot/frame_report')
        tids: list[int] = []

        def work() -> None:
            tids.append(threading.get_native_id())
            while not stop.is_set():
                sum(range(1000))

        stop = threading.Event()
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        parameters = ('rate_hz:=10.0', 'inference_timeout_s:=1.0')
        with monitor(tmp_path / 'log', *parameters):
            assert wait_for(lambda: len(loads) > 2, 20.0)
            report = FrameReport(pid=os.getpid(), compute_tid=tids[0], head_cpu_ms=40.0)
            end_s = time.monotonic() + 10.0
            while time.monotonic() < end_s and loads[-1].factor_source != 'schedstat':
                reports.publish(report)
                time.sleep(0.05)
            watched = loads[-1]
            # Now nearly all goes to a server: the thread is as busy, a scout is all that runs.
            report = FrameReport(pid=os.getpid(), compute_tid=tids[0], server='desk')
            scout = FrameReport(
                pid=os.getpid(), compute_tid=tids[0], head_cpu_ms=100.0, label='scout'
            )
            end_s = time.monotonic() + 10.0
            while time.monotonic() < end_s and loads[-1].factor_source == 'schedstat':
                reports.publish(report)
                reports.publish(scout)
                time.sleep(0.05)
            assert loads[-1].factor_source in ('probe', 'procs_running')
            assert loads[-1].inference_pid == os.getpid()
            stop.set()
            # Reports end: after the timeout nothing is watched.
            assert wait_for(lambda: loads[-1].inference_pid == 0)
            assert wait_for(lambda: loads[-1].factor_source in ('probe', 'procs_running'))
        assert watched.factor_source == 'schedstat'
        assert watched.inference_pid == os.getpid()
        assert watched.schedstat_cpu_ms > 40.0
        assert watched.factor == watched.factor_schedstat >= 1.0


def test_sees_load_come(tmp_path: Path) -> None:
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/robot/load')
        with monitor(tmp_path / 'log', 'rate_hz:=10.0'):
            assert wait_for(lambda: len(loads) > 20, 20.0)
            loop = ['sh', '-c', 'while :; do :; done']
            busy = [subprocess.Popen(loop) for _ in range(3 * loads[-1].cores)]
            try:
                assert wait_for(lambda: loads[-1].factor > 2.0, 20.0)
            finally:
                for process in busy:
                    process.kill()
                    process.wait()


def test_probe_and_rate_are_live(tmp_path: Path) -> None:
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/robot/load')
        with monitor(tmp_path / 'log', 'probe:=never'):
            assert wait_for(lambda: len(loads) > 3, 20.0)
            assert math.isnan(loads[-1].factor_probe)
            assert loads[-1].factor_source == 'procs_running'
            assert graph.set_parameter('/robot/load_monitor_node', 'probe', 'always').successful
            assert wait_for(lambda: loads[-1].factor_probe >= 1.0)
            refused = graph.set_parameter('/robot/load_monitor_node', 'probe', 'sometimes')
            assert 'idle, always, never' in refused.reason
