"""Surface textures, drawn. The two splits use disjoint families."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Texture = np.ndarray  # (TEXELS, TEXELS, 3) uint8, tiles in both directions
TEXELS = 256
TEXELS_PER_M = 128.0


def smooth_noise(rng: np.random.Generator, cells: int, texels: int = TEXELS) -> np.ndarray:
    """Tiling noise (texels, texels) float32 of mean 0 and deviation about 0.6."""
    grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode='wrap')
    scale = texels / cells
    big = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    edge = int(2 * scale)
    return big[edge : edge + texels, edge : edge + texels]


def base_colour(rng: np.random.Generator, low: int = 60, high: int = 200) -> np.ndarray:
    """A muted colour (3,) float32."""
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.normal(0, 18, 3), 25, 235).astype(np.float32)


def _finish(colour: np.ndarray, field: np.ndarray) -> Texture:
    """A colour (3,) or (T, T, 3) plus a brightness field (T, T) in grey levels."""
    return np.clip(colour + field[..., None], 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator, strength: float) -> np.ndarray:
    return strength * (
        smooth_noise(rng, 8) + 0.7 * smooth_noise(rng, 32) + 0.6 * smooth_noise(rng, 128)
    )


def concrete(rng: np.random.Generator) -> Texture:
    """Stained concrete with a joint."""
    field = _grain(rng, rng.uniform(6, 16))
    if rng.random() < 0.6:
        field[: rng.integers(1, 4)] -= 40
        field[:, : rng.integers(1, 4)] -= 40
    return _finish(base_colour(rng), field)


def asphalt(rng: np.random.Generator) -> Texture:
    """Dark, grainy."""
    grain = rng.standard_normal((TEXELS, TEXELS)).astype(np.float32) * rng.uniform(8, 20)
    return _finish(base_colour(rng, 45, 110), grain + _grain(rng, 6))


def tiles(rng: np.random.Generator) -> Texture:
    """Square tiles, perhaps as a chequerboard."""
    count = int(rng.choice([2, 4, 8]))
    side = TEXELS // count
    cells = rng.normal(0, rng.uniform(1, 10), (count, count)).astype(np.float32)
    if rng.random() < 0.4:
        cells += rng.uniform(10, 45) * (np.indices((count, count)).sum(0) % 2)
    field = np.kron(cells, np.ones((side, side), np.float32))
    grout = int(rng.integers(1, 5))
    for k in range(count):
        field[k * side : k * side + grout] -= 35
        field[:, k * side : k * side + grout] -= 35
    return _finish(base_colour(rng), field + _grain(rng, 3))


def planks(rng: np.random.Generator) -> Texture:
    """Wooden boards with grain."""
    count = int(rng.choice([4, 8, 16]))
    side = TEXELS // count
    fibres = cv2.resize(
        rng.standard_normal((TEXELS, 8)).astype(np.float32), (TEXELS, TEXELS)
    ) * rng.uniform(4, 12)
    field = fibres + np.repeat(rng.normal(0, 12, count), side).astype(np.float32)[:, None]
    field[::side] -= 45
    colour = np.array([rng.uniform(110, 190), 0, 0], np.float32)
    colour[1], colour[2] = colour[0] * rng.uniform(0.65, 0.85), colour[0] * rng.uniform(0.4, 0.65)
    return _finish(colour, field)


def plaster(rng: np.random.Generator) -> Texture:
    """Painted wall, perhaps with a darker lower band, patches and posters."""
    field = _grain(rng, rng.uniform(2, 7))
    texture = _finish(base_colour(rng, 110, 225), field)
    for _ in range(rng.integers(0, 4)):
        corner = rng.integers(0, TEXELS - 60, 2)
        size = rng.integers(12, 60, 2)
        colour = rng.integers(40, 230, 3).tolist()
        cv2.rectangle(texture, corner.tolist(), (corner + size).tolist(), colour, -1)
    return texture


def brick(rng: np.random.Generator) -> Texture:
    """Bricks in running bond."""
    rows = int(rng.choice([8, 16]))
    high = TEXELS // rows
    wide = int(high * rng.choice([2, 4]))
    colour = base_colour(rng, 70, 150) + np.array([rng.uniform(0, 60), 0, -10], np.float32)
    field = _grain(rng, 6)
    for row in range(rows):
        shift = (row % 2) * wide // 2
        top = row * high
        for left in range(0, TEXELS, wide):
            span = np.arange(left + shift, left + shift + wide) % TEXELS
            field[top : top + high, span] += rng.normal(0, 12)
            field[top : top + high, span[:2]] += 45
        field[top : top + 2] += 45
    return _finish(colour, field)


def cobbles(rng: np.random.Generator) -> Texture:
    """Rounded stones, the cells of random points."""
    count = int(rng.choice([40, 90, 160]))
    points = rng.uniform(0, TEXELS, (count, 2))
    mask = np.full((TEXELS, TEXELS), 255, np.uint8)
    mask[points[:, 0].astype(int), points[:, 1].astype(int)] = 0
    wrapped = np.pad(mask, 48, mode='wrap')
    distance, labels = cv2.distanceTransformWithLabels(
        wrapped, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    distance = distance[48:-48, 48:-48]
    tint = rng.normal(0, 14, int(labels.max()) + 1).astype(np.float32)
    field = tint[labels[48:-48, 48:-48]] + 18 - distance * rng.uniform(1.2, 2.6)
    return _finish(base_colour(rng, 80, 170), field)


def diagonal(rng: np.random.Generator) -> Texture:
    """Slanted slabs."""
    row, column = np.indices((TEXELS, TEXELS))
    period = int(rng.choice([32, 64, 128]))
    first = (row + column) % period
    second = (row - column) % period
    joint = (np.minimum(first, second) < rng.integers(2, 6)).astype(np.float32)
    parity = (((row + column) // period + (row - column) // period) % 2).astype(np.float32)
    field = -40 * joint + rng.uniform(-25, 25) * parity + _grain(rng, 4)
    return _finish(base_colour(rng), field)


def terrazzo(rng: np.random.Generator) -> Texture:
    """Chips of many colours."""
    texture = _finish(base_colour(rng, 110, 215), _grain(rng, 3))
    for _ in range(int(rng.integers(80, 300))):
        centre = rng.integers(0, TEXELS, 2).tolist()
        axes = rng.integers(1, 6, 2).tolist()
        colour = rng.integers(30, 230, 3).tolist()
        cv2.ellipse(texture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    return texture


def corrugated(rng: np.random.Generator) -> Texture:
    """Sheet metal with ribs and streaks."""
    period = int(rng.choice([8, 16, 32]))
    wave = np.sin(np.arange(TEXELS) * 2 * np.pi / period) * rng.uniform(10, 30)
    streaks = cv2.resize(rng.standard_normal((4, TEXELS)).astype(np.float32), (TEXELS, TEXELS))
    field = wave.astype(np.float32)[None] + streaks * rng.uniform(2, 9)
    return _finish(base_colour(rng, 80, 200), field)


Maker = Callable[[np.random.Generator], Texture]
FLOORS: dict[str, tuple[Maker, ...]] = {
    'train': (concrete, asphalt, tiles, planks),
    'val': (cobbles, diagonal, terrazzo),
}
WALLS: dict[str, tuple[Maker, ...]] = {
    'train': (concrete, plaster, planks, tiles),
    'val': (brick, corrugated, terrazzo),
}
