"""What the robot saw: annotated pictures, the last of each phase and all as a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


class SnapshotStore:
    """The last annotated picture of every phase, and all of them as a video.

    Args:
        path: Video file to write (mp4).
        rate_hz: Rate at which pictures come.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.pictures: dict[str, np.ndarray] = {}
        self.phase = 'start'
        self._path = path
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None

    def add(self, rgb: np.ndarray) -> None:
        """Take one picture, RGB uint8 (H, W, 3)."""
        self.pictures[self.phase] = rgb
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if self._writer is None:
            height, width = bgr.shape[:2]
            fourcc = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(
                str(self._path), fourcc, self._rate_hz, (width, height)
            )
        self._writer.write(bgr)

    def close(self) -> None:
        """Finish the video file."""
        if self._writer is not None:
            self._writer.release()
