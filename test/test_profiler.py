"""The profiler: its arithmetic on made-up times, and a real run on a small network."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.codec.registry import names_for_cut
from dnn_offload.cost.profile import Profile
from dnn_offload.graph.export import export
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.pictures import natural_picture
from dnn_offload.runtime.profile_model import fill, monotone, nearest, promising_cuts
from dnn_offload.runtime.profiler import measure_profile
import tiny_factory

times = st.lists(st.floats(0.0, 1e3), min_size=1, max_size=40)


@given(times)
def test_monotone_is_ordered_and_keeps_the_mean(values: list[float]) -> None:
    fitted = monotone(values, [1.0] * len(values))
    assert len(fitted) == len(values)
    assert all(a <= b + 1e-9 for a, b in zip(fitted, fitted[1:], strict=False))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-6)


def test_monotone_believes_what_was_measured() -> None:
    assert monotone([1.0, 5.0, 3.0, 8.0], [1, 1, 1, 1]) == [1.0, 4.0, 4.0, 8.0]
    assert monotone([5.0, 3.0], [1.0, 10.0]) == pytest.approx([35 / 11] * 2)


def test_fill_corrects_stamps_by_what_was_measured_near() -> None:
    in_situ = [0.0, 1.0, 2.0, 3.0, 4.0]
    filled = fill(in_situ, {2: 1.0, 4: 4.0})
    assert filled == pytest.approx([0.0, 0.5, 1.0, 2.5, 4.0])


@settings(max_examples=50)
@given(st.lists(st.floats(0.01, 50.0), min_size=2, max_size=30), st.data())
def test_fill_gives_measured_values_where_there_are_any(
    steps: list[float], data: st.DataObject
) -> None:
    in_situ = [0.0, *np.cumsum(steps).tolist()]
    last = len(in_situ) - 1
    some = data.draw(st.sets(st.integers(1, last)))
    measured = {index: in_situ[index] * 1.1 for index in some | {last}}
    filled = fill(in_situ, measured)
    assert filled == pytest.approx([time_ms * 1.1 for time_ms in in_situ])


def test_promising_cuts_are_all_inner_cuts_small_and_early_ones_first() -> None:
    head_ms = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    nbytes = [150_000, 3_000_000, 700_000, 40_000, 900_000, 4_000]
    order = promising_cuts(head_ms, nbytes, [0, 1, 2, 3, 4, 5])
    assert sorted(order) == [1, 2, 3, 4]
    assert order[0] == 3


def test_nearest_takes_the_lower_of_two() -> None:
    assert nearest([1, 3, 8], 2) == 1
    assert nearest([1, 3, 8], 7) == 8


def test_pictures_are_seeded_and_have_the_size_of_photographs() -> None:
    import cv2

    one, again = (natural_picture(224, 224, 1) for _ in range(2))
    assert np.array_equal(one, again) and one.shape == (1, 224, 224, 3)
    assert not np.array_equal(one, natural_picture(224, 224, 2))
    for seed in range(3):
        picture = natural_picture(224, 224, seed)[0]
        _, jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        assert 5_000 < len(jpeg) < 25_000  # photographs: about 10 kB


@pytest.fixture(scope='module')
def profile() -> Profile:
    program, weights = export(tiny_factory.make())
    return measure_profile(TorchModel(program, weights), 1, 1.5)


def test_profile_has_all_cuts_and_survives_json(profile: Profile) -> None:
    assert Profile.from_json(profile.to_json()) == profile
    assert [cut.index for cut in profile.cuts] == list(range(len(profile.cuts)))
    for cut in profile.cuts[:-1]:
        assert tuple(cut.codecs) == names_for_cut(cut.index == 0)
        assert all(cost.nbytes > 0 for cost in cut.codecs.values())
    assert profile.cuts[-1].codecs == {}
    assert set(profile.output_bytes) == set(names_for_cut(False))


def test_heads_grow_and_tails_shrink(profile: Profile) -> None:
    heads = [cut.head_ms for cut in profile.cuts]
    tails = [cut.tail_ms for cut in profile.cuts]
    assert heads[0] == 0.0 and tails[-1] == 0.0 and profile.whole_ms > 0.0
    assert heads == sorted(heads) and tails == sorted(tails, reverse=True)
    assert tails[0] == pytest.approx(profile.whole_ms, rel=0.5)
    assert any(cut.measured for cut in profile.cuts[1:-1])


def test_load_while_profiling_is_recorded(profile: Profile) -> None:
    assert {'schedstat', 'probe', 'procs_running'} <= set(profile.load_ratios)
    assert all(ratio >= 1.0 for ratio in profile.load_ratios.values())


def test_budget_is_kept() -> None:
    program, weights = export(tiny_factory.make())
    started_s = time.perf_counter()
    made = measure_profile(TorchModel(program, weights), 1, 0.3)
    assert time.perf_counter() - started_s < 3.0
    assert len(made.cuts) == len(program.cuts)
