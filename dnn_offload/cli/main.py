"""`dnn-offload`: finds the subcommand and imports only that one.

A subcommand is a module `<name>_command` in this folder with

- `add_parser(subparsers)`, which declares its arguments, and
- `run(arguments) -> int`, which does the work and returns the exit status.

What a subcommand needs is imported when it is named, so that `--help` is quick and
`dnn-offload plan` works where torch is not installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import importlib
import os
import re
import sys
from types import ModuleType

from dnn_offload.errors import OffloadError

COMMANDS = {
    'bench': 'run real nodes through a scenario and compare strategies',
    'doctor': 'check this machine, each trouble with its cure',
    'models': 'list the networks that can be cut, and the cuts of one',
    'plan': 'show the predicted cost of every cut',
    'power': 'show what is known of the power of boards, or measure this one',
    'profile': 'measure a network on this machine',
    'simulate': 'replay traces of load, link and server against strategies',
    'top': 'show what the robots and servers of this ROS domain are doing',
}


# What may follow an option and is no option itself, though argparse takes -5M for one.
_NEGATIVE = re.compile(r'-(\.?\d|inf|nan)')
_OPTION = re.compile(r'--[A-Za-z][\w-]*')


def _joined(given: Sequence[str]) -> list[str]:
    """The same with ``--option=-5M`` for ``--option -5M``, so that the option's type sees it."""
    made: list[str] = []
    for word in given:
        if made and _NEGATIVE.match(word) and _OPTION.fullmatch(made[-1]):
            made[-1] += f'={word}'
        else:
            made.append(word)
    return made


class _Version(argparse.Action):
    """``--version``, looked for only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it, and end."""
        version = importlib.import_module('dnn_offload.cli.version').own_version()
        print(f'dnn-offload {version}')
        parser.exit()


def _add_stub(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    """List a subcommand in the help without importing it."""
    subparsers.add_parser(name, help=COMMANDS[name], add_help=False)


def build_parser(chosen: str | None = None) -> tuple[argparse.ArgumentParser, ModuleType | None]:
    """Make the parser, whole for the chosen subcommand and by name for the others.

    Returns:
        The parser, and the module of the chosen subcommand.

    Raises:
        OffloadError: The chosen subcommand needs a package that is not installed.
    """
    parser = argparse.ArgumentParser(
        prog='dnn-offload',
        description='Runs a neural network partly on a robot and partly on an edge server.',
        epilog='dnn-offload COMMAND --help tells more about one.',
    )
    parser.add_argument(
        '--version', action=_Version, nargs=0, help="show the program's version and end"
    )
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    module = None
    for name in COMMANDS:
        if name != chosen:
            _add_stub(subparsers, name)
            continue
        try:
            module = importlib.import_module(f'dnn_offload.cli.{name}_command')
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith('dnn_offload'):
                raise
            raise OffloadError(
                f'dnn-offload {name} needs the package {error.name}',
                hint=f'install it: pip install {error.name}',
            ) from error
        module.add_parser(subparsers)
    return parser, module


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dnn-offload`; return its exit status."""
    given = _joined(sys.argv[1:] if arguments is None else arguments)
    named = next((word for word in given if not word.startswith('-')), None)
    try:
        parser, module = build_parser(named if named in COMMANDS else None)
        options = parser.parse_args(given)
        if module is None:  # argparse has ended the program for anything but a known command
            parser.error(f'choose one of {", ".join(COMMANDS)}')
        return int(module.run(options))
    except OffloadError as error:
        print(f'dnn-offload: {error}', file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain at exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # rich says it so
            return 0
        raise
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
