"""``dnn-offload bench``: plays a scenario with real nodes on an emulated robot and server."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from dnn_offload.errors import OffloadError


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
        # Not installed by pip, which brings no ROS (setup.py).
        play = importlib.import_module('dnn_offload.bench.main').play
    except ModuleNotFoundError as error:
        raise OffloadError(
            f'dnn-offload bench runs real ROS nodes, and {error.name} is missing',
            hint='make setup, then source tools/env.sh',
        ) from error
    return int(play(args))
