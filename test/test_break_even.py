"""What would have to change for another plan to win: borders by hand, and by planning there."""

from __future__ import annotations

from dataclasses import replace
import re

from hypothesis import assume, given, settings
from hypothesis import strategies as st
import pytest

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.planning.break_even import (
    BANDWIDTH,
    break_even,
    EDGE_LOAD,
    Moved,
    QUANTITIES,
    Quantity,
    SERVER_LOAD,
    UPLINK,
)
from dnn_offload.planning.explanation import border_text, explain
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import plan
from plan_cases import case, two_plans

NOTHING = Constraints()


def is_remote(plan: Candidate) -> bool:
    return not plan.is_local


def is_local(plan: Candidate) -> bool:
    return plan.is_local


def test_break_even_bandwidth_by_hand() -> None:
    # Remote: 1 + 400 ms at 1 Mbyte/s, 20 ms there, 1 ms back; local: 100 ms.
    at = two_plans(nbytes=400_000)
    (border,) = break_even(Moved('auto', at, NOTHING, BANDWIDTH), is_remote)
    assert border.above
    assert border.now == 8e6
    # 1 + 3.2e9/B + 20 + 1 = 100
    assert border.value == pytest.approx(3.2e9 / 78.0, rel=0.003)


def test_break_even_loads_by_hand() -> None:
    at = two_plans()  # remote: 1 + 50 + 20 + 1 = 72 ms
    (load,) = break_even(Moved('auto', at, NOTHING, EDGE_LOAD), is_local)
    assert not load.above
    assert load.value == pytest.approx(0.72, rel=0.003)
    (server,) = break_even(Moved('auto', at, NOTHING, SERVER_LOAD), is_local)
    assert server.above
    assert server.value == pytest.approx(48.0 / 20.0, rel=0.003)


def test_no_border_where_it_never_wins() -> None:
    at = two_plans(tail_ms=500.0)
    assert break_even(Moved('auto', at, NOTHING, BANDWIDTH), is_remote) == []
    no_server = Conditions(at.edge_profile)
    for quantity in (BANDWIDTH, SERVER_LOAD):
        assert break_even(Moved('auto', no_server, NOTHING, quantity), is_remote) == []


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([*QUANTITIES, UPLINK]),
    st.sampled_from(['latency', 'energy', 'throughput']),
    st.floats(1e6, 1e8),
    st.floats(0.5, 6.0),
)
def test_beyond_a_border_the_plan_changes_and_before_it_does_not(
    quantity: object, name: str, bps: float, load: float
) -> None:
    at = case(cuts=6, bps=bps, load=load)
    wanted = Constraints(objective=Objective(name))
    here = plan('auto', at, wanted)[0].is_local

    def other(plan: Candidate) -> bool:
        return plan.is_local != here

    for border in break_even(Moved('auto', at, wanted, quantity), other):  # type: ignore[arg-type]
        step = 1.01 if border.above else 1.0 / 1.01
        beyond = border.quantity.move(at, border.value * step)
        before = border.quantity.move(at, border.value / step)
        assert other(plan('auto', beyond, wanted)[0])
        assert not other(plan('auto', before, wanted)[0])


@settings(max_examples=15, deadline=None)
@given(st.booleans(), st.floats(1e6, 1e8), st.floats(0.3, 6.0))
def test_the_printed_border_changes_the_winner(
    downlink_given: bool, bps: float, load: float
) -> None:
    at = case(cuts=6, bps=bps, load=load)
    ranked = plan('auto', at, NOTHING)
    quantities = (UPLINK, *QUANTITIES[1:]) if downlink_given else QUANTITIES
    units = {'': 1.0, 'kbit/s': 1e3, 'Mbit/s': 1e6, 'Gbit/s': 1e9}
    other = explain('auto', at, NOTHING, ranked, quantities).rivals[-1]
    assert other.candidate.is_local != ranked[0].is_local
    for border in other.borders:
        printed = border_text(border).split(' (now')[0]
        found = re.search(r'([0-9.e+-]+) ?([GMk]?bit/s)?$', printed)
        assert found is not None
        value = float(found[1]) * units[found[2] or '']
        for ratio in (1.01, 1.0 / 1.01):
            there = border.quantity.move(at, value * ratio)
            beyond = (ratio > 1.0) == border.above
            assert (plan('auto', there, NOTHING)[0].is_local != ranked[0].is_local) == beyond


def test_moving_a_quantity_to_what_it_is_changes_nothing() -> None:
    at = case(load=1.7)
    for quantity in (*QUANTITIES, UPLINK):
        assert quantity.move(at, quantity.read(at)) == at


def test_explanation_names_the_winner_and_its_rivals() -> None:
    at = case(bps=2e6)
    ranked = plan('auto', at, NOTHING)
    found = explain('auto', at, NOTHING, ranked)
    assert found.winner == ranked[0]
    assert found.rivals[0].candidate == ranked[1]
    places = {rival.candidate.is_local for rival in found.rivals}
    assert found.winner.is_local not in places
    text = '\n'.join(found.sentences(NOTHING))
    assert 'wins: ' in text
    assert 'One would win with an uplink above ' in text
    assert 'Mbit/s (now 2 Mbit/s; the downlink changes with it)' in text


def test_a_runner_up_between_neighbours_is_compared_with_the_winner_alone() -> None:
    """Codecs of one cut: the runner-up gains where others gain more."""
    found = [
        explain('auto', at, NOTHING, plan('auto', at, NOTHING)).rivals[0]
        for at in (case(bps=bps, load=load) for bps in (3e5, 5e6, 5e7) for load in (1.0, 4.0))
    ]
    behind = [rival for rival in found if not rival.outright]
    assert any(rival.borders for rival in behind)
    assert any(rival.outright and rival.borders for rival in found)


def straight_lines(*plans: tuple[float, int]) -> Conditions:
    """Plans of so many ms and so many bytes, at 1000 byte/ms; all on the robot takes 1000 ms."""
    def profile(there: bool) -> Profile:
        last = len(plans)
        cuts = [
            CutProfile(
                f'c{index}', index, f'c{index}', index, nbytes, 0.0, ms if there else 1000.0,
                codecs={'raw': CodecCost(nbytes, 0.0, 0.0)},
            )
            for index, (ms, nbytes) in enumerate(plans)
        ]
        cuts.append(CutProfile(f'c{last}', last, 'out', last, 0, 1000.0, 0.0))
        return Profile('m', 'id', {}, 'torch', 1, {}, 0.0, {'raw': 0}, 0.0, tuple(cuts))

    server = ServerState('s', profile(there=True), LinkState(0.0, 8e6, 0.0, 8e6, 1.0))
    return Conditions(profile(there=False), servers=(server,))


def test_a_runner_up_that_wins_between_two_others_is_said_to_win() -> None:
    """10 + 10/B, 9.2 + 11/B and 6 + 16/B ms: the second is the best for B in 1.25 .. 1.5625."""
    at = straight_lines((10.0, 10_000), (9.2, 11_000), (6.0, 16_000))
    found = explain('auto', at, NOTHING, plan('auto', at, NOTHING), (UPLINK,))
    runner_up = found.rivals[0]
    assert runner_up.candidate.cut_index == 1
    assert runner_up.outright
    (border,) = runner_up.borders
    assert border.value == pytest.approx(1.25 * 8e6, rel=0.003)
    assert 'It would win with an uplink above 10' in '\n'.join(found.sentences(NOTHING))


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.05, 3.0),
    st.lists(st.tuples(st.floats(1.02, 2.0), st.integers(500, 9_000)), min_size=1, max_size=6),
    st.sampled_from([UPLINK, SERVER_LOAD]),
    st.sampled_from(['latency', 'throughput']),
    st.integers(0, 6),
)
def test_borders_are_those_of_a_fine_grid(
    first: float, bands: list[tuple[float, int]], quantity: Quantity, name: str, asked: int
) -> None:
    """Each plan wins in a band of rates, narrow or wide, and sends more than the one before it."""
    plans, rate = [(0.0, 1_000)], first
    for ratio, more in bands:
        plans.append((plans[-1][0] - more / (1e3 * rate), plans[-1][1] + more))
        rate *= ratio
    plans = [(5.0 + ms - plans[-1][0], nbytes) for ms, nbytes in plans]
    at, wanted = straight_lines(*plans), Constraints(objective=Objective(name))
    here = plan('auto', at, wanted)[0].cut_index
    asked %= len(plans)
    assume(asked != here)
    moved = Moved('auto', at, wanted, quantity)
    borders = {one.above: one.value for one in break_even(moved, lambda c: c.cut_index == asked)}
    for above in (True, False):
        grid = [moved.now * quantity.span ** (step / 400.0) for step in range(1, 401)]
        grid = grid if above else [moved.now**2 / value for value in grid]
        won = [value for value in grid if moved.ranked(value)[0].cut_index == asked]
        if above in borders:
            assert moved.ranked(borders[above])[0].cut_index == asked
        if won:
            nearest = min(won) if above else max(won)
            assert above in borders
            late = borders[above] / nearest if above else nearest / borders[above]
            assert late <= 1.003


def test_explanation_without_rivals() -> None:
    at = Conditions(two_plans().edge_profile)
    found = explain('auto', at, NOTHING, plan('auto', at))
    assert found.sentences(NOTHING) == [
        'All on the robot wins: 100.0 ms.', 'No other plan is possible.',
    ]


def test_explanation_tells_what_is_forbidden() -> None:
    at = case()
    bound = Constraints(private_layers=1)
    sentences = explain('auto', at, bound, plan('auto', at, bound)).sentences(bound)
    assert sentences[-1] == 'All-remote is forbidden: private_layers = 1.'


def test_joules_are_told_apart_from_the_price_of_lateness() -> None:
    """Local 100 ms, remote 72 ms."""
    at = two_plans(power=True)

    def told(deadline_ms: float) -> tuple[str, str, str]:
        wanted = Constraints(objective=Objective('energy'), deadline_ms=deadline_ms)
        ranked = plan('auto', at, wanted)
        assert [c.is_local for c in ranked] == [False, True]
        winner, runner_up = explain('auto', at, wanted, ranked).sentences(wanted)
        assert winner.endswith(f' wins: {ranked[0].energy_j:.3f} J.') or deadline_ms
        return winner, runner_up, f'{ranked[1].energy_j - ranked[0].energy_j:.3f} J behind'

    _, runner_up, behind = told(0.0)
    assert f'): {behind}. ' in runner_up
    winner, runner_up, behind = told(90.0)
    assert re.search(r', and 0\.\d+ J as the price of lateness \(\d+ % of its answers', winner)
    assert f'): {behind}, and with ' in runner_up
    assert re.search(r'with 0\.\d+ J more as the price of lateness \(\d+ % of its', runner_up)


def test_borders_in_words() -> None:
    at = replace(two_plans(nbytes=400_000))
    (border,) = break_even(Moved('auto', at, NOTHING, BANDWIDTH), is_remote)
    assert border_text(border) == (
        'an uplink above 41.1 Mbit/s (now 8 Mbit/s; the downlink changes with it)'
    )
    (border,) = break_even(Moved('auto', at, NOTHING, UPLINK), is_remote)
    assert border_text(border) == 'an uplink above 41.1 Mbit/s (now 8 Mbit/s)'
    (border,) = break_even(Moved('auto', two_plans(), NOTHING, EDGE_LOAD), is_local)
    assert border_text(border) == 'a load of the robot below 0.72 (now 1.00)'
