"""What onnxruntime and openvino bring over torch, and what cutting costs them.

Run: ``python benchmarks/backends.py [--networks NAME ...] [--cuts 8] [--rounds 25] [--pieces]``.

*whole*: time of the whole network over torch's, median of rounds in which all run by turns, time
in the CPU's run queue taken out. *cut*: head plus tail over the whole network of the same backend,
run by turns, median for each of some cuts spread over the network; mean and worst (aim of each,
torch's, too: 3 %). *deviation*: largest difference from torch's numbers at these cuts and outputs,
relative to the largest number of the tensor. *compile*: time of making a tail ready, median of
those behind the first three cuts, and *lock*: the longest time for which that held the interpreter
lock, likewise (aim: 5 ms). *memory*: resident memory of a process with the whole network, a head
and a tail, over that of a process with torch alone [MB]. *disk*: what the model's folder holds,
over the weights (aim: 2). *missed*: which of the aims. Exits non-zero when there is any.

With ``--pieces`` instead: each head and each tail of some cuts by each backend, by turns, and by
how much the fastest one of the piece beats the fastest one of the whole network.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
import subprocess
import sys
import tempfile

from aims import Aim
import numpy as np
import psutil

from dnn_offload.graph.export import export
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.weights import save_weights
from dnn_offload.runtime.backends.compiled import CompiledModel
from dnn_offload.runtime.backends.load import deviation, load
from dnn_offload.runtime.backends.names import COMPILED, missing, TORCH
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.gil import GilMonitor
from dnn_offload.runtime.profile_meter import made_up_inputs, Meter, without_wait
from dnn_offload.runtime.shared import ThreadClock

NETWORKS = ('squeezenet1_1', 'mobilenet_v2', 'resnet18', 'googlenet', 'demo:detector')
AIMS = {  # by the column that is judged
    'cut, mean': Aim('mean_percent', 3.0, '%'),
    'worst': Aim('worst_percent', 3.0, '%'),
    'lock': Aim('held_ms', 5.0, 'ms'),
    'disk': Aim('disk', 2.0, 'of the weights'),
}


def saved(name: str, folder: Path) -> Path:
    """Export a network into a folder; torchvision's with random weights."""
    own = ':' in name
    loaded = resolve(name) if own else resolve(f'torchvision:{name}', weights='random')
    program, weights = export(loaded)
    save_weights(folder, weights)
    program.save(folder)
    return folder


def whole_ratios(models: dict[str, TorchModel], rounds: int) -> dict[str, float]:
    """Median over rounds of each backend's time over torch's in the same round."""
    meters = {
        name: Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, meter in meters.items():
            times[name].append(meter.run(0, meter.last, meter.inputs)[1])
    return {
        name: float(np.median(np.divide(times[name], times[TORCH]))) for name in models
    }


def cut_ratios(model: TorchModel, cuts: list[int], rounds: int) -> list[float]:
    """For each cut the median of (head + tail) / whole of the same round."""
    meter = Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
    ratios: dict[int, list[float]] = {cut: [] for cut in cuts}
    for number in range(rounds + 1):
        for cut in cuts:
            _, whole_ms = meter.run(0, meter.last, meter.inputs)
            arrays, head_ms = meter.run(0, cut, meter.inputs)
            _, tail_ms = meter.run(cut, meter.last, arrays)
            if number:  # the first round compiles
                ratios[cut].append((head_ms + tail_ms) / whole_ms)
    return [float(np.median(ratios[cut])) for cut in cuts]


def worst_deviation(model: TorchModel, reference: TorchModel, cuts: list[int]) -> float:
    """Largest at heads, and at the outputs behind them."""
    last = len(model.cuts) - 1
    inputs = made_up_inputs(model.cuts[0].frontier, 1)
    whole = reference.run(reference.segment(0, last), inputs)
    worst = 0.0
    for cut in cuts:
        heads = model.run(model.segment(0, cut), inputs)
        wanted = reference.run(reference.segment(0, cut), inputs)
        tails = model.run(model.segment(cut, last), heads)
        pairs = [*zip(heads, wanted, strict=True), *zip(tails, whole, strict=True)]
        worst = max(worst, *(deviation(a, b) for a, b in pairs))
    return worst


def compile_cost(folder: Path, backend: str) -> tuple[float, float]:
    """Time to compile a tail, median of three, and how long that held the lock [ms]."""
    model = load(folder, backend)
    if not isinstance(model, CompiledModel):
        raise SystemExit(f'{backend} does not run {folder}')
    last = len(model.cuts) - 1
    monitor, clock = GilMonitor(), ThreadClock()
    monitor.start()
    holds, spent_ms = [], []
    for start in range(1, 4):
        model.segment(start, last)
        monitor.take()
        _, spent = clock.measure(partial(model.warm, start, last))
        holds.append(monitor.take().longest_ms)
        spent_ms.append(without_wait(spent))
    monitor.stop()
    clock.close()
    return float(np.median(spent_ms)), float(np.median(holds))


def resident(folder: Path, backend: str) -> float:
    """Resident memory of a new process that runs the whole network, a head and a tail [MB]."""
    command = [sys.executable, __file__, '--resident', str(folder), '--backend', backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_resident(folder: Path, backend: str) -> None:
    """What ``resident`` starts."""
    model = load(folder, backend)
    last = len(model.cuts) - 1
    arrays = inputs = made_up_inputs(model.cuts[0].frontier, 0)
    for start, end in ((0, last), (0, last // 2), (last // 2, last)):
        if isinstance(model, CompiledModel):
            model.warm(start, end)
        given = inputs if start == 0 else arrays
        for _ in range(5):
            arrays = model.run(model.segment(start, end), given)
    print(psutil.Process().memory_info().rss / 1e6)


def measure(name: str, backends: list[str], count: int, rounds: int, folder: Path) -> bool:
    """One network: print its rows; whether all aims are kept."""
    folder = saved(name, folder / name.replace(':', '_'))
    models = {backend: load(folder, backend, wait=True, log=print) for backend in backends}
    ratios = whole_ratios(models, rounds)
    last = len(models[TORCH].cuts) - 1
    cuts = sorted({int(cut) for cut in np.linspace(1, last - 1, min(count, last - 1))})
    weights = (folder / 'weights.safetensors').stat().st_size
    base_mb = resident(folder, TORCH)
    kept = True
    for backend, model in models.items():
        percents = [100.0 * (ratio - 1.0) for ratio in cut_ratios(model, cuts, rounds)]
        judged = {'mean_percent': float(np.mean(percents)), 'worst_percent': max(percents)}
        row = [name, backend, f'{ratios[backend]:.2f}',
               f'{judged["mean_percent"]:+.1f} %', f'{judged["worst_percent"]:+.1f} %']
        if backend == TORCH:
            row += ['0', '', '', f'{base_mb:.0f}', '']
        else:
            spent_ms, held_ms = compile_cost(folder, backend)
            disk = sum(path.stat().st_size for path in folder.rglob('*')) / weights
            row += [f'{worst_deviation(model, models[TORCH], cuts):.0e}', f'{spent_ms:.0f} ms',
                    f'{held_ms:.1f} ms', f'{resident(folder, backend) - base_mb:+.0f}',
                    f'{disk:.2f}']
            judged |= {'held_ms': held_ms, 'disk': disk}
        missed = [
            column for column, aim in AIMS.items() if aim.key in judged and not aim.met(judged)
        ]
        kept = kept and not missed
        print('| ' + ' | '.join([*row, ', '.join(missed)]) + ' |', flush=True)
    return kept


def piece_gains(name: str, backends: list[str], count: int, rounds: int, folder: Path) -> None:
    """One network: print what each piece by its fastest backend brings over one for all."""
    folder = saved(name, folder / name.replace(':', '_'))
    models = {backend: load(folder, backend, wait=True, log=print) for backend in backends}
    meters = {
        backend: Meter(model, made_up_inputs(model.cuts[0].frontier, 0))
        for backend, model in models.items()
    }
    last = meters[TORCH].last
    cuts = sorted({int(cut) for cut in np.linspace(1, last - 1, min(count, last - 1))})
    for number in range(rounds + 1):
        for cut in [last, *cuts]:
            for meter in meters.values():
                meter.unit(cut)
        if number == 0:  # compiles
            for meter in meters.values():
                meter.heads.clear()
                meter.tails.clear()
    whole = {backend: np.median(meter.heads[last]) for backend, meter in meters.items()}
    chosen = min(whole, key=lambda backend: whole[backend])
    for side in ('heads', 'tails'):
        gains = {}
        for cut in cuts:
            times = {b: np.median(getattr(meter, side)[cut]) for b, meter in meters.items()}
            best = min(times, key=lambda backend: times[backend])
            if best != chosen:
                gains[cut] = (best, 1.0 - times[best] / times[chosen])
        told = ', '.join(f'{cut} {best} {100 * gain:.1f} %' for cut, (best, gain) in gains.items())
        mean = 100 * sum(gain for _, gain in gains.values()) / len(cuts)
        print(f'| {name} | {chosen} | {side} | {len(gains)} of {len(cuts)} | {mean:.1f} % | '
              f'{told or "none"} |', flush=True)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', default=NETWORKS)
    parser.add_argument('--cuts', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=25)
    parser.add_argument('--pieces', action='store_true', help='the fastest of each piece')
    parser.add_argument('--resident', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--backend', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resident is not None:
        print_resident(arguments.resident, arguments.backend)
        return 0
    backends = [TORCH]
    for kind in COMPILED:
        if missing(kind):
            print(f'{kind} is left out: {missing(kind)}')
        else:
            backends.append(kind)
    if arguments.pieces:
        print('| network | whole by | pieces | another is faster | by, mean of all | at cuts |\n'
              '|---|---|---|---|---|---|')
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.networks:
                piece_gains(name, backends, arguments.cuts, arguments.rounds, Path(folder))
        return 0
    print('| network | backend | whole | cut, mean | worst | deviation | compile | lock | memory '
          '| disk | missed |\n|---|---|---|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        kept = [
            measure(name, backends, arguments.cuts, arguments.rounds, Path(folder))
            for name in arguments.networks
        ]
    print('every aim is kept' if all(kept) else 'an aim is missed')
    return 0 if all(kept) else 1


if __name__ == '__main__':
    raise SystemExit(main())
