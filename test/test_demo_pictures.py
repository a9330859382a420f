"""What the robot saw, as a video: it is there, or it is said at once that it cannot be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dnn_offload.demo.pictures import SnapshotStore
from dnn_offload.demo.video import open_video
from dnn_offload.errors import ImageError


def picture(value: int, size: tuple[int, int] = (640, 480)) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, np.uint8)


def frames_in(path: Path) -> list[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, bgr = video.read()
        if not there:
            return frames
        frames.append(bgr)


def test_every_picture_is_in_the_video_and_the_last_of_each_phase_is_kept(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / 'seen.mp4', 10.0)
    store.add(picture(10))
    store.phase = 'quiet'
    store.add(picture(90))
    store.add(picture(200))
    store.close()
    assert {name: int(rgb[0, 0, 0]) for name, rgb in store.pictures.items()} == {
        'start': 10, 'quiet': 200,
    }
    frames = frames_in(tmp_path / 'seen.mp4')
    assert [frame.shape for frame in frames] == 3 * [(480, 640, 3)]
    assert [round(frame.mean(), -1) for frame in frames] == [10, 90, 200]


def test_pictures_of_another_size_are_in_the_video_too(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / 'seen.mp4', 10.0)
    store.add(picture(90, (320, 240)))
    store.close()
    assert [frame.shape for frame in frames_in(tmp_path / 'seen.mp4')] == [(480, 640, 3)]
    assert store.pictures['start'].shape == (240, 320, 3)


def test_a_folder_that_is_not_there_is_said_before_any_picture_comes(tmp_path: Path) -> None:
    (tmp_path / 'folder.mp4').mkdir()
    for path in (tmp_path / 'none' / 'seen.mp4', tmp_path / 'folder.mp4'):
        with pytest.raises(ImageError, match='the video cannot be written.*check the folder'):
            SnapshotStore(path, 10.0)


def test_an_opencv_without_an_encoder_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoEncoder:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *given: object) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
            return False

    monkeypatch.setattr(cv2, 'VideoWriter', NoEncoder)
    with pytest.raises(ImageError, match='mp4v encoder'):
        SnapshotStore(tmp_path / 'seen.mp4', 10.0)
    with pytest.raises(ImageError, match='mp4v encoder'):
        open_video(tmp_path / 'drive.mp4', 15.0, (640, 480))


def test_a_run_that_ends_before_the_first_picture_leaves_no_video(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / 'seen.mp4', 10.0)
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
