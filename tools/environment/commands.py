"""Running the steps of the set-up, and saying in one sentence what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import subprocess
import sys
import time

# Marks of an environment around us that must not leak into the one we make.
FOREIGN_VARIABLES = (
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
    'PYTHONHOME',
    'PYTHONPATH',
    'VIRTUAL_ENV',
    '__PYVENV_LAUNCHER__',
)


class SetupError(Exception):
    """Something the user can mend; the message is one clear sentence."""


class CommandError(Exception):
    """A command of the set-up ended with an error.

    Args:
        command: The command line.
        output: What it printed, stdout and stderr together.
    """

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(' '.join(command))
        self.output = output


def clean_environment(keep_ros: bool = False) -> dict[str, str]:
    """Return the process environment without what another environment left in it.

    Args:
        keep_ros: Keep PYTHONPATH, which a sourced ROS 2 distribution needs.
    """
    environment = dict(os.environ)
    for name in FOREIGN_VARIABLES:
        if not (keep_ros and name == 'PYTHONPATH'):
            environment.pop(name, None)
    return environment


def run(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command, append its output to the log, and return it.

    Raises:
        CommandError: It ended with a non-zero status, or could not be started.
    """
    line = [str(part) for part in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('a', encoding='utf-8') as stream:
        stream.write(f'\n$ {" ".join(line)}\n')
        try:
            done = subprocess.run(
                line,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding='utf-8',
                errors='replace',
                check=False,
            )
        except OSError as error:
            stream.write(f'{error}\n')
            raise CommandError(line, str(error)) from error
        stream.write(done.stdout)
        if done.returncode != 0:
            raise CommandError(line, done.stdout)
    return done.stdout


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a step's title, and the time it took when it is through."""
    started_s = time.monotonic()
    print(f'  {title} ...', end='', flush=True)
    try:
        yield
    except BaseException:
        print(' failed', flush=True)
        raise
    print(f' {time.monotonic() - started_s:.0f} s', flush=True)


def complain(sentence: str) -> None:
    """Print the one sentence that the user gets instead of a traceback."""
    print(f'dnn_offload: {sentence}', file=sys.stderr, flush=True)
