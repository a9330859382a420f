"""Runs linters, type check, unit tests and node tests, and adds them up in one last line.

Usage, in the environment (`make test` brings it):
    python tools/run_tests.py [--only lint|unit|ros] [FILE ...]

Unit tests run against the source tree, as many files at a time as there are cores (at most 4).
Each file of node tests (test/ros) runs in a pytest process of its own, since rclpy has global
state, from an empty folder, so that only the installed package is seen, on a ROS domain of its
own, with discovery kept to this machine. They are several processes on real clocks: a file that
fails is run once more, and the last lines name every one that only passed then.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

ROOT = Path(__file__).resolve().parents[1]
PARTS = ('lint', 'unit', 'ros')
# 0 to 101 are safe with Linux's range of ephemeral ports. 0 is the user's own, and some are named
# in a file: by node tests that want one apart (61, 62), and by benchmarks (the others).
NAMED_DOMAINS = {61, 62, 87, 95, 96, 97}
ROS_DOMAINS = tuple(domain for domain in range(1, 102) if domain not in NAMED_DOMAINS)
# Of pytest, by entry point. Others stay out: with those of a sourced ROS 2 Jazzy, which are for an
# older pytest, none starts (ros2/launch#979). The configurations shut them out by name.
PLUGINS = ('hypothesispytest', 'timeout', 'xdist')
UNIT_LIMIT_S = 1800
UNIT_WORKERS = 4
ROS_FILE_LIMIT_S = 900
MOST_AGAIN = 3  # files run once more; where more fail it is not the machine


@dataclass(frozen=True)
class Tally:
    """How many passed, failed (errors too) and were skipped; which files passed at second try."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unsteady: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.unsteady + other.unsteady,
        )

    def __str__(self) -> str:
        text = f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped'
        if not self.unsteady:
            return text
        return f'{text}; failed at first and passed when run again: {", ".join(self.unsteady)}'


def read_tally(report: Path) -> Tally | None:
    """Read pytest's JUnit file; None where there is none that can be read."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    suites = [root] if root.tag == 'testsuite' else root.findall('testsuite')
    total = Tally()
    for suite in suites:
        tests, skipped = int(suite.get('tests', 0)), int(suite.get('skipped', 0))
        failed = int(suite.get('failures', 0)) + int(suite.get('errors', 0))
        total += Tally(max(0, tests - failed - skipped), failed, skipped)
    return total


def run_group(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], limit_s: float
) -> int | None:
    """Run a command in a process group of its own, and leave nothing of the group behind.

    Returns:
        The exit status, None when it ran past the limit.
    """
    process = subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True)
    try:
        return process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the usual case: the whole group has ended
        process.wait()


def headline(text: str) -> None:
    """Print a line that stands out in a log."""
    print(f'\n== {text} ==', flush=True)


def lint() -> Tally:
    """Run ruff and mypy; each counts as one test."""
    total = Tally()
    for title, command in (
        ('ruff', ['ruff', 'check', '.']),
        ('mypy', ['mypy', '--no-error-summary']),
    ):
        headline(title)
        status = subprocess.run([sys.executable, '-m', *command], cwd=ROOT, check=False).returncode
        print('clean' if status == 0 else f'{title} found something', flush=True)
        total += Tally(passed=int(status == 0), failed=int(status != 0))
    return total


def pytest(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], limit_s: float
) -> Tally:
    """Run one pytest process; one that dies or hangs counts as one failure more."""
    with tempfile.TemporaryDirectory(prefix='dnn_offload_test_') as folder:
        report = Path(folder) / 'report.xml'
        command = [sys.executable, '-m', 'pytest', '-q', '-rfEs', f'--junit-xml={report}']
        command += [word for name in PLUGINS for word in ('-p', name)]
        alone = {**env, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'}
        status = run_group([*command, *arguments], cwd, alone, limit_s)
        tally = read_tally(report)
    if status is None:
        print(f'stopped: it ran for more than {limit_s:.0f} s', flush=True)
        return (tally or Tally()) + Tally(failed=1)
    if tally is None:
        print(f'it ended with status {status} and without a report', flush=True)
        return Tally(failed=1)
    if status not in (0, 5) and tally.failed == 0:  # 5: no test collected
        print(f'it ended with status {status}', flush=True)
        return tally + Tally(failed=1)
    return tally


def unit(files: Sequence[Path]) -> Tally:
    """Run the unit tests, or those of them that were named."""
    headline('unit tests')
    # Files side by side, each whole in one process: fixtures export networks once per file.
    workers = min(len(os.sched_getaffinity(0)), UNIT_WORKERS, len(files) or UNIT_WORKERS)
    chosen = [str(path) for path in files] or ['test']
    arguments = ['-n', str(workers), '--dist', 'loadfile', *chosen]
    return pytest(arguments, ROOT, os.environ, UNIT_LIMIT_S)


def ros(files: Sequence[Path]) -> Tally:
    """Run each file of node tests by itself; those that fail, at most a few, once more."""
    total = Tally()
    first = os.getpid()  # several checkouts on one machine: start somewhere else each time
    paths = files or sorted((ROOT / 'test/ros').glob('test_*.py'))
    failed: list[tuple[Path, Tally]] = []
    for number, path in enumerate(paths, first):
        headline(f'node tests: {path.name}')
        tally = ros_file(path, number)
        if tally.failed:
            failed.append((path, tally))
        else:
            total += tally
    for number, (path, tally) in enumerate(failed, first + len(paths)):
        if len(failed) <= MOST_AGAIN:
            headline(f'once more, since it failed: {path.name}')
            tally = ros_file(path, number)
            if not tally.failed:
                tally += Tally(unsteady=(path.name,))
        total += tally
    return total


def ros_file(path: Path, number: int) -> Tally:
    """Run one file of node tests on a domain chosen by ``number``."""
    with tempfile.TemporaryDirectory(prefix='dnn_offload_ros_') as folder:
        env = dict(os.environ)
        env['ROS_DOMAIN_ID'] = str(ROS_DOMAINS[number % len(ROS_DOMAINS)])
        env['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        env['ROS_LOG_DIR'] = f'{folder}/log'
        env['PYTHONDONTWRITEBYTECODE'] = '1'
        arguments = ['--rootdir', str(ROOT / 'test/ros'), str(path)]
        return pytest(arguments, Path(folder), env, ROS_FILE_LIMIT_S)


def main() -> int:
    """Run what was asked for; return 0 when nothing failed and something ran."""
    parser = argparse.ArgumentParser(description='Run the checks of dnn_offload.')
    parser.add_argument('--only', choices=PARTS, help='run one part')
    parser.add_argument('files', nargs='*', type=Path, help='run these test files only')
    options = parser.parse_args()

    files = [path.resolve() for path in options.files]
    ros_files = [path for path in files if path.parent == ROOT / 'test/ros']
    unit_files = [path for path in files if path not in ros_files]
    wanted = {
        'lint': not files,
        'unit': bool(unit_files) or not files,
        'ros': bool(ros_files) or not files,
    }
    started_s = time.monotonic()
    total = Tally()
    for part in PARTS:
        if options.only not in (None, part) or not wanted[part]:
            continue
        if part == 'lint':
            total += lint()
        elif part == 'unit':
            total += unit(unit_files)
        else:
            total += ros(ros_files)
    print(f'\nall of it took {time.monotonic() - started_s:.0f} s')
    print(total, flush=True)
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == '__main__':
    sys.exit(main())
