"""What the demo leaves in its folder, and what it takes away before it begins."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dnn_offload.demo.closing import summary_lines
from dnn_offload.demo.outcome_files import ANNOTATED, OUTCOME, remove_outcome, write_outcome
from dnn_offload.demo.phases import Phase
from dnn_offload.demo.verdict import PhaseFinding, UNCHECKED, Verdict
from dnn_offload.errors import ConfigurationError
from dnn_offload.report.records import Span
from dnn_offload.testbed.processes import Cores

FINDING = PhaseFinding(
    Phase('quiet', 'quiet', 'x'), {'auto': 9.0}, {'auto': 15.0}, 1.0, 'local', ()
)
VERDICT = Verdict((FINDING,), {}, {})


def write(out: Path, verdict: Verdict = VERDICT) -> None:
    record = SimpleNamespace(rows=[], loads=[], profile=None, navigation_states={'clear': 3})
    write_outcome(
        out, verdict, record, [Span('quiet', 'quiet', 0.0, 5.0)], [],
        {'quiet': np.zeros((48, 64, 3), np.uint8)}, deadline_ms=500.0,
        cores=Cores(frozenset({0}), frozenset({1})), model='demo:detector',
    )


def test_all_that_a_run_writes_is_taken_away_before_the_next(tmp_path: Path) -> None:
    write(tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == set(OUTCOME) - {ANNOTATED}, 'the video is written while it runs'
    assert json.loads((tmp_path / 'summary.json').read_text())['passed'] is True
    (tmp_path / ANNOTATED).write_bytes(b'of the last run')
    remove_outcome(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_outcome(tmp_path)  # a first run has nothing to take away


@pytest.mark.parametrize('finding, headline', [
    (FINDING, 'All promises kept.'),
    (replace(FINDING, notes=('killed in use', f'the limit {UNCHECKED}')),
     'All promises kept but for 1 not checked.'),
    (replace(FINDING, failures=('auto took 13 ms',)), 'Promises were broken:'),
])  # fmt: skip
def test_the_report_begins_with_what_was_kept(
    tmp_path: Path, finding: PhaseFinding, headline: str
) -> None:
    write(tmp_path, Verdict((finding,), {}, {}))
    report = (tmp_path / 'report.html').read_text()
    assert f'>{headline}</p>' in report
    assert ('<li>quiet: auto took 13 ms</li>' in report) == bool(finding.failures)


def test_what_is_not_the_demos_own_stays(tmp_path: Path) -> None:
    (tmp_path / 'logs').mkdir()
    for name in ('drive.mp4', 'drive.truth.json', 'notes.txt', 'frames.csv.mine'):
        (tmp_path / name).touch()
    before = sorted(tmp_path.iterdir())
    (tmp_path / 'report.html').touch()
    remove_outcome(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_taken_away_is_said(tmp_path: Path) -> None:
    (tmp_path / 'timeline.png').mkdir()
    with pytest.raises(ConfigurationError, match='timeline.png.*--out'):
        remove_outcome(tmp_path)


def test_the_last_line_names_what_is_there() -> None:
    last = summary_lines(VERDICT, Path('somewhere'))[-1]
    assert last == f'look at somewhere/{", ".join(OUTCOME)}'
