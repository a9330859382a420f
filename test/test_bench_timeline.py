"""A timeline in stretches: no stretch is slower than the better end, a death costs no result."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path

import pytest

from dnn_offload.bench.scenario import file as scenarios
from dnn_offload.bench.scenario.changes import Cost, cost
from dnn_offload.bench.scenario.stretches import stretches, windows
from dnn_offload.report.bench_page import HEADER, summary, write_json, write_page
from dnn_offload.report.bench_records import BenchRecord, measure, Step, Stretch
from dnn_offload.report.bench_targets import Figure, figures
from dnn_offload.report.records import FrameRow, LoadSample
from test_bench_records import frame, window

DRIVE = scenarios.parse("""
title: drive
rows: [local, remote, auto]
uplink_mbps: 40
duration_s: 40
deadline_ms: 400
timeline:
  - {at_s: 10, load: 2}
  - {at_s: 20, outage: true}
  - {at_s: 21.5, outage: false}
  - {at_s: 30, server: false, load: 0}
""", 'drive')
POINT = DRIVE.points[0]
BETTER_END = 'in each stretch'


def test_stretches_lie_between_changes_without_the_time_to_settle() -> None:
    found = stretches(DRIVE, POINT)
    assert [(s.point, s.settled_s, s.end_s, s.cut_off) for s in found] == [
        (2, 0.0, 10.0, False), (3, 11.0, 20.0, False), (4, 22.5, 30.0, False),
        (5, 31.0, 40.0, True),
    ]  # the outage is too short to be judged
    assert [s.title for s in found] == [
        '0 to 10 s: 40 Mbit/s', '10 to 20 s: 40 Mbit/s, load 2', '21.5 to 30 s: 40 Mbit/s, load 2',
        '30 to 40 s: 40 Mbit/s, server dead',
    ]


@pytest.mark.parametrize('scale', [1.0, 0.1])
def test_every_stretch_of_the_shipped_drive_is_judged(scale: float) -> None:
    """Also those that rounding makes a hair shorter than 2 s."""
    made = scenarios.load('drive').scaled(scale)
    assert len(stretches(made, made.points[0])) == 16


def test_every_stretch_has_a_window_of_its_own() -> None:
    frames = [frame(i / 10, 10.0 if i < 110 else 50.0) for i in range(400)]
    loads = [LoadSample(i / 2, 1.0, 0.0, 5.0 if i < 20 else 4.0) for i in range(80)]
    found = windows(DRIVE, POINT, 'auto', 1, frames, loads, 5.0, None)
    assert [w.point for w in found] == [0, 1, 2, 3, 4, 5]
    assert {(w.row, w.round) for w in found} == {('auto', 1)}
    assert [w.results for w in found] == [400, 200, 100, 90, 75, 90]
    assert [w.latency_ms for w in found[2:4]] == [10.0, 50.0]  # the first second is no part of it
    assert found[3].rate_hz == pytest.approx(10.0)
    assert [w.navigation for w in found[:4]] == pytest.approx([0.8, 0.8, 1.0, 0.8])
    calm = replace(DRIVE, timeline=())
    assert [w.point for w in windows(calm, POINT, 'auto', 0, frames, [], 0.0, None)] == [0, 2]


def _played(auto_ms: dict[int, float], remote_ms: float = 60.0) -> BenchRecord:
    """All-local takes 50 ms in every stretch."""
    found = stretches(DRIVE, POINT)
    record = BenchRecord(
        ['whole', 'under load', *(s.title for s in found)], stretches=found,
        steps=[Step('auto', 0, 10.0, 'load 0 to 2', 0.5)],
    )
    for point in range(len(record.points)):
        record.windows += [
            window(point, 'local', 0, 50.0), window(point, 'remote', 0, remote_ms),
            window(point, 'auto', 0, auto_ms.get(point, 50.0)),
        ]
    return record


def _figure(record: BenchRecord, what: str) -> Figure:
    (found,) = [figure for figure in figures(record) if what in figure.what]
    return found


def test_a_stretch_in_which_auto_is_slower_than_the_better_end_is_told_with_its_seconds() -> None:
    assert _figure(_played({}), BETTER_END).verdict == 'pass'
    found = _figure(_played({3: 56.0}), BETTER_END)
    assert found.verdict == 'MISS'
    assert found.seen == (
        '1.12 at worst, 1.00 in the middle of 4 stretches; '
        'missed: 10 to 20 s: 40 Mbit/s, load 2 (1.12)'
    )
    assert _figure(_played({}, remote_ms=30.0), BETTER_END).passed is False
    nothing = _figure(_played({4: math.nan}), BETTER_END)
    assert nothing.passed is False and 'inf' in nothing.seen  # no result is no merit


def test_without_a_server_only_all_local_counts() -> None:
    record = _played({2: 30.0, 3: 30.0, 4: 30.0, 5: 52.0}, remote_ms=30.0)
    assert _figure(record, BETTER_END).passed is True
    record = _played({2: 30.0, 3: 30.0, 4: 30.0, 5: 53.0}, remote_ms=30.0)
    assert '30 to 40 s' in _figure(record, BETTER_END).seen


def test_a_stretch_is_judged_where_both_ends_ran() -> None:
    record = _played({2: 99.0})
    record.windows = [w for w in record.windows if w.row != 'remote']
    assert '1 stretches' in _figure(record, BETTER_END).seen  # the dead server's
    record.windows = [w for w in record.windows if w.row != 'local']
    assert not any(BETTER_END in figure.what for figure in figures(record))


def _lost(time_s: float, reason: str) -> FrameRow:
    return replace(frame(time_s, 0.0, dropped=True, met=False), drop_reason=reason)


def test_a_death_costs_what_was_under_way_and_what_comes_later() -> None:
    frames = [
        frame(9.0, 450.0, met=False),        # late before it
        _lost(9.5, 'no_answer'),
        frame(9.7, 450.0, met=False),
        _lost(9.8, 'no_answer'),
        _lost(9.9, 'superseded'),
        _lost(10.1, 'cannot_rescue'),
        frame(10.2, 390.0),
        frame(10.3, 450.0, met=False),
        _lost(20.1, 'no_answer'),            # long after it
        frame(25.0, 450.0, met=False),
        frame(30.0, 450.0, met=False),       # after the next change
    ]
    assert cost(frames, 10.0, 30.0, 400.0) == Cost(late=3, unanswered=1, unrescuable=1)
    assert cost(frames, 10.0, 10.05, 400.0) == Cost(late=1, unanswered=1, unrescuable=0)


@pytest.mark.parametrize(('late', 'unanswered', 'unrescuable', 'passed'), [
    (0, 0, 0, True), (1, 0, 0, False),
    (0, 4, 0, True),  # in their place a newer one was rescued
    (0, 5, 0, False),
    (0, 0, 2, True),  # nothing could have been done
])
def test_frames_that_never_have_a_result_are_told_beside_the_late_ones(
    late: int, unanswered: int, unrescuable: int, passed: bool
) -> None:
    record = BenchRecord(['a'], steps=[
        Step('auto', 0, 20.0, 'server killed', 0.4, late, unanswered, unrescuable)
    ])
    found = _figure(record, 'while the server is dead')
    assert found.passed is passed
    assert found.seen == (
        f'{late} late, {unanswered} never (a newer one was rescued or published instead), '
        f'{unrescuable} never for which the rest did not fit, in 1 deaths'
    )


def test_steps_that_changed_no_plan_are_not_checked(tmp_path: Path) -> None:
    record = BenchRecord(['a'], steps=[
        Step('auto', 0, 10.0, 'uplink 20 to 10 Mbit/s', math.nan),
        Step('auto', 1, 10.0, 'uplink 20 to 10 Mbit/s', math.nan),
        Step('remote', 0, 10.0, 'uplink 20 to 10 Mbit/s', 0.3),
        Step('auto', 0, 20.0, 'load 0 to 2', math.nan), Step('auto', 0, 30.0, 'load 2 to 0', 0.6),
    ])
    found = _figure(record, 'a step in bandwidth')
    assert (found.passed, found.verdict) == (None, 'not checked')
    assert found.seen == 'no step in bandwidth changed the best plan: nothing to time'
    assert not any('a step in load' in figure.what for figure in figures(record))
    record.steps.pop()
    assert _figure(record, 'a step in load').passed is None
    write_json(tmp_path / 'bench.json', record, figures(record), {})
    told = json.loads((tmp_path / 'bench.json').read_text())['figures']
    assert [figure['passed'] for figure in told] == [None, None]
    write_page(tmp_path / 'report.html', 'title', 'what', record, figures(record), {}, [], [])
    assert '>not checked<' in (tmp_path / 'report.html').read_text()


def test_navigation_must_keep_its_loop_rate_beside_auto() -> None:
    record = BenchRecord(['whole', 'under load', '0 to 9 s'], [
        window(0, 'auto', 0, 20.0, navigation=1.0), window(1, 'auto', 0, 20.0, navigation=0.94),
        window(1, 'auto', 1, 20.0, navigation=0.97), window(1, 'auto', 2, 20.0, navigation=0.96),
        window(1, 'local', 0, 20.0, navigation=0.5), window(2, 'auto', 0, 20.0, navigation=0.5),
    ], stretches=[Stretch(2, '0 to 9 s', 0.0, 9.0, 0.0, False)])
    found = _figure(record, 'loop rate of navigation')
    assert (found.passed, found.seen) == (True, '96.0 % at worst of 2 points')
    record.windows[0] = window(0, 'auto', 0, 20.0, navigation=0.949)
    assert _figure(record, 'loop rate of navigation').passed is False
    column = HEADER.index('navigation [% of its loop rate]')
    assert [line[column] for line in summary(record)] == ['94.9', '96.0', '50.0', '50.0']
    assert all(len(line) == len(HEADER) for line in summary(record))


def test_where_navigation_does_not_run_nothing_is_promised_of_it() -> None:
    alone = measure([frame(0.0, 20.0)], point=0, row='auto', number=0, seconds=1.0)
    assert math.isnan(alone.navigation)
    record = BenchRecord(['a'], [alone])
    assert not any('navigation' in figure.what for figure in figures(record))
