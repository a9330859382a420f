"""One picture about a plan: partition curve, regime map, and latency against energy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402

from dnn_offload.planning.break_even import BANDWIDTH, Quantity  # noqa: E402
from dnn_offload.planning.pareto import pareto_set  # noqa: E402
from dnn_offload.planning.plan import Candidate, Conditions, Constraints  # noqa: E402
from dnn_offload.report.axes import log_axes  # noqa: E402
from dnn_offload.report.partition_curve import draw_partition_curve  # noqa: E402
from dnn_offload.report.regime_map import draw_regime_map  # noqa: E402

LABELLED = 6  # plans of the front that are named


def plot_plan(
    path: Path,
    strategy: str,
    conditions: Conditions,
    constraints: Constraints,
    ranked: Sequence[Candidate],
    *,
    title: str,
    uplink: Quantity = BANDWIDTH,
) -> None:
    """Draw everything about a ranking to a picture file.

    Args:
        path: File to write; its ending names the format.
        strategy: Whose plans.
        conditions: What is known now.
        constraints: What the user demands.
        ranked: The plans under these conditions, best first, at least one.
        title: Title of the picture.
        uplink: How the bandwidth is moved.
    """
    with_map = bool(conditions.servers)
    with_energy = conditions.power is not None
    below = int(with_map) + int(with_energy)
    figure = plt.figure(figsize=(13, 10.5 if below else 6.0), layout='constrained')
    heights = [1.15, 1.0] if below else [1.0]
    rows = figure.add_gridspec(len(heights), max(below, 1), height_ratios=heights)
    axis = figure.add_subplot(rows[0, :])
    draw_partition_curve(axis, ranked, title='Partition curve: where a frame spends its time')
    column = 0
    if with_map:
        draw_regime_map(
            figure.add_subplot(rows[1, column]), strategy, conditions, constraints,
            title=f'Regime map: best plan for {constraints.objective.name}',
            uplink=uplink,
        )
        column += 1
    if with_energy:
        assert conditions.power is not None
        draw_front(
            figure.add_subplot(rows[1, column]), ranked,
            title=f'Latency against energy ({conditions.power.name})',
        )
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_front(axis: Axes, ranked: Sequence[Candidate], *, title: str) -> None:
    """Draw all plans by latency and energy, with the front that nothing beats.

    Args:
        axis: Where to draw.
        ranked: Plans with energies, best first, at least one.
        title: Title.
    """
    axis.scatter(
        [plan.latency_ms for plan in ranked], [plan.energy_j for plan in ranked], s=12,
        color='#9AA5AD', linewidth=0, label=f'{len(ranked)} plans',
    )
    front = pareto_set(ranked)
    axis.plot(
        [plan.latency_ms for plan in front], [plan.energy_j for plan in front], color='#0072B2',
        marker='o', markersize=5, linewidth=1.4, drawstyle='steps-post',
        label=f'front: {len(front)} that no other beats in both',
    )
    winner = ranked[0]
    axis.plot(
        [winner.latency_ms], [winner.energy_j], marker='X', markersize=11, color='#D55E00',
        markeredgecolor='#ffffff', markeredgewidth=1.2, linestyle='none', label='the choice',
    )
    for plan in front[:: max(-(-len(front) // LABELLED), 1)]:
        name = 'all on the robot' if plan.is_local else f'{plan.where}, {plan.codec}'
        axis.annotate(
            name, (plan.latency_ms, plan.energy_j), textcoords='offset points', xytext=(6, 5),
            fontsize=8,
        )
    log_axes(axis)
    axis.set_xlabel('latency of one frame [ms]')
    axis.set_ylabel('energy of the robot per frame [J]')
    axis.set_title(title, loc='left', fontsize=11, fontweight='bold')
    axis.grid(color='#dddddd', linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(loc='upper left', fontsize=8)
