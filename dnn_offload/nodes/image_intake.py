"""Pictures from whatever camera driver there is: reliability adopted, any encoding read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
from cv_bridge import CvBridge, CvBridgeError
import numpy as np
from rclpy.qos import ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from dnn_offload.errors import ImageError
from dnn_offload.nodes import topics
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.qos_overrides import adopts_reliability
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.raw_image import RawImage, read_image

CHECK_PERIOD_S = 1.0
MAX_PIXELS = 64 << 20


class ImageIntake:
    """Subscribes to ``image_raw`` and keeps its reliability equal to the publisher's.

    Unless the user has chosen one (``qos_overrides``): then that stays.

    A reliable subscriber hears nothing from a best-effort camera; a best-effort subscriber
    loses pictures of a reliable one between processes. So it asks who publishes, and changes.

    Args:
        node: The node; the subscription ends with its ``deactivate``.
        callback: Gets every picture.
    """

    def __init__(
        self, node: OffloadNode, callback: Callable[[RawImage | Image], None]
    ) -> None:
        self._node = node
        self._callback = callback
        self._topic = node.resolve_topic_name(topics.IMAGE_IN.name)
        self._subscription = self._subscribe()
        if adopts_reliability(node, self._subscription):
            node.every(CHECK_PERIOD_S, self._adopt)

    def _subscribe(self) -> Subscription:
        # As ROS's "best available" is resolved now, in the subscription: reliable, unless
        # somebody publishes best effort.
        self._reliable = self._published_reliable() is not False
        return self._node.subscribe(
            Image, topics.IMAGE_IN, lambda serialised: self._callback(read_image(serialised)),
            raw=True,
        )

    def _published_reliable(self) -> bool | None:
        """Whether all publishers are reliable; None if there are none."""
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        if not publishers:
            return None
        return all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in publishers
        )

    def _adopt(self) -> None:
        reliable = self._published_reliable()
        if reliable is not None and reliable != self._reliable:
            self._node.end(self._subscription)
            self._subscription = self._subscribe()
            kind = 'reliable' if self._reliable else 'best effort'
            self._node.get_logger().info(
                f'{self._topic} is published {kind}: subscribed the same way'
            )


class ImageReader:
    """Turns an image message of any encoding that cv_bridge converts into RGB."""

    def __init__(self) -> None:
        self._bridge = CvBridge()

    def rgb(self, message: RawImage | Image) -> np.ndarray:
        """The picture as uint8 (H, W, 3), RGB.

        Raises:
            ImageError: See ``pixels``.
        """
        picture, is_bgr = self.pixels(message)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if is_bgr else picture

    def pixels(self, message: RawImage | Image) -> tuple[np.ndarray, bool]:
        """The picture as uint8 (H, W, 3), and whether it is BGR; else it is RGB.

        Raises:
            ImageError: Size and data do not fit, or the encoding cannot be converted.
        """
        height, width, step = message.height, message.width, message.step
        if height == 0 or width == 0 or height * width > MAX_PIXELS:
            raise ImageError(
                'picture has an impossible size', given=f'{width} x {height}',
                allowed=f'1 .. {MAX_PIXELS} pixels',
            )
        if len(message.data) != height * step:
            raise ImageError(
                'picture is damaged', given=f'{len(message.data)} bytes',
                allowed=f'{height} rows of {step} bytes',
            )
        if message.encoding in ('rgb8', 'bgr8') and step == 3 * width:
            # The common case without cv_bridge's copies.
            flat: np.ndarray = np.frombuffer(message.data, np.uint8)
            return flat.reshape(height, width, 3), message.encoding == 'bgr8'
        try:
            if isinstance(message, RawImage):
                message = _whole(message)
            converted: Any = self._bridge.imgmsg_to_cv2(message, 'rgb8')
        except (CvBridgeError, ValueError, TypeError, KeyError, cv2.error) as error:
            raise ImageError(
                'picture cannot be converted to RGB', given=message.encoding,
                allowed='any encoding that cv_bridge converts to rgb8', hint=str(error)[:200],
            ) from error
        return np.ascontiguousarray(converted, dtype=np.uint8), False


def _whole(raw: RawImage) -> Image:
    """The message that cv_bridge reads."""
    message = Image(
        header=raw.header, height=raw.height, width=raw.width, encoding=raw.encoding,
        is_bigendian=raw.is_bigendian, step=raw.step,
    )
    message.data = byte_array(raw.data)
    return message
