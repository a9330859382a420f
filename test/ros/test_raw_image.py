"""Pictures read where they lie: the same as rclpy reads, for any size and text."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from dnn_offload.nodes.image_intake import ImageReader
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.raw_image import RawImage, read_image


def message(height: int, width: int, encoding: str, frame_id: str, channels: int = 3) -> Image:
    pixels = np.random.default_rng(4).integers(0, 255, (height, width, channels), np.uint8)
    made = Image(height=height, width=width, encoding=encoding, step=channels * width)
    made.header.frame_id = frame_id
    made.header.stamp.sec, made.header.stamp.nanosec = -3, 999_999_999
    made.data = byte_array(pixels.data.cast('B'))
    return made


@pytest.mark.parametrize('frame_id', ['', 'a', 'cam', 'Kamera überall', 'x' * 33])
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8'])
def test_it_is_what_was_sent(frame_id: str, encoding: str) -> None:
    sent = message(7, 5, encoding, frame_id)
    got = read_image(serialize_message(sent))
    assert isinstance(got, RawImage)
    for name in ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(got, name) == getattr(sent, name)
    assert bytes(got.data) == bytes(sent.data)
    np.testing.assert_array_equal(ImageReader().rgb(got), ImageReader().rgb(sent))


def test_other_encodings_go_through_cv_bridge() -> None:
    sent = message(6, 4, 'mono8', 'camera', channels=1)
    got = read_image(serialize_message(sent))
    np.testing.assert_array_equal(ImageReader().rgb(got), ImageReader().rgb(sent))


@pytest.mark.parametrize('kept', [0, 3, 4, 10, 40, 80])
def test_what_ends_early_is_left_to_rclpy(kept: int) -> None:
    whole = serialize_message(message(7, 5, 'bgr8', 'camera'))
    with pytest.raises(Exception):  # noqa: B017  rclpy raises several kinds
        read_image(whole[:kept])
