"""Writes the demo's video: a drive through drawn scenes, with its ground truth beside it.

Drawing a picture takes some 70 ms, so one process per core draws every n-th picture and hands it
on through its standard output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any, IO

import cv2
import numpy as np

from dnn_offload.demo.scenes.drive import Drive
from dnn_offload.demo.scenes.render import Scene
from dnn_offload.demo.scenes.shapes import CLASS_NAMES
from dnn_offload.errors import ImageError
from dnn_offload.own_program import own_program

SIZE = (640, 480)  # of the demo's pictures: width, height [px]
EDITION = 1  # of the drawing; raise it when scenes change, so that kept videos are drawn anew
FEW = 16  # so few pictures are drawn sooner than a process has started


@dataclass(frozen=True)
class Particulars:
    """All that decides what is in a video."""

    fps: float
    width: int
    height: int
    seed: int
    split: str
    count: int
    edition: int = EDITION


def truth_path(video: Path) -> Path:
    """Where the ground truth of a video lies."""
    return video.with_suffix('.truth.json')


def _is_there(path: Path, particulars: Particulars) -> bool:
    """Whether the video was drawn with just these particulars (its labels are written last)."""
    try:
        truth = json.loads(truth_path(path).read_text())
    except (OSError, ValueError):
        return False
    wanted = asdict(particulars)
    return path.is_file() and all(truth.get(key) == value for key, value in wanted.items())


def _labels(scene: Scene) -> dict[str, Any]:
    return {
        'boxes': [[round(float(v), 1) for v in box] for box in scene.boxes],
        'class_ids': scene.class_ids.tolist(),
        'visible': [round(float(v), 2) for v in scene.visible],
        'ignored': [[round(float(v), 1) for v in box] for box in scene.ignored],
    }


def _draw(
    particulars: Particulars, first: int, step: int
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Pictures ``first``, ``first + step``, ... and their labels."""
    drive = Drive(particulars.seed, particulars.split)
    for index in range(first, particulars.count, step):
        scene = drive.frame(index / particulars.fps, (particulars.width, particulars.height))
        yield scene.rgb, _labels(scene)


def _hand_on(particulars: Particulars, first: int, step: int, out: IO[bytes]) -> None:
    """Write pictures as raw RGB, each followed by a line with its labels."""
    for rgb, labels in _draw(particulars, first, step):
        out.write(rgb.tobytes())
        out.write(json.dumps(labels).encode() + b'\n')
        out.flush()


def _draw_together(
    particulars: Particulars, workers: int
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """The same as ``_draw(particulars, 0, 1)``, by several processes."""
    shape = (particulars.height, particulars.width, 3)
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    with ExitStack() as stack:
        pipes: list[IO[bytes]] = []
        for first in range(workers):
            command = own_program(
                'dnn_offload.demo.video', '-',
                '--hand-on', json.dumps(asdict(particulars)), str(first), str(workers),
            )
            child = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
            )
            stack.callback(child.kill)
            if child.stdout is not None:
                pipes.append(child.stdout)
        for index in range(particulars.count):
            pipe = pipes[index % workers]
            data, line = pipe.read(int(np.prod(shape))), pipe.readline()
            if not line.endswith(b'\n'):
                raise ImageError('a process that draws the video has ended early')
            yield np.frombuffer(data, np.uint8).reshape(shape), json.loads(line)


def open_video(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """A video to write pictures of ``size`` (width, height) to.

    Raises:
        ImageError: The file cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), fps, size)
    if not writer.isOpened():
        raise ImageError(
            'the video cannot be written', given=str(path),
            hint='check the folder; this OpenCV may lack an mp4v encoder',
        )
    return writer


def write_video(
    path: Path,
    seconds: float,
    fps: float,
    size: tuple[int, int] = SIZE,
    seed: int = 7,
    *,
    split: str = 'val',
    progress: Callable[[float], None] | None = None,
) -> int:
    """Draw a drive into an mp4 file and its labels into ``<name>.truth.json``.

    A video that is there already with the same particulars is kept.

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
    particulars = Particulars(float(fps), size[0], size[1], seed, split, count)
    if _is_there(path, particulars):
        return count
    path.parent.mkdir(parents=True, exist_ok=True)
    truth_path(path).unlink(missing_ok=True)
    writer = open_video(path, fps, size)
    workers = 1 if count <= FEW else min(len(os.sched_getaffinity(0)), 8)
    drawn = _draw(particulars, 0, 1) if workers == 1 else _draw_together(particulars, workers)
    frames = []
    try:
        for index, (rgb, labels) in enumerate(drawn):
            writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
            frames.append(labels)
            if progress is not None:
                progress((index + 1) / count)
    finally:
        writer.release()
    truth = {**asdict(particulars), 'class_names': list(CLASS_NAMES), 'frames': frames}
    truth_path(path).write_text(json.dumps(truth) + '\n')
    return count


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('path', type=Path)
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--fps', type=float, default=15.0)
    parser.add_argument('--seed', type=int, default=7)
    parser.add_argument('--split', default='val')
    parser.add_argument('--hand-on', nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a video from the command line."""
    options = arguments_of(arguments)
    if options.hand_on:
        cv2.setNumThreads(1)
        text, first, step = options.hand_on
        _hand_on(Particulars(**json.loads(text)), int(first), int(step), sys.stdout.buffer)
        return 0
    count = write_video(
        options.path, options.seconds, options.fps, seed=options.seed, split=options.split
    )
    print(f'{options.path}: {count} pictures')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
