"""Draws a look at the system: for any width, in full while it fits the height, else as tables."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dnn_offload.report.terminal import sparkline
from dnn_offload.watch import words
from dnn_offload.watch.alarms import SILENT_S
from dnn_offload.watch.facts import FAILED, PREPARING, READY
from dnn_offload.watch.robot import LINK_S
from dnn_offload.watch.views import Alarm, RobotView, ServerView, StreamView, SystemView

BLOCK_LINES = 9         # of a robot in full
TABLE_LINES = 1         # head of a table
WIDE = 100              # columns from which all is shown
LABEL_WIDTH = 8
SPARK_LEAST = 12        # a shorter line of latencies tells nothing
SPARK_TOP_MS = 50.0
SERIOUS, NOTE, DIM = 'bold red', 'yellow', 'dim'
STATE_STYLES = {READY: 'green', PREPARING: NOTE, FAILED: SERIOUS}


def picture(
    view: SystemView, where: dict[str, object], console: Console, height: int | None = None
) -> RenderableType:
    """What the terminal shows.

    Args:
        view: The look.
        where: ``domain`` and ``rmw``.
        console: Its width and encoding are kept to.
        height: Lines that there are; None = as many as it takes.
    """
    servers = _server_lines(view)
    whole_alarms = [_alarm(alarm, whole=True) for alarm in view.alarms]
    alarm_lines = sum(len(text.wrap(console, console.width)) for text in whole_alarms)
    needed = 1 + alarm_lines + BLOCK_LINES * len(view.robots) + servers
    parts: list[RenderableType] = [_headline(view, where)]
    if height is None or needed <= height:
        parts += whole_alarms
        parts += [_block(robot, console, whole=height is None) for robot in view.robots]
    else:
        table_lines = len(view.robots) + TABLE_LINES
        room = max(1, height - 1 - table_lines - servers)
        parts += _fitting(view.alarms, room)
        parts.append(_robot_table(view.robots, console))
    if view.servers:
        parts.append(_server_table(view.servers, console))
    return _InAscii(Group(*parts)) if _ascii(console) else Group(*parts)


@dataclass(frozen=True)
class _InAscii:
    """For terminals that have nothing else: names from the network, marks where a line is cut."""

    whole: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.whole, options):
            text = segment.text.replace('…', '.').encode('ascii', 'replace').decode('ascii')
            yield segment._replace(text=text)


def _server_lines(view: SystemView) -> int:
    return len(view.servers) + TABLE_LINES if view.servers else 0


def _fitting(alarms: tuple[Alarm, ...], room: int) -> list[RenderableType]:
    """The most serious that fit, and how many more there are."""
    ranked = sorted(alarms, key=lambda alarm: not alarm.serious)
    if len(ranked) <= room:
        return [_alarm(alarm) for alarm in ranked]
    more = _line(f'! {len(ranked) - room + 1} more', NOTE)
    return [*(_alarm(alarm) for alarm in ranked[:room - 1]), more]


def _line(text: str, style: str = '') -> Text:
    return Text(text, style=style, no_wrap=True, overflow='ellipsis')


def _headline(view: SystemView, where: dict[str, object]) -> Text:
    line = _line('dnn_offload top', 'bold')
    line.append(
        f'  {words.domain(where)}  {words.counted(len(view.robots), "robot")}, '
        f'{words.counted(len(view.servers), "server")}', 'not bold',
    )
    return line


def _alarm(alarm: Alarm, *, whole: bool = False) -> Text:
    """An alarm in its colour, in one line or wrapped."""
    style = SERIOUS if alarm.serious else NOTE
    text = words.alarm_line(alarm)
    return Text(text, style) if whole else _line(text, style)


# -- robots -----------------------------------------------------------------------------


def _block(robot: RobotView, console: Console, *, whole: bool) -> Panel:
    reason = robot.plan.reason if robot.plan is not None else words.UNKNOWN
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify='right', style=DIM, width=LABEL_WIDTH)
    table.add_column(ratio=1)
    for label, text in (
        ('results', _results(robot.stream, console)),
        ('outcomes', _outcomes(robot.stream)),
        ('plan', _plan(robot)),
        ('why', Text(reason) if whole else _line(reason)),
        ('link', _link(robot)),
        ('passes', _transfers(robot)),
        ('load', _load(robot)),
    ):
        table.add_row(label, text)
    title = Text(robot.name, style='bold')
    if robot.model:
        title.append(f'  {robot.model}', 'not bold')
    silent = robot.silent_s > SILENT_S
    if silent:
        title.append(f'  silent for {robot.silent_s:.0f} s', SERIOUS)
    return Panel(
        table, title=title, title_align='left', padding=(0, 1), width=console.width,
        style=DIM if silent else '', border_style=SERIOUS if silent else DIM,
        box=box.ASCII if _ascii(console) else box.ROUNDED,
    )


def _ascii(console: Console) -> bool:
    return not console.encoding.startswith('utf')


def _results(stream: StreamView | None, console: Console) -> Text:
    if stream is None:
        return _line('no frame has ended yet', NOTE)
    line = _line(words.rate(stream.results_hz), 'bold')
    late = stream.missed_deadline > 0.0
    line.append(
        f'  latency {words.milliseconds(stream.latency_median_ms)}, '
        f'p95 {words.milliseconds(stream.latency_p95_ms)}', NOTE if late else 'not bold',
    )
    line.append(f'  newest {words.age(stream.newest_age_s)} old  ', 'not bold')
    room = console.width - LABEL_WIDTH - 5 - len(line)
    history = stream.latency_history_ms[-room:] if room >= SPARK_LEAST else ()
    if history and not _ascii(console):
        line.append(sparkline(history, SPARK_TOP_MS), 'cyan not bold')
    return line


def _outcomes(stream: StreamView | None) -> Text:
    if stream is None:
        return _line(words.UNKNOWN)
    line = _line('')
    for name, share in stream.shares.items():
        if stream.totals[name]:
            line.append(f'{name} {words.percent(share)} ')
            line.append(f'({stream.totals[name]} in all)  ', DIM)
    reasons = ', '.join(f'{name} {count}' for name, count in stream.drop_reasons.items())
    if reasons:
        line.append(reasons, NOTE)
    if stream.lost_pictures:
        line.append(f'  {stream.lost_pictures} pictures lost before', DIM)
    return line


def _plan(robot: RobotView) -> Text:
    plan = robot.plan
    if plan is None:
        return _line('none heard', NOTE)
    line = _line(f'{words.milliseconds(plan.predicted_ms)} predicted: {words.plan(plan)}')
    line.append(f'  {plan.strategy}, {plan.objective}', DIM)
    if plan.private_layers:
        line.append(f', {plan.private_layers} private', DIM)
    return line


def _link(robot: RobotView) -> Text:
    plan = robot.plan
    if plan is None or not plan.uplink_bps > 0.0:
        return _line('none is known', DIM)
    line = _line(
        f'up {words.bandwidth(plan.uplink_bps)}, down {words.bandwidth(plan.downlink_bps)}, '
        f'round trip {words.milliseconds(plan.uplink_alpha_ms)}'
    )
    line.append(f'  {words.percent(plan.link_confidence)} sure', DIM)
    return line


def _transfers(robot: RobotView) -> Text:
    link = robot.link
    if not link.uplink_transfers and not link.downlink_transfers and not link.lost:
        return _line(f'nothing in {LINK_S:.0f} s', DIM)
    line = _line('')
    for name, count, time_ms, size in (
        ('up', link.uplink_transfers, link.uplink_ms, link.uplink_bytes),
        ('down', link.downlink_transfers, link.downlink_ms, link.downlink_bytes),
    ):
        if count:
            line.append(f'{words.amount(size)} {name} in {words.milliseconds(time_ms)}  ')
    if link.lost:
        line.append(f'{link.lost} lost in {LINK_S:.0f} s', SERIOUS)
    return line


def _load(robot: RobotView) -> Text:
    load = robot.load
    if load is None:
        return _line('none heard', NOTE)
    line = _line(f'{words.number(load.factor, 2)}x')
    line.append(f' {load.source}', DIM)
    line.append(
        f'  load average {words.number(load.loadavg_1min, 1)} on {load.cores}'
        f'  cpu {words.number(load.cpu_percent)} %'
    )
    if load.temperature_c == load.temperature_c:
        line.append(f'  {words.number(load.temperature_c)} C')
    if load.clock_hz == load.clock_hz:
        line.append(f'  {words.number(load.clock_hz / 1e9, 1)} GHz')
    if load.throttled:
        line.append('  throttled', SERIOUS)
    line.append(f'  {load.host}', DIM)
    return line


def _table(texts: tuple[str, str], numbers: tuple[str, ...], last: str) -> Table:
    """An empty table; the last column gets narrower where there is no room for all."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=DIM)
    for title in texts:
        table.add_column(title, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify='right', no_wrap=True)
    table.add_column(last)
    return table


def _robot_table(robots: tuple[RobotView, ...], console: Console) -> Table:
    wide = console.width >= WIDE
    table = _table(
        ('robot', '/s'), ('median', *(('p95',) if wide else ()), 'newest', 'load', 'dropped'),
        'runs',
    )
    for robot in robots:
        stream, load = robot.stream, robot.load
        numbers = [words.UNKNOWN] * (len(table.columns) - 2)
        runs = _line(words.plan(robot.plan) if robot.plan is not None else 'no plan')
        if robot.silent_s > SILENT_S:
            runs = _line(f'silent for {robot.silent_s:.0f} s', SERIOUS)
        elif stream is not None:
            numbers = [
                words.number(stream.results_hz, 1), words.milliseconds(stream.latency_median_ms),
                *([words.milliseconds(stream.latency_p95_ms)] if wide else []),
                words.age(stream.newest_age_s),
                words.number(load.factor, 2) if load is not None else words.UNKNOWN,
                words.percent(stream.shares['dropped']),
            ]
        table.add_row(_line(robot.name), *numbers, runs)
    return table


# -- servers ----------------------------------------------------------------------------


def _server_table(servers: tuple[ServerView, ...], console: Console) -> Table:
    wide = console.width >= WIDE
    table = _table(
        ('server', 'state'),
        ('robots', '/s', 'queue', 'load', *(('cpu', 'free', 'refused') if wide else ())),
        'network',
    )
    for server in servers:
        status = server.status
        silent = server.silent_s > SILENT_S
        state = Text(
            f'silent {server.silent_s:.0f} s' if silent else status.state,
            SERIOUS if silent else STATE_STYLES.get(status.state, ''),
        )
        machine = (
            f'{words.number(status.cpu_percent)} %', words.amount(status.memory_available_bytes),
            str(status.frames_refused),
        )
        table.add_row(
            _line(status.server), state, str(status.clients), words.number(server.frames_hz, 1),
            words.milliseconds(status.queue_ms), words.number(status.load_factor, 2),
            *(machine if wide else ()), _line(status.model),
        )
    return table
