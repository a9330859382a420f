"""What cannot be exported says which operator, in which layer, and what to do."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.torchvision_compat import import_torchvision

LIBRARY = torch.library.Library('dnn_offload_test', 'DEF')
LIBRARY.define('twice(Tensor x) -> Tensor')
LIBRARY.impl('twice', lambda x: 2 * x, 'CompositeExplicitAutograd')


class Layer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


class Net(nn.Module):
    """The doubtful function two levels deep, in ``block.odd``."""

    def __init__(self, function):
        super().__init__()
        self.block = nn.ModuleDict({'odd': Layer(function)})

    def forward(self, *inputs):
        return self.block['odd'](*(value * 0.5 for value in inputs))


def refused(function, *examples):
    examples = examples or (torch.zeros(1, 3, 8, 8),)
    with pytest.raises(ModelError) as caught:
        export(LoadedModel('test', Net(function).eval(), examples=examples))
    return str(caught.value)


def branch(x):
    return x if x.sum() > 0 else -x


def test_a_tensor_that_is_returned_twice_is_refused():
    class Twice(nn.Module):
        def forward(self, x):
            y = torch.relu(x)
            return y, x + 1.0, y

    loaded = LoadedModel('test', Twice(), examples=(torch.ones(1, 4),), task='tensor')
    with pytest.raises(ModelError, match='returns the same tensor twice.*return each tensor once'):
        export(loaded)


def test_control_flow_on_numbers_names_layer_and_line():
    message = refused(branch)
    assert 'control flow, or a size, depends on the numbers in a tensor in block.odd' in message
    assert 'return x if x.sum() > 0 else -x (test_graph_export_errors.py:' in message
    assert 'torch.where' in message


@pytest.mark.parametrize(
    ('function', 'given', 'hint'),
    [
        (lambda x: torch.fft.rfft(x).abs(), 'aten.fft_rfft.default in block.odd',
         'propose the operator'),
        (torch.rand_like, 'aten.rand_like.default in block.odd', 'random numbers.*eval'),
        (lambda x: torch.ops.dnn_offload_test.twice(x),
         'dnn_offload_test.twice.default in block.odd', 'custom.*let the model end before it'),
        (lambda x: x[x > 0], 'aten.index.Tensor in block.odd', 'size depends.*topk'),
        (lambda x: x.nonzero(), 'aten.nonzero.default in block.odd', 'topk'),
        (lambda x: x * x.sum().item(), 'aten.item.default in block.odd', 'number in a tensor'),
        (lambda x: torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,)),
         'cond in block.odd', 'choose by torch.where'),
        (lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1),
         'aten.scaled_dot_product_attention.default in block.odd', 'dropout=0'),
        (lambda x: nn.functional.dropout(x, 0.5, True),
         'aten.native_dropout.default in block.odd', 'random numbers.*eval'),
    ],
)  # fmt: skip
def test_operators_that_a_program_cannot_express(function, given, hint):
    message = refused(function)
    assert given in message
    assert re.search(hint, message, re.DOTALL), message


def test_suppression_says_how_detectors_end_here():
    nms = import_torchvision().ops.nms
    message = refused(
        lambda boxes, scores: nms(boxes, scores[:, 0], 0.5),
        torch.rand(6, 4),
        torch.rand(6, 1),
    )
    assert 'torchvision.nms.default in block.odd' in message
    assert '(1, K, 6)' in message and 'vision/decode.py' in message


def test_code_that_leaves_torch_is_shown():
    message = refused(lambda x: torch.from_numpy(x.numpy() + 1.0))
    assert 'torch.export cannot export test: ' in message
    assert 'in block.odd' in message
    assert 'x.numpy() + 1.0' in message
    assert 'torch operators only' in message


def test_an_input_that_is_not_used_is_named():
    module = Layer(lambda x, y: x + 1)
    with pytest.raises(ModelError, match='does not use one of its inputs; given: inputs_1'):
        export(LoadedModel('test', module, examples=(torch.zeros(2), torch.zeros(3))))


def test_a_like_operator_of_a_number_in_a_tensor_is_not_taken_for_a_constant():
    """``triu`` moves numbers, ``zeros_like`` looks at the shape only."""

    class Keep(nn.Module):
        def forward(self, x):
            return x.triu() + torch.zeros_like(x)

    program, weights = export(LoadedModel('test', Keep(), examples=(torch.zeros(3, 3),)))
    assert [i.target for i in program.instructions] == ['aten.triu.default', 'aten.add.Tensor']
    assert sum(float(tensor.abs().sum()) for tensor in weights.values()) == 0.0
