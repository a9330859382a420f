"""Streams of network cameras through OpenCV for real: RTSP, MJPEG over HTTP, and hung ones."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading
import time
from typing import TypeAlias

import cv2
import numpy as np
import pytest

from dnn_offload.errors import ImageError, without_password
from dnn_offload.nodes.camera_reader import PictureReader, ReaderState
from dnn_offload.nodes.camera_sources import (
    open_source,
    PictureSource,
    SourceSettings,
)
from rtsp_camera import colour_of, number_of, numbered, RtspCamera

BGR = (200, 60, 20)
PERIOD_S = 0.02
PICTURES = 80  # of one HTTP answer


class Mjpeg(ThreadingHTTPServer):
    """The usual HTTP camera; it hangs up after some pictures."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Answer)
        self.url = f'http://127.0.0.1:{self.server_port}/video'
        self.painted = 0


class _Answer(BaseHTTPRequestHandler):
    server: Mjpeg

    def do_GET(self) -> None:  # noqa: N802 (http.server's own name)
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=part')
        self.end_headers()
        part = b'--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n'
        with contextlib.suppress(OSError):
            for number in range(PICTURES):
                self.server.painted = number
                jpeg = cv2.imencode('.jpg', numbered(number))[1].tobytes()
                self.wfile.write(part % (len(jpeg), jpeg))
                time.sleep(PERIOD_S)

    def log_message(self, *unused: object) -> None:
        """Nothing on the terminal."""


Camera: TypeAlias = RtspCamera | Mjpeg


@pytest.fixture
def rtsp() -> Iterator[RtspCamera]:
    with RtspCamera(rate_hz=1.0 / PERIOD_S) as camera:
        yield camera


@pytest.fixture
def http() -> Iterator[Mjpeg]:
    with Mjpeg() as camera:
        threading.Thread(target=camera.serve_forever, args=(0.02,), daemon=True).start()
        yield camera
        camera.shutdown()


@contextlib.contextmanager
def opened(url: str, stall_timeout_s: float = 5.0) -> Iterator[PictureSource]:
    with contextlib.closing(
        open_source(SourceSettings(url, stall_timeout_s=stall_timeout_s))
    ) as source:
        yield source


def next_picture(source: PictureSource) -> np.ndarray:
    assert source.grab()
    return source.retrieve()


@pytest.mark.parametrize('kind', ['rtsp', 'http'])
def test_pictures_come_whole_and_in_order(kind: str, request: pytest.FixtureRequest) -> None:
    camera: Camera = request.getfixturevalue(kind)
    with opened(camera.url) as source:
        assert source.live and source.description.startswith(f'stream {kind}://127.0.0.1:')
        pictures = [next_picture(source) for _ in range(12)]
    numbers = [number_of(picture) for picture in pictures]
    assert numbers == list(range(numbers[0], numbers[0] + 12))
    for number, picture in zip(numbers, pictures, strict=True):
        assert colour_of(picture) == pytest.approx(BGR, abs=5)
        # Fine parts, too: a fragment in the wrong place, or another table, is far off.
        assert np.abs(picture.astype(int) - numbered(number)).mean() < 2.0


def test_what_was_kept_while_opening_is_not_taken_for_new(rtsp: RtspCamera) -> None:
    """FFmpeg keeps the 20 pictures of RTP by which it tells the rate."""
    def behind() -> int:
        with opened(rtsp.url) as source:
            number = number_of(next_picture(source))
            return rtsp.painted - number

    # More than once: a busy machine may keep this process from a picture that is new.
    assert any(behind() < 4 for _ in range(3))


def test_the_end_is_seen_when_the_camera_hangs_up(rtsp: RtspCamera, http: Mjpeg) -> None:
    with opened(rtsp.url) as source:
        number_of(next_picture(source))
        rtsp.hang_up()
        began_s = time.monotonic()
        assert_ends(source)
        assert time.monotonic() - began_s < 2.0
    with opened(http.url) as source:  # sends so many, and no more
        assert_ends(source)


def assert_ends(source: PictureSource) -> None:
    with pytest.raises(ImageError, match='delivers no picture any more'):
        for _ in range(PICTURES + 1):
            source.grab()


@pytest.mark.parametrize('silent_at', ['connect', 'DESCRIBE', 'PLAY'])
def test_a_camera_that_does_not_answer_is_given_up(silent_at: str) -> None:
    with RtspCamera(silent_at=silent_at) as camera:
        began_s = time.monotonic()
        with pytest.raises(ImageError, match=r'no answer within 0.8 s \(stall_timeout_s\)'):
            open_source(SourceSettings(camera.url, stall_timeout_s=0.8))
        assert time.monotonic() - began_s < 4.0
        assert camera.connections
        assert camera.asked[-1:] == ([] if silent_at == 'connect' else [silent_at])


def test_nobody_listening_is_another_trouble() -> None:
    with RtspCamera() as camera:
        pass
    with pytest.raises(ImageError, match='is the address right'):
        open_source(SourceSettings(camera.url))


@pytest.mark.parametrize('pictures', [0, 60])
def test_a_camera_that_falls_silent_is_given_up(pictures: int) -> None:
    came, began_s = 0, time.monotonic()
    with RtspCamera(silent_after=pictures) as camera, opened(camera.url, 0.8) as source:
        with pytest.raises(ImageError, match='delivers no picture any more'):
            for _ in range(pictures + 1):
                source.grab()
                came += 1
        assert bool(came) == bool(pictures)
        assert time.monotonic() - began_s < 8.0


def test_the_reader_ends_in_time_beside_a_hung_camera() -> None:
    with RtspCamera(silent_at='DESCRIBE') as camera:
        reader = PictureReader(SourceSettings(camera.url, stall_timeout_s=4.0), time.monotonic)
        reader.start()
        limit_s = time.monotonic() + 5.0
        while not camera.asked and time.monotonic() < limit_s:
            time.sleep(0.01)
        assert reader.status().state is ReaderState.OPENING
        began_s = time.monotonic()
        reader.stop(0.3)
        assert time.monotonic() - began_s < 1.0
        camera.hang_up()  # its thread ends, and with it OpenCV's lock on opening streams


@pytest.mark.parametrize('login', ['robot:secret', 'robot:secret@eye'])
def test_a_login_is_used_and_not_told(login: str) -> None:
    with RtspCamera(login=login) as camera:
        with opened(camera.url) as source:
            assert colour_of(next_picture(source)) == pytest.approx(BGR, abs=5)
            assert source.description == f'stream rtsp://127.0.0.1:{camera.port}/eye'
        assert camera.asked.count('DESCRIBE') == 2  # the first without
        wrong = camera.url.replace('secret', 'secrets')
        with pytest.raises(ImageError, match='cannot open') as refusal:
            open_source(SourceSettings(wrong))
        assert 'secret' not in str(refusal.value) and 'robot' not in str(refusal.value)


@pytest.mark.parametrize(('url', 'told'), [
    ('rtsp://a:b@host/eye', 'rtsp://host/eye'),
    ('rtsp://a:b@c@host/eye', 'rtsp://host/eye'),
    ('http://host/eye@2', 'http://host/eye@2'),
    ('http://host?mail=a@b', 'http://host?mail=a@b'),
    ('http://host/eye?user=a&password=b&channel=1', 'http://host/eye?user=a&password=&channel=1'),
    ('rtsp://host/user=a&pwd=b', 'rtsp://host/user=a&pwd='),
    ('/dev/video0', '/dev/video0'),
])
def test_without_password(url: str, told: str) -> None:
    assert without_password(url) == told
