"""Windows of a running stream in which one plan has settled."""

from __future__ import annotations

from dataclasses import dataclass
import time

from dnn_offload.bench.scenario.changes import as_planned
from dnn_offload.cost.energy import PowerModel
from dnn_offload.report.bench_records import measure, navigation_share, Window
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.session import Session

POLL_S = 0.1
RECENT = 30  # frames; most may be passed over where the robot is slow


@dataclass(frozen=True)
class Patience:
    """How long to wait for steady state, and for results.

    Attributes:
        least_s: Always waited after a change.
        same_s: So long the same plan must have been in force.
        most_s: Then it is measured as it is.
        window_s: Longest window.
    """

    least_s: float = 1.5
    same_s: float = 2.0
    most_s: float = 20.0
    window_s: float = 30.0


def wait_steady(session: Session, patience: Patience) -> bool:
    """Wait until results come under a plan that stays, as published; False if not in time."""
    recorder = session.recorder
    began_s = recorder.now_s()
    seen, since_s = '', began_s
    while True:
        time.sleep(POLL_S)
        session.fleet.check()
        now_s = recorder.now_s()
        published = recorder.latest.plan
        plan = as_planned(recorder.rows[-RECENT:], published.server if published else '')
        if plan != seen or not plan:
            seen, since_s = plan, now_s
        if now_s - began_s >= patience.least_s and now_s - since_s >= patience.same_s:
            return True
        if now_s - began_s > patience.most_s:
            return False


def phase_of(row: str, number: int) -> str:
    """Which row and round frames belong to, as in ``frames.csv``."""
    return f'{row}, round {number + 1}'


def navigation_set_hz(session: Session) -> float:
    """Loops per second that the navigation stand-in is set to; 0 where it does not run."""
    return float((session.recorder.latest.navigation or {}).get('wanted_hz', 0.0))


def take_window(
    session: Session, *, point: int, row: str, number: int, frames: int, patience: Patience,
    power: PowerModel | None = None,
) -> Window:
    """Collect results until there are enough, and sum them up."""
    recorder = session.recorder
    recorder.phase = phase_of(row, number)
    first, start_s = len(recorder.rows), recorder.now_s()

    def own() -> list[FrameRow]:
        return [frame for frame in recorder.rows[first:] if frame.time_s >= start_s]

    while recorder.now_s() - start_s < patience.window_s:
        time.sleep(POLL_S)
        session.fleet.check()
        if sum(frame.has_result and not frame.is_scout for frame in own()) >= frames:
            break
    seconds = recorder.now_s() - start_s
    return measure(
        own(), point=point, row=row, number=number, seconds=seconds, power=power,
        navigation=navigation_share(
            [sample for sample in recorder.loads if sample.time_s >= start_s],
            navigation_set_hz(session),
        ),
    )
