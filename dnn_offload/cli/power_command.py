"""``dnn-offload power``: boards whose power is known, sensors of this machine, measuring one."""

from __future__ import annotations

import argparse
from decimal import Decimal, ROUND_HALF_UP
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from dnn_offload.cli.argument_types import within
from dnn_offload.cli.console import console_of
from dnn_offload.cost.energy import (
    board_json,
    board_names,
    CACHE,
    find_board,
    find_measured_board,
    keep_measured_board,
    load_board,
    PowerModel,
    read_device_model,
)
from dnn_offload.cost.power_sensors import (
    find_sensors,
    measure_board,
    PowerSensor,
    root_hint,
)
from dnn_offload.errors import ConfigurationError
from dnn_offload.writable import check_file, make_folder

SHORTEST_S, LONGEST_S = 0.1, 3600.0
POWERS = ('idle_w', 'compute_w', 'core_w', 'radio_tx_w', 'radio_rx_w')


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload power``."""
    parser = subparsers.add_parser(
        'power',
        help='show what is known of the power of boards, or measure this one',
        description='Power of the boards that are known, with its source, and the power sensors '
        'of this machine. With --measure: idle, one and two computing threads are measured by a '
        'sensor, for objectives with energy in them, and kept for board: auto. Nothing else '
        'should run meanwhile.',
    )
    parser.add_argument('--measure', action='store_true', help='measure this machine')
    parser.add_argument(
        '--sensor', default='', help='with --measure: sensor to read [the first one found]'
    )
    parser.add_argument(
        '--seconds', type=within(SHORTEST_S, LONGEST_S), default=5.0, metavar='S',
        help=f'for each of three states, {SHORTEST_S:g} to {LONGEST_S:g} s [%(default)g s]',
    )
    parser.add_argument(
        '--out', type=Path, default=None, metavar='BOARD.json',
        help='with --measure: file for the measured board',
    )
    parser.add_argument(
        '--cache', type=Path, default=CACHE, help='folder that keeps it [%(default)s]'
    )
    parser.add_argument('--root', type=Path, default=Path('/'), help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Print the tables, or measure; 0.

    Raises:
        ConfigurationError: There is no such sensor, or it cannot be read; an argument is wrong.
    """
    _check(args)
    sensors = find_sensors(args.root)
    console = console_of()
    if args.measure:
        power = measure_board(_name(args), _chosen(sensors, args.sensor), args.seconds)
        _show(console, [power])
        if args.out is not None:
            args.out.write_text(board_json(power), encoding='utf-8')
            console.print(f'written to {args.out}', markup=False, highlight=False)
        kept = keep_measured_board(power, args.root, args.cache)
        console.print(f'kept in {kept}, for board: auto', markup=False, highlight=False)
        return 0
    _show(console, [load_board(name) for name in board_names()])
    this = find_board(read_device_model(args.root))
    console.print(f'this machine: {this.name if this else "none of these"}', markup=False)
    measured = find_measured_board(args.root, args.cache)
    if measured is not None:
        console.print('measured, and taken for board: auto:')
        _show(console, [measured])
    for sensor in sensors:
        console.print(f'sensor {sensor.name}: {sensor.scope}', markup=False)
    if not sensors:
        hint = root_hint()
        console.print('no sensor can be read here' + (f'; {hint}' if hint else ''), markup=False)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what will not be read or written, before anything is measured."""
    if not args.measure:
        for option, value in (('--sensor', args.sensor), ('--out', args.out)):
            if value:
                raise ConfigurationError(f'{option} needs --measure', given=str(value))
        return
    if args.out is not None:
        check_file('--out', args.out)
    make_folder('--cache', args.cache.expanduser())


def _name(args: argparse.Namespace) -> str:
    return args.out.stem if args.out is not None else 'this machine'


def _chosen(sensors: list[PowerSensor], name: str) -> PowerSensor:
    for sensor in sensors:
        if name in ('', sensor.name):
            return sensor
    raise ConfigurationError(
        'no such power sensor can be read here',
        given=name or 'any',
        allowed=', '.join(sensor.name for sensor in sensors) or 'none was found',
        hint=root_hint() or 'name a board instead: dnn-offload plan --board NAME',
    )


def watts(power_w: float) -> str:
    """Two decimals, a half rounded up as people do: 2.525 is 2.53 though its double is below."""
    return str(Decimal(str(power_w)).quantize(Decimal('0.01'), ROUND_HALF_UP))


def _show(console: Console, boards: list[PowerModel]) -> None:
    """Their powers as a table, and below it where the numbers are from, which takes lines."""
    table = Table(title='power in W; ~ = estimated', caption='core: each further thread')
    table.add_column('board', overflow='fold')
    for name in POWERS:
        table.add_column(name[:-2].replace('_', ' '), justify='right')
    for board in boards:
        cells = [
            f'{"~" if name in board.estimated else ""}{watts(getattr(board, name))}'
            for name in POWERS
        ]
        table.add_row(escape(board.name), *cells)
    console.print(table)
    for board in boards:
        console.print(f'{board.name}:', markup=False)
        console.print(Padding(escape(board.source), (0, 0, 0, 4)), highlight=False)
