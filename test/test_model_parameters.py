"""What of a model, its weights and its size is refused without loading it."""

from __future__ import annotations

from typing import Any

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.known_networks import FIXED_SIZES, near_names, torchvision_weights
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.nodes import local_parameters, remote_parameters
from dnn_offload.nodes.model_parameters import check_model, MODEL_PARAMETERS
from dnn_offload.nodes.parameters import by_name, ParameterSpec

SPECS = by_name(MODEL_PARAMETERS)
DEFAULTS: dict[str, Any] = {spec.name: spec.default for spec in MODEL_PARAMETERS}


def test_networks_and_weights_are_those_of_torchvision() -> None:
    models = import_torchvision().models
    real = {
        name: {key for key in models.get_model_weights(name).__members__ if key != 'DEFAULT'}
        for name in models.list_models()
    }
    assert {name: set(names) for name, names in torchvision_weights().items()} == real


@pytest.mark.parametrize('source', FIXED_SIZES)
def test_sizes_that_cannot_be_chosen_are_those_of_the_networks(source: str) -> None:
    loaded = resolve(source, weights='random')
    assert (loaded.height, loaded.width) == FIXED_SIZES[source]


@pytest.mark.parametrize(('name', 'value', 'said'), [
    ('model', 'torchvision:nosuchnet', 'a network of torchvision'),
    ('model', 'torchvision:resnet_50', 'such as resnet50'),
    ('model', 'demo:tracker', 'demo:detector'),
    ('model', 'python:a:b:c', 'python:pkg.mod:factory'),
    ('model', 'python:a', 'python:pkg.mod:factory'),
    ('model', 'file:a\nb.pt2', 'file:model.pt2'),
    ('weights', 'bogus', 'IMAGENET1K_V1'),
    ('weights', 'X' * 5000, 'IMAGENET1K_V1'),
    ('weights', 'a\nb.safetensors', 'a path of a .safetensors file'),
    ('weights', '/a/b.pth', 'a path of a .safetensors file'),
    ('weights', '', 'DEFAULT'),
])
def test_what_cannot_be_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SPECS[name].convert(value)


@pytest.mark.parametrize(('name', 'value'), [
    ('model', 'torchvision:ssd300_vgg16'), ('model', 'python:my.net:make'),
    ('model', 'file:/a b.pt2'), ('weights', 'COCO_V1'), ('weights', 'random'),
    ('weights', '~/w.safetensors'),
])
def test_what_can_be_is_taken(name: str, value: str) -> None:
    assert SPECS[name].convert(value) == value


@pytest.mark.parametrize(('given', 'said'), [
    ({'model': 'python:a:b'}, 'allow_code: true'),
    ({'weights': 'IMAGENET1K_V1'}, 'allowed: DEFAULT, random'),
    ({'model': 'torchvision:alexnet', 'weights': 'IMAGENET1K_V2'}, 'DEFAULT, IMAGENET1K_V1, r'),
    ({'input_size': '100x100'}, '240x320, or empty'),
])
def test_what_does_not_fit_is_refused_at_start(given: dict[str, str], said: str) -> None:
    values = DEFAULTS | given
    with pytest.raises(ConfigurationError, match=said):
        check_model(values, values.__getitem__)


def test_one_after_another_may_not_fit_for_a_while() -> None:
    for name, value in (('weights', 'IMAGENET1K_V2'), ('input_size', '64x64')):
        check_model({name: value}, DEFAULTS.__getitem__)
    check_model({'model': 'torchvision:alexnet'}, DEFAULTS.__getitem__)
    check_model(DEFAULTS, DEFAULTS.__getitem__)


@pytest.mark.parametrize(('parameters', 'name'), [
    (local_parameters.PARAMETERS, 'client_id'), (remote_parameters.PARAMETERS, 'server_id'),
])
def test_robots_and_servers_have_names_that_topics_can_have(
    parameters: tuple[ParameterSpec, ...], name: str
) -> None:
    spec = by_name(parameters)[name]
    assert [spec.convert(good) for good in ('', 'robot_7')] == ['', 'robot_7']
    for bad in ('bad name!', '7up', 'a__b', 'x' * 65):
        with pytest.raises(ConfigurationError, match='a letter first'):
            spec.convert(bad)


def test_near_names() -> None:
    assert 'mobilenet_v2' in near_names('mobilenetv2')
    assert near_names('zzz') == ''
