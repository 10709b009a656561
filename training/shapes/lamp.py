"""Lamps that stand on tables and floors, bend over desks or hang from ceilings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from manifold3d import Manifold

from .colors import CERAMICS, FABRICS, METALS, PAINTS, PLASTICS, WOODS, pick, varied
from .kinds import draw_kind
from .solids import (
    Color,
    Part,
    box,
    cylinder,
    ellipsoid,
    extrude,
    placed,
    rounded,
    smooth_curve,
    sphere,
    sweep,
    union,
)
from .vessels import (
    fluted_section,
    hollow,
    polygon_section,
    profile,
    round_section,
    stretch,
    turned,
)

_ROUND = round_section()
_GLOW: tuple[Color, ...] = ((0.97, 0.95, 0.86), (0.97, 0.93, 0.78), (0.95, 0.95, 0.93))
_SHADES: tuple[Color, ...] = (
    (0.95, 0.92, 0.84),
    (0.90, 0.86, 0.76),
    (0.96, 0.95, 0.92),
    (0.85, 0.78, 0.64),
    (0.18, 0.18, 0.19),
)


def make(random: np.random.Generator) -> list[Part]:
    """Draw one lamp; arms that reach to one side reach to -Y."""
    name = draw_kind(random, {kind: weight for kind, (_, weight) in _KINDS.items()})
    return _KINDS[name][0](random)


# Shades -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shade:
    """A hollow shade, open below: its rising outer profile, section, wall and colours."""

    curve: np.ndarray
    section: np.ndarray
    wall: float
    color: Color
    inner: Color
    closed_above: bool

    @property
    def top(self) -> float:
        return float(self.curve[-1, 1])

    def parts(self, low: float) -> list[Part]:
        """The shade with its lower edge at a height."""
        curve = self.curve + [0.0, low]
        if self.closed_above:
            return self._dome(curve)
        lining = curve[1:-1] - [0.6 * self.wall, 0.0]
        return [
            Part(self._tube(curve, curve - [0.7 * self.wall, 0.0]), self.color),
            Part(self._tube(lining, lining - [0.4 * self.wall, 0.0]), self.inner),
        ]

    def _tube(self, outside: np.ndarray, inside: np.ndarray) -> Manifold:
        return turned(np.concatenate([outside, inside[::-1]]), self.section, closed=True)

    def _dome(self, curve: np.ndarray) -> list[Part]:
        """Closed above: from the top's middle down the outside and back up the inside."""
        outer = self._bell(curve, 0.0, 0.7)
        return [
            Part(outer, self.color),
            Part(self._bell(curve[1:], 0.6, 1.0), self.inner),
        ]

    def _bell(self, curve: np.ndarray, near: float, far: float) -> Manifold:
        outside, inside = (
            np.stack([np.maximum(curve[:, 0] - share * self.wall, 1e-4), curve[:, 1]], axis=1)
            - [0.0, share * self.wall] * (curve[:, 1:] > curve[0, 1])
            for share in (near, far)
        )
        return turned(np.concatenate([outside[::-1], inside]), self.section)


def _fabric_shade(random: np.random.Generator, radius: float, height: float) -> _Shade:
    """A drum, cone, empire, bell or tapered box, open above and below."""
    taper = random.uniform(0.3, 0.98)
    knots = {
        "straight": [(1.0, 0.0), (taper, 1.0)],
        "bell": [(1.0, 0.0), (0.35 + 0.45 * taper, 0.35), (0.1 + 0.6 * taper, 1.0)],
        "barrel": [(0.88, 0.0), (1.0, 0.4), (0.75, 1.0)],
    }[pick(random, ("straight", "straight", "straight", "bell", "barrel"))]
    section = pick(
        random,
        (
            _ROUND,
            _ROUND,
            _ROUND,
            round_section(random.uniform(5.0, 9.0)),
            polygon_section(int(random.choice([6, 8])), 0.06),
            fluted_section(int(random.integers(18, 30)), 0.05),
        ),
    )
    color = varied(random, pick(random, _SHADES + _SHADES + FABRICS + PAINTS), 0.03)
    curve = profile(np.array(knots) * [radius, height], 10)
    return _Shade(curve, section, max(0.02 * radius, 0.003), color, pick(random, _GLOW), False)


def _metal_shade(random: np.random.Generator, radius: float, height: float) -> _Shade:
    """A dome, cone, bell or cylinder of metal or glass, closed above."""
    knots = {
        "dome": [(1.0, 0.0), (0.97, 0.25), (0.8, 0.62), (0.5, 0.88), (0.12, 1.0)],
        "cone": [(1.0, 0.0), (0.97, 0.06), (0.55, 0.55), (0.16, 0.98), (0.1, 1.0)],
        "bell": [(1.0, 0.0), (0.82, 0.2), (0.62, 0.55), (0.3, 0.8), (0.14, 1.0)],
        "can": [(1.0, 0.0), (1.0, 0.5), (0.98, 0.9), (0.85, 0.98), (0.1, 1.0)],
        "factory": [(1.0, 0.0), (0.96, 0.1), (0.55, 0.42), (0.3, 0.55), (0.26, 0.9), (0.1, 1.0)],
    }[pick(random, ("dome", "cone", "bell", "can", "factory"))]
    color = varied(random, pick(random, METALS + PAINTS + PLASTICS + CERAMICS))
    inner = color if random.random() < 0.2 else pick(random, (*_GLOW, (0.83, 0.68, 0.35)))
    curve = profile(np.array(knots) * [radius, height], 16)
    return _Shade(curve, _ROUND, max(0.03 * radius, 0.003), color, inner, True)


def _spider(shade: _Shade, low: float, stem: float, spokes: int) -> Manifold:
    """Spokes from the stem to an open shade's upper rim, and a knob over them."""
    height = low + 0.88 * shade.top
    rod, reach = max(0.004, 0.2 * stem), float(shade.curve[:, 0].max())
    angles = 2 * np.pi * np.arange(spokes) / spokes + np.pi / 2
    bars = [
        cylinder(rod, (0, 0, height), (reach * np.cos(a), reach * np.sin(a), height), segments=8)
        for a in angles
    ]
    # Cut off halfway into the shade, whatever its section is.
    inside = turned(shade.curve + [-0.4 * shade.wall, low], shade.section)
    hub = cylinder(2 * rod, (0, 0, height - 2 * rod), (0, 0, height + 2 * rod), segments=12)
    knob = sphere(2.2 * rod, (0, 0, height + 4 * rod), 12)
    return union([union(bars) ^ inside, hub, knob])


def _bulb(radius: float, low: float, down: bool = False) -> Manifold:
    """A bulb that stands on a height or hangs from it."""
    knots = [(0.45, -0.1), (0.5, 0.2), (0.95, 1.0), (1.0, 1.5), (0.75, 2.1), (0.15, 2.4)]
    curve = profile(np.array(knots) * radius * [1.0, -1.0 if down else 1.0], 10)
    return turned(curve + [0.0, low], _ROUND[::3])


def _shaded_stem(
    random: np.random.Generator,
    shade: _Shade,
    low: float,
    foot: float,
    stem: float,
    metal: Color,
) -> list[Part]:
    """An open shade at ``low`` on a thin stem that begins at ``foot``: spider, harp, bulb."""
    socket = low + 0.15 * shade.top
    size = min(0.03, 0.3 * float(shade.curve[:, 0].min()))
    rod, top = max(0.004, 0.4 * stem), low + 0.88 * shade.top
    parts = [
        *shade.parts(low),
        Part(_spider(shade, low, stem, int(random.choice([3, 3, 4]))), metal),
        Part(cylinder(rod, (0, 0, foot), (0, 0, socket), segments=12), metal),
        Part(_bulb(size, socket), pick(random, _GLOW)),
    ]
    if random.random() < 0.5:
        parts.append(Part(_harp(rod, 1.35 * size, socket - 0.01, top), metal))
    else:
        rail = 1.15 * size
        parts.append(Part(cylinder(0.7 * rod, (rail, 0, top), (rail, 0, socket - 0.006)), metal))
        shelf = (2 * rail + 2 * rod, 2 * rod, 2 * rod)
        parts.append(Part(box(shelf, (0, 0, socket - 0.006)), metal))
        # The spider's spokes meet the rail only where one lies along x.
        parts.append(Part(box((2 * rail, 1.4 * rod, 1.4 * rod), (0, 0, top)), metal))
    return parts


def _harp(rod: float, wide: float, low: float, high: float) -> Manifold:
    """A wire around the bulb, from the socket to the spider."""
    middle = 0.5 * (low + high)
    half = [(0.0, low), (wide, low + 0.15 * (high - low)), (wide, middle), (0.0, high)]
    points = np.array(half + [(-x, z) for x, z in half[-2:0:-1]])
    loop = smooth_curve(np.insert(points, 1, 0.0, axis=1), 28, closed=True)
    return sweep(loop, 0.6 * rod, closed=True)


# Bases and stems ----------------------------------------------------------------------------------


def _foot(random: np.random.Generator, radius: float, height: float) -> Manifold:
    """A flat base: disc, stepped disc, dome, square or polygon."""
    knots = {
        "disc": [(0.98, 0.0), (1.0, 0.1), (1.0, 0.8), (0.95, 1.0)],
        "dome": [(1.0, 0.0), (0.98, 0.25), (0.75, 0.75), (0.2, 1.3)],
        "stepped": [(1.0, 0.0), (1.0, 0.5), (0.8, 0.55), (0.78, 1.0), (0.35, 1.1), (0.2, 1.6)],
    }[pick(random, ("disc", "dome", "stepped"))]
    section = pick(random, (_ROUND, _ROUND, round_section(8.0), polygon_section(6, 0.1)))
    return turned(np.array(knots) * [radius, height], section)


def _table_body(random: np.random.Generator, height: float) -> tuple[list[Part], Color]:
    """What stands under a table lamp's shade, up to a height; and the colour of its metal."""
    metal = varied(random, pick(random, METALS), 0.03)
    color = varied(random, pick(random, CERAMICS + PAINTS + WOODS + WOODS + METALS))
    style = pick(random, ("vase", "vase", "baluster", "column", "balls", "block", "legs", "frame"))
    wide = height * random.uniform(0.22, 0.4)
    bodies: dict[str, Callable[[], list[Part]]] = {
        "vase": lambda: _vase(random, height, wide, color, metal),
        "baluster": lambda: [Part(_baluster(random, height, 0.8 * wide), color)],
        "column": lambda: _column(random, height, wide, color, metal),
        "balls": lambda: _balls(random, height, wide, color, metal),
        "block": lambda: _block(random, height, wide, color),
        "legs": lambda: _legs(random, height, 1.3 * wide, color),
        "frame": lambda: _frame(random, height, wide, color, metal),
    }
    return bodies[style](), metal


def _vase(
    random: np.random.Generator, height: float, wide: float, color: Color, metal: Color
) -> list[Part]:
    """A ceramic vase: gourd, ginger jar, bottle, egg or double gourd."""
    knots = {
        "gourd": [(0.5, 0), (0.55, 0.04), (1, 0.32), (0.55, 0.7), (0.2, 0.9), (0.16, 1)],
        "ginger": [(0.55, 0), (0.6, 0.05), (0.75, 0.3), (1, 0.66), (0.6, 0.88), (0.3, 0.93)],
        "bottle": [(0.8, 0), (0.95, 0.1), (1, 0.4), (0.45, 0.62), (0.18, 0.72), (0.16, 1)],
        "egg": [(0.4, 0), (0.85, 0.25), (1, 0.5), (0.75, 0.78), (0.25, 0.96), (0.2, 1)],
        "double": [(0.6, 0), (0.95, 0.18), (0.9, 0.36), (0.4, 0.52), (0.62, 0.7), (0.2, 1)],
        "jug": [(0.7, 0), (0.74, 0.3), (0.9, 0.6), (1, 0.78), (0.5, 0.93), (0.2, 1)],
    }[pick(random, ("gourd", "ginger", "bottle", "egg", "double", "jug"))]  # fmt: skip
    sections = (_ROUND, _ROUND, _ROUND, polygon_section(int(random.choice([4, 6, 8])), 0.2),
                fluted_section(int(random.integers(9, 18)), 0.08))  # fmt: skip
    section = pick(random, sections)
    curve = profile(np.array(knots) * [wide, 0.96 * height] + [0, 0.02 * height], 26)
    parts = [Part(turned(curve, section), color)]
    parts.append(Part(cylinder(0.24 * wide, (0, 0, 0.95 * height), (0, 0, height)), metal))
    if random.random() < 0.5:
        base = cylinder(knots[0][0] * wide * 1.12, (0, 0, 0), (0, 0, 0.04 * height))
        parts.append(Part(base, pick(random, (metal, varied(random, pick(random, WOODS))))))
    else:
        parts.append(Part(cylinder(knots[0][0] * wide, (0, 0, 0), (0, 0, 0.03 * height)), color))
    return parts


def _baluster(random: np.random.Generator, height: float, wide: float) -> Manifold:
    """A turned candlestick with beads and necks drawn at random."""
    count = int(random.integers(4, 9))
    cuts = np.sort(random.uniform(0.12, 0.95, count))
    radii = wide * random.uniform(0.15, 0.55, count) * np.where(np.arange(count) % 2, 0.5, 1.0)
    knots = [(wide, 0.0), (wide, 0.03), (0.6 * wide, 0.06), (0.3 * wide, 0.1)]
    knots += list(zip(radii, cuts, strict=True)) + [(0.14 * wide, 1.0)]
    return turned(profile(np.array(knots) * [1.0, height], 44), _ROUND[::2])


def _column(
    random: np.random.Generator, height: float, wide: float, color: Color, metal: Color
) -> list[Part]:
    """A straight, fluted or tapered column on a flat foot."""
    radius = wide * random.uniform(0.15, 0.5)
    section = pick(random, (_ROUND, fluted_section(12, 0.14), round_section(8.0)))
    taper = random.uniform(0.5, 1.1)
    shaft = turned(np.array([(radius, 0.01 * height), (taper * radius, height)]), section)
    return [
        Part(shaft, color),
        Part(_foot(random, max(wide, 1.6 * radius), 0.05 * height), pick(random, (color, metal))),
    ]


def _balls(
    random: np.random.Generator, height: float, wide: float, color: Color, metal: Color
) -> list[Part]:
    """Balls or discs threaded on a rod."""
    count = int(random.integers(2, 6))
    room = 0.92 * height / count
    shrink = random.uniform(0.75, 1.0)
    parts = [Part(cylinder(0.06 * wide, (0, 0, 0.0), (0, 0, height), segments=12), metal)]
    for number in range(count):
        middle = 0.05 * height + (number + 0.5) * room
        size = min(wide, 0.9 * room) * shrink**number
        parts.append(Part(ellipsoid((size, size, 0.49 * room), (0, 0, middle)), color))
    foot = cylinder(0.9 * wide, (0, 0, 0), (0, 0, 0.05 * height + 0.02 * room))
    return [*parts, Part(foot, metal)]


def _block(random: np.random.Generator, height: float, wide: float, color: Color) -> list[Part]:
    """A slab, a cube or a twisted square column."""
    side, twist = wide * random.uniform(0.7, 1.3), pick(random, (0.0, 0.0, 60.0, 90.0))
    levels = np.linspace(0.0, 1.0, 14 if twist else 2)
    section = round_section(10.0, random.uniform(0.5, 1.0))
    taper = random.uniform(0.5, 1.0)
    curve = np.stack([0.6 * side * (1 + (taper - 1) * levels), levels * height], axis=1)
    body = turned(curve, section)
    if twist:
        body = body.warp_batch(lambda points: _twisted(np.asarray(points), twist / height))
    return [Part(body, color)]


def _twisted(points: np.ndarray, degrees: float) -> np.ndarray:
    angles = np.radians(degrees) * points[:, 2]
    x, y = points[:, 0], points[:, 1]
    return np.stack(
        [
            x * np.cos(angles) - y * np.sin(angles),
            x * np.sin(angles) + y * np.cos(angles),
            points[:, 2],
        ],
        axis=1,
    )


def _legs(
    random: np.random.Generator, height: float, spread: float, color: Color, thin: float = 1.0
) -> list[Part]:
    """Three or four splayed legs that meet under the shade, at times with a ring or a shelf."""
    count = int(random.choice([3, 3, 3, 4]))
    thick = 0.04 * height**0.5 * spread**0.5 * thin * random.uniform(0.6, 1.2)
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2 + (np.pi / 4 if count == 4 else 0)
    apex, sides = random.uniform(0.0, 0.12) * spread, int(random.choice([4, 12]))
    legs = [
        cylinder(
            0.7 * thick,
            (spread * np.cos(a), spread * np.sin(a), 0.0),
            (apex * np.cos(a), apex * np.sin(a), 0.97 * height),
            thick,
            sides,
        )
        for a in angles
    ]
    hub = cylinder(apex + 1.3 * thick, (0, 0, 0.93 * height), (0, 0, height))
    parts = [Part(union(legs), color), Part(hub, varied(random, pick(random, METALS)))]
    if random.random() < 0.4:
        level = random.uniform(0.3, 0.5)
        reach = spread + (apex - spread) * level / 0.97
        angle = np.append(angles, angles[0])
        corners = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * reach
        bars = [cylinder(0.5 * thick, a, b, segments=8) for a, b in pairwise(corners)]
        parts.append(Part(placed(union(bars), (0, 0, level * height)), color))
    return parts


def _frame(
    random: np.random.Generator, height: float, wide: float, color: Color, metal: Color
) -> list[Part]:
    """A ring, an arch or a picture-frame of bars, upright on a foot."""
    bar = wide * random.uniform(0.1, 0.16)
    tall = 0.9 * height
    middle = 0.07 * height + tall / 2
    square = rounded([(1, -1), (1, 1), (-1, 1), (-1, -1)], 0.5, 5)
    outline = pick(random, (_ROUND[::2], _ROUND[::2], square)) * [wide, tall / 2]
    loop = np.insert(outline, 1, 0.0, axis=1) + [0, 0, middle]
    return [
        Part(sweep(loop, bar, closed=True), color),
        Part(_foot(random, 0.9 * wide, 0.06 * height), pick(random, (color, metal))),
        Part(cylinder(0.8 * bar, (0, 0, 0), (0, 0, 0.07 * height + bar)), metal),
        Part(cylinder(0.8 * bar, (0, 0, 0.97 * height - bar), (0, 0, height)), metal),
    ]


# Kinds --------------------------------------------------------------------------------------------


def _table(random: np.random.Generator) -> list[Part]:
    """A body, a stem, a fabric shade."""
    height = random.uniform(0.18, 0.36)
    body, metal = _table_body(random, height)
    radius = height * random.uniform(0.45, 0.75)
    shade = _fabric_shade(random, radius, radius * random.uniform(0.8, 1.3))
    low = height * random.uniform(0.98, 1.12)
    return body + _shaded_stem(random, shade, low, 0.9 * height, 0.01, metal)


def _mushroom(random: np.random.Generator) -> list[Part]:
    """A globe, a mushroom or a cone of glowing glass on a base."""
    glow = varied(random, pick(random, (*_GLOW * 4, *PLASTICS)), 0.03)
    color = varied(random, pick(random, METALS + PAINTS + WOODS + CERAMICS))
    radius = random.uniform(0.09, 0.16)
    style = pick(random, ("globe", "globe", "mushroom", "mushroom", "drop"))
    if style == "mushroom":
        height = radius * random.uniform(1.6, 2.6)
        stem = [(0.7, 0.0), (0.72, 0.06), (0.4, 0.3), (0.28, 0.6), (0.42, 1.05)]
        base = turned(profile(np.array(stem) * [radius, height], 18), _ROUND)
        cap = _metal_shade(random, 1.15 * radius, 0.75 * radius)
        rise = height - 0.2 * radius
        inside = Part(cylinder(0.12 * radius, (0, 0, 0.9 * height), (0, 0, rise + cap.top)), color)
        return [Part(base, pick(random, (color, glow))), inside, *cap.parts(rise)]
    rise = radius * random.uniform(0.2, 1.4)
    foot = _foot(random, radius * random.uniform(0.55, 0.9), 0.12 * radius)
    post = cylinder(0.2 * radius, (0, 0, 0), (0, 0, rise + 0.3 * radius))
    flat = radius * random.uniform(0.75, 1.1)
    middle = rise + 0.95 * flat
    solid = ellipsoid((radius, radius, flat), (0, 0, middle), 32)
    if style == "drop":
        knots = [(0.35, -0.98), (0.9, -0.5), (1.0, 0.0), (0.75, 0.7), (0.35, 1.4), (0.1, 1.7)]
        solid = turned(profile(np.array(knots) * radius + [0, middle], 24), _ROUND)
    return [Part(foot, color), Part(post, color), Part(solid, glow)]


def _bankers(random: np.random.Generator) -> list[Part]:
    """A half-cylinder of coloured glass over a brass stand."""
    brass = varied(random, pick(random, METALS[4:] + METALS[:1]), 0.03)
    glass = varied(random, pick(random, ((0.05, 0.32, 0.2), (0.08, 0.2, 0.42), (0.75, 0.5, 0.15),
                                         (0.92, 0.9, 0.84))), 0.03)  # fmt: skip
    height, half = random.uniform(0.28, 0.36), random.uniform(0.11, 0.15)
    radius, wall = random.uniform(0.055, 0.075), 0.006
    angles = np.linspace(-0.15 * np.pi, 1.05 * np.pi, 14)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    skin = np.concatenate([radius * arc, (radius - wall) * arc[::-1]])
    glow = np.concatenate([(radius - 0.7 * wall) * arc, (radius - 1.3 * wall) * arc[::-1]])
    middle = height - 0.25 * radius
    shade = extrude(skin + [0, middle], -half, half, "x")
    lining = extrude(glow + [0, middle], -half + 0.003, half - 0.003, "x")
    bar = cylinder(0.007, (-half - 0.006, 0.0, middle), (half + 0.006, 0.0, middle), segments=12)
    ends = [
        cylinder(0.3 * radius, (x, 0, middle), (x + 0.01, 0, middle)) for x in (-half, half - 0.01)
    ]
    arms = [
        cylinder(0.005, (x, 0, middle), (x, 0, middle + radius - 0.5 * wall))
        for x in (-half + 0.01, half - 0.01)
    ]
    return [
        Part(_foot(random, random.uniform(0.075, 0.1), 0.02), brass),
        Part(cylinder(0.009, (0, 0, 0.01), (0, 0, middle)), brass),
        Part(union([bar, *ends, *arms]), brass),
        Part(shade, glass),
        Part(lining, pick(random, _GLOW)),
    ]


def _desk(random: np.random.Generator) -> list[Part]:
    """Two jointed arms, single or in pairs of rods, and a bell head that looks down and forward."""
    color = varied(random, pick(random, PAINTS + PLASTICS + METALS))
    metal = varied(random, pick(random, METALS), 0.03)
    lower, upper = random.uniform(0.24, 0.36), random.uniform(0.24, 0.36)
    back, ahead = np.radians(random.uniform(5, 35)), np.radians(random.uniform(35, 75))
    rod = random.uniform(0.006, 0.009)
    shoulder = np.array([0.0, 0.0, 0.035])
    elbow = shoulder + lower * np.array([0.0, np.sin(back), np.cos(back)])
    wrist = elbow + upper * np.array([0.0, -np.sin(ahead), np.cos(ahead)])
    gap = pick(random, (0.0, 0.0, 0.018))
    rods = [
        cylinder(rod, a + [x, 0, 0], b + [x, 0, 0], segments=10)
        for a, b in ((shoulder, elbow), (elbow, wrist))
        for x in ((-gap, gap) if gap else (0.0,))
    ]
    joints = [
        cylinder(1.9 * rod, p - [gap + 2.2 * rod, 0, 0], p + [gap + 2.2 * rod, 0, 0], segments=16)
        for p in (shoulder, elbow, wrist)
    ]
    size = random.uniform(0.05, 0.085)
    head = _metal_shade(random, size, size * random.uniform(1.1, 1.7))
    foot = _foot(random, random.uniform(0.08, 0.11), 0.025)
    parts = [
        Part(foot, color),
        Part(cylinder(0.02, (0, 0, 0.0), (0, 0, 0.04)), color),
        Part(union(rods), pick(random, (metal, color))),
        Part(union(joints), metal),
    ]
    return parts + _head(random, head, wrist, random.uniform(10.0, 50.0), color)


def _head(
    random: np.random.Generator, shade: _Shade, joint: np.ndarray, lean: float, color: Color
) -> list[Part]:
    """A shade and its bulb, hung by the top from a joint and leant forward by ``lean`` degrees."""
    size = min(0.3 * float(shade.curve[0, 0]), 0.25 * shade.top)
    # The bulb stays clear of the shade all around, lest it closes off the space above it.
    falling = shade.curve[::-1] - [shade.wall, 0.0]
    clear = float(np.interp(1.35 * size, falling[:, 0], falling[:, 1]))
    base = min(clear + 0.7 * size, 0.9 * shade.top) - shade.top
    neck = cylinder(0.55 * size, (0, 0, base), (0, 0, 0.012), segments=12)
    bulb = _bulb(size, base, down=True)
    pieces = [*shade.parts(-shade.top), Part(neck, color), Part(bulb, pick(random, _GLOW))]
    return [
        Part(placed(piece.solid, tuple(joint), (-lean, 0.0, 0.0)), piece.color) for piece in pieces
    ]


def _gooseneck(random: np.random.Generator) -> list[Part]:
    """A bent tube from the foot to the head, for the desk or, taller, the floor."""
    tall = pick(random, (1.0, 1.0, 2.9))
    color = varied(random, pick(random, PAINTS + PLASTICS + METALS))
    metal = varied(random, pick(random, METALS), 0.03)
    height, reach = tall * random.uniform(0.3, 0.42), random.uniform(0.14, 0.26) * tall**0.5
    rod = random.uniform(0.006, 0.011) * tall**0.4
    path = smooth_curve(
        [(0, 0, 0.01), (0, 0, 0.55 * height), (0, -0.35 * reach, height),
         (0, -0.85 * reach, 0.93 * height), (0, -reach, 0.8 * height)], 28,
    )  # fmt: skip
    along = path[-1] - path[-2]
    lean = np.degrees(np.arctan2(along[1], along[2])) + 180.0
    size = random.uniform(0.05, 0.075) * tall**0.6
    shade = _metal_shade(random, size, size * random.uniform(1.0, 1.6))
    foot = _foot(random, random.uniform(0.075, 0.1) * tall**0.5, 0.022)
    return [
        Part(foot, color),
        Part(sweep(path, rod), metal),
        *_head(random, shade, path[-1], float(-lean) if lean < 90 else float(360 - lean), color),
    ]


def _floor(random: np.random.Generator) -> list[Part]:
    """A pole on a foot under a fabric shade; at times with a table or a reading arm."""
    height = random.uniform(1.15, 1.45)
    metal = varied(random, pick(random, METALS + WOODS), 0.03)
    pole = random.uniform(0.011, 0.02)
    radius = random.uniform(0.16, 0.26)
    shade = _fabric_shade(random, radius, radius * random.uniform(0.75, 1.4))
    parts = [Part(_foot(random, random.uniform(0.13, 0.18), 0.03), metal)]
    if random.random() < 0.3:
        shaft = turned(profile(_turned_pole(random, pole, height), 60), _ROUND[::3])
        parts.append(Part(shaft, metal))
    else:
        parts.append(Part(cylinder(pole, (0, 0, 0), (0, 0, height)), metal))
    if random.random() < 0.25:
        tray = cylinder(random.uniform(0.18, 0.24), (0, 0, 0.55), (0, 0, 0.575))
        parts.append(Part(tray, varied(random, pick(random, WOODS))))
    elif random.random() < 0.3:
        parts += _reading_arm(random, height * random.uniform(0.6, 0.75), metal)
    return parts + _shaded_stem(random, shade, 0.97 * height, 0.95 * height, 0.014, metal)


def _turned_pole(random: np.random.Generator, pole: float, height: float) -> np.ndarray:
    """Knots of a pole with beads on it."""
    beads = np.sort(random.uniform(0.1, 0.9, int(random.integers(2, 6))))
    knots = [(pole, 0.0)]
    for bead in beads:
        swell = random.uniform(1.4, 2.4)
        knots += [(pole, bead - 0.02), (swell * pole, bead), (pole, bead + 0.02)]
    knots = sorted([*knots, (pole, 1.0)], key=lambda knot: knot[1])
    return np.array(knots) * [1.0, height]


def _reading_arm(random: np.random.Generator, level: float, metal: Color) -> list[Part]:
    tip = np.array([0.0, -random.uniform(0.22, 0.32), level + random.uniform(0.05, 0.15)])
    arm = smooth_curve([(0, 0, level), (0, 0.5 * tip[1], level), tip], 12)
    shade = _metal_shade(random, 0.065, random.uniform(0.08, 0.11))
    return [Part(sweep(arm, 0.008), metal), *_head(random, shade, tip, 25.0, metal)]


def _tripod(random: np.random.Generator) -> list[Part]:
    """Long legs under a wide shade."""
    height = random.uniform(1.0, 1.3)
    color = varied(random, pick(random, WOODS + WOODS + METALS + PAINTS[:2]))
    radius = random.uniform(0.2, 0.28)
    shade = _fabric_shade(random, radius, radius * random.uniform(0.8, 1.3))
    legs = _legs(random, height, random.uniform(0.26, 0.36), color, 0.8)
    return legs + _shaded_stem(random, shade, 0.99 * height, 0.95 * height, 0.02, METALS[2])


def _arc(random: np.random.Generator) -> list[Part]:
    """A heavy foot and a great bow that holds the shade out to -Y."""
    height, reach = random.uniform(1.7, 2.0), random.uniform(0.8, 1.15)
    metal = varied(random, pick(random, METALS), 0.03)
    start = 0.5 * reach
    path = smooth_curve(
        [(0, start, 0.03), (0, start - 0.02, 0.45 * height), (0, 0.55 * start, 0.88 * height),
         (0, -0.3 * start, height), (0, start - 0.92 * reach - 0.1, 0.9 * height),
         (0, start - reach - 0.1, 0.76 * height)], 40,
    )  # fmt: skip
    if random.random() < 0.5:
        foot = box((0.3, 0.3, 0.08), (0, start, 0.04), 0.01)
    else:
        foot = cylinder(0.18, (0, start, 0), (0, start, 0.05))
    stone = varied(random, pick(random, ((0.93, 0.92, 0.9), (0.15, 0.15, 0.16), metal)))
    size = random.uniform(0.17, 0.24)
    shade = _metal_shade(random, size, size * random.uniform(0.7, 1.1))
    return [
        Part(foot, stone),
        Part(sweep(path, 0.014, scale=np.linspace(1.3, 0.8, len(path))), metal),
        *_head(random, shade, path[-1], 0.0, metal),
    ]


def _torchiere(random: np.random.Generator) -> list[Part]:
    """A bowl that throws its light up, on a pole."""
    height, radius = random.uniform(1.5, 1.8), random.uniform(0.14, 0.22)
    metal = varied(random, pick(random, METALS), 0.03)
    knots = pick(random, ([(0.12, 0), (0.5, 0.12), (0.85, 0.5), (1, 1)],
                          [(0.15, 0), (0.4, 0.3), (0.7, 0.8), (1, 1)],
                          [(0.1, 0), (0.75, 0.1), (0.97, 0.4), (1, 1)]))  # fmt: skip
    deep, wall = radius * random.uniform(0.4, 0.9), 0.007
    curve = profile(np.array(knots) * [radius, deep] + [0, height], 14)
    inside = stretch(curve, height + 2 * wall, height + deep) - [wall, 0.0]
    bowl = hollow(curve, inside, _ROUND)
    bulb = _bulb(0.03, height + wall)
    return [
        Part(_foot(random, random.uniform(0.13, 0.17), 0.03), metal),
        Part(cylinder(random.uniform(0.012, 0.02), (0, 0, 0), (0, 0, height + wall)), metal),
        Part(bowl, varied(random, pick(random, (*_GLOW, *_GLOW, *METALS, *PAINTS)))),
        Part(bulb, pick(random, _GLOW)),
    ]


def _column_lamp(random: np.random.Generator) -> list[Part]:
    """A tall paper or linen lantern that stands on the floor, with ribs or a wooden frame."""
    height, wide = random.uniform(0.5, 1.4), random.uniform(0.1, 0.18)
    paper = varied(random, pick(random, _GLOW + _SHADES[:3]), 0.02)
    color = varied(random, pick(random, WOODS + METALS))
    square = round_section(12.0)
    feet = 0.05 * height
    if random.random() < 0.5:
        body = box((1.8 * wide, 1.8 * wide, height - 0.02), (0, 0, feet + height / 2))
        bar = (0.14 * wide, 0.14 * wide, height + 2 * feet)
        posts = [
            box(bar, (x * 0.9 * wide, y * 0.9 * wide, height / 2 + feet))
            for x in (-1, 1)
            for y in (-1, 1)
        ]
        levels = np.linspace(feet, feet + height, int(random.integers(2, 7)))
        frames = [box((1.86 * wide, 1.86 * wide, 0.1 * wide), (0, 0, z)) for z in levels]
        return [Part(body, paper), Part(union([*posts, *frames]), color)]
    ribs = int(random.integers(6, 16))
    levels = np.linspace(0.0, 1.0, 6 * ribs + 1)
    swell = pick(random, (np.ones_like(levels), 0.7 + 0.5 * np.sin(np.pi * levels)))
    radii = wide * swell * (1.0 - 0.05 * np.cos(2 * np.pi * ribs * levels))
    body = turned(np.stack([radii, feet + levels * height], axis=1), _ROUND)
    caps = [
        turned(np.array([(0.7 * wide, z), (0.7 * wide, z + 0.03)]), pick(random, (_ROUND, square)))
        for z in (0.0, feet + height - 0.015)
    ]
    post = cylinder(0.3 * wide, (0, 0, 0), (0, 0, feet + 0.1 * height))
    return [Part(body, paper), Part(union([*caps, post]), color)]


def _pendant(random: np.random.Generator) -> list[Part]:
    """One shade under a cord or a rod and a ceiling rose."""
    return _hung(random, random.uniform(0.3, 0.9), random.uniform(0.12, 0.28))


def _hung(random: np.random.Generator, drop: float, radius: float) -> list[Part]:
    """A shade whose top hangs ``drop`` below the origin, where the rose is."""
    metal = varied(random, pick(random, METALS), 0.03)
    cord = max(random.uniform(0.003, 0.009), 0.008 * drop)
    parts = [
        Part(cylinder(cord, (0, 0, -drop - 0.01), (0, 0, 0), segments=10), metal),
        Part(turned(np.array([(0.05, 0.0), (0.05, -0.015), (0.012, -0.035)]), _ROUND), metal),
    ]
    style = pick(random, ("metal", "metal", "fabric", "globe", "lantern", "bare"))
    if style == "metal":
        shade = _metal_shade(random, radius, radius * random.uniform(0.6, 1.4))
        return parts + _head(random, shade, np.array([0.0, 0.0, -drop]), 0.0, metal)
    if style == "fabric":
        shade = _fabric_shade(random, radius, radius * random.uniform(0.5, 1.2))
        low = -drop - 0.9 * shade.top
        spider = _spider(shade, low, 0.01, 3)
        bulb = low + 0.6 * shade.top
        stem = cylinder(0.015, (0, 0, bulb - 0.01), (0, 0, -drop), segments=12)
        glow = Part(_bulb(0.03, bulb, down=True), pick(random, _GLOW))
        return [*parts, *shade.parts(low), Part(spider + stem, metal), glow]
    if style == "globe":
        tall = radius * random.uniform(0.6, 1.3)
        globe = ellipsoid((radius, radius, tall), (0, 0, -drop - 0.97 * tall), 32)
        neck = cylinder(0.25 * radius, (0, 0, -drop - 0.1 * tall), (0, 0, -drop + 0.02))
        return [*parts, Part(globe, pick(random, _GLOW)), Part(neck, metal)]
    if style == "lantern":
        return parts + _cage(random, drop, radius, metal)
    socket = cylinder(0.022, (0, 0, -drop - 0.05), (0, 0, -drop + 0.02))
    return [
        *parts,
        Part(socket, metal),
        Part(_bulb(0.05, -drop - 0.045, True), pick(random, _GLOW)),
    ]


def _cage(random: np.random.Generator, drop: float, radius: float, metal: Color) -> list[Part]:
    """A wire cage around a bulb: bars from ring to ring."""
    bars, bar = int(random.integers(4, 11)), 0.03 * radius
    knots = pick(random, ([(0.25, 0), (0.9, -0.5), (1, -1.1), (0.4, -1.9)],
                          [(0.3, 0), (0.5, -0.3), (1, -1.6), (1, -1.7)],
                          [(0.3, 0), (1, -0.7), (0.55, -1.3), (0.2, -1.8)]))  # fmt: skip
    curve = profile(np.array(knots) * radius - [0, drop], 12)
    path = np.stack([curve[:, 0], 0 * curve[:, 0], curve[:, 1]], axis=1)
    wire = sweep(path, bar)
    wires = [wire.rotate((0, 0, 360.0 * number / bars)) for number in range(bars)]
    circle = np.insert(_ROUND[::2], 2, 0.0, axis=1)
    hoops = [
        sweep(circle * [r, r, 0] + [0, 0, z], bar, closed=True) for r, z in (curve[5], curve[-1])
    ]
    top = cylinder(1.25 * curve[0, 0], (0, 0, -drop - 0.05 * radius), (0, 0, -drop + 0.05 * radius))
    socket = cylinder(0.14 * radius, (0, 0, -drop - 0.3 * radius), (0, 0, -drop))
    bulb = _bulb(0.22 * radius, -drop - 0.28 * radius, down=True)
    return [Part(union([*wires, *hoops, top, socket]), metal), Part(bulb, pick(random, _GLOW))]


def _cluster(random: np.random.Generator) -> list[Part]:
    """Several small pendants from one bar or plate."""
    count, radius = int(random.integers(2, 5)), random.uniform(0.08, 0.13)
    state = random.bit_generator.state
    spacing, drops = 2.4 * radius, random.uniform(0.25, 0.7, count)
    if random.random() < 0.5:
        drops[:] = drops[0]
    parts: list[Part] = []
    for number in range(count):
        # Every pendant is drawn from the same state: alike but for its cord.
        twin = np.random.Generator(type(random.bit_generator)())
        twin.bit_generator.state = state
        offset = ((number - (count - 1) / 2) * spacing, 0.0, 0.0)
        hung = _hung(twin, float(drops[number]), radius)
        parts += [Part(placed(part.solid, offset), part.color) for part in hung]
    bar = box(((count - 1) * spacing + 0.12, 0.07, 0.03), (0, 0, 0.01), 0.004)
    return [*parts, Part(bar, parts[0].color)]


def _chandelier(random: np.random.Generator) -> list[Part]:
    """Arms around a turned stem, each with a candle, a small shade or a globe."""
    arms, reach = int(random.integers(3, 9)), random.uniform(0.25, 0.42)
    metal = varied(random, pick(random, METALS), 0.03)
    glow = pick(random, _GLOW)
    rod = random.uniform(0.007, 0.011)
    low, stem = -random.uniform(0.55, 0.75), 0.03
    spindle = (
        _baluster(random, 0.32, 0.06)
        if random.random() < 0.5
        else cylinder(stem, (0, 0, 0), (0, 0, 0.3))
    )
    sag = random.uniform(-0.12, 0.1)
    arm = smooth_curve(
        [(0, 0, low + 0.1), (0.45 * reach, 0, low + 0.1 + sag), (0.9 * reach, 0, low + 0.06),
         (reach, 0, low + 0.14)], 18,
    )  # fmt: skip
    tip = low + 0.14
    cup = cylinder(0.03, (reach, 0, tip - 0.005), (reach, 0, tip + 0.012), 0.04)
    style = pick(random, ("candle", "globe", "shade"))
    pieces = [Part(sweep(arm, rod) + cup, metal)]
    if style == "globe":
        size = random.uniform(0.05, 0.08)
        pieces.append(Part(sphere(size, (reach, 0, tip + 0.9 * size)), glow))
    else:
        candle = cylinder(0.012, (reach, 0, tip), (reach, 0, tip + 0.08))
        flame = ellipsoid((0.015, 0.015, 0.035), (reach, 0, tip + 0.1), 12)
        pieces += [Part(candle, _SHADES[2]), Part(flame, glow)]
    if style == "shade":
        shade = _fabric_shade(random, 0.075, 0.09)
        cover = [*shade.parts(tip + 0.03), Part(_spider(shade, tip + 0.03, 0.01, 3), metal)]
        pieces += [Part(placed(piece.solid, (reach, 0, 0)), piece.color) for piece in cover]
        post = cylinder(
            0.005, (reach, 0, tip), (reach, 0, tip + 0.03 + 0.88 * shade.top), segments=8
        )
        pieces.append(Part(post, metal))
    turns = [360.0 * number / arms + 90.0 for number in range(arms)]
    crown = [
        Part(union([piece.solid.rotate((0, 0, turn)) for turn in turns]), piece.color)
        for piece in pieces
    ]
    rose = turned(np.array([(0.07, 0.0), (0.07, -0.015), (0.015, -0.04)]), _ROUND)
    cord = cylinder(0.008, (0, 0, low + 0.2), (0, 0, -0.005), segments=10)
    return [*crown, Part(placed(spindle, (0, 0, low)), metal), Part(rose + cord, metal)]


_KINDS: dict[str, tuple[Callable[[np.random.Generator], list[Part]], float]] = {
    "table": (_table, 6),
    "mushroom": (_mushroom, 1.5),
    "banker's": (_bankers, 0.7),
    "desk": (_desk, 2.5),
    "gooseneck": (_gooseneck, 1.5),
    "floor": (_floor, 3),
    "tripod": (_tripod, 1.5),
    "arc": (_arc, 1),
    "torchiere": (_torchiere, 1),
    "column": (_column_lamp, 1),
    "pendant": (_pendant, 3),
    "cluster": (_cluster, 1),
    "chandelier": (_chandelier, 1.2),
}
