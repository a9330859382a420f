"""Writes the demo's video: a drive through drawn scenes, with its ground truth beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
from pathlib import Path

import cv2

from dnn_offload.demo.scenes.drive import Drive
from dnn_offload.demo.scenes.shapes import CLASS_NAMES
from dnn_offload.errors import ImageError

EDITION = 1  # of the drawing; raise it when scenes change, so that kept videos are drawn anew


def truth_path(video: Path) -> Path:
    """Where the ground truth of a video lies."""
    return video.with_suffix('.truth.json')


def _is_there(path: Path, particulars: dict[str, object]) -> bool:
    """Whether the video was drawn with just these particulars (its labels are written last)."""
    try:
        truth = json.loads(truth_path(path).read_text())
    except (OSError, ValueError):
        return False
    return path.is_file() and all(truth.get(key) == value for key, value in particulars.items())


def write_video(
    path: Path,
    seconds: float,
    fps: float,
    size: tuple[int, int] = (640, 480),
    seed: int = 7,
    *,
    split: str = 'val',
    progress: Callable[[float], None] | None = None,
) -> int:
    """Draw a drive into an mp4 file and its labels into ``<name>.truth.json``.

    A video that is there already with the same particulars is kept: drawing takes about as long
    as watching.

    Args:
        path: The video to write.
        seconds: Its length.
        fps: Pictures per second.
        size: Width and height in pixels.
        seed: Which drive.
        split: 'val' is a world the detector has not been trained on.
        progress: Called with the share that is done.

    Returns:
        Number of pictures.

    Raises:
        ImageError: The file cannot be written.
    """
    count = max(1, round(seconds * fps))
    particulars = {
        'edition': EDITION, 'fps': float(fps), 'width': size[0], 'height': size[1], 'seed': seed,
        'split': split, 'count': count,
    }
    if _is_there(path, particulars):
        return count
    path.parent.mkdir(parents=True, exist_ok=True)
    truth_path(path).unlink(missing_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), fps, size)
    if not writer.isOpened():
        raise ImageError(
            'the video cannot be written', given=str(path),
            hint='check the folder; this OpenCV may lack an mp4v encoder',
        )
    drive = Drive(seed, split)
    frames = []
    for index in range(count):
        scene = drive.frame(index / fps, size)
        writer.write(cv2.cvtColor(scene.rgb, cv2.COLOR_RGB2BGR))
        frames.append(
            {
                'boxes': [[round(float(v), 1) for v in box] for box in scene.boxes],
                'class_ids': scene.class_ids.tolist(),
                'visible': [round(float(v), 2) for v in scene.visible],
                'ignored': [[round(float(v), 1) for v in box] for box in scene.ignored],
            }
        )
        if progress is not None:
            progress((index + 1) / count)
    writer.release()
    truth = {
        **particulars, 'layout': drive.layout.family, 'class_names': list(CLASS_NAMES),
        'frames': frames,
    }
    truth_path(path).write_text(json.dumps(truth) + '\n')
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a video from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('path', type=Path)
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--fps', type=float, default=15.0)
    parser.add_argument('--seed', type=int, default=7)
    parser.add_argument('--split', default='val')
    options = parser.parse_args(arguments)
    count = write_video(
        options.path, options.seconds, options.fps, seed=options.seed, split=options.split
    )
    print(f'{options.path}: {count} pictures')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
