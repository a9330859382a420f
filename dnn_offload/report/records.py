"""What a run leaves behind: one row per frame, samples of the load, phases. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dnn_offload.exchange import SCOUT_LABEL

OUTCOMES = ('remote', 'local', 'rescued', 'dropped')
DROP_REASONS = (
    '', 'superseded', 'superseded_at_server', 'no_answer', 'cannot_rescue', 'bad_image', 'error',
    'shutdown',
)


@dataclass(frozen=True)
class FrameRow:
    """One frame, as in ``frames.csv``. Times [ms] as in ``msg/FrameReport.msg``.

    Attributes:
        time_s: Acquisition, seconds since the start of the run.
        phase: Name of the phase in which its report came.
        strategy: Strategy whose plan it ran under.
        cut: Identity of the cut, as in the plan; empty = all on the robot.
        depth: Weighted layers that ran on the robot before anything left it; -1 = nothing left.
        is_trial: Whether it ran under a plan that was tried, beside the one in force.
        stood_in: Whether torch ran a piece in place of one that was still being compiled.
    """

    time_s: float
    phase: str
    strategy: str
    frame_seq: int
    outcome: str
    drop_reason: str
    cut: str
    cut_index: int
    cut_label: str
    depth: int
    codec: str
    server: str
    plan_epoch: int
    plan_id: int
    uplink_bytes: int
    age_ms: float
    wait_ms: float
    preprocess_ms: float
    head_ms: float
    head_cpu_ms: float
    head_wait_ms: float
    encode_ms: float
    uplink_ms: float
    queue_ms: float
    decode_ms: float
    tail_ms: float
    downlink_ms: float
    rest_ms: float
    finish_ms: float
    latency_ms: float
    deadline_met: bool
    is_trial: bool = False
    stood_in: bool = False
    overlap_ms: float = 0.0

    @property
    def is_scout(self) -> bool:
        """Run on the robot, under a plan that offloads, to see what that costs."""
        return self.cut_label == SCOUT_LABEL

    @property
    def has_result(self) -> bool:
        """Whether a result was published."""
        return self.outcome != 'dropped'

    @property
    def result_time_s(self) -> float:
        """When the result was published, seconds since the start of the run."""
        return self.time_s + self.latency_ms / 1e3


@dataclass(frozen=True)
class LoadSample:
    """The robot's load at a time: slow-down of our inference and the navigation's rate."""

    time_s: float
    factor: float
    loadavg: float
    navigation_hz: float


@dataclass(frozen=True)
class Event:
    """Something that the script did or saw."""

    time_s: float
    text: str


@dataclass(frozen=True)
class Span:
    """A phase of a run, with the windows in which a strategy was forced for comparison."""

    name: str
    title: str
    start_s: float
    end_s: float


def write_frames_csv(
    path: Path, rows: Sequence[FrameRow], belong: Sequence[Mapping[str, object]] = ()
) -> None:
    """Write one row per frame, with a header.

    Args:
        path: The file.
        rows: The frames.
        belong: Of each frame what it belongs to, in columns before its own; empty = nothing.
    """
    first = list(belong[0]) if belong else []
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, [*first, *(field.name for field in fields(FrameRow))])
        writer.writeheader()
        for row, own in zip(rows, belong or [{}] * len(rows), strict=True):
            values = {**own, **asdict(row)}
            writer.writerow(
                {k: f'{v:.3f}' if isinstance(v, float) else v for k, v in values.items()}
            )
