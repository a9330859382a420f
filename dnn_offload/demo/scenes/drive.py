"""A drive through one world: the same things, seen from a vehicle that moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dnn_offload.demo.scenes.backdrop import Look
from dnn_offload.demo.scenes.camera import Camera
from dnn_offload.demo.scenes.layouts import build, SPLITS
from dnn_offload.demo.scenes.render import door_at, Lens, make_thing, paint, Scene
from dnn_offload.demo.scenes.shapes import CLASS_NAMES, CLUTTER_KINDS, RADII_M, Thing
from dnn_offload.errors import ConfigurationError

SIGHT_M = 20.0  # things farther ahead are not drawn
CAMERA_HEIGHT_M = 0.8
FOCAL_OF_WIDTH = 0.72  # focal length over picture width
HORIZON_OF_HEIGHT = 0.44  # row of the horizon over picture height


@dataclass(frozen=True)
class Pose:
    """Where the vehicle is: metres, heading in rad (0 looks along +z, positive turns right)."""

    x_m: float
    z_m: float
    heading_rad: float


@dataclass(frozen=True)
class Walker:
    """Somebody who crosses the way while the vehicle comes near, and is gone before it is there.

    Attributes:
        thing: Looks.
        at_m: Place along the path.
        side: -1 starts left, 1 starts right.
        reach_m: Half of the way across.
    """

    thing: Thing
    at_m: float
    side: float
    reach_m: float


class Drive:
    """A vehicle moving along the path of one world, things standing about, people crossing.

    Args:
        seed: The same seed and split give the same drive.
        split: 'train' or 'val' (floor plans and textures the detector has never seen).
        length_m: Length of the way; afterwards it starts again.
        speed_mps: Speed of the vehicle.

    Raises:
        ConfigurationError: The split does not exist.
    """

    def __init__(
        self, seed: int, split: str = 'val', length_m: float = 60.0, speed_mps: float = 0.9
    ) -> None:
        if split not in SPLITS:
            raise ConfigurationError('no such split', given=split, allowed=', '.join(SPLITS))
        rng = np.random.default_rng([seed, SPLITS.index(split), 1])
        self.speed_mps = speed_mps
        # Sight at the end of the way must not stop at the closing wall at once.
        self.layout = build(rng, split, length_m + 10.0)
        self.length_m = length_m
        self._look = Look.draw(rng)
        self._look = replace(self._look, fade_m=max(self._look.fade_m, 18.0))
        self._path = self.layout.path
        steps = np.diff(self._path, axis=0)
        self._headings = np.unwrap(np.arctan2(steps[:, 0], steps[:, 1]))
        self._things = self._furnish(rng)
        self._walkers = self._people(rng)

    def _at(self, along_m: float, lateral_m: float = 0.0) -> tuple[np.ndarray, float]:
        """Position (2,) and course at a place along and beside the path."""
        step = along_m / 0.25
        x, z = (np.interp(step, np.arange(len(self._path)), self._path[:, k]) for k in (0, 1))
        course = float(np.interp(step, np.arange(len(self._headings)) + 0.5, self._headings))
        side = np.array([np.cos(course), -np.sin(course)])
        return np.array([x, z]) + lateral_m * side, course

    def _furnish(self, rng: np.random.Generator) -> list[Thing]:
        things: list[Thing] = []
        kinds = [k for k in CLASS_NAMES if k != 'door'] * 2 + list(CLUTTER_KINDS)
        along = 2.5
        while along < self.length_m + 8:
            along += float(rng.uniform(0.5, 1.3))
            kind = kinds[int(rng.integers(len(kinds)))]
            radius = RADII_M[kind]
            nearest, farthest = 0.5 + radius, self.layout.free_half_m + 0.35 - radius
            if farthest < nearest:
                continue
            lateral = float(rng.choice([-1, 1]) * rng.uniform(nearest, farthest))
            spot, _ = self._at(along, lateral)
            if all(
                np.hypot(t.x_m - spot[0], t.z_m - spot[1]) > t.radius_m + radius for t in things
            ):
                things.append(make_thing(rng, kind, float(spot[0]), float(spot[1])))
        along = 1.0
        while along < self.length_m + 8:
            along += float(rng.uniform(2.5, 5.5))
            origin, course = self._at(along)
            side = float(rng.choice([-1, 1]))
            aim = side * np.array([np.cos(course), -np.sin(course)])
            door = door_at(rng, self.layout, origin, aim)
            if door is not None and all(
                np.hypot(t.x_m - door.x_m, t.z_m - door.z_m) > 1.4
                for t in things
                if t.kind == 'door'
            ):
                things.append(door)
        return things

    def _people(self, rng: np.random.Generator) -> list[Walker]:
        walkers, along = [], 5.0
        while along < self.length_m:
            along += float(rng.uniform(6, 11))
            walkers.append(
                Walker(
                    make_thing(rng, 'person', 0.0, 0.0), along, float(rng.choice([-1, 1])),
                    min(self.layout.free_half_m + 0.1, 1.6),
                )
            )
        return walkers

    def along_m(self, time_s: float) -> float:
        """Way travelled at a time, starting again at the end."""
        return (self.speed_mps * time_s) % self.length_m

    def pose(self, time_s: float) -> Pose:
        """Where the vehicle is."""
        spot, course = self._at(self.along_m(time_s), 0.12 * np.sin(0.5 * time_s))
        return Pose(float(spot[0]), float(spot[1]), course + 0.05 * float(np.sin(0.37 * time_s)))

    def things(self, time_s: float) -> list[Thing]:
        """Everything that stands or walks in the world at a time."""
        here = self.along_m(time_s)
        people = []
        for walker in self._walkers:
            gap = walker.at_m - here
            crossed = float(np.clip((7.0 - gap) / 4.8, 0.0, 1.0))
            lateral = walker.side * walker.reach_m * (1 - 2 * crossed)
            spot, course = self._at(walker.at_m, lateral)
            ahead = course - walker.side * np.pi / 2
            walking = 0.0 < crossed < 1.0
            people.append(
                replace(
                    walker.thing, x_m=float(spot[0]), z_m=float(spot[1]),
                    # a person's face and feet look to local -z
                    yaw_rad=float(ahead + np.pi),
                    stride=lateral / 0.25 if walking else 0.4,
                )
            )
        return [*self._things, *people]

    def camera(self, time_s: float, size: tuple[int, int] = (640, 480)) -> Camera:
        """The camera at a time; it nods a little."""
        wide, high = size
        pose = self.pose(time_s)
        nod = 0.004 * np.sin(7.1 * time_s) + 0.003 * np.sin(3.3 * time_s)
        return Camera(
            wide, high, FOCAL_OF_WIDTH * wide, (HORIZON_OF_HEIGHT + float(nod)) * high,
            CAMERA_HEIGHT_M, pose.x_m, pose.z_m, pose.heading_rad,
        )

    def frame(self, time_s: float, size: tuple[int, int] = (640, 480)) -> Scene:
        """The labelled picture at a time."""
        camera = self.camera(time_s, size)
        near = np.hypot(self.layout.segments[:, ::2] - camera.x_m,
                        self.layout.segments[:, 1::2] - camera.z_m).min(axis=1) < 40.0
        long = np.hypot(*(self.layout.segments[:, 2:] - self.layout.segments[:, :2]).T) > 20.0
        keep = near | long  # rays need not be cast against walls far away
        layout = replace(
            self.layout, segments=self.layout.segments[keep],
            heights_m=self.layout.heights_m[keep], skins=self.layout.skins[keep],
        )
        things = [
            t for t in self.things(time_s)
            if np.hypot(t.x_m - camera.x_m, t.z_m - camera.z_m) < SIGHT_M
        ]
        lens = Lens(exposure=1.12, blur_px=0.45, noise=2.5, noise_seed=int(time_s * 1000))
        return paint(layout, camera, self._look, lens, things, keep_all=True)

    def obstacles(self, time_s: float) -> np.ndarray:
        """Footprints of all that stands on the floor, (D, 3) x, z, radius in metres."""
        return np.array(
            [(t.x_m, t.z_m, t.radius_m) for t in self.things(time_s) if t.kind != 'door']
        ).reshape(-1, 3)
