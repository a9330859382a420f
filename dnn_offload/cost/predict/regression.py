"""(a) The time of a layer from its configuration: model trees, one per kind of layer.

Neurosurgeon (Kang et al., ASPLOS 2017, section 4.1) fits one line per kind; FastDeepIoT (Yao et
al., SenSys 2018) shows that time is piecewise linear: a kernel is chosen by thresholds on the
configuration, and within one kernel time grows with the work. So a tree splits the
configurations, and a leaf holds non-negative coefficients of the work: time = constant +
multiply-accumulates + bytes in, out and of weights, least squares of the *relative* error. With
coefficients below zero excluded, what lies outside of the measured range is extrapolated like a
larger layer of the same kernel.

One tree serves all devices (thresholds are where *some* device changes its kernel), each device
has coefficients of its own: that is what lets a table of few devices carry many thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from dnn_offload.cost.layer_features import FEATURES

WORK = ('macs', 'input_bytes', 'output_bytes', 'weight_bytes')
LEAST_LEAF = 4
MAX_DEPTH = 6
LEAST_GAIN = 0.02  # of the squared error of the node
GOOD_ENOUGH = 0.01  # root mean square relative error of a leaf that is not split any more
# Coefficients are per this much work, so that the least squares are well scaled.
_SCALES = np.array([1.0, 1e6, 1e5, 1e5, 1e5])
RATIOS = 3  # of features, that are split on beside them
_WORK_AT = [FEATURES.index(name) for name in WORK]


def as_row(features: Mapping[str, float]) -> np.ndarray:
    """Features of a layer as a row in order of ``FEATURES``; what is missing is 0."""
    return np.array([features.get(name, 0.0) for name in FEATURES])


def work_of(features: np.ndarray) -> np.ndarray:
    """What time grows with: (n, features) -> (n, 5), a constant and the four of ``WORK``."""
    work = np.column_stack([np.ones(len(features)), features[:, _WORK_AT]])
    return work / _SCALES


def split_features(features: np.ndarray) -> np.ndarray:
    """What thresholds are put on: logarithms of the features and of three ratios, (n, 15)."""
    at = {name: features[:, index] for index, name in enumerate(FEATURES)}
    groups = np.maximum(at['groups'], 1.0)
    ratios = [
        at['in_channels'] / groups,  # 1: depthwise
        at['macs'] / np.maximum(at['output_bytes'], 1.0),  # length of the sums
        at['input_bytes'] / np.maximum(at['output_bytes'], 1.0),
    ]
    return np.log1p(np.column_stack([features, *ratios]))


@dataclass(frozen=True)
class Leaf:
    """Coefficients of the work, one row per device, (devices, 5)."""

    coefficients: np.ndarray


@dataclass(frozen=True)
class Split:
    """Layers with feature ``at`` up to ``threshold`` go ``low``."""

    at: int
    threshold: float
    low: Split | Leaf
    high: Split | Leaf


@dataclass(frozen=True)
class Forest:
    """Trees over one kind of layer, averaged in the logarithm.

    Attributes:
        trees: At least one.
        error: Root mean square of the logarithmic error, out of bag.
    """

    trees: tuple[Split | Leaf, ...]
    error: float

    def log_times(self, features: np.ndarray) -> np.ndarray:
        """Logarithm of the times of layers, (n, features) -> (n, devices)."""
        work, places = work_of(features), split_features(features)
        total = sum(_walk(tree, work, places) for tree in self.trees)
        return np.asarray(total) / len(self.trees)


def fit_tree(
    features: np.ndarray,
    times: np.ndarray,
    *,
    max_depth: int = MAX_DEPTH,
    least_leaf: int = LEAST_LEAF,
) -> Split | Leaf:
    """Fit one tree.

    Args:
        features: (n, features), in order of ``FEATURES``.
        times: Positive, (n, devices); any unit, joules too.
        max_depth: Splits above a leaf, at most.
        least_leaf: Layers in a leaf, at the least.
    """
    return _grow(work_of(features), split_features(features), times, max_depth, least_leaf)


def fit_forest(
    features: np.ndarray,
    times: np.ndarray,
    *,
    trees: int = 8,
    seed: int = 0,
    max_depth: int = MAX_DEPTH,
    least_leaf: int = LEAST_LEAF,
) -> Forest:
    """Fit trees on resampled layers; the layers left out tell the error.

    Args:
        features: (n, features), in order of ``FEATURES``.
        times: Positive, (n, devices); any unit, joules too.
        trees: How many.
        seed: Of the resampling.
        max_depth: Splits above a leaf, at most.
        least_leaf: Layers in a leaf, at the least.
    """
    work, places = work_of(features), split_features(features)
    rng = np.random.default_rng(seed)
    count = len(times)
    grown = []
    summed = np.zeros(times.shape)
    votes = np.zeros(count)
    for _ in range(trees):
        chosen = rng.integers(count, size=count) if count >= 2 * least_leaf else np.arange(count)
        tree = _grow(work[chosen], places[chosen], times[chosen], max_depth, least_leaf)
        grown.append(tree)
        out = np.setdiff1d(np.arange(count), chosen)
        if len(out):
            summed[out] += _walk(tree, work[out], places[out])
            votes[out] += 1
    seen = votes > 0
    if seen.any():
        wrong = summed[seen] / votes[seen, None] - np.log(times[seen])
        error = float(np.sqrt(np.mean(wrong**2)))
    else:
        error = 0.5
    return Forest(tuple(grown), error)


def _fit_leaf(work: np.ndarray, times: np.ndarray) -> Leaf:
    """Non-negative least squares of the relative error, per device."""
    return Leaf(np.array([nnls(work / t[:, None], np.ones(len(t)))[0] for t in times.T]))


def _values(leaf: Leaf, work: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(work @ leaf.coefficients.T, 1e-9))  # (n, devices)


def _grow(
    work: np.ndarray, places: np.ndarray, times: np.ndarray, depth: int, least_leaf: int
) -> Split | Leaf:
    leaf = _fit_leaf(work, times)
    if depth == 0 or len(times) < 2 * least_leaf:
        return leaf
    logs = np.log(times)  # (n, devices)
    if np.mean((_values(leaf, work) - logs) ** 2) < GOOD_ENOUGH**2:
        return leaf
    # One line for all devices, each moved as a whole: where most of them bend is where to split.
    line = _values(_fit_leaf(work, np.exp(logs.mean(axis=1, keepdims=True))), work)
    wrong = logs - logs.mean(axis=0) - line + line.mean()
    at, threshold, gain = _best_split(places, wrong, least_leaf)
    if gain < LEAST_GAIN * np.sum(wrong**2):
        return leaf
    low = places[:, at] <= threshold
    return Split(
        at,
        threshold,
        _grow(work[low], places[low], times[low], depth - 1, least_leaf),
        _grow(work[~low], places[~low], times[~low], depth - 1, least_leaf),
    )


def _best_split(
    places: np.ndarray, wrong: np.ndarray, least_leaf: int
) -> tuple[int, float, float]:
    """The threshold that explains most of what the node's own fit leaves: steps and slopes.

    A constant on each side is fitted to the residuals: a residual that changes sign along a
    feature is where the node's line is bent.
    """
    count = len(wrong)
    best = (0, 0.0, 0.0)
    total = wrong.sum(axis=0)
    base = np.sum(total**2) / count
    for at in range(places.shape[1]):
        order = np.argsort(places[:, at], kind='stable')
        values = places[order, at]
        sums = np.cumsum(wrong[order], axis=0)[:-1]  # (n - 1, devices)
        sizes = np.arange(1, count)
        gain = (
            np.sum(sums**2, axis=1) / sizes
            + np.sum((total - sums) ** 2, axis=1) / (count - sizes)
            - base
        )
        legal = (
            (values[1:] > values[:-1])
            & (sizes >= least_leaf) & (count - sizes >= least_leaf)
        )
        if not legal.any():
            continue
        gain = np.where(legal, gain, -1.0)
        index = int(np.argmax(gain))
        if gain[index] > best[2]:
            best = (at, float(values[index] + values[index + 1]) / 2, float(gain[index]))
    return best


def _walk(tree: Split | Leaf, work: np.ndarray, places: np.ndarray) -> np.ndarray:
    if isinstance(tree, Leaf):
        return _values(tree, work)
    low = places[:, tree.at] <= tree.threshold
    found = np.empty((len(work), _devices(tree)))
    found[low] = _walk(tree.low, work[low], places[low])
    found[~low] = _walk(tree.high, work[~low], places[~low])
    return found


def _devices(tree: Split | Leaf) -> int:
    while isinstance(tree, Split):
        tree = tree.low
    return len(tree.coefficients)


def to_json(forest: Forest) -> dict[str, Any]:
    """Plain data with four digits; ``from_json`` reads it back."""
    return {'error': round(forest.error, 4), 'trees': [_plain(tree) for tree in forest.trees]}


def from_json(data: Mapping[str, Any], devices: int) -> Forest:
    """Read what ``to_json`` wrote.

    Args:
        data: The plain data.
        devices: How many devices every leaf must have coefficients of.

    Raises:
        KeyError, TypeError, ValueError: Damaged; the caller reports it.
    """
    trees = tuple(_read(tree, devices, 2 * MAX_DEPTH) for tree in data['trees'])
    error = float(data['error'])
    if not trees or not 0.0 <= error < 10.0:
        raise ValueError('a forest without trees or with an impossible error')
    return Forest(trees, error)


def _plain(tree: Split | Leaf) -> list[Any]:
    if isinstance(tree, Leaf):
        return [[float(f'{value:.4g}') for value in row] for row in tree.coefficients]
    return [tree.at, round(tree.threshold, 4), _plain(tree.low), _plain(tree.high)]


def _read(data: list[Any], devices: int, depth: int) -> Split | Leaf:
    if depth < 0:
        raise ValueError('a tree is too deep')
    if isinstance(data[0], list):
        coefficients = np.array(data, dtype=float)
        if coefficients.shape != (devices, 1 + len(WORK)) or not (coefficients >= 0.0).all():
            raise ValueError('a leaf does not fit the devices')
        return Leaf(coefficients)
    at, threshold, low, high = data
    if not 0 <= int(at) < len(FEATURES) + RATIOS:
        raise ValueError('a tree splits on a feature that does not exist')
    return Split(
        int(at), float(threshold), _read(low, devices, depth - 1), _read(high, devices, depth - 1)
    )
