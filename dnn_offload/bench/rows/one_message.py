"""Cut networks as they are often built first: all tensors of a cut as one reliable message.

``head`` (robot) runs the network up to a cut on the newest picture and publishes what crosses as
raw bytes in one message; ``tail`` (server) runs the rest and answers. One frame at a time is under
way, so that nothing queues. Segments are those of this package, by the same backends: what differs
is the way over DDS.
"""

from __future__ import annotations

import argparse
import array
from pathlib import Path
import sys
import time

from cv_bridge import CvBridge
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_msgs.msg import UInt8MultiArray

from dnn_offload.bench.rows.today import spin
from dnn_offload.graph.program import Program
from dnn_offload.runtime.backends.load import load
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.tensors import TensorSpec
from dnn_offload.transport.conversion import stamp_of
from dnn_offload.vision.preprocess import prepare, PreprocessSpec

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
TENSORS, ANSWERS = '/tensors_as_one_message', '/answers_as_one_message'
GIVEN_UP_S = 20.0  # an answer that takes longer does not come


def pack(arrays: list[np.ndarray]) -> UInt8MultiArray:
    """Raw bytes of all arrays, one after the other, in the order of their memory."""
    message = UInt8MultiArray()
    data = array.array('B')
    for one in arrays:
        data.frombytes(_as_stored(one).tobytes())
    message.data = data
    return message


def unpack(message: UInt8MultiArray, specs: tuple[TensorSpec, ...]) -> list[np.ndarray]:
    """The arrays again, with the strides that they had."""
    data = np.frombuffer(message.data, np.uint8)
    found, at = [], 0
    for spec in specs:
        dtype = np.dtype(spec.dtype)
        flat = data[at:at + spec.nbytes].view(dtype)
        steps = tuple(step * dtype.itemsize for step in spec.strides)
        found.append(np.lib.stride_tricks.as_strided(flat, spec.shape, steps))
        at += spec.nbytes
    return found


def _as_stored(one: np.ndarray) -> np.ndarray:
    """The same numbers, axes sorted by falling strides: the order in memory."""
    order = sorted(range(one.ndim), key=lambda axis: -one.strides[axis])
    return np.ascontiguousarray(one.transpose(order))


def _loaded(folder: Path, backend: str) -> TorchModel:
    """The model; its heads and tails are compiled before their first run."""
    return load(
        folder, backend, threads=1, log=lambda text: print(text, file=sys.stderr), wait=True
    )


def _spec(program: Program) -> PreprocessSpec:
    _, height, width, _ = program.input.shape
    return PreprocessSpec(**{'height': height, 'width': width, **program.preprocess})


class Head(Node):
    """Runs the head on the newest picture whenever no answer is awaited.

    Args:
        folder: Of the prepared model.
        cut: Index of the cut.
        backend: What runs its part.
    """

    def __init__(self, folder: Path, cut: int, backend: str) -> None:
        super().__init__('head_as_one_message')
        self._model = _loaded(folder, backend)
        self._segment = self._model.segment(0, cut) if cut else None
        self._spec = _spec(self._model.program)
        self._bridge = CvBridge()
        self._sent_s = self._taken_s = 0.0
        self._publisher = self.create_publisher(UInt8MultiArray, TENSORS, RELIABLE)
        self.create_subscription(UInt8MultiArray, ANSWERS, self._on_answer, RELIABLE)
        self.create_subscription(Image, '/robot/image_raw', self._on_picture, RELIABLE)

    def _on_picture(self, message: Image) -> None:
        if self._sent_s and time.monotonic() - self._sent_s < GIVEN_UP_S:
            return
        small, _ = prepare(self._bridge.imgmsg_to_cv2(message, 'rgb8'), self._spec)
        arrays = [small] if self._segment is None else self._model.run(self._segment, [small])
        self._taken_s = stamp_of(message)
        self._sent_s = time.monotonic()
        self._publisher.publish(pack(arrays))

    def _on_answer(self, message: UInt8MultiArray) -> None:
        self._sent_s = 0.0
        print(f'{self._taken_s:.6f} {1e3 * (time.time() - self._taken_s):.4f}', flush=True)


class Tail(Node):
    """Runs the tail on what comes; arguments as ``Head``."""

    def __init__(self, folder: Path, cut: int, backend: str) -> None:
        super().__init__('tail_as_one_message')
        self._model = _loaded(folder, backend)
        self._segment = self._model.segment(cut, self._model.cuts[-1].index)
        self._specs = self._model.cuts[cut].frontier
        self._publisher = self.create_publisher(UInt8MultiArray, ANSWERS, RELIABLE)
        self.create_subscription(UInt8MultiArray, TENSORS, self._on_tensors, RELIABLE)

    def _on_tensors(self, message: UInt8MultiArray) -> None:
        self._publisher.publish(pack(self._model.run(self._segment, unpack(message, self._specs))))


def main() -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('part', choices=('head', 'tail'))
    parser.add_argument('--folder', type=Path, required=True)
    parser.add_argument('--cut', type=int, required=True)
    parser.add_argument('--backend', default='torch')
    args = parser.parse_args(remove_ros_args(sys.argv)[1:])
    made = Head if args.part == 'head' else Tail
    return spin(lambda: made(args.folder, args.cut, args.backend), sys.argv)


if __name__ == '__main__':
    sys.exit(main())
