"""Detections and classes as vision_msgs; apart, so that a server needs no vision_msgs."""

from __future__ import annotations

from collections.abc import Sequence
import json
from typing import Any, Protocol

from vision_msgs.msg import (
    Classification,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
    VisionInfo,
)


class _Class(Protocol):
    @property
    def class_id(self) -> int: ...
    @property
    def class_name(self) -> str: ...
    @property
    def score(self) -> float: ...


class _Box(_Class, Protocol):
    @property
    def box(self) -> Sequence[float]: ...


def detections_message(detections: Sequence[_Box], header: Any) -> Detection2DArray:
    """Boxes in source pixels with the picture's own header; class names as ``class_id``."""
    message = Detection2DArray()
    message.header = header
    message.detections = [_detection(found, header) for found in detections]
    return message


def _detection(found: _Box, header: Any) -> Detection2D:
    x1, y1, x2, y2 = (float(edge) for edge in found.box)
    message = Detection2D()
    message.header = header
    message.bbox.center.position.x = 0.5 * (x1 + x2)
    message.bbox.center.position.y = 0.5 * (y1 + y2)
    message.bbox.size_x = x2 - x1
    message.bbox.size_y = y2 - y1
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = found.class_name
    result.hypothesis.score = float(found.score)
    message.results = [result]
    return message


def classification_message(classes: Sequence[_Class], header: Any) -> Classification:
    """Best classes first, with the picture's own header."""
    message = Classification()
    message.header = header
    for found in classes:
        hypothesis = ObjectHypothesis()
        hypothesis.class_id = found.class_name
        hypothesis.score = float(found.score)
        message.results.append(hypothesis)
    return message


def label_info_message(class_names: Sequence[str], header: Any) -> LabelInfo:
    """The class of each value of a mask; a mask has no threshold."""
    return LabelInfo(
        header=header,
        class_map=[
            VisionClass(class_id=i, class_name=name) for i, name in enumerate(class_names)
        ],
    )


def vision_info_message(model: str, class_names: Sequence[str], header: Any) -> VisionInfo:
    """What the class names mean; ``database_location`` holds them as JSON."""
    message = VisionInfo()
    message.header = header
    message.method = model
    message.database_location = json.dumps({str(i): n for i, n in enumerate(class_names)})
    message.database_version = 1
    return message
