"""``dnn-offload simulate``: strategies replayed over traces of load, link and server.

Traces are files (CSV or JSON, ``simulate/recording.py``), recorded ones that ship, or made-up
ones by name. Needs neither torch nor ROS.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from dnn_offload.cli.argument_types import not_negative, whole, within
from dnn_offload.cli.console import console_of
from dnn_offload.cli.given_profiles import check_same_model, read_profile
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.search import STRATEGIES
from dnn_offload.report.regret import Curves, plot_regret
from dnn_offload.simulate import generated, replay
from dnn_offload.simulate.happened import TICK_S, Trace
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.recording import COLUMNS, Recording
from dnn_offload.writable import check_file, PICTURES

MADE_UP_SERVER_SPEED = 5.0
SLOWEST_HZ, FASTEST_HZ = 0.01, 1000.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload simulate``."""
    columns = '; '.join(f'{name}: {meaning}' for name, (_, _, meaning) in COLUMNS.items())
    parser = subparsers.add_parser(
        'simulate',
        help='replay traces of load, link and server against strategies',
        description='Replays traces through the planner, faster than real time, and compares '
        'strategies with the oracle that knows each moment and pays nothing for a switch. '
        f'Columns of a trace: {columns}.',
    )
    parser.add_argument(
        'traces', nargs='*', metavar='TRACE',
        help='a file, or one of '
        f'{", ".join([*replay.shipped(), *generated.GENERATED])}; A+B = the columns of A over '
        'those of B; NAME:7 = made with seed 7; default: slam_bursts',
    )
    parser.add_argument('--edge', type=Path, metavar='F', help="the robot's profile (JSON)")
    parser.add_argument(
        '--server', type=Path, metavar='F', help="the server's profile (JSON); without profiles "
        f'a made-up network of 40 ms, the server {MADE_UP_SERVER_SPEED:g} times as fast',
    )
    parser.add_argument(
        '--strategy', default=','.join(STRATEGIES), metavar='A,B',
        help='strategies to compare [%(default)s]',
    )
    parser.add_argument(
        '--frame-hz', type=within(SLOWEST_HZ, FASTEST_HZ), default=10.0, metavar='HZ',
        help=f'rate of the stream, {SLOWEST_HZ:g} to {FASTEST_HZ:g} Hz [%(default)g Hz]',
    )
    parser.add_argument(
        '--deadline-ms', type=not_negative, default=0.0, metavar='MS',
        help='from entry to result; 0 = none [%(default)g ms]',
    )
    parser.add_argument(
        '--seed', type=whole(0), default=0, metavar='N',
        help='of noise and made-up traces [%(default)s]',
    )
    parser.add_argument(
        '--seconds', type=within(generated.ROW_S, generated.LONGEST_S), default=generated.SECONDS,
        metavar='S', help='length of made-up traces [%(default)g s]',
    )
    parser.add_argument('--plot', type=Path, metavar='FILE.png', help='draw latencies and regret')
    parser.add_argument('--json', action='store_true', help='print JSON instead of tables')


def run(args: argparse.Namespace) -> int:
    """Print a table per trace; 0.

    Raises:
        OffloadError: A profile, a trace or a number is impossible.
    """
    if args.plot is not None:
        check_file('--plot', args.plot, PICTURES)
    edge, server = _profiles(args)
    strategies = _strategies(args.strategy)
    names = args.traces or ['slam_bursts']
    traces = [replay.find(n, seed=args.seed, seconds=args.seconds) for n in names]
    results = [
        replay.compare(
            trace, edge, server, strategies, frame_hz=args.frame_hz,
            deadline_ms=args.deadline_ms, seed=args.seed,
        )
        for trace in traces
    ]
    verdicts = [verdict for found, _ in results for verdict in found]
    if args.plot is not None:
        curves = [_curves(t, told) for t, (_, told) in zip(traces, results, strict=True)]
        regrets = {
            name: {v.trace: v.regret for v in verdicts if v.strategy == name}
            for name in strategies
        }
        plot_regret(args.plot, curves, regrets, title=f'{edge.model}: strategies and the oracle')
    if args.json:
        print(json.dumps([_plain(verdict) for verdict in verdicts], indent=1))
        return 0
    console = console_of()
    for trace, (found, _) in zip(traces, results, strict=True):
        console.print(_table(trace, found, args))
    if args.plot is not None:
        console.print(f'drawn: {args.plot}', markup=False)
    return 0


def _profiles(args: argparse.Namespace) -> tuple[Profile, Profile]:
    if args.edge is None and args.server is None:
        return made_up_profile(), made_up_profile(speed=MADE_UP_SERVER_SPEED)
    if args.edge is None or args.server is None:
        raise ConfigurationError(
            'one profile is missing', given=f'--edge {args.edge} --server {args.server}',
            allowed='both, or none for a made-up network',
        )
    edge, server = read_profile('--edge', args.edge), read_profile('--server', args.server)
    check_same_model(edge, server)
    return edge, server


def _strategies(text: str) -> list[str]:
    names = [name.strip() for name in text.split(',') if name.strip()]
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise ConfigurationError(
            'unknown strategy', given=', '.join(unknown) or text,
            allowed=', '.join(STRATEGIES), hint='the oracle is always in the table',
        )
    return list(dict.fromkeys(names))


def _table(
    trace: Recording, verdicts: list[replay.Verdict], args: argparse.Namespace
) -> Table:
    deadline = f', deadline {args.deadline_ms:g} ms' if args.deadline_ms else ''
    table = Table(
        title=f'{escape(trace.name)}: {trace.duration_s:.0f} s at {args.frame_hz:g} Hz{deadline}',
        caption='regret: mean latency over that of the best plan of each moment, less one; p95: '
        'of single moments; shares of the frames that entered; skipped: for a newer one',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column('strategy', no_wrap=True)
    for column in (
        'mean ms', 'regret %', 'p95 %', 'switches', 'late %', 'rescued %', 'lost %', 'skipped %',
    ):
        # Two words may stand below one another; one is not cut.
        table.add_column(column, justify='right', no_wrap=' ' not in column)
    for v in verdicts:
        seen = v.strategy != replay.ORACLE
        shares = (v.late, v.rescued, v.lost, v.superseded)
        table.add_row(
            v.strategy, f'{v.mean_ms:.1f}', f'{100 * v.regret:.1f}', f'{100 * v.regret_p95:.0f}',
            str(v.switches),
            *(f'{100 * share:.1f}' if seen else '-' for share in shares),
        )
    return table


def _plain(verdict: replay.Verdict) -> dict[str, Any]:
    """As JSON, which knows no NaN."""
    return {name: None if value != value else value for name, value in asdict(verdict).items()}


def _curves(trace: Recording, happened: dict[str, Trace]) -> Curves:
    ticks = len(next(iter(happened.values())).true_ms)
    times_s = [tick * TICK_S for tick in range(ticks)]
    worlds = [trace.world_at(t) for t in times_s]
    return Curves(
        trace.name,
        times_s,
        {name: told.true_ms for name, told in happened.items()},
        next(iter(happened.values())).best_ms,
        [world.edge_load for world in worlds],
        [world.uplink_bps if world.server_up else 0.0 for world in worlds],
    )
