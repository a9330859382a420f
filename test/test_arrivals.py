"""What was published and never came: gaps of one publisher's numbers, and of nobody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from dnn_offload.transport.arrivals import Arrivals

CAMERA, OTHER = b'camera', b'other'


def watched(*publishers: bytes) -> Arrivals:
    """Arrivals of a topic that has been looked at once."""
    arrivals = Arrivals()
    arrivals.settle(publishers)
    return arrivals


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 1 << 40))
def test_taken_and_lost_make_up_what_was_published(taken: list[bool], first: int) -> None:
    arrivals = watched(CAMERA)
    numbers = [first + k for k, is_taken in enumerate(taken) if is_taken]
    for number in numbers:
        arrivals.came(number)
    arrivals.settle([CAMERA])
    published = numbers[-1] - numbers[0] + 1 if numbers else 0
    assert len(numbers) + arrivals.lost == published


def test_losses_are_found_at_the_next_look_and_add_up() -> None:
    arrivals = watched(CAMERA)
    for number in (7, 8, 11):
        arrivals.came(number)
    assert arrivals.lost == 0
    assert arrivals.settle([CAMERA]) == 2
    arrivals.came(13)
    assert arrivals.settle([CAMERA]) == 1
    assert arrivals.settle([CAMERA]) == 0
    assert arrivals.lost == 3


@pytest.mark.parametrize('after', [(OTHER,), (CAMERA, OTHER), ()])
def test_numbers_of_two_publishers_are_not_compared(after: tuple[bytes, ...]) -> None:
    arrivals = watched(CAMERA)
    arrivals.came(5)
    arrivals.came(900)
    assert arrivals.settle(after) == 0
    assert arrivals.settle(after) == 0
    assert arrivals.lost == 0


def test_a_publisher_that_begins_again_has_lost_nothing() -> None:
    arrivals = watched(CAMERA)
    for number in (100, 1, 2):
        arrivals.came(number)
    assert arrivals.settle([CAMERA]) == 0


def test_what_another_subscription_did_not_hear_is_not_missed() -> None:
    arrivals = watched(CAMERA)
    arrivals.came(1)
    arrivals.begin()
    arrivals.came(50)
    assert arrivals.settle([CAMERA]) == 0


def test_where_nothing_is_numbered_nothing_is_counted() -> None:
    arrivals = watched(CAMERA)
    for number in (1, None, 9, None):
        arrivals.came(number)
    assert arrivals.settle([CAMERA]) == 0
