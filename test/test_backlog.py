"""When the sender will be free: acknowledgements tell it to a slice, the clock in between."""

from __future__ import annotations

import pytest

from dnn_offload.codec.chunks import CHUNK_BYTES
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.runtime.shared import Shared
from engine_parts import FakeModel

FRAME_BYTES = 200_000
RATE = 1_000.0  # bytes per ms


class Unacknowledged:
    """An uplink that tells what a test wants it to."""

    nbytes = 0

    def backlog_bytes(self) -> int:
        return self.nbytes


@pytest.fixture
def sender() -> tuple[Shared, Unacknowledged]:
    shared = Shared(FakeModel(), EngineSettings(), lambda: 0.0)
    uplink = Unacknowledged()
    shared.uplink = uplink  # type: ignore[assignment]
    shared.note_sent(FRAME_BYTES, FRAME_BYTES / RATE, 0.0)
    return shared, uplink


def test_the_clock_tells_between_acknowledgements(sender: tuple[Shared, Unacknowledged]) -> None:
    shared, uplink = sender
    uplink.nbytes = FRAME_BYTES
    shared.note_sending(FRAME_BYTES, 10.0)
    assert shared.backlog_ms(10.0) == pytest.approx(200.0)
    assert shared.backlog_ms(10.05) == pytest.approx(150.0)  # its first slice is nearly there
    uplink.nbytes -= CHUNK_BYTES
    assert shared.backlog_ms(10.065) == pytest.approx(135.0)
    shared.note_sending(FRAME_BYTES, 10.065)  # another behind it
    uplink.nbytes += FRAME_BYTES
    assert shared.backlog_ms(10.065) == pytest.approx(335.0)


def test_acknowledgements_bound_it(sender: tuple[Shared, Unacknowledged]) -> None:
    shared, uplink = sender
    uplink.nbytes = FRAME_BYTES
    shared.note_sending(FRAME_BYTES, 10.0)
    # A link that has become slower: all but the slice on its way is still to come.
    assert shared.backlog_ms(10.5) == pytest.approx((FRAME_BYTES - CHUNK_BYTES) / RATE)
    uplink.nbytes = 10_000  # one that has become faster
    assert shared.backlog_ms(10.01) == pytest.approx(10.0)
    uplink.nbytes = 0
    assert shared.backlog_ms(10.01) == 0.0


def test_the_clock_is_put_right_at_the_end_of_each_frame(
    sender: tuple[Shared, Unacknowledged]
) -> None:
    # Else what it was wrong by once would stay for as long as the link is saturated.
    shared, uplink = sender
    small = 20_000  # below a slice: acknowledgements alone say nothing of one on its way
    uplink.nbytes = 2 * small
    shared.note_sending(2 * small, 10.0)
    uplink.nbytes = small
    shared.note_sent(small, small / RATE, 11.0)  # a stall of a second: the other is still to come
    assert shared.backlog_ms(11.0) == pytest.approx(small / RATE)


def test_acknowledgements_that_are_read_together_make_no_fast_link(
    sender: tuple[Shared, Unacknowledged]
) -> None:
    shared, _ = sender
    shared.note_sent(FRAME_BYTES, 0.2, 1.0)
    assert RATE < shared.bytes_per_ms < 2.0 * RATE


def test_nothing_is_expected_of_a_sender_whose_rate_is_not_known() -> None:
    shared = Shared(FakeModel(), EngineSettings(), lambda: 0.0)
    uplink = Unacknowledged()
    uplink.nbytes = FRAME_BYTES
    shared.uplink = uplink  # type: ignore[assignment]
    shared.note_sending(FRAME_BYTES, 10.0)
    assert shared.backlog_ms(10.0) == 0.0
