"""The published strategies on examples worked out by hand from their papers.

Numbers that papers print: Dey et al., Table III and the frame rates in the text beside it;
RoaD-RuNNer, section IV-A (rate of the network, sizes of pictures): it prints no time of any layer
and its figures have no numbers, so that no whole plan of its can be worked out; for Neurosurgeon
those of a paper that cites it and describes the same choice: Jeong et al., "IONN", SoCC 2018,
section 2 with Fig. 1. All other numbers are made up, and small enough for the head.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import CodecCost, CutProfile, LayerProfile, Profile
from dnn_offload.planning import two_cuts
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    Scope,
    ServerState,
)
from dnn_offload.planning.search import plan
from dnn_offload.planning.strategies.roadrunner import block_ends
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers

TWO_CUTS = Constraints(shapes=('two_cuts',))


def _profile(layers: list[tuple[str, float, int]], picture_bytes: int) -> Profile:
    """A chain of (name, time [ms], bytes of its output), raw tensors, no output decoding."""
    total = sum(time for _, time, _ in layers)
    cuts, done = [CutProfile('picture', 0, 'picture', 0, picture_bytes, 0.0, total)], 0.0
    for index, (name, time, nbytes) in enumerate(layers, start=1):
        done += time
        cuts.append(CutProfile(name, index, name, index, nbytes, done, total - done))
    cuts[0] = replace(
        cuts[0],
        codecs={'raw': CodecCost(picture_bytes, 0.0, 0.0), 'jpeg': CodecCost(500, 1.0, 0.5)},
    )
    answer = {'raw': layers[-1][2]}
    return Profile('m', 'id', {}, 'torch', 1, {}, 0.0, answer, 0.0, tuple(cuts))


# Three layers: robot 10, 30, 20 ms, server a fifth; outputs 6, 1, 0.5 kB; picture 8 kB.
CHAIN = [('one', 10.0, 6_000), ('two', 30.0, 1_000), ('three', 20.0, 500)]
EDGE = _profile(CHAIN, 8_000)
CLOUD = _profile([(name, time / 5.0, size) for name, time, size in CHAIN], 8_000)
LINK = LinkState(0.0, 8e6, 0.0, 8e6, 1.0)  # 1 ms per kB, no fixed cost


def _at(**changes: object) -> Conditions:
    server = ServerState('cloud', CLOUD, LINK)
    return replace(Conditions(EDGE, servers=(server,)), **changes)


def _latencies(ranked: list[Candidate]) -> dict[str, float]:
    return {c.label: round(c.latency_ms, 6) for c in ranked}


def test_local_by_hand() -> None:
    # 10 + 30 + 20 ms, twice as long under a load of 2.
    assert plan('local', _at())[0].latency_ms == pytest.approx(60.0)
    assert plan('local', _at(edge_load=2.0))[0].latency_ms == pytest.approx(120.0)


def test_remote_by_hand() -> None:
    # JPEG: 1 encode + 0.5 send + 0.5 decode + 12 compute + 0.5 back.
    assert plan('remote', _at())[0].latency_ms == pytest.approx(14.5)


def test_neurosurgeon_by_hand() -> None:
    # argmin_j sum TM_i + D_j/B + K sum TC_i, here with 0.5 ms for the answer:
    # j=0: 8 + 12, j=1: 10 + 6 + 10, j=2: 40 + 1 + 4, all local: 60.
    expected = {'picture': 20.5, 'one': 26.5, 'two': 45.5, 'all on the robot': 60.0}
    assert _latencies(plan('neurosurgeon', _at(edge_load=7.0))) == expected
    # The datacenter at K = 4: 8 + 48, 10 + 6 + 40, 40 + 1 + 16.
    busy = ServerState('cloud', CLOUD, LINK, load_factor=4.0)
    expected = {'picture': 56.5, 'one': 56.5, 'two': 57.5, 'all on the robot': 60.0}
    assert _latencies(plan('neurosurgeon', _at(servers=(busy,)))) == expected


def test_dey2019_by_hand() -> None:
    # Load average 3 per core: the robot's layers take 30, 90, 60 ms; the server's as profiled.
    expected = {'picture': 20.5, 'one': 46.5, 'two': 125.5, 'all on the robot': 180.0}
    assert _latencies(plan('dey2019', _at(edge_load_raw=3.0, edge_load=1.0))) == expected
    # Below one the load average scales nothing down.
    expected = {'picture': 20.5, 'one': 26.5, 'two': 45.5, 'all on the robot': 60.0}
    assert _latencies(plan('dey2019', _at(edge_load_raw=0.5))) == expected


# ---------------------------------------------------------------- AlexNet of Dey et al.

# Multiply-accumulates [M] and output bytes (float32) of AlexNet at 224 px; Table III: 3200 ms
# on the Raspberry Pi 3B. The paper's layer times are not printed, so they follow the work.
ALEXNET = [
    ('conv1', 70.3, 774_400), ('pool1', 0.0, 186_624), ('conv2', 224.0, 559_872),
    ('pool2', 0.0, 129_792), ('conv3', 112.1, 259_584), ('conv4', 149.5, 173_056),
    ('conv5', 99.7, 173_056), ('pool5', 0.0, 36_864), ('fc6', 37.7, 16_384),
    ('fc7', 16.8, 16_384), ('fc8', 4.1, 4_000),
]  # fmt: skip
PI_MS = 3200.0
UINT8_PICTURE = 224 * 224 * 3


def _alexnet_profile(whole_ms: float) -> Profile:
    work = sum(macs for _, macs, _ in ALEXNET)
    layers = [(name, whole_ms * macs / work, size) for name, macs, size in ALEXNET]
    return _profile(layers, UINT8_PICTURE)


def _alexnet(megabits: float, ratio: float, load: float = 1.0) -> list[Candidate]:
    link = LinkState(5.0, 1e6 * megabits, 5.0, 1e6 * megabits, 1.0)
    state = ServerState('s', _alexnet_profile(PI_MS / ratio), link)
    return plan('dey2019', Conditions(_alexnet_profile(PI_MS), 1.0, load, (state,)))


@pytest.mark.parametrize('ratio', [5.0, 10.0])
@pytest.mark.parametrize('megabits', [1.0, 2.0, 4.0, 8.0])
def test_dey2019_cuts_alexnet_at_the_first_pooling_layer(megabits: float, ratio: float) -> None:
    ranked = _alexnet(megabits, ratio)
    # The algorithm as printed has no "send everything": then Fig. 3 comes out.
    assert next(c for c in ranked if c.label != 'picture').label == 'pool1'
    # With the picture as a candidate it beats every inner cut.
    assert ranked[0].label == 'picture'


def test_dey2019_on_a_very_slow_link_stays_local_until_the_robot_is_busy() -> None:
    assert _alexnet(0.05, 10.0)[0].is_local
    # 16 kbit/s: the paper says that offloading always helps; pool1 alone takes 93 s.
    slow = _alexnet(0.016, 10.0)
    assert slow[0].is_local
    pool1 = next(c for c in slow if c.label == 'pool1')
    assert pool1.uplink_ms == pytest.approx(93_312, rel=0.01)
    assert not _alexnet(0.5, 10.0, load=4.0)[0].is_local


@pytest.mark.parametrize(
    ('whole_ms', 'frames_per_s'),
    [
        (2032.0, 0.5),  # SqueezeNet on the Pi
        (PI_MS, 0.3),   # AlexNet on the Pi
        (91.0, 11.0),   # AlexNet on the Pi with the compute stick
        (326.0, 3.0),   # Inception v3 on the Pi with the compute stick
    ],
)  # fmt: skip
def test_dey2019_times_of_table_iii_give_the_rates_of_the_text(
    whole_ms: float, frames_per_s: float
) -> None:
    (local,) = plan('dey2019', Conditions(_alexnet_profile(whole_ms)))
    assert 1e3 / local.latency_ms == pytest.approx(frames_per_s, rel=0.05)
    # Section III-C: a load average of 6 on the four cores of a Pi scales by 1.5, one of 3 not.
    for loadavg, factor in ((6.0, 1.5), (3.0, 1.0)):
        (local,) = plan('dey2019', Conditions(_alexnet_profile(whole_ms), 1.0, loadavg / 4))
        assert local.latency_ms == pytest.approx(factor * whole_ms)


def test_dey2019_offloads_alexnet_to_around_three_frames_per_second() -> None:
    # Section III-B, on Fig. 5: 0.3 frames/s on the Pi become around 3; a PC (20 GFLOPS, Table I)
    # is ten times as fast as the Pi (2): 3200 / 10 ms, and on a fast link little beside it.
    best = _alexnet(1000.0, 20.0 / 2.0)[0]
    assert best.latency_ms == pytest.approx(320.0 + 5.0 + 1.2 + 5.0, abs=0.1)
    assert 1e3 / best.latency_ms == pytest.approx(3.0, rel=0.05)


def test_neurosurgeon_on_the_numbers_of_ionn() -> None:
    # IONN, section 2: AlexNet takes 1.3 s on the client and about 1 ms on the server, the Wi-Fi
    # has about 80 Mbit/s, the latency is about 60 ms to a cloud and 1 ms to an edge server.
    edge, server = _alexnet_profile(1300.0), _alexnet_profile(1.0)
    picture_ms, answer_ms = 150_528 * 8 / 80e3, 4_000 * 8 / 80e3  # 15.1 and 0.4 ms
    for latency_ms in (60.0, 1.0):
        link = LinkState(latency_ms, 80e6, 0.0, 80e6, 1.0)
        at = Conditions(edge, servers=(ServerState('s', server, link),))
        best = plan('neurosurgeon', at)[0]
        assert best.label == 'picture'
        assert best.latency_ms == pytest.approx(latency_ms + picture_ms + 1.0 + answer_ms)
        assert best.latency_ms == pytest.approx({60.0: 76.5, 1.0: 17.5}[latency_ms], abs=0.1)
        # A datacenter whose load K makes it as slow as the client is left alone.
        busy = ServerState('s', server, link, load_factor=1300.0)
        alone = plan('neurosurgeon', replace(at, servers=(busy,)))[0]
        assert alone.is_local and alone.latency_ms == pytest.approx(1300.0)


# ---------------------------------------------------------------- RoaD-RuNNer, Algorithm 1

@pytest.mark.parametrize(('pixels', 'uplink_ms'), [(224, 1.88), (512, 9.83), (768, 22.12)])
def test_roadrunner_network_term_at_the_rate_of_section_iv(
    pixels: int, uplink_ms: float
) -> None:
    # Section IV-A: a wireless network of 80 MB/s, pictures of 224, 512 and 768 pixels a side (here
    # of three bytes a pixel): network(0, N - 1) of Algorithm 1.
    edge = _profile(CHAIN, 3 * pixels * pixels)
    link = LinkState(0.0, 640e6, 0.0, 640e6)
    at = Conditions(edge, servers=(ServerState('s', edge, link),))
    ranked = plan('roadrunner', at, TWO_CUTS)
    whole = next(c for c in ranked if c.label == 'picture' and not c.return_id)
    assert whole.uplink_ms == pytest.approx(uplink_ms, abs=0.01)


def test_roadrunner_by_hand() -> None:
    # Sending back after layer j: local(0..i) + up + cloud(i+1..j) + down + local(j+1..).
    ranked = plan('roadrunner', _at(edge_load=9.0), TWO_CUTS)
    pairs = {
        (c.cut_index, c.return_index): round(c.latency_ms, 6) for c in ranked if c.return_id
    }
    assert pairs == {
        (0, 1): 0.0 + 8.0 + 2.0 + 6.0 + 50.0,
        (0, 2): 0.0 + 8.0 + 8.0 + 1.0 + 20.0,
        (1, 2): 10.0 + 6.0 + 6.0 + 1.0 + 20.0,
    }
    # What the loops leave out, all-local and cut 0, is there, and j = N - 1 is an answer.
    single = {c.label: round(c.latency_ms, 6) for c in ranked if not c.return_id}
    assert single == {'picture': 20.5, 'one': 26.5, 'two': 45.5, 'all on the robot': 60.0}


def test_roadrunner_sends_back_where_only_the_middle_is_heavy() -> None:
    # A thin middle: what comes first and last is light, its inputs and outputs are large.
    layers = [('one', 2.0, 1_000), ('two', 50.0, 1_000), ('three', 1.0, 40_000)]
    edge = _profile(layers, 90_000)
    server = _profile([(n, t / 10.0, b) for n, t, b in layers], 90_000)
    at = Conditions(edge, servers=(ServerState('s', server, LINK),))
    best = plan('roadrunner', at, TWO_CUTS)[0]
    assert (best.cut_id, best.return_id) == ('one', 'two')
    assert best.latency_ms == pytest.approx(2.0 + 1.0 + 5.0 + 1.0 + 1.0)
    # Neurosurgeon has a single cut: 2 + 1 + 5.1 + 40, or all local.
    assert plan('neurosurgeon', at)[0].latency_ms == pytest.approx(48.1)


def test_roadrunner_needs_leave_for_two_cuts() -> None:
    assert not any(c.return_id for c in plan('roadrunner', _at()))


def test_roadrunner_glues_skip_connections() -> None:
    layers = [
        LayerProfile('a', 'conv2d', 1.0, 0.0, (PICTURE,), (('a', 900),)),
        LayerProfile('b', 'conv2d', 1.0, 0.0, ('a',), (('b', 900),)),
        LayerProfile('c', 'add', 1.0, 0.0, ('a', 'b'), (('c', 900),)),
        LayerProfile('d', 'conv2d', 1.0, 0.0, ('c',), (('d', 900),)),
    ]
    edge = profile_of_layers(layers, outputs=('d',))
    # Behind b both a and b are alive: a, b and c are one block.
    assert block_ends(edge) == (0, 1, 3, 4)
    server = ServerState('s', profile_of_layers(layers, outputs=('d',), speed=4.0), LINK)
    ranked = plan('roadrunner', Conditions(edge, servers=(server,)), TWO_CUTS)
    assert {c.cut_index for c in ranked} | {c.return_index for c in ranked if c.return_id} == {
        0, 1, 3, 4
    }


POWER = PowerModel('p', 4.0, 1.0, 1.0, 0.5, 'made up')


def test_roadrunner_keeps_the_pareto_set_of_latency_and_energy() -> None:
    # Many pairs, so that the 16 fastest are not all: the thriftiest must be there as well.
    layers = [(f'l{n}', 4.0 + n % 3, 30_000 - 1_000 * n) for n in range(12)]
    edge = _profile(layers, 20_000)
    server = _profile([(n, t * 1.2, b) for n, t, b in layers], 20_000)  # slow, but saves power
    at = Conditions(edge, servers=(ServerState('s', server, LINK),), power=POWER)

    def joules(c: Candidate) -> float:
        return (
            4.0 * (c.head_ms + c.encode_ms + c.rest_ms)
            + c.uplink_ms + c.downlink_ms + 0.5 * (c.decode_ms + c.tail_ms)
        )

    found = [c for c in plan('roadrunner', at, TWO_CUTS) if c.return_id]
    every = two_cuts.candidates(at, TWO_CUTS, Scope(codecs=('raw',)), keep=1000)
    assert len(every) == 66
    front = [
        c for c in every
        if not any(
            o.latency_ms <= c.latency_ms and joules(o) < joules(c) - 1e-9 for o in every
        )
    ]
    assert len(front) > 1
    assert {c.key for c in front} <= {c.key for c in found}
    assert min(map(joules, found)) == pytest.approx(min(map(joules, every)))
    without = plan('roadrunner', replace(at, power=None), TWO_CUTS)
    assert min(joules(c) for c in without if c.return_id) > min(map(joules, every)) + 1e-9
