"""What is known of robots and servers from made-up facts and times."""

from __future__ import annotations

from dataclasses import replace
import json
import math

import pytest

from dnn_offload.watch.facts import HealthFact, LinkFact, plain, ServerFact, STOPPING
from dnn_offload.watch.robot import REASONS_S, Robot, WINDOW_S
from dnn_offload.watch.system import FORGOTTEN_S, STOPPED_S, System
from dnn_offload.watch.views import as_json, StreamView, SystemView
from watch_parts import HEALTHY, LOAD, PLAN, SERVER, Stream


def stream_of(robot: Robot, now_s: float) -> StreamView:
    view = robot.look(now_s).stream
    assert view is not None
    return view


def test_rate_latency_and_shares_are_of_the_window() -> None:
    stream = Stream(Robot('/a', 0.0))
    stream.end(100, 'local', latency_ms=90.0)  # 10 s at 10 Hz, then 5 s of these:
    stream.end(30, 'remote', latency_ms=40.0)
    stream.end(20, 'rescued', latency_ms=200.0, deadline_met=False)
    view = stream_of(stream.robot, stream.now_s - 0.5 * stream.period_s)
    assert view.window_s == WINDOW_S
    assert view.results_hz == pytest.approx(10.0)
    assert view.latency_median_ms == 40.0 and view.latency_p95_ms == 200.0
    assert view.shares == {'remote': 0.6, 'local': 0.0, 'rescued': 0.4, 'dropped': 0.0}
    assert view.totals == {'remote': 30, 'local': 100, 'rescued': 20, 'dropped': 0}
    assert view.missed_deadline == pytest.approx(0.4)
    assert view.heard_share == 1.0
    assert view.latency_history_ms[0] == pytest.approx(90.0)


def test_the_age_of_the_newest_result_is_its_latency_and_the_time_since_its_report() -> None:
    stream = Stream(Robot('/a', 0.0))
    stream.end(1, latency_ms=40.0)
    stream.end(1, 'dropped', drop_reason='superseded', latency_ms=0.0)
    assert stream_of(stream.robot, 2.0).newest_age_s == pytest.approx(2.04)


def test_a_stream_that_stops_falls_to_zero_and_one_that_resumes_is_right_at_once() -> None:
    stream = Stream(Robot('/a', 0.0))
    stream.end(50)
    stopped_s = stream.now_s
    rates = [stream_of(stream.robot, stopped_s + late_s).results_hz for late_s in (0.0, 2.0, 6.0)]
    assert rates[0] == pytest.approx(10.0, rel=0.05)
    assert rates[0] > rates[1] > rates[2] == 0.0
    stream.now_s += 100.0
    stream.end(50)
    assert stream_of(stream.robot, stream.now_s).results_hz == pytest.approx(10.0, rel=0.05)


def test_counters_tell_of_frames_whose_reports_were_lost() -> None:
    stream = Stream(Robot('/a', 0.0))
    for _ in range(25):
        stream.end(1)
        stream.end(1, heard=False)
    view = stream_of(stream.robot, stream.now_s)
    assert view.results_hz == pytest.approx(10.0, rel=0.05)
    assert view.heard_share == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize('changes', [{'pid': 2}, {}])
def test_another_life_of_the_process_counts_anew(changes: dict[str, object]) -> None:
    stream = Stream(Robot('/a', 0.0))
    stream.end(30)
    stream.last = replace(stream.last, entered=0, remote=0, **changes)
    stream.end(1)
    assert math.isnan(stream_of(stream.robot, stream.now_s).results_hz)
    stream.end(20)
    view = stream_of(stream.robot, stream.now_s)
    assert view.results_hz == pytest.approx(10.0, rel=0.06)
    assert view.totals['remote'] == 21


def test_drop_reasons_are_counted_for_a_minute() -> None:
    stream = Stream(Robot('/a', 0.0))
    stream.end(3, 'dropped', drop_reason='superseded')
    stream.end(1, 'dropped', drop_reason='no_answer')
    view = stream_of(stream.robot, stream.now_s)
    assert view.drop_reasons == {'superseded': 3, 'no_answer': 1}
    assert math.isnan(view.latency_median_ms) and math.isnan(view.newest_age_s)
    assert stream_of(stream.robot, stream.now_s + REASONS_S).drop_reasons == {}


def test_transfers_are_summed_up_each_way() -> None:
    robot = Robot('/a', 0.0)
    for at_s, kind, size, ms in (
        (0.0, 'uplink', 99, 99.0), (11.0, 'uplink', 1000, 2.0), (11.5, 'uplink', 3000, 4.0),
        (11.6, 'downlink', 200, 1.0), (11.7, 'lost', 3000, 500.0),
    ):
        robot.hear_link(LinkFact(kind, size, ms), at_s)
    link = robot.look(12.0).link
    assert (link.uplink_transfers, link.uplink_ms, link.uplink_bytes) == (2, 3.0, 2000.0)
    assert (link.downlink_transfers, link.downlink_ms) == (1, 1.0)
    assert link.lost == 1


def test_a_robot_is_silent_from_its_last_sign_of_life_of_any_kind() -> None:
    robot = Robot('/a', 0.0)
    robot.hear_plan(PLAN, 1.0)
    robot.hear_load(LOAD, 3.0)
    robot.hear_health(HEALTHY, 2.0)
    view = robot.look(8.0)
    assert view.silent_s == 5.0
    assert view.plan_silent_s == 7.0 and view.load_silent_s == 5.0
    assert view.nodes[0].silent_s == 6.0


def system_with(*statuses: tuple[float, ServerFact]) -> System:
    system = System(0.0)
    for at_s, status in statuses:
        system.hear_server(status, at_s)
    return system


def test_servers_have_a_rate_of_their_own_counters() -> None:
    system = system_with(*(
        (0.2 * step, replace(SERVER, frames_served=3 * step)) for step in range(50)
    ))
    (server,) = system.look(9.8).servers
    assert server.frames_hz == pytest.approx(15.0, rel=0.05)
    assert server.lives == 1


def test_a_restart_is_one_life_and_two_servers_of_one_name_are_two() -> None:
    new = replace(SERVER, session=8, frames_served=0)
    (restarted,) = system_with((0.0, SERVER), (1.0, SERVER), (2.0, new), (2.2, new)).look(
        2.3
    ).servers
    assert restarted.lives == 1 and restarted.frames_hz == 0.0
    (double,) = system_with((0.0, SERVER), (0.1, new), (0.2, SERVER), (0.3, new)).look(0.4).servers
    assert double.lives == 2


def test_who_has_gone_is_forgotten_after_a_while() -> None:
    system = system_with((0.0, SERVER), (0.0, replace(SERVER, server='left', state=STOPPING)))
    for name in ('/stays', '/goes'):
        robot = system.robot(name, 0.0)
        assert robot is not None
        robot.hear_load(LOAD, 0.0)
    system.set_present({'/stays': 1}, 0.0)

    def names(view: SystemView) -> tuple[list[str], list[str]]:
        return [r.name for r in view.robots], [s.status.server for s in view.servers]

    assert names(system.look(5.0)) == (['/goes', '/stays'], ['laptop', 'left'])
    assert names(system.look(STOPPED_S + 1.0)) == (['/goes', '/stays'], ['laptop'])
    assert names(system.look(FORGOTTEN_S + 1.0)) == (['/stays'], [])
    system.set_present({'/stays': 1, '/goes': 1}, 100.0)
    assert names(system.look(100.0)) == (['/goes', '/stays'], []), 'it may come back'


def test_a_robot_gets_the_name_of_its_network_from_a_server_that_has_it() -> None:
    system = system_with((0.0, SERVER))
    robot = system.robot('/a', 0.0)
    assert robot is not None
    robot.hear_plan(PLAN, 0.0)
    assert system.look(0.0).robots[0].model == 'demo:detector'
    robot.hear_health(HealthFact('local_inference_node', 0, '', 'python:mine'), 0.0)
    assert system.look(0.0).robots[0].model == 'python:mine'


def test_diagnostics_of_unknown_namespaces_make_no_robot() -> None:
    system = System(0.0)
    system.hear_health('/a', HEALTHY, 0.0)
    assert system.look(0.0).robots == ()


def test_text_from_the_network_cannot_drive_a_terminal() -> None:
    assert plain('a\x1b[31mb\n\u202ec') == 'a [31mb  c'
    assert len(plain('x' * 10_000)) == 400


def test_json_has_none_for_what_is_not_known() -> None:
    system = system_with((0.0, SERVER))
    robot = system.robot('/a', 0.0)
    assert robot is not None
    Stream(robot).end(1, 'dropped', drop_reason='error')
    system.set_present({'/a': 1}, 0.0)
    made = as_json(system.look(4.0), {'domain': 5, 'rmw': 'x'})
    again = json.loads(json.dumps(made, allow_nan=False))
    assert again == made
    assert made['domain'] == 5 and made['robots'][0]['stream']['latency_median_ms'] is None
    assert {alarm['level'] for alarm in made['alarms']} <= {'serious', 'note'}
