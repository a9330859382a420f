"""Two robots on one server, and a third with another model: nobody's frames are mixed up.

One robot looks at a scene with things in it, the other at a grey wall; they run different cuts
and codecs at the same time. Whatever one gets must be of its own picture, by stamp, frame and
content, and every frame of both is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

import cv2
from harness import Graph, running_graph, wait_for
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo

from dnn_offload.cost.profile import Profile
from dnn_offload.demo.scenes.render import render
from dnn_offload.demo.verdict import accounting_failures
from dnn_offload.msg import ServerStatus
from dnn_offload.report.records import FrameRow
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.fleet import Fleet, RENDEZVOUS
from dnn_offload.testbed.recorder import Recorder
from vision_msgs.msg import Classification, Detection2DArray

SERVER = 'edge_server'
ENOUGH = 15       # answers of the server to each robot
RATE_HZ = 4.0
WAIT_S = 120.0    # for things that take some seconds where nobody else computes
MANY = QoSProfile(depth=1000)
OTHER_MODEL = {'model': 'torchvision:squeezenet1_1', 'weights': 'random', 'input_size': '64x64'}


def stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


class Robot:
    """A robot's nodes and everything that comes out of them."""

    def __init__(
        self, graph: Graph, fleet: Fleet, name: str, picture: np.ndarray, **parameters: object
    ) -> None:
        self.name, self.namespace, self.frame = name, f'/{name}', f'camera_of_{name}'
        self.graph, self.fleet = graph, fleet
        result = Classification if parameters else Detection2DArray
        topic = 'classification' if parameters else 'detections'
        self.results = graph.collect(result, f'{self.namespace}/{topic}', MANY)
        self.pictures = graph.collect(CameraInfo, f'{self.namespace}/camera_info', MANY)
        self.recorder = Recorder(self.namespace, RENDEZVOUS, lambda _: None, annotated=False)
        self.folder = fleet.folder / f'pictures_of_{name}'
        self.folder.mkdir()
        cv2.imwrite(str(self.folder / '0.png'), picture)
        fleet.add(
            'local_inference_node', self.namespace, client_id=name, deadline_ms=5000.0,
            **parameters,
        )

    def watch(self) -> None:
        """Start the camera; the first results come from the robot itself."""
        self.fleet.add(
            'camera_node', self.namespace, source=str(self.folder), rate_hz=RATE_HZ,
            frame_id=self.frame,
        )
        self.recorder.begin()

    def profile(self) -> Profile:
        assert self.recorder.profile is not None
        return self.recorder.profile

    def use(self, cut_index: int, codec: str) -> int:
        profile = self.profile()
        cut_id = profile.cuts[cut_index].cut_id
        return self.recorder.publish_plan(profile.model_identity, cut_id, codec, SERVER)

    def remote(self) -> list[FrameRow]:
        return [row for row in self.recorder.rows if row.outcome == 'remote']

    def finish(self) -> None:
        """End the stream so that every frame gets its outcome."""
        self.fleet.nodes[f'{self.namespace}/camera_node'].stop()
        self.recorder.deactivate('local_inference_node')
        assert wait_for(lambda: all(
            life['in_flight'] == 0 for life in self.recorder.counters.values()
        ))


class World:
    """Server, two robots of its model, and one of another."""

    def __init__(self, graph: Graph, fleet: Fleet) -> None:
        self.fleet = fleet
        self.statuses: list[ServerStatus] = graph.collect(
            ServerStatus, f'{RENDEZVOUS}/server_status'
        )
        fleet.add('remote_inference_node', '/edge', server_id=SERVER)
        self.wait(lambda: any(s.state == ServerStatus.STATE_READY for s in self.statuses))
        scene = cv2.cvtColor(render(11, 'train', (320, 240)).rgb, cv2.COLOR_RGB2BGR)
        wall = np.full((240, 320, 3), 128, np.uint8)
        self.scene = Robot(graph, fleet, 'robot1', scene)
        self.wall = Robot(graph, fleet, 'robot2', wall)
        self.stranger = Robot(graph, fleet, 'robot3', scene, **OTHER_MODEL)
        self.robots = (self.scene, self.wall, self.stranger)
        self.wait(lambda: all(robot.recorder.profile is not None for robot in self.robots))
        for robot in self.robots:
            robot.watch()
        # What a publisher says before it knows us is lost: wait until all are known.
        self.wait(lambda: all(robot.results and robot.pictures for robot in self.robots))

    def wait(self, condition: Any) -> None:
        def checked() -> bool:
            self.fleet.check()
            return bool(condition())

        assert wait_for(checked, WAIT_S)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    prepare_environment(int(os.environ['ROS_DOMAIN_ID']))
    folder: Path = tmp_path_factory.mktemp('two_robots')
    common = {'profile_budget_s': 1.0}
    with (
        running_graph() as graph,
        Fleet(folder / 'logs', cache_dir=folder / 'cache', common=common) as fleet,
    ):
        fleet.folder.mkdir(parents=True, exist_ok=True)
        world = World(graph, fleet)
        yield world
        for robot in world.robots:
            robot.recorder.close()


def test_each_robot_gets_answers_to_its_own_frames_only(world: World) -> None:
    scene, wall = world.scene, world.wall
    scene.use(0, 'jpeg')
    wall.use(len(wall.profile().cuts) // 2, 'int8')
    world.wait(lambda: min(len(scene.remote()), len(wall.remote())) >= ENOUGH)
    assert {row.cut_index for row in scene.remote()}.isdisjoint(
        row.cut_index for row in wall.remote()
    )
    for robot in (scene, wall):
        first_ns = stamp_ns(robot.pictures[0])
        stamps = [stamp_ns(result) for result in robot.results if stamp_ns(result) >= first_ns]
        assert len(stamps) >= ENOUGH
        assert wait_for(lambda robot=robot, stamps=stamps: (
            set(stamps) <= {stamp_ns(info) for info in robot.pictures}
        ))
        assert stamps == sorted(set(stamps)), 'each frame once, in order'
        assert {result.header.frame_id for result in robot.results} == {robot.frame}
        assert {info.header.frame_id for info in robot.pictures} == {robot.frame}
    # Stamps tell whose frame an answer is for, what is in it tells whose picture was computed.
    assert all(len(result.detections) > 0 for result in scene.results)
    assert all(len(result.detections) == 0 for result in wall.results)


def test_a_robot_with_another_model_is_not_served(world: World) -> None:
    stranger, count = world.stranger, len(world.stranger.recorder.rows)
    plan = stranger.use(0, 'jpeg')
    world.wait(lambda: sum(
        row.plan_id == plan for row in stranger.recorder.rows[count:]
    ) >= ENOUGH)
    assert stranger.remote() == []
    assert all(len(result.results) > 0 for result in stranger.results)
    assert world.statuses[-1].clients == 2


def test_every_frame_of_every_robot_is_accounted_for(world: World) -> None:
    for robot in world.robots:
        robot.finish()
        recorder = robot.recorder
        assert accounting_failures(recorder.rows, list(recorder.counters.values())) == []
    answered = sum(len(robot.remote()) for robot in world.robots)
    assert max(status.frames_served for status in world.statuses) >= answered >= 2 * ENOUGH
