"""One row along a timeline: conditions change while the stream goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
import time
from typing import Any

from dnn_offload.bench.emulation import Emulation
from dnn_offload.bench.place import Place
from dnn_offload.bench.rows.other_rows import TODAYS_PLAN, todays_stream
from dnn_offload.bench.scenario.changes import cost, difference, reaction_s
from dnn_offload.bench.scenario.scenario import Conditions, Point, Scenario
from dnn_offload.bench.scenario.stretches import windows
from dnn_offload.bench.steady import navigation_set_hz
from dnn_offload.cost.energy import PowerModel
from dnn_offload.report.bench_records import Step, Window
from dnn_offload.report.bench_targets import TODAY
from dnn_offload.report.records import FrameRow, LoadSample
from dnn_offload.testbed.session import SERVER_ID, Session

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
    try:
        made = _through(scenario, point, session, emulation, advance)
    finally:  # an early end keeps them, too
        frames = tuple(
            replace(frame, time_s=frame.time_s - start_s) for frame in recorder.rows[first:]
            if 0.0 <= frame.time_s - start_s < scenario.duration_s
        )
        keep(frames)
    ends_s = [at_s for at_s, _ in made[1:]] + [scenario.duration_s]
    return Played(
        row, number, frames,
        windows(
            scenario, point, row, number, frames, _loads(session, start_s),
            navigation_set_hz(session), power,
        ),
        tuple(
            _step(row, number, what, frames, at_s, end_s, scenario.deadline_ms)
            for (at_s, what), end_s in zip(made, ends_s, strict=True)
        ),
    )


def play_today(
    scenario: Scenario, point: Point, number: int, place: Place,
    advance: Callable[[float], None],
    keep: Callable[[Sequence[FrameRow]], None] = lambda frames: None,
) -> Played:
    """Play the timeline once with what users do today; arguments as of ``play``.

    Its frames are those that were answered: of the others nobody tells more than their number. It
    has no plan that a change could change.
    """
    session = place.session
    recorder = session.recorder
    with todays_stream(place) as stream:
        start_s = recorder.now_s()
        try:
            _through(
                scenario, point, session, place.emulation, advance,
                lambda wanted: stream.server(runs=wanted.server), stream.check,
            )
        finally:
            began_s = recorder.started_s + start_s
            frames = tuple(
                _answered(position, taken_s - began_s, latency_ms, recorder.phase, scenario)
                for position, (taken_s, latency_ms) in enumerate(stream.answers())
                if 0.0 <= taken_s - began_s < scenario.duration_s
            )
            keep(frames)
        found = windows(
            scenario, point, TODAY, number, frames, _loads(session, start_s),
            navigation_set_hz(session), None, pictures_hz=session.rate_hz,
        )
    return Played(
        TODAY, number, frames, tuple(replace(one, plan=TODAYS_PLAN) for one in found), ()
    )


def _through(
    scenario: Scenario, point: Point, session: Session, emulation: Emulation,
    advance: Callable[[float], None],
    changed: Callable[[Conditions], None] = lambda conditions: None,
    check: Callable[[], None] = lambda: None,
) -> list[tuple[float, str]]:
    """Have conditions change while time passes; when each was commanded [s], and what it was.

    ``changed`` gets the conditions once they hold, and ``check`` is called all the while; the
    others are as of ``play``.
    """
    recorder = session.recorder
    start_s, told_s = recorder.now_s(), 0.0
    made: list[tuple[float, str]] = []
    changes, now = list(scenario.timeline), point.conditions
    while (passed_s := recorder.now_s() - start_s) < scenario.duration_s:
        session.fleet.check()
        check()
        while changes and changes[0][0] <= passed_s:
            _, wanted = changes.pop(0)
            # From the command on: what comes while it is being carried out is not forgiven.
            made.append((recorder.now_s() - start_s, difference(now, wanted)))
            emulation.apply(wanted, session)
            changed(wanted)
            now = wanted
        advance(passed_s - told_s)
        told_s = passed_s
        time.sleep(TICK_S)
    return made


def _loads(session: Session, start_s: float) -> list[LoadSample]:
    return [replace(one, time_s=one.time_s - start_s) for one in session.recorder.loads]


def _answered(
    position: int, time_s: float, latency_ms: float, phase: str, scenario: Scenario
) -> FrameRow:
    """A frame of which only the answer is known."""
    in_time = scenario.deadline_ms <= 0.0 or latency_ms <= scenario.deadline_ms
    unknown: dict[str, Any] = {
        field.name: 0.0 for field in fields(FrameRow) if field.name.endswith('_ms')
    }
    return FrameRow(**{
        **unknown, 'time_s': time_s, 'phase': phase, 'strategy': TODAY, 'frame_seq': position,
        'outcome': 'remote', 'drop_reason': '', 'cut': '', 'cut_index': 0,
        'cut_label': TODAYS_PLAN, 'depth': 0, 'codec': 'jpeg', 'server': SERVER_ID,
        'plan_epoch': 0, 'plan_id': 0, 'uplink_bytes': 0, 'latency_ms': latency_ms,
        'deadline_met': in_time,
    })


def _step(
    row: str, number: int, what: str, frames: Sequence[FrameRow], at_s: float, end_s: float,
    deadline_ms: float,
) -> Step:
    spent = cost(frames, at_s, end_s, deadline_ms)
    return Step(
        row, number, at_s, what, reaction_s(frames, at_s, end_s), spent.late, spent.unanswered,
        spent.unrescuable,
    )
