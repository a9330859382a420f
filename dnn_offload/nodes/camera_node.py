"""Publishes pictures of a camera, video, folder or stream with their acquisition stamp.

The reader's thread keeps the newest picture; a second thread publishes it, so that neither
the driver nor a slow subscriber makes pictures old.
"""

from __future__ import annotations

from array import array
import re
import threading
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dnn_offload.errors import ConfigurationError, without_password
from dnn_offload.nodes import base, camera_parameters, topics
from dnn_offload.nodes.camera_calibration import Calibration, read_calibration
from dnn_offload.nodes.camera_reader import PictureReader, ReaderState, StampedPicture
from dnn_offload.nodes.camera_sources import SourceSettings, too_large
from dnn_offload.nodes.process import run
from dnn_offload.nodes.topic_names import compressed_topic
from dnn_offload.transport.conversion import jpeg_image

TAKE_TIMEOUT_S = 0.5
NAMED_AT_ONCE = 3  # unreadable pictures, in the log
REOPEN_WAITS = {'reopen_min_s', 'reopen_max_s'}


class CameraNode(base.OffloadNode):
    """See ``camera_parameters.SUMMARY``."""

    NODE = camera_parameters.NODE
    PARAMETERS = camera_parameters.PARAMETERS

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__(**node_arguments)
        self._calibration: Calibration | None = None
        self._calibration_note = ''
        self._last_problem = ''
        self._published = 0
        self._reader: PictureReader[Any] | None = None
        self._publishing = threading.Event()
        self._thread: threading.Thread | None = None

    def configure(self) -> None:
        """Make the publishers and read the calibration; the source is opened on activation."""
        self._calibration = read_calibration(self.setting('camera_info_url'))
        self._calibration_note = ''
        self._last_problem = ''
        self._published = 0
        self._apply_output_settings()
        self._images = self.advertise(Image, topics.IMAGE_RAW)
        self._compressed = self.advertise(
            CompressedImage, topics.IMAGE_COMPRESSED.at(compressed_topic(self))
        )
        self._infos = self.advertise(CameraInfo, topics.CAMERA_INFO)

    def activate(self) -> None:
        """Start to read and to publish."""
        reader = PictureReader(
            self._source_settings(),
            self.now_msg,
            log=self.get_logger().error,
            reopen_min_s=self.setting('reopen_min_s'),
            reopen_max_s=self.setting('reopen_max_s'),
        )
        publishing = threading.Event()  # a new one: a thread that was left behind stays ended
        publishing.set()
        self._reader, self._publishing = reader, publishing
        self._thread = threading.Thread(
            target=self._publish_loop, args=(reader, publishing), name='publish', daemon=True
        )
        reader.start()
        self._thread.start()

    def deactivate(self) -> None:
        """Stop both threads and release the source."""
        reader, thread = self._reader, self._thread
        self._reader = self._thread = None
        self._publishing.clear()
        if reader is not None:
            reader.stop()
        if thread is not None:
            thread.join(2.0)

    def check_settings(self, changed: dict[str, Any]) -> None:
        """See ``OffloadNode``: the calibration must be readable, the waits in order.

        One wait or side alone is taken: a dump that is loaded sets one parameter after another.
        """
        if changed.get('camera_info_url'):
            read_calibration(changed['camera_info_url'])
        problem = too_large(changed.get('width', 0), changed.get('height', 0))
        if problem:
            raise ConfigurationError(problem)
        if changed.keys() >= REOPEN_WAITS and changed['reopen_min_s'] > changed['reopen_max_s']:
            raise ConfigurationError(
                'reopen_min_s is larger than reopen_max_s',
                given=f'{changed["reopen_min_s"]}, {changed["reopen_max_s"]}',
                allowed='reopen_min_s up to reopen_max_s',
            )

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Everything is live; the source is only opened anew where it must be."""
        if 'camera_info_url' in changed:
            self._calibration = read_calibration(changed['camera_info_url'])
        self._apply_output_settings()
        if REOPEN_WAITS & changed.keys() and (
            self.setting('reopen_min_s') > self.setting('reopen_max_s')
        ):
            self.get_logger().warning(
                f'reopen_min_s {self.setting("reopen_min_s")} is larger than reopen_max_s '
                f'{self.setting("reopen_max_s")}: reopen_max_s is every wait until they are in '
                'order'
            )
        reader = self._reader
        if reader is not None:
            reader.reconfigure(
                self._source_settings(),
                self.setting('reopen_min_s'),
                self.setting('reopen_max_s'),
            )

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """WARN while the source is lost or not all readable; OK at the end of a file."""
        reader = self._reader
        if reader is None:
            return base.OK, 'inactive', {}
        status = reader.status()
        source = without_password(status.description)  # the bare parameter until it is opened
        problem = status.problem
        if not problem and status.silent_s:
            problem = f'no picture for {status.silent_s:.1f} s'
        elif not problem and status.state is ReaderState.READING:
            problem = status.note
        self._log_unreadable(reader.new_unreadable())
        message = problem or status.left_out or status.state.value
        level = base.WARN if problem or status.left_out else base.OK
        if (
            level == base.OK and status.state is ReaderState.READING and self._calibration_note
        ):
            message = self._calibration_note
        kind = re.sub(r'[0-9.]+', '#', problem)  # a silence that lasts is said once
        if kind != self._last_problem:
            self._last_problem = kind
            if problem:
                self.get_logger().warning(problem)
            else:
                self.get_logger().info(f'{source}: {status.state.value}')
        return level, message, {
            'source': source,
            'source_state': status.state.value,
            'source_mode': status.mode,
            'rate_hz': status.rate_hz,
            'pictures': status.pictures,
            'published': self._published,
            'passed_over': status.passed_over,
            'unreadable': status.unreadable,
            'reopened': status.reopened,
        }

    def _log_unreadable(self, reasons: list[str]) -> None:
        """Each picture once; of many in one second a few, and how many more."""
        for reason in reasons[:NAMED_AT_ONCE]:
            self.get_logger().warning(f'a picture is left out: {reason}')
        more = len(reasons) - NAMED_AT_ONCE
        if more > 0:
            self.get_logger().warning(f'{more} more pictures are left out: they cannot be read')

    def _source_settings(self) -> SourceSettings:
        return SourceSettings(
            source=self.setting('source'),
            loop=self.setting('loop'),
            rate_hz=self.setting('rate_hz'),
            width=self.setting('width'),
            height=self.setting('height'),
            pixel_format=self.setting('pixel_format'),
            stall_timeout_s=self.setting('stall_timeout_s'),
        )

    def _apply_output_settings(self) -> None:
        self._frame_id: str = self.setting('frame_id')
        self._encoding: str = self.setting('encoding')
        self._jpeg_quality: int = self.setting('jpeg_quality')

    # ---- in the publishing thread ----------------------------------------------------------

    def _publish_loop(self, reader: PictureReader[Any], publishing: threading.Event) -> None:
        publish = self.guarded(self._publish)
        while publishing.is_set():
            picture = reader.take(TAKE_TIMEOUT_S)
            if picture is not None and publishing.is_set():
                publish(picture)

    def _publish(self, picture: StampedPicture[Any]) -> None:
        header = Header(stamp=picture.stamp, frame_id=self._frame_id)
        height, width = picture.bgr.shape[:2]
        if self._images.get_subscription_count() > 0:
            self._images.publish(self._image(header, picture.bgr))
        if self._compressed.get_subscription_count() > 0:
            self._compressed.publish(
                jpeg_image(picture.bgr, header, self._encoding, self._jpeg_quality)
            )
        if self._infos.get_subscription_count() > 0:
            self._infos.publish(self._camera_info(header, width, height))
        self._published += 1

    def _image(self, header: Header, bgr: np.ndarray) -> Image:
        pixels = bgr
        if self._encoding == 'rgb8':
            pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        height, width = pixels.shape[:2]
        message = Image(
            header=header, height=height, width=width, encoding=self._encoding, step=3 * width
        )
        message.data = _bytes_of(pixels)
        return message

    def _camera_info(self, header: Header, width: int, height: int) -> CameraInfo:
        info = CameraInfo(header=header, width=width, height=height)
        calibration = self._calibration
        if calibration is None:
            return info  # K[0] == 0 means uncalibrated (sensor_msgs/CameraInfo)
        self._calibration_note = ''
        if (calibration.width, calibration.height) != (width, height):
            self._calibration_note = (
                f'calibration of {calibration.width}x{calibration.height} scaled to '
                f'{width}x{height}'
            )
            calibration = calibration.scaled_to(width, height)
        info.distortion_model = calibration.distortion_model
        info.d = list(calibration.distortion)
        info.k = list(calibration.camera_matrix)
        info.r = list(calibration.rectification_matrix)
        info.p = list(calibration.projection_matrix)
        return info


def _bytes_of(pixels: np.ndarray) -> array[int]:
    """Bytes for a ``uint8[]`` field: 0.03 ms/MB this way, 56 ms/MB if given an ndarray."""
    data = array('B')
    data.frombytes(np.ascontiguousarray(pixels).data)
    return data


def main() -> None:
    """Entry point of the executable ``camera_node``."""
    cv2.setNumThreads(1)  # colours and JPEG need no pool of threads beside inference
    raise SystemExit(run(CameraNode))


if __name__ == '__main__':
    main()
