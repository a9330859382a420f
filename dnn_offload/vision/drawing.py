"""Answers drawn onto the picture, for people: boxes, masks, labels, classes, status, stamp.

Every box has a dark rim, so that it is seen on any ground.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

import cv2
import numpy as np

from dnn_offload.vision.answers import Answers
from dnn_offload.vision.decode import Classification, Detection
from dnn_offload.vision.overlay import lay_over
from dnn_offload.vision.palette import colour_of, PALETTE
from dnn_offload.vision.preprocess import check_rgb
from dnn_offload.vision.segmentation import Region, Segmentation

_DARK = (20, 20, 20)
_LIGHT = (245, 245, 245)
_STAMP_COLOUR = PALETTE[5]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_TEXT_PX = 8  # height of capitals; less cannot be read
_BAR_OPACITY = 0.62
_MAX_LEGEND = 6  # classes of a mask that are named
_MIN_SHARE = 0.002  # of the picture; less is not worth a line
# The font has ASCII only; what our own labels use beyond it is spelt out.
_SPELLING = str.maketrans({
    '→': '->', '←': '<-', '·': '|', '–': '-', '—': '-', '×': 'x', '…': '...', 'µ': 'u',
    '≤': '<=', '≥': '>=', '°': ' deg', 'ä': 'ae', 'ö': 'oe', 'ü': 'ue', 'ß': 'ss',
})


def draw(
    rgb: np.ndarray,
    answers: Answers,
    status_lines: Sequence[str] = (),
    *,
    stamp: str = '',
    scale: float = 1.0,
) -> np.ndarray:
    """Draw onto a copy of the picture.

    Args:
        rgb: Picture uint8 (H, W, 3).
        answers: Detections as boxes with labels, classifications as a list with bars, a
            segmentation as colours over the picture with a legend.
        status_lines: Lines of text in a bar at the top; too long ones shrink, then are cut.
        stamp: Warning across the lower right corner, e.g. ``random weights``; '' = none.
        scale: Text and lines larger or smaller than what suits the picture's size.

    Returns:
        uint8 (H, W, 3), RGB, C-contiguous.

    Raises:
        ImageError: ``rgb`` is no such picture.
    """
    check_rgb(rgb)
    canvas = np.array(rgb, order='C')
    text_px = max(_MIN_TEXT_PX, round(min(canvas.shape[:2]) / 40 * scale))
    bar_bottom = _bar_height(status_lines, text_px)
    if isinstance(answers, Segmentation):
        lay_over(canvas, answers)
        _draw_legend(canvas, answers.regions, text_px, bar_bottom)
    else:
        boxes = [answer for answer in answers if isinstance(answer, Detection)]
        classes = [answer for answer in answers if isinstance(answer, Classification)]
        _draw_boxes(canvas, boxes, text_px, bar_bottom)
        _draw_classes(canvas, classes, text_px)
    _draw_status(canvas, status_lines, text_px, bar_bottom)
    if stamp:
        _draw_stamp(canvas, stamp, text_px)
    return canvas


def _draw_boxes(
    canvas: np.ndarray, boxes: Sequence[Detection], text_px: int, top: int
) -> None:
    # Large ones first, so that small ones in front of them stay visible; labels last.
    ordered = sorted(boxes, key=lambda d: -(d.box[2] - d.box[0]) * (d.box[3] - d.box[1]))
    for detection in ordered:
        _draw_box(canvas, detection, text_px)
    for detection in ordered:
        _draw_label(canvas, detection, text_px, top)


def _draw_box(canvas: np.ndarray, detection: Detection, text_px: int) -> None:
    x1, y1, x2, y2 = _corners(canvas, detection)
    # Thinner on small objects, else the line hides them.
    side = min(x2 - x1, y2 - y1)
    thickness = max(1, min(round(text_px / 5), math.ceil(side / 12)))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), _DARK, thickness + 2)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour_of(detection.class_id), thickness)


def _draw_label(canvas: np.ndarray, detection: Detection, text_px: int, top: int) -> None:
    height, width = canvas.shape[:2]
    x1, y1, _, y2 = _corners(canvas, detection)
    # Small objects get small labels.
    px = text_px if y2 - y1 > 3 * text_px else max(_MIN_TEXT_PX, round(text_px * 0.8))
    text = _plain(f'{detection.class_name} {detection.score:.0%}')
    text, px = _fit(text, px, width - px)
    pad = max(2, px // 3)
    label_width, label_height = _text_width(text, px) + 2 * pad, px + 2 * pad
    above = y1 - label_height
    if above >= top:
        label_top = above
    elif y1 >= top:
        label_top = y1  # no room above: inside
    else:
        label_top = top
    label_top = min(max(0, label_top), max(0, height - label_height))
    left = min(max(0, x1 - 1), max(0, width - label_width))
    colour = colour_of(detection.class_id)
    corner = (left + label_width - 1, label_top + label_height - 1)
    cv2.rectangle(canvas, (left, label_top), corner, colour, cv2.FILLED)
    _put(canvas, text, left + pad, label_top + pad + px, px, _ink_on(colour))


def _draw_classes(canvas: np.ndarray, classes: Sequence[Classification], text_px: int) -> None:
    """A list in the lower left corner: name, probability, and a bar behind it."""
    if not classes:
        return
    height, width = canvas.shape[:2]
    row = 2 * text_px
    rows = classes[:max(1, height // row)]
    texts = [_plain(f'{c.score:4.0%}  {c.class_name}') for c in rows]
    pad = max(3, text_px // 2)
    widest = max(_text_width(text, text_px) for text in texts) + 2 * pad
    panel_width = min(max(widest, width // 3), width * 2 // 3)
    top = max(0, height - row * len(rows))
    _shade(canvas, 0, top, panel_width, height)
    for i, (text, answer) in enumerate(zip(texts, rows, strict=True)):
        y = top + i * row
        bar = round(panel_width * min(max(answer.score, 0.0), 1.0))
        colour = colour_of(4 if i == 0 else 2)
        cv2.rectangle(canvas, (0, y + 2), (max(bar - 1, 1), y + row - 3), colour, cv2.FILLED)
        text, px = _fit(text, text_px, panel_width - 2 * pad)
        _put(canvas, text, pad, y + (row + px) // 2, px, _LIGHT)


def _draw_legend(
    canvas: np.ndarray, regions: Sequence[Region], text_px: int, top: int
) -> None:
    """A list in the lower left corner: colour, share of the picture, name; largest first."""
    height, width = canvas.shape[:2]
    row, pad = 2 * text_px, max(3, text_px // 2)
    room = max(1, min(_MAX_LEGEND, (height - top) // row))
    shown = [r for r in regions if not r.background and r.share >= _MIN_SHARE][:room]
    if not shown:
        return
    texts = [_plain(f'{region.share:4.0%}  {region.class_name}') for region in shown]
    side = text_px + pad // 2
    widest = max(_text_width(text, text_px) for text in texts) + side + 3 * pad
    panel_width = min(widest, width * 2 // 3)
    first = max(0, height - row * len(shown))
    _shade(canvas, 0, first, panel_width, height)
    for i, (text, region) in enumerate(zip(texts, shown, strict=True)):
        y = first + i * row + (row - side) // 2
        corner = (pad + side, y + side)
        cv2.rectangle(canvas, (pad, y), corner, colour_of(region.class_id), cv2.FILLED)
        cv2.rectangle(canvas, (pad, y), corner, _LIGHT, max(1, text_px // 12))
        text, px = _fit(text, text_px, panel_width - side - 3 * pad)
        _put(canvas, text, side + 2 * pad, first + i * row + (row + px) // 2, px, _LIGHT)


def _bar_height(lines: Sequence[str], text_px: int) -> int:
    return len(lines) * _line_height(text_px) + text_px // 2 if lines else 0


def _line_height(text_px: int) -> int:
    return round(text_px * 1.7)


def _draw_status(canvas: np.ndarray, lines: Sequence[str], text_px: int, bottom: int) -> None:
    if not lines:
        return
    height, width = canvas.shape[:2]
    _shade(canvas, 0, 0, width, min(bottom, height))
    pad = max(3, text_px // 2)
    for i, line in enumerate(lines):
        text, px = _fit(_plain(line), text_px, width - 2 * pad)
        baseline = i * _line_height(text_px) + text_px // 2 + text_px
        if baseline < height:
            _put(canvas, text, pad, baseline, px, _LIGHT)


def _draw_stamp(canvas: np.ndarray, stamp: str, text_px: int) -> None:
    height, width = canvas.shape[:2]
    text, px = _fit(_plain(stamp).upper(), round(text_px * 1.3), width - 4 * text_px)
    pad = px // 2 + 1
    left = max(0, width - _text_width(text, px) - 3 * pad)
    top = max(0, height - px - 3 * pad)
    corner = (width - pad, height - pad)
    cv2.rectangle(canvas, (left, top), corner, _STAMP_COLOUR, cv2.FILLED)
    cv2.rectangle(canvas, (left, top), corner, _LIGHT, max(1, px // 8))
    _put(canvas, text, left + pad, top + pad + px, px, _DARK)


def _corners(canvas: np.ndarray, detection: Detection) -> tuple[int, int, int, int]:
    """Whole pixels within the canvas, so that OpenCV never sees an outlandish number."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = np.nan_to_num(detection.box, nan=0.0, posinf=1e9, neginf=-1e9)
    return (
        int(np.clip(round(x1), 0, width - 1)),
        int(np.clip(round(y1), 0, height - 1)),
        int(np.clip(round(x2) - 1, 0, width - 1)),
        int(np.clip(round(y2) - 1, 0, height - 1)),
    )


def _shade(canvas: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    """Darken a rectangle, so that light text is read on any ground."""
    area = canvas[top:bottom, left:right]
    if area.size:
        area[...] = cv2.convertScaleAbs(area, alpha=1.0 - _BAR_OPACITY, beta=8)


def _plain(text: str) -> str:
    return text.translate(_SPELLING).encode('ascii', 'replace').decode('ascii')


def _fit(text: str, px: int, room: int) -> tuple[str, int]:
    """Text and height that fit into ``room`` pixels: smaller first, then cut off."""
    smallest = max(_MIN_TEXT_PX, round(px * 0.7))
    while px > smallest and _text_width(text, px) > room:
        px -= 1
    if _text_width(text, px) <= room:
        return text, px
    while len(text) > 1 and _text_width(text + '...', px) > room:
        text = text[:-1]
    return text + '...', px


def _stroke(px: int) -> int:
    return max(1, round(px / 9))


def _font_scale(px: int) -> float:
    return cv2.getFontScaleFromHeight(_FONT, px, _stroke(px))


def _text_width(text: str, px: int) -> int:
    (width, _), _ = cv2.getTextSize(text, _FONT, _font_scale(px), _stroke(px))
    return int(width)


def _put(
    canvas: np.ndarray, text: str, x: int, baseline: int, px: int, colour: tuple[int, int, int]
) -> None:
    cv2.putText(
        canvas, text, (x, baseline), _FONT, _font_scale(px), colour, _stroke(px), cv2.LINE_AA
    )


def _ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark or light text, whichever contrasts more (luminance as in ITU-R BT.709)."""
    luminance = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return _DARK if luminance > 105 else _LIGHT
