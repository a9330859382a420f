"""``dnn-offload profile``: measure a network on this machine, as the nodes do after start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
import os
from pathlib import Path
import shutil
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dnn_offload.cli.argument_types import whole, within
from dnn_offload.cli.console import console_of, warn
from dnn_offload.cli.model_arguments import add_model_arguments
from dnn_offload.cli.profile_tables import agreement_line, summary, table
from dnn_offload.cost.load_sources import cores_of
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, ModelError
from dnn_offload.runtime.backends.names import ALL, AUTO
from dnn_offload.runtime.model_cache import cached_program, ModelRequest, ROLES
from dnn_offload.runtime.preparation import Preparation
from dnn_offload.runtime.profile_wishes import NO, ONLY, ProfileWishes, read_thread_counts
from dnn_offload.runtime.thread_count import DEFAULTS, thread_count
from dnn_offload.writable import check_file, make_folder

BUDGET_S = 30.0
LEAST_BUDGET_S, MOST_BUDGET_S = 0.1, 3600.0
POLL_S = 0.1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload profile``."""
    wishes = ProfileWishes()
    parser = subparsers.add_parser(
        'profile',
        help='measure a network on this machine',
        description='Export a network and measure its heads, tails, operators and codecs on this '
        'machine. Measuring stops at the time budget or when the fraction of the cuts is done, '
        'whichever comes first; the other cuts are interpolated, with an interval. The result is '
        'cached and used by the nodes; --output keeps a copy, e.g. for "dnn-offload plan".',
    )
    add_model_arguments(parser)
    parser.add_argument(
        '--threads', type=whole(0), metavar='N',
        help='compute threads, at most as many as there are cores; 0: one per physical core '
        '[1, or 0 with --role server, as the nodes have it]',
    )
    parser.add_argument(
        '--backend', default='auto', metavar='B',
        help='torch, onnxruntime, openvino, openvino:DEVICE, or the fastest of the installed '
        'ones, as the nodes choose it; several such as onnxruntime+openvino, or all: each piece '
        'by the one that is fastest there [%(default)s]',
    )
    parser.add_argument('--role', choices=ROLES, default='edge', help='[%(default)s]')
    parser.add_argument(
        '--budget-s', type=within(LEAST_BUDGET_S, MOST_BUDGET_S), default=BUDGET_S, metavar='S',
        help=f'time for measuring, {LEAST_BUDGET_S:g} to {MOST_BUDGET_S:g} s, without the '
        'agreement [%(default)g s]',
    )
    parser.add_argument(
        '--fraction', type=float, default=wishes.fraction, metavar='F',
        help='share of the cuts that are measured as units, above 0, up to 1 [%(default)s]',
    )
    parser.add_argument(
        '--threads-list', default='', metavar='N,N',
        help='further thread counts to measure, or none [1, 2, 4 and all cores]',
    )
    agreement = parser.add_argument_group(
        'agreement',
        "what lossy codecs do to the network's own answers, as an accuracy floor needs it; takes "
        'a minute or two, at the measured cuts only',
    )
    agreement.add_argument('--agreement', action='store_true', help='measure it')
    agreement.add_argument(
        '--frames', type=Path, metavar='F',
        help='folder of pictures or video from the robot (implies --agreement) [held-out scenes '
        'for demo:detector, made-up pictures for other networks]',
    )
    agreement.add_argument(
        '--frame-count', type=int, default=wishes.frame_count, metavar='N',
        help='most frames to look at [%(default)s]',
    )
    agreement.add_argument(
        '--agreement-budget-s', type=float, default=wishes.agreement_budget_s, metavar='S',
        help='time for it [s]; fewer cuts are tried when it is short [%(default)s]',
    )
    parser.add_argument('--again', action='store_true', help='measure even if cached')
    parser.add_argument(
        '--quick', action='store_true',
        help='a provisional profile, within a second or two after the export: some runs or '
        'operators measured, the rest predicted from the devices of the data base; not cached',
    )
    parser.add_argument('--output', type=Path, metavar='F', help='copy the profile (JSON) to F')
    parser.add_argument('--all', action='store_true', help='show all cuts of a long network')


def run(arguments: argparse.Namespace) -> int:
    """Prepare, show, copy; raises OffloadError."""
    threads = DEFAULTS[arguments.role] if arguments.threads is None else arguments.threads
    request = ModelRequest(
        arguments.model,
        arguments.weights,
        arguments.allow_code,
        arguments.input_size,
        arguments.role,
        thread_count(threads),
        arguments.backend,
    )
    thread_counts = read_thread_counts(arguments.threads_list)
    _check_cores('--threads', [threads])
    _check_cores('--threads-list', thread_counts or ())
    make_folder('--cache', arguments.cache.expanduser())
    if arguments.output is not None:
        check_file('--output', arguments.output)
    console = console_of()
    asked = arguments.agreement or arguments.frames is not None
    wishes = ProfileWishes(
        fraction=arguments.fraction,
        thread_counts=thread_counts,
        agreement=asked,
        agreement_again=asked and (arguments.again or arguments.frames is not None),
        agreement_budget_s=arguments.agreement_budget_s,
        frames=arguments.frames,
        frame_count=arguments.frame_count,
        provisional=ONLY if arguments.quick else NO,
    )
    if asked and wishes.frames is None and request.source == 'demo:detector':
        folder = draw_scenes(arguments.cache.expanduser(), wishes.frame_count, console)
        wishes = replace(wishes, frames=folder)
    started_s = time.time()
    path = measure(
        request, arguments.cache, arguments.budget_s, arguments.again, console, wishes
    )
    profile = Profile.from_json(path.read_text(encoding='utf-8'))
    console.print(table(profile, arguments.all))
    for line in summary(profile):
        console.print(line)
    if asked:
        console.print(agreement_line(profile, cached_program(path.parent)))
    elif not profile.agreement_frames:
        console.print(
            'What codecs change of the answers was not measured: --frames FOLDER_OR_VIDEO does.',
            markup=False,
        )
    if path.stat().st_mtime < started_s:
        console.print('This profile was in the cache; --again measures it anew.')
        if request.backend not in (AUTO, ALL, profile.backend):
            warn(
                f'{request.backend} could not be used when it was measured: it is of '
                f'{profile.backend}'
            )
    loads = ', '.join(f'{name} {ratio:.2f}' for name, ratio in profile.load_ratios.items())
    console.print(
        f'whole network {profile.whole_ms:.2f} ms, decoding its outputs '
        f'{profile.finish_ms:.2f} ms; load meanwhile: {loads or "unknown"}'
    )
    if profile.load_ratios.get('schedstat', 1.0) > 1.3:
        console.print(
            '[yellow]The machine was busy: times contain that load (plans take it out again). '
            'For a clean profile stop other programs and use --again.[/]'
        )
    if arguments.output is not None:
        try:
            shutil.copyfile(path, arguments.output)
        except OSError as error:
            raise ConfigurationError(
                'the profile cannot be copied', given=f'{arguments.output}: {error}',
                allowed='a file in a folder that exists', hint=f'it is in {path}',
            ) from error
        path = arguments.output
    console.print(f'profile: {path}', soft_wrap=True)
    return 0


def _check_cores(option: str, thread_counts: Sequence[int]) -> None:
    """Refuse more threads than cores: those would only wait for one another."""
    cores = len(cores_of())
    if any(count > cores for count in thread_counts):
        raise ConfigurationError(
            f'{option} asks for more threads than this machine has cores for this process',
            given=', '.join(map(str, thread_counts)), allowed=f'1..{cores}',
        )


def draw_scenes(cache: Path, count: int, console: Console) -> Path:
    """Held-out scenes of the demo as pictures in a folder of the cache; drawn once."""
    import cv2

    from dnn_offload.demo.scenes.render import render

    folder = cache / 'frames' / f'demo_val_{count}'
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn('drawing held-out scenes'), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        for seed in bar.track(range(count)):
            path = folder / f'{seed:05d}.png'
            if not path.is_file():
                part = path.with_name(f'.{os.getpid()}.part.png')
                cv2.imwrite(str(part), cv2.cvtColor(render(seed, 'val').rgb, cv2.COLOR_RGB2BGR))
                os.replace(part, path)
    return folder


def measure(
    request: ModelRequest,
    cache: Path,
    budget_s: float,
    again: bool,
    console: Console,
    wishes: ProfileWishes = ProfileWishes(),  # noqa: B008 (frozen)
) -> Path:
    """Run the preparation with a progress bar; returns where the profile is.

    Raises:
        ModelError: It failed.
    """
    preparation = Preparation(
        request, cache, profile_budget_s=budget_s, nice=0, profile_again=again, wishes=wishes
    )
    columns = (TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    preparation.start()
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task('starting', total=1.0)
            while not (progress := preparation.poll()).finished:
                text = escape(f'{progress.stage}: {progress.message}')
                bar.update(task, completed=progress.fraction, description=text)
                time.sleep(POLL_S)
    finally:
        preparation.stop()
    for text in progress.warnings:
        warn(text)
    if progress.profile_path is None:
        raise ModelError(f'{request.source} cannot be prepared: {progress.message}')
    return progress.profile_path
