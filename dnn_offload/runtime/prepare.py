"""The preparation process: exports a model and measures its profile, both cached on disk.

``python -m dnn_offload.runtime.prepare --source torchvision:squeezenet1_1 --cache DIR``

It is a process of its own because exporting holds the interpreter lock for half a second and
takes 200 MiB. Progress goes to stdout, a JSON object per line: ``stage`` (``cache``, ``export``,
``profile``, ``done``, ``failed``), ``fraction``, ``message``; ``folder`` from the moment the
model can be loaded, ``profile`` with ``done``. Exit status 1 after ``failed``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import contextlib
import fcntl
import json
import os
from pathlib import Path
import sys
import threading
from typing import Protocol, TextIO

from dnn_offload.errors import OffloadError
from dnn_offload.graph.program import Program
from dnn_offload.runtime.model_cache import (
    cache_key,
    cached_profile,
    cached_program,
    ModelRequest,
    ROLES,
)


class Reporter:
    """Writes progress lines; everything else that prints goes to stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, stage: str, fraction: float, message: str, **more: str) -> None:
        """One line."""
        line = {'stage': stage, 'fraction': round(fraction, 3), 'message': message, **more}
        self._stream.write(json.dumps(line) + '\n')
        self._stream.flush()


class Report(Protocol):
    """Takes progress: stage, fraction, message, and what is known by then."""

    def __call__(self, stage: str, fraction: float, message: str, **more: str) -> None:
        """One step."""


def prepare(
    request: ModelRequest,
    cache: Path,
    budget_s: float,
    profile: bool,
    report: Report,
    again: bool = False,
) -> None:
    """Do what is not in the cache yet.

    Args:
        request: The model.
        cache: Folder of all cached models; made if missing.
        budget_s: Time that measuring may take.
        profile: Whether to measure at all.
        report: Gets the progress.
        again: Measure even if there is a profile.

    Raises:
        OffloadError: Model or configuration is not acceptable.
    """
    report('cache', 0.0, f'looking for {request.source}')
    folder = cache / cache_key(request)
    folder.mkdir(parents=True, exist_ok=True)
    # Robot and server on one machine: the second waits for the first one's export.
    with _locked(folder / 'export.lock'):
        program = cached_program(folder)
        if program is None:
            program = _export(request, folder, report)
    report('profile', 0.5, 'model is ready to be loaded', folder=str(folder))
    path = folder / request.profile_name
    if profile and (again or cached_profile(path, program.identity) is None):
        from dnn_offload.runtime.backends.torch_backend import TorchBackend
        from dnn_offload.runtime.profiler import measure_profile

        made = measure_profile(
            TorchBackend().load(folder),
            request.threads,
            budget_s,
            lambda fraction, message: report('profile', 0.5 + 0.5 * fraction, message),
        )
        temporary = path.with_suffix(f'.{os.getpid()}.part')
        temporary.write_text(made.to_json(), encoding='utf-8')
        os.replace(temporary, path)
    report(
        'done', 1.0, 'ready', folder=str(folder), **({'profile': str(path)} if profile else {})
    )


def _export(request: ModelRequest, folder: Path, report: Report) -> Program:
    report('export', 0.05, 'loading torch')
    from dnn_offload.graph.export import export
    from dnn_offload.graph.sources import resolve
    from dnn_offload.graph.weights import save_weights

    report('export', 0.1, f'loading {request.source}')
    loaded = resolve(
        request.source,
        weights=request.weights,
        allow_code=request.allow_code,
        input_size=request.size,
    )
    program, weights = export(loaded, lambda message: report('export', 0.3, message))
    report('export', 0.45, 'saving')
    save_weights(folder, weights)  # before the program: whoever sees that finds both
    program.save(folder)
    return program


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; the kernel releases it when the process dies."""
    with path.open('a', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def die_with_parent() -> None:
    """End this process when the other end of stdin is gone, however the parent died."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name='parent', daemon=True).start()


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the process."""
    parser = argparse.ArgumentParser(description='Export a model and measure its profile.')
    parser.add_argument('--source', required=True, help='e.g. torchvision:squeezenet1_1')
    parser.add_argument('--weights', default='DEFAULT', help='name, .safetensors file, random')
    parser.add_argument('--allow-code', action='store_true', help='allow python: and file:')
    parser.add_argument('--input-size', default='', help='HEIGHTxWIDTH; the own one if empty')
    parser.add_argument('--cache', required=True, type=Path, help='folder for results')
    parser.add_argument('--threads', type=int, default=1, help='compute threads')
    parser.add_argument('--role', choices=ROLES, default='edge', help='whose profile')
    parser.add_argument('--profile-budget-s', type=float, default=8.0, help='time to measure [s]')
    parser.add_argument('--no-profile', action='store_true', help='only export')
    parser.add_argument('--again', action='store_true', help='measure even if cached')
    parser.add_argument('--nice', type=int, default=0, help='added to the niceness')
    parser.add_argument('--watch-stdin', action='store_true', help='end when stdin closes')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit status."""
    args = make_parser().parse_args(argv)
    # Model code may print: stdout is ours alone, everything else goes to stderr.
    with open(os.dup(1), 'w', encoding='utf-8') as stream:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        report = Reporter(stream)
        if args.watch_stdin:
            die_with_parent()
        if args.nice:
            os.nice(args.nice)
        try:
            request = ModelRequest(
                args.source, args.weights, args.allow_code, args.input_size, args.role,
                args.threads,
            )
            prepare(
                request, args.cache.expanduser(), args.profile_budget_s, not args.no_profile,
                report, args.again,
            )
        except (OffloadError, OSError, ImportError) as error:
            report('failed', 1.0, str(error))
            return 1
        except Exception as error:  # a bug, or the model's own code: the node must know
            report('failed', 1.0, f'{type(error).__name__}: {error}')
            raise
    return 0


if __name__ == '__main__':
    sys.exit(main())
