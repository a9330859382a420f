"""The data base that ships with the package, and what it is good for."""

from __future__ import annotations

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


@pytest.mark.parametrize('device', ['sse', 'bf16', 'aten-nchw'])
def test_a_held_out_device_is_predicted_far_better_than_by_one_factor(device: str) -> None:
    known = shipped_database()
    row = [item['name'] for item in known.devices].index(device)
    others = known.without_device(row)
    errors, factor_errors = [], []
    for name in ('torchvision:resnet18', 'torchvision:mobilenet_v2', 'torchvision:squeezenet1_1'):
        number = network(known, name)
        configurations = known.networks[number].configurations
        columns = others.columns(
            [known.kinds[c] for c in configurations], known.features[list(configurations)]
        )
        truth = known.log_times[row, known.layers_of(number)]
        whole_ms = known.whole_ms[row, number]
        for seed in range(4):
            rng = np.random.default_rng(seed)
            measured = np.sort(rng.permutation(len(truth))[: round(0.3 * len(truth))])
            told = condition(columns, measured, truth[measured]).log_mean
            mean = columns.log_times.mean(axis=0)
            ratio = np.exp(truth[measured]).sum() / np.exp(mean[measured]).sum()
            for found, kept in ((told, errors), (mean + np.log(ratio), factor_errors)):
                times_ms = np.exp(found)
                times_ms[measured] = np.exp(truth[measured])
                kept.append(abs(times_ms.sum() / whole_ms - 1.0))
    assert np.mean(errors) < 0.8 * np.mean(factor_errors)
    assert np.mean(errors) < 0.15


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
