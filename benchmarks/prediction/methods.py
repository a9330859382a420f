"""The methods side by side: each gets what was measured on a device and gives all layers.

A method takes the data base of the other devices, columns of the layers, which were measured on
the device and their times, and gives log times of all layers; NaN where it has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict import combined, factorisation
from dnn_offload.cost.predict.columns import Columns, group_of
from dnn_offload.cost.predict.regression import fit_forest

_AT = {name: index for index, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class Task:
    """One device, some layers of it measured.

    Attributes:
        kinds, features: Of all layers, (layers,) and (layers, features).
        columns: What the other devices tell of them.
        measured: Indices, (n,).
        log_times: Of the measured layers, (n,).
    """

    kinds: list[str]
    features: np.ndarray
    columns: Columns
    measured: np.ndarray
    log_times: np.ndarray


def scale_factor(task: Task) -> np.ndarray:
    """The baseline: the mean device, times what the measured layers take in total over it."""
    mean = task.columns.log_times.mean(axis=0)
    ratio = np.exp(task.log_times).sum() / np.exp(mean[task.measured]).sum()
    return mean + np.log(ratio)


def nearest_device(task: Task) -> np.ndarray:
    """A stronger baseline: the known device that is most alike, times one factor."""
    missed = task.log_times - task.columns.log_times[:, task.measured]
    best = int(np.argmin(missed.std(axis=1)))
    return task.columns.log_times[best] + missed[best].mean()


def neurosurgeon(task: Task) -> np.ndarray:
    """Neurosurgeon's regression: a line per kind on its own variables, or on their logarithms.

    Variables as published (section 4.1): of a convolution the size of the input and (filter /
    stride) squared x filters, of a linear layer inputs and outputs, of pooling input and output,
    of the rest the input. Whichever of the two forms has less squared error is taken, as they
    do by looking. They have neither depthwise convolutions nor other devices.
    """
    found = np.full(len(task.kinds), np.nan)
    times = np.exp(task.log_times)
    all_kinds = np.array(task.kinds)
    for kind in set(task.kinds):
        members = np.flatnonzero(all_kinds == kind)
        chosen = np.flatnonzero(all_kinds[task.measured] == kind)
        inside = task.measured[chosen]
        if not len(inside):
            found[members] = task.log_times.mean()
            continue
        fits = []
        for form in (_plain, np.log1p):
            basis = form(_published(kind, task.features))
            basis = np.column_stack([np.ones(len(basis)), basis / (basis.max(axis=0) + 1e-9)])
            solved, *_ = np.linalg.lstsq(basis[inside], times[chosen], rcond=1e-6)
            error = float(np.sum((basis[inside] @ solved - times[chosen]) ** 2))
            fits.append((error, basis[members] @ solved))
        best = min(fits, key=lambda fit: fit[0])[1]
        # A line may go below zero: no layer is faster than the fastest seen.
        found[members] = np.log(np.maximum(best, times[chosen].min()))
    return found


def _plain(values: np.ndarray) -> np.ndarray:
    return values


def _published(kind: str, features: np.ndarray) -> np.ndarray:
    """Neurosurgeon's variables of a kind, (layers, 1 or 2)."""
    at = {name: features[:, index] for name, index in _AT.items()}
    if kind.startswith('conv'):
        filters = (at['kernel_h'] / np.maximum(at['stride'], 1.0)) ** 2 * at['out_channels']
        return np.column_stack([at['input_bytes'], filters])
    if kind == 'linear':
        return np.column_stack([at['in_channels'], at['out_channels']])
    if 'pool' in kind:
        return np.column_stack([at['input_bytes'], at['output_bytes']])
    return at['input_bytes'][:, None]


def regression(task: Task) -> np.ndarray:
    """(a) alone: model trees on the device's own measured layers; no other device is asked."""
    groups = np.array([group_of(k, f) for k, f in zip(task.kinds, task.features, strict=True)])
    times = np.exp(task.log_times)[:, None]
    found = np.full(len(groups), np.nan)
    everything = fit_forest(task.features[task.measured], times, trees=4)
    for group in set(groups):
        members = np.flatnonzero(groups == group)
        chosen = np.flatnonzero(groups[task.measured] == group)
        if len(chosen):
            forest = fit_forest(task.features[task.measured[chosen]], times[chosen])
        else:
            forest = everything
        found[members] = forest.log_times(task.features[members])[:, 0]
    return found


def factors(task: Task) -> np.ndarray:
    """(b) alone: the factorised matrix of the other devices, and the device's row of it."""
    made = factorisation.factorise(task.columns.log_times)
    joined = factorisation.join_device(made, task.measured, task.log_times)
    return factorisation.predict(made, joined)[0]


def combination(task: Task) -> combined.Prediction:
    """(c)."""
    return combined.condition(task.columns, task.measured, task.log_times)


METHODS: dict[str, Callable[[Task], np.ndarray]] = {
    'one scale factor': scale_factor,
    'nearest device x factor': nearest_device,
    'Neurosurgeon': neurosurgeon,
    '(a) regression': regression,
    '(b) factorisation': factors,
    '(c) combination': lambda task: combination(task).log_mean,
}
