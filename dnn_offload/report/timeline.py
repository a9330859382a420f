"""A run as one picture: load, cut, latency and rate over time, with the phases marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
from matplotlib.axes import Axes  # noqa: E402  (the backend is chosen first)
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from dnn_offload.report.records import Event, FrameRow, LoadSample, Span  # noqa: E402

# Okabe and Ito's colours, told apart by colour-blind people; one per outcome everywhere.
OUTCOME_COLOURS = {
    'remote': '#0072B2',
    'local': '#009E73',
    'rescued': '#E69F00',
    'dropped': '#D55E00',
}
OUTCOME_MARKERS = {'remote': 'o', 'local': 's', 'rescued': '^', 'dropped': 'x'}
RATE_WINDOW_S = 1.0


def plot_timeline(
    path: Path,
    rows: Sequence[FrameRow],
    loads: Sequence[LoadSample],
    spans: Sequence[Span],
    events: Sequence[Event],
    *,
    deadline_ms: float,
    cut_count: int,
    title: str,
) -> None:
    """Draw the timeline of a run to a PNG.

    Args:
        path: File to write.
        rows: All frames, any order.
        loads: Load samples over time.
        spans: Phases; each is a shaded band with its title on top.
        events: What happened; each is a vertical line, with its text if no phase begins there.
        deadline_ms: Drawn as a line over the latency; 0 = none.
        cut_count: Number of the last cut (all on the robot).
        title: Title of the picture.
    """
    figure, axes = plt.subplots(
        4, 1, figsize=(14, 11), sharex=True, gridspec_kw={'height_ratios': [1, 1.4, 1.6, 1]}
    )
    load_axis, cut_axis, latency_axis, rate_axis = axes
    _draw_load(load_axis, loads)
    _draw_cut(cut_axis, rows, cut_count)
    _draw_latency(latency_axis, rows, deadline_ms)
    _draw_rate(rate_axis, rows)
    end_s = max([span.end_s for span in spans], default=1.0)
    for axis in axes:
        for number, span in enumerate(spans):
            shade = '#f2f2f2' if number % 2 == 0 else '#ffffff'
            axis.axvspan(span.start_s, span.end_s, color=shade, zorder=-5)
        for event in events:
            axis.axvline(event.time_s, color='#777777', linewidth=0.7, linestyle=':')
        axis.grid(axis='y', color='#dddddd', linewidth=0.6)
        axis.set_xlim(0.0, end_s)
        axis.spines[['top', 'right']].set_visible(False)
    for number, span in enumerate(spans):
        load_axis.text(
            (span.start_s + span.end_s) / 2, 1.04 + 0.12 * (number % 2), span.title,
            transform=load_axis.get_xaxis_transform(), ha='center', va='bottom', fontsize=9,
        )
    starts_s = {span.start_s for span in spans}
    for event in events:
        if event.time_s not in starts_s:  # what begins a phase has its title on top
            latency_axis.annotate(
                event.text, (event.time_s, 0.97), xycoords=('data', 'axes fraction'),
                textcoords='offset points', xytext=(3, 0), va='top', fontsize=8,
            )
    rate_axis.set_xlabel('time since the start of the script [s]')
    figure.suptitle(title, y=0.995, fontsize=13)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_load(axis: Axes, loads: Sequence[LoadSample]) -> None:
    times = [sample.time_s for sample in loads]
    axis.plot(
        times, [sample.factor for sample in loads], color='#000000', linewidth=1.6,
        label='load factor (ours)',
    )
    axis.plot(
        times, [max(sample.loadavg, 0.0) for sample in loads], color='#CC79A7', linewidth=1.2,
        linestyle='--', label='load average / core (Dey et al.)',
    )
    axis.set_ylabel('load [1]')
    axis.set_ylim(bottom=0.0)
    twin = axis.twinx()
    twin.plot(
        times, [sample.navigation_hz for sample in loads], color='#56B4E9', linewidth=1.0,
        label='navigation loop',
    )
    twin.set_ylabel('navigation [Hz]')
    twin.set_ylim(0.0, 1.3 * max([sample.navigation_hz for sample in loads], default=1.0) + 0.1)
    lines, labels = axis.get_legend_handles_labels()
    more_lines, more_labels = twin.get_legend_handles_labels()
    axis.legend(lines + more_lines, labels + more_labels, loc='upper left', fontsize=8, ncol=3)


def _draw_cut(axis: Axes, rows: Sequence[FrameRow], cut_count: int) -> None:
    for outcome, colour in OUTCOME_COLOURS.items():
        if outcome == 'dropped':
            continue
        chosen = [row for row in rows if row.outcome == outcome and not row.is_scout]
        axis.scatter(
            [row.time_s for row in chosen], [row.cut_index for row in chosen], s=12,
            color=colour, marker=OUTCOME_MARKERS[outcome], label=f'{outcome} ({len(chosen)})',
        )
    scouts = [row for row in rows if row.is_scout]
    axis.scatter(
        [row.time_s for row in scouts], [row.cut_index for row in scouts], s=14,
        facecolors='none', edgecolors='#777777', label=f'scout ({len(scouts)})',
    )
    previous = ''
    for row in sorted(rows, key=lambda item: item.frame_seq):
        name = row.codec if row.server else 'local'
        planned = row.has_result and row.strategy == 'auto' and not row.is_scout
        if planned and name != previous:
            axis.annotate(
                name, (row.time_s, row.cut_index), textcoords='offset points', xytext=(3, 6),
                fontsize=8,
            )
            previous = name
    axis.set_ylabel(f'cut (0 = picture,\n{cut_count} = all on the robot)')
    axis.set_ylim(-0.08 * cut_count, 1.12 * cut_count)
    axis.legend(loc='center left', fontsize=8, ncol=4)


def _draw_latency(axis: Axes, rows: Sequence[FrameRow], deadline_ms: float) -> None:
    for outcome, colour in OUTCOME_COLOURS.items():
        chosen = [row for row in rows if row.outcome == outcome and row.has_result]
        axis.scatter(
            [row.time_s for row in chosen], [row.latency_ms for row in chosen], s=10,
            color=colour, marker=OUTCOME_MARKERS[outcome],
        )
    lost = [row.time_s for row in rows if row.drop_reason not in ('', 'superseded')]
    floor_ms = max(min([row.latency_ms for row in rows if row.has_result], default=1.0), 1.0)
    axis.scatter(
        lost, [floor_ms] * len(lost), s=22, marker='x', color=OUTCOME_COLOURS['dropped'],
        label=f'dropped, not superseded ({len(lost)})',
    )
    if deadline_ms > 0.0:
        axis.axhline(deadline_ms, color='#D55E00', linewidth=1.0, label='deadline')
    axis.set_yscale('log')
    axis.set_ylabel('latency [ms]\n(acquisition to result)')
    axis.legend(loc='upper left', fontsize=8, ncol=2)


def _draw_rate(axis: Axes, rows: Sequence[FrameRow]) -> None:
    results = np.sort([row.result_time_s for row in rows if row.has_result])
    entered = np.sort([row.time_s for row in rows])
    if len(entered) == 0:
        return
    ticks = np.arange(RATE_WINDOW_S, entered[-1] + RATE_WINDOW_S, RATE_WINDOW_S / 4)
    for times, label, colour in (
        (entered, 'pictures', '#999999'), (results, 'results', '#0072B2'),
    ):
        counts = np.searchsorted(times, ticks) - np.searchsorted(times, ticks - RATE_WINDOW_S)
        axis.plot(ticks, counts / RATE_WINDOW_S, color=colour, label=label, linewidth=1.4)
    axis.set_ylabel('rate [1/s]')
    axis.set_ylim(bottom=0.0)
    axis.legend(loc='lower left', fontsize=8, ncol=2)
