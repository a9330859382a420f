"""Programs as ONNX, run by onnxruntime and openvino: the same numbers as torch at every cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (its usual name)

from backend_parts import INSTALLED, save
from dnn_offload.codec import bundle
from dnn_offload.errors import ModelError
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.program import Program
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.weights import save_weights
from dnn_offload.runtime.backends import compiled as compiled_module
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.compiled import CompiledModel, OnnxProgram
from dnn_offload.runtime.backends.load import deviation, load
from dnn_offload.runtime.backends.torch_backend import TorchModel
from graph_models import exported
import tiny_factory

NETWORKS = ('squeezenet1_1', 'resnet18', 'mobilenet_v2', 'googlenet', 'demo')
# Compiling takes openvino 0.2 s a piece: of networks that it needs more than half a minute for,
# every so many cuts are tried.
SPARSE = {('googlenet', 'openvino'): 4, ('mobilenet_v2', 'openvino'): 2}
PAIRS = 12  # pairs of cuts that are sampled of a network


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_factory.make(), tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module', params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    if name == 'demo':
        return save(resolve('demo:detector'), tmp_path_factory.mktemp(name))
    loaded = resolve(f'torchvision:{name}', weights='random', input_size=(96, 96))
    return save(loaded, tmp_path_factory.mktemp(name))


def travelled(arrays: list[np.ndarray], specs: Any) -> list[np.ndarray]:
    return bundle.decode(bundle.encode(arrays, specs, 'raw'), specs, max_bytes=1 << 26)


@pytest.mark.parametrize('backend', INSTALLED)
def test_every_cut_on_either_side(network: Path, backend: str) -> None:
    """Head and tail compiled, head compiled and tail by torch, and the other way round."""
    said: list[str] = []
    reference = load(network, 'torch')
    other = load(network, backend, log=said.append, wait=True)
    assert isinstance(other, CompiledModel)
    last, tolerance = len(reference.cuts) - 1, names.TOLERANCES[backend]
    inputs = seeded_inputs(reference.program.inputs)
    whole = reference.run(reference.segment(0, last), inputs)

    def compare(found: list[np.ndarray], wanted: list[np.ndarray], where: str) -> None:
        for a, b in zip(found, wanted, strict=True):
            assert deviation(a, b) <= tolerance, where

    compare(other.run(other.segment(0, last), inputs), whole, 'whole')
    step = SPARSE.get((reference.program.source.removeprefix('torchvision:'), backend), 1)
    for cut in reference.cuts[1:-1:step]:
        specs, where = cut.frontier, f'cut {cut.index}, {cut.label}'
        theirs = reference.run(reference.segment(0, cut.index), inputs)
        ours = other.run(other.segment(0, cut.index), inputs)
        compare(ours, theirs, where)
        for spec, array in zip(specs, ours, strict=True):
            assert tuple(s // array.itemsize for s in array.strides) == spec.strides, where
        ours, theirs = travelled(ours, specs), travelled(theirs, specs)
        tail = other.segment(cut.index, last)
        compare(other.run(tail, ours), whole, where)
        compare(other.run(tail, theirs), whole, where)
        compare(reference.run(reference.segment(cut.index, last), ours), whole, where)
        assert tail.failure == '' and not tail.stood_in
    assert not said


@pytest.mark.parametrize('backend', INSTALLED)
def test_pairs_of_cuts(network: Path, backend: str) -> None:
    reference, other = load(network, 'torch'), load(network, backend)
    assert isinstance(other, CompiledModel)
    last = len(reference.cuts) - 1
    inputs = seeded_inputs(reference.program.inputs)
    random = np.random.default_rng(7)
    for _ in range(PAIRS):
        start, end = sorted(int(n) for n in random.choice(last + 1, 2, replace=False))
        given = inputs
        if start:
            given = reference.run(reference.segment(0, start), inputs)
        wanted = reference.run(reference.segment(start, end), given)
        assert other.warm(start, end) == ''
        found = other.run(other.segment(start, end), given)
        for a, b in zip(found, wanted, strict=True):
            assert deviation(a, b) <= names.TOLERANCES[backend], (start, end)


class Apply(torch.nn.Module):
    """A function of the picture's numbers, (1, 3, 32, 48)."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def attention(x: torch.Tensor) -> torch.Tensor:
    rows = x.flatten(1, 2)[:, :, :16].unsqueeze(1)
    return F.scaled_dot_product_attention(rows, 0.5 * rows, rows + 1.0)


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    'hardsigmoid': F.hardsigmoid,
    'hardswish': F.hardswish,
    'silu': F.silu,
    'mish': F.mish,
    'gelu': F.gelu,
    'gelu tanh': lambda x: F.gelu(x, approximate='tanh'),
    'leaky_relu': lambda x: F.leaky_relu(x, 0.2),
    'hardtanh': lambda x: F.hardtanh(x, -0.5, 0.25),
    'relu6': F.relu6,
    'clamp one side': lambda x: torch.clamp(x, min=0.25),
    'clamp_max': lambda x: torch.clamp_max(x, 0.25),
    'tanh, sigmoid, erf': lambda x: torch.erf(torch.tanh(x)) + torch.sigmoid(x),
    'exp, log, sqrt': lambda x: torch.log(torch.exp(x) + 1.0) * torch.sqrt(x.abs()),
    'neg, floor, ceil': lambda x: -torch.floor(3.0 * x) + torch.ceil(x),
    'reciprocal, pow': lambda x: torch.reciprocal(x.abs() + 1.0) + torch.pow(x, 3.0),
    'alpha': lambda x: torch.add(x, x.abs(), alpha=2) - torch.sub(x, 1.0, alpha=3),
    'maximum, minimum': lambda x: torch.maximum(x, -x) / (torch.minimum(x, 2.0 * x) - 9.0),
    'mean': lambda x: x.mean((2, 3)),
    'sum, keepdim': lambda x: x.sum(1, keepdim=True),
    'amax, amin': lambda x: x.amax((2,)) - x.amin((2,)),
    'max of an axis': lambda x: torch.max(x, 2)[0],
    'softmax': lambda x: torch.softmax(x, 1),
    'topk, gather': lambda x: torch.gather(x, 3, torch.topk(x, 5, 3)[1]),
    'layer_norm': lambda x: F.layer_norm(x, (32, 48)),
    'attention': attention,
    'matmul': lambda x: x @ x.transpose(2, 3),
    'transposing': lambda x: x.permute(0, 3, 1, 2).squeeze(0).swapaxes(0, 2) * 2.0,
    'expand': lambda x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1) + 1.0,
    'slices': lambda x: x[:, :, 2:-3:2, 5:] + 1.0,
    'select': lambda x: x[:, 1] - x[:, -1],
    'split': lambda x: torch.cat(torch.split(x, 20, 2)[::-1], 2),
    'chunk': lambda x: torch.chunk(x, 5, 3)[4] + torch.chunk(x, 6, 3)[0],
    'stay apart': lambda x: torch.cat([a.unsqueeze(1) for a in x.split([2, 1], 1)], 2),
    'pad': lambda x: F.pad(x, (1, 2, 3, 0), value=0.5),
    'max_pool2d': lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    'max_pool2d dilated': lambda x: F.max_pool2d(x, (2, 3), 1, 1, 2),
    'max_pool2d unused rows': lambda x: F.max_pool2d(x, 5, 4),
    'avg_pool2d': lambda x: F.avg_pool2d(x, 3, 2, 1),
    'avg_pool2d no padding counted': lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    'adaptive_avg_pool2d': lambda x: F.adaptive_avg_pool2d(x, (8, 6)),
    'nearest, whole multiple': lambda x: F.interpolate(x, size=(64, 144)),
    'nearest, a factor': lambda x: F.interpolate(x, scale_factor=2),
    'nearest, other sizes': lambda x: F.interpolate(x, size=(45, 31)),
    'bilinear, larger': lambda x: F.interpolate(x, size=(61, 100), mode='bilinear'),
    'bilinear, smaller': lambda x: F.interpolate(x, size=(20, 31), mode='bilinear'),
    'bilinear, corners': lambda x: F.interpolate(
        x, size=(65, 97), mode='bilinear', align_corners=True
    ),
    'bilinear, a factor': lambda x: F.interpolate(x, scale_factor=2.0, mode='bilinear'),
    'whole quotients': lambda x: (x * 90.0).to(torch.int64).div(7, rounding_mode='trunc'),
    'integers': lambda x: (x * 9.0).to(torch.int64) + 1,
    'cast': lambda x: x.to(torch.int32).to(torch.float32) * 0.5,
}


@pytest.mark.parametrize('backend', INSTALLED)
@pytest.mark.parametrize('name', FUNCTIONS)
def test_operators_compute_what_torch_does(name: str, backend: str, tmp_path: Path) -> None:
    program, weights = exported(Apply(FUNCTIONS[name]))
    save_weights(tmp_path, weights)
    program.save(tmp_path)
    said: list[str] = []
    model = load(tmp_path, backend, log=said.append)
    assert isinstance(model, CompiledModel), said
    reference, last = load(tmp_path, 'torch'), len(model.cuts) - 1
    inputs = [255 - array for array in seeded_inputs(program.inputs)]
    found = model.run(model.segment(0, last), inputs)
    wanted = reference.run(reference.segment(0, last), inputs)
    assert not model.segment(0, last).stood_in
    for a, b in zip(found, wanted, strict=True):
        assert deviation(a, b) <= names.TOLERANCES[backend]


@pytest.mark.parametrize('backend', INSTALLED)
def test_a_network_that_chooses_is_held_against_torch_before_it_does(
    backend: str, tmp_path: Path
) -> None:
    """A class turned by rounding is no reason to refuse a runtime; wrong numbers are."""
    save(resolve('torchvision:lraspp_mobilenet_v3_large', weights='random',
                 input_size=(64, 96)), tmp_path)
    said: list[str] = []
    model, reference = load(tmp_path, backend, log=said.append), load(tmp_path, 'torch')
    assert isinstance(model, CompiledModel) and not said
    inputs, last = seeded_inputs(model.program.inputs), len(model.cuts) - 1
    assert model.warm(0, last) == ''
    (found,), (wanted,) = (m.run(m.segment(0, last), inputs) for m in (model, reference))
    assert found.dtype == np.uint8 and np.mean(found == wanted) > 0.999
    real = compiled_module._run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled_module, '_run', lambda *a: [
            x * 2.0 if x.dtype == np.float32 else x for x in real(*a)
        ])
        assert type(load(tmp_path, backend, log=said.append)) is TorchModel
    assert 'computes something else' in said[0]


REFUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    'no rule': lambda x: torch.cumsum(x, 2),
    'windows of different sizes': lambda x: F.adaptive_avg_pool2d(x, (5, 7)),
    'rounding up with padding': lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    'not constant': lambda x: F.pad(x, (1, 1, 1, 1), mode='reflect'),
    'a factor that is not whole': lambda x: F.interpolate(
        x, scale_factor=1.37, mode='bilinear', recompute_scale_factor=False
    ),
    'rounding trunc': lambda x: torch.div(x, 0.3, rounding_mode='trunc'),
    'a mask': lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    'a pooling without batch': lambda x: F.max_pool2d(x.squeeze(0), 2).unsqueeze(0),
    'an axis of a scalar': lambda x: x.sum().mean(0) + x,
}


@pytest.mark.parametrize('reason', REFUSED)
def test_what_onnx_would_compute_otherwise_is_refused(reason: str, tmp_path: Path) -> None:
    program, weights = exported(Apply(REFUSED[reason]))
    save_weights(tmp_path, weights)
    with pytest.raises(ModelError, match='no ONNX operator'):
        OnnxProgram(program, tmp_path)


@pytest.mark.parametrize('backend', INSTALLED)
def test_an_operator_without_a_rule_leaves_the_network_to_torch(
    backend: str, tmp_path: Path
) -> None:
    class Cumulative(torch.nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return picture.cumsum(1).mean((2, 3))

    loaded = tiny_factory.make()
    loaded = type(loaded)(**{**vars(loaded), 'module': Cumulative().eval()})
    said: list[str] = []
    model = load(save(loaded, tmp_path), backend, log=said.append)
    assert type(model) is TorchModel
    assert len(said) == 1 and 'cumsum' in said[0] and backend in said[0]


@pytest.mark.parametrize('backend', INSTALLED)
def test_a_runtime_that_computes_something_else_is_not_used(
    backend: str, folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    real = compiled_module._run
    monkey = pytest.MonkeyPatch()
    monkey.setattr(compiled_module, '_run', lambda *a: [2.0 * x for x in real(*a)])
    try:
        model = load(folder, backend, log=said.append)
    finally:
        monkey.undo()
    assert type(model) is TorchModel
    assert 'something else than torch' in said[0]


class Twice(torch.nn.Module):
    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 2.0 * picture, picture.mean((2, 3))


@pytest.mark.parametrize('backend', INSTALLED)
@pytest.mark.parametrize('number', [0, 1])
def test_every_output_is_compared_and_no_number_is_a_difference(
    backend: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_factory.make()
    loaded = type(loaded)(**{**vars(loaded), 'module': Twice().eval()})
    real = compiled_module._run

    def spoilt(*given: Any) -> list[np.ndarray]:
        outputs = real(*given)
        outputs[number] = np.full_like(outputs[number], np.nan)
        return outputs

    monkeypatch.setattr(compiled_module, '_run', spoilt)
    said: list[str] = []
    assert type(load(save(loaded, tmp_path), backend, log=said.append)) is TorchModel
    assert 'something else than torch' in said[0]


@pytest.mark.parametrize('backend', INSTALLED)
def test_a_runtime_that_fails_at_its_first_run_is_not_used(
    backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError('no such instruction')

    monkeypatch.setattr(compiled_module, '_run', fails)
    said: list[str] = []
    assert type(load(folder, backend, log=said.append)) is TorchModel
    assert 'no such instruction' in said[-1]


@pytest.mark.parametrize('backend', INSTALLED)
@pytest.mark.parametrize('name, function', [
    ('sum', lambda x: x.to(torch.int32).sum(1)),  # int64 by torch, int32 by ONNX
    ('pow', lambda x: x.to(torch.int64) ** 2.0),  # float32 by torch, int64 by ONNX
])
def test_numbers_of_another_type_are_not_taken_for_those_of_torch(
    backend: str, name: str, function: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    program, weights = exported(Apply(function))
    save_weights(tmp_path, weights)
    program.save(tmp_path)
    said: list[str] = []
    assert type(load(tmp_path, backend, log=said.append)) is TorchModel, name
    assert said


def test_a_damaged_header_of_the_weights_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    program = Program.load(folder)
    (tmp_path / 'weights.safetensors').write_bytes(b'\xff' * 64)
    with pytest.raises(ModelError, match='weights.safetensors'):
        OnnxProgram(program, tmp_path)


@pytest.fixture
def needs_openvino() -> Iterator[None]:
    if names.missing('openvino'):
        pytest.skip(names.missing('openvino'))
    yield


@pytest.mark.usefixtures('needs_openvino')
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason='one core: nothing to choose from')
@pytest.mark.parametrize('threads', [1, 2])
def test_a_run_may_use_every_core_that_the_process_may(folder: Path, threads: int) -> None:
    """Else robot and server on one machine would share a core, and leave the others idle."""
    model = load(folder, 'openvino', threads=threads)
    segment, inputs = model.segment(0, len(model.cuts) - 1), seeded_inputs(model.program.inputs)
    worker, seen = threading.get_native_id(), set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for task in (worker, *map(int, os.listdir('/proc/self/task'))):
                with contextlib.suppress(OSError):  # it has just ended
                    seen.add(frozenset(os.sched_getaffinity(task)))

    watching = threading.Thread(target=watch)
    watching.start()
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        model.run(segment, inputs)
    done.set()
    watching.join()
    model.set_threads(1)
    assert seen == {frozenset(os.sched_getaffinity(0))}


@pytest.mark.usefixtures('needs_openvino')
def test_a_device_that_is_not_there_leaves_torch_with_a_word(folder: Path) -> None:
    said: list[str] = []
    model = load(folder, 'openvino:NPU.7', log=said.append)
    assert type(model) is TorchModel
    assert 'NPU.7' in said[0] and 'CPU' in said[0]


@pytest.mark.usefixtures('needs_openvino')
def test_another_device_keeps_what_it_compiled_within_the_size_of_the_weights(
    tmp_path: Path,
) -> None:
    from dnn_offload.runtime.backends.openvino_backend import CACHE

    squeezenet = resolve('torchvision:squeezenet1_1', weights='random', input_size=(96, 96))
    save(squeezenet, tmp_path)
    said: list[str] = []

    def compiled() -> None:
        model = load(tmp_path, 'openvino:HETERO:CPU', log=said.append)
        assert isinstance(model, CompiledModel)
        assert [model.warm(0, end) for end in (20, 12, 5)] == ['', '', '']

    compiled()
    kept = list((tmp_path / CACHE).glob('*'))
    held = sum(path.stat().st_size for path in kept)
    assert kept and held <= (tmp_path / 'weights.safetensors').stat().st_size
    assert not list(tmp_path.glob('*.onnx'))
    for path in kept:
        path.write_bytes(b'damaged' * 100)
    compiled()
    assert not said  # it is compiled anew, and right: loading compares with torch
