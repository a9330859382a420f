"""``dnn-offload plan``: the predicted cost of every cut, and what each strategy would choose.

Takes two profiles (measured by ``dnn-offload profile`` or by the nodes, which keep them in
their cache) and the conditions as arguments. Needs neither torch nor ROS.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, OffloadError, PlanningError
from dnn_offload.planning.costs import reprice
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    ServerState,
)
from dnn_offload.planning.search import DEFAULT_STRATEGY, plan, STRATEGIES

_STAGES = (
    ('head', 'head_ms'),
    ('encode', 'encode_ms'),
    ('up', 'uplink_ms'),
    ('queue', 'queue_ms'),
    ('decode', 'decode_ms'),
    ('tail', 'tail_ms'),
    ('down', 'downlink_ms'),
    ('finish', 'finish_ms'),
)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload plan``."""
    parser = subparsers.add_parser(
        'plan',
        help='show the predicted cost of every cut',
        description='Predicted cost of every cut under given conditions, best codec and '
        'server of each, and what each strategy would choose. Times in ms.',
    )
    parser.add_argument(
        '--edge-profile', required=True, type=Path, metavar='F', help="the robot's profile (JSON)"
    )
    parser.add_argument(
        '--server-profile',
        action='append',
        default=[],
        metavar='[NAME=]F',
        help="a server's profile (JSON); may be given several times",
    )
    parser.add_argument(
        '--strategy',
        choices=sorted(STRATEGIES),
        default=DEFAULT_STRATEGY,
        help='whose beliefs the table shows (default: %(default)s)',
    )
    parser.add_argument('--uplink-bps', type=_positive, default=20e6, help='uplink [bit/s]')
    parser.add_argument(
        '--downlink-bps', type=_positive, default=None, help='downlink [bit/s]; default: uplink'
    )
    parser.add_argument(
        '--alpha-ms', type=_not_negative, default=3.0, help='fixed cost of a transfer [ms]'
    )
    parser.add_argument(
        '--load', type=_positive, default=1.0, help="the robot's slow-down against its profile"
    )
    parser.add_argument(
        '--loadavg',
        type=_not_negative,
        default=None,
        help='raw load average per core, for dey2019; default: --load',
    )
    parser.add_argument(
        '--server-load', type=_positive, default=1.0, help="the servers' slow-down"
    )
    parser.add_argument(
        '--queue-ms', type=_not_negative, default=0.0, help="wait in the servers' queue [ms]"
    )
    parser.add_argument(
        '--private-layers',
        type=int,
        default=0,
        help='weighted layers that must run on the robot; 1 = no picture leaves it',
    )
    parser.add_argument(
        '--codec', action='append', default=[], help='allow this codec only; may be repeated'
    )
    parser.add_argument('--result-codec', default='raw', help='codec of the answers')
    parser.add_argument('--all', action='store_true', help='every codec, not the best per cut')
    parser.add_argument('--json', action='store_true', help='print JSON instead of tables')


def run(args: argparse.Namespace) -> int:
    """Print the table; 0, or 1 with a message when a profile or the plan is impossible."""
    try:
        conditions = _conditions(args)
        constraints = Constraints(args.private_layers, tuple(args.codec))
        ranked = plan(args.strategy, conditions, constraints)
        choices = _choices(conditions, constraints)
    except OffloadError as error:
        Console(stderr=True).print(f'error: {error}', style='red', markup=False)
        return 1
    if args.json:
        print(json.dumps(_as_json(ranked, choices), indent=1))
        return 0
    console = Console()
    console.print(_table_of_cuts(ranked, conditions, args))
    console.print(_table_of_strategies(choices))
    return 0


def _conditions(args: argparse.Namespace) -> Conditions:
    edge = _read_profile(args.edge_profile)
    down_bps = args.downlink_bps or args.uplink_bps
    link = LinkState(args.alpha_ms, args.uplink_bps, args.alpha_ms, down_bps, 1.0)
    servers = []
    for number, text in enumerate(args.server_profile, start=1):
        name, separator, path = text.partition('=')
        if not separator:
            name, path = f'server{number}' if len(args.server_profile) > 1 else 'server', text
        profile = _read_profile(Path(path))
        if profile.model_identity != edge.model_identity:
            raise ConfigurationError(
                'the profiles are of different models',
                given=f'{profile.model} ({profile.model_identity[:12]})',
                allowed=f'{edge.model} ({edge.model_identity[:12]})',
                hint='profile the same model with the same weights on both sides',
            )
        servers.append(ServerState(name, profile, link, args.server_load, args.queue_ms))
    loadavg = args.load if args.loadavg is None else args.loadavg
    return Conditions(edge, args.load, loadavg, tuple(servers), args.result_codec)


def _read_profile(path: Path) -> Profile:
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            'profile cannot be read', given=f'{path}: {error}', allowed='a profile in JSON'
        ) from error
    return Profile.from_json(text)


def _choices(
    conditions: Conditions, constraints: Constraints
) -> dict[str, tuple[Candidate, Candidate] | None]:
    """Strategy to (its choice as it believes, the same under the true conditions)."""
    found: dict[str, tuple[Candidate, Candidate] | None] = {}
    for name in STRATEGIES:
        try:
            best = plan(name, conditions, constraints)[0]
        except PlanningError:
            found[name] = None
            continue
        found[name] = (best, reprice(best, conditions))
    return found


def _table_of_cuts(
    ranked: list[Candidate], conditions: Conditions, args: argparse.Namespace
) -> Table:
    profile = conditions.edge_profile
    best = ranked[0]
    rows = ranked if args.all else _best_per_cut(ranked)
    table = Table(
        title=f'{escape(profile.model)}: cost of every cut in ms, as {args.strategy} believes',
        caption=f'robot load {args.load:g}, uplink {args.uplink_bps / 1e6:g} Mbit/s, '
        f'alpha {args.alpha_ms:g} ms, server load {args.server_load:g}; '
        f'~ = interpolated, > = the choice',
    )
    table.add_column('')
    table.add_column('cut', justify='right')
    table.add_column('after')
    table.add_column('codec')
    table.add_column('server')
    table.add_column('kB', justify='right')
    for title, _ in _STAGES:
        table.add_column(title, justify='right')
    table.add_column('total', justify='right')
    table.add_column('period', justify='right')
    measured = {cut.index: cut.measured for cut in profile.cuts}
    for row in sorted(rows, key=lambda c: (c.cut_index, c.latency_ms)):
        chosen = row.key == best.key
        table.add_row(
            '>' if chosen else '',
            f'{"" if measured[row.cut_index] else "~"}{row.cut_index}',
            escape(row.label),
            row.codec or '-',
            escape(row.server) or '-',
            f'{row.uplink_bytes / 1e3:.1f}' if not row.is_local else '-',
            *(f'{getattr(row, stage):.1f}' for _, stage in _STAGES),
            f'{row.latency_ms:.1f}',
            f'{row.period_ms:.1f}',
            style='bold' if chosen else None,
        )
    return table


def _best_per_cut(ranked: list[Candidate]) -> list[Candidate]:
    seen: dict[int, Candidate] = {}
    for candidate in ranked:
        seen.setdefault(candidate.cut_index, candidate)
    return list(seen.values())


def _table_of_strategies(choices: dict[str, tuple[Candidate, Candidate] | None]) -> Table:
    table = Table(title='what each strategy would choose, in ms')
    for title in ('strategy', 'cut', 'after', 'codec', 'server', 'believes', 'true'):
        number = title in ('cut', 'believes', 'true')
        table.add_column(title, justify='right' if number else 'left')
    for name, choice in choices.items():
        if choice is None:
            table.add_row(name, '-', 'no plan possible', '-', '-', '-', '-')
            continue
        believed, true = choice
        table.add_row(
            name,
            str(believed.cut_index),
            escape(believed.label),
            believed.codec or '-',
            escape(believed.server) or '-',
            f'{believed.latency_ms:.1f}',
            f'{true.latency_ms:.1f}',
        )
    return table


def _as_json(
    ranked: list[Candidate], choices: dict[str, tuple[Candidate, Candidate] | None]
) -> dict[str, Any]:
    return {
        'candidates': [_plain(candidate) for candidate in ranked],
        'strategies': {
            name: choice and {'believes': _plain(choice[0]), 'true': _plain(choice[1])}
            for name, choice in choices.items()
        },
    }


def _plain(candidate: Candidate) -> dict[str, Any]:
    return {
        **vars(candidate),
        'latency_ms': candidate.latency_ms,
        'period_ms': candidate.period_ms,
    }


def _positive(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number <= 0.0:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number < 0.0:
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 or more')
    return number
