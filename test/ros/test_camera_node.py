"""camera_node: what it publishes, live parameters, lost sources, rate."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import threading
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Graph, NodeProcess, running_graph, wait_for
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

CALIBRATION = """
image_width: 64
image_height: 48
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [50.0, 0, 32.0, 0, 50.0, 24.0, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / 'pictures'
    path.mkdir()
    for number in range(5):
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[..., 0] = 200  # blue in OpenCV's order
        picture[..., 2] = number
        cv2.imwrite(str(path / f'{number}.png'), picture)
    (tmp_path / 'camera.yaml').write_text(CALIBRATION)
    return path


def camera(log: Path, *parameters: str) -> NodeProcess:
    """The executable in namespace /robot."""
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('camera_node', ['-r', '__ns:=/robot', *given], log)


def test_compressed_pictures_are_beside_the_remapped_base_topic(
    folder: Path, tmp_path: Path
) -> None:
    """As image_transport does it, so that its subscribers find them."""
    with running_graph() as graph:
        names = ['/eye/image', '/eye/image/compressed', '/robot/camera_info']
        arguments = ['-r', '__ns:=/robot', '-r', 'image_raw:=/eye/image']
        arguments += ['-p', f'source:={folder}']
        with NodeProcess('camera_node', arguments, tmp_path / 'log'):
            count = graph.observer.count_publishers
            assert wait_for(lambda: all(count(name) == 1 for name in names), 20.0)
            assert count('/robot/image_raw') == count('/robot/image_raw/compressed') == 0
        arguments += ['-r', 'image_raw/compressed:=/eye/jpeg']
        with NodeProcess('camera_node', arguments, tmp_path / 'log'):
            assert wait_for(lambda: count('/eye/jpeg') == 1, 20.0)


def statuses(arrays: list[DiagnosticArray]) -> list[DiagnosticStatus]:
    return [status for array in arrays for status in array.status]


def test_pictures_info_and_jpeg_share_stamp_and_frame(folder: Path, tmp_path: Path) -> None:
    with running_graph() as graph:
        images = graph.collect(Image, '/robot/image_raw')
        jpegs = graph.collect(CompressedImage, '/robot/image_raw/compressed')
        infos = graph.collect(CameraInfo, '/robot/camera_info')
        with camera(
            tmp_path / 'log', f'source:={folder}', 'rate_hz:=20', 'frame_id:=eye',
            f'camera_info_url:=file://{folder.parent}/camera.yaml', 'width:=32',
        ):
            assert wait_for(lambda: min(len(images), len(jpegs), len(infos)) >= 10, 20.0)
        image = images[-2]
        assert (image.width, image.height, image.step) == (32, 24, 96)
        assert image.encoding == 'bgr8'
        assert image.header.frame_id == 'eye'
        pixels = np.frombuffer(image.data, np.uint8).reshape(24, 32, 3)
        assert tuple(pixels[0, 0, :2]) == (200, 0)
        info = next(i for i in infos if i.header.stamp == image.header.stamp)
        assert info.header == image.header
        assert (info.width, info.height) == (32, 24)
        assert info.k[0] == 25.0  # the calibration follows the resized picture
        assert list(info.p[:3]) == [25.0, 0.0, 16.0]
        jpeg = next(j for j in jpegs if j.header.stamp == image.header.stamp)
        assert jpeg.format == 'bgr8; jpeg compressed bgr8'
        assert cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), 1).shape == (24, 32, 3)
        stamps = [i.header.stamp.sec + 1e-9 * i.header.stamp.nanosec for i in images]
        assert stamps == sorted(stamps)
        assert abs(time.time() - stamps[-1]) < 30.0


def test_parameters_act_while_it_runs(folder: Path, tmp_path: Path) -> None:
    with running_graph() as graph:
        images: list[Image] = graph.collect(Image, '/robot/image_raw', qos_profile_sensor_data)
        with camera(tmp_path / 'log', f'source:={folder}', 'rate_hz:=20.0'):
            assert wait_for(lambda: len(images) > 3, 20.0)
            node = '/robot/camera_node'
            assert graph.set_parameter(node, 'encoding', 'rgb8').successful
            assert wait_for(lambda: images[-1].encoding == 'rgb8')
            assert tuple(images[-1].data[1:3]) == (0, 200)
            assert graph.set_parameter(node, 'height', 96).successful
            assert wait_for(lambda: images[-1].width == 128)
            refused = graph.set_parameter(node, 'source', 'gopher://x')
            assert 'camera index' in refused.reason
            refused = graph.set_parameter(node, 'camera_info_url', '/none.yaml')
            assert 'cannot read calibration' in refused.reason
            # Whatever the order in which a dump is loaded: one alone may contradict the other.
            for name, value in (('min', 20.0), ('max', 30.0), ('max', 10.0), ('min', 0.5)):
                assert graph.set_parameter(node, f'reopen_{name}_s', value).successful
            said = (tmp_path / 'log').read_text()
            assert said.count('reopen_min_s 20.0 is larger than reopen_max_s 10.0') == 2


def test_what_is_published_of_a_picture_follows_its_parameters(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / 'other'
    other.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    cv2.imwrite(str(other / '0.png'), noise)
    node = '/robot/camera_node'
    with running_graph() as graph, camera(tmp_path / 'log', f'source:={folder}', 'rate_hz:=10.0'):
        images: list[Image] = graph.collect(Image, '/robot/image_raw', qos_profile_sensor_data)
        jpegs: list[CompressedImage] = graph.collect(
            CompressedImage, '/robot/image_raw/compressed', qos_profile_sensor_data
        )
        infos: list[CameraInfo] = graph.collect(
            CameraInfo, '/robot/camera_info', qos_profile_sensor_data
        )

        def put(name: str, value: object) -> None:
            answer = graph.set_parameter(node, name, value)
            assert answer.successful, answer.reason

        assert wait_for(lambda: bool(images and jpegs and infos), 20.0)
        assert infos[-1].k[0] == 0.0  # not calibrated
        put('camera_info_url', f'file://{folder.parent}/camera.yaml')
        assert wait_for(lambda: infos[-1].k[0] == 50.0)
        put('width', 32)
        assert wait_for(lambda: images[-1].width == 32 and infos[-1].k[0] == 25.0)
        put('frame_id', 'mast')
        assert wait_for(lambda: images[-1].header.frame_id == 'mast' == infos[-1].header.frame_id)
        put('source', str(other))
        assert wait_for(lambda: images[-1].data[0] != 200)  # noise, no longer all blue
        put('width', 0)
        assert wait_for(lambda: images[-1].width == 64)
        put('jpeg_quality', 95)
        assert wait_for(lambda: len(jpegs[-1].data) > 2000), len(jpegs[-1].data)
        put('jpeg_quality', 10)
        assert wait_for(lambda: len(jpegs[-1].data) < 1500), len(jpegs[-1].data)
        assert rate_of(graph, images, 2.0) == pytest.approx(10.0, rel=0.3)
        put('rate_hz', 30.0)
        assert rate_of(graph, images, 2.0) == pytest.approx(30.0, rel=0.3)


def test_a_wait_for_the_source_is_cut_short_by_a_shorter_one(
    folder: Path, tmp_path: Path
) -> None:
    away = folder.with_name('away')
    folder.rename(away)
    parameters = (f'source:={folder}', 'reopen_min_s:=50.0', 'reopen_max_s:=500.0')
    with running_graph() as graph, camera(tmp_path / 'log', *parameters) as process:
        images = graph.collect(Image, '/robot/image_raw')
        assert wait_for(lambda: 'does not exist' in process.log.read_text(), 20.0)
        away.rename(folder)
        assert not wait_for(lambda: bool(images), 2.0)
        node = '/robot/camera_node'
        assert graph.set_parameter(node, 'reopen_max_s', 60.0).successful  # 50 s are still to wait
        assert not wait_for(lambda: bool(images), 1.0)
        for name in ('reopen_min_s', 'reopen_max_s'):
            assert graph.set_parameter(node, name, 0.2).successful
        assert wait_for(lambda: len(images) > 3), process.log.read_text()
        # The first wait after a loss is the least one, whatever the longest.
        for name, value in (('reopen_max_s', 500.0), ('reopen_min_s', 50.0)):
            assert graph.set_parameter(node, name, value).successful
        folder.rename(away)
        time.sleep(6.0)  # thirty pictures that cannot be read, ten a second: the source is lost
        away.rename(folder)
        count = len(images)
        assert not wait_for(lambda: len(images) > count, 3.0), 'it waited for less'


class Stalling(BaseHTTPRequestHandler):
    """A network camera that stops in the middle of its stream, and goes on when asked again."""

    asked = 0

    def do_GET(self) -> None:  # noqa: N802 (http.server's own name)
        type(self).asked += 1
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=part')
        self.end_headers()
        jpeg = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        part = b'--part\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n'
        with contextlib.suppress(OSError):
            for _ in range(40):
                self.wfile.write(part % len(jpeg) + jpeg + b'\r\n')
                time.sleep(0.05)
            time.sleep(60.0)

    def log_message(self, *unused: object) -> None:
        """Nothing on the terminal."""


def test_a_stream_that_stalls_is_opened_again_after_the_time_that_is_set(tmp_path: Path) -> None:
    with ThreadingHTTPServer(('127.0.0.1', 0), Stalling) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/video'
        parameters = (f'source:={url}', 'stall_timeout_s:=100.0', 'reopen_min_s:=0.1')
        with running_graph() as graph, camera(tmp_path / 'log', *parameters) as process:
            images = graph.collect(Image, '/robot/image_raw')
            assert wait_for(lambda: len(images) > 3, 30.0), process.log.read_text()
            assert graph.set_parameter('/robot/camera_node', 'stall_timeout_s', 1.0).successful
            asked, count = Stalling.asked, len(images)
            assert wait_for(lambda: Stalling.asked >= asked + 2, 30.0), process.log.read_text()
            assert wait_for(lambda: len(images) > count + 40), process.log.read_text()
        server.shutdown()


def test_lost_source_warns_and_comes_back(folder: Path, tmp_path: Path) -> None:
    away = folder.with_name('away')
    folder.rename(away)
    with running_graph() as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        images = graph.collect(Image, '/robot/image_raw')
        with camera(
            tmp_path / 'log', f'source:={folder}', 'rate_hz:=20.0', 'reopen_min_s:=0.2',
            'reopen_max_s:=0.5',
        ):
            assert wait_for(
                lambda: any(
                    s.level == DiagnosticStatus.WARN and 'does not exist' in s.message
                    for s in statuses(arrays)
                ), 20.0,
            )
            assert not images
            away.rename(folder)
            assert wait_for(lambda: len(images) > 3)
            assert wait_for(lambda: statuses(arrays)[-1].level == DiagnosticStatus.OK)


def test_a_damaged_picture_warns_and_is_logged_once(folder: Path, tmp_path: Path) -> None:
    (folder / '5.png').write_bytes(b'damaged')
    with running_graph() as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        images = graph.collect(Image, '/robot/image_raw')
        with camera(tmp_path / 'log', f'source:={folder}', 'rate_hz:=30.0'):
            assert wait_for(
                lambda: sum(
                    s.level == DiagnosticStatus.WARN and '5.png' in s.message
                    for s in statuses(arrays)
                ) >= 3, 20.0,
            )
            assert len(images) > 30
    logged = (tmp_path / 'log').read_text()
    assert logged.count('a picture is left out: cannot read picture') == 1
    assert logged.count('5.png') == 1


def test_a_file_that_ends_leaves_the_node_alive(folder: Path, tmp_path: Path) -> None:
    with running_graph() as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        images = graph.collect(Image, '/robot/image_raw')
        with camera(
            tmp_path / 'log', f'source:={folder}', 'rate_hz:=20.0', 'loop:=false'
        ) as process:
            assert wait_for(
                lambda: any(s.message == 'end of file' for s in statuses(arrays)), 20.0
            )
            assert statuses(arrays)[-1].level == DiagnosticStatus.OK
            assert process.process.poll() is None
            count = len(images)
            assert graph.set_parameter('/robot/camera_node', 'loop', True).successful
            assert wait_for(lambda: len(images) >= count + 7)


def rate_of(graph: Graph, images: list[Image], seconds: float) -> float:
    assert wait_for(lambda: len(images) > 5, 20.0)
    count, began_s = len(images), time.monotonic()
    time.sleep(seconds)
    return (len(images) - count) / (time.monotonic() - began_s)


def test_pictures_of_640x480_at_30_hz_arrive(tmp_path: Path) -> None:
    path = tmp_path / 'noise'
    path.mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (480, 640, 3), np.uint8)
        cv2.imwrite(str(path / f'{number}.bmp'), noise)
    with running_graph() as graph:
        images = graph.collect(Image, '/robot/image_raw')  # reliable
        infos = graph.collect(CameraInfo, '/robot/camera_info')
        with camera(tmp_path / 'log', f'source:={path}', 'rate_hz:=30.0'):
            rate_hz = rate_of(graph, images, 4.0)
            published = {(i.header.stamp.sec, i.header.stamp.nanosec) for i in infos[10:-10]}
            arrived = {(i.header.stamp.sec, i.header.stamp.nanosec) for i in images}
        # A busy test machine may slow the sender; what was sent must arrive.
        assert rate_hz > 10.0
        assert len(published & arrived) >= 0.97 * len(published)
