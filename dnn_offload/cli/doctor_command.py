"""``dnn-offload doctor``: is this machine fit to be a robot or a server, and if not, why not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import platform
import sys

from rich.console import Console

from dnn_offload.cli.argument_types import positive
from dnn_offload.cli.console import console_of
from dnn_offload.cli.model_arguments import add_model_arguments
from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.finding import skipped
from dnn_offload.doctor.machine import Machine
from dnn_offload.doctor.registry import Check, CHECKS, choose
from dnn_offload.doctor.report import as_json, print_list, print_result, summary
from dnn_offload.doctor.runner import examine, exit_status, Result
from dnn_offload.doctor.settings import DEFAULT_MODEL, Settings
from dnn_offload.ending import ending_politely
from dnn_offload.errors import ConfigurationError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload doctor``."""
    defaults = Settings()
    parser = subparsers.add_parser(
        'doctor',
        help='check this machine, each trouble with its cure',
        description='Checks Python, ROS, network, kernel, camera, the network and the link, on a '
        'robot or a server, with or without ROS; each trouble with its cure. Exit status: 0 '
        'when nothing will fail (warnings do not count), 1 when something will, 2 for wrong '
        'arguments. docs/doctor.md tells of each check.',
        epilog=f'Without MODEL it is that of a server that is found, else {DEFAULT_MODEL}.',
    )
    add_model_arguments(parser, optional=True)
    parser.add_argument(
        '--camera', default='', metavar='SOURCE',
        help='as the parameter source of camera_node [the first camera there is]',
    )
    parser.add_argument('--domain', type=int, default=None, help='[ROS_DOMAIN_ID]')
    parser.add_argument(
        '--namespace', default='', help='the robot whose profile counts [the first one found]'
    )
    parser.add_argument(
        '--rendezvous', default=defaults.rendezvous,
        help='namespace in which robots and servers meet [%(default)s]',
    )
    parser.add_argument(
        '--listen', type=positive, default=defaults.listen_s, metavar='S',
        help='how long to listen for robots and servers [%(default)s s]',
    )
    for name, words in (('only', 'make only these checks'), ('skip', 'leave these out')):
        parser.add_argument(
            f'--{name}', action='append', default=[], metavar='CHECK[,CHECK]',
            help=f'{words}; may be repeated',
        )
    parser.add_argument('--list', action='store_true', help='list the checks')
    parser.add_argument(
        '--patience', type=positive, default=1.0, metavar='X',
        help='factor on all time limits, for slow machines [%(default)s]',
    )
    parser.add_argument('--strict', action='store_true', help='exit status 1 for warnings too')
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')


def run(args: argparse.Namespace) -> int:
    """Make the checks; 0, 1 when something will fail, 2 when there is no check of a given name."""
    console = console_of(highlight=False)
    if args.list:
        print_list(console, CHECKS)
        return 0
    try:
        checks, left_out = choose(_names(args.only), _names(args.skip))
    except ConfigurationError as error:
        print(f'dnn-offload: {error}', file=sys.stderr)
        return 2  # as for any wrong argument: 1 tells of the machine
    machine = Machine()
    if args.domain is not None:
        machine.environment['ROS_DOMAIN_ID'] = str(args.domain)
    settings = Settings(
        args.model or '', args.weights, args.allow_code, args.input_size, args.cache, args.camera,
        args.namespace, args.rendezvous, args.listen, args.patience,
    )
    exam = Examination(settings, machine)
    with ending_politely():  # its children have sessions of their own
        try:
            results = _examine(exam, checks, left_out, console, args.json)
            version = exam.version()
        finally:
            machine.close()
    if args.json:
        print(json.dumps(as_json(results, version, args.strict), indent=1))
    else:
        console.print(f'\n{summary(results)}', markup=False, highlight=False)
    return exit_status(results, args.strict)


def _examine(
    exam: Examination,
    checks: Sequence[Check],
    left_out: Sequence[Check],
    console: Console,
    quiet: bool,
) -> list[Result]:
    """Make the checks and print each result when it is there, unless ``quiet``."""
    results: list[Result] = []

    def take(result: Result) -> None:
        results.append(result)
        if not quiet:
            print_result(console, result)

    if not quiet:
        version = exam.version() or 'of unknown version'
        console.print(
            f'dnn-offload doctor {version} on {platform.node()}\n', markup=False, highlight=False
        )
    for check in left_out:
        take(Result(check.name, skipped('left out by --skip'), 0.0))
    with Console(stderr=True).status('') as status:
        for result in examine(
            exam, checks, lambda check: status.update(f'{check.name}: {check.about}')
        ):
            take(result)
    return results


def _names(given: Sequence[str]) -> list[str]:
    """The names given; an empty text is the name of no check, not of all."""
    return [name for text in given for name in text.split(',') if name or not text]

