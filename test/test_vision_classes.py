"""Names of classes and the wish for some of them."""

from __future__ import annotations

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.vision.classes import class_name, is_background, known_names, wanted_ids

COCO_LIKE = ('__background__', 'person', 'N/A', 'bicycle', 'N/A', 'person')


def test_class_names():
    assert class_name(('a', ''), 0) == 'a'
    assert class_name(('a', ''), 1) == 'class 1'
    assert class_name((), 17) == 'class 17'
    assert class_name(('a',), -1) == 'class -1'


def test_what_is_nothing_in_particular():
    assert [is_background(COCO_LIKE, i) for i in range(5)] == [True, False, True, False, True]
    assert is_background((), 0) and not is_background((), 1)
    assert not is_background(('road', 'sidewalk'), 0)


def test_classes_are_found_by_name():
    assert wanted_ids(COCO_LIKE, ()) is None
    assert wanted_ids(COCO_LIKE, ('bicycle', 'person')) == {1, 3, 5}
    assert wanted_ids((), ('class 4',)) == {4}


@pytest.mark.parametrize('name', ['persn', 'N/A', '__background__', 'class 1'])
def test_an_unknown_name_is_refused_with_those_that_exist(name):
    with pytest.raises(ConfigurationError, match=r'no such class.*allowed: person, bicycle'):
        wanted_ids(COCO_LIKE, ('person', name))


def test_the_nearest_name_is_offered():
    with pytest.raises(ConfigurationError, match='did you mean bicycle?'):
        wanted_ids(COCO_LIKE, ('bicicle',))
    with pytest.raises(ConfigurationError, match='it brings no names'):
        wanted_ids((), ('person',))


@pytest.mark.parametrize(
    ('names', 'wanted', 'kept'),
    [
        (COCO_LIKE, ('__background__', 'person', 'persn'), ['person']),
        (COCO_LIKE, ('N/A',), []),
        ((), ('class 3', 'foo'), ['class 3']),
    ],
)
def test_what_is_kept_of_a_wish_is_taken(
    names: tuple[str, ...], wanted: tuple[str, ...], kept: list[str]
) -> None:
    """A robot whose start-up file asks for the background, too, still gets its network."""
    assert known_names(names, wanted) == kept
    assert all(wanted_ids(names, [name]) for name in kept)
