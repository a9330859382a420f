"""Fingerprints: the same everywhere, blind to rounding, not to weights."""

from __future__ import annotations

import hashlib

import numpy as np

from dnn_offload.graph.fingerprint import (
    agree,
    distance,
    MAX_NUMBERS,
    sample,
    seeded_inputs,
    seeded_picture,
)
from dnn_offload.tensors import TensorSpec


def test_the_picture_is_the_same_on_every_machine():
    picture = seeded_picture(33, 50)
    assert (picture.shape, picture.dtype) == ((1, 33, 50, 3), np.uint8)
    assert hashlib.sha256(picture.tobytes()).hexdigest()[:16] == '443661baf18669bb'
    assert picture.min() < 30
    assert picture.max() > 220


def test_samples_are_bounded_and_finite():
    numbers = sample([np.arange(1000.0).reshape(1, -1), np.full((1, 3), np.nan)])
    assert len(numbers) == MAX_NUMBERS
    assert numbers[0] == 0.0
    assert np.isfinite(numbers).all()
    assert sample([np.ones((1, 4), np.float32)]) == (1.0,) * 4


def test_two_detections_that_change_places_make_no_difference():
    rows = np.random.default_rng(0).random((1, 30, 6))
    swapped = rows.copy()
    swapped[0, [3, 4]] = swapped[0, [4, 3]]
    assert sample([rows]) == sample([swapped])


def test_rounding_agrees_and_other_weights_do_not():
    generator = np.random.default_rng(1)
    ours = generator.normal(size=100)
    assert agree(ours, ours * (1 + 1e-4 * generator.normal(size=100)))
    assert not agree(ours, generator.normal(size=100))
    assert not agree(ours, ours[:99])
    assert not agree([*ours[:99], float('nan')], ours)
    assert distance([0.0, 0.0], [0.0, 0.0]) == 0.0
    assert agree([], [])


def test_numbers_without_axes_are_arrays_too():
    specs = [TensorSpec('scale', dtype, (), ()) for dtype in ('float32', 'int64', 'bool')]
    made = seeded_inputs(specs)
    assert [(type(one), one.dtype.name, one.shape) for one in made] == [
        (np.ndarray, spec.dtype, ()) for spec in specs
    ]
