"""Columns of the device x layer matrix for the layers of some network, known or new.

A layer that the data base holds has the measured times of all its devices. One that it does not
hold gets them by side information: method (a) predicts the time of its configuration on every
known device, and what (a) misses at the nearest measured configurations of its kind is added
(kriging). Either way there is a column, and the new device's row can be solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.regression import fit_forest, Forest

# Coordinates in which configurations are near each other, and how much each counts.
_NEAR = {
    'macs': 1.0, 'input_bytes': 1.0, 'output_bytes': 1.0, 'weight_bytes': 1.0,
    'in_channels': 1.0, 'out_channels': 1.0, 'out_h': 1.0, 'stride': 3.0, 'kernel_h': 3.0,
}  # fmt: skip
_NEAR_AT = [FEATURES.index(name) for name in _NEAR]
_NEAR_WEIGHTS = np.array(list(_NEAR.values()))
KRIGING_LENGTH = 1.0  # e-folds of a feature over which errors of (a) are alike
KRIGING_NOISE = 0.15  # variance of one layer around its configuration, over that of (a)'s errors
STRANGER_SD = 1.0  # of the logarithm, for a kind that nobody has measured
LEAST_SD = 0.2  # of a column that was predicted


@dataclass(frozen=True)
class Columns:
    """Columns of some layers, in order.

    Attributes:
        log_times: Logarithm of the time on every known device, (devices, layers).
        sd: Standard deviation of a column as a whole, 0 where it was measured, (layers,).
        groups: Kind of each layer as a small number, (layers,).
        places: Coordinates of its configuration, (layers, coordinates).
        configurations: Equal numbers for equal configurations, (layers,).
    """

    log_times: np.ndarray
    sd: np.ndarray
    groups: np.ndarray
    places: np.ndarray
    configurations: np.ndarray


def group_of(kind: str, features: np.ndarray) -> str:
    """Kind of a layer as far as kernels go: a convolution is pointwise, grouped or neither."""
    if not kind.startswith('conv'):
        return kind
    at = dict(zip(FEATURES, features, strict=True))
    if at['groups'] > 1:
        return f'{kind} grouped'
    return f'{kind} pointwise' if at['kernel_h'] * at['kernel_w'] == 1 else kind


def places_of(features: np.ndarray) -> np.ndarray:
    """Coordinates of configurations, (n, features) -> (n, coordinates)."""
    return np.log1p(features[:, _NEAR_AT]) * _NEAR_WEIGHTS


def nearness(ones: np.ndarray, others: np.ndarray, length: float) -> np.ndarray:
    """1 for equal configurations, towards 0 for far ones.

    Args:
        ones: (n, coordinates).
        others: (m, coordinates).
        length: Distance at which it has fallen to 0.6.

    Returns:
        (n, m).
    """
    squares = (
        np.sum(ones**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2.0 * ones @ others.T
    )
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2.0 * length**2)))


class GroupModel:
    """What is known of one group of layers on the known devices: method (a) and its misses.

    Args:
        features: Measured configurations, (n, features).
        log_times: (devices, n).
        counts: Layers behind each configuration, (n,).
        forest: Fitted before; None = fit it now (a second or so for a large group).
    """

    def __init__(
        self,
        features: np.ndarray,
        log_times: np.ndarray,
        counts: np.ndarray,
        forest: Forest | None = None,
    ) -> None:
        self.forest = forest or fit_forest(features, np.exp(log_times.T))
        self._places = places_of(features)
        missed = log_times.T - self.forest.log_times(features)  # (n, devices)
        gram = nearness(self._places, self._places, KRIGING_LENGTH)
        gram[np.diag_indices_from(gram)] += KRIGING_NOISE / counts
        self._inverse = np.linalg.inv(gram)
        self._weights = self._inverse @ missed

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log times (devices, n) of new configurations, and the columns' deviations (n,)."""
        near = nearness(places_of(features), self._places, KRIGING_LENGTH)
        log_times = (self.forest.log_times(features) + near @ self._weights).T
        told = np.clip(np.einsum('nm,mk,nk->n', near, self._inverse, near), 0.0, 1.0)
        sd = self.forest.error * np.sqrt(1.0 - 0.5 * told)
        return log_times, np.maximum(sd, LEAST_SD)


def strangers(log_times: np.ndarray, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Log times of layers whose kind nobody has measured, by how many bytes they touch.

    Args:
        log_times: All measured configurations, (devices, n).
        features: Theirs, (n, features).
        rows: Features of the strangers, (m, features).

    Returns:
        (devices, m): the median over the quarter of configurations nearest in bytes touched.
    """
    touched = _touched(features)
    found = []
    for amount in _touched(rows):
        nearest = np.argsort(np.abs(touched - amount))[: max(1, len(touched) // 4)]
        found.append(np.median(log_times[:, nearest], axis=1))
    return np.array(found).reshape(len(rows), len(log_times)).T


def _touched(features: np.ndarray) -> np.ndarray:
    at = [FEATURES.index(name) for name in ('input_bytes', 'output_bytes', 'weight_bytes')]
    return np.log1p(features[:, at].sum(axis=1))


def numbered(words: Sequence[object]) -> np.ndarray:
    """Equal numbers for equal words, (n,)."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=int)
