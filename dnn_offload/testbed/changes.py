"""What changes along a timeline, and how soon a stream follows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
import math

from dnn_offload.report.bench_targets import SERVER_KILLED
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.scenario import Conditions, Point, Scenario


def plan_in_force(rows: Sequence[FrameRow]) -> str:
    """What the newest frame that is no scout ran under; '' if there is none."""
    for row in reversed(rows):
        if row.has_result and not row.is_scout:
            return f'{row.cut_index} {row.codec} {row.server}'
    return ''


def loaded_parts(scenario: Scenario, point: Point) -> list[tuple[float, float]]:
    """Where navigation computes without a pause, (start, end) [s]."""
    times = [0.0, *(at_s for at_s, _ in scenario.timeline), scenario.duration_s]
    return [
        (start_s, end_s) for start_s, end_s in zip(times, times[1:], strict=False)
        if end_s > start_s and scenario.conditions_at(point, start_s).load > 0
    ]


def difference(before: Conditions, after: Conditions) -> str:
    """What changes, in words."""
    said = []
    if after.load != before.load:
        said.append(f'load {before.load} to {after.load}')
    if after.uplink_mbps != before.uplink_mbps:
        said.append(f'uplink {before.uplink_mbps:g} to {after.uplink_mbps:g} Mbit/s')
    if after.outage != before.outage:
        said.append('link down' if after.outage else 'link up')
    if after.server != before.server:
        said.append('server started' if after.server else SERVER_KILLED)
    return ', '.join(said) or 'no change'


def reaction_s(frames: Sequence[FrameRow], at_s: float, until_s: float) -> float:
    """Until a frame entered under another plan than before; NaN if none did until then."""
    planned = [f for f in frames if f.has_result and not f.is_scout]
    before = plan_in_force([f for f in planned if f.time_s < at_s])
    for frame in planned:
        if at_s <= frame.time_s < until_s and plan_in_force([frame]) != before:
            return frame.time_s - at_s
    return math.nan
