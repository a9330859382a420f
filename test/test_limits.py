"""Agreement floor, memory limits, thread counts; and what they forbid, in words."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.energy import PowerModel
from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import load_behind, local_candidate, slow_down
from dnn_offload.planning.limits import forbidden_ends, MAX_FRONTIER, why_not
from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.search import plan, reprice
from dnn_offload.simulate.made_up import made_up_profile
from plan_cases import case, with_threads


def test_unknown_agreement_passes_no_floor_and_lossless_passes_any() -> None:
    free = {c.codec for c in plan('auto', case())}
    assert free == {'', 'raw', 'fp16', 'int8', 'int8_zstd', 'zstd', 'jpeg'}
    assert {c.codec for c in plan('auto', case(), Constraints(min_agreement=0.5))} == {
        '', 'raw', 'zstd',
    }


def test_a_floor_is_kept_at_its_very_value() -> None:
    at = case(agreement=0.97)
    for floor, kept in ((0.97, True), (0.9701, False)):
        codecs = {c.codec for c in plan('auto', at, Constraints(min_agreement=floor))}
        assert ('int8' in codecs) == kept
        assert 'jpeg' not in codecs, 'pictures too must have been measured'


def test_memory_of_the_robot_is_the_head_or_all_of_it() -> None:
    # 10 MB per cut, 120 MB for the whole network.
    ranked = plan('auto', case(), Constraints(max_edge_memory_mb=45.0))
    assert {c.cut_index for c in ranked} == {0, 1, 2, 3, 4}
    assert not any(c.is_local for c in ranked)
    # With a deadline the robot keeps the tail to finish frames itself.
    bound = Constraints(max_edge_memory_mb=45.0, deadline_ms=500.0)
    with pytest.raises(PlanningError, match='all-local is forbidden: needs 120 MB'):
        plan('auto', case(), bound)
    whole = Constraints(max_edge_memory_mb=120.0, deadline_ms=500.0)
    assert len(plan('auto', case(), whole)) == len(plan('auto', case()))


def test_memory_of_a_server_is_its_piece() -> None:
    ranked = plan('auto', case(), Constraints(max_server_memory_mb=45.0))
    assert {c.cut_index for c in ranked if not c.is_local} == {8, 9, 10, 11}


def test_what_was_not_measured_passes_no_memory_limit() -> None:
    at = case()
    unknown = replace(
        at.edge_profile,
        cuts=tuple(replace(cut, head_bytes=0) for cut in at.edge_profile.cuts),
    )
    ranked = plan(
        'auto', replace(at, edge_profile=unknown), Constraints(max_edge_memory_mb=1e5)
    )
    assert {c.cut_index for c in ranked} == {0}, 'nothing runs here'


def test_ends_that_are_forbidden_are_told_in_words() -> None:
    at = case()
    assert forbidden_ends(at, Constraints()) == []
    cases = {
        'private_layers = 2': Constraints(private_layers=2),
        'codecs = int8': Constraints(codecs=('int8',)),
        'all-local is forbidden: needs 120 MB, max_edge_memory_mb = 60': Constraints(
            max_edge_memory_mb=60.0
        ),
        'all-remote on s is forbidden: needs 120 MB': Constraints(max_server_memory_mb=60.0),
        'min_agreement = 0.9': Constraints(codecs=('jpeg',), min_agreement=0.9),
    }
    for words, constraints in cases.items():
        (why,) = forbidden_ends(at, constraints)
        assert words in why


def test_both_ends_are_candidates_unless_forbidden() -> None:
    ranked = plan('auto', case())
    assert any(c.is_local for c in ranked)
    assert {c.codec for c in ranked if c.cut_index == 0} == {'raw', 'zstd', 'jpeg'}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    st.sampled_from([0.0, 5.0, 45.0, 130.0]),
    st.sampled_from([0.0, 5.0, 45.0, 130.0]),
    st.sampled_from([0.0, 300.0]),
    st.sampled_from([None, 0.9, 0.97]),
)
def test_limits_mean_the_same_for_columns_and_for_plans(
    floor: float, edge_mb: float, server_mb: float, deadline_ms: float, agreement: float | None
) -> None:
    at = case(cuts=6, agreement=agreement)
    limits = Constraints(
        min_agreement=floor, max_edge_memory_mb=10 * edge_mb, max_server_memory_mb=server_mb,
        deadline_ms=deadline_ms,
    )
    expected = {c.key for c in plan('auto', at) if not why_not(c, at, limits)}
    try:
        found = {c.key for c in plan('auto', at, limits)}
    except PlanningError:
        found = set()
    assert found == expected


def test_a_second_cut_is_held_to_the_floor_too() -> None:
    at = case(agreement=0.97)
    back = at.edge_profile.cuts[6].cut_id
    out = at.edge_profile.cuts[2].cut_id
    made = Candidate(2, out, '', 'int8', 's', return_id=back, return_index=6, return_codec='int8')
    assert why_not(made, at, Constraints(min_agreement=0.97)) == ''
    lossy = replace(made, return_codec='int8_zstd')
    assert 'int8_zstd' in why_not(lossy, at, Constraints(min_agreement=0.97))
    assert 'needs 120 MB' in why_not(made, at, Constraints(max_server_memory_mb=50.0))
    assert 'needs 120 MB' in why_not(made, at, Constraints(max_edge_memory_mb=50.0))


def test_a_frontier_that_no_message_carries_is_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Candidate(-1, 'dag:x', '', 'raw', 's', frontier=('v',) * (MAX_FRONTIER + 1))
    narrow = replace(wide, cut_id='dag:y', frontier=('v',) * MAX_FRONTIER)
    monkeypatch.setitem(
        plan.__globals__['STRATEGIES'], 'local', lambda at, constraints: [wide, narrow]
    )
    assert [c.cut_id for c in plan('local', case())] == ['dag:y']


# ---- threads -----------------------------------------------------------------------------------


def threaded(load: float) -> list[Candidate]:
    at = case(load=load)
    at = replace(at, edge_profile=with_threads(at.edge_profile, 2, 4))
    return plan('auto', at, Constraints(threads=(1, 2, 4, 8)))


def test_threads_are_priced_as_they_were_profiled() -> None:
    ranked = threaded(1.0)
    assert {c.threads for c in ranked} == {1, 2, 4}, 'eight were not profiled'
    local = {c.threads: c for c in ranked if c.is_local}
    assert local[4].head_ms == pytest.approx(40.0 / 4**0.8)
    assert local[1].head_ms == pytest.approx(40.0)
    assert local[4].finish_ms == local[1].finish_ms
    deep = {c.threads: c for c in ranked if c.cut_index == 6 and c.codec == 'int8'}
    assert deep[2].head_ms == pytest.approx(deep[1].head_ms / 2**0.8)
    assert deep[2].tail_ms == deep[1].tail_ms, 'the server has its own'
    # Four threads draw 3 + 3 * 0.5 W for a third of the time.
    assert local[4].energy_j < local[1].energy_j


@pytest.mark.parametrize('threads', [0, 1, 2, 4, 16])
@pytest.mark.parametrize('load', [0.5, 1.0, 1.3, 4.0, 40.0])
def test_what_threads_suffer_tells_the_load(load: float, threads: int) -> None:
    # A frame of k threads says more than the load: priced again, it must not count twice.
    assert load_behind(slow_down(load, threads), threads) == pytest.approx(load)


def test_a_plan_that_names_no_threads_is_priced_with_those_of_the_profile() -> None:
    power = PowerModel('made up', 2.0, 1.0, 1.0, 0.5, 'test', core_w=1.0)
    four = replace(made_up_profile(cuts=12, whole_ms=40.0), threads=4)
    at = Conditions(four, edge_load=2.0, power=power)
    whole = local_candidate(at)
    assert whole.head_ms == pytest.approx(four.whole_ms * slow_down(2.0, 4))
    busy_ms = (whole.head_ms + whole.finish_ms) / 2.0
    idle_ms = whole.latency_ms - busy_ms
    assert whole.energy_j == pytest.approx(1e-3 * (5.0 * busy_ms + 0.5 * idle_ms))


def test_a_picture_that_waits_for_a_busy_robot_costs_no_idle_energy() -> None:
    power = PowerModel('made up', 2.0, 1.0, 1.0, 0.5, 'test')
    at = Conditions(made_up_profile(cuts=12, whole_ms=40.0), power=power)
    alone, stream = local_candidate(at), local_candidate(replace(at, frame_period_ms=20.0))
    assert stream.wait_ms > 9.0
    assert stream.energy_j == pytest.approx(alone.energy_j)


def test_threads_suffer_more_from_load() -> None:
    assert slow_down(3.0, 0) == slow_down(3.0, 1) == 3.0
    assert slow_down(1.0, 4) == 1.0
    assert slow_down(0.8, 4) == 0.8
    assert slow_down(3.0, 4) == pytest.approx(3.0 * 1.6)
    quiet = next(c for c in threaded(1.0) if c.is_local)
    busy = next(c for c in threaded(20.0) if c.is_local)
    assert (quiet.threads, busy.threads) == (4, 1)


def test_threads_as_they_are_set_where_none_is_asked_for() -> None:
    at = case()
    at = replace(at, edge_profile=with_threads(at.edge_profile, 2))
    assert {c.threads for c in plan('auto', at)} == {0}
    assert {c.threads for c in plan('auto', at, Constraints(threads=(16,)))} == {0}


def test_published_strategies_run_as_set_or_with_the_next_that_is_allowed() -> None:
    at = case()
    at = replace(at, edge_profile=with_threads(at.edge_profile, 2))
    for name in ('local', 'remote', 'neurosurgeon', 'dey2019', 'roadrunner'):
        for allowed, threads in (((), 0), ((1, 2), 0), ((16,), 0), ((2,), 2)):
            found = {c.threads for c in plan(name, at, Constraints(threads=allowed))}
            assert found == {threads}, (name, allowed)


def test_a_plan_with_threads_can_be_priced_again() -> None:
    at = case(load=1.3)
    at = replace(at, edge_profile=with_threads(at.edge_profile, 2))
    for candidate in plan('auto', at, Constraints(threads=(2,)))[:5]:
        assert reprice(candidate, at) == candidate
    assert local_candidate(at, threads=2).head_ms < local_candidate(at).head_ms
