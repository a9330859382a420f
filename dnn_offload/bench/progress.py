"""What a bench is doing, how much of it is done, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable
import datetime
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

TRUSTED_S = 60.0  # what was planned is believed until so much has been done


def left_s(planned_s: float, done_s: float, elapsed_s: float) -> float:
    """How long what is left of a plan takes, at the pace so far [s].

    Args:
        planned_s: What all of it was to take.
        done_s: What was to be taken by what is done.
        elapsed_s: What that took.
    """
    return (planned_s - done_s) * (elapsed_s + TRUSTED_S) / (done_s + TRUSTED_S)


class _Left(ProgressColumn):
    """Runs down between one piece of work and the next.

    rich's own looks at the pieces of the last 30 s: a bench often ends none in that time.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The time left."""
        seconds = max(task.fields['end_s'] - (task.elapsed or 0.0), 0.0)
        return Text(f'left {datetime.timedelta(seconds=round(seconds))}')


class BenchProgress:
    """A line with what is being done, in ``with``.

    Args:
        console: Where to.
        planned_s: What all of it should take [s].
        clock_s: A clock that does not jump.
    """

    def __init__(
        self, console: Console, planned_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._planned_s = planned_s
        self._progress = Progress(
            TextColumn('{task.description}', markup=False), BarColumn(),
            TextColumn('{task.percentage:>3.0f} %'), TimeElapsedColumn(), _Left(),
            console=console, get_time=clock_s,
        )
        self._task = self._progress.add_task(
            'starting', start=False, total=planned_s, end_s=planned_s
        )

    def __enter__(self) -> BenchProgress:
        self._progress.start_task(self._task)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def doing(self, what: str) -> None:
        """Say what is being done from now on."""
        self._progress.update(self._task, description=what)

    def passed(self, planned_s: float) -> None:
        """A piece of the plan is done; ``planned_s`` is what it should have taken [s]."""
        task = self._progress.tasks[0]
        elapsed_s = task.elapsed or 0.0
        left = left_s(self._planned_s, task.completed + planned_s, elapsed_s)
        self._progress.update(self._task, advance=planned_s, end_s=elapsed_s + left)
