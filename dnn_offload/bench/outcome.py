"""Files of a bench: rows, frames, plots and the page."""

from __future__ import annotations

from collections.abc import Sequence
import datetime
import itertools
import os
from pathlib import Path
import platform

from dnn_offload.bench.run import BenchOptions, BenchRun
from dnn_offload.bench.scenario.changes import loaded_parts
from dnn_offload.bench.scenario.scenario import Point, Scenario
from dnn_offload.report.bench_page import write_json, write_page, write_windows_csv
from dnn_offload.report.bench_plots import plot_played, plot_series, Series
from dnn_offload.report.bench_targets import Figure, figures
from dnn_offload.report.records import write_frames_csv


def write_outcome(
    scenario: Scenario, options: BenchOptions, run: BenchRun
) -> list[Figure]:
    """Write ``rows.csv``, ``frames.csv``, ``bench.json``, plots and ``report.html``.

    Args:
        scenario: As it was read, not scaled.
        options: As the bench was run.
        run: What it measured.

    Returns:
        What was promised, and whether it was kept.
    """
    out, played = options.out, scenario.scaled(options.time_scale)
    found = figures(
        run.record, loaded_parts(played, played.points[0]), deadline=scenario.deadline_ms > 0.0,
        objective=scenario.objective, shaped=not options.loopback,
    )
    write_windows_csv(out / 'rows.csv', run.record)
    write_frames_csv(
        out / 'frames.csv', [frame for _, frame in run.frames],
        [{'point': scenario.points[number].title} for number, _ in run.frames],
    )
    facts = _facts(scenario, options)
    write_json(out / 'bench.json', run.record, found, facts)
    plots: list[Path] = []
    if run.record.windows:  # it may have ended in the first
        plots = [_plot_timeline(out, played, run)] if scenario.timeline else _plot_grid(
            out, scenario, run
        )
    write_page(
        out / 'report.html', scenario.title, scenario.what, run.record, found, facts,
        scenario.papers, plots,
    )
    return found


def _facts(scenario: Scenario, options: BenchOptions) -> dict[str, object]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        'scenario': scenario.name,
        'date': now.strftime('%d %B %Y, %H:%M UTC'),
        'machine': f'{os.cpu_count()} cores, {platform.machine()}, {platform.system()} '
        f'{platform.release()}',
        'load average of this machine at the end': ' '.join(f'{x:.2f}' for x in os.getloadavg()),
        'weights': scenario.weights,
        'rounds': scenario.repeat,
        'objective': scenario.objective,
        'deadline [ms]': scenario.deadline_ms or 'none',
        'time scale': options.time_scale,
        'network': 'loopback: speeds and downlink are not emulated' if options.loopback
        else 'network namespaces, shaped link, CPU quotas',
    }


def _plot_timeline(out: Path, scenario: Scenario, run: BenchRun) -> Path:
    path = out / 'timeline.png'
    changes = [(0.0, scenario.points[0].conditions), *scenario.timeline]
    times = [at_s for at_s, _ in changes]
    conditions = [
        ('load\n[processes]', times, [float(c.load) for _, c in changes]),
        ('uplink\n[Mbit/s]', times, [
            0.0 if c.outage or not c.server else c.uplink_mbps for _, c in changes
        ]),
    ]
    first = {p.row: p.frames for p in reversed(run.played)}
    rows = {row: first[row] for row in run.record.rows()}
    plot_played(path, rows, scenario.duration_s, conditions, title=scenario.title)
    return path


def _plot_grid(out: Path, scenario: Scenario, run: BenchRun) -> list[Path]:
    """One picture per model, a column per pair of speeds."""
    paths = []
    numbered = list(enumerate(scenario.points))
    for number, (model, of_model) in enumerate(itertools.groupby(
        sorted(numbered, key=lambda item: item[1].model), lambda item: item[1].model
    )):
        series = _series(list(of_model))
        if not series:
            continue
        path = out / f'points_{number}.png'
        plot_series(
            path, run.record, series, title=f'{scenario.title}: {model.rpartition(":")[2]}'
        )
        paths.append(path)
    return paths


def _series(points: Sequence[tuple[int, Point]]) -> list[Series]:
    found: dict[tuple[float, float], list[tuple[int, Point]]] = {}
    for number, point in points:
        if point.conditions.uplink_mbps > 0.0:
            found.setdefault((point.robot_speed, point.server_speed), []).append((number, point))
    made = []
    for (robot, server), own in found.items():
        own = sorted(own, key=lambda item: item[1].conditions.uplink_mbps)
        ratio = (server or 1.0) / (robot or 1.0)
        made.append(Series(
            f'server {ratio:.3g} times as fast', tuple(n for n, _ in own),
            tuple(p.conditions.uplink_mbps for _, p in own), tuple(p.simulated for _, p in own),
        ))
    return made
