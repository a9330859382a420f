"""A process yields at least as much as its node asks for, and no less than it was started with."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.local_parameters import COMMON
from dnn_offload.nodes.parameters import by_name, common_parameters
from dnn_offload.nodes.process_settings import (
    check_cores,
    cores_here,
    MAX_CORES,
    ProcessSettings,
    why_nice_is_blind,
)

ROOT = Path(__file__).resolve().parents[1]
STARTED = ProcessSettings(frozenset({0, 1, 2}), nice=3, oom_score_adj=200)

IN_A_PROCESS = """
import threading
from dnn_offload.nodes.process_settings import ProcessSettings
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
before = ProcessSettings.now()
core = min(before.cores)
wanted = before.yielding([core], min(before.nice + 2, 19), min(before.oom_score_adj + 30, 1000))
print(repr(wanted.apply()))
import os
tasks = [int(name) for name in os.listdir('/proc/self/task')]
print(len(tasks) >= 2, all(
    os.getpriority(os.PRIO_PROCESS, task) == wanted.nice
    and os.sched_getaffinity(task) == {core} for task in tasks
))
print(ProcessSettings.now() == wanted)
print(before.yielding([1_000_000], 0, 0).apply())
stop.set()
"""


@pytest.mark.parametrize(
    ('nice', 'expected'), [(0, 3), (2, 3), (5, 5), (-4, -4)],
    ids=['unset', 'less', 'more', 'meant'],
)
def test_the_larger_niceness_counts(nice: int, expected: int) -> None:
    assert STARTED.yielding((), nice, 0).nice == expected


def test_cores_and_memory() -> None:
    assert STARTED.yielding((), 0, 0) == STARTED
    assert STARTED.yielding((1,), 0, 100) == ProcessSettings(frozenset({1}), 3, 200)
    assert STARTED.yielding((), 0, 500).oom_score_adj == 500


def test_all_threads_of_a_real_process() -> None:
    done = subprocess.run(
        [sys.executable, '-c', IN_A_PROCESS], capture_output=True, text=True, timeout=60,
        check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    applied, threads, settings, refused = done.stdout.splitlines()
    assert applied == "''"
    assert threads == 'True True'
    assert settings == 'True'
    assert 'cannot apply cpu_affinity [1000000]' in refused and 'cores here: [' in refused
    assert 'nice' not in refused  # which could be applied


def test_only_cores_that_are_there_are_taken() -> None:
    here = cores_here()
    assert here >= os.sched_getaffinity(0)
    before = os.sched_getaffinity(0)
    check_cores(())
    check_cores(tuple(here))
    for missing in (MAX_CORES - 1, max(here) + 1):
        with pytest.raises(ConfigurationError, match=re.escape(str(sorted(here)))):
            check_cores((min(here), missing))
    assert os.sched_getaffinity(0) == before


def test_inference_yields_by_default() -> None:
    specs = by_name(COMMON)
    assert specs['nice'].default > 0 and specs['oom_score_adj'].default > 0


def test_a_default_for_what_is_not_common_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='no common parameter'):
        common_parameters(niceness=5)
    with pytest.raises(ConfigurationError, match='refused'):
        common_parameters(nice=50)


@pytest.mark.parametrize(
    ('enabled', 'groups', 'blind'),
    [
        ('1', '0::/user.slice/session-1.scope\n', True),
        ('1', '0::/system.slice/with_weight.service\n', False),
        ('1', '9:name=systemd:/x\n1:cpu,cpuacct:/\n', True),
        ('1', '1:cpu,cpuacct:/robot\n', False),
        ('0', '0::/user.slice/session-1.scope\n', False),
        ('', '0::/\n', False),
    ],
)
def test_where_niceness_counts(tmp_path: Path, enabled: str, groups: str, blind: bool) -> None:
    autogroup, cgroups = tmp_path / 'autogroup', tmp_path / 'cgroup'
    if enabled:
        autogroup.write_text(enabled + '\n')
    cgroups.write_text(groups)
    weighed = tmp_path / 'system.slice/with_weight.service'
    weighed.mkdir(parents=True)
    (weighed / 'cpu.weight').write_text('20\n')
    reason = why_nice_is_blind(autogroup, cgroups, tmp_path)
    assert bool(reason) == blind
    assert not blind or 'CPUWeight' in reason
