"""Floor, walls and sky of a picture: one ray per column, one plane per row."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dnn_offload.demo.scenes.camera import Camera, cast
from dnn_offload.demo.scenes.layouts import Layout
from dnn_offload.demo.scenes.painter import Light
from dnn_offload.demo.scenes.textures import smooth_noise, TEXELS_PER_M


@dataclass(frozen=True)
class Look:
    """Light and air of a world.

    Attributes:
        light: Light on upright faces.
        tint: (3,) colour of the light.
        fade_m: Distance at which brightness has fallen by half.
        pools: Depth of the light pools on the floor, 0..1.
        pool_pitch_m: Distance between them.
        shadow: Darkness of the shadows, 0..1.
        sky: (2, 3) colours at the horizon and above.
        clouds: (256, 256) noise of the sky.
    """

    light: Light
    tint: np.ndarray
    fade_m: float
    pools: float
    pool_pitch_m: float
    shadow: float
    sky: np.ndarray
    clouds: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Draw one at random."""
        horizon = np.array([rng.uniform(150, 245)] * 3) + rng.normal(0, 12, 3)
        zenith = np.sort([rng.uniform(60, 200), rng.uniform(100, 210), rng.uniform(140, 250)])
        return cls(
            Light(float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0.45, 0.8))),
            (1 + rng.normal(0, 0.06, 3)).astype(np.float32),
            float(np.exp(rng.uniform(np.log(7), np.log(50)))),
            float(rng.uniform(0, 0.45)),
            float(rng.uniform(2, 6)),
            float(rng.uniform(0.15, 0.65)),
            np.stack([horizon, zenith]).astype(np.float32),
            smooth_noise(rng, 6) + 0.5 * smooth_noise(rng, 24),
        )

    def brightness(self, distance_m: np.ndarray | float) -> np.ndarray | float:
        """Brightness at a distance from the camera, 0.15..1."""
        return 0.15 + 0.85 / (1 + (np.asarray(distance_m) / self.fade_m) ** 2)

    def pool(self, x_m: np.ndarray, z_m: np.ndarray) -> np.ndarray:
        """Light pools of lamps on the floor, 1 - pools .. 1."""
        k = np.float32(2 * np.pi / self.pool_pitch_m)
        wave = cv2.pow(np.asarray(np.cos(k * 0.5 * x_m) * np.cos(k * 0.5 * z_m), np.float32), 2)
        return 1 - self.pools + self.pools * wave


def _surface(
    texture: np.ndarray, u_m: np.ndarray, v_m: np.ndarray, sharp: np.ndarray
) -> np.ndarray:
    """Texture at (u, v) metres, faded to its mean where ``sharp`` (broadcastable) is low."""
    colour = cv2.remap(
        texture,
        (u_m * TEXELS_PER_M).astype(np.float32),
        (v_m * TEXELS_PER_M).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    ).astype(np.float32)
    mean = np.array(cv2.mean(texture)[:3], np.float32)
    colour -= mean
    colour *= sharp
    colour += mean
    return colour


def _sharpness(distance_m: np.ndarray) -> np.ndarray:
    """Texture detail that survives at a distance (stands in for mip levels)."""
    return (1 / (1 + (distance_m / 5.0) ** 2)).astype(np.float32)


def _plane(
    layout: Layout, camera: Camera, look: Look, rows: np.ndarray, overhead: bool
) -> np.ndarray:
    """Floor (or ceiling) in the given rows, (R, W, 3) float32."""
    rise = layout.ceiling_m - camera.height_m if overhead else camera.height_m
    distance = camera.focal_px * rise / np.maximum(np.abs(rows + 0.5 - camera.horizon_px), 0.5)
    distance = np.minimum(distance, 60.0).astype(np.float32)
    aim = camera.forward + camera.column_slopes()[:, None] * camera.right
    x = camera.x_m + distance[:, None] * aim[None, :, 0].astype(np.float32)
    z = camera.z_m + distance[:, None] * aim[None, :, 1].astype(np.float32)
    texture = layout.wall_textures[0] if overhead else layout.floor
    colour = _surface(texture, x, z, _sharpness(distance)[:, None, None])
    bright = np.asarray(look.brightness(distance), np.float32)[:, None]
    if overhead:
        lamps = (np.abs(x % 2.4 - 1.2) < 0.15) & (z % look.pool_pitch_m < look.pool_pitch_m / 3)
        bright = np.where(lamps, 3.0, bright * 0.8)
    else:
        bright = bright * look.pool(x, z)
    colour *= bright[..., None]
    return colour


def _sky(camera: Camera, look: Look, count: int) -> np.ndarray:
    """The uppermost ``count`` rows of sky, (count, W, 3) float32."""
    height = np.linspace(1, 0, max(count, 1), dtype=np.float32)[:count, None, None]
    colour = look.sky[0] * (1 - height) + look.sky[1] * height
    turn = int(camera.heading_rad / (2 * np.pi) * 1024)
    shift = np.roll(look.clouds, -turn, axis=1)[:128]
    clouds = cv2.resize(shift, (camera.width, max(count, 1)))[:count]
    return (colour + 14 * clouds[..., None]).astype(np.float32)


def backdrop(
    layout: Layout, camera: Camera, look: Look
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint everything but the things.

    Returns:
        Picture (H, W, 3) float32 before exposure, wall depth per column (W,) in metres, and
        first row of floor per column (W,).
    """
    wide, high = camera.width, camera.height
    aim = camera.forward + camera.column_slopes()[:, None] * camera.right
    origin = np.array([camera.x_m, camera.z_m])
    depth, index, along = cast(origin, aim, layout.segments)
    image = np.empty((high, wide, 3), np.float32)
    horizon = int(np.clip(np.ceil(camera.horizon_px), 0, high))
    image[horizon:] = _plane(layout, camera, look, np.arange(horizon, high), False)
    if layout.ceiling_m > camera.height_m:
        image[:horizon] = _plane(layout, camera, look, np.arange(horizon), True)
    else:
        image[:horizon] = _sky(camera, look, horizon)
    scale = camera.focal_px / depth
    bottom = camera.horizon_px + scale * camera.height_m
    top = camera.horizon_px - scale * (layout.heights_m[index] - camera.height_m)
    edge = layout.segments[:, 2:] - layout.segments[:, :2]
    normal = np.arctan2(edge[:, 1], -edge[:, 0])
    # A wall is seen from both sides: its normal is the one that looks at the camera.
    towards = -(np.sin(normal[index]) * aim[:, 0] + np.cos(normal[index]) * aim[:, 1])
    shine = look.light.on(np.where(towards > 0, normal[index], normal[index] + np.pi))
    shine = np.asarray(shine * look.brightness(depth), np.float32)
    rows = np.arange(high)[:, None] + 0.5
    wall = ((rows >= top) & (rows < bottom)).astype(np.uint8)
    for skin, texture in enumerate(layout.wall_textures):
        columns = np.flatnonzero(layout.skins[index] == skin)
        if len(columns) == 0:
            continue
        v = camera.height_m - (rows - camera.horizon_px) / scale[columns]
        u = np.broadcast_to(along[columns], v.shape)
        colour = _surface(texture, u, -v, _sharpness(depth[columns])[None, :, None])
        foot = np.clip(1 - v / 0.25, 0, 1).astype(np.float32)  # dirt where wall meets floor
        colour *= (shine[columns] * (1 - 0.3 * foot))[..., None]
        if len(columns) == wide:
            cv2.copyTo(colour, wall, image)
        else:
            # copies, because OpenCV refuses the odd strides of a single column
            part, inside = image[:, columns].copy('C'), wall[:, columns].copy('C')
            image[:, columns] = cv2.copyTo(colour.copy('C'), inside, part)
    image *= look.tint
    return image, depth, np.clip(bottom, 0, high).astype(int)
