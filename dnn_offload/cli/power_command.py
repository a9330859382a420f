"""``dnn-offload power``: boards whose power is known, sensors of this machine, measuring one."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

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
from dnn_offload.cost.power_sensors import find_sensors, measure_board, PowerSensor
from dnn_offload.errors import ConfigurationError

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
    parser.add_argument('--sensor', default='', help='sensor to read [the first one found]')
    parser.add_argument(
        '--seconds', type=float, default=5.0, help='for each of three states [%(default)s s]'
    )
    parser.add_argument(
        '--out', type=Path, default=None, metavar='BOARD.json', help='file for the measured board'
    )
    parser.add_argument(
        '--cache', type=Path, default=CACHE, help='folder that keeps it [%(default)s]'
    )
    parser.add_argument('--root', type=Path, default=Path('/'), help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Print the tables, or measure; 0.

    Raises:
        ConfigurationError: There is no such sensor, or it cannot be read.
    """
    sensors = find_sensors(args.root)
    console = Console()
    if args.measure:
        power = measure_board(_name(args), _chosen(sensors, args.sensor), args.seconds)
        console.print(_table([power]))
        if args.out is not None:
            args.out.write_text(board_json(power), encoding='utf-8')
            console.print(f'written to {args.out}', markup=False, highlight=False)
        kept = keep_measured_board(power, args.root, args.cache)
        console.print(f'kept in {kept}, for board: auto', markup=False, highlight=False)
        return 0
    console.print(_table([load_board(name) for name in board_names()]))
    this = find_board(read_device_model(args.root))
    console.print(f'this machine: {this.name if this else "none of these"}', markup=False)
    measured = find_measured_board(args.root, args.cache)
    if measured is not None:
        console.print('measured, and taken for board: auto:')
        console.print(_table([measured]))
    for sensor in sensors:
        console.print(f'sensor {sensor.name}: {sensor.scope}', markup=False)
    if not sensors:
        console.print(
            'no sensor can be read here (energy counters of x86 processors are for root)',
            markup=False,
        )
    return 0


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
        hint='run as root for the energy counters of x86 processors, or name a board instead',
    )


def _table(boards: list[PowerModel]) -> Table:
    table = Table(title='power in W; ~ = estimated', caption='core: each further thread')
    table.add_column('board')
    for name in POWERS:
        table.add_column(name[:-2].replace('_', ' '), justify='right')
    table.add_column('source', overflow='fold')
    for board in boards:
        cells = [
            f'{"~" if name in board.estimated else ""}{getattr(board, name):.2f}'
            for name in POWERS
        ]
        table.add_row(escape(board.name), *cells, escape(board.source))
    return table
