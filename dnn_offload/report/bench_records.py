"""What a bench measures, and its sums: windows of frames, medians over rounds, regret. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
import math
import statistics

from dnn_offload.cost.energy import frame_energy_j, PowerModel
from dnn_offload.report.records import FrameRow, LoadSample

LOCAL = 'all on the robot'


@dataclass(frozen=True)
class Window:
    """One row at one point in one round.

    Attributes:
        point: Number of the point.
        row: Name of the row.
        round: Count of the round, from 0.
        latency_ms: Median of acquisition to result; NaN without a result.
        p95_ms: 95 % of the results were faster.
        rate_hz: Results per second.
        results, dropped, late: Frames: with a result, without, with a result after the deadline.
        plan: What ran most, e.g. ``cut 5 int8``, ``all on the robot``.
        cut_index, cut_label, codec: Of that plan; -1 and '' where there is none.
        uplink_bytes: Median of what went up.
        energy_j: Of the robot's board per frame, from the stages' times; NaN = no board.
        simulated: Not run, but reckoned.
        navigation: Loop rate of the navigation stand-in beside it over the rate that it is set to;
            NaN = it did not run.
    """

    point: int
    row: str
    round: int
    latency_ms: float
    p95_ms: float
    rate_hz: float
    results: int
    dropped: int = 0
    late: int = 0
    plan: str = ''
    cut_index: int = -1
    cut_label: str = ''
    codec: str = ''
    uplink_bytes: float = 0.0
    energy_j: float = math.nan
    simulated: bool = False
    navigation: float = math.nan


@dataclass(frozen=True)
class Cell:
    """A row at a point over all rounds.

    Attributes:
        latency_ms, energy_j: Median of the values of rounds with a result.
        rate_hz: Median of all rounds; one without a result is 0.
        spread: Largest less smallest latency of the rounds, over the median.
        rounds: How many had a result.
        window: The round nearest to the median, for what ran.
    """

    latency_ms: float
    rate_hz: float
    energy_j: float
    spread: float
    rounds: int
    window: Window


@dataclass(frozen=True)
class Step:
    """What a row did after conditions changed.

    Attributes:
        what: The change.
        reaction_s: Until frames entered under the plan that then stayed
            (``bench/scenario/changes.py``); NaN = it was in force already.
        late: Results after their deadline until the next change, of frames under way at the
            change, too.
        unanswered: Frames that got neither an answer nor a result in the time that a reaction is
            judged over, since a newer one was rescued or published instead.
        unrescuable: The same, since the rest of the network did not fit before the deadline.
    """

    row: str
    round: int
    at_s: float
    what: str
    reaction_s: float
    late: int = 0
    unanswered: int = 0
    unrescuable: int = 0


@dataclass(frozen=True)
class Stretch:
    """A part of a timeline in which conditions stay.

    Attributes:
        point: Number of the point that its windows have.
        title: When and what, e.g. ``180 to 210 s: 8 Mbit/s, load 3``.
        start_s, end_s: From one change to the next.
        settled_s: From when on it is judged.
        cut_off: Whether the link is down or the server dead: nobody can offload.
    """

    point: int
    title: str
    start_s: float
    end_s: float
    settled_s: float
    cut_off: bool


@dataclass(frozen=True)
class Search:
    """How the oracle found its plan at a point.

    Attributes:
        ran: Candidates that were run.
        known: Candidates that there are.
        exhausted: Whether every candidate left out has a bound above the best.
        noise_floor: What two windows of the very same plan, one behind the other, differ by,
            over their median.
        left_out_ms: No candidate that was left out can be faster; infinite if ``exhausted``.
    """

    point: int
    plan: str
    ran: int
    known: int
    exhausted: bool
    noise_floor: float = math.nan
    left_out_ms: float = math.inf


@dataclass
class BenchRecord:
    """All that a bench measured; points are told by their titles.

    Of a timeline, point 0 is the whole trace, 1 the part under load, and ``stretches`` are the
    others.
    """

    points: list[str]
    windows: list[Window] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    searches: list[Search] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)

    def rows(self) -> list[str]:
        """Names of all rows, in order of appearance."""
        return list(dict.fromkeys(window.row for window in self.windows))

    def cell(self, point: int, row: str) -> Cell | None:
        """A row at a point; None if it has no result there."""
        own = [w for w in self._windows(point, row) if math.isfinite(w.latency_ms)]
        if not own:
            return None
        middle = statistics.median(w.latency_ms for w in own)
        spread = max(w.latency_ms for w in own) - min(w.latency_ms for w in own)
        return Cell(
            middle, self.rate_hz(point, row) or 0.0,
            statistics.median(w.energy_j for w in own), spread / middle, len(own),
            min(own, key=lambda w: abs(w.latency_ms - middle)),
        )

    def doubt(self, search: Search) -> float:
        """By what share of it a plan that the oracle did not run may be faster than its best."""
        best = self.cell(search.point, 'oracle')
        if best is None or search.exhausted:
            return 0.0
        return max(1.0 - search.left_out_ms / best.latency_ms, 0.0)

    def latency_ms(self, point: int, row: str) -> float | None:
        """Median latency of a row at a point, infinite in rounds without a result [ms].

        None if the row was not run there. This is what figures judge by: a row that fails must
        not do better than one that is slow.
        """
        own = [w.latency_ms for w in self._windows(point, row)]
        return statistics.median(v if math.isfinite(v) else math.inf for v in own) if own else None

    def rate_hz(self, point: int, row: str) -> float | None:
        """Median rate of results of a row at a point; None if the row was not run there."""
        own = [w.rate_hz for w in self._windows(point, row)]
        return statistics.median(own) if own else None

    def navigation(self, point: int, row: str) -> float:
        """Median over the rounds of what navigation kept of its loop rate; NaN = not known."""
        own = [w.navigation for w in self._windows(point, row) if math.isfinite(w.navigation)]
        return statistics.median(own) if own else math.nan

    def _windows(self, point: int, row: str) -> list[Window]:
        return [w for w in self.windows if w.point == point and w.row == row]


def measure(
    rows: Sequence[FrameRow], *, point: int, row: str, number: int, seconds: float,
    power: PowerModel | None = None, navigation: float = math.nan,
) -> Window:
    """Sum up the frames of a window.

    Scouts, single frames that a plan which offloads runs on the robot, are results like any other
    to whoever waits for them: their latency counts. What the plan was, the others tell.

    Args:
        rows: Frames acquired in it.
        point: Number of the point that it belongs to.
        row: Name of the row.
        number: Of the round.
        seconds: Its length.
        power: The robot's board; None = energy unknown.
        navigation: As of a window.
    """
    results = [frame for frame in rows if frame.has_result]
    if not results:
        return Window(
            point, row, number, math.nan, math.nan, 0.0, 0, dropped=len(rows),
            navigation=navigation,
        )
    latencies = sorted(frame.latency_ms for frame in results)
    planned = [frame for frame in results if not frame.is_scout] or results
    most = Counter((f.cut_index, f.codec, f.server) for f in planned).most_common(1)[0][0]
    shown = [f for f in planned if (f.cut_index, f.codec, f.server) == most][-1]
    energies = [frame_energy(frame, power) for frame in results] if power is not None else []
    return Window(
        point, row, number,
        latency_ms=statistics.median(latencies),
        p95_ms=p95(latencies),
        rate_hz=len(results) / seconds,
        results=len(results),
        dropped=sum(not frame.has_result for frame in rows),
        late=sum(not frame.deadline_met for frame in results),
        plan=f'cut {shown.cut_index} {shown.codec}' if shown.server else LOCAL,
        cut_index=shown.cut_index,
        cut_label=shown.cut_label if shown.server else LOCAL,
        codec=shown.codec,
        uplink_bytes=statistics.median(float(frame.uplink_bytes) for frame in planned),
        energy_j=statistics.median(energies) if energies else math.nan,
        navigation=navigation,
    )


def measure_answers(
    answers: Sequence[tuple[float, float]], *, point: int, row: str, number: int, rate_hz: float,
    deadline_ms: float = 0.0, plan: str = '',
) -> Window:
    """Sum up a row whose frames nobody reports: only answers are known.

    Args:
        answers: Of each, when its picture was taken [s], and its latency [ms].
        point: Number of the point that it belongs to.
        row: Name of the row.
        number: Of the round.
        rate_hz: Of the pictures: those between the first and the last answer that have none were
            dropped.
        deadline_ms: 0 = none.
        plan: What ran.
    """
    if not answers:
        return Window(point, row, number, math.nan, math.nan, 0.0, 0, plan=plan)
    taken_s = [time_s for time_s, _ in answers]
    latencies = sorted(latency_ms for _, latency_ms in answers)
    span_s = max(taken_s) - min(taken_s)
    pictures = round(span_s * rate_hz) + 1
    return Window(
        point, row, number,
        latency_ms=statistics.median(latencies),
        p95_ms=p95(latencies),
        rate_hz=(len(answers) - 1) / span_s if span_s > 0.0 else 0.0,
        results=len(answers),
        dropped=max(pictures - len(answers), 0),
        late=sum(ms > deadline_ms for ms in latencies) if deadline_ms > 0.0 else 0,
        plan=plan,
    )


def p95(ordered: Sequence[float]) -> float:
    """The value that 95 % of some, lowest first, do not exceed."""
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def navigation_share(samples: Sequence[LoadSample], set_hz: float) -> float:
    """What navigation kept of its loop rate, in the middle of some samples; NaN = it did not run.

    Args:
        samples: Of the time that is asked about.
        set_hz: The rate that it is set to; 0 = it does not run.
    """
    if not samples or set_hz <= 0.0:
        return math.nan
    return statistics.median(sample.navigation_hz for sample in samples) / set_hz


def frame_energy(frame: FrameRow, power: PowerModel) -> float:
    """Energy of a frame that was run on a robot with such a board [J].

    The processor's share of a stage is not told for all stages: what is taken is wall time, which
    is the same on a calm machine.
    """
    busy_ms = frame.head_ms + frame.encode_ms + frame.rest_ms + frame.finish_ms
    if not frame.server:
        busy_ms += frame.tail_ms
    # While a picture waits for the worker, that works for the one before it, which pays.
    own_ms = frame.latency_ms - frame.wait_ms
    wait_ms = max(own_ms - busy_ms - frame.uplink_ms - frame.downlink_ms, 0.0)
    return frame_energy_j(power, busy_ms, frame.uplink_ms, frame.downlink_ms, wait_ms)


def noise_floor(pairs_ms: Sequence[tuple[float, float]]) -> float:
    """What the same differs by at once: mean distance within pairs over the median of all.

    Rounds are minutes apart: what they differ by is the machine's hour, which every row of a round
    shares.
    """
    pairs = [pair for pair in pairs_ms if all(map(math.isfinite, pair))]
    if not pairs:
        return math.nan
    distance_ms = statistics.fmean(abs(second - first) for first, second in pairs)
    return distance_ms / statistics.median(value for pair in pairs for value in pair)


def regret(latency_ms: float, best_ms: float) -> float:
    """How much slower than the oracle; 0 = as fast."""
    return latency_ms / best_ms - 1.0


def mean(values: Iterable[float]) -> float:
    """Mean of the finite ones; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan
