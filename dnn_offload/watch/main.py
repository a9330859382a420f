"""What ``dnn-offload top`` does once its arguments are read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import re
import select
import signal
import sys
import termios
import time
import tty
from typing import NoReturn

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier
from rich.console import Console

from dnn_offload.errors import ConfigurationError
from dnn_offload.report.terminal import Redrawn
from dnn_offload.transport.names import check_namespace
from dnn_offload.watch import words
from dnn_offload.watch.reception import Reception
from dnn_offload.watch.screen import picture
from dnn_offload.watch.system import System
from dnn_offload.watch.views import as_json, SystemView
from dnn_offload.writable import check_file

POLL_S = 0.5               # messages are fetched at least so often
# Fast DDS repeats every three seconds what a newcomer missed of who publishes what, and plans come
# once a second: a single look listens so much longer where a robot's plan was not heard yet.
PLAN_PATIENCE_S = 4.0
SLOWEST_HZ, FASTEST_HZ = 0.1, 20.0
LONGEST_WAIT_S = 3600.0
SVG_WIDTH = 100


class Top:
    """Listens, and shows what it hears.

    Args:
        only: Namespaces of the robots that count; none = all.
    """

    def __init__(self, only: list[str]) -> None:
        # Hidden from `ros2 node list`, and two of them may run beside each other.
        self._node = Node(
            f'_dnn_offload_top_{os.getpid()}', enable_rosout=False, start_parameter_services=False,
            use_global_arguments=False,
        )
        self._system = System(time.monotonic(), only)
        self._reception = Reception(self._node, self._system, only)
        self.where: dict[str, object] = {
            'domain': self._node.context.get_domain_id(),
            'rmw': get_rmw_implementation_identifier(),
        }

    def listen(self, seconds: float, keys: Keys | None = None) -> bool:
        """Take messages for so long; False if the user wants to leave."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0:
            step_s = min(left_s, POLL_S)
            if keys is None:
                time.sleep(step_s)
            elif keys.leave(step_s):
                return False
            self._reception.poll(time.monotonic())
        return True

    def look(self) -> SystemView:
        """What is known now."""
        return self._system.look(time.monotonic())

    def close(self) -> None:
        """Leave the domain."""
        self._node.destroy_node()


class Keys:
    """Waits, and sees whether the user wants to leave; without a keyboard it only waits."""

    def __init__(self) -> None:
        self._there = sys.stdin.isatty()

    @contextlib.contextmanager
    def read_singly(self) -> Iterator[Keys]:
        """Have keys come at once and unseen, not by the line; as before afterwards."""
        if not self._there:
            yield self
            return
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        try:
            yield self
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def leave(self, seconds: float) -> bool:
        """Wait for so long or for a key; True for q."""
        if not self._there:
            time.sleep(seconds)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if not ready:
            return False
        key = os.read(sys.stdin.fileno(), 1)
        self._there = key != b''  # the end of input: wait without it from now on
        return key in (b'q', b'Q')


def watch(args: argparse.Namespace) -> int:
    """Show a running system.

    Args:
        args: As ``cli/top_command.py`` declares them.

    Returns:
        For a single look: 0, or 1 when something serious is wrong. Else 0.

    Raises:
        ConfigurationError: An argument is out of range, or the picture cannot be written.
    """
    only = [_namespace(name) for name in args.robot]
    _check('--rate', args.rate, SLOWEST_HZ, FASTEST_HZ)
    _check('--wait', args.wait, POLL_S, LONGEST_WAIT_S)
    if args.svg:
        check_file('--svg', args.svg)
    console = Console()
    signal.signal(signal.SIGTERM, _interrupt)
    # Ctrl-C is ours: rclpy would end the context under the last look.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        top = Top(only)
        try:
            if args.once or args.json or args.svg:
                return _once(top, console, args)
            _follow(top, console, 1.0 / args.rate)
            return 0
        finally:
            top.close()
    finally:
        rclpy.try_shutdown()


def _once(top: Top, console: Console, args: argparse.Namespace) -> int:
    top.listen(args.wait)
    view = top.look()
    end_s = time.monotonic() + PLAN_PATIENCE_S
    while any(robot.plan is None for robot in view.robots) and time.monotonic() < end_s:
        top.listen(POLL_S)
        view = top.look()
    if args.json:
        print(json.dumps(as_json(view, top.where), indent=1))
    elif not args.svg:
        console.print(picture(view, top.where, console))
    if args.svg:
        write_svg(args.svg, view, top.where)
    return int(any(alarm.serious for alarm in view.alarms))


def _follow(top: Top, console: Console, period_s: float) -> None:
    keys = Keys()
    with (
        contextlib.suppress(KeyboardInterrupt), keys.read_singly(),
        Redrawn(console, whole_screen=True) as screen,
    ):
        while top.listen(period_s, keys):
            _draw(screen, top, console)


def _draw(screen: Redrawn, top: Top, console: Console) -> None:
    view = top.look()
    screen.show(
        time.monotonic(),
        lambda: picture(view, top.where, console, console.height),
        lambda: [f'-- {time.strftime("%H:%M:%S")}', *words.lines(view)],
    )


def write_svg(path: Path, view: SystemView, where: dict[str, object]) -> None:
    """Save a look as a picture, without the fonts from the network that rich would name."""
    with open(os.devnull, 'w', encoding='utf-8') as nowhere:
        console = Console(
            record=True, width=SVG_WIDTH, file=nowhere, force_terminal=True,
            color_system='truecolor',
        )
        console.print(picture(view, where, console))
    svg = re.sub(r'@font-face\s*{.*?}\s*', '', console.export_svg(title='dnn-offload top'),
                 flags=re.DOTALL)
    path.write_text(svg, encoding='utf-8')


def _namespace(text: str) -> str:
    """A robot's namespace, with or without the slash before it."""
    if text == '':
        raise ConfigurationError(
            '--robot is empty', given=text, allowed="a robot's namespace, e.g. /robot",
            hint='leave it out for all robots; / is the namespace without a name',
        )
    return '/' if text.strip('/') == '' else check_namespace(
        f'/{text.lstrip("/")}', '--robot'
    )


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigurationError(name, given=value, allowed=f'{least:g} to {most:g}')


def _interrupt(number: int, frame: object) -> NoReturn:
    """A polite end: the terminal is given back as it was."""
    sys.exit(128 + number)
