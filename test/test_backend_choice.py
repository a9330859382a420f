"""Which backend a network gets: by name, by what is installed, by what was measured."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import re
import time
from typing import Any

import pytest

from backend_parts import INSTALLED, save
from dnn_offload.cli.main import main
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.fingerprint import agree
from dnn_offload.runtime import profile_backends
from dnn_offload.runtime.backends import names
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.load import load
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.prepared_model import load_prepared_model
from dnn_offload.runtime.profile_backends import with_backends
from dnn_offload.runtime.profiler import measure_profile
import tiny_factory


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_factory.make(), tmp_path_factory.mktemp('tiny'))


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


def test_one_that_cutting_costs_much_is_not_chosen_for_the_whole_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(folder: Path, name: str, **more: Any) -> TorchModel:
        whole_s, piece_s = {
            'torch': (0.03, 0.03), 'onnxruntime': (0.010, 0.006), 'openvino': (0.009, 0.012),
        }[name]
        model = TorchBackend().load(folder)
        model.backend, run = name, model.run

        def slowed(segment: Any, arrays: Any) -> Any:
            every = len(segment.positions) == len(model.program.instructions)
            time.sleep(whole_s if every else piece_s)
            return run(segment, arrays)

        model.run = slowed  # type: ignore[method-assign]
        return model

    some = ('torch', 'onnxruntime', 'openvino')
    monkeypatch.setattr(profile_backends, 'candidates', lambda text: (some, ''))
    monkeypatch.setattr(profile_backends, 'load', made)
    choice = profile_backends.choose(folder, 'auto', 1, 1.0)
    assert choice.model.backend == 'onnxruntime'
    assert choice.others['openvino'] < 1.0 < choice.others['torch']  # ratios of whole runs
    by_piece = profile_backends.choose(folder, 'all', 1, 1.0).model
    assert isinstance(by_piece, PieceModel) and by_piece.usual == 'openvino'


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


def test_a_backend_that_torch_stands_in_for_is_named_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent), prepend=os.pathsep)
    command = [
        'profile', 'python:tiny_factory:make', '--allow-code', '--cache', str(tmp_path),
        '--budget-s', '0.3', '--threads-list', '1', '--backend', 'openvino:NOPE',
    ]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert re.match('torch is used instead of openvino:NOPE: |'
                    'openvino:NOPE cannot run this network; torch does: ', said)
    assert main(command) == 0
    assert capsys.readouterr().err == (
        'openvino:NOPE could not be used when it was measured: it is of torch\n'
    )


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
    monkeypatch.setattr(names, 'missing', lambda kind: '')
    monkeypatch.setattr(names.metadata, 'version', lambda package: '77.1')
    assert request.profile_name not in (everything, without)
    assert '77_1' in replace(request, backend='openvino:GPU.0').profile_name
    assert len({everything, fixed, without, alone}) == 4
    assert alone == 'profile_edge_torch_1t.json'
    assert '/' not in fixed and ':' not in fixed
