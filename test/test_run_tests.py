"""The test runner adds up honestly: what dies, hangs or cannot be collected has failed."""

from __future__ import annotations

import os
from pathlib import Path
import sys
import time

import pytest

import run_tests
from run_tests import Tally

OUTCOMES = """
import pytest

def test_passes(): pass
def test_fails(): assert False
@pytest.mark.skip(reason='a reason')
def test_is_skipped(): pass
@pytest.fixture
def broken(): raise RuntimeError('no')
def test_has_an_error(broken): pass
"""


def run_file(folder: Path, source: str, limit_s: float = 60) -> Tally:
    """Run a file of tests as the runner does, apart from our own settings."""
    path = folder / 'test_made_up.py'
    path.write_text(source, encoding='utf-8')
    (folder / 'pytest.ini').write_text('[pytest]\n', encoding='utf-8')
    return run_tests.pytest(['-p', 'no:cacheprovider', str(path)], folder, os.environ, limit_s)


def test_tallies_add_up() -> None:
    total = Tally(1, 2, 3) + Tally(10, 20, 30)
    assert total == Tally(11, 22, 33)
    assert str(total) == '11 passed, 22 failed, 33 skipped'


def test_every_outcome_is_counted_and_skips_say_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_file(tmp_path, OUTCOMES) == Tally(passed=1, failed=2, skipped=1)
    assert 'a reason' in capfd.readouterr().out


def test_a_file_that_cannot_be_imported_has_failed(tmp_path: Path) -> None:
    assert run_file(tmp_path, 'import no_such_module_anywhere\n').failed >= 1


def test_a_process_that_dies_has_failed(tmp_path: Path) -> None:
    source = 'import os\ndef test_dies(): os._exit(3)\n'
    assert run_file(tmp_path, source) == Tally(failed=1)


def test_a_process_that_exits_with_success_has_failed_too(tmp_path: Path) -> None:
    source = 'import os\ndef test_dies(): os._exit(0)\n'
    assert run_file(tmp_path, source) == Tally(failed=1)


def test_a_process_that_hangs_is_stopped_and_has_failed(tmp_path: Path) -> None:
    source = 'import time\ndef test_hangs(): time.sleep(60)\n'
    started_s = time.monotonic()
    assert run_file(tmp_path, source, limit_s=3).failed == 1
    assert time.monotonic() - started_s < 30


def test_a_file_of_skips_only_has_not_failed(tmp_path: Path) -> None:
    source = 'import pytest\npytest.importorskip("no_such_module", reason="not here")\n'
    tally = run_file(tmp_path, source)
    assert tally.failed == 0 and tally.passed == 0


def test_children_of_a_test_process_do_not_outlive_it(tmp_path: Path) -> None:
    script = 'import subprocess, sys; child = subprocess.Popen(["sleep", "60"]); '
    script += 'open("child", "w").write(str(child.pid))'
    run_tests.run_group([sys.executable, '-c', script], tmp_path, os.environ, 30)
    child = int((tmp_path / 'child').read_text())
    status = Path(f'/proc/{child}/stat')
    deadline_s = time.monotonic() + 5
    while status.exists() and ' Z ' not in status.read_text() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not status.exists() or ' Z ' in status.read_text()


TRIES = """
from pathlib import Path

def test_it():
    log = Path('{log}')
    log.write_text(log.read_text() + '.' if log.exists() else '.')
    assert len(log.read_text()) > {failures}
"""


def ros_files(folder: Path, *failures: int) -> Tally:
    """Run made-up node tests, each of which fails a number of times before it passes."""
    (folder / 'pytest.ini').write_text('[pytest]\naddopts = -p no:cacheprovider\n')
    paths = []
    for number, count in enumerate(failures):
        path = folder / f'test_{number}.py'
        path.write_text(TRIES.format(log=folder / f'{number}.log', failures=count))
        paths.append(path)
    return run_tests.ros(paths)


def test_node_tests_that_fail_are_run_once_more_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tally = ros_files(tmp_path, 0, 1, 2)
    assert tally == Tally(passed=2, failed=1, unsteady=('test_1.py',))
    assert str(tally).endswith('failed at first and passed when run again: test_1.py')
    assert (tmp_path / '0.log').read_text() == '.'
    assert 'once more, since it failed: test_1.py' in capfd.readouterr().out


def test_where_many_fail_none_is_run_again(tmp_path: Path) -> None:
    count = run_tests.MOST_AGAIN + 1
    assert ros_files(tmp_path, *[1] * count) == Tally(failed=count)
