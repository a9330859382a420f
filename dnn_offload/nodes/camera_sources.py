"""Where pictures come from: camera, video file, folder, network stream. OpenCV, no ROS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
import re
import time

import cv2
import numpy as np

from dnn_offload.errors import ImageError, without_password
from dnn_offload.nodes.camera_device import (
    DeviceMode,
    difference,
    negotiate,
    why_not_opened,
    why_out_of_reach,
)

PICTURE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
URL_SCHEMES = ('rtsp://', 'rtsps://', 'http://', 'https://', 'udp://', 'tcp://')
DEFAULT_FOLDER_RATE_HZ = 10.0
DEFAULT_STREAM_RATE_HZ = 30.0  # one that does not tell its rate
MAX_SIDE_PX = 8192
MAX_PIXELS = 1 << 25  # 100 MB: what is larger blocks the node for seconds
ALLOWED = (
    'a camera index ("0"), device:/dev/video0, a video file, a folder of pictures, or a URL '
    f'starting with {", ".join(URL_SCHEMES)}'
)


@dataclass(frozen=True)
class SourceAddress:
    """A parsed ``source`` parameter.

    Attributes:
        kind: ``device``, ``stream`` or ``path`` (a file or a folder).
        value: Device index or path, URL, or path.
    """

    kind: str
    value: str


@dataclass(frozen=True)
class SourceSettings:
    """What is asked of a source; see ``camera_parameters.py``."""

    source: str
    loop: bool = True
    rate_hz: float = 0.0
    width: int = 0
    height: int = 0
    pixel_format: str = ''
    stall_timeout_s: float = 5.0


def parse_source(text: str) -> SourceAddress:
    """Tell what kind of source ``text`` names; does not touch it.

    Raises:
        ImageError: Empty, or a URL of an unknown kind.
    """
    text = text.strip()
    if not text:
        raise ImageError('no picture source given', allowed=ALLOWED)
    if text.isdigit():
        return SourceAddress('device', text)
    if text.startswith('device:'):
        device = text.removeprefix('device:')
        if not device:
            raise ImageError('no device given', given=text, allowed=ALLOWED)
        return SourceAddress('device', device)
    if text.startswith('/dev/'):
        return SourceAddress('device', text)
    if text.lower().startswith(URL_SCHEMES):
        return SourceAddress('stream', text)
    if text.startswith('file://'):
        return SourceAddress('path', text.removeprefix('file://'))
    if '://' in text:
        raise ImageError(
            'unknown kind of picture source', given=without_password(text), allowed=ALLOWED
        )
    return SourceAddress('path', text)


class PictureSource(ABC):
    """A source that has been opened.

    Attributes:
        live: Pictures come at their own pace and are lost when nobody reads.
        rate_hz: The source's own rate; 0 = unknown.
        description: For people.
        mode: What a camera delivers, for people.
        note: What it gives instead of what it was asked for; '' if it gives that.
    """

    live: bool = False
    rate_hz: float = 0.0
    description: str = ''
    mode: str = ''
    note: str = ''

    @abstractmethod
    def grab(self) -> bool:
        """Advance to the next picture, waiting for it if live; False at the end.

        Raises:
            ImageError: The source is lost.
        """

    @abstractmethod
    def retrieve(self) -> np.ndarray:
        """The picture that ``grab`` advanced to, (H, W, 3) uint8 BGR.

        Raises:
            ImageError: It cannot be decoded.
        """

    def rewind(self) -> None:
        """Start again.

        Raises:
            ImageError: The source is live and has no beginning.
        """
        raise ImageError(f'{self.description} cannot start again')

    @abstractmethod
    def close(self) -> None:
        """Release the source."""


class CaptureSource(PictureSource):
    """A camera or a network stream, through ``cv2.VideoCapture``."""

    live = True

    def __init__(self, address: SourceAddress, settings: SourceSettings) -> None:
        self.description = f'{address.kind} {without_password(address.value)}'
        began_s = time.monotonic()
        if address.kind == 'stream':
            timeout_ms = int(1e3 * settings.stall_timeout_s)
            self._capture = cv2.VideoCapture(
                address.value,
                cv2.CAP_FFMPEG,
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms,
                ],
            )
        else:
            # OpenCV writes two lines of its own for each try, and there are many.
            hint = why_out_of_reach(address.value)
            if hint:
                raise ImageError(f'cannot open {self.description}', hint=hint)
            target = int(address.value) if address.value.isdigit() else address.value
            self._capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
        took_s = time.monotonic() - began_s
        if not self._capture.isOpened():
            if address.kind == 'device':
                hint = why_not_opened(address.value)
            elif took_s >= settings.stall_timeout_s:
                hint = f'no answer within {settings.stall_timeout_s:g} s (stall_timeout_s)'
            else:
                hint = 'is the address right and the sender reachable?'
            raise ImageError(f'cannot open {self.description}', hint=hint)
        if address.kind == 'device':
            asked = DeviceMode(
                settings.width, settings.height, settings.pixel_format, settings.rate_hz
            )
            got = negotiate(self._capture, asked)
            self.mode, self.note = str(got), difference(asked, got)
        self.rate_hz = _rate(self._capture)
        # FFmpeg tells a stream's rate from its first pictures (20 of RTP, or 5 s) and keeps them.
        # They are old by then, but would be stamped as new.
        rate_hz = self.rate_hz or DEFAULT_STREAM_RATE_HZ
        self._kept_at_most = int(took_s * rate_hz) if address.kind == 'stream' else 0
        self._at_once_s = 0.5 / rate_hz

    def grab(self) -> bool:
        """See ``PictureSource``; what lay ready when a stream was opened is passed over."""
        while True:
            began_s = time.monotonic() - time.thread_time()  # decoding is no waiting
            if not self._capture.grab():
                raise ImageError(f'{self.description} delivers no picture any more')
            waited = time.monotonic() - time.thread_time() - began_s > self._at_once_s
            if waited or not self._kept_at_most:
                self._kept_at_most = 0
                return True
            self._kept_at_most -= 1

    def retrieve(self) -> np.ndarray:
        """See ``PictureSource``."""
        return _retrieve(self._capture, self.description)

    def close(self) -> None:
        """See ``PictureSource``."""
        self._capture.release()


class VideoSource(PictureSource):
    """A video file."""

    def __init__(self, path: Path) -> None:
        self.description = f'video {path}'
        self._path = path
        self._capture = self._open()
        self.rate_hz = _rate(self._capture)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ImageError(
                f'cannot open {self.description}',
                hint='is it a video that OpenCV reads (e.g. H.264 or MJPEG in mp4 or avi)?',
            )
        return capture

    def grab(self) -> bool:
        """See ``PictureSource``."""
        return bool(self._capture.grab())

    def retrieve(self) -> np.ndarray:
        """See ``PictureSource``."""
        return _retrieve(self._capture, self.description)

    def rewind(self) -> None:
        """See ``PictureSource``. Opened anew: seeking to 0 fails with some containers."""
        self._capture.release()
        self._capture = self._open()

    def close(self) -> None:
        """See ``PictureSource``."""
        self._capture.release()


class FolderSource(PictureSource):
    """A folder of pictures, in the natural order of their names (2 before 10)."""

    def __init__(self, path: Path) -> None:
        self.description = f'folder {path}'
        self.rate_hz = DEFAULT_FOLDER_RATE_HZ
        self._files = sorted(
            (file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES),
            key=lambda file: natural_key(file.name),
        )
        if not self._files:
            raise ImageError(
                f'{self.description} has no pictures', allowed=', '.join(PICTURE_SUFFIXES)
            )
        self._position = -1

    def grab(self) -> bool:
        """See ``PictureSource``."""
        self._position += 1
        return self._position < len(self._files)

    def retrieve(self) -> np.ndarray:
        """See ``PictureSource``."""
        file = self._files[self._position]
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            raise ImageError('cannot read picture', given=str(file))
        return np.asarray(picture, np.uint8)

    def rewind(self) -> None:
        """See ``PictureSource``."""
        self._position = -1

    def close(self) -> None:
        """See ``PictureSource``; nothing stays open between pictures."""


def open_source(settings: SourceSettings) -> PictureSource:
    """Open what ``settings.source`` names.

    Raises:
        ImageError: It does not exist or cannot be read.
    """
    address = parse_source(settings.source)
    if address.kind in ('device', 'stream'):
        return CaptureSource(address, settings)
    path = Path(address.value).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise ImageError('picture source does not exist', given=str(path), allowed=ALLOWED)
    return VideoSource(path)


def too_large(width: int, height: int) -> str:
    """Why pictures of this size [px] are not made; '' if they are."""
    if width * height <= MAX_PIXELS:
        return ''
    return (
        f'width and height are too large together; given: {width}x{height}; '
        f'allowed: {MAX_PIXELS / 1e6:.1f} million pixels'
    )


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize to ``width`` x ``height``; 0 = as it is, or by the aspect if the other is given.

    Args:
        picture: (H, W, 3) uint8.
        width: Wanted width [px].
        height: Wanted height [px].

    Raises:
        ImageError: That would be too large.
    """
    own_height, own_width = picture.shape[:2]
    if not width and not height:
        return picture
    width = width or max(1, round(own_width * height / own_height))
    height = height or max(1, round(own_height * width / own_width))
    if (width, height) == (own_width, own_height):
        return picture
    problem = too_large(width, height)
    if problem:
        raise ImageError(problem)
    shrinking = width < own_width
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that takes runs of digits as numbers."""
    return [
        (0, int(part), '') if part.isdigit() else (1, 0, part.lower())
        for part in re.split(r'(\d+)', name)
        if part
    ]


def _rate(capture: cv2.VideoCapture) -> float:
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return rate_hz if 0.0 < rate_hz <= 1000.0 else 0.0  # also refuses NaN


def _retrieve(capture: cv2.VideoCapture, description: str) -> np.ndarray:
    ok, picture = capture.retrieve()
    if not ok or picture is None or picture.size == 0:
        raise ImageError(f'{description}: a picture cannot be decoded')
    picture = np.asarray(picture, np.uint8)
    if picture.ndim == 2:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
    return picture
