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
from lifecycle_msgs.msg import Transition
import psutil
import pytest

from dnn_offload.cost.load import AUTO, LOAD_SOURCES, LoadTracker
from dnn_offload.cost.machine_facts import MachineFacts, MachineReader
from dnn_offload.msg import FrameReport, Load
from dnn_offload.nodes.load_monitor_node import LoadMonitorNode


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
        sources = {f'factor_{source}' for source in LOAD_SOURCES if source != AUTO}
        assert sources <= set(values)


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


def test_rates_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of reading /proc and of probing: what they cost is seen in the process itself."""
    counts = {'sample': 0, 'probe': 0}
    for name in counts:
        def counted(tracker: LoadTracker, now_s: float, name: str = name) -> None:
            counts[name] += 1

        monkeypatch.setattr(LoadTracker, name, counted)
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/load')
        node = LoadMonitorNode()
        node.trigger_configure()
        node.trigger_activate()
        graph.add(node)

        def rate_hz(name: str) -> float:
            before, began_s = counts[name], time.monotonic()
            time.sleep(2.0)
            return (counts[name] - before) / (time.monotonic() - began_s)

        def publishes_hz() -> float:
            before, began_s = len(loads), time.monotonic()
            time.sleep(2.0)
            return (len(loads) - before) / (time.monotonic() - began_s)

        assert wait_for(lambda: len(loads) > 2)
        for name, parameter, slow, fast in (
            ('sample', 'sample_rate_hz', 5.0, 50.0), ('probe', 'probe_rate_hz', 0.5, 5.0),
        ):
            assert graph.set_parameter('/load_monitor_node', parameter, slow).successful
            slowly = rate_hz(name)
            assert graph.set_parameter('/load_monitor_node', parameter, fast).successful
            assert rate_hz(name) > 2.0 * slowly
        assert graph.set_parameter('/load_monitor_node', 'rate_hz', 1.0).successful
        assert publishes_hz() < 3.0
        assert graph.set_parameter('/load_monitor_node', 'rate_hz', 20.0).successful
        assert publishes_hz() > 6.0
        node.trigger_deactivate()


def test_what_is_warned_of_and_how_long_inference_may_be_silent_are_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = MachineFacts(10.0, 1e9, 2e9, 55.0, False, 1000, 400)
    monkeypatch.setattr(MachineReader, 'read', lambda reader: facts)
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/load')
        arrays: list[DiagnosticArray] = graph.collect(DiagnosticArray, '/diagnostics')
        reports = graph.publisher(FrameReport, '/frame_report')
        node = LoadMonitorNode()
        node.trigger_configure()
        node.trigger_activate()
        graph.add(node)

        def says() -> str:
            return arrays[-1].status[-1].message if arrays else ''

        def put(name: str, value: float) -> None:
            assert graph.set_parameter('/load_monitor_node', name, value).successful

        assert wait_for(lambda: 'load factor' in says()), says()
        put('warn_temperature_c', 50.0)
        assert wait_for(lambda: says() == '55 degree Celsius'), says()
        put('warn_memory_percent', 50.0)
        assert wait_for(lambda: 'only 40 % of memory available' in says()), says()
        put('warn_temperature_c', 60.0)
        put('warn_memory_percent', 30.0)
        assert wait_for(lambda: 'load factor' in says()), says()

        def watched() -> bool:
            reports.publish(FrameReport(pid=os.getpid()))
            return loads[-1].inference_pid == os.getpid()

        put('inference_timeout_s', 60.0)
        assert wait_for(watched)
        assert not wait_for(lambda: loads[-1].inference_pid == 0, 6.0)  # 5 s by default
        put('inference_timeout_s', 0.5)
        assert wait_for(lambda: loads[-1].inference_pid == 0, 1.5)
        node.trigger_deactivate()


def test_a_probe_that_waits_for_its_core_delays_no_callback_and_ends_with_its_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits, ended = threading.Event(), threading.Event()

    def probe(tracker: LoadTracker, now_s: float) -> bool:
        waits.set()
        ended.wait(30.0)
        return False

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == 'load']

    monkeypatch.setattr(LoadTracker, 'probe', probe)
    with running_graph() as graph:
        loads: list[Load] = graph.collect(Load, '/load')
        reports = graph.publisher(FrameReport, '/frame_report')
        node = LoadMonitorNode()
        node.trigger_configure()
        node.trigger_activate()
        graph.add(node)
        assert waits.wait(20.0)
        for _ in range(20):
            reports.publish(FrameReport(pid=os.getpid()))
        began_s = time.monotonic()
        assert graph.set_parameter('/load_monitor_node', 'probe_rate_hz', 1.0).successful
        assert time.monotonic() - began_s < 2.0
        assert graph.change_state('/load_monitor_node', Transition.TRANSITION_DEACTIVATE)
        waits.clear()
        assert graph.change_state('/load_monitor_node', Transition.TRANSITION_ACTIVATE)
        assert not waits.wait(1.0), 'two threads read'
        assert len(threads()) == 2 and not loads
        ended.set()
        assert wait_for(lambda: len(threads()) == 1 and len(loads) > 2)
        node.trigger_deactivate()
