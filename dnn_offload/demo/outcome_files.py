"""What the demo leaves in ``demo_out/``: CSV, JSON, timeline, page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
import json
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dnn_offload.cost.profile import Profile
from dnn_offload.demo.phases import AUTO, BASELINES
from dnn_offload.demo.verdict import Verdict
from dnn_offload.errors import ConfigurationError
from dnn_offload.report.page import embed_png, gallery, page, table, verdict_line
from dnn_offload.report.records import Event, FrameRow, LoadSample, Span, write_frames_csv
from dnn_offload.report.timeline import plot_timeline
from dnn_offload.testbed.processes import Cores

REPORT, TIMELINE, ANNOTATED = 'report.html', 'timeline.png', 'annotated.mp4'
FRAMES, SUMMARY = 'frames.csv', 'summary.json'
OUTCOME = (REPORT, TIMELINE, ANNOTATED, FRAMES, SUMMARY)  # as the last line names them


class Record(Protocol):
    """What of the recorder is needed here."""

    rows: list[FrameRow]
    loads: list[LoadSample]
    profile: Profile | None
    navigation_states: dict[str, int]  # what it said that it does -> how often


def remove_outcome(out: Path) -> None:
    """Remove what the last run left: nobody shall take it for that of a run that fails.

    Raises:
        ConfigurationError: Something is in the way that cannot be removed.
    """
    for name in OUTCOME:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(
                'what the last run left cannot be removed',
                given=f'{out / name}: {error.strerror or error}', hint='choose another --out',
            ) from error


def write_outcome(
    out: Path,
    verdict: Verdict,
    record: Record,
    spans: Sequence[Span],
    events: Sequence[Event],
    pictures: Mapping[str, np.ndarray],
    *,
    deadline_ms: float,
    cores: Cores,
    model: str,
) -> None:
    """Write ``frames.csv``, ``summary.json``, ``timeline.png`` and ``report.html``."""
    rows = sorted((row for row in record.rows if row.time_s >= 0.0), key=lambda r: r.frame_seq)
    write_frames_csv(out / FRAMES, record.rows)
    (out / SUMMARY).write_text(
        json.dumps(
            {
                **_summary(verdict, deadline_ms, cores, model),
                'navigation_states': record.navigation_states,
            },
            indent=1,
        ),
        encoding='utf-8',
    )
    cut_count = record.profile.cuts[-1].index if record.profile is not None else 1
    plot_timeline(
        out / TIMELINE, rows, record.loads, spans, events, deadline_ms=deadline_ms,
        cut_count=cut_count, title=f'{model} between a robot and a server: one run of the demo',
    )
    failures = list(verdict.failures)
    for finding in verdict.phases:
        failures += [f'{finding.phase.title}: {text}' for text in finding.failures]
    sections = [
        ('', verdict_line(f'{verdict.kept.capitalize()}.', failures)),
        ('Timeline', f'<img src="{embed_png(out / TIMELINE)}" alt="timeline">'),
        ('Phases', _phase_table(verdict)),
        ('What the robot saw', gallery(_captions(verdict, pictures))),
        ('Outcomes', table(
            ('outcome', 'frames'),
            [(name, count) for name, count in
             {**verdict.outcomes, **{f'dropped: {k}': v for k, v in
                                     verdict.drop_reasons.items()}}.items()],
        )),
        ('Navigation', table(
            ('what it did for what was seen', 'of its reports'),
            list(record.navigation_states.items()),
        )),
        ('Ground', f'<p>{_ground(cores, deadline_ms)}</p>'),
    ]
    (out / REPORT).write_text(page('dnn_offload demo', sections), encoding='utf-8')


def _summary(
    verdict: Verdict, deadline_ms: float, cores: Cores, model: str
) -> dict[str, object]:
    return {
        'passed': verdict.passed,
        'failures': list(verdict.failures),
        'model': model,
        'deadline_ms': deadline_ms,
        'robot_cores': sorted(cores.robot),
        'server_cores': sorted(cores.server),
        'outcomes': verdict.outcomes,
        'drop_reasons': verdict.drop_reasons,
        'phases': [
            {
                **asdict(finding.phase),
                'latency_ms': finding.latency_ms,
                'rate_hz': finding.rate_hz,
                'auto_over_best_baseline': finding.ratio,
                'served': finding.served,
                'rounds': finding.rounds,
                'notes': list(finding.notes),
                'failures': list(finding.failures),
            }
            for finding in verdict.phases
        ],
    }


def _phase_table(verdict: Verdict) -> str:
    rows: list[tuple[str | float, ...]] = []
    for finding in verdict.phases:
        rows.append((
            finding.phase.title, finding.phase.what, finding.served,
            *(finding.latency_ms.get(strategy, '–') for strategy in (AUTO, *BASELINES)),
            finding.rate_hz.get(AUTO, '–'),
            f'{finding.ratio:.2f}' if finding.ratio is not None else '–',
            '; '.join([*(finding.failures or ['kept']), *finding.notes]),
        ))
    return table(
        ('phase', 'what happens', 'auto ran', 'auto [ms]', 'all local [ms]', 'all remote [ms]',
         'auto [1/s]', 'auto / best', 'promise'),
        rows,
    )


def _captions(verdict: Verdict, pictures: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    titles = {finding.phase.name: finding.phase.title for finding in verdict.phases}
    captions = {}
    for name, rgb in pictures.items():
        if name in titles:
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            captions[titles[name]] = cv2.imencode('.jpg', bgr)[1].tobytes()
    return captions


def _ground(cores: Cores, deadline_ms: float) -> str:
    where = (
        f'The robot\'s processes had core {sorted(cores.robot)}, the server\'s '
        f'{sorted(cores.server)}.' if cores.apart else
        'Robot and server shared one core: their times disturb each other.'
    )
    return (
        f'{where} Deadline {deadline_ms:.0f} ms. Latency is the median from acquisition to '
        'publication in the settled part of each window; all-local and all-remote ran for a '
        'moment in the same phase, under the same conditions.'
    )
