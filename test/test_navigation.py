"""The navigation stand-in: mapping, planning, reaction."""

from __future__ import annotations

import numpy as np
import pytest

from dnn_offload.demo.navigation import (
    BEAMS,
    CELL_M,
    CRUISE_MPS,
    ground_position,
    main,
    Navigator,
    OccupancyMap,
    OCCUPIED,
    plan_path,
    RANGE_M,
    react,
    scan,
    Seen,
    SIDE_CELLS,
    SLOW_MPS,
)
from dnn_offload.demo.scenes.drive import Drive, Pose

SIZE = (640, 480)


def _length(path):
    return sum(np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in zip(path, path[1:], strict=False))


def test_the_shortest_way_goes_round_a_wall():
    blocked = np.zeros((20, 20), bool)
    blocked[10, :15] = True
    path = plan_path(blocked, (2, 2), (2, 18))
    assert path[0] == (2, 2) and path[-1] == (2, 18)
    assert not any(blocked[y, x] for x, y in path)
    assert all(max(abs(b[0] - a[0]), abs(b[1] - a[1])) == 1
               for a, b in zip(path, path[1:], strict=False))
    # through the gap at column 15: 8 rows down while 13 columns across, and the same back
    assert _length(path) == pytest.approx(2 * (8 * np.sqrt(2) + 5), abs=0.6)


def test_no_way_and_a_blocked_goal_give_no_path():
    blocked = np.zeros((10, 10), bool)
    blocked[5] = True
    assert plan_path(blocked, (1, 1), (1, 8)) == []
    assert plan_path(blocked, (1, 1), (5, 5)) == []
    assert plan_path(blocked, (1, 1), (30, 1)) == []


def test_a_wall_ahead_appears_in_the_map_where_it_is():
    pose = Pose(0.0, 0.0, 0.0)
    grid = OccupancyMap(pose)
    angles = np.linspace(-0.5, 0.5, BEAMS)
    for _ in range(3):
        grid.update(pose, angles, 3.0 / np.cos(angles))
    column, row = grid.cells(np.array([[0.0, 3.05]]))[0]
    assert grid.log_odds[row, column] > OCCUPIED
    column, row = grid.cells(np.array([[0.0, 1.5]]))[0]
    assert grid.log_odds[row, column] < -0.5
    column, row = grid.cells(np.array([[0.0, 5.0]]))[0]
    assert grid.log_odds[row, column] == 0.0


def test_a_beam_that_hits_nothing_marks_nothing():
    pose = Pose(0.0, 0.0, 0.0)
    grid = OccupancyMap(pose)
    grid.update(pose, np.zeros(1), np.array([RANGE_M + 5]))
    assert grid.log_odds.max() <= 0.0 and grid.log_odds.min() < 0.0


def test_the_map_moves_with_the_vehicle_and_keeps_what_it_knows():
    grid = OccupancyMap(Pose(0.0, 0.0, 0.0))
    column, row = grid.cells(np.array([[1.0, 2.0]]))[0]
    grid.log_odds[row, column] = 3.0
    grid.follow(Pose(0.55, 1.25, 0.0))
    assert grid.log_odds.shape == (SIDE_CELLS, SIDE_CELLS)
    column, row = grid.cells(np.array([[1.0, 2.0]]))[0]
    assert grid.log_odds[row, column] == 3.0
    centre = grid.points(np.array([[column, row]]))[0]
    assert np.abs(centre - [1.0, 2.0]).max() <= CELL_M
    grid.follow(Pose(100.0, 0.0, 0.0))
    assert not grid.log_odds.any()


def test_blocked_cells_reach_a_vehicle_radius_beyond_the_wall():
    grid = OccupancyMap(Pose(0.0, 0.0, 0.0))
    grid.log_odds[80, 80] = 3.0
    blocked = grid.blocked(0.3)
    assert blocked[80, 83] and blocked[77, 80] and not blocked[80, 84]


def test_scans_agree_with_the_drive():
    drive = Drive(7)
    pose = drive.pose(0.0)
    ranges = scan(drive, pose, 0.0, np.linspace(-np.pi, np.pi, 32))
    assert ranges.shape == (32,) and ranges.min() > 0.05


def _box(distance_m, lateral_m=0.0, half_px=40.0):
    """A box whose foot stands at this distance for the drive's camera."""
    focal = 0.72 * 640
    foot = 0.44 * 480 + focal * 0.8 / distance_m
    centre = 320 + focal * lateral_m / distance_m
    return (centre - half_px, foot - 100, centre + half_px, foot)


def test_ground_position_inverts_the_camera():
    distance, left, right = ground_position(_box(3.0), SIZE)
    assert distance == pytest.approx(3.0)
    assert left == pytest.approx(-right)
    assert ground_position((0, 0, 50, 100), SIZE)[0] == float('inf')


def test_the_vehicle_slows_and_stops_for_what_stands_in_the_way():
    assert react([], SIZE).state == 'clear'
    assert react([], SIZE).speed_mps == CRUISE_MPS
    far, near, close = (Seen('person', _box(d), 0.9) for d in (8.0, 3.5, 1.5))
    assert react([far], SIZE).state == 'clear'
    slow = react([near, far], SIZE)
    assert (slow.state, slow.cause, slow.speed_mps) == ('slow', 'person', SLOW_MPS)
    stop = react([near, close], SIZE)
    assert stop.state == 'stop' and stop.speed_mps == 0.0
    assert stop.distance_m == pytest.approx(1.5)


def test_what_is_beside_the_way_doubtful_or_a_door_does_not_matter():
    assert react([Seen('crate', _box(3.0, 2.0), 0.9)], SIZE).state == 'clear'
    assert react([Seen('crate', _box(1.5), 0.2)], SIZE).state == 'clear'
    assert react([Seen('door', _box(1.5), 0.9)], SIZE).state == 'clear'
    assert react([Seen('crate', _box(1.5), 0.2)], SIZE, min_score=0.1).state == 'stop'


def test_a_navigator_finds_its_way_and_obeys_the_reaction():
    navigator = Navigator(Drive(7))
    clear = react([], SIZE)
    for cycle in range(8):
        command = navigator.step(cycle * 0.2, clear)
    assert navigator.cycles == 8
    assert len(navigator.path) > 5
    assert command.forward_mps == CRUISE_MPS and abs(command.turn_radps) <= 1.0
    stopped = navigator.step(1.8, react([Seen('crate', _box(1.5), 0.9)], SIZE))
    assert stopped.forward_mps == 0.0 and stopped.turn_radps == 0.0


def test_busy_work_ends_in_time_and_with_its_parent(capsys):
    assert main(['--seconds', '0.3', '--work', '2']) == 0
    assert 'cycles in' in capsys.readouterr().out
    assert main(['--with-parent', '1' if __import__('os').getppid() != 1 else '2']) == 0
