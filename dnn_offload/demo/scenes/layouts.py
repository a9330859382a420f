"""Floor plans: walls along a path. The two splits use disjoint families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dnn_offload.demo.scenes.textures import FLOORS, Texture, WALLS


@dataclass(frozen=True)
class Layout:
    """Walls, floor and light of one world.

    Attributes:
        family: Name of the layout family.
        segments: (S, 4) x0, z0, x1, z1 in metres.
        heights_m: (S,) height of each wall.
        skins: (S,) index into ``wall_textures``.
        wall_textures: Surfaces of walls.
        floor: Surface of the floor.
        ceiling_m: Height of the ceiling; 0 is open sky.
        path: (P, 2) x, z of the way the vehicle takes, one point every 0.25 m.
        free_half_m: Half width of the drivable strip around the path.
    """

    family: str
    segments: np.ndarray
    heights_m: np.ndarray
    skins: np.ndarray
    wall_textures: tuple[Texture, ...]
    floor: Texture
    ceiling_m: float
    path: np.ndarray
    free_half_m: float


class _Walls:
    """Collects wall segments while a floor plan is drawn."""

    def __init__(self) -> None:
        self.segments: list[tuple[float, float, float, float]] = []
        self.heights: list[float] = []
        self.skins: list[int] = []

    def line(self, points: np.ndarray, height: float, skin: int) -> None:
        """Walls through the points (N, 2)."""
        for (x0, z0), (x1, z1) in zip(points[:-1], points[1:], strict=True):
            self.segments.append((x0, z0, x1, z1))
            self.heights.append(height)
            self.skins.append(skin)

    def block(
        self, x: float, z: float, wide: float, deep: float, height: float, skin: int
    ) -> None:
        """A box with its centre at x, z."""
        corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        self.line(corner * [wide / 2, deep / 2] + [x, z], height, skin)


def _path(length_m: float, bends: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """A way of ``length_m``; bends are (at_m, total turn in rad). Returns points, normals."""
    steps = int(length_m / 0.25)
    heading = np.zeros(steps)
    along = np.arange(steps) * 0.25
    for at, turn in bends:
        heading += turn / (1 + np.exp(-(along - at) / 0.8))
    moves = 0.25 * np.stack([np.sin(heading), np.cos(heading)], axis=1)
    normals = np.stack([np.cos(heading), -np.sin(heading)], axis=1)
    return np.cumsum(moves, axis=0) - moves, normals


def _ends(
    walls: _Walls, path: np.ndarray, normals: np.ndarray, half: float, height: float
) -> None:
    """Close both ends of a strip."""
    for index in (0, -1):
        ahead = np.array([-normals[index][1], normals[index][0]])
        centre = path[index] + ahead * (-3.0 if index == 0 else 2.0)
        sides = np.stack([centre - normals[index] * half, centre + normals[index] * half])
        walls.line(sides, height, 1)


def corridor(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """A straight indoor corridor with niches."""
    path, normals = _path(length_m, [])
    half, height = rng.uniform(1.1, 2.2), rng.uniform(2.4, 3.3)
    for side in (-1, 1):
        z, points = -4.0, []
        while z < length_m + 4:
            run = rng.uniform(4, 12)
            points += [[side * half, z], [side * half, z + run]]
            z += run
            if rng.random() < 0.5:
                depth, run = rng.uniform(0.4, 1.4), rng.uniform(1.2, 3)
                points += [[side * (half + depth), z], [side * (half + depth), z + run]]
                z += run
        walls.line(np.array(points), height, 0)
    _ends(walls, path, normals, half + 2, height)
    return path, half - 0.3, height


def yard(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """An open yard between buildings and fences."""
    path, normals = _path(length_m, [])
    half = rng.uniform(3.5, 8)
    for side in (-1, 1):
        z = -4.0
        x = side * half
        while z < length_m + 6:
            run = rng.uniform(5, 14)
            nxt = side * half * rng.uniform(0.8, 1.3)
            walls.line(
                np.array([[x, z], [nxt, z + run]]), rng.uniform(1.6, 6), int(rng.integers(2))
            )
            x, z = nxt, z + run
    _ends(walls, path, normals, half + 4, rng.uniform(2.5, 7))
    return path, half * 0.75, 0.0


def warehouse(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """An aisle between racks in a high hall."""
    path, normals = _path(length_m, [])
    half, ceiling = rng.uniform(1.5, 2.8), rng.uniform(4.5, 7)
    for side in (-1, 1):
        z = -4.0
        while z < length_m:
            run, deep = rng.uniform(2.5, 6), rng.uniform(0.8, 1.4)
            high = rng.uniform(1.8, 3.6)
            walls.block(side * (half + deep / 2), z + run / 2, deep, run, high, 1)
            z += run + rng.uniform(1.0, 3.0)
        outer = side * (half + rng.uniform(3, 6))
        walls.line(np.array([[outer, -6], [outer, length_m + 4]]), ceiling, 0)
    _ends(walls, path, normals, half + 7, ceiling)
    return path, half - 0.3, ceiling


def alley(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """An outdoor alley with staggered house fronts."""
    path, normals = _path(length_m, [])
    half = rng.uniform(1.7, 3.2)
    for side in (-1, 1):
        z, points = -4.0, []
        while z < length_m + 4:
            run, x = rng.uniform(3, 8), side * (half + rng.uniform(0, 1.6))
            points += [[x, z], [x, z + run]]
            z += run
        walls.line(np.array(points), rng.uniform(3, 7), int(rng.integers(2)))
    _ends(walls, path, normals, half + 3, rng.uniform(3, 7))
    return path, half - 0.3, 0.0


def garage(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """A low hall with pillars."""
    path, normals = _path(length_m, [])
    half, ceiling = rng.uniform(4.5, 8), rng.uniform(2.3, 2.9)
    lane, pitch = rng.uniform(1.8, 3), rng.uniform(3.5, 6)
    thick = rng.uniform(0.35, 0.7)
    for side in (-1, 1):
        for z in np.arange(-2, length_m, pitch).tolist():
            walls.block(side * lane, z, thick, thick, ceiling, 1)
        walls.line(np.array([[side * half, -6], [side * half, length_m + 4]]), ceiling, 0)
    _ends(walls, path, normals, half + 1, ceiling)
    return path, lane - thick - 0.2, ceiling


def bends(rng: np.random.Generator, walls: _Walls, length_m: float) -> tuple:
    """An indoor corridor that turns."""
    corners, at = [], rng.uniform(3, 9)
    side = float(rng.choice([-1, 1]))
    while at < length_m:
        corners.append((at, side * rng.uniform(0.5, 1.4)))
        side, at = -side, at + rng.uniform(6, 12)
    path, normals = _path(length_m, corners)
    half, height = rng.uniform(1.2, 2.2), rng.uniform(2.4, 3.4)
    ahead = np.array([-normals[0][1], normals[0][0]])
    for side in (-1, 1):
        line = (path + side * half * normals)[::3]
        walls.line(np.concatenate([[line[0] - 4 * ahead], line]), height, 0)
    _ends(walls, path, normals, half + 1, height)
    return path, half - 0.3, height


Family = Callable[[np.random.Generator, _Walls, float], tuple]
FAMILIES: dict[str, tuple[Family, ...]] = {
    'train': (corridor, yard, warehouse),
    'val': (alley, garage, bends),
}
SPLITS: tuple[str, ...] = tuple(FAMILIES)


def build(rng: np.random.Generator, split: str, length_m: float = 24.0) -> Layout:
    """Draw the floor plan and surfaces of one world of a split."""
    family = FAMILIES[split][int(rng.integers(len(FAMILIES[split])))]
    walls = _Walls()
    path, free_half, ceiling = family(rng, walls, length_m)
    skins = []
    for _ in range(2):
        skins.append(WALLS[split][int(rng.integers(len(WALLS[split])))](rng))
    floor = FLOORS[split][int(rng.integers(len(FLOORS[split])))](rng)
    return Layout(
        family.__name__,
        np.array(walls.segments, float),
        np.array(walls.heights, float),
        np.array(walls.skins, int),
        tuple(skins),
        floor,
        float(ceiling),
        path,
        float(free_half),
    )
