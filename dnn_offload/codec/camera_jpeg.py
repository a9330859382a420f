"""A camera's own JPEG, sent as it came instead of being decoded, resized and encoded anew.

The receiver decodes it and prepares it as the sender would have: the network sees what it would
have seen on the robot, without the loss of a second JPEG.
"""

from __future__ import annotations

import cv2
import numpy as np

from dnn_offload.codec.jpeg import declared_size
from dnn_offload.errors import CodecError

MAX_PIXELS = 1 << 22  # 12.6 MB decoded; 2560 x 1600
MAX_SIDE = 16384      # what vision/preprocess.py prepares

# EXIF's rotation is for photographs: image_transport's subscriber ignores it, too.
FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def can_be_sent(height: int, width: int) -> bool:
    """Whether a receiver decodes a JPEG of that size [px]."""
    return height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE


def decode_jpeg(jpeg: memoryview) -> np.ndarray:
    """Pixels uint8 (h, w, 3), BGR, of a JPEG from anywhere.

    Raises:
        CodecError: It is no baseline colour JPEG of one scan, too large, or damaged; found
            before anything is allocated, the last one excepted.
    """
    height, width = declared_size(jpeg)
    if height < 1 or width < 1 or not can_be_sent(height, width):
        raise CodecError(
            'camera picture has an impossible size', given=f'{width} x {height}',
            allowed=f'1..{MAX_PIXELS} pixels, sides of 1..{MAX_SIDE}',
        )
    try:
        bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), FLAGS)
    except cv2.error as error:
        raise CodecError('camera picture is damaged', given=str(error)) from error
    if bgr is None or bgr.shape != (height, width, 3):
        raise CodecError('camera picture is damaged')
    return np.asarray(bgr, np.uint8)
