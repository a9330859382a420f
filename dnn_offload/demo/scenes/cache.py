"""Scenes rendered ahead into files, so that a training loop never waits for drawing.

``python -m dnn_offload.demo.scenes.cache --folder DIR --split train --count 10000`` writes shards
of 250 scenes at the network's size; a reader may use those that exist while others are written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path

import cv2
import numpy as np

from dnn_offload.demo.scenes.render import render, Scene

SHARD = 250
NETWORK_SIZE = (320, 240)


@dataclass(frozen=True)
class Shard:
    """A block of scenes.

    Attributes:
        pictures: (N, H, W, 3) uint8.
        boxes: (M, 4) float32 x1, y1, x2, y2.
        class_ids: (M,) int64.
        starts: (N + 1,) boxes ``starts[i]:starts[i + 1]`` belong to picture i.
    """

    pictures: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    starts: np.ndarray

    def truth(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (M, 4) and classes (M,) of one picture."""
        span = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return self.boxes[span], self.class_ids[span]


def shrink(scene: Scene, size: tuple[int, int] = NETWORK_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Picture and boxes of a scene at another size (width, height)."""
    scale = size[0] / scene.rgb.shape[1]
    if scale == 1.0:
        return scene.rgb, scene.boxes
    return cv2.resize(scene.rgb, size, interpolation=cv2.INTER_AREA), scene.boxes * scale


def draw_shard(
    split: str, first_seed: int, count: int, size: tuple[int, int] = (640, 480)
) -> Shard:
    """Render ``count`` scenes from consecutive seeds and reduce them to the network's size."""
    pictures = np.empty((count, NETWORK_SIZE[1], NETWORK_SIZE[0], 3), np.uint8)
    boxes, class_ids, starts = [], [], [0]
    for index in range(count):
        scene = render(first_seed + index, split, size)
        pictures[index], scaled = shrink(scene)
        boxes.append(scaled)
        class_ids.append(scene.class_ids)
        starts.append(starts[-1] + len(scaled))
    return Shard(pictures, np.concatenate(boxes), np.concatenate(class_ids), np.array(starts))


def shard_path(folder: Path, split: str, first_seed: int) -> Path:
    """Where a shard is kept."""
    return folder / f'{split}_{first_seed:07d}.npz'


def load_shard(path: Path) -> Shard:
    """Read a shard that ``main`` wrote."""
    with np.load(path) as data:
        return Shard(data['pictures'], data['boxes'], data['class_ids'], data['starts'])


def write_shard(
    folder: Path, split: str, first_seed: int, size: tuple[int, int], count: int = SHARD
) -> Path:
    """Render one shard unless it is there already; it appears whole or not at all."""
    path = shard_path(folder, split, first_seed)
    if not path.exists():
        shard = draw_shard(split, first_seed, count, size)
        partial = path.with_suffix('.partial.npz')
        np.savez(
            partial,
            pictures=shard.pictures,
            boxes=shard.boxes,
            class_ids=shard.class_ids,
            starts=shard.starts,
        )
        os.replace(partial, path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Render shards one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', type=Path, required=True)
    parser.add_argument('--split', default='train')
    parser.add_argument('--count', type=int, default=10000, help='number of scenes')
    parser.add_argument('--first', type=int, default=0, help='first seed')
    parser.add_argument('--width', type=int, default=480, help='width at which they are drawn')
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    size = (options.width, options.width * 3 // 4)
    for first in range(options.first, options.first + options.count, SHARD):
        path = write_shard(options.folder, options.split, first, size)
        print(path, flush=True)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
