"""navigation_node: obeys detections, maps at its rate, makes load when told."""

from __future__ import annotations

import json
import os
from pathlib import Path
import time
from typing import Any

from geometry_msgs.msg import Twist
from harness import Graph, NodeProcess, running_graph, wait_for
from nav_msgs.msg import OccupancyGrid
import psutil
import pytest
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import String

from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

NODE = '/robot/navigation_node'


def navigation(log: Path, *parameters: str) -> NodeProcess:
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('navigation_node', ['-r', '__ns:=/robot', *given], log)


def _person_ahead() -> Detection2DArray:
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = 'person', 0.9
    detection = Detection2D(results=[hypothesis])
    detection.bbox.center.position.x, detection.bbox.center.position.y = 320.0, 330.0
    detection.bbox.size_x, detection.bbox.size_y = 90.0, 260.0
    return Detection2DArray(detections=[detection])


def _latest(statuses: list[String]) -> dict[str, Any]:
    return json.loads(statuses[-1].data) if statuses else {}


def _send_until(
    graph: Graph, publisher: Any, message: Detection2DArray, velocities: list[Twist], wanted: float
) -> bool:
    def reached() -> bool:
        publisher.publish(message)
        time.sleep(0.05)
        return bool(velocities) and velocities[-1].linear.x == wanted

    return wait_for(reached, 10.0)


def test_it_goes_stops_for_a_person_and_when_blind(tmp_path: Path) -> None:
    with running_graph() as graph:
        velocities: list[Twist] = graph.collect(Twist, '/robot/cmd_vel')
        statuses: list[String] = graph.collect(String, '/robot/navigation_status')
        grids: list[OccupancyGrid] = graph.collect(OccupancyGrid, '/robot/map', 1)
        detections = graph.publisher(
            Detection2DArray, '/robot/detections', qos_profile_sensor_data
        )
        with navigation(tmp_path / 'log', 'rate_hz:=10.0'):
            assert wait_for(lambda: _latest(statuses).get('state') == 'blind', 20.0)
            assert velocities[-1].linear.x == 0.0
            assert _send_until(graph, detections, Detection2DArray(), velocities, 0.9)
            assert _send_until(graph, detections, _person_ahead(), velocities, 0.0)
            assert wait_for(lambda: _latest(statuses).get('stopped_for') == 'person', 5.0)
            # nothing comes any more: it must not move on in the dark
            assert wait_for(lambda: _latest(statuses).get('state') == 'blind', 5.0)
        assert grids and grids[-1].info.width == grids[-1].info.height > 0
        assert max(grids[-1].data) > 80 and min(grids[-1].data) == -1
        assert 5.0 < _latest(statuses)['loop_hz'] < 11.0


@pytest.mark.parametrize('name', ['load_processes', 'other_processes'])
def test_busy_processes_come_and_go_live_and_die_with_the_node(
    tmp_path: Path, name: str
) -> None:
    with running_graph() as graph:
        statuses: list[String] = graph.collect(String, '/robot/navigation_status')
        with navigation(tmp_path / 'log') as process:
            assert wait_for(lambda: bool(statuses), 20.0)
            assert graph.set_parameter(NODE, name, 1).successful
            assert wait_for(lambda: _latest(statuses)[name] == 1)
            node = psutil.Process(process.process.pid)
            (child,) = node.children(recursive=True)
            assert wait_for(lambda: child.cpu_percent(0.3) > 10, 10.0)
            own_session = os.getsid(child.pid) != os.getsid(node.pid)
            assert own_session == (name == 'other_processes')
            refused = graph.set_parameter(NODE, name, 99)
            assert not refused.successful and '4' in refused.reason
            assert graph.set_parameter(NODE, name, 0).successful
            assert wait_for(lambda: not child.is_running(), 5.0)
            assert graph.set_parameter(NODE, name, 1).successful
            assert wait_for(lambda: len(node.children(recursive=True)) == 1)
            (orphan,) = node.children(recursive=True)
            process.process.kill()
            process.process.wait()
            assert wait_for(lambda: not orphan.is_running(), 5.0)


def test_it_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    with running_graph() as graph:
        statuses: list[String] = graph.collect(String, '/robot/navigation_status')
        with navigation(tmp_path / 'log', 'load_processes:=1') as process:
            assert wait_for(lambda: bool(statuses), 20.0)
            children = psutil.Process(process.process.pid).children(recursive=True)
            assert process.end() == 0
            assert wait_for(lambda: not any(child.is_running() for child in children), 5.0)
        assert 'Traceback' not in (tmp_path / 'log').read_text()


def test_every_parameter_is_described(tmp_path: Path) -> None:
    names = [
        'rate_hz', 'work', 'load_processes', 'other_processes', 'min_score', 'image_width', 'seed',
    ]
    with running_graph() as graph, navigation(tmp_path / 'log'):
        for descriptor in graph.describe(NODE, names):
            assert descriptor.description
            assert descriptor.floating_point_range or descriptor.integer_range
