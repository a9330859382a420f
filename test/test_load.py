"""Load sources on a made-up /proc, their factors over time, and which one is believed."""

from __future__ import annotations

import math
import os
from pathlib import Path
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dnn_offload.cost import load_sources
from dnn_offload.cost.load import (
    combine,
    LOAD_SOURCES,
    LoadReadings,
    LoadTracker,
    relative,
    without_own,
)
from dnn_offload.cost.load_factors import (
    OwnLoadAverage,
    PsiFactor,
    RunnableFactor,
    SchedstatFactor,
    StepFilter,
)
from dnn_offload.cost.load_sources import CpuTimes, ProbeRun

MS = 1_000_000


class FakeProc:
    """A /proc with one process of two threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / 'pressure').mkdir()
        self.thread(100, 0, 0)
        self.thread(101, 0, 0)
        self.machine(running=1, loadavg=0.0, psi_us=0)

    def thread(self, tid: int, cpu_ns: int, wait_ns: int, state: str = 'S') -> None:
        """One thread of process 100."""
        folder = self.root / '100' / 'task' / str(tid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'schedstat').write_text(f'{cpu_ns} {wait_ns} 7\n')
        (folder / 'stat').write_text(f'{tid} (a) R (odd name) {state} 1 1 1\n')

    def machine(self, running: int, loadavg: float, psi_us: int | None) -> None:
        """Machine-wide files."""
        (self.root / 'stat').write_text(f'cpu  1 2 3\nprocs_running {running}\nprocs_blocked 0\n')
        (self.root / 'loadavg').write_text(f'{loadavg} 0.1 0.1 1/100 5\n')
        psi = self.root / 'pressure' / 'cpu'
        if psi_us is None:
            psi.unlink(missing_ok=True)
        else:
            psi.write_text(
                f'some avg10=1.00 avg60=0.00 avg300=0.00 total={psi_us}\n'
                'full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n'
            )


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    """A made-up /proc."""
    return FakeProc(tmp_path)


def test_readers(proc: FakeProc) -> None:
    proc.thread(100, 5 * MS, 2 * MS, 'R')
    proc.thread(101, 7 * MS, 1 * MS, 'S')
    proc.machine(running=4, loadavg=1.25, psi_us=123)
    root = str(proc.root)
    assert load_sources.threads_of(100, root) == (100, 101)
    assert load_sources.read_schedstat(100, root=root) == CpuTimes(12 * MS, 3 * MS)
    assert load_sources.read_schedstat(100, (101,), root) == CpuTimes(7 * MS, 1 * MS)
    assert load_sources.count_running(100, root=root) == 1
    assert load_sources.read_procs_running(root) == 4
    assert load_sources.read_loadavg(root) == 1.25
    assert load_sources.read_psi_us(root) == 123


def test_missing_files_are_not_errors(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert load_sources.threads_of(1, root) == ()
    assert load_sources.read_schedstat(1, root=root) is None
    assert load_sources.read_schedstat(1, (1, 2), root) is None
    assert load_sources.count_running(1, root=root) == 0
    assert load_sources.read_procs_running(root) is None
    assert math.isnan(load_sources.read_loadavg(root))
    assert load_sources.read_psi_us(root) is None
    readings = LoadTracker(root).readings(0.0)
    assert math.isnan(readings.factor)
    assert readings.source == ''


def test_schedstat_factor_within_half_a_second_of_a_step() -> None:
    source = SchedstatFactor(window_s=0.5)
    cpu_ns = wait_ns = 0
    for tick in range(40):
        now_s = tick * 0.1
        source.update(now_s, CpuTimes(cpu_ns, wait_ns))
        if tick == 20:
            assert source.factor(now_s) == pytest.approx(1.0)
        if tick == 25:
            assert source.factor(now_s) == pytest.approx(2.5)
            assert source.evidence_ms(now_s) == pytest.approx(50.0)
        cpu_ns += 10 * MS
        wait_ns += 15 * MS if tick >= 20 else 0


def test_schedstat_factor_starts_anew_with_another_process() -> None:
    source = SchedstatFactor()
    source.update(0.0, CpuTimes(900 * MS, 0))
    source.update(0.5, CpuTimes(950 * MS, 50 * MS))
    assert source.factor(0.5) == pytest.approx(2.0)
    source.update(1.0, CpuTimes(10 * MS, 0))
    assert math.isnan(source.factor(1.0))
    source.update(1.5, None)
    assert source.evidence_ms(1.5) == 0.0


def test_old_evidence_does_not_count() -> None:
    source = SchedstatFactor(window_s=1.0)
    source.update(0.0, CpuTimes(0, 0))
    source.update(0.5, CpuTimes(100 * MS, 0))
    assert source.evidence_ms(0.6) == pytest.approx(100.0)
    assert source.evidence_ms(9.0) == 0.0


@pytest.mark.parametrize(
    'others, expected', [(0, 1.0), (1, 1.0), (2, 1.5), (3, 2.0), (4, 2.5), (6, 3.5)]
)
def test_runnable_factor_is_the_measured_slow_down(others: int, expected: float) -> None:
    source = RunnableFactor()
    for tick in range(30):
        # The reader itself and one inference thread run as well.
        source.update(tick / 30, others + 2, 1, cores=2, machine=2)
    # Measured on two cores beside 2, 3, 4 and 6 busy processes: 1.41, 2.08, 2.55, 3.51.
    assert source.factor(1.0) == pytest.approx(expected)


def test_runnable_factor_of_a_subset_assumes_an_even_spread() -> None:
    source = RunnableFactor()
    source.update(0.0, 9, 0, cores=1, machine=4)
    assert source.factor(0.0) == pytest.approx(3.0)


@pytest.mark.parametrize(
    'others, expected',
    # One core: a niced inference gets 1 / (1 + n 1.25^5). Two: the second stays free for it.
    [((1, 1), 1 + 3.05), ((2, 1), 1 + 2 * 3.05), ((1, 2), 1.0), ((2, 2), (1 + 2 * 3.05) / 2)],
)
def test_others_outweigh_a_niced_inference(others: tuple[int, int], expected: float) -> None:
    count, cores = others
    source = RunnableFactor()
    source.update(0.0, count + 2, 1, cores=cores, machine=cores, nice=5)
    assert source.factor(0.0) == pytest.approx(expected, rel=0.01)


def test_psi_factor() -> None:
    source = PsiFactor()
    source.update(0.0, 0)
    source.update(1.0, 500_000)
    assert source.factor() == pytest.approx(2.0)
    source.update(2.0, None)
    assert math.isnan(source.factor())


def test_own_share_follows_the_kernels_average() -> None:
    own = OwnLoadAverage()
    share = 0.0
    for second in range(61):  # one thread that always runs or waits
        share = own.update(float(second), CpuTimes(second * 600 * MS, second * 400 * MS))
    assert share == pytest.approx(1.0 - math.exp(-1.0), rel=1e-6)
    for second in range(61, 400):
        share = own.update(float(second), None)
    assert share < 0.01
    assert own.update(400.0, CpuTimes(10**15, 0)) < 0.01  # found again: no jump


def test_step_filter_is_calm_in_noise_and_quick_in_change() -> None:
    random = np.random.default_rng(0)
    calm = StepFilter()
    means = [calm.update(2.0 * math.exp(0.08 * random.normal())) for _ in range(300)]
    assert np.std(means[50:]) < 0.06
    assert abs(np.mean(means[50:]) - 2.0) < 0.05
    for _ in range(3):
        calm.update(4.0)
    assert calm.mean == pytest.approx(4.0)
    assert calm.update(math.nan) == pytest.approx(4.0)


def test_schedstat_is_believed_with_evidence_only() -> None:
    readings = LoadReadings(schedstat=2.0, probe=1.7, procs_running=1.8, schedstat_cpu_ms=90.0)
    assert combine(readings) == (2.0, 'schedstat')
    few = LoadReadings(schedstat=2.0, probe=1.7, procs_running=1.8, schedstat_cpu_ms=50.0)
    assert combine(few) == (1.7, 'probe')
    assert combine(few, last_source='schedstat') == (2.0, 'schedstat')  # no hopping
    assert combine(LoadReadings(procs_running=1.8)) == (1.8, 'procs_running')
    assert combine(LoadReadings(loadavg_own_removed=1.2)) == (1.2, 'loadavg_own_removed')
    assert combine(LoadReadings())[1] == ''


def test_pinned_inference_does_not_believe_the_whole_machine() -> None:
    readings = LoadReadings(procs_running=3.0, loadavg_own_removed=1.2)
    assert combine(readings, pinned=True) == (1.2, 'loadavg_own_removed')
    assert combine(readings, pinned=False) == (3.0, 'procs_running')


def test_relative_to_the_profile() -> None:
    ratios = {'schedstat': 3.99}
    assert relative(3.99, 'schedstat', ratios) == pytest.approx(1.0)
    assert relative(8.0, 'schedstat', ratios) == pytest.approx(2.005, rel=1e-3)
    assert relative(2.0, 'probe', ratios) == 2.0
    assert relative(math.nan, 'probe', ratios) == 1.0
    assert relative(2.0, 'loadavg', {'loadavg': 0.2}) == 2.0


def test_what_a_niced_profiler_waited_and_no_probe_saw_is_in_the_times() -> None:
    busy = {'schedstat': 3.74, 'probe': 1.11, 'procs_running': 3.8, 'loadavg': 1.1}
    assert relative(1.0, 'probe', busy) == pytest.approx(1.0 / 3.74)
    assert relative(3.8, 'procs_running', busy) == pytest.approx(1.0)
    assert relative(1.1, 'loadavg', busy) == pytest.approx(1.0)
    # Under a quota the kernel tells of no waiting, and a probe does.
    assert relative(2.0, 'probe', {'schedstat': 1.0, 'probe': 2.0}) == pytest.approx(1.0)


def test_tracker_on_a_made_up_machine(proc: FakeProc) -> None:
    tracker = LoadTracker(str(proc.root), smooth=False)
    tracker.machine_cores = 2
    tracker._cores = frozenset({0, 1})
    tracker._pid = 100  # not a process of this machine, so without asking for its cores
    for tick in range(11):
        now_s = 0.1 * tick
        proc.thread(100, tick * 10 * MS, tick * 15 * MS, 'R')
        proc.machine(running=5, loadavg=6.0, psi_us=tick * 50_000)
        tracker.sample(now_s)
        readings = tracker.readings(now_s)
    assert readings.schedstat == pytest.approx(2.5)
    assert readings.schedstat_cpu_ms == pytest.approx(100.0)
    assert readings.procs_running == pytest.approx(2.0)  # 5 less the reader and ourselves
    assert readings.psi == pytest.approx(2.0)
    assert readings.loadavg == pytest.approx(3.0)
    assert readings.loadavg_own_removed < 3.0
    assert (readings.factor, readings.source) == (readings.schedstat, 'schedstat')
    assert all(isinstance(readings.of(source), float) for source in LOAD_SOURCES)


def test_bursts_and_scouts_are_no_evidence(proc: FakeProc) -> None:
    tracker = LoadTracker(str(proc.root), smooth=False)
    tracker._pid = 100
    evidence: dict[str, list[float]] = {'slices': [], 'bursts': []}
    for tick in range(40):
        now_s = 0.125 * tick
        proc.thread(100, tick * 10 * MS, tick * 15 * MS, 'R')
        proc.machine(running=1, loadavg=0.0, psi_us=0)
        sliced = tick < 20
        tracker.ran(now_s, 8.0 if sliced else 0.0)  # 8 of 10 ms, then resizing and encoding only
        readings = tracker.readings(now_s)
        if tick % 20 > 11:
            evidence['slices' if sliced else 'bursts'].append(readings.schedstat_cpu_ms)
            assert (readings.source == 'schedstat') == sliced
    assert evidence['slices'] == [72.0] * 8  # a window of 1 s, both its ends
    assert evidence['bursts'] == [0.0] * 8
    tracker.watch(0)
    assert math.isnan(tracker.readings(5.0).schedstat)


def test_probe_on_this_machine_restores_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    run = load_sources.run_probe(2.0, {min(before)})
    assert run.cpu_ms >= 2.0
    assert run.wall_ms >= 0.9 * run.cpu_ms
    assert os.sched_getaffinity(0) == before


def test_probe_outside_our_cores_runs_where_we_are() -> None:
    assert load_sources.run_probe(0.5, {100_000}).cpu_ms >= 0.5


def test_probe_takes_the_niceness_that_it_is_asked_for_and_leaves_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    plain = load_sources._probe_here

    def look(cpu_ms: float, cores: object) -> ProbeRun:
        seen.append(load_sources.niceness_of())
        return plain(cpu_ms, ())

    monkeypatch.setattr(load_sources, '_probe_here', look)
    before = load_sources.niceness_of()
    assert load_sources.run_probe(0.5, nice=before).cpu_ms >= 0.5
    assert load_sources.run_probe(0.5, nice=min(before + 3, 19)).cpu_ms >= 0.5
    assert seen == [before, min(before + 3, 19)]
    assert load_sources.niceness_of() == before


def test_probe_runs_at_the_niceness_of_the_watched_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def probe(cpu_ms: float, cores: object, nice: int | None) -> ProbeRun:
        asked.append(nice)
        return ProbeRun(cpu_ms, cpu_ms)

    monkeypatch.setattr(load_sources, 'run_probe', probe)
    wanted = min(load_sources.niceness_of() + 2, 19)
    code = f'import os, time; os.setpriority(0, 0, {wanted}); print(); time.sleep(60)'
    tracker = LoadTracker()
    tracker.probe(0.0)
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it has its niceness
            tracker.watch(process.pid)
            tracker.probe(1.0)
        finally:
            process.kill()
    tracker.watch(0)
    tracker.probe(2.0)
    assert asked == [None, wanted, None]


@pytest.mark.parametrize(
    'own_ms, cores, left_ms',
    [
        (0.0, 1, 40.0), (24.0, 1, 16.0), (24.0, 2, 28.0),
        (90.0, 1, 8.0),   # more than it waited: it had others' cores as well
        (-5.0, 1, 40.0),  # gone meanwhile
    ],
)  # fmt: skip
def test_a_probe_does_not_count_what_it_waited_for_the_watched_process(
    own_ms: float, cores: int, left_ms: float
) -> None:
    assert without_own(ProbeRun(40.0, 8.0), own_ms, cores) == ProbeRun(left_ms, 8.0)


def test_the_tracker_reads_the_watched_process_around_each_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_ms = iter([100, 112, 112, 112])
    monkeypatch.setattr(
        load_sources, 'read_process_cpu_ns', lambda pid: next(clock_ms) * MS
    )
    monkeypatch.setattr(load_sources, 'run_probe', lambda *how: ProbeRun(20.0, 8.0))
    monkeypatch.setattr(load_sources, 'cores_of', lambda pid=0: frozenset({0}))
    tracker = LoadTracker(smooth=False)
    tracker.probe(0.0)  # nobody is watched
    assert tracker.readings(0.0).probe == 2.5
    tracker.watch(os.getpid())
    tracker.probe(5.0)
    assert tracker.readings(5.0).probe == 1.0
    tracker.probe(10.0)
    assert tracker.readings(10.0).probe == 2.5


def test_cpu_time_of_another_process() -> None:
    with subprocess.Popen(
        [sys.executable, '-c', 'while True: pass'], stdout=subprocess.DEVNULL
    ) as process:
        try:
            before_ns = load_sources.read_process_cpu_ns(process.pid)
            assert before_ns is not None
            end_s = time.monotonic() + 20.0
            while (load_sources.read_process_cpu_ns(process.pid) or 0) < before_ns + 50 * MS:
                assert time.monotonic() < end_s, 'its time stands still'
                time.sleep(0.01)
        finally:
            process.kill()
    assert load_sources.read_process_cpu_ns(process.pid) is None, 'it has gone'


@pytest.mark.skipif(
    load_sources.read_schedstat(os.getpid()) is None, reason='this kernel keeps no schedstat'
)
def test_real_schedstat_counts_a_busy_thread() -> None:
    tids: list[int] = []
    stop = threading.Event()

    def work() -> None:
        tids.append(threading.get_native_id())
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        time.sleep(0.3)
        times = load_sources.read_schedstat(os.getpid(), tids)
    finally:
        stop.set()
        thread.join()
    assert times is not None
    assert times.cpu_ns > 20 * MS
