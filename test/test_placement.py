"""Placements over the graph: by brute force over all sets of layers, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import LayerProfile, Profile, Variant
from dnn_offload.errors import PlanningError
from dnn_offload.planning import one_cut, placement
from dnn_offload.planning.costs import local_candidate, slow_down, with_energy, with_value
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.placement_graph import placement_graph
from dnn_offload.planning.placement_list import closed_sets
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    Scope,
    ServerState,
)
from dnn_offload.planning.search import reprice
from dnn_offload.planning.value_rules import frontier_depth
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers
from graph_profiles import branching_conditions, RATES


def _cheapest(
    at: Conditions,
    codecs: tuple[str, ...],
    private_layers: int = 0,
    value: Callable[[Candidate], float] = lambda plan: plan.latency_ms,
) -> float:
    """The equation of ``planning/placement.py`` over all sets of layers on the robot."""
    edge = at.edge_profile
    server = at.servers[0]
    link, there = server.link, server.profile
    sizes = {PICTURE: edge.input_bytes} | {n: b for la in edge.layers for n, b in la.makes}
    may_leave = _may_leave(edge)
    best = math.inf
    count = len(edge.layers)
    for bits in range(2**count):
        here = [bool(bits >> n & 1) for n in range(count)]
        known = {PICTURE} | {
            name for n in range(count) if here[n] for name, _ in edge.layers[n].makes
        }
        if any(here[n] and not known.issuperset(edge.layers[n].reads) for n in range(count)):
            continue
        wanted = set(edge.outputs) | {
            name for n in range(count) if not here[n] for name in edge.layers[n].reads
        }
        sent = known & wanted
        if PICTURE in sent and 'raw' not in codecs:
            continue
        if all(here) or any(may_leave.get(name, -1) < private_layers for name in sent):
            continue
        robot = sum(edge.layers[n].time_ms for n in range(count) if here[n]) + edge.finish_ms
        tail = sum(there.layers[n].time_ms for n in range(count) if not here[n])
        for codec in codecs:
            share, encode, decode = RATES[codec]
            # Codecs of activations leave the picture as it is.
            nbytes = sum(
                sizes[n] if _raw_only(edge, n, codec) else round(share * sizes[n]) for n in sent
            )
            raw_mb = sum(sizes[n] for n in sent if not _raw_only(edge, n, codec)) / 1e6
            plan = Candidate(
                0, 'x', '', codec, 's',
                head_ms=robot * at.edge_load,
                encode_ms=encode * raw_mb * at.edge_load,
                uplink_ms=link.uplink_ms(float(nbytes)),
                queue_ms=server.queue_ms,
                decode_ms=decode * raw_mb * server.load_factor,
                tail_ms=tail * server.load_factor,
                downlink_ms=link.downlink_ms(float(edge.output_bytes['raw'])),
                overhead_ms=server.overhead_ms
                + at.wake_ratio * (robot - edge.finish_ms) * at.edge_load,
            )  # fmt: skip
            best = min(best, value(with_energy(plan, at)))
    return best


def _may_leave(edge: Profile) -> dict[str, int]:
    """Values that may be sent, and how deep they are at least."""
    depth = {PICTURE: 0}
    for cut in edge.cuts[:-1]:
        depth |= {name: max(depth.get(name, 0), cut.depth) for name in cut.frontier}
    allowed = set(depth)
    for layer in edge.layers:
        least = min(depth[name] for name in layer.reads)
        depth |= {name: max(depth.get(name, 0), least) for name, _ in layer.makes}
    for name in set(depth) - {PICTURE}:
        readers = [layer for layer in edge.layers if name in layer.reads]
        if len(readers) > 1 or any(len(layer.reads) > 1 for layer in readers):
            allowed.add(name)
    return {name: depth[name] for name in allowed}


def _raw_only(edge: Profile, name: str, codec: str) -> bool:
    """Whether nothing tells what a codec does to a value, or it is the picture."""
    told = any(codec in cut.codecs and cut.frontier != (PICTURE,) for cut in edge.cuts[:-1])
    return name == PICTURE or not told


def _check(at: Conditions, constraints: Constraints) -> None:
    """The placement, or a cut in linear order, costs what the cheapest set of layers costs."""
    codecs = constraints.codecs or tuple(RATES)
    cuts = one_cut.candidates(at, constraints, Scope(codecs=codecs))
    linear = min((c.latency_ms for c in cuts), default=math.inf)
    placed = min((c.latency_ms for c in placement.candidates(at, constraints)), default=math.inf)
    expected = min(linear, _cheapest(at, codecs, constraints.private_layers))
    assert min(linear, placed) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=100, deadline=None)
@given(branching_conditions(), st.sampled_from([(), ('raw',), ('half', 'tiny')]))
def test_no_set_of_layers_is_better(at: Conditions, codecs: tuple[str, ...]) -> None:
    _check(at, Constraints(codecs=codecs))


@settings(max_examples=70, deadline=None)
@given(branching_conditions(all_cuts=False), st.integers(0, 2))
def test_exact_under_privacy_and_where_not_every_value_may_be_sent(
    at: Conditions, private_layers: int
) -> None:
    _check(at, Constraints(private_layers))


@settings(max_examples=150, deadline=None)
@given(
    branching_conditions(all_cuts=False), st.integers(0, 2),
    st.sampled_from([(), ('raw',), ('half', 'tiny')]),
)
def test_the_list_of_all_placements_and_the_flow_agree(
    at: Conditions, private_layers: int, codecs: tuple[str, ...]
) -> None:
    """Networks with too many placements for a list are searched by maximum flow."""
    constraints = Constraints(private_layers, codecs=codecs)
    listed = placement.candidates(at, constraints)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('dnn_offload.planning.placement_list.MOST', 0)
        patch.setattr(placement, 'GRAPHS', PairCache(placement_graph, size=4))
        graph = placement.GRAPHS.get(at.edge_profile, at.servers[0].profile)
        assert graph is None or graph.listed is None
        flown = placement.candidates(at, constraints)
    assert [c.latency_ms for c in listed] == pytest.approx([c.latency_ms for c in flown], rel=1e-6)


def test_closed_sets_by_hand() -> None:
    # 0 is always in, 1 never; 2 needs nothing, 3 needs 2, 4 and 5 need one another, 6 needs 1.
    needs = [(3, 2), (4, 5), (5, 4), (6, 1)]
    found = closed_sets(7, needs, 0, 1)
    assert found is not None
    sets = [tuple(np.flatnonzero(row).tolist()) for row in found]
    assert len(set(sets)) == len(sets)
    assert set(sets) == {
        (0,), (0, 2), (0, 2, 3), (0, 4, 5), (0, 2, 4, 5), (0, 2, 3, 4, 5)
    }  # fmt: skip
    assert closed_sets(3, [(0, 2), (2, 1)], 0, 1).tolist() == []  # type: ignore[union-attr]
    wide = [(node, 0) for node in range(2, 20)]
    assert closed_sets(20, wide, 0, 1) is None, '2 ** 18 sets'


# ---------------------------------------------------------------- by hand

def _two_branches() -> tuple[Profile, Profile]:
    """stem -> (a: heavy, sends much) and (b: light, sends little) -> join.

    The stem's value is large, so it should stay; b's is small; a's is not. Robot times
    1, 40, 2, 1 ms; the server's a tenth.
    """
    layers = [
        LayerProfile('stem', 'conv2d', 1.0, 0.0, (PICTURE,), (('stem', 20_000),), 8),
        LayerProfile('pool', 'max_pool2d', 1.0, 0.0, ('stem',), (('pool', 2_000),)),
        LayerProfile('b', 'conv2d', 2.0, 0.0, ('stem',), (('b', 1_000),), 8),
        LayerProfile('a', 'conv2d', 40.0, 0.0, ('pool',), (('a', 8_000),), 8),
        LayerProfile('join', 'cat', 1.0, 0.0, ('a', 'b'), (('join', 500),)),
    ]
    made = {'outputs': ('join',), 'rates': {'raw': RATES['raw']}, 'input_bytes': 100_000}
    return (
        profile_of_layers(layers, **made, positions=[0, 1, 4]),
        profile_of_layers(layers, **made, speed=10.0, positions=[0, 1, 4]),
    )


def _conditions(link: LinkState) -> Conditions:
    edge, server = _two_branches()
    return Conditions(edge, servers=(ServerState('s', server, link),))


def test_a_branch_goes_to_the_server_by_hand() -> None:
    layers = _two_branches()[0].layers
    made = {'outputs': ('join',), 'rates': {'raw': RATES['raw']}, 'input_bytes': 100_000}
    # In the order stem, pool, a, b, join no position lies behind pool and b but before a.
    order = [layers[0], layers[1], layers[3], layers[2], layers[4]]
    edge = profile_of_layers(order, **made)
    server = profile_of_layers(order, **made, speed=10.0)
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)  # 1 ms per kB
    at = Conditions(edge, servers=(ServerState('s', server, link),))
    (found,) = placement.candidates(at, Constraints())
    assert found.frontier == ('pool', 'b')
    assert found.cut_id == placement.frontier_id(['pool', 'b'])
    assert found.cut_id.startswith('dag:') and len(found.cut_id) == 16
    assert found.head_ms == pytest.approx(1.0 + 1.0 + 2.0)
    assert found.uplink_bytes == 3_000
    assert found.uplink_ms == pytest.approx(2.0 + 3.0)
    assert found.tail_ms == pytest.approx(4.1)
    assert found.downlink_ms == pytest.approx(2.5)
    assert found.latency_ms == pytest.approx(4.0 + 5.0 + 4.1 + 2.5 + 0.3)
    # The best cut sends the stem's value: 1 + 2 + 20 + 4.4 + 2.5 + 0.3 ms.
    cuts = one_cut.candidates(at, Constraints(), Scope(codecs=('raw',)))
    linear = min(c.latency_ms for c in cuts)
    assert linear == pytest.approx(30.2)


def test_a_frontier_that_is_a_cut_is_left_to_the_cuts() -> None:
    at = _conditions(LinkState(2.0, 8e6, 2.0, 8e6, 1.0))
    at = replace(at, edge_load=0.01)
    assert placement.candidates(at, Constraints()) == []


def test_values_that_cross_no_cut_and_meet_no_other_are_not_sent() -> None:
    # Cuts only behind stem and before join: pool is tied to the only layer that reads it.
    at = _conditions(LinkState(2.0, 8e6, 2.0, 8e6, 1.0))
    graph = placement.GRAPHS.get(at.edge_profile, at.servers[0].profile)
    assert graph is not None
    names = graph.graph.names
    assert {names[v] for v in range(len(names)) if graph.sendable[v]} == {
        PICTURE, 'stem', 'b', 'a'
    }
    pool, a = (graph.node_of_layer[n] for n in (1, 3))
    assert pool == a


def test_what_a_join_reads_may_be_sent_though_no_cut_lies_behind_it() -> None:
    # As in Inception blocks: the join is cheap and stays with the last branch, so the last
    # branch's value crosses no cut; it is half as large as what both branches read.
    layers = [
        LayerProfile('stem', 'conv2d', 1.0, 0.0, (PICTURE,), (('stem', 20_000),), 8),
        LayerProfile('a', 'conv2d', 1.0, 0.0, ('stem',), (('a', 4_000),), 8),
        LayerProfile('a2', 'conv2d', 9.0, 0.0, ('a',), (('a2', 30_000),), 8),
        LayerProfile('b', 'conv2d', 1.0, 0.0, ('stem',), (('b', 2_000),), 8),
        LayerProfile('join', 'cat', 0.0, 0.0, ('a2', 'b'), (('join', 32_000),)),
        LayerProfile('last', 'conv2d', 50.0, 0.0, ('join',), (('last', 100),), 8),
    ]
    made = {'outputs': ('last',), 'rates': RATES, 'input_bytes': 100_000}
    edge = profile_of_layers(layers, **made, positions=[0, 1, 2, 3, 5])
    server = profile_of_layers(layers, **made, positions=[0, 1, 2, 3, 5], speed=10.0)
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)
    at = Conditions(edge, servers=(ServerState('s', server, link),))
    (found,) = placement.candidates(at, Constraints(codecs=('raw',)))
    assert found.frontier == ('a', 'b')
    assert found.uplink_bytes == 6_000
    assert found.latency_ms == pytest.approx(3.0 + 2.0 + 6.0 + 5.9 + 2.1 + 0.3)
    # Its codecs cost what they cost at the nearest cut, in proportion to the bytes.
    half = replace(found, codec='half')
    assert reprice(half, at).uplink_bytes == 3_000
    assert frontier_depth(edge, ('a', 'b')) == 1
    assert frontier_depth(edge, ('a', 'nothing')) == -1
    assert placement.candidates(at, Constraints(2, codecs=('raw',))) == []


def _dag_plan() -> tuple[Candidate, Conditions]:
    layers = _two_branches()[0].layers
    order = [layers[0], layers[1], layers[3], layers[2], layers[4]]
    made = {'outputs': ('join',), 'rates': {'raw': RATES['raw']}, 'input_bytes': 100_000}
    link = LinkState(2.0, 8e6, 2.0, 8e6, 1.0)
    server = ServerState('s', profile_of_layers(order, **made, speed=10.0), link)
    at = Conditions(profile_of_layers(order, **made), servers=(server,))
    return placement.candidates(at, Constraints())[0], at


def test_a_placement_is_repriced() -> None:
    found, at = _dag_plan()
    assert reprice(found, at) == found
    busy = replace(at, edge_load=3.0)
    assert reprice(found, busy).head_ms == pytest.approx(3.0 * found.head_ms)
    with pytest.raises(PlanningError, match='cannot be priced'):
        reprice(found, replace(at, servers=()))
    with pytest.raises(PlanningError, match='cannot be priced'):
        reprice(replace(found, frontier=('b',)), at)


def test_times_are_those_of_the_nearest_cut_and_the_layers_between() -> None:
    found, at = _dag_plan()
    # Units measured 10 % slower than the sum of their layers: the placement's are as well.
    cuts = tuple(
        replace(cut, head_ms=1.1 * cut.head_ms, tail_ms=1.1 * cut.tail_ms)
        for cut in at.edge_profile.cuts
    )
    slower = replace(at, edge_profile=replace(at.edge_profile, cuts=cuts))
    assert reprice(found, slower).head_ms == pytest.approx(1.1 * found.head_ms)


def test_a_deadline_prices_late_answers() -> None:
    _, at = _dag_plan()
    (late,) = placement.candidates(at, Constraints(), Scope(deadline_ms=16.0))
    (free,) = placement.candidates(at, Constraints())
    assert late.late_ms > 5.0
    assert late.latency_ms == pytest.approx(free.latency_ms + late.late_ms)


def test_a_floor_on_agreement_leaves_raw_tensors() -> None:
    _, at = _dag_plan()

    (found,) = placement.candidates(at, Constraints(min_agreement=0.9))
    assert found.codec == 'raw'


def test_energy_changes_the_placement() -> None:
    _, at = _dag_plan()
    # A radio that costs more than all computing: then as little as possible is sent.
    power = PowerModel('p', 1.0, 50.0, 0.1, 0.1, 'made up')
    demand = Constraints(objective=Objective('energy'))
    found = placement.candidates(replace(at, power=power), demand)
    assert {c.frontier for c in found} == {('pool', 'b')}  # the fastest is among them
    (only,) = found
    joules = 1.0 * (4.0 + 0.3) + 50.0 * 5.0 + 0.1 * 2.5 + 0.1 * 4.1
    assert only.energy_j == pytest.approx(1e-3 * joules)


@settings(max_examples=40, deadline=None)
@given(branching_conditions(), st.sampled_from([0.0, 0.5]))
def test_no_set_of_layers_needs_less_energy(at: Conditions, latency_weight: float) -> None:
    at = replace(at, power=PowerModel('p', 4.0, 2.0, 1.0, 0.5, 'made up'))
    name = 'weighted' if latency_weight else 'energy'
    demand = Constraints(objective=Objective(name, latency_weight))
    local = local_candidate(at)

    def value(plan: Candidate) -> float:
        return with_value(plan, demand, local).value

    cuts = one_cut.candidates(at, demand, Scope(codecs=tuple(RATES)))
    linear = min((value(c) for c in cuts), default=math.inf)
    placed = min((value(c) for c in placement.candidates(at, demand)), default=math.inf)
    expected = min(linear, _cheapest(at, tuple(RATES), value=value))
    assert min(linear, placed) == pytest.approx(expected, rel=1e-5)


def _with_two_threads(edge: Profile, ratio: float) -> Profile:
    """The profile with a variant of two threads that take so many times as long."""
    variant = Variant(
        edge.backend, 2,
        tuple(ratio * cut.head_ms for cut in edge.cuts),
        tuple(ratio * cut.tail_ms for cut in edge.cuts),
    )  # fmt: skip
    return replace(edge, variants=(variant,))


def test_thread_counts_have_their_own_placements() -> None:
    _, at = _dag_plan()
    at = replace(at, edge_profile=_with_two_threads(at.edge_profile, 0.5))
    (one,), (two,) = (placement.candidates(at, Constraints(threads=(n,))) for n in (1, 2))
    assert two.head_ms == pytest.approx(0.5 * one.head_ms)
    assert [reprice(c, at) for c in (one, two)] == [one, two]
    # Nothing speaks for the slower count; what runs with it is kept all the same.
    assert placement.candidates(at, Constraints(threads=(1, 2))) == [two]
    keep = frozenset([one.key])
    assert placement.candidates(at, Constraints(threads=(1, 2), keep=keep)) == [two, one]


@settings(max_examples=40, deadline=None)
@given(
    branching_conditions(), st.sampled_from([0.6, 0.9, 1.2]),
    st.sampled_from(['latency', 'energy', 'weighted']),
)
def test_no_set_of_layers_is_better_with_any_thread_count(
    at: Conditions, ratio: float, objective: str
) -> None:
    power = PowerModel('p', 4.0, 2.0, 1.0, 0.5, 'made up', core_w=1.5)
    at = replace(at, edge_profile=_with_two_threads(at.edge_profile, ratio), power=power)
    demand = Constraints(objective=Objective(objective, 0.4), threads=(1, 2))
    local = local_candidate(at)

    def value(plan: Candidate) -> float:
        return with_value(plan, demand, local).value if objective != 'latency' else plan.latency_ms

    expected = math.inf
    for threads in (1, 2):
        slower = slow_down(at.edge_load, threads) * (ratio if threads == 2 else 1.0)

        def with_threads(plan: Candidate, slower: float = slower, n: int = threads) -> float:
            finish_ms = at.edge_profile.finish_ms * at.edge_load
            layers_ms = plan.head_ms / at.edge_load - at.edge_profile.finish_ms
            woken_ms = at.wake_ratio * layers_ms * (slower - at.edge_load)
            slowed = replace(
                plan, head_ms=layers_ms * slower + finish_ms, threads=n,
                overhead_ms=plan.overhead_ms + woken_ms,
            )
            return value(with_energy(slowed, at))

        expected = min(expected, _cheapest(at, tuple(RATES), value=with_threads))
    cuts = one_cut.candidates(at, demand, Scope(codecs=tuple(RATES)))
    linear = min((value(c) for c in cuts), default=math.inf)
    placed = min((value(c) for c in placement.candidates(at, demand)), default=math.inf)
    assert min(linear, placed) == pytest.approx(min(linear, expected), rel=1e-5)


def test_a_plan_that_runs_is_kept() -> None:
    found, at = _dag_plan()
    slow = replace(at, servers=(replace(at.servers[0], load_factor=50.0),))
    keep = frozenset([found.key])
    (kept,) = placement.candidates(slow, Constraints(keep=keep))
    assert kept == reprice(found, slow)
    assert placement.candidates(slow, Constraints()) == []
    assert placement.candidates(slow, Constraints(private_layers=9, keep=keep)) == []


@pytest.mark.parametrize('change', [
    {'layers': ()},
    {'outputs': ('nothing',)},
    {'input_name': ''},
])
def test_profiles_that_do_not_tell_have_no_placement(change: dict[str, object]) -> None:
    _, at = _dag_plan()
    silent = replace(at, edge_profile=replace(at.edge_profile, **change))
    assert placement.candidates(silent, Constraints()) == []
