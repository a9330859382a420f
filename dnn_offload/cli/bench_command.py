"""``dnn-offload bench``: plays a scenario with real nodes on an emulated robot and server."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
import signal
import sys
import tempfile
from typing import NoReturn

from rich.console import Console

from dnn_offload.errors import ConfigurationError, OffloadError

DOMAIN = 96


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload bench``."""
    parser = subparsers.add_parser(
        'bench',
        help='run real nodes through a scenario and compare strategies',
        description='Starts a robot and a server on this machine, each with its own network '
        'namespace, CPU quota and load average, joined by a shaped link (root; without, over '
        'loopback), plays a scenario, and writes CSV, JSON and an HTML report. docs/bench.md '
        'tells what scenarios look like.',
    )
    parser.add_argument('scenario', nargs='?', help='a YAML file, or the name of a shipped one')
    parser.add_argument('--list', action='store_true', help='list the shipped scenarios')
    parser.add_argument(
        '--out', type=Path, default=Path('bench_out'), help='folder for results [%(default)s]'
    )
    parser.add_argument('--repeat', type=int, help="rounds [the scenario's]")
    parser.add_argument('--frames', type=int, help="results per window [the scenario's]")
    parser.add_argument('--rows', metavar='A,B', help="only these rows [all of the scenario's]")
    parser.add_argument('--full', action='store_true', help='the whole grid, not the short one')
    parser.add_argument(
        '--time-scale', type=float, default=1.0, help='length of a timeline [%(default)s]'
    )
    parser.add_argument(
        '--loopback', action='store_true', help='do without namespaces and quotas, also as root'
    )
    parser.add_argument(
        '--new-profiles', action='store_true', help='measure the emulated machines anew'
    )
    parser.add_argument(
        '--cache', type=Path, default=Path('~/.cache/dnn_offload'), help='[%(default)s]'
    )


def run(args: argparse.Namespace) -> int:
    """Play, write, print the figures; 0 when all were kept, 1 when not.

    Raises:
        OffloadError: The scenario is wrong, ROS is missing, or something fails on the way.
    """
    try:
        from dnn_offload.testbed import scenario_file
        from dnn_offload.testbed.bench import Bench, BenchOptions
        from dnn_offload.testbed.bench_outcome import write_outcome
        from dnn_offload.testbed.emulation import why_loopback
        from dnn_offload.testbed.environment import changed_environment, prepare_environment
    except ModuleNotFoundError as error:
        raise OffloadError(
            f'dnn-offload bench needs {error.name}: it runs real ROS nodes',
            hint='make setup, then source tools/env.sh',
        ) from error
    console = Console()
    if args.list or args.scenario is None:
        for name, title in scenario_file.shipped().items():
            console.print(f'{name}: {title}', highlight=False)
        return 0
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
    for name, least in (('repeat', 1), ('frames', 3)):
        value = getattr(args, name)
        if value is not None:
            if value < least:
                raise ConfigurationError(f'--{name}', given=value, allowed=f'{least} or more')
            scenario = replace(scenario, **{name: value})
    reason = why_loopback()
    loopback = args.loopback or reason != ''
    options = BenchOptions(
        args.out.resolve(), args.cache, loopback, args.time_scale, args.new_profiles
    )
    options.out.mkdir(parents=True, exist_ok=True)
    prepare_environment(DOMAIN)
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix='dnn_offload_') as logs, changed_environment(
        {'ROS_LOG_DIR': logs}
    ):
        bench = Bench(scenario, options, console)
        if loopback:
            note = (
                'over loopback: the uplink is limited by the robot itself, downlink and speeds '
                f'are not emulated ({reason or "--loopback"})'
            )
            console.print(note, style='yellow')
            bench.note(note)
        done = bench.run()
    figures = write_outcome(scenario, options, done)
    for figure in figures:
        verdict = 'pass' if figure.passed else 'MISS'
        console.print(
            f'{verdict}: {figure.what}: {figure.seen}; aim: {figure.allowed}', highlight=False,
            soft_wrap=True,
        )
    console.print(f'report: {options.out / "report.html"}', highlight=False, soft_wrap=True)
    return 0 if all(figure.passed for figure in figures) else 1


def _interrupt(number: int, frame: object) -> NoReturn:
    """A polite end: everything is taken down as after Ctrl-C."""
    sys.exit(128 + number)
