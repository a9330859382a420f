"""A parameter file that is not there is no reason to drive on defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.launch_files import parameter_files

ROOT = Path(__file__).resolve().parents[1]


def test_a_file_is_taken_from_home_and_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'mine.yaml').write_text('')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert parameter_files('~/mine.yaml') == [f'{tmp_path}/mine.yaml']
    monkeypatch.chdir(tmp_path)
    assert parameter_files('mine.yaml') == ['mine.yaml']
    assert parameter_files('') == []  # the nodes' own defaults, at the user's wish


@pytest.mark.parametrize(('given', 'why'), [('my.yaml', 'not there'), ('.', 'a folder')])
def test_what_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        parameter_files(given)
    said = str(refused.value)
    assert f'is {why}; given: {given}; allowed: a YAML file' in said and str(tmp_path) in said


@pytest.mark.parametrize('name', ['robot', 'server'])
def test_no_launch_file_hands_an_unchecked_path_to_its_nodes(name: str) -> None:
    text = (ROOT / f'launch/{name}.launch.py').read_text(encoding='utf-8')
    assert "LaunchConfiguration('params_file')" not in text
    assert 'launch_parts.parameter_file(context)' in text
