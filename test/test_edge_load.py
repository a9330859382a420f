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
                    self.load.add_frame(40.0, 40.0 * true, 40.0, 1.0, self.now_s)
            self.load.add_readings(LoadReadings(factor=probe, source='probe'), self.now_s)
            estimate = self.load.estimate(PROFILE, AUTO, self.now_s)
        return estimate.factor, estimate.source


def test_frames_are_believed_while_they_run_here() -> None:
    assert Robot().run(3.0, 2.0, 3.0, here=True) == (pytest.approx(2.0), 'frames')


def test_a_probe_that_reads_too_high_is_corrected_once_frames_went_elsewhere() -> None:
    robot = Robot()
    robot.run(3.0, 2.0, 3.0, here=True)
    assert robot.run(1.4, 2.0, 3.0, here=False) == (pytest.approx(3.0), 'probe')
    assert robot.run(3.0, 2.0, 3.0, here=False)[0] == pytest.approx(2.0, rel=0.05)
    # It holds at another load, too.
    assert robot.run(2.0, 1.2, 1.8, here=False)[0] == pytest.approx(1.2, rel=0.05)


def test_a_load_that_changes_at_the_same_time_teaches_nothing() -> None:
    robot = Robot()
    robot.run(3.0, 1.0, 1.0, here=True)
    assert robot.run(5.0, 4.0, 4.0, here=False)[0] == pytest.approx(4.0)
