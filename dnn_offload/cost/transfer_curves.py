"""RoaD-RuNNer's transfer curves: time or energy of a message as a polynomial of its size.

Kakolyris et al., "RoaD-RuNNer: Collaborative DNN Partitioning and Offloading on Heterogeneous
Edge Systems", DATE 2023: each node measures its Network Latency Vector and Network Energy
Vector over message sizes, and a fourth-order polynomial through each predicts other sizes.

Where this departs from the paper, since such a polynomial over kB to MB swings between the
points and runs away beyond them (``benchmarks/transfer_curves.py`` shows both):

- errors count relative to the measured value, as small messages decide as often as large ones;
- the curve is held monotone: where the polynomial falls, the value before holds;
- beyond the measured sizes it is continued by a straight line from the end, never steeper down
  than the constant: below, towards the smallest value; above, with the mean slope of the upper
  half of the range.

It is measured once and does not follow a link that changes, as ``cost/link.py`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnn_offload.errors import ConfigurationError

ORDER = 4
_GRID = 512                # points on which monotony is kept

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TransferCurve:
    """A curve over message size.

    Attributes:
        coefficients: Of the polynomial in ``(nbytes - least) / (most - least)``, lowest first.
        sizes: Grid over the measured range [byte], growing.
        values: The monotone curve there, in the unit of what was measured (ms or J).
        slope_above: Per byte, beyond the range.
    """

    coefficients: tuple[float, ...]
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    slope_above: float

    def __call__(self, nbytes: float) -> float:
        """Time or energy of a message; never negative, never falling with the size."""
        least, most = self.sizes[0], self.sizes[-1]
        if nbytes > most:
            return self.values[-1] + self.slope_above * (nbytes - most)
        return float(np.interp(max(nbytes, least), self.sizes, self.values))

    def polynomial(self, nbytes: float) -> float:
        """The polynomial itself, as published: neither monotone nor clamped."""
        least, most = self.sizes[0], self.sizes[-1]
        x = (nbytes - least) / (most - least)
        return float(np.polynomial.polynomial.polyval(x, self.coefficients))


def fit_curve(
    nbytes: Sequence[float], measured: Sequence[float], *, order: int = ORDER
) -> TransferCurve:
    """Fit a curve to measured transfers.

    Args:
        nbytes: Size of each message [byte].
        measured: Time [ms] or energy [J] of each, above 0.
        order: Of the polynomial; as many different sizes and one more are needed.

    Raises:
        ConfigurationError: Too few sizes, or values that are not positive numbers.
    """
    sizes = np.asarray(nbytes, dtype=np.float64)       # (samples,)
    values = np.asarray(measured, dtype=np.float64)    # (samples,)
    if sizes.shape != values.shape or sizes.ndim != 1:
        raise ConfigurationError(
            'sizes and values of transfers do not match', given=f'{sizes.shape}, {values.shape}',
            allowed='two lists of one length',
        )
    good = np.isfinite(sizes) & np.isfinite(values) & (sizes >= 0.0) & (values > 0.0)
    if not good.all():
        raise ConfigurationError(
            'a transfer is no measurement', given=f'number {int(np.argmin(good)) + 1}',
            allowed='sizes of 0 or more, values above 0, all finite',
        )
    distinct = len(np.unique(sizes))
    if order < 1 or distinct < order + 1:
        raise ConfigurationError(
            'too few sizes for the curve', given=distinct, allowed=f'{order + 1} or more',
            hint='measure more sizes, or take a lower order',
        )
    least, most = float(sizes.min()), float(sizes.max())
    x = (sizes - least) / (most - least)
    powers = np.vander(x, order + 1, increasing=True)  # (samples, order + 1)
    coefficients = np.linalg.lstsq(powers / values[:, None], np.ones_like(values), rcond=None)[0]
    # Dense at small sizes too, where the curve bends.
    grid = np.union1d(
        np.linspace(least, most, _GRID), np.geomspace(max(least, 1.0), most, _GRID)
    ).clip(least, most)
    curve = np.polynomial.polynomial.polyval((grid - least) / (most - least), coefficients)
    floor = max(float(values.min()) * 0.5, 0.0)
    monotone = np.maximum.accumulate(np.maximum(curve, floor))
    middle = len(np.flatnonzero(grid <= 0.5 * (least + most)))
    slope = (monotone[-1] - monotone[middle]) / (grid[-1] - grid[middle])
    return TransferCurve(
        tuple(float(c) for c in coefficients), tuple(map(float, grid)),
        tuple(map(float, monotone)), float(slope),
    )


def fit_line(
    nbytes: Sequence[float], measured: Sequence[float]
) -> tuple[float, float, float]:
    """``t = alpha + slope * max(bytes - burst, 0)`` by the same relative least squares.

    One of ``alpha`` and ``burst`` is 0: a line that meets the axis below 0 means that some bytes
    pass at once.

    Returns:
        alpha, slope (per byte), in the unit of what was measured, and burst [byte].
    """
    sizes = np.asarray(nbytes, dtype=np.float64)
    values = np.asarray(measured, dtype=np.float64)
    rows = np.stack([np.ones_like(sizes), sizes], axis=1) / values[:, None]
    alpha, slope = np.linalg.lstsq(rows, np.ones_like(values), rcond=None)[0]
    if slope <= 0.0:
        return float(np.median(values)), 0.0, 0.0
    return float(max(alpha, 0.0)), float(slope), float(max(-alpha / slope, 0.0))
