"""Detections as obstacles for a costmap: `detections` in, a cloud of points on the floor out.

    python3 detection_obstacles.py --ros-args -r __ns:=/robot -p camera_height_m:=0.3

Nav2's obstacle layer marks the points that are near, and clears along the rays to those beyond
its ``obstacle_max_range`` (nav2_params.yaml, docs/nav2.md).
"""

from __future__ import annotations

from array import array

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2, PointField

from floor_view import declare, FloorView, run
from ground_plane import clearing_points, obstacle_points
from vision_msgs.msg import Detection2DArray

POINT_HEIGHT_M = 0.2  # between min_obstacle_height and max_obstacle_height of any sensible layer


class DetectionObstacles(Node):
    """One cloud per result, with the stamp of its picture."""

    def __init__(self) -> None:
        super().__init__('detection_obstacles')
        self._view = FloorView(self)
        self.declare_parameter('frame_id', 'base_link')
        declare(
            self, 'max_range_m', 4.0,
            'Farther detections are left out, since a pixel is metres there.', 0.5, 50.0,
        )
        declare(self, 'clear_range_m', 5.0, 'Length of the rays that clear.', 0.5, 50.0)
        declare(self, 'object_depth_m', 0.2, 'How far an object goes on behind.', 0.0, 5.0)
        self._clouds = self.create_publisher(PointCloud2, 'detection_obstacles', 10)
        self.create_subscription(Detection2DArray, 'detections', self._on_detections, 10)

    def _on_detections(self, message: Detection2DArray) -> None:
        lens = self._view.lens()
        if lens is None:
            return
        mount, number = self._view.mount, self._view.number
        occupied = obstacle_points(
            lens, mount, self._view.boxes(message), max_range_m=number('max_range_m'),
            depth_m=number('object_depth_m'),
        )
        free = clearing_points(lens, mount, occupied, range_m=number('clear_range_m'))
        frame_id = self.get_parameter('frame_id').value
        self._clouds.publish(cloud(np.concatenate([occupied, free]), message, frame_id))


def cloud(points: np.ndarray, source: Detection2DArray, frame_id: str) -> PointCloud2:
    """Points ``(N, 2)`` in a frame [m] as a message."""
    xyz = np.full((len(points), 3), POINT_HEIGHT_M, np.float32)
    xyz[:, :2] = points
    message = PointCloud2(
        height=1, width=len(points), point_step=12, row_step=12 * len(points), is_dense=True,
        fields=[
            PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
            for place, name in enumerate('xyz')
        ],
    )
    message.header.stamp = source.header.stamp
    message.header.frame_id = frame_id
    message.data = array('B', xyz.tobytes())
    return message


if __name__ == '__main__':
    run(DetectionObstacles)
