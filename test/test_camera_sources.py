"""Picture sources, the reader's pacing and recovery."""

from __future__ import annotations

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import threading
import time

import cv2
import numpy as np
import pytest

from dnn_offload.errors import ConfigurationError, ImageError
from dnn_offload.nodes import camera_parameters, camera_sources
from dnn_offload.nodes.camera_device import DeviceMode, difference, why_not_opened
from dnn_offload.nodes.camera_reader import PictureReader, ReaderState
from dnn_offload.nodes.camera_sources import (
    fit,
    natural_key,
    open_source,
    parse_source,
    PictureSource,
    SourceSettings,
)
from dnn_offload.nodes.parameters import by_name


def picture(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A flat picture whose level identifies it."""
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f'p{number}.png'), picture(10 * number))
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / 'v.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 50.0, (64, 48))
    assert writer.isOpened()
    for number in range(20):
        writer.write(picture(10 * number))
    writer.release()
    return path


class FakeCamera(PictureSource):
    """A live source that is unplugged after some pictures."""

    live = True
    description = 'fake camera'

    def __init__(self, pictures: int, period_s: float = 0.01) -> None:
        self.rate_hz = 1.0 / period_s
        self._left = pictures
        self._period_s = period_s
        self.closed = False

    def grab(self) -> bool:
        if self._left == 0:
            raise ImageError('fake camera delivers no picture any more')
        self._left -= 1
        time.sleep(self._period_s)
        return True

    def retrieve(self) -> np.ndarray:
        return picture(self._left % 256)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ('text', 'kind', 'value'),
    [
        ('0', 'device', '0'),
        (' 2 ', 'device', '2'),
        ('device:/dev/video3', 'device', '/dev/video3'),
        ('/dev/video1', 'device', '/dev/video1'),
        ('rtsp://camera/stream', 'stream', 'rtsp://camera/stream'),
        ('http://camera:8080/video', 'stream', 'http://camera:8080/video'),
        ('file:///data/yard.mp4', 'path', '/data/yard.mp4'),
        ('yard.mp4', 'path', 'yard.mp4'),
    ],
)
def test_source_address(text: str, kind: str, value: str) -> None:
    address = parse_source(text)
    assert (address.kind, address.value) == (kind, value)


@pytest.mark.parametrize('text', ['', '  ', 'device:', 'gopher://x'])
def test_bad_address_names_what_is_allowed(text: str) -> None:
    with pytest.raises(ImageError, match='camera index'):
        parse_source(text)


@pytest.mark.parametrize('text', ['', 'gopher://x'])
def test_a_refused_source_says_once_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r'; allowed: a camera index') as refusal:
        by_name(camera_parameters.PARAMETERS)['source'].convert(text)
    assert str(refusal.value).count('allowed:') == str(refusal.value).count('given:') == 1


def test_missing_file_and_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='does not exist'):
        open_source(SourceSettings(str(tmp_path / 'nothing.mp4')))
    with pytest.raises(ImageError, match='plugged in'):
        open_source(SourceSettings('device:/dev/video987'))
    text = tmp_path / 'text.mp4'
    text.write_text('not a video')
    with pytest.raises(ImageError, match='is it a video'):
        open_source(SourceSettings(str(text)))
    with pytest.raises(ImageError, match='no pictures'):
        (tmp_path / 'empty').mkdir()
        open_source(SourceSettings(str(tmp_path / 'empty')))


def test_folder_in_natural_order(folder: Path) -> None:
    source = open_source(SourceSettings(str(folder)))
    levels = []
    while source.grab():
        levels.append(int(source.retrieve()[0, 0, 0]))
    assert levels == [10, 20, 100]
    source.rewind()
    assert source.grab()
    assert source.retrieve()[0, 0, 0] == 10
    assert sorted(['b10', 'b9', 'a'], key=natural_key) == ['a', 'b9', 'b10']


def test_fit_keeps_aspect() -> None:
    wide = picture(1, 640, 480)
    assert fit(wide, 0, 0) is wide
    assert fit(wide, 640, 480) is wide
    assert fit(wide, 320, 0).shape == (240, 320, 3)
    assert fit(wide, 0, 960).shape == (960, 1280, 3)
    assert fit(wide, 100, 100).shape == (100, 100, 3)
    for width, height in ((8192, 8192), (8192, 0), (0, 8192)):
        with pytest.raises(ImageError, match='allowed: 33.6 million pixels'):
            fit(picture(1), width, height)


def test_a_size_that_is_too_large_is_said_and_mended_live(folder: Path) -> None:
    too_large = SourceSettings(str(folder), rate_hz=100.0, width=8192, height=8192)
    reader = PictureReader(too_large, time.monotonic)
    reader.start()
    limit_s = time.monotonic() + 5.0
    while not reader.status().problem and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert 'given: 8192x8192; allowed: 33.6 million pixels' in reader.status().problem
    reader.reconfigure(SourceSettings(str(folder), rate_hz=100.0), 0.5, 10.0)
    assert len(read_all(reader, 3)) == 3
    reader.stop()


def read_all(reader: PictureReader[float], wanted: int, limit_s: float = 5.0) -> list[np.ndarray]:
    """Pictures as they come."""
    taken = []
    deadline_s = time.monotonic() + limit_s
    while len(taken) < wanted and time.monotonic() < deadline_s:
        item = reader.take(0.1)
        if item is not None:
            taken.append(item.bgr)
    return taken


def test_video_plays_in_real_time_and_once(video: Path) -> None:
    reader = PictureReader(SourceSettings(str(video), loop=False), time.monotonic)
    began_s = time.monotonic()
    reader.start()
    pictures = read_all(reader, 20)
    took_s = time.monotonic() - began_s
    time.sleep(0.1)
    status = reader.status()
    reader.stop()
    assert status.state is ReaderState.ENDED
    assert status.problem == ''
    # 20 pictures at 50 Hz: the last is due after 0.38 s. A busy machine may skip some.
    assert 0.3 < took_s < 2.0 or len(pictures) < 20
    assert len(pictures) >= 10
    levels = [int(p[0, 0, 0]) for p in pictures]
    assert levels == sorted(levels)


def test_video_loops_at_the_given_rate(video: Path) -> None:
    reader = PictureReader(SourceSettings(str(video), loop=True, rate_hz=200.0), time.monotonic)
    reader.start()
    pictures = read_all(reader, 45)
    reader.stop()
    assert len(pictures) == 45  # more than two rounds of 20


def test_once_then_loop_goes_on(folder: Path) -> None:
    once = SourceSettings(str(folder), loop=False, rate_hz=100.0)
    reader = PictureReader(once, time.monotonic)
    reader.start()
    read_all(reader, 3, 1.0)
    time.sleep(0.1)
    assert reader.status().state is ReaderState.ENDED
    reader.reconfigure(SourceSettings(str(folder), loop=True, rate_hz=100.0), 0.1, 1.0)
    assert len(read_all(reader, 8)) == 8
    reader.stop()
    assert reader.status().state is ReaderState.STOPPED


def test_damaged_picture_is_left_out(folder: Path) -> None:
    (folder / 'p5.png').write_bytes(b'damaged')
    # Slow: on a busy machine a picture that is late is skipped.
    settings = SourceSettings(str(folder), loop=False, rate_hz=10.0)
    reader = PictureReader(settings, time.monotonic)
    reader.start()
    read_all(reader, 3, 3.0)
    time.sleep(0.3)
    status = reader.status()
    reader.stop()
    assert status.pictures == 3
    assert status.unreadable == 1
    assert str(folder / 'p5.png') in status.left_out
    assert status.state is ReaderState.ENDED


def test_each_damaged_picture_is_named_once(folder: Path) -> None:
    for number in (5, 6):
        (folder / f'p{number}.png').write_bytes(b'damaged')
    reader = PictureReader(SourceSettings(str(folder), rate_hz=50.0), time.monotonic)
    reader.start()
    read_all(reader, 9, 5.0)
    unreadable = reader.status().unreadable
    named = reader.new_unreadable()
    reader.stop()
    assert unreadable > 2, 'the folder was not played twice'
    assert [name.rsplit('/', 1)[-1] for name in named] == ['p5.png', 'p6.png']
    assert reader.new_unreadable() == []


def test_unplugged_camera_is_opened_again() -> None:
    cameras: list[FakeCamera] = []

    def plug(settings: SourceSettings) -> PictureSource:
        if len(cameras) in (1, 2):  # two failures while it is unplugged
            cameras.append(FakeCamera(0))
            raise ImageError('cannot open fake camera')
        cameras.append(FakeCamera(5))
        return cameras[-1]

    reader = PictureReader(
        SourceSettings('0'), time.monotonic,
        reopen_min_s=0.05, reopen_max_s=0.2, open_function=plug,
    )
    reader.start()
    assert len(read_all(reader, 4)) == 4
    problems = set()
    deadline_s = time.monotonic() + 5.0
    while reader.status().pictures < 10 and time.monotonic() < deadline_s:
        problems.add(reader.status().problem)
        time.sleep(0.01)
    status = reader.status()
    reader.stop()
    assert status.reopened >= 1
    assert any('cannot open' in problem for problem in problems)
    assert any('no picture any more' in problem for problem in problems)
    assert cameras[0].closed


def test_an_error_that_nobody_foresaw_is_logged_and_the_source_opened_again() -> None:
    attempts: list[PictureSource | Exception] = [ZeroDivisionError('odd driver'), FakeCamera(50)]

    def attempt(settings: SourceSettings) -> PictureSource:
        found = attempts.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    said: list[str] = []
    reader = PictureReader(
        SourceSettings('0'), time.monotonic, log=said.append, reopen_min_s=0.01,
        open_function=attempt,
    )
    reader.start()
    assert len(read_all(reader, 3)) == 3
    reader.stop()
    assert len(said) == 1
    assert 'Traceback' in said[0] and 'ZeroDivisionError: odd driver' in said[0]


def test_years_between_two_pictures_do_not_end_the_reader(folder: Path) -> None:
    reader = PictureReader(SourceSettings(str(folder), rate_hz=1e-12), time.monotonic)
    reader.start()
    assert reader.take(5.0) is not None
    time.sleep(0.1)
    assert not reader.status().problem
    reader.reconfigure(SourceSettings(str(folder), rate_hz=100.0), 0.1, 1.0)
    assert len(read_all(reader, 3)) == 3
    reader.stop()


def test_a_source_that_cannot_be_opened_is_told_by_its_own_name(folder: Path) -> None:
    reader = PictureReader(SourceSettings(str(folder), rate_hz=100.0), time.monotonic)
    reader.start()
    assert len(read_all(reader, 3)) == 3
    reader.reconfigure(SourceSettings('/no/such.mp4'), 0.05, 0.1)
    deadline_s = time.monotonic() + 5.0
    while not reader.status().problem and time.monotonic() < deadline_s:
        time.sleep(0.01)
    status = reader.status()
    reader.stop()
    assert '/no/such.mp4' in status.problem
    assert status.description == '/no/such.mp4', 'not the one before'


def test_a_rate_is_none_or_one_that_people_see() -> None:
    rate_hz = by_name(camera_parameters.PARAMETERS)['rate_hz']
    assert [rate_hz.convert(value) for value in (0, 0.01, 1000)] == [0.0, 0.01, 1000.0]
    with pytest.raises(ConfigurationError, match=r'0 \(the source.s own rate\), or 0.01 .. 1000'):
        rate_hz.convert(1e-10)


def test_fast_camera_is_thinned_out_and_newest_is_kept() -> None:
    reader = PictureReader(
        SourceSettings('0', rate_hz=20.0), time.monotonic,
        open_function=lambda _: FakeCamera(1000, period_s=0.005),
    )
    reader.start()
    time.sleep(1.0)
    status = reader.status()
    reader.stop()
    assert 14 <= status.pictures <= 23
    assert status.passed_over == status.pictures - 1  # nobody took any but the newest is there
    assert status.rate_hz == pytest.approx(20.0, rel=0.2)


def test_stream_over_http_is_read_and_opened_again(video: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *unused: object) -> None:
            """Keep the test's output clean."""

    handler = functools.partial(Quiet, directory=str(video.parent))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://user:secret@127.0.0.1:{server.server_port}/{video.name}'
        reader = PictureReader(
            SourceSettings(url, stall_timeout_s=2.0), time.monotonic,
            reopen_min_s=0.05, reopen_max_s=0.1,
        )
        reader.start()
        deadline_s = time.monotonic() + 10.0
        while reader.status().reopened < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        status = reader.status()
        reader.stop()
        server.shutdown()
    assert status.reopened >= 2
    assert status.pictures >= 20
    assert 'secret' not in status.description


def test_stamp_is_taken_at_acquisition() -> None:
    class SlowDecoding(FakeCamera):
        def retrieve(self) -> np.ndarray:
            time.sleep(0.05)
            return super().retrieve()

    reader = PictureReader(
        SourceSettings('0'), time.monotonic, open_function=lambda _: SlowDecoding(50)
    )
    reader.start()
    item = reader.take(2.0)
    age_s = time.monotonic() - item.stamp if item else 0.0
    reader.stop()
    assert age_s >= 0.05


class Device:
    """Stands in for ``cv2.VideoCapture`` of a camera that only knows one mode."""

    def __init__(self, *unused: object) -> None:
        self.asked: dict[int, float] = {}
        self.gone = False
        self.given = {
            cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*'YUYV')), cv2.CAP_PROP_FPS: 10.0,
        }

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return True

    def set(self, key: int, value: float) -> bool:
        self.asked[key] = value
        return False

    def get(self, key: int) -> float:
        return self.given.get(key, 0.0)

    def grab(self) -> bool:
        time.sleep(0.01)
        return not self.gone

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, picture(7, 640, 480)

    def release(self) -> None:
        self.gone = True


def test_a_camera_that_gives_another_mode_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_sources.cv2, 'VideoCapture', Device)
    (tmp_path / 'video0').touch()
    device = f'device:{tmp_path}/video0'
    asked = SourceSettings(device, width=1920, height=1080, rate_hz=30.0, pixel_format='MJPG')
    source = open_source(asked)
    assert source.mode == '640x480 YUYV 10 Hz'
    assert source.note.startswith(
        'the camera gives 640x480 YUYV 10 Hz where 1920x1080 MJPG 30 Hz was asked for; its '
        'pictures are resized'
    )
    assert open_source(SourceSettings(device, rate_hz=5.0)).note == ''
    reader = PictureReader(asked, time.monotonic)
    reader.start()
    try:
        pictures = read_all(reader, 2)
        status = reader.status()
    finally:
        reader.stop()
    assert pictures[0].shape == (1080, 1920, 3)
    assert (status.mode, status.note) == (source.mode, source.note)


@pytest.mark.parametrize(('got', 'said'), [
    (DeviceMode(640, 480, 'MJPG', 29.97), ''),
    (DeviceMode(640, 480, 'MJPG', 60.0), ''),
    (DeviceMode(640, 480, 'YUYV', 30.0), 'where MJPG was asked for; v4l2-ctl'),
    (DeviceMode(640, 480, 'MJPG', 15.0), 'gives 640x480 MJPG 15 Hz where 30 Hz was'),
    (DeviceMode(), 'an unknown mode where 640x480 MJPG 30 Hz'),
])
def test_only_what_differs_is_named(got: DeviceMode, said: str) -> None:
    text = difference(DeviceMode(640, 480, 'MJPG', 30.0), got)
    assert said in text and bool(said) == bool(text)


def test_why_a_camera_cannot_be_opened(tmp_path: Path) -> None:
    assert 'there is no /dev/video77' in why_not_opened('77')
    assert 'by-id' in why_not_opened(str(tmp_path / 'none'))
    assert 'in use' in why_not_opened(str(tmp_path))


@pytest.mark.parametrize('source', ['77', '/dev/video77', 'device:/dev/v4l/by-id/none'])
def test_a_camera_that_is_not_there_is_told_without_asking_opencv(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Which writes lines of its own into the node's log, for each try."""
    asked: list[object] = []
    monkeypatch.setattr(camera_sources.cv2, 'VideoCapture', lambda *given: asked.append(given))
    with pytest.raises(ImageError, match=r'cannot open device .*; there is no /dev/v.*plugged in'):
        open_source(SourceSettings(source))
    assert asked == []


def test_a_silent_camera_is_noticed() -> None:
    class Stalling(FakeCamera):
        def grab(self) -> bool:
            if self._left == 1:
                time.sleep(1.8)
            return super().grab()

    reader = PictureReader(
        SourceSettings('0'), time.monotonic, open_function=lambda _: Stalling(10)
    )
    reader.start()
    read_all(reader, 5)
    assert reader.status().silent_s == 0.0
    deadline_s = time.monotonic() + 5.0
    while reader.status().silent_s == 0.0 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert reader.status().silent_s > 1.0
    reader.stop()
