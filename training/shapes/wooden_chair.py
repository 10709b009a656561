"""Wooden chairs: legs, a seat, posts and what is between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from manifold3d import Manifold

from .colors import FABRICS, LEATHERS, METALS, PAINTS, WOODS, pick, pick_weighted, shaded, varied
from .furniture import (
    METAL_LEGS,
    WOODEN_LEGS,
    all_legs,
    along,
    around,
    bars,
    board,
    corners,
    ends,
    leg_style,
    pad,
    stretchers,
)
from .solids import (
    Color,
    Part,
    both_sides,
    box,
    cylinder,
    ellipse,
    extrude,
    placed,
    rectangle,
    revolve,
    rounded,
    smooth_curve,
    superellipse,
    sweep,
    union,
    warped,
)


@dataclass(frozen=True)
class _Seat:
    """A seat around the Z axis; lengths in metres."""

    width: float
    depth: float
    height: float  # of its upper side
    thickness: float
    outline: np.ndarray  # [K, 2]
    is_round: bool

    @property
    def low(self) -> float:
        return self.height - self.thickness

    @property
    def rear(self) -> float:
        return self.depth / 2


def _seat(random: np.random.Generator, shape: str, height: float) -> _Seat:
    width, depth, thickness = random.uniform((0.4, 0.38, 0.022), (0.48, 0.45, 0.045))
    if shape == "round":
        depth = width
        outline = superellipse(width / 2, depth / 2, random.choice([2.0, 2.6]), 36)
    elif shape == "shield":
        half = width / 2
        knots = [(half, -0.4 * depth), (0.8 * half, depth / 2), (-0.8 * half, depth / 2)]
        outline = rounded([*knots, (-half, -0.4 * depth), (0, -depth / 2)], 0.08)
    else:
        narrow = random.uniform(0.78, 0.92) if shape == "tapered" else 1.0
        front, back = width / 2, narrow * width / 2
        knots = [(front, -depth / 2), (back, depth / 2), (-back, depth / 2), (-front, -depth / 2)]
        outline = rounded(knots, random.uniform(0.01, 0.06))
    return _Seat(width, depth, height, thickness, outline, shape == "round")


# Wooden chairs ------------------------------------------------------------------------------------


def wooden_chair(random: np.random.Generator) -> list[Part]:
    """Dining, country, rocking and bar chairs: legs, seat, posts and what is between them."""
    wood = varied(random, pick(random, WOODS if random.random() < 0.75 else PAINTS))
    use = random.choice(["dining", "rocking", "bar"], p=[0.8, 0.1, 0.1])
    height = {"dining": 0.45, "rocking": 0.42, "bar": 0.68}[use] + random.uniform(-0.015, 0.03)
    shape = random.choice(["square", "tapered", "round", "shield"], p=[0.3, 0.4, 0.15, 0.15])
    seat = _seat(random, shape, height)
    parts = _wooden_base(random, seat, wood, use)
    parts.append(_seat_board(random, seat, wood))
    back = _Back.drawn(random, seat, low=use == "bar")
    cover = varied(random, pick(random, FABRICS + LEATHERS))
    if random.random() < 0.4:
        outline = 0.94 * seat.outline
        parts.append(Part(pad(outline, height - 0.01, height + random.uniform(0.02, 0.05)), cover))
    else:
        cover = wood if random.random() < 0.6 else cover
    parts += _back(random, back, wood, cover)
    if use != "bar" and random.random() < 0.3:
        parts.append(Part(_wooden_arms(random, seat, back), wood))
    return parts


def _seat_board(random: np.random.Generator, seat: _Seat, wood: Color) -> Part:
    solid = extrude(seat.outline, seat.low, seat.height, rounding=0.008)
    if random.random() < 0.25:  # woven: a frame's colour and a mat's
        return Part(solid, varied(random, (0.79, 0.68, 0.45)))
    return Part(solid, shaded(wood, random.choice([0.93, 1.06])))


def _wooden_base(random: np.random.Generator, seat: _Seat, wood: Color, use: str) -> list[Part]:
    style = str(random.choice([*WOODEN_LEGS, "hairpin" if use == "dining" else "rod"]))
    thickness = random.uniform(0.032, 0.045)
    leg = leg_style(random, style, thickness)
    inset = 2.2 * thickness if seat.is_round else 1.3 * thickness
    reach = 0.72 if seat.is_round else 0.9
    places = corners(reach * seat.width - inset, reach * seat.depth - inset)
    splay = random.choice([0.0, 0.08, 0.16]) if style in ("round", "cone", "turned") else 0.03
    tops, feet = ends(places, seat.height - 0.6 * seat.thickness, splay)
    if use == "rocking":
        feet[:, 2] = 0.05
    color = varied(random, pick(random, METALS)) if style in METAL_LEGS else wood
    legs = all_legs(leg, tops, feet)
    parts = [Part(legs, color)]
    sturdy = style not in ("hairpin", "sabre")
    if use == "bar":
        ring = along(tops, feet, 0.22)
        pairs = around(ring)
        parts.append(Part(bars(pairs, 0.022), color))
    elif sturdy and random.random() < 0.55:
        low = random.uniform(0.12, 0.22)
        parts.append(Part(stretchers(random, tops, feet, low, random.uniform(0.018, 0.026)), color))
    if sturdy and not seat.is_round and random.random() < 0.6:
        apron = random.uniform(0.04, 0.07)
        level = along(tops, feet, seat.low - apron / 2 + 0.005)
        pairs = around(level)
        parts.append(Part(bars(pairs, apron, 0.018), color))
    if use == "rocking":
        parts.append(Part(_rockers(feet), color))
    return parts


def _rockers(feet: np.ndarray) -> Manifold:
    front, rear = feet[0, 1] - 0.14, feet[3, 1] + 0.28
    y = np.linspace(front, rear, 15)
    middle = 0.5 * (feet[0, 1] + feet[3, 1])
    z = 0.018 + 0.55 * (y - middle) ** 2
    x = np.full_like(y, abs(feet[:, 0]).mean())
    lift = 0.55 * (feet[0, 1] - middle) ** 2
    runner = sweep(np.stack([x, y, z], axis=1), rectangle(0.035, 0.036, 0.006, 2), up=(0, 0, 1))
    return both_sides(runner).translate((0.0, 0.0, 0.03 - lift))


# Backs of wooden chairs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Back:
    """Where a back stands: upright in the plane y = 0 at first, then leant and bent."""

    width: float  # between the posts' middles
    low: float
    high: float
    thickness: float
    y: float
    lean: float  # tangent of the angle
    bulge: float  # how far the middle is behind the sides
    round_posts: bool
    flare: float  # how much wider it is on top, as a share

    @classmethod
    def drawn(cls, random: np.random.Generator, seat: _Seat, low: bool) -> _Back:
        rear = seat.outline[seat.outline[:, 1] > 0.3 * seat.depth]
        width = float(np.ptp(rear[:, 0])) if not seat.is_round else 0.72 * seat.width
        thickness = random.uniform(0.024, 0.034)
        y = seat.rear - 0.75 * thickness - (0.15 * seat.depth if seat.is_round else 0)
        rise = random.uniform(0.2, 0.32) if low else random.uniform(0.38, 0.62)
        return cls(
            width=width - 1.3 * thickness,
            low=seat.low + 0.004,
            high=seat.height + rise,
            thickness=thickness,
            y=y,
            lean=random.uniform(0.08, 0.24),
            bulge=random.choice([0.0, random.uniform(0.02, 0.05)]),
            round_posts=random.random() < 0.45,
            flare=random.choice([0.0, random.uniform(0.02, 0.15)]),
        )

    def behind(self, height: float) -> float:
        """The y of the posts at a height."""
        return self.y + self.lean * (height - self.low)

    def bent(self, solid: Manifold) -> Manifold:
        """From the upright plane to its place."""

        def move(points: np.ndarray) -> np.ndarray:
            x, y, z = points.T
            share = (z - self.low) / (self.high - self.low)
            wide = x * (1.0 + self.flare * share)
            depth = self.bulge * (1.0 - (x / (self.width / 2)) ** 2) * np.clip(2 * share, 0, 1)
            return np.stack([wide, y + self.y + self.lean * (z - self.low) + depth, z], axis=1)

        spacing = 0.06 if self.bulge else 10.0
        return warped(solid, move, spacing)


def _back(random: np.random.Generator, back: _Back, wood: Color, cover: Color) -> list[Part]:
    kinds = {
        "ladder": 0.16,
        "slats": 0.16,
        "spindles": 0.1,
        "splat": 0.12,
        "cross": 0.07,
        "panel": 0.1,
        "board": 0.08,
        "bow": 0.09,
        "oval": 0.06,
        "grid": 0.06,
    }
    kind = pick_weighted(random, kinds)
    if kind == "bow":
        return [Part(back.bent(_bow(random, back)), wood)]
    if kind == "board":
        return [Part(back.bent(_board_back(random, back)), wood)]
    if kind == "oval":
        hoop, field = _oval(random, back)
        return [Part(back.bent(hoop), wood), Part(back.bent(field), cover)]
    posts, crest, opening = _frame(random, back, kind)
    field = _FIELDS[kind](random, back, *opening)
    frame = [Part(back.bent(posts + crest), wood)]
    if kind == "panel":
        return [*frame, Part(back.bent(field), cover)]
    return [*frame, Part(back.bent(field), wood)]


def _frame(
    random: np.random.Generator, back: _Back, kind: str
) -> tuple[Manifold, Manifold, tuple[float, float]]:
    """Posts, top rail, and the heights between which the field goes."""
    x, thick = back.width / 2, back.thickness
    tall = random.uniform(0.05, 0.09)
    crest_low = back.high - tall
    over = random.random() < 0.4  # the top rail lies across the posts' ends
    top = crest_low + 0.01 if over else back.high - 0.3 * tall
    if back.round_posts:
        post = cylinder(thick / 2, (x, 0, back.low), (x, 0, top), 0.42 * thick, segments=14)
        if not over and random.random() < 0.5:
            finial = [(0, 0), (0.3, 0), (0.42, 0.5), (0.62, 1.0), (0.5, 1.6), (0, 1.8)]
            knob = revolve([(r * thick, h * thick) for r, h in finial], segments=14)
            post += placed(knob, (x, 0, top - 0.005))
    else:
        post = box((thick, thick, top - back.low), (x, 0, (top + back.low) / 2), 0.004, 1)
    reach = x + (0.5 * thick if over else 0.0)
    crest = extrude(_crest(random, reach, crest_low, back.high), -0.35 * thick, 0.35 * thick, "y")
    floor = back.low
    parts = [both_sides(post)]
    if kind in ("slats", "spindles", "splat", "cross", "panel", "grid") and random.random() < 0.65:
        rail = random.uniform(0.03, 0.05)
        floor = back.low + random.uniform(0.08, 0.16)
        parts.append(board((2 * x, 0.6 * thick, rail), (0, 0, floor + rail / 2)))
        floor += 0.5 * rail
    return union(parts), crest, (floor, crest_low + 0.012)


def _crest(random: np.random.Generator, x: float, low: float, high: float) -> np.ndarray:
    """The outline (x, z) of a top rail."""
    kind = random.choice(["straight", "arched", "yoke", "dipped"])
    across = np.linspace(-1.0, 1.0, 17)
    rise = {
        "straight": np.zeros(17),
        "arched": 0.6 * (1 - across**2) - 0.3,
        "yoke": 0.25 * np.cos(2 * np.pi * across) - 0.1 * across**2,
        "dipped": 0.5 * across**2 - 0.4,
    }[str(kind)] * (high - low)
    under = (0.5 * rise if random.random() < 0.5 else 0 * rise) * (np.abs(across) < 0.99)
    upper = np.stack([across * x, high + rise], axis=1)
    lower = np.stack([across * x, low + np.maximum(under, -0.01)], axis=1)
    return np.concatenate([lower, upper[::-1]])


def _ladder(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    count = int(random.integers(2, 6))
    start = back.low + random.uniform(0.1, 0.16)
    step = (high - start) / count
    tall = random.uniform(0.25, 0.6) * step
    thick = 0.45 * back.thickness
    arch = random.choice([0.0, 0.35]) * tall
    across = np.linspace(-1.0, 1.0, 13)
    rise = arch * (1 - across**2)
    x = back.width / 2
    rails = []
    for i in range(count):
        z = start + i * step
        upper = np.stack([across * x, z + tall / 2 + rise], axis=1)
        lower = np.stack([across * x, z - tall / 2 + rise], axis=1)
        rails.append(extrude(np.concatenate([lower, upper[::-1]]), -thick / 2, thick / 2, "y"))
    return union(rails)


def _upright(back: _Back, count: int, width: float) -> np.ndarray:
    """The x of ``count`` uprights with equal gaps between the posts."""
    gap = (back.width - back.thickness - count * width) / (count + 1)
    return (np.arange(count) - (count - 1) / 2) * (width + gap)


def _slats(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    count = int(random.integers(3, 9))
    width = random.uniform(0.3, 0.6) * back.width / (count + 1)
    size = (width, 0.45 * back.thickness, high - low)
    places = _upright(back, count, width)
    return union([board(size, (x, 0, (low + high) / 2)) for x in places])


def _spindles(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    count = int(random.integers(4, 10))
    radius = random.uniform(0.006, 0.0085)
    swell = random.choice([1.0, 1.5])
    profile = [(0, 0), (radius, 0), (swell * radius, 0.3), (radius, 0.6), (0.9 * radius, 1), (0, 1)]
    spindle = revolve(profile, segments=10).scale((1.0, 1.0, high - low))
    places = _upright(back, count, 2 * radius)
    return union([placed(spindle, (x, 0, low)) for x in places])


def _splat(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    """One broad board with a vase's outline, perhaps pierced."""
    half = random.uniform(0.14, 0.24) * back.width
    shares = np.array([random.uniform(0.7, 1.0), *random.uniform(0.45, 1.0, 4), 0.9])
    curve = smooth_curve(np.stack([shares * half, np.linspace(low, high, 6)], axis=1), 24)
    outline = np.concatenate([curve, curve[::-1] * [-1, 1]])
    thick = 0.45 * back.thickness
    splat = extrude(outline, -thick / 2, thick / 2, "y")
    middle, tall = (low + high) / 2, high - low
    pierced = random.choice(["no", "oval", "slots"])
    if pierced == "oval":
        hole = ellipse(0.3 * half, 0.09 * tall, 16) + [0.0, middle + 0.12 * tall]
        splat -= extrude(hole, -thick, thick, "y")
    elif pierced == "slots":
        slot = board((0.14 * half, 2 * thick, 0.4 * tall), (0.16 * half, 0, middle))
        splat -= both_sides(slot)
    return splat


def _cross(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    """One or more diagonal crosses, one above the other."""
    x, width = back.width / 2, random.uniform(0.02, 0.035)
    count = int(random.choice([1, 1, 2]))
    levels = np.linspace(low, high, count + 1)
    solids = []
    for bottom, top in pairwise(levels):
        solids.append(bars([((-x, 0, bottom), (x, 0, top)), ((x, 0, bottom), (-x, 0, top))], width))
    thin = union(solids).scale((1.0, 0.5 * back.thickness / width, 1.0))
    rail = board((2 * x, 0.5 * back.thickness, 0.03), (0, 0, levels[1] if count == 2 else low))
    return thin + rail


def _panel(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    thick = back.thickness * random.uniform(0.5, 1.3)
    size = (back.width - 0.3 * back.thickness, thick, high - low + 0.01)
    return box(size, (0, -0.1 * thick, (low + high) / 2), 0.3 * thick)


def _grid(random: np.random.Generator, back: _Back, low: float, high: float) -> Manifold:
    columns, rows = int(random.integers(2, 5)), int(random.integers(1, 4))
    width = random.uniform(0.012, 0.018)
    uprights = _upright(back, columns, width)
    levels = np.linspace(low, high, rows + 2)[1:-1]
    size = (width, 0.4 * back.thickness, high - low)
    bar = [board(size, (x, 0, (low + high) / 2)) for x in uprights]
    bar += [board((back.width, 0.34 * back.thickness, width), (0, 0, z)) for z in levels]
    return union(bar)


_FIELDS: dict[str, Callable[[np.random.Generator, _Back, float, float], Manifold]] = {
    "ladder": _ladder,
    "slats": _slats,
    "spindles": _spindles,
    "splat": _splat,
    "cross": _cross,
    "panel": _panel,
    "grid": _grid,
}


def _bow(random: np.random.Generator, back: _Back) -> Manifold:
    """A Windsor chair's bent hoop with spindles in it."""
    x, tall = back.width / 2, back.high - back.low
    square = random.choice([2.0, 2.6, 3.5])
    angles = np.linspace(0.0, np.pi, 33)
    across, up = np.cos(angles), np.sin(angles)
    reach = (np.abs(across) ** square + np.abs(up) ** square) ** (-1.0 / square)
    hoop = np.stack([across * reach * x, 0 * angles, back.low + up * reach * tall], axis=1)
    solids = [sweep(hoop, 0.4 * back.thickness, up=(0, 1, 0))]
    count = int(random.integers(4, 9))
    for place in _upright(back, count, 0.014):
        top = back.low + tall * (1.0 - abs(place / x) ** square) ** (1.0 / square)
        fan = 0.85 if count > 5 else 1.0
        solids.append(cylinder(0.008, (fan * place, 0, back.low), (place, 0, top), 0.006, 10))
    return union(solids)


def _board_back(random: np.random.Generator, back: _Back) -> Manifold:
    """One shaped board, or one on two posts."""
    x, thick = 0.5 * back.width + 0.3 * back.thickness, 0.6 * back.thickness
    low, high = back.low, back.high
    posts = []
    if random.random() < 0.5:
        low = back.low + random.uniform(0.1, 0.25)
        size = (back.thickness, 0.8 * back.thickness, low - back.low + 0.12)
        posts.append(both_sides(board(size, (0.7 * x, 0.4 * thick, back.low + size[2] / 2))))
    wide = random.uniform(0.75, 1.0) * x
    knots = [(wide, low), (x, high), (-x, high), (-wide, low)]
    outline = rounded(knots, random.uniform(0.02, 0.12))
    solid = extrude(outline, -thick / 2, thick / 2, "y", 0.005)
    if random.random() < 0.35:
        grip = superellipse(0.35 * x, 0.018, 3.0, 20) + [0.0, high - 0.06]
        solid -= extrude(grip, -thick, thick, "y")
    return union([solid, *posts])


def _oval(random: np.random.Generator, back: _Back) -> tuple[Manifold, Manifold]:
    """A closed hoop on two stubs, filled with upholstery."""
    x, low = back.width / 2, back.low + random.uniform(0.08, 0.14)
    outline = superellipse(x, (back.high - low) / 2, random.choice([2.0, 2.8]), 36)
    outline = outline + [0.0, (back.high + low) / 2]
    hoop = sweep(np.insert(outline, 1, 0.0, axis=1), 0.45 * back.thickness, closed=True)
    stub = cylinder(0.5 * back.thickness, (0.55 * x, 0, back.low), (0.55 * x, 0, low + 0.07))
    field = extrude(0.97 * (outline - outline.mean(0)) + outline.mean(0), -0.012, 0.012, "y")
    return hoop + both_sides(stub), field


def _wooden_arms(random: np.random.Generator, seat: _Seat, back: _Back) -> Manifold:
    """Arm rests from the back's posts to supports that stand on the seat's sides."""
    rise, x = random.uniform(0.18, 0.24), seat.width / 2 + random.uniform(0.0, 0.03)
    z = seat.height + rise
    rear = np.array([back.width / 2 * (1 + 0.5 * back.flare), back.behind(z) + 0.004, z])
    front = np.array([x, -random.uniform(0.1, 0.3) * seat.depth, z + random.uniform(-0.02, 0.01)])
    section = rectangle(random.uniform(0.03, 0.06), random.uniform(0.018, 0.028), 0.008, 2)
    bow = random.uniform(0.0, 0.03)
    knots = [rear, 0.5 * (rear + front) + [bow, 0, 0], front, front + [0, -0.05, -0.004]]
    rest = sweep(smooth_curve(knots, 12), section, up=(0, 0, 1))
    foot = np.array([0.9 * seat.width / 2 - 0.01, front[1] + random.uniform(-0.02, 0.03), seat.low])
    support = cylinder(0.014, foot + [0, 0, 0.006], front + [0, 0, 0.004], 0.012, 12)
    return both_sides(rest + support)
