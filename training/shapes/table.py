"""Tables: tops of many outlines on legs, pedestals, trestles, slabs and chests of drawers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from manifold3d import Manifold

from .colors import METALS, PAINTS, WOODS, pick, pick_weighted, shaded, varied
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
    stretchers,
)
from .solids import (
    Color,
    Part,
    both_sides,
    box,
    cylinder,
    extrude,
    rectangle,
    revolve,
    rounded,
    smooth_curve,
    sphere,
    stretched,
    superellipse,
    sweep,
    union,
)

_STONES: tuple[Color, ...] = ((0.93, 0.92, 0.9), (0.25, 0.26, 0.27), (0.72, 0.7, 0.66))


def make(random: np.random.Generator) -> list[Part]:
    """One table; see :mod:`training.shapes`."""
    kinds = {
        partial(_on_legs, use="dining"): 0.3,
        partial(_on_legs, use="coffee"): 0.13,
        partial(_on_legs, use="console"): 0.06,
        partial(_on_legs, use="side"): 0.06,
        _pedestal: 0.13,
        _trestle: 0.1,
        _desk: 0.1,
        _slabs: 0.07,
        _picnic: 0.05,
    }
    return pick_weighted(random, kinds)(random)


@dataclass(frozen=True)
class _Top:
    """A table's top around the Z axis; lengths in metres."""

    width: float  # along x
    depth: float
    height: float  # of its upper side
    thickness: float
    outline: np.ndarray  # [K, 2]
    square: float  # how far its corners fill the rectangle: 1 for a rectangle, 0.7 for an ellipse
    color: Color

    @property
    def low(self) -> float:
        return self.height - self.thickness

    def part(self, random: np.random.Generator) -> Part:
        """The board, its edge square, rounded or bevelled."""
        rounding = random.choice([0.002, 0.3 * self.thickness, 0.45 * self.thickness])
        return Part(extrude(self.outline, self.low, self.height, rounding=rounding), self.color)


def _top(
    random: np.random.Generator, size: tuple[float, float, float], shapes: dict[str, float]
) -> _Top:
    """Draw a top of about the given width, depth and height."""
    width, depth = np.array(size[:2]) * random.uniform(0.85, 1.15, 2)
    height = size[2] * random.uniform(0.96, 1.05)
    shape = pick_weighted(random, shapes)
    if shape in ("round", "square"):
        depth = width = 0.5 * (width + depth)
    square = {"round": 0.7, "oval": 0.72, "squircle": 0.85}.get(shape, 1.0)
    if shape in ("round", "oval"):
        outline = superellipse(width / 2, depth / 2, 2.0, 48)
    elif shape == "squircle":
        outline = superellipse(width / 2, depth / 2, random.uniform(2.8, 4.0), 48)
    elif shape == "boat":
        x = np.linspace(-width / 2, width / 2, 13)
        side = depth / 2 * (1.0 - random.uniform(0.1, 0.2) * (2 * x / width) ** 2)
        outline = np.stack([np.r_[x, x[::-1]], np.r_[-side, side[::-1]]], axis=1)
        square = 0.95
    elif shape == "octagon":
        outline = rounded(rectangle(width, depth), 0.25 * min(width, depth), 1)
        square = 0.85
    else:
        outline = rectangle(width, depth, random.choice([0.0, 0.02, 0.06, 0.12]))
    color = varied(random, pick(random, WOODS if random.random() < 0.75 else [*PAINTS, *_STONES]))
    return _Top(width, depth, height, random.uniform(0.018, 0.045), outline, square, color)


def _base_color(random: np.random.Generator, top: _Top) -> Color:
    """The top's own colour as often as another."""
    if random.random() < 0.5 and top.color not in _STONES:
        return shaded(top.color, random.choice([0.92, 1.08]))
    return varied(random, pick(random, WOODS + PAINTS))


# On legs ------------------------------------------------------------------------------------------


_SIZES = {
    "dining": (1.6, 0.88, 0.75),
    "coffee": (1.05, 0.62, 0.42),
    "console": (1.15, 0.36, 0.8),
    "side": (0.5, 0.46, 0.55),
}


def _on_legs(random: np.random.Generator, use: str) -> list[Part]:
    """Four legs, sometimes three or six, with aprons, drawers, stretchers, a shelf."""
    shapes = {
        "rectangle": 0.45,
        "square": 0.1,
        "round": 0.12,
        "oval": 0.1,
        "squircle": 0.1,
        "boat": 0.07,
        "octagon": 0.06,
    }
    top = _top(random, _SIZES[use], {"rectangle": 1.0} if use == "console" else shapes)
    style = str(random.choice([*WOODEN_LEGS, "cabriole", *METAL_LEGS]))
    metal = style in METAL_LEGS
    color = varied(random, pick(random, METALS)) if metal else _base_color(random, top)
    thickness = random.uniform(0.05, 0.085) * {"dining": 1.0, "side": 0.55}.get(use, 0.75)
    leg = leg_style(random, style, thickness)
    inset = 1.2 * thickness + random.choice([0.0, random.uniform(0.03, 0.1)])
    places = top.square * corners(top.width - 2 * inset, top.depth - 2 * inset)
    if top.square < 0.75 and top.width == top.depth and random.random() < 0.4:
        turn = 2 * np.pi * np.arange(3) / 3 + np.pi / 2
        places = 0.8 * (top.width / 2 - inset) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    elif use == "dining" and top.width > 1.75 and top.square == 1.0 and random.random() < 0.3:
        places = np.concatenate([places, places[:2] * [0, 1], places[2:3] * [0, 1]])
    splay = random.choice([0.0, 0.1, 0.2]) if style in ("cone", "rod", "round") else 0.0
    tops, feet = ends(places, top.low + 0.006, splay)
    legs = all_legs(leg, tops, feet)
    parts = [top.part(random), Part(legs, color)]
    ring = 3 if len(places) == 3 else 4
    tops, feet = tops[:ring], feet[:ring]
    if not metal:
        parts += _apron(random, top, tops, thickness, color)
    elif random.random() < 0.5:
        pairs = around(tops)
        parts.append(Part(bars(pairs, 0.03, 0.02).translate((0, 0, -0.012)), color))
    parts += _below(random, top, tops, feet, color, style)
    return parts


def _apron(
    random: np.random.Generator, top: _Top, tops: np.ndarray, thickness: float, color: Color
) -> list[Part]:
    """Boards between the legs under the top, with drawers in the front one."""
    count = len(tops)
    tall = random.uniform(0.06, 0.12) * (1.0 if top.height > 0.6 else 0.7)
    level = tops - [0.0, 0.0, tall / 2]
    pairs = around(level)
    flat = min(0.022, 0.4 * thickness)
    parts = [Part(bars(pairs, tall, flat), color)]
    if count == 4 and top.square > 0.9 and random.random() < 0.4:
        drawers = int(random.integers(1, 4)) if top.width > 0.7 else 1
        wide = (tops[1, 0] - tops[0, 0] - thickness) / drawers
        y = tops[0, 1] - flat / 2
        front = _drawer_front(random, wide - 0.03, tall - 0.024)
        x = tops[0, 0] + thickness / 2 + wide * (np.arange(drawers) + 0.5)
        places = [(place, y, level[0, 2]) for place in x]
        metal = varied(random, pick(random, METALS))
        parts.append(Part(union([front[0].translate(p) for p in places]), shaded(color, 1.07)))
        parts.append(Part(union([front[1].translate(p) for p in places]), metal))
    return parts


def _drawer_front(
    random: np.random.Generator, width: float, height: float
) -> tuple[Manifold, Manifold]:
    """A drawer's front around the origin, 1 cm ahead of it, and its handle."""
    panel = box((width, 0.02, height), (0, -0.002, 0), 0.003, 1)
    kind = random.choice(["knob", "bar", "knobs"]) if width > 0.25 else "knob"
    if kind == "bar":
        half, y = min(0.08, 0.3 * width), -0.034
        knots = [(-half, -0.005, 0), (-half, y, 0), (half, y, 0), (half, -0.005, 0)]
        return panel, sweep(rounded(knots, 0.012, 3, closed=False), 0.005)
    knob = cylinder(0.006, (0, -0.005, 0), (0, -0.03, 0), segments=10) + sphere(
        0.013, (0, -0.034, 0), 12
    )
    return panel, both_sides(knob.translate((0.28 * width, 0, 0))) if kind == "knobs" else knob


def _below(
    random: np.random.Generator,
    top: _Top,
    tops: np.ndarray,
    feet: np.ndarray,
    color: Color,
    style: str,
) -> list[Part]:
    """Stretchers or a shelf between the legs, or nothing."""
    if style in ("hairpin", "sabre", "cabriole") or len(tops) == 3:
        return []
    low = top.height > 0.6
    what = pick_weighted(random, {"": 0.5, "stretchers": 0.3 if low else 0.1, "shelf": 0.3})
    if what == "stretchers":
        width = random.uniform(0.025, 0.04)
        height = random.uniform(0.1, 0.2) * top.height / 0.75
        return [Part(stretchers(random, tops, feet, height, width), color)]
    if what == "shelf" and (not low or top.depth < 0.5):
        z = random.uniform(0.2, 0.4) * top.height
        reach = 2 * np.abs(along(tops, feet, z)[:, :2]).max(axis=0)
        if random.random() < 0.4:
            y = np.linspace(-0.42, 0.42, int(random.integers(5, 9))) * reach[1]
            slats = [board((reach[0], 0.45 * (y[1] - y[0]), 0.016), (0, place, z)) for place in y]
            rails = both_sides(board((0.03, reach[1], 0.02), (0.5 * reach[0], 0, z)))
            return [Part(union([*slats, rails]), color)]
        return [Part(board((reach[0], reach[1], 0.02), (0, 0, z)), top.color)]
    return []


# On pedestals -------------------------------------------------------------------------------------


def _pedestal(random: np.random.Generator) -> list[Part]:
    """One column, or two under a long top."""
    double = random.random() < 0.25
    use = random.choice(["dining", "coffee", "bar", "side"], p=[0.55, 0.1, 0.15, 0.2])
    size = {"dining": (1.1, 1.1, 0.75), "coffee": (0.8, 0.8, 0.45), "bar": (0.65, 0.65, 1.05)}
    shapes = {"round": 0.6, "square": 0.15, "octagon": 0.1, "squircle": 0.15}
    if double:
        top = _top(random, (1.9, 0.95, 0.75), {"oval": 0.4, "rectangle": 0.4, "boat": 0.2})
    else:
        top = _top(random, size.get(str(use), (0.5, 0.5, 0.6)), shapes)
    reach = random.uniform(0.6, 0.75) * min(top.depth, 1.0) / 2
    kind = random.choice(["tripod", "disc", "cross", "tulip", "drum"])
    modern = kind in ("disc", "tulip", "drum")
    color = varied(random, pick(random, METALS + PAINTS)) if modern else _base_color(random, top)
    column = _column(random, str(kind), top.low + 0.004, reach)
    if double:
        column = both_sides(column.translate((0.27 * top.width, 0.0, 0.0)))
        if not modern:
            column += board((0.54 * top.width, 0.03, 0.07), (0, 0, 0.25))
    return [top.part(random), Part(column, color)]


def _column(random: np.random.Generator, kind: str, height: float, reach: float) -> Manifold:
    """A column with its foot; ``reach`` is how far that goes from the axis."""
    slim = random.uniform(0.03, 0.05)
    if kind == "drum":
        waist = random.uniform(0.5, 1.0) * reach
        side = smooth_curve([(0.9 * reach, 0.0), (waist, height / 2), (0.9 * reach, height)], 15)
        return revolve([(0.0, 0.0), *side, (0.0, height)])
    if kind == "tulip":
        knots = [(reach, 0.012), (0.45 * reach, 0.05), (slim, 0.3 * height), (slim, 0.6 * height)]
        side = smooth_curve([*knots, (0.4 * reach, height)], 25)
        return revolve([(0.0, 0.0), (reach, 0.0), *side, (0.0, height)])
    plate = cylinder(0.45 * reach, (0, 0, height - 0.025), (0, 0, height))
    if kind == "disc":
        thick = random.uniform(0.012, 0.03)
        foot = extrude(superellipse(reach, reach, random.choice([2.0, 8.0]), 40), 0.0, thick)
        return foot + plate + cylinder(slim, (0, 0, 0), (0, 0, height))
    profile = random.uniform(0.6, 1.0, 5) * 1.5 * slim
    heights = np.linspace(0.12 * height, height - 0.01, 5)
    side = smooth_curve(np.stack([profile, heights], axis=1), 21)
    low = float(heights[0])
    column = revolve([(0.0, low), *side, (0.0, height - 0.01)], 24) + plate
    count = 3 if kind == "tripod" else 4
    rise = random.uniform(0.5, 0.75) * (0.35 * height)
    knots = [(0.0, 0.0, low + rise), (0.4 * reach, 0.0, low + 0.75 * rise), (reach, 0.0, 0.022)]
    foot = sweep(
        smooth_curve(knots, 10),
        rectangle(0.045, 0.06, 0.012, 2),
        np.linspace(1, 0.7, 10),
        up=(0, 0, 1),
    )
    turns = [90.0 + 360.0 * i / count for i in range(count)]
    turns = [turn + (45.0 if count == 4 else 0.0) for turn in turns]
    return column + union([foot.rotate((0.0, 0.0, turn)) for turn in turns])


# On trestles and slabs ----------------------------------------------------------------------------


def _trestle(random: np.random.Generator) -> list[Part]:
    """Two frames across and, mostly, a beam between them."""
    shapes = {"rectangle": 0.7, "boat": 0.15, "oval": 0.15}
    top = _top(random, (1.8, 0.9, 0.75), shapes)
    color = _base_color(random, top)
    x, half, thick = 0.34 * top.width, 0.36 * top.depth, random.uniform(0.04, 0.07)
    high = top.low + 0.004
    kind = random.choice(["A", "X", "T", "frame"])
    if kind == "X":
        pairs = [
            ((x, -half, 0.02), (x, half, high - 0.02)),
            ((x, half, 0.02), (x, -half, high - 0.02)),
        ]
        frame = bars(pairs, 1.4 * thick, thick)
        beam_height = high / 2
    elif kind == "A":
        pairs = [((x, s * half, 0.0), (x, s * 0.35 * half, high - 0.02)) for s in (-1, 1)]
        pairs.append(((x, -0.75 * half, 0.3 * high), (x, 0.75 * half, 0.3 * high)))
        frame = bars(pairs, 1.1 * thick, thick)
        beam_height = 0.3 * high
    elif kind == "T":
        foot = box((1.2 * thick, 2 * half, 0.08), (x, 0, 0.04), 0.02)
        post = box((thick, random.uniform(0.08, 0.25), high - 0.04), (x, 0, high / 2), 0.006, 1)
        frame, beam_height = foot + post, random.uniform(0.25, 0.5) * high
    else:
        outer = rectangle(2 * half, high) + [0.0, high / 2]
        inner = rectangle(2 * half - 2 * thick, high - 2 * thick) + [0.0, high / 2]
        frame = extrude(outer, x - thick, x + thick, "x") - extrude(inner, 0.0, 2 * x, "x")
        beam_height = 0.0
    frame += box((1.2 * thick, 2 * half, 0.05), (x, 0, high - 0.025))
    solids = [both_sides(frame)]
    if beam_height:
        solids.append(board((2 * x + 3 * thick, 0.035, 0.09), (0, 0, beam_height)))
    metal = kind in ("X", "frame") and random.random() < 0.6
    return [
        top.part(random),
        Part(union(solids), varied(random, pick(random, METALS)) if metal else color),
    ]


def _slabs(random: np.random.Generator) -> list[Part]:
    """Boards on edge: waterfalls, cubes with a compartment, low boxes."""
    use = random.choice(["coffee", "dining", "side"])
    top = _top(random, _SIZES[str(use)], {"rectangle": 1.0})
    thick = top.thickness + random.uniform(0.005, 0.025)
    closed = use != "dining" and random.random() < 0.5
    low, high, half = thick if closed else -0.1, top.height - thick, top.depth / 2
    outer = rectangle(top.width, top.height) + [0.0, top.height / 2]
    hole = rectangle(top.width - 2 * thick, high - low) + [0.0, (high + low) / 2]
    body = extrude(outer, -half, half, "y", 0.003, 1) - extrude(hole, -1.0, 1.0, "y")
    parts = [Part(body, top.color)]
    other = _base_color(random, top)
    wide, deep, middle = top.width - thick, top.depth - 0.02, (0, 0, top.height / 2)
    if closed:
        count = int(random.integers(0, 3))
        x = (np.arange(count) - (count - 1) / 2) * top.width / (count + 1)
        walls = [board((0.02, deep, high), (place, 0, top.height / 2)) for place in x]
        if random.random() < 0.5:
            walls.append(board((wide, deep, 0.018), middle))
        if random.random() < 0.5:
            walls.append(board((wide, 0.02, high), middle))
        parts.append(Part(union(walls or [board((wide, deep, 0.018), middle)]), other))
    else:
        z = random.uniform(0.3, 0.6) * top.height
        shelf = board((wide, 0.6 * top.depth, 0.025), (0, 0, z))
        panel = board((wide, 0.025, 0.35 * top.height), (0, 0, 0.75 * top.height))
        parts.append(Part(shelf if use != "dining" and random.random() < 0.6 else panel, other))
    return parts


# Desks and picnic tables --------------------------------------------------------------------------


def _desk(random: np.random.Generator) -> list[Part]:
    """A top on chests of drawers, on one side or both, and legs or a board on the other."""
    top = _top(random, (1.4, 0.68, 0.75), {"rectangle": 1.0})
    color = _base_color(random, top)
    chest_width, depth = random.uniform(0.34, 0.44), top.depth - 0.06
    x = top.width / 2 - chest_width / 2 - random.uniform(0.01, 0.05)
    sides = pick_weighted(random, {(1,): 0.35, (-1,): 0.25, (-1, 1): 0.4})
    raised = random.random() < 0.5
    low = random.uniform(0.1, 0.3) if raised else 0.0
    drawers, metal = int(random.integers(2, 5)), varied(random, pick(random, METALS))
    high = top.low + 0.004
    tall = (high - low) / drawers
    panel, handle = _drawer_front(random, chest_width - 0.03, tall - 0.02)
    parts = [top.part(random)]
    for side in sides:
        chest = box((chest_width, depth, high - low), (side * x, 0, (high + low) / 2), 0.003, 1)
        places = [(side * x, -depth / 2, low + (i + 0.5) * tall) for i in range(drawers)]
        parts.append(Part(chest, color))
        parts.append(Part(union([panel.translate(p) for p in places]), shaded(color, 1.08)))
        parts.append(Part(union([handle.translate(p) for p in places]), metal))
    leg = leg_style(random, str(random.choice(["square", "tapered", "cone"])), 0.05)
    tops, feet = ends(corners(top.width - 0.12, depth - 0.06), high)
    which = [i for i in range(4) if raised or np.sign(tops[i, 0]) not in sides]
    if len(sides) == 1 and not raised and random.random() < 0.5:
        wall = board((0.025, depth, high), (-sides[0] * (top.width / 2 - 0.04), 0, high / 2))
        parts.append(Part(wall, color))
    elif which:
        parts.append(Part(union([leg(tops[i], feet[i]) for i in which]), color))
    if random.random() < 0.7:
        screen = board((top.width - 0.1, 0.02, 0.3), (0, depth / 2 - 0.05, high - 0.15))
        parts.append(Part(screen, color))
    return parts


def _picnic(random: np.random.Generator) -> list[Part]:
    """Boards on crossed legs, with benches."""
    wood = varied(random, pick(random, WOODS))
    length, depth = random.uniform((1.4, 0.66), (2.0, 0.8))
    count = int(random.integers(4, 7))
    wide = depth / count
    y = (np.arange(count) - (count - 1) / 2) * wide
    planks = [board((length, wide - 0.012, 0.035), (0, place, 0.73)) for place in y]
    seat, out = random.uniform((0.42, 0.62), (0.46, 0.72))
    bench = [board((length, 0.12, 0.035), (0, out + offset, seat)) for offset in (0.0, 0.13)]
    x = 0.36 * length
    slant = [((x, s * 0.3 * depth, 0.71), (x, s * out, 0.0)) for s in (-1, 1)]
    frame = bars(slant, 0.09, 0.04)
    frame += board((0.04, depth - 0.06, 0.07), (x, 0, 0.69))
    frame += board((0.04, 2 * out + 0.36, 0.09), (x, 0, seat - 0.05))
    brace = stretched(box((0.05, 0.03, 1.0), (0, 0, 0.5)), (x, 0.0, seat - 0.04), (0.06, 0, 0.71))
    solid = both_sides(frame + brace) + board((0.2, 0.8 * depth, 0.04), (0, 0, 0.705))
    top = union([*planks, both_sides(union(bench), "y")])
    painted = random.random() < 0.3
    frame_color = varied(random, pick(random, PAINTS)) if painted else shaded(wood, 0.85)
    return [Part(top, wood), Part(solid, frame_color)]
