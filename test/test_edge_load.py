"""The robot's load: frames are believed; what-if sources are set against them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnn_offload.cost.load import AUTO, LoadReadings
from dnn_offload.planning.edge_load import EdgeLoad
from dnn_offload.simulate.made_up import made_up_profile

PROFILE = replace(made_up_profile(cuts=12, whole_ms=40.0), load_ratios={})
TICK_S = 0.2


class Robot:
    """A robot whose frames take ``true`` times the profile while a probe reads ``probe``."""

    def __init__(self) -> None:
        self.load = EdgeLoad()
        self.now_s = 0.0

    def run(self, seconds: float, true: float, probe: float, here: bool) -> tuple[float, str]:
        """Let time pass; frames run here or elsewhere. Gives the last estimate."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            if here:
                for _ in range(2):
                    self.load.add_frame(40.0, 40.0 * true, 40.0, {}, self.now_s)
            self.load.add_readings(LoadReadings(factor=probe, source='probe'), self.now_s)
            estimate = self.load.estimate(PROFILE, AUTO, self.now_s)
        return estimate.factor, estimate.source


def test_frames_are_believed_while_they_run_here() -> None:
    assert Robot().run(3.0, 2.0, 3.0, here=True) == (pytest.approx(2.0), 'frames')


@pytest.mark.parametrize('slower, frames', [(2.0, 4), (4.0, 3)])
def test_a_step_is_seen_as_soon_as_a_few_frames_say_so(slower: float, frames: int) -> None:
    """The sooner the larger it is: a robot that is five times as slow has few frames a second."""
    load = EdgeLoad()
    now_s, seen = 0.0, []
    for number in range(60):
        now_s += 1.0 / 15.0
        true = 1.0 if number < 30 else slower
        load.add_frame(15.0, 15.0 * true * (1.1 if number % 2 else 0.9), 15.0, {}, now_s)
        seen.append(load.estimate(PROFILE, AUTO, now_s).factor)
    assert seen[29] == pytest.approx(1.0, rel=0.05)
    assert seen[29 + frames - 1] < 0.65 * slower
    assert seen[29 + frames] == pytest.approx(slower, rel=0.1)
    assert seen[-1] == pytest.approx(slower, rel=0.05)


def test_the_rare_frames_of_a_saturated_robot_are_believed() -> None:
    """Twenty times as slow, five frames a second come of fifteen; the probe reads less."""
    load = EdgeLoad()
    for number in range(20):
        now_s = 0.2 * number
        load.add_readings(LoadReadings(factor=13.0, source='probe'), now_s)
        load.add_frame(5.7, 5.7 * 20.0, 5.7, {}, now_s)
        estimate = load.estimate(PROFILE, AUTO, now_s)
    assert estimate.source == 'frames'
    assert estimate.factor == pytest.approx(20.0, rel=0.05)


def test_single_frames_are_no_step() -> None:
    load = EdgeLoad()
    now_s, seen = 0.0, []
    for number in range(90):
        now_s += 1.0 / 15.0
        wall_ms = 45.0 if number % 5 == 0 else 15.0  # navigation's own rhythm
        load.add_frame(15.0, wall_ms, 15.0, {}, now_s)
        seen.append(load.estimate(PROFILE, AUTO, now_s).factor)
    assert max(seen[15:]) < 1.55 and min(seen[15:]) > 1.25  # 1.4 in the mean


def test_a_probe_that_reads_too_high_is_corrected_once_frames_went_elsewhere() -> None:
    robot = Robot()
    robot.run(3.0, 2.0, 3.0, here=True)
    assert robot.run(4.4, 2.0, 3.0, here=False) == (pytest.approx(2.0, rel=0.05), 'probe')
    # At another load the excess over a calm machine shrinks in proportion.
    assert robot.run(2.0, 1.4, 1.8, here=False)[0] == pytest.approx(1.4, rel=0.05)
    assert robot.run(2.0, 1.0, 1.0, here=False)[0] == pytest.approx(1.0, rel=0.05)


def test_the_first_load_is_what_frames_said_until_a_probe_was_compared() -> None:
    """A probe read less than half, and the robot took its frames back for a second and a half."""
    robot = Robot()
    robot.run(3.0, 1.0, 1.0, here=True)
    robot.run(1.6, 4.0, 2.2, here=True)
    for _ in range(20):
        assert robot.run(0.2, 4.0, 2.2, here=False)[0] == pytest.approx(4.0, rel=0.05)
    robot.run(1.0, 1.0, 1.0, here=True)
    assert robot.run(1.2, 1.0, 1.0, here=False)[0] == pytest.approx(1.0, rel=0.05)


def test_a_first_load_that_ends_at_once_is_seen_to_end() -> None:
    robot = Robot()
    robot.run(3.0, 1.0, 1.0, here=True)
    robot.run(1.6, 4.0, 2.2, here=True)
    robot.run(1.2, 4.0, 2.2, here=False)
    assert robot.run(0.2, 1.0, 1.0, here=False)[0] < 1.2


def test_scouts_set_a_probe_right_that_was_never_compared() -> None:
    robot = Robot()
    assert robot.run(1.0, 2.0, 3.0, here=False) == (pytest.approx(3.0), 'probe')
    for number in range(4):
        assert robot.load.estimate(PROFILE, AUTO, robot.now_s).sure == (number >= 3)
        robot.load.add_frame(40.0, 80.0, 40.0, {}, robot.now_s)
        robot.run(1.4, 2.0, 3.0, here=False)
    assert robot.run(1.0, 2.0, 3.0, here=False)[0] == pytest.approx(2.0, rel=0.01)
    # It holds at another load, but is not sure for ever.
    assert robot.run(25.0, 1.4, 1.8, here=False)[0] == pytest.approx(1.4, rel=0.01)
    assert not robot.load.estimate(PROFILE, AUTO, robot.now_s).sure


def test_a_hiccup_of_a_scout_and_the_head_of_a_plan_teach_nothing() -> None:
    robot = Robot()
    robot.run(1.0, 2.0, 3.0, here=False)
    robot.load.add_frame(40.0, 4000.0, 40.0, {}, robot.now_s)
    robot.load.add_frame(4.0, 16.0, 4.0, {}, robot.now_s, whole=False)
    robot.run(2.0, 2.0, 3.0, here=False)
    assert robot.run(1.0, 2.0, 3.0, here=False)[0] == pytest.approx(3.0)


def test_a_load_that_changes_at_the_same_time_teaches_nothing() -> None:
    robot = Robot()
    robot.run(3.0, 1.0, 1.0, here=True)
    assert robot.run(5.0, 4.0, 4.0, here=False)[0] == pytest.approx(4.0)


@pytest.mark.parametrize('before, after', [(2.0, 1.0), (1.0, 2.0)])
def test_a_scout_just_before_the_load_changes_teaches_nothing(
    before: float, after: float
) -> None:
    """A frame of the last moment under load is none that a calm robot takes."""
    robot = Robot()
    for _ in range(3):
        robot.run(3.0, before, before, here=False)
        robot.load.add_frame(40.0, 40.0 * before, 40.0, {}, robot.now_s)
        robot.run(3.0, after, after, here=False)
    for load in (before, after):
        found = robot.run(3.0, load, load, here=False)
        assert found == (pytest.approx(load, rel=0.01), 'probe')


def test_frames_that_take_longer_on_a_calm_machine_are_learnt_as_such() -> None:
    """The profile was taken in a tight loop; at five frames a second caches are cold."""
    robot = Robot()
    robot.run(3.0, 1.3, 1.0, here=True)
    assert robot.run(4.0, 1.3, 1.0, here=False)[0] == pytest.approx(1.3, rel=0.01)


def test_heads_alone_are_believed_but_not_sure_of_the_whole_network() -> None:
    robot = Robot()
    for _ in range(10):
        robot.now_s += 0.1
        robot.load.add_frame(20.0, 60.0, 20.0, {}, robot.now_s, whole=False)
    estimate = robot.load.estimate(PROFILE, AUTO, robot.now_s)
    assert (estimate.source, estimate.sure) == ('frames', False)
    assert estimate.factor == pytest.approx(3.0)
    robot.run(2.0, 2.0, 2.0, here=True)
    assert robot.load.estimate(PROFILE, AUTO, robot.now_s).sure


def test_short_heads_do_not_tell_what_the_whole_network_would_wait() -> None:
    """As beside seven busy processes: heads of 0.7 ms hardly wait, the whole takes seven times."""

    def estimate_of(head_ms: float) -> tuple[float, str]:
        load = EdgeLoad()
        for number in range(40):
            now_s = number / 15.0
            load.add_readings(LoadReadings(factor=7.0, source='probe'), now_s)
            wall_ms = head_ms * (20.0 if number % 5 == 0 else 1.0)
            load.add_frame(head_ms, wall_ms, head_ms, {}, now_s, whole=False)
        estimate = load.estimate(PROFILE, AUTO, now_s)
        return estimate.factor, estimate.source

    assert estimate_of(0.7) == (pytest.approx(7.0), 'probe')
    assert estimate_of(4.0)[1] == 'frames'


def test_scouts_make_only_that_source_sure_that_they_were_compared_with() -> None:
    robot = Robot()
    robot.run(1.0, 2.0, 3.0, here=False)
    for _ in range(4):
        robot.load.add_frame(40.0, 80.0, 40.0, {}, robot.now_s)
        robot.run(1.4, 2.0, 3.0, here=False)
    assert robot.load.estimate(PROFILE, AUTO, robot.now_s).sure
    robot.load.add_readings(LoadReadings(factor=3.0, source='schedstat'), robot.now_s)
    assert not robot.load.estimate(PROFILE, AUTO, robot.now_s).sure
    robot.load.reset_frames()
    robot.load.add_readings(LoadReadings(factor=3.0, source='probe'), robot.now_s)
    assert robot.load.estimate(PROFILE, AUTO, robot.now_s).factor == pytest.approx(3.0)
