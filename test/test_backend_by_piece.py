"""Each piece of a network by the backend that is fastest at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
import math
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
from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.planning import two_cuts
from dnn_offload.planning.costs import late_cost_ms
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    Key,
    LinkState,
    ServerState,
)
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
from graph_profiles import fits
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
        made[name] = replace(profile, backend=name, cuts=tuple(
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


def with_two_threads(profile: Profile, ratio: float) -> Profile:
    """The same with another thread count, by which the profiler scales what it chose for one."""
    variant = Variant(
        profile.backend, 2, tuple(ratio * cut.head_ms for cut in profile.cuts),
        tuple(ratio * cut.tail_ms for cut in profile.cuts),
    )
    return replace(profile, variants=(*profile.variants, variant))


def with_memory(profile: Profile) -> Profile:
    """The same with 1 MB for each step of a piece.

    By any backend: the profiler writes down one figure per cut. So limits forbid the same plans
    whatever runs them, and are no reason to search over backends. (Of torch and a compiled one it
    is the compiled one's: torch alone may then keep a limit that both together do not.)
    """
    last = len(profile.cuts) - 1
    return replace(profile, cuts=tuple(
        replace(cut, head_bytes=10**6 * cut.index, tail_bytes=10**6 * (last - cut.index))
        for cut in profile.cuts
    ))


EDGE, SERVER = with_memory(made_up_squeezenet(1.0)), with_memory(made_up_squeezenet(6.0))
LAST = len(EDGE.cuts) - 1  # 66
LOAD, SERVER_LOAD, LINK_MS = 1.5, 1.2, 2.0
RATES_BPS = st.sampled_from([2e6, 20e6, 200e6])
PRIVATE_LAYERS = st.sampled_from([0, 5, 20])  # without, most plans send the picture or nothing
THREAD_RATIOS = st.sampled_from([0.6, 1.2])
MEMORY_LIMITS_MB = st.sampled_from([0.0, 0.0, 30.0, 50.0, 70.0])
LIMITS = st.builds(
    Constraints, private_layers=PRIVATE_LAYERS, threads=st.sampled_from([(), (1, 2), (2,)]),
    max_edge_memory_mb=MEMORY_LIMITS_MB, max_server_memory_mb=MEMORY_LIMITS_MB,
)
Factors = dict[str, list[float]]


def of_both(some: st.SearchStrategy[list[float]]) -> st.SearchStrategy[Factors]:
    return st.fixed_dictionaries({'a': some, 'b': some})


far_apart = st.lists(st.floats(0.4, 1.6), min_size=LAST + 1, max_size=LAST + 1)
near = st.one_of(
    st.lists(st.floats(0.9, 1.0), min_size=LAST + 1, max_size=LAST + 1),
    # As fast as others at the whole network, and faster at all pieces by as much.
    st.floats(0.93, 1.0).map(lambda factor: [factor] * LAST + [1.0]),
)


def conditions(edge: Profile, server: Profile, rate_bps: float) -> Conditions:
    link = LinkState(LINK_MS, rate_bps, LINK_MS, rate_bps, 1.0)
    return Conditions(edge, LOAD, 1.0, (ServerState('s', server, link, SERVER_LOAD),))


def plans(
    edge: Profile, server: Profile, rate_bps: float, wanted: Constraints
) -> dict[Key, Candidate]:
    """None where the limits leave none."""
    try:
        found = plan('auto', conditions(edge, server, rate_bps), wanted)
    except PlanningError:
        assert not fits(wanted, edge)
        return {}
    for each in found:
        cut_id = '' if each.return_id else each.cut_id
        assert fits(wanted, edge, None if each.is_local else server, cut_id)
    return {each.key: each for each in found}


def best_ms(edge: Profile, server: Profile, rate_bps: float, wanted: Constraints) -> float:
    every = plans(edge, server, rate_bps, wanted).values()
    return min((each.latency_ms for each in every), default=math.inf)


def least(tables: Iterable[Mapping[Key, float]]) -> dict[Key, float]:
    """Of each plan the least price, whatever runs it."""
    found: dict[Key, float] = {}
    for table in tables:
        found |= {key: min(value, found.get(key, math.inf)) for key, value in table.items()}
    return found


def latencies(found: Mapping[Key, Candidate]) -> dict[Key, float]:
    return {key: each.latency_ms for key, each in found.items()}


def mixed(edges: dict[str, Profile]) -> list[Profile]:
    """Heads of one backend with tails of another, all ways."""
    return [
        replace(head, cuts=tuple(
            replace(cut, tail_ms=other.tail_ms)
            for cut, other in zip(head.cuts, rest.cuts, strict=True)
        ))
        for head, rest in product(edges.values(), repeat=2)
    ]


@settings(max_examples=40, deadline=None)
@given(of_both(far_apart), of_both(far_apart), RATES_BPS, LIMITS, THREAD_RATIOS)
def test_planning_over_the_fastest_pieces_is_exact_over_backends(
    edge_factors: Factors, server_factors: Factors, rate_bps: float, wanted: Constraints,
    ratio: float,
) -> None:
    edges, servers = by_backend(EDGE, edge_factors), by_backend(SERVER, server_factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_pieces, 'MARGIN', 0.0)
        edge, server = with_two_threads(joined(edges), ratio), joined(servers)
    # Brute force: every backend here with every one there, each planned by itself.
    alone = least(
        latencies(plans(with_two_threads(here, ratio), there, rate_bps, wanted))
        for here, there in product(edges.values(), servers.values())
    )
    assert latencies(plans(edge, server, rate_bps, wanted)) == pytest.approx(alone)
    # With two cuts each of the robot's two pieces may run by another backend.
    wanted = replace(wanted, shapes=(two_cuts.SHAPE,))
    best = min(
        best_ms(with_two_threads(here, ratio), there, rate_bps, wanted)
        for here, there in product(mixed(edges), servers.values())
    )
    assert best_ms(edge, server, rate_bps, wanted) == pytest.approx(best)


def prices_ms(
    edges: dict[str, Profile], there: Profile, rate_bps: float, wanted: Constraints, ratio: float
) -> Iterator[tuple[Key, float]]:
    """All plans of one cut with the robot's fastest pieces, by docs/planning.md."""
    finish_ms = EDGE.finish_ms * LOAD
    heads, tails = (
        [min(getattr(each.cuts[at], side) for each in edges.values()) for at in range(LAST + 1)]
        for side in ('head_ms', 'tail_ms')
    )
    for count in wanted.threads or (0,):
        slower = LOAD * (1.0 + 0.1 * (LOAD - 1.0)) * ratio if count == 2 else LOAD
        if fits(wanted, EDGE):
            yield ('', '', '', '', '', count), heads[LAST] * slower + finish_ms
        for cut in EDGE.cuts[:LAST]:
            deep = cut.depth >= wanted.private_layers
            if not deep or not fits(wanted, EDGE, there, cut.cut_id):
                continue
            for name, cost in cut.codecs.items():
                before_ms = heads[cut.index] * slower + cost.encode_ms * LOAD
                decode_ms = there.cuts[cut.index].codecs[name].decode_ms
                moved = cost.nbytes + there.output_bytes['raw']
                all_ms = (
                    before_ms + 2.0 * LINK_MS + 8e3 * moved / rate_bps + finish_ms
                    + (decode_ms + there.cuts[cut.index].tail_ms) * SERVER_LOAD
                )
                rescue_ms = tails[cut.index] * slower + finish_ms
                late_ms = late_cost_ms(all_ms, before_ms, rescue_ms, wanted.deadline_ms)
                yield (cut.cut_id, name, 's', '', '', count), all_ms + float(late_ms)


@settings(max_examples=40, deadline=None)
@given(
    of_both(far_apart), of_both(far_apart), RATES_BPS, LIMITS, THREAD_RATIOS,
    st.sampled_from([12.0, 18.0, 25.0, 35.0, 80.0]),
)
def test_with_a_deadline_it_is_exact_over_the_backends_of_the_server(
    edge_factors: Factors, server_factors: Factors, rate_bps: float, wanted: Constraints,
    ratio: float, deadline_ms: float,
) -> None:
    # Rescues run the robot's fastest tails, as every plan does. A slower one is not looked at,
    # though its price may be lower: a rescue that does not fit behind the head is not begun, and
    # ends no frame before its answer is there. So with a deadline the robot's fastest pieces are
    # planned with by rule, and are not the best of all backends here.
    edges, servers = by_backend(EDGE, edge_factors), by_backend(SERVER, server_factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile_pieces, 'MARGIN', 0.0)
        edge, server = with_two_threads(joined(edges), ratio), joined(servers)
    wanted = replace(wanted, deadline_ms=deadline_ms)
    alone = least(
        dict(prices_ms(edges, there, rate_bps, wanted, ratio)) for there in servers.values()
    )
    assert latencies(plans(edge, server, rate_bps, wanted)) == pytest.approx(alone)
    wanted = replace(wanted, shapes=(two_cuts.SHAPE,))
    best = min(best_ms(edge, there, rate_bps, wanted) for there in servers.values())
    assert best_ms(edge, server, rate_bps, wanted) == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(of_both(near), of_both(near), RATES_BPS, PRIVATE_LAYERS)
def test_the_margin_costs_no_more_than_itself(
    edge_factors: Factors, server_factors: Factors, rate_bps: float, private_layers: int
) -> None:
    # Every piece takes at least the least time t, and at most t / (1 - MARGIN): only what is no
    # slower than that is kept, and what makes times grow with the piece keeps both bounds, since
    # least times grow. The whole network takes its least time (its fastest backend is the usual
    # one), and so does a middle piece (the fastest by its difference of tails). So the best plan
    # of brute force costs with the chosen pieces at most MARGIN / (1 - MARGIN) of the time of its
    # head and its tail (with two cuts: of its rest) more, and what is planned no more than that.
    share = profile_pieces.MARGIN / (1.0 - profile_pieces.MARGIN)
    assert share > 0.0
    edges, servers = by_backend(EDGE, edge_factors), by_backend(SERVER, server_factors)
    edge, server = joined(edges), joined(servers)
    for shapes, heres in (((), list(edges.values())), ((two_cuts.SHAPE,), mixed(edges))):
        wanted = Constraints(private_layers, shapes=shapes)
        alone = min(
            (
                each
                for here, there in product(heres, servers.values())
                for each in plans(here, there, rate_bps, wanted).values()
            ),
            key=lambda each: each.latency_ms,
        )
        pieces_ms = alone.head_ms + (alone.rest_ms if alone.return_id else alone.tail_ms)
        more_ms = best_ms(edge, server, rate_bps, wanted) - alone.latency_ms
        assert -1e-9 <= more_ms <= 1e-9 + (0.0 if alone.is_local else share * pieces_ms)


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
