"""A program of ours is this very package, whatever lies in the working folder."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess

import pytest

from dnn_offload.own_program import own_program


@pytest.mark.parametrize('safe_path', ['', '1'])
def test_the_working_folder_is_not_looked_into(tmp_path: Path, safe_path: str) -> None:
    for name in ('json.py', 'dnn_offload/__init__.py', 'dnn_offload/runtime/__init__.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('raise RuntimeError("of the working folder")\n', encoding='utf-8')
    environment = {name: os.environ[name] for name in os.environ if name != 'PYTHONPATH'}
    environment |= {'PYTHONSAFEPATH': safe_path}
    done = subprocess.run(
        own_program('dnn_offload.runtime.prepare', '--help'), cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '--source' in done.stdout


def test_a_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / 'sleeper.py').write_text(
        'import time\nprint("here", flush=True)\ntime.sleep(30.0)\n', encoding='utf-8'
    )
    with subprocess.Popen(
        own_program('sleeper'), env=os.environ | {'PYTHONPATH': str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b'here\n'
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=20.0)[1]
    assert (child.returncode, said) == (-signal.SIGINT, b'')


def test_modules_beside_the_program_are_none(tmp_path: Path) -> None:
    """Rooms of the package are no modules of their own: ``import codec`` is somebody else's."""
    (tmp_path / 'codec.py').write_text('print("of the user")\n', encoding='utf-8')
    done = subprocess.run(
        own_program('codec'), env=os.environ | {'PYTHONPATH': str(tmp_path)},
        capture_output=True, text=True, check=False,
    )
    assert done.stdout == 'of the user\n', done.stderr
