"""Made-up layers, devices and data bases for the tests of prediction. A helper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.database import Database, Network
from dnn_offload.cost.profile import CodecCost, CutProfile, LayerProfile, Profile

AT = {name: index for index, name in enumerate(FEATURES)}


def features(kind: str, size: int) -> np.ndarray:
    """A convolution of ``size`` channels, or a pass over as many values."""
    row = np.zeros(len(FEATURES))
    row[AT['input_bytes']] = row[AT['output_bytes']] = 4 * 196 * size
    row[AT['in_channels']] = row[AT['out_channels']] = size
    row[AT['out_h']] = row[AT['out_w']] = 14
    if kind == 'conv2d':
        row[AT['macs']] = 196 * 9 * size * size
        row[AT['weight_bytes']] = 36 * size * size
        row[AT['kernel_h']] = row[AT['kernel_w']] = 3
        row[AT['groups']] = row[AT['stride']] = 1
    return row


@dataclass(frozen=True)
class Speed:
    """A made-up device: ms per 1e8 multiply-accumulates, ms per megabyte, ms per call."""

    compute: float
    memory: float
    call: float = 0.002

    def ms(self, row: np.ndarray) -> float:
        touched = row[AT['input_bytes']] + row[AT['output_bytes']] + row[AT['weight_bytes']]
        return self.call + self.compute * row[AT['macs']] / 1e8 + self.memory * touched / 1e6


KNOWN = (Speed(1, 1), Speed(4, 1), Speed(2, 6), Speed(8, 8, 0.02), Speed(3, 0.5), Speed(1, 3))
STRANGER = Speed(5, 3, 0.01)
NETWORKS = {
    'one': (24, 32, 48, 64, 96, 128, 40, 56),
    'two': (16, 24, 36, 72, 144, 192, 48),
    'three': (20, 28, 44, 60, 80, 112, 160, 32, 64),
}


def layers_of(sizes: tuple[int, ...], device: Speed) -> tuple[LayerProfile, ...]:
    """A chain of convolutions, each with a pass after it."""
    made, before = [], 'picture'
    for number, size in enumerate(sizes):
        for kind in ('conv2d', 'relu'):
            row = features(kind, size)
            name = f'{kind}{number}'
            made.append(
                LayerProfile(
                    name=name,
                    kind=kind,
                    time_ms=device.ms(row),
                    spread_ms=0.0,
                    reads=(before,),
                    makes=((name, int(row[AT['output_bytes']])),),
                    features=dict(zip(FEATURES, row.tolist(), strict=True)),
                )
            )
            before = name
    return tuple(made)


def database(devices: tuple[Speed, ...] = KNOWN, noise: float = 0.0, seed: int = 0) -> Database:
    """All networks on all devices."""
    rng = np.random.default_rng(seed)
    numbers: dict[tuple[str, int], int] = {}
    networks = tuple(
        Network(
            name,
            tuple(
                numbers.setdefault((kind, size), len(numbers))
                for size in sizes
                for kind in ('conv2d', 'relu')
            ),
        )
        for name, sizes in NETWORKS.items()
    )
    rows = np.array([features(kind, size) for kind, size in numbers])
    of_layer = [c for network in networks for c in network.configurations]
    times = np.array([[device.ms(rows[c]) for c in of_layer] for device in devices])
    times *= np.exp(noise * rng.standard_normal(times.shape))
    ends = np.cumsum([len(network.configurations) for network in networks])[:-1]
    return Database(
        devices=tuple({'name': f'device {index}'} for index in range(len(devices))),
        kinds=tuple(kind for kind, _ in numbers),
        features=rows,
        networks=networks,
        log_times=np.log(times),
        whole_ms=np.array([part.sum(axis=1) for part in np.split(times, ends, axis=1)]).T,
    )


def profile(sizes: tuple[int, ...], device: Speed) -> Profile:
    """A profile with a cut after every pass, all times true."""
    layers = layers_of(sizes, device)
    before = np.concatenate([[0.0], np.cumsum([layer.time_ms for layer in layers])])
    positions = range(0, len(layers) + 1, 2)
    cuts = []
    for index, at in enumerate(positions):
        crossing = 'picture' if at == 0 else layers[at - 1].name
        cuts.append(
            CutProfile(
                cut_id=f'cut{index}',
                index=index,
                label=crossing,
                depth=index,
                frontier_bytes=1000,
                head_ms=float(before[at]),
                tail_ms=float(before[-1] - before[at]),
                measured=False,
                codecs={'raw': CodecCost(1000, 0.5, 0.25)} if at < len(layers) else {},
                frontier=(crossing,),
            )
        )
    return Profile(
        model='made-up', model_identity='', device={}, backend='torch', threads=1,
        load_ratios={}, finish_ms=0.5, output_bytes={}, seconds_spent=1.0, cuts=tuple(cuts),
        layers=layers, input_name='picture', input_bytes=1000, outputs=(layers[-1].name,),
    )  # fmt: skip
