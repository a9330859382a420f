"""Export of small modules: folding, constants, in-place code, odd outputs, and random DAGs."""

from __future__ import annotations

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph.export import export, identity_of, Normalised
from dnn_offload.graph.operators import base_name
from dnn_offload.graph.random_weights import fill
from graph_models import (
    Branches,
    check_every_cut,
    exported,
    loaded,
    picture_of,
    random_nodes,
    RandomDag,
)


def names(program):
    return [base_name(instruction.target) for instruction in program.instructions]


def eager(module, program, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    with torch.inference_mode():
        return Normalised(module, mean, std).eval()(picture_of(program))


def test_branches_are_folded_and_equal_at_every_cut():
    module = Branches()
    fill(module)
    program, weights = exported(module)
    assert 'batch_norm' not in names(program)
    assert 'dropout' not in names(program)
    (output,) = check_every_cut(program, weights)
    torch.testing.assert_close(output, eager(module, program), rtol=1e-4, atol=1e-4)


def test_slices_that_cross_a_cut_are_copied_so_that_they_can_be_sent():
    program, _ = exported(Branches())
    for cut in program.cuts:
        for spec in cut.frontier:
            extents = sorted(
                (s, e) for s, e in zip(spec.strides, spec.shape, strict=True) if e > 1
            )
            step = 1
            for stride, extent in extents:
                assert stride == step, (cut.label, spec)
                step *= extent


def test_batch_norm_without_its_own_convolution_stays():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x  # folding would change the other branch

    module = Net()
    fill(module)
    program, weights = exported(module)
    assert names(program).count('batch_norm') == 1
    (output,) = check_every_cut(program, weights)
    torch.testing.assert_close(output, eager(module, program), rtol=1e-4, atol=1e-4)


def test_a_convolution_shared_by_two_norms_is_folded_twice():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, bias=False)
            self.one, self.two = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.one(self.conv(x)) - self.two(self.conv(x.flip(2)))

    module = Net()
    fill(module)
    program, weights = exported(module)
    assert 'batch_norm' not in names(program)
    (output,) = check_every_cut(program, weights)
    torch.testing.assert_close(output, eager(module, program), rtol=1e-4, atol=1e-4)


def test_constants_are_evaluated_and_several_outputs_kept_in_order():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            early = self.conv(x).sigmoid()
            grid = torch.arange(x.shape[-1], dtype=x.dtype).view(1, 1, 1, -1) / x.shape[-1]
            scores, index = (early * grid + torch.zeros_like(early)).flatten(1).topk(7)
            return {'index': index, 'scores': scores, 'early': early}

    program, weights = exported(Net())
    assert {'arange', 'zeros_like'}.isdisjoint(names(program))
    assert any(weight.name.startswith('constant.') for weight in program.weights)
    assert [spec.dtype for spec in program.outputs] == ['int64', 'float32', 'float32']
    index, scores, early = check_every_cut(program, weights)
    assert scores.shape == index.shape == (1, 7)
    assert early.shape == (1, 4, 32, 48)


def test_cuts_never_stand_between_an_operator_and_its_activation():
    program, _ = exported(Branches())
    for cut in program.cuts[1:-1]:
        following = program.instructions[cut.position]
        previous = program.instructions[cut.position - 1]
        grew = base_name(following.target) in ('add', 'cat', 'slice', 'split', 'clone')
        assert base_name(following.target) not in ('relu', 'hardtanh') or grew, cut.label
        assert previous.outputs


def test_depth_counts_the_shortest_way():
    program, _ = exported(Branches())
    depth = {cut.label: cut.depth for cut in program.cuts}
    assert depth['picture'] == 0
    assert depth['stem.2/relu'] == 1
    assert depth['all here'] == 3  # stem, shared, head: the branches are skipped
    assert all(cut.depth >= 1 for cut in program.cuts[1:])


def test_identity_follows_weights_and_input_only():
    first, second = Branches(), Branches()
    fill(first)
    fill(second)
    assert identity_of(loaded(first)) == identity_of(loaded(second))
    assert identity_of(loaded(first)) != identity_of(loaded(first, size=(32, 32)))
    with torch.no_grad():
        second.head.bias[3] += 1e-6
    assert identity_of(loaded(first)) != identity_of(loaded(second))
    fill(second, seed=1)
    assert identity_of(loaded(first)) != identity_of(loaded(second))


def test_stages_are_reported():
    lines = []
    export(loaded(nn.Conv2d(3, 2, 3)), lines.append)
    assert len(lines) == 4


@pytest.mark.parametrize(
    ('forward', 'text'),
    [
        (lambda x: x if x.sum() > 0 else -x, 'control flow.*depends on the numbers'),
        (lambda x: torch.rand_like(x) + x, 'cannot express'),
        (lambda x: torch.ones(3), 'does not depend on its inputs'),
        (lambda x: torch.fft.rfft(x).abs(), 'cannot express'),
        (lambda x: nn.functional.dropout(x, 0.5, True), 'cannot express'),
        (lambda x: x.to(torch.bfloat16), 'cannot be sent'),
    ],
)
def test_what_cannot_be_exported_is_said_plainly(forward, text):
    class Net(nn.Module):
        def forward(self, x):
            return forward(x)

    with pytest.raises(ModelError, match=text):
        exported(Net())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    nodes=random_nodes(9),
    channels=st.integers(2, 5),
)
def test_any_network_cut_anywhere_equals_the_whole(nodes, channels):
    module = RandomDag(nodes, channels).eval()
    fill(module)
    program, weights = exported(module, size=(16, 24))
    whole = check_every_cut(program, weights)
    expected = eager(module, program)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    assert len(whole) == len(expected)
    for ours, theirs in zip(whole, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    # Cuts are in order and no two send the same tensors.
    assert len({cut.frontier for cut in program.cuts}) == len(program.cuts)
