"""Single frames that visit a server to which none has been, by the planner's session."""

from __future__ import annotations

import pytest

from dnn_offload.planning.scouting import VISIT_AGAIN_S
from dnn_offload.planning.session import FrameEvidence, PlannerSettings, PlanningOutcome
from test_session import make_profile, TICK_S, World


def _run_with_frames(world: World, seconds: float, overhead_ms: float) -> list[PlanningOutcome]:
    """Two pictures per tick, which take what is planned and ``overhead_ms`` at the server."""
    seen, answered = [], 0
    for _ in range(round(seconds / TICK_S)):
        outcome = world.run(TICK_S)
        seen.append(outcome)
        for _ in range(2):
            plan, plan_id = outcome.decision.candidate, outcome.plan_id
            if outcome.trial is not None and answered < 5:
                plan, plan_id, answered = outcome.trial, outcome.trial_id, answered + 1
            stages_ms = plan.latency_ms - plan.overhead_ms
            world.session.feed_frame(
                FrameEvidence(
                    plan_id, plan.cut_id, plan.server, True, not plan.is_local, False,
                    plan.head_ms, plan.head_ms, stages_ms + overhead_ms * (not plan.is_local),
                    stages_ms=stages_ms, tail_ms=plan.tail_ms, rest_ms=plan.rest_ms,
                ),
                world.now_s,
            )
    return seen


@pytest.mark.parametrize('overhead_ms', [0.3, 6.0])
def test_the_assumption_about_a_server_that_was_never_used_does_not_keep_a_robot_from_it(
    overhead_ms: float,
) -> None:
    world = World()
    # 12 ms here; 10 ms there, and by the assumption of its overhead 13.
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    seen = _run_with_frames(world, 6.0, overhead_ms)
    local, there = (
        next(c for c in seen[0].ranked if c.is_local is here) for here in (True, False)
    )
    assert local.latency_ms < there.latency_ms
    assert local.latency_ms - there.latency_ms + there.overhead_ms > 2.0
    visits = {outcome.trial_id: outcome for outcome in seen if outcome.trial is not None}
    assert len(visits) == 1, 'once is enough'
    (visit,) = visits.values()
    assert visit.trial is not None and visit.trial.server == 'desk'
    known = next(c for c in seen[-1].ranked if not c.is_local)
    assert known.overhead_ms == pytest.approx(overhead_ms, abs=0.2)
    assert (seen[-1].decision.candidate.server == 'desk') == (overhead_ms < 1.0)
    # Pieces that were measured stay as measured.
    assert known.tail_ms == pytest.approx(there.tail_ms)


@pytest.mark.parametrize('quiet_s', [0.0, 1.8, 3.4])
def test_a_visit_waits_for_the_first_picture(quiet_s: float) -> None:
    """Seen: a camera that opens slowly, and for a minute no frame could go to a server."""
    world = World()
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    for _ in range(round(quiet_s / TICK_S)):
        assert world.run(TICK_S).trial is None
    assert _run_with_frames(world, 6.0, 0.3)[-1].decision.candidate.server == 'desk'


def test_a_visit_that_pictures_did_not_come_to_is_made_when_they_come() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    here = _run_with_frames(world, TICK_S, 0.3)[0].decision.candidate  # and the camera stops
    visited = [world.run(TICK_S).trial for _ in range(20)]
    assert here.is_local and visited[0] is not None and visited[-1] is None
    assert _run_with_frames(world, 6.0, 0.3)[-1].decision.candidate.server == 'desk'


def test_another_profile_ends_a_visit_that_is_made_again() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    assert _run_with_frames(world, 2 * TICK_S, 0.3)[-1].trial is not None
    world.session.feed_server_profile('desk', make_profile(3.1))
    assert _run_with_frames(world, 6.0, 0.3)[-1].decision.candidate.server == 'desk'


def test_a_change_of_plan_does_not_send_visits_to_who_did_not_answer() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    visits = []
    for second in range(40):
        for outcome in (world.run(TICK_S) for _ in range(5)):
            ran = outcome.trial is not None
            visits += [(second, outcome.trial_id)] * ran
            plan_id = outcome.trial_id or outcome.plan_id
            world.session.feed_frame(
                FrameEvidence(plan_id, '', '', True, False, ran, 11.9, 11.9, 12.0), world.now_s
            )
        if second % 8 == 4:  # the demands change, and a plan goes out
            world.session.set_settings(PlannerSettings(private_layers=second % 3))
    assert len({trial for _, trial in visits}) == 1, visits


def test_published_strategies_visit_nobody() -> None:
    world = World(strategy='neurosurgeon')
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    assert all(outcome.trial is None for outcome in _run_with_frames(world, 2.0, 0.3))


def test_a_visit_that_frames_do_not_come_to_leaves_time_for_others() -> None:
    """A server that is full, say: the stream goes on and none of its frames gets there."""
    world = World()
    world.session.feed_edge_profile(make_profile(11.9))
    world.session.feed_server_profile('desk', make_profile(3.0))
    visits: dict[int, float] = {}
    for _ in range(round(0.9 * VISIT_AGAIN_S / TICK_S)):
        outcome = world.run(TICK_S)
        world.session.feed_frame(
            FrameEvidence(outcome.plan_id, '', '', True, False, False, 11.9, 11.9, 12.0),
            world.now_s,
        )
        if outcome.trial is not None:
            visits.setdefault(outcome.trial_id, world.now_s)
    assert len(visits) == 1, visits
