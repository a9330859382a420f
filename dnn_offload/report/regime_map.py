"""The regime map: which cut is best, over bandwidth and load of the robot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
from matplotlib.colors import ListedColormap  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.ndimage import distance_transform_edt  # noqa: E402

from dnn_offload.errors import PlanningError  # noqa: E402
from dnn_offload.planning.break_even import (  # noqa: E402
    BANDWIDTH,
    Quantity,
    with_edge_load,
)
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Key  # noqa: E402
from dnn_offload.planning.search import plan  # noqa: E402
from dnn_offload.report.axes import log_axes  # noqa: E402

SPAN = 100.0          # of the bandwidth, each way
LOADS = (0.5, 10.0)
STEPS = (72, 48)      # points over bandwidth and load
LABELLED_SHARE = 0.02  # of the area; smaller regions have no text
NARROW = 3.0          # points from the border to the middle; in less there is no room for a name
NONE = -1
LOCAL = '#F3D9A4'      # all on the robot; cuts are blue, the earlier the darker


def regimes(
    strategy: str,
    conditions: Conditions,
    constraints: Constraints,
    bandwidths_bps: Sequence[float],
    loads: Sequence[float],
    uplink: Quantity = BANDWIDTH,
) -> tuple[NDArray[np.int64], list[Candidate]]:
    """The best plan at each point.

    Returns:
        Number of the best plan at (load, bandwidth), shape (loads, bandwidths), -1 = none; and
        one plan for each number, by position of the cut.
    """
    few = replace(constraints, most=1)
    seen: dict[tuple[int, Key], Candidate] = {}
    grid: list[list[tuple[int, Key] | None]] = []
    for load in loads:
        at_load = with_edge_load(conditions, load)
        row: list[tuple[int, Key] | None] = []
        for bps in bandwidths_bps:
            try:
                best = plan(strategy, uplink.move(at_load, bps), few)[0]
            except PlanningError:
                row.append(None)
                continue
            name = best.cut_index, best.key
            seen.setdefault(name, best)
            row.append(name)
        grid.append(row)
    numbers = {name: number for number, name in enumerate(sorted(seen))}
    cells = [[NONE if name is None else numbers[name] for name in row] for row in grid]
    return np.array(cells, np.int64), [seen[name] for name in numbers]


def draw_regime_map(
    axis: Axes,
    strategy: str,
    conditions: Conditions,
    constraints: Constraints,
    *,
    title: str,
    uplink: Quantity = BANDWIDTH,
) -> None:
    """Draw the map around the conditions of now, which are marked.

    Args:
        axis: Where to draw.
        strategy: Whose plans.
        conditions: With at least one server.
        constraints: What the user demands.
        title: Title.
        uplink: How the bandwidth is moved.
    """
    now_bps, now_load = uplink.read(conditions), conditions.edge_load
    bandwidths = np.geomspace(now_bps / SPAN, now_bps * SPAN, STEPS[0])
    low, high = min(LOADS[0], now_load / 2.0), max(LOADS[1], now_load * 2.0)
    loads = np.geomspace(low, high, STEPS[1])
    cells, plans = regimes(
        strategy, conditions, constraints, bandwidths.tolist(), loads.tolist(), uplink
    )
    last = conditions.edge_profile.cuts[-1].index
    shades = matplotlib.colormaps['YlGnBu_r'](
        [0.08 + 0.80 * best.cut_index / max(last, 1) for best in plans]
    )
    colours = [
        LOCAL if best.is_local else shade for best, shade in zip(plans, shades, strict=True)
    ]
    axis.pcolormesh(
        bandwidths / 1e6, loads, np.ma.masked_equal(cells, NONE), cmap=ListedColormap(colours),
        vmin=-0.5, vmax=len(plans) - 0.5, shading='nearest', rasterized=True,
    )
    for inside, name, at in _regions(cells, plans):
        if not inside.all():
            axis.contour(
                bandwidths / 1e6, loads, inside.astype(float), [0.5], colors='#ffffff',
                linewidths=1.0,
            )
        row, column, room = _middle(inside)
        if room < NARROW:
            continue
        light = at is None or at / max(last, 1) > 0.45
        axis.text(
            bandwidths[column] / 1e6, loads[row], name, fontsize=8.5, ha='center', va='center',
            color='#000000' if light else '#ffffff', linespacing=1.25,
        )
    axis.plot(
        [now_bps / 1e6], [now_load], marker='X', markersize=11, color='#D55E00',
        markeredgecolor='#ffffff', markeredgewidth=1.2, linestyle='none', label='now',
    )
    log_axes(axis)
    axis.set_ylim(loads[0], loads[-1])
    axis.set_xlabel('uplink [Mbit/s]' + (f' ({uplink.along})' if uplink.along else ''))
    axis.set_ylabel('load of the robot\n[slow-down against its profile]')
    axis.set_title(title, loc='left', fontsize=11, fontweight='bold')
    axis.legend(loc='lower right', fontsize=8)


def _regions(
    cells: NDArray[np.int64], plans: Sequence[Candidate]
) -> Iterator[tuple[NDArray[np.bool_], str, int | None]]:
    """Regions worth a name: (points, name, position of its cut; None = all on the robot).

    Plans with too little room for a name are taken together where they are of one shape and share
    codec and server.
    """
    small: dict[tuple[str, str, bool, bool], list[int]] = {}
    for number, best in enumerate(plans):
        inside = cells == number
        if inside.mean() >= LABELLED_SHARE:
            yield inside, _name(best), None if best.is_local else best.cut_index
        else:
            shape = best.codec, best.server, bool(best.frontier), bool(best.return_id)
            small.setdefault(shape, []).append(number)
    for numbers in small.values():
        inside = np.isin(cells, numbers)
        if len(numbers) > 1 and inside.mean() >= LABELLED_SHARE:
            yield inside, *_named_together([plans[number] for number in numbers])


def _middle(inside: NDArray[np.bool_]) -> tuple[int, int, float]:
    """The point of a region that is farthest from all borders, and how far that is, in points."""
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= 0.98 * depth.max())
    at = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return int(rows[at]), int(columns[at]), float(depth.max())


def _name(best: Candidate) -> str:
    if best.is_local:
        return 'all on the robot'
    return f'{"picture" if best.where == "cut 0" else best.where}\n{best.codec}'


def _named_together(plans: Sequence[Candidate]) -> tuple[str, int | None]:
    """Name of plans of one shape, codec and server, and the position amid their cuts."""
    first, last = (extreme(plans, key=lambda best: best.cut_index) for extreme in (min, max))
    if len({best.where for best in plans}) == 1:  # apart in threads, or in other branches
        return _name(first), None if first.is_local else first.cut_index
    near = 'branches near ' if first.frontier else ''
    back = ', and back' if first.return_id else ''
    one = first.cut_index == last.cut_index
    cuts = f'cut {first.cut_index}' if one else f'cuts {first.cut_index} to {last.cut_index}'
    middle = (first.cut_index + last.cut_index) // 2
    return f'{near}{cuts}{back}\n{first.codec}', middle
