"""Scenarios from YAML, checked key by key, and the shipped ones by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
import itertools
from pathlib import Path
from typing import Any

import yaml

from dnn_offload.bench.scenario import values
from dnn_offload.bench.scenario.scenario import Conditions, LIVE_FROM_MBPS, Point, Row, Scenario
from dnn_offload.bench.scenario.values import Reader
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.search import STRATEGIES
from dnn_offload.report.bench_targets import TODAY

# Parameters of the planner that a row may set, and what they are for all other rows.
ROW_SETTINGS: dict[str, object] = {
    'codecs': [], 'load_source': 'auto', 'plan_shapes': ['two_cuts', 'dag'], 'private_layers': 0,
}
SHIPPED = Path(__file__).resolve().parents[2] / 'data' / 'scenarios'

# Rows that are no strategy of the planner, and what each of them is.
OTHER_ROWS = {
    'bare_torch': 'the network in a loop, torch eager, no ROS',
    'bare_onnxruntime': 'the network in a loop, onnxruntime, no ROS',
    TODAY: 'compressed image topic to a detector node on the server',
    'one_message': 'raw tensors of the best cut as one reliable message',
    'oracle': 'best cut and codec, found by running candidates',
}
AXES = ('model', 'robot_speed', 'server_speed', 'speed_ratio', 'uplink_mbps', 'load')


def shipped() -> dict[str, str]:
    """Names and titles of the scenarios that ship."""
    found = {}
    for path in sorted(SHIPPED.glob('*.yaml')):
        found[path.stem] = load(path.stem).title
    return found


def load(name: str, *, full: bool = False) -> Scenario:
    """A scenario by the name of a shipped one, or from a file.

    Args:
        name: Of a shipped scenario, or path of a YAML file.
        full: Take the axes of ``full`` too, where the scenario has some.

    Raises:
        ConfigurationError: Not there, not YAML, or a key or value that is not allowed.
    """
    path = SHIPPED / f'{name}.yaml'
    if not path.is_file():
        path = Path(name)
    names = ', '.join(sorted(item.stem for item in SHIPPED.glob('*.yaml')))
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            'no such scenario', given=name, allowed=f'a YAML file, or one of {names}'
        ) from error
    return parse(text, path.stem, full=full)


def parse(text: str, name: str, *, full: bool = False) -> Scenario:
    """Read a scenario from YAML (docs/bench.md tells the keys).

    Raises:
        ConfigurationError: See ``load``.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f'scenario {name} is not YAML', hint=str(error)) from error
    reader = Reader(data, f'scenario {name}')
    grid = dict(reader.mapping('grid', {}))
    if full:
        grid |= reader.mapping('full', {})
    else:
        reader.mapping('full', {})
    points = _points(Reader(grid, f'grid of scenario {name}'), reader)
    timeline = _timeline(reader, points[0].conditions)
    made = Scenario(
        name=name,
        title=reader.text('title'),
        what=reader.text('what', ''),
        points=points,
        rows=tuple(_row(item, name) for item in reader.items('rows')),
        timeline=timeline,
        duration_s=reader.number('duration_s', 0.0, low=0.0),
        papers=tuple((str(k), str(v)) for k, v in reader.mapping('papers', {}).items()),
        weights=reader.text('weights', 'DEFAULT'),
        input_size=reader.text('input_size', ''),
        repeat=reader.whole('repeat', 2, low=1),
        frames=reader.whole('frames', 25, low=3),
        frame_hz=reader.number('frame_hz', 10.0, low=0.2, high=100.0),
        deadline_ms=reader.number('deadline_ms', 0.0, low=0.0),
        objective=reader.choice('objective', 'latency', values.OBJECTIVES),
        board=reader.text('board', ''),
        burst_bytes=reader.whole('burst_bytes', 0, low=0),
        grain_px=reader.whole('grain_px', 40, low=2),
        oracle_candidates=reader.whole('oracle_candidates', 12, low=2),
    )
    reader.finish()
    _check(made)
    return made


def _check(scenario: Scenario) -> None:
    names = [row.name for row in scenario.rows]
    twice = [name for name in names if names.count(name) > 1]
    if twice or not names:
        raise ConfigurationError(
            f'rows of scenario {scenario.name}', given=str(names), allowed='some, each name once'
        )
    if not scenario.timeline:
        _check_grid(scenario)
        return
    still = [row.name for row in scenario.rows if not row.follows]
    if still:
        raise ConfigurationError(
            f'rows of scenario {scenario.name} cannot follow a timeline', given=', '.join(still),
            allowed=f'strategies ({", ".join(STRATEGIES)}) and {TODAY}',
        )
    slow = [c for c in (scenario.points[0].conditions, *(c for _, c in scenario.timeline))
            if c.simulated]
    if slow:
        raise ConfigurationError(
            f'scenario {scenario.name} has a timeline over a link that is not played live',
            given=f'{slow[0].uplink_mbps:g} Mbit/s up, {slow[0].downlink_mbps:g} down',
            allowed=f'0 (no limit), or from {LIVE_FROM_MBPS:g} on; an outage for none',
        )
    if len(scenario.points) > 1:
        raise ConfigurationError(
            f'scenario {scenario.name} has a timeline and a grid', allowed='one of both'
        )
    if scenario.duration_s <= scenario.timeline[-1][0]:
        raise ConfigurationError(
            f'duration_s of scenario {scenario.name}', given=scenario.duration_s,
            allowed=f'more than {scenario.timeline[-1][0]:g}, the last change',
        )


def _check_grid(scenario: Scenario) -> None:
    """What is reckoned instead of run knows no load."""
    loaded = [p.title for p in scenario.points if p.simulated and p.conditions.load]
    if loaded:
        raise ConfigurationError(
            f'scenario {scenario.name} has load over a link that is simulated', given=loaded[0],
            allowed=f'load only where rates are 0 (no limit) or from {LIVE_FROM_MBPS:g} Mbit/s on',
        )


def _row(item: object, name: str) -> Row:
    known = [*STRATEGIES, *OTHER_ROWS]
    if isinstance(item, str):
        if item not in known:
            raise ConfigurationError(
                f'row of scenario {name}', given=item, allowed=', '.join(known)
            )
        return Row(item, item if item in STRATEGIES else '')
    reader = Reader(item, f'row of scenario {name}')
    own_name, strategy = reader.text('name'), reader.text('strategy')
    if strategy not in STRATEGIES:
        raise ConfigurationError(
            f'{reader.what}: strategy', given=strategy, allowed=', '.join(STRATEGIES)
        )
    if own_name in OTHER_ROWS:
        raise ConfigurationError(
            f'{reader.what}: name', given=own_name, allowed='none that means something else'
        )
    planner = Reader(reader.mapping('planner', {}), f'planner of {reader.what}')
    chosen = {key: planner.raw(key) for key in ROW_SETTINGS if planner.has(key)}
    for key, value in chosen.items():
        if type(value) is not type(ROW_SETTINGS[key]):
            raise ConfigurationError(
                f'{planner.what}: {key}', given=repr(value), allowed=f'e.g. {ROW_SETTINGS[key]!r}'
            )
    planner.finish(tuple(ROW_SETTINGS))
    reader.finish()
    return Row(own_name, strategy, tuple(sorted(chosen.items())))


def _points(grid: Reader, top: Reader) -> tuple[Point, ...]:
    """Every combination of the axes of ``grid``; what is no axis is the same everywhere."""
    axes: dict[str, list[Any]] = {}
    for axis in AXES:
        everywhere = top.raw(axis, None)
        if grid.has(axis) and everywhere is not None:
            raise ConfigurationError(
                f'{top.what}: {axis} is given twice', allowed='in grid, or beside it'
            )
        axes[axis] = grid.items(axis, []) or [everywhere]
    grid.finish()
    downlink = top.number('downlink_mbps', -1.0, low=0.0)
    points = []
    for combination in itertools.product(*axes.values()):
        chosen = {k: v for k, v in zip(axes, combination, strict=True) if v is not None}
        one = Reader(chosen, grid.what)
        ratio = one.number('speed_ratio', 0.0, low=1.0)
        server = one.number('server_speed', 1.0 if ratio else 0.0, low=0.0)
        robot = one.number('robot_speed', server / ratio if ratio else 0.0, low=0.0)
        if ratio and {'robot_speed'} & set(chosen):
            raise ConfigurationError(
                f'{grid.what}: robot_speed and speed_ratio', allowed='one of both'
            )
        uplink = one.number('uplink_mbps', 0.0, low=0.0)
        conditions = Conditions(
            uplink, uplink if downlink < 0.0 else downlink,
            one.whole('load', 0, low=0, high=values.MAX_LOAD),
        )
        points.append(Point(one.text('model', 'demo:detector'), robot, server, conditions))
    return tuple(sorted(points, key=lambda point: _order(points, point)))


def _order(points: list[Point], point: Point) -> int:
    """Points of the same machines follow one another, so that nodes start once for them."""
    return next(i for i, other in enumerate(points) if other.machines == point.machines)


def _timeline(reader: Reader, first: Conditions) -> tuple[tuple[float, Conditions], ...]:
    """Each entry tells what changes; the rest stays as it was."""
    now, found = first, []
    last_s = 0.0
    for item in reader.items('timeline', []):
        entry = Reader(item, f'timeline of {reader.what}')
        at_s = entry.number('at_s', low=last_s)
        now = _changed(now, entry)
        entry.finish()
        found.append((at_s, now))
        last_s = at_s
    return tuple(found)


def _changed(now: Conditions, entry: Reader) -> Conditions:
    changes: Mapping[str, Any] = {
        'uplink_mbps': entry.number('uplink_mbps', now.uplink_mbps, low=0.0),
        'downlink_mbps': entry.number('downlink_mbps', now.downlink_mbps, low=0.0),
        'load': entry.whole('load', now.load, low=0, high=values.MAX_LOAD),
        'outage': entry.flag('outage', now.outage),
        'server': entry.flag('server', now.server),
    }
    return Conditions(**changes)
