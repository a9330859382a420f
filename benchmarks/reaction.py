"""How soon another plan runs once load or bandwidth has changed: figures of ``loopback.py``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
import statistics

from dnn_offload.bench.caches import cache_of
from dnn_offload.bench.emulation import Emulation, why_loopback
from dnn_offload.bench.scenario.scenario import Conditions, Point
from dnn_offload.report.records import FrameRow
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.testbed.busy import BusyProcesses
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import Session

SAME = 3  # results in a row under another plan, to be sure that it runs
BUSY = 8  # processes; three slow a stream that sleeps between frames down by less than two
HEAVY = 'torchvision:resnet18'
COMMON = {'weights': 'random', 'backend': 'torch'}
CACHE = Path('~/.cache/dnn_offload').expanduser()
FAST_MBPS, SLOW_MBPS = 20.0, 1.0
ROBOT_SPEED = 0.4   # of a core: all-local is between the JPEG's two latencies, far from both
CLEARLY = 1.3       # times as long, at least, takes the worse of the two places at either rate
STEPS = 4           # of bandwidth, each way
FINE_GRAIN_PX = 16  # JPEGs of 15 kB: 100 ms of the slow link
STEP_RATE_HZ = 6.0  # leaves a quarter of the slow link free
SETTLE_S = 8.0      # before each of them
CALM_S = 60.0       # before one more step in load: what is known of the way back must not fade
NO_ANSWER_S = 20.0  # a step that no other plan has answered by then counts so long


def of_the_plan(rows: list[FrameRow]) -> list[FrameRow]:
    """The newest results under the plan in force, without scouts and trials."""
    ours = [
        row for row in rows[-40:] if row.has_result and not row.is_scout and not row.is_trial
    ]
    return ours[-SAME:]


def _stays_here(rows: list[FrameRow]) -> bool:
    newest = of_the_plan(rows)
    return len(newest) == SAME and all(row.server == '' for row in newest)


def _stays_there(rows: list[FrameRow]) -> bool:
    newest = of_the_plan(rows)
    return len(newest) == SAME and all(row.outcome == 'remote' for row in newest)


def _runs_another_plan(rows: list[FrameRow], old: int) -> bool:
    newest = of_the_plan(rows)
    return len(newest) == SAME and all(row.plan_id != old for row in newest)


def _calm_at_home(session: Session) -> bool:
    """Whether the calm robot stays where it was put by hand: all runs on it."""
    session.recorder.set_parameters('partition_planner_node', strategy='local')
    session.collect(1.0, settle_s=4.0)
    session.recorder.set_parameters('partition_planner_node', strategy='auto')
    session.collect(1.0, settle_s=2.0)
    return _stays_here(session.recorder.rows)


def load_step(folder: Path) -> dict[str, float | str]:
    """Busy processes come: time until the first result of those that then come by another plan.

    Both run by torch, over loopback: the calm robot is a little faster, the loaded one clearly
    slower, which is measured before the steps: a small network's gain is near the least that a
    change must bring, and then staying is right. The last step comes after a minute of calm. A
    step that no other plan answers in time counts with that time.
    """
    times_s: list[float] = []
    unanswered = 0
    with Session(folder, model=HEAVY, common=COMMON, server={}, rate_hz=8.0) as session:
        with BusyProcesses(BUSY, session.cores.robot):
            found = _both_places(session, 'under load', 'remote')
        for calm_s in (*8 * [0.0], CALM_S):
            rows = session.recorder.rows
            if not _calm_at_home(session):
                continue  # the server is as good: there is nothing that load could change
            session.collect(0.1, settle_s=calm_s)
            if not _stays_here(rows):
                continue
            before = of_the_plan(rows)[-1].plan_id
            start_s = session.recorder.now_s()
            with BusyProcesses(BUSY, session.cores.robot):
                if wait_until(partial(_runs_another_plan, rows, before), NO_ANSWER_S, 0.01):
                    times_s.append(of_the_plan(rows)[0].result_time_s - start_s)
                else:
                    times_s.append(NO_ANSWER_S)
                    unanswered += 1
    if not times_s:
        raise SystemExit('the calm robot never ran the network by itself')
    return {
        'figure': 'new plan after a step in load', **found, 'steps': float(len(times_s)),
        'unanswered': float(unanswered),
        'median_s': statistics.median(times_s), 'worst_s': max(times_s),
    }


def load_gone(folder: Path) -> dict[str, float | str]:
    """Busy processes go: time until the first result of those that then stay on the robot.

    Over a link on which neither place is near the other: what gains little waits on purpose.
    """
    times_s: list[float] = []
    stayed = 0
    with Session(
        folder, model=HEAVY, common=COMMON, server={}, rate_hz=8.0,
        robot={'max_uplink_bps': 7e6},
    ) as session:
        rows = session.recorder.rows
        for _ in range(8):
            if not _calm_at_home(session):
                continue
            with BusyProcesses(BUSY, session.cores.robot):
                session.collect(8.0)
                if _stays_here(rows):  # the load was not worth a change, or nobody saw that it was
                    stayed += 1
                    continue
                start_s = session.recorder.now_s()
            if wait_until(partial(_stays_here, rows), NO_ANSWER_S, 0.01):
                times_s.append(of_the_plan(rows)[0].result_time_s - start_s)
            else:
                times_s.append(NO_ANSWER_S)
    if not times_s:
        raise SystemExit('the load never moved anything to the server')
    return {
        'figure': 'back on the robot after the load has gone', 'steps': float(len(times_s)),
        'stayed': float(stayed),
        'median_s': statistics.median(times_s), 'worst_s': max(times_s),
    }


def uplink_step(folder: Path) -> dict[str, float | str]:
    """The link's rate changes: time until the first of three results in a row at the other place.

    Root. A robot with a share of a core, a shaped link with as little burst as works: with 32 kB
    of it no JPEG would ever see the slow rate. Before the steps both places are measured at both
    rates: where one does not clearly win, no step would have to change the plan. A step that no
    other plan answers in time counts with that time, and the plan is put right by hand; where it
    does not stay there until the next step, that one does not count.
    """
    figure = f'new plan after a step between {FAST_MBPS:g} and {SLOW_MBPS:g} Mbit/s'
    why_not = why_loopback()
    if why_not:
        return {'figure': f'{figure}: not measured, {why_not}'}
    request = ModelRequest(HEAVY, weights=COMMON['weights'], backend=COMMON['backend'])
    fast, slow = Conditions(FAST_MBPS, FAST_MBPS), Conditions(SLOW_MBPS, SLOW_MBPS)
    with (
        Emulation(Point(HEAVY, ROBOT_SPEED, 0.0, fast), folder) as emulation,
        Session(
            folder, model=HEAVY, common=COMMON, server={}, rate_hz=STEP_RATE_HZ,
            grain_px=FINE_GRAIN_PX,
            robot={'cache_dir': str(cache_of(request, CACHE, 'robot', ROBOT_SPEED))},
            network=emulation.network, groups=emulation.groups, within=emulation.within,
        ) as session,
    ):
        rows = session.recorder.rows
        found: dict[str, float | str] = {'figure': figure}
        for name, conditions, better in (('fast', fast, 'remote'), ('slow', slow, 'local')):
            emulation.apply(conditions, session)
            found |= _both_places(session, f'at the {name} rate', better)
        session.recorder.set_parameters('partition_planner_node', strategy='auto')
        slower_s: list[float] = []
        faster_s: list[float] = []
        emulation.apply(fast, session)
        for _ in range(STEPS):
            for conditions, before, left, arrived, times_s in (
                (slow, 'remote', _stays_there, _stays_here, slower_s),
                (fast, 'local', _stays_here, _stays_there, faster_s),
            ):
                session.collect(SETTLE_S)
                if not left(rows):
                    _put(session, before)
                counts, start_s = left(rows), session.recorder.now_s()
                emulation.apply(conditions, session)
                moved = wait_until(partial(arrived, rows), NO_ANSWER_S, 0.01)
                if counts:
                    first_s = of_the_plan(rows)[0].result_time_s - start_s
                    times_s.append(first_s if moved else NO_ANSWER_S)
    if not slower_s or not faster_s:
        raise SystemExit('the plan never waited for a step where it was put')
    unanswered = (slower_s + faster_s).count(NO_ANSWER_S)
    return found | {
        'steps': float(len(slower_s + faster_s)), 'unanswered': float(unanswered),
        'slower_median_s': statistics.median(slower_s), 'slower_worst_s': max(slower_s),
        'faster_median_s': statistics.median(faster_s), 'faster_worst_s': max(faster_s),
        'slower_each_s': ' '.join(f'{value:.2f}' for value in slower_s),
        'faster_each_s': ' '.join(f'{value:.2f}' for value in faster_s),
    }


def _put(session: Session, strategy: str) -> None:
    """Bring the plan by hand to where ``auto`` did not go; it stays while nothing changes."""
    session.recorder.set_parameters('partition_planner_node', strategy=strategy)
    session.collect(4.0)
    session.recorder.set_parameters('partition_planner_node', strategy='auto')
    session.collect(1.0)


def _both_places(session: Session, when: str, better: str) -> dict[str, float | str]:
    """Latencies of both places [ms]; ends the program where the better one is not clearly so."""
    latency_ms = {}
    for strategy in ('local', 'remote'):
        session.recorder.set_parameters('partition_planner_node', strategy=strategy)
        rows = session.collect(3.0, settle_s=3.0)
        ours = [row.latency_ms for row in rows if row.outcome == strategy]
        if len(ours) < 5:
            raise SystemExit(f'only {len(ours)} frames were {strategy} {when}')
        latency_ms[strategy] = statistics.median(ours)
    if latency_ms[better] * CLEARLY > max(latency_ms.values()):
        raise SystemExit(f'{better} is not clearly better {when}: {latency_ms} ms')
    name = when.replace(' ', '_')
    return {f'{name}_{strategy}_ms': value for strategy, value in latency_ms.items()}
