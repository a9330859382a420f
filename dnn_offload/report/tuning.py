"""Tuning as one picture: regret and changes of plan over the grid, and single sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from dnn_offload.planning.session import PlannerSettings  # noqa: E402

_REGRET, _SWITCHES = '#0072B2', '#D55E00'


def plot_tuning(path: Path, result: Mapping[str, Any], chosen: PlannerSettings) -> None:
    """Draw the result of ``benchmarks/tuning.py`` to a PNG.

    Args:
        path: File to write.
        result: ``ratios``, ``ticks``, ``regret`` and ``switches`` (ticks x ratios; switches per
            ten minutes), and ``sweeps``: name to a list of value, regret, switches.
        chosen: The defaults, marked.
    """
    sweeps = result['sweeps']
    columns = max(len(sweeps), 2)
    figure = plt.figure(figsize=(3.1 * columns, 8.6), constrained_layout=True)
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.35, 1.0])
    grids = upper.subplots(1, 2)
    _draw_grid(grids[0], result, 'regret', 100.0, 'typical regret [%]', chosen)
    _draw_grid(grids[1], result, 'switches', 1.0, 'changes of plan in ten minutes', chosen)
    for axis, (name, points) in zip(
        np.atleast_1d(lower.subplots(1, columns)), sweeps.items(), strict=False
    ):
        _draw_sweep(axis, name, points)
    figure.suptitle(
        f'Tuning over {len(result["traces"])} traces x {len(result["networks"])} networks '
        '(white frame: the defaults)', fontsize=13,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_grid(
    axis: Axes, result: Mapping[str, Any], what: str, scale: float, title: str,
    chosen: PlannerSettings,
) -> None:
    ratios, ticks = list(result['ratios']), list(result['ticks'])
    table = scale * np.array(result[what])  # (ticks, ratios)
    image = axis.imshow(table, cmap='viridis_r', aspect='auto', origin='lower')
    middle = 0.5 * (table.min() + table.max())
    for row in range(len(ticks)):
        for column in range(len(ratios)):
            value = table[row, column]
            axis.text(
                column, row, f'{value:.1f}', ha='center', va='center',
                color='black' if value < middle else 'white', fontsize=9,
            )
    if chosen.min_gain_ratio in ratios and chosen.hold_ticks in ticks:
        at = ratios.index(chosen.min_gain_ratio), ticks.index(chosen.hold_ticks)
        axis.add_patch(
            plt.Rectangle(
                (at[0] - 0.47, at[1] - 0.47), 0.94, 0.94, fill=False, edgecolor='white',
                linewidth=3,
            )
        )
    axis.set_xticks(range(len(ratios)), [f'{100 * ratio:g}' for ratio in ratios])
    axis.set_yticks(range(len(ticks)), [str(tick) for tick in ticks])
    axis.set_xlabel('least gain [% of the latency] (min_gain_ratio)')
    axis.set_ylabel('ticks that it must last (hold_ticks)')
    axis.set_title(title)
    axis.figure.colorbar(image, ax=axis)


def _draw_sweep(axis: Axes, name: str, points: list[Mapping[str, float]]) -> None:
    values = [point['value'] for point in points]
    at = range(len(values))
    axis.plot(at, [100.0 * p['regret'] for p in points], color=_REGRET, marker='o')
    axis.set_ylabel('typical regret [%]', color=_REGRET)
    axis.set_ylim(0.0, 140.0 * max(point['regret'] for point in points))
    other = axis.twinx()
    other.plot(at, [p['switches'] for p in points], color=_SWITCHES, marker='s', linestyle='--')
    other.set_ylabel('changes in ten minutes', color=_SWITCHES)
    other.set_ylim(0.0, 1.15 * max(point['switches'] for point in points))
    axis.set_xticks(list(at), [f'{value:g}' for value in values])
    axis.set_xlabel(name)
    axis.grid(True, alpha=0.25)
