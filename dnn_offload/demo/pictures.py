"""What the robot saw: annotated pictures, the last of each phase and all as a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dnn_offload.demo.video import open_video, SIZE


class SnapshotStore:
    """The last annotated picture of every phase, and all of them as a video.

    The video is opened at once, before anything is measured: pictures come on a thread that
    listens to ROS, and an error there would leave a demo that hears nothing more.

    Args:
        path: Video file to write (mp4); there is none if no picture comes.
        rate_hz: Rate at which pictures come.
        size: Width and height of the video [px]; pictures of another size are scaled.

    Raises:
        ImageError: The file cannot be written.
    """

    def __init__(self, path: Path, rate_hz: float, size: tuple[int, int] = SIZE) -> None:
        self.pictures: dict[str, np.ndarray] = {}
        self.phase = 'start'
        self._path = path
        self._size = size
        self._writer = open_video(path, rate_hz, size)

    def add(self, rgb: np.ndarray) -> None:
        """Take one picture, RGB uint8 (H, W, 3)."""
        self.pictures[self.phase] = rgb
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if (bgr.shape[1], bgr.shape[0]) != self._size:
            bgr = cv2.resize(bgr, self._size)  # the writer passes over other sizes in silence
        self._writer.write(bgr)

    def close(self) -> None:
        """Finish the video file; a second call does nothing."""
        self._writer.release()
        if not self.pictures:
            self._path.unlink(missing_ok=True)
