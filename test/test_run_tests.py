"""The test runner adds up honestly: what dies, hangs or cannot be collected has failed."""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys
import time

import pytest

import run_tests
from run_tests import Tally

ROOT = Path(__file__).resolve().parents[1]
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


# Entry points of Jazzy's packages, and what a newer pytest does not take in two of them.
JAZZY_PLUGINS = {
    'launch_testing': 'def pytest_pycollect_makemodule(path, parent): return None\n',
    'launch_ros': 'def pytest_launch_collect_makemodule(path, parent, entrypoint): return None\n',
    'launch_pytest': 'raise ImportError("made for another pytest")\n',
}


@pytest.fixture(params=JAZZY_PLUGINS)
def plugin_of_jazzy(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A plugin of pytest on PYTHONPATH, as in a shell where ROS 2 Jazzy is sourced."""
    name, folder = request.param, tmp_path / 'site-packages'
    metadata = folder / f'{name}-3.4.5.dist-info'
    metadata.mkdir(parents=True)
    (folder / f'{name}_hooks.py').write_text(JAZZY_PLUGINS[name])
    (metadata / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 3.4.5\n')
    (metadata / 'entry_points.txt').write_text(f'[pytest11]\n{name} = {name}_hooks\n')
    monkeypatch.setenv('PYTHONPATH', str(folder))
    return name


def test_the_runner_starts_beside_jazzy(plugin_of_jazzy: str, tmp_path: Path) -> None:
    assert run_file(tmp_path, 'def test_passes(): pass\n') == Tally(passed=1)


@pytest.mark.parametrize('config', ['pyproject.toml', 'test/ros/pytest.ini'])
def test_pytest_by_hand_and_by_colcon_starts_beside_jazzy(
    config: str, plugin_of_jazzy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('PYTEST_DISABLE_PLUGIN_AUTOLOAD', raising=False)  # of the runner around us
    path = tmp_path / 'test_made_up.py'
    path.write_text('def test_passes(): pass\n')

    def run_with(config: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'pytest', '-c', str(config), '--rootdir', str(tmp_path)]
        return subprocess.run(
            [*command, str(path)], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run_with(ROOT / config)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / 'pytest.ini').write_text('[pytest]\n')
    assert run_with('pytest.ini').returncode != 0, 'the made-up plugin does no harm'


def test_the_runner_loads_the_plugins_that_it_needs(tmp_path: Path) -> None:
    source = f'def test_it(request):\n    for name in {run_tests.PLUGINS}:\n'
    source += '        assert request.config.pluginmanager.has_plugin(name), name\n'
    assert run_file(tmp_path, source) == Tally(passed=1)


# How a file names a ROS domain.
DOMAIN = re.compile(
    r"prepare_environment\((\d+)\)|^DOMAIN = (\d+)|'--domain', type=int, default=(\d+)|"
    r"domain_id=(\d+)|'--domain', '(\d+)'|'ROS_DOMAIN_ID'.*?'(\d+)'",
    re.MULTILINE,
)


def test_no_domain_is_drawn_that_a_file_names() -> None:
    paths = [path for top in ('benchmarks', 'dnn_offload', 'test/ros')
             for path in (ROOT / top).rglob('*.py')]
    named = {
        int(next(filter(None, match.groups())))
        for path in paths for match in DOMAIN.finditer(path.read_text(encoding='utf-8'))
    } - {0}  # the user's own
    assert {95, 96, 97} <= named
    assert named == run_tests.NAMED_DOMAINS
    assert not named & set(run_tests.ROS_DOMAINS)
    assert set(run_tests.ROS_DOMAINS) | named == set(range(1, 102))


def test_node_tests_are_given_the_domains_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    monkeypatch.setattr(
        run_tests, 'pytest',
        lambda arguments, cwd, env, limit_s: given.append(int(env['ROS_DOMAIN_ID'])) or Tally(),
    )
    for number in range(1000, 1101):
        run_tests.ros_file(tmp_path / 'test_it.py', number)
    assert set(given) == set(run_tests.ROS_DOMAINS)
