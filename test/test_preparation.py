"""The handle on the preparation process: what it makes of anything that a child may write."""

from __future__ import annotations

import json
from pathlib import Path
import sys
import time

import pytest

from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.preparation import MAX_FOREIGN_BYTES, Preparation, Progress

EXPORT = '{"stage": "export", "fraction": 0.1, "message": "tracing"}'
DONE = '{"stage": "done", "fraction": 1.0, "message": "ready", "profile": "p"}'
WAIT = 'import time; time.sleep(60)'


def started(tmp_path: Path, code: str) -> Preparation:
    """Start a child that runs ``code`` and then hangs."""
    preparation = Preparation(ModelRequest('demo:detector'), tmp_path)
    preparation._command = [sys.executable, '-c', f'{code}\n{WAIT}']
    preparation.start()
    return preparation


def wait_for(preparation: Preparation, stage: str) -> Progress:
    end_s = time.monotonic() + 30.0
    while (progress := preparation.poll()).stage != stage:
        assert not progress.finished and time.monotonic() < end_s, progress
        time.sleep(0.01)
    return progress


def write(*lines: str) -> str:
    """Code that writes lines by one system call: they come together."""
    text = ''.join(f'{line}\n' for line in lines)
    return f'import os; os.write(1, {text.encode()!r})'


@pytest.mark.parametrize('foreign', [
    'a library says hello', '', '[]', '5', 'null', '{"stage": "export"}', '[' * 20_000,
    json.dumps({'stage': 'x', 'fraction': 10**400, 'message': 'x'}),
    '{"stage": "x", "fraction": "half", "message": "x"}',
])
def test_lines_of_others_are_skipped_and_the_first_is_told(tmp_path: Path, foreign: str) -> None:
    preparation = started(tmp_path, write(foreign, EXPORT, 'more', DONE))
    progress = wait_for(preparation, 'done')
    assert progress.profile_path == Path('p')
    (warning,) = progress.warnings
    assert 'something else than progress' in warning and foreign[:100] in warning
    assert preparation.poll() == progress
    preparation.stop()


def test_too_much_of_others_is_a_failure_and_stays_one(tmp_path: Path) -> None:
    """Valid progress after the failure must not bring it back to life: its pipe is closed."""
    noise = f'{"noise " * 10}\n{EXPORT}\n'.encode()
    code = f'import os; os.write(1, {noise!r} * {MAX_FOREIGN_BYTES // 50})'
    preparation = started(tmp_path, code)
    failed = wait_for(preparation, 'failed')
    assert 'something else than progress' in failed.message
    for _ in range(3):
        assert preparation.poll() == failed
    assert preparation._process is not None and preparation._process.returncode is not None


def test_a_line_without_end_is_a_failure(tmp_path: Path) -> None:
    code = f'import os\nfor _ in range(40): os.write(1, b"x" * {MAX_FOREIGN_BYTES // 20})'
    assert 'something else' in wait_for(started(tmp_path, code), 'failed').message


@pytest.mark.parametrize('end', [DONE, '{"stage": "failed", "fraction": 1.0, "message": "no"}'])
def test_nothing_counts_after_the_end(tmp_path: Path, end: str) -> None:
    preparation = started(tmp_path, write(end, EXPORT, 'noise'))
    progress = wait_for(preparation, json.loads(end)['stage'])
    assert progress.warnings == () and preparation.poll() == progress


def test_a_child_that_ends_without_a_word_fails_with_what_it_said(tmp_path: Path) -> None:
    code = "import sys; print('out of cheese'); sys.exit('no such thing')"
    failed = wait_for(started(tmp_path, code), 'failed')
    assert 'status 1' in failed.message and 'no such thing' in failed.message
    assert 'out of cheese' in failed.warnings[0]


def test_a_child_that_died_from_a_signal_fails_with_the_cause(tmp_path: Path) -> None:
    code = 'import os, signal; os.kill(os.getpid(), signal.SIGILL)'
    preparation = started(tmp_path, code)
    failed = wait_for(preparation, 'failed')
    assert 'the preparation process died from SIGILL: an instruction' in failed.message
    assert 'dnn-offload doctor --only torch' in failed.message and preparation.crashed


def test_warnings_of_the_child_are_kept_in_order(tmp_path: Path) -> None:
    lines = [json.dumps({**json.loads(EXPORT), 'warning': text}) for text in ('one', 'two')]
    assert wait_for(started(tmp_path, write(*lines, DONE)), 'done').warnings == ('one', 'two')
