"""What ``dnn-offload bench`` does once its arguments are read."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace

from rich.console import Console

from dnn_offload.bench.emulation import why_loopback
from dnn_offload.bench.outcome import write_outcome
from dnn_offload.bench.run import Bench, BenchOptions
from dnn_offload.bench.scenario import file as scenario_file
from dnn_offload.bench.scenario.scenario import Scenario
from dnn_offload.ending import ending_politely
from dnn_offload.errors import ConfigurationError
from dnn_offload.report.bench_page import rows_without_result
from dnn_offload.testbed.environment import prepare_environment, ros_log_folder
from dnn_offload.testbed.shared_memory import swept_segments
from dnn_offload.writable import make_folder

DOMAIN = 96


def play(args: argparse.Namespace) -> int:
    """Play a scenario, write its outcome, print the figures.

    Args:
        args: As ``cli/bench_command.py`` declares them.

    Returns:
        0 when all figures were kept, else 1.

    Raises:
        OffloadError: The scenario is wrong, or something fails on the way.
    """
    console = Console()
    if args.list or args.scenario is None:
        for name, title in scenario_file.shipped().items():
            console.print(f'{name}: {title}', highlight=False)
        return 0
    scenario = chosen(args)
    reason = why_loopback()
    loopback = args.loopback or reason != ''
    options = BenchOptions(
        args.out.resolve(), args.cache, loopback, args.time_scale, args.new_profiles
    )
    make_folder('--out', options.out)
    make_folder('--cache', options.cache_dir.expanduser())
    prepare_environment(DOMAIN)
    with (
        ending_politely(),
        ros_log_folder(options.out),
        swept_segments(),
    ):
        bench = Bench(scenario, options, console)
        if loopback:
            bench.note(
                'over loopback: the uplink is limited by the robot itself, downlink and speeds '
                f'are not emulated ({reason or "--loopback"})'
            )
        try:
            bench.run()
        except BaseException as error:
            # Hours of measuring are not thrown away for what came last.
            if bench.outcome.record.windows or bench.outcome.frames:
                ended = f'ended early: {str(error) or type(error).__name__}'
                bench.outcome.record.notes.append(ended)
                write_outcome(scenario, options, bench.outcome)
                with contextlib.suppress(OSError):  # it may be the terminal that has gone
                    console.print(
                        f'{ended}; what was measured by then: {options.out}', markup=False
                    )
            raise
    figures = write_outcome(scenario, options, bench.outcome)
    for figure in figures:
        console.print(
            f'{figure.verdict}: {figure.what}: {figure.seen}; aim: {figure.allowed}',
            highlight=False, soft_wrap=True,
        )
    silent = rows_without_result(bench.outcome.record)
    for row in silent:
        console.print(f'row {row} has no result at all', markup=False)
    console.print(f'report: {options.out / "report.html"}', markup=False, soft_wrap=True)
    missed = any(figure.passed is False for figure in figures)
    return 1 if silent or missed else 0


def chosen(args: argparse.Namespace) -> Scenario:
    """The scenario with what the command line changes of it.

    Raises:
        ConfigurationError: No such scenario or row, or a number out of range.
    """
    scenario = scenario_file.load(args.scenario, full=args.full)
    if args.rows:
        wanted = args.rows.split(',')
        known = [row.name for row in scenario.rows]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ConfigurationError(
                f'no such row in scenario {scenario.name}', given=unknown[0],
                allowed=', '.join(known),
            )
        rows = tuple(row for row in scenario.rows if row.name in wanted)
        scenario = replace(scenario, rows=rows)
    for name, value, least in (('repeat', args.repeat, 1), ('frames', args.frames, 3)):
        if value is None:
            continue
        if value < least:
            raise ConfigurationError(f'--{name}', given=value, allowed=f'{least} or more')
        scenario = replace(scenario, **{name: value})
    return scenario
