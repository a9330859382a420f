"""Axes that people read: logarithmic ones with plain numbers."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

FEW_DECADES = 2.5  # up to so many, 2 and 5 are named too


def log_axes(axis: Axes) -> None:
    """Make both axes logarithmic, with numbers written out."""
    axis.set_xscale('log')
    axis.set_yscale('log')
    for one, (low, high) in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
        subs = (1.0, 2.0, 5.0) if high / low < 10.0**FEW_DECADES else (1.0,)
        one.set_major_locator(LogLocator(subs=subs))
        one.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        one.set_minor_locator(NullLocator())
