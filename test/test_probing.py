"""Probes of a link and looks between them, on a made-up network in simulated time."""

from __future__ import annotations

import pytest

from dnn_offload.transport.link_events import Sample, Uplinked
from dnn_offload.transport.transfer import KIND_PROBE, KIND_TENSORS, Transfer
from made_up_network import connected, frame, Network, stream


@pytest.mark.parametrize('mbps', [1, 10, 50])
def test_probe_is_not_fooled_by_the_burst(mbps: float) -> None:
    network = connected(mbps * 1e6)
    network.run(12.0)
    probes = [e for _, e in network.events if isinstance(e, Sample) and e.probe]
    assert len(probes) >= 2
    for probe in probes:
        ideal_ms = probe.nbytes * 8 / (mbps * 1e3) + 2e3 * network.delay_s
        assert probe.duration_ms == pytest.approx(ideal_ms, rel=0.1, abs=1.0)


def test_probes_take_at_most_an_eighth_of_a_slow_link() -> None:
    network = connected(1e6)
    began = len(network.sent)
    network.run(30.0)
    nbytes = sum(len(s.transfer.parts[s.index]) for _, s in network.sent[began:] if s.transfer)
    assert 0 < nbytes * 8 / 30.0 < 0.15e6


@pytest.mark.parametrize('before_bps, after_bps, within_s', [(1e6, 20e6, 0.5), (20e6, 1e6, 2.0)])
def test_an_idle_link_that_has_changed_is_probed_again_at_once(
    before_bps: float, after_bps: float, within_s: float
) -> None:
    """Three probes in a row are believed; every 1.5 to 5 s they would take most of ten."""
    network = connected(before_bps)
    network.run(15.0)
    changed_s, network.rate_bps = network.now_s, after_bps
    network.run(20.0)
    probes = [
        (at_s, 8e3 * e.nbytes / e.duration_ms) for at_s, e in network.events
        if isinstance(e, Sample) and e.probe and at_s > changed_s
    ]
    telling = [at_s for at_s, bps in probes if 0.5 < bps / after_bps < 2.0]
    assert telling[0] - changed_s < 6.0
    assert 0.25 <= telling[2] - telling[0] < within_s, 'as transfer_fit.CHANGES asks'
    assert telling[4] - telling[3] > 1.0, 'then it is known'


def probes_from(network: Network, since_s: float) -> list[Transfer]:
    """Probes and looks of which a slice was published since then, each once."""
    found = {
        step.transfer.seq: step.transfer for at_s, step in network.sent
        if at_s > since_s and step.kind == KIND_PROBE and step.transfer is not None
    }
    return list(found.values())


@pytest.mark.parametrize('phase_s', [0.0, 1.3, 2.6, 3.9, 5.2])
@pytest.mark.parametrize('before_bps, after_bps', [(0.8e6, 5e6), (1e6, 20e6), (1.5e6, 6e6)])
def test_looks_between_probes_see_that_a_slow_link_has_become_faster(
    before_bps: float, after_bps: float, phase_s: float
) -> None:
    network = connected(before_bps, burst=3_000)
    network.run(20.0 + phase_s)
    changed_s, network.rate_bps = network.now_s, after_bps
    network.run(8.0)
    telling = [
        at_s - changed_s for at_s, e in network.events
        if isinstance(e, Sample) and e.probe and at_s > changed_s
        and 0.5 < 8e3 * e.nbytes / e.duration_ms / after_bps < 2.0
    ]
    assert telling[0] < 1.8, 'looks every 1.7, 0.7 and 0.5 s, probes every 9.0, 9.0 and 6.2'
    assert 0.25 <= telling[2] - telling[0] < 0.6


def test_probes_and_looks_share_an_eighth_of_a_slow_link() -> None:
    network = connected(1e6, burst=3_000)
    network.run(10.0)
    began_s = network.now_s
    network.run(60.0)
    sent = probes_from(network, began_s)
    assert sum(probe.is_look for probe in sent) > 40
    assert sum(not probe.is_look for probe in sent) >= 6
    assert sum(probe.total_bytes for probe in sent) * 8 / 60.0 < 0.125e6


def test_looks_that_pass_in_the_burst_end() -> None:
    network = connected(1e6)
    network.run(15.0)
    began_s = network.now_s
    network.run(30.0)
    sent = probes_from(network, began_s)
    assert len(sent) >= 5, 'what looks took is given to probes'
    assert not any(probe.is_look for probe in sent)


def test_no_look_goes_where_frames_do_or_the_limit_is_our_own() -> None:
    network = connected(1e6, burst=3_000)
    network.run(10.0)
    began_s = network.now_s
    for seq in range(1, 41):
        network.link.send(frame(seq, 4_000), 0.0, network.now_s)
        network.run(0.25)
    assert not any(probe.is_look for probe in probes_from(network, began_s))
    network.limit_bps = 0.8e6
    began_s = network.now_s
    network.run(20.0)
    assert probes_from(network, began_s)
    assert not any(probe.is_look for probe in probes_from(network, began_s))


def test_a_look_that_misled_costs_one_probe() -> None:
    network = connected(1e6, burst=3_000)
    network.run(20.0)
    for _ in range(3):  # a moment in which all passes, just when a look goes
        began_s = network.now_s
        while not any(probe.is_look for probe in probes_from(network, began_s)):
            network.run(0.001)
        network.rate_bps = 20e6
        network.run(0.004)
        network.rate_bps = 1e6
        began_s = network.now_s
        network.run(4.0)
        sent = probes_from(network, began_s)
        assert [probe.is_look for probe in sent] == [False], 'and no look for a while'
        network.run(12.0)
    spent = sum(probe.total_bytes for probe in probes_from(network, network.now_s - 48.0))
    assert spent * 8 / 48.0 < 0.16e6


def test_looks_go_on_once_a_link_is_slow_again() -> None:
    network = connected(1e6, burst=3_000)
    for _ in range(3):
        network.run(14.0)
        changed_s, network.rate_bps = network.now_s, 20e6
        network.run(8.0)
        first = [e for at_s, e in network.events if isinstance(e, Sample) and at_s > changed_s][0]
        assert 8e3 * first.nbytes / first.duration_ms > 5e6
        network.rate_bps = 1e6
        network.run(8.0)
        began_s = network.now_s
        network.run(6.0)
        assert any(probe.is_look for probe in probes_from(network, began_s))


def test_an_alarm_ends_when_frames_come() -> None:
    """They tell by themselves, and a probe in every gap would delay them."""
    network = connected(1e6, burst=3_000)
    network.run(20.0)
    network.rate_bps = 10e6
    while not network.link._probing._alarmed:
        network.run(0.001)
    network.link.send(frame(1, 30_000), 0.0, network.now_s)
    began_s = network.now_s
    for seq in range(2, 30):
        network.run(0.1)
        network.link.send(frame(seq, 30_000), 0.0, network.now_s)
    assert len(probes_from(network, began_s)) <= 1


@pytest.mark.parametrize('rate_bps, look', [
    (0.5e6, False), (0.8e6, True), (1.5e6, True), (3e6, False),
])
def test_looks_go_where_probes_are_neither_frequent_nor_too_rare(
    rate_bps: float, look: bool
) -> None:
    """Estimates fade ten seconds after their last sample, and a look is none."""
    network = connected(rate_bps, burst=3_000)
    network.run(12.0)
    began_s = network.now_s
    network.run(30.0)
    assert any(probe.is_look for probe in probes_from(network, began_s)) == look
    at_s = [at for at, e in network.events if isinstance(e, Sample) and at > began_s]
    assert max(b - a for a, b in zip(at_s, at_s[1:], strict=False)) < 10.5


def test_frames_end_the_confirming_of_a_probe() -> None:
    network = connected(20e6)
    network.run(5.0)
    network.rate_bps = 1e6
    while network.link._probing.confirm == 0:
        network.run(0.01)
    network.link.send(frame(1, 4_000), 0.0, network.now_s)
    began_s = network.now_s
    network.run(1.0)
    assert KIND_PROBE not in {step.kind for at_s, step in network.sent if at_s > began_s}


def test_frames_go_before_probes() -> None:
    network = connected(1e6)
    while network.sent[-1][1].kind != KIND_PROBE or network.link.backlog_bytes:
        network.run(0.001)
    began_s = network.now_s
    network.link.send(frame(1, 10_000), 0.0, network.now_s)
    network.run(1.0)
    after = [step.kind for at_s, step in network.sent if at_s > began_s]
    assert after and set(after[:2]) == {KIND_TENSORS}, 'the rest of the probe is dropped'
    assert Uplinked in {type(event) for _, event in network.events}


def test_small_frames_get_a_large_probe_now_and_then() -> None:
    network = connected(10e6)
    for seq in range(1, 121):
        network.link.send(frame(seq, 10_000), 0.0, network.now_s)
        network.run(0.1)
    probes = [e for at, e in network.events if isinstance(e, Sample) and e.probe]
    assert 2 <= len(probes) <= 4
    assert sum(isinstance(e, Uplinked) for _, e in network.events) == 120


def test_a_stream_over_a_slow_link_is_not_held_up_by_probes_again_and_again() -> None:
    """The link was fast before: the first probe says that it is not any more, and is the last."""
    network = connected(20e6)
    stream(network, 300_000, 3)
    network.rate_bps = 1e6
    for seq in range(100, 500):
        network.link.send(frame(seq, 8_000), 0.0, network.now_s)
        network.run(0.135)
    took = [e.uplink_ms for _, e in network.events
            if isinstance(e, Uplinked) and e.frame_seq >= 100]
    assert len(took) > 380
    # 57 to 98 kB take 0.5 to 0.8 s, and what was sent meanwhile waits too.
    assert sum(ms > 200.0 for ms in took) <= 8
    assert network.link.window.rate_bps < 2e6
