"""The camera of the drawn world and ray casting against its walls.

World: x right, z ahead, y up, in metres; the floor is y = 0. Walls are vertical, so a scene is
cast column by column (as in early 3-D games): pitch is a shift of the horizon, not a rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAR_M = 200.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera on a vehicle.

    Attributes:
        width: Picture width in pixels.
        height: Picture height in pixels.
        focal_px: Focal length in pixels.
        horizon_px: Row of the horizon in pixels.
        height_m: Height of the camera above the floor.
        x_m: Position across.
        z_m: Position ahead.
        heading_rad: Heading, 0 looks along +z, positive turns right.
    """

    width: int
    height: int
    focal_px: float
    horizon_px: float
    height_m: float
    x_m: float
    z_m: float
    heading_rad: float

    @property
    def forward(self) -> np.ndarray:
        """Unit vector ahead, (x, z)."""
        return np.array([np.sin(self.heading_rad), np.cos(self.heading_rad)])

    @property
    def right(self) -> np.ndarray:
        """Unit vector to the right, (x, z)."""
        return np.array([np.cos(self.heading_rad), -np.sin(self.heading_rad)])

    def column_slopes(self) -> np.ndarray:
        """Right/ahead ratio of the ray through each column, (width,)."""
        return (np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 3) x, y, z -> (N, 3) right, up, ahead of the camera, metres."""
        offset_x = points[:, 0] - self.x_m
        offset_z = points[:, 2] - self.z_m
        sine, cosine = np.sin(self.heading_rad), np.cos(self.heading_rad)
        return np.stack(
            [
                offset_x * cosine - offset_z * sine,
                points[:, 1] - self.height_m,
                offset_x * sine + offset_z * cosine,
            ],
            axis=1,
        )

    def project(self, seen: np.ndarray) -> np.ndarray:
        """Camera points (N, 3) -> pixels (N, 2); the caller keeps depth above zero."""
        depth = np.maximum(seen[:, 2], 1e-3)
        return np.stack(
            [
                self.width / 2 + self.focal_px * seen[:, 0] / depth,
                self.horizon_px - self.focal_px * seen[:, 1] / depth,
            ],
            axis=1,
        )


def cast(
    origin: np.ndarray, directions: np.ndarray, segments: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cast rays against wall segments.

    Args:
        origin: (2,) x, z.
        directions: (R, 2) x, z; the result is in units of their length.
        segments: (S, 4) x0, z0, x1, z1.

    Returns:
        Distance (R,) (``FAR_M`` where nothing is hit), segment index (R,), metres along it (R,).
    """
    start = segments[:, :2] - origin
    edge = segments[:, 2:] - segments[:, :2]
    cross = directions[:, :1] * edge[:, 1] - directions[:, 1:] * edge[:, 0]  # (R, S)
    safe = np.where(np.abs(cross) < 1e-9, 1e-9, cross)
    distance = (start[:, 0] * edge[:, 1] - start[:, 1] * edge[:, 0]) / safe
    along = (start[:, 0] * directions[:, 1:] - start[:, 1] * directions[:, :1]) / safe
    hit = (distance > 0.05) & (along >= 0) & (along <= 1)
    distance = np.where(hit, distance, FAR_M)
    index = distance.argmin(axis=1)
    rows = np.arange(len(directions))
    length = np.hypot(edge[:, 0], edge[:, 1])
    return distance[rows, index], index, along[rows, index] * length[index]


def cast_discs(origin: np.ndarray, directions: np.ndarray, discs: np.ndarray) -> np.ndarray:
    """Cast unit rays (R, 2) against discs (D, 3) x, z, radius; distances (R,), FAR_M if none."""
    if len(discs) == 0:
        return np.full(len(directions), FAR_M)
    offset = discs[:, :2] - origin  # (D, 2)
    along = directions @ offset.T  # (R, D)
    miss = (offset**2).sum(axis=1) - along**2
    reach = discs[:, 2] ** 2 - miss
    near = along - np.sqrt(np.maximum(reach, 0))
    near = np.where((reach > 0) & (near > 0.05), near, FAR_M)
    return near.min(axis=1)
