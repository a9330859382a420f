"""What a bench plays: machines, conditions over time, and rows. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dnn_offload.errors import ConfigurationError
from dnn_offload.report.bench_targets import TODAY

LIVE_FROM_MBPS = 0.5  # below, discovery alone would take a minute: the simulator stands in


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: For tables; one of the strategies, of ``scenario_file.OTHER_ROWS``, or one's own.
        strategy: Of the planner; '' for a row of ``OTHER_ROWS``.
        planner: Further parameters of the planner while it is measured.
    """

    name: str
    strategy: str = ''
    planner: tuple[tuple[str, object], ...] = ()

    @property
    def follows(self) -> bool:
        """Whether it can be played along a timeline."""
        return self.strategy != '' or self.name == TODAY


@dataclass(frozen=True)
class Conditions:
    """What holds at a moment.

    Attributes:
        uplink_mbps, downlink_mbps: Rates of the link [Mbit/s]; 0 = not limited.
        load: Navigation processes that compute without a pause.
        outage: Whether the link is down.
        server: Whether the server runs.
    """

    uplink_mbps: float = 0.0
    downlink_mbps: float = 0.0
    load: int = 0
    outage: bool = False
    server: bool = True

    @property
    def simulated(self) -> bool:
        """Whether the link is too slow to be played live."""
        return any(0.0 < rate < LIVE_FROM_MBPS for rate in (self.uplink_mbps, self.downlink_mbps))


@dataclass(frozen=True)
class Point:
    """Where rows are compared: a network between two machines, and the conditions at first.

    Attributes:
        model: Model source.
        robot_speed, server_speed: Shares of one core; 0 = not limited.
        conditions: At the start; for good where there is no timeline.
    """

    model: str
    robot_speed: float
    server_speed: float
    conditions: Conditions

    @property
    def machines(self) -> tuple[str, float, float]:
        """What must be started anew when it changes."""
        return self.model, self.robot_speed, self.server_speed

    @property
    def simulated(self) -> bool:
        """Whether the link is too slow to be played live."""
        return self.conditions.simulated

    @property
    def title(self) -> str:
        """A few words."""
        rate = self.conditions.uplink_mbps
        link = f'{rate:g} Mbit/s' if rate else 'no link limit'
        load = f', load {self.conditions.load}' if self.conditions.load else ''
        return (
            f'{self.model.rpartition(":")[2]}, robot {self.robot_speed or 1:.2g}, '
            f'server {self.server_speed or 1:.2g}, {link}{load}'
        )


@dataclass(frozen=True)
class Scenario:
    """A whole bench.

    Attributes:
        name, title, what: Short name, title, and what it shows.
        papers: Findings of a paper to put beside ours, by what they are about.
        points: Where rows are compared, one after the other.
        timeline: (when [s], conditions from then on); empty = nothing changes, rows are compared
            in steady state.
        duration_s: Length of the timeline [s].
        weights, input_size: Of the model, as of the nodes.
        rows: What is compared.
        repeat: Rounds.
        frames: Results of one window in steady state.
        frame_hz: Pictures per second; in steady state never more than the robot alone can do.
        deadline_ms: Of a frame; 0 = none.
        objective, board: Of the planner.
        burst_bytes: What passes the link at once after a pause; 0 = as little as works.
        grain_px: Size of what is seen in the pictures.
        oracle_candidates: Most candidates that the oracle runs at a point.
    """

    name: str
    title: str
    what: str
    points: tuple[Point, ...]
    rows: tuple[Row, ...]
    timeline: tuple[tuple[float, Conditions], ...] = ()
    duration_s: float = 0.0
    papers: tuple[tuple[str, str], ...] = ()
    weights: str = 'DEFAULT'
    input_size: str = ''
    repeat: int = 2
    frames: int = 25
    frame_hz: float = 10.0
    deadline_ms: float = 0.0
    objective: str = 'latency'
    board: str = ''
    burst_bytes: int = 0
    grain_px: int = 40
    oracle_candidates: int = 12

    def conditions_at(self, point: Point, time_s: float) -> Conditions:
        """What holds so long after the start of the timeline [s]."""
        found = point.conditions
        for at_s, conditions in self.timeline:
            if at_s <= time_s:
                found = conditions
        return found

    @property
    def loaded(self) -> bool:
        """Whether navigation ever computes without a pause."""
        all_conditions = [p.conditions for p in self.points] + [c for _, c in self.timeline]
        return any(conditions.load > 0 for conditions in all_conditions)

    def scaled(self, factor: float) -> Scenario:
        """The same in another time: 0.1 = ten times as fast."""
        if not factor > 0.0:
            raise ConfigurationError('time scale', given=factor, allowed='above 0')
        return replace(
            self, duration_s=self.duration_s * factor,
            timeline=tuple((at_s * factor, c) for at_s, c in self.timeline),
        )


def in_turn(rows: Sequence[Row], number: int) -> list[Row]:
    """The order of rows in a round: every other round backwards.

    A machine that gets slower or faster all the while then favours no row.
    """
    return list(rows) if number % 2 == 0 else list(reversed(rows))
