"""A stand-in for a robot's navigation that does real work, and reacts to what is seen.

Range scans of the drive's world are fused into an occupancy grid (log odds; Moravec and Elfes,
ICRA 1985), a way through it is planned by A* (Hart, Nilsson and Raphael, 1968), and detections
decide the speed. ``python -m dnn_offload.demo.navigation`` runs the same work as pure load.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import heapq
import os
import time

import cv2
import numpy as np

from dnn_offload.demo.scenes.camera import cast, cast_discs
from dnn_offload.demo.scenes.drive import (
    CAMERA_HEIGHT_M,
    Drive,
    FOCAL_OF_WIDTH,
    HORIZON_OF_HEIGHT,
    Pose,
)

CELL_M = 0.1
SIDE_CELLS = 160  # the grid moves with the vehicle: 16 m x 16 m
RANGE_M = 9.0
BEAMS = 181
FREE_STEP, HIT_STEP, LIMIT = -0.35, 0.9, 5.0  # log odds
OCCUPIED = 0.6
VEHICLE_RADIUS_M = 0.35
LOOKAHEAD_M = 1.2

CRUISE_MPS, SLOW_MPS, MAX_TURN_RADPS = 0.9, 0.35, 1.0
LANE_HALF_M = 0.45  # half of the vehicle and a hand's breadth
STOP_M, SLOW_M = 2.2, 4.5
HARMLESS = frozenset({'door'})


@dataclass(frozen=True)
class Seen:
    """A detection as navigation needs it: class name, box in pixels x1, y1, x2, y2, score."""

    class_name: str
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class Reaction:
    """What the detections mean for the speed.

    Attributes:
        speed_mps: Allowed speed.
        state: 'clear', 'slow' or 'stop'.
        cause: Name of the class in the way, '' if clear.
        distance_m: Distance to it; inf if clear.
    """

    speed_mps: float
    state: str
    cause: str
    distance_m: float


@dataclass(frozen=True)
class Command:
    """A twist: metres per second ahead, radians per second to the left (REP 103)."""

    forward_mps: float
    turn_radps: float


def ground_position(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float]:
    """Where a box stands on the floor: distance ahead, left edge, right edge, in metres.

    Args:
        box: x1, y1, x2, y2 in pixels.
        size: Width and height of the picture in pixels.
    """
    wide, high = size
    focal = FOCAL_OF_WIDTH * wide
    below = box[3] - HORIZON_OF_HEIGHT * high
    if below < 1.0:
        return float('inf'), 0.0, 0.0
    distance = focal * CAMERA_HEIGHT_M / below
    left, right = ((x - wide / 2) * distance / focal for x in (box[0], box[2]))
    return distance, left, right


def react(seen: Sequence[Seen], size: tuple[int, int], min_score: float = 0.5) -> Reaction:
    """Decide the speed: stop or slow for what stands in the lane, near first.

    Args:
        seen: Detections of one picture.
        size: Width and height of that picture in pixels.
        min_score: Detections below it are not believed.
    """
    best = Reaction(CRUISE_MPS, 'clear', '', float('inf'))
    for item in seen:
        if item.score < min_score or item.class_name in HARMLESS:
            continue
        distance, left, right = ground_position(item.box, size)
        if left > LANE_HALF_M or right < -LANE_HALF_M or distance >= best.distance_m:
            continue
        if distance < STOP_M:
            best = Reaction(0.0, 'stop', item.class_name, distance)
        elif distance < SLOW_M:
            best = Reaction(SLOW_MPS, 'slow', item.class_name, distance)
    return best


class OccupancyMap:
    """A grid of log odds around the vehicle that moves along with it.

    Attributes:
        log_odds: (SIDE_CELLS, SIDE_CELLS) float32, row = z, column = x.
        corner: World cell index (column, row) of ``log_odds[0, 0]``.
    """

    def __init__(self, pose: Pose) -> None:
        self.log_odds = np.zeros((SIDE_CELLS, SIDE_CELLS), np.float32)
        self.corner = self._corner_for(pose)

    @staticmethod
    def _corner_for(pose: Pose) -> tuple[int, int]:
        half = SIDE_CELLS // 2
        return int(np.floor(pose.x_m / CELL_M)) - half, int(np.floor(pose.z_m / CELL_M)) - half

    def follow(self, pose: Pose) -> None:
        """Move the window so that the vehicle is at its centre; what leaves it is forgotten."""
        corner = self._corner_for(pose)
        moved = np.zeros_like(self.log_odds)
        columns, rows = corner[0] - self.corner[0], corner[1] - self.corner[1]
        if abs(columns) < SIDE_CELLS and abs(rows) < SIDE_CELLS:
            source = self.log_odds[
                max(rows, 0) : SIDE_CELLS + min(rows, 0),
                max(columns, 0) : SIDE_CELLS + min(columns, 0),
            ]
            moved[
                max(-rows, 0) : SIDE_CELLS + min(-rows, 0),
                max(-columns, 0) : SIDE_CELLS + min(-columns, 0),
            ] = source
        self.log_odds, self.corner = moved, corner

    def cells(self, points: np.ndarray) -> np.ndarray:
        """World points (N, 2) x, z -> cells (N, 2) column, row (may lie outside)."""
        return np.floor(points / CELL_M).astype(np.int64) - self.corner

    def points(self, cells: np.ndarray) -> np.ndarray:
        """Cells (N, 2) column, row -> world points (N, 2) of their centres."""
        return (cells + self.corner + 0.5) * CELL_M

    def update(self, pose: Pose, angles: np.ndarray, ranges: np.ndarray) -> None:
        """Fuse one scan: cells along each beam become freer, its end more occupied.

        Args:
            pose: Of the scanner.
            angles: (B,) rad to the right of ahead.
            ranges: (B,) metres; ``RANGE_M`` or more means nothing was hit.
        """
        bearing = pose.heading_rad + angles
        aim = np.stack([np.sin(bearing), np.cos(bearing)], axis=1)  # (B, 2)
        reach = np.minimum(ranges, RANGE_M)
        steps = np.arange(0.0, RANGE_M, CELL_M)  # (K,)
        origin = np.array([pose.x_m, pose.z_m])
        along = origin + aim[:, None] * steps[None, :, None]  # (B, K, 2)
        passed = along[steps[None] < reach[:, None] - CELL_M]
        hits = (origin + aim * (reach + 0.5 * CELL_M)[:, None])[ranges < RANGE_M]
        change = np.zeros(SIDE_CELLS * SIDE_CELLS, np.float32)
        for points, step in ((passed, FREE_STEP), (hits, HIT_STEP)):
            cell = self.cells(points)
            inside = ((cell >= 0) & (cell < SIDE_CELLS)).all(axis=1)
            # A cell changes once per scan however many beams cross it; a hit outweighs.
            change[cell[inside, 1] * SIDE_CELLS + cell[inside, 0]] = step
        self.log_odds += change.reshape(SIDE_CELLS, SIDE_CELLS)
        np.clip(self.log_odds, -LIMIT, LIMIT, out=self.log_odds)

    def blocked(self, radius_m: float = VEHICLE_RADIUS_M) -> np.ndarray:
        """(rows, columns) bool: cells where the vehicle's centre may not be."""
        reach = int(np.ceil(radius_m / CELL_M))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        occupied = (self.log_odds > OCCUPIED).astype(np.uint8)
        return np.asarray(cv2.dilate(occupied, disc), bool)


_MOVES = [
    (dx, dy, float(np.hypot(dx, dy)))
    for dx in (-1, 0, 1)
    for dy in (-1, 0, 1)
    if (dx, dy) != (0, 0)
]


def plan_path(
    blocked: np.ndarray, start: tuple[int, int], goal: tuple[int, int]
) -> list[tuple[int, int]]:
    """Shortest 8-connected way by A*; empty when there is none.

    Args:
        blocked: (rows, columns) bool.
        start: Column, row; may itself be blocked (the vehicle is where it is).
        goal: Column, row.
    """
    rows, columns = blocked.shape
    closed = bytearray(blocked.astype(np.uint8).tobytes())
    if not (0 <= goal[0] < columns and 0 <= goal[1] < rows) or closed[goal[1] * columns + goal[0]]:
        return []
    best = {start: 0.0}
    came: dict[tuple[int, int], tuple[int, int]] = {}
    queue = [(0.0, start)]
    while queue:
        _, here = heapq.heappop(queue)
        if here == goal:
            path = [here]
            while here in came:
                here = came[here]
                path.append(here)
            return path[::-1]
        index = here[1] * columns + here[0]
        if closed[index] == 2:
            continue
        closed[index] = 2
        cost = best[here]
        for dx, dy, length in _MOVES:
            x, y = here[0] + dx, here[1] + dy
            if not (0 <= x < columns and 0 <= y < rows) or closed[y * columns + x]:
                continue
            there = (x, y)
            total = cost + length
            if total < best.get(there, float('inf')):
                best[there] = total
                came[there] = here
                away_x, away_y = abs(goal[0] - x), abs(goal[1] - y)
                rest = max(away_x, away_y) + 0.4142 * min(away_x, away_y)
                heapq.heappush(queue, (total + rest, there))
    return []


def scan(drive: Drive, pose: Pose, time_s: float, angles: np.ndarray) -> np.ndarray:
    """Simulated range scan of the drive's world: (B,) metres for angles (B,) rad."""
    bearing = pose.heading_rad + angles
    aim = np.stack([np.sin(bearing), np.cos(bearing)], axis=1)
    origin = np.array([pose.x_m, pose.z_m])
    walls, _, _ = cast(origin, aim, drive.layout.segments)
    things = cast_discs(origin, aim, drive.obstacles(time_s))
    return np.asarray(np.minimum(walls, things))


class Navigator:
    """Maps, plans and steers along a drive.

    Args:
        drive: The world; the vehicle's pose is the drive's.
        goal_m: How far ahead the goal is set.
    """

    def __init__(self, drive: Drive, goal_m: float = 6.0) -> None:
        self.drive, self.goal_m = drive, goal_m
        self.map = OccupancyMap(drive.pose(0.0))
        self.path: np.ndarray = np.zeros((0, 2))
        self.cycles = 0

    def _goal(self, pose: Pose, blocked: np.ndarray) -> tuple[int, int] | None:
        """The farthest free cell straight ahead within ``goal_m``."""
        aim = np.array([np.sin(pose.heading_rad), np.cos(pose.heading_rad)])
        away = np.arange(self.goal_m, 0.5, -CELL_M)
        cells = self.map.cells(np.array([pose.x_m, pose.z_m]) + away[:, None] * aim)
        for column, row in cells.tolist():
            if 0 <= column < SIDE_CELLS and 0 <= row < SIDE_CELLS and not blocked[row, column]:
                return column, row
        return None

    def step(self, time_s: float, reaction: Reaction, work: int = 1) -> Command:
        """One cycle: scan, map, plan, command.

        Args:
            time_s: Time on the drive.
            reaction: What the camera allows.
            work: Number of scanners fused and plans made in this cycle: the work factor.
        """
        pose = self.drive.pose(time_s)
        self.map.follow(pose)
        spread = np.linspace(-np.pi * 0.75, np.pi * 0.75, BEAMS)
        for scanner in range(max(1, work)):
            angles = spread + scanner * (spread[1] - spread[0]) / max(1, work)
            self.map.update(pose, angles, scan(self.drive, pose, time_s, angles))
            blocked = self.map.blocked()
            goal = self._goal(pose, blocked)
            start = (SIDE_CELLS // 2, SIDE_CELLS // 2)
            cells = plan_path(blocked, start, goal) if goal is not None else []
        self.path = self.map.points(np.array(cells).reshape(-1, 2))
        self.cycles += 1
        return self._steer(pose, reaction)

    def _steer(self, pose: Pose, reaction: Reaction) -> Command:
        """Pure pursuit (Coulter, 1992): aim at the path's point ``LOOKAHEAD_M`` ahead."""
        if len(self.path) < 2:
            return Command(0.0, 0.0)
        offset = self.path - [pose.x_m, pose.z_m]
        ahead = offset[np.argmax(np.hypot(offset[:, 0], offset[:, 1]) >= LOOKAHEAD_M)]
        if np.hypot(*ahead) < LOOKAHEAD_M:
            ahead = offset[-1]
        bearing = float(np.arctan2(ahead[0], ahead[1])) - pose.heading_rad
        bearing = (bearing + np.pi) % (2 * np.pi) - np.pi
        curvature = 2 * np.sin(bearing) / max(float(np.hypot(*ahead)), 0.3)
        turn = -reaction.speed_mps * curvature  # to the right is negative in REP 103
        return Command(
            reaction.speed_mps, float(np.clip(turn, -MAX_TURN_RADPS, MAX_TURN_RADPS))
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Map and plan as fast as possible, or at a rate, until told to end: busy work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=7)
    parser.add_argument('--rate-hz', type=float, default=0.0, help='cycles per second; 0 = all')
    parser.add_argument('--seconds', type=float, default=0.0, help='0 = without end')
    parser.add_argument('--work', type=int, default=1, help='scanners and plans per cycle')
    parser.add_argument(
        '--with-parent', type=int, default=0, help='end when the parent is no longer this process'
    )
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    navigator = Navigator(Drive(options.seed))
    clear = react([], (640, 480))
    begun = time.monotonic()
    while True:
        now = time.monotonic() - begun
        if options.seconds and now >= options.seconds:
            break
        if options.with_parent and os.getppid() != options.with_parent:
            break
        navigator.step(now, clear, options.work)
        if options.rate_hz > 0:
            time.sleep(max(0.0, 1 / options.rate_hz - (time.monotonic() - begun - now)))
    print(f'{navigator.cycles} cycles in {time.monotonic() - begun:.1f} s')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
