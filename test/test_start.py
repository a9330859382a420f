"""What the executables do before torch: less of it is loaded, and all of it still works."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

SOURCE = Path(__file__).resolve().parents[1]

_SCRIPT = """
import json, os, sys
from dnn_offload.nodes.start import before_torch, UNUSED
before_torch()
import torch
early = 'torch._decomp' in sys.modules
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
picture = torch.ones(1, 3, 8, 8)
with torch.inference_mode():
    ran = network(picture).shape
unloaded = 'torch._decomp' not in sys.modules
with torch.no_grad():
    exported = torch.export.export(network, (picture,)).module()(picture).shape
from torch._meta_registrations import meta_index_Tensor
print(json.dumps({
    'early': early, 'unloaded': unloaded, 'same': list(ran) == list(exported),
    'loaded': meta_index_Tensor.__module__ == UNUSED, 'policy': os.environ['OMP_WAIT_POLICY'],
}))
"""


def run(**environment: str) -> dict[str, object]:
    kept = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
    done = subprocess.run(
        [sys.executable, '-c', _SCRIPT], capture_output=True, text=True, timeout=120, check=True,
        env=kept | {'PYTHONPATH': str(SOURCE)} | environment,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_torch_loads_less_runs_and_still_exports() -> None:
    assert run() == {
        'early': False, 'unloaded': True, 'same': True, 'loaded': True, 'policy': 'PASSIVE',
    }


def test_a_policy_of_the_user_stays() -> None:
    assert run(OMP_WAIT_POLICY='ACTIVE')['policy'] == 'ACTIVE'


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_an_end_while_everything_is_imported_is_one_line(name: str) -> None:
    script = f"""
import os, signal
from dnn_offload.nodes.start import end_quietly
end_quietly()
os.kill(os.getpid(), signal.{name})
import time
time.sleep(30.0)
"""
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60,
        env=os.environ | {'PYTHONPATH': str(SOURCE)},
    )
    assert (done.returncode, done.stderr) == (0, f'-c: {name} received while starting\n')


def test_without_torch_there_is_one_sentence() -> None:
    script = """
import sys
sys.path[:] = [sys.argv[1]] + [path for path in sys.path if 'packages' not in path]
from dnn_offload.nodes.start import before_torch
before_torch()
"""
    done = subprocess.run(
        [sys.executable, '-I', '-c', script, str(SOURCE)], capture_output=True, text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'has no torch; source tools/env.sh' in done.stderr
    assert len(done.stderr.splitlines()) == 1
