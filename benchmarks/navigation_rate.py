"""What the stream leaves of navigation's loop rate on the core that they share.

    python benchmarks/navigation_rate.py [--rate 20] [--pictures 15] [--load 0 1] [--rounds 2]

in the package's environment (``source tools/env.sh``). The navigation stand-in maps and plans at a
fixed rate on the robot's core, where the detector's stream runs too, under three strategies in
turn, beside some processes that compute without a pause. Printed for each: the loop's rate over
that without any stream (our inference silent, the camera stopped) in the same round, and the time
of a cycle. Aim: 95 %. Another niceness of the robot's inference: ``--nice 5``.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
import statistics
import tempfile
import time

from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.session import Session

STRATEGIES = ('local', 'remote', 'auto')
ALONE = 'no stream'
SETTLE_S = 6.0   # the node tells a mean over its last 20 cycles
SAMPLES, EVERY_S = 8, 0.6
AIM = 0.95


def measure(session: Session) -> tuple[float, float]:
    """Loop rate [Hz] and time of a cycle [ms] in the conditions of now."""
    time.sleep(SETTLE_S)
    rates_hz, cycles_ms = [], []
    for _ in range(SAMPLES):
        time.sleep(EVERY_S)
        session.fleet.check()
        status = session.recorder.latest.navigation
        if status is not None:
            rates_hz.append(float(status['loop_hz']))
            cycles_ms.append(float(status['cycle_ms']))
    return statistics.fmean(rates_hz), statistics.fmean(cycles_ms)


def measure_alone(session: Session) -> tuple[float, float]:
    """The same without any stream."""
    session.recorder.deactivate('local_inference_node')
    session.pause_camera(True)
    try:
        return measure(session)
    finally:
        session.pause_camera(False)
        session.recorder.activate('local_inference_node')


def main() -> int:
    """Measure and print; 1 if the aim is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n', 1)[0])
    parser.add_argument('--rate', type=float, default=20.0, help='of the loop [Hz]')
    parser.add_argument('--pictures', type=float, default=15.0, help='per second [Hz]')
    parser.add_argument('--load', type=int, nargs='+', default=[0, 1], help='busy processes')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--nice', type=int, default=0, help="of the robot's inference")
    arguments = parser.parse_args()
    prepare_environment(96)
    missed = False
    with tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), rate_hz=arguments.pictures, server={}, navigation=True,
        robot={'nice': arguments.nice},
    ) as session:
        session.recorder.set_parameters('navigation_node', rate_hz=arguments.rate)
        for load in arguments.load:
            session.recorder.set_parameters('navigation_node', load_processes=load)
            shares: dict[str, list[float]] = defaultdict(list)
            cycles_ms: dict[str, list[float]] = defaultdict(list)
            for _ in range(arguments.rounds):
                alone_hz, alone_ms = measure_alone(session)
                shares[ALONE].append(alone_hz / arguments.rate)
                cycles_ms[ALONE].append(alone_ms)
                for strategy in STRATEGIES:
                    session.recorder.set_parameters('partition_planner_node', strategy=strategy)
                    rate_hz, cycle_ms = measure(session)
                    shares[strategy].append(rate_hz / alone_hz)
                    cycles_ms[strategy].append(cycle_ms)
            print(f'\n{load} busy processes, loop at {arguments.rate:g} Hz, '
                  f'{arguments.pictures:g} pictures/s, nice {arguments.nice}')
            for name, values in shares.items():
                of = 'of the rate wanted' if name == ALONE else 'of that without the stream'
                share = statistics.median(values)
                missed |= name != ALONE and share < AIM
                print(f'  {name:10} {100 * share:5.1f} % {of}, worst {100 * min(values):5.1f} %; '
                      f'a cycle takes {statistics.median(cycles_ms[name]):.1f} ms', flush=True)
    return int(missed)


if __name__ == '__main__':
    raise SystemExit(main())
