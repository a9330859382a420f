"""How far a provisional profile is off the measured one, and what else a second could be spent on.

    python benchmarks/prediction/quick.py --work FOLDER [--networks NAME ...] [--repeats 3]

Every measurement is a process of its own, as in a node, with all caches cold; methods take
turns. The truth is the mean of ``--fulls`` profiles as the nodes measure them, their waiting
taken out; *full* is each of these against the mean, which is how well the truth is known. Errors
are those of all heads and tails, relative, at least to 5 % of the whole network. *held* is the
share of them within the provisional profile's own intervals (said to be 90 %). Random weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import statistics
import subprocess
import sys
import time

import numpy as np

from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import features_of, log_ms, shipped_database
from dnn_offload.cost.predict.fill import predict_layers
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.profile_layers import layer_profiles
from dnn_offload.runtime.profile_meter import made_up_inputs, Meter
from dnn_offload.runtime.profile_model import FLOOR
from dnn_offload.runtime.profile_quick import (
    measure_runs,
    MOST_PASSES,
    Pieces,
    QUICK_BUDGET_S,
    quick_profile,
    RUNS_END,
)
from dnn_offload.runtime.profiler import measure_profile

NETWORKS = ('squeezenet1_1', 'mobilenet_v2', 'resnet18', 'googlenet', 'inception_v3')
FULL_BUDGET_S = 15.0
RUNS_S = RUNS_END * QUICK_BUDGET_S
Found = dict[str, list[float]]  # head_ms, tail_ms and, of a profile, their half widths


def _one_run(model: TorchModel) -> np.ndarray:
    """One stamped run after a cold one, its waiting taken out, (operators,) [ms]."""
    meter = Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
    segment = model.segment(0, meter.last)
    meter.stamps(segment, meter.inputs)
    stamps_ms, working_ms = meter.stamps(segment, meter.inputs)
    return np.array(stamps_ms) * working_ms / sum(stamps_ms)


def _run(model: TorchModel) -> Found:
    return _of_layers(model, _one_run(model))


def _run_predicted(model: TorchModel) -> Found:
    """The same, and prediction says what is unlikely about it."""
    layers = layer_profiles(model.program, _one_run(model)[None])
    columns = shipped_database().columns(
        [layer.kind for layer in layers], features_of([layer.features for layer in layers])
    )
    at = np.arange(len(layers))
    told = condition(columns, at, log_ms([layer.time_ms for layer in layers]))
    return _of_layers(model, np.exp(told.log_mean))


def _pieces(model: TorchModel) -> Found:
    """Pieces with 30 % of the operators, the others predicted."""
    meter = Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
    end_s = time.perf_counter() + RUNS_S
    pieces = Pieces(meter)
    while pieces.passes < MOST_PASSES and (pieces.passes == 0 or time.perf_counter() < end_s):
        pieces.run()
    stamps = pieces.stamps()
    layers = layer_profiles(model.program, stamps.time_ms[None])
    return _of_layers(
        model, predict_layers(layers, shipped_database(), stamps.measured).time_ms
    )


def _runs(model: TorchModel) -> Found:
    """Whole runs, as many as fit."""
    meter = Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
    stamps = measure_runs(meter, time.perf_counter() + RUNS_S)
    return _of_layers(model, stamps.time_ms)


def _provisional(model: TorchModel) -> Found:
    return _of_profile(quick_profile(model, 1))


def _full(model: TorchModel) -> Found:
    return _of_profile(measure_profile(model, 1, FULL_BUDGET_S, other_threads=()))


METHODS: dict[str, Callable[[TorchModel], Found]] = {
    'one run': _run,
    'one run + prediction': _run_predicted,
    '30 % + prediction': _pieces,
    'runs': _runs,
    'provisional': _provisional,
    'full': _full,
}


def _of_layers(model: TorchModel, layers_ms: np.ndarray) -> Found:
    upto = np.concatenate([[0.0], np.cumsum(layers_ms)])
    head_ms = upto[[cut.position for cut in model.cuts]]
    return {'head_ms': head_ms.tolist(), 'tail_ms': (upto[-1] - head_ms).tolist()}


def _of_profile(profile: object) -> Found:
    wait = profile.load_ratios.get('schedstat', 1.0)  # type: ignore[attr-defined]
    cuts = profile.cuts  # type: ignore[attr-defined]
    return {
        'head_ms': [cut.head_ms / wait for cut in cuts],
        'tail_ms': [cut.tail_ms / wait for cut in cuts],
        'widths_ms': [
            *(0.5 * cut.head_spread_ms / wait for cut in cuts[1:]),
            *(0.5 * cut.tail_spread_ms / wait for cut in cuts[:-1]),
        ],
    }


def _child(method: str, folder: Path) -> None:
    model = TorchBackend().load(folder)
    model.set_threads(1)
    shipped_database()
    began_s = time.perf_counter()
    found = METHODS[method](model)
    found['seconds'] = [time.perf_counter() - began_s]
    print(json.dumps(found))


def _both(found: Found) -> np.ndarray:
    """Heads 1..N and tails 0..N-1 [ms]."""
    return np.array([*found['head_ms'][1:], *found['tail_ms'][:-1]])


def measure(network: str, work: Path, repeats: int, fulls: int) -> dict[str, list[Found]]:
    """All methods by turns, each in a new process."""
    request = ModelRequest(f'torchvision:{network}', 'random')
    prepare(request, work, 0.0, False, lambda stage, fraction, message, **more: None)
    folder = work / cache_key(request)
    made: dict[str, list[Found]] = {name: [] for name in METHODS}
    for number in range(max(repeats, fulls)):
        for name in METHODS:
            if number < (fulls if name == 'full' else repeats):
                output = subprocess.run(
                    [sys.executable, __file__, '--child', name, str(folder)],
                    check=True, stdout=subprocess.PIPE, text=True,
                ).stdout
                made[name].append(json.loads(output))
    return made


def main() -> int:
    """Print a table per network, and means over all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', default=NETWORKS, metavar='NAME')
    parser.add_argument('--work', type=Path, default=Path('.'), help='folder for the exports')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--fulls', type=int, default=3)
    parser.add_argument('--child', nargs=2, metavar=('METHOD', 'FOLDER'), help='for ourselves')
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child[0], Path(arguments.child[1]))
        return 0
    means: dict[str, list[float]] = {name: [] for name in METHODS}
    print(f'{"":14} {"":22} {"error":>7} {"worst":>7} {"whole":>7} {"held":>5} {"seconds":>8}')
    for network in arguments.networks:
        made = measure(network, arguments.work, arguments.repeats, arguments.fulls)
        truth = np.mean([_both(found) for found in made['full']], axis=0)
        whole_ms = truth[len(truth) // 2 - 1]
        for name, runs in made.items():
            off = np.array([
                np.abs(_both(found) - truth) / np.maximum(truth, FLOOR * whole_ms)
                for found in runs
            ])
            held = '' if name != 'provisional' else format(np.mean([
                np.abs(_both(found) - truth) <= found['widths_ms'] for found in runs
            ]), '.0%')
            whole = np.mean([found['head_ms'][-1] / whole_ms - 1.0 for found in runs])
            seconds = statistics.median(found['seconds'][0] for found in runs)
            means[name].append(float(off.mean()))
            print(
                f'{network:14} {name:22} {off.mean():7.1%} {off.max():7.1%} {whole:+7.1%} '
                f'{held:>5} {seconds:8.2f}', flush=True,
            )
    for name, errors in means.items():
        print(f'{"mean":14} {name:22} {statistics.fmean(errors):7.1%}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
