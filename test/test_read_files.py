"""What a user's factory read: when it has changed, the network is made anew."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

import pytest
import torch

from dnn_offload.runtime.read_files import changed_file, noting, PACKAGE, READ_FILES

FACTORY = """\
import json, torch
from pathlib import Path
from safetensors.torch import load_file
from torch import nn
from dnn_offload.graph.sources import LoadedModel
from layers_of_mine import width

HERE = Path(__file__).parent

def make():
    net = nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.load_state_dict(load_file(HERE / 'mine.safetensors'))
    return LoadedModel('', net, 32, 32, class_names=json.loads((HERE / 'names.json').read_text()))
"""


def write_weights(folder: Path, seed: int) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    state = torch.nn.Conv2d(3, 2, 3).state_dict()
    save_file({f'0.{name}': tensor for name, tensor in state.items()}, folder / 'mine.safetensors')


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / 'networks'
    folder.mkdir()
    (folder / 'cups.py').write_text(FACTORY)
    (folder / 'layers_of_mine.py').write_text('width = 2\n')
    (folder / 'names.json').write_text('["cup", "ball"]')
    write_weights(folder, 1)
    return folder


def prepare(networks: Path, cache: Path, module: str = 'cups') -> str:
    """Prepare the network in a process of its own, as nodes do; what it says."""
    script = (
        'import sys; from pathlib import Path; from dnn_offload.runtime.prepare import *\n'
        'from dnn_offload.runtime.model_cache import ModelRequest\n'
        'def report(stage, fraction, message, **more): print(message, more)\n'
        f"request = ModelRequest('python:{module}:make', 'DEFAULT', allow_code=True)\n"
        'prepare(request, Path(sys.argv[1]), 1.0, False, report)\n'
    )
    return subprocess.run(
        [sys.executable, '-c', script, str(cache)], check=True, capture_output=True, text=True,
        env={'PYTHONPATH': f'{networks}:{Path(__file__).parent.parent}', 'PATH': '/usr/bin:/bin'},
        timeout=120,
    ).stdout


@pytest.mark.parametrize('changed', ['mine.safetensors', 'names.json', 'layers_of_mine.py'])
def test_a_network_is_made_anew_when_what_its_factory_read_has_changed(
    networks: Path, tmp_path: Path, changed: str
) -> None:
    cache = tmp_path / 'cache'
    assert 'exporting the graph' in prepare(networks, cache)
    assert 'exporting the graph' not in prepare(networks, cache)
    if changed == 'mine.safetensors':
        write_weights(networks, 2)
    elif changed == 'names.json':
        (networks / changed).write_text('["mug", "ball"]')
    else:
        (networks / changed).write_text('width = 1 + 1\n')
    said = prepare(networks, cache)
    assert f'{networks / changed} has changed' in said and 'exporting the graph' in said
    assert 'exporting the graph' not in prepare(networks, cache)


def test_what_belongs_to_python_is_not_noted(tmp_path: Path) -> None:
    mine = tmp_path / 'mine.txt'
    mine.write_text('1')
    here = str(Path(__file__).resolve())
    with noting() as read:
        mine.read_text()
        import colorsys  # noqa: F401
        found = read()
    assert {str(mine), here} <= found.keys()  # the files of all modules that are not installed
    assert not [name for name in found if 'colorsys' in name or 'site-packages' in name]
    assert found[f'{PACKAGE}pytest'] == pytest.__version__


@pytest.mark.parametrize('text', ['', '[1]', 'nonsense', '3'])
def test_notes_that_cannot_be_read_are_a_change(tmp_path: Path, text: str) -> None:
    assert changed_file(tmp_path) == ''
    (tmp_path / READ_FILES).write_text(text)
    assert changed_file(tmp_path) == READ_FILES


def test_a_file_that_has_gone_is_a_change(tmp_path: Path) -> None:
    mine = tmp_path / 'mine.txt'
    mine.write_text('1')
    with noting() as read:
        mine.read_text()
        noted = read()
    (tmp_path / READ_FILES).write_text(json.dumps(noted))
    assert changed_file(tmp_path) == ''
    mine.unlink()
    assert changed_file(tmp_path) == str(mine)


def test_another_version_of_a_package_is_a_change(tmp_path: Path) -> None:
    (tmp_path / READ_FILES).write_text(json.dumps({f'{PACKAGE}pytest': pytest.__version__}))
    assert changed_file(tmp_path) == ''
    (tmp_path / READ_FILES).write_text(json.dumps({f'{PACKAGE}pytest': '1.0'}))
    assert changed_file(tmp_path) == f'{PACKAGE}pytest'
    (tmp_path / READ_FILES).write_text(json.dumps({f'{PACKAGE}no_such_package': '1.0'}))
    assert changed_file(tmp_path) == f'{PACKAGE}no_such_package'


@pytest.mark.parametrize('how', ['by its package', 'within forward'])
def test_what_is_imported_beside_the_factory_is_noted(tmp_path: Path, how: str) -> None:
    networks = tmp_path / 'networks'
    package = networks / 'mine'
    package.mkdir(parents=True)
    (package / 'helper.py').write_text('import torch\nbend = torch.relu\n')
    early = 'from mine import helper\n' if how == 'by its package' else ''
    (package / '__init__.py').write_text(early)
    (package / 'cups.py').write_text(
        'import torch\nfrom torch import nn\n'
        'from dnn_offload.graph.sources import LoadedModel\n'
        'class Net(nn.Module):\n'
        '    def __init__(self):\n'
        '        super().__init__()\n'
        '        self.conv = nn.Conv2d(3, 2, 3)\n'
        '    def forward(self, x):\n'
        '        from mine.helper import bend\n'
        '        return bend(self.conv(x)).mean((2, 3))\n'
        'def make():\n'
        '    torch.manual_seed(0)\n'
        "    return LoadedModel('', Net(), 32, 32)\n"
    )
    cache = tmp_path / 'cache'
    assert 'exporting the graph' in prepare(networks, cache, 'mine.cups')
    assert 'exporting the graph' not in prepare(networks, cache, 'mine.cups')
    (package / 'helper.py').write_text('import torch\nbend = torch.tanh\n')
    assert 'helper.py has changed' in prepare(networks, cache, 'mine.cups')
