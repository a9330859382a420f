"""What is drawn, as text: every width, every state, on terminals and in files."""

from __future__ import annotations

from dataclasses import replace
import io
import math

import pytest
from rich.console import Console

from dnn_offload.report.terminal import BARS, Redrawn, sparkline
from dnn_offload.watch import words
from dnn_offload.watch.facts import LinkFact, PREPARING
from dnn_offload.watch.screen import picture
from dnn_offload.watch.system import System
from dnn_offload.watch.views import SystemView
from watch_parts import HEALTHY, LOAD, PLAN, SERVER, Stream

WHERE: dict[str, object] = {'domain': 7, 'rmw': 'rmw_x'}
WIDTHS = (40, 80, 100, 200)


def system(robots: int = 2, *, servers: int = 1, plan: object = PLAN) -> System:
    """So many robots with a stream of 20 s at 10 Hz, and servers."""
    made = System(0.0)
    for number in range(robots):
        robot = made.robot(f'/robot{number}', 0.0)
        assert robot is not None
        stream = Stream(robot)
        stream.end(192)
        stream.end(8, 'dropped', drop_reason='superseded', lost_pictures=3)
        robot.hear_plan(plan, 20.0)  # type: ignore[arg-type]
        robot.hear_load(LOAD, 20.0)
        robot.hear_link(LinkFact('uplink', 12_000, 4.1), 19.0)
        robot.hear_link(LinkFact('lost', 12_000, 500.0), 19.0)
        robot.hear_health(HEALTHY, 20.0)
    for number in range(servers):
        made.hear_server(replace(SERVER, server=f'laptop{number}'), 20.0)
    made.set_present({f'/robot{number}': 1 for number in range(robots)}, 20.0)
    return made


def drawn(view: SystemView, width: int = 100, height: int | None = None, **more: object) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=str(more.pop('encoding', 'utf-8')))
    console = Console(file=file, width=width, **more)  # type: ignore[arg-type]
    console.print(picture(view, WHERE, console, height))
    file.seek(0)
    return file.read()


def test_a_robot_in_full_has_everything_with_its_unit() -> None:
    text = drawn(system(1).look(20.0), 120)
    for part in (
        'domain 7, rmw_x', '1 robot, 1 server', '/robot0', 'demo:detector', '8.2 /s',
        'latency 40 ms, p95 40 ms', 'newest 940 ms old', 'remote 84 %', '(192 in all)',
        '3 pictures lost before', 'dropped 16 %', 'superseded 8',
        '33 ms predicted: cut 5 (features.3) to laptop, int8',
        'auto, latency', '33 ms against 48 ms', 'up 18.4 Mbit/s, down 30.0 Mbit/s',
        'round trip 2.1 ms', '12.0 kB up in 4.1 ms', '1 lost in 10 s', '1.25x schedstat',
        'load average 2.5 on 4', 'cpu 62 %', '61 C', '1.5 GHz', 'laptop0', 'ready', '0.4 ms',
        '9.0 GB', BARS[6] * 20,
    ):
        assert part in text, part


@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('height', [None, 12])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, height: int | None) -> None:
    long = replace(PLAN, reason='why ' * 80, label='a very long name of a layer ' * 4)
    made = system(3, plan=long)
    for now_s in (20.0, 26.0):  # then all are silent: alarms, too
        text = drawn(made.look(now_s), width, height)
        assert max(len(line) for line in text.splitlines()) <= width
        assert text.count('/ro') >= 3 and ('silent' in text) == (now_s == 26.0)


@pytest.mark.parametrize('robots, height, full', [(2, 24, True), (2, 15, False), (9, 60, False)])
def test_tables_take_the_place_of_what_does_not_fit(robots: int, height: int, full: bool) -> None:
    text = drawn(system(robots).look(20.0), 80, height)
    assert len(text.splitlines()) <= height
    assert ('round trip' in text) == full
    assert all(f'/robot{number}' in text for number in range(robots))


def test_alarms_that_do_not_fit_are_counted_and_the_serious_come_first() -> None:
    made = system(3, servers=9)
    for number in range(9):
        status = replace(SERVER, server=f'laptop{number}', state=PREPARING, detail='exports')
        made.hear_server(status, 26.0)
    text = drawn(made.look(26.0), 80, 18)
    assert len(text.splitlines()) <= 18
    shown = [line for line in text.splitlines() if line.startswith('!')]
    assert shown[:2] == ['! /robot0: silent for 6 s', '! /robot1: silent for 6 s']
    assert shown[-1] == f'! {len(made.look(26.0).alarms) - len(shown) + 1} more'


def test_what_was_never_heard_is_said() -> None:
    made = System(0.0)
    made.set_present({'/new': 1}, 0.0)
    text = drawn(made.look(1.0))
    assert 'no frame has ended yet' in text and 'none heard' in text and 'none is known' in text
    assert '/new' in drawn(made.look(1.0), 80, 6)
    nobody = drawn(System(0.0).look(4.0), 80)
    assert 'no robot and no server' in nobody
    whole = ' '.join(nobody.split())  # it is on several lines
    assert whole.endswith('of their user (dnn-offload doctor --only shm)?')


def test_nothing_but_ascii_goes_to_a_terminal_that_has_nothing_else() -> None:
    made = system(1)
    made.hear_server(replace(SERVER, server='würfel'), 20.0)
    for width in WIDTHS:
        text = drawn(made.look(20.0), width, encoding='ascii')
        assert text.isascii() and '8.2 /s' in text
        assert 'w?rf' in text
        assert all(len(line) <= width for line in text.splitlines())


def test_markup_of_the_network_is_text() -> None:
    plan = replace(PLAN, reason='[red]why[/red] [/]')
    made = system(1, plan=plan)
    made.hear_server(replace(SERVER, server='laptop0', model='[bold]x'), 20.0)
    text = drawn(made.look(20.0), 120)
    assert '[red]why[/red] [/]' in text and '[bold]x' in text


def test_files_get_a_line_for_each() -> None:
    lines = list(words.lines(system(2).look(20.0)))
    assert [line.split()[0] for line in lines] == ['robot', 'robot', 'server']
    assert '8.2 /s' in lines[0] and 'dropped 8' in lines[0] and 'cut 5' in lines[0]
    assert '! /robot0: silent for 6 s' in list(words.lines(system(1).look(26.0)))


def test_numbers_are_short_and_have_units() -> None:
    nan = float('nan')
    assert [words.milliseconds(x) for x in (0.42, 9.96, 41.4, nan)] == [
        '0.4 ms', '10.0 ms', '41 ms', '- ms',
    ]
    assert [words.age(x) for x in (0.052, 3.21, nan)] == ['52 ms', '3.2 s', '-']
    assert [words.bandwidth(x) for x in (0.0, 2e6, 3e9, nan)] == [
        '-', '2.0 Mbit/s', '3.0 Gbit/s', '-',
    ]
    assert [words.amount(x) for x in (200.0, 2e6, 9e9)] == ['0.2 kB', '2.0 MB', '9.0 GB']
    two_cuts = replace(PLAN, return_index=9)
    assert words.plan(two_cuts).endswith('back at cut 9')
    assert words.plan(replace(PLAN, server='')) == 'all on the robot'


def test_the_line_of_bars_starts_at_zero() -> None:
    assert sparkline([], 50.0) == ''
    assert sparkline([0.0, 25.0, 50.0], 50.0) == BARS[0] + BARS[4] + BARS[7]
    assert sparkline([100.0, 50.0], 50.0) == BARS[7] + BARS[4]
    assert sparkline([math.nan, 50.0, math.inf], 50.0) == BARS[0] + BARS[7] + BARS[0]


def test_where_there_is_no_terminal_lines_come_at_their_pace() -> None:
    file, long = io.StringIO(), 'x' * 50
    with Redrawn(Console(file=file, width=40), line_period_s=2.0) as screen:
        for now_s in (10.0, 11.0, 12.0):
            screen.show(now_s, lambda: 'picture', lambda s=now_s: [f'[b] at {s}', long])
        screen.say('said')
    assert file.getvalue() == f'[b] at 10.0\n{long}\n[b] at 12.0\n{long}\nsaid\n'


def test_a_reason_is_told_to_its_end_where_there_is_no_end_of_lines() -> None:
    view = system(1, plan=replace(PLAN, reason=f'{"why " * 60}indeed')).look(20.0)
    assert 'indeed' in drawn(view, 80) and 'indeed' not in drawn(view, 80, 24)


def test_a_terminal_that_cannot_go_back_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TERM', 'dumb')
    file = io.StringIO()
    with Redrawn(Console(file=file, force_terminal=True)) as screen:
        screen.show(0.0, lambda: 'picture', lambda: ['line'])
    assert file.getvalue() == 'line\n'


def test_on_a_terminal_the_picture_takes_the_place_of_the_last() -> None:
    file = io.StringIO()
    with Redrawn(Console(file=file, width=40, force_terminal=True, _environ={})) as screen:
        screen.show(0.0, lambda: 'first', lambda: ['line'])
        screen.show(0.1, lambda: 'second', lambda: ['line'])
    assert 'first' in file.getvalue() and 'second' in file.getvalue()
    assert 'line' not in file.getvalue()
    assert '\x1b[2K' in file.getvalue(), 'the last picture is wiped'
