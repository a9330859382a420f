"""The time of a layer from its configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict import regression
from predict_parts import AT, features, Speed

FAST, SLOW = Speed(1.0, 2.0), Speed(6.0, 1.0)
SIZES = range(8, 256, 3)


def table(devices: tuple[Speed, ...]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array([features('conv2d', size) for size in SIZES])
    return rows, np.array([[device.ms(row) for device in devices] for row in rows])


def errors(forest: regression.Forest, rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.abs(np.exp(forest.log_times(rows)) / times - 1.0)


def test_work_with_constant_speed_is_one_leaf_and_exact_also_far_outside() -> None:
    rows, times = table((FAST, SLOW))
    tree = regression.fit_tree(rows, times)
    assert isinstance(tree, regression.Leaf)
    forest = regression.fit_forest(rows, times)
    far = np.array([features('conv2d', 2048)])
    truth = np.array([[FAST.ms(far[0]), SLOW.ms(far[0])]])
    assert errors(forest, rows, times).max() < 1e-3
    assert errors(forest, far, truth).max() < 1e-2


def test_a_change_of_kernel_is_found_as_a_threshold() -> None:
    rows, times = table((FAST, SLOW))
    wide = rows[:, AT['in_channels']] > 100
    times[wide, 0] *= 0.25  # one device has a faster kernel from there on
    tree = regression.fit_tree(rows, times)
    assert isinstance(tree, regression.Split)
    line = regression.fit_tree(rows, times, max_depth=0)
    work, places = regression.work_of(rows), regression.split_features(rows)

    def worst(grown: regression.Split | regression.Leaf) -> float:
        return float(np.abs(np.exp(regression._walk(grown, work, places)) / times - 1.0).max())

    assert worst(tree) < 0.02 < 0.3 < worst(line)


def test_more_work_never_costs_less_within_a_leaf() -> None:
    rng = np.random.default_rng(1)
    rows, times = table((FAST,))
    times *= np.exp(0.3 * rng.standard_normal(times.shape))
    forest = regression.fit_forest(rows, times, max_depth=0)
    found = forest.log_times(rows)[:, 0]
    assert (np.diff(found) >= 0.0).all()


def test_the_stated_error_is_that_of_layers_left_out() -> None:
    rng = np.random.default_rng(2)
    rows, times = table((FAST,))
    noise = 0.2
    forest = regression.fit_forest(rows, times * np.exp(noise * rng.standard_normal(times.shape)))
    assert noise * 0.8 < forest.error < noise * 1.6


@pytest.mark.parametrize('count', [1, 2, 5])
def test_few_layers_are_enough_for_a_guess(count: int) -> None:
    rows, times = table((FAST,))
    forest = regression.fit_forest(rows[:count], times[:count])
    assert errors(forest, rows[:count], times[:count]).max() < 0.05


def test_any_positive_quantity_will_do() -> None:
    rows, times = table((FAST,))
    joules = 3.5e-3 * times
    ms, j = regression.fit_forest(rows, times), regression.fit_forest(rows, joules)
    assert np.allclose(j.log_times(rows), ms.log_times(rows) + np.log(3.5e-3), atol=1e-3)


def test_a_forest_survives_json() -> None:
    rows, times = table((FAST, SLOW))
    times[rows[:, AT['in_channels']] > 100] *= 0.3
    forest = regression.fit_forest(rows, times)
    plain = json.loads(json.dumps(regression.to_json(forest)))
    back = regression.from_json(plain, devices=2)
    assert np.allclose(back.log_times(rows), forest.log_times(rows), atol=0.02)
    with pytest.raises(ValueError):
        regression.from_json(plain, devices=3)


def test_a_row_of_features_has_their_order() -> None:
    assert regression.as_row({'macs': 3.0, 'out_w': 7.0}).tolist() == [3.0, *[0.0] * 10, 7.0]
    assert FEATURES[0] == 'macs' and FEATURES[-1] == 'out_w'
