"""From a few measured layers to a whole profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dnn_offload.cost.predict.fill import (
    fill_profile,
    positions_of_cuts,
    predict_layers,
    predict_profile,
)
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ProfileError
from predict_parts import database, layers_of, NETWORKS, profile, Speed, STRANGER

SIZES = NETWORKS['one']
MEASURED = {0, 3, 8, 11, 14}


def forgotten(whole: Profile, measured: set[int]) -> Profile:
    """The profile as it is when only some layers were measured."""
    return replace(
        whole,
        layers=tuple(
            layer if index in measured else replace(layer, time_ms=0.0)
            for index, layer in enumerate(whole.layers)
        ),
        cuts=tuple(replace(cut, head_ms=0.0, tail_ms=0.0) for cut in whole.cuts),
    )


def worst(found: Profile, true: Profile) -> float:
    floor = 0.05 * true.whole_ms
    return max(
        abs(getattr(mine, side) - getattr(real, side)) / max(getattr(real, side), floor)
        for mine, real in zip(found.cuts, true.cuts, strict=True)
        for side in ('head_ms', 'tail_ms')
    )


def test_heads_and_tails_are_filled_from_a_third_of_the_layers() -> None:
    true = profile(SIZES, STRANGER)
    found = fill_profile(forgotten(true, MEASURED), database(), MEASURED)
    assert worst(found, true) < 0.1
    assert found.cuts[0].head_ms == 0.0 and found.cuts[-1].tail_ms == 0.0
    heads = [cut.head_ms for cut in found.cuts]
    assert heads == sorted(heads)
    for index in MEASURED:
        assert found.layers[index] == true.layers[index]
    assert Profile.from_json(found.to_json()) == found


def test_the_spread_of_a_cut_shrinks_with_what_is_measured() -> None:
    true = profile(SIZES, STRANGER)
    few = fill_profile(forgotten(true, {0, 3}), database(), {0, 3})
    many = fill_profile(forgotten(true, MEASURED), database(), MEASURED)
    assert 0.0 < many.cuts[-1].head_spread_ms < few.cuts[-1].head_spread_ms
    assert few.cuts[-1].tail_spread_ms == pytest.approx(0.0, abs=1e-9)
    assert few.cuts[0].tail_spread_ms == pytest.approx(few.cuts[-1].head_spread_ms)


def test_measured_cuts_stay_and_correct_their_neighbours() -> None:
    true = profile(SIZES, STRANGER)
    bare = forgotten(true, MEASURED)
    cuts = list(bare.cuts)
    cuts[-1] = replace(cuts[-1], head_ms=1.2 * true.whole_ms, measured=True)
    found = fill_profile(replace(bare, cuts=tuple(cuts)), database(), MEASURED)
    plain = fill_profile(bare, database(), MEASURED)
    assert found.whole_ms == 1.2 * true.whole_ms
    assert found.cuts[4].head_ms == pytest.approx(
        plain.cuts[4].head_ms * found.whole_ms / plain.whole_ms
    )


def test_another_devices_profile_becomes_this_ones() -> None:
    theirs, true = profile(SIZES, Speed(0.3, 0.2)), profile(SIZES, STRANGER)
    times_ms = {index: true.layers[index].time_ms for index in MEASURED}
    found = predict_profile(theirs, database(), times_ms)
    assert worst(found, true) < 0.1
    slower = found.whole_ms / theirs.whole_ms
    assert found.cuts[2].codecs['raw'].encode_ms == pytest.approx(0.5 * slower)
    assert found.finish_ms == pytest.approx(0.5 * slower)
    assert not any(cut.measured for cut in found.cuts)


def test_layers_of_another_network_on_this_device_are_enough() -> None:
    true = profile(SIZES, STRANGER)
    found = predict_profile(
        profile(SIZES, Speed(0.3, 0.2)), database(), {}, [layers_of(NETWORKS['two'], STRANGER)]
    )
    assert worst(found, true) < 0.15


def test_a_network_that_nobody_measured() -> None:
    sizes = (22, 30, 52, 76, 100, 120, 136)
    true = profile(sizes, STRANGER)
    found = fill_profile(forgotten(true, {0, 5, 8, 13}), database(), {0, 5, 8, 13})
    assert worst(found, true) < 0.2


def test_all_layers_measured_is_what_was_measured() -> None:
    true = profile(SIZES, STRANGER)
    found = fill_profile(true, database(), range(len(true.layers)))
    assert worst(found, true) < 1e-9


@pytest.mark.parametrize('measured', [set(), {99}, {-1, 2}])
def test_what_cannot_be_is_refused(measured: set[int]) -> None:
    with pytest.raises(ProfileError):
        fill_profile(profile(SIZES, STRANGER), database(), measured)


def test_a_time_that_is_none_is_refused() -> None:
    layers = layers_of(SIZES, STRANGER)
    broken = (replace(layers[0], time_ms=float('nan')), *layers[1:])
    with pytest.raises(ProfileError, match='not a time'):
        predict_layers(broken, database(), {0})
    assert np.isfinite(predict_layers(broken, database(), {1}).time_ms).all()


def test_cuts_are_found_in_the_graph_and_foreign_ones_refused() -> None:
    true = profile(SIZES, STRANGER)
    assert positions_of_cuts(true) == list(range(0, 17, 2))
    foreign = replace(true.cuts[3], frontier=('relu0', 'relu3'))
    with pytest.raises(ProfileError, match='cut 3'):
        positions_of_cuts(replace(true, cuts=(*true.cuts[:3], foreign, *true.cuts[4:])))
    with pytest.raises(ProfileError, match='does not tell its layers'):
        positions_of_cuts(replace(true, layers=()))
