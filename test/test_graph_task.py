"""What a network is for: told by its outputs, or held against them before anything is measured."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import pytest
import torch
from torch import nn

from dnn_offload.cli.main import main
from dnn_offload.errors import ConfigurationError, ModelError
from dnn_offload.graph.export import export
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.task import task_of
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.prepared_model import load_prepared_model
from dnn_offload.tensors import contiguous_strides, TensorSpec

NETWORKS = """\
import torch
from torch import nn
from dnn_offload.graph.loaded_model import LoadedModel

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Conv2d(3, 8, 3, 4)
        self.map, self.classes = nn.Conv2d(8, 2, 1), nn.Linear(8, 5)

    def forward(self, x):
        y = self.base(x).relu()
        return self.map(y), self.classes(y.mean((2, 3)))

def two():
    return Two()

def zoom():
    return LoadedModel('', nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), 32, 32,
                       preprocess={'mode': 'zoom'})
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / 'nets_of_tasks.py').write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.delitem(sys.modules, 'nets_of_tasks', raising=False)
    return 'python:nets_of_tasks'


def specs(*shapes: tuple[int, ...], dtype: str = 'float32') -> list[TensorSpec]:
    return [
        TensorSpec(f'o{i}', dtype, shape, contiguous_strides(shape))
        for i, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ('wanted', 'shapes', 'task'),
    [
        ('', [(1, 10)], 'classification'),
        ('', [(1, 10), (1, 4)], 'tensor'),
        ('', [(1, 4, 6, 6)], 'tensor'),
        ('', [(1, 300, 6)], 'tensor'),
        ('', [(7,)], 'tensor'),
        ('classification', [(1, 10), (1, 4, 4)], 'classification'),
        ('detection', [(1, 300, 6)], 'detection'),
        ('tensor', [(1, 10)], 'tensor'),
    ],
)
def test_the_outputs_tell_the_task(wanted: str, shapes: list[Any], task: str) -> None:
    assert task_of(wanted, specs(*shapes)) == task


@pytest.mark.parametrize(
    ('wanted', 'shape', 'text'),
    [
        ('detection', (1, 7, 16), r"not that of a detector.*float32 \[1, 7, 16\].*\(1, K, 6\)"),
        ('classification', (1, 4, 6, 6), r"not that of a classifier.*\(1, classes\).*'tensor'"),
        ('segmentation', (1, 6, 6), 'not that of a segmentation network.*uint8'),
    ],
)
def test_a_task_that_the_outputs_contradict_is_refused(
    wanted: str, shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        task_of(wanted, specs(shape))


def test_a_network_of_two_outputs_is_cut_and_profiled_and_the_nodes_refuse_it(
    networks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = tmp_path / 'two.pt2'
    module = resolve(f'{networks}:two', allow_code=True).module
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 64, 64),)), exported)
    cache = tmp_path / 'cache'
    for source in (f'{networks}:two', f'file:{exported}'):
        assert main(['models', source, '--allow-code', '--cache', str(cache)]) == 0
        said = ' '.join(capsys.readouterr().out.split())
        assert 'tensor, ' in said
        assert 'float32 [1, 5], are decoded by nothing here' in said
        found: dict[str, str] = {}

        def report(stage: str, fraction: float, message: str, **more: str) -> None:
            found.update(more)  # noqa: B023 (called at once)

        prepare(ModelRequest(source, allow_code=True), cache, 0.2, True, report)
        why = 'nodes cannot run.*task tensor.*command line'
        with pytest.raises(ConfigurationError, match=why):
            load_prepared_model(Path(found['folder']), Path(found['profile']), 1)


def test_a_mode_that_there_is_not_is_refused_with_the_export(
    networks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ['models', f'{networks}:zoom', '--allow-code', '--cache', str(tmp_path / 'cache')]
    assert main(given) == 1
    assert 'no such resize mode; given: zoom; allowed: stretch' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        ({'height': 0, 'width': 64}, r'input size is out of bounds; given: 0x64; .*both 0'),
        ({'height': 32.5, 'width': 'x'}, 'input size is out of bounds; given: 32.5xx'),
        ({'height': 32, 'width': 32, 'task': 'depth'}, 'no such task; given: depth; .*tensor'),
    ],
)
def test_fields_that_mean_nothing_are_refused(
    given: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = LoadedModel('', nn.Conv2d(3, 2, 3), **given)
    monkeypatch.setattr('dnn_offload.graph.sources._LOADERS', {'python': lambda *_: made})
    with pytest.raises(ModelError, match=text):
        resolve('python:x:y', allow_code=True)


def test_an_output_that_is_no_tensor_is_named() -> None:
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {'scores': x.mean((2, 3)), 'n': 3}

    with pytest.raises(ModelError, match=r"the output \['n'\] of the model.*given: 3; leave it"):
        export(LoadedModel('', Mixed(), 16, 16))


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_a_network_that_computes_no_number_is_refused(value: str) -> None:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * float(value) + float(value)

    with pytest.raises(ModelError, match='all its outputs are NaN'):
        export(LoadedModel('', Nothing(), 16, 16))
