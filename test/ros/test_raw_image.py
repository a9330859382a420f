"""Pictures read where they lie: the same as rclpy reads, for any size and text."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.nodes.picture_reader import camera_picture
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.raw_image import (
    RawCompressed,
    RawImage,
    read_compressed,
    read_image,
)


def message(height: int, width: int, encoding: str, frame_id: str, channels: int = 3) -> Image:
    pixels = np.random.default_rng(4).integers(0, 255, (height, width, channels), np.uint8)
    made = Image(height=height, width=width, encoding=encoding, step=channels * width)
    made.header.frame_id = frame_id
    made.header.stamp.sec, made.header.stamp.nanosec = -3, 999_999_999
    made.data = byte_array(pixels.data.cast('B'))
    return made


def rgb(image: RawImage | Image) -> np.ndarray:
    return camera_picture(image, lambda why: None).rgb()


@pytest.mark.parametrize('frame_id', ['', 'a', 'cam', 'Kamera überall', 'x' * 33])
@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8'])
def test_it_is_what_was_sent(frame_id: str, encoding: str) -> None:
    sent = message(7, 5, encoding, frame_id)
    got = read_image(serialize_message(sent))
    assert isinstance(got, RawImage)
    for name in ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(got, name) == getattr(sent, name)
    assert bytes(got.data) == bytes(sent.data)
    np.testing.assert_array_equal(rgb(got), rgb(sent))


def test_other_encodings_are_read_alike() -> None:
    sent = message(6, 4, 'mono8', 'camera', channels=1)
    got = read_image(serialize_message(sent))
    np.testing.assert_array_equal(rgb(got), rgb(sent))


@pytest.mark.parametrize('text', ['', 'jpeg', 'bgr8; jpeg compressed bgr8'])
@pytest.mark.parametrize('count', [0, 1, 1001])
def test_a_compressed_one_is_what_was_sent(text: str, count: int) -> None:
    sent = CompressedImage(format=text, data=byte_array(bytes(range(256)) * 4)[:count])
    sent.header.frame_id, sent.header.stamp.sec = 'cam', 7
    got = read_compressed(serialize_message(sent))
    assert isinstance(got, RawCompressed)
    assert (got.header, got.format) == (sent.header, sent.format)
    assert bytes(got.data) == bytes(sent.data)
    with pytest.raises(Exception):  # noqa: B017  rclpy raises several kinds
        read_compressed(serialize_message(sent)[:30])


@pytest.mark.parametrize('kept', [0, 3, 4, 10, 40, 80])
def test_what_ends_early_is_left_to_rclpy(kept: int) -> None:
    whole = serialize_message(message(7, 5, 'bgr8', 'camera'))
    with pytest.raises(Exception):  # noqa: B017  rclpy raises several kinds
        read_image(whole[:kept])
