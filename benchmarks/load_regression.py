"""Load as a variable of the regression against the plain factor, under made load.

A network (SqueezeNet 1.1 in torch with one thread, or eight 3x3 convolutions in numpy) is
profiled, heads and tails as units, beside 0 to 4 busy processes, at 20 Hz. Each level of load is
left out once and predicted from the others: by ``cost/load_regression.py`` (affine, and with a
knee), and by the factor (the profile at the lowest load, times the load over that one). The load
is what a source reads meanwhile. 20 s per level take two minutes.

Run: ``python benchmarks/load_regression.py [--network torch] [--seconds 20] [--busy 0,1,2,3,4]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import contextlib
import os
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np

from dnn_offload.cost.load import LoadReadings, LoadTracker
from dnn_offload.cost.load_regression import fit_load
from dnn_offload.ending import ending_politely
from dnn_offload.errors import ProfileError
from dnn_offload.testbed.busy import BusyProcesses

PERIOD_S = 0.05
SOURCES = ('schedstat', 'procs_running')
KNEE = 1.5


class Network(NamedTuple):
    """So many layers, and ``run(first, last)``: the wall time of some of them [ms]."""

    layers: int
    run: Callable[[int, int], float]


def numpy_network() -> Network:
    """Eight convolutions of 16 channels on 50x50."""
    layers = 8
    dice = np.random.default_rng(0)
    weights = [dice.standard_normal((9 * 16, 16)).astype(np.float32) for _ in range(layers)]
    tensor = dice.standard_normal((50, 50, 16)).astype(np.float32)

    def run(first: int, last: int) -> float:
        began_s = time.perf_counter()
        for layer in range(first, last):
            # 1 for the channels, and no axis=(0, 1): numpy's types know a single axis only.
            windows = np.lib.stride_tricks.sliding_window_view(tensor, (3, 3, 1))
            np.maximum(windows.reshape(-1, 9 * 16) @ weights[layer], 0.0)
        return 1e3 * (time.perf_counter() - began_s)

    return Network(layers, run)


def torch_network() -> Network:
    """The features of SqueezeNet 1.1 on one 224x224 picture, weights at random."""
    import torch

    from dnn_offload.graph.torchvision_compat import import_torchvision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    blocks = list(import_torchvision().models.squeezenet1_1(weights=None).eval().features)
    with torch.inference_mode():
        inputs = [torch.randn(1, 3, 224, 224)]  # (1, channels, height, width) before each block
        for block in blocks:
            inputs.append(block(inputs[-1]))

    def run(first: int, last: int) -> float:
        with torch.inference_mode():
            began_s = time.perf_counter()
            tensor = inputs[first]
            for block in blocks[first:last]:
                tensor = block(tensor)
            return 1e3 * (time.perf_counter() - began_s)

    return Network(len(blocks), run)


NETWORKS = {'torch': torch_network, 'numpy': numpy_network}


def profile(network: Network, seconds: float) -> tuple[list[float], dict[str, float]]:
    """Mean times of all heads 1..N and tails 1..N-1, and the load meanwhile by source.

    Means, not medians: under load a short piece either waits for a time slice or does not, and
    a stream pays both.
    """
    (layers, run), tracker = network, LoadTracker(smooth=False)
    tracker.watch(os.getpid())
    pieces = [(0, last) for last in range(1, layers + 1)]
    pieces += [(first, layers) for first in range(1, layers)]
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
    return [statistics.fmean(t) for t in times], mean


def main() -> int:
    """Print the levels and the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network', choices=sorted(NETWORKS), default='torch')
    parser.add_argument('--seconds', type=float, default=20.0, help='per level of load')
    parser.add_argument('--busy', default='0,1,2,3,4')
    args = parser.parse_args()
    levels = [int(text) for text in args.busy.split(',')]
    network = NETWORKS[args.network]()
    table, loads = [], []
    for count in levels:
        with ending_politely(), BusyProcesses(count, frozenset(os.sched_getaffinity(0))):
            time.sleep(1.0)
            times, readings = profile(network, args.seconds)
        table.append(times)
        loads.append(readings)
        seen = ', '.join(f'{s} {readings[s]:.2f}' for s in SOURCES)
        whole_ms = times[network.layers - 1]
        print(f'{count} busy: whole network {whole_ms:.1f} ms; {seen}', flush=True)
    for source in SOURCES:
        load = [readings[source] for readings in loads]
        if not np.isfinite(load).all():
            print(f'{source} has no reading at some level: measure for longer')
            continue
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
