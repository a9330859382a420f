"""The partition curve: what each cut would cost, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import numpy as np  # noqa: E402

from dnn_offload.planning.plan import Candidate  # noqa: E402

# Stage, its name, its colour (Okabe and Ito's, told apart by colour-blind people): the robot's
# stages blue, the network's orange, the server's green.
STAGES = (
    ('head_ms', 'head (robot)', '#0072B2'),
    ('encode_ms', 'encode (robot)', '#56B4E9'),
    ('uplink_ms', 'uplink', '#E69F00'),
    ('queue_ms', 'queue (server)', '#B8DFCF'),
    ('decode_ms', 'decode (server)', '#6BC2A3'),
    ('tail_ms', 'tail (server)', '#009E73'),
    ('downlink_ms', 'downlink', '#F0E442'),
    ('rest_ms', 'rest (robot)', '#00446E'),
    ('finish_ms', 'decode outputs (robot)', '#A9CBE3'),
    ('wait_ms', 'waiting (stream)', '#CC79A7'),
    ('late_ms', 'too late', '#D55E00'),
    ('overhead_ms', 'overhead', '#BBBBBB'),
)
LABELLED_CUTS = 26   # more have numbers instead of names
LABEL_CHARS = 14


def best_per_cut(ranked: Sequence[Candidate]) -> list[Candidate]:
    """The best plan of each cut, by position; plans with two cuts or over the graph left out."""
    best: dict[int, Candidate] = {}
    for candidate in ranked:
        if not candidate.return_id and not candidate.frontier:
            best.setdefault(candidate.cut_index, candidate)
    return [best[index] for index in sorted(best)]


def draw_partition_curve(axis: Axes, ranked: Sequence[Candidate], *, title: str) -> None:
    """Draw the stages of the best plan of each cut as stacked bars, the best plan marked.

    Encoding that goes on while the first slices are on their way is left out.

    Args:
        axis: Where to draw.
        ranked: Plans, best first, at least one.
        title: Title.
    """
    rows, winner = best_per_cut(ranked), ranked[0]
    if winner.return_id or winner.frontier:
        rows.append(winner)  # a plan of another shape stands behind the cuts
    where = np.arange(len(rows))
    bottom = np.zeros(len(rows))
    for name, label, colour in STAGES:
        values = np.array([getattr(row, name) for row in rows])
        if name == 'encode_ms':
            values = values - [row.overlap_ms for row in rows]
        if not np.any(values > 0.0):
            continue
        axis.bar(where, values, 0.86, bottom=bottom, color=colour, label=label, linewidth=0)
        bottom += values
    chosen = [at for at, row in enumerate(rows) if row.key == winner.key]
    top = float(bottom.max())
    for at in chosen:
        axis.bar(
            [at], bottom[at], 0.86, facecolor='none', edgecolor='#000000', linewidth=1.6,
        )
        axis.annotate(
            f'best: {winner.latency_ms:.1f} ms' + (f'\n{winner.codec}' if winner.codec else ''),
            (at, bottom[at]), xytext=(at, bottom[at] + 0.08 * top), va='bottom',
            ha='left' if at < 0.1 * len(rows) else 'right' if at > 0.9 * len(rows) else 'center',
            fontsize=9, fontweight='bold',
            bbox={'boxstyle': 'round,pad=0.25', 'facecolor': '#ffffff', 'edgecolor': '#999999'},
            arrowprops={'arrowstyle': '-|>', 'color': '#000000', 'linewidth': 1.0},
        )
    axis.set_ylim(0.0, 1.28 * top)
    axis.set_xlim(-0.7, len(rows) - 0.3)
    _label_cuts(axis, rows)
    axis.set_ylabel('latency of one frame [ms]')
    axis.set_title(title, loc='left', fontsize=11, fontweight='bold')
    axis.grid(axis='y', color='#dddddd', linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(loc='upper center', bbox_to_anchor=(0.5, 0.995), fontsize=8, ncol=5, frameon=False)


def _label_cuts(axis: Axes, rows: Sequence[Candidate]) -> None:
    if len(rows) <= LABELLED_CUTS:
        names = [f'{_number(row)} {_short(row)}' for row in rows]
        axis.set_xticks(range(len(rows)), names, rotation=40, ha='right', fontsize=8)
        axis.set_xlabel('cut: last operator on the robot, with the best codec and server of each')
        return
    step = max(len(rows) // 20, 1)
    places = [at for at in range(0, len(rows) - step, step)] + [len(rows) - 1]
    names = [_number(rows[at]).replace(' near', '\nnear') for at in places]
    axis.set_xticks(places, names, fontsize=8)
    last = max(row.cut_index for row in rows)
    axis.set_xlabel(
        f'cut (0 = picture, {last} = all on the robot), with the best codec and server of each'
    )


def _number(row: Candidate) -> str:
    return row.where.removeprefix('cut ')


def _short(row: Candidate) -> str:
    if row.is_local:
        return 'all on robot'
    if row.frontier:
        return f'({row.codec})'  # its label is what it is near to
    text = row.label
    if len(text) > LABEL_CHARS:
        text = '…' + text[-(LABEL_CHARS - 1):]
    return f'{text} ({row.codec})'
