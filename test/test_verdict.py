"""The demo's verdict: promises kept are found kept, broken ones broken."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from dnn_offload.demo.closing import summary_lines
from dnn_offload.demo.phases import AUTO, BASELINES, duration_s, Phase, PHASES
from dnn_offload.demo.verdict import (
    accounting_failures,
    judge_phase,
    Kill,
    PhaseFinding,
    serves,
    UNCHECKED,
    Verdict,
    Window,
)
from dnn_offload.exchange import SCOUT_LABEL
from dnn_offload.report.records import FrameRow

DEADLINE_MS = 300.0


def _row(seq: int, time_s: float, **changes: object) -> FrameRow:
    values: dict[str, object] = {field.name: 0.0 for field in fields(FrameRow)}
    values |= {
        'time_s': time_s, 'phase': 'p', 'strategy': AUTO, 'frame_seq': seq, 'outcome': 'local',
        'drop_reason': '', 'cut': '', 'cut_index': 9, 'cut_label': '', 'depth': -1, 'codec': '',
        'server': '', 'plan_epoch': 1, 'plan_id': 1, 'uplink_bytes': 0, 'latency_ms': 30.0,
        'deadline_met': True,
    }
    return FrameRow(**(values | changes))  # type: ignore[arg-type]


def _stream(latencies_ms: dict[str, float], **changes: object) -> list[FrameRow]:
    """Ten rows a second, two seconds for each strategy in turn."""
    rows = []
    for number, (strategy, latency_ms) in enumerate(latencies_ms.items()):
        for step in range(20):
            time_s = 2.0 * number + 0.1 * step
            rows.append(_row(
                len(rows) + 1, time_s, strategy=strategy, latency_ms=latency_ms, **changes
            ))
    return rows


def _judge(phase: Phase, rows: list[FrameRow], strategies: list[str]) -> tuple[str, ...]:
    windows = [Window('p', s, 2.0 * n, 2.0 * n + 2.0) for n, s in enumerate(strategies)]
    finding = judge_phase(
        phase, (0.0, 2.0 * len(strategies)), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2
    )
    return finding.failures


def test_auto_within_a_fifth_of_the_best_is_kept() -> None:
    phase = Phase('p', 'p', 'p')
    rows = _stream({AUTO: 35.0, 'local': 30.0, 'remote': 60.0})
    assert _judge(phase, rows, [AUTO, 'local', 'remote']) == ()


def test_auto_slower_than_a_fifth_over_the_best_is_broken() -> None:
    phase = Phase('p', 'p', 'p')
    rows = _stream({AUTO: 37.0, 'local': 60.0, 'remote': 30.0})
    failures = _judge(phase, rows, [AUTO, 'local', 'remote'])
    assert len(failures) == 1 and 'best baseline' in failures[0]


def test_windows_of_all_rounds_count_together() -> None:
    """One slow window of three is the machine; all of them slow is auto."""
    phase = Phase('p', 'p', 'p')
    for slow, kept in ((1, True), (3, False)):
        rows, windows = [], []
        for turn in range(3):
            auto_ms = 60.0 if turn < slow else 30.0
            for strategy, latency_ms in ((AUTO, auto_ms), ('local', 30.0), ('remote', 50.0)):
                start_s = 2.0 * len(windows)
                windows.append(Window('p', strategy, start_s, start_s + 2.0))
                rows += [
                    _row(len(rows) + n, start_s + 0.1 * n, strategy=strategy,
                         latency_ms=latency_ms) for n in range(20)
                ]
        finding = judge_phase(
            phase, (0.0, 2.0 * len(windows)), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2
        )
        assert (finding.failures == ()) == kept
        assert finding.rounds == 3
        assert finding.rate_hz[AUTO] == 10.0


def test_auto_that_drops_half_of_the_frames_is_broken() -> None:
    phase = Phase('p', 'p', 'p')
    rows = _stream({AUTO: 30.0, 'local': 30.0, 'remote': 30.0})
    rows = [row for row in rows if row.strategy != AUTO or row.frame_seq % 2]
    failures = _judge(phase, rows, [AUTO, 'local', 'remote'])
    assert len(failures) == 1 and 'results/s' in failures[0]


def test_a_window_without_frames_is_not_passed_over() -> None:
    phase = Phase('p', 'p', 'p')
    rows = _stream({AUTO: 30.0, 'local': 30.0})
    failures = _judge(phase, rows, [AUTO, 'local', 'remote'])
    assert any('too few results to compare: remote' in text for text in failures)


def test_a_picture_that_leaves_under_privacy_is_broken() -> None:
    phase = Phase('p', 'p', 'p', private_layers=1, baselines=('local',))
    inner = {'uplink_bytes': 1000, 'depth': 1, 'outcome': 'remote', 'server': 's'}
    rows = _stream({AUTO: 30.0, 'local': 30.0}, **inner)
    assert _judge(phase, rows, [AUTO, 'local']) == ()
    rows[15] = replace(rows[15], depth=0)
    assert _judge(phase, rows, [AUTO, 'local']) == ('1 pictures left the robot, first frame 16',)
    # Taken in this phase, sent after it: the constraint was lifted by then.
    late = replace(rows[-1], depth=0, latency_ms=500.0)
    assert _judge(phase, [*rows[:15], *rows[16:-1], late], [AUTO, 'local']) == ()


def test_frames_that_go_up_faster_than_allowed_are_a_broken_constraint() -> None:
    phase = Phase('p', 'p', 'p', max_uplink_bps=2e6, baselines=('local',))
    sent = {'uplink_bytes': 25_000, 'outcome': 'remote', 'server': 's', 'depth': 0}
    kept = _stream({AUTO: 30.0, 'local': 30.0}, **sent, uplink_ms=100.0)
    assert _judge(phase, kept, [AUTO, 'local']) == ()
    broken = _stream({AUTO: 30.0, 'local': 30.0}, **sent, uplink_ms=50.0)
    assert _judge(phase, broken, [AUTO, 'local']) == (
        'frames went up at 4.0 Mbit/s, allowed were 2.0',
    )


def test_a_limit_under_which_nothing_was_sent_is_not_called_kept() -> None:
    phase = Phase('p', 'p', 'p', max_uplink_bps=2e6, baselines=('local',))
    rows = _stream({AUTO: 30.0, 'local': 30.0})
    windows = [Window('p', AUTO, 0.0, 2.0), Window('p', 'local', 2.0, 4.0)]
    finding = judge_phase(
        phase, (0.0, 4.0), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2
    )
    assert finding.failures == () and 'NOT CHECKED: nothing was sent' in finding.notes[0]


KILLED_S = 1.0
BY_AUTO = Kill(KILLED_S, AUTO)


def _judge_kill(
    changes: dict[int, dict[str, object]] | None = None, kill: Kill | None = BY_AUTO
) -> PhaseFinding:
    """Thirty frames remote, killed after a second, then forty local ones; some changed."""
    phase = Phase('p', 'p', 'p', server='kill', baselines=('local',))
    rows = []
    for number in range(70):
        served = number / 30.0 < KILLED_S
        place = {'outcome': 'remote', 'server': 's'} if served else {}
        row = _row(
            number + 1, number / 30.0 if served else KILLED_S + 0.1 * (number - 30),
            strategy=AUTO if number < 50 else 'local', **place,
        )
        rows.append(replace(row, **(changes or {}).get(number, {})))  # type: ignore[arg-type]
    windows = [Window('p', AUTO, KILLED_S, 3.0), Window('p', 'local', 3.0, 5.0)]
    return judge_phase(
        phase, (0.0, 5.0), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2, kill=kill
    )


def test_a_server_killed_in_use_while_the_stream_goes_on_is_kept() -> None:
    finding = _judge_kill()
    assert finding.failures == ()
    assert finding.notes == ('in use by strategy auto when it was killed',)
    forced = _judge_kill(kill=Kill(KILLED_S, 'remote'))
    assert forced.failures == () and 'strategy remote' in forced.notes[0]


def _judge_private(*remote_of_auto: int, **changes: object) -> PhaseFinding:
    """Rounds of twenty frames of auto, some of them remote, then twenty local."""
    phase = Phase('p', 'p', 'p', private_layers=1, baselines=('local',))
    inner = {
        'uplink_bytes': 1000, 'depth': 1, 'outcome': 'remote', 'server': 's', 'latency_ms': 10.0,
    } | changes
    rows, windows = [], []
    for remote in remote_of_auto:
        for strategy in (AUTO, 'local'):
            start_s = 2.0 * len(windows)
            windows.append(Window('p', strategy, start_s, start_s + 2.0))
            rows += [
                _row(len(rows) + n, start_s + 0.1 * n, strategy=strategy,
                     **(inner if strategy == AUTO and n < remote else {}))
                for n in range(20)
            ]
    finding = judge_phase(
        phase, (0.0, 2.0 * len(windows)), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2
    )
    assert finding.in_doubt == bool(finding.failures or finding.notes), 'worth another round'
    return finding


def test_an_inner_cut_must_serve_most_of_the_private_frames_of_auto() -> None:
    assert _judge_private(11).failures == ()
    for few in (0, 1, 10):
        (failure,) = _judge_private(few).failures
        assert f'served {few} of 20 settled frames' in failure
    assert _judge_private(4, 17).failures == (), 'all rounds count together'
    assert len(_judge_private(4, 4).failures) == 1
    (failure,) = _judge_private(20, is_trial=True).failures
    assert 'served 0 of 20' in failure


def test_an_inner_cut_that_is_hardly_faster_need_not_serve_and_that_is_said() -> None:
    for count, latency_ms, checked in (
        (6, 20.0, True), (6, 28.0, False), (6, 60.0, False), (1, 60.0, True), (0, 60.0, True),
    ):
        finding = _judge_private(count, latency_ms=latency_ms)  # all-local takes 30
        assert bool(finding.failures) == checked
        assert any(UNCHECKED in note for note in finding.notes) != checked
    tried = _judge_private(20, latency_ms=28.0, is_trial=True)
    assert tried.failures == () and 'served 0 of 20' in tried.notes[0]


def test_a_server_is_in_use_when_all_of_the_newest_results_are_its_own() -> None:
    remote = [_row(n, 0.1 * n, outcome='remote') for n in range(20)]
    assert serves(remote, 0.0, 10) and serves(remote, 0.95, 10)
    assert not serves(remote, 1.05, 10), 'results of before the phase'
    assert not serves(remote[:9], 0.0, 10)
    local = replace(remote[15], outcome='local')
    assert not serves([*remote[:15], local, *remote[16:]], 0.0, 10)
    scout = replace(local, cut_label=SCOUT_LABEL)
    assert serves([*remote[:15], scout, *remote[16:]], 0.0, 10), 'scouts run beside the plan'
    dropped = replace(remote[15], outcome='dropped', drop_reason='superseded')
    assert serves([*remote[:15], dropped, *remote[16:]], 0.0, 10)


def test_a_server_that_was_not_killed_proves_nothing() -> None:
    assert _judge_kill(kill=None).failures == ('the server was not killed',)


def test_a_server_killed_out_of_use_is_broken() -> None:
    """As it was once: one remote frame of many, long before; or scouts and trials only."""
    idle = {'outcome': 'local', 'server': ''}
    (failure,) = _judge_kill({number: idle for number in range(26, 30)}).failures
    assert 'of the last 5 results before the kill' in failure
    assert _judge_kill({number: idle for number in (28, 29)}).failures == ()
    tried = {number: {'is_trial': True} for number in range(30)}
    (failure,) = _judge_kill(tried).failures
    assert failure.startswith('0 of the last 5 results')


def test_a_late_result_around_the_kill_is_broken() -> None:
    for number in (29, 30, 45):
        (failure,) = _judge_kill({number: {'deadline_met': False, 'latency_ms': 301.0}}).failures
        assert 'after their deadline' in failure


def test_a_stream_that_falters_after_the_kill_is_broken() -> None:
    """More silence than answers, in gaps that are each short enough."""
    lost = {'outcome': 'dropped', 'drop_reason': 'no_answer'}
    gone = {number: lost for number in range(30, 50) if number % 10}
    failures = _judge_kill(gone).failures
    assert '2 of 20 frames got a result in the 2 s after the kill' in failures
    some = {number: lost for number in range(30, 50) if number % 10 > 6}
    assert not [text for text in _judge_kill(some).failures if 'after the kill' in text]


def _judge_return(
    ready_s: float | None, first_remote_s: float, remote_ms: float = 30.0,
    forced_outcome: str = 'remote',
) -> PhaseFinding:
    phase = Phase('p', 'p', 'p', server='start')
    rows = [
        _row(n + 1, 0.1 * n, outcome='remote' if 0.1 * n >= first_remote_s else 'local')
        for n in range(90)
    ]
    rows += [
        _row(100 + n, start_s + 0.1 * n, strategy=strategy, latency_ms=latency_ms, outcome=outcome)
        for strategy, start_s, latency_ms, outcome in (
            ('local', 9.0, 90.0, 'local'), ('remote', 11.0, remote_ms, forced_outcome),
        )
        for n in range(20)
    ]
    windows = [Window('p', AUTO, 7.0, 9.0), Window('p', 'local', 9.0, 11.0),
               Window('p', 'remote', 11.0, 13.0)]
    return judge_phase(
        phase, (0.0, 13.0), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2, ready_s=ready_s
    )


def test_a_server_that_came_back_must_be_used_within_five_seconds() -> None:
    kept = _judge_return(2.0, 4.0)
    assert kept.failures == () and kept.notes == ('used 2.0 s after it was ready',)
    assert _judge_return(2.0, 8.0).failures == (
        'the server was not used within 5 s of being ready',
    )
    assert _judge_return(None, 4.0).failures == ('the server did not come back',)


def test_it_is_said_where_the_return_was_not_checked() -> None:
    """Nobody must use a server that is not clearly better; the reader shall know."""
    late, never = _judge_return(2.0, 8.0, 80.0), _judge_return(2.0, 99.0, 80.0)
    assert late.failures == never.failures == ()
    assert 'NOT CHECKED' in late.notes[0] and late.notes[0].startswith('used 6.0 s')
    assert 'NOT CHECKED' in never.notes[0] and never.notes[0].startswith('not used')


def test_a_forced_strategy_that_ran_elsewhere_is_no_comparison() -> None:
    """All-remote on the robot is all-local: the reader must know, and a server must be found."""
    broken = _judge_return(2.0, 4.0, 90.0, 'local')
    assert broken.failures == ('all-remote did not use the server that was back',)
    early = _judge_return(8.0, 8.5, 90.0, 'local')
    assert early.failures == ()
    assert early.notes[0].startswith('all-remote ran on the robot') and UNCHECKED in early.notes[0]
    rows = _stream({AUTO: 30.0, 'local': 30.0, 'remote': 30.0})
    windows = [Window('p', s, 2.0 * n, 2.0 * n + 2.0) for n, s in enumerate((AUTO, *BASELINES))]
    for outcome, noted in (('local', True), ('remote', False)):
        given = [replace(row, outcome=outcome) for row in rows]
        finding = judge_phase(
            Phase('p', 'p', 'p'), (0.0, 6.0), windows, given, deadline_ms=DEADLINE_MS, grace_s=0.2
        )
        assert bool(finding.notes) == noted
        last_lines = summary_lines(Verdict((finding,), {}, {}), Path('somewhere'))
        kept = 'all promises kept' + (' but for 1 not checked' if noted else '')
        assert finding.failures == () and last_lines[3].split(';')[0] == kept


def test_a_silent_stream_is_broken() -> None:
    phase = Phase('p', 'p', 'p', baselines=())
    rows = [row for row in _stream({AUTO: 30.0, 'local': 30.0}) if row.time_s < 1.5]
    windows = [Window('p', AUTO, 0.0, 2.0)]
    finding = judge_phase(
        phase, (0.0, 4.0), windows, rows, deadline_ms=DEADLINE_MS, grace_s=0.2
    )
    assert any('no result for' in text for text in finding.failures)


def _counters(**changes: int) -> dict[str, int]:
    counters = {
        'entered': 3, 'remote': 0, 'local': 2, 'rescued': 0, 'dropped': 1, 'in_flight': 0,
    }
    return counters | changes


def test_accounts_that_add_up() -> None:
    rows = [_row(1, 0.0), _row(2, 0.1), _row(3, 0.2, outcome='dropped', drop_reason='superseded')]
    assert accounting_failures(rows, [_counters()]) == []


def test_accounts_that_do_not_add_up() -> None:
    rows = [_row(1, 0.0), _row(2, 0.1), _row(3, 0.2, outcome='dropped', drop_reason='superseded')]
    assert accounting_failures(rows[:2], [_counters()])
    assert accounting_failures(rows, [_counters(entered=4)])
    assert accounting_failures(rows, [_counters(entered=4, in_flight=1)])
    assert accounting_failures([*rows[:2], rows[1], rows[2]], [_counters(local=3, entered=4)])
    assert accounting_failures([], [])


def test_the_script_takes_about_a_minute_and_forbids_no_picture_baseline() -> None:
    assert 50.0 <= duration_s() <= 75.0
    for phase in PHASES:
        assert not (phase.private_layers and 'remote' in phase.baselines)
        assert not (phase.server == 'kill' and 'remote' in phase.baselines)
