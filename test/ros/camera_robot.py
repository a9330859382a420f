"""A robot whose camera is the test. A helper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import Graph, newest_only, NodeProcess, wait_for
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.msg import FrameReport
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.qos import latched
from dnn_offload.vision.encodings import PACKED, PLANAR
from vision_msgs.msg import Detection2DArray


class Robot:
    """``local_inference_node`` in a process of its own, and a camera that the test holds."""

    def __init__(
        self, graph: Graph, log: Path, *arguments: str, base: str = '/robot/image_raw'
    ) -> None:
        self.graph, self.base = graph, base
        self.results = graph.collect(Detection2DArray, '/robot/detections', 100)
        self.reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
        self.diagnostics = graph.collect(DiagnosticArray, '/diagnostics')
        self._publishers: dict[type, Any] = {}
        self.sent = 0
        self.process = NodeProcess(
            'local_inference_node', ['-r', '__ns:=/robot', '-p', 'deadline_ms:=0.0', *arguments],
            log,
        )

    def publisher(self, kind: type, qos: Any = None) -> Any:
        if kind not in self._publishers:
            topic = self.base if kind is Image else f'{self.base}/compressed'
            self._publishers[kind] = self.graph.publisher(kind, topic, qos or newest_only())
        return self._publishers[kind]

    def send(self, message: Image | CompressedImage, stamp: Time | None = None) -> Time:
        message.header.frame_id = 'eye'
        message.header.stamp = stamp or self.graph.observer.get_clock().now().to_msg()
        self.publisher(type(message)).publish(message)
        self.sent += 1
        return message.header.stamp

    def shows(self, make: Callable[[], Image | CompressedImage], timeout_s: float = 15.0) -> bool:
        """Whether a picture gets its result, under the picture's own stamp."""

        def answered() -> bool:
            stamp = self.send(make())
            return wait_for(lambda: any(r.header.stamp == stamp for r in self.results), 0.5)

        return wait_for(answered, timeout_s)

    def refuses(self, message: Image | CompressedImage) -> bool:
        """Whether a picture ends as bad_image, reported with its own stamp."""
        stamp = self.send(message)
        bad = FrameReport.DROP_BAD_IMAGE
        return wait_for(lambda: any(
            r.drop_reason == bad and r.header.stamp == stamp for r in self.reports
        ), 5.0)

    def status(self) -> DiagnosticStatus | None:
        for array in reversed(self.diagnostics):
            for status in array.status:
                if 'local_inference_node' in status.name:
                    return status
        return None

    def says(self, text: str, level: bytes = DiagnosticStatus.WARN) -> bool:
        status = self.status()
        return status is not None and status.level == level and text in status.message

    def value(self, key: str) -> str:
        status = self.status()
        return '' if status is None else {v.key: v.value for v in status.values}.get(key, '')

    @property
    def log(self) -> str:
        return self.process.log.read_text()


def raw(encoding: str, height: int = 48, width: int = 64, padding: int = 0) -> Image:
    """Noise in an encoding."""
    if encoding in PLANAR:
        rows, step = round(PLANAR[encoding][0] * height), width
    else:
        packed = PACKED.get(encoding, PACKED['rgb8'])
        rows, step = height, width * packed.channels * packed.item_bytes
    pixels = np.random.default_rng(5).integers(0, 255, rows * (step + padding), np.uint8)
    return Image(
        height=height, width=width, encoding=encoding, step=step + padding,
        data=byte_array(pixels.tobytes()),
    )


def compressed(kind: str = 'jpg', text: str = '', height: int = 96, width: int = 128,
               behind: bytes = b'') -> CompressedImage:
    """Smooth colours, compressed."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack((x * 255 // width, y * 255 // height, 128 + 0 * x), 2).astype(np.uint8)
    data = cv2.imencode(f'.{kind}', pixels)[1].tobytes() + behind
    return CompressedImage(format=text or f'bgr8; {kind} compressed bgr8', data=byte_array(data))
