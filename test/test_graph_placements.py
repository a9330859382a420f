"""Pieces by names: frontiers that no position has, values kept by value, clear refusals."""

from __future__ import annotations

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from dnn_offload.errors import CutError
from dnn_offload.graph.cuts import find_cuts, signature
from dnn_offload.graph.placements import (
    cut_by_frontier,
    frontier_of,
    head_and_tail,
    head_of,
    round_trip,
)
from dnn_offload.graph.program import Instruction, Program, WeightSpec
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.segment import Segment
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.tensors import contiguous_strides, TensorSpec
from graph_models import exported, inputs_of, random_nodes, RandomDag, run_pieces


def call(operator, output, *values, weight=''):
    args = [{'v': value} for value in values] + ([{'w': weight}] if weight else [])
    return Instruction(f'aten.{operator}', tuple(args), {}, (output,), f'layer_{output}')


def program_of(instructions, shapes, outputs, inputs=('x',)):
    """A program without torch; all weights are 4 x 4."""
    specs = {
        name: TensorSpec(name, 'float32', shape, contiguous_strides(shape))
        for name, shape in shapes.items()
    }
    weights = sorted({name for i in instructions for name in i.weights()})
    return Program(
        source='test',
        identity='0' * 32,
        inputs=tuple(specs[name] for name in inputs),
        values=tuple(specs.values()),
        outputs=tuple(specs[name] for name in outputs),
        instructions=tuple(instructions),
        cuts=find_cuts(instructions, specs, inputs, outputs),
        weights=tuple(WeightSpec(name, 'float32', (4, 4)) for name in weights),
        preprocess={},
        task='tensor',
        class_names=(),
        stamp='',
        fingerprint=(),
    )


@pytest.fixture
def inception():
    """Stem s, branches l (two layers) and r, both and a skip into y."""
    instructions = [
        call('linear.default', 's', 'x', weight='ws'),
        call('linear.default', 'l1', 's', weight='wl1'),
        call('linear.default', 'r', 's', weight='wr'),
        call('linear.default', 'l2', 'l1', weight='wl2'),
        call('cat.default', 'c', 'l2', 'r'),
        call('linear.default', 'y', 'c', weight='wy'),
    ]
    instructions[4] = Instruction('aten.cat.default', ([{'v': 'l2'}, {'v': 'r'}],), {}, ('c',))
    shapes = dict(x=(1, 4), s=(1, 4), l1=(1, 4), r=(1, 4), l2=(1, 4), c=(1, 8), y=(1, 2))
    made = program_of(instructions, shapes, ['y'])
    made.check()
    return made


def test_a_position_found_by_its_frontier_is_that_cut(inception):
    for cut in inception.cuts:
        names = [spec.name for spec in cut.frontier]
        assert cut_by_frontier(inception, reversed(names)) is cut


def test_one_branch_here_and_its_sister_there(inception):
    cut = cut_by_frontier(inception, ['l2', 's'])
    assert (cut.index, cut.position, cut.depth) == (-1, -1, 1)
    assert [spec.name for spec in cut.frontier] == ['s', 'l2']  # in order of computation
    assert cut.cut_id == signature(cut.frontier)
    assert cut.label == 'layer_s/linear + layer_l2/linear'
    assert cut.nbytes == 32
    head, tail = head_and_tail(inception, cut)
    assert list(head.positions) == [0, 1, 3]
    assert list(tail.positions) == [2, 4, 5]
    assert frontier_of(inception, {0, 1, 3}) == ('s', 'l2')


def test_the_tail_may_compute_from_the_input_again(inception):
    """The stem runs on both sides: legal, and sometimes cheaper than sending its result."""
    cut = cut_by_frontier(inception, ['x', 'l2'])
    assert [list(p.positions) for p in head_and_tail(inception, cut)] == [[0, 1, 3], [0, 2, 4, 5]]


@pytest.mark.parametrize(
    ('names', 'text'),
    [
        (['l2'], "needs the input 'x', which it is not given.*given: l2"),
        (['nonsense'], 'no such value; given: nonsense'),
        (['s', 's'], 'names a value twice'),
        ([], 'at least one value'),
        (['s', 'l1', 'y'], 'nothing after the cut needs; given: s, l1'),
        (['l2', 'r', 'c'], 'nothing after the cut needs; given: r, l2'),
    ],
)
def test_frontiers_that_make_no_sense_are_refused(inception, names, text):
    with pytest.raises(CutError, match=text):
        cut_by_frontier(inception, names)


def test_a_set_that_is_not_closed_is_refused(inception):
    with pytest.raises(CutError, match='a value that the server makes; given: l1 for layer_l2'):
        frontier_of(inception, {0, 3})


def test_skips_are_kept_and_not_sent(inception):
    """After l1 the server computes l2 only; r is computed here and waits."""
    trip = round_trip(inception, ['l1', 'r'], ['l2', 'r'])
    assert (trip.up, trip.down, trip.kept) == (('l1',), ('l2',), ('r',))
    assert [list(p.positions) for p in (trip.head, trip.server, trip.rest)] == [
        [0, 1, 2], [3], [4, 5],
    ]  # fmt: skip
    assert [spec.name for spec in trip.head.outputs] == ['l1', 'r']
    assert [spec.name for spec in trip.rest.inputs] == ['r', 'l2']


def test_a_value_may_be_sent_and_kept(inception):
    trip = round_trip(inception, ['s'], ['s', 'l2'])
    assert (trip.up, trip.down, trip.kept) == (('s',), ('l2',), ('s',))
    assert list(trip.rest.positions) == [2, 4, 5]
    assert [spec.name for spec in trip.head.outputs] == ['s']


def test_the_server_may_run_to_the_end(inception):
    trip = round_trip(inception, ['l1', 'r'], ['y'])
    assert (trip.up, trip.down, trip.kept) == (('l1', 'r'), ('y',), ())
    assert list(trip.rest.positions) == []


def test_round_trips_that_make_no_sense_are_refused(inception):
    with pytest.raises(CutError, match='nothing is left for the server'):
        round_trip(inception, ['l2', 'r'], ['l2', 'r'])
    with pytest.raises(CutError, match='neither on the server nor afterwards; given: r'):
        round_trip(inception, ['l1', 'r', 's'], ['s', 'l2'])
    with pytest.raises(CutError, match="needs the input 'x'"):
        round_trip(inception, ['l1'], ['l2', 'r'])


def test_several_inputs_go_where_they_are_needed():
    instructions = [
        call('linear.default', 'p', 'a', weight='wa'),
        call('linear.default', 'q', 'b', weight='wb'),
        call('add.Tensor', 'y', 'p', 'q'),
    ]
    program = program_of(
        instructions, dict(a=(1, 4), b=(1, 4), p=(1, 4), q=(1, 4), y=(1, 4)), ['y'], ('a', 'b')
    )
    program.check()
    assert not program.takes_picture
    assert [spec.name for spec in program.cuts[0].frontier] == ['a', 'b']
    assert program.cuts[0].label == 'inputs'
    cut = cut_by_frontier(program, ['b', 'p'])
    head, tail = head_and_tail(program, cut)
    assert ([s.name for s in head.inputs], list(tail.positions)) == (['a', 'b'], [1, 2])
    assert [spec.name for spec in head_of(program, ['q']).inputs] == ['b']


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
        names, back = frontier_of(program, start), frontier_of(program, stop)
        cut = cut_by_frontier(program, names)
        assert sorted(spec.name for spec in cut.frontier) == sorted(names)
        runs = [head_and_tail(program, cut)]
        made = {name for at in stop - start for name in program.instructions[at].outputs}
        if made.intersection(back):
            trip = round_trip(program, names, back)
            assert not set(trip.down) & set(trip.kept)
            assert set(names) <= {*trip.up, *trip.kept}
            assert set(trip.down) == made.intersection(back)
            runs.append((trip.head, trip.server, trip.rest))
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

    trip = round_trip(
        program,
        [spec.name for spec in program.cuts[2].frontier],
        [spec.name for spec in program.cuts[3].frontier],
    )
    outputs = tuple(spec.name for spec in program.outputs)
    sent = tuple(dict.fromkeys((*trip.up, *trip.kept)))
    head = model.piece(('picture',), sent)
    known = dict(zip(sent, model.run(head, picture), strict=True))
    server = model.piece(trip.up, trip.down)
    known |= zip(trip.down, model.run(server, [known[n] for n in trip.up]), strict=True)
    rest = model.piece((*trip.kept, *trip.down), outputs)
    answer = model.run(rest, [known[spec.name] for spec in rest.input_specs])

    np.testing.assert_array_equal(answer[0], expected[0])
    assert model.piece(trip.up, trip.down) is server
    with pytest.raises(CutError, match='no such value'):
        model.piece(('picture',), ('nonsense',))


def test_gaps_and_repeats_of_memory_are_restored():
    """A frontier by names may hold slices and expanded axes; their strides are part of it."""

    class Net(torch.nn.Module):
        def forward(self, x):
            a, b = x.softmax(1).chunk(2, 3)
            wide = b.mean(3, keepdim=True).expand_as(b)
            return (a.softmax(3) * wide.cumsum(2)).sum(1)

    program, weights = exported(Net())
    gappy = [
        spec.name
        for spec in program.values
        if any(s == 0 and n > 1 for s, n in zip(spec.strides, spec.shape, strict=True))
    ]
    assert len(gappy) == 1
    inputs = inputs_of(program)
    whole = Segment(program, weights, 0, len(program.cuts) - 1)(inputs)
    names = [gappy[0], next(s.name for s in program.values if s.name.startswith('getitem'))]
    head, tail = head_and_tail(program, cut_by_frontier(program, names))
    (outputs,) = run_pieces(program, weights, inputs, (head, tail))
    assert torch.equal(outputs, whole[0])
    # A sender that knows no such strides: they are put back at the entry.
    crossing = Segment.of(program, weights, head)(inputs)
    plain = [torch.from_numpy(np.ascontiguousarray(tensor.numpy())) for tensor in crossing]
    assert torch.equal(Segment.of(program, weights, tail)(plain)[0], whole[0])
