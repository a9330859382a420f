"""The provisional profile: which way it goes, how far it is off, and how it is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json
import statistics

import numpy as np
import pytest

from dnn_offload.cost.predict.database import features_of, shipped_database
from dnn_offload.cost.profile import LayerProfile, Profile
from dnn_offload.errors import ProfileError
from dnn_offload.graph.export import export
from dnn_offload.graph.operators import base_name
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import resolve
from dnn_offload.runtime import profile_quick
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.profile_layers import layer_profiles
from dnn_offload.runtime.profile_quick import LEAST_RUNS, pieces_to_measure, quick_profile, SHARE
import tiny_factory

SQUEEZENET = 'torchvision:squeezenet1_1'


class MadeUpTimes(TorchModel):
    """Computes as ever; its stamps are those of a made-up robot.

    Args:
        model: The real one.
        times_ms: Of each operator.
    """

    def __init__(self, model: TorchModel, times_ms: np.ndarray) -> None:
        super().__init__(model.program, model.weights)
        self.times_ms = times_ms
        self.stamped: list[tuple[int, ...]] = []

    def stamps(self, segment: Segment, arrays: Sequence[np.ndarray]) -> list[float]:
        self.stamped.append(segment.positions)
        return [float(self.times_ms[position]) for position in segment.positions]


@pytest.fixture(scope='module')
def squeezenet() -> TorchModel:
    return TorchModel(*export(resolve(SQUEEZENET, weights='random', input_size=(64, 64))))


@pytest.fixture(scope='module')
def layers(squeezenet: TorchModel) -> tuple[LayerProfile, ...]:
    count = len(squeezenet.program.instructions)
    return layer_profiles(squeezenet.program, np.zeros((1, count)))


def robot(layers: Sequence[LayerProfile], slower: float) -> np.ndarray:
    """Times [ms] of the mean known device, slower, each operator 15 % off in its own way."""
    columns = shipped_database().columns(
        [layer.kind for layer in layers], features_of([layer.features for layer in layers])
    )
    own = np.random.default_rng(3).normal(0.0, 0.15, len(layers))
    return np.exp(columns.log_times.mean(axis=0) + own) * slower


def relative_errors(found: Profile, model: TorchModel, times_ms: np.ndarray) -> np.ndarray:
    upto = np.concatenate([[0.0], np.cumsum(times_ms)])[[cut.position for cut in model.cuts]]
    true = np.concatenate([upto[1:], (upto[-1] - upto)[:-1]])
    mine = np.array([*(c.head_ms for c in found.cuts[1:]), *(c.tail_ms for c in found.cuts[:-1])])
    # The clock's own waiting is put back in: a busy machine scales all times alike.
    mine /= found.load_ratios.get('schedstat', 1.0)
    return np.abs(mine - true) / np.maximum(true, 0.05 * upto[-1])


def test_slow_network_is_measured_in_part_and_predicted(
    squeezenet: TorchModel, layers: tuple[LayerProfile, ...]
) -> None:
    """Runs of minutes: no whole one is made; heads and tails are off by 12 % on average."""
    times_ms = robot(layers, 1e5)
    model = MadeUpTimes(squeezenet, times_ms)
    found = quick_profile(model, 1)
    count = len(times_ms)
    assert max(len(positions) for positions in model.stamped) < count
    errors = relative_errors(found, model, times_ms)
    assert errors.max() < 0.4 and errors.mean() < 0.12
    measured = len({position for positions in model.stamped for position in positions})
    assert found.provisional == f'{measured} of {count} operators measured, the others predicted'
    assert SHARE <= measured / count < 2 * SHARE
    # What it says of itself holds: 90 % is aimed at.
    upto = np.concatenate([[0.0], np.cumsum(times_ms)])
    wait = found.load_ratios.get('schedstat', 1.0)
    held = [
        abs(cut.head_ms / wait - upto[at.position]) <= 0.5 * cut.head_spread_ms / wait
        for cut, at in zip(found.cuts, model.cuts, strict=True)
    ]
    assert statistics.fmean(held) > 0.8


def test_what_was_measured_here_before_makes_it_better(
    squeezenet: TorchModel, layers: tuple[LayerProfile, ...]
) -> None:
    """The robot is slow at convolutions, which it knows from before, when it was busier."""
    slow = np.array([3.0 if layer.kind == 'conv2d' else 1.0 for layer in layers])
    times_ms = robot(layers, 1e5) * slow
    before = [
        replace(layer, time_ms=1.2 * float(ms)) for layer, ms in zip(layers, times_ms, strict=True)
    ]
    model = MadeUpTimes(squeezenet, times_ms)
    alone, helped = (
        quick_profile(model, 1, elsewhere=elsewhere) for elsewhere in ((), (before,))
    )
    assert helped.provisional == f'{alone.provisional}, with 1 network measured here before'
    errors = [relative_errors(found, model, times_ms).mean() for found in (alone, helped)]
    assert errors[1] < 0.7 * errors[0]


def test_quick_network_is_run_whole(
    squeezenet: TorchModel, layers: tuple[LayerProfile, ...]
) -> None:
    times_ms = robot(layers, 0.1)
    model = MadeUpTimes(squeezenet, times_ms)
    found = quick_profile(model, 1)
    runs = [positions for positions in model.stamped if len(positions) == len(times_ms)]
    assert len(runs) >= 1 + LEAST_RUNS
    assert found.provisional == f'{len(runs) - 1} runs of the whole network'
    assert relative_errors(found, model, times_ms).max() < 0.05


def test_a_real_one_is_marked_and_can_be_planned_on() -> None:
    program, weights = export(resolve(SQUEEZENET, weights='random', input_size=(64, 64)))
    found = quick_profile(TorchModel(program, weights), 1)
    assert found.provisional and Profile.from_json(found.to_json()) == found
    assert [cut.index for cut in found.cuts] == [cut.index for cut in program.cuts]
    heads = [cut.head_ms for cut in found.cuts]
    assert heads == sorted(heads) and heads[0] == 0.0 < heads[-1]
    for cut in found.cuts[:-1]:
        assert not cut.measured and cut.codecs and cut.tail_ms > 0.0
        assert all(cost.nbytes > 0 for cost in cut.codecs.values())
        # No surer than sums of operators are of a piece that runs alone.
        assert cut.tail_spread_ms >= 2 * profile_quick.UNIT_MISS * cut.tail_ms * 0.999
    assert 'jpeg' in found.cuts[0].codecs and found.output_bytes['raw'] > 4000


@pytest.mark.parametrize('budget_s', [0.0, 0.3])
def test_a_network_of_a_few_operators_is_no_special_case(budget_s: float) -> None:
    program, weights = export(tiny_factory.make())
    found = quick_profile(TorchModel(program, weights), 1, budget_s)
    assert found.whole_ms > 0.0 and len(found.cuts) == len(program.cuts)


def test_every_kind_of_operator_is_measured(squeezenet: TorchModel) -> None:
    program = squeezenet.program
    kinds = [base_name(instruction.target) for instruction in program.instructions]
    at = [cut.position for cut in program.cuts]
    for share in (0.0, SHARE, 1.0):
        chosen = pieces_to_measure(program, share)
        held = [p for index in chosen for p in range(at[index], at[index + 1])]
        assert {kinds[position] for position in held} == set(kinds)
        assert len(held) >= share * len(kinds)
    assert chosen == list(range(len(at) - 1))


def test_profiles_of_before_were_measured() -> None:
    program, weights = export(tiny_factory.make())
    data = json.loads(quick_profile(TorchModel(program, weights), 1, 0.0).to_json())
    assert Profile.from_json(json.dumps(data)).provisional
    assert len(Profile.from_json(json.dumps(data | {'provisional': 'x' * 999})).provisional) == 200
    del data['provisional']
    assert Profile.from_json(json.dumps(data)).provisional == ''
    with pytest.raises(ProfileError):
        Profile.from_json(json.dumps(data | {'schema_version': 1}))
