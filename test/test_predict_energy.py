"""Joules go the way of milliseconds: from a data base of them to a network's, end to end."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.prediction.modelled_energy import boards_of, in_millijoules
from dnn_offload.cost.energy import frame_energy_j, load_board
from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import Database, shipped_database
from dnn_offload.cost.predict.factorisation import factorise, join_device, predict
from dnn_offload.cost.predict.fill import predict_layers
from dnn_offload.cost.predict.regression import fit_forest
from dnn_offload.cost.profile import LayerProfile

DEVICE = 'sse'


@pytest.fixture(scope='module')
def times() -> Database:
    known = shipped_database()
    names = [item.name for item in known.networks]
    return known.with_networks(
        [names.index(f'torchvision:{name}') for name in ('squeezenet1_1', 'resnet18')]
    )


@pytest.fixture(scope='module')
def energies(times: Database) -> Database:
    return in_millijoules(times, boards_of(times))


def row_of(known: Database) -> int:
    return [item['name'] for item in known.devices].index(DEVICE)


def test_devices_have_the_joules_of_their_boards(times: Database, energies: Database) -> None:
    boards = boards_of(times)
    assert len({board.name for board in boards}) >= 3
    for row, (device, board) in enumerate(zip(times.devices, boards, strict=True)):
        threads = int(device['threads'])
        wanted_j = frame_energy_j(board, times.whole_ms[row, 0], 0.0, 0.0, 0.0, threads)
        assert energies.whole_ms[row, 0] == pytest.approx(1e3 * wanted_j)
    two = next(row for row, device in enumerate(times.devices) if device['threads'] == 2)
    pi = [load_board('raspberry_pi_5')] * len(times.devices)
    ratio = in_millijoules(times, pi).whole_ms[two] / times.whole_ms[two]
    assert ratio == pytest.approx(pi[0].busy_w(2))


def test_joules_of_unmeasured_layers_and_of_the_network(energies: Database) -> None:
    """30 % of a held-out device's joules are measured, by (c) as a node predicts."""
    row = row_of(energies)
    layers = tuple(
        LayerProfile(
            energies.kinds[c], energies.kinds[c], float(np.exp(log_mj)), 0.0, (), (), 0,
            dict(zip(FEATURES, energies.features[c].tolist(), strict=True)),
        )
        for c, log_mj in zip(
            energies.networks[1].configurations, energies.log_times[row, energies.layers_of(1)],
            strict=True,
        )
    )
    measured = np.random.default_rng(0).permutation(len(layers))[: round(0.3 * len(layers))]
    found = predict_layers(layers, energies.without_device(row), measured.tolist())
    assert found.time_ms.sum() == pytest.approx(energies.whole_ms[row, 1], rel=0.15)


def test_all_methods_take_joules_as_they_take_times(times: Database, energies: Database) -> None:
    """Per layer the answers in joules are those in time, times the board's power."""
    row = row_of(times)
    own_w = np.exp(energies.log_times[row, 0] - times.log_times[row, 0])
    measured = np.arange(0, times.log_times.shape[1], 3)
    found = []
    for known in (times, energies):
        others, own = known.without_device(row), known.log_times[row]
        of_layer = [c for item in known.networks for c in item.configurations]
        columns = others.columns(
            [known.kinds[c] for c in of_layer], known.features[of_layer],
            [len(item.configurations) for item in known.networks],
        )
        factors = factorise(others.log_times)
        conv = np.array([c for c in measured if known.kinds[of_layer[c]] == 'conv2d'])
        rows = known.features[[of_layer[c] for c in conv]]
        found.append((
            fit_forest(rows, np.exp(own[conv])[:, None]).log_times(rows)[:, 0],
            predict(factors, join_device(factors, measured, own[measured]))[0],
            condition(columns, measured, own[measured]).log_mean,
        ))
    # Not exactly: a ridge penalty shrinks the power with the device's bias, and where layers are
    # alike the fit of a leaf is not unique.
    for in_time, in_joules in zip(*found, strict=True):
        assert np.median(np.abs(in_joules - in_time - np.log(own_w))) < 0.05
