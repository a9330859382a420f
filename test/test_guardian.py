"""What a bench made is gone after kill -9, too."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from dnn_offload.testbed.guardian import Guardian
from dnn_offload.testbed.left_over import is_alive
from dnn_offload.testbed.network import why_no_network
from dnn_offload.testbed.quota import cgroup_folder, why_no_quota

WHY_NOT = why_no_network() or why_no_quota()
MAKER = """
import time
from dnn_offload.testbed.guardian import Guardian
from dnn_offload.testbed.network import Network
from dnn_offload.testbed.quota import CpuGroup
with Guardian(), Network(1e6, 1e6) as network, CpuGroup('robot', 0.5) as group:
    print(network.robot.namespace, group.folder, flush=True)
    time.sleep(60.0)
"""


def test_who_has_ended_is_not_alive() -> None:
    assert is_alive(os.getpid())
    process = subprocess.Popen([sys.executable, '-c', ''])
    end_s = time.monotonic() + 10.0
    while is_alive(process.pid) and time.monotonic() < end_s:  # nobody has waited for it
        time.sleep(0.02)
    assert Path('/proc', str(process.pid)).exists() and not is_alive(process.pid)
    process.wait()
    assert not is_alive(process.pid)


def test_a_guardian_ends_with_its_block() -> None:
    with Guardian() as guardian:
        process = guardian._process
        assert process is not None and process.poll() is None
    assert process.poll() == 0


@pytest.mark.skipif(WHY_NOT != '', reason=WHY_NOT or 'possible')
def test_what_was_made_is_gone_soon_after_a_kill() -> None:
    maker = subprocess.Popen([sys.executable, '-c', MAKER], stdout=subprocess.PIPE, text=True)
    assert maker.stdout is not None
    namespace, folder = maker.stdout.readline().split()
    made = [Path('/run/netns', namespace), Path(folder)]
    assert all(path.exists() for path in made)
    found = cgroup_folder()
    assert found is not None and made[1].parent == found[0]
    maker.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + 15.0
    while any(path.exists() for path in made) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not any(path.exists() for path in made)
    maker.wait()
