"""One row along a timeline: conditions change while the stream goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import time

from dnn_offload.bench.emulation import Emulation
from dnn_offload.bench.scenario.changes import cost, difference, reaction_s
from dnn_offload.bench.scenario.scenario import Point, Scenario
from dnn_offload.bench.scenario.stretches import windows
from dnn_offload.bench.steady import navigation_set_hz
from dnn_offload.cost.energy import PowerModel
from dnn_offload.report.bench_records import Step, Window
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.session import Session

TICK_S = 0.05


@dataclass(frozen=True)
class Played:
    """A row's way along the timeline.

    Attributes:
        frames: All frames, their ``time_s`` counted from the start of the timeline.
        windows: The whole trace, the part under load where there is one, and every stretch.
    """

    row: str
    round: int
    frames: tuple[FrameRow, ...]
    windows: tuple[Window, ...]
    steps: tuple[Step, ...]


def play(
    scenario: Scenario, point: Point, row: str, number: int, session: Session,
    emulation: Emulation, advance: Callable[[float], None], power: PowerModel | None,
    keep: Callable[[Sequence[FrameRow]], None] = lambda frames: None,
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
        keep: Told of the frames, however it ends.
    """
    recorder = session.recorder
    first, start_s = len(recorder.rows), recorder.now_s()
    changes = list(scenario.timeline)
    made: list[tuple[float, str]] = []
    now = point.conditions
    told_s = 0.0
    try:
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
    finally:  # an early end keeps them, too
        frames = tuple(
            replace(frame, time_s=frame.time_s - start_s) for frame in recorder.rows[first:]
            if 0.0 <= frame.time_s - start_s < scenario.duration_s
        )
        keep(frames)
    loads = [replace(one, time_s=one.time_s - start_s) for one in recorder.loads]
    ends_s = [at_s for at_s, _ in made[1:]] + [scenario.duration_s]
    return Played(
        row, number, frames,
        windows(
            scenario, point, row, number, frames, loads, navigation_set_hz(session), power
        ),
        tuple(
            _step(row, number, what, frames, at_s, end_s, scenario.deadline_ms)
            for (at_s, what), end_s in zip(made, ends_s, strict=True)
        ),
    )


def _step(
    row: str, number: int, what: str, frames: Sequence[FrameRow], at_s: float, end_s: float,
    deadline_ms: float,
) -> Step:
    spent = cost(frames, at_s, end_s, deadline_ms)
    return Step(
        row, number, at_s, what, reaction_s(frames, at_s, end_s), spent.late, spent.unanswered,
        spent.unrescuable,
    )
