"""Camera frames to judge codecs on: from a folder of pictures, from a video, or made up.

What is agreed on depends on what is seen: the user's own frames are best. Without any,
pictures with natural statistics are drawn, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dnn_offload.errors import ConfigurationError
from dnn_offload.runtime.pictures import natural_picture

ENOUGH = 150  # frames for a lower bound of 98 % when all agree
SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
MADE_UP_SIZE = (240, 320)  # [px] height, width
_FIRST_SEED = 100  # 0.. are those that times are measured with


class Frames:
    """At most ``count`` frames, evenly spread over what there is; RGB uint8 (H, W, 3).

    Args:
        path: Folder of pictures, or a video file; None = made up.
        count: Most frames, positive.

    Raises:
        ConfigurationError: There is no such file, or nothing in it that can be read.
    """

    def __init__(self, path: Path | None, count: int = ENOUGH) -> None:
        if count < 1:
            raise ConfigurationError('no frames are asked for', given=count, allowed='1 or more')
        self._path = path
        self.made_up = path is None
        self._files: list[Path] = []
        if path is None:
            self.name, available = 'made-up pictures with natural statistics', count
        elif path.is_dir():
            self._files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            self.name, available = f'pictures of {path.name}', len(self._files)
        else:
            self.name, available = f'video {path.name}', _video_length(path)
        if available == 0:
            raise ConfigurationError(
                'there are no frames', given=str(path),
                allowed=f'a folder with {", ".join(SUFFIXES)}, or a video file',
            )
        wanted = min(count, available)
        self._indices = [(2 * i + 1) * available // (2 * wanted) for i in range(wanted)]

    def __len__(self) -> int:
        """Number of frames; a damaged file or a video that ends early gives fewer."""
        return len(self._indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, one at a time."""
        if self._path is None:
            height, width = MADE_UP_SIZE
            for index in self._indices:
                yield natural_picture(height, width, _FIRST_SEED + index)[0]
        elif self._files:
            for index in self._indices:
                bgr = cv2.imread(str(self._files[index]), cv2.IMREAD_COLOR)
                if bgr is not None:
                    yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        else:
            yield from self._video_frames(self._path)

    def _video_frames(self, path: Path) -> Iterator[np.ndarray]:
        wanted = set(self._indices)
        video = cv2.VideoCapture(str(path))
        try:
            for index in range(max(wanted) + 1):
                if not video.grab():
                    return
                if index in wanted:
                    seen, bgr = video.retrieve()
                    if seen:
                        yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        finally:
            video.release()


def _video_length(path: Path) -> int:
    """Frames of a video as its header says; counted where it does not."""
    if not path.is_file():
        return 0
    video = cv2.VideoCapture(str(path))
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        if count <= 0:
            count = 0
            while video.grab():
                count += 1
    finally:
        video.release()
    return count
