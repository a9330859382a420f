"""What users do today: a compressed image topic, and a node on the server that detects.

Two small nodes of their own, without anything of this package but the network and resizing:
``detector`` (server) runs the whole network on the newest JPEG and publishes detections,
``listener`` (robot) waits for them. Pictures go best effort, depth 1, the newest wins: as drivers
with the sensor-data profile do, and the kindest way to a slow link (a reliable message that RTPS
fragments is sent nearly twice).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import contextlib
import sys
import time
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CompressedImage
import torch

from dnn_offload.bench.rows.eager import tensor_of
from dnn_offload.graph.sources import resolve
from dnn_offload.transport.conversion import stamp_of
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
PICTURES = '/robot/image_raw/compressed'
DETECTIONS = '/detections_of_today'


class Detector(Node):
    """Runs the whole network on every newest picture.

    Args:
        source: Of the model.
        weights: Of the model.
        size: (height, width) of the input; None = the model's own.
    """

    def __init__(self, source: str, weights: str, size: tuple[int, int] | None) -> None:
        super().__init__('detector_of_today')
        torch.set_num_threads(1)
        self._loaded = resolve(source, weights=weights, input_size=size)
        self._publisher = self.create_publisher(Detection2DArray, DETECTIONS, 10)
        self.create_subscription(CompressedImage, PICTURES, self._on_picture, NEWEST)

    def _on_picture(self, message: CompressedImage) -> None:
        bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            return
        with torch.inference_mode():
            outputs = self._loaded.module(
                tensor_of(np.ascontiguousarray(bgr[:, :, ::-1]), self._loaded)
            )
        self._publisher.publish(answer_of(message.header, outputs))


def answer_of(header: Any, outputs: Any) -> Detection2DArray:
    """The best class as one detection; a detector's raw outputs go without boxes."""
    array = Detection2DArray(header=header)
    first = outputs
    while isinstance(first, (tuple, list, dict)):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    found = ObjectHypothesisWithPose()
    found.hypothesis.class_id = str(int(first.flatten().argmax()))
    found.hypothesis.score = float(first.max())
    array.detections.append(Detection2D(header=header, results=[found]))
    return array


class Listener(Node):
    """Prints acquisition [s] and latency [ms] of every answer."""

    def __init__(self) -> None:
        super().__init__('listener_of_today')
        self.create_subscription(
            Detection2DArray, DETECTIONS, self._on_answer, qos_profile_sensor_data
        )

    def _on_answer(self, message: Detection2DArray) -> None:
        taken_s = stamp_of(message)
        print(f'{taken_s:.6f} {1e3 * (time.time() - taken_s):.4f}', flush=True)


def spin(make: Callable[[], Node], argv: Sequence[str]) -> int:
    """Run a node until it is told to end; returns the exit status."""
    rclpy.init(args=list(argv))
    try:
        # The usual ends of a node.
        with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(make())
    finally:
        rclpy.try_shutdown()
    return 0


def main() -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('part', choices=('detector', 'listener'))
    parser.add_argument('--source', default='')
    parser.add_argument('--weights', default='DEFAULT')
    parser.add_argument('--input-size', default='')
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    if args.part == 'listener':
        return spin(Listener, sys.argv)
    size = tuple(int(side) for side in args.input_size.split('x')) if args.input_size else None
    return spin(
        lambda: Detector(args.source, args.weights, size), sys.argv  # type: ignore[arg-type]
    )


if __name__ == '__main__':
    sys.exit(main())
