"""``dnn-offload profile``: measure a network on this machine, as the nodes do after start."""

from __future__ import annotations

import argparse
from pathlib import Path
import shutil
import time

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dnn_offload.cli.model_arguments import add_model_arguments
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ModelError
from dnn_offload.runtime.model_cache import ModelRequest, ROLES
from dnn_offload.runtime.preparation import Preparation

POLL_S = 0.1
ROWS = 25  # of a long table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload profile``."""
    parser = subparsers.add_parser(
        'profile',
        help='measure a network on this machine',
        description='Export a network and measure its heads, tails and codecs on this machine. '
        'The result is cached and used by the nodes; --output keeps a copy, e.g. for '
        '"dnn-offload plan".',
    )
    add_model_arguments(parser)
    parser.add_argument(
        '--threads', type=int, default=1, help='compute threads [%(default)s]'
    )
    parser.add_argument('--role', choices=ROLES, default='edge', help='[%(default)s]')
    parser.add_argument(
        '--budget-s', type=float, default=8.0, help='time for measuring [s] [%(default)s]'
    )
    parser.add_argument('--again', action='store_true', help='measure even if cached')
    parser.add_argument('--output', type=Path, metavar='F', help='copy the profile (JSON) to F')
    parser.add_argument('--all', action='store_true', help='show all cuts of a long network')


def run(arguments: argparse.Namespace) -> int:
    """Prepare, show, copy; raises OffloadError."""
    request = ModelRequest(
        arguments.model,
        arguments.weights,
        arguments.allow_code,
        arguments.input_size,
        arguments.role,
        arguments.threads,
    )
    console = Console()
    path = measure(request, arguments.cache, arguments.budget_s, arguments.again, console)
    profile = Profile.from_json(path.read_text(encoding='utf-8'))
    console.print(table(profile, arguments.all))
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
        shutil.copyfile(path, arguments.output)
        path = arguments.output
    console.print(f'profile: {path}', soft_wrap=True)
    return 0


def measure(
    request: ModelRequest, cache: Path, budget_s: float, again: bool, console: Console
) -> Path:
    """Run the preparation with a progress bar; returns where the profile is.

    Raises:
        ModelError: It failed.
    """
    preparation = Preparation(
        request, cache, profile_budget_s=budget_s, nice=0, profile_again=again
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
    if progress.profile_path is None:
        raise ModelError(f'{request.source} cannot be prepared: {progress.message}')
    return progress.profile_path


def table(profile: Profile, everything: bool = True) -> Table:
    """The profile for people; a long one thinned out to the measured cuts."""
    cuts = list(profile.cuts)
    if not everything and len(cuts) > ROWS:
        step = -(-len(cuts) // ROWS)
        cuts = [c for c in cuts if c.index % step == 0 or c is profile.cuts[-1]]
    shown = '' if len(cuts) == len(profile.cuts) else f', {len(cuts)} of {len(profile.cuts)} cuts'
    made = Table(
        title=f'{escape(profile.model)} on {escape(str(profile.device.get("host", "?")))}, '
        f'{profile.backend}, {profile.threads} thread(s){shown}; times in ms, sizes in kB',
        caption='~ interpolated; ± interquartile range; smallest: codec, size, encode + decode',
        box=box.SIMPLE_HEAD,
    )
    for name, width in (('cut', 3), ('kB', 5), ('head', 6), ('tail', 6), ('±', 4)):
        made.add_column(name, justify='right', no_wrap=True, min_width=width)
    made.add_column('after', no_wrap=True, overflow='ellipsis', max_width=20)
    made.add_column('smallest', no_wrap=True, min_width=22)
    for cut in cuts:
        mark = '' if cut.measured else '~'
        smallest = ''
        if cut.codecs:
            name, cost = min(cut.codecs.items(), key=lambda item: item[1].nbytes)
            smallest = f'{name} {cost.nbytes / 1e3:.0f} {cost.encode_ms:.1f}+{cost.decode_ms:.1f}'
        made.add_row(
            str(cut.index),
            f'{cut.frontier_bytes / 1e3:.0f}',
            f'{mark}{cut.head_ms:.1f}',
            f'{mark}{cut.tail_ms:.1f}',
            f'{max(cut.head_spread_ms, cut.tail_spread_ms):.1f}',
            escape(cut.label),
            smallest,
        )
    return made
