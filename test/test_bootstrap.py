"""The set-up says in one sentence what is in its way."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

import bootstrap
from environment import build, cmake_paths, machine, main, venv, verify
from environment.commands import CommandError, run, SetupError

ROOT = Path(__file__).resolve().parents[1]

# Runs the set-up of a checkout in a Python that is not as this one.
IN_A_CHANGED_PYTHON = """
import runpy, sys, sysconfig
{change}
sys.argv = ['{tree}/tools/bootstrap.py']
sys.path.insert(0, '{tree}/tools')
runpy.run_path(sys.argv[0], run_name='__main__')
"""
OTHER_VERSION = "sys.version_info = ({}, {}, 0, 'final', 0)"
WITHOUT_HEADERS = "sysconfig.get_path = lambda name: '/no/headers/here'"


def checkout(folder: Path) -> Path:
    """Copy what the set-up reads to a folder that looks like a fresh clone."""
    for name in ('tools', 'msg', 'resource', 'config', 'launch'):
        shutil.copytree(ROOT / name, folder / name)
    for name in ('package.xml', 'CMakeLists.txt'):
        shutil.copy(ROOT / name, folder)
    (folder / 'dnn_offload').mkdir()
    return folder


def programs(folder: Path, *names: str) -> str:
    """Make a PATH on which only these programs are found."""
    folder.mkdir(exist_ok=True)
    for name in names:
        program = folder / name
        program.write_text('#!/bin/sh\nexit 0\n', encoding='utf-8')
        program.chmod(0o755)
    return str(folder)


def start(tree: Path, script: str = '', **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up of a checkout, or a script, outside any ROS environment."""
    env = {key: value for key, value in os.environ.items() if not key.startswith('AMENT')}
    for name in ('ROS_DISTRO', 'PYTHONPATH', 'CC', 'CXX'):
        env.pop(name, None)
    return subprocess.run(
        [sys.executable, *(['-c', script] if script else [str(tree / 'tools/bootstrap.py')])],
        env=env | variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the user was told; checks that it is one line and no traceback."""
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith('dnn_offload: ')
    return lines[0]


def ros_tree(prefix: Path, minor: int = sys.version_info[1]) -> Path:
    """Make a prefix that looks like a ROS 2 that is made for a Python."""
    (prefix / 'share/rclpy').mkdir(parents=True)
    (prefix / 'share/rclpy/package.xml').touch()
    (prefix / f'lib/python3.{minor}/site-packages/rclpy').mkdir(parents=True)
    return prefix


@pytest.mark.parametrize('version', [(3, 9), (3, 13), (2, 7)])
def test_a_wrong_python_gets_one_sentence(tmp_path: Path, version: tuple[int, int]) -> None:
    script = IN_A_CHANGED_PYTHON.format(tree=ROOT, change=OTHER_VERSION.format(*version))
    done = subprocess.run(
        [sys.executable, '-c', script],
        env={'PATH': str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = sentence(done)
    assert '3.10, 3.11 or 3.12' in said
    assert '{}.{}'.format(*version) in said


def test_a_supported_python_elsewhere_on_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / 'python3.12'  # a version manager's shim that starts nothing
    broken.write_text('#!/bin/sh\nexit 127\n', encoding='utf-8')
    good = tmp_path / 'python3.11'
    good.write_text('#!/bin/sh\necho 3.11\n', encoding='utf-8')
    for program in (broken, good):
        program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert bootstrap.find_python([12, 11, 10]) == str(good)
    assert bootstrap.find_python([12]) is None


def test_supported_versions() -> None:
    assert not bootstrap.supported((3, 9))
    assert all(bootstrap.supported((3, minor)) for minor in (10, 11, 12))
    assert not bootstrap.supported((3, 13))


def start_beside_ros(
    folder: Path, here: int, ros: int, path: str
) -> subprocess.CompletedProcess[str]:
    """Run the set-up by one Python, beside a Jazzy that is made for another."""
    tree = checkout(folder / 'tree')
    script = IN_A_CHANGED_PYTHON.format(tree=tree, change=OTHER_VERSION.format(3, here))
    prefix = str(ros_tree(folder / 'ros', ros))
    return start(tree, script, PATH=path, ROS_DISTRO='jazzy', AMENT_PREFIX_PATH=prefix)


def test_another_python_than_that_of_ros_gets_one_sentence(tmp_path: Path) -> None:
    said = sentence(start_beside_ros(tmp_path, 11, 12, programs(tmp_path / 'bin')))
    assert f'{tmp_path}/ros is made for Python 3.12' in said and 'here is 3.11' in said
    assert 'python3.12-venv' in said and 'PYTHON=/path/to/python3.12' in said
    assert not (tmp_path / 'tree/.venv').exists()


def test_the_python_of_ros_is_taken_where_it_is_on_path(tmp_path: Path) -> None:
    path = programs(tmp_path / 'bin')
    for minor in (11, 12):
        other = tmp_path / f'bin/python3.{minor}'
        answer = f'[ "$1" = -c ] && echo 3.{minor} || echo "3.{minor} starts $1"'
        other.write_text(f'#!/bin/sh\n{answer}\n', encoding='utf-8')
        other.chmod(0o755)
    done = start_beside_ros(tmp_path, 10, 11, path)
    assert done.stdout == f'3.11 starts {tmp_path}/tree/tools/bootstrap.py\n', done.stderr


@pytest.mark.parametrize(
    'place', ['lib/python3.12/site-packages', 'local/lib/python3.12/dist-packages']
)
def test_what_python_a_ros_is_made_for(
    place: str, ros_prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert bootstrap.ros_pythons() == (str(ros_prefix), [])  # it does not tell: any may try
    (ros_prefix / place / 'rclpy').mkdir(parents=True)
    assert bootstrap.ros_pythons() == (str(ros_prefix), [12])
    (ros_prefix / 'pyvenv.cfg').touch()  # an environment with wheels, such as our own
    assert bootstrap.ros_pythons() == ('', [])
    (ros_prefix / 'pyvenv.cfg').unlink()
    monkeypatch.setenv('ROS_DISTRO', 'humble')  # its own sentence comes later
    assert bootstrap.ros_pythons() == ('', [])


def test_the_python_of_ros_goes_on(tmp_path: Path) -> None:
    here = sys.version_info[1]
    said = sentence(start_beside_ros(tmp_path, here, here, programs(tmp_path / 'bin')))
    assert 'C compiler is missing' in said  # the next thing that it looks for


def test_a_missing_c_compiler_gets_one_sentence(tmp_path: Path) -> None:
    tree = checkout(tmp_path / 'tree')
    said = sentence(start(tree, PATH=programs(tmp_path / 'bin')))
    assert 'C compiler is missing' in said and 'build-essential' in said
    assert not (tree / '.venv').exists()


def test_a_missing_cpp_compiler_gets_one_sentence(tmp_path: Path) -> None:
    tree = checkout(tmp_path / 'tree')
    said = sentence(start(tree, PATH=programs(tmp_path / 'bin', 'gcc')))
    assert 'C++ compiler is missing' in said


def test_a_chosen_compiler_must_be_there(tmp_path: Path) -> None:
    tree = checkout(tmp_path / 'tree')
    path = programs(tmp_path / 'bin', 'gcc', 'g++')
    said = sentence(start(tree, PATH=path, CXX='my-g++ -O1'))
    assert 'my-g++' in said


@pytest.mark.parametrize('ros', ['jazzy', ''])
def test_missing_python_headers_get_one_sentence_before_anything_is_made(
    tmp_path: Path, ros: str
) -> None:
    tree = checkout(tmp_path / 'tree')
    path = programs(tmp_path / 'bin', 'gcc', 'g++', 'make')
    script = IN_A_CHANGED_PYTHON.format(tree=tree, change=WITHOUT_HEADERS)
    jazzy = {'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': str(ros_tree(tmp_path / 'ros'))}
    said = sentence(start(tree, script, PATH=path, **(jazzy if ros else {})))
    assert '/no/headers/here' in said and f'apt install python3.{sys.version_info[1]}-dev' in said
    assert not (tree / '.venv').exists() and not (tree / 'build').exists()


def test_this_python_has_its_headers() -> None:
    machine.check_python_headers()  # else nobody could have built what is tested here


def test_a_path_with_a_space_gets_one_sentence(tmp_path: Path) -> None:
    tree = checkout(tmp_path / 'my robot')
    assert 'has a space in it' in sentence(start(tree))


def test_no_network_gets_one_sentence_and_leaves_no_stamp(tmp_path: Path) -> None:
    tree = checkout(tmp_path / 'tree')
    done = start(
        tree,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL='http://127.0.0.1:9/simple',  # nobody listens there
        PIP_EXTRA_INDEX_URL='',
        PIP_FIND_LINKS='',
        PIP_NO_CACHE_DIR='1',
    )
    assert 'package index cannot be reached' in sentence(done)
    assert (tree / '.venv').exists()
    assert not (tree / '.venv' / venv.STAMP.name).exists()


def test_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SetupError, match=r'apt install python3\.\d+-venv'):
        machine.check_venv_module()


def test_an_arm_board_is_sent_to_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(SetupError, match=r'/opt/ros/jazzy/setup\.bash'):
        machine.check_platform(None)
    machine.check_platform(Path('/opt/ros/jazzy'))


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, 'system', lambda: 'Darwin')
    with pytest.raises(SetupError, match='Linux is needed'):
        machine.check_platform(None)


@pytest.fixture
def ros_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prefix that looks like a sourced ROS 2."""
    (tmp_path / 'share/rclpy').mkdir(parents=True)
    (tmp_path / 'share/rclpy/package.xml').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere{os.pathsep}{tmp_path}')
    return tmp_path


def test_a_sourced_jazzy_is_used(ros_prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert machine.ros_distribution() == ros_prefix


def test_another_distribution_is_refused(
    ros_prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(SetupError, match='humble'):
        machine.ros_distribution()


def test_our_own_environment_is_no_distribution(ros_prefix: Path) -> None:
    (ros_prefix / 'pyvenv.cfg').touch()
    assert machine.ros_distribution() is None


@pytest.mark.parametrize(
    ('output', 'told'),
    [
        ("NewConnectionError('...: Name or service not known')", 'cannot be reached'),
        ('ERROR: Could not install: [Errno 28] No space left on device', 'disk is full'),
        ('x\nERROR: No matching distribution found for foo==1', 'found for foo==1'),
        ('', 'no reason given'),
    ],
)
def test_what_pip_says_becomes_a_sentence(output: str, told: str) -> None:
    assert told in str(venv.explain_pip(output))


def test_verification_finds_gaps(tmp_path: Path) -> None:
    requirements = tmp_path / 'some.txt'
    requirements.write_text(
        '# words\nno-such-thing==1.0  # why\nnumpy[x]==0.1\nscipy>=1\n', encoding='utf-8'
    )
    wanted = verify.pins(requirements)
    assert wanted == [('no-such-thing', '1.0'), ('numpy', '0.1')]
    missing, other = verify.version_problems(wanted)
    assert missing == 'no-such-thing is missing'
    assert other.startswith('numpy is ') and other.endswith('not 0.1')


def test_cmake_paths_are_mended(tmp_path: Path) -> None:
    built = '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include'
    text = f'set(a "{built};/opt/python/cp312-cp312/include/python3.12")\n'
    path = tmp_path / 'share/pkg/cmake/pkgExport.cmake'
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding='utf-8')
    assert cmake_paths.mend(tmp_path, '/numpy', '/python') == 1
    assert path.read_text(encoding='utf-8') == 'set(a "/numpy;/python")\n'
    assert cmake_paths.mend(tmp_path, '/numpy', '/python') == 0


def test_modules_without_source_are_stale_but_generated_ones_are_not(tmp_path: Path) -> None:
    source, installed = tmp_path / 'source', tmp_path / 'installed'
    for name in ('graph/kept.py', '__init__.py'):
        for top in (source, installed):
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).touch()
    (installed / 'msg').mkdir()
    for name in ('graph/gone.py', 'msg/_plan.py', 'dnn_offload_s__typesupport.so'):
        (installed / name).touch()
    assert build.stale_files(source, installed) == [installed / 'graph/gone.py']


def test_a_change_of_a_source_file_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, 'ROOT', tmp_path)
    (tmp_path / 'msg').mkdir()
    message = tmp_path / 'msg/A.msg'
    message.write_text('int8 a\n', encoding='utf-8')
    before = build.digest(['msg'])
    message.write_text('int16 a\n', encoding='utf-8')
    assert build.digest(['msg']) != before
    assert build.digest(['msg'], 'other salt') != build.digest(['msg'])


def test_a_command_that_does_not_exist_is_a_command_error(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        run([tmp_path / 'nothing'], tmp_path / 'log')


def test_unforeseen_trouble_is_still_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(force: bool) -> None:
        raise PermissionError(13, 'Permission denied', '/read/only')

    monkeypatch.setattr(main, 'set_up', fail)
    assert main.main([]) == 1
    assert '/read/only' in capsys.readouterr().err
