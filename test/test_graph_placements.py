"""Pieces by names: frontiers that no position has, values kept by value, clear refusals."""

from __future__ import annotations

from dataclasses import replace

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
    piece,
)
from dnn_offload.graph.program import Instruction, Program, WeightSpec
from dnn_offload.graph.routes import find_route
from dnn_offload.graph.segment import Segment
from dnn_offload.tensors import contiguous_strides, TensorSpec
from graph_models import exported, inputs_of, names, pieces_of, run_pieces


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
    route = find_route(inception, ['l1', 'r'], ['l2', 'r'])
    assert (names(route.kept), names(route.sent)) == (('l1', 'r'), ('l1',))
    assert names(route.returned) == ('l2',)
    assert [list(p.positions) for p in pieces_of(inception, route)] == [[0, 1, 2], [3], [4, 5]]
    assert route.head.outputs == names(route.kept)
    assert set(route.rest.inputs) == {'r', 'l2'}
    assert list(piece(inception, *route.tail).positions) == [3, 4, 5]


def test_a_value_may_be_sent_and_kept(inception):
    route = find_route(inception, ['s'], ['s', 'l2'])
    assert [names(specs) for specs in (route.kept, route.sent, route.returned)] == [
        ('s',), ('s',), ('l2',),
    ]  # fmt: skip
    assert route.rest.inputs == ('s', 'l2')
    assert list(piece(inception, *route.rest).positions) == [2, 4, 5]
    assert route.head.outputs == ('s',)


def test_the_server_may_run_to_the_end(inception):
    for second in ([], ['y']):
        route = find_route(inception, ['l1', 'r'], second)
        assert names(route.sent) == names(route.kept) == ('l1', 'r')
        assert names(route.returned) == ('y',)
        assert route.rest is None
        assert list(piece(inception, *route.middle).positions) == [3, 4, 5]


def test_what_nothing_needs_any_more_is_not_made_again(inception):
    """s is in the second frontier for the sake of r, which is here already."""
    route = find_route(inception, ['l1', 'r'], ['s', 'l2'])
    assert (names(route.sent), names(route.returned)) == (('l1',), ('l2',))
    assert list(piece(inception, *route.middle).positions) == [3]


def test_each_side_may_take_a_branch(inception):
    """Neither frontier is after the other: the robot makes l2, the server r."""
    route = find_route(inception, ['s', 'l2'], ['l1', 'r'])
    assert (names(route.sent), names(route.returned)) == (('s',), ('r',))
    assert [list(p.positions) for p in pieces_of(inception, route)] == [[0, 1, 3], [2], [4, 5]]


@pytest.mark.parametrize(
    ('first', 'second', 'text'),
    [
        (['l2', 'r'], ['l2', 'r'], 'nothing is left for the server'),
        (['l2', 'r'], ['s'], 'nothing is left for the server'),
        (['y'], [], 'nothing is left for the server'),
        (['l1', 'r', 's'], ['s', 'l2'], 'nothing after the cut needs; given: s'),
        (['l1'], ['l2', 'r'], "needs the input 'x'"),
        (['s'], ['l2'], "needs the input 'x'"),
        (['s'], ['l1', 'l2', 'r'], 'nothing after the cut needs; given: l1'),
        (['s'], ['nonsense'], 'no such value; given: nonsense'),
        (['s'], ['y', 'y'], 'names a value twice'),
    ],
)
def test_ways_that_make_no_sense_are_refused(inception, first, second, text):
    with pytest.raises(CutError, match=text):
        find_route(inception, first, second)


def test_an_output_made_here_stays_here(inception):
    """The network gives l1 as well. To the outputs as second frontier only y has to travel."""
    both = replace(
        inception,
        outputs=(inception.specs['y'], inception.specs['l1']),
        cuts=find_cuts(inception.instructions, inception.specs, ['x'], ['y', 'l1']),
    )
    both.check()
    route = find_route(both, ['l1', 'r'], ['y', 'l1'])
    assert (names(route.sent), names(route.returned)) == (('l1', 'r'), ('y',))
    route = find_route(both, ['l1', 'l2', 'r'], ['y', 'l1'])
    assert [set(names(specs)) for specs in (route.kept, route.sent, route.returned)] == [
        {'l1', 'l2', 'r'}, {'l2', 'r'}, {'y'},
    ]  # fmt: skip
    assert set(route.rest.inputs) == {'l1', 'y'}
    assert list(piece(both, *route.rest).positions) == []
    assert piece(both, *route.rest).outputs == both.outputs
    # Without a second one the answer is the network's, whole: the server cannot know what is here.
    route = find_route(both, ['l1', 'l2', 'r'])
    assert (set(names(route.sent)), names(route.returned)) == ({'l1', 'l2', 'r'}, ('y', 'l1'))
    assert route.rest is None
    # Both made there: the answer is the network's whatever the order of the names.
    route = find_route(both, ['s'], ['l1', 'y'])
    assert (names(route.returned), route.rest) == (('y', 'l1'), None)


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
    crosses = [gappy[0], next(s.name for s in program.values if s.name.startswith('getitem'))]
    head, tail = head_and_tail(program, cut_by_frontier(program, crosses))
    (outputs,) = run_pieces(program, weights, inputs, (head, tail))
    assert torch.equal(outputs, whole[0])
    # A sender that knows no such strides: they are put back at the entry.
    crossing = Segment.of(program, weights, head)(inputs)
    plain = [torch.from_numpy(np.ascontiguousarray(tensor.numpy())) for tensor in crossing]
    assert torch.equal(Segment.of(program, weights, tail)(plain)[0], whole[0])
