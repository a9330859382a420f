"""What both example nodes have in common: the camera's mount, and which detections count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from ground_plane import Box, Lens, Mount
from vision_msgs.msg import Detection2DArray

MODELS = ('', 'plumb_bob', 'rational_polynomial')


def run(make: Callable[[], Node]) -> None:
    """Make a node and run it until a signal."""
    rclpy.init()
    try:
        rclpy.spin(make())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


def declare(node: Node, name: str, default: float, text: str, low: float, high: float) -> None:
    """Declare a number with its meaning and range; live."""
    span = FloatingPointRange(from_value=low, to_value=high, step=0.0)
    node.declare_parameter(
        name, default, ParameterDescriptor(description=text, floating_point_range=[span])
    )


def declare_strings(node: Node, name: str, text: str) -> None:
    """Declare a list of strings that is empty by default; live."""
    # [''] and not []: rclpy takes an empty list for a list of bytes.
    node.declare_parameter(name, [''], ParameterDescriptor(description=text))


class FloorView:
    """Knows the lens and the mount, and which detections count.

    Args:
        node: Gets the parameters and the subscription of ``camera_info``.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._info: CameraInfo | None = None
        declare(node, 'camera_height_m', 0.3, 'Height of the camera above the floor.', 0.01, 5.0)
        declare(
            node, 'camera_pitch_deg', 0.0, 'Tilt of the camera below the horizon.', -45.0, 90.0
        )
        declare(node, 'camera_forward_m', 0.0, 'Camera before the origin of frame_id.', -5.0, 5.0)
        declare(node, 'camera_left_m', 0.0, 'Camera to the left of that origin.', -5.0, 5.0)
        declare(node, 'camera_yaw_deg', 0.0, 'Turn of the camera to the left.', -180.0, 180.0)
        declare(
            node, 'horizontal_fov_deg', 0.0,
            'Angle of view of a camera whose camera_info is not calibrated; 0 = refuse that.',
            0.0, 170.0,
        )
        declare(node, 'min_score', 0.5, 'Detections below this score do not count.', 0.0, 1.0)
        declare_strings(
            node, 'classes', 'Names of the classes that count, as in vision_info; empty = all.'
        )
        node.create_subscription(
            CameraInfo, 'camera_info', self._on_camera_info, qos_profile_sensor_data
        )

    def number(self, name: str) -> float:
        """Value of a parameter."""
        return float(self._node.get_parameter(name).value)

    @property
    def mount(self) -> Mount:
        """As the parameters say."""
        return Mount(
            self.number('camera_height_m'), math.radians(self.number('camera_pitch_deg')),
            self.number('camera_forward_m'), self.number('camera_left_m'),
            math.radians(self.number('camera_yaw_deg')),
        )

    def lens(self) -> Lens | None:
        """As ``camera_info`` says; None (and a warning with its cure) while that is of no use."""
        info = self._info
        if info is None:
            self._complain('no camera_info yet: is the camera in this namespace, or remapped?')
            return None
        if info.k[0] > 0.0:
            distortion = tuple(info.d)
            if info.distortion_model not in MODELS:
                self._complain(f'lens model {info.distortion_model}: its distortion is left out')
                distortion = ()
            return Lens(tuple(info.k), distortion, info.width, info.height)
        fov_deg = self.number('horizontal_fov_deg')
        if fov_deg > 0.0:
            return Lens.of_view(info.width, info.height, math.radians(fov_deg))
        self._complain(
            'camera_info is not calibrated: set camera_info_url of camera_node, or '
            'horizontal_fov_deg here'
        )
        return None

    def boxes(self, message: Detection2DArray) -> Sequence[Box]:
        """Boxes of the detections that count."""
        wanted = {name for name in self._node.get_parameter('classes').value if name}
        least = self.number('min_score')
        return [
            _box(detection.bbox)
            for detection in message.detections
            if any(
                found.hypothesis.score >= least
                and (not wanted or found.hypothesis.class_id in wanted)
                for found in detection.results
            )
        ]

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._info = message

    def _complain(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=5.0)


def _box(bbox: Any) -> Box:
    centre = bbox.center.position
    return Box(
        centre.x - 0.5 * bbox.size_x, centre.x + 0.5 * bbox.size_x,
        centre.y + 0.5 * bbox.size_y,
    )
