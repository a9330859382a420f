"""What a bench leaves: tables as CSV, all of it as JSON, and one HTML page. Pure data in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from dataclasses import asdict, fields
from html import escape
import json
import math
from pathlib import Path
from typing import Any

from dnn_offload.report.bench_records import BenchRecord, Window
from dnn_offload.report.bench_targets import Figure
from dnn_offload.report.page import embed_png, page, table

HEADER = (
    'point', 'row', 'latency [ms]', 'spread [%]', 'results/s', 'what ran', 'bytes up',
    'energy [J]', 'navigation [% of its loop rate]', 'rounds', 'how',
)


def summary(record: BenchRecord) -> list[tuple[str | float, ...]]:
    """One line per point and row, as in ``HEADER``."""
    found: list[tuple[str | float, ...]] = []
    for point, title in enumerate(record.points):
        for row in record.rows():
            cell = record.cell(point, row)
            if cell is None:
                if any((w.point, w.row) == (point, row) for w in record.windows):
                    found.append((title, row, math.nan, math.nan, 0.0, 'no result', *[''] * 5))
                continue
            window, share = cell.window, record.navigation(point, row)
            found.append((
                title, row, cell.latency_ms, 100.0 * cell.spread, cell.rate_hz, window.plan,
                int(window.uplink_bytes),
                f'{cell.energy_j:.3f}' if math.isfinite(cell.energy_j) else '',
                f'{100.0 * share:.1f}' if math.isfinite(share) else '',
                cell.rounds, 'simulated' if window.simulated else 'measured',
            ))
    return found


def rows_without_result(record: BenchRecord) -> list[str]:
    """Rows that were run and gave nothing, at no point."""
    return [
        row for row in record.rows()
        if all(record.cell(point, row) is None for point in range(len(record.points)))
    ]


def write_windows_csv(path: Path, record: BenchRecord) -> None:
    """One line per window, with the title of its point."""
    with path.open('w', newline='', encoding='utf-8') as file:
        names = ['title', *(item.name for item in fields(Window))]
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for window in record.windows:
            values: dict[str, Any] = {'title': record.points[window.point], **asdict(window)}
            writer.writerow({
                k: f'{v:.3f}' if isinstance(v, float) else v for k, v in values.items()
            })


def write_json(
    path: Path, record: BenchRecord, figures: Sequence[Figure], facts: Mapping[str, object]
) -> None:
    """Everything; what is not known is null."""
    data = {
        'facts': dict(facts),
        'figures': [asdict(figure) for figure in figures],
        **asdict(record),
    }
    path.write_text(json.dumps(_plain(data), indent=1), encoding='utf-8')


def write_page(
    path: Path, title: str, what: str, record: BenchRecord, figures: Sequence[Figure],
    facts: Mapping[str, object], papers: Sequence[tuple[str, str]], plots: Sequence[Path],
) -> None:
    """One self-contained HTML page.

    Args:
        path: To write.
        title: Of the scenario.
        what: What it shows.
        record: What was measured.
        figures: What was promised, and whether it was kept.
        facts: Machine, date and settings.
        papers: Findings to put beside ours.
        plots: PNG files; they are put inside.
    """
    sections = [('', f'<p>{escape(what)}</p>')]
    if figures:
        sections.append(('Figures to reach', table(
            ('figure', 'measured', 'aim', ''),
            [(f.what, f.seen, f.allowed, f.verdict) for f in figures],
        )))
    sections += [
        ('', f'<img src="{embed_png(plot)}" alt="{escape(plot.stem)}">') for plot in plots
    ]
    if papers:
        sections.append(('What the paper found', table(('where', 'what'), papers)))
    sections.append(('Rows', table(HEADER, summary(record))))
    if record.searches:
        sections.append(('The oracle', table(
            ('point', 'best', 'candidates run', 'of', 'all others excluded by their bound',
             'another may be faster by [%]', 'noise floor [%]'),
            [
                (record.points[s.point], s.plan, s.ran, s.known, 'yes' if s.exhausted else 'no',
                 100.0 * record.doubt(s), 100.0 * s.noise_floor)
                for s in record.searches
            ],
        )))
    if record.steps:
        sections.append(('Changes of conditions', table(
            ('row', 'round', 'at [s]', 'change', 'plan that stays after [s]', 'late results',
             'without an answer', 'the rest did not fit'),
            [
                (s.row, s.round, s.at_s, s.what,
                 f'{s.reaction_s:.2f}' if math.isfinite(s.reaction_s) else 'none', s.late,
                 s.unanswered, s.unrescuable)
                for s in record.steps
            ],
        )))
    notes = ''.join(f'<li>{escape(note)}</li>' for note in record.notes)
    if notes:
        sections.append(('To know', f'<ul>{notes}</ul>'))
    sections.append(('How', table(
        ('fact', 'value'), [(name, str(value)) for name, value in facts.items()]
    )))
    path.write_text(page(title, sections), encoding='utf-8')


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
