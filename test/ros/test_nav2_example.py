"""The Nav2 example's nodes as they are installed, over real topics."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import importlib.util
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from ament_index_python.packages import get_package_share_directory
from geometry_msgs.msg import Twist
from harness import Graph, running_graph, wait_for
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, PointCloud2
import yaml

from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

FOLDER = Path(get_package_share_directory('dnn_offload')) / 'examples/nav2'
HAS_NAV2_MSGS = importlib.util.find_spec('nav2_msgs') is not None


@contextlib.contextmanager
def example(name: str, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open('wb') as output, subprocess.Popen(
        [sys.executable, str(FOLDER / name), '--ros-args', '-r', '__ns:=/nav', *arguments],
        stdout=output, stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()


def camera_info() -> CameraInfo:
    info = CameraInfo(width=640, height=480, distortion_model='plumb_bob')
    info.k = [554.0, 0.0, 320.0, 0.0, 554.0, 240.0, 0.0, 0.0, 1.0]
    info.d = [0.0] * 5
    return info


def detections(*bottoms: float, score: float = 0.9) -> Detection2DArray:
    """Boxes of 60 x 80 px in the middle that end in these rows."""
    message = Detection2DArray()
    message.header.stamp.sec = 12
    for bottom in bottoms:
        detection = Detection2D()
        detection.bbox.center.position.x = 320.0
        detection.bbox.center.position.y = bottom - 40.0
        detection.bbox.size_x, detection.bbox.size_y = 60.0, 80.0
        found = ObjectHypothesisWithPose()
        found.hypothesis.class_id, found.hypothesis.score = 'person', score
        detection.results.append(found)
        message.detections.append(detection)
    return message


def points_of(message: PointCloud2) -> np.ndarray:
    assert [field.name for field in message.fields] == ['x', 'y', 'z']
    assert message.row_step == len(message.data) == 12 * message.width
    return np.frombuffer(message.data, np.float32).reshape(-1, 3)


class Feed:
    """Publishes a result and its camera_info again and again, as a stream does."""

    def __init__(self, graph: Graph) -> None:
        self.result = detections()
        node = graph.observer
        infos = node.create_publisher(CameraInfo, '/nav/camera_info', 1)
        results = node.create_publisher(Detection2DArray, '/nav/detections', 10)

        def publish() -> None:
            infos.publish(camera_info())
            results.publish(self.result)

        self.timer = node.create_timer(0.1, publish)


def test_detections_become_points_on_the_floor(tmp_path: Path) -> None:
    mount = ['-p', 'camera_height_m:=0.5', '-p', 'camera_forward_m:=0.1']
    log = tmp_path / 'log'
    with running_graph() as graph, example('detection_obstacles.py', log, *mount):
        clouds = graph.collect(PointCloud2, '/nav/detection_obstacles')
        feed = Feed(graph)
        assert wait_for(lambda: bool(clouds), 30.0), log.read_text()
        assert clouds[-1].header.frame_id == 'base_link'
        assert clouds[-1].header.stamp.sec == 12  # the picture's
        free = points_of(clouds[-1])
        assert np.hypot(free[:, 0] - 0.1, free[:, 1]) == pytest.approx(5.0, abs=1e-3)

        # A level camera at 0.5 m sees the floor 2 m ahead 554 * 0.5 / 2 px below its middle.
        feed.result = detections(240.0 + 554.0 * 0.5 / 2.0)
        assert wait_for(lambda: points_of(clouds[-1])[:, 0].min() < 3.0)
        assert points_of(clouds[-1])[:, 0].min() == pytest.approx(2.1, abs=0.01)

        feed.result = detections(240.0 + 554.0 * 0.5 / 2.0, score=0.2)
        assert wait_for(lambda: points_of(clouds[-1])[:, 0].min() > 3.0)


def test_a_velocity_is_limited_by_what_is_near(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    settings = ['-p', 'output:=twist', '-p', 'camera_height_m:=0.5', '-p', 'hold_s:=0.2',
                '-p', 'highest_mps:=1.0']  # fmt: skip
    with running_graph() as graph, example('detection_speed_limit.py', log, *settings):
        velocities = graph.collect(Twist, '/nav/cmd_vel')
        commands = graph.publisher(Twist, '/nav/cmd_vel_in')
        wanted = Twist()
        wanted.linear.x = 1.0
        timer = graph.observer.create_timer(0.05, lambda: commands.publish(wanted))

        def speed_is(expected_mps: float) -> bool:
            return bool(velocities) and abs(velocities[-1].linear.x - expected_mps) < 0.02

        assert wait_for(lambda: speed_is(0.5), 30.0), log.read_text()  # blind
        feed = Feed(graph)
        assert wait_for(lambda: speed_is(1.0)), log.read_text()
        feed.result = detections(240.0 + 554.0 * 0.5 / 2.5)
        assert wait_for(lambda: speed_is(0.6))
        feed.result = detections()
        assert wait_for(lambda: speed_is(1.0))
        feed.timer.cancel()
        assert wait_for(lambda: speed_is(0.5))
        timer.cancel()


def test_speed_limit_needs_nav2s_messages_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    with running_graph() as graph, example('detection_speed_limit.py', log) as process:
        if not HAS_NAV2_MSGS:
            assert process.wait(30.0) == 1
            assert 'apt install ros-jazzy-nav2-msgs' in log.read_text()
            return
        from nav2_msgs.msg import SpeedLimit

        limits: list[Any] = graph.collect(SpeedLimit, '/nav/speed_limit')
        feed = Feed(graph)
        assert wait_for(lambda: bool(limits) and limits[-1].speed_limit == 0.0, 30.0)
        feed.result = detections(470.0)
        assert wait_for(lambda: limits[-1].speed_limit == pytest.approx(20.0, abs=1.0))
        assert limits[-1].percentage


def test_ranges_of_the_layer_fit_those_of_the_node() -> None:
    settings = yaml.safe_load((FOLDER / 'nav2_params.yaml').read_text(encoding='utf-8'))
    layer = settings['local_costmap']['local_costmap']['ros__parameters']['detection_layer']
    source = layer[layer['observation_sources']]
    # max_range_m and clear_range_m of the node are 4 and 5 by default.
    assert 4.0 < source['obstacle_max_range'] < 5.0 <= source['raytrace_max_range']
    assert source['min_obstacle_height'] < 0.2 < source['max_obstacle_height']
