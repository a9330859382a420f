"""The files around the code agree with each other and with the code."""

from __future__ import annotations

import ast
from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from environment import verify
import test_import_rules

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'tools/requirements'

# rosdep keys outside the ROS distribution that exist (rosdep's python.yaml).
ROSDEP_KEYS = {
    'python3-matplotlib', 'python3-numpy', 'python3-opencv', 'python3-psutil',
    'python3-hypothesis', 'python3-pytest', 'python3-pytest-timeout', 'python3-rich',
    'python3-scipy', 'python3-yaml',
}  # fmt: skip
# What is imported at run time -> its rosdep key; None where pip brings it (package.xml says why).
RUN_TIME = {
    'cv2': 'python3-opencv', 'matplotlib': 'python3-matplotlib', 'numpy': 'python3-numpy',
    'psutil': 'python3-psutil', 'rich': 'python3-rich', 'scipy': 'python3-scipy',
    'yaml': 'python3-yaml', 'safetensors': None, 'torch': None, 'torchvision': None,
    'zstandard': None,
}  # fmt: skip
# Imported where they are installed, and not needed.
OPTIONAL = {'onnxruntime', 'openvino'}


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / 'package.xml').getroot()


def dependencies() -> set[str]:
    return {element.text or '' for element in manifest() if element.tag.endswith('depend')}


def imported_packages() -> set[str]:
    """Return the top-level names that our code imports."""
    names = set()
    for path in [*(ROOT / 'dnn_offload').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split('.')[0])
    return names


def test_manifest_is_format_3_and_ament_cmake() -> None:
    root = manifest()
    assert root.get('format') == '3'
    assert root.findtext('export/build_type') == 'ament_cmake'
    assert root.findtext('license') == 'Apache-2.0'
    assert re.fullmatch(r'\d+\.\d+\.\d+', root.findtext('version') or '')


def test_manifest_is_sorted() -> None:
    for tag in ('depend', 'exec_depend', 'test_depend'):
        names = [element.text or '' for element in manifest().findall(tag)]
        assert names == sorted(names)


def test_every_ros_package_that_is_imported_is_declared() -> None:
    ros = {
        name for name in imported_packages()
        if name.endswith('_msgs') or name.endswith('_interfaces')
        or name in ('rclpy', 'cv_bridge', 'launch', 'launch_ros', 'ament_index_python')
    }  # fmt: skip
    assert ros <= dependencies()


def test_rosdep_keys_exist() -> None:
    assert {name for name in dependencies() if name.startswith('python3-')} <= ROSDEP_KEYS


def test_the_libraries_that_are_imported_are_those_declared_or_explained() -> None:
    ours = {'dnn_offload', '__future__'} | OPTIONAL | test_import_rules.ROS
    outside = imported_packages() - sys.stdlib_module_names - ours
    assert outside == set(RUN_TIME)
    keys = {key for key in RUN_TIME.values() if key}
    declared = {element.text or '' for element in manifest().findall('exec_depend')}
    assert {name for name in declared if name.startswith('python3-')} == keys
    by_pip = {name for name, key in RUN_TIME.items() if key is None}
    text = (ROOT / 'package.xml').read_text(encoding='utf-8')
    remarks = ' '.join(re.findall('<!--(.*?)-->', text, re.S))
    contributing = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    for name in by_pip:
        assert re.search(rf'\b{name}\b', remarks), name
        assert f'`{name}`' in contributing, name
    pinned = set()
    for name in ('jazzy', 'torch', 'torchvision'):
        pinned |= {pin for pin, _ in verify.pins(REQUIREMENTS / f'{name}.txt')}
    assert by_pip <= pinned


def test_the_changelog_knows_the_version_or_what_is_coming() -> None:
    changelog = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    assert manifest().findtext('version') in changelog or 'Forthcoming' in changelog


def test_licence_is_whole() -> None:
    text = (ROOT / 'LICENSE').read_text(encoding='utf-8')
    assert 'Apache License' in text and 'END OF TERMS AND CONDITIONS' in text


@pytest.mark.parametrize('path', sorted(REQUIREMENTS.glob('*.txt')), ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_has_its_reason(path: Path) -> None:
    for line in path.read_text(encoding='utf-8').splitlines():
        if not line or line.startswith('#'):
            continue
        requirement = line.split('#')[0].strip()
        assert re.search(r'==|>=', requirement), line
        if path.name != 'jazzy.txt':
            assert '==' in requirement, line
        if path.name != 'constraints.txt':
            assert re.search(r'  # \S', line) or re.search(r' # \S', line), line


def test_constraints_repeat_no_requirement() -> None:
    constrained = {name for name, _ in verify.pins(REQUIREMENTS / 'constraints.txt')}
    for name in ('library', 'ros', 'backends', 'develop', 'torch', 'torchvision'):
        required = {pin for pin, _ in verify.pins(REQUIREMENTS / f'{name}.txt')}
        assert not constrained & required


def test_ros_pins_are_jazzy() -> None:
    pins = dict(verify.pins(REQUIREMENTS / 'ros.txt'))
    assert pins['ros-rclpy'].startswith('7.1.')  # Kilted is 9.x


@pytest.mark.parametrize('page', ['README.md', 'CONTRIBUTING.md', 'docs/first-day.md'])
def test_what_must_be_installed_is_named(page: str) -> None:
    text = (ROOT / page).read_text(encoding='utf-8')
    for name in ('gcc', 'g++', 'make', 'git', 'python3-dev', 'python3-venv'):
        assert name in text, name


def test_every_node_module_is_an_executable() -> None:
    cmake = (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8')
    for path in (ROOT / 'dnn_offload/nodes').glob('*_node.py'):
        assert path.stem in cmake
        assert 'def main(' in path.read_text(encoding='utf-8')


def pip_modules() -> set[str]:
    """Return the dotted names of the modules that `pip install .` installs."""
    pytest.importorskip('setuptools')
    code = (
        'import setuptools, distutils.core\n'  # setuptools brings distutils where Python has none
        "distribution = distutils.core.run_setup('setup.py', stop_after='init')\n"
        "build = distribution.get_command_obj('build_py')\n"
        'build.ensure_finalized()\n'
        'for package, module, _ in build.find_all_modules():\n'
        "    print(package if module == '__init__' else f'{package}.{module}')\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_what_pip_installs_needs_no_ros_and_nothing_that_is_left_out() -> None:
    installed = pip_modules()
    everything = {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        for path in (ROOT / 'dnn_offload').rglob('*.py')
    }
    assert installed < everything
    for name in installed:
        path = ROOT / name.replace('.', '/')
        path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
        for _, target in test_import_rules.imported(path):
            top = target.split('.')[0]
            assert top not in test_import_rules.ROS, f'{name} imports {target}'
            if top == 'dnn_offload':
                assert target in installed or target.rpartition('.')[0] in installed, name


def test_pip_installs_the_command_and_no_node() -> None:
    installed = pip_modules()
    assert {'dnn_offload.cli.main', 'dnn_offload.cli.plan_command'} <= installed
    assert 'dnn_offload.demo.train_detector' in installed
    rooms = {name.split('.')[1] for name in installed if '.' in name}
    assert not rooms & {'nodes', 'transport', 'testbed', 'bench', 'msg'}


def test_the_command_is_installed_by_pip_and_by_colcon() -> None:
    assert 'dnn-offload = dnn_offload.cli.main:main' in (ROOT / 'setup.py').read_text('utf-8')
    cmake = (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8')
    assert 'install_executable(dnn-offload dnn_offload.cli.main)' in cmake


# What a field's name ends in -> the unit that its comment names.
UNITS = {
    '_ms': '[ms]', '_s': '[s]', '_bytes': '[byte]', '_bps': '[bit/s]', '_hz': '[Hz]', '_j': '[J]',
    '_percent': '[%]', '_c': '[degree Celsius]',
}  # fmt: skip


def test_messages_name_the_unit_of_every_field_that_has_one() -> None:
    found = 0
    for path in (ROOT / 'msg').glob('*.msg'):
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            declaration, _, comment = line.partition('#')
            name = next(iter(declaration.split()[1:]), '')
            unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), '')
            assert unit in comment, f'{path.name}:{number}: {name} is in {unit}'
            found += unit != ''
    assert found > 50


def test_messages_document_every_field() -> None:
    for path in (ROOT / 'msg').glob('*.msg'):
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            declaration, _, comment = line.partition('#')
            words = declaration.split()
            if words:
                is_constant = '=' in words[1]  # a bound is written <=, before the name
                assert comment.strip() or is_constant, f'{path.name}:{number} says nothing'


def test_xml_files_can_be_read() -> None:
    for name in ('fastdds.xml', 'fastdds_lossy.xml'):
        profiles = ElementTree.parse(ROOT / 'config' / name).getroot()
        transports = {
            element.text for element in profiles.iter() if element.tag.endswith('}type')
        }
        assert transports == {'SHM', 'UDPv4'}, name


def test_no_file_of_the_repository_names_this_machine() -> None:
    done = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip('not a git checkout')
    home = str(Path.home())
    for name in filter(None, done.stdout.split('\0')):
        path = ROOT / name
        if path.suffix in ('.safetensors', '.png', '.mp4') or not path.is_file():
            continue
        text = path.read_text(encoding='utf-8', errors='replace')
        assert str(ROOT) not in text, name
        assert home == '/' or f'{home}/' not in text, name
