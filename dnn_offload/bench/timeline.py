"""One row along a timeline: conditions change while the stream goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import time

from dnn_offload.bench.emulation import Emulation
from dnn_offload.bench.scenario.changes import difference, loaded_parts, reaction_s
from dnn_offload.bench.scenario.scenario import Point, Scenario
from dnn_offload.cost.energy import PowerModel
from dnn_offload.report.bench_records import measure, Step, Window
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.session import Session

TICK_S = 0.05


@dataclass(frozen=True)
class Played:
    """A row's way along the timeline.

    Attributes:
        frames: All frames, their ``time_s`` counted from the start of the timeline.
        windows: The whole trace, and the part under load where there is one.
    """

    row: str
    round: int
    frames: tuple[FrameRow, ...]
    windows: tuple[Window, ...]
    steps: tuple[Step, ...]


def play(
    scenario: Scenario, point: Point, row: str, number: int, session: Session,
    emulation: Emulation, advance: Callable[[float], None], power: PowerModel | None,
) -> Played:
    """Play the timeline once, with the planner as it is set.

    Args:
        scenario: Scaled to the time in which it is played.
        point: Conditions at first, in force already.
        row: Name of the row.
        number: Of the round.
        session: The running nodes.
        emulation: What makes the conditions.
        advance: Told of seconds that have passed.
        power: The robot's board.
    """
    recorder = session.recorder
    first, start_s = len(recorder.rows), recorder.now_s()
    changes = list(scenario.timeline)
    made: list[tuple[float, str]] = []
    now = point.conditions
    told_s = 0.0
    while (passed_s := recorder.now_s() - start_s) < scenario.duration_s:
        session.fleet.check()
        while changes and changes[0][0] <= passed_s:
            _, wanted = changes.pop(0)
            # From the command on: what comes while it is being carried out is not forgiven.
            made.append((recorder.now_s() - start_s, difference(now, wanted)))
            emulation.apply(wanted, session)
            now = wanted
        advance(passed_s - told_s)
        told_s = passed_s
        time.sleep(TICK_S)
    frames = tuple(
        replace(frame, time_s=frame.time_s - start_s) for frame in recorder.rows[first:]
        if 0.0 <= frame.time_s - start_s < scenario.duration_s
    )
    return Played(
        row, number, frames, _windows(scenario, point, row, number, frames, power),
        tuple(
            Step(
                row, number, at_s, what, reaction_s(frames, at_s, end_s),
                sum(f.has_result and not f.deadline_met and at_s <= f.time_s < end_s
                    for f in frames),
            )
            for (at_s, what), end_s in zip(
                made, [at for at, _ in made[1:]] + [scenario.duration_s], strict=True
            )
        ),
    )


def _windows(
    scenario: Scenario, point: Point, row: str, number: int, frames: Sequence[FrameRow],
    power: PowerModel | None,
) -> tuple[Window, ...]:
    whole = measure(
        frames, point=0, row=row, number=number, seconds=scenario.duration_s, power=power
    )
    parts = loaded_parts(scenario, point)
    if not parts:
        return (whole,)
    loaded = [f for f in frames if any(start <= f.time_s < end for start, end in parts)]
    seconds = sum(end - start for start, end in parts)
    return whole, measure(
        loaded, point=1, row=row, number=number, seconds=seconds, power=power
    )
