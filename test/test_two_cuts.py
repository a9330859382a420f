"""Two cuts: by brute force over all pairs of cuts and codecs, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import CodecCost, LayerProfile, Profile, Variant
from dnn_offload.errors import PlanningError
from dnn_offload.planning import one_cut, two_cuts
from dnn_offload.planning.costs import (
    late_cost_ms,
    local_candidate,
    with_energy,
    with_value,
)
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.pareto import pareto_set
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    Scope,
    ServerState,
)
from dnn_offload.planning.search import reprice
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.made_up_graph import branching_layers, PICTURE, profile_of_layers
from graph_profiles import branching_conditions, overlap_ms, wait_ms
from plan_cases import with_threads


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
    at: Conditions, constraints: Constraints
) -> Iterator[tuple[Candidate, CodecCost, CodecCost]]:
    """Every plan with its value, and its codecs, by the equation of ``two_cuts``."""
    edge, server = at.edge_profile, at.servers[0]
    link, there = server.link, server.profile
    load, tail_load = at.edge_load, server.load_factor
    local = local_candidate(at)
    for i, j in itertools.combinations(range(len(edge.cuts) - 1), 2):
        u, d = _parts(edge, i, j)
        if edge.cuts[i].depth < constraints.private_layers or u == 0.0 or d == 0.0:
            continue
        for k, m in itertools.product(edge.cuts[i].codecs, edge.cuts[j].codecs):
            sent, got = edge.cuts[i].codecs[k], there.cuts[i].codecs[k]
            packed, back = there.cuts[j].codecs[m], edge.cuts[j].codecs[m]
            held = max(u * sent.nbytes - link.uplink_burst_bytes, 0.0)
            middle = max(there.cuts[i].tail_ms - there.cuts[j].tail_ms, 0.0)
            plan = Candidate(
                i, 'x', '', k, 's',
                head_ms=edge.cuts[i].head_ms * load,
                encode_ms=u * sent.encode_ms * load,
                uplink_ms=link.uplink_alpha_ms + 8e3 / link.uplink_bps * held,
                queue_ms=server.queue_ms,
                decode_ms=u * got.decode_ms * tail_load,
                tail_ms=(middle + d * packed.encode_ms) * tail_load,
                downlink_ms=link.downlink_alpha_ms + 8e3 / link.downlink_bps * d * back.nbytes,
                finish_ms=edge.finish_ms * load,
                overhead_ms=server.overhead_ms
                + at.wake_ratio * (edge.cuts[i].head_ms + edge.cuts[j].tail_ms) * load,
                rest_ms=(edge.cuts[j].tail_ms + d * back.decode_ms) * load,
                overlap_ms=overlap_ms(u * sent.behind_ms * load, u * sent.nbytes, link),
            )  # fmt: skip
            place = f'{server.name} and back'
            plan = replace(plan, wait_ms=wait_ms(plan.period_ms, at, place))
            if constraints.deadline_ms > 0.0:
                rescue_ms = (edge.cuts[i].tail_ms + edge.finish_ms) * load
                late_ms = late_cost_ms(
                    plan.latency_ms, plan.head_ms + plan.encode_ms, rescue_ms,
                    constraints.deadline_ms,
                )  # fmt: skip
                plan = replace(plan, late_ms=float(late_ms))
            plan = with_energy(plan, at)
            yield with_value(plan, constraints, local), sent, back


POWER = PowerModel('p', 4.0, 2.0, 1.0, 0.5, 'made up')


@settings(max_examples=120, deadline=None)
@given(
    branching_conditions(bursts=True, streams=True),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.0, 30.0, 100.0, 400.0]),
    st.sampled_from(['latency', 'latency', 'energy', 'weighted', 'throughput']),
    st.booleans(),
)
def test_no_pair_of_cuts_and_codecs_is_better(
    at: Conditions, private_layers: int, deadline_ms: float, objective: str, powered: bool
) -> None:
    if powered or objective in ('energy', 'weighted'):
        at = replace(at, power=POWER)
    constraints = Constraints(
        private_layers, deadline_ms=deadline_ms, objective=Objective(objective, 0.3)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('dnn_offload.planning.two_cuts._FIRST_LOOKS', 2)
        patch.setattr('dnn_offload.planning.two_cuts._LOOKS', 5)
        found = two_cuts.candidates(at, constraints, Scope(deadline_ms=deadline_ms), keep=2)
    expected = min((plan.value for plan, _, _ in _all_plans(at, constraints)), default=math.inf)
    local = local_candidate(at)
    values = [with_value(c, constraints, local).value for c in found]
    assert min(values, default=math.inf) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for candidate in found:
        again = reprice(candidate, at)
        assert again.key == candidate.key
        assert again.latency_ms == pytest.approx(candidate.latency_ms - candidate.late_ms)


@pytest.mark.parametrize('uplink_mbps', [20, 50, 100])
def test_of_pairs_with_one_period_the_fastest_is_found(uplink_mbps: float) -> None:
    """Whatever follows a slow transfer, the stream has that transfer's period."""
    layers = branching_layers(
        stem=3, blocks=6, branches=(1, 1), whole_ms=20.0, largest_bytes=800_000
    )
    edge = profile_of_layers(layers, outputs=('join5',))
    server = profile_of_layers(layers, outputs=('join5',), speed=4.0)
    link = LinkState(3.0, 1e6 * uplink_mbps, 3.0, 1e6 * uplink_mbps, 1.0)
    at = Conditions(edge, 1.3, servers=(ServerState('s', server, link),))
    constraints = Constraints(objective=Objective('throughput'))
    plans = [plan for plan, _, _ in _all_plans(at, constraints)]
    least = min(plan.value for plan in plans)
    equal = [plan.latency_ms for plan in plans if plan.value <= least * (1.0 + 1e-9)]
    assert max(equal) > 1.05 * min(equal), 'else the test shows nothing'
    found = two_cuts.candidates(at, constraints, keep=3)
    assert min(plan.latency_ms for plan in found) == pytest.approx(min(equal), rel=1e-6)


@settings(max_examples=120, deadline=None)
@given(
    branching_conditions(bursts=True, streams=True),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.0, 30.0, 100.0, 400.0]),
    st.sampled_from([(4.0, 2.0, 1.0, 0.5), (2.0, 2.5, 0.1, 1.5), (1.0, 5.0, 0.5, 5.0)]),
)
def test_no_pair_of_cuts_and_codecs_beats_the_front(
    at: Conditions, private_layers: int, deadline_ms: float, watts: tuple[float, ...]
) -> None:
    at = replace(at, power=PowerModel('p', *watts, 'made up'))
    constraints = Constraints(private_layers, deadline_ms=deadline_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('dnn_offload.planning.two_cuts._LOOKS', 5)
        scope = Scope(deadline_ms=deadline_ms)
        found = two_cuts.candidates(at, constraints, scope, keep=1)
        others = one_cut.candidates(at, constraints, scope)
        beside = two_cuts.candidates(at, constraints, scope, keep=1, known=others)
    front = pareto_set(found)
    assert len(front) >= len(found) - 1, 'beside the front there is at most the best'
    assert len(beside) <= len(found)
    for best in (front, pareto_set([*others, *beside])):
        for plan, _, _ in _all_plans(at, constraints):
            assert any(
                other.latency_ms <= plan.latency_ms * (1.0 + 1e-9)
                and other.energy_j <= plan.energy_j * (1.0 + 1e-9)
                for other in best
            )


@settings(max_examples=40, deadline=None)
@given(branching_conditions(most=6), st.sampled_from([0.0, 60.0]))
def test_the_front_over_servers_and_thread_counts(at: Conditions, deadline_ms: float) -> None:
    """Found together, each sparing the others pairs, they give the front of all found alone."""
    edge = with_threads(at.edge_profile, 2, 4)
    near = replace(at.servers[0], name='near', load_factor=2.5)
    at = replace(
        at, edge_profile=edge, power=replace(POWER, core_w=1.5), servers=(*at.servers, near)
    )

    def front(servers: tuple[ServerState, ...], threads: tuple[int, ...]) -> list[Candidate]:
        demand = Constraints(deadline_ms=deadline_ms, threads=threads)
        some = replace(at, servers=servers)
        return two_cuts.candidates(some, demand, Scope(deadline_ms=deadline_ms))

    alone = [
        plan for server in at.servers for count in (1, 2, 4) for plan in front((server,), (count,))
    ]
    expected, seen = pareto_set(alone), pareto_set(front(at.servers, (1, 2, 4)))
    assert [p.latency_ms for p in seen] == pytest.approx([p.latency_ms for p in expected])
    assert [p.energy_j for p in seen] == pytest.approx([p.energy_j for p in expected])


@settings(max_examples=60, deadline=None)
@given(
    branching_conditions(most=6),
    st.sampled_from([0.0, 60.0]),
    st.sampled_from(['latency', 'energy', 'throughput']),
)
def test_the_best_over_all_thread_counts(
    at: Conditions, deadline_ms: float, objective: str
) -> None:
    counts, keep = (1, 2, 4), 3
    edge = with_threads(at.edge_profile, 2, 4)
    at = replace(at, edge_profile=edge, power=replace(POWER, core_w=1.5))
    wanted = Constraints(deadline_ms=deadline_ms, objective=Objective(objective, 0.3))
    local = local_candidate(at)

    def values(threads: tuple[int, ...]) -> list[float]:
        demand = replace(wanted, threads=threads)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('dnn_offload.planning.two_cuts._FIRST_LOOKS', 2)
            patch.setattr('dnn_offload.planning.two_cuts._LOOKS', 5)
            patch.setattr('dnn_offload.planning.two_cuts._Front.search', lambda *_: None)
            found = two_cuts.candidates(at, demand, Scope(deadline_ms=deadline_ms), keep=keep)
        return [with_value(c, demand, local).value for c in found]

    alone = sorted(value for count in counts for value in values((count,)))
    assert sorted(values(counts)) == pytest.approx(alone[:keep])


@settings(max_examples=40, deadline=None)
@given(branching_conditions(most=5), st.sampled_from([0.5, 0.9, 1.0]))
def test_both_codecs_together_pass_the_floor(at: Conditions, floor: float) -> None:
    agreements = {'half': 0.95, 'tiny': 0.6}
    cuts = tuple(
        replace(cut, codecs={
            name: replace(cost, agreement=agreements.get(name))
            for name, cost in cut.codecs.items()
        })
        for cut in at.edge_profile.cuts
    )  # fmt: skip
    at = replace(at, edge_profile=replace(at.edge_profile, cuts=cuts))
    known = {
        id(cost): 1.0 if name == 'raw' else agreements.get(name, -1.0)
        for cut in cuts for name, cost in cut.codecs.items()
    }  # fmt: skip
    allowed = [
        plan.value
        for plan, sent, back in _all_plans(at, Constraints())
        if min(known[id(sent)], known[id(back)]) >= 0.0
        and known[id(sent)] + known[id(back)] - 1.0 >= floor - 1e-9
    ]
    found = two_cuts.candidates(replace(at, power=POWER), Constraints(min_agreement=floor))
    for plan in found:
        shares = [
            1.0 if name == 'raw' else agreements.get(name, -1.0)
            for name in (plan.codec, plan.return_codec)
        ]
        assert min(shares) >= 0.0 and sum(shares) - 1.0 >= floor - 1e-9
    best = min((c.latency_ms for c in found), default=math.inf)
    assert best == pytest.approx(min(allowed, default=math.inf))


def test_thread_counts_have_their_own_plans() -> None:
    edge, server = _skipping()
    half = Variant(
        edge.backend, 2,
        tuple(0.5 * cut.head_ms for cut in edge.cuts), tuple(0.5 * c.tail_ms for c in edge.cuts),
    )  # fmt: skip
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)
    at = Conditions(
        replace(edge, variants=(half,)), 2.0, servers=(ServerState('s', server, link),)
    )
    found = two_cuts.candidates(at, Constraints(threads=(1, 2)))
    one, two = (
        next(c for c in found if (c.cut_index, c.return_index, c.threads) == (1, 3, threads))
        for threads in (1, 2)
    )
    assert one.head_ms == pytest.approx(2.0 * 2.0)
    # Half as long, and 1.1 times the load's slow-down, since two threads wait for one another.
    assert two.head_ms == pytest.approx(2.0 * 2.0 * 0.5 * 1.1)
    assert two.rest_ms == pytest.approx(2.0 * 1.0 * 0.5 * 1.1)
    assert reprice(two, at) == two


def test_a_plan_that_runs_is_kept_while_it_is_legal() -> None:
    edge, server = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=5.0)
    at = Conditions(edge, servers=(ServerState('s', server, LinkState(1.0, 1e7, 1.0, 1e7)),))
    worst = max(two_cuts.candidates(at, Constraints(), keep=99), key=lambda c: c.latency_ms)
    keep = frozenset([worst.key])
    found = two_cuts.candidates(at, Constraints(keep=keep), keep=2)
    assert len(found) == 3 and worst in found
    for illegal in (
        Constraints(private_layers=6, keep=keep),
        Constraints(codecs=('none', 'jpeg'), keep=keep),
        Constraints(servers=('t',), keep=keep),
        Constraints(min_agreement=0.9, keep=frozenset([(*worst.key[:4], 'int8', 0)])),
    ):
        assert worst.key not in {c.key for c in two_cuts.candidates(at, illegal, keep=2)}


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
    found = two_cuts.candidates(at, Constraints(), Scope(codecs=('raw',), cuts=(1, 3, 4)))
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
