"""The planner's session under other objectives, limits and many plans."""

from __future__ import annotations

from dataclasses import replace
import math

import pytest

from dnn_offload.cost.link import DOWNLINK, LinkEvidence, UPLINK
from dnn_offload.cost.load import LoadReadings
from dnn_offload.cost.profile import Profile
from dnn_offload.planning import two_cuts
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.server_book import READY, ServerReport
from dnn_offload.planning.session import (
    FrameEvidence,
    PlannerSession,
    PlannerSettings,
    PlanningOutcome,
)
from plan_cases import BOARD, profiles, with_threads

TICK_S = 0.2
SERVER = 'desk'


class World:
    """A session, a robot and one server, with a clock."""

    def __init__(self, edge: Profile, server: Profile, **settings: object) -> None:
        self.settings = PlannerSettings(**settings)  # type: ignore[arg-type]
        self.session = PlannerSession(self.settings)
        self.session.feed_edge_profile(edge)
        self.session.feed_server_profile(SERVER, server)
        self.identity = edge.model_identity
        self.now_s = 100.0
        self.bps = 20e6
        self.load = 1.0

    def change(self, **settings: object) -> None:
        self.settings = replace(self.settings, **settings)  # type: ignore[arg-type]
        self.session.set_settings(self.settings)

    def frame(self, **facts: object) -> None:
        known = {
            'plan_id': 0, 'cut': '', 'server': '', 'finished': True, 'answered': False,
            'unanswered': False, 'head_ms': 40.0, 'head_cpu_ms': 40.0, 'latency_ms': 45.0,
        }
        self.session.feed_frame(
            FrameEvidence(**{**known, **facts}), self.now_s,  # type: ignore[arg-type]
        )

    def run(self, seconds: float = 3.0) -> PlanningOutcome:
        outcome = None
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self.session.feed_status(ServerReport(SERVER, 1, READY, self.identity), self.now_s)
            self.session.feed_load(
                LoadReadings(procs_running=self.load, factor=self.load, source='procs_running'),
                self.now_s,
            )
            for nbytes in (60_000, 100_000):
                duration_ms = 2.0 + 8e3 * nbytes / self.bps
                self.session.feed_link(
                    SERVER, LinkEvidence(UPLINK, nbytes, duration_ms), self.now_s
                )
            self.session.feed_link(SERVER, LinkEvidence(DOWNLINK, 4_000, 2.0), self.now_s)
            outcome = self.session.tick(self.now_s)
        assert outcome is not None
        return outcome


def world(cuts: int = 12, **settings: object) -> World:
    return World(*profiles(cuts), **settings)


def test_without_power_there_is_no_front() -> None:
    outcome = world().run()
    assert outcome.front == frozenset()
    assert outcome.problem == ''
    assert outcome.objective == Objective()


def test_energy_is_minimised_and_the_front_is_told() -> None:
    power = replace(BOARD, radio_tx_w=30.0, idle_w=0.1)
    made = world(objective=Objective('energy'), power=power)
    outcome = made.run()
    assert outcome.objective.name == 'energy'
    assert outcome.decision.candidate.is_local, 'sending is expensive'
    assert outcome.decision.candidate.energy_j > 0.0
    assert outcome.decision.candidate.key in outcome.front
    assert len(outcome.front) >= 2
    assert ' J' in outcome.switch_reason
    assert [c.cost for c in outcome.table(64)] == sorted(c.cost for c in outcome.table(64))
    made.change(objective=Objective('latency'))
    outcome = made.run()
    assert not outcome.decision.candidate.is_local
    assert 'objective = latency' in outcome.switch_reason
    assert ' ms' in outcome.switch_reason


def test_energy_without_power_is_refused_and_latency_minimised() -> None:
    made = world(objective=Objective('energy'))
    outcome = made.run()
    assert outcome.objective.name == 'latency'
    assert not outcome.decision.candidate.is_local
    assert 'objective energy is refused' in outcome.problem
    assert 'dnn-offload power' in outcome.problem
    assert outcome.problem in outcome.switch_reason
    made.change(power=BOARD)
    outcome = made.run()
    assert outcome.problem == ''
    assert outcome.objective.name == 'energy'
    assert 'board = b' in outcome.switch_reason


def test_a_limit_acts_at_once_and_says_what_it_forbids() -> None:
    made = world()
    assert made.run().decision.candidate.codec == 'jpeg'
    made.change(min_agreement=0.9)
    made.now_s += TICK_S
    outcome = made.session.tick(made.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.codec != 'jpeg'
    assert outcome.switch_urgent
    assert 'min_agreement = 0.9' in outcome.switch_reason
    made.change(min_agreement=0.0, max_server_memory_mb=60.0)
    outcome = made.run()
    assert 'all-remote on desk is forbidden: needs 120 MB' in outcome.switch_reason
    assert outcome.decision.candidate.cut_index >= 6


def test_when_no_plan_is_left_the_robot_runs_all_and_says_why() -> None:
    made = world(max_edge_memory_mb=1.0, private_layers=1)
    outcome = made.run()
    assert outcome.decision.candidate.is_local
    assert 'max_edge_memory_mb = 1' in outcome.switch_reason


def test_what_runs_stays_known_among_many_plans() -> None:
    """800 plans, of which the running one is among the worst: it is still priced."""
    made = world(cuts=200, hold_ticks=1000)
    made.bps = 50e6
    outcome = made.run()
    chosen = outcome.decision.candidate
    assert chosen.codec == 'jpeg'
    assert len(outcome.ranked) <= made.settings.most + two_cuts.KEPT + 2
    made.bps, made.load = 2e4, 1.0
    outcome = made.run(6.0)
    assert outcome.decision.candidate.key == chosen.key, 'held for 1000 ticks'
    assert [c.key for c in outcome.ranked].index(chosen.key) > 60
    assert outcome.decision.candidate in outcome.ranked


def test_threads_are_chosen_by_load() -> None:
    edge, server = profiles()
    made = World(with_threads(edge, 2), server, threads=(1, 2), servers=('none',))
    assert made.run().decision.candidate.threads == 2
    made.load = 25.0
    assert made.run(6.0).decision.candidate.threads == 1


def test_a_frame_with_more_threads_tells_the_load_by_its_own_profile() -> None:
    edge, server = profiles()
    made = World(with_threads(edge, 2), server, threads=(2,), servers=('none',))
    outcome = made.run()
    two_ms = 40.0 / 2**0.8
    for _ in range(30):
        made.frame(
            plan_id=outcome.plan_id, head_ms=1.5 * two_ms, head_cpu_ms=2 * two_ms, latency_ms=50.0
        )
        outcome = made.run(TICK_S)
    assert outcome.edge_load.factor == pytest.approx(1.5, rel=0.25)


def test_weights_of_an_objective_act_live() -> None:
    power = replace(BOARD, radio_tx_w=30.0, idle_w=0.1)
    made = world(objective=Objective('weighted', 1.0), power=power)
    assert not made.run().decision.candidate.is_local
    made.change(objective=Objective('weighted', 0.0))
    outcome = made.run()
    assert outcome.decision.candidate.is_local
    assert outcome.decision.candidate.cost == pytest.approx(1.0)
    assert not math.isnan(outcome.decision.candidate.energy_j)


def test_thread_counts_that_nobody_profiled_are_said() -> None:
    edge, server = profiles()
    made = World(with_threads(edge, 2), server, threads=(3, 5), servers=('none',))
    outcome = made.run()
    assert outcome.decision.candidate.threads == 0
    assert 'thread_counts 3, 5: none was profiled' in outcome.problem
    assert 'profiled are 1, 2' in outcome.problem
    made.change(threads=(2, 3))
    outcome = made.run()
    assert outcome.decision.candidate.threads == 2 and not outcome.problem
