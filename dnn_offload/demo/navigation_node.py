"""ROS half of the navigation stand-in: detections in, ``cmd_vel`` and a map out."""

from __future__ import annotations

from collections import deque
import json
import os
import subprocess
import sys
import time
from typing import Any

import cv2
from geometry_msgs.msg import Twist
from nav_msgs.msg import OccupancyGrid
import numpy as np
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
)
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from std_msgs.msg import String

from dnn_offload.demo.navigation import (
    CELL_M,
    CRUISE_MPS,
    Navigator,
    react,
    Reaction,
    Seen,
    SIDE_CELLS,
)
from dnn_offload.demo.scenes.drive import Drive
from dnn_offload.own_program import own_program
from vision_msgs.msg import Detection2DArray

MAX_LOAD_PROCESSES = 4
STALE_S = 1.0  # without detections for this long the vehicle stops: it is blind
RATE_WINDOW = 20  # cycles over which the own rate is measured
STATUS_PERIOD_S = 0.5


def _number(text: str, low: float, high: float, **more: Any) -> ParameterDescriptor:
    floating = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return ParameterDescriptor(description=text, floating_point_range=floating, **more)


def _whole(text: str, low: int, high: int, **more: Any) -> ParameterDescriptor:
    whole = [IntegerRange(from_value=low, to_value=high, step=1)]
    return ParameterDescriptor(description=text, integer_range=whole, **more)


class LoadProcesses:
    """Child processes that map and plan without a pause: navigation at its busiest.

    Where the kernel groups by session (autogroup), those in this node's session weigh as one, and
    the network's share of its core stays steady; those in sessions of their own weigh each for
    itself, as other programs on a robot do.

    Args:
        own_sessions: Whether each gets a session of its own.
    """

    def __init__(self, own_sessions: bool) -> None:
        self._own_sessions = own_sessions
        self._children: list[subprocess.Popen[bytes]] = []

    def set_count(self, count: int) -> None:
        """Start or end children until ``count`` run."""
        while len(self._children) > count:
            child = self._children.pop()
            child.terminate()
            child.wait()
        while len(self._children) < count:
            # They watch their parent, so that none survives a killed node.
            command = own_program(
                'dnn_offload.demo.navigation',
                '--with-parent', str(os.getpid()), '--seed', str(len(self._children)),
            )
            environment = os.environ | {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'}
            self._children.append(subprocess.Popen(
                command, stdout=subprocess.DEVNULL, env=environment,
                start_new_session=self._own_sessions,
            ))

    def running(self) -> int:
        """Number of children that are alive."""
        return sum(child.poll() is None for child in self._children)


class NavigationNode(Node):
    """Runs ``Navigator`` at a rate and obeys the detections."""

    def __init__(self) -> None:
        super().__init__('navigation_node')
        self.declare_parameter(
            'rate_hz', 5.0, _number('Cycles of mapping and planning per second, in Hz.', 0.5, 50.0)
        )
        self.declare_parameter(
            'work', 1, _whole('Scanners fused and plans made per cycle.', 1, 20)
        )
        self.declare_parameter(
            'load_processes', 0,
            _whole('Further processes that map and plan without a pause.', 0, MAX_LOAD_PROCESSES),
        )
        self.declare_parameter(
            'other_processes', 0,
            _whole(
                'The same as other programs on the robot: each in a session of its own.',
                0, MAX_LOAD_PROCESSES,
            ),
        )
        self.declare_parameter(
            'min_score', 0.5, _number('Detections with a lower score are not obeyed.', 0.0, 1.0)
        )
        self.declare_parameter(
            'image_width', 640, _whole('Width of the pictures in pixels.', 16, 10000)
        )
        self.declare_parameter(
            'image_height', 480, _whole('Height of the pictures in pixels.', 16, 10000)
        )
        self.declare_parameter(
            'seed', 7, _whole('Which drive the map is of; as in the video.', 0, 1 << 30,
                              read_only=True)
        )
        self._navigator = Navigator(Drive(int(self._value('seed'))))
        self._busy = {  # by parameter
            'load_processes': LoadProcesses(own_sessions=False),
            'other_processes': LoadProcesses(own_sessions=True),
        }
        self._reaction = Reaction(0.0, 'blind', '', float('inf'))
        self._seen_s = -np.inf
        self._drive_s = 0.0  # the vehicle gets on only as fast as it is allowed to
        self._moved_s = time.monotonic()
        self._cycles: deque[tuple[float, float]] = deque(maxlen=RATE_WINDOW)
        self._told_s = 0.0
        self._velocity = self.create_publisher(Twist, 'cmd_vel', 1)
        self._status = self.create_publisher(String, 'navigation_status', 10)
        self._grid = self.create_publisher(OccupancyGrid, 'map', 1)
        self.create_subscription(
            Detection2DArray, 'detections', self._on_detections, qos_profile_sensor_data
        )
        self._timer = self.create_timer(1 / float(self._value('rate_hz')), self._cycle)
        for name, processes in self._busy.items():
            processes.set_count(int(self._value(name)))
        self.add_post_set_parameters_callback(self._apply)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _apply(self, parameters: list[Parameter]) -> None:
        """Take over new values; rclpy has checked them against the descriptors' ranges."""
        for parameter in parameters:
            if parameter.name == 'rate_hz':
                self._timer.timer_period_ns = int(1e9 / parameter.value)
                self._cycles.clear()
            elif parameter.name in self._busy:
                self._busy[parameter.name].set_count(parameter.value)

    def _on_detections(self, msg: Detection2DArray) -> None:
        seen = []
        for detection in msg.detections:
            if not detection.results:
                continue
            best = max(detection.results, key=lambda result: result.hypothesis.score)
            centre, box = detection.bbox.center.position, detection.bbox
            seen.append(
                Seen(
                    best.hypothesis.class_id,
                    (
                        centre.x - box.size_x / 2, centre.y - box.size_y / 2,
                        centre.x + box.size_x / 2, centre.y + box.size_y / 2,
                    ),
                    best.hypothesis.score,
                )
            )
        size = (int(self._value('image_width')), int(self._value('image_height')))
        reaction = react(seen, size, float(self._value('min_score')))
        if reaction.state != self._reaction.state:
            cause = f' for a {reaction.cause}' if reaction.cause else ''
            self.get_logger().info(f'{reaction.state}{cause}')
        self._reaction, self._seen_s = reaction, time.monotonic()

    def _cycle(self) -> None:
        begun = time.monotonic()
        if begun - self._seen_s > STALE_S:
            self._reaction = Reaction(0.0, 'blind', '', float('inf'))
        self._drive_s += (begun - self._moved_s) * self._reaction.speed_mps / CRUISE_MPS
        self._moved_s = begun
        command = self._navigator.step(self._drive_s, self._reaction, int(self._value('work')))
        twist = Twist()
        twist.linear.x, twist.angular.z = command.forward_mps, command.turn_radps
        self._velocity.publish(twist)
        if self._grid.get_subscription_count() > 0:
            self._publish_grid()
        now = time.monotonic()
        self._cycles.append((begun, now - begun))
        if now - self._told_s > STATUS_PERIOD_S:
            self._told_s = now
            self._publish_status(command.forward_mps)

    def _publish_status(self, speed_mps: float) -> None:
        span = self._cycles[-1][0] - self._cycles[0][0]
        rate = (len(self._cycles) - 1) / span if span > 0 else 0.0
        cycle_ms = 1000 * float(np.mean([seconds for _, seconds in self._cycles]))
        status = {
            'loop_hz': round(rate, 2),
            'wanted_hz': float(self._value('rate_hz')),
            'cycle_ms': round(cycle_ms, 2),
            'speed_mps': round(speed_mps, 3),
            'state': self._reaction.state,
            'stopped_for': self._reaction.cause if self._reaction.state == 'stop' else '',
            'slowed_for': self._reaction.cause if self._reaction.state == 'slow' else '',
            'travelled_m': round(self._navigator.drive.along_m(self._drive_s), 2),
            'path_cells': len(self._navigator.path),
            **{name: processes.running() for name, processes in self._busy.items()},
        }
        self._status.publish(String(data=json.dumps(status)))

    def _publish_grid(self) -> None:
        """Publish the map in ROS axes (REP 103): x is the drive's z, y is minus its x."""
        occupancy = self._navigator.map
        chance = 100 / (1 + np.exp(-occupancy.log_odds))
        known = np.where(np.abs(occupancy.log_odds) > 0.1, chance, -1).astype(np.int8)
        msg = OccupancyGrid()
        msg.header.stamp = self.get_clock().now().to_msg()
        msg.header.frame_id = 'map'
        msg.info.resolution = CELL_M
        msg.info.width = msg.info.height = SIDE_CELLS
        msg.info.origin.position.x = occupancy.corner[1] * CELL_M
        msg.info.origin.position.y = -(occupancy.corner[0] + SIDE_CELLS) * CELL_M
        msg.info.origin.orientation.w = 1.0
        msg.data = known.T[::-1].reshape(-1).tolist()
        self._grid.publish(msg)

    def close(self) -> None:
        """End the load processes."""
        for processes in self._busy.values():
            processes.set_count(0)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end; returns the exit status."""
    cv2.setNumThreads(1)
    rclpy.init(args=args)
    node = None
    try:
        node = NavigationNode()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the usual ends of a node
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
