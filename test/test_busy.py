"""Made load ends with the program that made it, however that ends."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from dnn_offload.testbed.busy import BusyProcesses

BENCHMARK = Path(__file__).parents[1] / 'benchmarks' / 'load_regression.py'
COUNT = 2


def busy_ones(parent: int) -> list[int]:
    """Ids of the children of a process that are busy loops already."""
    found = []
    for path in Path('/proc').glob('[0-9]*'):
        try:
            # After the name, which may hold spaces: state, parent ...
            state, above = (path / 'stat').read_text().rpartition(')')[2].split()[:2]
            command = (path / 'cmdline').read_text()
        except OSError:
            continue  # it ended meanwhile
        if int(above) == parent and state != 'Z' and 'sum(range' in command:
            found.append(int(path.name))
    return found


def runs(pid: int) -> bool:
    """Whether it is there, and more than an entry that nobody has read yet."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def test_the_block_ends_them_on_the_cores_that_were_given() -> None:
    core = min(os.sched_getaffinity(0))
    with BusyProcesses(COUNT, frozenset({core})):
        pids = busy_ones(os.getpid())
        assert len(pids) == COUNT
        assert all(os.sched_getaffinity(pid) == {core} for pid in pids)
    assert not any(runs(pid) for pid in pids)


def test_none_is_left_where_one_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    true = subprocess.Popen

    def second_fails(*args: object, **more: object) -> object:
        if started:
            raise BlockingIOError('no more processes')
        process = true(*args, **more)  # type: ignore[call-overload]
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, 'Popen', second_fails)
    with pytest.raises(BlockingIOError), BusyProcesses(COUNT, frozenset(os.sched_getaffinity(0))):
        pass
    assert len(started) == 1 and not runs(started[0])


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_spins_on_after_the_benchmark(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, str(BENCHMARK), '--network', 'numpy', '--busy', str(COUNT)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, 'PYTHONPATH': str(BENCHMARK.parents[1])},
    )
    pids: list[int] = []
    try:
        end_s = time.monotonic() + 60.0
        while len(pids) < COUNT and time.monotonic() < end_s:
            time.sleep(0.05)
            pids = busy_ones(process.pid)
        assert len(pids) == COUNT
        process.send_signal(number)
        polite = number != signal.SIGKILL
        assert process.wait(20.0) == (128 + number if polite else -number)
        end_s = time.monotonic() + 10.0
        while any(runs(pid) for pid in pids) and time.monotonic() < end_s:
            time.sleep(0.02)
        assert not any(runs(pid) for pid in pids)
    finally:
        process.kill()
        process.wait()
        for pid in filter(runs, pids):  # of a test that failed
            os.kill(pid, signal.SIGKILL)
