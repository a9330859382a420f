"""docs/your-own-network.md: its code runs, its commands and parameters exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import shlex
import sys

import numpy as np
import pytest
from safetensors.torch import save_file
import torch
import yaml

from dnn_offload.cli.main import build_parser
from dnn_offload.graph.export import export
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.sources import resolve
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.nodes import local_parameters, remote_parameters
from dnn_offload.nodes.parameters import by_name
from dnn_offload.vision.answers import decode, DecodeSettings
from dnn_offload.vision.preprocess import prepare, PreprocessSpec
from dnn_offload.vision.segmentation import Segmentation
from graph_models import check_every_cut

pytestmark = pytest.mark.usefixtures('one_thread')

PAGE = Path(__file__).resolve().parents[1] / 'docs/your-own-network.md'
WEIGHTS = '/home/you/networks/cups.safetensors'  # on the page; in the test a file of its own


def blocks(language: str) -> list[str]:
    """The page's blocks of code in a language; '' = commands."""
    parts = re.split(r'^```(\w*)\n', PAGE.read_text(), flags=re.M)[1:]
    # Language and text in turn; a closing fence has no language, and prose follows it.
    opening = zip(parts[::4], parts[1::4], strict=True)
    found = [text for name, text in opening if name == language]
    assert found, language
    return found


@pytest.fixture
def my_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All Python of the page as one module; weights of its first network, random ones."""
    source = '\n'.join(blocks('python'))
    assert WEIGHTS in source
    weights = tmp_path / 'cups.safetensors'
    (tmp_path / 'my_networks.py').write_text(source.replace(WEIGHTS, str(weights)))
    builder = import_torchvision().models.detection.ssdlite320_mobilenet_v3_large
    net = builder(num_classes=3, weights=None, weights_backbone=None)
    fill(net)
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, weights)
    monkeypatch.syspath_prepend(tmp_path)
    yield 'python:my_networks'
    sys.modules.pop('my_networks', None)


@pytest.mark.parametrize(
    ('factory', 'task', 'size', 'names'),
    [
        ('cups', 'detection', (320, 320), ('__background__', 'cup', 'ball')),
        ('grid', 'detection', (240, 320), ('cup', 'ball')),
        ('floor', 'segmentation', (120, 160), ('background', 'floor', 'wall')),
    ],
)
def test_the_networks_of_the_page_give_answers(my_networks, factory, task, size, names):
    torch.manual_seed(0)
    loaded = resolve(f'{my_networks}:{factory}', allow_code=True)
    assert (loaded.task, (loaded.height, loaded.width), loaded.class_names) == (task, size, names)
    program, weights = export(loaded)
    assert len(program.cuts) >= 5
    camera = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    _, mapping = prepare(camera, PreprocessSpec.from_json(dict(program.preprocess)))
    whole = check_every_cut(program, weights, 12)
    found = decode(
        program.task, [tensor.numpy() for tensor in whole], mapping, program.class_names,
        DecodeSettings(score_threshold=0.0, max_detections=20),
    )
    if isinstance(found, Segmentation):
        assert found.mask.shape == camera.shape[:2]
        assert {region.class_name for region in found.regions} <= set(names)
        return
    assert 0 < len(found) <= 20
    assert {answer.class_name for answer in found} <= {'cup', 'ball'}
    assert [answer.score for answer in found] == sorted((a.score for a in found), reverse=True)


def test_the_commands_of_the_page_exist(my_networks):
    parameters = by_name(local_parameters.PARAMETERS)
    text = '\n'.join(blocks(''))
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line]
    seen = set()
    for line in lines:
        if line[:1] == ['dnn-offload']:
            parser, module = build_parser(line[1])
            options = parser.parse_args(line[1:])
            assert module is not None and options.allow_code
        elif line[:3] == ['ros2', 'param', 'set']:
            assert line[3] == '/robot/local_inference_node'
            spec = parameters[line[4]]
            assert spec.applies == 'live'
            spec.convert(yaml.safe_load(line[5]))
        elif line[:2] == ['ros2', 'launch']:
            assert line[-1] == 'params_file:=$PWD/cups.yaml'
        elif line[:2] == ['python', '-c']:
            compile(line[2], 'page', 'exec')
        else:
            assert line[0] == 'export'
        seen.add(line[0])
    assert seen == {'dnn-offload', 'ros2', 'python', 'export'}


def test_the_parameters_of_the_page_name_the_first_network(my_networks):
    (block,) = blocks('yaml')
    robot, server = (node['ros__parameters'] for node in yaml.safe_load(block).values())
    assert robot == server
    for name, value in robot.items():
        for declared in (local_parameters, remote_parameters):
            by_name(declared.PARAMETERS)[name].convert(value)
    loaded = resolve(robot['model'], allow_code=robot['allow_code'])
    assert loaded.class_names[1] == 'cup'


def test_the_conversion_of_the_page_gives_what_the_sources_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = {'weight': torch.arange(6.0).reshape(2, 3)}
    torch.save(state, 'x.pth')
    (line,) = [line for line in '\n'.join(blocks('')).splitlines() if line.startswith('python')]
    exec(compile(shlex.split(line)[2], 'page', 'exec'), {})
    from dnn_offload.graph.loaded_model import read_state

    assert torch.equal(read_state('x.safetensors')['weight'], state['weight'])
