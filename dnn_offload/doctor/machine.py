"""The machine as the checks see it: files, commands, children. Tests make up another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import contextlib
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

from dnn_offload.doctor.wall_clock import largest_error_s
from dnn_offload.file_lock import locked
from dnn_offload.process_end import signal_name

# Not of the file's own link: where colcon links files, others lie beside what it leads to.
CHILDREN = Path(__file__).parent.resolve() / 'children'
COMMAND_LIMIT_S = 3.0
_MOST_WORDS = 160


class Space(NamedTuple):
    """Of a file system [byte]."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; negative = died from that signal.
        output, errors: What it printed on stdout and stderr.
        seconds: Wall time.
        timed_out: It was killed because it did not end in time.
        missing: There is no such program or file; it was not started.
    """

    status: int = 0
    output: str = ''
    errors: str = ''
    seconds: float = 0.0
    timed_out: bool = False
    missing: bool = False

    @property
    def signal(self) -> str:
        """Name of the signal that it died from; '' if it did not."""
        return '' if self.timed_out else signal_name(self.status)

    @property
    def last(self) -> dict[str, Any]:
        """The last line of JSON that a child of ours has printed, however it ended."""
        for line in reversed(self.output.strip().splitlines()):
            try:
                data = json.loads(line)
            except ValueError:
                continue
            if isinstance(data, dict):
                return data
        return {}

    @property
    def answer(self) -> dict[str, Any] | None:
        """What a child of ours answered, if it ended well."""
        if self.status != 0 or self.timed_out or self.missing:
            return None
        return self.last or None

    @property
    def why(self) -> str:
        """In words what went wrong."""
        if self.missing:
            return 'it is not there'
        if self.timed_out:
            return f'it did not end within {self.seconds:.0f} s'
        if self.signal:
            return f'it died from {self.signal}'
        said = [line.strip() for line in self.errors.strip().splitlines() if line.strip()]
        last = said[-1][:_MOST_WORDS] if said else 'it said nothing'
        return last if self.status else f'it gave no answer: {last}'


class Machine:
    """The real one.

    Args:
        root: Where /proc, /sys and /dev are looked for.
        environment: Environment variables of checks and children.
        python: Interpreter of the children: the one that the nodes get.
    """

    def __init__(
        self,
        root: Path = Path('/'),
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.root = root
        self.environment = dict(os.environ if environment is None else environment)
        self.python = python
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    # ---- files -----------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        """A path of the machine, e.g. ``/proc/loadavg``, below ``root``.

        A relative one is as seen from the caller's directory, where nodes would be started.
        """
        return self.root / os.path.abspath(name).lstrip('/')

    def real(self, name: str) -> str:
        """The name of what a path of the machine leads to, links followed."""
        # Not Path.resolve, which raises where links go in a circle.
        root, path = (Path(os.path.realpath(one)) for one in (self.root, self.path(name)))
        # An absolute link is a name of the machine already, also where ``root`` is made up.
        return f'/{path.relative_to(root)}' if path.is_relative_to(root) else str(path)

    def read(self, name: str) -> str | None:
        """Text of a file without white space around it; None when it cannot be read."""
        try:
            return self.path(name).read_text(encoding='utf-8', errors='replace').strip()
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """First whole number in a file; None when there is none."""
        try:
            return int((self.read(name) or '').split()[0])
        except (ValueError, IndexError):
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return self.path(name).exists()

    def space(self, folder: str) -> Space | None:
        """Size of the file system of a folder; None when there is no such folder."""
        try:
            found = os.statvfs(self.path(folder))
        except OSError:
            return None
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def locked(self, path: Path) -> bool | None:
        """See ``file_lock``; of a path that is of this machine's own tree."""
        return locked(path)

    def user(self) -> int:
        """Number of the user whose nodes are started here."""
        return os.geteuid()

    def owner(self, path: Path) -> int | None:
        """Number of the user whom a file belongs to; None when it is gone."""
        try:
            return path.stat().st_uid
        except OSError:
            return None

    def clock_error_s(self) -> float | None:
        """See ``wall_clock.largest_error_s``."""
        return largest_error_s()

    # ---- commands --------------------------------------------------------------------------

    def which(self, program: str) -> str | None:
        """Path of a program."""
        return shutil.which(program, path=self.environment.get('PATH'))

    def run(self, command: Sequence[str], limit_s: float = COMMAND_LIMIT_S) -> Ended:
        """Run a command to its end, or kill it and all that it started after ``limit_s``.

        It runs in the caller's directory, which the names that the user gave are relative to.
        """
        began_s = time.monotonic()
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True, errors='replace',
                env=self.environment, start_new_session=True,
            )
        except OSError as error:
            return Ended(127, errors=str(error), missing=True)
        with self._lock:
            self._running.add(process)
        timed_out = False
        try:
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            _kill(process)
            output, errors = _remains(process)
        finally:
            with self._lock:
                self._running.discard(process)
        seconds = time.monotonic() - began_s
        return Ended(process.returncode, output, errors, seconds, timed_out)

    def child(self, script: str, *arguments: str, limit_s: float) -> Ended:
        """Run one of our programs (``children/``) in the interpreter of the nodes.

        It is started by its path, so that it finds the ``dnn_offload`` which nodes would find,
        whichever that is.
        """
        path = CHILDREN / f'{script}.py'
        if not path.is_file():
            return Ended(127, errors=f'{path} is not installed', missing=True)
        return self.run([self.python, str(path), *arguments], limit_s)

    def close(self) -> None:
        """Kill what still runs: the doctor ends."""
        with self._lock:
            running = list(self._running)
        for process in running:
            _kill(process)


def _remains(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a killed process has printed; a grandchild that got away may keep the pipes open."""
    try:
        return process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired:
        return '', ''


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
