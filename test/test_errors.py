"""A message has the parts that there are, and none that is empty."""

from __future__ import annotations

import pytest

from dnn_offload.errors import OffloadError
from dnn_offload.vision.classes import wanted_ids


def test_all_parts() -> None:
    error = OffloadError('no', given=3, allowed='1 or 2', hint='take 1')
    assert str(error) == 'no; given: 3; allowed: 1 or 2; take 1'
    assert error.what == 'no'


def test_what_is_empty_is_left_out_but_an_empty_value_is_shown() -> None:
    assert str(OffloadError('no', given='', allowed='', hint='')) == "no; given: ''"


def test_without_a_near_match_a_refusal_ends_with_what_is_allowed() -> None:
    with pytest.raises(OffloadError, match='allowed: door, chair$'):
        wanted_ids(('door', 'chair'), ('zebra',))
