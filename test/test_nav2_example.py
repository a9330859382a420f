"""The Nav2 example's reckoning: where detections stand on the floor, and how fast one may go."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from ground_plane import Box, clearing_points, Lens, Mount, obstacle_points, on_floor
from speed_rule import limited, SpeedRule, SpeedSettings

LENS = Lens.of_view(640, 480, math.radians(60.0))
MOUNT = Mount(height_m=0.3, pitch_rad=math.radians(10.0))


def seen_at(lens: Lens, mount: Mount, points: np.ndarray) -> np.ndarray:
    """Pixels of points of the base ``(N, 3)``, by OpenCV's projection."""
    yaw, pitch = mount.yaw_rad, mount.pitch_rad
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    ahead = np.array([
        math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), -math.sin(pitch)
    ])
    turn = np.stack([right, np.cross(ahead, right), ahead])
    camera = np.array([mount.forward_m, mount.left_m, mount.height_m])
    pixels, _ = cv2.projectPoints(
        np.asarray(points, np.float64), cv2.Rodrigues(turn)[0], -turn @ camera,
        np.reshape(lens.matrix, (3, 3)), np.array(lens.distortion or (0.0, 0.0, 0.0, 0.0)),
    )
    return np.asarray(pixels).reshape(-1, 2)


@pytest.mark.parametrize(
    'mount',
    [
        MOUNT,
        Mount(0.3, 0.0),
        Mount(1.2, math.radians(30.0), forward_m=0.2, left_m=-0.1, yaw_rad=math.radians(25.0)),
    ],
)
@pytest.mark.parametrize('distortion', [(), (-0.2, 0.05, 0.001, -0.002, 0.0)])
def test_floor_points_come_back_from_their_pixels(
    mount: Mount, distortion: tuple[float, ...]
) -> None:
    lens = Lens(LENS.matrix, distortion, LENS.width, LENS.height)
    ahead = np.array([[1.5, 0.0], [2.0, 0.4], [3.0, -0.7]])
    turn = np.array([
        [math.cos(mount.yaw_rad), math.sin(mount.yaw_rad)],
        [-math.sin(mount.yaw_rad), math.cos(mount.yaw_rad)],
    ])
    floor = ahead @ turn + [mount.forward_m, mount.left_m]
    pixels = seen_at(lens, mount, np.column_stack([floor, np.zeros(3)]))
    assert on_floor(lens, mount, pixels) == pytest.approx(floor, abs=2e-3)


def test_the_horizon_and_the_sky_have_no_floor() -> None:
    level = Mount(0.3, 0.0)
    assert np.isnan(on_floor(LENS, level, np.array([[320.0, 240.0], [320.0, 100.0]]))).all()


def test_an_object_is_marked_along_its_foot_and_behind() -> None:
    foot = np.array([[2.0, 0.25, 0.0], [2.0, -0.25, 0.0]])
    (left, bottom), (right, _) = seen_at(LENS, MOUNT, foot)
    box = Box(left, right, bottom)
    points = obstacle_points(LENS, MOUNT, [box], max_range_m=4.0, depth_m=0.2)
    assert points[:, 0].min() == pytest.approx(2.0, abs=1e-6)
    assert points[:, 0].max() == pytest.approx(2.2, abs=0.01)
    assert np.abs(points[:, 1]).max() == pytest.approx(0.25 * 1.1, abs=0.01)
    # No gap through which a path could go.
    front = np.sort(points[np.isclose(points[:, 0], 2.0)][:, 1])
    assert np.diff(front).max() <= 0.05 + 1e-9
    assert len(obstacle_points(LENS, MOUNT, [box], max_range_m=1.9)) == 0


def test_a_box_that_is_cut_off_below_is_put_where_the_floor_begins() -> None:
    nearest_m = on_floor(LENS, MOUNT, np.array([[320.0, 478.0]]))[0, 0]
    points = obstacle_points(LENS, MOUNT, [Box(300.0, 340.0, 600.0)], max_range_m=4.0)
    assert points[:, 0].min() == pytest.approx(nearest_m, abs=1e-6)


def test_a_box_above_the_horizon_is_no_obstacle() -> None:
    assert obstacle_points(LENS, Mount(0.3, 0.0), [Box(1.0, 9.0, 90.0)], max_range_m=9.0).size == 0


def test_rays_clear_the_whole_view_but_what_is_occupied() -> None:
    free = clearing_points(LENS, MOUNT, np.empty((0, 2)), range_m=5.0)
    bearings_deg = np.degrees(np.arctan2(free[:, 1], free[:, 0]))
    assert len(free) == 61
    assert np.hypot(*free.T) == pytest.approx(np.full(61, 5.0))
    # Wider than the lens: a tilted camera sees the floor beside it.
    assert bearings_deg.max() == pytest.approx(30.4, abs=0.3)
    occupied = np.column_stack([np.full(5, 0.5), np.linspace(-0.1, 0.1, 5)])
    around = clearing_points(LENS, MOUNT, occupied, range_m=5.0)
    bearings_deg = np.degrees(np.arctan2(around[:, 1], around[:, 0]))
    assert 0 < len(around) < 61
    assert np.abs(bearings_deg).min() > math.degrees(math.atan2(0.1, 0.5))


def test_a_camera_that_looks_back_clears_behind() -> None:
    behind = Mount(0.3, 0.1, forward_m=-0.2, yaw_rad=math.pi)
    free = clearing_points(LENS, behind, np.array([[-2.0, 0.0]]), range_m=5.0)
    assert (free[:, 0] < -4.0).all() and 0 < len(free) < 61


def test_speed_falls_in_a_straight_line_with_the_distance() -> None:
    limits = []
    for distance_m in (9.0, 4.0, 2.5, 1.0, 0.2):
        rule = SpeedRule(SpeedSettings(full_beyond_m=4.0, slowest_within_m=1.0))
        rule.see(0.0, [distance_m, 8.0])
        limits.append(rule.limit_percent(0.0))
    assert limits == pytest.approx([100.0, 100.0, 60.0, 20.0, 20.0])


def test_slower_at_once_and_faster_after_a_while() -> None:
    rule = SpeedRule(SpeedSettings(hold_s=1.0, stale_s=5.0))
    rule.see(0.0, [1.0])
    rule.see(0.5, [])
    assert rule.limit_percent(0.5) == 20.0
    rule.see(1.1, [])
    assert rule.limit_percent(1.1) == 100.0
    rule.see(1.2, [2.5])
    rule.see(1.3, [1.0])
    assert rule.limit_percent(1.3) == 20.0


def test_a_blind_robot_is_slow_from_the_start_and_whenever_results_stop() -> None:
    rule = SpeedRule(SpeedSettings(stale_s=1.0, blind_percent=50.0))
    assert rule.limit_percent(0.0) == 50.0
    rule.see(0.0, [])
    assert rule.limit_percent(0.9) == 100.0
    assert rule.limit_percent(1.1) == 50.0
    rule.see(2.0, [0.5])
    assert rule.limit_percent(9.0) == 20.0


def test_a_limited_velocity_keeps_its_curve() -> None:
    assert limited(0.2, 0.0, 1.0, 50.0, 0.5) == (0.2, 0.0, 1.0)
    forward_mps, left_mps, turn_radps = limited(0.5, 0.0, 1.0, 20.0, 0.5)
    assert (forward_mps, left_mps, turn_radps) == pytest.approx((0.1, 0.0, 0.2))
    assert limited(-0.5, 0.0, 0.0, 20.0, 0.5)[0] == pytest.approx(-0.1)
    assert limited(0.0, 0.0, 2.0, 20.0, 0.5) == (0.0, 0.0, 2.0)
