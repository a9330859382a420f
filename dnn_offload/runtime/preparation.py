"""A node's handle on the preparation process: start it, ask now and then, never wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import subprocess
import tempfile
from typing import IO

from dnn_offload.errors import MALFORMED, ModelError
from dnn_offload.own_program import own_program
from dnn_offload.process_end import how_it_ended
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.profile_wishes import ProfileWishes

NICENESS = 10
# Of what is no progress: what start-up files of an environment print, or a line without end.
MAX_FOREIGN_BYTES = 1 << 16
STOP_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        stage: ``idle``, ``starting``, ``cache``, ``export``, ``profile``, ``agreement``, ``done``,
            ``failed``.
        fraction: 0..1.
        message: For people; of ``failed`` the whole reason.
        folder: Where the model is, as soon as it can be loaded (before it is profiled).
        provisional_path: Where the provisional profile is, as soon as there is one; not with
            what is in the cache.
        profile_path: Where the profile is; with ``done``.
        warnings: For the log: what was wrong and is mended, in order.
    """

    stage: str = 'idle'
    fraction: float = 0.0
    message: str = ''
    folder: Path | None = None
    provisional_path: Path | None = None
    profile_path: Path | None = None
    warnings: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.stage in ('done', 'failed')


class Preparation:
    """One run of ``runtime/prepare.py``. Used by one thread.

    Args:
        request: The model.
        cache_dir: Folder of cached models, ``~`` allowed.
        profile_budget_s: Time that measuring may take [s].
        profile: Whether to measure.
        profile_again: Measure even if a profile is cached.
        anew: Export and measure even if both are cached: they cannot be used.
        nice: Added to the child's niceness: the stream goes on meanwhile.
        wishes: What the profile shall hold.
    """

    def __init__(
        self,
        request: ModelRequest,
        cache_dir: Path | str,
        *,
        profile_budget_s: float = 8.0,
        profile: bool = True,
        profile_again: bool = False,
        anew: bool = False,
        nice: int = NICENESS,
        wishes: ProfileWishes = ProfileWishes(),  # noqa: B008 (frozen)
    ) -> None:
        self._command = own_program(
            'dnn_offload.runtime.prepare',
            '--source', request.source, '--weights', request.weights,
            '--input-size', request.input_size, '--role', request.role,
            '--threads', str(request.threads), '--backend', request.backend,
            '--cache', str(Path(cache_dir).expanduser()),
            '--profile-budget-s', str(profile_budget_s), '--nice', str(nice), '--watch-stdin',
            *wishes.arguments(),
        )
        if request.allow_code:
            self._command.append('--allow-code')
        if profile_again:
            self._command.append('--again')
        if anew:
            self._command.append('--anew')
        if not profile:
            self._command.append('--no-profile')
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = b''
        self._foreign_bytes = 0
        self._progress = Progress()
        self.crashed = False

    def start(self) -> None:
        """Start the child; returns at once."""
        if self._process is not None:
            raise ModelError('preparation has been started already')
        # stderr goes to a file: nobody reads it until something fails, and a pipe would fill.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _reap)
        environment = dict(os.environ)
        environment.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._progress = Progress('starting', 0.0, 'starting the preparation process')

    def poll(self) -> Progress:
        """How far it is now; never blocks."""
        process = self._process
        if process is None or self._progress.finished:
            return self._progress
        ended = process.poll() is not None  # before reading: what it wrote last is there
        self._read(process)
        if ended and not self._progress.finished:
            self.crashed = process.returncode < 0
            self._fail(f'the preparation process {how_it_ended(process.returncode)}')
        if self._progress.finished:
            self._reap()
        return self._progress

    def stop(self) -> None:
        """End the child, if it runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not self._progress.finished:
            self._progress = replace(self._progress, stage='failed', message='stopped')
        self._reap()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        while not self._progress.finished:
            block = process.stdout.read(4096)
            if not block:
                return
            *lines, self._buffer = (self._buffer + block).split(b'\n')
            for line in lines:
                self._take(line)
            if self._foreign_bytes + len(self._buffer) > MAX_FOREIGN_BYTES:
                self._fail('the preparation process writes something else than progress')

    def _take(self, line: bytes) -> None:
        if self._progress.finished:
            return
        try:
            data = json.loads(line)
            progress = replace(
                self._progress, stage=str(data['stage']), fraction=float(data['fraction']),
                message=str(data['message']),
            )
            if 'folder' in data:
                progress = replace(progress, folder=Path(data['folder']))
            if 'provisional' in data:
                progress = replace(progress, provisional_path=Path(data['provisional']))
            if 'profile' in data:
                progress = replace(progress, profile_path=Path(data['profile']))
            if 'warning' in data:
                progress = replace(progress, warnings=(*progress.warnings, str(data['warning'])))
        except MALFORMED:
            self._skip(line)
            return
        self._progress = progress

    def _skip(self, line: bytes) -> None:
        """A line of somebody else; the first is told, since it may be why nothing else comes."""
        if self._foreign_bytes == 0:
            text = f'the preparation process wrote something else than progress: {line[:200]!r}'
            self._progress = replace(self._progress, warnings=(*self._progress.warnings, text))
        self._foreign_bytes += len(line) + 1

    def _fail(self, why: str) -> None:
        tail = ''
        if self._stderr is not None:
            size = self._stderr.seek(0, os.SEEK_END)
            self._stderr.seek(max(0, size - 600))
            tail = self._stderr.read().decode(errors='replace').strip()
        self._progress = replace(
            self._progress, stage='failed', message=f'{why}; {tail}' if tail else why
        )

    def _reap(self) -> None:
        process = self._process
        if process is not None:
            # All that it wrote is on disk; killed, it is gone in a moment instead of after
            # tearing torch down.
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None
