"""Bathtubs: hollow shells of many outlines, freestanding, on feet or built in, with taps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .colors import METALS, PAINTS, WOODS, pick, pick_weighted, shaded, varied
from .furniture import board
from .solids import (
    Color,
    Part,
    both_sides,
    box,
    cylinder,
    extrude,
    loft,
    rectangle,
    revolve,
    rounded,
    smooth_curve,
    sphere,
    superellipse,
    sweep,
    union,
)

_WHITES: tuple[Color, ...] = ((0.95, 0.95, 0.94), (0.93, 0.91, 0.86), (0.9, 0.93, 0.94))
_POINTS = 64  # around a tub


def make(random: np.random.Generator) -> list[Part]:
    """One bathtub; see :mod:`training.shapes`."""
    kinds = {_freestanding: 0.34, _clawfoot: 0.22, _built_in: 0.28, _corner: 0.06, _barrel: 0.1}
    return pick_weighted(random, kinds)(random)


@dataclass(frozen=True)
class _Shell:
    """A tub around the Z axis, long side along X; lengths in metres.

    Attributes:
        outline: ``[K, 2]`` of the rim, from above.
        foot: Share of the rim's size that the tub has at its underside.
        belly: How the side swells between both; 1 is straight, below 1 round.
        under: Height of the underside.
        height: Of the rim at its lowest.
        lift: How much higher the rim is at both ends ``[2]``: at -x and at +x.
        wall: Thickness.
    """

    outline: np.ndarray
    foot: float
    belly: float
    under: float
    height: float
    lift: tuple[float, float]
    wall: float

    @property
    def half(self) -> np.ndarray:
        """Half the length and the width of the rim ``[2]``."""
        return np.abs(self.outline).max(axis=0)

    def ring(self, share: float, inset: float = 0.0, raised: float = 0.0) -> np.ndarray:
        """``[K, 3]`` around the tub.

        Args:
            share: Of the way from the underside (0) to the rim (1), or beyond.
            inset: How far inside the outer face.
            raised: Added to the height.
        """
        size = self.foot + (1.0 - self.foot) * np.clip(share, 0.0, 1.0) ** self.belly
        level = self.outline * (size - inset / self.half)
        x = self.outline[:, 0] / self.half[0]
        rim = self.height + np.where(x < 0, self.lift[0], self.lift[1]) * np.abs(x) ** 2.2
        height = self.under + share * (rim - self.under) + raised
        return np.concatenate([level, height[:, None]], axis=1)

    def outside(self) -> Manifold:
        """The solid tub, its lower edge rounded."""
        edge = 0.04 * self.foot
        rings = [self.ring(0.0, 2.0 * edge), self.ring(0.03, 0.6 * edge)]
        return loft([*rings, *(self.ring(share) for share in np.linspace(0.1, 1.0, 9))])

    def cavity(self) -> Manifold:
        """What is taken out of it: the inside, and on up through the rim."""
        floor = _floor(self)
        insets = [(0.0, 0.3), (0.02, 0.12), (0.08, 0.05), (0.2, 0.015)]
        rings = [self.ring(floor + up, self.wall + inset * self.half[1]) for up, inset in insets]
        shares = np.linspace(0.5, 1.0, 6)
        rings += [self.ring(share, self.wall) for share in shares]
        return loft([*rings, self.ring(1.0, self.wall, 0.3)])

    def rim(self, radius: float) -> Manifold:
        """A roll along the upper edge."""
        return sweep(self.ring(1.0, 0.3 * self.wall), radius, closed=True)


def _tub(random: np.random.Generator, shell: _Shell, body: Manifold, outside: Color) -> list[Part]:
    """A body with a cavity and a drain; the cavity is white whatever the outside is."""
    inside = outside if outside in _WHITES else pick(random, _WHITES)
    z = float(shell.ring(_floor(shell))[:, 2].min())
    x = random.choice([0.0, 0.55]) * shell.foot * shell.half[0]
    drain = cylinder(0.035, (x, 0, z - 0.02), (x, 0, z + 0.012), segments=16)
    metal = varied(random, pick(random, METALS), 0.02)
    return [Part(body, outside), Part(shell.cavity(), inside, cut=True), Part(drain, metal)]


def _floor(shell: _Shell) -> float:
    """Where the inner floor is on the way from the underside to the rim."""
    return (0.05 + 0.5 * shell.wall) / (shell.height - shell.under)


def _drawn(random: np.random.Generator, under: float, foot: tuple[float, float]) -> _Shell:
    """A freestanding tub's shell."""
    length, width, height = random.uniform((1.45, 0.7, 0.54), (1.8, 0.84, 0.62))
    egg = random.choice([0.0, random.uniform(0.05, 0.12)])
    outline = superellipse(length / 2, width / 2, random.uniform(2.0, 3.6), _POINTS)
    outline = outline * np.stack([np.ones(_POINTS), 1.0 + 2 * egg * outline[:, 0] / length], axis=1)
    lifts = {(0.0, 0.0): 0.4, (1.0, 1.0): 0.25, (1.0, 0.0): 0.25, (0.4, 1.0): 0.1}
    lift = np.array(pick_weighted(random, lifts)) * random.uniform(0.08, 0.24)
    return _Shell(
        outline=outline,
        foot=random.uniform(*foot),
        belly=random.uniform(0.4, 1.1),
        under=under,
        height=height + 0.4 * under,
        lift=(float(lift[0]), float(lift[1])),
        wall=random.uniform(0.03, 0.055),
    )


# Freestanding -------------------------------------------------------------------------------------


def _freestanding(random: np.random.Generator) -> list[Part]:
    """Oval, egg-shaped and slipper tubs that stand on the floor or on a plinth."""
    plinth = random.random() < 0.3
    under = random.uniform(0.04, 0.09) if plinth else 0.0
    shell = _drawn(random, under, (0.62, 0.95))
    colored = [*PAINTS, *METALS] if random.random() < 0.4 else _WHITES
    outside = pick(random, colored)
    parts = _tub(random, shell, shell.outside(), outside)
    if random.random() < 0.6:
        parts.append(Part(shell.rim(random.uniform(0.4, 0.6) * shell.wall), parts[1].color))
    if plinth:
        block = extrude(0.98 * shell.foot * shell.outline, 0.0, under + 0.02, rounding=0.01)
        parts.append(Part(block, shaded(outside, random.choice([1.0, 0.6]))))
    return parts + _fittings(random, shell)


def _clawfoot(random: np.random.Generator) -> list[Part]:
    """Tubs with a rolled rim on four feet, blocks or a cradle."""
    shell = _drawn(random, random.uniform(0.1, 0.17), (0.62, 0.82))
    outside = pick(random, [*PAINTS, *_WHITES]) if random.random() < 0.7 else pick(random, METALS)
    parts = _tub(random, shell, shell.outside(), outside)
    parts.append(Part(shell.rim(random.uniform(0.022, 0.032)), parts[1].color))
    x, y = 0.58 * shell.foot * shell.half
    place = np.array([x, y, shell.under + 0.035])
    kind = random.choice(["claw", "block", "cradle"], p=[0.6, 0.2, 0.2])
    if kind == "claw":
        foot = _claw(place)
        color = varied(random, pick(random, METALS))
    elif kind == "block":
        foot = box((0.08, 0.3 * y + 0.1, place[2]), (x, y, place[2] / 2), 0.01)
        color = varied(random, pick(random, WOODS))
    else:
        bar = board((0.06, 3.2 * y, 0.07), (x, 0.0, shell.under + 0.01))
        post = box((0.06, 0.06, shell.under + 0.02), (x, 1.5 * y, (shell.under + 0.02) / 2))
        foot = bar + post
        color = varied(random, pick(random, WOODS))
    feet = both_sides(both_sides(foot), "y")
    return [*parts, Part(feet, color), *_fittings(random, shell)]


def _claw(top: np.ndarray) -> Manifold:
    """A curved foot that ends on a ball."""
    outwards = np.array([top[0], 2.5 * top[1], 0.0])
    outwards /= np.linalg.norm(outwards)
    height = top[2]
    knots = [top, top + 0.05 * outwards - [0, 0, 0.4 * height], top + 0.06 * outwards]
    knots[2] = knots[2] * [1, 1, 0] + [0, 0, 0.025]
    path = smooth_curve(np.array(knots), 8)
    leg = sweep(path, rectangle(0.07, 0.05, 0.018, 3), np.linspace(1.0, 0.5, 8), up=outwards)
    return leg + sphere(0.028, (*knots[2][:2], 0.026), 16)


# Built in -----------------------------------------------------------------------------------------


def _built_in(random: np.random.Generator) -> list[Part]:
    """A tub in a rectangular surround with a panelled front."""
    length, width, height = random.uniform((1.45, 0.68, 0.48), (1.85, 0.95, 0.6))
    surround = random.choice([0.05, random.uniform(0.08, 0.16)])
    half = np.array([length / 2 - surround, width / 2 - surround])
    outline = superellipse(half[0], half[1], random.choice([2.4, 4.0, 8.0]), _POINTS)
    shell = _Shell(outline, random.uniform(0.78, 0.92), 0.7, 0.0, height, (0.0, 0.0), 0.0)
    white, other = pick(random, _WHITES), pick(random, [*WOODS, *PAINTS, *_WHITES])
    lip = 0.035
    deck = box((length, width, lip), (0, 0, height - lip / 2), random.choice([0.004, 0.012]))
    inset = 0.012
    body = box((length - 2 * inset, width - 2 * inset, height - 0.01), (0, 0, (height - 0.01) / 2))
    plain = random.random() < 0.4
    front = white if plain else varied(random, other)
    parts = [Part(body, front), *_tub(random, shell, deck, white)]
    if not plain:
        parts.append(Part(_panels(random, length, width, height - lip), shaded(front, 1.1)))
    if random.random() < 0.2:
        deep, tall = 0.3, 0.45 * height
        step = box((0.6 * length, deep, tall), (0, -width / 2 - deep / 2 + 0.03, tall / 2), 0.01)
        parts.append(Part(step, front))
    return parts + _fittings(random, shell)


def _panels(random: np.random.Generator, length: float, width: float, height: float) -> Manifold:
    """Frames or boards on the front."""
    y = -width / 2 + 0.01
    count = int(random.integers(1, 5))
    wide = (length - 0.06) / count
    x = (np.arange(count) - (count - 1) / 2) * wide
    if random.random() < 0.5:
        outer = rectangle(wide - 0.01, height - 0.06) + [0.0, height / 2]
        inner = rectangle(wide - 0.11, height - 0.18) + [0.0, height / 2]
        frame = extrude(outer, y - 0.014, y + 0.01, "y") - extrude(inner, y - 0.1, y + 0.1, "y")
        return union([frame.translate((place, 0.0, 0.0)) for place in x.tolist()])
    slats = 4 * count
    x = (np.arange(slats) - (slats - 1) / 2) * (length - 0.04) / slats
    size = ((length - 0.04) / slats - 0.012, 0.024, height - 0.02)
    return union([board(size, (place, y, height / 2)) for place in x])


def _corner(random: np.random.Generator) -> list[Part]:
    """A tub for the corner behind it, its front cut off straight or round."""
    size, height = random.uniform((1.3, 0.5), (1.5, 0.6))
    near = random.uniform(0.45, 0.6) * size
    knots = [(0, 0), (-size, 0), (-size, -size + near), (-size + near, -size), (0, -size)]
    outline = rounded(knots, 0.04)
    if random.random() < 0.6:
        arc = np.linspace(np.pi, 1.5 * np.pi, 13)
        curve = near * np.stack([np.cos(arc), np.sin(arc)], axis=1) + near - size
        outline = np.concatenate([knots[:2], curve, knots[4:]])
    # Turned by an eighth, so that the cut-off corner looks to -Y.
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
    outline = outline @ turn
    middle = np.array([0.0, 0.5 * (outline[:, 1].min() + outline[:, 1].max())])
    outline = outline - middle
    radii = np.array([0.4, 0.31]) * size
    # As near to the walls' corner as leaves 6 cm beside the walls.
    back = outline[:, 1].max() - 1.05 * np.linalg.norm(radii) - 0.09
    hole = superellipse(radii[0], radii[1], 2.2, _POINTS) + [0.0, back]
    shell = _Shell(hole, random.uniform(0.75, 0.9), 0.7, 0.0, height, (0.0, 0.0), 0.0)
    white = pick(random, _WHITES)
    body = extrude(0.98 * outline, 0.0, height - 0.01)
    deck = extrude(outline, height - 0.045, height, rounding=0.008)
    front = varied(random, pick(random, [*WOODS, *PAINTS])) if random.random() < 0.5 else white
    return [Part(body, front), *_tub(random, shell, deck, white), *_fittings(random, shell)]


# Wooden tubs --------------------------------------------------------------------------------------


def _barrel(random: np.random.Generator) -> list[Part]:
    """Staves in hoops, round or oval, with a bench inside and sometimes steps."""
    wood = varied(random, pick(random, WOODS))
    length, width, height = random.uniform((1.0, 0.75, 0.6), (1.6, 0.95, 0.8))
    staves = int(random.integers(18, 32))
    outline = superellipse(length / 2, width / 2, random.choice([2.0, 2.5]), staves)
    foot = random.uniform(0.85, 1.0)
    rings = [np.insert(s * outline, 2, z, axis=1) for s, z in ((foot, 0.0), (1.0, height))]
    wall = 1.0 - 0.08 / width
    hollow = [
        np.insert(wall * s * outline, 2, z, axis=1)
        for s, z in ((foot, 0.07), (1.0, height), (1.0, height + 0.1))
    ]
    parts = [Part(loft(rings), wood)]
    if random.random() < 0.5:
        lower = box((0.5, 0.3, 0.2), (0, -width / 2 - 0.12, 0.1), 0.006, 1)
        upper = box((0.5, 0.2, 0.38), (0, -width / 2 + 0.02, 0.19), 0.006, 1)
        parts.append(Part(lower + upper, shaded(wood, 0.8)))
    parts.append(Part(loft(hollow), shaded(wood, 0.9), cut=True))
    metal = varied(random, pick(random, METALS))
    for share in (0.15, 0.8) if random.random() < 0.5 else (0.12, 0.5, 0.88):
        size = foot + (1.0 - foot) * share
        path = np.insert(size * outline, 2, share * height, axis=1)
        parts.append(Part(sweep(path, rectangle(0.012, 0.04), closed=True, up=(0, 0, 1)), metal))
    seat = board((0.3 * length, 1.1 * width, 0.04), (0.36 * length, 0, 0.45 * height))
    bench = seat ^ loft([rings[0], rings[1]]).scale((0.98, 0.98, 1.0))
    parts.append(Part(bench, shaded(wood, 1.1)))
    return parts


# Taps and trays -----------------------------------------------------------------------------------


def _fittings(random: np.random.Generator, shell: _Shell) -> list[Part]:
    """Taps on the rim or beside the tub, a tray across it, or nothing."""
    parts = []
    metal = varied(random, pick(random, METALS), 0.02)
    wall = max(shell.wall, 0.04)
    if random.random() < 0.6:
        side = random.random() < 0.5
        standing = shell.wall > 0 and random.random() < 0.5
        solid = _standing_tap(shell) if standing else _rim_tap(random, wall)
        if not standing:
            edge = shell.half - 0.5 * wall if shell.wall else shell.half + 0.02
            lift = 0.0 if side else shell.lift[1]
            place = (0.0, edge[1], shell.height) if side else (edge[0], 0.0, shell.height + lift)
            solid = solid.rotate((0.0, 0.0, 0.0 if side else -90.0)).translate(place)
        parts.append(Part(solid, metal))
    if max(shell.lift) < 0.12 and random.random() < 0.15:
        width = 2 * shell.half[1] + 0.06
        x = -0.25 * shell.half[0]
        tray = box((0.2, width, 0.025), (x, 0, shell.height + 0.012), 0.005, 1)
        parts.append(Part(tray, varied(random, pick(random, WOODS))))
    return parts


def _rim_tap(random: np.random.Generator, wall: float) -> Manifold:
    """A spout and two handles around the origin, which is on the rim; water falls to -Y."""
    radius, tall = 0.35 * wall, random.uniform(0.06, 0.2)
    reach = random.uniform(0.1, 0.16)
    knots = [(0, 0, -0.03), (0, 0, tall), (0, -reach, tall), (0, -reach, tall - 0.04)]
    spout = sweep(rounded(knots, 0.045, 5, closed=False), radius)
    foot = cylinder(1.4 * radius, (0, 0, -0.02), (0, 0, 0.02), segments=16)
    post = cylinder(0.9 * radius, (0.09, 0, -0.03), (0.09, 0, 0.06), segments=12)
    cross = cylinder(0.007, (0.055, 0, 0.06), (0.125, 0, 0.06), segments=8)
    cross += cylinder(0.007, (0.09, -0.035, 0.06), (0.09, 0.035, 0.06), segments=8)
    return spout + foot + both_sides(post + cross)


def _standing_tap(shell: _Shell) -> Manifold:
    """A pipe from the floor behind the tub, bent over its rim and held by it."""
    y, top = shell.half[1] + 0.06, shell.height + 0.28
    knots = [(0, y, 0), (0, y, top), (0, y - 0.24, top), (0, y - 0.24, top - 0.06)]
    pipe = sweep(rounded(knots, 0.06, 6, closed=False), 0.016)
    holder = cylinder(0.012, (0, y, shell.height - 0.03), (0, y - 0.08, shell.height - 0.03))
    handle = cylinder(0.012, (-0.06, y, top - 0.14), (0.06, y, top - 0.14), segments=12)
    foot = revolve([(0, 0), (0.045, 0), (0.045, 0.01), (0, 0.02)], 16).translate((0.0, y, 0.0))
    return pipe + holder + handle + foot
