"""The preparation process: exports a model and measures its profile, both cached on disk.

``python -m dnn_offload.runtime.prepare --source torchvision:squeezenet1_1 --cache DIR``

It is a process of its own because exporting holds the interpreter lock for half a second and
takes 200 MiB. Progress goes to stdout, a JSON object per line: ``stage`` (``cache``, ``export``,
``profile``, ``agreement``, ``done``, ``failed``), ``fraction``, ``message``; ``folder`` from the
moment the model can be loaded, ``provisional`` (a path) as soon as there is a provisional profile,
if one is wanted, ``profile`` with ``done``; ``warning``, for the log, once each. Exit status 1
after ``failed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
import json
import os
from pathlib import Path
import sys
import threading
from typing import Protocol, TextIO, TYPE_CHECKING

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, OffloadError
from dnn_offload.graph.program import Program
from dnn_offload.runtime.backends.names import TORCH
from dnn_offload.runtime.model_cache import (
    cache_key,
    cached_profile,
    cached_program,
    locked,
    ModelRequest,
    seal,
)
from dnn_offload.runtime.prepare_arguments import make_parser
from dnn_offload.runtime.profile_wishes import NO, ONLY, ProfileWishes, read_thread_counts
from dnn_offload.runtime.read_files import noting, READ_FILES
from dnn_offload.whole_file import remove_leftovers, write_whole

# A provisional profile is to be there long before the measured one.
PROVISIONAL_SHARE = 0.2  # of the budget
LOCK = 'export.lock'

if TYPE_CHECKING:  # torch is imported when there is something to do
    from dnn_offload.runtime.backends.torch_backend import TorchModel

BACKENDS_SHARE = 0.1  # of the budget, beside it: for choosing a backend


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
    wishes: ProfileWishes = ProfileWishes(),  # noqa: B008 (frozen)
    anew: bool = False,
) -> None:
    """Do what is not in the cache yet, or is damaged there.

    Args:
        request: The model.
        cache: Folder of all cached models; made if missing.
        budget_s: Time that measuring may take.
        profile: Whether to measure at all.
        report: Gets the progress.
        again: Measure even if there is a profile.
        wishes: What the profile shall hold.
        anew: Export and measure even if both are there: they cannot be used.

    Raises:
        OffloadError: Model or configuration is not acceptable.
    """
    report('cache', 0.0, f'looking for {request.source}')
    theirs = request.source.startswith('python:')
    with noting() if theirs else nullcontext(dict) as read:  # before their package is imported
        folder = cache / cache_key(request)
        folder.mkdir(parents=True, exist_ok=True)
        # Robot and server on one machine: the second waits for the first one's export.
        with locked(folder / LOCK):
            for place in (cache, folder):
                remove_leftovers(place)
            program = None if anew else cached_program(folder, lambda text: report(
                'cache', 0.0, text, warning=f'{text}; the network is exported anew'
            ))
            was_cached = program is not None
            program = program or _export(request, folder, read, report)
        report('profile', 0.5, 'model is ready to be loaded', folder=str(folder))
        path = folder / request.profile_name
        if profile:
            measured = request, folder, budget_s, report, again or anew, wishes
            try:
                path = _profile(program, *measured)
            except (OSError, ConfigurationError):
                raise
            except Exception as error:  # whatever a damaged program raises where it is run
                if not was_cached:
                    raise
                why = f'the network of the cache does not run ({error}); it is exported anew'
                report('cache', 0.0, why, warning=why)
                with locked(folder / LOCK):
                    program = _export(request, folder, read, report)
                path = _profile(program, *measured)
    report(
        'done', 1.0, 'ready', folder=str(folder), **({'profile': str(path)} if profile else {})
    )


def _profile(
    program: Program,
    request: ModelRequest,
    folder: Path,
    budget_s: float,
    report: Report,
    again: bool,
    wishes: ProfileWishes,
) -> Path:
    """Measure times and agreement, each if it is wanted and not in the folder yet.

    Returns:
        Where the profile is.
    """
    path = folder / request.profile_name
    made = None if again else cached_profile(path, program, lambda text: report(
        'profile', 0.5, text, warning=f'{text}; it is measured anew'
    ))
    agree = wishes.agreement and (
        wishes.agreement_again or made is None or made.agreement_frames == 0
    )
    if made is not None and not agree:
        return path
    from dnn_offload.runtime.backends.torch_backend import TorchBackend
    from dnn_offload.runtime.frame_files import Frames
    from dnn_offload.runtime.own_layers import join_layers
    from dnn_offload.runtime.profile_agreement import measure_agreement, with_agreement_of
    from dnn_offload.runtime.profile_backends import choose, with_backends
    from dnn_offload.runtime.profiler import measure_profile

    # Before minutes of measuring: are there any?
    frames = Frames(wishes.frames, wishes.frame_count) if agree else None
    model = TorchBackend().load(folder)
    end = 0.6 if agree else 1.0
    if made is None and wishes.provisional != NO:
        provisional = _provisional(request, model, folder, budget_s, report)
        if wishes.provisional == ONLY:
            return provisional
    if made is None:
        report('profile', 0.5, 'comparing backends')
        choice = choose(
            folder, request.backend, request.threads, BACKENDS_SHARE * budget_s,
            lambda text: report('profile', 0.5, text, warning=text),
        )
        made = measure_profile(
            choice.model, request.threads, budget_s,
            lambda fraction, message: report('profile', 0.5 + (end - 0.5) * fraction, message),
            fraction=wishes.fraction, other_threads=wishes.thread_counts,
        )
        made = with_backends(made, choice.others)
        made = with_agreement_of(made, _profiles(folder, program))
        write_whole(path, made.to_json().encode())
        join_layers(folder.parent, made, lambda text: report('profile', end, text))
    if frames is not None:
        made = measure_agreement(
            model, made, frames, wishes.agreement_budget_s,
            lambda fraction, message: report('agreement', end + (1.0 - end) * fraction, message),
        )
        write_whole(path, made.to_json().encode())
    return path


def _provisional(
    request: ModelRequest, model: TorchModel, folder: Path, budget_s: float, report: Report
) -> Path:
    """Measure a little, predict the rest, and tell where the result is."""
    from dnn_offload.runtime.own_layers import layers_measured_here
    from dnn_offload.runtime.profile_agreement import with_agreement_of
    from dnn_offload.runtime.profile_quick import QUICK_BUDGET_S, quick_profile

    made = quick_profile(
        model, request.threads, min(QUICK_BUDGET_S, PROVISIONAL_SHARE * budget_s),
        elsewhere=layers_measured_here(
            folder.parent, TORCH, request.threads, lambda text: report('profile', 0.5, text)
        ),
        report=lambda fraction, message: report('profile', 0.5, message),
    )
    path = folder / request.provisional_name
    made = with_agreement_of(made, _profiles(folder, model.program))
    write_whole(path, made.to_json().encode())
    report('profile', 0.5, 'provisional profile is ready', provisional=str(path))
    return path


def _profiles(folder: Path, program: Program) -> list[Profile]:
    """All sound profiles of a folder, of any role and thread count."""
    found = (cached_profile(path, program) for path in sorted(folder.glob('profile_*.json')))
    return [profile for profile in found if profile is not None]


def _export(
    request: ModelRequest, folder: Path, read: Callable[[], dict[str, str]], report: Report
) -> Program:
    """Make the program and put it into the folder; ``read`` tells what it was made of."""
    report('export', 0.05, 'loading torch')
    from dnn_offload.graph.export import export
    from dnn_offload.graph.sources import resolve
    from dnn_offload.graph.weights import save_weights
    from dnn_offload.vision.preprocess import PreprocessSpec

    report('export', 0.1, f'loading {request.source}')
    loaded = resolve(
        request.source,
        weights=request.weights,
        allow_code=request.allow_code,
        input_size=request.size,
    )
    if loaded.takes_picture:
        PreprocessSpec.from_json(loaded.preprocess)
    program, weights = export(loaded, lambda message: report('export', 0.3, message))
    report('export', 0.45, 'saving')
    ours = f'{folder.parent.resolve()}/'
    theirs = {name: then for name, then in read().items() if not name.startswith(ours)}
    # Before the program: whoever sees that finds all of it.
    write_whole(folder / READ_FILES, json.dumps(theirs, indent=1).encode())
    save_weights(folder, weights)
    program.save(folder)
    seal(folder)
    return program


def die_with_parent() -> None:
    """End this process when the other end of stdin is gone, however the parent died."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name='parent', daemon=True).start()


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
                args.threads, args.backend,
            )
            wishes = ProfileWishes(
                args.fraction, read_thread_counts(args.threads_list), args.agreement,
                args.agreement_again, args.agreement_budget_s, args.frames, args.frame_count,
                args.provisional,
            )
            prepare(
                request, args.cache.expanduser(), args.profile_budget_s, not args.no_profile,
                report, args.again, wishes, args.anew,
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
