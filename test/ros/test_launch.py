"""The launch files compose what they say, and what they start is kept alive."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys

from ament_index_python.packages import get_package_share_directory
from harness import Graph, running_graph, wait_for
import pytest
from rcl_interfaces.srv import GetParameters

pytest.importorskip(
    'launch_ros',
    reason='launch_ros is not installed: it comes with ROS 2 from apt and is not on PyPI',
)

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.launch_description_sources import get_launch_description_from_python_launch_file

SHARE = Path(get_package_share_directory('dnn_offload'))
COMMON = {
    'namespace', 'params_file', 'model', 'weights', 'input_size', 'use_sim_time', 'autostart',
    'log_level',
}  # fmt: skip
ROBOT_NODES = ('load_monitor_node', 'partition_planner_node', 'local_inference_node')
NETWORK = {
    'model': 'torchvision:squeezenet1_1', 'weights': 'random', 'input_size': '96x128',
}  # fmt: skip
ACTIVE_WITHIN_S = 120.0  # a machine without a cache exports and profiles first

START = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *given = sys.argv[1:]
service = LaunchService(argv=given)
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path),
        launch_arguments=[tuple(pair.split(':=', 1)) for pair in given],
    )
]))
sys.exit(service.run())
"""


def description(name: str) -> LaunchDescription:
    path = SHARE / 'launch' / f'{name}.launch.py'
    return get_launch_description_from_python_launch_file(str(path))


def declared(name: str) -> dict[str, DeclareLaunchArgument]:
    return {argument.name: argument for argument in description(name).get_launch_arguments()}


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('robot', COMMON | {'camera', 'source', 'image', 'rviz'}),
        ('server', COMMON),
        ('demo', {'namespace', 'model', 'out', 'rate_hz', 'log_level', 'rviz'}),
    ],
)
def test_every_argument_is_declared_and_described(name: str, expected: set[str]) -> None:
    arguments = declared(name)
    assert set(arguments) == expected
    for argument in arguments.values():
        assert argument.description and 'no description given' not in argument.description
        assert argument.default_value is not None


def start(name: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a launch file in a process of its own, as ros2 launch does."""
    path = SHARE / 'launch' / f'{name}.launch.py'
    with (folder / f'{name}.log').open('wb') as log:
        return subprocess.Popen(
            [sys.executable, '-c', START, str(path), *arguments],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
        )  # fmt: skip


def processes(log: Path, node: str) -> list[int]:
    """Return the process ids that launch has reported for a node, oldest first."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
    marks = [line for line in lines if f'[{node}-' in line and 'started with pid' in line]
    return [int(line.rsplit('[', 1)[1].rstrip(']')) for line in marks]


@pytest.mark.parametrize('name', ['robot', 'server', 'demo'])
def test_a_bad_choice_is_refused(tmp_path: Path, name: str) -> None:
    process = start(name, tmp_path, 'log_level:=loud')
    try:
        assert process.wait(30) != 0
    finally:
        kill_group(process)
    assert "['debug', 'info'" in (tmp_path / f'{name}.log').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', ['robot', 'server'])
def test_a_parameter_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    """launch_ros would log that, and start the nodes on their defaults."""
    process = start(name, tmp_path, f'namespace:=/nofile_{name}', 'params_file:=~/gone.yaml')
    try:
        assert process.wait(30) != 0
    finally:
        kill_group(process)
    log = tmp_path / f'{name}.log'
    said = log.read_text(encoding='utf-8')
    assert f'params_file: {Path.home()}/gone.yaml is not there' in said
    assert 'started with pid' not in said


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as made:
        yield made


@pytest.mark.timeout(400)
def test_robot_and_server_come_up_and_a_killed_node_comes_back(
    tmp_path: Path, graph: Graph
) -> None:
    server = start('server', tmp_path, 'namespace:=server_l', 'log_level:=warn')
    robot = start(
        'robot', tmp_path, 'namespace:=robot_l', 'image:=/front/image_raw', 'model:=demo:detector',
    )
    try:
        names = ['/server_l/remote_inference_node', *(f'/robot_l/{name}' for name in ROBOT_NODES)]
        for name in names:
            assert wait_for(lambda name=name: active(graph, name), ACTIVE_WITHIN_S), name

        # Another driver's pictures: taken from its topic, and ours is left out.
        (taken,) = graph.observer.get_subscriptions_info_by_topic('/front/image_raw')
        assert (taken.node_namespace, taken.node_name) == ('/robot_l', 'local_inference_node')
        log = tmp_path / 'robot.log'
        first = processes(log, 'local_inference_node')
        assert len(first) == 1
        os.kill(first[0], signal.SIGKILL)
        node = '/robot_l/local_inference_node'
        assert wait_for(lambda: len(processes(log, 'local_inference_node')) == 2, 20)
        assert 'died from SIGKILL: if nobody sent it, the kernel did' in log.read_text()
        assert wait_for(lambda: active(graph, node), ACTIVE_WITHIN_S)
        assert not processes(log, 'camera_node')
    finally:
        for process in (robot, server):
            process.send_signal(signal.SIGINT)
        for process in (robot, server):
            try:
                process.wait(30)
            finally:
                kill_group(process)
    assert robot.returncode == 0 and server.returncode == 0
    assert 'died from' not in (tmp_path / 'server.log').read_text(encoding='utf-8')


@pytest.mark.parametrize('by', ['file', 'argument'])
def test_without_a_namespace_under_a_manager_in_simulated_time(
    tmp_path: Path, graph: Graph, by: str
) -> None:
    """What is not given is as in the file; what is given wins over it."""
    wanted = by == 'file'
    file = tmp_path / 'robot.yaml'
    file.write_text(
        f'/**:\n  ros__parameters:\n    use_sim_time: {str(wanted).lower()}\n'
        f'    autostart: {str(not wanted).lower()}\n'
    )
    given = [] if by == 'file' else ['use_sim_time:=true', 'autostart:=false']
    process = start(
        'robot', tmp_path, 'namespace:=/', f'params_file:={file}', 'source:=3', *given,
        *(f'{name}:={value}' for name, value in NETWORK.items()),
    )
    try:
        for name in ('camera_node', *ROBOT_NODES):
            node = f'/{name}'
            assert wait_for(
                lambda node=node: graph.state_if_told(node) == 'unconfigured', 60.0
            )
            request = GetParameters.Request(names=['use_sim_time', 'autostart'])
            values = graph.call(GetParameters, f'/{name}/get_parameters', request).values
            assert [value.bool_value for value in values] == [True, False]
        assert texts(graph, '/camera_node', ['source']) == ['3']
        assert texts(graph, '/local_inference_node', [*NETWORK]) == [*NETWORK.values()]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        kill_group(process)


def test_the_network_is_given_to_the_server(tmp_path: Path, graph: Graph) -> None:
    process = start(
        'server', tmp_path, 'namespace:=/server_n', 'autostart:=false',
        *(f'{name}:={value}' for name, value in NETWORK.items()),
    )  # fmt: skip
    node = '/server_n/remote_inference_node'
    try:
        assert wait_for(lambda: graph.state_if_told(node) == 'unconfigured', 60.0)
        assert texts(graph, node, [*NETWORK]) == [*NETWORK.values()]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        kill_group(process)


def texts(graph: Graph, node: str, names: list[str]) -> list[str]:
    """Return parameters of a node that are strings."""
    request = GetParameters.Request(names=names)
    values = graph.call(GetParameters, f'{node}/get_parameters', request).values
    return [value.string_value for value in values]


def active(graph: Graph, node: str) -> bool:
    """Tell whether a node answers that it is active."""
    return graph.state_if_told(node) == 'active'


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of a launch behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
