"""All five nodes under a lifecycle manager like nav2's, their parameters and their topics.

Everything is asked for by services, as the ros2 command line does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
from harness import Graph, NodeProcess, running_graph, wait_for
from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
import yaml

from dnn_offload.msg import FrameReport
from dnn_offload.nodes.document_parameters import ROBOT_NODES, SERVER_NODES
from dnn_offload.nodes.parameters import by_name, COMMON_PARAMETERS, ParameterSpec
from dnn_offload.nodes.topics import COMPRESSED_IN, DIAGNOSTICS, TOPICS
from dnn_offload.transport.qos import latched
from dnn_offload.transport.topics import Endpoint, Reliability
from vision_msgs.msg import Classification, Detection2DArray

pytestmark = pytest.mark.timeout(500)

ROBOT, EDGE, ROOM, SERVER = '/managed/robot', '/managed/edge', '/managed_room', 'managed_server'
SPECS = {node.name: node.parameters for node in (*ROBOT_NODES, *SERVER_NODES)}
OF_ROS = {'use_sim_time', 'start_type_description_service'}
UP = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
DOWN = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
READY_WITHIN_S = 90.0  # exported and profiled on a busy machine
FIRST = {'model': 'torchvision:squeezenet1_1', 'weights': 'random', 'input_size': '64x64'}
SECOND = {'model': 'demo:detector', 'weights': 'DEFAULT', 'input_size': ''}


def full_name(node: str) -> str:
    return f'{EDGE if node == "remote_inference_node" else ROBOT}/{node}'


class World:
    """The nodes as processes, none of which starts by itself."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.graph, self.folder = graph, folder
        pictures = folder / 'pictures'
        pictures.mkdir()
        for number in range(3):
            picture = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            cv2.imwrite(str(pictures / f'{number}.png'), picture)
        of_network = {
            'rendezvous_namespace': ROOM, 'cache_dir': str(folder / 'cache'),
            'profile_budget_s': 1.0, 'backend': 'torch', **FIRST,
        }
        given: dict[str, dict[str, Any]] = {name: {} for name in SPECS}
        given['camera_node'] = {'source': str(pictures), 'rate_hz': 10.0}
        given['local_inference_node'] = of_network
        given['partition_planner_node'] = {'rendezvous_namespace': ROOM}
        given['remote_inference_node'] = {**of_network, 'server_id': SERVER}
        self.files = {}
        for name, values in given.items():
            self.files[name] = folder / f'{name}.yaml'
            content = {f'/**/{name}': {'ros__parameters': {**values, 'autostart': False}}}
            self.files[name].write_text(yaml.safe_dump(content))
        self.processes: dict[str, NodeProcess] = {}
        for name in SPECS:
            self.start(name)
        self.reports = graph.collect(FrameReport, f'{ROBOT}/frame_report', latched(100))
        self.classes = graph.collect(Classification, f'{ROBOT}/classification')
        self.boxes = graph.collect(Detection2DArray, f'{ROBOT}/detections')

    def start(self, name: str) -> None:
        namespace = full_name(name).rsplit('/', 1)[0]
        arguments = ['-r', f'__ns:={namespace}', '--params-file', str(self.files[name])]
        log = self.folder / f'{name}.log'
        self.processes[name] = NodeProcess(name, arguments, log)

    def state(self, name: str) -> str:
        return self.graph.state(full_name(name))

    def waits(self, name: str) -> bool:
        """Whether a node that may just have been started waits for a manager."""
        return self.graph.state_if_told(full_name(name)) == 'unconfigured'

    def change(self, name: str, *transitions: int) -> None:
        for transition in transitions:
            assert self.graph.change_state(full_name(name), transition), self.log(name)

    def log(self, name: str) -> str:
        return self.processes[name].log.read_text(errors='replace')[-4000:]

    def names(self, name: str) -> list[str]:
        request = ListParameters.Request()
        answer = self.graph.call(ListParameters, f'{full_name(name)}/list_parameters', request)
        return sorted(answer.result.names)

    def dump(self, name: str) -> dict[str, Any]:
        """Every parameter's value, as ``ros2 param dump`` gets them."""
        names = self.names(name)
        request = GetParameters.Request(names=names)
        answer = self.graph.call(GetParameters, f'{full_name(name)}/get_parameters', request)
        assert len(answer.values) == len(names)
        values = map(parameter_value_to_python, answer.values)
        return {key: plain(value) for key, value in zip(names, values, strict=True)}

    def set(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """Set parameters one by one, as ``ros2 param load`` does; results by name."""
        request = SetParameters.Request(parameters=[
            ParameterMessage(
                name=key, value=Parameter(key, value=value).get_parameter_value()
            ) for key, value in values.items()
        ])
        answer = self.graph.call(SetParameters, f'{full_name(name)}/set_parameters', request)
        return dict(zip(values, answer.results, strict=True))

    def streams(self, kind: Sequence[Any], remote: bool = False) -> bool:
        """Whether results of a kind come from now on, and answers of the server if asked for."""
        count = len(kind)
        fresh = len(self.reports)

        def enough() -> bool:
            answered = any(
                report.outcome == FrameReport.OUTCOME_REMOTE
                for report in list(self.reports)[fresh:]
            )
            return len(kind) > count + 5 and (answered or not remote)

        return wait_for(enough, READY_WITHIN_S)


class Manager:
    """Drives all nodes in order, as nav2's lifecycle manager does with ``bond_timeout`` 0."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes = tuple(SPECS)

    def startup(self) -> None:
        self._each(self._nodes, UP[0], 'inactive')
        self._each(self._nodes, UP[1], 'active')

    def pause(self) -> None:
        self._each(reversed(self._nodes), DOWN[0], 'inactive')

    def resume(self) -> None:
        self._each(self._nodes, UP[1], 'active')

    def reset(self) -> None:
        self.pause()
        self._each(reversed(self._nodes), DOWN[1], 'unconfigured')

    def _each(self, nodes: Any, transition: int, state: str) -> None:
        for name in nodes:
            self._world.change(name, transition)
            assert self._world.state(name) == state


def plain(value: Any) -> Any:
    """Arrays as lists."""
    return value if isinstance(value, (bool, int, float, str)) else list(value)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_graph() as graph:
        world = World(graph, tmp_path_factory.mktemp('managed'))
        try:
            yield world
        finally:
            for process in world.processes.values():
                process.__exit__()


def out_of_range(spec: ParameterSpec) -> Any:
    """A value that is not allowed; None where any of the type is."""
    if spec.choices:
        bad: Any = 'no such value' if spec.scalar_type is str else 12345
    elif spec.maximum is not None:
        bad = spec.scalar_type(2 * spec.maximum + 1)
    else:
        return None
    return [bad] if spec.is_array else bad


@pytest.mark.parametrize('name', SPECS)
def test_every_parameter_is_listed_described_and_guarded(world: World, name: str) -> None:
    assert wait_for(lambda: world.waits(name), 60.0)
    specs = by_name((*COMMON_PARAMETERS, *SPECS[name]))
    assert set(world.names(name)) == set(specs) | OF_ROS
    for descriptor in world.graph.describe(full_name(name), list(specs)):
        assert descriptor.description == specs[descriptor.name].description
        assert descriptor.read_only == specs[descriptor.name].read_only
    before = world.dump(name)
    bad = {
        key: out_of_range(spec) for key, spec in specs.items()
        if not spec.read_only and out_of_range(spec) is not None
    }
    assert bad
    for key, result in world.set(name, bad).items():
        assert not result.successful, key
        spec = specs[key]
        allowed = spec.choices or (spec.minimum, spec.maximum)
        assert all(str(value) in result.reason for value in allowed), result.reason
    wrong_type = {
        key: 'text' if spec.scalar_type is not str else 1.5
        for key, spec in specs.items() if not spec.read_only
    }
    assert not any(result.successful for result in world.set(name, wrong_type).values())
    assert world.dump(name) == before


def test_what_is_dumped_can_be_loaded_and_started_with(world: World) -> None:
    changes: dict[str, dict[str, Any]] = {
        'camera_node': {'jpeg_quality': 70, 'cpu_affinity': [0]},
        'local_inference_node': {'deadline_ms': 400.0, 'top_k': 3, 'score_threshold': 0.125},
        'partition_planner_node': {'strategy': 'local', 'codecs': ['raw', 'jpeg']},
        'load_monitor_node': {'rate_hz': 4.0},
        'remote_inference_node': {'max_clients': 2},
    }
    dumps = {}
    for name, values in changes.items():
        assert all(result.successful for result in world.set(name, values).values())
        dumps[name] = world.dump(name)
        assert values.items() <= dumps[name].items()
        # As ros2 param load: all but what holds at start only is taken, and nothing changes.
        refused = {
            key for key, result in world.set(name, dumps[name]).items() if not result.successful
        }
        only_at_start = {
            key for key, spec in by_name((*COMMON_PARAMETERS, *SPECS[name])).items()
            if spec.read_only
        }
        assert refused == only_at_start | {'start_type_description_service'}
        assert world.dump(name) == dumps[name]
    for name, values in dumps.items():
        world.files[name].write_text(
            yaml.safe_dump({full_name(name): {'ros__parameters': values}})
        )
        assert world.processes[name].end() == 0, world.log(name)
        world.start(name)
    for name, values in dumps.items():
        assert wait_for(lambda name=name: world.waits(name), 60.0)
        assert world.dump(name) == values


def test_a_manager_brings_everything_up_and_down_twice(world: World) -> None:
    assert world.set('partition_planner_node', {'strategy': 'remote'})['strategy'].successful
    manager = Manager(world)
    for _ in range(2):
        manager.startup()
        assert world.streams(world.classes, remote=True), world.log('local_inference_node')
        manager.pause()
        count = len(world.classes)
        manager.resume()
        assert wait_for(lambda count=count: len(world.classes) > count + 5, READY_WITHIN_S)
        manager.reset()
    manager.startup()
    assert world.streams(world.classes, remote=True), world.log('local_inference_node')


def ends_of(world: World, name: str) -> dict[str, set[tuple[Any, ...]]]:
    """What a node has open, but for what ROS opens: (topic, type, reliability, latched)."""
    observer, namespace = world.graph.observer, full_name(name).rsplit('/', 1)[0]
    by_ros = {'/rosout', '/parameter_events', f'{full_name(name)}/transition_event'}
    found = {}
    for end, names_of, infos_of in (
        ('publishes', observer.get_publisher_names_and_types_by_node,
         observer.get_publishers_info_by_topic),
        ('subscribes', observer.get_subscriber_names_and_types_by_node,
         observer.get_subscriptions_info_by_topic),
    ):
        found[end] = {
            (topic, info.topic_type,
             info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
             info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)
            for topic, _ in names_of(name, namespace) if topic not in by_ros
            for info in infos_of(topic)
            if (info.node_name, info.node_namespace) == (name, namespace)
        }
    return found


def declared(world: World, endpoint: Endpoint, name: str) -> tuple[Any, ...]:
    """The same of what ``topics.py`` declares; here the camera is ours, and reliable."""
    client = next(
        topic.split('/')[2] for topic, _ in world.graph.observer.get_topic_names_and_types()
        if topic.startswith(f'{ROOM}/') and topic.endswith('/results')
    )
    topic = endpoint.name
    for mark, value in (
        ('<rendezvous_namespace>', ROOM), ('<server_id>', SERVER), ('<robot>', client),
    ):
        topic = topic.replace(mark, value)
    if not topic.startswith('/'):
        topic = f'{full_name(name).rsplit("/", 1)[0]}/{topic}'
    reliable = endpoint.quality.reliability is not Reliability.BEST_EFFORT
    return topic, endpoint.type_name, reliable, endpoint.quality.latched


@pytest.mark.parametrize('name', SPECS)
def test_a_running_node_has_the_topics_of_the_documentation(world: World, name: str) -> None:
    topics = TOPICS[name]

    def difference() -> list[Any]:
        ends = ends_of(world, name)
        publishes = {declared(world, end, name) for end in (*topics.publishes, DIAGNOSTICS)}
        if name == 'local_inference_node':  # the network's task says which
            others = ('/detections', '/segmentation', '/label_info')
            publishes = {end for end in publishes if not end[0].endswith(others)}
        subscribes = {  # to one of the two transports of pictures
            declared(world, end, name) for end in topics.subscribes if end != COMPRESSED_IN
        }
        return [*(ends['publishes'] ^ publishes), *(ends['subscribes'] ^ subscribes)]

    assert wait_for(lambda: not difference(), 10.0), difference()


def test_another_model_in_the_middle_of_the_stream(world: World) -> None:
    robot, server = 'local_inference_node', 'remote_inference_node'
    code = world.set(robot, {'model': 'file:/tmp/model.pt2'})['model']
    assert not code.successful and 'only when the node starts' in code.reason
    world.change(robot, *DOWN)
    assert all(result.successful for result in world.set(robot, SECOND).values())
    world.change(robot, *UP)
    # The server still has the other one: the robot runs its new one alone.
    assert world.streams(world.boxes), world.log(robot)
    assert wait_for(lambda: world.reports[-1].outcome == FrameReport.OUTCOME_LOCAL)
    world.change(server, *DOWN)
    assert all(result.successful for result in world.set(server, SECOND).values())
    world.change(server, *UP)
    assert world.streams(world.boxes, remote=True), world.log(server)
    assert world.state('camera_node') == world.state('partition_planner_node') == 'active'


def test_every_node_shuts_down_from_each_state(world: World) -> None:
    Manager(world).reset()
    for way, transition in (
        ((), Transition.TRANSITION_UNCONFIGURED_SHUTDOWN),
        (UP[:1], Transition.TRANSITION_INACTIVE_SHUTDOWN),
        (UP, Transition.TRANSITION_ACTIVE_SHUTDOWN),
    ):
        for name in SPECS:
            assert wait_for(lambda name=name: world.waits(name), 60.0)
            world.change(name, *way, transition)
            assert world.state(name) == 'finalized'
        for name, process in world.processes.items():
            assert process.process.poll() is None, 'a finalized node stays until it is told to go'
            assert process.end() == 0, world.log(name)
            assert 'Traceback' not in process.log.read_text()
        for name in SPECS:
            world.start(name)
