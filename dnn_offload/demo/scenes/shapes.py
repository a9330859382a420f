"""The things that stand in the scenes, built from a few solid parts.

Parts are in the thing's own frame: x right, y up, z away, metres, origin on the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

CLASS_NAMES = ('person', 'crate', 'barrel', 'cone', 'cart', 'door', 'chair')
CLUTTER = -1

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Prism:
    """An upright box: centre x, z, width, depth, bottom, top; ``marks`` in face coordinates.

    A mark is (u0, v0, u1, v1, colour) with u, v in 0..1 on every side face.
    """

    x: float
    z: float
    wide: float
    deep: float
    low: float
    high: float
    colour: Colour
    marks: tuple[tuple[float, float, float, float, Colour], ...] = ()


@dataclass(frozen=True)
class Frustum:
    """A round body: bottom and top height and radius; ``capped`` shows its top from above."""

    x: float
    z: float
    low: float
    high: float
    radius_low: float
    radius_high: float
    colour: Colour
    capped: bool = True


@dataclass(frozen=True)
class Ball:
    """An ellipsoid seen as an ellipse: centre and radii across and up."""

    x: float
    y: float
    z: float
    across: float
    up: float
    colour: Colour


@dataclass(frozen=True)
class Limb:
    """A rod from one point to another."""

    start: Point
    end: Point
    radius: float
    colour: Colour


Part = Prism | Frustum | Ball | Limb


@dataclass(frozen=True)
class Thing:
    """One object of the world.

    Attributes:
        class_id: Index into ``CLASS_NAMES``, or ``CLUTTER``.
        kind: Name of its builder.
        x_m: Position.
        z_m: Position.
        yaw_rad: Rotation about the vertical.
        seed: Its looks are a function of this number.
        stride: Phase of the walk in rad (persons).
        radius_m: Radius of its footprint.
    """

    class_id: int
    kind: str
    x_m: float
    z_m: float
    yaw_rad: float
    seed: int
    stride: float = 0.0
    radius_m: float = field(default=0.4)


def _tone(colour: Colour, factor: float) -> Colour:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _any_colour(rng: np.random.Generator) -> Colour:
    """Any paint: half of them dull, half of them vivid."""
    if rng.random() < 0.5:
        grey = rng.uniform(25, 220)
        values = np.clip(grey + rng.normal(0, 22, 3), 10, 245)
    else:
        values = rng.uniform(15, 240, 3)
    return (float(values[0]), float(values[1]), float(values[2]))


def _wood(rng: np.random.Generator) -> Colour:
    red = rng.uniform(95, 205)
    return (red, red * rng.uniform(0.65, 0.85), red * rng.uniform(0.38, 0.62))


def person(rng: np.random.Generator, stride: float) -> list[Part]:
    """Somebody standing or walking."""
    size = rng.uniform(1.5, 1.95) / 1.75
    skin_tone = rng.uniform(0.35, 1.0)
    skin = (235 * skin_tone, 190 * skin_tone, 160 * skin_tone)
    shirt, trousers = _any_colour(rng), _any_colour(rng)
    hair = _tone((200, 160, 120), rng.uniform(0.1, 1.0))
    broad = rng.uniform(0.85, 1.3)
    swing = 0.28 * np.sin(stride)
    hip, shoulder = 0.88 * size, 1.45 * size
    parts: list[Part] = []
    for side, move in ((-1, swing), (1, -swing)):
        leg = side * 0.09 * broad
        knee = (leg, 0.47 * size, -abs(move) * 0.15 - move * 0.5)
        parts.append(Limb((leg, hip, 0), knee, 0.085 * broad, trousers))
        parts.append(Limb(knee, (leg, 0.06, -move), 0.065 * broad, _tone(trousers, 0.92)))
        parts.append(Ball(leg, 0.05, -move - 0.05, 0.08, 0.055, (40, 35, 35)))
    for side, move in ((-1, -swing), (1, swing)):
        top = (side * 0.21 * broad, shoulder - 0.05, 0.0)
        bend = rng.uniform(0.0, 0.25)
        elbow = (side * (0.25 * broad + bend * 0.3), 1.15 * size, -move * 0.4)
        hand = (side * (0.25 * broad), 0.86 * size + bend, -move - bend * 0.5)
        parts.append(Limb(top, elbow, 0.055 * broad, _tone(shirt, 0.85)))
        sleeve = _tone(shirt, 0.85) if rng.random() < 0.6 else skin
        parts.append(Limb(elbow, hand, 0.045 * broad, sleeve))
    parts.append(Frustum(0, 0, hip - 0.08, shoulder, 0.15 * broad, 0.19 * broad, shirt))
    if rng.random() < 0.35:  # a safety vest's stripe
        band = hip + 0.22 * size
        parts.append(
            Frustum(0, 0, band, band + 0.07, 0.175 * broad, 0.18 * broad, (225, 225, 190), False)
        )
    parts.append(Frustum(0, 0, shoulder, shoulder + 0.1, 0.055, 0.055, skin))
    parts.append(Ball(0, 1.63 * size, 0, 0.095 * size, 0.125 * size, skin))
    cap = hair if rng.random() < 0.7 else _any_colour(rng)
    parts.append(Ball(0, 1.69 * size, 0.02, 0.098 * size, 0.075 * size, cap))
    return parts


def crate(rng: np.random.Generator, stride: float) -> list[Part]:
    """A box of planks, or of plastic with grips; sometimes two stacked."""
    wide, deep, high = rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.9)
    wooden = rng.random() < 0.65
    colour = _wood(rng) if wooden else _any_colour(rng)
    dark, bright = _tone(colour, 0.55), _tone(colour, 1.18)
    marks: list[tuple[float, float, float, float, Colour]] = []
    if wooden:
        count = int(rng.integers(3, 7))
        marks += [(0, k / count, 1, k / count + 0.02, dark) for k in range(1, count)]
        for edge in (0.0, 0.88):
            marks.append((edge, 0, edge + 0.12, 1, bright))
            marks.append((0, edge, 1, edge + 0.12, bright))
    else:
        marks.append((0, 0.9, 1, 1, bright))
        marks += [(k / 5 + 0.04, 0.1, k / 5 + 0.09, 0.85, dark) for k in range(5)]
        marks.append((0.38, 0.7, 0.62, 0.8, (20, 20, 20)))
    return [Prism(0, 0, wide, deep, 0, high, colour, tuple(marks))]


def barrel(rng: np.random.Generator, stride: float) -> list[Part]:
    """A drum with ribs, or a bulging wooden barrel."""
    high, radius = rng.uniform(0.75, 1.0), rng.uniform(0.24, 0.34)
    wooden = rng.random() < 0.3
    colour = _wood(rng) if wooden else _any_colour(rng)
    ring = (60.0, 60.0, 65.0) if wooden else _tone(colour, rng.choice([0.6, 1.25]))
    bulge = rng.uniform(1.1, 1.22) if wooden else 1.0
    levels = np.linspace(0, high, 7)
    radii = radius * (1 + (bulge - 1) * np.sin(np.linspace(0, np.pi, 7)))
    parts: list[Part] = [
        Frustum(0, 0, levels[k], levels[k + 1], radii[k], radii[k + 1], colour) for k in range(6)
    ]
    for at in (0.02, 0.33, 0.66, 0.95):
        wide = np.interp(at * high, levels, radii) * 1.04
        parts.append(Frustum(0, 0, at * high, (at + 0.045) * high, wide, wide, ring, at > 0.9))
    if not wooden and rng.random() < 0.4:
        parts.append(
            Frustum(
                0,
                0,
                0.42 * high,
                0.6 * high,
                radius * 1.01,
                radius * 1.01,
                _any_colour(rng),
                False,
            )
        )
    return parts


def cone(rng: np.random.Generator, stride: float) -> list[Part]:
    """A traffic cone."""
    high, radius = rng.uniform(0.4, 0.9), rng.uniform(0.12, 0.2)
    colour = [(235.0, 90.0, 25.0), (225.0, 60.0, 30.0), (225.0, 200.0, 40.0)][rng.choice(3)]
    colour = _tone(colour, rng.uniform(0.7, 1.05))
    plate = _tone(colour, 0.9) if rng.random() < 0.5 else (35.0, 35.0, 38.0)
    parts: list[Part] = [Prism(0, 0, 2.5 * radius, 2.5 * radius, 0, 0.04, plate)]
    edges = [0.04, 0.36, 0.54, 0.66, 0.8, 1.0] if rng.random() < 0.8 else [0.04, 0.5, 1.0]
    for k in range(len(edges) - 1):
        paint = (230.0, 230.0, 225.0) if len(edges) > 3 and k in (1, 3) else colour
        low, top = edges[k], edges[k + 1]
        at_low, at_top = radius * (1 - 0.88 * low), radius * (1 - 0.88 * top)
        parts.append(Frustum(0, 0, low * high, top * high, at_low, at_top, paint))
    return parts


def cart(rng: np.random.Generator, stride: float) -> list[Part]:
    """A flat trolley with a handle, perhaps with a rim or a load."""
    wide, deep = rng.uniform(0.5, 0.75), rng.uniform(0.8, 1.2)
    bed, colour = rng.uniform(0.22, 0.34), _any_colour(rng)
    steel = _tone((200, 200, 205), rng.uniform(0.4, 1.0))
    parts: list[Part] = []
    for side in (-1, 1):
        for end in (-1, 1):
            at = (side * (wide / 2 - 0.07), end * (deep / 2 - 0.12))
            parts.append(Ball(at[0], 0.1, at[1], 0.07, 0.1, (30, 30, 32)))
    parts.append(Prism(0, 0, wide, deep, bed - 0.07, bed, colour))
    top = rng.uniform(0.85, 1.1)
    back = deep / 2
    for side in (-1, 1):
        foot = (side * (wide / 2 - 0.04), bed, back)
        parts.append(Limb(foot, (foot[0], top, back + 0.08), 0.022, steel))
    for level in (top, bed + (top - bed) * 0.5):
        left, right = (-wide / 2 + 0.04, level, back + 0.06), (wide / 2 - 0.04, level, back + 0.06)
        parts.append(Limb(left, right, 0.022, steel))
    style = rng.random()
    if style < 0.3:  # wire sides
        for end in (-1, 1):
            for side in (-1, 1):
                foot = (side * wide / 2, bed, end * deep / 2)
                parts.append(Limb(foot, (foot[0], bed + 0.4, foot[2]), 0.018, steel))
        for side in (-1, 1):
            one, two = (side * wide / 2, bed + 0.4, -deep / 2), (side * wide / 2, bed + 0.4, back)
            parts.append(Limb(one, two, 0.018, steel))
    elif style < 0.6:  # a tub
        parts.append(
            Prism(0, 0, wide * 0.92, deep * 0.92, bed, bed + rng.uniform(0.15, 0.35), colour)
        )
    return parts


def chair(rng: np.random.Generator, stride: float) -> list[Part]:
    """Four legs, a seat and a back."""
    wide, seat, top = rng.uniform(0.4, 0.52), rng.uniform(0.42, 0.5), rng.uniform(0.8, 1.05)
    colour, steel = _any_colour(rng), _any_colour(rng)
    half = wide / 2 - 0.03
    parts: list[Part] = []
    for side in (-1, 1):
        for end in (-1, 1):
            parts.append(
                Limb((side * half, 0, end * half), (side * half, seat, end * half), 0.02, steel)
            )
    parts.append(Prism(0, 0, wide, wide, seat - 0.02, seat + 0.04, colour))
    for side in (-1, 1):
        parts.append(
            Limb((side * half, seat, half), (side * half, top, half + 0.06), 0.022, steel)
        )
    if rng.random() < 0.6:
        parts.append(Prism(0, half + 0.04, wide, 0.04, seat + 0.18, top, colour))
    else:
        for level in np.linspace(seat + 0.15, top, 4):
            parts.append(
                Limb((-half, level, half + 0.05), (half, level, half + 0.05), 0.022, colour)
            )
    if rng.random() < 0.3:
        for side in (-1, 1):
            one, two = (side * half, seat + 0.2, -half), (side * half, seat + 0.2, half)
            parts.append(Limb(one, two, 0.02, steel))
    return parts


def door(rng: np.random.Generator, stride: float) -> list[Part]:
    """A door leaf in its frame, flat against a wall; its face looks to -z."""
    wide, high = rng.uniform(0.8, 1.1), rng.uniform(1.95, 2.15)
    colour = _wood(rng) if rng.random() < 0.4 else _any_colour(rng)
    frame = _tone(colour, rng.choice([0.6, 1.3]))
    dark, bright = _tone(colour, 0.75), _tone(colour, 1.12)
    edge = 0.08
    marks: list[tuple[float, float, float, float, Colour]] = [
        (0, 0, edge, 1, frame),
        (1 - edge, 0, 1, 1, frame),
        (0, 1 - edge / 2, 1, 1, frame),
        (edge, 0, edge + 0.015, 1, (30, 30, 30)),
        (1 - edge - 0.015, 0, 1 - edge, 1, (30, 30, 30)),
    ]
    style = rng.random()
    if style < 0.35:
        for low, top in ((0.08, 0.42), (0.52, 0.9)):
            marks += [(0.2, low, 0.8, top, dark), (0.24, low + 0.02, 0.76, top - 0.02, bright)]
    elif style < 0.6:
        marks.append((0.3, 0.6, 0.7, 0.88, (150, 180, 200)))
    grip = 0.14 if rng.random() < 0.5 else 0.8
    marks.append((grip, 0.46, grip + 0.07, 0.5, (215, 210, 190)))
    return [Prism(0, 0, wide, 0.06, 0, high, colour, tuple(marks))]


def ball(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a ball."""
    radius = rng.uniform(0.1, 0.3)
    return [Ball(0, radius, 0, radius, radius, _any_colour(rng))]


def pole(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a post or a sign."""
    high = rng.uniform(0.7, 2.2)
    parts: list[Part] = [Frustum(0, 0, 0, high, 0.04, 0.04, _any_colour(rng))]
    if rng.random() < 0.5:
        parts.append(Prism(0, -0.05, 0.4, 0.02, high - 0.35, high, _any_colour(rng)))
    return parts


def plant(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a plant in a pot."""
    pot, radius = rng.uniform(0.2, 0.4), rng.uniform(0.12, 0.22)
    parts: list[Part] = [Frustum(0, 0, 0, pot, radius * 0.8, radius, _any_colour(rng))]
    for _ in range(int(rng.integers(6, 14))):
        green = rng.uniform(60, 170)
        x, z = rng.normal(0, radius, 2)
        parts.append(
            Ball(
                x,
                pot + rng.uniform(0.05, 0.7),
                z,
                rng.uniform(0.06, 0.2),
                rng.uniform(0.05, 0.15),
                (green * 0.5, green, green * 0.4),
            )
        )
    return parts


def cabinet(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a tall cupboard with drawers."""
    colour = _any_colour(rng)
    count = int(rng.integers(2, 5))
    marks = tuple(
        (0.06, k / count + 0.02, 0.94, (k + 1) / count - 0.02, _tone(colour, 1.12))
        for k in range(count)
    )
    handles = tuple(
        (0.42, (k + 0.7) / count, 0.58, (k + 0.7) / count + 0.02, (40.0, 40.0, 40.0))
        for k in range(count)
    )
    wide, deep, high = rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.6), rng.uniform(1.1, 1.9)
    return [Prism(0, 0, wide, deep, 0, high, colour, marks + handles)]


def sack(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a heap of sacks."""
    colour = _any_colour(rng)
    return [
        Ball(x, 0.14 + level * 0.2, 0, 0.3, 0.15, _tone(colour, rng.uniform(0.85, 1.1)))
        for level in range(int(rng.integers(1, 4)))
        for x in (rng.normal(0, 0.06),)
    ]


def ladder(rng: np.random.Generator, stride: float) -> list[Part]:
    """Clutter: a step ladder."""
    high, colour = rng.uniform(1.2, 2.0), _any_colour(rng)
    parts: list[Part] = []
    for side in (-0.2, 0.2):
        parts.append(Limb((side, 0, -0.3), (side * 0.7, high, 0), 0.025, colour))
        parts.append(Limb((side, 0, 0.4), (side * 0.7, high, 0), 0.025, _tone(colour, 0.8)))
    for step in np.arange(0.25, high, 0.28).tolist():
        depth = -0.3 * (1 - step / high)
        parts.append(Limb((-0.19, step, depth), (0.19, step, depth), 0.022, colour))
    return parts


Builder = Callable[[np.random.Generator, float], list[Part]]
BUILDERS: dict[str, Builder] = {
    'person': person,
    'crate': crate,
    'barrel': barrel,
    'cone': cone,
    'cart': cart,
    'door': door,
    'chair': chair,
    'ball': ball,
    'pole': pole,
    'plant': plant,
    'cabinet': cabinet,
    'sack': sack,
    'ladder': ladder,
}
CLUTTER_KINDS = tuple(kind for kind in BUILDERS if kind not in CLASS_NAMES)
RADII_M = {
    'person': 0.3,
    'crate': 0.5,
    'barrel': 0.33,
    'cone': 0.22,
    'cart': 0.6,
    'door': 0.5,
    'chair': 0.33,
    'ball': 0.25,
    'pole': 0.2,
    'plant': 0.3,
    'cabinet': 0.5,
    'sack': 0.33,
    'ladder': 0.4,
}


def build(thing: Thing) -> list[Part]:
    """The parts of a thing; the same seed gives the same looks."""
    return BUILDERS[thing.kind](np.random.default_rng(thing.seed), thing.stride)
