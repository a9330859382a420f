"""Networks of every kind, small: exported, cut everywhere, and equal to what torch computes."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from benchmarks import zoo_networks
from dnn_offload.graph import fingerprint
from dnn_offload.graph.export import export, Normalised
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.program import Program
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.routes import find_route
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.graph.weights import Weights
from graph_models import check_every_cut, inputs_of, pieces_of, run_pieces, through_disk

# Name: (input size, every how manieth cut is run, cuts at least).
TORCHVISION = {
    'lraspp_mobilenet_v3_large': ((32, 48), 10, 70),
    'r3d_18': ((16, 16), 7, 20),
    'mnasnet0_5': ((48, 32), 13, 50),
}


pytestmark = pytest.mark.usefixtures('one_thread')


class LeNet(nn.Module):
    """As thousands of tutorials have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.linear = nn.Linear(16 * 5 * 5, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        assert x.is_contiguous()
        return self.linear(x.view(x.size(0), -1))


class Shuffled(nn.Module):
    """Channels are shuffled by views, as in ShuffleNet's paper."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        b, c, h, w = x.shape
        x = x.view(b, 2, 4, h, w).transpose(1, 2).reshape(b, c, h, w)
        return x.view(b, c, -1).mean(2)


def eager(loaded: LoadedModel, program: Program) -> list[torch.Tensor]:
    module = loaded.module
    if loaded.takes_picture:
        module = Normalised(module, loaded.mean, loaded.std, 3 if loaded.frames else 2).eval()
    with torch.inference_mode():
        made = module(*inputs_of(program))
    if isinstance(made, torch.Tensor):
        return [made]
    return list(made.values() if isinstance(made, dict) else made)


def check_like_eager(loaded: LoadedModel, program: Program, whole: list[torch.Tensor]) -> None:
    expected = eager(loaded, program)
    assert len(whole) == len(expected)
    for ours, theirs in zip(whole, expected, strict=True):
        scale = float(theirs.abs().max())
        assert 0.0 < scale < float('inf')
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * scale)
    if fingerprint.sampled_cut(program) == len(program.cuts) - 1:  # else: test_graph_outputs.py
        sampled = fingerprint.sample([t.numpy() for t in whole])
        assert fingerprint.agree(sampled, program.fingerprint)


def check_three_pieces(program: Program, weights: Weights, whole: list[torch.Tensor]) -> None:
    generator = random.Random(0)
    for _ in range(3):
        first, second = sorted(generator.sample(range(len(program.cuts)), 2))
        frontiers = [[s.name for s in program.cuts[i].frontier] for i in (first, second)]
        route = find_route(program, *frontiers)
        pieces = pieces_of(program, route)
        outputs = run_pieces(program, weights, inputs_of(program), pieces)
        for ours, theirs in zip(outputs, whole, strict=True):
            assert torch.equal(ours, theirs), (first, second)


@pytest.mark.parametrize('name', TORCHVISION)
def test_networks_of_torchvision(name):
    size, step, cuts = TORCHVISION[name]
    loaded = resolve(f'torchvision:{name}', weights='random', input_size=size)
    program, weights = export(loaded)
    assert len(program.cuts) >= cuts
    whole = check_every_cut(program, weights, step)
    check_three_pieces(program, weights, whole)
    check_like_eager(loaded, program, whole)


@pytest.mark.parametrize(
    'name',
    'transformer encoder_decoder lstm gru rnn picture_and_state two_outputs '
    'shared_weights'.split(),
)
def test_networks_of_our_own(name, tmp_path):
    torch.manual_seed(0)
    loaded = getattr(zoo_networks, name)()
    program, weights = through_disk(loaded, tmp_path)
    whole = check_every_cut(program, weights)
    check_three_pieces(program, weights, whole)
    check_like_eager(loaded, program, whole)
    assert not any('dropout' in instruction.target for instruction in program.instructions)


@pytest.mark.parametrize('network', [LeNet, Shuffled])
def test_what_is_written_for_tensors_in_row_major_order(network):
    torch.manual_seed(0)
    loaded = LoadedModel('test', network().eval(), 32, 32)
    program, weights = export(loaded)
    whole = check_every_cut(program, weights)
    check_three_pieces(program, weights, whole)
    check_like_eager(loaded, program, whole)
    convolutions = [item for item in program.instructions if 'conv' in item.target]
    made = [program.specs[item.outputs[0]] for item in convolutions]
    assert {spec.strides[1] for spec in made} == {1}, 'it runs channels_last'
    assert not any('clone' in instruction.target for instruction in program.instructions[:4])


@pytest.mark.parametrize(
    'norm',
    [
        nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal, nn.utils.weight_norm, nn.utils.spectral_norm,
    ],
)
@pytest.mark.filterwarnings('ignore')  # the last two are old
def test_weights_that_are_computed_at_every_call(norm):
    torch.manual_seed(0)
    network = nn.Sequential(norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    before = network(torch.ones(1, 3, 8, 8)).detach()
    loaded = LoadedModel('test', network, 8, 8)
    program, weights = export(loaded)
    torch.testing.assert_close(network(torch.ones(1, 3, 8, 8)).detach(), before)
    whole = check_every_cut(program, weights)
    check_like_eager(loaded, program, whole)
    assert sorted(spec.shape for spec in program.weights if len(spec.shape) == 4)[0][1] in (3, 4)


class AddsInPlace(nn.Module):
    """Adds to a part of a tensor where it is, as mvit_v2 does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = self.first(rows)
        rows[:, 1:, :] += rows[:, :1, :]
        return self.second(rows)


def test_what_is_added_in_place():
    torch.manual_seed(0)
    loaded = LoadedModel(
        'test', AddsInPlace().eval(), examples=(torch.randn(1, 4, 6),), task='tensor'
    )
    program, weights = export(loaded)
    whole = check_every_cut(program, weights)
    check_three_pieces(program, weights, whole)
    check_like_eager(loaded, program, whole)


def test_positions_of_a_vision_transformer_are_of_the_size_that_it_sees():
    for size, tokens in (((64, 64), 4 * 4 + 1), (None, 14 * 14 + 1)):
        loaded = resolve('torchvision:vit_b_16', weights='random', input_size=size)
        assert loaded.module.encoder.pos_embedding.shape == (1, tokens, 768)
        assert loaded.height == loaded.module.image_size


def test_a_vision_transformer():
    models = import_torchvision().models
    vit = models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    fill(vit)
    loaded = LoadedModel('test', vit.eval(), 32, 32)
    program, weights = export(loaded)
    whole = check_every_cut(program, weights)
    check_three_pieces(program, weights, whole)
    check_like_eager(loaded, program, whole)


def test_kinds_of_inputs_are_told_apart():
    sees = export(zoo_networks.picture_and_state())[0]
    assert [(spec.name, spec.dtype) for spec in sees.inputs] == [
        ('picture', 'uint8'),
        ('others_0', 'float32'),
    ]
    assert not sees.takes_picture
    reads = export(zoo_networks.transformer())[0]
    assert (reads.input.name, reads.input.dtype, reads.preprocess) == ('tokens', 'int64', {})
    assert (reads.cuts[0].label, reads.task) == ('inputs', 'classification')


def test_shared_weights_are_stored_once():
    loaded = zoo_networks.shared_weights()
    program, weights = export(loaded)
    parameters = sum(p.numel() for p in loaded.module.parameters())
    assert sum(tensor.numel() for tensor in weights.values()) == parameters
    assert sum(spec.nbytes for spec in program.weights) == 4 * parameters


def test_random_weights_keep_what_is_shared_and_reach_recurrent_layers():
    tied = zoo_networks.Tied()
    fill(tied)
    assert tied.head.weight is tied.embedding.weight
    recurrent = zoo_networks.Recurrent(nn.LSTM).eval()
    x = torch.ones(1, 4, 12)
    before = recurrent(x)
    fill(recurrent)
    assert not torch.equal(recurrent(x), before)


def test_a_stack_of_recurrent_layers_is_one_operator_per_level():
    program, _ = export(zoo_networks.lstm())
    levels = [i for i in program.instructions if i.target == 'aten.lstm.input']
    assert [level.module for level in levels] == ['memory', 'memory']
    for level in levels:
        assert [bool(name) for name in level.outputs] == [True, False, False]
        assert len(list(level.weights())) == 8 + 2  # both ways; two states of zeros
    assert {1, 2, 3, 4} <= {cut.depth for cut in program.cuts}


@pytest.mark.parametrize('kind', [nn.LSTM, nn.GRU, nn.RNN])
def test_states_of_recurrent_layers_go_in_and_come_out(kind):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = kind(5, 7, num_layers=3, bidirectional=True, bias=False)

        def forward(self, x, *states):
            y, final = self.memory(x, states if len(states) > 1 else states[0])
            return y.relu(), final

    torch.manual_seed(0)
    states = [torch.zeros(6, 2, 7)] * (2 if kind is nn.LSTM else 1)
    net = Net().eval()
    loaded = LoadedModel('test', net, examples=(torch.zeros(4, 2, 5), *states))
    program, weights = export(loaded)
    whole = check_every_cut(program, weights)
    with torch.inference_mode():
        y, final = net(*inputs_of(program))
    expected = [y, *(final if isinstance(final, tuple) else [final])]
    for ours, theirs in zip(whole, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_final_state_may_be_wanted():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = nn.LSTM(5, 7, num_layers=2, proj_size=3)

        def forward(self, x):
            return self.memory(x)[1][0]

    torch.manual_seed(0)
    net = Net().eval()
    program, weights = export(LoadedModel('test', net, examples=(torch.zeros(4, 2, 5),)))
    (final,) = check_every_cut(program, weights)
    with torch.inference_mode():
        assert torch.equal(final, net(*inputs_of(program)))


def test_clips_are_normalised_frame_by_frame():
    loaded = resolve('torchvision:r3d_18', weights='random', input_size=(16, 16))
    assert (loaded.frames, len(loaded.class_names)) == (16, 400)
    assert loaded.mean == pytest.approx((0.43216, 0.394666, 0.37645))
    clip = torch.randint(0, 256, (1, 16, 16, 16, 3), dtype=torch.uint8)
    wrapped = Normalised(nn.Identity(), loaded.mean, loaded.std, 3)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (loaded.mean, loaded.std))
    frame = (clip[0, 5].permute(2, 0, 1) / 255.0 - mean) / std
    torch.testing.assert_close(wrapped(clip)[0, :, 5], frame, rtol=1e-5, atol=1e-5)


def test_segmentation_gives_a_class_for_each_pixel():
    loaded = resolve(
        'torchvision:lraspp_mobilenet_v3_large', weights='random', input_size=(32, 48)
    )
    assert (loaded.task, loaded.preprocess['mode'], len(loaded.class_names)) == (
        'segmentation', 'stretch', 21,
    )  # fmt: skip
    mask = loaded.module(torch.rand(1, 3, 32, 48))
    assert (mask.shape, mask.dtype) == ((1, 32, 48), torch.uint8)
    with torch.no_grad():
        scores = loaded.module.module(torch.ones(1, 3, 32, 48))['out']
        assert torch.equal(loaded.module(torch.ones(1, 3, 32, 48)), scores.argmax(1))
