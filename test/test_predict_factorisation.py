"""Devices x layers, factorised."""

from __future__ import annotations

import numpy as np
import pytest

from dnn_offload.cost.predict import factorisation as fz
from dnn_offload.errors import ProfileError


def made(rank: int, devices: int = 10, layers: int = 120, seed: int = 0) -> np.ndarray:
    """Log times: biases, and as many further dimensions as ``rank`` says."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(0, 1, (devices, 1)) + rng.normal(0, 1.5, layers)
    if rank:
        matrix = matrix + rng.normal(0, 0.6, (devices, rank)) @ rng.normal(0, 1, (rank, layers))
    return np.asarray(matrix)


def with_holes(matrix: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    holes = np.random.default_rng(seed).random(matrix.shape) < share
    return np.where(holes, np.nan, matrix)


@pytest.mark.parametrize(('rank', 'needed'), [(0, 0), (1, 1), (2, 2)])
def test_holes_of_a_low_rank_matrix_are_filled(rank: int, needed: int) -> None:
    matrix = made(rank)
    factors = fz.factorise(with_holes(matrix, 0.3), needed, ridge=1e-3, bias_ridge=1e-3)
    assert np.sqrt(np.mean((factors.filled() - matrix) ** 2)) < 0.05


def test_one_factor_per_device_cannot_fill_a_matrix_of_rank_two() -> None:
    matrix = made(2)
    holey = with_holes(matrix, 0.3)
    wrong = {
        rank: np.sqrt(np.mean((fz.factorise(holey, rank, ridge=1e-3).filled() - matrix) ** 2))
        for rank in (0, 2)
    }
    assert wrong[2] < 0.2 * wrong[0]


def test_a_new_device_joins_by_a_few_layers() -> None:
    matrix = made(2)
    factors = fz.factorise(matrix[:-1], 2, ridge=1e-3)
    layers = np.arange(0, 120, 8)
    joined = fz.join_device(factors, layers, matrix[-1, layers], ridge=1e-3)
    found, sd = fz.predict(factors, joined)
    assert np.abs(found - matrix[-1]).max() < 0.1
    assert (sd >= factors.noise).all()


def test_more_measured_layers_never_make_a_device_less_certain() -> None:
    matrix = made(2) + 0.1 * np.random.default_rng(3).standard_normal((10, 120))
    factors = fz.factorise(matrix[:-1], 2)
    layers = np.random.default_rng(4).permutation(120)
    before = np.inf
    for count in (1, 3, 10, 40, 120):
        joined = fz.join_device(factors, layers[:count], matrix[-1, layers[:count]])
        _, sd = fz.predict(factors, joined)
        assert (sd <= before + 1e-12).all()
        before = sd


def test_a_new_layer_joins_by_a_few_devices() -> None:
    matrix = made(1)
    factors = fz.factorise(matrix[:, :-1], 1, ridge=1e-3)
    devices = np.array([0, 2, 5, 7])
    bias, latent = fz.join_layer(
        factors, devices, matrix[devices, -1], ridge=1e-4, bias_ridge=1e-4
    )
    found = factors.mean + factors.device_bias + bias + factors.device_latent @ latent
    assert np.abs(found - matrix[:, -1]).max() < 0.1


def test_noise_is_told_within_a_third() -> None:
    rng = np.random.default_rng(5)
    matrix = made(1, devices=12, layers=300) + 0.2 * rng.standard_normal((12, 300))
    assert 0.13 < fz.factorise(matrix, 1).noise < 0.27


def test_a_layer_that_nobody_measured_is_refused() -> None:
    matrix = made(1)
    matrix[:, 7] = np.nan
    with pytest.raises(ProfileError, match='1 layers without'):
        fz.factorise(matrix)
