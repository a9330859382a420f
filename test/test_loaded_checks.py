"""Fields of a user's ``LoadedModel``: taken in any sensible form, else refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dnn_offload.errors import ModelError
from dnn_offload.graph import sources
from dnn_offload.graph.loaded_model import LoadedModel


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


Resolve = Callable[..., LoadedModel]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Resolve a model of these fields as a factory's."""

    def call(module: Any = None, **fields: Any) -> LoadedModel:
        given = network() if module is None else module

        def load(name: str, weights: str, size: object) -> LoadedModel:
            return LoadedModel('', given, **{'height': 32, 'width': 32, **fields})

        monkeypatch.setitem(sources._LOADERS, 'python', load)
        return sources.resolve('python:a:b', allow_code=True)

    return call


@pytest.mark.parametrize(('fields', 'text'), [
    ({'class_names': 'cup'}, r"class_names.*given: str 'cup'.*class_names=\('cup',\)"),
    ({'class_names': {1: 'cup', 2: 'ball'}}, r'class_names.*dict.*names\[i\]'),
    ({'class_names': None}, 'class_names.*NoneType'),
    ({'class_names': (1, 2)}, 'class_names'),
    ({'mean': 0.5}, 'mean must be three numbers.*float 0.5'),
    ({'mean': (0.1, 0.2)}, 'mean must be three'),
    ({'mean': (0.1, 0.2, float('nan'))}, 'mean must be three'),
    ({'std': 'imagenet'}, 'std must be three numbers, all above 0'),
    ({'std': (1.0, 0.0, 1.0)}, 'std must be three numbers, all above 0'),
    ({'preprocess': 'letterbox'}, "preprocess must be a dictionary.*'mode': 'letterbox'"),
    ({'preprocess': None}, 'preprocess must be a dictionary'),
    ({'preprocess': {'height': 64, 'width': 64}}, 'not by preprocess; given: height, width'),
    ({'examples': torch.zeros(2, 4)}, 'examples must be a tuple of tensors'),
    ({'examples': (3,)}, 'examples must be a tuple of tensors'),
    ({'task': 'detect'}, 'there is no such task'),
])
def test_what_cannot_be_meant_is_refused_by_name(
    resolve: Resolve, fields: dict[str, Any], text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        resolve(**fields)


@pytest.mark.parametrize('three', [
    [0.5, 0.5, 0.5], np.full(3, 0.5, np.float32), torch.full((3,), 0.5),
])
def test_three_numbers_may_come_in_any_form(resolve: Resolve, three: Any) -> None:
    loaded = resolve(mean=three, std=three, class_names=['cup', 'ball'])
    assert loaded.mean == loaded.std == (0.5, 0.5, 0.5)
    assert loaded.class_names == ('cup', 'ball')


class WithMore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def get_extra_state(self) -> object:
        return {'seen': 3}

    def set_extra_state(self, state: object) -> None:
        pass


@pytest.mark.parametrize(('make', 'text'), [
    (lambda: nn.ReLU, 'no network.*an instance of'),
    (lambda: (lambda x: x), 'no network'),
    (lambda: nn.LazyConv2d(2, 3), "'weight'.*has no shape yet"),
    (lambda: nn.Conv2d(3, 2, 3, device='meta'), "'weight'.*has no numbers"),
    (WithMore, '_extra_state.*is no tensor'),
])
def test_a_module_that_cannot_be_exported_says_why(
    resolve: Resolve, make: Callable[[], Any], text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        resolve(make())
