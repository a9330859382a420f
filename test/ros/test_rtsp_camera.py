"""camera_node and a camera that speaks RTSP: it dies, comes back, hangs, and wants a password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import NodeProcess, running_graph, wait_for
from lifecycle_msgs.msg import Transition
import numpy as np
from sensor_msgs.msg import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))
from rtsp_camera import colour_of, number_of, numbered, RtspCamera  # beside the unit tests

NODE = '/robot/camera_node'
BLUE, RED = (200, 60, 20), (20, 60, 200)


def node(log: Path, *parameters: str) -> NodeProcess:
    given = [part for parameter in parameters for part in ('-p', parameter)]
    return NodeProcess('camera_node', ['-r', '__ns:=/robot', *given], log)


def pixels(image: Image) -> np.ndarray:
    assert image.encoding == 'bgr8'
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)


def looks(colour: tuple[int, int, int], image: Image) -> bool:
    """Whether this is the server's picture, of that colour."""
    number_of(pixels(image))
    return bool(np.allclose(colour_of(pixels(image)), colour, atol=6))


def said(arrays: list[DiagnosticArray], part: str) -> bool:
    """Whether the last status warns of this."""
    last = arrays[-1].status[-1] if arrays else DiagnosticStatus()
    return last.level == DiagnosticStatus.WARN and part in last.message


def painter(colour: tuple[int, int, int]) -> Callable[[int], np.ndarray]:
    return lambda number: numbered(number, colour)


def test_a_camera_that_dies_and_comes_back(tmp_path: Path) -> None:
    camera = RtspCamera(painter(BLUE), login='robot:secret')
    waits = ('reopen_min_s:=0.2', 'reopen_max_s:=0.5')
    with running_graph() as graph:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        images = graph.collect(Image, '/robot/image_raw')
        # Starts before its camera does, as after a power cut.
        with camera:
            pass
        with node(tmp_path / 'log', f'source:={camera.url}', *waits) as process:
            assert wait_for(lambda: said(arrays, 'is the address right'), 20.0)
            with camera:
                assert wait_for(lambda: len(images) > 20), process.log.read_text()
                assert all(looks(BLUE, image) for image in images)
                assert wait_for(lambda: arrays[-1].status[-1].level == DiagnosticStatus.OK)
            assert wait_for(lambda: said(arrays, f'cannot open stream rtsp://127.0.0.1:{camera.port}'))
            count = len(images)
            assert not wait_for(lambda: len(images) > count, 1.0)
            camera.paint = painter(RED)
            with camera:
                assert wait_for(lambda: len(images) > count + 20), process.log.read_text()
                assert all(looks(RED, image) for image in images[count:])
                assert wait_for(lambda: arrays[-1].status[-1].level == DiagnosticStatus.OK)
            assert process.end() == 0
        values = [value.value for array in arrays for value in array.status[-1].values]
        log = (tmp_path / 'log').read_text()
    assert log.count('cannot open stream') == 2  # each time once, not at every attempt
    assert f'rtsp://127.0.0.1:{camera.port}/eye' in values
    assert not any('secret' in text for text in [log, *values])


def test_a_hung_camera_is_told_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    with running_graph() as graph, RtspCamera(silent_at='DESCRIBE') as camera:
        arrays = graph.collect(DiagnosticArray, '/diagnostics')
        parameters = (f'source:={camera.url}', 'stall_timeout_s:=1.0', 'reopen_max_s:=0.5')
        with node(tmp_path / 'log', *parameters) as process:
            assert wait_for(lambda: said(arrays, 'no answer within 1 s (stall_timeout_s)'), 20.0)
            assert graph.set_parameter(NODE, 'stall_timeout_s', 100.0).successful
            assert wait_for(lambda: arrays[-1].status[-1].message == 'opening')  # for so long
            for transition in (
                Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
            ):
                began_s = time.monotonic()
                assert graph.change_state(NODE, transition)
                assert time.monotonic() - began_s < 5.0  # 2 s are given to the driver
            assert process.end(timeout_s=6.0) == 0
