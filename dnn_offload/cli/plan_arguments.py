"""Arguments of ``dnn-offload plan``, and the conditions and constraints that they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from dnn_offload.cli.argument_types import (
    bits_per_second,
    not_negative,
    pictures_per_second,
    positive,
    share,
    whole,
)
from dnn_offload.cli.given_profiles import check_same_model, read_profile
from dnn_offload.cost.energy import board_names, resolve_board
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.break_even import BANDWIDTH, QUANTITIES, Quantity, UPLINK
from dnn_offload.planning.objective import LATENCY, Objective, OBJECTIVES
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.price_table import profiled_thread_counts
from dnn_offload.planning.search import ALL_SHAPES, DEFAULT_STRATEGY, STRATEGIES
from dnn_offload.writable import PICTURES

NO_SHAPE = 'none'  # of --shape: nothing beside one cut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        'model', nargs='?', default=None,
        help='network that the profiles must be of, e.g. torchvision:resnet18; may be left out',
    )
    profiles = parser.add_argument_group('profiles')
    profiles.add_argument(
        '--edge', '--edge-profile', dest='edge', required=True, type=Path, metavar='P.json',
        help="the robot's profile",
    )
    profiles.add_argument(
        '--server', '--server-profile', dest='server', action='append', default=[],
        metavar='[NAME=]Q.json', help="a server's profile; may be given several times",
    )
    _add_conditions(parser.add_argument_group('conditions'))
    _add_wishes(parser.add_argument_group('what is wanted'))
    output = parser.add_argument_group('output')
    output.add_argument(
        '--all', action='store_true',
        help='a table of every plan, not of the best of each cut; JSON has every plan anyway',
    )
    output.add_argument(
        '--json', action='store_true',
        help='print JSON instead of tables: model, conditions, every plan, the chosen one',
    )
    output.add_argument(
        '--plot', type=Path, default=None, metavar='FILE.png',
        help=f'draw ({", ".join(PICTURES)}) partition curve, regime map, and latency against '
        f'energy; takes seconds, since the map asks for thousands of plans '
        f'(--shape {NO_SHAPE}: less than one)',
    )


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--bandwidth', '--uplink-bps', dest='bandwidth', type=bits_per_second, default=20e6,
        metavar='BPS', help='uplink [bit/s], e.g. 500k or 20M [20M]',
    )
    group.add_argument(
        '--downlink', '--downlink-bps', dest='downlink', type=bits_per_second, default=None,
        metavar='BPS', help='downlink [bit/s] [as the uplink]',
    )
    group.add_argument(
        '--rtt', dest='rtt_ms', type=not_negative, default=6.0, metavar='MS',
        help='round trip; half of it is the fixed cost of one transfer [6 ms]',
    )
    group.add_argument(
        '--alpha-ms', type=not_negative, default=None, metavar='MS',
        help='fixed cost of one transfer, instead of half of --rtt',
    )
    group.add_argument(
        '--load', type=positive, default=1.0, help="the robot's slow-down against its profile [1]"
    )
    group.add_argument(
        '--loadavg', type=not_negative, default=None,
        help='raw load average per core, for dey2019 [as --load]',
    )
    group.add_argument(
        '--server-load', type=positive, default=1.0, help="the servers' slow-down [1]"
    )
    group.add_argument(
        '--queue-ms', type=not_negative, default=0.0, metavar='MS',
        help="wait in the servers' queue [0 ms]",
    )
    group.add_argument(
        '--rate-hz', type=pictures_per_second, default=0.0, metavar='HZ',
        help='pictures per second: where the slowest stage takes longer than they are apart, the '
        'newest waits for it, half a period on average; 0 = single pictures [0]',
    )
    group.add_argument('--result-codec', default='raw', help='codec of the answers [%(default)s]')
    group.add_argument(
        '--board', default='', metavar='NAME',
        help="whose power the energy is reckoned from: a board's name (dnn-offload power lists "
        'them), auto, or a file',
    )
    group.add_argument(
        '--above-idle', action='store_true',
        help='count what a frame costs on top of a robot that is on anyway',
    )


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--strategy', choices=sorted(STRATEGIES), default=DEFAULT_STRATEGY,
        help='whose beliefs the table shows [%(default)s]',
    )
    group.add_argument(
        '--objective', choices=OBJECTIVES, default=LATENCY, help='what to minimise [%(default)s]'
    )
    group.add_argument(
        '--latency-weight', type=share, default=0.5, metavar='W',
        help='weight of the latency in objective weighted, the energy has the rest [%(default)s]',
    )
    group.add_argument(
        '--window', type=whole(1), default=4, metavar='N',
        help='frames in work at a time, for throughput [%(default)s]',
    )
    group.add_argument(
        '--deadline', '--deadline-ms', dest='deadline_ms', type=not_negative, default=0.0,
        metavar='MS', help='from acquisition to result; 0 = none [0]',
    )
    group.add_argument(
        '--min-agreement', type=share, default=0.0, metavar='SHARE',
        help='least share of frames that must be answered as without the codec [0]',
    )
    group.add_argument(
        '--max-edge-memory-mb', type=not_negative, default=0.0, metavar='MB',
        help='most memory of the network on the robot; 0 = no limit [0]',
    )
    group.add_argument(
        '--max-server-memory-mb', type=not_negative, default=0.0, metavar='MB',
        help='most memory of the piece on a server; 0 = no limit [0]',
    )
    group.add_argument(
        '--threads', type=whole(1), action='append', default=[], metavar='N',
        help='allow so many compute threads on the robot, of those that its profile knows; may '
        'be repeated [as profiled]',
    )
    group.add_argument(
        '--private-layers', type=whole(0), default=0, metavar='N',
        help='weighted layers that must run on the robot; 1 = no picture leaves it [0]',
    )
    group.add_argument(
        '--codec', action='append', default=[], metavar='C',
        help='allow this codec only, of those that the profile knows; may be repeated [all]',
    )
    group.add_argument(
        '--shape', action='append', default=[], choices=(*ALL_SHAPES, NO_SHAPE),
        help='of plans beside one cut, consider only those with two cuts, or over the graph; may '
        f'be repeated; {NO_SHAPE} = one cut only [all, as the nodes do]',
    )


def conditions_of(args: argparse.Namespace) -> Conditions:
    """The conditions that the arguments mean.

    Raises:
        ConfigurationError: A file cannot be read, or the profiles are of different models.
        ProfileError: A profile is damaged.
    """
    edge = read_profile('--edge', args.edge).to_plan_with()
    if args.model is not None and args.model != edge.model:
        raise ConfigurationError(
            'the profile is of another model',
            given=f'{edge.model} in {args.edge}',
            allowed=args.model,
            hint=f'measure it: dnn-offload profile {args.model}',
        )
    link = link_of(args)
    servers = []
    for name, path in _named(args.server):
        profile = read_profile('--server', Path(path))
        check_same_model(edge, profile)
        servers.append(ServerState(name, profile, link, args.server_load, args.queue_ms))
    loadavg = args.load if args.loadavg is None else args.loadavg
    power = resolve_board(args.board)
    if args.above_idle:
        if power is None:
            raise ConfigurationError(
                '--above-idle needs the power of a board', given=f'--board {args.board or "none"}',
                allowed=', '.join((*board_names(), 'FILE.json')),
                hint='dnn-offload power lists what is known of them, and measures this one',
            )
        power = power.above_idle()
    return Conditions(
        edge, args.load, loadavg, tuple(servers), args.result_codec, power=power,
        frame_period_ms=1e3 / args.rate_hz if args.rate_hz > 0.0 else 0.0,
    )


def link_of(args: argparse.Namespace) -> LinkState:
    """The link that the arguments mean, to whichever server."""
    alpha_ms = args.rtt_ms / 2.0 if args.alpha_ms is None else args.alpha_ms
    return LinkState(alpha_ms, args.bandwidth, alpha_ms, args.downlink or args.bandwidth, 1.0)


def _named(given: list[str]) -> list[tuple[str, str]]:
    """Name and path of each ``--server``.

    Raises:
        ConfigurationError: No name before the ``=``, or one name twice: plans could not be told
            apart.
    """
    made: list[tuple[str, str]] = []
    for number, text in enumerate(given, start=1):
        name, separator, path = text.partition('=')
        if not separator:
            name, path = f'server{number}' if len(given) > 1 else 'server', text
        if not name or name in (other for other, _ in made):
            raise ConfigurationError(
                '--server without a name of its own', given=text,
                allowed='PROFILE.json, or NAME=PROFILE.json with another NAME each time',
            )
        made.append((name, path))
    return made


def quantities_of(args: argparse.Namespace) -> tuple[Quantity, ...]:
    """What may change, the uplink first: a downlink that was given stays as it is."""
    if args.downlink is None:
        return QUANTITIES
    return tuple(UPLINK if quantity is BANDWIDTH else quantity for quantity in QUANTITIES)


def constraints_of(args: argparse.Namespace) -> Constraints:
    """The constraints and the objective that the arguments mean.

    Raises:
        ConfigurationError: A value is out of its range.
    """
    return Constraints(
        private_layers=args.private_layers,
        codecs=tuple(args.codec),
        deadline_ms=args.deadline_ms,
        shapes=_shapes(args.shape),
        min_agreement=args.min_agreement,
        max_edge_memory_mb=args.max_edge_memory_mb,
        max_server_memory_mb=args.max_server_memory_mb,
        threads=tuple(args.threads),
        objective=Objective(args.objective, args.latency_weight, args.window),
    )


def check_profiled(constraints: Constraints, edge: Profile) -> None:
    """Make sure that what is demanded is something that was measured.

    Raises:
        ConfigurationError: The profile has no such codec or thread count.
    """
    counts = profiled_thread_counts(edge)
    codecs = {name: None for cut in edge.cuts for name in cut.codecs}
    if not set(constraints.codecs) <= set(codecs):
        raise ConfigurationError(
            'the profile of the robot has no such codec', given=', '.join(constraints.codecs),
            allowed=', '.join(codecs),
        )
    if not set(constraints.threads) <= counts:
        raise ConfigurationError(
            'the profile of the robot has no such number of threads',
            given=', '.join(map(str, constraints.threads)),
            allowed=', '.join(map(str, sorted(counts))),
            hint='dnn-offload profile --again --threads-list measures others, up to the cores '
            'of the robot',
        )


def _shapes(names: list[str]) -> tuple[str, ...]:
    """The shapes that ``--shape`` names; all where it is not given, as ``PlannerSettings`` has it.

    Raises:
        ConfigurationError: None and some.
    """
    if not names:
        return ALL_SHAPES
    if NO_SHAPE in names and set(names) != {NO_SHAPE}:
        raise ConfigurationError(
            f'--shape {NO_SHAPE} contradicts another --shape',
            given=', '.join(names),
            allowed=f'{NO_SHAPE} alone, or some of {", ".join(ALL_SHAPES)}',
            hint='leave --shape out for all of them',
        )
    return tuple(shape for shape in ALL_SHAPES if shape in names)
