"""torch on another device than the CPU: every cut, and what happens where there is none.

A machine without an accelerator runs the same way with ``cpu:0``: to torch another device than
``cpu``, so that weights, tensors and made tensors go there and back by the same calls.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend_parts import save
from dnn_offload.errors import ModelError
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.sources import resolve
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.load import deviation, load
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.profiler import measure_profile
import tiny_factory

NO_CUDA = '' if torch.cuda.is_available() else 'torch finds no CUDA device'
DEVICES = [
    pytest.param('cpu:0', 0.0, id='cpu'),
    pytest.param(
        'cuda', names.DEVICE_TOLERANCE, id='cuda',
        marks=pytest.mark.skipif(NO_CUDA != '', reason=NO_CUDA),
    ),
]  # fmt: skip


@pytest.fixture(scope='module', params=['demo', 'squeezenet1_1', 'vit_b_16'])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, sizes = request.param, {'vit_b_16': (32, 32)}
    if name == 'demo':
        return save(resolve('demo:detector'), tmp_path_factory.mktemp(name))
    size = sizes.get(name, (96, 96))
    loaded = resolve(f'torchvision:{name}', weights='random', input_size=size)
    return save(loaded, tmp_path_factory.mktemp(name))


@pytest.mark.parametrize(('device', 'tolerance'), DEVICES)
def test_every_cut_on_either_side(network: Path, device: str, tolerance: float) -> None:
    reference = load(network, 'torch')
    other = TorchBackend().place(reference, device)
    assert other.backend == f'torch:{device}' and other.by_torch.backend == 'torch'
    last = len(reference.cuts) - 1
    inputs = seeded_inputs(reference.program.inputs)
    whole = reference.run(reference.segment(0, last), inputs)
    for cut in reference.cuts[1:-1:3]:
        ours = other.run(other.segment(0, cut.index), inputs)
        for spec, array in zip(cut.frontier, ours, strict=True):
            assert tuple(s // array.itemsize for s in array.strides) == spec.strides, cut.label
        theirs = reference.run(reference.segment(0, cut.index), inputs)
        for made in (
            reference.run(reference.segment(cut.index, last), ours),
            other.run(other.segment(cut.index, last), theirs),
        ):
            worst = max(deviation(a, b) for a, b in zip(made, whole, strict=True))
            assert worst <= tolerance, cut.label


@pytest.mark.parametrize(('device', 'tolerance'), DEVICES)
def test_it_is_profiled_like_any_other(
    device: str, tolerance: float, tmp_path: Path
) -> None:
    reference = load(save(tiny_factory.make(), tmp_path), 'torch')
    profile = measure_profile(
        TorchBackend().place(reference, device), 1, 0.2, other_threads=()
    )
    assert profile.backend == f'torch:{device}' and profile.whole_ms > 0.0
    assert len(profile.layers) == len(reference.program.instructions)


def test_weights_are_where_it_computes(tmp_path: Path) -> None:
    reference = load(save(tiny_factory.make(), tmp_path), 'torch')
    model = TorchModel(reference.program, reference.weights, torch.device('meta'))
    assert {str(t.device) for t in model._placed.values()} == {'meta'}
    made = model.segment(0, len(model.cuts) - 1)(
        [torch.empty(s.shape, dtype=torch.uint8, device='meta') for s in reference.program.inputs]
    )
    assert all(str(tensor.device) == 'meta' for tensor in made)


@pytest.mark.skipif(NO_CUDA == '', reason='there is a CUDA device')
def test_without_the_device_torch_does_it_and_says_so(tmp_path: Path) -> None:
    folder, said = save(tiny_factory.make(), tmp_path), list[str]()
    model = load(folder, 'torch:cuda', log=said.append)
    assert type(model) is TorchModel and model.backend == 'torch'
    assert 'finds no device cuda' in said[0] and 'torch does' in said[0]


def test_a_device_that_cannot_be_is_an_error_of_ours(tmp_path: Path) -> None:
    model = load(save(tiny_factory.make(), tmp_path), 'torch')
    for device in ('nonsense', 'xpu:99'):
        with pytest.raises(ModelError, match=device):
            TorchBackend().place(model, device)


def test_auto_asks_for_cuda_where_a_driver_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = tmp_path / 'nvidia0'
    monkeypatch.setattr(names, 'CUDA_SIGNS', (str(sign),))
    assert 'torch:cuda' not in names.candidates('auto')[0]
    sign.touch()
    assert names.candidates('auto')[0][-1] == 'torch:cuda'
    assert names.candidates('torch')[0] == ('torch',)
    assert names.candidates('torch:cuda:1')[0] == ('torch', 'torch:cuda:1')
    for backend in ('torch:cuda', 'auto'):
        request = ModelRequest('demo:detector', backend=backend)
        assert 'torch_cuda_1t' in request.profile_name


@pytest.mark.parametrize('text', ['torch:cpu', 'torch:gpu', 'torch:cuda:x', 'torch:cuda:'])
def test_names_of_devices_are_checked(text: str) -> None:
    assert names.check(text) == names.ALLOWED
    assert names.check('torch:cuda:1') == names.check('torch:cuda') == ''
