"""The strategies: what each considers and believes; ``auto`` is exact and contains all."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.planning.costs import local_candidate
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    ServerState,
)
from dnn_offload.planning.search import plan, reprice, STRATEGIES
from dnn_offload.simulate.made_up import made_up_profile
from plan_cases import auto_and_others

EDGE = made_up_profile(cuts=12, whole_ms=40.0)
SERVER = made_up_profile(cuts=12, whole_ms=40.0, speed=5.0)
FAST = LinkState(1.0, 100e6, 1.0, 100e6, 1.0)
SLOW = LinkState(3.0, 1e6, 3.0, 1e6, 1.0)


def conditions(link: LinkState = FAST, **changes: object) -> Conditions:
    """One robot, one server."""
    return replace(Conditions(EDGE, servers=(ServerState('s', SERVER, link),)), **changes)


def test_local_is_the_profile_times_the_load() -> None:
    (only,) = plan('local', conditions(edge_load=2.0))
    assert only.is_local
    assert only.latency_ms == pytest.approx(2.0 * (40.0 + EDGE.finish_ms))
    assert only.cut_index == 12


def test_breakdown_of_a_remote_plan() -> None:
    link = LinkState(2.0, 8e6, 5.0, 16e6, 1.0)
    server = ServerState('s', SERVER, link, load_factor=3.0, queue_ms=7.0)
    ranked = plan('auto', Conditions(EDGE, 2.0, 9.0, (server,)))
    here = EDGE.cuts[4]
    there = SERVER.cuts[4]
    found = next(c for c in ranked if c.cut_id == here.cut_id and c.codec == 'int8')
    assert found.head_ms == pytest.approx(2.0 * here.head_ms)
    assert found.encode_ms == pytest.approx(2.0 * here.codecs['int8'].encode_ms)
    assert found.uplink_ms == pytest.approx(2.0 + here.codecs['int8'].nbytes / 1000)
    assert found.queue_ms == 7.0
    assert found.decode_ms == pytest.approx(3.0 * there.codecs['int8'].decode_ms)
    assert found.tail_ms == pytest.approx(3.0 * there.tail_ms)
    assert found.downlink_ms == pytest.approx(5.0 + SERVER.output_bytes['raw'] / 2000)
    assert found.finish_ms == pytest.approx(2.0 * EDGE.finish_ms)
    assert found.latency_ms == pytest.approx(
        sum(getattr(found, name) for name in vars(found) if name.endswith('_ms'))
    )


def test_nothing_runs_before_the_picture() -> None:
    cuts = (replace(EDGE.cuts[0], head_ms=0.7), *EDGE.cuts[1:])
    noisy = replace(EDGE, cuts=cuts)
    ranked = plan('auto', conditions(edge_profile=noisy))
    assert all(c.head_ms == 0.0 for c in ranked if c.cut_index == 0)


def test_remote_sends_the_jpeg_picture() -> None:
    (only,) = plan('remote', conditions())
    assert (only.cut_index, only.codec, only.server) == (0, 'jpeg', 's')


def test_remote_without_server_or_picture_has_no_plan() -> None:
    with pytest.raises(PlanningError, match='remote'):
        plan('remote', conditions(servers=()))
    with pytest.raises(PlanningError, match='private_layers=1'):
        plan('remote', conditions(), Constraints(private_layers=1))


def test_neurosurgeon_is_blind_to_the_robots_load() -> None:
    idle = plan('neurosurgeon', conditions(SLOW, edge_load=1.0, edge_load_raw=1.0))
    busy = plan('neurosurgeon', conditions(SLOW, edge_load=5.0, edge_load_raw=5.0))
    assert idle == busy
    assert {c.codec for c in idle} == {'', 'raw'}
    assert {c.cut_index for c in idle} == set(range(13))
    assert reprice(busy[0], conditions(SLOW, edge_load=5.0)).latency_ms > busy[0].latency_ms


def test_neurosurgeon_sees_the_servers_load() -> None:
    idle = ServerState('s', SERVER, FAST, load_factor=1.0)
    busy = replace(idle, load_factor=4.0)
    tails = [
        {c.cut_id: c.tail_ms for c in plan('neurosurgeon', conditions(servers=(s,)))}
        for s in (idle, busy)
    ]
    assert all(tails[1][cut] == pytest.approx(4.0 * tails[0][cut]) for cut in tails[0])


def test_dey2019_multiplies_by_the_raw_load_average_above_one() -> None:
    at = conditions(edge_load=1.0)
    for raw, factor in [(0.2, 1.0), (1.0, 1.0), (2.5, 2.5), (math.nan, 1.0)]:
        ranked = plan('dey2019', replace(at, edge_load_raw=raw))
        local = next(c for c in ranked if c.is_local)
        assert local.latency_ms == pytest.approx(factor * (40.0 + EDGE.finish_ms))
        assert {c.cut_index for c in ranked} == set(range(13))
        assert {c.codec for c in ranked} == {'', 'raw'}


def test_load_moves_the_cut() -> None:
    quiet = plan('auto', conditions(SLOW, edge_load=1.0))[0]
    busy = plan('auto', conditions(SLOW, edge_load=8.0))[0]
    assert quiet.is_local
    assert not busy.is_local


def test_private_layers_keep_early_cuts_on_the_robot() -> None:
    for layers in (1, 5):
        ranked = plan('auto', conditions(), Constraints(private_layers=layers))
        assert min(c.cut_index for c in ranked if not c.is_local) == layers
    nothing = plan('auto', conditions(), Constraints(private_layers=100))
    assert [c.is_local for c in nothing] == [True]


def test_allowed_codecs_and_servers() -> None:
    two = (ServerState('a', SERVER, FAST), ServerState('b', SERVER, SLOW))
    ranked = plan('auto', conditions(servers=two), Constraints(codecs=('int8',), servers=('b',)))
    assert {c.codec for c in ranked} == {'', 'int8'}
    assert {c.server for c in ranked} == {'', 'b'}


def test_a_cut_must_exist_on_both_sides() -> None:
    partial = replace(
        SERVER,
        cuts=tuple(
            replace(cut, index=i) for i, cut in enumerate(SERVER.cuts) if cut.index in (0, 3, 12)
        ),
    )
    ranked = plan('auto', conditions(servers=(ServerState('s', partial, FAST),)))
    assert {c.cut_index for c in ranked} == {0, 3, 12}


def test_decode_cost_falls_back_to_the_robots() -> None:
    silent = replace(SERVER, cuts=tuple(replace(cut, codecs={}) for cut in SERVER.cuts))
    ranked = plan('auto', conditions(servers=(ServerState('s', silent, FAST),)))
    found = next(c for c in ranked if c.cut_index == 2 and c.codec == 'int8')
    assert found.decode_ms == pytest.approx(EDGE.cuts[2].codecs['int8'].decode_ms)


def test_dead_link_is_no_candidate() -> None:
    dead = LinkState(1.0, 0.0, 1.0, 0.0)
    assert [c.is_local for c in plan('auto', conditions(dead))] == [True]


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match='auto, dey2019'):
        plan('magic', conditions())
    with pytest.raises(PlanningError, match='size of an answer'):
        plan('auto', conditions(result_codec='gzip'))


def test_reprice_of_what_cannot_run() -> None:
    best = plan('remote', conditions())[0]
    with pytest.raises(PlanningError, match='cannot be priced'):
        reprice(best, conditions(servers=()))


def test_unknown_load_counts_as_one() -> None:
    expected = local_candidate(conditions(edge_load=1.0)).latency_ms
    for load in (math.nan, math.inf, 0.0, -3.0):
        assert local_candidate(conditions(edge_load=load)).latency_ms == expected


# ---------------------------------------------------------------- properties

_ms = st.floats(0.0, 500.0)
_size = st.integers(0, 5_000_000)
_load = st.floats(0.2, 20.0)


@st.composite
def _profiles(draw: st.DrawFn, count: int) -> Profile:
    def cost() -> CodecCost:
        return CodecCost(draw(_size), draw(_ms), draw(_ms))

    cuts = tuple(
        CutProfile(
            f'cut{index}', index, f'op{index}', draw(st.integers(0, count)), draw(_size),
            draw(_ms), draw(_ms),
            codecs={
                name: cost()
                for name in draw(st.sets(st.sampled_from(['raw', 'fp16', 'int8', 'jpeg'])))
            },
        )
        for index in range(count)
    )
    return Profile(
        'm', 'id', {}, 'torch', 1, {}, draw(_ms), {'raw': draw(_size)}, 0.0, cuts
    )


@st.composite
def _problems(draw: st.DrawFn) -> tuple[Conditions, Constraints]:
    count = draw(st.integers(2, 6))
    rate = st.sampled_from([0.0, 1e4, 1e6, 1e7, 1e9])
    servers = tuple(
        ServerState(
            name,
            draw(_profiles(count=draw(st.integers(2, count)))),
            LinkState(draw(_ms), draw(rate), draw(_ms), draw(rate)),
            draw(_load),
            draw(_ms),
        )
        for name in draw(st.sets(st.sampled_from(['a', 'b'])))
    )
    at = Conditions(draw(_profiles(count=count)), draw(_load), draw(_load), servers)
    constraints = Constraints(
        draw(st.integers(0, 3)),
        tuple(draw(st.sets(st.sampled_from(['raw', 'int8', 'jpeg'])))),
        tuple(draw(st.sets(st.sampled_from(['a', 'b'])))),
    )
    return at, constraints


@settings(max_examples=60, deadline=None)
@given(_problems())
def test_auto_never_predicts_worse_than_any_other(
    problem: tuple[Conditions, Constraints],
) -> None:
    at, constraints = problem
    ranked, theirs = auto_and_others(at, constraints)
    keys = {c.key for c in ranked}
    assert all({c.key for c in others} <= keys for others in theirs)


@settings(max_examples=60, deadline=None)
@given(_problems())
def test_auto_is_optimal_by_brute_force(problem: tuple[Conditions, Constraints]) -> None:
    at, constraints = problem
    assert plan('auto', at, constraints)[0].latency_ms == pytest.approx(
        _cheapest_ms(at, constraints), rel=1e-9, abs=1e-9
    )


def _cheapest_ms(at: Conditions, constraints: Constraints) -> float:
    """The cost formula of README, "How it plans", written out once more, over everything."""
    edge = at.edge_profile
    best = (edge.cuts[-1].head_ms + edge.finish_ms) * at.edge_load
    for server in at.servers:
        link = server.link
        if constraints.servers and server.name not in constraints.servers:
            continue
        if link.uplink_bps == 0.0 or link.downlink_bps == 0.0:
            continue
        for cut in edge.cuts[:-1]:
            for other in server.profile.cuts:
                if other.cut_id != cut.cut_id or cut.depth < constraints.private_layers:
                    continue
                codecs = {'raw': CodecCost(cut.frontier_bytes, 0.0, 0.0), **cut.codecs}
                for name, cost in codecs.items():
                    if constraints.codecs and name not in constraints.codecs:
                        continue
                    head = cut.head_ms if cut.index else 0.0
                    robot = (head + cost.encode_ms + edge.finish_ms) * at.edge_load
                    up = link.uplink_alpha_ms + 8000.0 * cost.nbytes / link.uplink_bps
                    decode = other.codecs[name].decode_ms if name in other.codecs else (
                        cost.decode_ms
                    )
                    there = server.queue_ms + (decode + other.tail_ms) * server.load_factor
                    answer = server.profile.output_bytes['raw']
                    down = link.downlink_alpha_ms + 8000.0 * answer / link.downlink_bps
                    best = min(best, robot + up + there + down)
    return best


def test_candidates_differ_by_key_only_once() -> None:
    assert Candidate(1, 'a', '', 'raw', 's').key != Candidate(1, 'a', '', 'raw', 't').key



def _late_ms(link: LinkState, deadline_ms: float) -> float:
    ranked = plan('auto', conditions(link), Constraints(deadline_ms=deadline_ms))
    assert any(candidate.is_local and candidate.late_ms == 0.0 for candidate in ranked)
    return next(c.late_ms for c in ranked if c.codec == 'jpeg')


def test_answers_after_the_rescue_cost_the_wait_for_the_deadline() -> None:
    (jpeg,) = plan('remote', conditions(SLOW))
    latency = jpeg.latency_ms
    # The robot rescues one whole network (40 ms) and its decoding before the deadline.
    needed_ms = latency + 40.0 + EDGE.finish_ms
    assert _late_ms(SLOW, 1.8 * needed_ms) < 0.02 * latency
    deadline_ms = latency + 20.0  # the rescue has begun long before the answer comes
    assert _late_ms(SLOW, deadline_ms) == pytest.approx(20.0, rel=0.2)
    assert _late_ms(SLOW, 0.0) == 0.0, 'no deadline, no limit'


def test_an_answer_has_until_the_deadline_where_no_rescue_fits() -> None:
    fast = LinkState(1.0, 1e9, 1.0, 1e9, 1.0)
    (jpeg,) = plan('remote', conditions(fast))
    assert jpeg.latency_ms < 13.0
    assert _late_ms(fast, 25.0) < 2.0, 'a local tail of 40 ms cannot fit anyway'
    assert _late_ms(fast, 0.5 * jpeg.latency_ms) > 0.4 * jpeg.latency_ms


def test_price_of_lateness_has_no_jump() -> None:
    previous = None
    for tenth in range(200, 3000):
        late_ms = _late_ms(SLOW, 0.1 * tenth)
        assert previous is None or abs(late_ms - previous) < 2.0  # per 0.1 ms of deadline
        previous = late_ms


@pytest.mark.parametrize('layers', [1, 2, 5, 100])
@pytest.mark.parametrize('name', sorted(STRATEGIES))
def test_no_strategy_leaks_private_layers(name: str, layers: int) -> None:
    for deadline_ms in (0.0, 30.0):
        try:
            ranked = plan(name, conditions(), Constraints(layers, deadline_ms=deadline_ms))
        except PlanningError:
            assert name == 'remote'
            continue
        depths = [EDGE.cuts[c.cut_index].depth for c in ranked if not c.is_local]
        assert all(depth >= layers for depth in depths)
        assert (depths != []) == (name != 'local' and layers < 100)


@pytest.mark.parametrize('deadline_ms', [1.0, 30.0, 60.0, 300.0])
def test_a_deadline_leaves_no_candidate_out(deadline_ms: float) -> None:
    free = plan('auto', conditions(SLOW))
    bound = plan('auto', conditions(SLOW), Constraints(deadline_ms=deadline_ms))
    assert {c.key for c in free} == {c.key for c in bound}
