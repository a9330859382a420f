"""Two cuts: by brute force over all pairs of cuts and codecs, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.cost.profile import CodecCost, LayerProfile, Profile
from dnn_offload.errors import PlanningError
from dnn_offload.planning import two_cuts
from dnn_offload.planning.costs import late_cost_ms, reprice
from dnn_offload.planning.lateness import late_costs_ms
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.stage_weights import StageWeights
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers
from graph_profiles import branching_conditions


def _parts(profile: Profile, i: int, j: int) -> tuple[float, float]:
    """Shares of the frontiers at cuts i and j that travel, read off the layers."""
    first, second = profile.cuts[i], profile.cuts[j]
    sizes = {PICTURE: profile.input_bytes} | {
        n: b for layer in profile.layers for n, b in layer.makes
    }
    # Cut k lies behind k layers: these profiles have a cut at every position.
    between = profile.layers[i:j]
    read = {name for layer in between for name in layer.reads}
    made = {name for layer in between for name, _ in layer.makes}
    up = sum(sizes[n] for n in first.frontier if n in read) / first.frontier_bytes
    down = sum(sizes[n] for n in second.frontier if n in made) / second.frontier_bytes
    return up, down


def _all_plans(
    at: Conditions, private_layers: int, deadline_ms: float, weights: StageWeights
) -> Iterator[tuple[float, float, CodecCost, CodecCost]]:
    """(weighted cost, latency, codecs) of every plan, by the equation of ``two_cuts``."""
    edge, server = at.edge_profile, at.servers[0]
    link, there = server.link, server.profile
    load, tail_load = at.edge_load, server.load_factor
    for i, j in itertools.combinations(range(len(edge.cuts) - 1), 2):
        u, d = _parts(edge, i, j)
        if edge.cuts[i].depth < private_layers or u == 0.0 or d == 0.0:
            continue
        for k, m in itertools.product(edge.cuts[i].codecs, edge.cuts[j].codecs):
            sent, got = edge.cuts[i].codecs[k], there.cuts[i].codecs[k]
            packed, back = there.cuts[j].codecs[m], edge.cuts[j].codecs[m]
            head = (edge.cuts[i].head_ms + u * sent.encode_ms) * load
            rest = (edge.cuts[j].tail_ms + d * back.decode_ms + edge.finish_ms) * load
            up = link.uplink_alpha_ms + 8e3 / link.uplink_bps * max(
                u * sent.nbytes - link.uplink_burst_bytes, 0.0
            )
            down = link.downlink_alpha_ms + 8e3 / link.downlink_bps * d * back.nbytes
            tail = there.cuts[i].tail_ms - there.cuts[j].tail_ms
            away = (u * got.decode_ms + max(tail, 0.0) + d * packed.encode_ms) * tail_load
            away += server.queue_ms + server.overhead_ms
            latency = head + rest + up + down + away
            late = 0.0
            if deadline_ms > 0.0:
                rescue = (edge.cuts[i].tail_ms + edge.finish_ms) * load
                late = late_cost_ms(latency, head, rescue, deadline_ms)
            value = (
                weights.robot * (head + rest) + weights.uplink * up + weights.downlink * down
                + weights.server * (away + late)
            )  # fmt: skip
            yield value, latency + late, sent, back


@settings(max_examples=120, deadline=None)
@given(
    branching_conditions(bursts=True),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.0, 30.0, 100.0, 400.0]),
)
def test_no_pair_of_cuts_and_codecs_is_better(
    at: Conditions, private_layers: int, deadline_ms: float
) -> None:
    found = two_cuts.candidates(at, Constraints(private_layers), deadline_ms=deadline_ms)
    plans = _all_plans(at, private_layers, deadline_ms, StageWeights())
    expected = min((latency for _, latency, _, _ in plans), default=math.inf)
    best = min((c.latency_ms for c in found), default=math.inf)
    assert best == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for candidate in found:
        assert replace(candidate, late_ms=0.0) == reprice(candidate, at)


@settings(max_examples=40, deadline=None)
@given(branching_conditions(), st.sampled_from([1.0, 8.0]), st.sampled_from([0.0, 3.0]))
def test_any_sum_over_stages_is_minimised(at: Conditions, robot: float, uplink: float) -> None:
    weights = StageWeights(robot, uplink, 0.5, 0.25)
    found = two_cuts.candidates(at, Constraints(), weights=weights)
    expected = min((value for value, _, _, _ in _all_plans(at, 0, 0.0, weights)), default=0.0)
    values = [
        weights.robot * (c.head_ms + c.encode_ms + c.rest_ms + c.finish_ms)
        + weights.uplink * c.uplink_ms
        + weights.server * (c.queue_ms + c.decode_ms + c.tail_ms + c.overhead_ms)
        + weights.downlink * c.downlink_ms
        for c in found
    ]
    assert min(values, default=0.0) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(branching_conditions(most=5), st.sampled_from([0.5, 0.9, 1.0]))
def test_both_codecs_together_pass_the_floor(at: Conditions, floor: float) -> None:
    def with_agreement(profile: Profile) -> Profile:
        cuts = tuple(
            replace(cut, codecs={
                name: replace(cost, agreement={'half': 0.95, 'tiny': 0.6}.get(name))
                for name, cost in cut.codecs.items()
            })
            for cut in profile.cuts
        )  # fmt: skip
        return replace(profile, cuts=cuts)

    class Floor(Constraints):
        min_agreement = floor

    at = replace(at, edge_profile=with_agreement(at.edge_profile))

    allowed = [
        latency
        for _, latency, sent, back in _all_plans(at, 0, 0.0, StageWeights())
        for a in [_agreement(sent, at)] for b in [_agreement(back, at)]
        if min(a, b) >= 0.0 and a + b - 1.0 >= floor - 1e-9
    ]
    found = two_cuts.candidates(at, Floor())
    best = min((c.latency_ms for c in found), default=math.inf)
    assert best == pytest.approx(min(allowed, default=math.inf))


def _agreement(cost: CodecCost, at: Conditions) -> float:
    """1 for raw, what was measured for others, -1 where nothing was."""
    for cut in at.edge_profile.cuts:
        for name, other in cut.codecs.items():
            if other is cost:
                return 1.0 if name == 'raw' else -1.0 if cost.agreement is None else cost.agreement
    raise AssertionError('a codec of no cut')


@pytest.mark.parametrize('deadline_ms', [5.0, 40.0, 300.0])
def test_lateness_over_arrays_is_that_of_one(deadline_ms: float) -> None:
    random = np.random.default_rng(3)
    some = random.uniform(0.0, 200.0, (200, 3))
    expected = [late_cost_ms(*row, deadline_ms) for row in some]
    assert late_costs_ms(*some.T, deadline_ms) == pytest.approx(expected)


# ---------------------------------------------------------------- by hand

def _skipping() -> tuple[Profile, Profile]:
    """a (2 ms, 4 kB) -> b (30 ms, 1 kB) -> c (30 ms, 2 kB) -> d (1 ms), and a -> d.

    The server takes a tenth.
    """
    layers = [
        LayerProfile('a', 'conv2d', 2.0, 0.0, (PICTURE,), (('a', 4_000), ('thin', 1_000)), 8),
        LayerProfile('b', 'conv2d', 30.0, 0.0, ('thin',), (('b', 1_000),), 8),
        LayerProfile('c', 'conv2d', 30.0, 0.0, ('b',), (('c', 2_000),), 8),
        LayerProfile('d', 'add', 1.0, 0.0, ('a', 'c'), (('d', 50_000),)),
    ]
    made = {'outputs': ('d',), 'rates': {'raw': (1.0, 0.0, 0.0)}, 'input_bytes': 100_000}
    return profile_of_layers(layers, **made), profile_of_layers(layers, **made, speed=10.0)


def test_skip_connections_go_by_value_by_hand() -> None:
    edge, server = _skipping()
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)  # 1 ms per kB
    at = Conditions(edge, servers=(ServerState('s', server, link, queue_ms=1.0),))
    best = min(two_cuts.candidates(at, Constraints()), key=lambda c: c.latency_ms)
    # a is on the robot at both cuts: only thin goes up, only c comes back.
    assert (best.cut_index, best.return_index) == (1, 3)
    assert (best.uplink_bytes, best.downlink_bytes) == (1_000, 2_000)
    assert (best.codec, best.return_codec) == ('raw', 'raw')
    assert best.head_ms == pytest.approx(2.0)
    assert best.uplink_ms == pytest.approx(3.0)
    assert best.tail_ms == pytest.approx(6.0)
    assert best.downlink_ms == pytest.approx(4.0)
    assert best.rest_ms == pytest.approx(1.0)
    assert best.latency_ms == pytest.approx(2 + 3 + 1 + 6 + 4 + 1 + 0.3)
    assert not best.is_local


def test_without_layers_whole_frontiers_travel() -> None:
    edge, server = _skipping()
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)
    silent = replace(edge, layers=())
    at = Conditions(silent, servers=(ServerState('s', server, link),))
    found = two_cuts.candidates(at, Constraints())
    pair = next(c for c in found if (c.cut_index, c.return_index) == (1, 3))
    assert (pair.uplink_bytes, pair.downlink_bytes) == (5_000, 6_000)


def test_made_up_profiles_without_layers_have_all_pairs() -> None:
    edge, server = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=5.0)
    at = Conditions(edge, servers=(ServerState('s', server, LinkState(1.0, 1e7, 1.0, 1e7)),))
    found = two_cuts.candidates(at, Constraints(), keep=100)
    assert {(c.cut_index, c.return_index) for c in found} == {
        (i, j) for i in range(6) for j in range(i + 1, 6)
    }
    assert len(two_cuts.candidates(at, Constraints(), keep=4)) == 4


def test_the_best_are_kept_per_server() -> None:
    edge, server = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=5.0)
    fast, slow = LinkState(1.0, 1e9, 1.0, 1e9), LinkState(1.0, 1e6, 1.0, 1e6)
    dead = LinkState(1.0, 0.0, 1.0, 0.0)
    servers = (
        ServerState('a', server, fast), ServerState('b', server, slow),
        ServerState('c', server, dead),
    )  # fmt: skip
    found = two_cuts.candidates(Conditions(edge, servers=servers), Constraints(), keep=3)
    assert [c.server for c in found] == ['a'] * 3 + ['b'] * 3
    only = two_cuts.candidates(Conditions(edge, servers=servers), Constraints(servers=('b',)))
    assert {c.server for c in only} == {'b'}


def test_codecs_and_cuts_can_be_restricted() -> None:
    edge, server = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=5.0)
    at = Conditions(edge, servers=(ServerState('s', server, LinkState(1.0, 1e7, 1.0, 1e7)),))
    found = two_cuts.candidates(at, Constraints(codecs=('int8', 'jpeg')))
    assert {c.codec for c in found} == {'int8', 'jpeg'}
    assert {c.return_codec for c in found} == {'int8'}
    found = two_cuts.candidates(at, Constraints(), codecs=('raw',), cuts=(1, 3, 4))
    assert {(c.cut_index, c.return_index) for c in found} == {(1, 3), (1, 4), (3, 4)}
    assert two_cuts.candidates(at, Constraints(codecs=('none',))) == []


def test_what_cannot_be_priced() -> None:
    edge, server = _skipping()
    at = Conditions(edge, servers=(ServerState('s', server, LinkState(1.0, 1e7, 1.0, 1e7)),))
    plan = two_cuts.candidates(at, Constraints())[0]
    for broken in (
        replace(plan, return_codec='gzip'),
        replace(plan, return_id=plan.cut_id),
        replace(plan, codec='jpeg', cut_id=edge.cuts[1].cut_id, return_id=edge.cuts[3].cut_id),
        replace(plan, server='t'),
    ):
        with pytest.raises(PlanningError, match='two cuts cannot be priced'):
            reprice(broken, at)
