"""Where commands print: as wide as the terminal, and wide enough where there is none."""

from __future__ import annotations

import os

from rich.console import Console

WIDTH = 110  # columns


def console_of(width: int = WIDTH, *, highlight: bool = True) -> Console:
    """The console on stdout.

    Args:
        width: Columns in a pipe or file, unless the user says how many (``COLUMNS``).
        highlight: Whether numbers and paths have colours.
    """
    console = Console(highlight=highlight)
    if not console.is_terminal and 'COLUMNS' not in os.environ:
        console = Console(width=width, highlight=highlight)
    return console


def warn(text: str) -> None:
    """Say on stderr what must not be missed, so that a pipe has the results alone."""
    Console(stderr=True, soft_wrap=True).print(text, style='yellow', markup=False)
