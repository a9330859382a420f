"""The server's side of the uplink: live bounds, bursts while it is busy, forgotten robots."""

from __future__ import annotations

import array
from collections.abc import Iterator
from dataclasses import replace
import time

from harness import Graph, running_graph, wait_for
from made_up_server import FakeModel, MadeUpRobot, MadeUpServer, RENDEZVOUS
import pytest
from rclpy.node import Node

from dnn_offload.msg import TensorChunk
from dnn_offload.transport import names, qos, topics
from dnn_offload.transport.claim import PERIOD_S, QUESTIONS
from dnn_offload.transport.pacing import MIN_CHUNK_BYTES
from dnn_offload.transport.tensor_server import ServiceSettings
from dnn_offload.transport.uplink_settings import LinkTiming, UplinkSettings

SETTINGS = ServiceSettings(max_clients=12)


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as graph:
        yield graph


def answered(robot: MadeUpRobot, seq: int, cut: int = 1) -> bool:
    robot.send(seq, 1.0, cut=cut)
    assert wait_for(lambda: seq in robot.told.answers or seq in robot.told.refused)
    return seq in robot.told.answers


def test_bounds_reach_robots_that_are_served_already(graph: Graph) -> None:
    server = MadeUpServer(graph.add(Node('edge')), settings=SETTINGS)
    robot = MadeUpRobot(graph.add(Node('robot')))
    try:
        assert wait_for(lambda: robot.uplink.connected('server_a'))
        assert answered(robot, 1, cut=2)  # 160 kB
        server.tensors.configure(replace(SETTINGS, max_request_bytes=65536))
        assert not answered(robot, 2, cut=2)
        assert 'impossible size' in robot.told.refused[2]
        assert answered(robot, 3, cut=1)
        server.tensors.configure(SETTINGS)
        assert answered(robot, 4, cut=2)
    finally:
        robot.uplink.stop()
        server.stop()


def test_the_reader_keeps_a_burst_of_all_robots_while_the_node_is_busy(graph: Graph) -> None:
    node = Node('edge')  # spun only later: busy until then
    server = MadeUpServer(node, settings=SETTINGS)
    try:
        topic = names.tensors(RENDEZVOUS, 'server_a')
        publishers = [
            graph.publisher(TensorChunk, topic, qos.profile_of(topics.TENSORS_OUT.quality))
            for _ in range(SETTINGS.max_clients)
        ]
        assert wait_for(lambda: all(p.get_subscription_count() == 1 for p in publishers))
        chunk = TensorChunk(
            kind=TensorChunk.KIND_TENSORS, server='server_a', model_identity=FakeModel.identity,
            data=array.array('B', bytes(MIN_CHUNK_BYTES)),
        )
        for number, publisher in enumerate(publishers):
            chunk.client = f'stranger_{number}'
            for _ in range(topics.SLICES_PER_ROBOT):
                publisher.publish(chunk)
        time.sleep(1.0)
        graph.add(node)
        wanted = SETTINGS.max_clients * topics.SLICES_PER_ROBOT
        assert wait_for(lambda: server.tensors.counters.ignored == wanted, 20.0), (
            f'{server.tensors.counters.ignored} of {wanted} slices arrived'
        )
    finally:
        server.stop()


def test_a_forgotten_robot_finds_back_by_itself(graph: Graph) -> None:
    server = MadeUpServer(graph.add(Node('edge')), settings=SETTINGS)
    robot = MadeUpRobot(graph.add(Node('robot')))
    try:
        assert wait_for(lambda: robot.uplink.connected('server_a'))
        assert answered(robot, 1)
        server.tensors._forget(robot.client, 'the test wants it')
        robot.send(2, 1.0)
        assert wait_for(lambda: not robot.uplink.connected('server_a'))
        assert wait_for(lambda: robot.uplink.connected('server_a'))
        assert answered(robot, 3)
    finally:
        robot.uplink.stop()
        server.stop()


def _mute(robot: MadeUpRobot) -> None:
    """As a process that was killed: no word any more, and DDS still believes in it."""
    robot.uplink._pump.stop()


def test_the_next_life_of_a_robot_that_was_killed_gets_its_place(graph: Graph) -> None:
    server = MadeUpServer(graph.add(Node('edge')), settings=ServiceSettings(max_clients=2))
    robots = [MadeUpRobot(graph.add(Node(name))) for name in ('robot', 'other')]
    try:
        assert wait_for(lambda: all(r.uplink.connected('server_a') for r in robots))
        killed, other = robots
        _mute(killed)
        robots.append(MadeUpRobot(graph.add(Node('robot'))))
        assert wait_for(lambda: robots[-1].uplink.connected('server_a'), 6.0)
        assert answered(robots[-1], 1) and answered(other, 1)
        assert set(server.tensors.clients) == {robots[-1].client, other.client}
        assert not any('full' in why for _, _, why in robots[-1].told.connections)
    finally:
        for robot in robots:
            robot.uplink.stop()
        server.stop()


def test_a_robot_that_is_there_keeps_its_place_from_one_of_its_name(graph: Graph) -> None:
    server = MadeUpServer(graph.add(Node('edge')), settings=ServiceSettings(max_clients=1))
    # Idle, and it never speaks by itself while this test runs.
    quiet = UplinkSettings(timing=LinkTiming(probe_period_s=60.0, big_probe_period_s=60.0))
    first = MadeUpRobot(graph.add(Node('robot')), settings=quiet)
    robots = [first]
    try:
        assert wait_for(lambda: first.uplink.connected('server_a'))
        robots.append(MadeUpRobot(graph.add(Node('robot'))))
        assert wait_for(lambda: any('full' in w for _, _, w in robots[1].told.connections))
        robots.append(MadeUpRobot(graph.add(Node('stranger'))))
        assert wait_for(lambda: any('full' in w for _, _, w in robots[2].told.connections))
        time.sleep(6.0)  # it greets again
        assert server.tensors.clients == (first.client,)
        assert first.told.connections == [('server_a', True, 'connected')]
        assert answered(first, 1)
    finally:
        for robot in robots:
            robot.uplink.stop()
        server.stop()


def test_a_place_is_for_the_next_life_of_that_robot_only(graph: Graph) -> None:
    server = MadeUpServer(graph.add(Node('edge')), settings=ServiceSettings(max_clients=1))
    killed = MadeUpRobot(graph.add(Node('robot')))
    robots = [killed]
    try:
        assert wait_for(lambda: killed.uplink.connected('server_a'))
        _mute(killed)
        robots.append(MadeUpRobot(graph.add(Node('robot_b'))))
        assert wait_for(lambda: any('full' in w for _, _, w in robots[1].told.connections), 2.0)
        time.sleep(QUESTIONS * PERIOD_S + 1.0)
        assert server.tensors.clients == (killed.client,)
    finally:
        for robot in robots:
            robot.uplink.stop()
        server.stop()
