"""``dnn-offload top``: shows what a running system is doing, from its topics alone."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from dnn_offload.errors import OffloadError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare arguments."""
    parser = subparsers.add_parser(
        'top',
        help='show what the robots and servers of this ROS domain are doing',
        description='Shows the robots and servers of this ROS domain as they come and go: plan '
        'and reason, rate, latency, link, load, outcomes, and what is wrong. Runs on any machine '
        'of the domain and only listens; q or Ctrl-C ends it. docs/top.md tells what the numbers '
        'are.',
    )
    parser.add_argument(
        '--robot', metavar='NAMESPACE', action='append', default=[],
        help='only this robot; may be given several times [all]',
    )
    parser.add_argument(
        '--rate', type=float, default=2.0, metavar='HZ', help='redraws per second [%(default)s]'
    )
    parser.add_argument(
        '--once', action='store_true',
        help='listen for --wait seconds, print one picture and end; exit status 1 when something '
        'serious is wrong',
    )
    parser.add_argument('--json', action='store_true', help='as --once, as JSON')
    parser.add_argument('--svg', type=Path, metavar='FILE', help='as --once, as a picture')
    parser.add_argument(
        '--wait', type=float, default=5.0, metavar='SECONDS',
        help='how long --once, --json and --svg listen; up to 4 s longer until each robot that '
        'was found has told its plan [%(default)s]',
    )


def run(args: argparse.Namespace) -> int:
    """Look, and show.

    Raises:
        OffloadError: An argument is wrong, or ROS is missing.
    """
    try:
        # Not installed by pip, which brings no ROS (setup.py).
        watch = importlib.import_module('dnn_offload.watch.main').watch
    except ModuleNotFoundError as error:
        raise OffloadError(
            f'dnn-offload top listens to ROS topics, and {error.name} is missing',
            hint='source the workspace where dnn_offload was built; make setup and '
            'source tools/env.sh where there is no ROS',
        ) from error
    return int(watch(args))
