"""Pacing and the life of a link, on a made-up network in simulated time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.transport.link import MOST_LATE_S, Phase, ServerLink
from dnn_offload.transport.link_events import Connected, Lost, Refused, Rejected, Sample, Uplinked
from dnn_offload.transport.pacing import FlowWindow, MAX_CHUNK_BYTES, Throttle
from dnn_offload.transport.reassembly import Reassembler, SliceHeader
from dnn_offload.transport.transfer import (
    KIND_CANCEL,
    KIND_HELLO,
    KIND_PROBE,
    KIND_RECEIVED,
    KIND_TENSORS,
    Step,
)
from dnn_offload.transport.uplink_settings import LinkTiming
from made_up_network import connected, frame, Network, stream


@pytest.mark.parametrize('mbps', [1, 5, 10, 50, 200])
@pytest.mark.parametrize('delay_ms', [0.5, 20])
def test_pipe_is_full_and_queue_is_short(mbps: float, delay_ms: float) -> None:
    network = connected(mbps * 1e6, delay_s=delay_ms / 1e3)
    network.most_queued_bytes = 0.0
    took = stream(network, 400_000, 4)
    ideal_ms = 400_000 * 8 / (mbps * 1e3)
    slack_ms = 12 * delay_ms + 20  # the window grows within a few round trips
    assert took[-1] < 1.15 * ideal_ms + slack_ms
    # Below what the default socket buffer holds, so that publish() never blocks, or soon gone.
    assert network.most_queued_bytes <= max(2 * MAX_CHUNK_BYTES, mbps * 1e6 / 8 * 0.03)


def test_a_sudden_drop_of_rate_does_not_pile_up() -> None:
    network = connected(50e6)
    stream(network, 400_000, 3)
    network.rate_bps = 1e6
    network.most_queued_bytes = 0.0
    assert network.link.send(frame(99, 400_000), 0.0, network.now_s) == []
    network.run(3.0)
    assert network.most_queued_bytes <= 3 * MAX_CHUNK_BYTES
    assert network.link.connected


@pytest.mark.parametrize('limit_mbps', [1, 8])
@pytest.mark.parametrize('nbytes', [5_000, 50_000, 300_000])
def test_limit_holds_for_small_and_large(limit_mbps: float, nbytes: int) -> None:
    network = connected(100e6)
    network.limit_bps = limit_mbps * 1e6
    took = stream(network, nbytes, 3)
    ideal_ms = nbytes * 8 / (limit_mbps * 1e3)
    assert took[-1] == pytest.approx(ideal_ms, rel=0.1, abs=8)


def send_late(network: Network, late_s: float, pause_s: float) -> list[float]:
    """Send 400 kB under 8 Mbit/s, each slice so late, after the third a pause; when they went."""
    link, now_s = network.link, network.now_s
    assert link.send(frame(5, 400_000), 8e6, now_s) == []
    began_s, went_s = now_s, []
    while not any(isinstance(event, Uplinked) for _, event in network.events):
        link.on_heard(now_s)
        step = link.next_step(now_s, 8e6, True)
        if step.kind != KIND_TENSORS:
            now_s = step.until_s + late_s
            continue
        went_s.append(now_s - began_s)
        network.events += [(now_s, e) for e in link.on_acked(step.kind, 5, step.index, now_s)]
        if len(went_s) == 3:
            now_s += pause_s
    return went_s


def test_what_a_limited_sender_is_late_does_not_add_up() -> None:
    went_s = send_late(connected(100e6), 0.002, 0.0)
    assert len(went_s) >= 10
    assert went_s[-1] == pytest.approx(0.4 + 0.002, abs=0.001)


def test_a_limited_sender_does_not_make_a_pause_good() -> None:
    went_s = send_late(connected(100e6), 0.0, 1.0)
    after = [at_s for at_s in went_s[3:] if at_s < went_s[2] + 1.0 + 0.01]
    assert len(after) <= 1 and went_s[-1] == pytest.approx(1.4, abs=2 * MOST_LATE_S)


def test_limit_changes_while_sending() -> None:
    network = connected(100e6)
    network.limit_bps = 0.2e6
    network.link.send(frame(1, 200_000), network.limit_bps, network.now_s)
    network.run(1.0)
    assert 'Uplinked' not in network.names()
    network.limit_bps = 0.0
    network.run(0.5)
    assert 'Uplinked' in network.names()


def test_connects_by_hello_and_probe_only() -> None:
    network = Network(ServerLink('srv'), 10e6)
    assert [type(e) for e in network.link.send(frame(1, 10), 0.0, network.now_s)] == [Refused]
    network.run(1.0)
    kinds = [step.kind for _, step in network.sent]
    assert kinds[0] == KIND_HELLO and KIND_PROBE in kinds
    assert 'Connected' in network.names() and network.names().index('Sample') == 0


def test_silent_server_is_lost_within_its_timeout_and_found_again() -> None:
    network = connected(10e6)
    network.server_alive = False
    died_s = network.now_s
    network.run(2.0)
    lost_s = [at for at, event in network.events if isinstance(event, Lost)]
    assert len(lost_s) == 1 and 0.7 < lost_s[0] - died_s < 1.3
    network.server_alive = True
    network.session += 1
    back_s = network.now_s
    network.run(2.0)
    again = [at for at, e in network.events if isinstance(e, Connected) and at > back_s]
    assert again and again[0] - back_s < 1.0


def test_restart_between_two_statuses_is_a_loss_and_a_new_greeting() -> None:
    network = connected(10e6)
    network.session += 1
    network.run(1.0)
    assert network.names()[-4:].count('Lost') == 1 and network.link.connected


def test_frames_without_acknowledgement_lose_the_server() -> None:
    network = connected(10e6)
    network.rate_bps = 1.0  # statuses still come
    network.link.send(frame(1, 100_000), 0.0, network.now_s)
    network.run(6.0)
    lost = [event for _, event in network.events if isinstance(event, Lost)]
    assert lost and 'no acknowledgement' in lost[0].reason and lost[0].nbytes > 0


def test_a_server_whose_answers_come_is_not_lost() -> None:
    """Its status and acknowledgements wait behind a large answer, slice after slice of it."""
    network = connected(10e6)
    network.server_alive = False
    network.link.send(frame(1, 100_000), 0.0, network.now_s)
    for _ in range(20):
        network.run(0.2)
        network.link.on_heard(network.now_s)
    assert network.link.connected
    network.run(2.0)
    assert 'Lost' in network.names() and not network.link.connected


def test_attempts_back_off_while_nothing_comes_through() -> None:
    network = connected(10e6)
    network.rate_bps = 1.0
    network.link.lose('the engine saw no answer', network.now_s)
    began_s = network.now_s
    network.run(20.0)
    hellos = [at for at, step in network.sent if step.kind == KIND_HELLO and at > began_s]
    gaps = [b - a for a, b in zip(hellos, hellos[1:], strict=False)]
    assert gaps[-1] == pytest.approx(2.0, abs=0.1)
    assert len(hellos) < 16


def test_rejected_robot_pauses() -> None:
    network = connected(10e6)
    events = network.link.on_rejected('full', network.now_s)
    assert [type(event) for event in events] == [Lost, Rejected]
    began_s = network.now_s
    network.run(4.0)
    assert not [1 for at, step in network.sent if step.kind == KIND_HELLO and at > began_s]
    network.run(3.0)
    assert network.link.connected


def test_cancel_sends_no_more_of_a_frame() -> None:
    network = connected(1e6)
    network.link.send(frame(1, 400_000), 0.0, network.now_s)
    network.run(0.3)
    network.link.cancel(1)
    began_s = network.now_s
    network.run(0.5)
    after = [step.kind for at, step in network.sent if at > began_s]
    assert after[0] == KIND_CANCEL and KIND_TENSORS not in after
    network.link.cancel(77)
    network.run(0.1)
    assert [s.kind for _, s in network.sent].count(KIND_CANCEL) == 1, 'unknown: nothing is said'
    assert network.link.backlog_bytes == 0


def _sent_in_parts(network: Network, parts: int, pause_s: float) -> tuple[Uplinked, list[Step]]:
    """A frame of so many parts of 80 kB, one every ``pause_s``; how it went, and its slices."""
    link, part = network.link, bytes(80_000)
    begun = replace(frame(1, 80_000), complete=False)
    before = len(network.sent)
    assert not link.send(begun, network.limit_bps, network.now_s)
    for number in range(1, parts):
        network.run(pause_s)
        assert network.link.backlog_bytes <= 80_000 * number
        link.send_more(1, part, network.now_s, last=number == parts - 1)
    network.run(5.0)
    steps = [step for _, step in network.sent[before:] if step.kind == KIND_TENSORS]
    (done,) = [e for _, e in network.events if isinstance(e, Uplinked)]
    return done, steps


def test_a_frame_is_sent_while_its_rest_is_being_encoded() -> None:
    whole, _ = _sent_in_parts(connected(10e6, burst=3000.0), 5, 0.0)
    network = connected(10e6, burst=3000.0)
    done, steps = _sent_in_parts(network, 5, 0.01)  # faster than the link: nothing is lost by it
    assert done.uplink_ms == pytest.approx(whole.uplink_ms, rel=0.05)
    assert done.own_ms == pytest.approx(done.uplink_ms, rel=0.01)
    payload = Reassembler(lambda header, specs: 1 << 20, 1 << 20)
    for step in steps:
        assert step.transfer is not None
        header = SliceHeader(1, 1, 'cut', 'raw', 'raw', step.index, step.count, step.total_bytes)
        arrival = payload.add(header, (), step.transfer.parts[step.index])
    assert arrival is not None and arrival.payload == bytes(400_000)
    assert steps[0].count == 0 and steps[-1].count == len(steps)
    assert len({len(step.transfer.parts[step.index]) for step in steps[:-1] if step.transfer}) == 1
    assert network.link.backlog_bytes == 0


@pytest.mark.parametrize('limit_mbps', [5, 20, 60])
def test_a_limited_sender_does_not_wait_for_the_end_of_the_encoding(limit_mbps: float) -> None:
    took = {}
    for pause_s in (0.0, 0.005):
        network = connected(1e9)
        network.limit_bps = limit_mbps * 1e6
        took[pause_s], _ = _sent_in_parts(network, 5, pause_s)
    assert took[0.005].uplink_ms == pytest.approx(took[0.0].uplink_ms, rel=0.05, abs=3.0)
    assert took[0.005].own_ms == pytest.approx(took[0.0].own_ms, rel=0.05, abs=3.0)


def test_an_empty_last_part_is_refused() -> None:
    network = connected(10e6)
    network.link.send(replace(frame(1, 80_000), complete=False), 0.0, network.now_s)
    with pytest.raises(ValueError, match='empty'):
        network.link.send_more(1, b'', network.now_s, last=True)


def test_waiting_for_the_encoder_is_no_property_of_the_link() -> None:
    whole, _ = _sent_in_parts(connected(100e6, burst=3000.0), 5, 0.0)
    network = connected(100e6, burst=3000.0)
    done, _ = _sent_in_parts(network, 5, 0.05)
    assert done.uplink_ms > 200.0
    assert done.own_ms == pytest.approx(whole.own_ms, rel=0.3)  # a round trip per pause
    (sample,) = [e for _, e in network.events if isinstance(e, Sample) and not e.probe]
    assert sample.duration_ms == done.own_ms and sample.nbytes == 400_000


def test_a_frame_that_is_being_encoded_is_waited_for_and_can_be_cancelled() -> None:
    network = connected(10e6)
    link = network.link
    link.send(replace(frame(1, 80_000), complete=False), 0.0, network.now_s)
    network.run(3.0)  # no probe goes between, the server is not lost
    kinds = [step.kind for at_s, step in network.sent if at_s > network.now_s - 3.0]
    assert set(kinds) == {KIND_TENSORS} and link.connected
    link.cancel(1)
    link.send_more(1, bytes(80_000), network.now_s, last=True)  # too late
    network.run(0.5)
    assert link.backlog_bytes == 0 and not link.may_be_answered(1)
    late = [step.kind for at_s, step in network.sent if at_s > network.now_s - 0.5]
    assert late[0] == KIND_CANCEL and KIND_TENSORS not in late
    took = stream(network, 80_000, 1)
    assert took[0] < 200.0
    # What comes after a loss belongs to nothing.
    link.send(replace(frame(2, 80_000), complete=False), 0.0, network.now_s)
    network.run(0.01)
    network.server_alive = False
    network.run(3.0)
    network.server_alive = True
    network.run(3.0)
    link.send_more(2, bytes(80_000), network.now_s, last=True)
    assert link.connected and link.backlog_bytes == 0


def test_the_backlog_shrinks_slice_by_slice() -> None:
    # Heads are timed to be done when the sender is free: a frame that is nearly gone is no
    # backlog any more.
    network = connected(8e6)
    stream(network, 200_000, 2)
    network.link.send(frame(11, 200_000), 0.0, network.now_s)
    assert network.link.backlog_bytes == 200_000
    left = []
    for _ in range(8):  # of the 200 ms that it takes
        network.run(0.025)
        left.append(network.link.backlog_bytes)
    assert left == sorted(left, reverse=True) and len(set(left)) >= 5
    assert left[3] == pytest.approx(100_000, abs=2 * MAX_CHUNK_BYTES)
    assert left[6] <= 2 * MAX_CHUNK_BYTES
    network.run(0.1)
    assert network.link.backlog_bytes == 0


def test_samples_of_queued_frames_leave_out_the_wait_for_each_other() -> None:
    network = connected(8e6)
    stream(network, 200_000, 2)
    for seq in (11, 12):
        network.link.send(frame(seq, 100_000), 0.0, network.now_s)
    network.run(1.0)
    last = [e for _, e in network.events if isinstance(e, Sample) and not e.probe][-1]
    assert last.duration_ms == pytest.approx(100.0, rel=0.15)


def test_made_up_acknowledgements_do_no_harm() -> None:
    network = connected(10e6)
    link = network.link
    assert link.on_acked(KIND_TENSORS, 5, 0, network.now_s) == []
    link.send(frame(6, 400_000), 0.0, network.now_s)
    network.run(0.02)
    assert link.on_acked(KIND_TENSORS, 6, 400, network.now_s) == []
    assert link.phase is Phase.CONNECTED and link.window.in_flight_bytes > 0


def test_a_link_knows_which_frames_can_be_answered() -> None:
    network = connected(1e6)
    link = network.link
    link.send(frame(1, 100_000), 0.0, network.now_s)
    link.send(frame(2, 100_000), 0.0, network.now_s)
    network.run(0.2)
    assert not link.may_be_answered(1), 'there is more of it to send'
    network.run(0.8)
    assert link.may_be_answered(1) and link.uplinked(1) is not None
    assert not link.may_be_answered(2) and not link.may_be_answered(1 << 63)
    link.cancel(1)
    assert link.may_be_answered(1), 'late, as of a frame that was rescued'
    link.lose('the server has restarted', network.now_s)
    assert link.may_be_answered(1)
    for seq in range(3, 70):
        link.phase = Phase.CONNECTED
        link.send(frame(seq, 100), 0.0, network.now_s)
        network.run(0.01)
    assert link.may_be_answered(69) and not link.may_be_answered(1)


def test_an_answer_may_overtake_the_last_acknowledgement() -> None:
    network = connected(1e6, delay_s=0.1)
    network.link.send(frame(1, 1000), 0.0, network.now_s)
    network.run(0.05)
    assert network.link.may_be_answered(1) and network.link.uplinked(1) is None


def test_a_robot_that_is_asked_says_that_it_is_there() -> None:
    network = connected(10e6)
    network.sent.clear()
    network.link.on_accepted(network.now_s)
    network.run(0.01)
    (step,) = [step for _, step in network.sent]
    assert (step.kind, step.frame_seq, step.index) == (KIND_RECEIVED, 0, 0)
    assert network.link.connected
    network.link.lose('no status', network.now_s)
    network.link.on_accepted(network.now_s)
    assert network.link.next_step(network.now_s, 0.0, matched=True).kind != KIND_RECEIVED


def test_window_counts_only_what_is_out() -> None:
    window = FlowWindow()
    window.sent((0, 1, 0), 8192, 0.0)
    window.sent((0, 1, 1), 8192, 0.001)
    assert window.acked((0, 1, 1), 0.01) == pytest.approx(9.0)
    assert window.in_flight_bytes == 0
    assert window.acked((0, 1, 0), 0.02) == 0.0


def test_throttle_has_no_free_burst() -> None:
    throttle = Throttle()
    due_s = throttle.due_s(1000, 8e3, 10.0)
    assert due_s == pytest.approx(11.0)
    throttle.sent(due_s)
    assert throttle.due_s(1000, 8e3, 10.0) == pytest.approx(12.0)
    assert throttle.due_s(1000, 0.0, 10.0) == 10.0


def test_timing_is_live() -> None:
    network = connected(10e6)
    network.link.timing = LinkTiming(server_timeout_s=3.0)
    network.server_alive = False
    network.run(2.0)
    assert 'Lost' not in network.names()
    network.run(2.0)
    assert 'Lost' in network.names()
