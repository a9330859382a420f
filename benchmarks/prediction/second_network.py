"""What a network that was measured on a robot is worth for the next one on the same robot.

    python benchmarks/prediction/second_network.py [--shares 0.03 0.1 0.3]

From the shipped data base alone: nothing is measured, every number can be had again. Each device
is held out. Its first network is measured whole (or two are), of the second a random share of the
layers. Errors are those of the layers that were not measured, and of the whole second network.

*joined* is what a node does (``cost/predict/joining.py``); *another hour*: the first network was
measured while the machine was 20 % slower; *as a known device*: the robot is one more row of the
data base instead, filled by prediction where nothing was measured. Exits non-zero if what joined
does not help, or harms after another hour.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import sys

import methods
import numpy as np
from tables import Layers, Table

from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import Database, shipped_database

FIRST = ('torchvision:squeezenet1_1', 'torchvision:resnet18')
SLOWER = 1.2
ALONE, JOINED, LATER, BOTH, ROW = (
    'nothing joined', 'joined', 'joined, another hour', 'two joined', 'as a known device'
)


def tables(database: Database, shares: list[float]) -> dict[float, Table]:
    """Errors by share of the second network's layers."""
    layers = Layers(database)
    numbers = {network.name: number for number, network in enumerate(database.networks)}
    first = [numbers[name] for name in FIRST]
    found = {share: Table() for share in shares}
    for device in range(len(database.devices)):
        others = database.without_device(device)
        for second in range(len(database.networks)):
            if second in first:
                continue
            for share in shares:
                compare(database, others, layers, device, first, second, share, found[share])
    return found


def compare(
    database: Database,
    others: Database,
    layers: Layers,
    device: int,
    first: list[int],
    second: int,
    share: float,
    table: Table,
) -> None:
    """One device and one second network, all ways; adds to ``table``."""
    own = database.log_times[device]
    mine = layers.members(second)
    count = len(mine)
    rng = np.random.default_rng([device, second])
    measured = np.sort(rng.permutation(count)[: max(1, round(share * count))])
    whole = database.whole_ms[device, second : second + 1]

    def add(name: str, log_times: np.ndarray) -> None:
        table.add(
            name, log_times[:count].copy(), measured, np.exp(own[mine]), [np.arange(count)], whole
        )

    def columns(networks: list[int]) -> methods.Columns:
        parts = [mine, *(layers.members(number) for number in networks)]
        every = np.concatenate(parts)
        return others.columns(
            [layers.kinds[layer] for layer in every], layers.features[every],
            [len(part) for part in parts],
        )

    def joined(networks: list[int], slower: float) -> np.ndarray:
        members = [layers.members(number) for number in networks]
        known = columns(networks)
        at = np.concatenate([measured, np.arange(count, known.log_times.shape[1])])
        sessions = np.repeat(np.arange(1 + len(members)), [count, *map(len, members)])
        log_times = [own[mine][measured], *(own[part] + np.log(slower) for part in members)]
        return condition(known, at, np.concatenate(log_times), sessions=sessions).log_mean

    add(ALONE, condition(columns([]), measured, own[mine][measured]).log_mean)
    add(JOINED, joined(first[:1], 1.0))
    add(LATER, joined(first[:1], SLOWER))
    add(BOTH, joined(first, 1.0))
    both = columns(first[:1])
    row = condition(
        both, np.arange(count, both.log_times.shape[1]), own[layers.members(first[0])]
    ).log_mean
    known = columns([])
    wider = replace(known, log_times=np.vstack([known.log_times, row[:count]]))
    add(ROW, condition(wider, measured, own[mine][measured]).log_mean)


def main() -> int:
    """Print a table per share; 0 if what joined helps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--shares', type=float, nargs='+', default=[0.03, 0.1, 0.3], help='of the second network'
    )
    arguments = parser.parse_args()
    harmed = 0
    for share, table in tables(shipped_database(), arguments.shares).items():
        table.show(f'Second network, {share:.0%} of its layers measured')
        error = {name: errors.percent() for name, errors in table.errors.items()}
        harmed += not (error[JOINED] < error[ALONE] and error[LATER] <= error[ALONE])
    return 1 if harmed else 0


if __name__ == '__main__':
    sys.exit(main())
