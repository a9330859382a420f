"""Emulated machines: CPU quotas as numbers and files, and a load average of their own."""

from __future__ import annotations

import math
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.errors import ConfigurationError, OffloadError
from dnn_offload.testbed import quota
from dnn_offload.testbed.loadavg import count_tasks, EmulatedLoadAverage, seen_as_loadavg
from dnn_offload.testbed.quota import cgroup_folder, CpuGroup, entrance, quota_us, why_no_quota


def test_a_quarter_of_a_core_in_periods_of_5_ms() -> None:
    assert quota_us(0.25) == (1250, 5000)
    assert quota_us(1.0) == (5000, 5000)
    assert quota_us(2.0) == (10000, 5000)


@given(st.floats(0.001, 64.0))
def test_a_quota_is_the_share_and_never_too_small_for_the_kernel(speed: float) -> None:
    share_us, period_us = quota_us(speed)
    assert share_us >= 1000 and 5000 <= period_us <= 1_000_000
    assert share_us / period_us == pytest.approx(speed, rel=2e-3)


@pytest.mark.parametrize('speed', [0.0, -1.0, 0.0009, math.nan])
def test_impossible_speeds_are_refused(speed: float) -> None:
    with pytest.raises(ConfigurationError, match='speed of a machine'):
        quota_us(speed)


def test_both_versions_of_cgroups_are_known(tmp_path: Path) -> None:
    assert cgroup_folder(tmp_path) is None
    (tmp_path / 'cgroup.controllers').write_text('memory pids\n')
    assert cgroup_folder(tmp_path) is None
    (tmp_path / 'cgroup.controllers').write_text('cpu memory pids\n')
    assert cgroup_folder(tmp_path) == (tmp_path, 2)
    (tmp_path / 'cpu').mkdir()
    (tmp_path / 'cpu' / 'tasks').touch()
    assert cgroup_folder(tmp_path) == (tmp_path / 'cpu', 1)


def test_each_version_gets_its_files(tmp_path: Path) -> None:
    group = CpuGroup('robot', 0.5)
    group.folder = tmp_path
    group.limit(0.5, 2)
    assert (tmp_path / 'cpu.max').read_text() == '2500 5000'
    group.limit(0.1, 1)
    assert (tmp_path / 'cpu.cfs_quota_us').read_text() == '1000'
    assert (tmp_path / 'cpu.cfs_period_us').read_text() == '10000'
    (tmp_path / 'tasks').write_text('12\n13\n')
    assert group.tasks() == [12, 13]


def test_without_root_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    assert 'root' in why_no_quota()
    with pytest.raises(OffloadError, match='root'), CpuGroup('robot', 0.5):
        pass
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    assert 'no CPU controller' in why_no_quota(tmp_path)


def test_processes_in_the_root_group_are_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses quotas then (version 2, in a container): a reason, no failure."""
    (tmp_path / 'cgroup.controllers').write_text('cpu memory pids\n')
    monkeypatch.setattr(quota.os, 'geteuid', lambda: 0)
    assert why_no_quota(tmp_path) == ''

    def busy(path: Path, text: str) -> None:
        raise OffloadError('cannot set up a CPU quota', given=f'{text} into {path}', hint='busy')

    (tmp_path / 'cgroup.subtree_control').write_text('memory\n')
    monkeypatch.setattr(quota, '_write', busy)
    assert 'busy' in why_no_quota(tmp_path)
    (tmp_path / 'cgroup.subtree_control').write_text('cpu memory\n')
    assert why_no_quota(tmp_path) == ''


@pytest.fixture
def second_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like that of cgroups, version 2, with somebody else's group, without a quota."""
    (tmp_path / 'cgroup.controllers').write_text('cpu memory pids\n')
    (tmp_path / 'cgroup.subtree_control').write_text('memory\n')
    (tmp_path / 'system.slice').mkdir()
    (tmp_path / 'system.slice' / 'cpu.max').write_text('max 100000\n')
    (tmp_path / 'system.slice' / 'cpu.weight').write_text('100\n')
    monkeypatch.setattr(quota.os, 'geteuid', lambda: 0)
    monkeypatch.setattr(quota, '_shared', set())

    def write(path: Path, text: str) -> None:
        if path.name == 'cgroup.subtree_control':
            words = set(path.read_text().split()) - {text[1:]}
            text = ' '.join(words | {text[1:]} if text[0] == '+' else words)
        path.write_text(text)

    def remove(folder: Path) -> None:
        if folder.name:  # the kernel removes a group's files with it
            shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(quota, '_write', write)
    monkeypatch.setattr(quota, '_remove', remove)
    return tmp_path


def test_quotas_are_taken_back_with_the_last_group(second_version: Path) -> None:
    control = second_version / 'cgroup.subtree_control'
    assert why_no_quota(second_version) == ''
    assert control.read_text().split() == ['memory']  # a question changes nothing
    with CpuGroup('robot', 0.5, second_version) as robot:
        assert 'cpu' in control.read_text().split()
        with CpuGroup('server', 0.0, second_version):
            robot.__exit__()  # in any order
            assert 'cpu' in control.read_text().split()
    assert control.read_text().split() == ['memory']


@pytest.mark.parametrize(
    ('before', 'used'), [('cpu memory', 'max 100000'), ('memory', '5000 10000')]
)
def test_quotas_of_others_stay(second_version: Path, before: str, used: str) -> None:
    """Where they were possible before us, or somebody has come to use them."""
    control = second_version / 'cgroup.subtree_control'
    control.write_text(before)
    with CpuGroup('robot', 0.5, second_version):
        (second_version / 'system.slice' / 'cpu.max').write_text(used)
    assert 'cpu' in control.read_text().split()


needs_quota = pytest.mark.skipif(why_no_quota() != '', reason=why_no_quota() or 'possible')


@needs_quota
def test_a_group_limits_and_leaves_nothing_behind() -> None:
    """A busy process under a quarter of a core gets about a quarter of the time."""
    with CpuGroup('robot', 0.25) as group:
        door = entrance(group.folder)
        process = subprocess.Popen(
            [sys.executable, '-c', 'while True: pass'],
            preexec_fn=lambda: door.write_text('0') and None,
        )
        try:
            time.sleep(0.3)
            assert process.pid in group.tasks()
            before, start_s = _cpu_s(process.pid), time.monotonic()
            time.sleep(1.5)
            share = (_cpu_s(process.pid) - before) / (time.monotonic() - start_s)
            assert share < 0.35
        finally:
            folder = group.folder
    assert process.wait(3.0) != 0  # killed with its group
    assert not folder.exists()


def _cpu_s(pid: int) -> float:
    return int(Path(f'/proc/{pid}/schedstat').read_text().split()[0]) / 1e9


@needs_quota
def test_groups_of_the_dead_are_removed_and_others_are_not() -> None:
    found = cgroup_folder()
    assert found is not None
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    dead = found[0] / f'dnn_offload_{process.pid}_robot'
    living = found[0] / f'dnn_offload_{os.getppid()}_robot'
    dead.mkdir()
    living.mkdir()
    try:
        quota.remove_left_over()
        assert not dead.exists() and living.exists()
    finally:
        living.rmdir()


def _task(proc: Path, pid: int, state: str, name: str = 'python') -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / 'stat').write_text(f'{pid} ({name}) {state} 1 1 1 0 -1\n')


def test_runnable_and_uninterruptible_tasks_count(tmp_path: Path) -> None:
    for pid, state in enumerate('RSDZTR', start=1):
        _task(tmp_path, pid, state)
    _task(tmp_path, 7, 'S', name='R) R (x')
    assert count_tasks(range(1, 10), tmp_path) == 3  # 8 and 9 have ended


def test_the_average_rises_as_the_kernels_does(tmp_path: Path) -> None:
    """Two tasks that always run, 100 times as fast: after a minute 63 % of 2."""
    me = os.getpid()
    file = tmp_path / 'loadavg'
    with EmulatedLoadAverage(file, lambda: [me], time_scale=0.01) as average:
        inode = file.stat().st_ino
        end_s, values = time.monotonic() + 1.2, []
        while time.monotonic() < end_s:  # this thread is running whenever it is looked at
            values.append(float(file.read_text().split()[0]))
        assert values == sorted(values)
        assert 0.6 < values[-1] < 0.95  # 1 - exp(-2) = 0.86, when nobody holds us up
        assert file.stat().st_ino == inode  # it is mounted somewhere
        average.reset()
        assert float(file.read_text().split()[0]) < 0.3
    assert len(file.read_text().split()) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason='a bind mount needs root')
def test_a_process_sees_the_file_in_proc_and_others_do_not(tmp_path: Path) -> None:
    file = tmp_path / 'loadavg'
    file.write_text('9.75 9.75 9.75 1/1 1\n')
    done = subprocess.run(
        [*seen_as_loadavg(file), 'cat', '/proc/loadavg'], capture_output=True, text=True,
        check=True,
    )
    assert done.stdout == file.read_text()
    assert Path('/proc/loadavg').read_text() != file.read_text()
