"""Strategies over traces as one picture: latency over time beside the oracle's, and regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402
import numpy as np  # noqa: E402

# Okabe and Ito's colours; a strategy that is not among them takes the next free one.
STRATEGY_COLOURS = {
    'auto': '#0072B2',
    'local': '#009E73',
    'remote': '#E69F00',
    'neurosurgeon': '#CC79A7',
    'dey2019': '#D55E00',
    'roadrunner': '#56B4E9',
    'oracle': '#000000',
    'dey_inner': '#999999',
}
LEAST_TOP = 10.0  # of the axis of regrets [%]
OUTLIER = 6.0     # times the next smaller one: its bar is cut off, and says how far it goes
_SPARE = ('#F0E442', '#8C564B', '#7F3C8D')
_STYLES = ('-', '--', '-.', ':', (0, (5, 1)), (0, (3, 1, 1, 1)))


@dataclass(frozen=True)
class Curves:
    """One trace, all lists of one length.

    Attributes:
        name: Of the trace.
        times_s: Moments.
        true_ms: Strategy to the true latency of its plan.
        best_ms: The oracle's.
        edge_load: The robot's slow-down.
        uplink_bps: 0 while the server is gone.
    """

    name: str
    times_s: Sequence[float]
    true_ms: Mapping[str, Sequence[float]]
    best_ms: Sequence[float]
    edge_load: Sequence[float]
    uplink_bps: Sequence[float]


def colour_of(strategy: str) -> str:
    """The same colour for a strategy in every picture."""
    return STRATEGY_COLOURS.get(strategy, _SPARE[sum(map(ord, strategy)) % len(_SPARE)])


def plot_regret(
    path: Path,
    curves: Sequence[Curves],
    regrets: Mapping[str, Mapping[str, float]],
    *,
    title: str,
) -> None:
    """Draw conditions and latencies of each trace, and a bar chart of all regrets, to a PNG.

    Args:
        path: File to write.
        curves: One per trace.
        regrets: Strategy to trace to regret (0 = as good as the oracle).
        title: Of the picture.
    """
    rows = 2 * len(curves) + 1
    heights = [1.0, 2.2] * len(curves) + [2.4]
    figure, axes = plt.subplots(
        rows, 1, figsize=(13, 1.55 * sum(heights) + 1.0),
        gridspec_kw={'height_ratios': heights}, constrained_layout=True,
    )
    for number, curve in enumerate(curves):
        _draw_conditions(axes[2 * number], curve)
        _draw_latencies(axes[2 * number + 1], curve)
        axes[2 * number].sharex(axes[2 * number + 1])
    _draw_bars(axes[-1], regrets)
    figure.suptitle(title, fontsize=14)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_conditions(axis: Axes, curve: Curves) -> None:
    axis.plot(curve.times_s, curve.edge_load, color='#D55E00', linewidth=1.0)
    axis.set_ylabel('load of the\nrobot', color='#D55E00')
    other = axis.twinx()
    uplink = [bps / 1e6 if bps > 0.0 else np.nan for bps in curve.uplink_bps]
    other.plot(curve.times_s, uplink, color='#0072B2', linewidth=1.0)
    _make_logarithmic(other)
    other.set_ylabel('uplink\n[Mbit/s]', color='#0072B2')
    gone = np.asarray(curve.uplink_bps) <= 0.0
    axis.fill_between(
        curve.times_s, 0, 1, where=list(gone), transform=axis.get_xaxis_transform(),
        color='#BBBBBB', linewidth=0,
    )
    axis.set_title(f'{curve.name}: conditions (grey: no server)', loc='left', fontsize=10)
    axis.tick_params(labelbottom=False)


def _draw_latencies(axis: Axes, curve: Curves) -> None:
    # Below all others and wider: a strategy that is as good as it is seen upon it, auto on top.
    axis.plot(
        curve.times_s, curve.best_ms, label='oracle', color='black', linewidth=3.0, alpha=0.3,
        zorder=2.0,
    )
    for number, (strategy, true_ms) in enumerate(curve.true_ms.items()):
        axis.plot(
            curve.times_s, true_ms, label=strategy, color=colour_of(strategy), linewidth=1.3,
            linestyle=_STYLES[number % len(_STYLES)], zorder=4.0 if strategy == 'auto' else 3.0,
        )
    _make_logarithmic(axis)
    axis.set_ylabel('true latency of the\nplan in force [ms]')
    axis.set_xlabel('time [s]')
    axis.grid(True, which='both', alpha=0.25)
    axis.legend(loc='upper left', ncols=7, fontsize=8)


def _draw_bars(axis: Axes, regrets: Mapping[str, Mapping[str, float]]) -> None:
    top = axis_top([100.0 * v for found in regrets.values() for v in found.values()])
    traces = list(dict.fromkeys(trace for found in regrets.values() for trace in found))
    width = 0.8 / max(len(regrets), 1)
    for number, (strategy, found) in enumerate(regrets.items()):
        at = np.arange(len(traces)) + (number - (len(regrets) - 1) / 2) * width
        percents = [100.0 * found.get(trace, np.nan) for trace in traces]
        bars = axis.bar(
            at, np.minimum(percents, 1.25 * top), width, label=strategy,
            color=colour_of(strategy), edgecolor='white', linewidth=0.0,
        )
        for bar, value in zip(bars, percents, strict=True):
            bar.set_hatch('//' if value > top else '')
        labels = [
            '' if np.isnan(value) else f'{value:.0f}' if value <= top else f'↑ {value:.0f}'
            for value in percents
        ]
        axis.bar_label(bars, labels, fontsize=8)
    axis.set_ylim(0.0, 1.4 * top)  # the legend is above the bars
    axis.set_xticks(range(len(traces)), traces)
    axis.set_ylabel('regret [%]')
    axis.set_title(
        'regret: mean latency over that of the best plan of each moment, less one '
        '(↑, hatched: the bar goes on)', loc='left', fontsize=10,
    )
    axis.legend(loc='upper left', ncols=7, fontsize=8)


def axis_top(percents: Sequence[float]) -> float:
    """Up to where bars are drawn to scale: the largest value that the next smaller one is near.

    Args:
        percents: Of all bars; NaN = no bar.
    """
    top = LEAST_TOP
    for value in sorted(value for value in percents if value == value):
        if value > OUTLIER * top:
            break
        top = max(top, value)
    return top


def _make_logarithmic(axis: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    axis.set_yscale('log')
    axis.yaxis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.yaxis.set_minor_formatter(NullFormatter())
