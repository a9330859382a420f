"""Weights on disk: layout, alignment, and files that do not belong."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph.weights import (
    ALIGNMENT,
    describe,
    lay_out,
    load_weights,
    save_weights,
)
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from graph_models import exported


@pytest.fixture(scope='module')
def made():
    return exported(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 1), nn.Conv2d(7, 1, 3)))


def test_weights_come_back_bit_for_bit_with_their_layout(made, tmp_path):
    program, weights = made
    save_weights(tmp_path, weights)
    again = load_weights(tmp_path, program)
    assert again.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(again[name], tensor)
        assert again[name].stride() == tensor.stride(), name
        assert again[name].data_ptr() % ALIGNMENT == 0, name
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS_FILE]


def test_convolutions_are_channels_last_and_every_dtype_is_kept(tmp_path):
    weights = {
        'conv': lay_out(torch.rand(4, 3, 2, 2), convolution=True),
        'one': lay_out(torch.rand(4, 3, 1, 1), convolution=True),
        'deep': lay_out(torch.rand(4, 1, 3, 3), convolution=True),
        'matrix': lay_out(torch.rand(5, 3).t(), convolution=False),
        'scalar': torch.tensor(2.5),
        'index': torch.arange(7),
        'mask': torch.tensor([True, False, True]),
        'half': torch.rand(3).half(),
        'none': torch.zeros(0, 3),
    }
    assert weights['conv'].stride() == (12, 1, 6, 3)
    assert weights['one'].stride() == (3, 1, 3, 3)
    save_weights(tmp_path, weights)
    plain = load_file(tmp_path / WEIGHTS_FILE)  # any reader of the format can read it
    assert {name for name in plain if not name.startswith('padding.')} == set(weights)
    assert plain['index'].tolist() == list(range(7))
    assert {spec.name: spec.channels_last for spec in describe(weights)} == {
        name: name in ('conv', 'one', 'deep') for name in weights
    }


def test_a_loaded_file_survives_its_replacement(made, tmp_path):
    program, weights = made
    save_weights(tmp_path, weights)
    mapped = load_weights(tmp_path, program)
    save_weights(tmp_path, {name: tensor + 1 for name, tensor in weights.items()})
    assert all(torch.equal(mapped[name], weights[name]) for name in weights)


def test_files_that_do_not_belong_are_refused_by_name(made, tmp_path):
    program, weights = made
    with pytest.raises(ModelError, match='cannot read'):
        load_weights(tmp_path, program)
    (tmp_path / WEIGHTS_FILE).write_bytes(b'\x00' * 100)
    with pytest.raises(ModelError, match='cannot read'):
        load_weights(tmp_path, program)
    (tmp_path / WEIGHTS_FILE).write_bytes((1 << 60).to_bytes(8, 'little') + b'{}')
    with pytest.raises(ModelError, match='cannot read'):
        load_weights(tmp_path, program)
    save_file({'0.weight': torch.zeros(2)}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"lacks a weight|'0.weight'.*does not fit"):
        load_weights(tmp_path, program)
    save_weights(tmp_path, {name: tensor.double() for name, tensor in weights.items()})
    with pytest.raises(ModelError, match='does not fit the program'):
        load_weights(tmp_path, program)
