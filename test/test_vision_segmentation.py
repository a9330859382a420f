"""A mask lies over the picture that went in, whatever was cut off or added before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.errors import ModelError
from dnn_offload.vision.preprocess import Mapping, MODES, prepare, PreprocessSpec
from dnn_offload.vision.segmentation import decode_mask, NO_CLASS

NAMES = ('__background__', 'cat', 'dog')
SAME = Mapping(1.0, 1.0, 0.0, 0.0, 4, 3)
SMALL = np.array([[[0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 0, 2]]], np.uint8)


def test_regions_are_named_largest_first():
    found = decode_mask([SMALL], SAME, NAMES)
    assert (found.mask == SMALL[0]).all()
    assert [(r.class_name, r.background) for r in found.regions] == [
        ('__background__', True), ('cat', False), ('dog', False),
    ]
    assert [r.share for r in found.regions] == pytest.approx([5 / 12, 4 / 12, 3 / 12])


def test_classes_that_are_not_wanted_become_background():
    found = decode_mask([SMALL], SAME, NAMES, {2})
    assert found.mask.tolist() == [[0, 0, 0, 2]] * 3
    # Where every class is something (road, sidewalk, ...), nothing is left.
    found = decode_mask([SMALL], SAME, ('road', 'sidewalk', 'car'), {2})
    assert found.mask.tolist() == [[NO_CLASS] * 3 + [2]] * 3
    assert [r.class_name for r in found.regions] == ['car']


@pytest.mark.parametrize('mode', MODES)
@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(8, 90), width=st.integers(8, 90), rows=st.integers(16, 40),
    columns=st.integers(16, 40),
)
def test_a_pixel_gets_the_class_of_the_place_that_it_came_from(
    mode, height, width, rows, columns
):
    """Two halves of a picture go through the camera's way in and come back as two halves."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, width // 2 :] = 255
    small, mapping = prepare(picture, PreprocessSpec(rows, columns, mode))
    mask = (small[..., 0] >= 128).astype(np.uint8)
    if mode == 'letterbox':
        mask[small[..., 0] == 114] = 7  # the bars are in no picture
    found = decode_mask([mask], mapping, ('left', 'right')).mask
    assert found.shape == (height, width) and 7 not in found
    blur = 2 + max(height / rows, width / columns) * 2
    seen = found != NO_CLASS
    columns_seen = np.flatnonzero(seen.any(axis=0))
    for x in columns_seen:
        if x + 0.5 < width // 2 - blur:
            assert (found[:, x][seen[:, x]] == 0).all()
        elif x + 0.5 > width // 2 + blur:
            assert (found[:, x][seen[:, x]] == 1).all()
    if mode == 'center_crop':
        assert not seen[0].all() or height < 16
    else:
        assert seen.all()


def test_what_is_no_mask_is_refused():
    for bad in (np.zeros((1, 21, 3, 4), np.float32), np.zeros((1, 3, 4), np.int64),
                np.zeros((2, 3, 4), np.uint8), np.zeros((1, 0, 4), np.uint8)):
        with pytest.raises(ModelError, match=r'not a mask.*uint8 \(1, H, W\)'):
            decode_mask([bad], SAME, NAMES)
    with pytest.raises(ModelError, match='no output'):
        decode_mask([], SAME, NAMES)
