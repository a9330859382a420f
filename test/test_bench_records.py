"""Sums of a bench: windows, medians over rounds, and the figures to reach, with made-up frames."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path

import pytest

from dnn_offload.bench.scenario.changes import plan_in_force, reaction_s
from dnn_offload.cost.energy import PowerModel
from dnn_offload.exchange import SCOUT_LABEL
from dnn_offload.report.bench_page import (
    rows_without_result,
    summary,
    write_json,
    write_page,
    write_windows_csv,
)
from dnn_offload.report.bench_plots import plot_played, plot_series, Series
from dnn_offload.report.bench_records import (
    BenchRecord,
    LOCAL,
    measure,
    measure_answers,
    noise_floor,
    Search,
    Step,
    Window,
)
from dnn_offload.report.bench_targets import figures
from dnn_offload.report.records import FrameRow

POWER = PowerModel('made up', 4.0, 3.0, 2.0, 1.0, 'a test')


def frame(
    time_s: float, latency_ms: float, *, cut: int = 3, server: str = 'edge', codec: str = 'int8',
    dropped: bool = False, label: str = 'conv', met: bool = True, uplink_ms: float = 0.0,
    trial: bool = False,
) -> FrameRow:
    times = {name: 0.0 for name in (
        'age_ms', 'wait_ms', 'preprocess_ms', 'head_ms', 'head_cpu_ms', 'head_wait_ms',
        'encode_ms', 'queue_ms', 'decode_ms', 'tail_ms', 'downlink_ms', 'rest_ms', 'finish_ms',
    )}
    return FrameRow(
        time_s=time_s, phase='', strategy='auto', frame_seq=round(time_s * 1000),
        outcome='dropped' if dropped else ('remote' if server else 'local'),
        drop_reason='superseded' if dropped else '', cut='', cut_index=0 if dropped else cut,
        cut_label=label, depth=1, codec='' if dropped else codec,
        server='' if dropped else server, plan_epoch=1, plan_id=1, uplink_bytes=1000,
        **times, uplink_ms=uplink_ms,  # type: ignore[arg-type]
        latency_ms=0.0 if dropped else latency_ms, deadline_met=met, is_trial=trial,
    )


def window(point: int, row: str, number: int, latency_ms: float, **more: object) -> Window:
    values: dict[str, object] = {
        'p95_ms': latency_ms, 'rate_hz': 1e3 / latency_ms, 'results': 9, **more,
    }
    return Window(point, row, number, latency_ms, **values)  # type: ignore[arg-type]


def test_a_window_is_the_median_of_its_results() -> None:
    rows = [frame(i / 10, 20.0 + i) for i in range(10)]
    rows += [frame(1.0, 0.0, dropped=True), frame(1.1, 500.0, label=SCOUT_LABEL, server='')]
    rows += [frame(1.2, 30.0, cut=9, server='', codec='', met=False)]
    made = measure(rows, point=2, row='auto', number=1, seconds=2.0)
    assert (made.point, made.row, made.round) == (2, 'auto', 1)
    assert made.latency_ms == 25.5  # of 20 .. 29, 30, and the scout: a result like any other
    assert made.p95_ms == 500.0
    assert made.rate_hz == pytest.approx(6.0)
    assert (made.results, made.dropped, made.late) == (12, 1, 1)
    assert (made.plan, made.cut_index, made.cut_label) == ('cut 3 int8', 3, 'conv')
    assert math.isnan(made.energy_j)


def test_a_window_without_results_says_so() -> None:
    made = measure([frame(0.0, 0.0, dropped=True)], point=0, row='auto', number=0, seconds=1.0)
    assert math.isnan(made.latency_ms) and made.results == 0 and made.dropped == 1


def test_of_answers_alone_the_rate_is_that_of_the_pictures_they_are_of() -> None:
    """Every third picture of ten a second is answered, once only after a second; 100 ms each."""
    answers = [(50.0 + 0.3 * i, 100.0) for i in range(10)] + [(54.0, 400.0)]
    made = measure_answers(
        answers, point=1, row='compressed_image', number=2, rate_hz=10.0, deadline_ms=300.0,
        plan='JPEG',
    )
    assert (made.point, made.row, made.round, made.plan) == (1, 'compressed_image', 2, 'JPEG')
    assert made.rate_hz == pytest.approx(10 / 4.0)
    assert (made.results, made.dropped, made.late) == (11, 41 - 11, 1)
    assert (made.latency_ms, made.p95_ms) == (100.0, 400.0)
    none = measure_answers(answers, point=1, row='x', number=0, rate_hz=10.0)
    assert none.late == 0  # nobody set a deadline


def test_a_single_answer_has_no_rate_and_none_no_latency() -> None:
    one = measure_answers([(5.0, 80.0)], point=0, row='x', number=0, rate_hz=10.0)
    assert (one.rate_hz, one.results, one.dropped, one.latency_ms) == (0.0, 1, 0, 80.0)
    none = measure_answers([], point=0, row='x', number=0, rate_hz=10.0, plan='JPEG')
    assert none.results == 0 and math.isnan(none.latency_ms) and none.plan == 'JPEG'


def test_energy_is_power_times_the_time_of_each_stage() -> None:
    made = measure(
        [frame(0.0, 100.0, uplink_ms=40.0)], point=0, row='auto', number=0, seconds=1.0,
        power=POWER,
    )
    assert made.energy_j == pytest.approx(1e-3 * (3.0 * 40.0 + 1.0 * 60.0))


def test_a_cell_is_the_median_of_rounds_with_their_spread() -> None:
    record = BenchRecord(['here'], [
        window(0, 'auto', 0, 30.0), window(0, 'auto', 1, 20.0), window(0, 'auto', 2, 26.0),
        window(0, 'auto', 3, math.nan), window(0, 'local', 0, 99.0),
    ])
    cell = record.cell(0, 'auto')
    assert cell is not None
    assert (cell.latency_ms, cell.rounds) == (26.0, 3)
    assert cell.spread == pytest.approx(10.0 / 26.0)
    assert cell.window.round == 2
    assert record.cell(1, 'auto') is None
    assert record.rows() == ['auto', 'local']


def test_the_noise_floor_is_what_the_same_differs_by() -> None:
    # Between the pairs the machine became half as fast.
    assert noise_floor([(100.0, 104.0), (206.0, 200.0)]) == pytest.approx(5.0 / 152.0)
    assert noise_floor([(100.0, math.inf), (100.0, 104.0)]) == pytest.approx(4.0 / 102.0)
    assert math.isnan(noise_floor([]))


def _seen(record: BenchRecord, what: str, loaded: bool = False) -> tuple[bool | None, str]:
    parts = [(1.0, 2.0)] if loaded else []
    found = [figure for figure in figures(record, parts) if what in figure.what]
    assert len(found) == 1, [figure.what for figure in figures(record, parts)]
    return found[0].passed, found[0].seen


def test_regret_is_judged_by_its_mean_and_its_worst() -> None:
    record = BenchRecord(['a', 'b'], [
        window(0, 'auto', 0, 104.0), window(0, 'oracle', 0, 100.0),
        window(1, 'auto', 0, 104.0), window(1, 'oracle', 0, 100.0),
    ])
    assert _seen(record, 'mean regret') == (True, '4.0 %; the same plan at 2 of 2 points')
    record.windows[2] = window(1, 'auto', 0, 120.0)
    assert _seen(record, 'mean regret')[0] is False
    assert _seen(record, 'worst regret') == (False, '20.0 %')
    record.searches += [
        Search(0, 'x', 3, 9, False, 0.08, 80.0), Search(1, 'x', 3, 9, True, 0.06),
    ]
    passed, seen = _seen(record, 'mean regret')  # twice the noise floor of 7 %
    assert passed and 'stopped early at 1 of 2' in seen and 'up to 20 % faster' in seen


def test_latencies_are_not_judged_where_another_thing_was_minimised_or_no_link_shaped() -> None:
    record = BenchRecord(['a'], [
        window(0, 'auto', 0, 200.0), window(0, 'oracle', 0, 100.0), window(0, 'local', 0, 100.0),
        window(0, 'compressed_image', 0, 90.0),
    ])
    assert [f.passed for f in figures(record)] == [False, False, False]
    found = figures(record, objective='energy')
    assert [f.passed for f in found] == [None, None, None]
    assert all('go by energy' in f.seen for f in found)
    found = figures(record, shaped=False)
    assert [f.passed for f in found] == [False, False, None], 'all of ours keep to a rate'
    assert 'no link was shaped' in found[2].seen
    record.windows.pop()
    assert [f.passed for f in figures(record, shaped=False)] == [False, False, False]


def test_simulated_points_count_for_no_figure() -> None:
    record = BenchRecord(['a'], [
        window(0, 'auto', 0, 200.0, simulated=True), window(0, 'oracle', 0, 100.0, simulated=True),
        window(0, 'local', 0, 100.0, simulated=True),
    ])
    assert figures(record) == []


def test_gains_are_rates_under_load_and_over_all() -> None:
    record = BenchRecord(['trace', 'under load'], [
        window(0, 'auto', 0, 100.0, rate_hz=9.0), window(0, 'dey2019', 0, 100.0, rate_hz=8.0),
        window(1, 'auto', 0, 100.0, rate_hz=9.0), window(1, 'neurosurgeon', 0, 100.0, rate_hz=3.0),
    ])
    assert _seen(record, 'over neurosurgeon', loaded=True)[0] is True
    assert _seen(record, 'over dey2019', loaded=True)[0] is False


def test_auto_is_held_against_the_better_end() -> None:
    record = BenchRecord(['a'], [
        window(0, 'auto', 0, 104.0), window(0, 'local', 0, 100.0), window(0, 'remote', 0, 50.0),
        window(0, 'compressed_image', 0, 150.0),
    ])
    assert _seen(record, 'better of all-local')[0] is True  # what users do today counts
    record.windows.pop()
    assert _seen(record, 'better of all-local')[0] is False  # 104 over 50


@pytest.mark.parametrize('plan, said', [('all here', 'b, by the same plan'), ('jpeg', 'b')])
def test_the_worst_point_is_named_and_whether_it_can_only_be_noise(plan: str, said: str) -> None:
    record = BenchRecord(['a', 'b'], [
        window(0, 'auto', 0, 100.0), window(0, 'local', 0, 100.0),
        window(1, 'auto', 0, 120.0, plan=plan), window(1, 'local', 0, 100.0, plan='all here'),
        window(1, 'remote', 0, 110.0, plan='jpeg'),
    ])
    passed, seen = _seen(record, 'better of all-local')
    assert not passed and seen == f'1.20 at worst ({said}), 1.10 in the middle of 2 points'


def test_reactions_and_deaths_are_judged() -> None:
    record = BenchRecord(['a', 'under load'], [], [
        Step('auto', 0, 10.0, 'load 0 to 3', 0.6), Step('auto', 1, 10.0, 'load 0 to 3', math.nan),
        Step('dey2019', 0, 10.0, 'load 0 to 3', 55.0),
        Step('auto', 0, 20.0, 'server killed', math.nan, late=2),
    ])
    assert _seen(record, 'after: load') == (True, '0.60 s (worst of 1)')
    passed, seen = _seen(record, 'while the server is dead')
    assert not passed and seen.startswith('2 late, ') and seen.endswith(' in 1 deaths')


def test_a_row_that_fails_is_no_better_than_one_that_is_slow() -> None:
    nothing = Window(1, 'auto', 0, math.nan, math.nan, 0.0, 0, dropped=30)
    record = BenchRecord(['a', 'b'], [
        window(0, 'auto', 0, 100.0), window(0, 'oracle', 0, 100.0), window(0, 'local', 0, 100.0),
        nothing, window(1, 'oracle', 0, 100.0), window(1, 'local', 0, 100.0),
    ])
    passed, seen = _seen(record, 'mean regret')
    assert not passed and 'no result of auto at 1' in seen
    assert _seen(record, 'worst regret')[0] is False
    assert _seen(record, 'better of all-local')[0] is False
    trace = BenchRecord(['trace', 'under load'], [
        window(0, 'auto', 0, 100.0, rate_hz=10.0), replace(nothing, point=0, round=1),
        replace(nothing, point=0, round=2), window(0, 'dey2019', 0, 100.0, rate_hz=5.0),
    ])
    assert _seen(trace, 'over dey2019', loaded=True) == (False, '0.00 (0.0 over 5.0 /s)')
    cell = trace.cell(0, 'auto')
    assert cell is not None and (cell.rate_hz, cell.rounds) == (0.0, 1)


def test_without_a_deadline_no_lateness_is_promised() -> None:
    record = BenchRecord(['a'], [], [Step('auto', 0, 20.0, 'server killed', 0.4)])
    told = [figure.what for figure in figures(record, deadline=False)]
    assert not any('deadline' in what for what in told)
    assert any('deadline' in figure.what for figure in figures(record))


LOCAL_PLAN = {'cut': 9, 'server': '', 'codec': ''}


def _stream(plans: str, start_s: float = 0.0) -> list[FrameRow]:
    """A frame every 0.1 s: l = all on the robot, r = remote, t = trial, s = scout, d = dropped."""
    made = []
    for number, plan in enumerate(plans):
        time_s = start_s + number / 10
        if plan == 'l':
            made.append(frame(time_s, 50.0, **LOCAL_PLAN))  # type: ignore[arg-type]
        elif plan == 's':
            made.append(frame(time_s, 50.0, cut=9, server='', codec='', label=SCOUT_LABEL))
        else:
            made.append(frame(time_s, 20.0, dropped=plan == 'd', trial=plan == 't'))
    return made


@pytest.mark.parametrize(('plans', 'expected_s'), [
    ('llllllllll', math.nan),                  # nothing to react to
    ('lldllrrrrrrrrr', 0.5),
    ('rrrrrrrrrr', 0.0),                       # from the next frame on
    ('llrlllrrrrrrrrrr', 0.6),                 # a trial is no reaction
    ('rrrrllllllllllll', 0.4),                 # a detour, back to where it was
    ('lrlslrllllllllll', math.nan),            # trials and scouts only
    ('rrrrllllrrrrrrrrrrrrrr', 0.8),
    ('llllltttttllllllllll', math.nan),        # frames of a trial follow one another
    ('tttttlllllrrrrrrrrrr', 1.0),
    ('lllddddddddddddd', 1.6),                 # the stream has stopped: nothing stays
])
def test_a_reaction_lasts_until_the_plan_that_stays(plans: str, expected_s: float) -> None:
    frames = [*_stream('lllll', 0.5), *_stream(plans, 1.0)]
    found = reaction_s(frames, 1.0, 1.0 + len(plans) / 10)
    assert found == pytest.approx(expected_s, nan_ok=True)


def test_what_comes_long_after_a_change_is_no_reaction_to_it() -> None:
    frames = [*_stream('llll', 0.6), *_stream('lll' + 'r' * 120 + 'l' * 50, 1.0)]
    assert reaction_s(frames, 1.0, 99.0) == pytest.approx(0.3)


def test_the_plan_in_force_is_that_of_the_last_result() -> None:
    assert plan_in_force(_stream('lrdst')) == '3 int8 edge'
    assert plan_in_force(_stream('tlt')) == '9  '
    assert plan_in_force([]) == ''


def test_a_row_that_gave_nothing_is_told() -> None:
    dead = window(0, 'local', 0, math.nan, results=0, rate_hz=0.0)
    record = BenchRecord(['calm'], [window(0, 'auto', 0, 20.0), dead])
    assert rows_without_result(record) == ['local']
    lines = {line[1]: line for line in summary(record)}
    assert lines['local'][5] == 'no result' and lines['auto'][5] != 'no result'
    assert rows_without_result(BenchRecord(['calm'], [window(0, 'auto', 0, 20.0)])) == []


def test_everything_is_written(tmp_path: Path) -> None:
    record = BenchRecord(['slow', 'fast'], [
        window(0, 'auto', 0, 40.0, cut_index=2, simulated=True), window(0, 'local', 0, 80.0),
        window(1, 'auto', 0, 20.0, plan=LOCAL, cut_index=5, energy_j=0.5),
    ], [Step('auto', 0, 1.0, 'link <down>', math.nan)], [Search(0, 'cut 2', 3, 9, True)])
    assert [line[:2] for line in summary(record)] == [
        ('slow', 'auto'), ('slow', 'local'), ('fast', 'auto'),
    ]
    write_windows_csv(tmp_path / 'rows.csv', record)
    assert (tmp_path / 'rows.csv').read_text().count('\n') == 4
    write_json(tmp_path / 'bench.json', record, figures(record), {'machine': 'here'})
    data = json.loads((tmp_path / 'bench.json').read_text())
    assert data['facts'] == {'machine': 'here'} and data['windows'][0]['simulated'] is True
    assert data['windows'][0]['energy_j'] is None
    plot_series(
        tmp_path / 'a.png', record, [Series('one', (0, 1), (0.1, 20.0), (True, False))],
        title='points',
    )
    plot_played(
        tmp_path / 'b.png', {'auto': [frame(t / 10, 30.0) for t in range(50)]}, 5.0,
        [('load', [0.0, 2.0], [0.0, 3.0])], title='played',
    )
    write_page(
        tmp_path / 'report.html', 'title', 'what', record, figures(record), {'machine': 'here'},
        [('figure 1', 'found')], [tmp_path / 'a.png', tmp_path / 'b.png'],
    )
    text = (tmp_path / 'report.html').read_text()
    assert 'link &lt;down&gt;' in text and text.count('data:image/png') == 2
    assert 'http' not in text  # nothing is fetched
