"""Measure layers and whole networks on devices made out of this machine: the data base's source.

    nice -n 10 python benchmarks/prediction/measure.py --work FOLDER [--minutes 25]

Each device is a child process of its own per round; rounds go over all devices, so that a slow
quarter of an hour of the machine hits all of them alike. What is kept is CPU time of the
computing thread (in place, within runs of the whole network), since on a shared machine wall
time measures the neighbours; with two threads it is the time of the first one, the other sleeps
where it has nothing to do. Runs with and without stamps take turns. ``FOLDER`` keeps everything,
so that more rounds can be added later; ``collect.py`` makes the data base of it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TypedDict
from unittest import mock

RUNS = 2  # of each sort, per network and round
LONG_S = 0.4  # a network that takes longer is run once less


class Runs(TypedDict):
    """CPU time of one network on one device, an entry per run [us]: of its layers, of it all."""

    layers_us: list[list[float]]
    whole_us: list[float]


def measure_device(work: Path, name: str) -> dict[str, Runs]:
    """All networks on one device, in this process, by name."""
    import devices
    import networks
    import torch

    from dnn_offload.graph import fingerprint

    device = devices.by_name(name)
    found: dict[str, Runs] = {}
    for network in networks.NETWORKS:
        program, weights = networks.load(work, network)
        model = devices.build(device, program, weights)
        picture = fingerprint.seeded_picture(*program.input.shape[1:3])
        tensor = torch.from_numpy(picture)
        segment = model.segment(0, len(program.cuts) - 1)
        start_s = time.thread_time()
        model.stamps(segment, [picture])  # the first run pays for kernels and page faults
        runs = RUNS - (time.thread_time() - start_s > LONG_S)
        layers_us, whole_us = [], []
        for _ in range(runs):
            # The project's own stamps, on the clock that neighbours do not disturb.
            clock = SimpleNamespace(perf_counter_ns=time.thread_time_ns)
            with mock.patch('dnn_offload.graph.segment.time', clock):
                layers_us.append([round(ms * 1e3, 2) for ms in model.stamps(segment, [picture])])
            before_ns = time.thread_time_ns()
            segment([tensor])  # without stamps; bfloat16 has no numpy form
            whole_us.append((time.thread_time_ns() - before_ns) * 1e-3)
        found[network] = {'layers_us': layers_us, 'whole_us': whole_us}
    return found


def main() -> int:
    """Prepare the networks, then measure in rounds until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, required=True, help='folder for what is measured')
    parser.add_argument('--minutes', type=float, default=25.0, help='no round starts after [min]')
    parser.add_argument('--rounds', type=int, default=20, help='at most')
    parser.add_argument('--child', help='measure this device here and now, to stdout')
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure_device(arguments.work, arguments.child)))
        return 0
    import devices
    import networks

    end_s = time.monotonic() + 60.0 * arguments.minutes
    for network in networks.NETWORKS:
        networks.prepare(arguments.work, network)
        print(f'{network} is ready', flush=True)
    rounds = arguments.work / 'rounds'
    rounds.mkdir(exist_ok=True)
    first = len({path.name.split('.')[0] for path in rounds.iterdir()})
    for number in range(first, first + arguments.rounds):
        for device in devices.DEVICES:
            if time.monotonic() > end_s:
                return 0
            start_s = time.monotonic()
            done = subprocess.run(
                [sys.executable, __file__, '--work', arguments.work, '--child', device.name],
                env={**os.environ, **device.environment},
                stdout=subprocess.PIPE,
                check=True,
            )
            (rounds / f'{number:02d}.{device.name}.json').write_bytes(done.stdout)
            print(f'round {number} {device.name}: {time.monotonic() - start_s:.0f} s', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
