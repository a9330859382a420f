"""The frame of `dnn-offload`: it names its commands, and imports only what is asked for."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
import subprocess
import sys

import pytest

from dnn_offload.cli import main as cli
from dnn_offload.errors import OffloadError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('name', sorted(cli.COMMANDS))
def test_every_command_has_its_module(name: str) -> None:
    module = importlib.import_module(f'dnn_offload.cli.{name}_command')
    assert callable(module.add_parser) and callable(module.run)


def test_every_module_is_a_command() -> None:
    found = {path.stem for path in (ROOT / 'dnn_offload/cli').glob('*_command.py')}
    assert found == {f'{name}_command' for name in cli.COMMANDS}


@pytest.mark.parametrize('name', sorted(cli.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, '--help'])
    assert stop.value.code == 0
    assert f'dnn-offload {name}' in capsys.readouterr().out


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = (
        'import sys\nfrom dnn_offload.cli.main import main\n'
        'try:\n    main(["--help"])\nexcept SystemExit:\n    pass\n'
        'print([name for name in ("torch", "numpy", "rclpy", "rich") if name in sys.modules])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == '[]'
    for name, words in cli.COMMANDS.items():
        assert name in done.stdout and words in done.stdout


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(['nothing'])
    assert stop.value.code == 2
    assert 'plan' in capsys.readouterr().err


def stub(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Replace the chosen command by one that only raises, or returns 7."""

    class Module:
        @staticmethod
        def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            subparsers.add_parser('plan')

        @staticmethod
        def run(arguments: argparse.Namespace) -> int:
            if error is not None:
                raise error
            return 7

    monkeypatch.setattr(cli.importlib, 'import_module', lambda name: Module)


def test_the_exit_status_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, None)
    assert cli.main(['plan']) == 7


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(monkeypatch, OffloadError('a thing failed', hint='do that'))
    assert cli.main(['plan']) == 1
    assert capsys.readouterr().err == 'dnn-offload: a thing failed; do that\n'


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name='torch')

    monkeypatch.setattr(cli.importlib, 'import_module', refuse)
    assert cli.main(['plan']) == 1
    assert 'pip install torch' in capsys.readouterr().err
