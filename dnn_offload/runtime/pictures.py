"""Seeded pictures with the statistics of photographs, to measure codecs with.

The size of a JPEG or of compressed activations depends on the picture; noise would make it
ten times too large and a flat colour ten times too small. Natural pictures have amplitude
spectra that fall with about 1/f (Field, J. Opt. Soc. Am. A 4, 1987), objects with edges, and a
little sensor noise.
"""

from __future__ import annotations

import cv2
import numpy as np

COUNT = 3  # pictures that are worth averaging over
OBJECTS = 14
NOISE = 2.5  # standard deviation of the sensor noise, of 255


def natural_picture(height: int, width: int, seed: int) -> np.ndarray:
    """A picture uint8 (1, height, width, 3), RGB, the same for the same arguments."""
    random = np.random.Generator(np.random.PCG64(seed))
    light = _clouds(random, height, width)
    tint = random.uniform(0.7, 1.0, 3)
    picture = (70.0 + 130.0 * light)[..., None] * tint  # (H, W, 3)
    for _ in range(OBJECTS):
        mask = np.zeros((height, width), dtype=np.float32)
        centre = (int(random.uniform(0, width)), int(random.uniform(0, height)))
        axes = (
            int(random.uniform(0.03, 0.22) * width) + 1,
            int(random.uniform(0.03, 0.22) * height) + 1,
        )
        angle = float(random.uniform(0, 180))
        if random.random() < 0.5:
            cv2.ellipse(mask, centre, axes, angle, 0, 360, 1.0, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints((centre, (2 * axes[0], 2 * axes[1]), angle))
            cv2.fillConvexPoly(mask, box.astype(np.int32), 1.0, cv2.LINE_AA)
        colour = random.uniform(30, 220, 3)
        texture = 0.75 + 0.5 * _clouds(random, height, width)
        picture += mask[..., None] * (texture[..., None] * colour - picture)
    picture += random.normal(0.0, NOISE, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)[None]


def _clouds(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth random field (H, W) in 0..1 with an amplitude spectrum of about 1/f."""
    field = np.zeros((height, width), dtype=np.float32)
    cells, amplitude = 2, 1.0
    while cells <= max(height, width) // 2:
        grid = random.random((cells + 1, cells + 1)).astype(np.float32)
        field += amplitude * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, amplitude = cells * 2, amplitude * 0.6
    low, high = float(field.min()), float(field.max())
    return (field - low) / max(high - low, 1e-6)
