"""Make the data base of measured layers out of what ``measure.py`` left in its folder.

    python benchmarks/prediction/collect.py --work FOLDER

Of all runs of a layer on a device the lower third counts (``QUANTILE``): what neighbours on the
machine do to the caches only ever adds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import sys
from typing import Any

import devices
from measure import Runs
import networks
import numpy as np

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.database import DATABASE_FILE, parse, SCHEMA_VERSION
from dnn_offload.runtime.profile_machine import describe_device

QUANTILE = 0.3


def typical_us(runs: list[Any]) -> Any:
    """The typical time of a layer (or of each layer) over its runs [us]."""
    return np.quantile(np.array(runs), QUANTILE, axis=0)


def short(value: float) -> float:
    """Four digits: more is noise."""
    number = float(f'{value:.4g}')
    return int(number) if number == int(number) else number


def collect(work: Path) -> dict[str, Any]:
    """The data base as plain data; see ``dnn_offload/data/profiles/README.md``."""
    configurations: dict[tuple[Any, ...], int] = {}
    nets = []
    for network in networks.NETWORKS:
        columns = []
        for layer in networks.layers(work, network):
            key = (layer.kind, *(layer.features[name] for name in FEATURES))
            columns.append(configurations.setdefault(key, len(configurations)))
        nets.append({'name': network, 'layers': columns})
    rows = []
    for device in devices.DEVICES:
        runs: dict[str, Runs] = {}
        for path in sorted((work / 'rounds').glob(f'*.{device.name}.json')):
            for network, found in json.loads(path.read_text()).items():
                kept = runs.setdefault(network, {'layers_us': [], 'whole_us': []})
                kept['layers_us'] += found['layers_us']
                kept['whole_us'] += found['whole_us']
        if not runs:
            print(f'{device.name} was not measured', file=sys.stderr)
            continue
        rows.append(
            {
                'name': device.name,
                **device.describe(),
                'runs': min(len(found['whole_us']) for found in runs.values()),
                'layers_us': [
                    [short(us) for us in typical_us(runs[network]['layers_us'])]
                    for network in networks.NETWORKS
                ],
                'whole_us': [
                    short(typical_us(runs[network]['whole_us'])) for network in networks.NETWORKS
                ],
            }
        )
    machine = describe_device()
    for private in ('host', 'cpu_capability'):  # not of interest, or another on each device
        machine.pop(private)
    return {
        'schema_version': SCHEMA_VERSION,
        'machine': machine,
        'features': list(FEATURES),
        'configurations': [
            [kind, *(short(value) if value % 1 else int(value) for value in values)]
            for kind, *values in configurations
        ],
        'networks': nets,
        'devices': rows,
    }


def main() -> int:
    """Write the data base and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work', type=Path, required=True, help='folder of measure.py')
    parser.add_argument('--out', type=Path, default=DATABASE_FILE)
    arguments = parser.parse_args()
    data = collect(arguments.work)
    data['forests'] = parse(data).fitted_forests()
    parts = [
        f'{json.dumps(name)}: {json.dumps(value, separators=(",", ":"))}'
        for name, value in data.items()
    ]
    arguments.out.write_text('{\n' + ',\n'.join(parts) + '\n}\n', encoding='utf-8')
    layers = sum(len(net['layers']) for net in data['networks'])
    print(
        f'{len(data["devices"])} devices, {len(data["networks"])} networks, {layers} layers, '
        f'{len(data["configurations"])} configurations, {arguments.out.stat().st_size} bytes'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
