"""One labelled picture of a drawn world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dnn_offload.demo.scenes.backdrop import backdrop, Look
from dnn_offload.demo.scenes.camera import Camera, cast
from dnn_offload.demo.scenes.layouts import build, Layout, SPLITS
from dnn_offload.demo.scenes.painter import fill, NEAR_M, Polygon, polygons_of
from dnn_offload.demo.scenes.shapes import (
    CLASS_NAMES,
    CLUTTER,
    CLUTTER_KINDS,
    RADII_M,
    Thing,
)
from dnn_offload.errors import ConfigurationError

NETWORK_WIDTH = 320  # sizes below are in pixels of a picture of this width
MIN_LONG_PX, MIN_SHORT_PX = 12.0, 4.0
MIN_VISIBLE = 0.5
_NOISE = np.random.default_rng(7).standard_normal((1024, 1024, 3)).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        rgb: (H, W, 3) uint8.
        boxes: (M, 4) float32 x1, y1, x2, y2 in pixels around the visible part.
        class_ids: (M,) int64 into ``CLASS_NAMES``.
        visible: (M,) float32 visible fraction, 0.5..1.
        ignored: (K, 4) float32 boxes of things too small or too hidden to be asked for.
    """

    rgb: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    visible: np.ndarray
    ignored: np.ndarray


@dataclass(frozen=True)
class Lens:
    """What the sensor does to the light."""

    exposure: float = 1.0
    gamma: float = 1.0
    blur_px: float = 0.0
    motion_px: int = 0
    noise: float = 3.0
    vignette: float = 0.2
    noise_seed: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Lens:
        """Draw one at random."""
        return cls(
            float(np.exp(rng.normal(0.05, 0.28))),
            float(np.exp(rng.normal(0, 0.15))),
            float(rng.uniform(0.4, 1.5)) if rng.random() < 0.35 else 0.0,
            int(rng.integers(2, 9)) if rng.random() < 0.25 else 0,
            float(rng.uniform(1, 9)),
            float(rng.uniform(0, 0.45)),
            int(rng.integers(1 << 31)),
        )

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Light (H, W, 3) float32 -> picture uint8."""
        high, wide = image.shape[:2]
        if self.blur_px > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.blur_px)
        if self.motion_px > 1:
            image = cv2.blur(image, (self.motion_px, 1))
        across = np.linspace(-1, 1, wide, dtype=np.float32) ** 2
        down = np.linspace(-1, 1, high, dtype=np.float32) ** 2
        image = (
            image * (self.exposure * (1 - self.vignette * (across + down[:, None]) / 2))[..., None]
        )
        if self.gamma != 1.0:
            image = 255 * cv2.pow(np.clip(image, 0, 255) / 255, self.gamma)
        rng = np.random.default_rng(self.noise_seed)
        row, column = (int(rng.integers(1024 - min(n, 1023))) for n in (high, wide))
        noise = _NOISE[row : row + high, column : column + wide]
        if noise.shape != image.shape:
            noise = np.asarray(cv2.resize(noise, (wide, high)), np.float32)
        return np.clip(image + self.noise * noise, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Placed:
    """A thing as it falls on the picture."""

    thing: Thing
    depth_m: float
    polygons: list[Polygon]
    window: tuple[int, int, int, int]  # x1, y1, x2, y2 clipped to the picture
    mask: np.ndarray  # silhouette within the window, uint8 0/1
    wanted: bool
    visible: float
    box: np.ndarray


def _silhouette(
    polygons: Sequence[Polygon], camera: Camera
) -> tuple[tuple[int, int, int, int], np.ndarray, float] | None:
    """Window, mask and share of the thing's box within the picture; None when outside."""
    points = np.concatenate([polygon.points for polygon in polygons])
    low, top = points.min(axis=0), points.max(axis=0)
    x1, y1 = int(max(0, np.floor(low[0]))), int(max(0, np.floor(low[1])))
    x2, y2 = (
        int(min(camera.width, np.ceil(top[0]) + 1)),
        int(min(camera.height, np.ceil(top[1]) + 1)),
    )
    if x2 - x1 < 2 or y2 - y1 < 2:
        return None
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    for polygon in polygons:
        fill(mask, polygon.points - [x1, y1], 1, antialias=False)
    whole = max(float(np.prod(np.maximum(top - low, 1))), 1.0)
    share = min(1.0, (x2 - x1) * (y2 - y1) / whole)
    return (x1, y1, x2, y2), mask, share


def _place(
    things: Sequence[Thing], camera: Camera, look: Look, wall_depth: np.ndarray, keep_all: bool
) -> list[_Placed]:
    """Decide near to far what is seen and how much of it; returns near to far."""
    covered = np.zeros((camera.height, camera.width), bool)
    scale = camera.width / NETWORK_WIDTH
    centres = camera.to_camera(np.array([[t.x_m, 0.0, t.z_m] for t in things]).reshape(-1, 3))
    placed: list[_Placed] = []
    for index in np.argsort(centres[:, 2]):
        thing, depth = things[index], float(centres[index, 2])
        if depth < NEAR_M + thing.radius_m or abs(centres[index, 0]) > 3 * depth + 2:
            continue
        polygons = polygons_of(thing, camera, look.light)
        silhouette = _silhouette(polygons, camera) if polygons else None
        if silhouette is None:
            continue
        window, mask, share = silhouette
        x1, y1, x2, y2 = window
        slack = 0.8 if thing.kind == 'door' else 0.0
        mask &= (wall_depth[x1:x2] + slack > depth)[None, :]
        seen = (mask > 0) & ~covered[y1:y2, x1:x2]
        area = int(seen.sum())
        if area == 0:
            continue
        whole = np.zeros_like(mask)
        for polygon in polygons:
            fill(whole, polygon.points - [x1, y1], 1, antialias=False)
        visible = area / max(int(whole.sum()), 1) * share
        columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
        box = np.array(
            [x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1], np.float32
        )
        sides = np.sort(box[2:] - box[:2]) / scale
        wanted = (
            thing.class_id != CLUTTER
            and visible >= MIN_VISIBLE
            and sides[1] >= MIN_LONG_PX
            and sides[0] >= MIN_SHORT_PX
        )
        if thing.class_id != CLUTTER and not wanted and not keep_all:
            continue  # too small or too hidden to be asked for, so it is not drawn at all
        covered[y1:y2, x1:x2] |= mask > 0
        placed.append(_Placed(thing, depth, polygons, window, mask, wanted, visible, box))
    return placed


def _cast_shadows(
    image: np.ndarray, placed: Sequence[_Placed], camera: Camera, look: Look, floor_row: np.ndarray
) -> None:
    """Darken the floor beneath and beside the things, in place."""
    small = np.zeros((camera.height // 4, camera.width // 4), np.uint8)
    around = np.linspace(0, 2 * np.pi, 14, False)
    drop = np.array([np.sin(look.light.direction_rad), np.cos(look.light.direction_rad)])
    for item in placed:
        thing = item.thing
        if thing.kind == 'door':
            continue
        ring = np.stack([np.cos(around), np.sin(around)], axis=1) * thing.radius_m * 1.05
        reach = ring @ drop
        ring = ring - drop * np.where(reach < 0, 0.8, 0.0)[:, None] * thing.radius_m
        points = np.stack(
            [thing.x_m + ring[:, 0], np.zeros(len(ring)), thing.z_m + ring[:, 1]], axis=1
        )
        seen = camera.to_camera(points)
        if seen[:, 2].min() > NEAR_M:
            fill(small, cv2.convexHull((camera.project(seen) / 4).astype(np.float32))[:, 0], 255.0)
    if not small.any():
        return
    soft = cv2.resize(cv2.blur(small, (3, 3)), (camera.width, camera.height))
    below = np.arange(camera.height)[:, None] >= floor_row
    image *= (1 - (look.shadow / 255) * soft.astype(np.float32) * below)[..., None]


def paint(
    layout: Layout,
    camera: Camera,
    look: Look,
    lens: Lens,
    things: Sequence[Thing],
    *,
    keep_all: bool = False,
) -> Scene:
    """Paint a picture with its labels.

    Args:
        layout: Walls and floor.
        camera: Where it is seen from, with the picture's size.
        look: Light.
        lens: Sensor.
        things: What stands there, in world coordinates.
        keep_all: Draw also things too small or too hidden to be labelled (a video must not let
            them pop up); they are then listed as ignored.
    """
    image, wall_depth, floor_row = backdrop(layout, camera, look)
    placed = _place(things, camera, look, wall_depth, keep_all)
    _cast_shadows(image, placed, camera, look, floor_row)
    for item in reversed(placed):
        x1, y1, x2, y2 = item.window
        part = np.ascontiguousarray(image[y1:y2, x1:x2])
        position = np.array([item.thing.x_m]), np.array([item.thing.z_m])
        bright = float(look.brightness(item.depth_m)) * float(look.pool(*position).ravel()[0])
        for polygon in item.polygons:
            colour = polygon.colour * look.tint * bright
            # float pictures have no antialiasing in OpenCV; the sensor's blur and the later
            # reduction to the network's size do that work
            fill(part, polygon.points - [x1, y1], colour.tolist(), antialias=False)
        hidden = ~(item.mask > 0)
        part[hidden] = image[y1:y2, x1:x2][hidden]
        image[y1:y2, x1:x2] = part
    wanted = [item for item in placed if item.wanted]
    ignored = [item for item in placed if not item.wanted and item.thing.class_id != CLUTTER]
    return Scene(
        lens.apply(image),
        np.array([item.box for item in wanted], np.float32).reshape(-1, 4),
        np.array([item.thing.class_id for item in wanted], np.int64),
        np.array([item.visible for item in wanted], np.float32),
        np.array([item.box for item in ignored], np.float32).reshape(-1, 4),
    )


def make_thing(rng: np.random.Generator, kind: str, x_m: float, z_m: float) -> Thing:
    """A thing of this kind with looks and pose drawn at random."""
    class_id = CLASS_NAMES.index(kind) if kind in CLASS_NAMES else CLUTTER
    return Thing(
        class_id,
        kind,
        x_m,
        z_m,
        float(rng.uniform(-np.pi, np.pi)),
        int(rng.integers(1 << 31)),
        float(rng.uniform(0, 2 * np.pi)),
        RADII_M[kind],
    )


def _stand_around(
    rng: np.random.Generator, layout: Layout, camera: Camera, wall_depth: np.ndarray
) -> list[Thing]:
    """Things placed at random where the camera sees floor or wall."""
    things: list[Thing] = []
    slopes = camera.column_slopes()
    kinds = [k for k in CLASS_NAMES for _ in range(2)] + list(CLUTTER_KINDS)
    for _ in range(int(rng.integers(8, 26))):
        kind = kinds[int(rng.integers(len(kinds)))]
        column = int(rng.integers(camera.width))
        limit = wall_depth[column]
        if kind == 'door':
            if 1.5 < limit < 16:
                aim = camera.forward + slopes[column] * camera.right
                door = door_at(rng, layout, np.array([camera.x_m, camera.z_m]), aim)
                if door is not None:
                    things.append(door)
            continue
        radius = RADII_M[kind]
        nearest, farthest = 0.9 + radius, min(limit - radius - 0.1, 16.0)
        if farthest <= nearest:
            continue
        depth = float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))
        spot = np.array([camera.x_m, camera.z_m]) + depth * (
            camera.forward + slopes[column] * camera.right
        )
        if all(np.hypot(t.x_m - spot[0], t.z_m - spot[1]) > t.radius_m + radius for t in things):
            things.append(make_thing(rng, kind, float(spot[0]), float(spot[1])))
    return things


def door_at(
    rng: np.random.Generator, layout: Layout, origin: np.ndarray, aim: np.ndarray
) -> Thing | None:
    """A door on the wall that a ray meets; None when it does not fit there.

    Args:
        rng: Source of its looks.
        layout: The walls.
        origin: (2,) x, z of the ray's start.
        aim: (2,) its direction.
    """
    _, index, along = cast(origin, aim[None], layout.segments)
    segment = layout.segments[index[0]]
    edge = segment[2:] - segment[:2]
    length = float(np.hypot(*edge))
    if length < 1.3 or layout.heights_m[index[0]] < 2.2:
        return None
    at = float(np.clip(along[0], 0.65, length - 0.65))
    normal = np.array([edge[1], -edge[0]]) / length
    if normal @ aim > 0:
        normal = -normal
    spot = segment[:2] + edge / length * at + normal * 0.035
    door = make_thing(rng, 'door', float(spot[0]), float(spot[1]))
    # its face looks to local -z, that is to world (-sin yaw, -cos yaw)
    return replace(door, yaw_rad=float(np.arctan2(-normal[0], -normal[1])))


def render(seed: int, split: str, size: tuple[int, int] = (640, 480)) -> Scene:
    """A picture of a world of its own.

    Args:
        seed: The same seed, split and size give the same picture.
        split: 'train' or 'val'; they share neither floor plans nor surface textures.
        size: Width and height in pixels.

    Raises:
        ConfigurationError: The split does not exist.
    """
    if split not in SPLITS:
        raise ConfigurationError('no such split', given=split, allowed=', '.join(SPLITS))
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    layout = build(rng, split)
    look = Look.draw(rng)
    wide, high = size
    step = int(rng.integers(0, len(layout.path) * 2 // 3))
    ahead = layout.path[min(step + 2, len(layout.path) - 1)] - layout.path[step]
    sideways = rng.uniform(-0.6, 0.6) * layout.free_half_m
    course = float(np.arctan2(ahead[0], ahead[1]))
    spot = layout.path[step] + sideways * np.array([np.cos(course), -np.sin(course)])
    camera = Camera(
        wide,
        high,
        wide * float(rng.uniform(0.62, 0.9)),
        high * float(rng.uniform(0.32, 0.55)),
        float(rng.uniform(0.5, 1.3)),
        float(spot[0]),
        float(spot[1]),
        course + float(rng.normal(0, 0.35)),
    )
    aim = camera.forward + camera.column_slopes()[:, None] * camera.right
    depth, _, _ = cast(np.array([camera.x_m, camera.z_m]), aim, layout.segments)
    things = _stand_around(rng, layout, camera, depth)
    return paint(layout, camera, look, Lens.draw(rng), things)
