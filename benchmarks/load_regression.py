"""Load as a variable of the regression against the plain factor, under made load.

A small network (eight 3x3 convolutions in numpy) is profiled, heads and tails as units, beside
0 to 4 busy processes, at 20 Hz. Each level of load is left out once and predicted from the
others: by ``cost/load_regression.py`` (affine, and with a knee), and by the factor (the profile
at the lowest load, times the load over that one). The load is what a source reads meanwhile.

Run: ``python benchmarks/load_regression.py [--seconds 6] [--busy 0,1,2,3,4]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import contextlib
import os
import statistics
import sys
import time

import numpy as np

from dnn_offload.cost.load import LoadReadings, LoadTracker
from dnn_offload.cost.load_regression import fit_load
from dnn_offload.errors import ProfileError
from dnn_offload.testbed.busy import BusyProcesses

LAYERS = 8
PERIOD_S = 0.05
SOURCES = ('schedstat', 'procs_running')
KNEE = 1.5


def network() -> Callable[[int, int], float]:
    """Gives ``run(first, last)``: the wall time of these layers [ms]."""
    dice = np.random.default_rng(0)
    weights = [dice.standard_normal((9 * 16, 16)).astype(np.float32) for _ in range(LAYERS)]
    tensor = dice.standard_normal((50, 50, 16)).astype(np.float32)

    def run(first: int, last: int) -> float:
        began_s = time.perf_counter()
        for layer in range(first, last):
            windows = np.lib.stride_tricks.sliding_window_view(tensor, (3, 3), axis=(0, 1))
            np.maximum(windows.reshape(-1, 9 * 16) @ weights[layer], 0.0)
        return 1e3 * (time.perf_counter() - began_s)

    return run


def profile(seconds: float) -> tuple[list[float], LoadReadings]:
    """Mean times of all heads 1..N and tails 1..N-1, and the load meanwhile.

    Means, not medians: under load a short piece either waits for a time slice or does not, and
    a stream pays both.
    """
    run, tracker = network(), LoadTracker(smooth=False)
    tracker.watch(os.getpid())
    pieces = [(0, last) for last in range(1, LAYERS + 1)]
    pieces += [(first, LAYERS) for first in range(1, LAYERS)]
    times: list[list[float]] = [[] for _ in pieces]
    readings: list[LoadReadings] = []
    until_s = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        for offset in range(3):
            piece = (turn + offset) % len(pieces)
            times[piece].append(run(*pieces[piece]))
        turn += 3
        tracker.sample(time.monotonic())
        if turn % 30 == 0:
            readings.append(tracker.readings(time.monotonic()))
        time.sleep(max(PERIOD_S - (time.monotonic() - began_s), 0.001))
    mean = {s: float(np.nanmean([r.of(s) for r in readings])) for s in SOURCES}
    return [statistics.fmean(t) for t in times], LoadReadings(**mean)


def main() -> int:
    """Print the levels and the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seconds', type=float, default=6.0, help='per level of load')
    parser.add_argument('--busy', default='0,1,2,3,4')
    args = parser.parse_args()
    levels = [int(text) for text in args.busy.split(',')]
    table, loads = [], []
    for count in levels:
        with contextlib.ExitStack() as stack:
            stack.enter_context(BusyProcesses(count, frozenset(os.sched_getaffinity(0))))
            time.sleep(1.0)
            times, readings = profile(args.seconds)
        table.append(times)
        loads.append(readings)
        seen = ', '.join(f'{s} {readings.of(s):.2f}' for s in SOURCES)
        print(f'{count} busy: whole network {times[LAYERS - 1]:.1f} ms; {seen}', flush=True)
    for source in SOURCES:
        load = [readings.of(source) for readings in loads]
        base = int(np.argmin(load))
        found: dict[str, list[float]] = {'affine': [], 'knee': [], 'factor': []}
        for out in range(len(levels)):
            if out == base:
                continue
            kept = [i for i in range(len(levels)) if i != out]
            true = np.array(table[out])
            guesses = {'factor': np.array(table[base]) * load[out] / load[base]}
            for name, knee in (('affine', None), ('knee', KNEE)):
                with contextlib.suppress(ProfileError):  # no two levels above the knee
                    fit = fit_load([load[i] for i in kept], [table[i] for i in kept], knee=knee)
                    guesses[name] = fit.times_ms(load[out])
            for name, guess in guesses.items():
                found[name].append(100.0 * float(np.abs(guess / true - 1.0).mean()))
        said = ', '.join(
            f'{name} {statistics.fmean(values):.1f} %' for name, values in found.items() if values
        )
        print(f'mean error for a level that was left out, load by {source}: {said}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
