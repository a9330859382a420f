"""Cameras that stall, change and lie: nothing stops, and what is wrong is said once."""

from __future__ import annotations

from collections.abc import Callable
import re

import pytest

from dnn_offload.nodes.camera_watch import CameraWatch, JUDGED, Looks
from dnn_offload.runtime.frame_table import FrameTable
from dnn_offload.runtime.outcomes import DropReason

VGA = Looks(480, 640, 'bgr8')
PERIOD_S = 0.05
DELAY_S = 0.02
START_S = 1_700_000_000.0


class Scene:
    """A camera, the robot's clock, and the frame table behind it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.informed: list[str] = []
        self.watch = CameraWatch(0.0, self.said.append, self._inform)
        self.table = FrameTable()
        self.now_s = 0.0
        self.taken: list[float] = []

    def _inform(self, text: str) -> None:
        self.said.append(text)
        self.informed.append(text)

    @property
    def clock_s(self) -> float:
        return START_S + self.now_s

    def picture(self, stamp_s: float, looks: Looks | None = VGA) -> bool:
        """One picture; whether the table takes it."""
        self.now_s += PERIOD_S
        taken_s = self.watch.came(stamp_s, self.clock_s, self.now_s, looks)
        self.taken.append(self.clock_s - taken_s)
        frame = self.table.enter(taken_s, 0.0, 0.0)
        return self.table.drop(frame.seq, DropReason.SHUTDOWN)  # not where it has ended already

    def honest(self, count: int) -> list[bool]:
        return [self.picture(self.clock_s + PERIOD_S - DELAY_S) for _ in range(count)]

    @property
    def problem(self) -> str:
        return self.watch.problem(self.now_s, 500.0)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_honest_camera_is_believed(scene: Scene) -> None:
    assert all(scene.honest(100))
    assert max(scene.taken) == pytest.approx(DELAY_S, abs=1e-3)
    assert scene.said == [] and scene.problem == '' and not scene.watch.counts
    assert scene.watch.rate_hz == pytest.approx(20.0)
    assert scene.watch.looks == '640x480 bgr8'


@pytest.mark.parametrize(('stamp', 'said'), [
    (lambda clock_s: 0.0, 'no stamp'),
    (lambda clock_s: clock_s + 30.0, '30.* s in the future'),
    (lambda clock_s: clock_s - START_S + 5.0, 'in the past.*another clock'),
    (lambda clock_s: START_S, 'do not increase'),
    (lambda clock_s: 2 * START_S - clock_s + 0.3, 'do not increase'),
], ids=['zero', 'future', 'since boot', 'frozen', 'backwards'])
def test_a_liar_is_taken_by_the_time_of_arrival(
    scene: Scene, stamp: Callable[[float], float], said: str
) -> None:
    taken = [scene.picture(stamp(scene.clock_s + PERIOD_S)) for _ in range(100)]
    assert all(taken[JUDGED:]), 'the stream stopped'
    assert sum(taken) > 90
    assert max(abs(age) for age in scene.taken[JUDGED:]) < 0.01
    assert re.search(said, scene.problem), scene.problem
    assert 1 <= len(scene.said) <= 2, scene.said
    assert sum(n for name, n in scene.watch.counts.items() if name.startswith('stamp_')) > 80
    # and is believed again when it tells the truth
    again = scene.honest(3 * JUDGED)
    assert all(again) and scene.problem == ''
    assert scene.said[-1] == 'stamps are sensible again' == scene.informed[-1]
    assert scene.taken[-1] == pytest.approx(DELAY_S, abs=1e-3)


def test_a_clock_that_stands_is_not_the_drivers_doing(scene: Scene) -> None:
    given_s = [scene.watch.came(0.0, 0.0, PERIOD_S * n, VGA) for n in range(1, 20)]
    assert given_s == sorted(set(given_s)), 'two pictures of one time'
    text = 'the clock stands at 0: use_sim_time is set, and nobody publishes /clock'
    assert scene.said == [text] and scene.watch.problem(1.0) == text
    assert not scene.watch.counts
    scene.now_s = 1.0
    scene.honest(2 * JUDGED)
    assert scene.problem == ''
    assert scene.informed == scene.said[1:] == ['stamps are sensible again']


def test_one_picture_twice_is_dropped_and_nothing_else(scene: Scene) -> None:
    scene.honest(20)
    stamp_s = scene.clock_s + 0.01
    assert scene.picture(stamp_s) and not scene.picture(stamp_s)
    assert all(scene.honest(20)) and scene.said == []


def test_a_recording_that_starts_again_goes_on(scene: Scene) -> None:
    scene.honest(50)
    scene.now_s -= 2.4  # simulated time jumps back with it
    assert all(scene.honest(50)[1:]) and scene.problem == ''


def test_two_cameras_mixed_are_not_told_of_with_every_picture(scene: Scene) -> None:
    taken = []
    for number in range(200):
        late_s = 0.4 if number % 2 else DELAY_S
        taken.append(scene.picture(scene.clock_s + PERIOD_S - late_s))
    assert all(taken[2 * JUDGED:])
    assert len(scene.said) <= 2


def test_old_pictures_are_told_of_and_their_age_is_kept(scene: Scene) -> None:
    for _ in range(30):
        assert scene.picture(scene.clock_s + PERIOD_S - 2.0)
    assert scene.taken[-1] == pytest.approx(2.0, abs=1e-3)
    assert 'pictures are 2.0 s old when they come in, more than deadline_ms (500)' in scene.problem


def test_a_stall_is_said_once_and_its_end(scene: Scene) -> None:
    scene.honest(40)
    scene.watch.check(scene.now_s + 0.9, 'why')
    assert scene.said == []
    for later_s in (1.1, 2.1, 3.1):
        scene.watch.check(scene.now_s + later_s, 'nobody publishes it')
    assert scene.said == ['no picture for 1.1 s (they came every 50 ms): nobody publishes it']
    assert 'no picture for 3.1 s' in scene.watch.problem(scene.now_s + 3.1)
    assert scene.watch.rate_hz == 0.0 and scene.watch.counts['stalls'] == 1
    scene.now_s += 4.02
    scene.honest(3)
    assert scene.said[1:] == ['pictures come again, after 4.1 s']
    assert scene.problem == ''


def test_a_slow_camera_is_no_stalled_one(scene: Scene) -> None:
    for _ in range(5):
        scene.now_s += 2.0
        scene.honest(1)
    assert not scene.watch.is_silent(scene.now_s + 9.0)
    assert scene.watch.is_silent(scene.now_s + 12.0)


def test_a_camera_that_never_comes(scene: Scene) -> None:
    scene.watch.check(4.0, '')
    assert scene.said == [] and scene.watch.problem(4.0) == ''
    scene.watch.check(6.0, 'nobody publishes /image_raw')
    assert scene.said == ['no picture has come for 6 s: nobody publishes /image_raw']


def test_changes_of_size_and_empty_messages(scene: Scene) -> None:
    scene.picture(scene.clock_s, Looks(0, 0, ''))  # what camera_ros sends while nobody listens
    scene.honest(3)
    scene.picture(scene.clock_s + 0.04, Looks(600, 600, 'bgr8'))
    scene.picture(scene.clock_s + 0.04, None)
    scene.picture(scene.clock_s + 0.04, Looks(600, 600, 'bgr8'))
    assert scene.said == ['pictures have changed from 640x480 bgr8 to 600x600 bgr8']
    assert scene.watch.counts['changed'] == 1


def test_refused_pictures_are_a_problem_while_they_last(scene: Scene) -> None:
    scene.honest(3)
    scene.watch.refused('picture is damaged', scene.now_s)
    assert scene.problem == 'picture is damaged' and scene.watch.counts['refused'] == 1
    scene.honest(80)
    assert scene.problem == ''


def test_simulated_time_that_does_not_run_is_told_of_and_frames_go_on(scene: Scene) -> None:
    taken = []
    for number in range(10):
        given_s = scene.watch.came(100.0 + 0.1 * number, 0.0, 0.1 * number, VGA)
        taken.append(given_s)
    assert taken == sorted(set(taken))
    assert '/clock' in scene.watch.problem(0.9)
