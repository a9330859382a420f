"""Factories of users that fail: one sentence with the factory, what it raised and the line."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import sys

import pytest

from dnn_offload.cli.main import main
from dnn_offload.errors import ModelError
from dnn_offload.graph.sources import resolve
from dnn_offload.runtime.model_cache import cache_key, ModelRequest

NETWORKS = """\
import sys
import torch
from dnn_offload.errors import ModelError

def raises():
    raise RuntimeError('no weights on host foo')

def raises_inside():
    torch.nn.Conv2d(3, 2, 3).load_state_dict({})

def refuses():
    raise ModelError('weights lack something')

def exits():
    sys.exit(3)

class NoModes(torch.nn.Conv2d):
    def train(self, mode=True):
        raise NotImplementedError('no modes here')

def without_modes():
    from dnn_offload.graph.sources import LoadedModel
    return LoadedModel('', NoModes(3, 2, 3), 32, 32)

def needs(path, size=3):
    return torch.nn.Conv2d(3, 2, size)

number = 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / 'failing_nets.py').write_text(NETWORKS)
    (tmp_path / 'broken_syntax.py').write_text('def f(:\n')
    (tmp_path / 'broken_import.py').write_text('x = 1\nimport not_installed_here\n')
    (tmp_path / 'ends.py').write_text('raise SystemExit(4)\n')
    (tmp_path / 'package_that_raises').mkdir()
    (tmp_path / 'package_that_raises/__init__.py').write_text('1 / 0\n')
    (tmp_path / 'package_that_raises/nets.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        with contextlib.suppress(KeyError):
            if getattr(sys.modules[name], '__file__', None) in map(str, tmp_path.rglob('*.py')):
                del sys.modules[name]


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('failing_nets:raises', r':raises failed: RuntimeError: no weights on host foo; given: '
         r"raise RuntimeError\('no weights on host foo'\) \(failing_nets\.py:6\)$"),
        ('failing_nets:raises_inside', r'RuntimeError: Error.*\(failing_nets\.py:9\)$'),
        ('failing_nets:refuses', r'failed: weights lack something; .*failing_nets\.py:12'),
        ('failing_nets:exits', r':exits failed: it ended the program by sys\.exit\(3\); given: '
         r'sys\.exit\(3\) \(failing_nets\.py:15\)$'),
        ('failing_nets:needs', r"called without arguments: missing a required argument: 'path'"),
        ('failing_nets:without_modes', r'eval\(\) of the model fails: NotImplementedError: no '
         r'modes here; given: raise NotImplementedError\(.*failing_nets\.py:'),
        ('failing_nets:number', r':number is not callable; given: 5'),
        ('failing_nets:none', r"has no factory 'none'.*failing_nets\.py$"),
        ('failing_nets', 'names a module and a factory; given: python:failing_nets; allowed: '),
        (':raises', 'names a module and a factory'),
        ('broken_syntax:f', r'cannot be imported: SyntaxError: .*\(broken_syntax\.py:1\)$'),
        ('broken_import:f', r"cannot be imported: ModuleNotFoundError: No module named "
         r"'not_installed_here'; given: import not_installed_here \(broken_import\.py:2\)$"),
        ('ends:f', r'cannot be imported: it ended the program.*\(ends\.py:1\)$'),
        ('package_that_raises.nets:f', r'ZeroDivisionError.*\(__init__\.py:1\)$'),
        ('no_such_module:f', r"No module named 'no_such_module'; is its folder on PYTHONPATH\?$"),
        ('failing_nets.sub:f', r'cannot be found: .*is its folder on PYTHONPATH\?$'),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, name: str, text: str) -> None:
    with pytest.raises(ModelError, match=text) as caught:
        resolve(f'python:{name}', allow_code=True)
    assert '\n' not in str(caught.value)


def test_the_command_line_says_it_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (
        ('python:failing_nets:raises', 'raises failed: RuntimeError'),
        ('python:failing_nets:exits', 'sys.exit(3)'),
        ('python:package_that_raises.nets:f', 'ZeroDivisionError'),
        ('file:', 'model source is not understood; given: file:'),
    ):
        assert main(['models', name, '--allow-code', '--cache', str(folder / 'cache')]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('dnn-offload: ')
        assert text in line


def test_a_source_without_a_name_has_a_key() -> None:
    assert cache_key(ModelRequest('file:', allow_code=True)).startswith('file_')
