"""The rule for cuts, on hand-written programs: no torch."""

from __future__ import annotations

import pytest

from dnn_offload.graph.cuts import Cut, depths, find_cuts, frontiers, signature
from dnn_offload.graph.program import Instruction
from dnn_offload.tensors import contiguous_strides, TensorSpec


def spec(name, *shape, dtype='float32'):
    return TensorSpec(name, dtype, shape, contiguous_strides(shape))


def call(operator, output, *values, weight=''):
    args = [{'v': value} for value in values] + ([{'w': weight}] if weight else [])
    overload = operator if '.' in operator else f'{operator}.default'
    return Instruction(f'aten.{overload}', tuple(args), {}, (output,))


def cuts_of(instructions, shapes, outputs):
    specs = {name: spec(name, *shape) for name, shape in shapes.items()}
    specs['x'] = spec('x', *shapes['x'], dtype='uint8')
    return find_cuts(instructions, specs, ['x'], outputs)


def test_a_frontier_is_what_is_made_before_and_used_after():
    program = [
        call('conv2d', 'a', 'x', weight='w'),
        call('relu', 'b', 'a'),
        call('conv2d', 'c', 'b', weight='w'),
        call('add.Tensor', 'd', 'c', 'b'),
    ]
    assert frontiers(program, ['x'], ['d', 'a']) == [
        ('x',),
        ('a',),
        ('a', 'b'),
        ('a', 'b', 'c'),
        ('d', 'a'),  # at the end: in the order in which the network returns them
    ]


def test_an_early_output_crosses_every_later_cut():
    program = [call('conv2d', 'a', 'x', weight='w'), call('conv2d', 'b', 'a', weight='w')]
    assert frontiers(program, ['x'], ['a', 'b'])[1:] == [('a',), ('a', 'b')]


def test_cheap_operators_stay_with_their_producer():
    program = [
        call('_to_copy', 'f', 'x'),
        call('conv2d', 'a', 'f', weight='w'),
        call('relu', 'b', 'a'),
        call('permute', 'c', 'b'),
        call('conv2d', 'd', 'c', weight='w'),
    ]
    shapes = dict(x=(1, 8, 8, 3), f=(1, 8, 8, 3), a=(1, 8), b=(1, 8), c=(1, 8), d=(1, 2))
    cuts = cuts_of(program, shapes, ['d'])
    assert [cut.position for cut in cuts] == [0, 4, 5]
    assert [cut.label for cut in cuts] == ['picture', 'permute', 'all here']


def test_a_cheap_operator_that_grows_its_input_stays_behind_the_cut():
    program = [
        call('conv2d', 'a', 'x', weight='w'),
        call('repeat', 'b', 'a'),
        call('relu', 'c', 'b'),
        call('conv2d', 'd', 'c', weight='w'),
    ]
    shapes = dict(x=(1, 8, 8, 3), a=(1, 4), b=(1, 40), c=(1, 40), d=(1, 2))
    assert [cut.position for cut in cuts_of(program, shapes, ['d'])] == [0, 1, 4]


def test_what_only_converts_the_picture_is_no_cut_unless_it_shrinks_it():
    conv = call('conv2d', 'd', 'b', weight='w')
    program = [call('_to_copy', 'a', 'x'), call('mul.Tensor', 'b', 'a'), conv]
    shapes = dict(x=(1, 8, 8, 3), a=(1, 8, 8, 3), b=(1, 8, 8, 3), d=(1, 2))
    assert [cut.position for cut in cuts_of(program, shapes, ['d'])] == [0, 3]
    shapes |= dict(a=(1, 2, 2, 3), b=(1, 2, 2, 3))
    cuts = cuts_of(program, shapes, ['d'])
    assert [cut.position for cut in cuts] == [0, 2, 3]
    assert [cut.depth for cut in cuts] == [0, 0, 1]


def test_the_last_cut_is_the_outputs_even_if_the_end_grows():
    program = [call('linear', 'a', 'x', weight='w'), call('expand', 'b', 'a')]
    cuts = cuts_of(program, dict(x=(1, 4), a=(1, 2), b=(9, 2)), ['b'])
    assert [cut.position for cut in cuts] == [0, 1, 2]
    assert [s.name for s in cuts[-1].frontier] == ['b']


def test_depth_is_the_shortest_way_and_counts_only_layers_with_weights():
    program = [
        call('conv2d', 'a', 'x', weight='w'),
        call('conv2d', 'b', 'a', weight='w'),
        call('add.Tensor', 'c', 'a', 'b'),
        call('matmul', 'd', 'c', 'a'),
        call('linear', 'e', 'd', weight='w'),
    ]
    assert depths(program, ['x']) == {'x': 0, 'a': 1, 'b': 2, 'c': 1, 'd': 1, 'e': 2}


def test_identity_is_names_dtypes_and_shapes_not_strides():
    one = TensorSpec('a', 'float32', (1, 2, 4), (8, 4, 1))
    assert signature([one]) == signature([TensorSpec('a', 'float32', (1, 2, 4), (8, 1, 2))])
    assert signature([one]) != signature([spec('b', 1, 2, 4)])
    assert signature([one]) != signature([spec('a', 1, 4, 2)])
    assert signature([one]) != signature([spec('a', 1, 2, 4, dtype='float16')])
    assert len(signature([one])) == 12


def test_a_cut_survives_json_and_an_edited_one_is_refused():
    frontier = (spec('a', 1, 2), spec('b', 3))
    cut = Cut(3, signature(frontier), 'conv2d', 2, 7, frontier)
    assert Cut.from_json(cut.to_json()) == cut
    assert cut.nbytes == 20
    edited = cut.to_json()
    edited['frontier'][0]['shape'] = [1, 3]
    with pytest.raises(ValueError, match='identity'):
        Cut.from_json(edited)
