"""Reads a camera calibration in the YAML format of ROS's camera_calibration. No ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from pathlib import Path
from typing import Any

import yaml

from dnn_offload.errors import ConfigurationError

FORMAT = (
    'YAML of camera_calibration with image_width, image_height, distortion_model and data of '
    'camera_matrix (9), distortion_coefficients, rectification_matrix (9), projection_matrix (12)'
)
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Calibration:
    """Intrinsics as in sensor_msgs/CameraInfo: matrices in row-major order, lengths in px."""

    width: int
    height: int
    distortion_model: str
    distortion: tuple[float, ...]
    camera_matrix: tuple[float, ...]
    rectification_matrix: tuple[float, ...]
    projection_matrix: tuple[float, ...]

    def scaled_to(self, width: int, height: int) -> Calibration:
        """The same camera with its picture resized to ``width`` x ``height``."""
        if (width, height) == (self.width, self.height):
            return self
        factors = (width / self.width, height / self.height, 1.0)
        return replace(
            self,
            width=width,
            height=height,
            camera_matrix=_scale_rows(self.camera_matrix, factors, 3),
            projection_matrix=_scale_rows(self.projection_matrix, factors, 4),
        )


def _scale_rows(
    matrix: tuple[float, ...], factors: tuple[float, ...], columns: int
) -> tuple[float, ...]:
    return tuple(value * factors[i // columns] for i, value in enumerate(matrix))


def read_calibration(url: str) -> Calibration | None:
    """Read ``file:///path`` or a plain path; None for an empty ``url``.

    Raises:
        ConfigurationError: Missing, too large, or not in the format.
    """
    if not url:
        return None
    path = Path(url.removeprefix('file://')).expanduser()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError('calibration file is too large', given=str(path))
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigurationError(
            'cannot read calibration', given=str(path), allowed=FORMAT, hint=str(error)
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            'calibration is not YAML', given=str(path), allowed=FORMAT
        ) from error
    try:
        camera_matrix = _matrix(data['camera_matrix'], 9)
        calibration = Calibration(
            width=int(data['image_width']),
            height=int(data['image_height']),
            distortion_model=str(data.get('distortion_model', 'plumb_bob')),
            distortion=_matrix(data['distortion_coefficients'], None),
            camera_matrix=camera_matrix,
            rectification_matrix=_matrix(
                data.get('rectification_matrix', {'data': [1, 0, 0, 0, 1, 0, 0, 0, 1]}), 9
            ),
            projection_matrix=_matrix(
                data.get('projection_matrix', {'data': _projection_of(camera_matrix)}), 12
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            'calibration is incomplete', given=f'{path}: {error!r}', allowed=FORMAT
        ) from error
    if calibration.width <= 0 or calibration.height <= 0:
        raise ConfigurationError('calibration has no picture size', given=str(path))
    return calibration


def _matrix(entry: Any, length: int | None) -> tuple[float, ...]:
    values = tuple(float(value) for value in entry['data'])
    if length is not None and len(values) != length:
        raise ValueError(f'{len(values)} values instead of {length}')
    if not all(math.isfinite(value) for value in values):
        raise ValueError('a value is not finite')
    return values


def _projection_of(camera_matrix: tuple[float, ...]) -> list[float]:
    """[K | 0], what a monocular camera without rectification has."""
    rows = [camera_matrix[3 * row: 3 * row + 3] for row in range(3)]
    return [value for row in rows for value in (*row, 0.0)]
