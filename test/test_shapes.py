"""``auto`` with two cuts and placements over the graph: never worse than any other strategy."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import ALL_SHAPES, plan, reprice
from dnn_offload.simulate.made_up_graph import made_up_squeezenet
from graph_profiles import branching_conditions
from plan_cases import auto_and_others


@settings(max_examples=80, deadline=None)
@given(
    branching_conditions(bursts=True),
    st.sampled_from([(), ('two_cuts',), ('dag',), ALL_SHAPES]),
    st.integers(0, 2),
)
def test_auto_is_never_worse(
    at: Conditions, shapes: tuple[str, ...], private_layers: int
) -> None:
    constraints = Constraints(private_layers, shapes=shapes)
    ranked, _ = auto_and_others(at, constraints)
    # More ways to run a network never make the plan slower.
    assert ranked[0].latency_ms <= plan('auto', at, Constraints(private_layers))[0].latency_ms


@settings(max_examples=40, deadline=None)
@given(branching_conditions(), st.sampled_from([0.0, 40.0]))
def test_what_auto_finds_is_priced_alike_again(at: Conditions, deadline_ms: float) -> None:
    constraints = Constraints(deadline_ms=deadline_ms, shapes=ALL_SHAPES)
    for candidate in plan('auto', at, constraints):
        again = reprice(candidate, at)
        assert again.key == candidate.key
        assert again.latency_ms == pytest.approx(candidate.latency_ms - candidate.late_ms)


SQUEEZENET = made_up_squeezenet(), made_up_squeezenet(4.0)


def _at(link: LinkState) -> Conditions:
    return Conditions(SQUEEZENET[0], servers=(ServerState('s', SQUEEZENET[1], link),))


def test_no_shape_is_used_without_leave() -> None:
    ranked = plan('auto', _at(LinkState(1.0, 1e8, 1.0, 1e8)))
    assert not any(c.return_id or c.frontier for c in ranked)


@pytest.mark.parametrize('layers', [1, 3, 60])
def test_no_shape_leaks_private_layers(layers: int) -> None:
    at = _at(LinkState(1.0, 1e8, 1.0, 1e8))
    edge = at.edge_profile
    deep = {
        name for cut in edge.cuts if cut.depth >= layers for name in cut.frontier
    }
    for candidate in plan('auto', at, Constraints(layers, shapes=ALL_SHAPES)):
        if candidate.frontier:
            assert set(candidate.frontier) <= deep
        elif not candidate.is_local:
            assert edge.cuts[candidate.cut_index].depth >= layers


def test_a_deadline_ranks_as_it_would_with_all_pairs_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = _at(LinkState(3.0, 5e6, 3.0, 5e6))
    for deadline_ms in (5.0, 12.0, 20.0, 60.0, 200.0):
        found = []
        for looks in (1, 100_000):
            monkeypatch.setattr('dnn_offload.planning.two_cuts._FIRST_LOOKS', looks)
            constraints = Constraints(deadline_ms=deadline_ms, shapes=('two_cuts',))
            ranked = plan('auto', at, constraints)
            found.append([round(c.latency_ms, 9) for c in ranked if c.return_id])
        assert found[0] == found[1] != []


def test_with_profiles_that_do_not_match_only_cuts_are_left() -> None:
    at = _at(LinkState(1.0, 1e8, 1.0, 1e8))
    other = replace(SQUEEZENET[1], layers=SQUEEZENET[1].layers[:-1])
    changed = replace(at, servers=(replace(at.servers[0], profile=other),))
    ranked = plan('auto', changed, Constraints(shapes=('dag',)))
    assert not any(c.frontier for c in ranked)
