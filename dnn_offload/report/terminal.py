"""What a live view in a terminal needs: bars of text, and a picture that is redrawn in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import math
from types import TracebackType
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.live import Live

BARS = '▁▂▃▄▅▆▇█'
LINE_PERIOD_S = 2.0
_View = TypeVar('_View', bound='Redrawn')


def sparkline(values: Sequence[float], lowest_top: float) -> str:
    """Values as a line of bars from 0 to the largest (at least ``lowest_top``)."""
    values = [value if math.isfinite(value) else 0.0 for value in values]
    top = max([lowest_top, *values])
    steps = len(BARS) - 1
    return ''.join(BARS[min(steps, max(0, round(steps * value / top)))] for value in values)


class Redrawn:
    """A picture of text that is drawn anew in its place; plain lines where that cannot be.

    Args:
        console: Where to.
        whole_screen: Whether it takes the whole terminal, and gives it back at the end.
        line_period_s: Least time between two looks where there is no terminal [s].
    """

    def __init__(
        self, console: Console, *, whole_screen: bool = False,
        line_period_s: float = LINE_PERIOD_S,
    ) -> None:
        self._console = console
        self._line_period_s = line_period_s
        self._next_line_s = 0.0
        # Drawn when it is updated, by nobody else: there is nothing new in between.
        redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(
            console=console, auto_refresh=False, screen=whole_screen
        ) if redraws else None

    def __enter__(self: _View) -> _View:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """One line that stays."""
        (self._live.console if self._live is not None else self._console).print(text)

    def show(
        self, now_s: float, picture: Callable[[], RenderableType],
        lines: Callable[[], Iterable[str]],
    ) -> None:
        """Draw what is now.

        Args:
            now_s: Time, on any clock that does not jump [s].
            picture: Makes what a terminal shows.
            lines: Makes what a file or a pipe gets, every ``line_period_s``.
        """
        if self._live is not None:
            self._live.update(picture(), refresh=True)
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + self._line_period_s
            for line in lines():
                self._console.print(line, soft_wrap=True, highlight=False, markup=False)
