"""Regression and factorisation together, with uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from dnn_offload.cost.predict.columns import group_of
from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import Database
from predict_parts import database, features, layers_of, NETWORKS, STRANGER

Measured = tuple[np.ndarray, np.ndarray]
NOTHING = np.array([], dtype=int)


def everything(known: Database) -> tuple[list[str], np.ndarray, list[int]]:
    of_layer = [c for network in known.networks for c in network.configurations]
    return (
        [known.kinds[c] for c in of_layer],
        known.features[of_layer],
        [len(network.configurations) for network in known.networks],
    )


def truth() -> np.ndarray:
    return np.log(
        [layer.time_ms for sizes in NETWORKS.values() for layer in layers_of(sizes, STRANGER)]
    )


def some(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(truth()))[:count]


def wrong(log_mean: np.ndarray) -> float:
    return float(np.mean(np.abs(np.exp(log_mean - truth()) - 1.0)))


def test_a_new_device_is_predicted_better_than_by_one_factor() -> None:
    known = database()
    columns = known.columns(*everything(known))
    measured = some(14)
    told = condition(columns, measured, truth()[measured])
    mean = columns.log_times.mean(axis=0)
    scaled = mean + np.mean(truth()[measured] - mean[measured])
    assert wrong(told.log_mean) < 0.05
    assert wrong(told.log_mean) < 0.3 * wrong(scaled)


def test_a_device_that_is_known_but_for_a_factor_needs_few_layers() -> None:
    known = database()
    columns = known.columns(*everything(known))
    slow = columns.log_times[2] + np.log(2.5)
    measured = some(6)
    told = condition(columns, measured, slow[measured])
    assert np.abs(told.log_mean - slow).mean() < 0.1


def test_without_measurements_it_is_the_mean_device_and_says_that_it_knows_little() -> None:
    known = database()
    columns = known.columns(*everything(known))
    told = condition(columns, NOTHING, np.array([]))
    assert np.allclose(told.log_mean, columns.log_times.mean(axis=0))
    assert (told.log_sd > 1.0).all()


def test_more_measurements_never_make_it_less_certain_of_the_same_device() -> None:
    known = database()
    columns = known.columns(*everything(known))
    exact = columns.log_times.mean(axis=0)  # nothing surprises, so the scale stays
    order = some(len(exact))
    before = np.full(len(exact), np.inf)
    for count in (0, 2, 6, 14, 30):
        told = condition(columns, order[:count], exact[order[:count]])
        assert (told.log_sd <= before + 1e-9).all()
        before = told.log_sd


def test_a_device_unlike_all_known_ones_is_less_certain() -> None:
    known = database()
    columns = known.columns(*everything(known))
    measured = some(14)
    alike = condition(columns, measured, columns.log_times.mean(axis=0)[measured])
    erratic = truth()[measured] + np.random.default_rng(0).normal(0.0, 1.5, len(measured))
    unlike = condition(columns, measured, erratic)
    assert (unlike.log_sd > 1.5 * alike.log_sd).all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    inside = []
    for seed in range(6):
        known = database(noise=0.15, seed=seed)
        columns = known.columns(*everything(known))
        rng = np.random.default_rng(seed)
        real = truth() + rng.normal(0.0, 0.15, len(truth()))
        measured = some(16, seed)
        low, high = condition(columns, measured, real[measured]).interval()
        rest = np.setdiff1d(np.arange(len(real)), measured)
        inside += list((low <= np.exp(real))[rest] & (np.exp(real) <= high)[rest])
    assert 0.8 < np.mean(inside) <= 0.995


def test_the_unit_does_not_matter() -> None:
    known = database()
    columns = known.columns(*everything(known))
    measured = some(14)
    ms = condition(columns, measured, truth()[measured])
    joules = condition(columns, measured, truth()[measured] + np.log(4e-3))
    assert np.abs(joules.log_mean - ms.log_mean - np.log(4e-3)).max() < 0.15


def test_configurations_that_nobody_measured_come_from_the_regression() -> None:
    known = database()
    sizes = (52, 76, 100, 120)  # none of them in the data base
    new = np.array([features('conv2d', size) for size in sizes])
    columns = known.columns(['conv2d'] * len(sizes), new)
    assert (columns.sd > 0.0).all()
    for row, device in zip(columns.log_times, known.log_times, strict=True):
        nearest = [device[: 2 * len(NETWORKS['one']) : 2].min(), device.max()]
        assert (row > nearest[0]).all() and (row < nearest[1]).all()
    measured = np.array([0, 3])
    real = np.log([STRANGER.ms(row) for row in new])
    told = condition(columns, measured, real[measured])
    assert np.abs(np.exp(told.log_mean - real) - 1.0)[[1, 2]].max() < 0.2


def test_a_kind_that_nobody_measured_is_guessed_by_its_bytes_and_marked_as_a_guess() -> None:
    known = database()
    rows = np.array([features('relu', 64), features('relu', 64)])
    columns = known.columns(['relu', 'gelu'], rows)
    assert columns.sd[1] > 3.0 * columns.sd[0]
    assert np.isfinite(columns.log_times).all()
    told = condition(columns, np.array([0]), np.array([STRANGER.ms(rows[0])]))
    assert told.log_sd[1] > 2.0 * told.log_sd[0]


@pytest.mark.parametrize(
    ('groups', 'kernel', 'group'),
    [(1, 3, 'conv2d'), (1, 1, 'conv2d pointwise'), (32, 3, 'conv2d grouped')],
)
def test_convolutions_are_grouped_by_their_kernels(groups: int, kernel: int, group: str) -> None:
    row = features('conv2d', 32)
    row[4] = row[5] = kernel
    row[7] = groups
    assert group_of('conv2d', row) == group
