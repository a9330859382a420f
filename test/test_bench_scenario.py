"""Scenarios: read from YAML, or refused with the key, the value and what is allowed."""

from __future__ import annotations

import pytest

from dnn_offload.bench.scenario import file as scenarios
from dnn_offload.bench.scenario.changes import difference, loaded_parts
from dnn_offload.bench.scenario.scenario import Conditions, Row
from dnn_offload.cost.energy import load_board
from dnn_offload.errors import ConfigurationError

SMALL = """
title: small
model: torchvision:alexnet
rows: [local, auto]
"""


def test_what_is_not_said_has_a_default() -> None:
    made = scenarios.parse(SMALL, 'small')
    assert made.name == 'small' and made.title == 'small'
    assert made.rows == (Row('local', 'local'), Row('auto', 'auto'))
    (point,) = made.points
    assert point.machines == ('torchvision:alexnet', 0.0, 0.0)
    assert point.conditions == Conditions()
    assert made.timeline == () and not point.simulated


def test_a_grid_has_every_combination_and_keeps_machines_together() -> None:
    made = scenarios.parse(
        SMALL.replace('model: torchvision:alexnet', 'server_speed: 0.5') +
        'grid: {uplink_mbps: [1, 10], model: [a, b], speed_ratio: [2, 5]}', 'grid',
    )
    assert len(made.points) == 8
    machines = [point.machines for point in made.points]
    assert len(set(machines)) == 4
    changes = sum(a != b for a, b in zip(machines, machines[1:], strict=False))
    assert changes == 3  # nodes start once for each
    assert {point.robot_speed for point in made.points} == {0.25, 0.1}
    assert {point.conditions.downlink_mbps for point in made.points} == {1.0, 10.0}


def test_full_replaces_axes_of_the_grid() -> None:
    text = SMALL + 'grid: {uplink_mbps: [1]}\nfull: {uplink_mbps: [1, 2, 3]}'
    assert len(scenarios.parse(text, 'x').points) == 1
    assert len(scenarios.parse(text, 'x', full=True).points) == 3


def test_below_half_a_megabit_points_are_simulated() -> None:
    made = scenarios.parse(SMALL + 'grid: {uplink_mbps: [0, 0.016, 0.49, 0.5]}', 'x')
    assert [point.simulated for point in made.points] == [False, True, True, False]


def test_a_timeline_tells_what_changes_and_the_rest_stays() -> None:
    made = scenarios.parse(SMALL + """
uplink_mbps: 20
duration_s: 50
timeline:
  - {at_s: 10, load: 3}
  - {at_s: 20, uplink_mbps: 2, outage: true}
  - {at_s: 30, outage: false, server: false}
""", 'x')
    point = made.points[0]
    assert made.conditions_at(point, 9.9) == Conditions(20.0, 20.0)
    assert made.conditions_at(point, 10.0) == Conditions(20.0, 20.0, load=3)
    assert made.conditions_at(point, 25.0) == Conditions(2.0, 20.0, 3, outage=True)
    assert made.conditions_at(point, 49.0) == Conditions(2.0, 20.0, 3, server=False)
    assert loaded_parts(made, point) == [(10.0, 20.0), (20.0, 30.0), (30.0, 50.0)]
    shorter = made.scaled(0.1)
    assert shorter.duration_s == pytest.approx(5.0)
    assert [at_s for at_s, _ in shorter.timeline] == pytest.approx([1.0, 2.0, 3.0])
    told = [
        difference(made.conditions_at(point, t), made.conditions_at(point, t + 10.0))
        for t in (5.0, 15.0, 25.0)
    ]
    assert told == [
        'load 0 to 3', 'uplink 20 to 2 Mbit/s, link down', 'link up, server killed',
    ]


def test_a_change_of_the_downlink_alone_is_told() -> None:
    before = Conditions(20.0, 20.0)
    assert difference(before, Conditions(20.0, 1.0)) == 'downlink 20 to 1 Mbit/s'
    assert difference(before, Conditions(2.0, 2.0)) == 'uplink 20 to 2 Mbit/s'
    assert difference(before, Conditions(2.0, 3.0)) == (
        'uplink 20 to 2 Mbit/s, downlink 20 to 3 Mbit/s'
    )
    assert difference(before, before) == 'no change'


def test_what_users_do_today_follows_a_timeline_as_strategies_do() -> None:
    text = 'title: x\nrows: [compressed_image, auto]\nduration_s: 9\n'
    text += 'timeline: [{at_s: 5, load: 1}]'
    assert [row.follows for row in scenarios.parse(text, 'x').rows] == [True, True]


def test_rows_may_have_settings_of_the_planner() -> None:
    made = scenarios.parse(
        'title: x\nrows: [{name: mine, strategy: auto, planner: {codecs: [raw]}}, oracle]', 'x'
    )
    assert made.rows[0] == Row('mine', 'auto', (('codecs', ['raw']),))
    assert made.rows[1] == Row('oracle', '') and not made.rows[1].follows


@pytest.mark.parametrize(('text', 'words'), [
    ('[1, 2]', ('not a mapping',)),
    ('title: {', ('not YAML',)),
    ('rows: [auto]', ('title',)),
    ('title: x', ('rows',)),
    (SMALL + 'speed: 3', ('speed', 'unknown key', 'robot_speed')),
    (SMALL + 'uplink_mbps: fast', ('uplink_mbps', 'fast', 'number')),
    (SMALL + 'uplink_mbps: -1', ('uplink_mbps', '-1', 'from 0')),
    (SMALL + 'repeat: 0', ('repeat', '0', 'from 1')),
    (SMALL + 'repeat: 1.5', ('repeat', '1.5', 'whole')),
    (SMALL + 'load: 9', ('load', '9', 'to 4')),
    (SMALL + 'objective: fame', ('objective', 'fame', 'latency')),
    (SMALL + 'grid: {colour: [red]}', ('grid', 'colour', 'uplink_mbps')),
    (SMALL + 'robot_speed: 0.5\nspeed_ratio: 2', ('robot_speed and speed_ratio',)),
    (SMALL + 'speed_ratio: 0.5', ('speed_ratio', '0.5')),
    ('title: x\nrows: [magic]', ('magic', 'neurosurgeon', 'oracle')),
    ('title: x\nrows: [auto, auto]', ('each name once',)),
    ('title: x\nrows: [{name: a, strategy: magic}]', ('strategy', 'magic', 'auto')),
    ('title: x\nrows: [{name: a}]', ('strategy',)),
    ('title: x\nrows: [{name: oracle, strategy: auto}]', ('oracle', 'something else')),
    (
        'title: x\nrows: [{name: a, strategy: auto, planner: {rate_hz: 9}}]',
        ('rate_hz', 'codecs', 'private_layers'),
    ),
    (
        'title: x\nrows: [{name: a, strategy: auto, planner: {codecs: raw}}]',
        ('codecs', "'raw'", '[]'),
    ),
    ('title: x\nrows: []', ('rows',)),
    (SMALL + 'duration_s: 9\ntimeline: [{at_s: 5, outage: 1}]', ('outage', 'true or false')),
    (SMALL + 'duration_s: 9\ntimeline: [{at_s: 5, lod: 1}]', ('lod', 'load')),
    (SMALL + 'duration_s: 9\ntimeline: [{at_s: 5}, {at_s: 4}]', ('at_s', '4', 'from 5')),
    (SMALL + 'duration_s: 5\ntimeline: [{at_s: 5, load: 1}]', ('duration_s', 'more than 5')),
    (
        SMALL + 'grid: {uplink_mbps: [1, 2]}\nduration_s: 9\ntimeline: [{at_s: 5, load: 1}]',
        ('timeline and a grid',),
    ),
    (
        'title: x\nrows: [oracle]\nduration_s: 9\ntimeline: [{at_s: 5, load: 1}]',
        ('oracle', 'cannot follow', 'compressed_image'),
    ),
    (
        SMALL + 'uplink_mbps: 0.3\nduration_s: 9\ntimeline: [{at_s: 5, load: 1}]',
        ('timeline', '0.3 Mbit/s up', 'from 0.5'),
    ),
    (
        SMALL + 'uplink_mbps: 3\nduration_s: 9\ntimeline: [{at_s: 5, downlink_mbps: 0.1}]',
        ('timeline', '0.1 down', 'from 0.5'),
    ),
    (
        SMALL + 'grid: {load: [0, 3], uplink_mbps: [0.1]}', ('load 3', 'simulated', 'from 0.5'),
    ),
])
def test_what_is_wrong_is_said(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as told:
        scenarios.parse(text, 'x')
    for word in words:
        assert word in str(told.value), told.value


def test_an_unknown_name_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigurationError, match='no-such.*dey_load'):
        scenarios.load('no-such')


@pytest.mark.parametrize('name', sorted(scenarios.shipped()))
@pytest.mark.parametrize('full', [False, True])
def test_shipped_scenarios_are_sound(name: str, full: bool) -> None:
    made = scenarios.load(name, full=full)
    assert made.what and made.weights == 'random'
    if made.board:
        load_board(made.board)
    for point in made.points:
        assert 0.0 < point.robot_speed <= point.server_speed <= 1.0
    if name in ('dey_grid', 'roadrunner'):  # beside everything that a user could pick instead
        assert {'bare_torch', 'bare_onnxruntime', 'compressed_image', 'one_message', 'oracle',
                'local', 'neurosurgeon', 'dey2019', 'roadrunner', 'auto'} <= {
                    row.name for row in made.rows}


def test_the_grid_of_dey_has_the_ratios_of_both_tables() -> None:
    points = scenarios.load('dey_grid', full=True).points
    ratios = {round(point.server_speed / point.robot_speed, 1) for point in points}
    assert ratios == {1.2, 2.0, 3.6, 5.0, 9.2, 10.0, 25.0}
    rates = {point.conditions.uplink_mbps for point in points}
    assert min(rates) == 0.016 and max(rates) == 80.0
