"""From a camera's message to pixels, or to a JPEG that a server can take as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.codec.compressed_picture import CompressedPicture, decode_picture, read_picture
from dnn_offload.errors import ImageError
from dnn_offload.nodes.camera_watch import Looks
from dnn_offload.runtime.frames import JpegSource, PictureSource
from dnn_offload.transport.raw_image import RawCompressed, RawImage
from dnn_offload.vision.encodings import to_colours
from dnn_offload.vision.preprocess import Mapping, mapping_of, prepare, PreprocessSpec

CameraMessage: TypeAlias = RawImage | Image | RawCompressed | CompressedImage


@dataclass
class CameraPicture:
    """One picture of a camera. Its header is read at once, its pixels when they are asked for.

    What was decoded is kept, for whoever draws it afterwards; the worker is done with it by then.

    Attributes:
        header: The message's.
        looks: Size and encoding, as declared.
    """

    header: Any
    looks: Looks
    _message: RawImage | Image | CompressedPicture
    _refused: Callable[[str], None]
    _decoded: np.ndarray | None = field(default=None, repr=False)

    def pixels(self) -> tuple[np.ndarray, bool]:
        """The picture as uint8 (H, W, 3), and whether it is BGR; else it is RGB.

        Raises:
            ImageError: It is damaged, or has an encoding that is not taken.
        """
        try:
            return self._pixels()
        except ImageError as error:
            self._refused(str(error))
            raise

    def _pixels(self) -> tuple[np.ndarray, bool]:
        message = self._message
        if isinstance(message, CompressedPicture):
            if self._decoded is None:
                self._decoded = decode_picture(message)
            return self._decoded, True
        return to_colours(
            message.data, height=message.height, width=message.width, step=message.step,
            encoding=message.encoding, is_bigendian=bool(message.is_bigendian),
        )

    def rgb(self) -> np.ndarray:
        """The picture as uint8 (H, W, 3), RGB; raises as ``pixels`` does."""
        picture, is_bgr = self.pixels()
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) if is_bgr else picture

    def source(self, spec: PreprocessSpec) -> PictureSource:
        """What the engine takes: the network's input, or the JPEG as it came."""

        def prepared() -> tuple[np.ndarray, Mapping]:
            pixels, is_bgr = self.pixels()
            return prepare(pixels, spec, is_bgr=is_bgr)

        message = self._message
        if isinstance(message, CompressedPicture) and message.is_plain:
            mapping = mapping_of(message.height, message.width, spec)
            return JpegSource(message.data, mapping, prepared)
        return prepared


def camera_picture(message: CameraMessage, refused: Callable[[str], None]) -> CameraPicture:
    """A picture of a message.

    Args:
        message: From ``image_raw`` or ``image_raw/compressed``.
        refused: Told why, when its pixels are asked for and cannot be had.

    Raises:
        ImageError: A compressed one is of another kind, or is cut short.
    """
    if isinstance(message, RawCompressed | CompressedImage):
        compressed = read_picture(bytes(message.data), message.format)
        looks = Looks(compressed.height, compressed.width, compressed.kind)
        return CameraPicture(message.header, looks, compressed, refused)
    looks = Looks(message.height, message.width, message.encoding[:40])
    return CameraPicture(message.header, looks, message, refused)
