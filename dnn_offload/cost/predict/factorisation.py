"""(b) Collaborative filtering: a matrix of log times over devices x layers, factorised.

After RoaD-RuNNer (Kakolyris et al., section III-A), which fills each device's missing layers
from those that were measured there and from what other devices say about the rest:

    log t[d, c] = mean + b[d] + a[c] + u[d] . v[c]

fitted by alternating least squares with ridge penalties (Koren et al., 2009). In logarithms a
device that is twice as fast everywhere differs by its bias alone, a relative error counts the
same for a long and a short layer, and a prediction cannot be negative. Missing entries are NaN.
A layer that no device has measured has no column and cannot be predicted here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnn_offload.errors import ProfileError

RANK = 6
RIDGE = 0.1  # of each latent factor, in units of one measurement
BIAS_RIDGE = 0.01
ROUNDS = 30
TOLERANCE = 1e-5  # of the squared error, between two rounds


@dataclass(frozen=True)
class Factors:
    """A factorised matrix.

    Attributes:
        mean: Of all entries.
        device_bias: (devices,).
        layer_bias: (layers,).
        device_latent: (devices, rank).
        layer_latent: (layers, rank).
        noise: Root mean square of what the factors leave, per entry.
    """

    mean: float
    device_bias: np.ndarray
    layer_bias: np.ndarray
    device_latent: np.ndarray
    layer_latent: np.ndarray
    noise: float

    def filled(self) -> np.ndarray:
        """All entries as the factors have them, (devices, layers)."""
        biases = self.mean + self.device_bias[:, None] + self.layer_bias
        return np.asarray(biases + self.device_latent @ self.layer_latent.T)


@dataclass(frozen=True)
class Joined:
    """A device that joined: its row of the matrix.

    Attributes:
        bias: Its bias.
        latent: Its latent vector, (rank,).
        covariance: Of bias and latent vector, (1 + rank, 1 + rank).
    """

    bias: float
    latent: np.ndarray
    covariance: np.ndarray


def factorise(
    log_times: np.ndarray,
    rank: int = RANK,
    *,
    ridge: float = RIDGE,
    bias_ridge: float = BIAS_RIDGE,
    seed: int = 0,
) -> Factors:
    """Factorise a matrix with holes.

    Args:
        log_times: (devices, layers), NaN where nothing was measured. Logarithms of any
            positive quantity: joules go the same way.
        rank: At most the number of devices less one is used.
        ridge: Penalty of latent vectors.
        bias_ridge: Penalty of biases.
        seed: Of the first latent vectors.

    Raises:
        ProfileError: A device or a layer without any entry.
    """
    log_times = np.asarray(log_times, dtype=float)
    known = np.isfinite(log_times)
    if log_times.ndim != 2 or not known.any(axis=0).all() or not known.any(axis=1).all():
        raise ProfileError(
            'each device and each layer needs a measurement',
            given=f'{int((~known).all(axis=0).sum())} layers without',
            hint='leave out what nobody measured and predict it by regression',
        )
    devices, layers = log_times.shape
    rank = max(0, min(rank, devices - 1, layers - 1))
    mean = float(log_times[known].mean())
    target = np.where(known, log_times - mean, 0.0)
    rng = np.random.default_rng(seed)
    rows = np.column_stack([np.zeros(devices), rng.normal(0.0, 0.1, (devices, rank))])
    columns = np.column_stack([np.zeros(layers), rng.normal(0.0, 0.1, (layers, rank))])
    penalty = np.diag([bias_ridge, *[ridge] * rank])
    before = np.inf
    for _ in range(ROUNDS):
        rows = _solve(target, known, columns, rows, penalty)
        columns = _solve(target.T, known.T, rows, columns, penalty)
        error = float(np.sum((_product(rows, columns) - target)[known] ** 2))
        if before - error < TOLERANCE * before:
            break
        before = error
    # Degrees of freedom that the factors use up leave less than the noise.
    spare = max(int(known.sum()) - (rank + 1) * (devices + layers), int(known.sum()) // 10, 1)
    return Factors(
        mean, rows[:, 0], columns[:, 0], rows[:, 1:], columns[:, 1:], float(np.sqrt(error / spare))
    )


def _product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return rows[:, :1] + columns[:, 0] + rows[:, 1:] @ columns[:, 1:].T


def _solve(
    target: np.ndarray,
    known: np.ndarray,
    others: np.ndarray,
    mine: np.ndarray,
    penalty: np.ndarray,
) -> np.ndarray:
    """Bias and latent vector of every row, the columns' held: one ridge regression each."""
    basis = np.column_stack([np.ones(len(others)), others[:, 1:]])  # (columns, 1 + rank)
    wanted = np.where(known, target - others[:, 0], 0.0)
    gram = np.einsum('rc,ci,cj->rij', known.astype(float), basis, basis, optimize=True)
    return np.linalg.solve(gram + penalty, (wanted @ basis)[..., None])[..., 0]


def join_device(
    factors: Factors,
    layers: np.ndarray,
    log_times: np.ndarray,
    *,
    ridge: float = RIDGE,
    bias_ridge: float = BIAS_RIDGE,
) -> Joined:
    """Solve a new device's latent vector from a few measured layers (fold-in).

    Args:
        factors: Of the devices that are known.
        layers: Indices of the layers that were measured, repetitions allowed.
        log_times: Logarithms of their times.
        ridge: Penalty of the latent vector.
        bias_ridge: Penalty of the bias.
    """
    left = np.asarray(log_times) - factors.mean - factors.layer_bias[layers]
    solved, gram = _fold_in(factors.layer_latent[layers], left, ridge, bias_ridge)
    return Joined(float(solved[0]), solved[1:], factors.noise**2 * np.linalg.inv(gram))


def join_layer(
    factors: Factors,
    devices: np.ndarray,
    log_times: np.ndarray,
    *,
    ridge: float = RIDGE,
    bias_ridge: float = BIAS_RIDGE,
) -> tuple[float, np.ndarray]:
    """Bias and latent vector of a new layer from the devices that measured it (fold-in).

    Args:
        factors: Of the layers that are known.
        devices: Indices of the devices that measured it.
        log_times: Logarithms of its times there.
        ridge: Penalty of the latent vector.
        bias_ridge: Penalty of the bias.
    """
    left = np.asarray(log_times) - factors.mean - factors.device_bias[devices]
    solved, _ = _fold_in(factors.device_latent[devices], left, ridge, bias_ridge)
    return float(solved[0]), solved[1:]


def _fold_in(
    latent: np.ndarray, left: np.ndarray, ridge: float, bias_ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bias and latent vector of a newcomer: one ridge regression.

    Args:
        latent: Latent vectors of those that it was measured with, (n, rank).
        left: What mean and their biases leave of the measurements, (n,).
        ridge: Penalty of the latent vector.
        bias_ridge: Penalty of the bias.

    Returns:
        Bias and latent vector (1 + rank,), and the matrix that was inverted.
    """
    basis = np.column_stack([np.ones(len(latent)), latent])
    gram = basis.T @ basis + np.diag([bias_ridge, *[ridge] * latent.shape[1]])
    return np.linalg.solve(gram, basis.T @ left), gram


def predict(factors: Factors, device: Joined) -> tuple[np.ndarray, np.ndarray]:
    """Log times of all layers on a device that joined, and their standard deviations."""
    log_times = (
        factors.mean + device.bias + factors.layer_bias + factors.layer_latent @ device.latent
    )
    basis = np.column_stack([np.ones(len(factors.layer_bias)), factors.layer_latent])
    variance = np.einsum('ci,ij,cj->c', basis, device.covariance, basis)
    return log_times, np.sqrt(variance + factors.noise**2)
