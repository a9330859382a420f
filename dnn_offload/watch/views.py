"""What is shown: one look at the whole system, as data. Units in the names; NaN = not known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math
from typing import Any

from dnn_offload.watch.facts import LoadFact, PlanFact, ServerFact

JSON_SCHEMA = 1


@dataclass(frozen=True)
class StreamView:
    """A robot's frames in the last ``window_s``.

    Attributes:
        window_s: Length of the window, shorter at the start [s].
        results_hz: Results per second, by the robot's own counters.
        latency_median_ms, latency_p95_ms: Of the results, acquisition to publication.
        newest_age_s: Age of the newest result now: its latency, and the time since its report
            came, so that no two machines' clocks are subtracted. NaN before the first.
        shares: Outcome to its share of the frames that ended [1].
        totals: Outcome to frames since activation.
        drop_reasons: Reason to reports heard in the last ``robot.REASONS_S``.
        missed_deadline: Share of results later than the deadline [1].
        deadline_ms: Deadline in force; 0 = none.
        late_answers: Answers that came after their frame had ended, since activation.
        lost_pictures: Published by the camera and never come to the node, since activation.
        lost_share: Of the pictures published in the window [1].
        runs_at: Server that the newest frame ran at; '' = the robot.
        heard_share: Reports that arrived here over frames that ended [1].
        silent_s: Since the last report [s].
        latency_history_ms: Mean latency of each of the last seconds with results, oldest first.
    """

    window_s: float
    results_hz: float
    latency_median_ms: float
    latency_p95_ms: float
    newest_age_s: float
    shares: dict[str, float]
    totals: dict[str, int]
    drop_reasons: dict[str, int]
    missed_deadline: float
    deadline_ms: float
    late_answers: int
    lost_pictures: int
    lost_share: float
    runs_at: str
    heard_share: float
    silent_s: float
    latency_history_ms: tuple[float, ...]


@dataclass(frozen=True)
class LinkView:
    """Transfers of the last ``robot.LINK_S``: how many, and the median of time and size."""

    uplink_transfers: int
    uplink_ms: float
    uplink_bytes: float
    downlink_transfers: int
    downlink_ms: float
    downlink_bytes: float
    lost: int


@dataclass(frozen=True)
class NodeView:
    """A node's last word on itself."""

    name: str
    level: int
    message: str
    silent_s: float


@dataclass(frozen=True)
class RobotView:
    """One robot, named by its namespace; parts that were never heard are None.

    Attributes:
        silent_s: Since anything at all was heard of it [s].
        gone: None of its publishers is left in the domain.
        model: Network, as its inference node or a server of the same network calls it.
        inference_nodes: Nodes that publish its frame reports; more than one is a mistake.
    """

    name: str
    silent_s: float
    gone: bool
    model: str
    inference_nodes: int
    stream: StreamView | None
    plan: PlanFact | None
    plan_silent_s: float
    load: LoadFact | None
    load_silent_s: float
    link: LinkView
    nodes: tuple[NodeView, ...]

    @property
    def never_heard(self) -> bool:
        """Whether discovery alone has told of it."""
        return not (self.stream or self.plan or self.load or self.nodes)


@dataclass(frozen=True)
class ServerView:
    """One server; ``frames_hz`` is what it answered per second lately.

    ``lives`` counts the sessions that spoke in its name in the last seconds, in turns: more than
    one means that two servers have one name.
    """

    status: ServerFact
    silent_s: float
    frames_hz: float
    lives: int


@dataclass(frozen=True)
class Alarm:
    """Something that a user should know; ``about`` is a robot, a server, or ''."""

    about: str
    text: str
    serious: bool


@dataclass(frozen=True)
class SystemView:
    """Everything, at one time; ``listened_s`` since the start."""

    listened_s: float
    robots: tuple[RobotView, ...]
    servers: tuple[ServerView, ...]
    alarms: tuple[Alarm, ...]


def as_json(view: SystemView, where: dict[str, object]) -> dict[str, Any]:
    """A look as plain data for ``json.dumps``; what is not known is None.

    Args:
        view: The look.
        where: What is known of the domain, put in front.
    """
    made = {'schema': JSON_SCHEMA, **where, **_without_nan(asdict(view))}
    for alarm in made['alarms']:
        alarm['level'] = 'serious' if alarm.pop('serious') else 'note'
    return made


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
