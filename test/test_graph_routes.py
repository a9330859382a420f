"""Robot, server, robot, by value, bit for bit: every pair of cuts, any sets of operators."""

from __future__ import annotations

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from dnn_offload.codec import bundle
from dnn_offload.errors import CutError
from dnn_offload.graph.fingerprint import seeded_picture
from dnn_offload.graph.placements import cut_by_frontier, frontier_of, head_and_tail, piece
from dnn_offload.graph.program import Program
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.routes import find_route, Route
from dnn_offload.graph.segment import Segment
from dnn_offload.runtime.backends.torch_backend import TorchModel
from graph_models import (
    Branches,
    exported,
    inputs_of,
    names,
    pieces_of,
    random_nodes,
    RandomDag,
    run_pieces,
)


@pytest.fixture(scope='module')
def model() -> TorchModel:
    return TorchModel(*exported(Branches()))


def travel(model: TorchModel, route: Route, picture: np.ndarray) -> list[np.ndarray]:
    """A frame's way, with what is sent as bytes in both directions."""
    kept = model.run(model.piece(*route.head), [picture])
    values = {spec.name: array for spec, array in zip(route.kept, kept, strict=True)}
    up = bundle.encode([values[s.name] for s in route.sent], route.sent, 'raw')
    there = bundle.decode(up, route.sent, max_bytes=1 << 20)
    back = model.run(model.piece(*route.middle), there)
    down = bundle.encode(back, route.returned, 'raw')
    here = bundle.decode(down, route.returned, max_bytes=1 << 20)
    if route.rest is None:
        return here
    values |= {spec.name: array for spec, array in zip(route.returned, here, strict=True)}
    return model.run(model.piece(*route.rest), [values[name] for name in route.rest.inputs])


def test_every_pair_of_cuts_gives_what_the_whole_gives(model: TorchModel) -> None:
    picture = seeded_picture(*model.program.input.shape[1:3])
    last = len(model.cuts) - 1
    whole = model.run(model.segment(0, last), [picture])
    pairs = 0
    for first in model.cuts[:-1]:
        kept = model.run(model.segment(0, first.index), [picture]) if first.index else [picture]
        for second in model.cuts[first.index + 1:-1]:
            route = model.route(first.cut_id, second.cut_id, ())
            assert np.array_equal(travel(model, route, picture)[0], whole[0]), (first, second)
            rescued = model.run(model.piece(*route.tail), kept)
            assert np.array_equal(rescued[0], whole[0])
            pairs += 1
    assert pairs > 20


def test_a_skip_around_the_server_stays_on_the_robot(model: TorchModel) -> None:
    """The stem's output is read by both branches and by the sum after them."""
    first = next(c for c in model.cuts if c.index > 0 and len(c.frontier) == 1)
    second = next(c for c in model.cuts[first.index + 1:] if len(c.frontier) >= 2)
    route = model.route(first.cut_id, second.cut_id, ())
    (stem,) = (spec.name for spec in first.frontier)
    assert stem in {spec.name for spec in second.frontier}
    assert stem in route.rest.inputs
    assert stem not in {spec.name for spec in route.returned}


def test_what_only_the_rest_reads_is_not_sent(model: TorchModel) -> None:
    found = 0
    for first in model.cuts[:-1]:
        for second in model.cuts[first.index + 1:-1]:
            route = model.route(first.cut_id, second.cut_id, ())
            assert {s.name for s in route.sent} <= {s.name for s in route.kept}
            found += len(route.sent) < len(route.kept)
    assert found > 0


def test_a_cut_by_values_that_no_position_has(model: TorchModel) -> None:
    """One branch here, its sister there: the picture's stem crosses with one branch's end."""
    listed = [{s.name for s in cut.frontier} for cut in model.cuts]
    program = model.program
    picture = seeded_picture(*program.input.shape[1:3])
    whole = model.run(model.segment(0, len(model.cuts) - 1), [picture])
    made = 0
    for a in program.values:
        for b in program.values:
            names = {a.name, b.name}
            if len(names) < 2 or names in listed:
                continue
            try:
                route = find_route(program, names)
            except CutError:
                continue
            assert route.rest is None
            assert np.array_equal(travel(model, route, picture)[0], whole[0]), names
            made += 1
    assert made > 0


def test_no_way_is_refused(model: TorchModel) -> None:
    cuts = model.cuts
    for first, second in ((2, 2), (3, 1)):
        with pytest.raises(CutError):
            model.route(cuts[first].cut_id, cuts[second].cut_id, ())
    with pytest.raises(CutError, match='no such'):
        model.route('ffffffffffff', cuts[2].cut_id, ())
    with pytest.raises(CutError, match='no such value'):
        model.route('', '', ('nothing',))


def test_depth_is_that_of_what_is_sent(model: TorchModel) -> None:
    first, second = model.cuts[1], model.cuts[-2]
    assert model.route(first.cut_id, second.cut_id, ()).depth == first.depth
    assert model.route(model.cuts[0].cut_id, second.cut_id, ()).depth == 0


def test_routes_are_kept_and_bounded(model: TorchModel) -> None:
    one = model.route(model.cuts[1].cut_id, model.cuts[3].cut_id, ())
    assert model.route(model.cuts[1].cut_id, model.cuts[3].cut_id, ()) is one


def closed(program: Program, seeds: list[int]) -> set[int]:
    """The seeds (modulo the length of the program) and all that they need."""
    inside: set[int] = set()
    todo = [seed % len(program.instructions) for seed in seeds]
    while todo:
        position = todo.pop()
        inside.add(position)
        read = program.instructions[position].values()
        todo += [program.makers[name] for name in read if name in program.makers]
    return inside


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    nodes=random_nodes(8),
    sets=st.lists(
        st.tuples(*[st.lists(st.integers(0, 99), max_size=3)] * 2), min_size=4, max_size=4
    ),
)
def test_any_closed_set_of_any_network_runs_in_two_and_three_pieces(nodes, sets):
    module = RandomDag(nodes, 3).eval()
    fill(module)
    program, weights = exported(module, size=(8, 12))
    inputs = inputs_of(program)
    whole = Segment(program, weights, 0, len(program.cuts) - 1)(inputs)
    for first, second in sets:
        start = closed(program, first)
        stop = start | closed(program, second)
        first_names, back = frontier_of(program, start), frontier_of(program, stop)
        cut = cut_by_frontier(program, first_names)
        assert sorted(names(cut.frontier)) == sorted(first_names)
        runs = [head_and_tail(program, cut)]
        made = {name for at in stop - start for name in program.instructions[at].outputs}
        if made.intersection(back):
            route = find_route(program, first_names, back)
            rest = route.rest.inputs if route.rest is not None else ()
            assert set(names(route.kept)) == set(first_names) == set(route.head.outputs)
            assert set(names(route.returned)) == made.intersection(back)
            assert set(first_names) <= {*names(route.sent), *rest}
            runs.append(pieces_of(program, route))
            runs.append([piece(program, *ends) for ends in (route.head, route.tail)])
        else:
            with pytest.raises(CutError, match='nothing is left for the server'):
                find_route(program, first_names, back)
        try:  # whether or not the second set holds the first one
            route = find_route(program, first_names, frontier_of(program, closed(program, second)))
        except CutError as error:
            assert 'nothing is left for the server' in str(error)
        else:
            runs.append(pieces_of(program, route))
        for pieces in runs:
            outputs = run_pieces(program, weights, inputs, pieces)
            for ours, theirs in zip(outputs, whole, strict=True):
                assert torch.equal(ours, theirs), [list(p.positions) for p in pieces]


def test_a_loaded_model_runs_pieces_by_name():
    nodes = [('conv', 0, 0), ('pool', 0, 0), ('cat', 1, 2), ('add', 3, 0)]
    module = RandomDag(nodes, 4).eval()
    fill(module)
    program, weights = exported(module, size=(16, 16))
    model = TorchModel(program, weights)
    picture = [tensor.numpy() for tensor in inputs_of(program)]
    expected = model.run(model.segment(0, len(model.cuts) - 1), picture)

    route = model.route(model.cuts[2].cut_id, model.cuts[3].cut_id, ())
    head, server = model.piece(*route.head), model.piece(*route.middle)
    known = dict(zip(route.head.outputs, model.run(head, picture), strict=True))
    made = model.run(server, [known[name] for name in route.middle.inputs])
    known |= zip(route.middle.outputs, made, strict=True)
    rest = model.piece(*route.rest)
    answer = model.run(rest, [known[spec.name] for spec in rest.input_specs])

    np.testing.assert_array_equal(answer[0], expected[0])
    assert model.piece(*route.middle) is server
    with pytest.raises(CutError, match='no such value'):
        model.piece(('picture',), ('nonsense',))
