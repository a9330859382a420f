"""The data base of measured layers: devices x layers of networks, shipped with the package.

``data/profiles/layers.json`` is made by ``benchmarks/prediction``; its README says how. What a
robot measures itself is kept beside it (``joining.py``): its next network is predicted from both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.columns import (
    Columns,
    group_of,
    GroupModel,
    numbered,
    places_of,
    STRANGER_SD,
    strangers,
)
from dnn_offload.cost.predict.regression import as_row, from_json, to_json
from dnn_offload.errors import ProfileError

SCHEMA_VERSION = 1
DATABASE_FILE = Path(__file__).resolve().parents[2] / 'data' / 'profiles' / 'layers.json'
MAX_BYTES = 16 << 20
# Of a layer in a network that is not in the data base, around its configuration.
ELSEWHERE_SD = 0.1

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Network:
    """A measured network: the configuration of each of its layers, in order."""

    name: str
    configurations: tuple[int, ...]


@dataclass(frozen=True)
class Database:
    """Measured layers.

    Attributes:
        devices: What is known of each device, ``name`` first of all.
        kinds: Kind of each configuration.
        features: Of each configuration, (configurations, features).
        networks: The networks, in order of the columns of ``log_times``.
        log_times: Natural logarithms of the times [ms] of all layers of all networks,
            (devices, layers).
        whole_ms: Whole networks run without stamps, (devices, networks).
        forests: Method (a) of each group of layers, fitted to just these measurements when the
            data base was made; a group that is missing is fitted when it is asked for.
    """

    devices: tuple[Mapping[str, Any], ...]
    kinds: tuple[str, ...]
    features: np.ndarray
    networks: tuple[Network, ...]
    log_times: np.ndarray
    whole_ms: np.ndarray
    forests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def columns(
        self, kinds: Sequence[str], features: np.ndarray, parts: Sequence[int] = ()
    ) -> Columns:
        """Columns of the layers of a network, or of several.

        Args:
            kinds: Kind of each layer.
            features: (layers, features), in order of ``FEATURES``.
            parts: Layers of each network, if there are several one after the other. A network
                that the data base holds, layer by layer, has its own measured times; other
                layers have the mean of those of the same configuration.
        """
        keys = [configuration_key(kind, row) for kind, row in zip(kinds, features, strict=True)]
        groups = [group_of(kind, row) for kind, row in zip(kinds, features, strict=True)]
        index = _index(self)
        found = np.array([index.configuration.get(key, -1) for key in keys], dtype=int)
        log_times = np.empty((len(self.devices), len(keys)))
        sd = np.zeros(len(keys))
        start = 0
        for count in parts or (len(keys),):
            part = slice(start, start + count)
            known_at = index.network.get(tuple(found[part].tolist()))
            if known_at is not None:
                log_times[:, part] = self.log_times[:, known_at : known_at + count]
            else:
                self._look_up(
                    found[part], groups[part], features[part], log_times[:, part], sd[part]
                )
            start += count
        return Columns(log_times, sd, numbered(groups), places_of(features), numbered(keys))

    def _look_up(
        self,
        found: np.ndarray,
        groups: Sequence[str],
        features: np.ndarray,
        log_times: np.ndarray,
        sd: np.ndarray,
    ) -> None:
        """Fill in columns: measured in another network, predicted, or those of a stranger."""
        index = _index(self)
        by_group: dict[str, list[int]] = {}
        for layer, configuration in enumerate(found):
            if configuration >= 0:
                log_times[:, layer] = index.log_means[:, configuration]
                sd[layer] = ELSEWHERE_SD
            else:
                by_group.setdefault(groups[layer], []).append(layer)
        for group, layers in by_group.items():
            model = index.model(self, group)
            if model is None:
                log_times[:, layers] = strangers(index.log_means, self.features, features[layers])
                sd[layers] = STRANGER_SD
            else:
                log_times[:, layers], sd[layers] = model.predict(features[layers])

    def configuration(self, kind: str, features: np.ndarray) -> int:
        """Number of a configuration; -1 if nobody has measured it."""
        return _index(self).configuration.get(configuration_key(kind, features), -1)

    def without_device(self, device: int) -> Database:
        """The same without one device."""
        kept = [index for index in range(len(self.devices)) if index != device]
        return replace(
            self,
            devices=tuple(self.devices[index] for index in kept),
            log_times=self.log_times[kept],
            whole_ms=self.whole_ms[kept],
            forests={},
        )

    def with_networks(
        self, kept: Sequence[int], without: Collection[int] = ()
    ) -> Database:
        """The same with some of the networks only.

        Args:
            kept: Indices of networks.
            without: Configurations whose layers are taken out of them.
        """
        networks, chosen = [], []
        number: dict[int, int] = {}
        for at in kept:
            first = self.layers_of(at).start
            left = [
                (first + place, configuration)
                for place, configuration in enumerate(self.networks[at].configurations)
                if configuration not in without
            ]
            chosen += [layer for layer, _ in left]
            networks.append(
                Network(
                    self.networks[at].name,
                    tuple(number.setdefault(c, len(number)) for _, c in left),
                )
            )
        return replace(
            self,
            kinds=tuple(self.kinds[configuration] for configuration in number),
            features=self.features[list(number)],
            networks=tuple(networks),
            log_times=self.log_times[:, chosen],
            whole_ms=self.whole_ms[:, list(kept)],
            forests={},
        )

    def fitted_forests(self) -> dict[str, dict[str, Any]]:
        """``forests`` of this data base; takes seconds where they are not there."""
        return _index(self).fitted(self)

    def layers_of(self, network: int) -> slice:
        """Which columns of ``log_times`` are those of a network."""
        start = sum(len(item.configurations) for item in self.networks[:network])
        return slice(start, start + len(self.networks[network].configurations))


class _Index:
    """What is looked up in a data base, made once for each."""

    def __init__(self, database: Database) -> None:
        self.configuration = {
            configuration_key(kind, row): index
            for index, (kind, row) in enumerate(
                zip(database.kinds, database.features, strict=True)
            )
        }
        self.network = {}
        start = 0
        for network in database.networks:
            self.network[network.configurations] = start
            start += len(network.configurations)
        of_layer = [c for network in database.networks for c in network.configurations]
        self.counts = np.bincount(of_layer, minlength=len(database.kinds))
        sums = np.zeros((len(database.devices), len(database.kinds)))
        for row, times in zip(sums, database.log_times, strict=True):
            row += np.bincount(of_layer, times, minlength=len(database.kinds))
        self.log_means = sums / np.maximum(self.counts, 1)
        groups: dict[str, list[int]] = {}
        for index, (kind, row) in enumerate(zip(database.kinds, database.features, strict=True)):
            groups.setdefault(group_of(kind, row), []).append(index)
        self._groups = groups
        self._models: dict[str, GroupModel] = {}

    def model(self, database: Database, group: str) -> GroupModel | None:
        """The regression of a group of layers; None of a group that nobody has measured."""
        members = self._groups.get(group)
        if members is None:
            return None
        if group not in self._models:
            plain = database.forests.get(group)
            self._models[group] = GroupModel(
                database.features[members],
                self.log_means[:, members],
                self.counts[members],
                from_json(plain, len(database.devices)) if plain else None,
            )
        return self._models[group]

    def fitted(self, database: Database) -> dict[str, dict[str, Any]]:
        """Method (a) of all groups as plain data, to be kept with the data base."""
        models = {group: self.model(database, group) for group in self._groups}
        return {group: to_json(model.forest) for group, model in models.items() if model}


_INDICES: dict[int, tuple[Database, _Index]] = {}


def _index(database: Database) -> _Index:
    """The index of a data base, which is immutable, kept for the last few of them."""
    kept = _INDICES.get(id(database))
    if kept is None or kept[0] is not database:
        while len(_INDICES) >= 4:
            del _INDICES[next(iter(_INDICES))]
        kept = (database, _Index(database))
        _INDICES[id(database)] = kept
    return kept[1]


def configuration_key(kind: str, features: np.ndarray) -> Key:
    """What makes two layers the same configuration; features are whole numbers."""
    return (kind, *(round(float(value)) for value in features))


def load_database(path: Path | str = DATABASE_FILE) -> Database:
    """Read a data base.

    Raises:
        ProfileError: Missing, damaged, or of another version.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError('data base is too large', allowed=f'{MAX_BYTES} bytes')
        return parse(json.loads(path.read_text(encoding='utf-8')))
    except OSError as error:
        raise ProfileError(f'cannot read {path}: {error}') from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProfileError(f'{path} is damaged', given=repr(error)) from error


@lru_cache(maxsize=1)
def shipped_database() -> Database:
    """The data base of the package, read once."""
    return load_database()


def parse(data: Mapping[str, Any]) -> Database:
    """Make a data base of its JSON.

    Raises:
        ProfileError: Of another version, or it contradicts itself.
        KeyError, TypeError, ValueError: Damaged; the caller reports it.
    """
    if data['schema_version'] != SCHEMA_VERSION or list(data['features']) != list(FEATURES):
        raise ProfileError(
            'data base has another schema',
            given=f'{data["schema_version"]}, {data["features"]}',
            allowed=f'{SCHEMA_VERSION}, {list(FEATURES)}',
            hint='collect it again with this version of dnn_offload',
        )
    configurations = data['configurations']
    networks = tuple(
        Network(str(item['name']), tuple(int(c) for c in item['layers']))
        for item in data['networks']
    )
    layers_us = np.array(
        [[us for times in device['layers_us'] for us in times] for device in data['devices']],
        dtype=float,
    )
    whole_us = np.array([device['whole_us'] for device in data['devices']], dtype=float)
    count = sum(len(network.configurations) for network in networks)
    if layers_us.shape != (len(data['devices']), count) or whole_us.shape[1:] != (len(networks),):
        raise ProfileError('data base has not every layer on every device', given=layers_us.shape)
    if not (np.isfinite(layers_us).all() and (layers_us > 0.0).all() and (whole_us > 0.0).all()):
        raise ProfileError('data base holds a time that is not positive')
    if not all(0 <= c < len(configurations) for item in networks for c in item.configurations):
        raise ProfileError('data base names a configuration that it does not hold')
    return Database(
        devices=tuple(
            {key: value for key, value in device.items() if key not in ('layers_us', 'whole_us')}
            for device in data['devices']
        ),
        kinds=tuple(str(item[0]) for item in configurations),
        features=np.array([item[1:] for item in configurations], dtype=float),
        networks=networks,
        log_times=np.log(layers_us * 1e-3),
        whole_ms=whole_us * 1e-3,
        forests=dict(data.get('forests', {})),
    )


def features_of(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Features of layers as a table in order of ``FEATURES``, (layers, features).

    Raises:
        ProfileError: A feature is not a finite, non-negative number.
    """
    table = np.array([as_row(row) for row in rows]).reshape(len(rows), len(FEATURES))
    if not (np.isfinite(table).all() and (table >= 0.0).all()):
        raise ProfileError('a feature of a layer is not a finite non-negative number')
    return table


def log_ms(times_ms: Sequence[float]) -> np.ndarray:
    """Logarithms of measured times [ms]; what is below the clock's grain counts as the grain."""
    return np.array([math.log(max(time_ms, 1e-4)) for time_ms in times_ms])
