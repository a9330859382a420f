"""Two robots and two servers in one domain, each in a namespace and named by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import socket
from typing import Any

from harness import Graph, newest_only, NodeProcess, running_graph, wait_for
import numpy as np
import pytest
from sensor_msgs.msg import Image

from dnn_offload.msg import FrameReport, ServerStatus
from dnn_offload.transport import names
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.qos import latched
from dnn_offload.transport.topics import STATUS_READER_DEPTH
from vision_msgs.msg import Classification

pytestmark = pytest.mark.timeout(400)

ROBOTS, SERVERS = ('/fleet/red', '/fleet/blue'), ('/room/left', '/room/right')
READY_WITHIN_S = 120.0
ENOUGH = 10


def server_name(namespace: str) -> str:
    return names.sanitised(f'{socket.gethostname()}{namespace}')


class Robot:
    """A camera of ten pictures a second and what comes of it."""

    def __init__(self, graph: Graph, namespace: str) -> None:
        self.graph, self.frame = graph, f'{namespace[1:]}/eye'
        self._pictures = graph.publisher(Image, f'{namespace}/image_raw', newest_only())
        self.reports: list[FrameReport] = graph.collect(
            FrameReport, f'{namespace}/frame_report', latched(100)
        )
        self.found = graph.collect(Classification, f'{namespace}/classification')
        graph.observer.create_timer(0.1, self._publish)

    def _publish(self) -> None:
        image = Image(height=48, width=64, step=192, encoding='rgb8')
        image.data = byte_array(np.full((48, 64, 3), len(self.found) % 256, np.uint8).tobytes())
        image.header.stamp = self.graph.observer.get_clock().now().to_msg()
        image.header.frame_id = self.frame
        self._pictures.publish(image)

    def servers(self, since: int = 0) -> list[str]:
        return [
            report.server for report in list(self.reports)[since:]
            if report.outcome == FrameReport.OUTCOME_REMOTE
        ]


class World:
    """Robot red may use the left server only, robot blue both."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        network = {
            'model': 'torchvision:squeezenet1_1', 'weights': 'random', 'input_size': '64x64',
            'backend': 'torch', 'profile_budget_s': '1.0', 'cache_dir': str(folder / 'cache'),
        }
        self.statuses = graph.collect(
            ServerStatus, names.server_status(names.DEFAULT_RENDEZVOUS),
            latched(STATUS_READER_DEPTH),
        )
        self.folder = folder
        self.servers = [self.start('remote_inference_node', ns, network) for ns in SERVERS]
        # One after the other, so that the second export finds the first one's in the cache.
        assert wait_for(lambda: self.ready() == set(map(server_name, SERVERS)), READY_WITHIN_S)
        self.robots = [Robot(graph, namespace) for namespace in ROBOTS]
        self.nodes = []
        allowed_servers = (f'["{server_name(SERVERS[0])}"]', '[]')
        for namespace, allowed in zip(ROBOTS, allowed_servers, strict=True):
            self.nodes += [
                self.start('local_inference_node', namespace, network),
                self.start('partition_planner_node', namespace,
                           {'strategy': 'remote', 'servers': allowed}),
            ]

    def start(self, name: str, namespace: str, parameters: dict[str, Any]) -> NodeProcess:
        arguments = ['-r', f'__ns:={namespace}']
        for key, value in parameters.items():
            arguments += ['-p', f'{key}:={value}']
        return NodeProcess(name, arguments, self.folder / f'{name}{namespace.replace("/", "_")}')

    def ready(self) -> set[str]:
        return {s.server for s in self.statuses if s.state == ServerStatus.STATE_READY}


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_graph() as graph:
        world = World(graph, tmp_path_factory.mktemp('two'))
        yield world
        for process in (*world.nodes, *world.servers):
            process.__exit__()


def test_each_robot_is_served_and_gets_its_own_answers(world: World) -> None:
    for robot in world.robots:
        assert wait_for(lambda robot=robot: len(robot.servers()) >= ENOUGH, READY_WITHIN_S)
        assert {found.header.frame_id for found in robot.found} == {robot.frame}
    red, blue = world.robots
    left, right = map(server_name, SERVERS)
    assert set(red.servers()) == {left}
    assert set(blue.servers()) <= {left, right}


def test_a_robot_goes_to_the_other_server_and_the_other_robot_notices_nothing(
    world: World,
) -> None:
    red, blue = world.robots
    left, right = map(server_name, SERVERS)
    used = blue.servers()[-1]
    world.servers[0 if used == left else 1].end()
    since = len(blue.reports)
    other = right if used == left else left
    assert wait_for(lambda: other in blue.servers(since), 30.0)
    if used == right:  # red's server is the one that is left
        since = len(red.reports)
        assert wait_for(lambda: len(red.servers(since)) >= ENOUGH, 30.0)
    else:  # red may use no other: it goes on by itself
        assert wait_for(lambda: red.reports[-1].outcome == FrameReport.OUTCOME_LOCAL, 30.0)
    for robot in world.robots:
        numbers = [report.frame_seq for report in robot.reports]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), 'a frame has no end'
