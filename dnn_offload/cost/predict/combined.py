"""(c) Our combination: what (a) and (b) know as one Gaussian, conditioned on what was measured.

For a device that nobody knows, the logarithm of a layer's time is

    log t[c] = m[c] + b + k[kind(c)] + s[kind(c)] . x[c] + f(c) + u . v[c] + e[c]

    m[c]  mean over the known devices (a column that nobody measured is predicted by (a)),
    b     how fast the device is: the scale factor of the baseline,
    k     how good it is at one kind of layer,
    s     how much more or less it cares for the logarithm x of each feature within a kind,
    f     a smooth function of the configuration within a kind (cache sizes, vector lengths),
    u.v   the low-rank part of (b): the device behaves like a mixture of the known ones, v[c] are
          their deviations from the mean and u has the variance of one among them,
    e     what is the layer's own: shared by layers of one configuration, and noise.

Layers that were measured at another time (another network, on the same device) have one more
term, a factor that all layers of that time share: clocks, temperature and load were others.

All terms are Gaussian with standard deviations below, so the times of all layers given some
measured ones follow by conditioning (Rasmussen and Williams, 2006, eq. 2.22 - 2.24): each value
has a mean and a variance, which is smaller the more alike layers were measured, here and on
alike devices. How far the device is from all known ones shows in the measured layers
themselves and scales the variances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnn_offload.cost.predict.columns import Columns, nearness


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the terms, of natural logarithms.

    Chosen by holding out each device of the data base (``benchmarks/prediction/evaluate.py``);
    the error is flat about them: half or twice of any changes it by less than a fifth.
    """

    device: float = 1.0
    kind: float = 0.6
    slope: float = 0.1
    smooth: float = 0.3
    length: float = 3.0
    mixture: float = 1.0
    configuration: float = 0.1
    noise: float = 0.15
    session: float = 0.2


SPREADS = Spreads()
# Measurements that the assumed variances count for beside the real ones.
PRIOR_COUNT = 10.0
# Errors of layers hang together more than the terms say: without it, 90 % intervals of whole
# networks held 78 % of those on held-out devices. Single layers need no such factor.
TOGETHER = 1.35


@dataclass(frozen=True)
class Prediction:
    """Log times of layers on a device.

    Attributes:
        log_mean: (layers,).
        log_sd: Standard deviation, (layers,); of a measured layer that of one measurement's
            noise once more, since the next run is another one.
        covariance: Of the true log times, for sums of layers, (layers, layers).
    """

    log_mean: np.ndarray
    log_sd: np.ndarray
    covariance: np.ndarray

    def interval(self, z: float = 1.645) -> tuple[np.ndarray, np.ndarray]:
        """Interval of each quantity, by default the one that holds 90 %."""
        return (
            np.exp(self.log_mean - z * self.log_sd), np.exp(self.log_mean + z * self.log_sd)
        )


def condition(
    columns: Columns,
    measured: np.ndarray,
    log_times: np.ndarray,
    spreads: Spreads = SPREADS,
    sessions: np.ndarray | None = None,
) -> Prediction:
    """Predict all layers of ``columns`` on a device of which a few are measured.

    Args:
        columns: What the known devices tell of the layers.
        measured: Indices of the measured layers, (n,); may be empty.
        log_times: Logarithms of what was measured: times, or joules, in the unit of the
            known devices or in any other (the device's bias takes it up).
        spreads: Standard deviations of the terms.
        sessions: When each layer of ``columns`` was, or would be, measured, (layers,): 0 = at the
            time that is asked for, 1, 2, ... = at others. None = all at 0.
    """
    mean = columns.log_times.mean(axis=0)
    deviations = (columns.log_times - mean) * spreads.mixture  # (devices, layers)
    prior = _covariance(columns, deviations, spreads)
    if sessions is not None:
        together = (sessions[:, None] == sessions) & (sessions > 0)
        prior += together * spreads.session**2
    count = len(measured)
    if count == 0:
        return _prediction(mean, prior, spreads.noise, 1.0)
    cross = prior[:, measured]
    gram = cross[measured] + spreads.noise**2 * np.eye(count)
    missed = np.asarray(log_times, dtype=float) - mean[measured]
    factor = np.linalg.cholesky(gram)
    white = np.linalg.solve(factor, missed)
    half = np.linalg.solve(factor, cross.T)  # (n, layers)
    # An unlike device misses by more than the variances say: let it scale them.
    scale = (PRIOR_COUNT + float(white @ white)) / (PRIOR_COUNT + count)
    return _prediction(mean + half.T @ white, prior - half.T @ half, spreads.noise, scale)


def _covariance(columns: Columns, deviations: np.ndarray, spreads: Spreads) -> np.ndarray:
    """Prior covariance of the log times of one device, (layers, layers)."""
    same_kind = columns.groups[:, None] == columns.groups
    alike = nearness(columns.places, columns.places, spreads.length)
    covariance = spreads.device**2 + deviations.T @ deviations / len(deviations)
    covariance += same_kind * (spreads.kind**2 + spreads.smooth**2 * alike)
    off = _off_centre(columns)
    covariance += same_kind * (spreads.slope**2 * (off @ off.T))
    own = spreads.configuration**2 + np.outer(columns.sd, columns.sd)
    covariance += (columns.configurations[:, None] == columns.configurations) * own
    return np.asarray(covariance)


def _off_centre(columns: Columns) -> np.ndarray:
    """Coordinates of the layers about the mean of their kind, (layers, coordinates)."""
    off = columns.places.copy()
    for group in np.unique(columns.groups):
        members = columns.groups == group
        off[members] -= off[members].mean(axis=0)
    return off


def _prediction(
    mean: np.ndarray, covariance: np.ndarray, noise: float, scale: float
) -> Prediction:
    variance = np.maximum(np.diag(covariance), 0.0) + noise**2
    return Prediction(mean, np.sqrt(scale * variance), TOGETHER**2 * scale * covariance)
