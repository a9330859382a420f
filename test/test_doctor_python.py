"""The doctor's checks of Python and of what it imports, on made-up machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnn_offload.doctor import python_checks
from dnn_offload.doctor.finding import State
from dnn_offload.doctor.machine import Ended, Machine
from made_up_machine import COLCON, examination, MadeUpMachine, said

TORCH = {'version': '2.13.0', 'capability': 'NEON', 'cuda': False, 'threads': 4, 'import_s': 2.0}


@pytest.mark.parametrize(
    ('version', 'machine', 'state', 'cure'),
    [
        ((3, 12), 'aarch64', State.OK, ''),
        ((3, 9), 'x86_64', State.FAILURE, '3.12'),
        ((3, 13), 'x86_64', State.WARNING, '3.12'),
        ((3, 12), 'armv7l', State.FAILURE, '64-bit'),
    ],
)
def test_versions_and_processors(
    tmp_path: Path, version: tuple[int, int], machine: str, state: State, cure: str
) -> None:
    found = python_checks.check_python(examination(MadeUpMachine(tmp_path)), version, machine)
    assert found.state is state
    assert cure in found.cure


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exam = examination(MadeUpMachine(tmp_path))
    assert python_checks.check_packages(exam).state is State.OK
    monkeypatch.setitem(python_checks.MODULES, 'no-such', 'no_such_module')
    found = python_checks.check_packages(exam)
    assert found.state is State.FAILURE
    assert 'pip install no-such' in found.cure


@pytest.mark.parametrize(
    ('ended', 'found', 'cure'),
    [
        (Ended(-9), 'memory', 'swap'),
        (Ended(1, errors="ModuleNotFoundError: No module named 'torch'"), 'not installed', 'pip'),
        (Ended(-9, seconds=60.0, timed_out=True), 'within 60 s', '--patience'),
        (Ended(1, errors='libgomp.so.1: cannot open'), 'libgomp.so.1', 'install it anew'),
        (Ended(-11), 'SIGSEGV', 'install it anew'),
        (Ended(0, 'no answer'), 'gave no answer', 'install it anew'),
    ],
)
def test_every_way_in_which_torch_dies(
    tmp_path: Path, ended: Ended, found: str, cure: str
) -> None:
    exam = examination(MadeUpMachine(tmp_path, {'try_torch': ended}))
    made = python_checks.check_torch(exam)
    assert made.state is State.FAILURE
    assert found in made.found and cure in made.cure


@pytest.mark.parametrize(
    ('version', 'cure'), [('2.13.0', 'another version'), ('2.10.0', 'torch==2.13.0'), ('', 'pip')]
)
def test_an_illegal_instruction_of_the_pinned_version_is_not_cured_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, cure: str
) -> None:
    monkeypatch.setattr(python_checks, 'torch_version', lambda: version)
    made = python_checks.check_torch(
        examination(MadeUpMachine(tmp_path, {'try_torch': Ended(-4)}))
    )
    assert made.state is State.FAILURE and 'illegal instruction' in made.found
    assert cure in made.cure and version in made.found
    if version == python_checks.PINNED_TORCH:
        assert 'pip install' not in made.cure


def test_the_version_that_is_named_is_the_one_that_is_pinned() -> None:
    root = Path(__file__).resolve().parents[1]
    pinned = (root / 'tools/requirements/torch.txt').read_text(encoding='utf-8')
    assert f'torch=={python_checks.PINNED_TORCH}' in pinned
    assert python_checks.torch_version() == python_checks.PINNED_TORCH


def test_a_torch_that_computes(tmp_path: Path) -> None:
    found = python_checks.check_torch(
        examination(MadeUpMachine(tmp_path, {'try_torch': said(TORCH)}))
    )
    assert found.state is State.OK
    assert '2.13.0' in found.found and found.facts['capability'] == 'NEON'


def pictures(tmp_path: Path, ended: Ended) -> str:
    machine = MadeUpMachine(tmp_path, {'try_pictures': ended})
    found = python_checks.check_pictures(examination(machine))
    return f'{found.state.value}: {found.found} -> {found.cure}'


def test_cv_bridge_for_numpy_1_beside_numpy_2() -> None:
    step = '{"step": "cv_bridge", "numpy": "2.2.6", "cv2": "4.6.0"}\n'
    complaint = 'A module that was compiled using NumPy 1.x cannot be run in NumPy 2.2.6'
    for ended in (Ended(1, step, f'{complaint}\nAttributeError: _ARRAY_API not found'),
                  Ended(-11, step)):
        text = pictures(Path('/'), ended)
        assert text.startswith('warning: cv_bridge, which other nodes'), text
        assert 'is compiled for NumPy 1 and breaks with NumPy 2' in text
        assert "pip install 'numpy<2'" in text


def test_other_trouble_with_pictures(tmp_path: Path) -> None:
    fit = said({'step': 'done', 'numpy': '1.26.4', 'cv2': '4.6.0'})
    assert pictures(tmp_path, fit).startswith('ok: NumPy 1.26.4, OpenCV 4.6.0 and cv_bridge fit')
    without = said({'step': 'no cv_bridge', 'numpy': '2.2.6', 'cv2': '4.14.0'})
    assert pictures(tmp_path, without).startswith('ok: NumPy 2.2.6, OpenCV 4.14.0; no cv_bridge')
    broken = Ended(1, '{"step": "cv_bridge", "numpy": "1.26.4"}', 'ImportError: no boost')
    assert pictures(tmp_path, broken).startswith('warning: cv_bridge, which other nodes than ours')
    assert 'no boost' in pictures(tmp_path, broken)
    ours = Ended(1, '{"step": "cv2", "numpy": "2.2.6"}', 'AttributeError: _ARRAY_API not found')
    assert pictures(tmp_path, ours).startswith('failure: OpenCV is compiled for NumPy 1')
    opencv = Ended(1, '{"step": "cv2", "numpy": "2.2.6"}', 'ImportError: libGL.so.1: cannot open')
    assert 'opencv-python-headless' in pictures(tmp_path, opencv)
    numpy = Ended(1, '{"step": "numpy"}', "ModuleNotFoundError: No module named 'numpy'")
    assert pictures(tmp_path, numpy).startswith('failure: numpy does not work: ')


def install(tmp_path: Path, **changes: object) -> str:
    machine = MadeUpMachine(tmp_path, {'where_installed': said({**COLCON, **changes})})
    found = python_checks.check_install(examination(machine))
    return f'{found.state.value}: {found.found} -> {found.cure}'


def test_which_install_wins(tmp_path: Path) -> None:
    assert install(tmp_path) == 'ok: colcon wins: /ws/install/dnn_offload; version 0.1.0 -> '
    pip = {'folder': '/venv/dnn_offload', 'messages': False, 'ros_part': False}
    over = install(tmp_path, **pip)
    assert over.startswith('failure: pip wins (/venv/dnn_offload) over the colcon install in /ws')
    assert 'pip uninstall dnn_offload' in over
    alone = install(tmp_path, **pip, prefixes=[], copies=['/venv/dnn_offload'])
    assert alone.startswith('ok: pip wins: /venv')
    tree = install(tmp_path, folder='/src/dnn_offload', messages=False)
    assert tree.startswith('failure: the source tree /src/dnn_offload')
    assert 'PYTHONPATH' in tree
    hidden = install(tmp_path, copies=['/ws/install/dnn_offload', '/venv/dnn_offload'])
    assert hidden.startswith('warning: ') and 'hidden behind it: /venv/dnn_offload' in hidden
    old = install(tmp_path, distributions=[{'place': '/venv', 'version': '0.0.9'}])
    assert old.startswith('warning: ') and 'versions differ: 0.0.9, 0.1.0' in old
    assert install(tmp_path, folder='').startswith('failure: import dnn_offload finds nothing')


def test_an_install_of_links_is_the_one_that_wins(tmp_path: Path) -> None:
    # As "colcon build --symlink-install" makes it: its files are links to the source tree, what
    # was generated is one to the build folder.
    install, source, build = (tmp_path / name for name in ('install', 'source', 'build'))
    for folder in (source, build):
        (folder / 'dnn_offload').mkdir(parents=True)
        (folder / 'dnn_offload/__init__.py').touch()
    won = install / 'dnn_offload'
    (won / 'nodes').mkdir(parents=True)
    for target in (source, build):
        (won / '__init__.py').unlink(missing_ok=True)
        os.symlink(target / 'dnn_offload/__init__.py', won / '__init__.py')
        machine = Machine(environment={'PYTHONPATH': str(install), 'PATH': os.environ['PATH']})
        answer = machine.child('where_installed', limit_s=60.0).answer
        assert answer is not None and answer['folder'] == answer['copies'][0] == str(won)
        assert answer['ros_part']
        assert not [copy for copy in answer['copies'] if copy.startswith(str(target))]
        # Others that lie in the environment of the tests are no matter here.
        alone = {**answer, 'copies': answer['copies'][:1], 'distributions': []}
        assert python_checks.check_install(examination(
            MadeUpMachine(tmp_path, {'where_installed': said({**alone, 'messages': True})})
        )).found == f'colcon wins: {won}'
