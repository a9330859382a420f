"""The calibration that comes with a camera's pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.camera_calibration import read_calibration

CALIBRATION = """
image_width: 640
image_height: 480
camera_name: test
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0, 320.0, 0, 500.0, 240.0, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [500.0, 0, 320.0, 0, 0, 500.0, 240.0, 0, 0, 0, 1, 0]}
"""


def test_calibration(tmp_path: Path) -> None:
    assert read_calibration('') is None
    path = tmp_path / 'camera.yaml'
    path.write_text(CALIBRATION)
    calibration = read_calibration(f'file://{path}')
    assert calibration is not None
    assert calibration == read_calibration(str(path))
    assert calibration.camera_matrix[:3] == (500.0, 0.0, 320.0)
    half = calibration.scaled_to(320, 120)
    assert half.camera_matrix == (250.0, 0.0, 160.0, 0.0, 125.0, 60.0, 0.0, 0.0, 1.0)
    assert half.projection_matrix[:3] == (250.0, 0.0, 160.0)
    assert half.projection_matrix[4:7] == (0.0, 125.0, 60.0)
    assert half.distortion == calibration.distortion


@pytest.mark.parametrize(
    'text',
    ['', '[1, 2', 'image_width: 640', CALIBRATION.replace('500.0, 0, 320.0', '500.0', 1),
     CALIBRATION.replace('0.1, -0.2', '.nan, 0'), '!!python/object/apply:os.getcwd []'],
)
def test_bad_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    with pytest.raises(ConfigurationError, match='camera_calibration'):
        read_calibration(str(path))
    with pytest.raises(ConfigurationError, match='cannot read'):
        read_calibration(str(tmp_path / 'none.yaml'))
