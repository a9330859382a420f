"""What changes along a timeline, and how soon a stream follows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
import itertools
import math

from dnn_offload.bench.scenario.scenario import Conditions, Point, Scenario
from dnn_offload.report.bench_targets import LOAD, SERVER_KILLED, UPLINK
from dnn_offload.report.records import FrameRow

IN_A_ROW = 3      # frames under another plan are a detour, fewer are an accident
JUDGED_S = 10.0


def plan_in_force(rows: Sequence[FrameRow]) -> str:
    """What the newest frame ran under that is no scout and of no trial; '' if there is none."""
    newest = _newest(rows)
    return _plan(newest) if newest is not None else ''


def as_planned(rows: Sequence[FrameRow], server: str) -> str:
    """The plan under which frames run, as long as they run where it says; else ''.

    A robot that is not connected runs them by itself, whatever the plan.

    Args:
        rows: The newest frames, oldest first.
        server: Of the plan that was published last; '' = all on the robot.
    """
    newest = _newest(rows)
    return _plan(newest) if newest is not None and newest.server == server else ''


def _newest(rows: Sequence[FrameRow]) -> FrameRow | None:
    return next((row for row in reversed(rows) if _shows_the_plan(row)), None)


def _plan(row: FrameRow) -> str:
    return f'{row.cut_index} {row.codec} {row.server}'


def _shows_the_plan(row: FrameRow) -> bool:
    return row.has_result and not row.is_scout and not row.is_trial


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
        said.append(f'{LOAD} {before.load} to {after.load}')
    if after.uplink_mbps != before.uplink_mbps:
        said.append(f'{UPLINK} {before.uplink_mbps:g} to {after.uplink_mbps:g} Mbit/s')
    if after.downlink_mbps != before.downlink_mbps and not _alike(before, after):
        said.append(f'downlink {before.downlink_mbps:g} to {after.downlink_mbps:g} Mbit/s')
    if after.outage != before.outage:
        said.append('link down' if after.outage else 'link up')
    if after.server != before.server:
        said.append('server started' if after.server else SERVER_KILLED)
    return ', '.join(said) or 'no change'


def _alike(before: Conditions, after: Conditions) -> bool:
    """Whether both directions have one rate, before and after: then the uplink tells of both."""
    return all(c.uplink_mbps == c.downlink_mbps for c in (before, after))


def reaction_s(frames: Sequence[FrameRow], at_s: float, until_s: float) -> float:
    """Until frames entered under the plan that then stayed; NaN if it was in force already.

    The plan that stays is the one that ran most in the second half of the ``JUDGED_S`` after the
    change. Detours count as waiting for it; scouts, frames of trials, and single frames under
    other plans do not, and are no reaction. Where no result came in that half, nothing stays: it
    lasted to the end.

    Args:
        frames: Of one row, in order of time.
        at_s: When conditions changed.
        until_s: When they changed again.
    """
    end_s = min(until_s, at_s + JUDGED_S)
    planned = [f for f in frames if _shows_the_plan(f) and f.time_s < end_s]
    before = plan_in_force([f for f in planned if f.time_s < at_s])
    after = [(f.time_s, plan_in_force([f])) for f in planned if f.time_s >= at_s]
    later = Counter(plan for time_s, plan in after if time_s >= (at_s + end_s) / 2)
    if not later:
        return end_s - at_s
    stays = later.most_common(1)[0][0]
    arrived, position = (-1 if before == stays else 0), 0
    for plan, group in itertools.groupby(plan for _, plan in after):
        length = len(list(group))
        position += length
        if plan != stays and length >= IN_A_ROW:
            arrived = position
    if arrived < 0:
        return math.nan
    found = (time_s for time_s, plan in after[arrived:] if plan == stays)
    return next(found, end_s) - at_s


@dataclass(frozen=True)
class Cost:
    """What a change cost, in frames. Attributes as of a ``Step``."""

    late: int
    unanswered: int
    unrescuable: int


def cost(
    frames: Sequence[FrameRow], at_s: float, until_s: float, deadline_ms: float
) -> Cost:
    """Results that came too late after a change, and frames that never had one.

    Frames that were under way when it came count, too: theirs are the answers that are missing.

    Args:
        frames: Of one row.
        at_s: When conditions changed.
        until_s: When they changed again.
        deadline_ms: Of a frame; 0 = none.
    """
    end_s = min(until_s, at_s + JUDGED_S)
    lost = Counter(
        f.drop_reason for f in frames
        if not f.has_result and at_s - deadline_ms / 1e3 <= f.time_s < end_s
    )
    return Cost(
        sum(
            f.has_result and not f.deadline_met and f.result_time_s >= at_s and f.time_s < until_s
            for f in frames
        ),
        lost['no_answer'], lost['cannot_rescue'],
    )
