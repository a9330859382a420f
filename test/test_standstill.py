"""Ticks that search nothing: only while nothing moves, and not for long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math

import pytest

from dnn_offload.planning import search
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.session import PlannerSettings
from dnn_offload.planning.standstill import LONGEST_S, Standstill
from plan_cases import case
from test_session import offloading, TICK_S, World

AT = case(bps=20e6, load=2.0)
(SERVER,) = AT.servers
PRICE_MS = 50.0
NO_DEMANDS = Constraints()


def holds(now: Conditions, wanted: Constraints = NO_DEMANDS, after_s: float = 0.2) -> bool:
    still = Standstill()
    still.searched(AT, NO_DEMANDS, True, PRICE_MS, 100.0)
    return still.holds(now, wanted, True, 100.0 + after_s)


def with_server(**changes: object) -> Conditions:
    return replace(AT, servers=(replace(SERVER, **changes),))  # type: ignore[arg-type]


def with_link(change: Callable[[LinkState], LinkState]) -> Conditions:
    return with_server(link=change(SERVER.link))


@pytest.mark.parametrize('now', [
    AT,
    replace(AT, edge_load=2.09),
    replace(AT, edge_overhead_ms=0.9),
    replace(AT, wake_ratio=0.04),
    with_server(load_factor=1.04 * SERVER.load_factor, queue_ms=SERVER.queue_ms + 0.9),
    with_link(lambda link: replace(link, uplink_bps=0.96 * link.uplink_bps)),
])
def test_noise_is_no_news(now: Conditions) -> None:
    assert holds(now)
    assert not holds(now, after_s=LONGEST_S)


@pytest.mark.parametrize('now', [
    replace(AT, edge_load=2.2),
    replace(AT, edge_load=math.nan),
    replace(AT, edge_load_raw=1.0),
    replace(AT, edge_overhead_ms=1.2),
    replace(AT, wake_ratio=0.1),
    replace(AT, frame_period_ms=50.0),
    replace(AT, waits_less={'s': 1.2}),
    replace(AT, sizes={('c0', 'jpeg'): 1.2}),
    replace(AT, result_codec='fp16'),
    replace(AT, power=None),
    replace(AT, edge_profile=replace(AT.edge_profile)),
    replace(AT, servers=()),
    replace(AT, servers=(SERVER, replace(SERVER, name='t'))),
    with_server(name='t'),
    with_server(load_factor=1.1 * SERVER.load_factor),
    with_server(queue_ms=SERVER.queue_ms + 1.2),
    with_server(overhead_ms=SERVER.overhead_ms + 1.2),
    with_server(return_overhead_ms=2.0),
    with_server(profile=replace(SERVER.profile)),
    with_link(lambda link: replace(link, uplink_bps=0.9 * link.uplink_bps)),
    with_link(lambda link: replace(link, downlink_bps=1.1 * link.downlink_bps)),
    with_link(lambda link: replace(link, uplink_burst_bytes=1e4)),
    with_link(lambda link: replace(link, uplink_alpha_ms=link.uplink_alpha_ms + 1.2)),
    with_link(lambda link: replace(link, downlink_alpha_ms=link.downlink_alpha_ms + 1.2)),
])
def test_whatever_moves_is_searched(now: Conditions) -> None:
    assert not holds(now)


def test_other_demands_and_another_trust_in_the_load_are_searched() -> None:
    assert not holds(AT, Constraints(private_layers=1))
    still = Standstill()
    assert not still.holds(AT, NO_DEMANDS, True, 0.0)
    still.searched(AT, NO_DEMANDS, False, PRICE_MS, 100.0)
    assert not still.holds(AT, NO_DEMANDS, True, 100.1)


# ---------------------------------------------------------------- in a session

@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Strategies of the searches that were made."""
    made: list[str] = []
    plan = search.plan

    def counted(strategy: str, *arguments: object) -> object:
        made.append(strategy)
        return plan(strategy, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(search, 'plan', counted)
    return made


def test_a_world_that_stands_still_is_searched_every_two_seconds(searches: list[str]) -> None:
    world = offloading()
    world.run(10.0)
    searches.clear()
    before = world.session.tick(world.now_s)
    outcome = world.run(20.0)
    assert before is not None and outcome.plan_id == before.plan_id
    assert not outcome.decision.switched
    assert 9 <= len(searches) <= 15  # of 100 ticks


def test_a_step_in_load_is_answered_as_fast_as_without(searches: list[str]) -> None:
    def until_home_s(world: World) -> float:
        since_s = world.now_s
        while not world.run(TICK_S, load=0.05).decision.candidate.is_local:
            assert world.now_s - since_s < 10.0
        return world.now_s - since_s

    slow = offloading()
    slow.run(10.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Standstill, 'holds', lambda *arguments: False)
        restless = offloading()
        restless.run(10.0)
        expected_s = until_home_s(restless)
    assert until_home_s(slow) == pytest.approx(expected_s, abs=1e-6)


def test_a_silent_server_and_new_demands_wait_for_nothing(searches: list[str]) -> None:
    world = offloading()
    world.run(10.0)
    searches.clear()
    world.session.set_settings(PlannerSettings(private_layers=9))
    world.now_s += 0.01
    outcome = world.session.tick(world.now_s)
    assert outcome is not None and outcome.decision.candidate.is_local
    assert searches == ['auto']

    world = offloading()
    world.run(10.0)
    world.server_speaks = False
    since_s = world.now_s
    while not world.run(TICK_S).decision.candidate.is_local:
        assert world.now_s - since_s < PlannerSettings().server_timeout_s + 2 * TICK_S
    outcome = world.run(TICK_S)
    assert 'desk' in outcome.unusable


def test_a_server_state_is_part_of_what_is_compared() -> None:
    """A field that is added must be thought of here."""
    assert set(ServerState.__dataclass_fields__) == {
        'name', 'profile', 'link', 'load_factor', 'queue_ms', 'overhead_ms',
        'return_overhead_ms',
    }
    assert set(LinkState.__dataclass_fields__) == {
        'uplink_alpha_ms', 'uplink_bps', 'downlink_alpha_ms', 'downlink_bps', 'confidence',
        'uplink_burst_bytes',
    }
    assert set(Conditions.__dataclass_fields__) == {
        'edge_profile', 'edge_load', 'edge_load_raw', 'servers', 'result_codec',
        'edge_overhead_ms', 'power', 'wake_ratio', 'frame_period_ms', 'waits_less', 'sizes',
    }
