"""What the planner's session says of the plan that runs is what its frames take."""

from __future__ import annotations

import statistics

import pytest

from dnn_offload.planning.session import FrameEvidence
from test_session import make_profile, TICK_S, World

FRAMES = 6  # between two ticks


@pytest.mark.parametrize('server_ms', [10.0, 300.0])
@pytest.mark.parametrize('stage_error', [0.9, 1.0, 1.15])
def test_the_plan_that_runs_is_priced_at_what_its_frames_take(
    server_ms: float, stage_error: float
) -> None:
    """Frames wait 3 ms now here, now there, and the stages are priced a little wrong besides."""
    world = World()
    world.session.feed_edge_profile(make_profile(100.0))
    world.session.feed_server_profile('desk', make_profile(server_ms))
    outcome = world.run(3.0)
    plan = outcome.decision.candidate
    assert plan.is_local is (server_ms > 100.0)
    seen_ms: list[float] = []
    for number in range(40 * FRAMES):
        if number % FRAMES == 0:
            outcome = world.run(TICK_S)
        plan = outcome.decision.candidate
        waits_ms = [3.0 * (number % 3 == part) for part in range(3)]
        # All-local frames tell the load themselves, so only the server's part can be wrong.
        error = 1.0 if plan.is_local else stage_error
        stages_ms = error * plan.stages_ms + waits_ms[0]
        age_ms = 1.0 + waits_ms[1]
        latency_ms = stages_ms + age_ms + 2.0 + waits_ms[2]
        seen_ms.append(latency_ms)
        world.session.feed_frame(
            FrameEvidence(
                outcome.plan_id, plan.cut_id, plan.server, True, not plan.is_local, False,
                plan.head_ms, plan.head_ms, latency_ms, age_ms=age_ms, stages_ms=stages_ms,
                tail_ms=plan.tail_ms, rest_ms=plan.rest_ms,
            ),
            world.now_s,
        )
    assert outcome.decision.candidate.key == plan.key
    priced_ms = world.run(TICK_S).decision.candidate.latency_ms
    assert priced_ms == pytest.approx(statistics.median(seen_ms[-40:]), rel=0.03)
