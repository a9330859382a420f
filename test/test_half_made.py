"""The set-up finds an environment or an installation that is half-made, and makes it whole."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
import json
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

from environment import build, venv, verify
from environment.commands import CommandError, SetupError

PACKAGE = f'dnn_offload/lib/python3.{sys.version_info[1]}/site-packages/dnn_offload'
INSTALLED = (
    'local_setup.bash',
    'dnn_offload/lib/dnn_offload/camera_node',
    'dnn_offload/lib/libdnn_offload__rosidl_generator_c.so',
    f'{PACKAGE}/errors.py',
    f'{PACKAGE}/msg/_plan.py',
    f'{PACKAGE}/dnn_offload_s__rosidl_typesupport_c.so',
    'vision_msgs/share/vision_msgs/package.xml',
)


class Recorded(venv.Environment):
    """An environment that notes the steps instead of taking them."""

    def __init__(self, whole: bool) -> None:
        super().__init__(None)
        self.whole = whole
        self.steps: list[str] = []

    def looks_whole(self) -> bool:
        return self.whole

    def is_whole_without_stamp(self) -> bool:
        return self.whole

    def create(self) -> None:
        self.steps.append('create')
        venv.VENV.mkdir()

    def install(self) -> None:
        self.steps.append('install')

    def finish(self, stamp: dict[str, str]) -> None:
        self.steps.append('finish')
        venv.STAMP.write_text(json.dumps(stamp), encoding='utf-8')


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without an environment."""
    monkeypatch.setattr(venv, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(venv, 'STAMP', tmp_path / '.venv/stamp.json')
    monkeypatch.setattr(venv, 'LOG', tmp_path / 'setup.log')
    return tmp_path


def test_a_fresh_checkout_gets_everything_once(place: Path) -> None:
    environment = Recorded(whole=True)
    assert environment.ensure()
    assert environment.steps == ['create', 'install', 'finish']
    assert not environment.ensure()
    assert environment.steps == ['create', 'install', 'finish']


def test_a_half_made_environment_is_made_anew(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    venv.VENV.mkdir()
    (venv.VENV / 'rest').touch()
    environment = Recorded(whole=False)
    assert environment.ensure()
    assert environment.steps == ['create', 'install', 'finish']
    assert not (venv.VENV / 'rest').exists()
    assert 'half-made' in capsys.readouterr().out


def test_a_damaged_environment_is_made_anew_although_stamped(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = Recorded(whole=False)
    environment.create()
    environment.finish(environment.wanted_stamp())
    environment.steps.clear()
    assert environment.ensure()
    assert environment.steps == ['create', 'install', 'finish']
    assert 'half-made' in capsys.readouterr().out


def test_changed_requirements_are_installed_into_a_whole_environment(place: Path) -> None:
    environment = Recorded(whole=True)
    environment.create()
    environment.finish(environment.wanted_stamp() | {'requirements': 'older'})
    environment.steps.clear()
    assert environment.ensure()
    assert environment.steps == ['install', 'finish']


def test_a_moved_checkout_gets_a_new_environment(place: Path) -> None:
    environment = Recorded(whole=True)
    environment.create()
    environment.finish(environment.wanted_stamp() | {'folder': '/elsewhere/.venv'})
    environment.whole = False  # its scripts still start the interpreter of the old place
    environment.steps.clear()
    assert environment.ensure()
    assert environment.steps == ['create', 'install', 'finish']


def test_an_interpreter_that_is_gone_is_noticed(place: Path) -> None:
    assert not venv.Environment(None).looks_whole()


class BareVenv(venv.Environment):
    """An environment whose venv is real; instead of distributions it gets empty modules."""

    def create(self) -> None:
        command = [sys.executable, '-m', 'venv', '--without-pip', str(venv.VENV)]
        subprocess.run(command, check=True, timeout=120)

    def install(self) -> None:
        for name in self.modules():
            self.module(name).touch()

    def finish(self, stamp: dict[str, str]) -> None:
        venv.STAMP.write_text(json.dumps(stamp), encoding='utf-8')

    def module(self, name: str) -> Path:
        """Return the file that stands for a module."""
        (folder,) = venv.VENV.glob('lib/python3*/site-packages')
        return folder / f'{name}.py'


@pytest.fixture
def made(place: Path) -> BareVenv:
    """An environment that was just made and is whole."""
    environment = BareVenv(None)
    assert environment.ensure()
    assert environment.looks_whole()
    assert not environment.ensure()
    return environment


def test_any_module_that_is_gone_is_noticed(made: BareVenv) -> None:
    for name in made.modules():
        module = made.module(name)
        module.unlink()
        assert not made.looks_whole(), name
        module.touch()
    assert made.looks_whole()


@pytest.mark.parametrize(
    'name', ['torch', 'torchvision', 'ruff', 'mypy', 'xdist', 'pytest_timeout', 'colcon_core']
)
def test_a_module_that_is_gone_is_brought_back(made: BareVenv, name: str) -> None:
    made.module(name).unlink()
    assert made.ensure()
    assert made.looks_whole()
    assert made.module(name).is_file()


def installed_by(distribution: str) -> set[str]:
    """Return what a distribution put beside the others' modules; nothing where it is not here."""
    try:
        files = metadata.files(distribution) or ()
    except metadata.PackageNotFoundError:
        return set()
    return {file.parts[0].removesuffix('.py') for file in files if file.parts[0] != '..'}


@pytest.mark.parametrize('prefix', [None, Path('/opt/ros/jazzy')], ids=['wheels', 'beside ROS'])
def test_every_requirement_has_a_module_that_is_looked_for(prefix: Path | None) -> None:
    environment = venv.Environment(prefix)
    torch = [venv.REQUIREMENTS / f'{name}.txt' for name in ('torch', 'torchvision')]
    required = [name for path in [*environment.files, *torch] for name in verify.names(path)]
    assert {'numpy', 'torch', 'torchvision', 'pytest-xdist', 'ruff'} <= set(required)
    looked_for = set(environment.modules())
    for distribution in required:
        found = installed_by(distribution)
        assert not found or found & looked_for, f'{distribution}: {found}'
    assert len(looked_for) >= len(required)
    wheels = {'colcon_core', 'colcon_ros', 'ament_cmake', 'rosidl_default_generators'}
    assert (wheels <= looked_for) == (prefix is None)
    assert {'rclpy', 'em', 'catkin_pkg', 'cv_bridge'} <= looked_for


def test_the_map_of_modules_names_requirements_only() -> None:
    required = {name for path in venv.REQUIREMENTS.glob('*.txt') for name in verify.names(path)}
    assert set(venv.IMPORTED_AS) <= required


def test_an_environment_with_gaps_gets_no_stamp(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: Sequence[str | Path], *_: object, **__: object) -> str:
        if venv.LOOK in command and 'ruff' in command:
            raise CommandError(['python'], 'not found: ruff')
        return ''

    monkeypatch.setattr(venv, 'run', run)
    with pytest.raises(SetupError, match='not found: ruff'):
        venv.Environment(None).finish({})
    assert not venv.STAMP.exists()


@pytest.mark.parametrize('name', ['python', 'activate'])
def test_a_program_of_the_environment_that_is_gone_is_noticed(made: BareVenv, name: str) -> None:
    (venv.VENV / 'bin' / name).unlink()
    assert not made.looks_whole()
    assert made.ensure()
    assert made.looks_whole()


def test_an_environment_that_was_never_filled_is_not_whole(place: Path) -> None:
    environment = BareVenv(None)
    environment.create()
    assert not environment.looks_whole()


class QuickBuild(build.Build):
    """A build that lays empty-handed files where colcon and CMake put theirs, and counts."""

    def __init__(self) -> None:
        super().__init__(venv.Environment(None))
        self.steps: list[str] = []

    def compile(self) -> None:
        self.steps.append('compile')
        for name in INSTALLED:
            path = build.INSTALL / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('content', encoding='utf-8')

    def copy(self) -> None:
        self.steps.append('copy')


@pytest.fixture
def built(place: Path, monkeypatch: pytest.MonkeyPatch) -> QuickBuild:
    """A checkout that was just built."""
    monkeypatch.setattr(build, 'ROOT', place)
    monkeypatch.setattr(build, 'INSTALL', place / 'install')
    monkeypatch.setattr(build, 'STAMP', place / 'install/stamp.json')
    for name in build.INTERFACES + build.FILES:
        (place / name).mkdir(parents=True)
    (place / 'dnn_offload/errors.py').touch()
    made = QuickBuild()
    assert made.ensure()
    assert not made.ensure()
    assert made.steps == ['compile']
    return made


@pytest.mark.parametrize('name', INSTALLED)
@pytest.mark.parametrize('how', ['gone', 'cut short'])
def test_an_installed_file_that_is_lost_is_built_again(
    built: QuickBuild, name: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = build.INSTALL / name
    path.unlink() if how == 'gone' else path.write_text('con', encoding='utf-8')
    assert built.ensure()
    assert built.steps == ['compile', 'compile']
    assert path.read_text(encoding='utf-8') == 'content'
    assert name in capsys.readouterr().out
    assert not built.ensure()


@pytest.mark.parametrize('top', ['dnn_offload', f'{PACKAGE}/msg', 'dnn_offload/lib/dnn_offload'])
def test_an_installed_folder_that_is_lost_is_built_again(built: QuickBuild, top: str) -> None:
    shutil.rmtree(build.INSTALL / top)
    assert built.ensure()
    assert built.steps == ['compile', 'compile']


def test_a_stamp_alone_is_no_installation(built: QuickBuild) -> None:
    stamp = build.STAMP.read_text(encoding='utf-8')
    shutil.rmtree(build.INSTALL)
    build.INSTALL.mkdir()
    build.STAMP.write_text(stamp, encoding='utf-8')
    assert built.ensure()
    assert built.steps == ['compile', 'compile']
    assert not build.lost_files(build.found_stamp(), build.INSTALL)


@pytest.mark.parametrize('text', ['', '{"interfaces"', '[]', '{"interfaces": "a", "files": "b"}'])
def test_a_stamp_that_cannot_be_read_is_no_stamp(built: QuickBuild, text: str) -> None:
    build.STAMP.write_text(text, encoding='utf-8')
    assert built.ensure()
    assert built.steps == ['compile', 'compile']


def test_changed_modules_are_copied_and_compiled_ones_stay_out_of_it(built: QuickBuild) -> None:
    cache = build.INSTALL / PACKAGE / '__pycache__/errors.cpython.pyc'
    cache.parent.mkdir()
    cache.touch()
    (build.ROOT / 'dnn_offload/errors.py').write_text('X = 1\n', encoding='utf-8')
    assert built.ensure()
    cache.unlink()
    assert not built.ensure()
    assert built.steps == ['compile', 'copy']
