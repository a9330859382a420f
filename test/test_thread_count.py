"""One thread per physical core, where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnn_offload.runtime import thread_count as module
from dnn_offload.runtime.thread_count import MOST, PER_CORE, thread_count


def machine(root: Path, cores: list[tuple[int, int]], quota: str = '') -> Path:
    """/sys of a machine: package and core of each logical processor."""
    for cpu, (package, core) in enumerate(cores):
        folder = root / f'sys/devices/system/cpu/cpu{cpu}/topology'
        folder.mkdir(parents=True)
        (folder / 'physical_package_id').write_text(f'{package}\n')
        (folder / 'core_id').write_text(f'{core}\n')
    if quota:
        (root / 'sys/fs/cgroup').mkdir(parents=True)
        (root / 'sys/fs/cgroup/cpu.max').write_text(f'{quota}\n')
    return root


SMT = [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0)]  # two threads a core, two sockets


@pytest.mark.parametrize(
    'cores, usable, quota, threads',
    [
        (SMT, range(6), '', 3),
        (SMT, range(6), 'max 100000', 3),
        (SMT, range(6), '250000 100000', 2),
        (SMT, range(6), '50000 100000', 1),
        (SMT, (0, 1), '', 1),
        (SMT, (1, 2), '', 2),
        ([(0, core) for core in range(32)], range(32), '', MOST),
        ([], range(4), '', 4),  # does not tell
        ([], range(4), 'nonsense', 4),
        ([], (), '', 1),
    ],
)
def test_one_per_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: list[tuple[int, int]],
    usable: range, quota: str, threads: int,
) -> None:
    monkeypatch.setattr(module, 'cores_of', lambda: usable)
    assert thread_count(PER_CORE, machine(tmp_path, cores, quota)) == threads


@pytest.mark.parametrize('files, threads', [
    ({'sys/fs/cgroup/system.slice/robot/cpu.max': '300000 100000'}, 3),
    ({'sys/fs/cgroup/system.slice/cpu.max': '200000 100000',
      'sys/fs/cgroup/system.slice/robot/cpu.max': 'max 100000'}, 2),
    ({'sys/fs/cgroup/cpu.max': '400000 100000'}, 4),  # a container's own
    ({'sys/fs/cgroup/cpu,cpuacct/lib/cpu.cfs_quota_us': '150000',
      'sys/fs/cgroup/cpu,cpuacct/lib/cpu.cfs_period_us': '100000'}, 1),
    ({'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000'}, 6),
])
def test_the_tightest_quota_of_our_groups_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], threads: int
) -> None:
    monkeypatch.setattr(module, 'cores_of', lambda: range(6))
    machine(tmp_path, [])
    files = {'proc/self/cgroup': '7:cpu,cpuacct:/lib\n0::/system.slice/robot', **files}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'{text}\n')
    assert thread_count(PER_CORE, tmp_path) == threads


def test_a_count_that_is_named_is_taken(tmp_path: Path) -> None:
    assert thread_count(13, machine(tmp_path, SMT, '50000 100000')) == 13
    assert thread_count(PER_CORE) >= 1
