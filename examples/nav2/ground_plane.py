"""Where on the floor a detection stands: a pixel's ray, cut with the ground plane. No ROS.

Axes: the camera's optical frame has x right, y down, z forward; the robot's base has x forward,
y left, z up, its origin on the floor (REP 103). The floor is flat and the camera does not roll.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np

BORDER_PX = 2.0   # a box that ends so near to the picture's lower edge goes on below it
SPACING_M = 0.05  # between points of an object: no wider than a cell of a usual costmap


@dataclass(frozen=True)
class Mount:
    """How the camera sits on the robot.

    Attributes:
        height_m: Above the floor.
        pitch_rad: Tilt of the optical axis below the horizon.
        forward_m, left_m: From the base's origin.
        yaw_rad: Turn to the left.
    """

    height_m: float
    pitch_rad: float
    forward_m: float = 0.0
    left_m: float = 0.0
    yaw_rad: float = 0.0


@dataclass(frozen=True)
class Lens:
    """A pinhole camera, as ``sensor_msgs/CameraInfo`` has it.

    Attributes:
        matrix: K, row by row (9 numbers) [px].
        distortion: D of the model ``plumb_bob`` or ``rational_polynomial``; empty = none.
        width, height: Of the picture [px].
    """

    matrix: tuple[float, ...]
    distortion: tuple[float, ...]
    width: int
    height: int

    @classmethod
    def of_view(cls, width: int, height: int, horizontal_fov_rad: float) -> Lens:
        """A lens without distortion that is known by its angle of view only."""
        focal_px = 0.5 * width / math.tan(0.5 * horizontal_fov_rad)
        matrix = (focal_px, 0.0, 0.5 * width, 0.0, focal_px, 0.5 * height, 0.0, 0.0, 1.0)
        return cls(matrix, (), width, height)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Slopes (x/z, y/z) of the rays through pixels: ``(N, 2)`` to ``(N, 2)``."""
        points = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        matrix = np.asarray(self.matrix, np.float64).reshape(3, 3)
        distortion = np.asarray(self.distortion, np.float64) if self.distortion else None
        return np.asarray(cv2.undistortPoints(points, matrix, distortion)).reshape(-1, 2)


@dataclass(frozen=True)
class Box:
    """A detection's box [px]."""

    left: float
    right: float
    bottom: float


def on_floor(lens: Lens, mount: Mount, pixels: np.ndarray) -> np.ndarray:
    """Points of the floor that are seen in pixels.

    Args:
        lens: The camera.
        mount: Where it sits.
        pixels: ``(N, 2)``: column, row [px].

    Returns:
        ``(N, 2)``: x forward, y left in the base [m]; NaN for what is at or above the horizon.
    """
    slope_x, slope_y = lens.rays(pixels).T
    sine, cosine = math.sin(mount.pitch_rad), math.cos(mount.pitch_rad)
    # The ray's direction with the pitch taken out: forward, left, and how far it falls.
    falls = sine + slope_y * cosine
    with np.errstate(divide='ignore', invalid='ignore'):
        reach = np.where(falls > 1e-6, mount.height_m / falls, np.nan)
    forward, left = reach * (cosine - slope_y * sine), -reach * slope_x
    return _in_base(mount, forward, left)


def _in_base(mount: Mount, forward: np.ndarray, left: np.ndarray) -> np.ndarray:
    sine, cosine = math.sin(mount.yaw_rad), math.cos(mount.yaw_rad)
    x = mount.forward_m + cosine * forward - sine * left
    y = mount.left_m + sine * forward + cosine * left
    return np.stack([x, y], axis=-1)


def obstacle_points(
    lens: Lens,
    mount: Mount,
    boxes: Sequence[Box],
    *,
    max_range_m: float,
    depth_m: float = 0.2,
) -> np.ndarray:
    """What detections occupy: the floor along the lower edges of their boxes, and behind it.

    A box that is cut off by the picture's lower edge stands at least as near as the floor that is
    seen there; it is put there.

    Args:
        lens: The camera.
        mount: Where it sits.
        boxes: Detections.
        max_range_m: What is farther from the camera is left out: a pixel there is metres.
        depth_m: How far an object goes on behind its front.

    Returns:
        ``(N, 2)`` in the base [m].
    """
    camera = np.array([mount.forward_m, mount.left_m])
    found = []
    for box in boxes:
        ends = np.array([[box.left, box.bottom], [box.right, box.bottom]])
        ends[:, 1] = np.minimum(ends[:, 1], lens.height - BORDER_PX)
        first, last = on_floor(lens, mount, ends)
        if not np.isfinite([first, last]).all():
            continue
        steps = max(2, 1 + math.ceil(float(np.hypot(*(last - first))) / SPACING_M))
        front = first + np.linspace(0.0, 1.0, steps)[:, None] * (last - first)
        away = front - camera
        distance_m = np.hypot(*away.T)
        rows = 1 + math.ceil(depth_m / SPACING_M)
        for back_m in np.linspace(0.0, depth_m, rows):
            points = front + away * (back_m / distance_m)[:, None]
            found.append(points[distance_m + back_m <= max_range_m])
    return np.concatenate(found) if found else np.empty((0, 2))


def clearing_points(
    lens: Lens, mount: Mount, occupied: np.ndarray, *, range_m: float, rays: int = 61
) -> np.ndarray:
    """Ends of rays over which nothing was detected: what was marked there may be cleared.

    Args:
        lens: The camera.
        mount: Where it sits.
        occupied: ``obstacle_points``; no ray goes their way.
        range_m: Length of the rays.
        rays: Over the whole width of the picture.

    Returns:
        ``(N, 2)`` in the base [m].
    """
    columns = np.linspace(0.0, lens.width - 1.0, rays)
    slope_x = lens.rays(np.stack([columns, np.full(rays, 0.5 * lens.height)], axis=-1))[:, 0]
    bearings = np.arctan2(-slope_x, math.cos(mount.pitch_rad))
    if len(occupied):
        away = occupied - np.array([mount.forward_m, mount.left_m])
        taken = np.arctan2(away[:, 1], away[:, 0]) - mount.yaw_rad
        taken = (taken + math.pi) % (2.0 * math.pi) - math.pi
        gap = abs(bearings[0] - bearings[-1]) / (rays - 1)
        # Near ones are seen apart; no ray goes between two of one object.
        wide = np.maximum(gap, np.arctan2(SPACING_M, np.hypot(*away.T)))
        bearings = bearings[(np.abs(bearings[:, None] - taken) > wide).all(axis=1)]
    return _in_base(mount, range_m * np.cos(bearings), range_m * np.sin(bearings))
