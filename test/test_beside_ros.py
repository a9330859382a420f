"""The set-up beside a sourced ROS 2 uses it: it sees its packages, adds only what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from environment import build, machine, venv
from environment.commands import CommandError

PREFIX = Path('/opt/ros/jazzy')
PYTHONPATH = f'{PREFIX}/lib/python3.12/site-packages'


class Commands:
    """Notes commands instead of running them; modules in ``missing`` are not found."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.missing: tuple[str, ...] = ()

    def __call__(
        self, command: Sequence[str | Path], log: Path, *, env: dict[str, str],
        cwd: Path | None = None,
    ) -> str:
        words = [str(word) for word in command]
        self.lines.append(' '.join(words))
        self.environments.append(env)
        if venv.LOOK in words and words[-1] in self.missing:
            raise CommandError(words, words[-1])
        return ''

    def pip(self) -> list[str]:
        """What was to be installed, a line per call."""
        return [line for line in self.lines if ' -m pip install ' in line]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    noted = Commands()
    monkeypatch.setattr(venv, 'run', noted)
    monkeypatch.setattr(venv, 'VENV', tmp_path)
    monkeypatch.setattr(machine, 'has_nvidia_gpu', lambda: True)
    monkeypatch.setattr(venv.shutil, 'which', lambda name: f'/usr/bin/{name}')
    monkeypatch.setenv('PYTHONPATH', PYTHONPATH)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(PREFIX))
    monkeypatch.setenv('CMAKE_PREFIX_PATH', str(PREFIX))
    monkeypatch.setenv('VIRTUAL_ENV', '/somebody/elses')
    return noted


@pytest.mark.parametrize('prefix', [PREFIX, None])
def test_only_beside_ros_the_environment_sees_the_systems_packages(
    prefix: Path | None, commands: Commands
) -> None:
    venv.Environment(prefix).create()
    (made,) = commands.lines
    assert ('--system-site-packages' in made) == (prefix is not None)
    (variables,) = commands.environments
    assert variables.get('PYTHONPATH') == (PYTHONPATH if prefix else None)
    assert 'VIRTUAL_ENV' not in variables


def test_what_ros_brings_is_not_installed_again(commands: Commands) -> None:
    venv.Environment(PREFIX).install()
    told = ' '.join(commands.pip())
    assert 'jazzy.txt' in told and 'torch.txt' in told
    assert not any(word in told for word in ('ros.txt', 'library.txt', '--constraint', 'opencv'))


def test_what_ros_lacks_is_installed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.missing = ('cv2', 'em')
    monkeypatch.setattr(venv.shutil, 'which', lambda name: None)
    added = venv.Environment(PREFIX).missing_beside_ros()
    names = [requirement.partition('=')[0].rstrip('><') for requirement in added]
    assert {'opencv-python-headless', 'empy', 'cmake'} <= set(names)
    assert any(name.startswith('colcon') for name in names)
    assert not {'cv-bridge', 'catkin_pkg'} & set(names)
    commands.lines.clear()
    venv.Environment(PREFIX).install()
    libraries = next(line for line in commands.pip() if 'jazzy.txt' in line)
    assert all(requirement in libraries for requirement in added)
    assert venv.Environment(None).missing_beside_ros() == [], 'the wheels have all of it'


@pytest.mark.parametrize('prefix, has_vision_msgs, builds_it', [
    (PREFIX, True, False), (PREFIX, False, True), (None, True, True),
])
def test_our_vision_msgs_are_built_where_there_are_no_others(
    prefix: Path | None, has_vision_msgs: bool, builds_it: bool, commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, 'ament_package', lambda name: has_vision_msgs)
    made = build.Build(venv.Environment(prefix))
    assert (build.ROOT / 'tools/vision_msgs' in made.paths) == builds_it
    variables = made.variables()
    # Beside wheels nothing of a workspace that happens to be sourced may get in.
    assert (variables['AMENT_PREFIX_PATH'] == str(PREFIX)) == (prefix is not None)
    assert (variables['CMAKE_PREFIX_PATH'] == str(PREFIX)) == (prefix is not None)


def test_an_environment_of_wheels_is_not_taken_for_one_beside_ros(commands: Commands) -> None:
    stamps = [venv.Environment(prefix).wanted_stamp() for prefix in (PREFIX, None)]
    assert [stamp['ros'] for stamp in stamps] == [str(PREFIX), 'wheels']
