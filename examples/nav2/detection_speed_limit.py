"""A speed filter fed by detections: the nearer something stands, the slower the robot.

    python3 detection_speed_limit.py --ros-args -r __ns:=/robot -p output:=speed_limit

``output:=speed_limit`` publishes nav2_msgs/SpeedLimit, which Nav2's controllers obey (their
``speed_limit_topic``). ``output:=twist``, for robots without Nav2, passes ``cmd_vel_in`` on as
``cmd_vel``, no faster than the limit.
"""

from __future__ import annotations

import time
from typing import Any

from geometry_msgs.msg import Twist
import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from floor_view import declare, FloorView, run
from ground_plane import obstacle_points
from speed_rule import limited, NO_LIMIT, SpeedRule, SpeedSettings
from vision_msgs.msg import Detection2DArray

PERIOD_S = 0.1
REPEAT_S = 1.0  # a controller that starts later hears of it, too
OUTPUTS = ('speed_limit', 'twist')


class DetectionSpeedLimit(Node):
    """Limits the speed by the distance of what is detected."""

    def __init__(self) -> None:
        super().__init__('detection_speed_limit')
        self._view = FloorView(self)
        usual = SpeedSettings()
        for name, text, low, high in (
            ('full_beyond_m', 'Farther detections slow nothing.', 0.1, 50.0),
            ('slowest_within_m', 'Nearer ones slow most.', 0.0, 50.0),
            ('slowest_percent', 'Of the highest speed; 0 would mean no limit.', 1.0, 100.0),
            ('hold_s', 'A limit stays for so long after its reason has gone.', 0.0, 60.0),
            ('stale_s', 'Without results for so long the robot is blind.', 0.1, 60.0),
            ('blind_percent', 'Limit while blind; 100 = none.', 1.0, 100.0),
        ):
            declare(self, name, getattr(usual, name), text, low, high)
        declare(self, 'highest_mps', 0.5, 'Highest speed of the robot, for twist.', 0.01, 20.0)
        self.declare_parameter(
            'output', OUTPUTS[0],
            ParameterDescriptor(description=' or '.join(OUTPUTS), read_only=True),
        )
        self._rule = SpeedRule(usual)
        self._said_percent, self._said_s = NO_LIMIT, float('-inf')
        self._limits: Any = None
        output = self.get_parameter('output').value
        if output == 'speed_limit':
            self._make_limit = speed_limit_type()
            self._limits = self.create_publisher(self._make_limit, 'speed_limit', 10)
        elif output == 'twist':
            self._velocities = self.create_publisher(Twist, 'cmd_vel', 10)
            self.create_subscription(Twist, 'cmd_vel_in', self._on_velocity, 10)
        else:
            raise SystemExit(f'output is {output!r}; allowed: {", ".join(OUTPUTS)}')
        self.create_subscription(Detection2DArray, 'detections', self._on_detections, 10)
        self.create_timer(PERIOD_S, self._say)

    def _on_detections(self, message: Detection2DArray) -> None:
        lens = self._view.lens()
        if lens is None:
            return  # blind, and slow for that
        mount = self._view.mount
        self._rule.settings = SpeedSettings(
            **{name: self._view.number(name) for name in vars(self._rule.settings)}
        )
        distances_m = []
        for box in self._view.boxes(message):
            points = obstacle_points(
                lens, mount, [box], max_range_m=self._rule.settings.full_beyond_m
            )
            if len(points):
                distances_m.append(float(np.hypot(*points.T).min()))
        self._rule.see(time.monotonic(), distances_m)

    def _say(self) -> None:
        now_s = time.monotonic()
        percent = self._rule.limit_percent(now_s)
        changed = abs(percent - self._said_percent) >= 1.0
        if changed:
            self.get_logger().info(
                f'limit {percent:.0f} %' if percent < NO_LIMIT else 'no limit',
                throttle_duration_sec=1.0,
            )
        if changed or now_s - self._said_s >= REPEAT_S:
            self._said_percent, self._said_s = percent, now_s
            if self._limits is not None:
                message = self._make_limit(percentage=True)
                message.header.stamp = self.get_clock().now().to_msg()
                message.speed_limit = percent if percent < NO_LIMIT else 0.0
                self._limits.publish(message)

    def _on_velocity(self, message: Twist) -> None:
        percent = self._rule.limit_percent(time.monotonic())
        message.linear.x, message.linear.y, message.angular.z = limited(
            message.linear.x, message.linear.y, message.angular.z, percent,
            self._view.number('highest_mps'),
        )
        self._velocities.publish(message)


def speed_limit_type() -> Any:
    """The type nav2_msgs/SpeedLimit, or an exit that says how to get it."""
    try:
        from nav2_msgs.msg import SpeedLimit
    except ImportError:
        raise SystemExit(
            'output speed_limit needs nav2_msgs: sudo apt install ros-jazzy-nav2-msgs, or take '
            'output:=twist'
        ) from None
    return SpeedLimit


if __name__ == '__main__':
    run(DetectionSpeedLimit)
