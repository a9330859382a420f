"""The demo: the package's promise on one machine, in about a minute."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
import sys

from ament_index_python.packages import PackageNotFoundError
import rclpy
from rclpy.signals import SignalHandlerOptions
from rich.console import Console

from dnn_offload.demo.apart import domain_of, no_other_demo
from dnn_offload.demo.script import DemoOptions, run
from dnn_offload.ending import ending_politely
from dnn_offload.errors import ConfigurationError
from dnn_offload.testbed.environment import prepare_environment, ros_log_folder
from dnn_offload.testbed.shared_memory import swept_segments
from dnn_offload.transport.names import check_namespace
from dnn_offload.writable import make_folder


def _namespace(text: str) -> str:
    """An absolute namespace, '' for none; with or without its first slash."""
    if not text.strip('/'):
        return ''
    try:
        return check_namespace('/' + text.lstrip('/'), 'namespace')
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(
        prog='demo', description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('demo_out'), help='folder for results')
    parser.add_argument('--model', default='demo:detector', help='model source')
    parser.add_argument('--rate-hz', type=float, default=15.0, help='pictures per second')
    parser.add_argument('--deadline-ms', type=float, default=500.0, help='deadline of a frame')
    parser.add_argument(
        '--time-scale', type=float, default=1.0, help='length of the phases, 1 = about a minute'
    )
    parser.add_argument(
        '--log-level', default='info', choices=('debug', 'info', 'warn', 'error', 'fatal'),
        help='of the nodes; their logs are in the folder for results',
    )
    parser.add_argument(
        '--domain', type=int, default=argparse.SUPPRESS,
        help='ROS domain where ROS_DOMAIN_ID is not set (default: one that nobody is in)',
    )
    parser.add_argument(
        '--namespace', type=_namespace, default='',
        help='below which the nodes are (/robot, /edge_server); none by default',
    )
    arguments = parser.parse_args()
    for name, least, most in (
        ('rate_hz', 1.0, 100.0), ('deadline_ms', 1.0, 60_000.0), ('time_scale', 0.05, 100.0)
    ):
        given = getattr(arguments, name)
        if not least <= given <= most:
            parser.error(f'--{name.replace("_", "-")}: {given:g} is not in {least:g}..{most:g}')
    with contextlib.ExitStack() as stack:
        try:
            make_folder('--out', arguments.out)
            domain = domain_of(os.environ, getattr(arguments, 'domain', None))
            stack.enter_context(no_other_demo(domain, arguments.namespace, arguments.out))
        except ConfigurationError as error:
            parser.error(str(error))
        try:
            prepare_environment(domain)
        except PackageNotFoundError:
            print(
                'demo: the package is not installed in this environment; run "make setup" and '
                'then "make demo", or source install/setup.bash', file=sys.stderr,
            )
            return 2
        print(
            f'ROS domain {domain}; to look on from another shell: export ROS_DOMAIN_ID={domain}',
            flush=True,
        )
        stack.enter_context(ending_politely())
        stack.enter_context(ros_log_folder(arguments.out))
        stack.enter_context(swept_segments())
        options = DemoOptions(
            arguments.out, arguments.model, arguments.rate_hz, arguments.deadline_ms,
            time_scale=arguments.time_scale, log_level=arguments.log_level,
            namespace=arguments.namespace,
        )
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            return run(options, Console())
        except KeyboardInterrupt:
            return 130
        finally:
            rclpy.try_shutdown()


if __name__ == '__main__':
    sys.exit(main())
