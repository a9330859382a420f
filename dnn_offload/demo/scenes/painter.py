"""Turns things into flat polygons of the picture, far ones first."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dnn_offload.demo.scenes.camera import Camera
from dnn_offload.demo.scenes.shapes import Ball, build, Frustum, Limb, Part, Prism, Thing

NEAR_M = 0.25
_FRACTION_BITS = 4
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))],
    axis=1,
)


@dataclass(frozen=True)
class Light:
    """One light for all: its direction in the plane and the share that comes from all around."""

    direction_rad: float
    ambient: float

    def on(self, normal_rad: np.ndarray | float) -> np.ndarray | float:
        """Brightness of an upright face whose normal has this direction."""
        facing = np.maximum(0.0, np.cos(np.asarray(normal_rad) - self.direction_rad))
        return self.ambient + (1 - self.ambient) * facing


@dataclass(frozen=True)
class Polygon:
    """A convex polygon in pixels (N, 2) with an RGB colour before exposure."""

    points: np.ndarray
    colour: np.ndarray


class _Frame:
    """A thing's place as seen by a camera: local part coordinates -> pixels."""

    def __init__(self, thing: Thing, camera: Camera, light: Light) -> None:
        self.thing, self.camera, self.light = thing, camera, light
        self.sine, self.cosine = np.sin(thing.yaw_rad), np.cos(thing.yaw_rad)

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Local points (N, 3) -> camera coordinates (N, 3)."""
        x = self.thing.x_m + points[:, 0] * self.cosine + points[:, 2] * self.sine
        z = self.thing.z_m - points[:, 0] * self.sine + points[:, 2] * self.cosine
        return self.camera.to_camera(np.stack([x, points[:, 1], z], axis=1))

    def depth(self, x: float, z: float) -> float:
        return float(self.seen(np.array([[x, 0.0, z]]))[0, 2])


def _prism(part: Prism, frame: _Frame) -> list[Polygon]:
    half_w, half_d = part.wide / 2, part.deep / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [half_w, half_d]
    corners = corners + [part.x, part.z]
    polygons = []
    # The side faces in order: towards -z, +x, +z, -x; angle of the outward normal in local frame.
    for side, angle in enumerate((np.pi, np.pi / 2, 0.0, -np.pi / 2)):
        a, b = corners[side], corners[(side + 1) % 4]

        def points(
            u0: float, v0: float, u1: float, v1: float, a: np.ndarray = a, b: np.ndarray = b
        ) -> np.ndarray:
            left, right = a + (b - a) * u0, a + (b - a) * u1
            low = part.low + (part.high - part.low) * v0
            top = part.low + (part.high - part.low) * v1
            return np.array(
                [
                    [left[0], low, left[1]],
                    [right[0], low, right[1]],
                    [right[0], top, right[1]],
                    [left[0], top, left[1]],
                ]
            )

        face = frame.seen(points(0, 0, 1, 1))
        along = face[1] - face[0]
        normal = np.array([along[2], -along[0]])
        if normal @ face.mean(axis=0)[[0, 2]] >= 0:
            continue
        shine = frame.light.on(angle + frame.thing.yaw_rad)
        colour = np.asarray(part.colour) * shine
        polygons.append(Polygon(frame.camera.project(face), colour))
        for u0, v0, u1, v1, paint in part.marks:
            mark = frame.camera.project(frame.seen(points(u0, v0, u1, v1)))
            polygons.append(Polygon(mark, np.asarray(paint) * shine))
    if frame.camera.height_m > part.high:
        top = np.insert(corners, 1, part.high, axis=1)
        polygons.append(
            Polygon(frame.camera.project(frame.seen(top)), np.asarray(part.colour) * 1.08)
        )
    return polygons


def _frustum(part: Frustum, frame: _Frame) -> list[Polygon]:
    centre = frame.seen(np.array([[part.x, part.low, part.z], [part.x, part.high, part.z]]))
    away = centre[0, [0, 2]]
    away = away / max(float(np.hypot(*away)), 1e-6)
    radius_px = frame.camera.focal_px * part.radius_low / max(centre[0, 2], NEAR_M)
    strips = 3 if radius_px < 5 else 6
    angles = np.linspace(-np.pi / 2, np.pi / 2, strips + 1)
    across = np.sin(angles)[:, None] * [away[1], -away[0]] - np.cos(angles)[:, None] * away
    rings = []
    for level, radius in ((0, part.radius_low), (1, part.radius_high)):
        ring = np.repeat(centre[level : level + 1], strips + 1, axis=0)
        ring[:, [0, 2]] += across * radius
        rings.append(frame.camera.project(ring))
    polygons = []
    heading = frame.camera.heading_rad
    for k in range(strips):
        middle = across[k] + across[k + 1]
        normal = np.arctan2(middle[0], middle[1]) + heading
        quad = np.stack([rings[0][k], rings[0][k + 1], rings[1][k + 1], rings[1][k]])
        polygons.append(Polygon(quad, np.asarray(part.colour) * frame.light.on(normal)))
    if part.capped and frame.camera.height_m > part.high and radius_px > 2:
        cap = np.repeat(centre[1:], len(_CIRCLE), axis=0)
        cap[:, [0, 2]] += _CIRCLE * part.radius_high
        polygons.append(Polygon(frame.camera.project(cap), np.asarray(part.colour) * 1.08))
    return polygons


def _ball(part: Ball, frame: _Frame) -> list[Polygon]:
    centre = frame.seen(np.array([[part.x, part.y, part.z]]))
    at = frame.camera.project(centre)[0]
    scale = frame.camera.focal_px / max(centre[0, 2], NEAR_M)
    size = np.array([part.across, part.up]) * scale
    colour = np.asarray(part.colour)
    edge = Polygon(at + _CIRCLE * size, colour * (0.35 + 0.5 * frame.light.ambient))
    if size.max() < 3:
        return [Polygon(edge.points, colour * 0.85)]
    side = np.sin(frame.light.direction_rad - frame.camera.heading_rad)
    shift = np.array([0.22 * side, -0.15]) * size
    return [edge, Polygon(at + shift + _CIRCLE * size * 0.74, colour)]


def _limb(part: Limb, frame: _Frame) -> list[Polygon]:
    ends = frame.seen(np.array([part.start, part.end]))
    pixels = frame.camera.project(ends)
    widths = frame.camera.focal_px * part.radius / np.maximum(ends[:, 2], NEAR_M)
    widths = np.maximum(widths, 0.4)
    outline = np.concatenate([pixels[k] + _CIRCLE * widths[k] for k in (0, 1)])
    hull = cv2.convexHull(outline.astype(np.float32))[:, 0]
    colour = np.asarray(part.colour)
    polygons = [Polygon(hull, colour * (0.55 + 0.45 * frame.light.ambient))]
    if widths.max() > 2.5:
        side = 0.3 * np.sin(frame.light.direction_rad - frame.camera.heading_rad)
        inner = np.concatenate(
            [pixels[k] + [side * widths[k], 0] + _CIRCLE * widths[k] * 0.62 for k in (0, 1)]
        )
        polygons.append(Polygon(cv2.convexHull(inner.astype(np.float32))[:, 0], colour))
    return polygons


def _part_depth(part: Part, frame: _Frame) -> float:
    if isinstance(part, Limb):
        return frame.depth((part.start[0] + part.end[0]) / 2, (part.start[2] + part.end[2]) / 2)
    return frame.depth(part.x, part.z)


def polygons_of(thing: Thing, camera: Camera, light: Light) -> list[Polygon]:
    """The thing as polygons in painting order; empty when it is not wholly ahead."""
    frame = _Frame(thing, camera, light)
    if frame.depth(0, 0) - thing.radius_m * 1.3 < NEAR_M:
        return []
    parts = sorted(build(thing), key=lambda part: -_part_depth(part, frame))
    polygons: list[Polygon] = []
    for part in parts:
        if isinstance(part, Prism):
            polygons += _prism(part, frame)
        elif isinstance(part, Frustum):
            polygons += _frustum(part, frame)
        elif isinstance(part, Ball):
            polygons += _ball(part, frame)
        else:
            polygons += _limb(part, frame)
    return polygons


def fill(
    image: np.ndarray,
    points: np.ndarray,
    colour: tuple[float, ...] | float,
    antialias: bool = True,
) -> None:
    """Fill a convex polygon with sub-pixel corners, in place."""
    fixed = np.round(np.clip(points, -8000, 8000) * (1 << _FRACTION_BITS)).astype(np.int32)
    kind = cv2.LINE_AA if antialias else cv2.LINE_8
    cv2.fillConvexPoly(image, fixed, colour, kind, _FRACTION_BITS)
