"""What was measured on this machine joins, and the next network is predicted from it."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict import joining
from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import features_of, shipped_database
from dnn_offload.cost.predict.fill import predict_layers
from dnn_offload.cost.predict.joining import (
    device_of,
    joined,
    MAX_NETWORKS,
    MAX_USED,
    measured_on,
    MeasuredNetwork,
    read_own_layers,
    write_own_layers,
)
from dnn_offload.cost.profile import LayerProfile, Variant
from dnn_offload.errors import ProfileError
from predict_parts import database, layers_of, NETWORKS, profile, Speed, STRANGER

FACTS = {'processor': 'made-up', 'cores': 4, 'torch': '2', 'cpu_capability': 'NEON', 'host': 'a'}
DEVICE = device_of(FACTS, 'torch', 1)


def network(name: str, device: Speed = STRANGER) -> MeasuredNetwork:
    return MeasuredNetwork(DEVICE, name, name, layers_of(NETWORKS[name], device))


def of_shipped(device: str, name: str) -> tuple[LayerProfile, ...]:
    """A network of the shipped data base as one of its devices runs it."""
    known = shipped_database()
    row = [item['name'] for item in known.devices].index(device)
    number = [item.name for item in known.networks].index(name)
    times_ms = np.exp(known.log_times[row, known.layers_of(number)])
    return tuple(
        LayerProfile(
            known.kinds[c], known.kinds[c], float(ms), 0.0, (), (), 0,
            dict(zip(FEATURES, known.features[c].tolist(), strict=True)),
        )
        for c, ms in zip(known.networks[number].configurations, times_ms, strict=True)
    )


@pytest.mark.parametrize('device', ['aten-nchw', 'bf16'])
@pytest.mark.parametrize('slower', [1.0, 1.2])
def test_the_second_network_is_predicted_better_than_the_first(
    device: str, slower: float
) -> None:
    """Real times of a device that is held out; the first network may be of a slower hour."""
    known = shipped_database()
    row = [item['name'] for item in known.devices].index(device)
    others = known.without_device(row)
    before = [
        replace(layer, time_ms=slower * layer.time_ms)
        for layer in of_shipped(device, 'torchvision:squeezenet1_1')
    ]
    alone, helped = [], []
    for name in ('torchvision:resnet18', 'torchvision:mobilenet_v2', 'torchvision:googlenet'):
        layers = of_shipped(device, name)
        true_ms = np.array([layer.time_ms for layer in layers])
        for seed in range(3):
            chosen = np.random.default_rng(seed).permutation(len(layers))
            measured = chosen[: round(0.1 * len(layers))].tolist()
            for elsewhere, errors in (((), alone), ((before,), helped)):
                found_ms = predict_layers(layers, others, measured, elsewhere).time_ms
                errors.append(abs(found_ms.sum() / true_ms.sum() - 1.0))
    assert np.mean(helped) < 0.9 * np.mean(alone)


def test_another_hour_is_a_factor_and_no_property_of_the_layers() -> None:
    """What was 1.3 times as slow at that time is not taken for layers that are."""
    layers = [*layers_of(NETWORKS['one'], STRANGER), *layers_of(NETWORKS['two'], STRANGER)]
    count = 2 * len(NETWORKS['one'])
    true = np.log([layer.time_ms for layer in layers])
    slow = true + np.log(1.3) * (np.arange(len(layers)) >= count)
    columns = database().columns(
        [layer.kind for layer in layers], features_of([layer.features for layer in layers]),
        [count, len(layers) - count],
    )
    measured = np.array([0, 3, 8, 11, *range(count, len(layers))])
    wrong = [
        np.abs(condition(columns, measured, slow[measured], sessions=sessions).log_mean - true)
        for sessions in (None, (np.arange(len(layers)) >= count).astype(int))
    ]
    assert wrong[1][:count].mean() < 0.5 * wrong[0][:count].mean()


def test_waiting_is_taken_out_and_a_network_joins_once() -> None:
    made = replace(
        profile(NETWORKS['one'], STRANGER), device=FACTS, load_ratios={'schedstat': 2.0},
        model_identity='i',
    )
    networks = joined(joined((), made), made)
    assert len(networks) == 1 and networks[0].device == DEVICE
    for layer, true in zip(networks[0].layers, made.layers, strict=True):
        assert layer.time_ms == pytest.approx(0.5 * true.time_ms)
    assert len(joined(networks, replace(made, threads=2))) == 2
    # Another backend: its times in place are torch's, scaled to it.
    whole = tuple(3.0 * cut.head_ms for cut in made.cuts)
    compiled = replace(made, backend='onnxruntime')
    (torch,) = joined((), replace(compiled, variants=(Variant('torch', 1, whole, whole),)))
    assert torch.device == DEVICE
    assert torch.layers[3].time_ms == pytest.approx(3.0 * networks[0].layers[3].time_ms)
    for bad in (replace(made, provisional='guessed'), replace(made, layers=()), compiled):
        with pytest.raises(ProfileError, match='cannot join|no times of their own'):
            joined((), bad)


def test_only_this_device_the_newest_first_and_no_more_than_can_be_conditioned_on() -> None:
    one = network('one')
    many = [replace(one, layers=one.layers * 15) for _ in range(3)]  # 240 each
    strange = replace(network('two'), device=device_of(FACTS, 'torch', 2))
    found = measured_on([network('three'), *many, strange], DEVICE)
    assert [len(layers) for layers in found] == [240, 120, 40]  # thinned out, no room for 'three'
    assert sum(map(len, found)) == MAX_USED
    assert [layer.kind for layer in found[1]] == [layer.kind for layer in many[0].layers[::2]]
    assert measured_on([strange], DEVICE) == ()


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / 'own.json'
    assert read_own_layers(path) == ()
    write_own_layers(path, [network('one'), network('two')])
    found = read_own_layers(path)
    assert [item.model for item in found] == ['one', 'two']
    assert found[0].device == DEVICE
    for mine, true in zip(found[0].layers, network('one').layers, strict=True):
        assert (mine.kind, mine.features) == (true.kind, true.features)
        assert mine.time_ms == pytest.approx(true.time_ms, rel=1e-4)
    assert [item.name for item in tmp_path.iterdir()] == ['own.json']  # nothing half-written


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks: tuple[MeasuredNetwork, ...] = ()
    for number in range(MAX_NETWORKS + 3):
        made = profile(NETWORKS['two'], STRANGER)
        networks = joined(networks, replace(made, device=FACTS, model_identity=str(number)))
    assert len(networks) == MAX_NETWORKS and networks[-1].model_identity == '34'
    path = tmp_path / 'own.json'
    monkeypatch.setattr(joining, 'MAX_BYTES', 20_000)
    write_own_layers(path, networks)
    assert path.stat().st_size <= 20_000
    assert read_own_layers(path)[-1].model_identity == '34'  # the oldest went
    path.write_text(path.read_text() + ' ' * 20_000)
    with pytest.raises(ProfileError, match='too large'):
        read_own_layers(path)


def spoil_version(data: dict[str, Any]) -> None:
    data['schema_version'] = 0


def spoil_features(data: dict[str, Any]) -> None:
    data['features'].pop()


def spoil_time(data: dict[str, Any]) -> None:
    data['networks'][0]['layers'][0][1] = -1.0


def spoil_row(data: dict[str, Any]) -> None:
    data['networks'][0]['layers'][0].pop()


def spoil_feature(data: dict[str, Any]) -> None:
    data['networks'][0]['layers'][0][2] = float('inf')


def spoil_size(data: dict[str, Any]) -> None:
    data['networks'][0]['layers'][0][1] = 10**400


def spoil_count(data: dict[str, Any]) -> None:
    data['networks'] *= MAX_NETWORKS + 1


@pytest.mark.parametrize(
    'spoil',
    [
        spoil_version, spoil_features, spoil_time, spoil_row, spoil_feature, spoil_size,
        spoil_count,
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / 'own.json'
    write_own_layers(path, [network('one')])
    data = json.loads(path.read_text())
    spoil(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ProfileError):
        read_own_layers(path)


@pytest.mark.parametrize('text', ['', '[]', '{"schema_version": 1', '[' * 100_000, '\xff'])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'own.json'
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(ProfileError):
        read_own_layers(path)
