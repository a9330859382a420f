"""A timeline in parts: what a row did over all of it, under load, and between changes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dnn_offload.bench.scenario.changes import loaded_parts
from dnn_offload.bench.scenario.scenario import Conditions, Point, Scenario
from dnn_offload.cost.energy import PowerModel
from dnn_offload.report.bench_records import measure, navigation_share, Stretch, Window
from dnn_offload.report.bench_targets import MAX_REACTION_S
from dnn_offload.report.records import FrameRow, LoadSample

WHOLE, LOADED, FIRST_STRETCH = 0, 1, 2  # numbers of points
SETTLING_S = MAX_REACTION_S  # for so long after a change a plan may be the wrong one
LEAST_S = 1.0                # what is left of a shorter stretch tells nothing
_ROUNDING_S = 1e-6           # of scaled times


def stretches(scenario: Scenario, point: Point) -> list[Stretch]:
    """What lies between changes, where it lasts long enough to be judged."""
    begun = [(0.0, 0.0, point.conditions)]  # steady before the timeline begins
    begun += [(at_s, at_s + SETTLING_S, conditions) for at_s, conditions in scenario.timeline]
    ends_s = [at_s for at_s, _, _ in begun[1:]] + [scenario.duration_s]
    found: list[Stretch] = []
    for (start_s, settled_s, conditions), end_s in zip(begun, ends_s, strict=True):
        if end_s - settled_s >= LEAST_S - _ROUNDING_S:
            found.append(Stretch(
                FIRST_STRETCH + len(found), f'{start_s:g} to {end_s:g} s: {_words(conditions)}',
                start_s, end_s, settled_s, conditions.outage or not conditions.server,
            ))
    return found


def _words(conditions: Conditions) -> str:
    rate = conditions.uplink_mbps
    said = [f'{rate:g} Mbit/s' if rate else 'no link limit']
    if conditions.downlink_mbps != rate:
        down = conditions.downlink_mbps
        said.append(f'{down:g} Mbit/s down' if down else 'no limit down')
    if conditions.load:
        said.append(f'load {conditions.load}')
    if conditions.outage:
        said.append('link down')
    if not conditions.server:
        said.append('server dead')
    return ', '.join(said)


def windows(
    scenario: Scenario, point: Point, row: str, number: int, frames: Sequence[FrameRow],
    loads: Sequence[LoadSample], navigation_set_hz: float, power: PowerModel | None,
    pictures_hz: float = 0.0,
) -> tuple[Window, ...]:
    """The whole trace, the part under load where there is one, and every stretch.

    Args:
        scenario: What was played.
        point: Where.
        row: Name of the row.
        number: Of the round.
        frames: Of the row in this round, ``time_s`` from the start of the timeline.
        loads: The same of samples of the robot's load.
        navigation_set_hz: See ``navigation_share``.
        power: The robot's board.
        pictures_hz: Of a row of which only answers are known: pictures without one were dropped.
    """
    def within(number_of_point: int, parts: Sequence[tuple[float, float]]) -> Window:
        def there(one: FrameRow | LoadSample) -> bool:
            return any(start_s <= one.time_s < end_s for start_s, end_s in parts)

        seconds = sum(end_s - start_s for start_s, end_s in parts)
        made = measure(
            [frame for frame in frames if there(frame)], point=number_of_point, row=row,
            number=number, seconds=seconds, power=power,
            navigation=navigation_share(
                [sample for sample in loads if there(sample)], navigation_set_hz
            ),
        )
        lost = max(round(pictures_hz * seconds) - made.results, 0) if pictures_hz else made.dropped
        return replace(made, dropped=lost)

    loaded = loaded_parts(scenario, point)
    return (
        within(WHOLE, [(0.0, scenario.duration_s)]),
        *([within(LOADED, loaded)] if loaded else []),
        *(within(s.point, [(s.settled_s, s.end_s)]) for s in stretches(scenario, point)),
    )
