"""Mugs, cups, tumblers and tankards: hollow, with no, one or two handles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .colors import CERAMICS, METALS, PAINTS, PLASTICS, WOODS, pick, shaded, varied
from .kinds import draw_kind
from .solids import (
    Color,
    Part,
    box,
    cylinder,
    ellipsoid,
    mirrored,
    revolve,
    rounded,
    smooth_curve,
    sweep,
)
from .vessels import (
    band,
    fluted_section,
    hollow,
    polygon_section,
    profile,
    radius_at,
    round_section,
    stretch,
    turned,
)

_PROUD = 0.0004  # of one colour over another
# (radius, height) in parts of the largest radius and the whole height.
_PROFILES = {
    "straight": [(0.9, 0.0), (1.0, 0.05), (1.0, 0.3), (1.0, 1.0)],
    "tapered": [(0.7, 0.0), (0.76, 0.05), (1.0, 1.0)],
    "barrel": [(0.74, 0.0), (0.82, 0.08), (1.0, 0.5), (0.84, 1.0)],
    "belly": [(0.62, 0.0), (0.74, 0.05), (1.0, 0.35), (0.8, 0.8), (0.84, 1.0)],
    "tulip": [(0.5, 0.0), (0.62, 0.05), (0.92, 0.3), (0.84, 0.65), (1.0, 1.0)],
    "bowl": [(0.42, 0.0), (0.5, 0.04), (0.83, 0.25), (0.97, 0.6), (1.0, 1.0)],
    "waisted": [(0.94, 0.0), (1.0, 0.05), (0.82, 0.5), (0.96, 1.0)],
    "shoulder": [(0.96, 0.0), (1.0, 0.06), (1.0, 0.55), (0.78, 0.75), (0.8, 1.0)],
    "footed": [(0.62, 0.0), (0.6, 0.04), (0.42, 0.1), (0.84, 0.35), (0.96, 0.65), (1.0, 1.0)],
    "stepped": [(0.66, 0.0), (0.7, 0.04), (0.72, 0.3), (0.98, 0.42), (1.0, 1.0)],
}
_DRINKS: tuple[Color, ...] = ((0.22, 0.12, 0.07), (0.55, 0.36, 0.2), (0.6, 0.28, 0.1))


@dataclass(frozen=True)
class _Body:
    """A vessel's wall: rising profiles outside and inside, the section, the wall's thickness."""

    outside: np.ndarray
    inside: np.ndarray
    section: np.ndarray
    wall: float

    @property
    def height(self) -> float:
        return float(self.outside[-1, 1])

    def reach(self, height: float) -> float:
        """Distance of the outer surface from the axis towards +X."""
        return radius_at(self.outside, height) * float(self.section[:, 0].max())

    def cavity(self) -> Manifold:
        """What handles must stay out of, up to well above the rim; a little into the wall."""
        wide = self.inside + [0.3 * self.wall, 0.0]
        return turned(np.concatenate([wide, [wide[-1] + [0.0, 1.0]]]), self.section)


@dataclass(frozen=True)
class _Kind:
    """The proportions of one family; ranges are drawn from evenly."""

    radius: tuple[float, float]
    height: tuple[float, float]  # in radii
    wall: tuple[float, float]
    profiles: tuple[str, ...]
    handles: tuple[int, ...]
    weight: float
    saucer: float = 0.0  # how often


_KINDS = {
    "mug": _Kind(
        (0.037, 0.05),
        (1.75, 2.7),
        (0.0032, 0.0048),
        ("straight", "straight", "tapered", "barrel", "belly", "waisted", "shoulder", "stepped"),
        (1,),
        0.5,
    ),
    "cup": _Kind(
        (0.032, 0.055),
        (1.0, 1.6),
        (0.0026, 0.0036),
        ("bowl", "bowl", "tulip", "belly", "footed", "tapered", "stepped"),
        (1, 1, 1, 2),
        0.22,
        saucer=0.6,
    ),
    "tumbler": _Kind(
        (0.034, 0.043),
        (1.8, 3.2),
        (0.0026, 0.004),
        ("straight", "tapered", "barrel", "waisted", "tulip"),
        (0,),
        0.1,
    ),
    "tankard": _Kind(
        (0.045, 0.055),
        (2.4, 3.4),
        (0.005, 0.007),
        ("straight", "tapered", "barrel", "shoulder", "waisted"),
        (1,),
        0.1,
    ),
    "bowl": _Kind(
        (0.05, 0.065), (0.9, 1.25), (0.0035, 0.005), ("bowl", "belly", "footed"), (1, 2), 0.08
    ),
}
_HANDLES = ("c", "ear", "square", "angular", "ring", "drop", "hook")


def make(random: np.random.Generator) -> list[Part]:
    """Draw one vessel; its handle points to +X, or handles both ways along x."""
    weights = {name: kind.weight for name, kind in _KINDS.items()}
    kind = _KINDS[draw_kind(random, weights)]
    body = _body(random, kind)
    color, inner = _colors(random)
    parts = [Part(hollow(body.outside, body.inside, body.section), color)]
    if inner != color:
        parts.append(Part(_liner(body), inner))
    parts += _decoration(random, body, color)
    if random.random() < 0.15:
        parts.append(Part(_drink(random, body), pick(random, _DRINKS)))
    count = pick(random, kind.handles)
    if count:
        handle = _handle(random, body)
        accent = varied(random, pick(random, CERAMICS + PLASTICS + WOODS))
        handle_color = accent if random.random() < 0.15 else color
        pair = [handle, mirrored(handle)][:count]
        parts += [Part(solid, handle_color) for solid in pair]
    if random.random() < kind.saucer:
        parts += _saucer(random, body, color)
    return parts


def _colors(random: np.random.Generator) -> tuple[Color, Color]:
    """Outside and inside."""
    outside = varied(random, pick(random, CERAMICS + CERAMICS + PAINTS + PLASTICS + METALS[:2]))
    if random.random() < 0.5:
        return outside, outside
    return outside, varied(random, pick(random, CERAMICS[:3] + CERAMICS[:3] + CERAMICS), 0.02)


def _body(random: np.random.Generator, kind: _Kind) -> _Body:
    radius = random.uniform(*kind.radius)
    height = radius * random.uniform(*kind.height)
    wall = random.uniform(*kind.wall)
    knots = np.array(_PROFILES[pick(random, kind.profiles)])
    knots[1:, 0] *= random.uniform(0.94, 1.06, len(knots) - 1)
    knots[2:-1, 1] *= random.uniform(0.88, 1.06)
    outside = profile(knots * [radius, height], 22)
    if random.random() < 0.12:
        outside = _ribbed(outside, int(random.integers(4, 12)))
    inside = _inside(outside, wall, _floor(outside, wall))
    lip = [outside[-1] + [-0.25 * wall, 0.35 * wall], inside[-1] + [0.25 * wall, 0.35 * wall]]
    outside = np.concatenate([outside, lip[:1]])
    inside = np.concatenate([inside, lip[1:]])
    return _Body(outside, inside, _section(random), wall)


def _ribbed(outside: np.ndarray, ribs: int) -> np.ndarray:
    """The same profile with grooves around the body."""
    heights = np.linspace(0.0, outside[-1, 1], 6 * ribs + 1)
    radii = np.interp(heights, outside[:, 1], outside[:, 0])
    radii -= 0.02 * radii.max() * (0.5 - 0.5 * np.cos(2 * np.pi * ribs * heights / heights[-1]))
    return np.stack([radii, heights], axis=1)


def _floor(outside: np.ndarray, wall: float) -> float:
    """Where the cavity begins: above a foot, if there is one."""
    low = outside[outside[:, 1] < 0.3 * outside[-1, 1]]
    narrowest = low[np.argmin(low[1:, 0]) + 1]
    has_foot = narrowest[0] < 0.98 * low[0, 0]
    return float(narrowest[1] if has_foot else 0.0) + 1.4 * wall


def _inside(outside: np.ndarray, wall: float, floor: float) -> np.ndarray:
    """The inner profile: the wall's thickness away, with a fillet around the floor."""
    curve = stretch(outside, floor, float(outside[-1, 1]))
    fillet = min(3.0 * wall, 0.3 * (curve[-1, 1] - floor))
    near = floor + fillet * np.array([0.0, 0.05, 0.2, 0.45, 0.7])
    heights = np.unique(np.concatenate([near, curve[curve[:, 1] > near[-1], 1]]))
    radii = np.interp(heights, outside[:, 1], outside[:, 0]) - wall
    rise = np.clip((heights - floor) / fillet, 0.0, 1.0)
    return np.stack([radii - fillet * (1.0 - np.sqrt(1.0 - (1.0 - rise) ** 2)), heights], axis=1)


def _section(random: np.random.Generator) -> np.ndarray:
    choice = random.random()
    if choice < 0.8:
        return round_section()
    if choice < 0.86:
        return round_section(random.uniform(3.0, 5.0))
    if choice < 0.94:
        return polygon_section(int(random.choice([6, 8, 10, 12])), random.uniform(0.12, 0.35))
    return fluted_section(int(random.integers(10, 25)), random.uniform(0.03, 0.06))


def _liner(body: _Body) -> Manifold:
    """A glaze of its own colour over the inside, from just below the rim."""
    behind = np.concatenate([body.inside[:1] - [0.0, 0.4 * body.wall], body.inside[1:-1]]) + [
        0.4 * body.wall,
        0.0,
    ]
    return hollow(behind, body.inside[:-1] + [-_PROUD, _PROUD], body.section)


def _drink(random: np.random.Generator, body: _Body) -> Manifold:
    level = body.inside[0, 1] + (body.height - body.inside[0, 1]) * random.uniform(0.7, 0.9)
    return turned(
        stretch(body.inside, body.inside[0, 1], level) + [0.4 * body.wall, 0.0], body.section
    )


def _decoration(random: np.random.Generator, body: _Body, color: Color) -> list[Part]:
    style = pick(random, ("none", "none", "none", "bands", "dip", "rim", "picture", "picture"))
    second = varied(random, pick(random, CERAMICS + PAINTS))
    if style == "bands":
        edges = np.sort(random.uniform(0.12, 0.9, 2 * int(random.integers(1, 4))))
        return [_band(body, low, high, second) for low, high in edges.reshape(-1, 2)]
    if style == "dip":
        return [_band(body, 0.04, random.uniform(0.25, 0.6), second)]
    if style == "rim":
        return [_band(body, random.uniform(0.86, 0.95), 0.985, second)]
    if style == "picture":
        return _picture(random, body, second, varied(random, pick(random, CERAMICS + PAINTS)))
    return []


def _band(body: _Body, low: float, high: float, color: Color, proud: float = _PROUD) -> Part:
    solid = band(
        body.outside,
        body.section,
        low * body.height,
        high * body.height,
        proud,
        0.4 * body.wall,
    )
    return Part(solid, color)


def _picture(random: np.random.Generator, body: _Body, ground: Color, ink: Color) -> list[Part]:
    """A printed patch on the front, with a disc or a frame in it."""
    low, high = random.uniform(0.15, 0.3), random.uniform(0.7, 0.85)
    middle, size = 0.5 * (low + high) * body.height, (high - low) * body.height
    width = min(size * random.uniform(0.7, 1.3), 1.1 * body.outside[:, 0].max())
    patch = box((width, 1.0, 2.0), (0.0, -0.5, 0.0))
    radius = 0.33 * min(width, size)
    inner = cylinder(radius, (0.0, -1.0, middle), (0.0, 0.0, middle))
    return [
        Part(_band(body, low, high, ground).solid ^ patch, ground),
        Part(_band(body, low, high, ink, 2 * _PROUD).solid ^ inner, ink),
    ]


def _handle(random: np.random.Generator, body: _Body) -> Manifold:
    """A handle towards +X, cut where it would reach into the cavity."""
    style = pick(random, _HANDLES)
    high = body.height * random.uniform(0.78, 0.9)
    low = body.height * random.uniform(0.16, 0.34)
    if style == "ring":
        middle, half = 0.5 * (low + high), 0.5 * random.uniform(0.5, 0.75) * (high - low)
        low, high = middle - half, middle + half
    span = high - low
    out = np.clip(span * random.uniform(0.5, 0.75), 0.022, 0.05)
    thick = random.uniform(0.0032, 0.0048)
    path = _handle_path(style, span, out)
    inset = np.interp(path[:, 1], [0.0, span], [body.reach(low), body.reach(high)])
    x, z = path[:, 0] + inset - 0.6 * body.wall, path[:, 1] + low
    ends = np.linspace(-1.0, 1.0, len(path))
    swelling = 1.0 + random.uniform(0.1, 0.35) * ends**4
    width = thick * random.uniform(1.0, 2.0)
    strap = round_section(random.uniform(2.0, 4.0))[::4] * [width, thick]
    points = np.stack([x, np.zeros_like(x), z], axis=1)
    return sweep(points, strap, scale=swelling, up=(0.0, 0.0, 1.0)) - body.cavity()


def _handle_path(style: str, span: float, out: float) -> np.ndarray:
    """``[P, 2]``: distance from the wall and height above the lower end, from the top down."""
    shapes = {
        "c": [(0, 1), (0.55, 1.02), (1, 0.55), (0.6, 0.02), (0, 0)],
        "ear": [(0, 1), (0.5, 1.1), (1, 0.82), (0.75, 0.4), (0.3, 0.08), (0, 0)],
        "drop": [(0, 1), (0.35, 0.92), (0.75, 0.6), (1, 0.25), (0.6, -0.05), (0, 0.02)],
        "ring": [(0, 1), (0.62, 0.98), (0.98, 0.5), (0.62, 0.02), (0, 0)],
        "hook": [(0, 1), (0.55, 1.04), (1, 0.7), (0.75, 0.25), (0.35, 0.18)],
    }
    if style in shapes:
        return smooth_curve(np.array(shapes[style]) * [out, span], 22)
    corner = (out, 0.35 * span) if style == "angular" else (out, 0.0)
    return rounded([(0, span), (out, span), corner, (0, 0)], 0.5 * out, 6, closed=False)


def _saucer(random: np.random.Generator, body: _Body, color: Color) -> list[Part]:
    """A saucer under the cup, at times with a spoon."""
    foot = body.outside[0, 0] * float(np.linalg.norm(body.section, axis=1).max())
    rim = max(foot + 0.022, body.outside[:, 0].max() * random.uniform(1.4, 1.75))
    rise, thick = random.uniform(0.008, 0.016), 0.003
    well = foot + 0.003
    upper = [(0.0, 0.0006), (well, 0.0006), (well + 0.4 * (rim - well), 0.35 * rise), (rim, rise)]
    lower = [(r, z - thick) for r, z in upper[::-1]]
    plate = revolve(
        [*upper, (rim + 0.001, rise - 0.5 * thick), *lower[:2], (well, -0.005), (0.0, -0.005)]
    )
    parts = [Part(plate, color)]
    if random.random() < 0.3:
        parts.append(Part(_spoon(rim, rise), METALS[0]))
    if random.random() < 0.3:
        edge = revolve(
            [
                (rim - 0.004, rise - 0.003),
                (rim - 0.004, rise + 0.0002),
                (rim + 0.0016, rise + 0.0006),
                (rim + 0.0016, rise - 0.003),
            ]
        )
        parts.append(Part(edge, shaded(color, random.uniform(0.4, 0.8))))
    return parts


def _spoon(rim: float, rise: float) -> Manifold:
    """A teaspoon that lies on the saucer's rim in front of the cup."""
    y, z = -0.86 * rim, rise + 0.0012
    bowl = ellipsoid((0.014, 0.009, 0.003), (-0.4 * rim, y, z - 0.001))
    stem = sweep(
        [(-0.4 * rim, y, z), (0.0, y, z + 0.002), (0.75 * rim, y, z + 0.001)],
        np.array([(0.003, -0.0015), (0.003, 0.0015), (-0.003, 0.0015), (-0.003, -0.0015)]),
        up=(0.0, 0.0, 1.0),
    )
    return bowl + stem
