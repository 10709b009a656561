"""Airplanes: airliners, business jets, propeller planes, gliders, biplanes, seaplanes, fighters.

The nose points to -Y, wings lie along x; sizes are those of real airplanes, in metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .colors import METALS, PAINTS, pick, shaded, varied
from .kinds import draw_kind
from .solids import (
    Color,
    Part,
    Vector,
    both_sides,
    box,
    cylinder,
    ellipsoid,
    loft,
    placed,
    superellipse,
    union,
)
from .vehicles import on_both_sides, slab
from .vessels import profile, round_section, turned

_RING = 28  # points around a fuselage
_GLASS: Color = (0.13, 0.17, 0.22)
_RUBBER: Color = (0.1, 0.1, 0.1)
_WHITES: tuple[Color, ...] = ((0.95, 0.95, 0.95), (0.92, 0.93, 0.94), (0.9, 0.88, 0.83))
_LIVERIES: tuple[Color, ...] = (
    (0.75, 0.10, 0.12),
    (0.05, 0.18, 0.42),
    (0.05, 0.40, 0.60),
    (0.95, 0.60, 0.10),
    (0.05, 0.40, 0.25),
    (0.90, 0.78, 0.12),
    (0.35, 0.12, 0.40),
    (0.12, 0.12, 0.14),
    (0.45, 0.48, 0.52),
)
_MILITARY: tuple[Color, ...] = (
    (0.50, 0.53, 0.56),
    (0.36, 0.40, 0.44),
    (0.33, 0.36, 0.24),
    (0.56, 0.50, 0.38),
    (0.24, 0.26, 0.28),
    (0.30, 0.38, 0.45),
)


def make(random: np.random.Generator) -> list[Part]:
    """Draw one airplane."""
    name = draw_kind(random, {kind: weight for kind, (_, weight) in _KINDS.items()})
    return _KINDS[name][0](random)


# Fuselages ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fuselage:
    """A body along y, as stations ``[R, 4]``: y, height of the middle, half height, half width."""

    stations: np.ndarray
    exponent: float = 2.0

    @classmethod
    def through(
        cls, knots: Sequence[tuple[float, ...]], length: float, radius: float, exponent: float = 2.0
    ) -> _Fuselage:
        """A smooth body through knots in parts of its length and radius, its nose at y = 0."""
        scaled = np.array(knots) * [length, radius, radius, radius]
        return cls(profile(scaled, 36), exponent)

    @property
    def length(self) -> float:
        return float(self.stations[-1, 0])

    def solid(self, grown: float = 0.0) -> Manifold:
        """The body, or one that stands ``grown`` metres proud of it all around."""
        ring = superellipse(1.0, 1.0, self.exponent, _RING)
        y, middle, tall, wide = self.stations.T[:, :, None]
        x = (wide + grown) * ring[:, 0]
        z = middle + (tall + grown) * ring[:, 1]
        return loft(np.stack([x, np.broadcast_to(y, x.shape), z], axis=-1))

    def at(self, share: float) -> tuple[float, float, float, float]:
        """y, the middle's height, half height and half width at a part of the length."""
        y = share * self.length
        middle, tall, wide = (
            float(np.interp(y, self.stations[:, 0], column)) for column in self.stations.T[1:]
        )
        return y, middle, tall, wide

    def top(self, share: float) -> float:
        _, middle, tall, _ = self.at(share)
        return middle + tall


# Knots of bodies in parts of the length and the radius: y, middle, half height, half width.
_AIRLINER = [
    (0, -0.25, 0.03, 0.03), (0.008, -0.24, 0.24, 0.24), (0.045, -0.13, 0.63, 0.66), (0.11, 0, 1, 1),
    (0.3, 0, 1, 1), (0.62, 0, 1, 1), (0.84, 0.3, 0.62, 0.6), (0.97, 0.58, 0.22, 0.18),
    (1, 0.62, 0.1, 0.07),
]  # fmt: skip
_JET = [
    (0, -0.3, 0.03, 0.03), (0.02, -0.28, 0.25, 0.25), (0.1, -0.18, 0.6, 0.62), (0.2, 0, 1, 1),
    (0.6, 0, 1, 1), (0.85, 0.25, 0.6, 0.55), (1, 0.5, 0.15, 0.12),
]  # fmt: skip
_LIGHT = [
    (0, -0.1, 0.42, 0.4), (0.02, -0.1, 0.52, 0.55), (0.16, -0.05, 0.66, 0.75),
    (0.24, 0.1, 0.86, 0.9), (0.32, 0.18, 0.96, 1), (0.48, 0.16, 0.9, 0.95), (0.62, 0.05, 0.6, 0.6),
    (0.97, 0.1, 0.22, 0.12), (1, 0.1, 0.18, 0.06),
]  # fmt: skip
_GLIDER = [
    (0, -0.15, 0.03, 0.03), (0.015, -0.14, 0.3, 0.28), (0.08, -0.05, 0.75, 0.72), (0.2, 0, 1, 1),
    (0.32, 0.02, 0.9, 0.85), (0.48, 0.15, 0.42, 0.38), (0.95, 0.25, 0.22, 0.16),
    (1, 0.25, 0.12, 0.05),
]  # fmt: skip
_WARBIRD = [
    (0, 0, 0.5, 0.5), (0.02, 0, 0.66, 0.66), (0.15, 0, 0.85, 0.8), (0.35, 0.05, 1, 0.85),
    (0.5, 0.08, 0.9, 0.75), (0.95, 0.25, 0.28, 0.14), (1, 0.28, 0.16, 0.05),
]  # fmt: skip
_FIGHTER = [
    (0, -0.2, 0.02, 0.02), (0.06, -0.17, 0.2, 0.22), (0.2, -0.05, 0.5, 0.55), (0.35, 0, 0.75, 0.95),
    (0.55, 0, 0.85, 1.25), (0.8, 0, 0.75, 1.2), (1, 0, 0.52, 0.9),
]  # fmt: skip
_FLOAT = [
    (0, 0.4, 0.1, 0.1), (0.08, 0.3, 0.6, 0.6), (0.3, 0, 1, 1), (0.55, 0, 1, 1),
    (0.8, 0.2, 0.7, 0.7), (1, 0.45, 0.25, 0.2),
]  # fmt: skip


# Wings and tails ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Section:
    """A wing's section: its leading edge, chord, thickness in chords, and which way is up."""

    edge: tuple[float, float, float]
    chord: float
    thickness: float
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)


def _airfoil(thickness: float, camber: float = 0.015) -> np.ndarray:
    """Outline ``[K, 2]`` (along the chord, upwards) of a NACA four-digit section.

    From Jacobs, Ward and Pinkerton 1933 (NACA report 460); its trailing edge is a little open.
    """
    x = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 12))
    half = 5 * thickness * (0.2969 * np.sqrt(x) - 0.126 * x - 0.3516 * x**2 + 0.2843 * x**3)
    half = half - 5 * thickness * 0.1015 * x**4
    line = 4 * camber * x * (1.0 - x)
    upper, lower = np.stack([x, line + half], axis=1), np.stack([x, line - half], axis=1)
    return np.concatenate([upper[::-1], lower[1:]])


def _surface(sections: Sequence[_Section]) -> Manifold:
    """A wing, fin or strut through sections, its last one rounded off."""
    last = sections[-1]
    inward = np.array(sections[-2].edge) - np.array(last.edge)
    inward /= np.linalg.norm(inward)
    tip = np.array(last.edge) - 0.04 * last.chord * inward + [0.0, 0.14 * last.chord, 0.0]
    x, y, z = tip.tolist()
    ending = _Section((x, y, z), 0.8 * last.chord, 0.4 * last.thickness, last.up)
    rings = [
        np.array(section.edge)
        + section.chord * outline[:, :1] * np.array([0.0, 1.0, 0.0])
        + section.chord * outline[:, 1:] * np.array(section.up)
        for section in (*sections, ending)
        for outline in [_airfoil(section.thickness, 0.015 if section.up[2] > 0.5 else 0.0)]
    ]
    return loft(np.stack(rings))


@dataclass(frozen=True)
class _Wing:
    """A pair of wings: half span, chords, sweep and dihedral in metres over the half span."""

    half_span: float
    root: float
    tip: float
    sweep: float
    rise: float
    thickness: float = 0.12

    def edge(self, share: float) -> np.ndarray:
        """The leading edge at a part of the half span, from the root's."""
        return np.array([share * self.half_span, share * self.sweep, share * self.rise])

    def chord(self, share: float) -> float:
        return self.root + share * (self.tip - self.root)

    def solid(
        self, y: float, z: float, winglet: float = 0.0, kink: float = 0.0, oval: bool = False
    ) -> Manifold:
        """Both wings in one, from tip to tip.

        Args:
            y: Of the root's leading edge.
            z: Of the root's chord.
            winglet: Height of upturned tips.
            kink: How much longer the inner third's trailing edge makes the root, in root chords.
            oval: Whether chords fall off as in an ellipse.
        """
        shares = np.sin(np.linspace(0.0, 0.47 * np.pi, 7)) if oval else np.array([0.0, 0.35, 1.0])
        right = []
        for share in shares:
            chord = self.chord(share)
            offset = self.edge(share) + [0.0, y, z]
            if oval:
                chord = self.root * np.sqrt(1.0 - share**2)
                offset[1] += 0.35 * (self.root - chord)
            chord += kink * self.root * max(0.0, 1.0 - share / 0.35)
            right.append(
                _Section(tuple(offset.tolist()), chord, self.thickness * (1 - 0.3 * share))
            )
        if winglet:
            tip = right[-1]
            x, y_tip, z_tip = tip.edge
            lean = (x + 0.25 * winglet, y_tip + 0.7 * winglet + 0.25 * self.tip, z_tip + winglet)
            bend = (x + 0.1 * winglet, y_tip + 0.15 * winglet, z_tip + 0.2 * winglet)
            right += [
                _Section(bend, 0.9 * self.tip, 0.09, (-0.6, 0.0, 0.8)),
                _Section(lean, 0.45 * self.tip, 0.08, (-0.97, 0.0, 0.24)),
            ]
        # Both halves share their root, so the right one reaches a little over the middle.
        first = right[0]
        root = _Section(
            (-0.01 * self.half_span, first.edge[1], first.edge[2]), first.chord, first.thickness
        )
        return both_sides(_surface([root, *right[1:]]))


def _fin(y: float, z: float, height: float, root: float, tip: float, sweep: float) -> Manifold:
    """An upright fin whose root's leading edge is at y and z."""
    side = (1.0, 0.0, 0.0)
    return _surface(
        [
            _Section((0.0, y, z), root, 0.09, side),
            _Section((0.0, y + sweep, z + height), tip, 0.08, side),
        ]
    )


def _tail(
    random: np.random.Generator,
    body: _Fuselage,
    color: Color,
    fin_color: Color,
    size: float,
    style: str,
    swept: float,
) -> list[Part]:
    """Fin and tailplane.

    Args:
        random: Draws proportions.
        body: Carries them.
        color: Of the tailplane.
        fin_color: Of the fin.
        size: Height of the fin.
        style: "low", "cross", "t", "twin" or "v".
        swept: How far the fin's tip lies behind its root, in heights.
    """
    root, tip = size * random.uniform(0.85, 1.05), size * random.uniform(0.4, 0.55)
    y = body.length - root - random.uniform(0.0, 0.03) * body.length
    share = (y + 0.3 * root) / body.length
    _, middle, tall, _ = body.at(share)
    base = middle + 0.3 * tall
    plane = _Wing(
        size * random.uniform(0.95, 1.2),
        0.75 * root,
        0.42 * root,
        0.55 * swept * size,
        0.08 * size,
        0.09,
    )
    if style == "v":
        half = _fin(y, base, 1.2 * size, root, tip, swept * size)
        return [Part(both_sides(_turned_out(half, 42.0, base)), fin_color)]
    if style == "twin":
        low = plane.solid(y + 0.2 * root, middle + 0.2 * tall)
        reach = 0.96 * plane.half_span
        _, back, rise = plane.edge(0.96).tolist()
        foot = middle + 0.2 * tall + rise - 0.3 * size
        end = _fin(y + back, foot, 0.95 * size, 0.8 * root, 0.5 * root, 0.3 * swept * size)
        return [Part(low, color), Part(both_sides(placed(end, (reach, 0, 0))), fin_color)]
    fin = Part(_fin(y, base, size, root, tip, swept * size), fin_color)
    height = {"low": base, "cross": base + 0.4 * size, "t": base + 0.96 * size}[style]
    level = (height - base) / size
    ahead = y + level * swept * size + 0.12 * root * (1.0 - level)
    return [fin, Part(plane.solid(ahead, height), color)]


def _turned_out(half: Manifold, degrees: float, height: float) -> Manifold:
    """A fin leant to the side around an axis along y at a height."""
    return placed(placed(half, (0, 0, -height)), (0, 0, height), (0.0, degrees, 0.0))


# Engines, propellers, wheels ----------------------------------------------------------------------


def _forwards(solid: Manifold, place: Vector) -> Manifold:
    """Lay something turned around Z with its top towards -Y."""
    return placed(solid, place, (90.0, 0.0, 0.0))


def _turbofan(radius: float, length: float, place: Vector, color: Color, lip: Color) -> list[Part]:
    """A nacelle with a real intake; ``place`` is the middle of its rear."""
    outer = [(0.6, 0.0), (0.86, 0.25), (1.0, 0.6), (0.97, 0.9), (0.9, 1.0)]
    inner = [(0.82, 0.99), (0.76, 0.9), (0.78, 0.7)]
    section = round_section()[::2]
    cowl = turned(np.array(outer + inner) * [radius, length], section)
    rim = np.array([(0.99, 0.9), (0.915, 1.004), (0.81, 0.995), (0.85, 0.94)]) * [radius, length]
    fan = [(0.85, 0.6), (0.85, 0.715), (0.22, 0.72), (0.2, 0.78), (0.02, 0.88)]
    core = [(0.12, -0.3), (0.42, -0.12), (0.45, 0.2)]
    return [
        Part(_forwards(cowl, place), color),
        Part(_forwards(turned(rim, section, closed=True), place), lip),
        Part(
            _forwards(turned(np.array(fan) * [radius, length], section), place), (0.2, 0.21, 0.23)
        ),
        Part(_forwards(turned(np.array(core) * [radius, length], section), place), METALS[2]),
    ]


def _propeller(
    random: np.random.Generator, radius: float, place: Vector, spinner: Color, blades: int = 0
) -> list[Part]:
    """Spinner and blades; ``place`` is the middle of the spinner's back."""
    count = blades or int(random.choice([2, 2, 3, 3, 4, 5, 6]))
    hub, chord = 0.14 * radius, radius * random.uniform(0.09, 0.14)
    rings = []
    for share in (0.05, 0.3, 0.65, 0.93, 1.0):
        wide = chord * (0.6 + 1.6 * share * (1.15 - share)) * (0.5 if share == 1 else 1.0)
        pitch = np.radians(62.0 - 45.0 * share)
        ring = superellipse(wide, 0.16 * chord * (1.2 - share), 2.0, 10)
        turn = np.array([[np.cos(pitch), np.sin(pitch)], [-np.sin(pitch), np.cos(pitch)]])
        rings.append(np.insert(ring @ turn, 2, share * radius, axis=1))
    blade = loft(np.stack(rings))
    start = float(random.uniform(0.0, 180.0))
    fan = union([blade.rotate((0, start + 360.0 * i / count, 0)) for i in range(count)])
    knots = [(1.0, -0.8), (1.05, 0.2), (0.85, 1.0), (0.45, 1.7), (0.05, 2.0)]
    cone = turned(np.array(knots) * hub, round_section()[::3])
    ahead = np.asarray(place, dtype=float) - [0.0, 0.4 * hub, 0.0]
    color = pick(random, (_RUBBER, (0.75, 0.76, 0.78), (0.5, 0.32, 0.18)))
    return [Part(_forwards(cone, place), spinner), Part(placed(fan, ahead), color)]


def _piston_nacelle(
    random: np.random.Generator,
    wing: _Wing,
    share: float,
    y: float,
    z: float,
    color: Color,
    size: float,
) -> list[Part]:
    """A propeller's engine in front of the right wing."""
    edge = wing.edge(share) + [0.0, y, z]
    chord = wing.chord(share)
    long = 1.15 * chord + size
    knots = [(0.25, 0.0), (0.7, 0.3), (0.95, 0.6), (1.0, 0.85), (0.7, 1.0)]
    shell = turned(profile(np.array(knots) * [size, long], 12), round_section()[::3])
    front = edge + [0.0, 1.0 * chord - long, 0.0]
    place = (float(edge[0]), float(edge[1] + chord), float(edge[2]))
    engine = [Part(_forwards(shell, place), color)]
    return engine + _propeller(random, 2.6 * size, tuple(front.tolist()), color)


def _wheel(radius: float, place: Vector) -> Manifold:
    """A tyre across x around its middle."""
    x, y, z = (float(value) for value in place)
    half = 0.35 * radius
    return cylinder(radius, (x - half, y, z), (x + half, y, z), segments=18)


def _gear(legs: Sequence[tuple[Vector, Vector]], wheel: float, color: Color) -> list[Part]:
    """Struts from the airframe to wheels, mirrored where they do not stand in the middle."""
    parts = []
    for top, foot in legs:
        strut = cylinder(0.22 * wheel, top, foot, segments=10)
        tyre = _wheel(wheel, foot)
        off_centre = abs(float(foot[0])) > 0
        parts.append(Part(both_sides(strut) if off_centre else strut, color))
        parts.append(Part(both_sides(tyre) if off_centre else tyre, _RUBBER))
    return parts


# Paint --------------------------------------------------------------------------------------------


def _windows(body: _Fuselage, start: float, end: float, count: int, size: float) -> Manifold:
    """Rows of cabin windows on both sides."""
    shares = np.linspace(start, end, count)
    boxes = []
    for share in shares:
        y, middle, tall, wide = body.at(float(share))
        z = middle + 0.22 * tall
        boxes.append(box((3 * wide, size, 1.4 * size), (0, y, z)))
    return body.solid(0.012 * float(body.stations[:, 3].max())) ^ union(boxes)


def _cockpit(body: _Fuselage, start: float, end: float, low: float, high: float) -> Manifold:
    """Windscreen panes between two parts of the length and of the half height, with posts."""
    y0, y1 = start * body.length, end * body.length
    _, middle, tall, wide = body.at(end)
    z0, z1 = middle + low * tall, middle + high * tall
    band = slab((-2 * wide, y0, z0), (2 * wide, y1, z1))
    post = 0.03 * wide
    posts = union([
        slab((-post, 0, z0 - tall), (post, y1, z1 + tall)),
        *(slab((s * 0.5 * wide - post, y0, z0), (s * 0.5 * wide + post, y1, z1)) for s in (-1, 1)),
    ])  # fmt: skip
    return body.solid(0.014 * float(body.stations[:, 3].max())) ^ (band - posts)


def _livery(
    random: np.random.Generator, body: _Fuselage, color: Color, accent: Color
) -> list[Part]:
    """A cheat line, a belly, a painted tail or nothing over a plain fuselage."""
    length, radius = body.length, float(body.stations[:, 3].max())
    style = pick(random, ("plain", "line", "line", "belly", "tail"))
    skin = body.solid(0.006 * radius)
    if style == "line":
        low = radius * random.uniform(-0.25, 0.0)
        line = slab(
            (-9 * radius, 0, low), (9 * radius, length, low + radius * random.uniform(0.1, 0.3))
        )
        return [Part(skin ^ line, accent)]
    if style == "belly":
        below = slab(
            (-9 * radius, 0, -9 * radius), (9 * radius, length, -radius * random.uniform(0.2, 0.5))
        )
        return [Part(skin ^ below, pick(random, (accent, shaded(color, 0.6))))]
    if style == "tail":
        slope = placed(
            slab((-9 * radius, 0, -9 * radius), (9 * radius, length, 9 * radius)),
            (0, length * random.uniform(0.74, 0.82), 0),
            (random.uniform(-35, -20), 0, 0),
        )
        return [Part(skin ^ slope, accent)]
    return []


# Kinds --------------------------------------------------------------------------------------------


def _airliner(random: np.random.Generator) -> list[Part]:
    """Jet engines under the wings, or at the tail, or both."""
    length, slender = random.uniform(28, 70), random.uniform(0.042, 0.062)
    radius = length * slender
    body = _Fuselage.through(_AIRLINER, length, radius)
    white = varied(random, pick(random, (*_WHITES, *_WHITES, (0.75, 0.77, 0.79))), 0.02)
    accent = varied(random, pick(random, _LIVERIES))
    layout = pick(random, ("two", "two", "two", "four", "rear", "three"))
    high = layout in ("two", "four") and random.random() < 0.15
    span = length * random.uniform(0.42, 0.52)
    wing = _Wing(
        span, length * random.uniform(0.13, 0.17), length * 0.04, span * random.uniform(0.4, 0.62),
        span * (-0.04 if high else random.uniform(0.06, 0.12)), 0.12,
    )  # fmt: skip
    y = length * (random.uniform(0.4, 0.46) if layout == "rear" else random.uniform(0.32, 0.37))
    z = radius * (0.82 if high else -0.62)
    winglet = span * pick(random, (0.0, 0.06, 0.09))
    grey = shaded(white, random.uniform(0.75, 1.0))
    parts = [Part(body.solid(), white), *_livery(random, body, white, accent)]
    parts.append(Part(wing.solid(y, z, winglet, random.uniform(0.2, 0.45)), grey))
    style = "t" if layout == "rear" or high else pick(random, ("low", "low", "cross"))
    if layout == "three":
        style = "low"
    fin_color = pick(random, (accent, accent, white))
    size = length * random.uniform(0.13, 0.17)
    parts += _tail(random, body, grey, fin_color, size, style, random.uniform(0.7, 0.95))
    engine = radius * random.uniform(0.42, 0.62) * (0.85 if layout == "four" else 1.0)
    cowl = pick(random, (white, accent, grey))
    if layout != "rear":
        shares = {"two": (0.33,), "three": (0.33,), "four": (0.3, 0.58)}[layout]
        for share in shares:
            parts += _under_wing(wing, share, y, z, engine, cowl)
    if layout in ("rear", "three"):
        parts += _at_tail(body, engine, cowl, beside=layout == "rear")
    if high:
        parts.append(Part(_wing_box(body, wing, y, z), white))
    size = 0.014 * length**0.5
    count = int(random.integers(14, 30))
    cabin = _windows(body, 0.13, random.uniform(0.68, 0.78), count, 4 * size)
    parts.append(Part(cabin, _GLASS))
    parts.append(Part(_cockpit(body, 0.02, 0.062, 0.2, 0.62), _GLASS))
    if random.random() < 0.3:
        parts += _airliner_gear(body, wing, y, z)
    return parts


def _wing_box(body: _Fuselage, wing: _Wing, y: float, z: float) -> Manifold:
    """The fairing that carries a high wing over the cabin."""
    _, _, _, wide = body.at((y + 0.5 * wing.root) / body.length)
    return ellipsoid((0.7 * wide, 0.9 * wing.root, 0.35 * wide), (0, y + 0.6 * wing.root, z), 20)


def _under_wing(
    wing: _Wing, share: float, y: float, z: float, radius: float, color: Color
) -> list[Part]:
    """A turbofan on a pylon before and below each wing."""
    edge = wing.edge(share) + [0.0, y, z]
    length = 3.1 * radius
    x, front, height = edge.tolist()
    rear = (x, front - 0.55 * length + length, height - 1.35 * radius)
    engine = _turbofan(radius, length, rear, color, METALS[0])
    foot, head = rear[2] + 0.6 * radius, height + 0.05 * radius
    side = (1.0, 0.0, 0.0)
    pylon = _surface(
        [
            _Section((x, front - 0.3 * length, foot), 1.3 * length, 0.06, side),
            _Section((x, front + 0.05 * length, head), length, 0.06, side),
        ]
    )
    return on_both_sides([*engine, Part(pylon, color)])


def _at_tail(body: _Fuselage, radius: float, color: Color, beside: bool) -> list[Part]:
    """A pair of turbofans beside the rear fuselage, or one in the fin's root."""
    share = 0.8 if beside else 0.93
    y, middle, tall, wide = body.at(share)
    length = 3.2 * radius
    if not beside:
        # Sunk into the fuselage's top under the fin, as in the three-engined jets.
        place = (0.0, y + 0.5 * length, middle + tall + 0.75 * radius)
        return _turbofan(radius, 1.4 * length, place, color, METALS[0])
    place = (wide + 1.25 * radius, y + 0.5 * length, middle + 0.25 * tall)
    engine = _turbofan(radius, length, place, color, METALS[0])
    stub = box((1.6 * radius, 0.6 * length, 0.25 * radius), (wide + 0.1 * radius, y, place[2]))
    return on_both_sides([*engine, Part(stub, color)])


def _airliner_gear(body: _Fuselage, wing: _Wing, y: float, z: float) -> list[Part]:
    radius = float(body.stations[:, 3].max())
    wheel, ground = 0.28 * radius, -2.3 * radius
    main = y + 0.75 * wing.root
    side = 0.75 * radius
    nose = 0.13 * body.length
    legs = [
        ((0.9 * side, main, min(z, -0.5 * radius)), (side, main, ground)),
        ((0.9 * side, main, min(z, -0.5 * radius)), (side, main + 2.2 * wheel, ground)),
        ((0.0, nose, -0.8 * radius), (0.0, nose, ground)),
    ]
    return _gear(legs, wheel, METALS[1])


def _business_jet(random: np.random.Generator) -> list[Part]:
    """A small jet, its engines beside the tail."""
    length = random.uniform(12, 24)
    radius = length * random.uniform(0.055, 0.07)
    body = _Fuselage.through(_JET, length, radius)
    white, accent = (
        varied(random, pick(random, _WHITES), 0.02),
        varied(random, pick(random, _LIVERIES)),
    )
    span = length * random.uniform(0.42, 0.52)
    wing = _Wing(span, 0.2 * length, 0.07 * length, span * random.uniform(0.15, 0.5), 0.06 * span)
    y = length * random.uniform(0.4, 0.46)
    parts = [Part(body.solid(), white), *_livery(random, body, white, accent)]
    parts.append(
        Part(wing.solid(y, -0.65 * radius, span * pick(random, (0.0, 0.1, 0.12)), 0.15), white)
    )
    style = pick(random, ("t", "t", "cross", "v"))
    parts += _tail(random, body, white, pick(random, (accent, white)), 0.17 * length, style, 0.8)
    parts += _at_tail(
        body, radius * random.uniform(0.42, 0.55), pick(random, (white, accent)), True
    )
    windows = _windows(body, 0.27, 0.58, int(random.integers(4, 9)), 0.35 * radius)
    parts.append(Part(windows, _GLASS))
    parts.append(Part(_cockpit(body, 0.07, 0.15, 0.2, 0.72), _GLASS))
    if random.random() < 0.4:
        parts += _airliner_gear(body, wing, y, -0.65 * radius)
    return parts


def _turboprop(random: np.random.Generator) -> list[Part]:
    """Two or four propellers on a straight wing, high or low: commuters and transports."""
    length = random.uniform(14, 34)
    radius = length * random.uniform(0.05, 0.068)
    body = _Fuselage.through(_AIRLINER, length, radius, random.uniform(2.0, 2.6))
    military = random.random() < 0.25
    base = pick(random, _MILITARY if military else _WHITES)
    color, accent = varied(random, base, 0.02), varied(random, pick(random, _LIVERIES))
    high = random.random() < 0.65
    span = length * random.uniform(0.48, 0.6)
    wing = _Wing(
        span, 0.13 * length, 0.07 * length, 0.03 * span, span * (0.01 if high else 0.08), 0.14
    )
    y, z = length * random.uniform(0.34, 0.4), radius * (0.88 if high else -0.7)
    parts = [Part(body.solid(), color)]
    if not military:
        parts += _livery(random, body, color, accent)
    parts.append(Part(wing.solid(y, z), color))
    if high:
        parts.append(Part(_wing_box(body, wing, y, z), color))
    style = pick(random, ("t", "t", "low", "cross", "twin"))
    fin = color if military else pick(random, (accent, color))
    parts += _tail(random, body, color, fin, 0.19 * length, style, random.uniform(0.3, 0.7))
    for share in pick(random, ((0.3,), (0.3,), (0.27, 0.55))):
        engine = _piston_nacelle(random, wing, share, y, z, color, 0.36 * radius)
        parts += on_both_sides(engine)
    windows = _windows(body, 0.16, 0.72, int(random.integers(7, 18)), 0.2 * radius)
    parts += [Part(windows, _GLASS), Part(_cockpit(body, 0.025, 0.07, 0.2, 0.62), _GLASS)]
    if random.random() < 0.4:
        parts += _airliner_gear(body, wing, y, -0.4 * radius)
    return parts


def _light(random: np.random.Generator) -> list[Part]:
    """One propeller in front, four seats, fixed wheels or floats."""
    length = random.uniform(6.5, 9.5)
    radius = length * random.uniform(0.075, 0.09)
    body = _Fuselage.through(_LIGHT, length, radius, random.uniform(2.4, 3.6))
    color = varied(random, pick(random, (*_WHITES, *_WHITES, *PAINTS)), 0.02)
    accent = varied(random, pick(random, _LIVERIES))
    high = random.random() < 0.55
    span = length * random.uniform(0.58, 0.72)
    chord = length * random.uniform(0.17, 0.22)
    wing = _Wing(
        span, chord, chord * random.uniform(0.55, 1.0), 0.02 * span,
        span * (random.uniform(0.0, 0.03) if high else random.uniform(0.07, 0.12)), 0.14,
    )  # fmt: skip
    y = 0.27 * length
    z = body.top(0.34) - 0.02 * radius if high else -0.55 * radius
    parts = [Part(body.solid(), color), *_livery(random, body, color, accent)]
    parts.append(Part(wing.solid(y, z), pick(random, (color, color, accent))))
    style = pick(random, ("low", "low", "low", "cross", "t", "v"))
    parts += _tail(random, body, color, pick(random, (color, accent)), 0.17 * length, style, 0.5)
    parts += _propeller(random, 0.13 * length, (0.0, 0.01 * length, -0.1 * radius), accent,
                        int(random.choice([2, 3])))  # fmt: skip
    parts += _cabin_glass(random, body)
    if high and random.random() < 0.8:
        foot = (0.5 * radius, y + 0.3 * chord, -0.4 * radius)
        top = wing.edge(0.45) + [0.0, y + 0.3 * chord, z]
        strut = cylinder(0.045 * radius, foot, top, segments=8)
        parts.append(Part(both_sides(strut), color))
    if random.random() < 0.2:
        return parts + _floats(random, length, radius, color, accent)
    return parts + _light_gear(random, body, radius, y + 0.5 * chord, color)


def _cabin_glass(random: np.random.Generator, body: _Fuselage) -> list[Part]:
    """Windscreen and side windows of a small cabin, between posts."""
    length, radius = body.length, float(body.stations[:, 3].max())
    _, middle, tall, _ = body.at(0.34)
    low, high = middle + 0.08 * tall, middle + 0.8 * tall
    end = random.uniform(0.44, 0.56)
    edges = np.array([0.2, 0.285, 0.3, 0.395, 0.41, end]) * length
    panes = union([slab((-9, a, low), (9, b, high)) for a, b in edges.reshape(-1, 2)])
    posts = slab((-0.02 * radius, 0, -9), (0.02 * radius, length, 9))
    return [Part(body.solid(0.012 * radius) ^ (panes - posts), _GLASS)]


def _light_gear(
    random: np.random.Generator, body: _Fuselage, radius: float, main: float, color: Color
) -> list[Part]:
    """Three fixed wheels, the third under the nose or under the tail; at times in fairings."""
    wheel, ground = 0.3 * radius, -1.75 * radius
    side = 1.15 * radius
    legs: list[tuple[Vector, Vector]] = [
        ((0.3 * radius, main, -0.35 * radius), (side, main, ground))
    ]
    if random.random() < 0.6:
        nose = 0.09 * body.length
        legs.append(((0.0, nose, -0.3 * radius), (0.0, nose, ground)))
    else:
        rear = 0.93 * body.length
        legs[0] = ((0.3 * radius, main - 0.08 * body.length, -0.35 * radius),
                   (side, main - 0.12 * body.length, ground))  # fmt: skip
        legs.append(((0.0, rear - 0.2 * radius, 0.0), (0.0, rear, -0.35 * radius)))
    parts = _gear(legs, wheel, color)
    if random.random() < 0.5:
        for _, foot in legs:
            if float(foot[2]) > ground:
                continue
            x, y, z = (float(value) for value in foot)
            spat = ellipsoid(
                (0.5 * wheel, 1.7 * wheel, 0.8 * wheel), (x, y + 0.3 * wheel, z + 0.3 * wheel)
            )
            parts.append(Part(both_sides(spat) if x else spat, color))
    return parts


def _floats(
    random: np.random.Generator, length: float, radius: float, color: Color, accent: Color
) -> list[Part]:
    """Two floats on struts."""
    x, z = 1.35 * radius, -2.0 * radius
    size = 0.42 * radius
    hull = _Fuselage.through(_FLOAT, length * random.uniform(0.68, 0.8), size, 3.0)
    start = 0.02 * length
    struts = [
        cylinder(
            0.05 * radius,
            (0.35 * radius, y, -0.3 * radius),
            (x, y + lean, z + 0.6 * size),
            segments=8,
        )
        for y, lean in ((0.2 * length, -0.03 * length), (0.45 * length, 0.05 * length))
    ]
    bars = [
        cylinder(0.05 * radius, (-x, y, z), (x, y, z), segments=8)
        for y in (0.17 * length, 0.5 * length)
    ]
    return [
        Part(both_sides(placed(hull.solid(), (x, start, z))), pick(random, (color, accent))),
        Part(union([both_sides(strut) for strut in struts] + bars), METALS[1]),
    ]


def _light_twin(random: np.random.Generator) -> list[Part]:
    """A cabin with two propellers on the low wing, or pushing from behind it."""
    length = random.uniform(8, 12)
    radius = length * random.uniform(0.065, 0.08)
    body = _Fuselage.through(_JET, length, radius, random.uniform(2.0, 2.8))
    color, accent = (
        varied(random, pick(random, _WHITES), 0.02),
        varied(random, pick(random, _LIVERIES)),
    )
    span = length * random.uniform(0.56, 0.66)
    wing = _Wing(span, 0.18 * length, 0.1 * length, 0.06 * span, 0.09 * span, 0.14)
    y, z = 0.36 * length, -0.5 * radius
    parts = [Part(body.solid(), color), *_livery(random, body, color, accent)]
    parts.append(Part(wing.solid(y, z), color))
    style = pick(random, ("low", "cross", "t", "twin"))
    parts += _tail(random, body, color, pick(random, (color, accent)), 0.17 * length, style, 0.55)
    engine = _piston_nacelle(random, wing, 0.34, y, z, pick(random, (color, accent)), 0.42 * radius)
    parts += on_both_sides(engine)
    windows = _windows(body, 0.3, 0.56, int(random.integers(3, 6)), 0.4 * radius)
    parts += [Part(windows, _GLASS), Part(_cockpit(body, 0.12, 0.25, 0.15, 0.8), _GLASS)]
    if random.random() < 0.6:
        ground, main = -1.9 * radius, y + 0.55 * wing.root
        x = 0.34 * span
        legs = [
            ((x, main, z), (x, main, ground)),
            ((0.0, 0.12 * length, -0.4 * radius), (0.0, 0.12 * length, ground)),
        ]
        parts += _gear(legs, 0.26 * radius, METALS[1])
    return parts


def _glider(random: np.random.Generator) -> list[Part]:
    """Very long, thin wings, a bubble of a cockpit, no engine."""
    length = random.uniform(6.3, 8.5)
    radius = 0.42
    body = _Fuselage.through(_GLIDER, length, radius)
    white = varied(random, pick(random, (*_WHITES, *_WHITES, *_WHITES, (0.93, 0.8, 0.25))), 0.02)
    accent = varied(random, pick(random, _LIVERIES))
    span = random.uniform(6.0, 9.0)
    wing = _Wing(span, random.uniform(0.8, 1.1), 0.4, 0.15, span * random.uniform(0.02, 0.06), 0.14)
    share = random.uniform(0.28, 0.33)
    z = random.uniform(0.4, 0.9) * body.at(share)[2]
    parts = [Part(body.solid(), white)]
    tips = pick(random, (0.0, 0.3, 0.4))
    parts.append(Part(wing.solid(share * length, z, tips), white))
    if random.random() < 0.5:
        # Red outer wings, as the rules of safety ask for in some countries.
        far = slab((0.78 * span, -99, -99), (0.93 * span, 99, 99))
        wide = _Wing(span, wing.root, wing.tip, 0.15, wing.rise, 0.17)
        tips_solid = wide.solid(share * length, z) ^ far
        parts.append(Part(both_sides(tips_solid), accent))
    style = pick(random, ("t", "t", "t", "cross", "v"))
    parts += _tail(random, body, white, pick(random, (white, accent)), 1.15, style, 0.35)
    bubble = ellipsoid(
        (0.88 * radius, 0.13 * length, 0.75 * radius), (0, 0.17 * length, 0.42 * radius), 28
    )
    parts.append(Part(bubble ^ body.solid(0.05), _GLASS))
    return parts


def _biplane(random: np.random.Generator) -> list[Part]:
    """Two or three wings between struts, an open cockpit, wheels and a tail skid."""
    length = random.uniform(6, 8.5)
    radius = length * random.uniform(0.065, 0.08)
    body = _Fuselage.through(_WARBIRD, length, radius, random.uniform(2.0, 3.0))
    color = varied(random, pick(random, (*_LIVERIES, *PAINTS, *_MILITARY)))
    second = varied(random, pick(random, (*_LIVERIES, *_WHITES, (0.88, 0.8, 0.6))))
    count = int(random.choice([2, 2, 2, 2, 3]))
    span, chord = length * random.uniform(0.48, 0.62), length * random.uniform(0.17, 0.21)
    gap = random.uniform(2.3, 2.9) * radius / (count - 1) * (1.0 if count == 2 else 1.25)
    low = -0.65 * radius
    stagger = random.uniform(-0.12, 0.0) * length
    levels = [
        (0.24 * length + number * stagger / (count - 1), low + number * gap)
        for number in range(count)
    ]
    wings = []
    for number, (y, z) in enumerate(levels):
        share = 1.0 if number == count - 1 else random.uniform(0.82, 1.0)
        wing = _Wing(share * span, chord, 0.85 * chord, 0.02, share * span * 0.02, 0.09)
        wings.append(wing.solid(y, z))
    parts = [Part(body.solid(), color), *(Part(wing, second) for wing in wings)]
    struts = _wing_struts(random, levels, span, chord, radius)
    parts.append(Part(both_sides(union(struts)), pick(random, (second, (0.45, 0.3, 0.18)))))
    parts += _tail(random, body, second, pick(random, (color, second)), 0.15 * length, "low", 0.35)
    parts += _cowling(random, body, radius, color)
    parts += _light_gear(random, body, radius, 0.34 * length, color)
    for share in pick(random, ((0.46,), (0.36, 0.5))):
        parts += _open_cockpit(body, share, radius)
    return parts


def _wing_struts(
    random: np.random.Generator,
    levels: Sequence[tuple[float, float]],
    span: float,
    chord: float,
    radius: float,
) -> list[Manifold]:
    """Pairs of posts between the right wings, and the cabane over the fuselage."""
    (y_low, z_low), (y_high, z_high) = levels[0], levels[-1]
    rise = 0.02 * span
    shares = pick(random, ((0.68,), (0.42, 0.76)))
    posts = [
        cylinder(
            0.05 * radius,
            (share * span, y_low + along * chord, z_low + share * rise),
            (share * span, y_high + along * chord, z_high + share * rise),
            segments=8,
        )
        for share in shares
        for along in (0.2, 0.7)
    ]
    cabane = [
        cylinder(
            0.05 * radius,
            (0.4 * radius, y_high + along * chord, 0.0),
            (0.7 * radius, y_high + along * chord, z_high + 0.01),
            segments=8,
        )
        for along in (0.2, 0.7)
    ]
    return posts + cabane


def _cowling(
    random: np.random.Generator, body: _Fuselage, radius: float, color: Color
) -> list[Part]:
    """A radial engine in a ring, or a pointed nose, with the propeller."""
    blades = int(random.choice([2, 2, 3, 4]))
    if random.random() < 0.55:
        size = 0.95 * radius
        ring = [(0.98, 0.0), (1.0, 0.5), (0.9, 0.72), (0.74, 0.7), (0.74, 0.4)]
        shell = turned(np.array(ring) * size, round_section()[::2])
        star = [
            box((0.2 * size, 0.3 * size, 0.62 * size), (0, -0.48 * size, 0.38 * size)).rotate(
                (0, a, 0)
            )
            for a in np.linspace(0, 360, 7, endpoint=False)
        ]
        front = (0.0, -0.8 * size, 0.0)
        shaft = cylinder(0.14 * size, (0, 0, 0), front)
        return [
            Part(_forwards(shell, (0, 0.08 * size, 0)), color),
            Part(union([*star, shaft]), METALS[2]),
            *_propeller(random, 0.14 * body.length, front, METALS[1], blades),
        ]
    return _propeller(random, 0.14 * body.length, (0, 0.01 * body.length, 0), color, blades)


def _open_cockpit(body: _Fuselage, share: float, radius: float) -> list[Part]:
    """A padded rim, a windshield and a pilot's head."""
    y, middle, tall, wide = body.at(share)
    top = middle + tall
    rim = ellipsoid((0.5 * wide, 0.45 * radius, 0.1 * radius), (0, y, top - 0.03 * radius), 18)
    glass = box(
        (0.55 * wide, 0.06 * radius, 0.42 * radius), (0, y - 0.42 * radius, top + 0.12 * radius)
    )
    head = ellipsoid(
        (0.2 * radius, 0.22 * radius, 0.26 * radius), (0, y + 0.08 * radius, top + 0.2 * radius), 14
    )
    return [
        Part(rim, (0.2, 0.13, 0.09)),
        Part(glass, (0.6, 0.7, 0.75)),
        Part(head, (0.36, 0.24, 0.15)),
    ]


def _warbird(random: np.random.Generator) -> list[Part]:
    """A fighter of the propeller age: low tapered or elliptical wing, bubble or framed canopy."""
    length = random.uniform(8.5, 11)
    radius = length * random.uniform(0.062, 0.078)
    body = _Fuselage.through(_WARBIRD, length, radius)
    silver = (0.78, 0.79, 0.81)
    color = varied(random, pick(random, (*_MILITARY, *_MILITARY, silver, *_LIVERIES[:2])))
    accent = varied(random, pick(random, _LIVERIES))
    span = length * random.uniform(0.52, 0.62)
    wing = _Wing(
        span, 0.26 * length, 0.12 * length, span * random.uniform(0.02, 0.12), 0.1 * span, 0.13
    )
    y, z = 0.24 * length, -0.5 * radius
    oval = random.random() < 0.35
    parts = [Part(body.solid(), color), Part(wing.solid(y, z, oval=oval), color)]
    belly = slab((-9, 0, -9), (9, length, -0.25 * radius))
    parts.append(Part(body.solid(0.006 * radius) ^ belly, shaded(color, 1.35)))
    parts += _tail(random, body, color, pick(random, (color, accent)), 0.15 * length, "low", 0.35)
    parts += _cowling(random, body, radius, pick(random, (color, accent)))
    _, middle, tall, wide = body.at(0.44)
    canopy = ellipsoid(
        (0.62 * wide, 0.12 * length, 0.62 * radius), (0, 0.44 * length, middle + 0.85 * tall), 20
    )
    parts.append(Part(canopy, _GLASS))
    if random.random() < 0.5:
        frames = [
            box((9, 0.03 * length**0.5, 9), (0, share * length, 0))
            for share in (0.38, 0.43, 0.48, 0.53)
        ]
        shell = ellipsoid(
            (0.64 * wide, 0.122 * length, 0.64 * radius),
            (0, 0.44 * length, middle + 0.85 * tall),
            20,
        )
        parts.append(Part(shell ^ union(frames), color))
    guns = pick(random, (0, 0, 2, 3))
    for number in range(guns):
        x, back, rise = (wing.edge(0.3) + [0.12 * number * span * 0.5, y, z]).tolist()
        gun = cylinder(0.04, (x, back - 0.45, rise), (x, back + 0.4, rise), segments=8)
        parts.append(Part(both_sides(gun), METALS[2]))
    if random.random() < 0.5:
        main, ground = y - 0.02 * length, -2.1 * radius
        legs = [
            ((0.28 * span, y + 0.35 * wing.root, z + 0.28 * wing.rise), (0.3 * span, main, ground)),
            ((0.0, 0.92 * length, 0.1 * radius), (0.0, 0.94 * length, -0.3 * radius)),
        ]
        parts += _gear(legs, 0.33 * radius, METALS[1])
    return parts


def _fighter(random: np.random.Generator) -> list[Part]:
    """A jet with swept, trapezoid or delta wings; one or two fins, canards, intakes, stores."""
    length = random.uniform(13, 20)
    radius = length * random.uniform(0.045, 0.055)
    body = _Fuselage.through(_FIGHTER, length, radius, random.uniform(2.0, 2.8))
    color = varied(random, pick(random, _MILITARY))
    dark = shaded(color, 0.7)
    shape = pick(random, ("delta", "swept", "trapezoid", "delta"))
    root, tip, swept, span = {
        "delta": (0.46, 0.05, 0.4, 0.3),
        "swept": (0.24, 0.09, 0.26, 0.34),
        "trapezoid": (0.33, 0.1, 0.22, 0.32),
    }[shape]
    span *= length * random.uniform(0.9, 1.1)
    wing = _Wing(
        span, root * length, tip * length, swept * length, random.uniform(-0.05, 0.03) * span, 0.06
    )
    y = length * {"delta": 0.46, "swept": 0.44, "trapezoid": 0.47}[shape]
    parts = [Part(body.solid(), color), Part(wing.solid(y, 0.0), color)]
    if shape == "delta" and random.random() < 0.6:
        canard = _Wing(
            0.14 * length, 0.1 * length, 0.04 * length, 0.08 * length, 0.02 * length, 0.06
        )
        parts.append(Part(canard.solid(0.28 * length, 0.25 * radius), color))
    elif shape != "delta":
        plane = _Wing(0.21 * length, 0.14 * length, 0.06 * length, 0.1 * length, 0.0, 0.06)
        parts.append(Part(plane.solid(0.86 * length, 0.0), color))
    fin = _fin(
        0.74 * length, 0.3 * radius, 0.17 * length, 0.2 * length, 0.07 * length, 0.13 * length
    )
    if random.random() < 0.5:
        lean = random.uniform(0, 22)
        pair = placed(_turned_out(fin, lean, 0.3 * radius), (0.75 * radius, 0, 0))
        parts.append(Part(both_sides(pair), dark if random.random() < 0.3 else color))
    else:
        parts.append(Part(fin, color))
    parts += _jet_pipes(random, length, radius)
    canopy = ellipsoid(
        (0.42 * radius, 0.1 * length, 0.55 * radius), (0, 0.25 * length, 0.35 * radius), 20
    )
    parts.append(Part(canopy, (0.2, 0.22, 0.22)))
    parts += _intakes(length, radius, color)
    parts += _stores(random, wing, y, length)
    if random.random() < 0.5:
        cone = body.solid(0.008 * radius) ^ slab((-9, -9, -9), (9, 0.07 * length, 9))
        parts.append(Part(cone, dark))
    return parts


def _jet_pipes(random: np.random.Generator, length: float, radius: float) -> list[Part]:
    """One or two nozzles, open behind."""
    pair = random.random() < 0.5
    size = (0.5 if pair else 0.62) * radius
    ring = [(1.0, -1.0), (1.0, 0.3), (0.75, 1.2), (0.64, 1.2), (0.8, 0.3), (0.8, 0.1)]
    nozzle = placed(turned(np.array(ring) * size, round_section()[::2]), (0, 0, 0), (-90, 0, 0))
    x = 0.5 * radius if pair else 0.0
    moved = placed(nozzle, (x, length, 0))
    return [Part(both_sides(moved) if pair else moved, METALS[2])]


def _intakes(length: float, radius: float, color: Color) -> list[Part]:
    """Boxes beside the fuselage, hollow in front."""
    front, back = 0.36 * length, 0.62 * length
    size = (0.6 * radius, back - front, 0.9 * radius)
    place = (0.95 * radius, 0.5 * (front + back), -0.05 * radius)
    duct = box(size, place, 0.12 * radius)
    hole = box((0.42 * radius, 0.06 * length, 0.7 * radius), (0.98 * radius, front, -0.05 * radius))
    return [Part(both_sides(duct - hole), color)]


def _stores(random: np.random.Generator, wing: _Wing, y: float, length: float) -> list[Part]:
    """Missiles at the wing tips and under the wings, or tanks."""
    parts: list[Part] = []
    pale = (0.88, 0.88, 0.87)
    if random.random() < 0.5:
        x, back, rise = (wing.edge(1.0) + [0.0, y, 0.0]).tolist()
        missile = _missile(0.012 * length, 0.2 * length)
        place = (x, back + 0.5 * wing.tip - 0.1 * length, rise)
        parts.append(Part(both_sides(placed(missile, place)), pale))
    for share in pick(random, ((), (0.45,), (0.45, 0.7))):
        x, back, rise = (wing.edge(share) + [0.0, y, 0.0]).tolist()
        thick, chord = 0.016 * length, wing.chord(share)
        store = _missile(thick, 0.22 * length)
        low = rise - 2.4 * thick
        pylon = box(
            (0.5 * thick, 0.5 * chord, 2.4 * thick), (x, back + 0.5 * chord, rise - 1.2 * thick)
        )
        place = (x, back + 0.5 * chord - 0.11 * length, low)
        parts.append(Part(both_sides(placed(store, place)), pale))
        parts.append(Part(both_sides(pylon), METALS[1]))
    return parts


def _missile(radius: float, length: float) -> Manifold:
    """A body with four fins at the tail, its nose at the origin."""
    knots = [(1.0, -1.0), (1.0, -0.15), (0.7, -0.06), (0.05, 0.0)]
    tube = _forwards(turned(np.array(knots) * [radius, length], round_section()[::4]), (0, 0, 0))
    fins = box((5 * radius, 0.1 * length, 0.25 * radius), (0, 0.92 * length, 0))
    return tube + fins.rotate((0, 45, 0)) + fins.rotate((0, -45, 0))


def _flying_wing(random: np.random.Generator) -> list[Part]:
    """No fuselage to speak of: one swept wing with a hump for the crew."""
    length, span = random.uniform(10, 14), random.uniform(11, 15)
    color = varied(random, pick(random, (_MILITARY[4], _MILITARY[1], _WHITES[1])))
    wing = _Wing(
        span, 0.72 * length, 0.16 * length, span * random.uniform(0.5, 0.65), 0.01 * span, 0.14
    )
    hump = ellipsoid(
        (0.13 * span, 0.36 * length, 0.07 * length), (0, 0.42 * length, 0.045 * length), 32
    )
    glass = hump.translate((0, -0.01 * length, 0.012 * length)) ^ slab(
        (-9, 0.08 * length, 0.05 * length), (9, 0.22 * length, 9)
    )
    pods = ellipsoid(
        (0.05 * span, 0.24 * length, 0.05 * length), (0.19 * span, 0.5 * length, 0.05 * length)
    )
    mouth = box(
        (0.07 * span, 0.06 * length, 0.04 * length), (0.19 * span, 0.29 * length, 0.07 * length)
    )
    parts = [Part(wing.solid(0.0, 0.0), color), Part(hump, color), Part(glass, _GLASS)]
    parts.append(Part(both_sides(pods), shaded(color, 0.85)))
    parts.append(Part(both_sides(mouth), (0.1, 0.1, 0.11)))
    if random.random() < 0.5:
        x, back, rise = wing.edge(0.35).tolist()
        base = 0.2 * length
        fin = _fin(
            back + wing.chord(0.35) - base, rise, 0.14 * length, base, 0.5 * base, 0.6 * base
        )
        parts.append(Part(both_sides(placed(fin, (x, 0, 0))), color))
    return parts


_KINDS: dict[str, tuple[Callable[[np.random.Generator], list[Part]], float]] = {
    "airliner": (_airliner, 5),
    "business jet": (_business_jet, 2),
    "turboprop": (_turboprop, 2.5),
    "light": (_light, 3),
    "light twin": (_light_twin, 1.5),
    "glider": (_glider, 1),
    "biplane": (_biplane, 1.7),
    "warbird": (_warbird, 2),
    "fighter": (_fighter, 3),
    "flying wing": (_flying_wing, 0.5),
}
