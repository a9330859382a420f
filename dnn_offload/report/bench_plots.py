"""Pictures of a bench: rows over the rate of the link, and rows along a timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from dnn_offload.report.bench_records import BenchRecord  # noqa: E402
from dnn_offload.report.records import FrameRow  # noqa: E402
from dnn_offload.report.regret import colour_of  # noqa: E402

RATE_WINDOW_S = 3.0
_MARKERS = 'osD^vP*X<>'


@dataclass(frozen=True)
class Series:
    """Points that differ in the rate of the link only.

    Attributes:
        title: What they have in common.
        points: Their numbers, by rising rate.
        rates_mbps: Of the uplink [Mbit/s].
        simulated: Of each, whether it was reckoned.
    """

    title: str
    points: tuple[int, ...]
    rates_mbps: tuple[float, ...]
    simulated: tuple[bool, ...]


def plot_series(path: Path, record: BenchRecord, series: Sequence[Series], *, title: str) -> None:
    """Inference rate above, where the network is cut below, over the rate of the link.

    Args:
        path: PNG to write.
        record: What was measured.
        series: One column each.
        title: Of the picture.
    """
    figure, axes = plt.subplots(
        2, len(series), figsize=(max(4.6 * len(series), 7.0), 7.5), squeeze=False,
        constrained_layout=True,
    )
    for column, one in enumerate(series):
        _draw_series(axes[0][column], record, one, 'rate')
        _draw_series(axes[1][column], record, one, 'cut')
        axes[0][column].set_title(one.title, fontsize=10)
    axes[0][0].set_ylabel('inferences per second\n(1 / latency)')
    axes[1][0].set_ylabel('cut (0 = the input,\nlast = all on the robot)')
    axes[0][-1].legend(fontsize=8)
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_series(axis: Axes, record: BenchRecord, series: Series, what: str) -> None:
    for number, row in enumerate(record.rows()):
        cells = [record.cell(point, row) for point in series.points]
        there = [(r, c, s) for r, c, s in zip(
            series.rates_mbps, cells, series.simulated, strict=True
        ) if c is not None and (what == 'rate' or c.window.cut_index >= 0)]
        if not there:
            continue
        heights = [
            1e3 / cell.latency_ms if what == 'rate' else cell.window.cut_index
            for _, cell, _ in there
        ]
        rates = [rate for rate, _, _ in there]
        axis.plot(
            rates, heights, label=row, color=colour_of(row), linewidth=1.3,
            marker=_MARKERS[number % len(_MARKERS)], markersize=5, alpha=0.85,
        )
        hollow = [(r, h) for (r, _, s), h in zip(there, heights, strict=True) if s]
        axis.plot(
            [r for r, _ in hollow], [h for _, h in hollow], linestyle='none', marker='o',
            markersize=10, markerfacecolor='none', markeredgecolor='#777777',
        )
    axis.set_xscale('log')
    axis.set_xlabel('link [Mbit/s]; ringed: simulated')
    axis.set_ylim(bottom=0.0 if what == 'rate' else -0.5)
    axis.grid(True, alpha=0.25)


def plot_played(
    path: Path, played: Mapping[str, Sequence[FrameRow]], duration_s: float,
    conditions: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, title: str,
) -> None:
    """Results per second and latency of each row along the timeline.

    Args:
        path: PNG to write.
        played: Row to its frames, ``time_s`` from the start of the timeline.
        duration_s: Of the timeline.
        conditions: (name with unit, times [s], values) to draw on top, as steps.
        title: Of the picture.
    """
    heights = [0.6] * len(conditions) + [2.0, 2.0]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(12, 1.9 * sum(heights)), sharex=True, constrained_layout=True,
        gridspec_kw={'height_ratios': heights},
    )
    for axis, (name, times, values) in zip(axes, conditions, strict=False):
        axis.step([*times, duration_s], [*values, values[-1]], where='post', color='black')
        axis.set_ylabel(name, fontsize=8)
    rate_axis, latency_axis = axes[-2], axes[-1]
    ticks = np.arange(0.0, duration_s, 0.25)
    for row, frames in played.items():
        done = [f for f in frames if f.has_result]
        ends = np.sort([f.result_time_s for f in done])
        # Towards the beginning the window is shorter.
        spans = np.minimum(np.maximum(ticks, 0.25), RATE_WINDOW_S)
        counts = np.searchsorted(ends, ticks) - np.searchsorted(ends, ticks - spans)
        rate_axis.plot(ticks, counts / spans, label=row, color=colour_of(row), linewidth=1.4)
        latency_axis.plot(
            [f.time_s for f in done], [f.latency_ms for f in done], color=colour_of(row),
            linewidth=0.8, label=row,
        )
    rate_axis.set_ylabel('results per second')
    rate_axis.set_ylim(bottom=0.0)
    rate_axis.legend(fontsize=8, ncols=4)
    latency_axis.set_ylabel('latency [ms]')
    latency_axis.set_yscale('log')
    latency_axis.set_xlabel('time [s]')
    latency_axis.set_xlim(0.0, duration_s)
    for axis in axes:
        axis.grid(True, alpha=0.25)
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=100)
    plt.close(figure)
