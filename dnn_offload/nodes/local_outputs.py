"""What the robot's user sees: results, annotated pictures, frame reports. Publishing only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields
import threading
import time
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.errors import ConfigurationError
from dnn_offload.msg import FrameReport
from dnn_offload.nodes import topics
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.picture_reader import CameraPicture
from dnn_offload.nodes.topic_names import compressed_topic
from dnn_offload.runtime.frames import FrameRecord, StageTimes
from dnn_offload.runtime.outcomes import Outcome
from dnn_offload.transport.conversion import image_of, jpeg_image, mask_image
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.topics import Endpoint
from dnn_offload.transport.vision_messages import (
    classification_message,
    detections_message,
    label_info_message,
    vision_info_message,
)
from dnn_offload.vision.answers import Answers, decode, DecodeSettings
from dnn_offload.vision.classes import known_names, wanted_ids
from dnn_offload.vision.drawing import draw
from dnn_offload.vision.preprocess import Mapping
from dnn_offload.vision.segmentation import Segmentation
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo, VisionInfo

# What acts on the outputs alone, on this side: not part of what robot and server agree on.
DECODE_PARAMETERS = ('score_threshold', 'iou_threshold', 'classes', 'max_detections', 'top_k')
RATE_WINDOW = 30
JPEG_QUALITY = 80  # of annotated pictures: for the eye, over the link that frames use, too
_COPIED = tuple(field.name for field in fields(StageTimes))


class ResultOutput:
    """Decodes, publishes and draws the results of one model.

    Args:
        node: The node whose publishers these are.
        model: Model source, for the label information.
        task: ``detection``, ``classification`` or ``segmentation``.
        class_names: Index to name.
        stamp: '' or a warning drawn on every picture.
        rgb_of: Gives the RGB picture of a camera's picture.

    Attributes:
        complaint: What of the parameters does not fit the model; '' = nothing.
    """

    def __init__(
        self,
        node: OffloadNode,
        model: str,
        task: str,
        class_names: Sequence[str],
        stamp: str,
        rgb_of: Callable[[CameraPicture], np.ndarray],
    ) -> None:
        self._node = node
        self._task = task
        self._class_names = class_names
        self._stamp = stamp
        self._rgb_of = rgb_of
        self._result_times_s: deque[float] = deque(maxlen=RATE_WINDOW)
        self._next_drawing_s = 0.0
        self.complaint = ''
        self._settings = DecodeSettings()
        self.adopt_settings()
        kind, endpoint, self._message_of = _PUBLISHED[task]
        self._results = node.advertise(kind, endpoint)
        self._annotated = node.advertise(Image, topics.IMAGE_ANNOTATED)
        self._annotated_jpeg = node.advertise(CompressedImage, topics.ANNOTATED_COMPRESSED.at(
            compressed_topic(node, topics.IMAGE_ANNOTATED)
        ))
        self._infos: list[tuple[Any, Any]] = []  # publishers and what they say
        self._latch(VisionInfo, topics.VISION_INFO, vision_info_message(
            model, class_names, Image().header
        ))
        if task == 'segmentation':
            self._latch(LabelInfo, topics.LABEL_INFO, label_info_message(
                class_names, Image().header
            ))
        self._say_names('')

    def _latch(self, message_type: type, endpoint: Endpoint, message: Any) -> None:
        # Not a lifecycle publisher: the names of the classes are known while inactive, too.
        publisher = self._node.create_publisher(
            message_type, endpoint.name, profile_of(endpoint.quality)
        )
        self._infos.append((publisher, message))

    def _say_names(self, frame_id: str) -> None:
        """Say the names of the classes; the frame is that of the pictures, '' before any."""
        self._frame_id = frame_id
        for publisher, message in self._infos:
            message.header.stamp = self._node.now_msg()
            message.header.frame_id = frame_id
            publisher.publish(message)

    def check_classes(self, wanted: Sequence[str]) -> None:
        """Refuse names that the model does not have.

        Raises:
            ConfigurationError: With those that it has.
        """
        wanted_ids(self._class_names, wanted)

    def adopt_settings(self) -> None:
        """Take over ``DECODE_PARAMETERS`` as they are now; the next frame is decoded by them."""
        values = {name: self._node.setting(name) for name in DECODE_PARAMETERS}
        wanted = values.pop('classes')
        self.complaint = ''
        try:
            ids = wanted_ids(self._class_names, wanted)
        except ConfigurationError as error:
            # From the start-up file, before the names were known. Those that exist count.
            self.complaint = f'parameter classes: {error}'
            self._node.get_logger().error(self.complaint)
            known = known_names(self._class_names, wanted)
            ids = wanted_ids(self._class_names, known) if known else frozenset()
        self._settings = DecodeSettings(class_ids=ids, **values)

    def finish(self, outputs: list[np.ndarray], mapping: Mapping) -> Answers:
        """Decode the network's outputs."""
        return decode(self._task, outputs, mapping, self._class_names, self._settings)

    def publish(self, record: FrameRecord, found: Answers) -> None:
        """Publish one result with the picture's own header."""
        image: CameraPicture = record.token
        if image.header.frame_id != self._frame_id:
            self._say_names(image.header.frame_id)
        self._results.publish(self._message_of(found, image.header))
        self._result_times_s.append(time.monotonic())

    @property
    def drawing_due(self) -> bool:
        """Whether somebody looks at annotated pictures, and it is time for one."""
        return any(self._due())

    def _due(self) -> tuple[bool, bool]:
        """Whether a raw one is due, and whether a JPEG."""
        if time.monotonic() < self._next_drawing_s:
            return False, False
        return (
            self._annotated.get_subscription_count() > 0,
            self._annotated_jpeg.get_subscription_count() > 0,
        )

    def draw(self, record: FrameRecord, found: Answers) -> None:
        """Publish the annotated picture, where one is due."""
        raw, jpeg = self._due()
        if not (raw or jpeg):
            return
        rate_hz = self._node.setting('annotate_rate_hz')
        if rate_hz > 0.0:
            # A little early is on time: pictures come on a grid of their own.
            self._next_drawing_s = time.monotonic() + 0.8 / rate_hz
        image: CameraPicture = record.token
        picture = draw(self._rgb_of(image), found, self._status(record), stamp=self._stamp)
        if raw:
            self._annotated.publish(image_of(picture, image.header))
        if jpeg:
            bgr = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            self._annotated_jpeg.publish(jpeg_image(bgr, image.header, 'rgb8', JPEG_QUALITY))

    def close(self) -> None:
        """Destroy what is not a lifecycle publisher."""
        for publisher, _ in self._infos:
            self._node.destroy_publisher(publisher)

    def rate_hz(self) -> float:
        """Results per second lately; 0 when there was none in the last two seconds."""
        times = self._result_times_s
        if len(times) < 2 or time.monotonic() - times[-1] > 2.0:
            return 0.0
        return (len(times) - 1) / max(times[-1] - times[0], 1e-6)

    def _status(self, record: FrameRecord) -> list[str]:
        return status_lines(record, self.rate_hz())


def status_lines(record: FrameRecord, rate_hz: float) -> list[str]:
    """What is written on an annotated picture: where it was computed, cut, fps, latency."""
    plan, where = record.plan, record.outcome.name.lower()
    if plan is not None and plan.server:
        # A rescued frame was finished here: its server has not answered.
        where += ' from' if record.outcome is Outcome.RESCUED else ' @'
        where += f' {plan.server}, cut {plan.cut_index} ({plan.label}), {plan.codec}'
    return [where, f'{rate_hz:.1f} fps, {record.times.latency_ms:.0f} ms']


def _mask_message(found: Segmentation, header: Any) -> Image:
    return mask_image(found.mask, header)


# Of each task: message, topic, and what makes the message of an answer.
_PUBLISHED: dict[str, tuple[type, Endpoint, Callable[[Any, Any], Any]]] = {
    'detection': (Detection2DArray, topics.DETECTIONS, detections_message),
    'classification': (Classification, topics.CLASSIFICATION, classification_message),
    'segmentation': (Image, topics.SEGMENTATION, _mask_message),
}


class Artist:
    """Draws the newest result on a thread of its own; what it has no time for is left out.

    Args:
        draw: Draws and publishes one result.
        on_failure: Told what failed.
    """

    def __init__(
        self,
        draw: Callable[[FrameRecord, Answers], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._draw = draw
        self._on_failure = on_failure
        self._condition = threading.Condition()
        self._next: tuple[FrameRecord, Answers] | None = None
        self._running = True
        self._thread = threading.Thread(target=self._run, name='artist', daemon=True)
        self._thread.start()

    def offer(self, record: FrameRecord, found: Answers) -> None:
        """Hand over a result; it takes the place of one not begun."""
        with self._condition:
            self._next = (record, found)
            self._condition.notify()

    def stop(self) -> None:
        """End after the picture in work."""
        with self._condition:
            self._running = False
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._next is not None or not self._running)
                if not self._running or self._next is None:
                    return
                (record, found), self._next = self._next, None
            try:
                self._draw(record, found)
            except Exception as error:  # a picture that cannot be drawn must not end the thread
                self._on_failure(f'cannot draw: {type(error).__name__}: {error}')


def frame_report(
    record: FrameRecord, setting: Callable[[str], Any], result_codec: str, lost_pictures: int
) -> FrameReport:
    """A frame's end as a message; one that could not be read has its image's header, too.

    Args:
        record: The frame.
        setting: Gives the node's parameters; those that planning must know go along.
        result_codec: Codec in which answers are wanted.
        lost_pictures: Those that never came.
    """
    message = FrameReport(
        result_codec=result_codec, lost_pictures=lost_pictures, deadline_ms=setting('deadline_ms'),
        max_uplink_bps=setting('max_uplink_bps'),
    )
    if record.token is not None:
        message.header = record.token.header
    message.frame_seq = record.frame_seq
    message.outcome = int(record.outcome)
    message.drop_reason = int(record.drop_reason)
    if record.plan is not None:
        plan = record.plan
        message.plan_epoch = plan.epoch
        message.plan_id = plan.plan_id
        message.cut_index = plan.cut_index
        message.cut = plan.cut_id
        message.return_cut = plan.return_id
        message.label = plan.label[:128]
        message.codec = plan.codec
        message.server = plan.server
    message.uplink_bytes = record.uplink_bytes
    for name in _COPIED:
        setattr(message, name, float(getattr(record.times, name)))
    message.stood_in = record.stood_in
    message.deadline_met = record.deadline_met and record.outcome is not Outcome.DROPPED
    message.pid = record.pid
    message.compute_tid = record.compute_tid
    counters = record.counters
    message.entered = counters.entered
    message.remote = counters.remote
    message.local = counters.local
    message.rescued = counters.rescued
    message.dropped = counters.dropped
    message.in_flight = counters.in_flight
    message.late_answers = counters.late_answers
    return message
