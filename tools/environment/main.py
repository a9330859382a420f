"""The order of the set-up, and its one lock."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import fcntl
import shutil
import time

from environment import machine
from environment.build import BUILD, Build, INSTALL
from environment.commands import CommandError, complain, SetupError
from environment.venv import Environment, LOG, ROOT, VENV

LOG_LIMIT_BYTES = 10_000_000  # of several runs, the last one at the end


@contextmanager
def lock() -> Iterator[None]:
    """Let one set-up at a time into this checkout."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / 'setup.lock').open('w', encoding='utf-8') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print('  waiting for another set-up of this checkout', flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def set_up(force: bool) -> None:
    """Do whatever is left to do.

    Raises:
        SetupError: Something is in the way that the user can mend.
    """
    started_s = time.monotonic()
    machine.check_place(ROOT)
    ros_prefix = machine.ros_distribution()
    machine.check_platform(ros_prefix)
    machine.check_compilers()
    machine.check_python_headers()
    with lock():
        if LOG.is_file() and LOG.stat().st_size > LOG_LIMIT_BYTES:
            LOG.unlink()
        if force:
            for folder in (VENV, INSTALL, BUILD / 'dnn_offload', BUILD / 'vision_msgs'):
                shutil.rmtree(folder, ignore_errors=True)
        environment = Environment(ros_prefix)
        changed = environment.ensure()
        changed = Build(environment).ensure() or changed
    if changed:
        source = f'beside ROS 2 in {ros_prefix}' if ros_prefix else 'with ROS 2 from wheels'
        print(f'  ready in {time.monotonic() - started_s:.0f} s, {source}; log in {LOG}')


def main(arguments: Sequence[str]) -> int:
    """Set up the checkout in which this file lies; return the exit status."""
    parser = argparse.ArgumentParser(
        prog='tools/bootstrap.py',
        description=f'Make the environment of {ROOT.name} (.venv) and build it (install/).',
    )
    parser.add_argument('--force', action='store_true', help='start from nothing')
    options = parser.parse_args(arguments)
    try:
        set_up(options.force)
    except SetupError as problem:
        complain(str(problem))
        return 1
    except CommandError as failure:
        complain(f'"{failure}" failed; what it said is in {LOG}.')
        return 1
    except KeyboardInterrupt:
        complain('stopped; run it again to go on.')
        return 130
    except OSError as error:
        complain(f'{error}; mend that and run this again.')
        return 1
    return 0
