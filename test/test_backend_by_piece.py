"""Each piece of a network by the backend that is fastest at it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from backend_parts import save
from dnn_offload.cli.profile_tables import summary
from dnn_offload.cost.profile import Profile, Variant
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.planning import two_cuts
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import plan
from dnn_offload.runtime import profile_pieces
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.base import segment_of
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.load import load
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.runtime.own_layers import layers_measured_here
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.prepared_model import load_prepared_model
from dnn_offload.runtime.profile_backends import choose
from dnn_offload.runtime.profile_pieces import fastest, PieceTimes
from dnn_offload.runtime.profiler import measure_profile
from dnn_offload.runtime.server_part import ServerParts
from dnn_offload.simulate.made_up_graph import made_up_squeezenet
import tiny_factory

BOTH = 'onnxruntime+openvino'
needs_both = pytest.mark.skipif(
    any(names.missing(name) for name in BOTH.split('+')), reason='onnxruntime and openvino needed'
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_factory.make(), tmp_path_factory.mktemp('tiny'))


@pytest.mark.parametrize('text', ['torch+torch', 'torch+', 'auto+torch', 'all+torch', '+', 'ALL'])
def test_what_cannot_be_joined_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='onnxruntime'):
        names.candidates(text)
    assert names.check(text) == names.ALLOWED


def test_several_are_named_with_a_plus_or_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, 'missing', lambda kind: '')
    monkeypatch.setattr(names, 'CUDA_SIGNS', ())
    assert names.check(BOTH) == names.check('all') == names.check('torch+openvino:GPU') == ''
    assert names.candidates(BOTH) == (('torch', 'onnxruntime', 'openvino'), '')
    assert names.candidates('all') == names.candidates('auto')
    assert names.usable(BOTH) == (BOTH, '') and names.usable('torch') == ('torch', '')
    request = ModelRequest('demo:detector', backend='all')
    others = {replace(request, backend=name).profile_name for name in ('auto', BOTH, 'openvino')}
    assert request.profile_name not in others and len(others) == 3


def test_what_is_missing_of_several_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, 'missing', lambda kind: 'gone' * (kind == 'openvino'))
    assert names.usable(BOTH) == ('onnxruntime', 'torch is used instead of openvino: gone')
    assert names.usable('openvino')[0] == 'torch'


# ---- the choice ---------------------------------------------------------------------------

growing = st.lists(st.floats(0.1, 50.0), min_size=2, max_size=12).map(
    lambda steps: np.cumsum(steps).tolist()
)


@st.composite
def measurements(draw: st.DrawFn) -> dict[str, PieceTimes]:
    heads = draw(growing)
    made = {}
    for name in ('a', 'b', 'c')[: draw(st.integers(1, 3))]:
        factors = draw(st.lists(st.floats(0.5, 2.0), min_size=len(heads), max_size=len(heads)))
        own = np.maximum.accumulate([0.0, *np.multiply(heads, factors)])
        made[name] = PieceTimes(own.tolist(), own[::-1].tolist())
    return made


@given(measurements())
def test_each_piece_has_the_least_time_but_for_the_margin(measured: dict[str, PieceTimes]) -> None:
    usual = min(measured, key=lambda name: measured[name].head_ms[-1])
    found = fastest(measured, usual)
    for mine, by, side in (
        (found.head_ms, found.head_by, 'head_ms'), (found.tail_ms, found.tail_by, 'tail_ms')
    ):
        for index, time_ms in enumerate(mine):
            least = min(getattr(each, side)[index] for each in measured.values())
            assert least <= time_ms <= least / (1.0 - profile_pieces.MARGIN) + 1e-9
            assert getattr(measured[by[index]], side)[index] <= time_ms + 1e-9
    assert found.head_ms == sorted(found.head_ms)
    assert found.tail_ms == sorted(found.tail_ms, reverse=True)
    assert found.head_by[-1] == found.tail_by[0]


def by_backend(profile: Profile, all_factors: dict[str, list[float]]) -> dict[str, Profile]:
    """The same network by several backends, some better in front and some behind."""
    made = {}
    for name, some in all_factors.items():
        factors = np.array(some)
        heads = np.maximum.accumulate([cut.head_ms for cut in profile.cuts] * factors)
        tails = np.array([cut.tail_ms for cut in profile.cuts]) * factors[::-1]
        tails = np.maximum.accumulate(tails[::-1])[::-1]
        heads[-1] = tails[0] = max(heads[-1], tails[0])  # the whole network is one piece
        made[name] = replace(profile, cuts=tuple(
            replace(cut, head_ms=float(head), tail_ms=float(tail))
            for cut, head, tail in zip(profile.cuts, heads, tails, strict=True)
        ))
    return made


def joined(profiles: dict[str, Profile]) -> Profile:
    """What the profiler makes of them."""
    found = fastest(
        {
            name: PieceTimes([c.head_ms for c in each.cuts], [c.tail_ms for c in each.cuts])
            for name, each in profiles.items()
        },
        min(profiles, key=lambda name: profiles[name].whole_ms),
    )
    first = next(iter(profiles.values()))
    return replace(first, backend='+'.join(profiles), cuts=tuple(
        replace(
            cut, head_ms=found.head_ms[cut.index], tail_ms=found.tail_ms[cut.index],
            head_backend=found.head_by[cut.index], tail_backend=found.tail_by[cut.index],
        )
        for cut in first.cuts
    ), variants=tuple(
        Variant(
            name, first.threads, tuple(cut.head_ms for cut in each.cuts),
            tuple(cut.tail_ms for cut in each.cuts),
        )
        for name, each in profiles.items()
    ))


EDGE, SERVER = made_up_squeezenet(1.0), made_up_squeezenet(6.0)
some_factors = st.lists(
    st.floats(0.4, 1.6), min_size=len(EDGE.cuts), max_size=len(EDGE.cuts)
)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries({'a': some_factors, 'b': some_factors}),
    st.fixed_dictionaries({'a': some_factors, 'b': some_factors}),
    st.sampled_from([2e6, 20e6, 200e6]),
)
def test_planning_over_the_fastest_pieces_is_exact_over_backends(
    edge_factors: dict[str, list[float]], server_factors: dict[str, list[float]], rate_bps: float
) -> None:
    edges, servers = by_backend(EDGE, edge_factors), by_backend(SERVER, server_factors)
    link = LinkState(2.0, rate_bps, 2.0, rate_bps, 1.0)

    def best(edge: Profile, server: Profile, shapes: tuple[str, ...]) -> float:
        conditions = Conditions(edge, 1.5, 1.0, (ServerState('s', server, link),))
        return plan('auto', conditions, Constraints(shapes=shapes))[0].latency_ms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_pieces, 'MARGIN', 0.0)
        edge, server = joined(edges), joined(servers)
    # Brute force: every backend here with every one there, each planned by itself.
    combinations = list(product(edges.values(), servers.values()))
    alone = min(best(here, there, ()) for here, there in combinations)
    assert best(edge, server, ()) == pytest.approx(alone)
    # With two cuts each of the robot's two pieces may run by another backend.
    mixed = [
        replace(head, cuts=tuple(
            replace(cut, tail_ms=other.tail_ms)
            for cut, other in zip(head.cuts, rest.cuts, strict=True)
        ))
        for head, rest in product(edges.values(), repeat=2)
    ]
    two = min(
        best(here, there, (two_cuts.SHAPE,)) for here, there in product(mixed, servers.values())
    )
    assert best(edge, server, (two_cuts.SHAPE,)) == pytest.approx(two)


# ---- running it ---------------------------------------------------------------------------


def labelled(folder: Path, name: str, slow: str = '', seconds: float = 0.0) -> TorchModel:
    """Torch under another name that keeps what it ran; slow at heads or at tails."""
    model = TorchBackend().load(folder)
    model.backend = name
    model.ran = []  # type: ignore[attr-defined]
    run, last = model.run, len(model.program.instructions) - 1

    def noted(segment: Any, arrays: Any) -> Any:
        positions = list(segment.positions)
        head = 0 in positions
        model.ran.append(positions)  # type: ignore[attr-defined]
        if (slow == 'heads' and head and last not in positions) or (slow == 'tails' and not head):
            time.sleep(seconds)
        return run(segment, arrays)

    model.run = noted  # type: ignore[method-assign]
    return model


def test_each_piece_is_measured_by_all_and_run_by_the_fastest(folder: Path) -> None:
    slow_heads = labelled(folder, 'openvino', 'heads', 0.02)
    slow_tails = labelled(folder, 'onnxruntime', 'tails', 0.02)
    model = PieceModel({'onnxruntime': slow_tails, 'openvino': slow_heads})
    profile = measure_profile(model, 1, 1.0, fraction=1.0, other_threads=())
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.backend == BOTH
    inner = profile.cuts[1:-1]
    assert {cut.head_backend for cut in inner} == {'onnxruntime'}
    assert {cut.tail_backend for cut in inner} == {'openvino'}
    assert all(cut.head_ms < 15.0 and cut.tail_ms < 15.0 for cut in inner)
    times = {variant.backend: variant for variant in profile.variants}
    assert set(times) == {'onnxruntime', 'openvino'}
    assert min(times['openvino'].head_ms[1:-1]) > 15.0  # each by each, for people
    assert min(times['onnxruntime'].tail_ms[1:-1]) > 15.0
    told = ' '.join(summary(profile))
    assert 'heads by backend, by their cut: onnxruntime 1' in told
    assert 'openvino' in told.split('tails by backend')[1]

    model.choose(profile)
    inputs = seeded_inputs(model.program.inputs)
    alone, last = TorchBackend().load(folder), len(model.cuts) - 1
    for cut in range(1, last):
        slow_heads.ran.clear()  # type: ignore[attr-defined]
        slow_tails.ran.clear()  # type: ignore[attr-defined]
        arrays = model.run(model.segment(0, cut), inputs)
        found = model.run(model.segment(cut, last), arrays)
        assert (len(slow_tails.ran), len(slow_heads.ran)) == (1, 1)  # type: ignore[attr-defined]
        for one, other in zip(found, alone.run(alone.segment(0, last), inputs), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_not_there_any_more_is_run_by_the_usual_one(folder: Path) -> None:
    here = labelled(folder, 'onnxruntime')
    model = PieceModel({'onnxruntime': here, 'torch': labelled(folder, 'torch')})
    profile = measure_profile(TorchBackend().load(folder), 1, 0.2, other_threads=())
    model.choose(replace(profile, cuts=tuple(
        replace(cut, head_backend='openvino', tail_backend='torch') for cut in profile.cuts
    )))
    last = len(model.cuts) - 1
    assert model.segment(0, 1).model is here and model.segment(0, last).model is here
    assert model.segment(1, last).model is model.models['torch']
    # Nothing was measured of pieces in the middle but what torch takes.
    assert model.segment(1, 2).model is model.models['torch']
    tails = tuple(float(last - cut) for cut in range(last + 1))
    model.choose(replace(profile, backend='onnxruntime+torch', cuts=tuple(
        replace(cut, head_backend='onnxruntime', tail_backend='torch') for cut in profile.cuts
    ), variants=(
        Variant('torch', 1, tails, (tails[0], *tails[2:], 0.0)),
        Variant('onnxruntime', 1, tails, (*tails[:2], tails[2] + 0.5, *tails[3:])),
    )))
    torch = model.models['torch']
    assert model.segment(1, 2).model is here  # 0.5 ms less than the other
    assert model.segment(2, 3).model is torch
    # A plan with two cuts names its pieces by their values: the same choice, there and here.
    parts = ServerParts(model)
    middle = parts.find(model.cuts[1].cut_id, model.cuts[2].cut_id, ())
    assert isinstance(middle.span[0], tuple) and segment_of(model, middle.span).model is here
    later = parts.find(model.cuts[2].cut_id, model.cuts[3].cut_id, ())
    assert segment_of(model, later.span).model is torch
    route = model.route(model.cuts[1].cut_id, model.cuts[2].cut_id, ())
    assert segment_of(model, (route.rest.inputs, route.rest.outputs)).model is torch
    assert model.by_torch.backend == 'torch'


@needs_both
def test_a_node_loads_what_was_measured(tmp_path: Path) -> None:
    request = ModelRequest('python:tiny_factory:make', allow_code=True, backend='all')
    said: list[str] = []
    prepare(request, tmp_path, 2.0, True, lambda stage, share, text, **more: said.append(text))
    folder = tmp_path / cache_key(request)
    path = folder / request.profile_name
    profile = Profile.from_json(path.read_text())
    there = names.candidates('all')[0]
    assert profile.backend == '+'.join(there)
    assert all(cut.head_backend in there for cut in profile.cuts)
    assert {variant.backend for variant in profile.variants} >= set(there)
    assert layers_measured_here(tmp_path, 'torch', 1, said.append)  # joined by torch's times
    prepared = load_prepared_model(folder, path, 1, backend='all', log=said.append)
    model = prepared.model
    assert isinstance(model, PieceModel) and model.backend == profile.backend
    assert not [text for text in said if 'holds for' in text]
    chosen = [cut.head_backend for cut in profile.cuts[1:]]
    assert [model.segment(0, cut.index).model.backend for cut in model.cuts[1:]] == chosen
    inputs, last = seeded_inputs(model.program.inputs), len(model.cuts) - 1
    wanted = load(folder, 'torch').run(load(folder, 'torch').segment(0, last), inputs)
    for cut in range(1, last):
        found = model.run(model.segment(cut, last), model.run(model.segment(0, cut), inputs))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@needs_both
def test_one_of_several_that_cannot_run_the_network_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    choice = choose(folder, 'onnxruntime+openvino:NOPE', 1, 0.2, said.append)
    assert choice.model.backend == 'onnxruntime' and 'openvino:NOPE' in said[0]
    assert load(folder, 'onnxruntime+openvino:NOPE', log=said.append).backend == 'onnxruntime'
    assert load(folder, 'openvino:NOPE+openvino:NEITHER', log=said.append).backend == 'torch'
