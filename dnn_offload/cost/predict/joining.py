"""A robot joins the data base with what it has measured, and so does a network.

From then on the robot is a known device: its next network is predicted with a row of its own,
and other robots profit from it. What it has not measured enters as predicted, so that the matrix
stays complete; it says nothing new about those layers, and nothing false.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import (
    configuration_key,
    Database,
    features_of,
    log_ms,
    Network,
)
from dnn_offload.cost.profile import LayerProfile
from dnn_offload.errors import ProfileError


def join(
    database: Database,
    device: Mapping[str, Any],
    network: str,
    layers: Sequence[LayerProfile],
    measured: Collection[int],
) -> Database:
    """The data base with one more device, and with the network if it was not known.

    Args:
        database: As it was.
        device: What to know of the device, ``name`` first of all.
        network: Name of the network.
        layers: Its layers; ``time_ms`` counts where measured.
        measured: Indices of the measured layers.

    Raises:
        ProfileError: Nothing was measured, or there is such a device.
    """
    if any(known['name'] == device['name'] for known in database.devices):
        raise ProfileError('there is such a device in the data base', given=device['name'])
    chosen = np.array(sorted(set(measured)), dtype=int)
    if not len(chosen):
        raise ProfileError('no layer was measured on this device')
    wider = _with_network(database, network, layers)
    of_layer = [c for item in wider.networks for c in item.configurations]
    at = next(
        index for index, item in enumerate(wider.networks)
        if item.configurations == _configurations(wider, layers)
    )  # fmt: skip
    columns = wider.columns(
        [wider.kinds[c] for c in of_layer],
        wider.features[of_layer],
        [len(item.configurations) for item in wider.networks],
    )
    log_times = log_ms([layers[index].time_ms for index in chosen])
    places = wider.layers_of(at).start + chosen
    row = condition(columns, places, log_times).log_mean
    row[places] = log_times
    whole_ms = [
        np.exp(row[wider.layers_of(index)]).sum() for index in range(len(wider.networks))
    ]
    return replace(
        wider,
        devices=(*wider.devices, dict(device)),
        log_times=np.vstack([wider.log_times, row]),
        whole_ms=np.vstack([wider.whole_ms, whole_ms]),
        forests={},
    )


def _configurations(database: Database, layers: Sequence[LayerProfile]) -> tuple[int, ...]:
    """Numbers of the layers' configurations, all of which are known."""
    table = features_of([layer.features for layer in layers])
    return tuple(
        database.configuration(layer.kind, row) for layer, row in zip(layers, table, strict=True)
    )


def _with_network(
    database: Database, name: str, layers: Sequence[LayerProfile]
) -> Database:
    """The data base with a network's layers as the known devices are predicted to run them."""
    table = features_of([layer.features for layer in layers])
    kinds, features = list(database.kinds), list(database.features)
    numbers: dict[Any, int] = {}
    configurations = []
    for layer, row in zip(layers, table, strict=True):
        number = database.configuration(layer.kind, row)
        if number < 0:
            key = configuration_key(layer.kind, row)
            number = numbers.setdefault(key, len(database.kinds) + len(numbers))
            if number == len(kinds):
                kinds.append(layer.kind)
                features.append(row)
        configurations.append(number)
    if any(item.configurations == tuple(configurations) for item in database.networks):
        return database
    columns = database.columns([layer.kind for layer in layers], table)
    whole_ms = np.exp(columns.log_times).sum(axis=1, keepdims=True)
    return replace(
        database,
        kinds=tuple(kinds),
        features=np.array(features),
        networks=(*database.networks, Network(name, tuple(configurations))),
        log_times=np.hstack([database.log_times, columns.log_times]),
        whole_ms=np.hstack([database.whole_ms, whole_ms]),
        forests={},
    )
