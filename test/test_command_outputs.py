"""What all commands share: how they complain, what they write, how wide they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnn_offload.cli import main as cli
from dnn_offload.cli import models_command, plan_command, profile_command
from dnn_offload.cli.console import console_of, WIDTH
from dnn_offload.errors import ConfigurationError
from dnn_offload.simulate import replay
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.writable import check_file, make_folder, PICTURES


@pytest.fixture
def profiles(tmp_path: Path) -> list[str]:
    """Arguments that name two profiles."""
    paths = [tmp_path / 'edge.json', tmp_path / 'server.json']
    for path, speed in zip(paths, (1.0, 4.0), strict=True):
        path.write_text(made_up_profile(cuts=6, speed=speed).to_json(), encoding='utf-8')
    return ['--edge', str(paths[0]), '--server', str(paths[1])]


def never(*_: object, **__: object) -> None:
    """Stand for the long work."""
    raise AssertionError('the work has begun')


@pytest.mark.parametrize(
    'given', [['plan', '--edge', '/no/such.json'], ['simulate', 'no_such_trace'], ['bench', 'no']]
)
def test_all_commands_complain_in_one_form(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(given) == 1
    said = capsys.readouterr().err
    assert said.startswith('dnn-offload: ') and said.count('\n') == 1


# ---- what cannot be written --------------------------------------------------------------


def test_a_file_is_asked_for_and_left_as_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / 'new.png', tmp_path / 'old.PNG'
    old.write_text('old')
    for path in (new, old, Path('/dev/null')):
        check_file('--plot', path, PICTURES if path.suffix else ())
    assert not new.exists() and old.read_text() == 'old'


@pytest.mark.parametrize('name', ['plan', '.', 'plan.foo', 'plan.json', 'png'])
def test_a_picture_needs_an_ending_that_is_known(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'--plot.*given: .*allowed: .*\.png'):
        check_file('--plot', tmp_path / name, PICTURES)


def test_all_kinds_of_pictures_are_drawn(tmp_path: Path) -> None:
    figure = pytest.importorskip('matplotlib.figure').Figure()
    for ending in PICTURES:
        figure.savefig(tmp_path / f'picture{ending}')


def test_a_folder_is_made_or_refused(tmp_path: Path) -> None:
    make_folder('--out', tmp_path / 'new' / 'one')
    assert list((tmp_path / 'new' / 'one').iterdir()) == []
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'below', Path('/proc/x'), Path('/proc')):
        with pytest.raises(ConfigurationError, match=f'--out cannot.*given: {path}: '):
            make_folder('--out', path)


@pytest.mark.parametrize('path', ['/proc/x.png', '/nope/x.png', '{tmp}/x.foo', '{tmp}/edge.json'])
def test_pictures_are_refused_before_the_search(
    path: str, profiles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(plan_command, 'plan', never)
    monkeypatch.setattr(replay, 'compare', never)
    path = path.format(tmp=tmp_path)
    for command in (['plan', *profiles], ['simulate', 'step_load']):
        assert cli.main([*command, '--plot', path]) == 1
        said = capsys.readouterr().err
        assert '--plot' in said and path in said and 'allowed: ' in said


def test_the_table_is_there_when_drawing_fails(
    profiles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(plan_command, '_plot', never)
    with pytest.raises(AssertionError, match='begun'):
        cli.main(['plan', *profiles, '--plot', str(tmp_path / 'x.png')])
    assert 'cost of every cut' in capsys.readouterr().out


def test_nothing_is_exported_or_measured_for_a_folder_or_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models_command.Program, 'load', never)
    monkeypatch.setattr(profile_command, 'measure', never)
    (tmp_path / 'file').write_text('')
    cache = ['--cache', str(tmp_path / 'cache')]
    for command in (
        ['models', 'demo:detector', '--cache', '/proc/x'],
        ['models', 'demo:detector', '--cache', str(tmp_path / 'file')],
        ['profile', 'demo:detector', '--cache', '/proc/x'],
        ['profile', 'demo:detector', *cache, '--output', '/nope/robot.json'],
    ):
        assert cli.main(command) == 1
        assert 'allowed: a f' in capsys.readouterr().err


# ---- how wide it is ----------------------------------------------------------------------


def test_a_pipe_is_wide_unless_the_user_says_how_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('COLUMNS', raising=False)
    assert (console_of().width, console_of(170).width) == (WIDTH, 170)
    monkeypatch.setenv('COLUMNS', '40')
    assert console_of().width == 40


@pytest.mark.parametrize('columns', ['80', ''])
def test_simulate_names_its_columns(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv('COLUMNS', raising=False)
    if columns:
        monkeypatch.setenv('COLUMNS', columns)
    assert cli.main(['simulate', 'step_load', '--seconds', '8', '--strategy', 'local']) == 0
    said = capsys.readouterr().out
    assert 'switches' in said and '…' not in said
    assert ('regret %' in said) == (columns == '')


def test_networks_can_be_read_and_copied_at_40_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('COLUMNS', '40')
    assert cli.main(['models']) == 0
    said = capsys.readouterr().out
    for source, what in models_command.TRIED:
        assert f'{source}\n' in said and what in ' '.join(said.split())
