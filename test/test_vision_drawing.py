"""What is drawn is where it should be, on pictures of any size, whatever the answers."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.errors import ImageError
from dnn_offload.vision.decode import Classification, Detection
from dnn_offload.vision.drawing import draw
from dnn_offload.vision.overlay import OPACITY
from dnn_offload.vision.palette import colour_of, PALETTE
from dnn_offload.vision.preprocess import Mapping
from dnn_offload.vision.segmentation import decode_mask, NO_CLASS


def grey(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def person(*box: float) -> Detection:
    return Detection((box[0], box[1], box[2], box[3]), 0, 'person', 0.9)


def test_the_picture_given_is_not_changed():
    rgb = grey()
    drawn = draw(rgb, [person(50, 60, 150, 200)], ['remote'], stamp='random weights')
    assert (rgb == 128).all()
    assert drawn.shape == rgb.shape and drawn.dtype == np.uint8 and drawn.flags.c_contiguous


def test_nothing_to_draw_draws_nothing():
    assert (draw(grey(), []) == 128).all()


def test_a_box_is_drawn_around_the_object_in_its_colour():
    drawn = draw(grey(), [person(50, 60, 150, 200)])
    coloured = np.argwhere((drawn == colour_of(0)).all(axis=2))
    assert coloured[:, 1].min() <= 50 and 148 <= coloured[:, 1].max() <= 152
    assert 198 <= coloured[:, 0].max() <= 202
    assert (drawn[100:190, 60:140] == 128).all()  # the object itself stays visible


def test_a_small_object_is_not_hidden_by_its_box():
    drawn = draw(grey(480, 640), [person(300, 300, 312, 312)])
    assert (drawn[303:309, 303:309] == 128).all()


def test_status_lines_stand_in_a_bar_through_which_the_picture_shows():
    rgb = grey()
    rgb[:, ::2] = 255
    drawn = draw(rgb, [], ['one', 'two'])
    assert drawn[0].mean() < rgb[0].mean() / 2
    assert drawn[0, 0].mean() > drawn[0, 1].mean()
    assert (drawn[120:] == rgb[120:]).all()


def test_labels_keep_clear_of_the_status_bar():
    with_bar = draw(grey(), [], ['one'])
    both = draw(grey(), [person(100, 2, 200, 200)], ['one'])
    bar = int(np.flatnonzero((with_bar == 128).all(axis=(1, 2)))[0])
    different = np.argwhere((both[:bar] == colour_of(0)).all(axis=2))
    assert len(different) < 3 * 104 * 3  # box lines shine through, no filled label does


def test_the_stamp_is_seen():
    drawn = draw(grey(), [], stamp='random weights')
    assert (drawn == PALETTE[5]).all(axis=2).sum() > 500


def test_classes_are_listed_with_bars():
    one = draw(grey(), [Classification(3, 'tabby cat', 0.9), Classification(1, 'lynx', 0.1)])
    bars = [(one == colour).all(axis=2).sum() for colour in (PALETTE[4], PALETTE[2])]
    assert bars[0] > 3 * bars[1] > 0


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    boxes=st.lists(st.tuples(*[st.floats() for _ in range(4)]), max_size=4),
    text=st.text(max_size=40),
    scale=st.floats(0.2, 4.0),
)
def test_any_size_any_box_any_text(height, width, boxes, text, scale):
    detections = [Detection(box, 3, text, 0.5) for box in boxes]
    drawn = draw(grey(height, width), detections, [text, text], stamp=text, scale=scale)
    assert drawn.shape == (height, width, 3)
    listed = draw(grey(height, width), [Classification(1, text, 0.5)] * 3, [text], scale=scale)
    assert listed.shape == (height, width, 3)


def masked(mask: np.ndarray, names: tuple[str, ...] = ('background', 'cat', 'dog')) -> Any:
    height, width = mask.shape
    return decode_mask([mask[None]], Mapping(1.0, 1.0, 0.0, 0.0, width, height), names)


def test_a_mask_colours_its_pixels_and_leaves_the_background_alone():
    mask = np.zeros((240, 320), np.uint8)
    mask[40:140, 100:220] = 1
    mask[150:160, :20] = NO_CLASS
    drawn = draw(grey(), masked(mask))
    assert (drawn[:40] == 128).all() and (drawn[150:160, :20] == 128).all()
    inside = drawn[80:100, 140:180].astype(int)
    wanted = 128 + OPACITY * (np.array(colour_of(1)) - 128)
    assert np.abs(inside - wanted).max() <= 1
    edge = drawn[90, 100].astype(int)
    assert np.abs(edge - np.array(colour_of(1))).max() < np.abs(inside[0, 0] - colour_of(1)).max()


def test_the_legend_names_what_is_there_with_its_colour():
    mask = np.zeros((240, 320), np.uint8)
    mask[:60, :80] = 2
    drawn = draw(grey(), masked(mask))
    assert (drawn[180:] == np.array(colour_of(2))).all(axis=2).sum() > 50
    assert not (drawn[180:] == np.array(colour_of(1))).all(axis=2).any()
    nothing = draw(grey(), masked(np.zeros((240, 320), np.uint8)))
    assert (nothing == 128).all()


def test_a_mask_of_another_size_is_stretched():
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 1
    drawn = draw(grey(), masked(mask))
    assert (drawn[:100, :150] == 128).all() and (drawn[:100, 170:] != 128).any(axis=2).all()


def test_the_first_twenty_one_colours_differ():
    assert len({colour_of(i) for i in range(21)}) == 21
    assert [colour_of(i) for i in range(7)] == list(PALETTE)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 60), width=st.integers(1, 60), seed=st.integers(0, 9))
def test_any_mask(height, width, seed):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    assert draw(grey(height, width), masked(mask), ['x']).shape == (height, width, 3)


def test_grey_pictures_are_refused():
    with pytest.raises(ImageError, match='RGB'):
        draw(np.zeros((4, 4), np.uint8), [])
