"""onnxruntime and openvino against torch: every cut, either side by either, and what fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

import numpy as np
import pytest
import torch

from dnn_offload.codec import bundle
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, CutError, ModelError
from dnn_offload.graph.export import export
from dnn_offload.graph.fingerprint import agree, seeded_inputs
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.program import Program
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.weights import save_weights
from dnn_offload.runtime import profile_backends
from dnn_offload.runtime.backends import compiled as compiled_module
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.base import stood_in
from dnn_offload.runtime.backends.compiled import CompiledModel, OnnxProgram
from dnn_offload.runtime.backends.load import deviation, load
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.prepared_model import load_prepared_model
from dnn_offload.runtime.profile_backends import with_backends
from dnn_offload.runtime.profiler import measure_profile
import tiny_factory

NETWORKS = ('squeezenet1_1', 'resnet18', 'mobilenet_v2', 'googlenet', 'demo')
INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(
        names.missing(name) != '', reason=names.missing(name)
    ))
    for name in names.COMPILED
]  # fmt: skip
# Compiling takes openvino 0.2 s a piece: of networks that it needs more than a minute for, every
# so many cuts are tried.
SPARSE = {('googlenet', 'openvino'): 4, ('mobilenet_v2', 'openvino'): 2}
PAIRS = 12  # pairs of cuts that are sampled of a network


def save(loaded: LoadedModel, folder: Path) -> Path:
    program, weights = export(loaded)
    save_weights(folder, weights)
    program.save(folder)
    return folder


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


@pytest.fixture(params=INSTALLED)
def tiny(request: pytest.FixtureRequest, folder: Path) -> CompiledModel:
    made = load(folder, request.param)
    assert isinstance(made, CompiledModel)
    return made


def wait_until(true: Any, timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_torch_stands_in_until_a_piece_is_compiled(tiny: CompiledModel) -> None:
    last = len(tiny.cuts) - 1
    inputs = seeded_inputs(tiny.program.inputs)
    reference = TorchModel(tiny.program, tiny.weights)
    arrays = reference.run(reference.segment(0, 1), inputs)
    wanted = reference.run(reference.segment(1, last), arrays)
    segment = tiny.segment(1, last)
    first = tiny.run(segment, arrays)
    assert segment.stood_in
    assert all(np.array_equal(a, b) for a, b in zip(first, wanted, strict=True))
    wait_until(lambda: segment.ready)
    found = tiny.run(segment, arrays)
    assert not segment.stood_in
    assert all(deviation(a, b) <= 1e-4 for a, b in zip(found, wanted, strict=True))


def test_a_new_thread_count_is_compiled_for(tiny: CompiledModel) -> None:
    last = len(tiny.cuts) - 1
    inputs = seeded_inputs(tiny.program.inputs)
    segment = tiny.segment(0, last)
    tiny.run(segment, inputs)
    assert not segment.stood_in  # the whole network is compiled when the model is loaded
    tiny.set_threads(2)
    try:
        tiny.run(segment, inputs)
        assert segment.stood_in
        wait_until(lambda: 2 in segment.ready)
        tiny.run(segment, inputs)
        assert not segment.stood_in
    finally:
        tiny.set_threads(1)


def test_kept_tensors_are_not_overwritten_by_the_next_run(tiny: CompiledModel) -> None:
    inputs = seeded_inputs(tiny.program.inputs)
    assert tiny.warm(0, 1) == ''
    kept = tiny.run(tiny.segment(0, 1), inputs)
    copies = [array.copy() for array in kept]
    tiny.run(tiny.segment(0, 1), [255 - inputs[0]])
    assert all(np.array_equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_wrong_tensors_are_refused_and_change_nothing(tiny: CompiledModel) -> None:
    inputs = seeded_inputs(tiny.program.inputs)
    segment = tiny.segment(0, len(tiny.cuts) - 1)
    with pytest.raises(CutError):
        tiny.run(segment, [inputs[0][:, :8]])
    tiny.run(segment, inputs)
    assert segment.failure == '' and not segment.stood_in


def test_a_piece_by_values_is_compiled_too(tiny: CompiledModel) -> None:
    first, last = tiny.cuts[0], tiny.cuts[-1]
    taken = tuple(spec.name for spec in first.frontier)
    given = tuple(spec.name for spec in last.frontier)
    segment = tiny.piece(taken, given)
    tiny.run(segment, seeded_inputs(tiny.program.inputs))
    wait_until(lambda: segment.ready)
    assert segment.positions


def fake_compiler(delay_s: float = 0.0, error: Exception | None = None) -> Any:
    """Compiles to what torch would give: zeros of the right shape will do here."""

    def compile_piece(piece: Any, threads: int) -> Any:
        time.sleep(delay_s)
        if error is not None:
            raise error
        return lambda arrays: [np.zeros(b.shape, b.spec.dtype) for b in piece.outputs]

    return compile_piece


def with_compiler(folder: Path, compile_piece: Any, said: list[str]) -> CompiledModel:
    model = TorchBackend().load(folder)
    onnx = OnnxProgram(model.program, folder)
    return CompiledModel(
        model.program, model.weights, onnx, 'fake', compile_piece, log=said.append
    )


def test_a_switch_does_not_wait_for_a_compiler(folder: Path) -> None:
    model = with_compiler(folder, fake_compiler(delay_s=1.0), [])
    inputs = seeded_inputs(model.program.inputs)
    model.run(model.segment(0, 1), inputs)  # torch's own first run
    started_s = time.monotonic()
    segment = model.segment(0, 2)
    model.run(segment, inputs)
    assert time.monotonic() - started_s < 0.5
    assert segment.stood_in
    wait_until(lambda: segment.ready)


def test_what_cannot_be_compiled_stays_with_torch_and_is_said_once(folder: Path) -> None:
    said: list[str] = []
    model = with_compiler(folder, fake_compiler(error=RuntimeError('no such kernel')), said)
    inputs = seeded_inputs(model.program.inputs)
    for end in (1, 2):
        segment = model.segment(0, end)
        model.run(segment, inputs)
        wait_until(lambda segment=segment: segment.failure)
        model.run(segment, inputs)
        assert not segment.stood_in  # nothing is still to come
    assert len(said) == 1 and 'no such kernel' in said[0] and 'torch' in said[0]


def test_a_runtime_that_fails_later_is_replaced_by_torch(folder: Path) -> None:
    said: list[str] = []
    calls = []

    def breaks(piece: Any, threads: int) -> Any:
        def call(arrays: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                raise RuntimeError('device lost')
            return [np.zeros(b.shape, b.spec.dtype) for b in piece.outputs]

        return call

    model = with_compiler(folder, breaks, said)
    reference = TorchBackend().load(folder)
    inputs = seeded_inputs(model.program.inputs)
    assert model.warm(0, 1) == ''
    found = model.run(model.segment(0, 1), inputs)
    wanted = reference.run(reference.segment(0, 1), inputs)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert model.segment(0, 1).failure and 'device lost' in said[0]


def test_compiled_pieces_are_bounded_and_those_in_use_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_compiler(folder, fake_compiler(), [])
    inputs = seeded_inputs(model.program.inputs)
    last = len(model.cuts) - 1
    heads = [model.segment(0, end) for end in range(last, 0, -1)]
    for head in heads:
        head.weight_bytes = model._most_bytes // 2
    for head in heads[:4]:
        model.run(head, inputs)
    wait_until(lambda: heads[0].ready and heads[1].ready)
    time.sleep(0.1)
    model.run(heads[2], inputs)
    assert not heads[2].ready and not heads[2].stood_in  # no room beside two that are in use
    monkeypatch.setattr(compiled_module, 'HOT_S', 0.0)
    model.run(heads[2], inputs)
    wait_until(lambda: heads[2].ready)
    assert sum(bool(head.ready) for head in heads) == 2


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


def test_a_damaged_header_of_the_weights_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    program = Program.load(folder)
    (tmp_path / 'weights.safetensors').write_bytes(b'\xff' * 64)
    with pytest.raises(ModelError, match='weights.safetensors'):
        OnnxProgram(program, tmp_path)


def test_a_package_that_is_missing_leaves_torch_with_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(names.PACKAGES, 'onnxruntime', ('no-such-package-here',))
    said: list[str] = []
    model = load(folder, 'onnxruntime', log=said.append)
    assert type(model) is TorchModel
    assert 'not installed' in said[0] and 'pip install' in said[0]
    found, why = names.candidates('onnxruntime')
    assert found == ('torch',) and 'not installed' in why
    assert 'onnxruntime' not in names.candidates('auto')[0]


def test_a_package_that_is_too_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.metadata, 'version', lambda package: '1.9.2')
    assert 'onnxruntime 1.9.2 is too old, 1.31' in names.missing('onnxruntime')
    monkeypatch.setattr(names.metadata, 'version', lambda package: '1.31.0rc1')
    assert names.missing('onnxruntime') == ''


@pytest.mark.parametrize('text', ['', 'tensorflow', 'torch:', 'onnxruntime:GPU', 'openvino: x'])
def test_backends_that_there_are_not_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='onnxruntime'):
        names.parse(text)
    assert names.check(text) == names.ALLOWED


def test_devices_are_named_behind_a_colon() -> None:
    assert names.parse('openvino:GPU.0') == names.BackendName('openvino', 'GPU.0')
    assert str(names.parse('openvino:HETERO:GPU,CPU')) == 'openvino:HETERO:GPU,CPU'
    assert names.check('auto') == names.check('torch') == ''


@pytest.fixture
def needs_openvino() -> Iterator[None]:
    if names.missing('openvino'):
        pytest.skip(names.missing('openvino'))
    yield


@pytest.mark.usefixtures('needs_openvino')
def test_a_device_that_is_not_there_leaves_torch_with_a_word(folder: Path) -> None:
    said: list[str] = []
    model = load(folder, 'openvino:NPU.7', log=said.append)
    assert type(model) is TorchModel
    assert 'NPU.7' in said[0] and 'CPU' in said[0]


@pytest.mark.usefixtures('needs_openvino')
def test_another_device_keeps_what_it_compiled_within_the_size_of_the_weights(
    folder: Path,
) -> None:
    from dnn_offload.runtime.backends.openvino_backend import CACHE

    said: list[str] = []
    model = load(folder, 'openvino:HETERO:CPU', log=said.append)
    assert isinstance(model, CompiledModel) and not said
    for end in range(1, len(model.cuts)):
        assert model.warm(0, end) == ''
    held = sum(path.stat().st_size for path in (folder / CACHE).glob('*'))
    assert held <= (folder / 'weights.safetensors').stat().st_size
    assert not list(folder.glob('*.onnx'))


def whole(folder: Path, backend: str, seconds: dict[str, float], delay: Any) -> Any:
    """Replaces ``load``: the same network, slower by so much."""
    model = TorchBackend().load(folder)
    model.backend = backend
    run = model.run

    def slowed(segment: Any, arrays: Any) -> Any:
        delay(seconds[backend])
        return run(segment, arrays)

    model.run = slowed  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(
    'seconds, wanted, chosen',
    [
        ({'torch': 0.02, 'onnxruntime': 0.005, 'openvino': 0.01}, 'auto', 'onnxruntime'),
        ({'torch': 0.02, 'onnxruntime': 0.03, 'openvino': 0.01}, 'auto', 'openvino'),
        ({'torch': 0.01, 'onnxruntime': 0.03, 'openvino': 0.02}, 'auto', 'torch'),
        ({'torch': 0.01, 'onnxruntime': 0.03}, 'onnxruntime', 'onnxruntime'),
        ({'torch': 0.01}, 'torch', 'torch'),
    ],
)
def test_the_fastest_is_chosen_and_the_others_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], wanted: str,
    chosen: str,
) -> None:
    monkeypatch.setattr(profile_backends, 'candidates', lambda text: (tuple(seconds), ''))
    monkeypatch.setattr(
        profile_backends, 'load',
        lambda folder, name, **more: whole(folder, name, seconds, time.sleep),
    )
    choice = profile_backends.choose(folder, wanted, 1, 1.0)
    assert choice.model.backend == chosen
    assert set(choice.others) == set(seconds) - {chosen}
    for name, ratio in choice.others.items():
        assert (ratio > 1.0) == (seconds[name] > seconds[chosen])
    made = with_backends(measure_profile(choice.model, 1, 0.2, other_threads=()), choice.others)
    assert made.backend == chosen
    assert {variant.backend for variant in made.variants} == set(choice.others)
    assert Profile.from_json(made.to_json()) == made


@pytest.mark.parametrize('backend', INSTALLED)
def test_a_profile_is_measured_with_the_backend_and_the_node_loads_that(
    backend: str, tmp_path: Path
) -> None:
    request = ModelRequest('python:tiny_factory:make', allow_code=True, backend=backend)
    said: list[str] = []
    prepare(request, tmp_path, 1.0, True, lambda stage, share, text, **more: said.append(text))
    folder = tmp_path / cache_key(request)
    path = folder / request.profile_name
    profile = Profile.from_json(path.read_text())
    assert profile.backend == backend and profile.whole_ms > 0.0
    assert [v.backend for v in profile.variants if v.backend != backend] == ['torch']
    prepared = load_prepared_model(folder, path, 1, log=said.append)  # auto: as profiled
    assert prepared.model.backend == backend
    assert agree(prepared.fingerprint, prepared.model.program.fingerprint)
    prepared = load_prepared_model(folder, path, 1, backend='torch', log=said.append)
    assert prepared.model.backend == 'torch'
    assert f'the profile holds for {backend}' in said[-1]


def test_profiles_of_different_choices_have_different_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, 'missing', lambda kind: '')
    request = ModelRequest('demo:detector', backend='auto')
    everything = request.profile_name
    fixed = replace(request, backend='openvino:GPU.0').profile_name
    monkeypatch.setattr(names, 'missing', lambda kind: kind if kind == 'openvino' else '')
    without = request.profile_name
    monkeypatch.setattr(names, 'missing', lambda kind: kind)
    alone = request.profile_name
    assert len({everything, fixed, without, alone}) == 4
    assert alone == 'profile_edge_torch_1t.json'
    assert '/' not in fixed and ':' not in fixed


def test_a_run_by_the_stand_in_says_nothing_about_the_load(folder: Path) -> None:
    """Torch in place of a piece that is being compiled is slower than the profile says."""
    model = with_compiler(folder, fake_compiler(delay_s=0.5), [])
    segment = model.segment(0, 1)
    model.run(segment, seeded_inputs(model.program.inputs))
    assert stood_in(segment)
    wait_until(lambda: segment.ready)
    model.run(segment, seeded_inputs(model.program.inputs))
    assert not stood_in(segment)
