"""The oracle as a row: candidates are run by publishing plans, while the planner is silent."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import replace
import functools
import math
import statistics
import time

from dnn_offload.bench.place import Place
from dnn_offload.bench.rows.oracle import Found, Option, options, search, Shares
from dnn_offload.bench.scenario.scenario import Scenario
from dnn_offload.bench.steady import Patience, take_window
from dnn_offload.cost.energy import PowerModel
from dnn_offload.errors import OffloadError
from dnn_offload.report.bench_records import BenchRecord, noise_floor, Search, Window
from dnn_offload.report.records import FrameRow
from dnn_offload.runtime.backends.compiled import HOT_S
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import SERVER_ID

JPEG = 'jpeg'
PLANNER = 'partition_planner_node'
TRY_FRAMES = 8        # of a candidate in the search
FINALISTS = 3         # the fastest of the search, run again with as many frames as all rows,
FINAL_ROUNDS = 2      # in turn
TAKEN_TIMEOUT_S = 15.0
COMPILED_TIMEOUT_S = HOT_S + 10.0  # a piece waits for room until others have not run for so long
SETTLE_S = 0.7


class OracleSearch:
    """Finds the best plan at a point, and measures it again in every round.

    Args:
        point: Number of the point.
        place: What runs.
        scenario: For limits.
        power: The robot's board.
    """

    def __init__(
        self, point: int, place: Place, scenario: Scenario, power: PowerModel | None = None
    ) -> None:
        self._point, self._place, self._scenario = point, place, scenario
        self._power = power
        self._best: Option | None = None
        self._again_ms: list[tuple[float, float]] = []
        self._tried_id = 0
        self._guessed: list[tuple[str, str]] = []

    def run(self) -> Search:
        """Search; raises OffloadError when nothing runs."""
        with self._without_planner():
            found, candidates = self._search()
            finalists = found.finalists(FINALISTS, self._guessed)
            latencies: dict[Option, list[float]] = {option: [] for option in finalists}
            for option in finalists * FINAL_ROUNDS:  # interleaved: a busy moment hits all of them
                window = self._try(option, self._scenario.frames)
                latencies[option].append(window.latency_ms)
        if not finalists:
            raise OffloadError('the oracle found no plan that runs', hint='see the nodes\' logs')
        self._best = min(finalists, key=lambda option: statistics.fmean(latencies[option]))
        return Search(
            self._point, f'cut {self._best.cut_index} {self._best.codec}'.strip(),
            len(found.tried), candidates, found.exhausted, left_out_ms=found.left_out_ms,
        )

    def _search(self) -> tuple[Found, int]:
        """Best first; the result, and how many candidates there are."""
        now = self._place.emulation.now
        edge, server = self._place.robot_profile(), self._place.server_profile()
        bounded = functools.partial(
            options, edge, server, uplink_bps=now.uplink_mbps * 1e6,
            downlink_bps=now.downlink_mbps * 1e6,
            burst_bytes=self._place.emulation.burst_bytes(),
        )

        def run(option: Option, shares: Shares) -> tuple[float, Shares]:
            latency_ms = self._try(option, TRY_FRAMES).latency_ms
            return latency_ms, shares.seen(option, edge, server, *self._computing_ms())

        known = bounded()
        self._guessed = self._guesses(known)
        found = search(
            lambda shares: bounded(shares=shares), run, self._scenario.oracle_candidates,
            self._guessed,
        )
        return found, len(known)

    def _computing_ms(self) -> tuple[float, float]:
        """Median head and server's part of the plan that was tried last [ms]; NaN = none."""
        rows = [
            row for row in self._place.session.recorder.rows
            if row.plan_id == self._tried_id and row.has_result and not row.stood_in
        ]
        tails = [row.tail_ms for row in rows if row.outcome == 'remote']
        return (
            statistics.median(row.head_ms for row in rows) if rows else math.nan,
            statistics.median(tails) if tails else math.nan,
        )

    def _guesses(self, known: list[Option]) -> list[tuple[str, str]]:
        """All on the robot, the picture as JPEG, and what ran under the planner just now."""
        plan = self._place.session.recorder.latest.plan
        wanted = [('', '')]
        wanted += [(option.cut_id, JPEG) for option in known if option.cut_index == 0]
        if plan is not None:
            wanted.append((plan.cut, plan.codec))
        return wanted

    def again(self, number: int) -> Window:
        """Measure the winner as any other row; ``number`` is the round."""
        assert self._best is not None, 'run() comes first'
        with self._without_planner():
            window = self._try(self._best, self._scenario.frames)
            # A second time at once: what differs now is noise.
            second_ms = self._try(self._best, self._scenario.frames).latency_ms
        self._again_ms.append((window.latency_ms, second_ms))
        middle = statistics.fmean(self._again_ms[-1])
        return replace(window, round=number, latency_ms=middle)

    def judged(self, record: BenchRecord) -> Search:
        """The search of this point with its noise floor."""
        search = next(s for s in reversed(record.searches) if s.point == self._point)
        return replace(search, noise_floor=noise_floor(self._again_ms))

    def _try(self, option: Option, frames: int) -> Window:
        """Run a plan and measure it."""
        session = self._place.session
        recorder = session.recorder
        server = SERVER_ID if option.cut_id else ''
        plan_id = recorder.publish_plan(
            self._place.robot_profile().model_identity, option.cut_id, option.codec, server
        )
        self._tried_id = plan_id
        def ended() -> list[FrameRow]:
            return [row for row in recorder.rows[-3:] if row.plan_id == plan_id]

        if not wait_until(lambda: bool(ended()), TAKEN_TIMEOUT_S):
            return Window(self._point, 'oracle', 0, math.inf, math.inf, 0.0, 0)
        # With torch in place of what is still being compiled a plan looks slower than it is.
        wait_until(
            lambda: any(row.has_result and not row.stood_in for row in ended()), COMPILED_TIMEOUT_S
        )
        time.sleep(SETTLE_S)
        window = take_window(
            session, point=self._point, row='oracle', number=0, frames=frames,
            patience=Patience(), power=self._power,
        )
        return window if window.results else replace(window, latency_ms=math.inf)

    @contextlib.contextmanager
    def _without_planner(self) -> Iterator[None]:
        recorder = self._place.session.recorder
        recorder.deactivate(PLANNER)
        try:
            yield
        finally:
            recorder.activate(PLANNER)
