"""Findings for people (a line each, the cure below it) and for scripts (JSON)."""

from __future__ import annotations

from collections.abc import Sequence
import platform
import time
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from dnn_offload.doctor.finding import State
from dnn_offload.doctor.registry import Check
from dnn_offload.doctor.runner import exit_status, Result

COLOURS = {
    State.OK: 'green', State.SKIPPED: 'dim', State.WARNING: 'yellow', State.FAILURE: 'bold red',
}
STATE_WIDTH = max(len(state.value) for state in State)
NAME_WIDTH = 11


def line(result: Result) -> RenderableType:
    """State, check, what was found; below it the cure."""
    finding = result.finding
    colour = COLOURS[finding.state]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=STATE_WIDTH)
    table.add_column(width=NAME_WIDTH)
    table.add_column(overflow='fold')
    found = escape(finding.found)
    table.add_row(
        f'[{colour}]{finding.state.value}[/]', result.name,
        f'[dim]{found}[/]' if finding.state is State.SKIPPED else found,
    )
    if finding.cure:
        table.add_row('', '', f'[cyan]→ {escape(finding.cure)}[/]')
    return table


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
                'facts': dict(result.finding.facts),
                'seconds': round(result.seconds, 3),
            }
            for result in results
        ],
    }


def print_list(console: Console, checks: Sequence[Check]) -> None:
    """Names of all checks, and what they look at."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        table.add_row(check.name, escape(check.about))
    console.print(table)
