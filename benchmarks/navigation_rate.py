"""What the stream leaves of navigation's loop rate on the core that they share.

    python benchmarks/navigation_rate.py [--rate 20] [--pictures 15] [--load 0 1] [--rounds 2]

in the package's environment (``source tools/env.sh``). The navigation stand-in maps and plans at a
fixed rate on the robot's core, where the detector's stream runs too, under three strategies in
turn, beside some processes that compute without a pause. Printed for each: the loop's rate over
that without any stream (our inference silent, the camera stopped) in the same round, the time of
a cycle, and what the stream itself gets. Aim: 95 %. ``--nice 0 5`` tries nicenesses of the robot's
inference by turns, best as root: the robot's nodes are then in one control group. Where
``kernel.sched_autogroup_enabled`` is 1, nicenesses count within a session or such a group only.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
import math
from pathlib import Path
import statistics
import tempfile
import time

from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.quota import CpuGroup, entrance, why_no_quota
from dnn_offload.testbed.session import ROBOT, Session

STRATEGIES = ('local', 'remote', 'auto')
ALONE = 'no stream'
SETTLE_S = 6.0   # the node tells a mean over its last 20 cycles
SAMPLES, EVERY_S = 8, 0.6
AIM = 0.95


@dataclass(frozen=True)
class Measured:
    """Means of one stretch: of navigation's loop, and of the stream beside it."""

    loop_hz: float
    cycle_ms: float
    results_hz: float
    latency_ms: float


def measure(session: Session) -> Measured:
    """What there is in the conditions of now."""
    time.sleep(SETTLE_S)
    rates_hz, cycles_ms = [], []
    start_s = session.recorder.now_s()
    for _ in range(SAMPLES):
        time.sleep(EVERY_S)
        session.fleet.check()
        status = session.recorder.latest.navigation
        if status is not None:
            rates_hz.append(float(status['loop_hz']))
            cycles_ms.append(float(status['cycle_ms']))
    seconds = session.recorder.now_s() - start_s
    rows = [r for r in session.recorder.rows if r.time_s >= start_s and r.has_result]
    return Measured(
        statistics.fmean(rates_hz), statistics.fmean(cycles_ms), len(rows) / seconds,
        statistics.median(r.latency_ms for r in rows) if rows else math.nan,
    )


def measure_alone(session: Session) -> Measured:
    """The same without any stream."""
    session.recorder.deactivate('local_inference_node')
    session.pause_camera(True)
    try:
        return measure(session)
    finally:
        session.pause_camera(False)
        session.recorder.activate('local_inference_node')


def compare(
    session: Session, rounds: int, nicenesses: list[int]
) -> dict[tuple[str, int], list[tuple[float, Measured]]]:
    """By strategy and niceness: share of the loop's rate, and what was measured; by turns."""
    found: dict[tuple[str, int], list[tuple[float, Measured]]] = defaultdict(list)
    for _ in range(rounds):
        alone = measure_alone(session)
        found[ALONE, 0].append((1.0, alone))
        for strategy in STRATEGIES:
            session.recorder.set_parameters('partition_planner_node', strategy=strategy)
            for nice in nicenesses:
                session.recorder.set_parameters('local_inference_node', nice=nice)
                now = measure(session)
                found[strategy, nice].append((now.loop_hz / alone.loop_hz, now))
    return found


def main() -> int:
    """Measure and print; 1 if the aim is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n', 1)[0])
    parser.add_argument('--rate', type=float, default=20.0, help='of the loop [Hz]')
    parser.add_argument('--pictures', type=float, default=15.0, help='per second [Hz]')
    parser.add_argument('--load', type=int, nargs='+', default=[0, 1], help='busy processes')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument(
        '--nice', type=int, nargs='+', default=[5], help="of the robot's inference"
    )
    arguments = parser.parse_args()
    prepare_environment(96)
    missed = False
    with ExitStack() as stack:
        groups = {}
        reason = why_no_quota()
        if reason:
            print(f'{reason}: nicenesses may not count between the sessions of the nodes')
        else:
            groups[ROBOT] = entrance(stack.enter_context(CpuGroup('robot')).folder)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        session = stack.enter_context(
            Session(
                Path(folder), rate_hz=arguments.pictures, server={}, navigation=True,
                groups=groups, robot={'nice': arguments.nice[0]},
            )
        )
        session.recorder.set_parameters('navigation_node', rate_hz=arguments.rate)
        for load in arguments.load:
            session.recorder.set_parameters('navigation_node', load_processes=load)
            found = compare(session, arguments.rounds, arguments.nice)
            print(f'\n{load} busy processes, loop at {arguments.rate:g} Hz, '
                  f'{arguments.pictures:g} pictures/s')
            for (name, nice), values in found.items():
                shares = [share for share, _ in values]
                cycle_ms = statistics.median(now.cycle_ms for _, now in values)
                if name == ALONE:
                    loop_hz = statistics.median(now.loop_hz for _, now in values)
                    print(f'  {name:16} loop at {loop_hz:.1f} Hz; a cycle takes {cycle_ms:.1f} ms')
                    continue
                share = statistics.median(shares)
                missed |= share < AIM
                results_hz = statistics.median(now.results_hz for _, now in values)
                latency_ms = statistics.median(now.latency_ms for _, now in values)
                print(f'  {name:7} nice {nice:2} {100 * share:5.1f} % of that without the stream, '
                      f'worst {100 * min(shares):5.1f} %; a cycle takes {cycle_ms:.1f} ms; '
                      f'{results_hz:.1f} results/s after {latency_ms:.0f} ms', flush=True)
    return int(missed)


if __name__ == '__main__':
    raise SystemExit(main())
