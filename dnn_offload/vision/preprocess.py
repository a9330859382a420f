"""A camera picture into the network's input picture, and boxes on the way back.

Boxes are continuous pixel coordinates: (0, 0) is the upper left corner of the upper left
pixel, (W, H) the lower right corner of the last one. ``cv2.resize`` keeps these corners, so
each mode is one scale and one offset per axis.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from dnn_offload.errors import ImageError, ModelError

MODES = ('stretch', 'letterbox', 'center_crop')
PAD_VALUE = 114  # grey of letterbox bars, as detectors are commonly trained with
MAX_SIDE = 16384

_Area = tuple[slice, slice]  # rows, columns

# Below this ratio bilinear sampling skips source pixels and shows patterns that are not
# there; averaging over areas does not, but costs up to 20 ms at 1920 x 1080.
_AREA_BELOW = 0.4


@dataclass(frozen=True)
class PreprocessSpec:
    """What the network wants to see.

    Attributes:
        height, width: Network input [px].
        mode: ``stretch`` ignores the aspect ratio; ``letterbox`` keeps all of the picture
            and fills up with grey; ``center_crop`` keeps the middle.
        crop_fraction: ``center_crop`` only: side of what is kept, of the largest centred
            rectangle with the network's aspect ratio. 0.875 is torchvision's 224 of 256.
    """

    height: int
    width: int
    mode: str = 'stretch'
    crop_fraction: float = 0.875

    def __post_init__(self) -> None:
        """Check the ranges; raises ModelError."""
        if not (1 <= self.height <= MAX_SIDE and 1 <= self.width <= MAX_SIDE):
            raise ModelError(
                'network input has an impossible size',
                given=f'{self.width} x {self.height}',
                allowed=f'1..{MAX_SIDE} each way',
            )
        if self.mode not in MODES:
            raise ModelError('no such resize mode', given=self.mode, allowed=', '.join(MODES))
        if not 0.0 < self.crop_fraction <= 1.0:
            raise ModelError(
                'impossible crop_fraction', given=self.crop_fraction, allowed='above 0, up to 1'
            )

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PreprocessSpec:
        """Read what ``to_json`` wrote; keys that it does not know are left alone.

        Raises:
            ModelError: Something is missing or out of range.
        """
        try:
            return cls(
                int(data['height']),
                int(data['width']),
                str(data.get('mode', 'stretch')),
                float(data.get('crop_fraction', 0.875)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                'description of the preprocessing is damaged', given=str(data)
            ) from error


@dataclass(frozen=True)
class Mapping:
    """Where a network pixel lies in the source picture: ``network = source * scale + offset``.

    Attributes:
        scale_x, scale_y: Network pixels per source pixel.
        offset_x, offset_y: Position of the source's origin in the network's picture [px].
        image_width, image_height: Source picture [px].
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    image_width: int
    image_height: int

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) x1 y1 x2 y2 in network pixels to source pixels, clipped to the picture."""
        source = (np.asarray(boxes, dtype=np.float64) - self._offsets()) / self._scales()
        sides = (self.image_width, self.image_height)
        return np.clip(source, 0.0, np.array(sides * 2, dtype=np.float64))

    def to_network(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) x1 y1 x2 y2 in source pixels to network pixels, not clipped."""
        return np.asarray(boxes, dtype=np.float64) * self._scales() + self._offsets()

    def _scales(self) -> np.ndarray:
        return np.array((self.scale_x, self.scale_y) * 2, dtype=np.float64)

    def _offsets(self) -> np.ndarray:
        return np.array((self.offset_x, self.offset_y) * 2, dtype=np.float64)


def prepare(
    rgb: np.ndarray, spec: PreprocessSpec, *, is_bgr: bool = False
) -> tuple[np.ndarray, Mapping]:
    """Make the network's input out of a camera picture.

    Args:
        rgb: Picture uint8 (H, W, 3), RGB, any strides.
        spec: What the network wants.
        is_bgr: The picture is BGR; what is returned is RGB all the same. Colours change places
            after resizing, which is the same and cheaper.

    Returns:
        Picture uint8 (1, height, width, 3), C-contiguous, and the way back for boxes.

    Raises:
        ImageError: ``rgb`` is no such picture.
    """
    height, width = check_rgb(rgb)
    source, target = _areas(height, width, spec)
    picture = np.empty((1, spec.height, spec.width, 3), dtype=np.uint8)
    if target != (slice(0, spec.height), slice(0, spec.width)):
        picture[...] = PAD_VALUE
    _resize(rgb[source], picture[0][target], is_bgr)
    return picture, _mapping(source, target, height, width)


def mapping_of(height: int, width: int, spec: PreprocessSpec) -> Mapping:
    """The way back for boxes, from the size of a picture that need not be there yet.

    Args:
        height: Of the camera's picture, 1 or more [px].
        width: Of the camera's picture, 1 or more [px].
        spec: What the network wants.
    """
    return _mapping(*_areas(height, width, spec), height, width)


def check_rgb(rgb: np.ndarray) -> tuple[int, int]:
    """Height and width of a picture uint8 (H, W, 3).

    Raises:
        ImageError: It is none.
    """
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8:
        raise ImageError(
            'picture has the wrong type',
            given=str(getattr(rgb, 'dtype', type(rgb).__name__)),
            allowed='uint8',
            hint='vision/encodings.py converts what cameras publish',
        )
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(
            'picture is not RGB',
            given=f'shape {rgb.shape}',
            allowed='(height, width, 3)',
            hint='convert grey or RGBA pictures first, e.g. by '
            'cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)',
        )
    height, width = rgb.shape[:2]
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ImageError(
            'picture has an impossible size',
            given=f'{width} x {height}',
            allowed=f'1..{MAX_SIDE} pixels each way',
            hint='check what the camera publishes',
        )
    return height, width


def _areas(height: int, width: int, spec: PreprocessSpec) -> tuple[_Area, _Area]:
    """What is kept of a picture, and where it comes to lie in the network's."""
    source, target = (height, width), (spec.height, spec.width)
    if spec.mode == 'letterbox':
        fit = min(spec.width / width, spec.height / height)
        target = (
            min(spec.height, max(1, round(height * fit))),
            min(spec.width, max(1, round(width * fit))),
        )
    elif spec.mode == 'center_crop':
        fit = min(width / spec.width, height / spec.height) * spec.crop_fraction
        source = (
            min(height, max(1, round(spec.height * fit))),
            min(width, max(1, round(spec.width * fit))),
        )
    return _middle(source, (height, width)), _middle(target, (spec.height, spec.width))


def _middle(size: tuple[int, int], whole: tuple[int, int]) -> _Area:
    top, left = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    return slice(top, top + size[0]), slice(left, left + size[1])


def _mapping(source: _Area, target: _Area, height: int, width: int) -> Mapping:
    (rows, columns), (new_rows, new_columns) = source, target
    scale_x = (new_columns.stop - new_columns.start) / (columns.stop - columns.start)
    scale_y = (new_rows.stop - new_rows.start) / (rows.stop - rows.start)
    return Mapping(
        scale_x, scale_y, new_columns.start - columns.start * scale_x,
        new_rows.start - rows.start * scale_y, width, height,
    )


def _resize(source: np.ndarray, out: np.ndarray, is_bgr: bool) -> None:
    """Resize ``source`` into ``out``, both (h, w, 3), ``out`` RGB.

    Shrinking goes by exact halves first: averaging 2 x 2 pixels is the one area resize that
    OpenCV does fast (0.5 ms instead of 20 ms at 1920 x 1080).
    """
    height, width = out.shape[:2]
    while (
        source.shape[0] >= 2 * height and source.shape[0] % 2 == 0
        and source.shape[1] >= 2 * width and source.shape[1] % 2 == 0
    ):
        half = (source.shape[1] // 2, source.shape[0] // 2)
        source = cv2.resize(source, half, interpolation=cv2.INTER_AREA)
    if source.shape != out.shape:
        ratio = min(height / source.shape[0], width / source.shape[1])
        method = cv2.INTER_AREA if ratio < _AREA_BELOW else cv2.INTER_LINEAR
        source = cv2.resize(source, (width, height), interpolation=method)
    out[...] = cv2.cvtColor(source, cv2.COLOR_BGR2RGB) if is_bgr else source
