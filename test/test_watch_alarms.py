"""What the view says unasked: each alarm for its cause, once; none where all is well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.watch.alarms import STARTING_S
from dnn_offload.watch.facts import FAILED, HealthFact, LoadFact, PlanFact, ServerFact
from dnn_offload.watch.system import System
from watch_parts import HEALTHY, LOAD, PLAN, SERVER, Stream

NOW_S = 20.0


def alarms(
    *, plan: PlanFact | None = PLAN, load: LoadFact | None = LOAD, heard_s: float = NOW_S,
    stream_s: float = NOW_S, outcomes: tuple[tuple[str, int], ...] = (('remote', 60),),
    health: HealthFact = HEALTHY, health_s: float = NOW_S, server: ServerFact | None = SERVER,
    server_s: float = NOW_S, nodes: int = 1, heard: bool = True, now_s: float = NOW_S,
    lost_pictures: int = 0,
) -> list[str]:
    """What is said of one robot and one server; all is well but for what is given."""
    system = System(0.0)
    robot = system.robot('/a', 0.0)
    assert robot is not None
    total = sum(count for _, count in outcomes)
    stream = Stream(robot, stream_s - 0.1 * (2 * total if not heard else total))
    for outcome, count in outcomes:
        for _ in range(count):
            reason = 'superseded' if outcome == 'dropped' else ''
            met = outcome != 'rescued'
            stream.end(1, outcome, drop_reason=reason, deadline_met=met)
            if not heard:
                stream.end(1, outcome, heard=False)
    if lost_pictures:
        stream.end(1, lost_pictures=lost_pictures)
    if plan is not None:
        robot.hear_plan(plan, heard_s)
    if load is not None:
        robot.hear_load(load, heard_s)
    robot.hear_health(health, health_s)
    if server is not None:
        system.hear_server(server, server_s)
    system.set_present({'/a': nodes}, NOW_S)
    return [f'{a.about}: {a.text} [{a.serious:d}]' for a in system.look(now_s).alarms]


def test_nothing_is_said_of_a_system_that_is_well() -> None:
    assert alarms() == []


@pytest.mark.parametrize(
    'state, text',
    [
        ({'server': None}, '/a: no server: all runs on the robot [1]'),
        ({'server': None, 'plan': replace(PLAN, strategy='local', server='')},
         '/a: no server: all runs on the robot [0]'),
        ({'server': replace(SERVER, model_identity='other')}, '/a: no server has its network'),
        ({'stream_s': NOW_S - 7.0}, '/a: nothing published for 7 s: no pictures come'),
        ({'outcomes': ()}, '/a: nothing published: no frame has ended yet'),
        ({'outcomes': (('remote', 1), ('dropped', 60))},
         '/a: nothing published: all frames are dropped [1]'),
        ({'outcomes': (('remote', 36), ('dropped', 20), ('remote', 1))},
         '/a: 41 % of the frames are dropped [0]'),
        ({'plan': None}, '/a: no plan is heard'),
        ({'load': None}, '/a: no load is heard'),
        ({'load': replace(LOAD, throttled=True)}, '/a: pi is throttled'),
        ({'load': replace(LOAD, memory_available_bytes=1 << 26)}, '/a: pi has 64 MiB of memory'),
        ({'health': HealthFact('camera_node', 1, 'no such device')},
         '/a: camera_node: no such device [0]'),
        ({'health': HealthFact('camera_node', 2, 'broken')}, '/a: camera_node: broken [1]'),
        ({'health_s': NOW_S - 5.0}, '/a: camera_node silent for 5 s [1]'),
        ({'nodes': 2}, '/a: 2 nodes publish its frame_report'),
        ({'lost_pictures': 20}, '/a: 29 % of the camera\'s pictures never come to the node'),
        ({'heard': False}, '/a: only 50 % of its reports are heard here'),
        ({'server_s': NOW_S - 4.0}, 'laptop: silent for 4 s [1]'),
        ({'server': replace(SERVER, state=FAILED, detail='no weights')},
         'laptop: cannot serve: no weights [1]'),
        ({'now_s': NOW_S + 5.0, 'server_s': NOW_S + 5.0}, '/a: silent for 5 s [1]'),
    ],
)  # fmt: skip
def test_each_cause_is_said(state: dict[str, object], text: str) -> None:
    said = alarms(**state)  # type: ignore[arg-type]
    assert [line for line in said if line.startswith(text)], said


def test_rescues_and_deadlines_are_said_with_their_share() -> None:
    said = alarms(outcomes=(('remote', 30), ('rescued', 20)))
    assert said == [
        '/a: 41 % of the frames got no answer in time [0]',
        '/a: 41 % of the results miss 300 ms [0]',
    ]


def test_a_silent_robot_is_said_once_and_nothing_of_its_parts() -> None:
    assert alarms(now_s=NOW_S + 5.0, server_s=NOW_S + 5.0) == ['/a: silent for 5 s [1]']


def test_a_robot_that_is_there_and_was_never_heard_may_be_another_users() -> None:
    system = System(0.0)
    system.set_present({'/a': 1}, 0.0)
    (alarm,) = system.look(NOW_S).alarms
    assert alarm.text.startswith('silent for 20 s, though its nodes are on the domain')
    assert 'doctor --only shm' in alarm.text and alarm.serious
    system.set_present({}, NOW_S)
    (alarm,) = system.look(NOW_S).alarms
    assert alarm.text == 'silent for 20 s, its nodes have left the domain'


def test_a_node_that_says_what_is_wrong_stands_for_what_follows_from_it() -> None:
    said = alarms(stream_s=NOW_S - 9.0, health=HealthFact('camera_node', 1, 'unplugged'))
    assert said == ['/a: camera_node: unplugged [0]']


def test_a_robot_that_was_asked_for_and_is_not_heard_is_named() -> None:
    system = System(0.0, ['/nope', '/a', '/nope'])
    assert system.look(STARTING_S - 0.1).alarms == ()
    assert [a.about for a in system.look(STARTING_S).alarms] == ['/nope', '/a']
    system.hear_server(SERVER, STARTING_S)
    system.set_present({'/a': 1}, STARTING_S)
    missing, *others = system.look(STARTING_S).alarms
    assert missing.about == '/nope' and missing.serious and 'is heard' in missing.text
    assert all(alarm.about == '/a' for alarm in others)


def test_an_empty_domain_names_what_to_look_at_but_not_at_once() -> None:
    system = System(0.0)
    assert system.look(STARTING_S - 0.1).alarms == ()
    (alarm,) = system.look(STARTING_S).alarms
    assert 'ROS_DOMAIN_ID' in alarm.text and alarm.serious
