"""A session whose best plan is a placement or has two cuts: taken, kept, and left when illegal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dnn_offload.cost.link import DOWNLINK, LinkEvidence, UPLINK
from dnn_offload.cost.profile import LayerProfile, Profile
from dnn_offload.planning.search import ALL_SHAPES
from dnn_offload.planning.server_book import READY, ServerReport
from dnn_offload.planning.session import (
    FrameEvidence,
    PlannerSession,
    PlannerSettings,
    PlanningOutcome,
)
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers


def profiles(last_bytes: int) -> tuple[Profile, Profile]:
    """Two thin branches of a wide stem, a heavy layer behind their join, and a last layer.

    The network's answer is small or larger than what comes before the last layer.
    """
    layers = [
        LayerProfile('stem', 'conv2d', 2.0, 0.0, (PICTURE,), (('stem', 400_000),), 8),
        LayerProfile('a', 'conv2d', 2.0, 0.0, ('stem',), (('a', 20_000),), 8),
        LayerProfile('a2', 'conv2d', 40.0, 0.0, ('a',), (('a2', 300_000),), 8),
        LayerProfile('b', 'conv2d', 2.0, 0.0, ('stem',), (('b', 10_000),), 8),
        LayerProfile('join', 'cat', 1.0, 0.0, ('a2', 'b'), (('join', 310_000),)),
        LayerProfile('heavy', 'conv2d', 200.0, 0.0, ('join',), (('heavy', 5_000),), 8),
        LayerProfile('last', 'conv2d', 1.0, 0.0, ('heavy',), (('last', last_bytes),), 8),
    ]
    made = {
        'outputs': ('last',), 'rates': {'raw': (1.0, 0.0, 0.0)}, 'input_bytes': 600_000,
        'positions': [0, 1, 2, 3, 5, 6],
    }  # fmt: skip
    edge, server = profile_of_layers(layers, **made), profile_of_layers(layers, **made, speed=10.0)
    # No JPEG: it would beat everything.
    plain = [
        replace(p, cuts=tuple(
            replace(c, codecs={k: v for k, v in c.codecs.items() if k != 'jpeg'}) for c in p.cuts
        ))
        for p in (edge, server)
    ]  # fmt: skip
    return plain[0], plain[1]


def _settled(last_bytes: int, **settings: object) -> tuple[PlannerSession, float, PlanningOutcome]:
    session = PlannerSession(PlannerSettings(shapes=ALL_SHAPES, **settings))  # type: ignore[arg-type]
    edge, server = profiles(last_bytes)
    session.feed_edge_profile(edge)
    session.feed_server_profile('desk', server)
    now_s, outcome = run(session, 100.0)
    return session, now_s, outcome


def run(
    session: PlannerSession,
    now_s: float,
    after: Callable[[PlanningOutcome, float], object] = lambda outcome, now_s: None,
) -> tuple[float, PlanningOutcome]:
    edge = session.edge_profile
    assert edge is not None
    outcome = None
    for _ in range(20):
        now_s += 0.2
        session.feed_status(ServerReport('desk', 1, READY, edge.model_identity), now_s)
        for nbytes in (60_000, 100_000):
            evidence = LinkEvidence(UPLINK, nbytes, 2.0 + 8e3 * nbytes / 20e6)
            session.feed_link('desk', evidence, now_s)
            session.feed_link('desk', LinkEvidence(DOWNLINK, nbytes, 2.0 + 0.4e-3 * nbytes), now_s)
        outcome = session.tick(now_s)
        assert outcome is not None
        after(outcome, now_s)
    assert outcome is not None
    return now_s, outcome


def test_a_placement_is_taken_and_stays() -> None:
    session, now_s, outcome = _settled(4_000)
    plan = outcome.decision.candidate
    assert plan.frontier == ('a', 'b')
    # A demand that it fulfils leaves it alone; the switch is no emergency.
    session.set_settings(PlannerSettings(shapes=ALL_SHAPES, private_layers=1))
    _, after = run(session, now_s)
    assert after.decision.candidate.key == plan.key
    assert not after.switch_urgent


@pytest.mark.parametrize('demand', [
    {'private_layers': 3}, {'codecs': ('int8',)}, {'servers': ('other',)},
])
def test_a_placement_that_becomes_illegal_is_left_at_once(demand: dict[str, object]) -> None:
    session, now_s, outcome = _settled(4_000)
    assert outcome.decision.candidate.frontier
    session.set_settings(PlannerSettings(shapes=ALL_SHAPES, **demand))  # type: ignore[arg-type]
    _, after = run(session, now_s)
    assert after.switch_urgent
    assert not after.decision.candidate.frontier


def test_without_leave_there_is_another_plan() -> None:
    session, now_s, outcome = _settled(4_000)
    assert outcome.decision.candidate.frontier
    session.set_settings(PlannerSettings(shapes=()))
    _, after = run(session, now_s)
    plan = after.decision.candidate
    assert not plan.frontier and not plan.return_id


def test_two_cuts_are_taken_where_the_answer_is_large() -> None:
    _, _, outcome = _settled(900_000)
    plan = outcome.decision.candidate
    assert plan.return_index > plan.cut_index
    assert plan.downlink_bytes == 5_000
    assert plan in outcome.table(3)


def frame(plan: PlanningOutcome, plan_id: int, head_ms: float) -> FrameEvidence:
    chosen = plan.decision.candidate
    return FrameEvidence(
        plan_id, chosen.cut_id, chosen.server, True, True, False, head_ms, head_ms, 100.0,
    )


def test_frames_under_a_placement_tell_the_load() -> None:
    session, now_s, outcome = _settled(4_000)
    idle_ms = outcome.decision.candidate.head_ms / outcome.edge_load.factor
    for number in range(40):
        session.feed_frame(frame(outcome, outcome.plan_id, 2.0 * idle_ms), now_s + 0.02 * number)
    after = session.tick(now_s + 0.8)
    assert after is not None and after.edge_load.source == 'frames'
    assert after.edge_load.factor == pytest.approx(2.0, rel=0.15)


def test_what_was_learnt_of_a_piece_does_not_say_the_load() -> None:
    """Seen: learnt under a load that was read too high, it made frames say that load for good."""
    session, now_s, outcome = _settled(4_000)
    now_s, outcome = run(session, now_s)
    plan = outcome.decision.candidate
    idle_ms = plan.head_ms / outcome.edge_load.factor
    for _ in range(9):
        session._trials.ran(plan, frame(outcome, outcome.plan_id, 0.7 * plan.head_ms), now_s)
    session.set_settings(PlannerSettings(shapes=ALL_SHAPES, private_layers=1))  # said anew
    now_s, after = run(session, now_s)
    assert after.plan_id != outcome.plan_id and after.decision.candidate.key == plan.key
    assert after.decision.candidate.head_ms == pytest.approx(0.7 * plan.head_ms, rel=0.05)
    for number in range(60):
        session.feed_frame(frame(after, after.plan_id, idle_ms), now_s + 0.02 * number)
    last = session.tick(now_s + 1.2)
    assert last is not None and last.edge_load.source == 'frames'
    assert last.edge_load.factor == pytest.approx(1.0, rel=0.05)
    assert last.decision.candidate.head_ms == pytest.approx(idle_ms, rel=0.05), 'and is put right'


def test_a_new_profile_of_the_robot_is_what_frames_are_set_against() -> None:
    session, now_s, outcome = _settled(4_000)
    plan = outcome.decision.candidate
    assert plan.frontier
    # The measured profile has come: what the provisional one said was too little, for all alike.
    edge, _ = profiles(4_000)
    cuts = tuple(replace(c, head_ms=1.5 * c.head_ms, tail_ms=1.5 * c.tail_ms) for c in edge.cuts)
    layers = tuple(replace(layer, time_ms=1.5 * layer.time_ms) for layer in edge.layers)
    session.feed_edge_profile(replace(edge, cuts=cuts, layers=layers))
    now_s, after = run(session, now_s)
    assert (after.decision.candidate.key, after.plan_id) == (plan.key, outcome.plan_id)
    head_ms = 1.5 * plan.head_ms / outcome.edge_load.factor
    for number in range(40):
        session.feed_frame(frame(after, after.plan_id, head_ms), now_s + 0.02 * number)
    last = session.tick(now_s + 0.8)
    assert last is not None and last.edge_load.source == 'frames'
    assert last.edge_load.factor == pytest.approx(1.0, rel=0.05)


def test_frames_of_a_plan_of_long_ago_tell_nothing() -> None:
    session, now_s, outcome = _settled(4_000)
    before = outcome.edge_load
    for number in range(40):
        session.feed_frame(frame(outcome, 9999, 50.0), now_s + 0.02 * number)
    after = session.tick(now_s + 0.8)
    assert after is not None and after.edge_load.factor == before.factor
