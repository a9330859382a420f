"""Load as a variable of the regression, against the plain factor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dnn_offload.cost.load_regression import fit_load, fit_profiles
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ProfileError
from dnn_offload.planning.plan import Conditions
from dnn_offload.planning.search import plan
from dnn_offload.simulate.made_up import made_up_profile


def under(load: float, bend: float = 0.0) -> Profile:
    """A profile as it would be under a load; late layers suffer more by ``bend``."""
    base = made_up_profile(cuts=4)
    whole = base.whole_ms
    cuts = tuple(
        replace(
            cut,
            head_ms=cut.head_ms * load * (1.0 + bend * (load - 1.0) * cut.head_ms / whole),
            tail_ms=cut.tail_ms * load,
        )
        for cut in base.cuts
    )
    return replace(base, cuts=cuts, load_ratios={'schedstat': load})


def test_an_affine_load_by_hand() -> None:
    found = fit_load([1.0, 2.0, 3.0], [[10.0, 4.0], [20.0, 7.0], [30.0, 10.0]])
    assert found.coefficients[:, :2] == pytest.approx(np.array([[10.0, 10.0], [4.0, 3.0]]))
    assert found.times_ms(2.5) == pytest.approx([25.0, 8.5])
    assert found.times_ms(0.5) == pytest.approx([10.0, 4.0])  # calmer than idle there is not


def test_a_knee_by_hand() -> None:
    """Nothing happens until the cores are taken, then each more costs 10 ms."""
    loads = [1.0, 1.5, 2.0, 3.0, 4.0]
    found = fit_load(loads, [[10.0], [10.0], [10.0], [20.0], [30.0]], knee=2.0)
    assert found.coefficients[0] == pytest.approx([10.0, 0.0, 10.0], abs=1e-9)
    assert found.times_ms(5.0)[0] == pytest.approx(40.0)


def test_profiles_under_load_predict_one_that_was_not_taken() -> None:
    found = fit_profiles([under(load) for load in (1.0, 2.0, 4.0)], 'schedstat')
    made = found.at(3.0)
    for cut, true in zip(made.cuts, under(3.0).cuts, strict=True):
        assert cut.head_ms == pytest.approx(true.head_ms, rel=1e-6, abs=1e-9)
        assert cut.tail_ms == pytest.approx(true.tail_ms, rel=1e-6, abs=1e-9)
    assert plan('local', Conditions(made))[0].head_ms == pytest.approx(3.0 * under(1.0).whole_ms)


def test_a_load_that_layers_bear_unequally_beats_the_factor() -> None:
    found = fit_profiles([under(load, 0.3) for load in (1.0, 2.0, 3.0, 4.0)], 'schedstat')
    true = np.array([cut.head_ms for cut in under(2.5, 0.3).cuts[1:]])
    ours = np.array([cut.head_ms for cut in found.at(2.5).cuts[1:]])
    factor = 2.5 * np.array([cut.head_ms for cut in under(1.0).cuts[1:]])
    assert np.abs(ours / true - 1.0).mean() < 0.5 * np.abs(factor / true - 1.0).mean()


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ProfileError, match='different loads'):
        fit_profiles([under(2.0), under(2.0)], 'schedstat')
    with pytest.raises(ProfileError, match='one model'):
        fit_profiles([under(1.0), made_up_profile(cuts=5)], 'schedstat')
    with pytest.raises(ProfileError, match='do not fit'):
        fit_load([1.0, 2.0], [[1.0]])
    with pytest.raises(ProfileError, match='knee'):
        fit_load([1.0, 1.2, 1.4], [[1.0], [1.2], [1.4]], knee=2.0)
