"""Images, compose file, units: what they name is there. Nothing is built or installed here."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

from dnn_offload.demo import video
from dnn_offload.nodes.document_parameters import ROBOT_NODES
from dnn_offload.nodes.parameters import by_name

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / 'deploy'
UNITS = sorted(DEPLOY.glob('systemd/*.service'))
# What ros-jazzy-ros-core brings (REP 2001), of what package.xml names.
IN_ROS_CORE = {
    'ament_index_python', 'diagnostic_msgs', 'geometry_msgs', 'launch', 'launch_ros',
    'lifecycle_msgs', 'nav_msgs', 'rcl_interfaces', 'rclpy', 'rosidl_default_runtime',
    'sensor_msgs', 'visualization_msgs',
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile: (name, rest), continued lines joined."""
    text = re.sub(r'(?m)^\s*#.*\n', '', (DEPLOY / 'Dockerfile').read_text(encoding='utf-8'))
    lines = re.sub(r'\\\n\s*', ' ', text).splitlines()
    return [(words[0], words[1]) for line in lines if len(words := line.split(None, 1)) == 2]


def stages() -> dict[str, str]:
    """Name of each stage to what it starts from."""
    found = {}
    for name, rest in instructions():
        if name == 'FROM':
            base, _, stage = rest.split()
            found[stage] = base
    return found


def copied() -> list[str]:
    return [
        source
        for name, rest in instructions()
        if name == 'COPY' and '--from' not in rest
        for source in rest.split()[:-1]
    ]


def allowed_by_dockerignore() -> set[str]:
    lines = (ROOT / '.dockerignore').read_text(encoding='utf-8').splitlines()
    assert '*' in lines  # all else is kept out
    return {line[1:] for line in lines if line.startswith('!')}


def launch_arguments(name: str) -> set[str]:
    """Names that a launch file declares, by its text: launch is not on every machine."""
    text = (ROOT / 'launch' / name).read_text(encoding='utf-8')
    parts = (ROOT / 'dnn_offload/nodes/launch_parts.py').read_text(encoding='utf-8')
    common = parts[parts.index('def node_arguments'):parts.index('def rviz_argument')]
    names = re.findall(r"DeclareLaunchArgument\(\s*'(\w+)'", text)
    if 'node_arguments(' in text:
        names += re.findall(r"DeclareLaunchArgument\(\s*'(\w+)'", common)
    return set(names) | ({'rviz'} if 'rviz_argument()' in text else set())


def check_launch(words: list[str]) -> None:
    """``ros2 launch dnn_offload FILE NAME:=VALUE ...`` names what there is."""
    assert words[:3] == ['ros2', 'launch', 'dnn_offload']
    given = {word.split(':=')[0] for word in words[4:] if ':=' in word}
    assert given <= launch_arguments(words[3])


def test_what_the_dockerfile_copies_is_there_and_gets_into_its_context() -> None:
    allowed = allowed_by_dockerignore()
    assert all((ROOT / name).exists() for name in allowed)
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source == '.' or source.rstrip('/') in allowed, source


def test_the_context_has_all_that_cmake_installs() -> None:
    cmake = (ROOT / 'CMakeLists.txt').read_text(encoding='utf-8')
    folders = set(re.search(r'DIRECTORY (config .*)', cmake)[1].split())  # type: ignore[index]
    assert folders | {'dnn_offload', 'msg', 'resource', 'package.xml', 'CMakeLists.txt'} <= (
        allowed_by_dockerignore()
    )


def test_stages_build_on_each_other() -> None:
    found = stages()
    assert {'robot', 'server'} <= set(found)
    for stage, base in found.items():
        assert base in found or base == 'ros:${ROS}-ros-core-noble', stage
    for name, rest in instructions():
        if name == 'COPY' and '--from' in rest:
            assert rest.split()[0].removeprefix('--from=') in found


def test_the_images_have_every_runtime_dependency() -> None:
    package = ElementTree.parse(ROOT / 'package.xml')
    wanted = {str(entry.text) for entry in package.findall('exec_depend')} - IN_ROS_CORE
    # The first such line is that of the stage that runs.
    line = next(rest for name, rest in instructions() if name == 'RUN' and 'apt-get' in rest)
    installed = line.replace('"', '').replace('ros-${ROS_DISTRO}-', '').split()
    for name in wanted:
        assert name.replace('_', '-') in installed, name


def test_the_image_installs_the_pins_of_the_set_up_and_runs_as_nobody_special() -> None:
    text = ' '.join(rest for name, rest in instructions() if name == 'RUN')
    named = set(re.findall(r'/requirements/(\w+)\.txt', text))
    assert named == {'jazzy', 'backends', 'torch', 'torchvision'}
    assert all((ROOT / f'tools/requirements/{name}.txt').is_file() for name in named)
    users = [rest for name, rest in instructions() if name == 'USER']
    assert users == ['${UID}']
    commands = [rest for name, rest in instructions() if name == 'CMD']
    for command in commands:
        check_launch(yaml.safe_load(command))
    assert len(commands) == 2


def test_compose_names_what_there_is() -> None:
    text = (DEPLOY / 'compose.yaml').read_text(encoding='utf-8')
    content = yaml.safe_load(text)
    build_arguments = {rest.split('=')[0] for name, rest in instructions() if name == 'ARG'}
    for name, service in content['services'].items():
        build = service['build']
        assert build['target'] in stages() and (DEPLOY / build['context']).samefile(ROOT)
        assert (ROOT / build['dockerfile']).is_file()
        assert set(build['args']) <= build_arguments
        for volume in service['volumes']:
            source = volume.split(':')[0]
            assert source in content['volumes'] or (DEPLOY / source).is_file(), volume
        command = service.get('command', [])
        if command[:2] == ['ros2', 'launch']:
            check_launch(command)
        elif command:
            assert command[:3] == ['python3', '-m', video.__name__]
            assert video.arguments_of(command[3:]).path == Path('/scenes/drive.mp4')
        if name != 'scenes':
            # One without the other: nodes see each other, and no data comes.
            assert service['network_mode'] == service['ipc'] == 'host'


@pytest.mark.parametrize('page', ['deploy/compose.yaml', 'docs/deployment.md'])
def test_compose_is_told_whose_nodes_there_are(page: str) -> None:
    """bash has a UID that it does not export; of another user's nodes no data comes."""
    assert 'UID: ${UID:-1000}' in (DEPLOY / 'compose.yaml').read_text(encoding='utf-8')
    lines = (ROOT / page).read_text(encoding='utf-8').splitlines()
    builds = [line for line in lines if re.search(r'docker compose .*up --build', line)]
    assert builds and all('env UID=$(id -u) docker compose' in line for line in builds)


def test_the_try_outs_parameters_are_valid() -> None:
    content = yaml.safe_load((DEPLOY / 'tryout_robot.yaml').read_text(encoding='utf-8'))
    nodes = {f'/**/{node.name}': node for node in ROBOT_NODES}
    for key, settings in content.items():
        specs = by_name((*nodes[key].common, *nodes[key].parameters))
        for name, value in settings['ros__parameters'].items():
            specs[name].convert(value)


@pytest.mark.parametrize('unit', UNITS, ids=lambda path: path.stem)
def test_units_start_what_there_is_and_end_it_gently(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit, encoding='utf-8')
    service = parser['Service']
    shell, script, *words = shlex.split(service['ExecStart'])
    assert shell == '/bin/bash'
    path = ROOT / script.removeprefix('${DNN_OFFLOAD}/')
    assert path.is_file() and os.access(path, os.X_OK)
    check_launch(words)
    environment = environment_file()
    assert words[-1].removeprefix('$') in environment
    assert 'DNN_OFFLOAD=' in service['Environment']
    assert service['KillSignal'] == 'SIGINT' and service['Restart'] == 'always'
    page = (ROOT / 'docs/deployment.md').read_text(encoding='utf-8')
    for limit in ('CPUWeight', 'MemoryHigh', 'MemoryMax'):
        if limit in service:
            assert f'`{limit}={service[limit]}`' in page, 'the page says another'
    assert service['OOMPolicy'] == 'continue'  # the launch brings back what the kernel ended
    robot = 'robot' in unit.stem  # navigation comes first there: 100 is what others have
    assert int(service.get('CPUWeight', '100')) == (30 if robot else 100)
    assert ('MemoryHigh' in service) == robot


@pytest.mark.parametrize('unit', UNITS, ids=lambda path: path.stem)
def test_units_are_understood_by_systemd(unit: Path) -> None:
    if shutil.which('systemd-analyze') is None:
        pytest.skip('systemd-analyze is not installed: only the units\' syntax was looked at')
    done = subprocess.run(
        ['systemd-analyze', 'verify', '--man=no', str(unit)], capture_output=True, text=True,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert said == []


def environment_file() -> dict[str, str]:
    """NAME=value of the units' environment file, those that are commented out, too."""
    found = {}
    text = (DEPLOY / 'systemd/environment').read_text(encoding='utf-8')
    for line in text.splitlines():
        match = re.fullmatch(r'#?([A-Z_]+)=(.*)', line)
        assert match or line.startswith('# ') or not line, line
        if match:
            found[match[1]] = match[2]
    return found


def test_the_environment_file_names_what_there_is() -> None:
    values = environment_file()
    where = values['DNN_OFFLOAD']
    for name in ('ROBOT', 'SERVER'):
        check_launch(
            ['ros2', 'launch', 'dnn_offload', f'{name.lower()}.launch.py',
             *values[f'{name}_ARGUMENTS'].split()]
        )
    for value in values.values():
        for path in re.findall(rf'{where}/(\S+)', value):
            assert (ROOT / path).is_file(), path


def test_kernel_settings_exist() -> None:
    for line in (DEPLOY / '60-dnn-offload.conf').read_text(encoding='utf-8').splitlines():
        if line and not line.startswith('#'):
            key, value = (part.strip() for part in line.split('='))
            assert value.isdigit()
            path = Path('/proc/sys', *key.split('.'))
            # A kernel without autogroups has no switch for them, and needs none.
            assert path.is_file() or key == 'kernel.sched_autogroup_enabled', key


def test_scripts_are_sound_and_with_ros_runs_its_command(tmp_path: Path) -> None:
    for script in DEPLOY.glob('*.sh'):
        assert os.access(script, os.X_OK)
        subprocess.run(['bash', '-n', str(script)], check=True)
    # In a checkout of its own with an environment that only says that it was sourced.
    (tmp_path / 'deploy').mkdir()
    (tmp_path / 'tools').mkdir()
    shutil.copy(DEPLOY / 'with_ros.sh', tmp_path / 'deploy')
    (tmp_path / 'tools/env.sh').write_text('export SOURCED=yes\n')
    done = subprocess.run(
        [tmp_path / 'deploy/with_ros.sh', 'bash', '-c', 'echo "$SOURCED $1"; exit 3', 'x', 'a b'],
        capture_output=True, text=True, timeout=30,
    )
    assert (done.stdout, done.returncode) == ('yes a b\n', 3)
