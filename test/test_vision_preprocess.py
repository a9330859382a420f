"""Pictures of any size go in; boxes find their way back in every mode."""

from __future__ import annotations

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.codec.camera_jpeg import can_be_sent
from dnn_offload.errors import ImageError, ModelError
from dnn_offload.vision.preprocess import MAX_SIDE, MODES, PAD_VALUE, prepare, PreprocessSpec

sides = st.integers(1, 400)


@settings(deadline=None, max_examples=150)
@given(
    height=sides, width=sides, net_height=sides, net_width=sides,
    mode=st.sampled_from(MODES), seed=st.integers(0, 1000),
)
def test_boxes_go_there_and_back(height, width, net_height, net_width, mode, seed):
    rgb = np.zeros((height, width, 3), np.uint8)
    picture, mapping = prepare(rgb, PreprocessSpec(net_height, net_width, mode))
    assert picture.shape == (1, net_height, net_width, 3)
    assert picture.flags.c_contiguous and picture.dtype == np.uint8
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 1, (20, 2)) * (width, height)
    high = low + rng.uniform(0, 1, (20, 2)) * ((width, height) - low)
    boxes = np.hstack([low, high])
    back = mapping.to_image(mapping.to_network(boxes))
    np.testing.assert_allclose(back, boxes, atol=1e-9 * max(width, height))


@settings(deadline=None, max_examples=100)
@given(height=sides, width=sides, net_height=sides, net_width=sides, mode=st.sampled_from(MODES))
def test_boxes_of_the_network_end_up_within_the_picture(
    height, width, net_height, net_width, mode
):
    rgb = np.zeros((height, width, 3), np.uint8)
    _, mapping = prepare(rgb, PreprocessSpec(net_height, net_width, mode))
    boxes = mapping.to_image(np.array([[-1e6, -1e6, 1e6, 1e6], [0, 0, net_width, net_height]]))
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert boxes[0].tolist() == [0, 0, width, height]
    if mode != 'center_crop':
        np.testing.assert_allclose(boxes[1], boxes[0], atol=1e-9 * max(width, height))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('size', [(480, 640), (641, 479), (200, 203), (97, 1301), (720, 1280)])
def test_a_painted_box_is_found_where_the_mapping_says(mode, size):
    """Paint a box, look where it is in the network's picture, map it back."""
    height, width = size
    rgb = np.zeros((height, width, 3), np.uint8)
    side = min(height, width)  # off the middle, but within every crop
    x1, y1 = round(width / 2 - side * 0.3), round(height / 2 - side * 0.1)
    x2, y2 = round(width / 2 + side * 0.1), round(height / 2 + side * 0.25)
    rgb[y1:y2, x1:x2, 1] = 255
    picture, mapping = prepare(rgb, PreprocessSpec(224, 256, mode))
    seen = np.argwhere((picture[0, :, :, 1] >= 128) & (picture[0, :, :, 0] < 64))  # (n, 2) y x
    (top, left), (bottom, right) = seen.min(axis=0), seen.max(axis=0) + 1
    found = mapping.to_image(np.array([[left, top, right, bottom]]))[0]
    tolerance_x, tolerance_y = 1 / mapping.scale_x + 0.5, 1 / mapping.scale_y + 0.5
    np.testing.assert_allclose(found[[0, 2]], [x1, x2], atol=tolerance_x)
    np.testing.assert_allclose(found[[1, 3]], [y1, y2], atol=tolerance_y)


def test_letterbox_keeps_the_aspect_and_fills_with_grey():
    rgb = np.full((100, 200, 3), 255, np.uint8)
    picture, mapping = prepare(rgb, PreprocessSpec(100, 100, 'letterbox'))
    assert (picture[0, :25] == PAD_VALUE).all() and (picture[0, 75:] == PAD_VALUE).all()
    assert (picture[0, 25:75] == 255).all()
    assert mapping.scale_x == mapping.scale_y == 0.5
    assert (mapping.offset_x, mapping.offset_y) == (0, 25)


def test_center_crop_sees_what_torchvision_sees():
    """Shorter side to 256, then the middle 224 x 224."""
    y, x = np.mgrid[:480, :640]
    rgb = np.stack([x * 255 // 640, y * 255 // 480, (x + y) * 255 // 1120], -1).astype(np.uint8)
    picture, _ = prepare(rgb, PreprocessSpec(224, 224, 'center_crop'))
    small = cv2.resize(rgb, (341, 256), interpolation=cv2.INTER_AREA)
    reference = small[16:240, 58:282]
    assert np.abs(picture[0].astype(int) - reference).mean() < 1.0


def test_a_picture_of_the_right_size_is_not_changed():
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for mode in ('stretch', 'letterbox'):
        picture, _ = prepare(rgb, PreprocessSpec(60, 80, mode))
        assert np.array_equal(picture[0], rgb)
        assert not np.shares_memory(picture, rgb)


def test_shrinking_a_lot_averages():
    rgb = np.zeros((512, 512, 3), np.uint8)
    rgb[::2] = 255  # lines that sampling would turn into all black, all white or stripes
    picture, _ = prepare(rgb, PreprocessSpec(64, 64))
    assert (np.abs(picture.astype(int) - 127) <= 1).all()


def test_pictures_that_are_views_are_taken():
    base = np.random.default_rng(1).integers(0, 256, (120, 160, 4), dtype=np.uint8)
    for view in (base[..., :3], base[::-1, :, 2::-1], base[::2, ::2, :3]):
        picture, _ = prepare(view, PreprocessSpec(50, 50))
        again, _ = prepare(np.ascontiguousarray(view), PreprocessSpec(50, 50))
        assert np.array_equal(picture, again)


@pytest.mark.parametrize(
    ('picture', 'message'),
    [
        (np.zeros((4, 4), np.uint8), 'GRAY2RGB'),
        (np.zeros((4, 4, 1), np.uint8), 'GRAY2RGB'),
        (np.zeros((4, 4, 4), np.uint8), 'not RGB'),
        (np.zeros((4, 4, 3), np.float32), 'float32'),
        (np.zeros((0, 4, 3), np.uint8), '4 x 0'),
        ('a.png', 'str'),
        (None, 'NoneType'),
    ],
)
def test_other_pictures_are_refused_with_a_cure(picture, message):
    with pytest.raises(ImageError, match=message):
        prepare(picture, PreprocessSpec(8, 8))


@pytest.mark.parametrize(
    'wrong',
    [
        {'height': 0, 'width': 5},
        {'height': 5, 'width': 100_000},
        {'height': 5, 'width': 5, 'mode': 'squeeze'},
        {'height': 5, 'width': 5, 'crop_fraction': 0.0},
        {'height': 5},
        {'height': 'high', 'width': 5},
        {},
    ],
)
def test_specs_are_checked(wrong):
    with pytest.raises(ModelError):
        PreprocessSpec.from_json(wrong)


def test_specs_survive_json():
    spec = PreprocessSpec(299, 301, 'center_crop', 0.9)
    assert PreprocessSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('size', [(480, 640), (300, 500), (240, 320)])
def test_bgr_gives_the_same_picture_as_rgb(mode: str, size: tuple[int, int]) -> None:
    rgb = np.random.default_rng(5).integers(0, 255, (*size, 3), np.uint8)
    spec = PreprocessSpec(240, 320, mode)
    want, mapping = prepare(rgb, spec)
    got, same = prepare(np.ascontiguousarray(rgb[..., ::-1]), spec, is_bgr=True)
    np.testing.assert_array_equal(got, want)
    assert same == mapping


def test_a_camera_jpeg_that_may_be_sent_can_be_prepared() -> None:
    # The two rooms may not import each other.
    assert can_be_sent(1, MAX_SIDE) and can_be_sent(MAX_SIDE, 1)
    assert not can_be_sent(1, MAX_SIDE + 1) and not can_be_sent(MAX_SIDE + 1, 1)
