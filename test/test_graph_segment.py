"""Segments: what they take, what they share, what they refuse, and their time stamps."""

from __future__ import annotations

from dataclasses import replace
import threading

import numpy as np
import pytest
import torch
from torch import nn

from dnn_offload.errors import CutError, ModelError
from dnn_offload.graph.program import Instruction
from dnn_offload.graph.segment import resolve, Segment
from graph_models import Branches, exported, picture_of


@pytest.fixture(scope='module')
def made():
    return exported(Branches())


def whole_of(made):
    program, weights = made
    return Segment(program, weights, 0, len(program.cuts) - 1)


def test_specs_are_those_of_its_cuts(made):
    program, weights = made
    segment = Segment(program, weights, 1, 3)
    assert segment.input_specs == program.cuts[1].frontier
    assert segment.output_specs == program.cuts[3].frontier
    assert len(segment.positions) == program.cuts[3].position - program.cuts[1].position


def test_three_pieces_equal_the_whole(made):
    program, weights = made
    last = len(program.cuts) - 1
    picture = picture_of(program)
    (expected,) = whole_of(made)([picture])
    for first in range(1, last):
        for second in range(first + 1, last):
            values = [picture]
            for start, end in ((0, first), (first, second), (second, last)):
                values = Segment(program, weights, start, end)(values)
            assert torch.equal(values[0], expected), (first, second)


@pytest.mark.parametrize(('start', 'end'), [(0, 0), (2, 1), (-1, 1), (0, 999)])
def test_pieces_that_do_not_exist_are_refused(made, start, end):
    with pytest.raises(CutError, match='no such piece'):
        Segment(*made, start, end)


def test_wrong_tensors_are_refused_by_name(made):
    whole = whole_of(made)
    picture = picture_of(made[0])
    with pytest.raises(CutError, match='another number'):
        whole([])
    with pytest.raises(CutError, match="'picture'.*cut 0"):
        whole([picture.float()])
    with pytest.raises(CutError, match='not the one of cut 0'):
        whole([picture[:, :-1]])


def test_strides_are_restored_at_the_entry(made):
    """A sender that knows no memory formats still gets the same bits."""
    program, weights = made
    last = len(program.cuts) - 1
    picture = picture_of(program)
    (expected,) = whole_of(made)([picture])
    changed = 0
    for cut in program.cuts[1:-1]:
        crossing = Segment(program, weights, 0, cut.index)([picture])
        plain = [torch.from_numpy(np.ascontiguousarray(tensor.numpy())) for tensor in crossing]
        changed += any(a.stride() != b.stride() for a, b in zip(plain, crossing, strict=True))
        assert torch.equal(Segment(program, weights, cut.index, last)(plain)[0], expected)
    assert changed > 3


def test_nothing_writes_into_inputs_or_weights(made):
    program, weights = made
    before = {name: tensor.clone() for name, tensor in weights.items()}
    last = len(program.cuts) - 1
    for cut in program.cuts[:-1]:
        values = (
            Segment(program, weights, 0, cut.index)([picture_of(program)])
            if cut.index
            else [picture_of(program)]
        )
        copies = [value.clone() for value in values]
        Segment(program, weights, cut.index, last)(values)
        for value, copy in zip(values, copies, strict=True):
            assert torch.equal(value, copy), cut.label
    for name, tensor in weights.items():
        assert torch.equal(tensor, before[name])


def test_an_activation_does_not_overwrite_what_is_read_again_or_sent():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            x = self.conv(x)
            y = x.relu()
            z = self.conv.weight.sum() + y
            return x, z, z.relu(), y.sigmoid()

    program, weights = exported(Net())
    x, z, z_relu, y_sigmoid = Segment(program, weights, 0, len(program.cuts) - 1)(
        [picture_of(program)]
    )
    assert float(x.min()) < 0
    torch.testing.assert_close(z, weights['conv.weight'].sum() + x.relu())
    assert torch.equal(z_relu, z.relu())
    assert torch.equal(y_sigmoid, x.relu().sigmoid())


def test_stamps_give_the_same_outputs_and_one_time_per_operator(made):
    program, _ = made
    whole = whole_of(made)
    outputs, durations = whole.stamps([picture_of(program)])
    assert torch.equal(outputs[0], whole([picture_of(program)])[0])
    assert len(durations) == len(whole.positions) == len(program.instructions)
    assert all(duration > 0 for duration in durations)


def test_one_segment_serves_several_threads(made):
    whole = whole_of(made)
    picture = picture_of(made[0])
    (expected,) = whole([picture])
    equal = []

    def work():
        torch.set_num_threads(1)
        equal.extend(torch.equal(whole([picture])[0], expected) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 60


def test_values_are_freed_when_they_are_dead(made):
    whole = whole_of(made)
    slots = [None] * len(whole._slots)
    slots[0] = picture_of(made[0])
    most = 0
    with torch.inference_mode():
        for step in whole._steps:
            step.call(slots)
            most = max(most, sum(value is not None for value in slots))
    assert sum(value is not None for value in slots) == 1
    assert most < len(slots) / 3


def test_only_functional_operators_of_the_list_are_resolved():
    assert resolve('aten.conv2d.default') is torch.ops.aten.conv2d.default
    for target in ('aten.relu_.default', 'aten.rand.default', 'aten.empty.memory_format'):
        with pytest.raises(ModelError, match='not on the list'):
            resolve(target)
    with pytest.raises(ModelError, match='lacks an operator'):
        resolve('aten.conv2d.tomorrow')
    with pytest.raises(ModelError, match='lacks an operator'):
        resolve('aten.conv2d._schema')


def test_an_operator_that_fails_is_named(made):
    program, weights = made
    first = program.instructions[0]
    broken = replace(
        program,
        instructions=(
            Instruction(first.target, (first.args[0], [0, 1, 2, 9]), {}, first.outputs),
            *program.instructions[1:],
        ),
    )
    segment = Segment(broken, weights, 0, len(program.cuts) - 1)
    with pytest.raises(ModelError, match='operator of the model fails.*permute'):
        segment([picture_of(program)])


def test_a_missing_weight_is_named(made):
    program, weights = made
    lacking = {name: tensor for name, tensor in weights.items() if 'head' not in name}
    with pytest.raises(ModelError, match='head'):
        Segment(program, lacking, 0, len(program.cuts) - 1)
