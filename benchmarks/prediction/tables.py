"""What is compared, how layers are sampled, and the tables of errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dnn_offload.cost.predict.columns import group_of
from dnn_offload.cost.predict.combined import Prediction
from dnn_offload.cost.predict.database import Database

Z90 = 1.645


@dataclass
class Errors:
    """Errors of one method."""

    layers: list[np.ndarray] = field(default_factory=list)  # predicted, true [ms], (2, n)
    networks: list[np.ndarray] = field(default_factory=list)

    def row(self) -> str:
        """RMSE and MAPE of layers, RMSE, MAPE and worst tenth of networks."""
        layers, networks = np.hstack(self.layers), np.hstack(self.networks)
        relative = np.abs(networks[0] / networks[1] - 1.0)
        return (
            f'{_rmse(layers):8.3f} {100 * np.abs(layers[0] / layers[1] - 1.0).mean():8.1f} '
            f'{100 * np.abs(layers[0] - layers[1]).sum() / layers[1].sum():8.1f} '
            f'{_rmse(networks):9.2f} {100 * relative.mean():8.2f} '
            f'{100 * np.quantile(relative, 0.9):8.1f}'
        )

    def percent(self) -> float:
        """Mean absolute percentage error of networks."""
        networks = np.hstack(self.networks)
        return float(100 * np.abs(networks[0] / networks[1] - 1.0).mean())


def head(unit: str) -> str:
    """Title of the columns; all but the two RMSE are per cent."""
    return (
        f'{"":28} {"layers":>26} {"networks":>27}\n'
        f'{"":28} {"RMSE " + unit:>8} {"MAPE %":>8} {"of sum %":>8} '
        f'{"RMSE " + unit:>9} {"MAPE %":>8} {"p90 %":>8}'
    )


def _rmse(pairs: np.ndarray) -> float:
    return float(np.sqrt(np.mean((pairs[0] - pairs[1]) ** 2)))


class Layers:
    """The layers of a data base with their kinds, features and networks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        of_layer = [c for network in database.networks for c in network.configurations]
        self.kinds = [database.kinds[c] for c in of_layer]
        self.features = database.features[of_layer]
        self.network = np.repeat(
            np.arange(len(database.networks)),
            [len(network.configurations) for network in database.networks],
        )
        self.groups = np.array(
            [group_of(k, f) for k, f in zip(self.kinds, self.features, strict=True)]
        )

    def members(self, network: int) -> np.ndarray:
        """Indices of a network's layers."""
        return np.flatnonzero(self.network == network)


Sampling = Callable[[Layers, np.ndarray, float, np.random.Generator], np.ndarray]


def over_all(
    layers: Layers, mean: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Random layers over all networks."""
    return rng.permutation(len(mean))[: round(share * len(mean))]


def of_each(
    layers: Layers, mean: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Random layers, the same share of each network: as RoaD-RuNNer samples."""
    return np.concatenate(
        [
            rng.permutation(members)[: max(2, round(share * len(members)))]
            for members in map(layers.members, range(len(layers.database.networks)))
        ]
    )


def cheapest(
    layers: Layers, mean: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """The layers that take the least time on the mean device."""
    return np.argsort(mean)[: round(share * len(mean))]


def cheapest_of_each_kind(
    layers: Layers, mean: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """The same within each kind of layer."""
    chosen = []
    for group in np.unique(layers.groups):
        members = np.flatnonzero(layers.groups == group)
        chosen.append(members[np.argsort(mean[members])][: max(1, round(share * len(members)))])
    return np.concatenate(chosen)


SAMPLINGS: dict[str, Sampling] = {
    'random over all': over_all,
    'random of each network': of_each,
    'cheapest first': cheapest,
    'cheapest of each kind': cheapest_of_each_kind,
}


class Table:
    """Errors per method, and how often the truth lay within the 90 % intervals of (c)."""

    def __init__(self) -> None:
        self.errors: dict[str, Errors] = {}
        self.inside_layers: list[float] = []
        self.inside_networks: list[float] = []
        self.cost: list[float] = []

    def add(
        self,
        name: str,
        log_times: np.ndarray,
        measured: np.ndarray,
        truth_ms: np.ndarray,
        networks: list[np.ndarray],
        whole_ms: np.ndarray,
    ) -> None:
        """One method on one device."""
        times_ms = np.exp(log_times)
        times_ms[measured] = truth_ms[measured]
        rest = np.setdiff1d(np.arange(len(truth_ms)), measured)
        kept = self.errors.setdefault(name, Errors())
        kept.layers.append(np.array([times_ms[rest], truth_ms[rest]]))
        sums = np.array([times_ms[members].sum() for members in networks])
        kept.networks.append(np.array([sums, whole_ms]))

    def add_interval(
        self,
        told: Prediction,
        measured: np.ndarray,
        truth_ms: np.ndarray,
        networks: list[np.ndarray],
    ) -> None:
        """Coverage of (c) on one device: unmeasured layers, and sums over networks."""
        rest = np.setdiff1d(np.arange(len(truth_ms)), measured)
        low, high = told.interval(Z90)
        self.inside_layers.append(
            float(np.mean((truth_ms >= low) & (truth_ms <= high), where=_where(rest, low)))
        )
        times_ms = np.exp(told.log_mean)
        times_ms[measured] = truth_ms[measured]
        for members in networks:
            weights = np.where(np.isin(members, measured), 0.0, times_ms[members])
            covariance = told.covariance[np.ix_(members, members)]
            sd_ms = float(np.sqrt(weights @ covariance @ weights))
            missed = abs(times_ms[members].sum() - truth_ms[members].sum())
            self.inside_networks.append(float(missed <= Z90 * sd_ms + 1e-9))
        self.cost.append(float(truth_ms[measured].sum() / truth_ms.sum()))

    def show(self, title: str, unit: str = 'ms') -> None:
        """Print; ``unit`` is that of the predicted quantity."""
        print(f'\n{title}\n{head(unit)}')
        for name, errors in self.errors.items():
            print(f'{name:28} {errors.row()}')
        if self.inside_layers:
            print(
                f'{"":28} 90 % intervals of (c) hold {100 * np.mean(self.inside_layers):.0f} % of '
                f'the layers, {100 * np.mean(self.inside_networks):.0f} % of the networks; '
                f'the sample is {100 * np.mean(self.cost):.0f} % of the sum'
            )


def _where(rest: np.ndarray, like: np.ndarray) -> np.ndarray:
    mask = np.zeros(len(like), dtype=bool)
    mask[rest] = True
    return mask
