"""The planner's session: facts in, plans out. Also the robot's load estimate."""

from __future__ import annotations

from dataclasses import replace
import itertools
import math

import pytest

from dnn_offload.cost.link import DOWNLINK, LinkEvidence, LOST, UPLINK
from dnn_offload.cost.load import LoadReadings
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.planning.costs import expected_wait_ms, slow_down
from dnn_offload.planning.edge_load import EdgeLoad
from dnn_offload.planning.server_book import (
    FAILED,
    GONE_S,
    PREPARING,
    READY,
    ServerReport,
    STOPPING,
)
from dnn_offload.planning.session import (
    FrameEvidence,
    PlannerSession,
    PlannerSettings,
    PlanningOutcome,
)

TICK_S = 0.2


def make_profile(
    whole_ms: float, identity: str = 'abc', load_ratios: dict[str, float] | None = None
) -> Profile:
    """Three cuts: picture, middle, all-local."""
    picture = {'jpeg': CodecCost(10_000, 0.3, 0.2), 'raw': CodecCost(150_000, 0.0, 0.0)}
    middle = {'int8': CodecCost(25_000, 0.2, 0.1), 'raw': CodecCost(100_000, 0.0, 0.0)}
    cuts = (
        CutProfile('c0', 0, 'picture', 0, 150_000, 0.0, whole_ms, codecs=picture),
        CutProfile('c1', 1, 'pool', 1, 100_000, 0.3 * whole_ms, 0.7 * whole_ms, codecs=middle),
        CutProfile('c2', 2, 'out', 2, 4_000, whole_ms, 0.0),
    )
    return Profile(
        'torchvision:test', identity, {}, 'torch', 1, load_ratios or {}, 0.1,
        {'raw': 4_000}, 1.0, cuts,
    )


class World:
    """A session with a clock and one server."""

    def __init__(self, **settings: object) -> None:
        self.session = PlannerSession(PlannerSettings(**settings))  # type: ignore[arg-type]
        self.now_s = 100.0
        self.server_session = 1
        self.server_state = READY
        self.server_speaks = True
        self.identity = 'abc'

    def report(self, name: str = 'desk') -> bool:
        return self.session.feed_status(
            ServerReport(name, self.server_session, self.server_state, self.identity), self.now_s
        )

    def link(self, bps: float = 50e6, count: int = 10) -> None:
        for nbytes in [60_000, 100_000] * (count // 2):
            self.session.feed_link(
                'desk', LinkEvidence(UPLINK, nbytes, 2.0 + 8e3 * nbytes / bps), self.now_s
            )
            self.session.feed_link('desk', LinkEvidence(DOWNLINK, 4_000, 2.0), self.now_s)

    def load(self, factor: float) -> None:
        self.session.feed_load(
            LoadReadings(procs_running=factor, factor=factor, source='procs_running'),
            self.now_s,
        )

    def run(self, seconds: float, load: float = 1.0) -> PlanningOutcome:
        outcome = None
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            if self.server_speaks:
                self.report()
            self.load(load)
            self.link(count=2)
            outcome = self.session.tick(self.now_s)
        assert outcome is not None
        return outcome


def offloading(**settings: object) -> World:
    """A slow robot and a fast server, settled on the server."""
    world = World(**settings)
    world.session.feed_edge_profile(make_profile(100.0))
    world.session.feed_server_profile('desk', make_profile(10.0))
    outcome = world.run(3.0)
    assert outcome.decision.candidate.server == 'desk'
    return world


def test_no_plan_without_the_robots_profile() -> None:
    session = PlannerSession()
    assert session.tick(1.0) is None


def test_all_local_without_server() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(100.0))
    world.server_speaks = False
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert outcome.plan_id == 1
    assert outcome.link is None
    assert math.isnan(outcome.server_load)


def test_offloads_and_keeps_its_plan_id() -> None:
    world = offloading()
    before = world.session.tick(world.now_s)
    after = world.run(10.0)
    assert before is not None
    assert after.plan_id == before.plan_id
    assert after.decision.candidate.codec == 'jpeg'
    assert 'ms' in after.switch_reason
    assert after.server_load == 1.0
    assert after.link is not None
    assert after.link.confidence > 0.3


def test_only_our_own_strategy_sends_scouts_and_only_while_it_offloads() -> None:
    world = offloading()
    assert 0.8 <= world.run(1.0).scout_period_s <= 10.0
    world.server_state = STOPPING
    assert world.run(1.0).scout_period_s == 0.0
    assert offloading(strategy='remote').run(1.0).scout_period_s == 0.0


@pytest.mark.parametrize('state', [STOPPING, FAILED, PREPARING])
def test_leaves_at_once_when_the_server_goes(state: int) -> None:
    world = offloading()
    world.server_state = state
    assert world.report() is True  # tells the caller to tick at once
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert outcome.switch_urgent
    assert 'desk' in outcome.unusable


def test_leaves_at_once_on_a_loss() -> None:
    world = offloading()
    assert world.session.feed_link('desk', LinkEvidence(LOST), world.now_s) is True
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert outcome.unusable['desk'] == 'nothing gets through'


def test_leaves_a_silent_server_and_returns_within_five_seconds() -> None:
    world = offloading(server_timeout_s=1.0)
    world.server_speaks = False
    assert world.run(1.4).decision.candidate.is_local
    world.run(10.0)
    world.server_speaks = True
    world.server_session = 2
    assert world.run(5.0).decision.candidate.server == 'desk'


def test_a_restart_is_seen_even_without_silence() -> None:
    world = offloading()
    world.server_session = 2
    assert world.report() is True
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert world.run(5.0).decision.candidate.server == 'desk'


def test_another_model_is_not_used() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(100.0))
    world.session.feed_server_profile('desk', make_profile(10.0))
    world.identity = 'other'
    outcome = world.run(3.0)
    assert outcome.decision.candidate.is_local
    assert 'another model' in outcome.unusable['desk']


def test_a_server_without_profile_or_permission_is_not_used() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(100.0))
    assert 'profile has not arrived' in world.run(1.0).unusable['desk']
    world.session.feed_server_profile('desk', make_profile(10.0, 'other'))
    assert 'profile is of another model' in world.run(1.0).unusable['desk']
    world.session.feed_server_profile('desk', make_profile(10.0))
    world.session.set_settings(PlannerSettings(servers=('garage',)))
    outcome = world.run(1.0)
    assert outcome.decision.candidate.is_local
    assert 'not among' in outcome.unusable['desk']


def test_privacy_acts_at_once_and_keeps_the_picture_on_the_robot() -> None:
    world = offloading()
    world.session.set_settings(PlannerSettings(private_layers=1))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.cut_id == 'c1'
    assert outcome.switch_urgent, 'what runs is not allowed any more'
    assert outcome.private_layers == 1
    assert 'private_layers = 1' in outcome.switch_reason
    assert all(c.cut_index > 0 for c in outcome.ranked)
    world.session.set_settings(PlannerSettings(private_layers=9))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert outcome.switch_urgent
    before = outcome.plan_id
    world.session.set_settings(PlannerSettings(private_layers=2))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert not outcome.switch_urgent, 'all-local is always allowed'
    assert (outcome.plan_id, outcome.private_layers) == (before + 1, 2)


@pytest.mark.parametrize(('settings', 'said', 'default'), [
    (PlannerSettings(shapes=()), 'plan_shapes = one cut only', 'plan_shapes = two_cuts, dag'),
    (PlannerSettings(threads=(1, 2)), 'thread_counts = 1, 2', 'thread_counts = as they are set'),
    (PlannerSettings(codecs=('raw',)), 'codecs = raw', 'codecs = any'),
])
def test_a_demand_is_told_as_it_was_set(
    settings: PlannerSettings, said: str, default: str
) -> None:
    world = offloading()
    for wanted, words in ((settings, said), (PlannerSettings(), default)):
        world.session.set_settings(wanted)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None and words in outcome.switch_reason


def test_codecs_are_a_constraint() -> None:
    world = offloading()
    world.session.set_settings(PlannerSettings(codecs=('int8',)))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert {c.codec for c in outcome.ranked} == {'int8', ''}


def test_strategy_changes_at_once_and_remote_falls_back() -> None:
    world = offloading()
    world.session.set_settings(PlannerSettings(strategy='local'))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.decision.candidate.is_local
    assert 'strategy = local' in outcome.switch_reason
    world.session.set_settings(PlannerSettings(strategy='remote'))
    assert world.run(1.0).decision.candidate.cut_index == 0
    world.server_state = STOPPING
    assert world.run(0.4).decision.candidate.is_local


def test_load_moves_the_plan_within_two_seconds() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(20.0))
    world.session.feed_server_profile('desk', make_profile(20.0))
    assert world.run(5.0).decision.candidate.is_local
    assert world.run(1.0, load=3.0).decision.candidate.server == 'desk'


def test_table_contains_chosen_and_local() -> None:
    world = offloading()
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    table = outcome.table(2)
    assert len(table) == 2
    assert any(c.is_local for c in table)
    assert any(c.key == outcome.decision.candidate.key for c in table)
    assert len(outcome.table(100)) == len(outcome.ranked)


def test_limit_on_the_uplink_counts() -> None:
    world = offloading()
    for _ in range(10):
        world.now_s += TICK_S
        world.report()
        seen = LinkEvidence(UPLINK, 10_000, 400.0, max_uplink_bps=2e5)
        world.session.feed_link('desk', seen, world.now_s)
        outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert world.session.max_uplink_bps == 2e5
    assert outcome.decision.candidate.is_local


def test_waiting_for_a_link_that_is_slower_than_the_camera_is_no_overhead() -> None:
    world = offloading()
    session = world.session
    frames = itertools.count(1)

    def answered(uplink_ms: float, latency_ms: float) -> None:
        """Pictures come every 40 ms; those that the link has no time for are superseded."""
        number = next(frames)
        session.feed_frame(
            FrameEvidence(
                plan_id=1, cut=world.session._edge_profile.cuts[0].cut_id, server='desk',
                finished=True, answered=True, unanswered=False, head_ms=0.0, head_cpu_ms=0.0,
                latency_ms=latency_ms, stages_ms=uplink_ms, period_ms=uplink_ms,
                max_uplink_bps=1e6, frame_seq=2 * number, stamp_s=0.08 * number,
            ),
            world.now_s,
        )

    def overhead_ms() -> float:
        world.report()
        outcome = session.tick(world.now_s)
        return next(s.overhead_ms for s in outcome.conditions.servers if s.name == 'desk')

    for _ in range(50):
        answered(10.0, 15.0)
    assert session.tick(world.now_s).conditions.frame_period_ms == pytest.approx(40.0)
    assert overhead_ms() == pytest.approx(5.0, abs=0.3)
    for _ in range(50):  # half of 40 ms is waited, on average
        answered(70.0, 70.0 + 20.0 + 5.0)
    assert overhead_ms() == pytest.approx(5.0, abs=0.3)
    outcome = session.tick(world.now_s)
    stream_ms = outcome.conditions.frame_period_ms
    for plan in outcome.ranked:
        assert plan.wait_ms == pytest.approx(expected_wait_ms(plan.period_ms, stream_ms))


def test_the_robots_overhead_under_load_is_not_kept_when_the_load_has_gone() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(20.0))
    world.session.tick(world.now_s)

    def overhead_ms(load: float) -> float:
        world.load(load)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        return outcome.conditions.edge_overhead_ms

    for _ in range(20):  # the network four times as slow, and 8 ms beside it
        world.now_s += 0.1
        world.session.feed_frame(
            FrameEvidence(1, '', '', True, False, False, 80.0, 20.0, 88.0, stages_ms=80.0),
            world.now_s,
        )
    assert overhead_ms(4.0) == pytest.approx(8.0)
    world.now_s += 3.0  # nothing ran here meanwhile
    assert overhead_ms(4.0) == pytest.approx(8.0, rel=0.1)
    assert overhead_ms(1.0) == pytest.approx(2.0, rel=0.1)


def frame(session: PlannerSession, wall_ms: float, cpu_ms: float, now_s: float) -> None:
    session.feed_frame(
        FrameEvidence(1, '', '', True, False, False, wall_ms, cpu_ms, wall_ms + 5.0), now_s
    )


def test_a_server_that_speaks_but_never_answers_is_left_for_longer_and_longer() -> None:
    world = offloading()
    uses = 0
    for _ in range(600):  # two minutes
        world.now_s += TICK_S
        world.report()
        world.load(1.0)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        if outcome.decision.candidate.server:
            uses += 1
            rescued = FrameEvidence(
                outcome.plan_id, 'c0', 'desk', True, False, True, 0.0, 0.0, 500.0
            )
            urgent = [world.session.feed_frame(rescued, world.now_s) for _ in range(5)]
            assert urgent[-1] is True
            outcome = world.session.tick(world.now_s)
            assert outcome is not None
            assert outcome.decision.candidate.is_local
    assert 2 <= uses <= 12


def test_frames_that_ran_here_give_the_load() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(20.0))
    world.session.tick(world.now_s)
    for _ in range(10):
        world.now_s += 0.1
        frame(world.session, 50.0, 22.0, world.now_s)
    world.load(1.3)
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.edge_load.source == 'frames'
    assert outcome.edge_load.factor == pytest.approx(2.5)
    assert world.session.measured_ms == pytest.approx(55.0)
    world.now_s += 3.0
    world.load(1.3)
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.edge_load.source == 'procs_running'
    assert 1.3 <= outcome.edge_load.factor < 1.5


def test_frames_of_which_torch_ran_a_piece_that_is_being_compiled_give_no_load() -> None:
    """They took twice the profiled time on an idle machine: no reason to leave a new plan."""
    world = World()
    world.session.feed_edge_profile(make_profile(20.0))
    world.session.tick(world.now_s)
    for _ in range(10):
        world.now_s += 0.1
        one = FrameEvidence(1, '', '', True, False, False, 50.0, 50.0, 55.0, stood_in=True)
        world.session.feed_frame(one, world.now_s)
    world.load(1.0)
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert outcome.edge_load.source != 'frames'
    assert outcome.edge_load.factor < 1.1
    assert math.isnan(world.session.measured_ms)


def test_named_source_is_taken_as_it_is() -> None:
    load = EdgeLoad()
    profile = make_profile(20.0, load_ratios={'schedstat': 2.0})
    for step in range(10):
        load.add_frame(20.0, 60.0, 25.0, {'schedstat': 2.0}, 0.1 * step)
    load.add_readings(LoadReadings(loadavg=1.5, schedstat=4.0), 1.0)
    assert load.estimate(profile, 'schedstat', 1.0).factor == pytest.approx(2.0)
    psi = load.estimate(profile, 'psi', 1.0)
    assert psi.source == 'assumed'
    assert psi.problem == 'the load source psi has no value here (others do: loadavg, schedstat)'
    assert not load.estimate(profile, 'auto', 1.0).problem
    assert load.estimate(profile, 'auto', 1.0).source == 'frames'
    assert load.estimate(profile, 'schedstat', 100.0).source == 'assumed'
    assert load.estimate(profile, 'schedstat', 100.0).problem == 'no load message'
    assert load.loadavg(1.0) == 1.5
    assert load.loadavg(100.0) == 1.0


def test_growth_is_bounded_and_fades() -> None:
    load = EdgeLoad()
    for step in range(200):
        load.add_frame(20.0, 200.0, 200.0, {}, 0.1 * step)
    assert 1.4 < load.growth(20.0) <= 1.6
    assert load.growth(20.0 + 1200.0) == pytest.approx(1.0, abs=0.01)
    load.add_frame(math.nan, 1.0, 1.0, {}, 21.0)  # damaged reports do no harm
    load.add_frame(20.0, -1.0, 1.0, {}, 21.0)


def test_no_switch_in_ten_minutes_of_constant_conditions() -> None:
    world = offloading()
    before = world.run(20.0).plan_id
    assert world.run(600.0).plan_id == before


def test_the_number_of_servers_is_bounded() -> None:
    world = World()
    for number in range(1000):
        world.report(f's{number}')
    world.session.feed_edge_profile(make_profile(20.0))
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert len(outcome.unusable) == 64


def test_servers_that_are_gone_make_room_and_one_that_is_there_stays() -> None:
    world = offloading()
    for number in range(63):
        world.report(f'old{number}')
    world.report('new')
    assert not world.session.knows_server('new'), 'all 64 are there'
    assert world.run(GONE_S + 1.0).decision.candidate.server == 'desk'
    for number in range(200):  # made up, faster than anything is forgotten
        world.report(f'made_up{number}')
    assert world.session.knows_server('desk') and world.session.knows_server('made_up62')
    assert not world.session.knows_server('made_up63')
    world.run(GONE_S + 1.0)
    world.report('new')
    assert world.session.knows_server('new') and not world.session.knows_server('made_up0')
    assert world.run(1.0).decision.candidate.server == 'desk'


def test_servers_of_which_only_transfers_were_told_make_room() -> None:
    world = World()
    for number in range(64):
        world.session.feed_link(f's{number}', LinkEvidence(UPLINK, 60_000, 3.0), world.now_s)
    world.report('desk')
    assert world.session.knows_server('desk')


def test_a_step_in_load_changes_the_plan_within_two_seconds() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(40.0))
    world.session.feed_server_profile('desk', make_profile(40.0))
    step_s, switched_s = 0.0, None
    for tick in range(100):
        world.now_s += TICK_S
        load = 1.0
        if tick == 50:
            step_s = world.now_s
        if tick >= 50:
            load = 2.5
        world.report()
        world.link(count=2)
        for _ in range(2):  # 10 frames per second, each slowed down as the load says
            frame(world.session, 40.0 * load, 40.0, world.now_s)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        if outcome.decision.candidate.server:
            switched_s = world.now_s
            break
    assert switched_s is not None
    assert step_s < switched_s <= step_s + 1.6


def _frames_under(world: World, plan_id: int, seconds: float) -> list[PlanningOutcome]:
    """Frames of an other (or the same) plan; every new plan that the session makes."""
    made: list[PlanningOutcome] = []
    for _ in range(round(seconds / TICK_S)):
        world.now_s += TICK_S
        world.report()
        world.load(1.0)
        world.link(count=2)
        now = FrameEvidence(plan_id, '', '', True, False, False, 100.0, 100.0, 105.0)
        world.session.feed_frame(now, world.now_s)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        if not made or outcome.plan_id != made[-1].plan_id:
            made.append(outcome)
    return made


def test_plan_that_is_not_taken_is_said_once_more_then_all_is_local() -> None:
    world = offloading()
    first, again, here = _frames_under(world, 77, 20.0)[:3]
    assert again.plan_id == first.plan_id + 1
    assert again.decision.candidate.key == first.decision.candidate.key
    assert 'not taken' in again.switch_reason
    assert here.decision.candidate.is_local
    assert 'plan 77' in here.switch_reason
    assert 'not taken' in world.session.uptake_problem


def test_plans_that_nobody_takes_make_no_storm() -> None:
    world = offloading()
    made = _frames_under(world, 77, 600.0)
    assert len(made) < 30
    assert made[-1].decision.candidate.is_local


def test_a_plan_that_is_taken_late_is_well() -> None:
    world = offloading()
    outcome = world.session.tick(world.now_s)
    assert outcome is not None
    assert len(_frames_under(world, 77, 2.0)) == 1, 'patience'
    taken = FrameEvidence(outcome.plan_id, 'c0', 'desk', True, True, False, 0.0, 0.0, 20.0)
    world.session.feed_frame(taken, world.now_s)
    assert len(_frames_under(world, 77, 2.0)) == 1, 'counts from the start'
    assert world.session.uptake_problem == ''


def test_the_robot_tells_the_codec_of_its_answers() -> None:
    world = offloading()
    for codec in ('', 'gzip', 'raw'):  # unknown ones are not believed
        told = FrameEvidence(
            1, '', '', True, False, False, 100.0, 100.0, 105.0, result_codec=codec
        )
        world.session.feed_frame(told, world.now_s)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        assert outcome.conditions.result_codec == 'raw'


def test_a_server_lost_once_is_used_again_once_something_is_acknowledged() -> None:
    world = offloading()
    for _ in range(10):  # one loss every 12 s: none bans it for longer than the last
        world.session.feed_link('desk', LinkEvidence(LOST), world.now_s)
        outcome = world.session.tick(world.now_s)
        assert outcome is not None
        assert outcome.decision.candidate.is_local
        assert world.run(1.2).decision.candidate.server == 'desk'
        world.run(12.0)


def test_frames_of_several_threads_do_not_count_the_load_twice() -> None:
    world = World()
    four = replace(make_profile(20.0), threads=4)
    world.session.feed_edge_profile(four)
    plan = world.session.tick(world.now_s).decision.candidate
    assert plan.is_local
    took_ms = four.whole_ms * slow_down(4.0, 4)
    for number in range(1, 30):
        world.now_s += 0.1
        world.session.feed_frame(
            FrameEvidence(1, '', '', True, False, False, took_ms, 20.0, took_ms + 1.0,
                          stages_ms=took_ms, frame_seq=number, stamp_s=world.now_s),
            world.now_s,
        )
        outcome = world.session.tick(world.now_s)
    assert outcome.edge_load.factor == pytest.approx(4.0, rel=0.02)
    home = next(plan for plan in outcome.ranked if plan.is_local)
    assert home.head_ms == pytest.approx(took_ms, rel=0.02)


def test_an_old_sample_does_not_bring_an_old_limit_back() -> None:
    world = World()
    world.session.feed_edge_profile(make_profile(20.0))
    world.session.feed_frame(
        FrameEvidence(0, '', '', True, False, False, 20.0, 20.0, 21.0, max_uplink_bps=0.0),
        world.now_s,
    )
    old = LinkEvidence(kind=0, nbytes=1000, duration_ms=9.0, probe=True, max_uplink_bps=1e6)
    world.session.feed_link('desk', old, world.now_s)
    assert world.session.max_uplink_bps == 0.0


def test_what_has_stepped_is_told() -> None:
    """The caller need not wait for its next tick: load by readings, by frames, and the uplink."""
    world = offloading()
    session = world.session
    readings = LoadReadings(probe=1.0, factor=1.0, source='procs_running')

    def after_load(factor: float) -> bool:
        session.feed_load(replace(readings, factor=factor), world.now_s)
        return session.stepped

    assert session.stepped is False
    assert [after_load(factor) for factor in (1.0, 1.3, 1.0, 2.6)] == [False, False, False, True]
    world.run(TICK_S, load=2.6)
    assert session.stepped is False
    session.feed_load(LoadReadings(factor=1.0, source='probe'), world.now_s)
    session.feed_load(LoadReadings(), world.now_s)
    session.feed_load(LoadReadings(), world.now_s)
    assert session.stepped is False, 'another source, or none'
    slow = LinkEvidence(UPLINK, 60_000, 480.0)
    told = []
    for number in range(3):
        assert not session.feed_link('desk', slow, world.now_s + 0.2 * number)
        told.append(session.stepped)
    assert told == [False, False, True]
    world.now_s += 0.6
    session.tick(world.now_s)

    def after_frame(took_ms: float) -> bool:
        world.now_s += 0.05
        session.feed_frame(
            FrameEvidence(0, '', '', True, False, False, took_ms, took_ms, took_ms), world.now_s
        )
        return session.stepped

    assert not any(after_frame(100.0) for _ in range(8))
    assert [after_frame(300.0) for _ in range(3)] == [False, False, True]
