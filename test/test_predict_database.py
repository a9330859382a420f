"""The data base that ships with the package, and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import (
    Database,
    DATABASE_FILE,
    features_of,
    load_database,
    parse,
    shipped_database,
)
from dnn_offload.errors import ProfileError


def network(known: Database, name: str) -> int:
    return [item.name for item in known.networks].index(name)


def test_the_shipped_data_base_is_sane() -> None:
    known = shipped_database()
    assert len(known.devices) >= 10 and len(known.networks) >= 15
    assert len({device['name'] for device in known.devices}) == len(known.devices)
    assert DATABASE_FILE.stat().st_size < 2_000_000
    sums = np.array(
        [
            np.exp(known.log_times[:, known.layers_of(number)]).sum(axis=1)
            for number in range(len(known.networks))
        ]
    ).T
    ratio = sums / known.whole_ms
    assert 0.9 < np.median(ratio) < 1.1
    assert ratio.min() > 0.6 and ratio.max() < 1.5


def test_its_devices_differ_by_more_than_a_factor() -> None:
    known = shipped_database()
    spread = known.log_times - known.log_times.mean(axis=0)
    spread -= spread.mean(axis=1, keepdims=True)
    strength = np.linalg.svd(spread, compute_uv=False) ** 2
    assert strength[1:].sum() > 0.3 * strength.sum()  # not one dimension either


def test_regression_is_ready_for_every_kind_of_layer() -> None:
    known = shipped_database()
    larger = known.features * 2.0  # configurations that nobody has measured
    columns = known.columns(known.kinds, larger)
    assert np.isfinite(columns.log_times).all()
    assert set(known.forests) >= {'conv2d', 'conv2d pointwise', 'conv2d grouped', 'relu', 'linear'}


# 30 % of the layers of each of these are measured on the device that is held out.
SAMPLED = (
    'squeezenet1_1', 'mobilenet_v2', 'resnet18', 'googlenet', 'alexnet', 'shufflenet_v2_x1_0',
    'mnasnet1_0', 'vgg11',
)
# Which devices miss an aim: the first is most like the mean one, where one factor is as good.
ABOVE_5_PERCENT = {'avx512', 'mixed', 'fresh-pages'}
NO_BETTER_THAN_ONE_FACTOR = {'avx512'}


@dataclass(frozen=True)
class Held:
    """Mean error per network of a device that was held out, (c)'s and one factor's."""

    combination: float
    factor: float


@pytest.fixture(scope='module')
def held_out() -> dict[str, Held]:
    """Every device by name, two samples of its layers each."""
    whole = shipped_database()
    known = whole.with_networks([network(whole, f'torchvision:{name}') for name in SAMPLED])
    configurations = [c for item in known.networks for c in item.configurations]
    parts = [known.layers_of(number) for number in range(len(SAMPLED))]
    counts = [part.stop - part.start for part in parts]
    found = {}
    for row, device in enumerate(known.devices):
        columns = known.without_device(row).columns(
            [known.kinds[c] for c in configurations], known.features[configurations], counts
        )
        mean, truth = columns.log_times.mean(axis=0), known.log_times[row]
        errors = []
        for seed in range(2):
            rng = np.random.default_rng([row, seed])
            measured = np.concatenate([
                part.start + rng.permutation(count)[: round(0.3 * count)]
                for part, count in zip(parts, counts, strict=True)
            ])
            told = condition(columns, measured, truth[measured]).log_mean
            ratio = np.exp(truth[measured]).sum() / np.exp(mean[measured]).sum()
            for log_times in (told, mean + np.log(ratio)):
                times_ms = np.exp(log_times)
                times_ms[measured] = np.exp(truth[measured])
                sums_ms = np.array([times_ms[part].sum() for part in parts])
                errors.append(np.abs(sums_ms / known.whole_ms[row] - 1.0).mean())
        found[str(device['name'])] = Held(np.mean(errors[::2]), np.mean(errors[1::2]))
    return found


def test_the_aims_are_kept_over_all_devices(held_out: dict[str, Held]) -> None:
    """At most 5 % per network with 30 % of the layers, and 20 % less than one factor."""
    ours = np.mean([held.combination for held in held_out.values()])
    factor = np.mean([held.factor for held in held_out.values()])
    assert ours <= 0.05
    assert ours <= 0.8 * factor


def test_the_aims_are_kept_on_each_device_but_those_named(held_out: dict[str, Held]) -> None:
    """Devices that miss an aim are named: one that begins to, or no longer does, shows here."""
    assert {name for name, held in held_out.items() if held.combination > 0.05} == ABOVE_5_PERCENT
    no_better = {
        name for name, held in held_out.items() if held.combination > 0.8 * held.factor
    }
    assert no_better == NO_BETTER_THAN_ONE_FACTOR


def plain() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(DATABASE_FILE.read_text(encoding='utf-8'))
    return data


def spoil_version(data: dict[str, Any]) -> None:
    data['schema_version'] = 99


def spoil_features(data: dict[str, Any]) -> None:
    data['features'] = data['features'][::-1]


def spoil_time(data: dict[str, Any]) -> None:
    data['devices'][0]['layers_us'][0][0] = -1.0


def spoil_count(data: dict[str, Any]) -> None:
    for device in data['devices']:
        del device['layers_us'][0][0]


def spoil_configuration(data: dict[str, Any]) -> None:
    data['networks'][0]['layers'][0] = 10**6


@pytest.mark.parametrize(
    'spoil', [spoil_version, spoil_features, spoil_time, spoil_count, spoil_configuration]
)
def test_a_damaged_data_base_is_refused(spoil: Any) -> None:
    data = plain()
    spoil(data)
    with pytest.raises(ProfileError):
        parse(data)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match='cannot read'):
        load_database(tmp_path / 'nothing.json')
    broken = tmp_path / 'broken.json'
    broken.write_text('{"schema_version": 1}')
    with pytest.raises(ProfileError, match='damaged'):
        load_database(broken)


def test_features_that_are_no_numbers_are_refused() -> None:
    assert features_of([{'macs': 2.0}])[0, 0] == 2.0
    with pytest.raises(ProfileError):
        features_of([{'macs': float('inf')}])
