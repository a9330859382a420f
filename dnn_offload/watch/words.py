"""Numbers as they are read: with their unit, short, a dash for what is not known."""

from __future__ import annotations

from collections.abc import Iterator
import math

from dnn_offload.watch.facts import PlanFact
from dnn_offload.watch.views import Alarm, RobotView, ServerView, SystemView

UNKNOWN = '-'
ROBOT = 'the robot'


def number(value: float, digits: int = 0) -> str:
    """A number with so many digits after the point."""
    return f'{value:.{digits}f}' if math.isfinite(value) else UNKNOWN


def milliseconds(value_ms: float) -> str:
    """A time with three digits at most before the point and one where it matters."""
    return f'{number(value_ms, 1 if value_ms < 10.0 else 0)} ms'


def age(value_s: float) -> str:
    """How old something is."""
    if not math.isfinite(value_s):
        return UNKNOWN
    return milliseconds(1e3 * value_s) if value_s < 1.0 else f'{number(value_s, 1)} s'


def percent(share: float) -> str:
    """A share of one."""
    return f'{number(100 * share)} %'


def rate(value_hz: float) -> str:
    """Something per second."""
    return f'{number(value_hz, 1)} /s'


def bandwidth(value_bps: float) -> str:
    """Bits per second; 0 is a link that is not there."""
    if not value_bps > 0.0:
        return UNKNOWN
    if value_bps >= 1e9:
        return f'{number(value_bps / 1e9, 1)} Gbit/s'
    return f'{number(value_bps / 1e6, 1)} Mbit/s'


def amount(value_bytes: float) -> str:
    """Bytes."""
    if value_bytes >= 1e9:
        return f'{number(value_bytes / 1e9, 1)} GB'
    if value_bytes >= 1e6:
        return f'{number(value_bytes / 1e6, 1)} MB'
    return f'{number(value_bytes / 1e3, 1)} kB'


def plan(plan: PlanFact) -> str:
    """What runs where."""
    if not plan.server:
        return f'all on {ROBOT}'
    second = '' if plan.return_index is None else f', back at cut {plan.return_index}'
    return f'cut {plan.cut_index} ({plan.label}) to {plan.server}, {plan.codec}{second}'


def domain(where: dict[str, object]) -> str:
    """Where is listened."""
    return f'domain {where["domain"]}, {where["rmw"]}'


def counted(count: int, what: str) -> str:
    """So many of a thing."""
    return f'{count} {what}' if count == 1 else f'{count} {what}s'


def lines(view: SystemView) -> Iterator[str]:
    """One line for each robot, server and alarm: for log files and pipes."""
    for robot in view.robots:
        yield _robot_line(robot)
    for server in view.servers:
        yield _server_line(server)
    for alarm in view.alarms:
        yield alarm_line(alarm)


def alarm_line(alarm: Alarm) -> str:
    """What is wrong, with whom, in one line."""
    return f'! {alarm.about}: {alarm.text}' if alarm.about else f'! {alarm.text}'


def _robot_line(robot: RobotView) -> str:
    words = [f'robot {robot.name}:']
    stream = robot.stream
    if stream is not None:
        words.append(
            f'{rate(stream.results_hz)}, latency {milliseconds(stream.latency_median_ms)} '
            f'(p95 {milliseconds(stream.latency_p95_ms)}), newest {age(stream.newest_age_s)} old, '
            f'on {stream.runs_at or ROBOT};'
        )
    if robot.plan is not None:
        words.append(f'plan: {plan(robot.plan)};')
    if robot.load is not None:
        words.append(f'load {number(robot.load.factor, 2)};')
    if stream is not None:
        words.append(', '.join(f'{name} {count}' for name, count in stream.totals.items()))
    return ' '.join(words)


def _server_line(server: ServerView) -> str:
    status = server.status
    return (
        f'server {status.server}: {status.state}, {counted(status.clients, "robot")}, '
        f'{rate(server.frames_hz)}, queue {milliseconds(status.queue_ms)}, '
        f'load {number(status.load_factor, 2)}'
    )
