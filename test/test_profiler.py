"""The profiler: its arithmetic on made-up times, and a real run on a small network."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.codec.registry import names_for_answers, names_for_cut
from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.profile import Profile
from dnn_offload.graph.export import export
from dnn_offload.runtime import profiler
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.pictures import natural_picture
from dnn_offload.runtime.profile_layers import memory
from dnn_offload.runtime.profile_meter import without_wait
from dnn_offload.runtime.profile_model import (
    fill,
    half_width,
    half_widths,
    how_many,
    left_out_errors,
    monotone,
    nearest,
    OTHER_RUNS,
    promising_cuts,
    times,
    UNKNOWN,
)
from dnn_offload.runtime.profile_variants import ThreadVariants
from dnn_offload.runtime.profiler import measure_profile
from dnn_offload.runtime.shared import Spent
import tiny_factory

time_lists = st.lists(st.floats(0.0, 1e3), min_size=1, max_size=40)


@given(time_lists)
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


def test_every_other_cut_is_chosen_for_what_lies_between() -> None:
    head_ms = np.linspace(0.0, 100.0, 101).tolist()
    order = promising_cuts(head_ms, [1000 - i for i in range(101)], list(range(101)))
    assert sorted(order) == list(range(1, 100))
    gaps = np.diff(sorted([0, 100, *order[:30]]))
    assert gaps.max() <= 8  # 30 cuts spread evenly would be 3.2 apart


def test_a_fraction_of_the_cuts_costs_that_fraction() -> None:
    for last in (30, 54, 109, 430):
        count = how_many(last, 0.3)
        assert 0.27 * last - 1 <= count + OTHER_RUNS <= 0.3 * last
    assert how_many(5, 0.3) == 3 and how_many(3, 0.3) == 2 and how_many(2, 0.3) == 1
    assert how_many(30, 1.0) == 29


def test_what_was_left_out_is_predicted_from_its_neighbours() -> None:
    in_situ = [0.0, 1.0, 2.0, 3.0, 4.0]
    # 2 lies on the line between 1 and 4, 1 does not between 0 and 2.
    errors = left_out_errors(in_situ, {1: 2.0, 2: 3.0, 4: 5.0})
    assert errors == pytest.approx([(2.0 - 1.5) / 2.0, abs(2.0 + 1.0 - 3.0) / 3.0])
    # Below 5 % of the whole errors are relative to that.
    assert left_out_errors([0.0, 1.0, 100.0], {1: 3.0, 2: 100.0}) == pytest.approx([2.0 / 5.0])


def test_half_width_is_a_quantile_or_students() -> None:
    assert half_width([0.01 * i for i in range(1, 20)]) == pytest.approx(0.18)
    assert half_width([0.01] * 9) == pytest.approx(0.01)
    assert half_width([0.01] * 4) == pytest.approx(0.0213, abs=2e-4)  # t of 4 degrees, 95 %
    assert half_width([]) == UNKNOWN


def test_no_side_is_surer_than_both_nor_than_its_noise() -> None:
    in_situ = [float(i) for i in range(13)]
    quiet = {i: [float(i)] * 4 for i in range(2, 13)}
    noisy = {i: [0.8 * i, 0.9 * i, 1.1 * i, 1.2 * i] for i in range(2, 13)}
    bent = {i: [i + 0.5 * (i % 2)] * 4 for i in range(2, 13)}
    assert half_widths((in_situ, quiet))[0] == pytest.approx(0.0, abs=1e-9)
    assert half_widths((in_situ, noisy))[0] == pytest.approx(
        1.645 * 1.2533 * (1.2 - 0.9) / 1.349 / 2.0, rel=0.01
    )
    both = half_widths((in_situ, quiet), (in_situ, bent))
    assert 0.02 < both[0] <= both[1]


@pytest.mark.parametrize('cuts', [23, 60, 150])
def test_intervals_hold_what_they_say(cuts: int) -> None:
    """On made-up networks whose units miss their stamps, and noise in both."""
    held, total, off = 0, 0, []
    for seed in range(20):
        random = np.random.Generator(np.random.PCG64([cuts, seed]))
        steps = random.gamma(0.7, 1.0, cuts)
        true = np.concatenate([[0.0], np.cumsum(steps * random.normal(1.0, 0.05, cuts))])
        warm = 1.0 - 0.1 * np.exp(-3.0 * true / true[-1])  # short heads stay in the cache
        true *= warm
        stamps = np.concatenate([[0.0], np.cumsum(steps)]).tolist()
        nbytes = random.integers(1000, 1_000_000, cuts + 1).tolist()
        order = promising_cuts(stamps, nbytes, list(range(cuts + 1)))[:how_many(cuts, 0.3)]
        measured = {c: float(true[c] * random.normal(1.0, 0.02)) for c in (*order, cuts)}
        found = np.array(times(stamps, measured))
        runs = {c: [time_ms] * 3 for c, time_ms in measured.items()}
        (width,) = half_widths((stamps, runs))
        guessed = [c for c in range(1, cuts) if c not in measured]
        error = np.abs(found - true) / np.maximum(true, 0.05 * true[-1])
        held += int(np.sum(error[guessed] <= width))
        total += len(guessed)
        off.append(float(error[1:].mean()))
    assert held / total >= 0.85  # says 90 %
    assert float(np.mean(off)) < 0.03


def test_a_wait_outside_the_work_is_not_taken_from_it() -> None:
    assert without_wait(Spent(5.0, 3.0, 2.0)) == 3.0
    assert without_wait(Spent(0.2, 0.2, 10.0)) == 0.2
    assert without_wait(Spent(72.7, 11.2, 81.5)) == 11.2


class VirtualMeter:
    """Units that take 10 ms on a clock that only they move."""

    def __init__(self, last: int) -> None:
        self.last, self.now_s = last, 0.0
        self.units: list[int] = []
        self.stamps_ms: list[list[float]] = []
        self.load = self

    def unit(self, cut: int) -> None:
        self.units.append(cut)
        self.now_s += 0.010

    def stamp(self) -> list[float]:
        self.now_s += 0.010
        return [10.0]

    def sample(self) -> None:
        pass

    probe = sample


@pytest.mark.parametrize(('budget_s', 'cuts', 'rounds'), [
    (100.0, 15, profiler.UNIT_RUNS),  # all that are wanted, as often as is aimed at
    (0.9, 15, 5),  # time for fewer rounds of all
    (0.6, 10, 5),  # and for fewer cuts
    (0.3, 8, 3),  # a few cuts, a few times
    (0.08, 1, 3),
    (0.0, 0, 1),  # the whole network all the same
])
def test_units_keep_the_budget(
    monkeypatch: pytest.MonkeyPatch, budget_s: float, cuts: int, rounds: int
) -> None:
    meter = VirtualMeter(50)
    monkeypatch.setattr(profiler.time, 'perf_counter', lambda: meter.now_s)
    said: list[tuple[float, str]] = []
    profiler._units(
        [meter], list(range(1, 16)), 10.0, budget_s,  # type: ignore[list-item]
        lambda fraction, message: said.append((fraction, message)),
    )
    counts = {cut: meter.units.count(cut) for cut in set(meter.units)}
    assert len(counts) - 1 == cuts and set(counts.values()) == {rounds}
    assert set(counts) == {50, *range(1, cuts + 1)}
    assert meter.now_s <= max(budget_s, 0.04) + 1e-9 or budget_s == 0.0
    assert [fraction for fraction, _ in said] == sorted(fraction for fraction, _ in said)
    assert f'measuring {cuts} of 49 cuts' in said[0][1]


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
    assert set(profile.output_bytes) == set(names_for_answers())


def test_heads_grow_and_tails_shrink(profile: Profile) -> None:
    heads = [cut.head_ms for cut in profile.cuts]
    tails = [cut.tail_ms for cut in profile.cuts]
    assert heads[0] == 0.0 and tails[-1] == 0.0 and profile.whole_ms > 0.0
    assert heads == sorted(heads) and tails == sorted(tails, reverse=True)
    assert tails[0] == pytest.approx(profile.whole_ms, rel=0.5)
    assert any(cut.measured for cut in profile.cuts[1:-1])


def test_operators_are_the_graph_that_plans_are_made_on(profile: Profile) -> None:
    known = {profile.input_name: profile.input_bytes}
    for layer in profile.layers:
        assert layer.reads and set(layer.reads) <= set(known), layer
        known.update(layer.makes)
        assert set(layer.features) == set(FEATURES) and layer.features['output_bytes'] == sum(
            size for _, size in layer.makes
        )
    assert set(profile.outputs) <= set(known)
    for cut in profile.cuts:
        assert sum(known[name] for name in cut.frontier) == cut.frontier_bytes
    total_ms = sum(layer.time_ms for layer in profile.layers)
    assert total_ms == pytest.approx(profile.whole_ms, rel=0.35)  # medians of noisy runs
    convolutions = [layer for layer in profile.layers if layer.kind == 'conv2d']
    assert convolutions and all(layer.weight_bytes > 0 for layer in convolutions)
    assert convolutions[0].features['stride'] == 2 and convolutions[0].features['macs'] > 0


def test_memory_of_pieces(profile: Profile) -> None:
    first, last = profile.cuts[0], profile.cuts[-1]
    assert first.head_bytes == 0 and last.tail_bytes == 0
    weights = sum(layer.weight_bytes for layer in profile.layers)
    # One convolution is used twice.
    assert 0 < first.tail_bytes < weights + 4 * max(c.frontier_bytes for c in profile.cuts)
    assert first.tail_bytes == last.head_bytes
    for cut in profile.cuts[1:-1]:
        assert cut.head_bytes > cut.frontier_bytes and cut.tail_bytes > cut.frontier_bytes


def test_weights_of_torch_stay_beside_compiled_pieces() -> None:
    program, _ = export(tiny_factory.make())
    weights = sum(weight.nbytes for weight in program.weights)
    for bare, with_torch in zip(memory(program), memory(program, compiled=True), strict=True):
        for piece, both in zip(bare, with_torch, strict=True):
            assert both == (piece + weights if piece else 0)


def test_lossless_codecs_agree_and_others_are_unknown(profile: Profile) -> None:
    for cut in profile.cuts[:-1]:
        for name, cost in cut.codecs.items():
            assert cost.agreement == (1.0 if name in ('raw', 'zstd') else None)
    assert profile.agreement_frames == 0


def test_other_thread_counts_have_all_cuts() -> None:
    program, weights = export(tiny_factory.make())
    made = measure_profile(TorchModel(program, weights), 1, 2.0, other_threads=(2, 1))
    (variant,) = made.variants
    assert (variant.backend, variant.threads) == ('torch', 2)
    assert list(variant.head_ms) == sorted(variant.head_ms) and variant.head_ms[0] == 0.0
    assert list(variant.tail_ms) == sorted(variant.tail_ms, reverse=True)
    assert variant.tail_ms[-1] == 0.0 and variant.head_ms[-1] > 0.0
    assert measure_profile(TorchModel(program, weights), 1, 0.2, other_threads=()).variants == ()


def test_variants_scale_each_piece_by_its_own_operators() -> None:
    """Two threads halve the first operator and leave the second as it is."""

    class Model:
        cuts = tuple(SimpleNamespace(position=position) for position in (0, 1, 2))
        threads = 1

        def set_threads(self, threads: int) -> None:
            self.threads = threads

    class Meter:
        model, last, inputs = Model(), 2, ()
        stamps_ms: ClassVar[list[list[float]]] = []

        def stamp(self) -> list[float]:
            return [6.0, 4.0] if self.model.threads == 1 else [3.0, 4.0]

        def run(self, start: int, end: int, inputs: object) -> tuple[list[object], float]:
            return [], 0.9 * sum(self.stamp())

    meter = Meter()
    measured = ThreadVariants(meter, 1, (2,))  # type: ignore[arg-type]
    measured.measure(10.0, time.perf_counter() + 1.0)
    (variant,) = measured.variants([0.0, 5.0, 9.0], [9.0, 3.0, 0.0], 'torch')
    assert meter.model.threads == 1 and len(meter.stamps_ms) > 0
    assert variant.head_ms == pytest.approx((0.0, 2.5, 6.3))
    assert variant.tail_ms == pytest.approx((6.3, 3.0, 0.0))
    late = ThreadVariants(meter, 1, (2,))  # type: ignore[arg-type]
    late.measure(10.0, time.perf_counter() - 1.0)
    assert late.variants([0.0, 5.0, 9.0], [9.0, 3.0, 0.0], 'torch') == ()


def test_load_while_profiling_is_recorded(profile: Profile) -> None:
    assert {'schedstat', 'probe', 'procs_running'} <= set(profile.load_ratios)
    assert all(ratio >= 1.0 for ratio in profile.load_ratios.values())


def test_budget_is_kept() -> None:
    program, weights = export(tiny_factory.make())
    started_s = time.perf_counter()
    made = measure_profile(TorchModel(program, weights), 1, 0.3)
    assert time.perf_counter() - started_s < 3.0
    assert len(made.cuts) == len(program.cuts)
