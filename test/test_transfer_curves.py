"""RoaD-RuNNer's curves: right where they were measured, tame where they were not."""

from __future__ import annotations

import numpy as np
import pytest

from dnn_offload.cost.transfer_curves import fit_curve, fit_line
from dnn_offload.errors import ConfigurationError

SIZES = [1e3, 4e3, 16e3, 64e3, 250e3, 1e6]


def test_a_polynomial_of_order_four_is_found_again() -> None:
    x = (np.linspace(1e3, 1e6, 12) - 1e3) / (1e6 - 1e3)
    ms = 2.0 + 3.0 * x + 5.0 * x**2 + 1.0 * x**3 + 4.0 * x**4
    curve = fit_curve(np.linspace(1e3, 1e6, 12).tolist(), ms.tolist())
    assert curve.coefficients == pytest.approx((2.0, 3.0, 5.0, 1.0, 4.0), rel=1e-6)
    assert curve(5e5) == pytest.approx(curve.polynomial(5e5), rel=1e-4)


def test_never_falling_never_negative_and_clamped() -> None:
    """Small messages cost the same, large ones are noisy: the polynomial itself swings."""
    ms = [5.0, 5.0, 5.1, 30.0, 28.0, 90.0]
    curve = fit_curve(SIZES, ms)
    asked = np.geomspace(1.0, 1e8, 400)
    values = [curve(nbytes) for nbytes in asked]
    assert min(values) > 0.0
    assert (np.diff(values) >= 0.0).all()
    assert any(curve.polynomial(n) < 0.0 or curve.polynomial(n) > 100.0 * curve(n) for n in asked)
    assert curve(1.0) == curve(1e3)


def test_beyond_the_range_it_goes_on_straight() -> None:
    curve = fit_curve(SIZES, [1.0 + 8e-3 * size / 1e3 for size in SIZES])
    assert curve(3e6) == pytest.approx(1.0 + 8e-3 * 3e3, rel=0.01)


def test_the_line_by_hand_and_what_passes_at_once() -> None:
    alpha, slope, burst = fit_line([1000.0, 2000.0, 4000.0], [3.0, 4.0, 6.0])
    assert (alpha, slope, burst) == pytest.approx((2.0, 1e-3, 0.0))
    alpha, slope, burst = fit_line([1000.0, 2000.0], [0.5, 2.0])  # the first 667 bytes are free
    assert (alpha, slope, burst) == pytest.approx((0.0, 1.5e-3, 2000.0 / 3.0))
    assert fit_line([1000.0, 2000.0], [2.0, 1.0])[1:] == (0.0, 0.0)


@pytest.mark.parametrize(
    ('sizes', 'values'),
    [
        (SIZES[:4], [1.0, 2.0, 3.0, 4.0]),
        ([1e3] * 6, [1.0] * 6),
        (SIZES, [1.0] * 5),
        (SIZES, [1.0, 2.0, 3.0, 4.0, 5.0, 0.0]),
        (SIZES, [1.0, 2.0, 3.0, 4.0, 5.0, float('nan')]),
    ],
)
def test_what_cannot_be_fitted_is_refused(sizes: list[float], values: list[float]) -> None:
    with pytest.raises(ConfigurationError):
        fit_curve(sizes, values)
