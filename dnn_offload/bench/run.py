"""Runs a scenario: starts machines and nodes, compares rows, keeps what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
import itertools
from pathlib import Path

from rich.console import Console

from dnn_offload.bench.caches import cache_of, forget_profiles
from dnn_offload.bench.emulation import Emulation
from dnn_offload.bench.place import Place
from dnn_offload.bench.progress import BenchProgress
from dnn_offload.bench.rows.oracle_row import OracleSearch
from dnn_offload.bench.rows.other_rows import measure_other, why_not
from dnn_offload.bench.rows.simulated import simulate_point
from dnn_offload.bench.scenario.file import ROW_SETTINGS
from dnn_offload.bench.scenario.scenario import Conditions, in_turn, Point, Row, Scenario
from dnn_offload.bench.scenario.stretches import LOADED, stretches
from dnn_offload.bench.steady import Patience, phase_of, take_window, wait_steady
from dnn_offload.bench.timeline import play, play_today, Played
from dnn_offload.cost.energy import PowerModel, resolve_board
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
from dnn_offload.report.bench_records import BenchRecord, Window
from dnn_offload.report.records import FrameRow
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.testbed.session import Session

START_S = 25.0       # of nodes with cached profiles, for the estimate of the time left
AFTER_LINK_S = 4.0   # after a change of conditions, until estimates have followed
HEADROOM = 0.8       # of the rate that the robot alone can do


@dataclass(frozen=True)
class BenchOptions:
    """What a bench may be told.

    Attributes:
        out: Folder for its results.
        cache_dir: Where exported networks and profiles are kept.
        loopback: Do without network namespaces and quotas.
        time_scale: Length of a timeline, 1 = as it is written.
        new_profiles: Measure machines anew.
    """

    out: Path
    cache_dir: Path = Path('~/.cache/dnn_offload')
    loopback: bool = False
    time_scale: float = 1.0
    new_profiles: bool = False


@dataclass
class BenchRun:
    """What comes out.

    Attributes:
        record: Windows, steps, searches.
        frames: Every frame with the point that it belongs to.
        played: Of a timeline, each row's run.
    """

    record: BenchRecord
    frames: list[tuple[int, FrameRow]] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)


class Bench:
    """One run of a scenario.

    Args:
        scenario: What to play, not scaled yet.
        options: Options.
        console: Where to talk to the user.
    """

    def __init__(self, scenario: Scenario, options: BenchOptions, console: Console) -> None:
        self._scenario = scenario.scaled(options.time_scale)
        self._options = options
        self._console = console
        self._cache = options.cache_dir.expanduser()
        self._power: PowerModel | None = resolve_board(scenario.board) if scenario.board else None
        self._rows = [row for row in scenario.rows if not why_not(row.name)]
        self._run = BenchRun(BenchRecord([point.title for point in scenario.points]))
        self._progress = BenchProgress(console, self._seconds())

    @property
    def outcome(self) -> BenchRun:
        """What was measured so far."""
        return self._run

    def run(self) -> None:
        """Play it; everything that was made is gone when this returns or raises.

        Raises:
            OffloadError: A model, a node, the network or a quota fails.
        """
        for row in self._scenario.rows:
            if reason := why_not(row.name):
                self.note(f'left out: {reason}')
        if self._options.new_profiles:
            forget_profiles(self._cache)
        with self._progress:
            for _, group in itertools.groupby(
                enumerate(self._scenario.points), lambda item: item[1].machines
            ):
                self._machines(list(group))

    def note(self, text: str) -> None:
        """Something that a reader of the report has to know."""
        self._run.record.notes.append(text)
        self._console.print(text, style='yellow', markup=False)

    # -- time ---------------------------------------------------------------------------

    def _row_s(self, row: Row) -> float:
        scenario = self._scenario
        window_s = scenario.frames / scenario.frame_hz + 4.0
        return window_s * (scenario.oracle_candidates if row.name == 'oracle' else 1.0)

    def _seconds(self) -> float:
        """Estimate of the whole."""
        scenario = self._scenario
        starts = len({point.machines for point in scenario.points})
        if scenario.timeline:
            each_s = (scenario.duration_s + AFTER_LINK_S) * len(self._rows)
        else:
            each_s = sum(self._row_s(row) for row in self._rows)
        points = sum(not point.simulated for point in scenario.points)
        return START_S * starts + each_s * scenario.repeat * points

    # -- running ------------------------------------------------------------------------

    def _machines(self, points: list[tuple[int, Point]]) -> None:
        """Start robot and server once, and go through the points that they are for."""
        scenario, options, first = self._scenario, self._options, points[0][1]
        self._progress.doing(f'preparing {first.model}')
        request = ModelRequest(
            first.model, scenario.weights, input_size=scenario.input_size
        )
        sides = {'robot': first.robot_speed, 'server': first.server_speed}
        if options.loopback:
            sides = dict.fromkeys(sides, 0.0)
        caches = {
            side: cache_of(request, self._cache, side, speed) for side, speed in sides.items()
        }
        folder = options.out / 'logs' / str(points[0][0])
        with ExitStack() as stack:
            emulation = stack.enter_context(Emulation(
                replace(first, conditions=Conditions()), folder,
                burst_bytes=scenario.burst_bytes, time_scale=options.time_scale,
                loopback=options.loopback,
            ))
            self._progress.doing(f'starting {first.title}')
            session = stack.enter_context(self._session(folder, first, emulation, caches))
            self._progress.passed(START_S)
            place = Place(session, emulation, request, caches['robot'], caches['server'])
            for number, point in points:
                if point.simulated:
                    self._simulate(number, point, place)
                elif scenario.timeline:
                    self._timeline(number, point, place)
                else:
                    self._steady(number, point, place)

    def _session(
        self, folder: Path, point: Point, emulation: Emulation, caches: dict[str, Path]
    ) -> Session:
        scenario = self._scenario

        def rate_hz(profile: Profile) -> float:
            if scenario.timeline:
                return scenario.frame_hz
            alone_ms = profile.whole_ms + profile.finish_ms + 5.0
            return min(scenario.frame_hz, HEADROOM * 1e3 / alone_ms)

        robot: dict[str, object] = {
            'cache_dir': str(caches['robot']), 'deadline_ms': scenario.deadline_ms,
            'nice': 0,  # as the programs that it is compared with
        }
        planner: dict[str, object] = {'objective': scenario.objective}
        if scenario.board:
            planner['board'] = scenario.board
        return Session(
            folder, model=point.model, rate_hz=rate_hz, robot=robot,
            server={'cache_dir': str(caches['server'])}, planner=planner,
            common={'weights': scenario.weights, 'input_size': scenario.input_size},
            network=emulation.network, groups=emulation.groups, within=emulation.within,
            grain_px=scenario.grain_px, navigation=scenario.loaded,
        )

    def _use(self, row: Row, session: Session) -> None:
        """Have the planner follow a row."""
        session.recorder.set_parameters(
            'partition_planner_node', strategy=row.strategy,
            **{**ROW_SETTINGS, **dict(row.planner)},
        )

    def _settle(self, session: Session, what: str, patience: Patience) -> None:
        """Wait for steady state; what is measured without it is measured with a note."""
        if not wait_steady(session, patience):
            self.note(
                f'{what}: no plan had stayed for {patience.same_s:g} s after '
                f'{patience.most_s:g} s; measured as it was'
            )

    def _steady(self, number: int, point: Point, place: Place) -> None:
        """Interleaved rounds of all rows under conditions that stay."""
        session = place.session
        self._progress.doing(point.title)
        place.emulation.apply(point.conditions, session)
        self._use(Row('auto', 'auto'), session)
        self._settle(session, f'{point.title}: at first', Patience(least_s=AFTER_LINK_S))
        first = len(session.recorder.rows)
        try:
            self._rounds(number, point, place)
        finally:  # an early end keeps them, too
            self._run.frames += [(number, frame) for frame in session.recorder.rows[first:]]

    def _rounds(self, number: int, point: Point, place: Place) -> None:
        """All rows in turn, round by round."""
        scenario, session = self._scenario, place.session
        search: OracleSearch | None = None
        for turn in range(scenario.repeat):
            for row in in_turn(self._rows, turn):
                self._progress.doing(f'{point.title}: {row.name}')
                session.recorder.phase = phase_of(row.name, turn)
                if row.name == 'oracle':
                    if search is None:
                        search = OracleSearch(number, place, scenario, self._power)
                        self._run.record.searches.append(search.run())
                    window = search.again(turn)
                elif row.strategy:
                    self._use(row, session)
                    self._settle(session, f'{point.title}: {row.name}', Patience())
                    window = take_window(
                        session, point=number, row=row.name, number=turn,
                        frames=scenario.frames, patience=Patience(), power=self._power,
                    )
                else:
                    window = measure_other(
                        row.name, place, scenario.frames, point=number, number=turn,
                        deadline_ms=scenario.deadline_ms,
                    )
                self._tell(window)
                self._progress.passed(self._row_s(row))
        if search is not None:
            self._run.record.searches[-1] = search.judged(self._run.record)

    def _timeline(self, number: int, point: Point, place: Place) -> None:
        """Each row through the whole timeline, round by round."""
        scenario, session = self._scenario, place.session
        record = self._run.record
        record.stretches = stretches(scenario, point)
        record.points = [point.title, 'under load', *(s.title for s in record.stretches)]

        def keep(frames: Sequence[FrameRow]) -> None:
            self._run.frames += [(number, frame) for frame in frames]

        for turn in range(scenario.repeat):
            for row in in_turn(self._rows, turn):
                self._progress.doing(f'{row.name}, round {turn + 1} of {scenario.repeat}')
                place.emulation.apply(point.conditions, session)
                if place.emulation.loadavg is not None:
                    place.emulation.loadavg.reset()
                if not session.wait_for_server():
                    raise OffloadError(
                        'the server did not come back', hint=f'see {session.fleet.folder}'
                    )
                session.recorder.phase = phase_of(row.name, turn)
                self._progress.passed(AFTER_LINK_S)
                if row.strategy:
                    self._use(row, session)
                    self._settle(session, row.name, Patience(least_s=AFTER_LINK_S))
                    played = play(
                        scenario, point, row.name, turn, session, place.emulation,
                        self._progress.passed, self._power, keep,
                    )
                else:
                    played = play_today(scenario, point, turn, place, self._progress.passed, keep)
                self._run.played.append(played)
                self._run.record.steps += played.steps
                for window in played.windows:
                    self._tell(window)

    def _simulate(self, number: int, point: Point, place: Place) -> None:
        for window in simulate_point(
            number, point, self._rows, place.robot_profile(), place.server_profile(),
            self._power, self._scenario.objective,
        ):
            self._tell(window)

    def _tell(self, window: Window) -> None:
        self._run.record.windows.append(window)
        if self._run.record.stretches and window.point > LOADED:
            return  # a line for each is for the report
        what = 'simulated, ' if window.simulated else ''
        self._console.print(
            f'{self._run.record.points[window.point]}: {window.row}: {window.latency_ms:.1f} ms, '
            f'{window.rate_hz:.1f} results/s, {what}{window.plan or "no result"}',
            markup=False, soft_wrap=True,
        )

