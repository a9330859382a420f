"""Pictures from whatever camera driver there is, raw or compressed, reliable or best effort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import time
from typing import Any

from rclpy.qos import ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.nodes import topics
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.picture_reader import CameraMessage
from dnn_offload.nodes.qos_overrides import adopts_reliability
from dnn_offload.nodes.topic_names import compressed_topic
from dnn_offload.transport.arrivals import Arrivals
from dnn_offload.transport.raw_image import read_compressed, read_image
from dnn_offload.transport.topics import Endpoint, Quality, Reliability

CHECK_PERIOD_S = 1.0
# A driver may advertise image_raw and publish compressed pictures only (usb_cam's MJPEG).
SILENT_S = 3.0
TYPES: dict[str, tuple[type, Endpoint, Callable[[bytes], CameraMessage]]] = {
    'raw': (Image, topics.IMAGE_IN, read_image),
    'compressed': (CompressedImage, topics.COMPRESSED_IN, read_compressed),
}
LISTEN = Quality(1, Reliability.BEST_EFFORT)


class ImageIntake:
    """Subscribes to ``image_raw`` or ``image_raw/compressed``, as its publisher publishes.

    A reliable subscriber hears nothing from a best-effort camera; a best-effort subscriber
    loses pictures of a reliable one between processes. So it asks who publishes, and changes.
    A reliability that the user has chosen (``qos_overrides``) stays.

    Args:
        node: The node; the subscription ends with its ``deactivate``.
        transport: ``raw``, ``compressed``, or ``auto``: raw where somebody publishes that.
        callback: Gets every picture.
    """

    def __init__(
        self, node: OffloadNode, transport: str, callback: Callable[[CameraMessage], None]
    ) -> None:
        self._node = node
        self._wanted = transport
        self._callback = callback
        self._topics = {
            'raw': node.resolve_topic_name(topics.IMAGE_IN.name),
            'compressed': compressed_topic(node),
        }
        self._transport = 'raw' if transport == 'auto' else transport
        self._spoke_s: dict[str, float] = {}  # transport -> when it brought its first picture
        self._there: list[str] = []  # transports with a publisher, at the last look
        self._beside: tuple[str, Subscription] | None = None  # only listened to
        self._arrivals = Arrivals()
        self._subscription = self._subscribe()
        node.every(CHECK_PERIOD_S, self._look)

    @property
    def transport(self) -> str:
        """What is subscribed to: ``raw`` or ``compressed``."""
        return self._transport

    @property
    def topic(self) -> str:
        """Its full name."""
        return self._topics[self._transport]

    @property
    def lost(self) -> int:
        """Pictures that were published and never came here; 0 where nobody numbers them."""
        return self._arrivals.lost

    def choose(self, transport: str) -> None:
        """Take another transport, from now on."""
        self._wanted = transport
        self._listen('')
        if transport != 'auto':
            self._change(transport, self._reliable)

    def problem(self) -> str:
        """Why nothing can come, as far as the graph tells; '' if it can."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        kind = TYPES[self._transport][1].type_name
        if not infos:
            return f'nobody publishes {self.topic}: is the camera running, is it remapped?'
        others = sorted({info.topic_type for info in infos} - {kind})
        if others:
            return (
                f'{self.topic} is published as {", ".join(others)}, not {kind}: remap image_raw '
                'to the base topic, without /compressed; image_transport picks the other'
            )
        if len(infos) > 1:
            return f'{len(infos)} publishers on {self.topic}: their pictures are mixed'
        return ''

    def _subscribe(self) -> Subscription:
        # As ROS's "best available" is resolved now, in the subscription: reliable, unless
        # somebody publishes best effort.
        self._reliable = self._published_reliable(self._transport) is not False
        kind, endpoint, read = TYPES[self._transport]
        transport = self._transport

        def take(serialised: bytes, info: dict[str, Any]) -> None:
            self._arrivals.came(info['publication_sequence_number'])
            self._spoke_s.setdefault(transport, time.monotonic())
            self._callback(read(serialised))

        self._arrivals.begin()
        self._subscribed_s = time.monotonic()
        return self._node.subscribe(kind, endpoint.at(self.topic), take, raw=True)

    def _published_reliable(self, transport: str) -> bool | None:
        """Whether all publishers are reliable; None if there are none."""
        publishers = self._node.get_publishers_info_by_topic(self._topics[transport])
        if not publishers:
            return None
        return all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in publishers
        )

    def _look(self) -> None:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        self._arrivals.settle([bytes(info.endpoint_gid) for info in infos])
        transport = self._wanted if self._wanted != 'auto' else self._published()
        reliable = self._published_reliable(transport)
        if reliable is not None:
            self._change(transport, reliable)

    def _published(self) -> str:
        """The transport that is published: raw if both are, unless only the other one speaks.

        Which of two speaks is heard beside the one that is taken: a driver may advertise both,
        and a camera that starts slowly must not be mistaken for one that has no raw pictures.
        """
        there = [
            name for name, topic in self._topics.items()
            if any(
                info.topic_type == TYPES[name][1].type_name
                for info in self._node.get_publishers_info_by_topic(topic)
            )
        ]
        self._spoke_s = {name: at_s for name, at_s in self._spoke_s.items() if name in there}
        before, self._there = self._there, there
        if len(there) < 2 or 'raw' in self._spoke_s:
            self._listen('')
            if there == before == ['compressed']:  # twice: one is discovered before the other
                return 'compressed'
            return 'raw' if 'raw' in there else self._transport
        now_s = time.monotonic()
        if self._transport == 'compressed':
            self._listen('raw')
        elif now_s - self._subscribed_s > SILENT_S:
            self._listen('compressed')
        first_s = self._spoke_s.get('compressed', now_s)
        return 'compressed' if now_s - first_s > SILENT_S else self._transport

    def _listen(self, transport: str) -> None:
        """Hear whether a transport speaks that is not taken; '' = none."""
        if self._beside is not None and self._beside[0] != transport:
            self._node.end(self._beside[1])
            self._beside = None
        if not transport or self._beside is not None:
            return

        def hear(_: bytes) -> None:
            self._spoke_s.setdefault(transport, time.monotonic())

        kind, endpoint, _ = TYPES[transport]
        quiet = replace(endpoint.at(self._topics[transport]), quality=LISTEN, overridable=False)
        self._beside = transport, self._node.subscribe(kind, quiet, hear, raw=True)

    def _change(self, transport: str, reliable: bool) -> None:
        if transport == self._transport and (
            reliable == self._reliable or not adopts_reliability(self._node, self._subscription)
        ):
            return
        self._transport = transport
        self._listen('')
        self._node.end(self._subscription)
        self._subscription = self._subscribe()
        kind = 'reliable' if self._reliable else 'best effort'
        self._node.get_logger().info(f'pictures are taken from {self.topic} ({kind})')
