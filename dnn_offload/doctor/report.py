"""Findings for people (a line each, the cure below it) and for scripts (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
import platform
import textwrap
import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dnn_offload.doctor.finding import State
from dnn_offload.doctor.registry import Check
from dnn_offload.doctor.runner import exit_status, Result

COLOURS = {
    State.OK: 'green', State.SKIPPED: 'dim', State.WARNING: 'yellow', State.FAILURE: 'bold red',
}
STATE_WIDTH = max(len(state.value) for state in State)
NAME_WIDTH = 11
INDENT = STATE_WIDTH + NAME_WIDTH + 2
LEAST_WIDTH = 30


def print_result(console: Console, result: Result) -> None:
    """State, check, what was found; below it the cure."""
    finding = result.finding
    made = Text().append(f'{finding.state.value:{STATE_WIDTH}} ', style=COLOURS[finding.state])
    made.append(f'{result.name:{NAME_WIDTH}} ')
    style = 'dim' if finding.state is State.SKIPPED else ''
    rows = [(row, style) for row in _rows(console, finding.found)]
    if finding.cure:
        rows += [(row, 'cyan') for row in _rows(console, f'→ {finding.cure}')]
    for number, (row, style) in enumerate(rows):
        made.append(f'\n{" " * INDENT}' if number else '').append(row, style=style)
    console.print(made, soft_wrap=True)


def _rows(console: Console, text: str) -> list[str]:
    """Text in rows that fit behind state and name; paths and commands stay whole."""
    width = max(console.width - INDENT, LEAST_WIDTH)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def summary(results: Sequence[Result]) -> str:
    """How many of each state, and how long it took."""
    counts = {
        state: sum(result.finding.state is state for result in results) for state in State
    }
    words = ', '.join(
        f'{count} {state.value}' + ('s' if count != 1 and state in _COUNTED else '')
        for state, count in counts.items()
    )
    return f'{words}; {sum(result.seconds for result in results):.0f} s'


_COUNTED = (State.WARNING, State.FAILURE)


def as_json(results: Sequence[Result], version: str, strict: bool) -> dict[str, Any]:
    """All of it, for ``--json``."""
    return {
        'dnn_offload': version,
        'host': platform.node(),
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'exit_status': exit_status(results, strict),
        'checks': [
            {
                'name': result.name,
                'state': result.finding.state.value,
                'found': result.finding.found,
                'cure': result.finding.cure,
                'facts': _plain(result.finding.facts),
                'seconds': round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _plain(value: Any) -> Any:
    """The same for JSON, which has no NaN: None in its place."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_list(console: Console, checks: Sequence[Check]) -> None:
    """Names of all checks, and what they look at."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        table.add_row(check.name, escape(check.about))
    console.print(table)
