"""What chairs, tables, sofas and tubs have in common: legs, cushions, feet, crossed bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from manifold3d import Manifold

from .solids import (
    Vector,
    box,
    cylinder,
    ellipsoid,
    loft,
    placed,
    rectangle,
    revolve,
    smooth_curve,
    stretched,
    superellipse,
    sweep,
    union,
)

Leg = Callable[[np.ndarray, np.ndarray], Manifold]
"""Makes a leg from its top and its foot, ``[3]`` each; the object stands around the Z axis."""

WOODEN_LEGS = ("square", "tapered", "round", "cone", "turned", "sabre")
METAL_LEGS = ("rod", "hairpin", "bar")


def leg_style(random: np.random.Generator, style: str, thickness: float) -> Leg:
    """A way of making legs; all legs of an object are made by the same one.

    Args:
        random: Draws what the style leaves open.
        style: square, tapered, round, cone, turned, sabre, cabriole, rod, hairpin or bar.
        thickness: Of the leg's strongest place, in metres.
    """
    slim = random.uniform(0.45, 0.7)
    if style == "square":
        return lambda top, foot: _bar(top, foot, thickness, thickness)
    if style == "tapered":
        return lambda top, foot: _bar(top, foot, thickness, slim * thickness)
    if style == "bar":
        return lambda top, foot: _bar(top, foot, 0.6 * thickness, 0.6 * thickness)
    if style == "round":
        return lambda top, foot: cylinder(thickness / 2, top, foot, segments=16)
    if style == "cone":
        return lambda top, foot: cylinder(thickness / 2, top, foot, slim * thickness / 2, 16)
    if style == "rod":
        return lambda top, foot: cylinder(0.3 * thickness, top, foot, segments=12)
    if style == "turned":
        lathed = _turned(random, thickness)
        return lambda top, foot: stretched(lathed, foot, top)
    if style == "hairpin":
        return lambda top, foot: _hairpin(top, foot, 0.18 * thickness)
    bend = random.uniform(0.03, 0.07) * (1.0 if style == "sabre" else -0.6)
    return lambda top, foot: _curved(top, foot, thickness, slim, bend)


def _bar(top: np.ndarray, foot: np.ndarray, upper: float, lower: float) -> Manifold:
    """A square bar with level ends."""
    rings = [np.insert(rectangle(s, s), 2, 0.0, axis=1) for s in (lower, upper)]
    return loft([rings[0] + foot, rings[1] + top])


def _turned(random: np.random.Generator, thickness: float) -> Manifold:
    """A lathed leg of height 1: swellings, and beads between grooves."""
    half = thickness / 2
    heights, radii = [0.0], [random.uniform(0.5, 0.7)]
    for _ in range(int(random.integers(1, 4))):
        heights.append(heights[-1] + random.uniform(0.15, 0.3))
        radii.append(random.uniform(0.75, 1.0))
        groove = heights[-1] + 0.06
        heights += [groove, groove + 0.015, groove + 0.03, groove + 0.045, groove + 0.06]
        radii += [0.6, 0.95, 1.0, 0.95, 0.55]
    heights = [*np.array(heights) * 0.72 / heights[-1], 0.76, 0.8, 1.0]
    radii += [0.95, 1.0, 1.0]
    outline = [(half * r, h) for h, r in zip(heights, radii, strict=True)]
    return revolve([(0.0, 0.0), *outline, (0.0, 1.0)], segments=16)


def _hairpin(top: np.ndarray, foot: np.ndarray, radius: float) -> Manifold:
    """Two rods that meet at the foot and part towards the neighbouring legs."""
    reach = 0.14 * (top[2] - foot[2])
    inwards = -reach * np.sign(np.array([[top[0], 0.0, 0.0], [0.0, top[1], 0.0]]))
    rods = [cylinder(radius, top + aside, foot, segments=10) for aside in inwards]
    return union([*rods, ellipsoid((1.2 * radius,) * 3, foot + [0, 0, radius], 8)])


def _curved(
    top: np.ndarray, foot: np.ndarray, thickness: float, slim: float, bend: float
) -> Manifold:
    """A leg that curves outwards at its foot (positive) or at its knee (negative ``bend``)."""
    outwards, height = _outwards(top), top[2] - foot[2]
    shape = np.array([0.0, -0.3, -0.2, 1.0] if bend > 0 else [0.0, -1.0, 0.6, -0.5])
    knots = top + np.linspace(0.0, 1.0, 4)[:, None] * (foot - top)
    knots = knots + (bend * height / 0.45 * shape)[:, None] * outwards
    path = smooth_curve(knots, 9)
    scale = np.interp(np.linspace(0, 1, 9), [0, 0.3, 0.85, 1], [1, 1, slim, slim + 0.1])
    return sweep(path, rectangle(thickness, thickness, 0.25 * thickness, 2), scale, up=outwards)


def _outwards(top: np.ndarray) -> np.ndarray:
    level = np.array([top[0], top[1], 0.0])
    length = np.linalg.norm(level)
    return level / length if length > 1e-6 else np.array([0.0, -1.0, 0.0])


def all_legs(leg: Leg, tops: np.ndarray, feet: np.ndarray) -> Manifold:
    """A leg from each top ``[N, 3]`` to its foot ``[N, 3]``."""
    return union([leg(top, foot) for top, foot in zip(tops, feet, strict=True)])


def corners(width: float, depth: float) -> np.ndarray:
    """``[4, 2]``: front left, front right, back right, back left of a rectangle."""
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return signs * [width / 2, depth / 2]


def ends(tops: np.ndarray, height: float, splay: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Tops and feet ``[N, 3]`` of legs.

    Args:
        tops: ``[N, 2]`` where they are on top.
        height: Of the tops.
        splay: How far the feet stand further out, as a share of the height.
    """
    level = tops / np.maximum(np.linalg.norm(tops, axis=1, keepdims=True), 1e-9)
    top = np.insert(tops, 2, height, axis=1)
    return top, np.insert(tops + splay * height * level, 2, 0.0, axis=1)


def along(start: np.ndarray, end: np.ndarray, height: float) -> np.ndarray:
    """The points ``[..., 3]`` at a height on lines from ``start`` to ``end`` ``[..., 3]``."""
    share = (height - start[..., 2]) / (end[..., 2] - start[..., 2])
    return start + share[..., None] * (end - start)


def around(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each of ``[N, 3]`` points with the next, the last with the first."""
    return list(zip(points, np.roll(points, -1, axis=0), strict=True))


def bars(pairs: Sequence[tuple[Vector, Vector]], width: float, flat: float = 0.0) -> Manifold:
    """Bars between pairs of points: round ones of diameter ``width``, or boards.

    Args:
        pairs: Starts and ends, inside what they join.
        width: Diameter, or the boards' height.
        flat: Thickness of the boards; 0 for round bars.
    """
    if flat <= 0:
        return union([cylinder(width / 2, start, end, segments=12) for start, end in pairs])
    section = rectangle(flat, width)
    return union([sweep([start, end], section, up=(0, 0, 1)) for start, end in pairs])


def stretchers(
    random: np.random.Generator, tops: np.ndarray, feet: np.ndarray, height: float, width: float
) -> Manifold:
    """Bars that brace four legs, whose ends ``[4, 3]`` come in the order of :func:`corners`."""
    low = along(tops, feet, height)
    raised = along(tops, feet, height + 0.06)
    flat = 0.6 * width if random.random() < 0.5 else 0.0
    left, right = (low[0], low[3]), (low[1], low[2])
    kind = random.choice(["sides", "H", "box", "X", "H and front"], p=[0.15, 0.3, 0.3, 0.1, 0.15])
    if kind == "X":
        return bars([(low[0], low[2]), (low[1], low[3])], width, flat)
    if kind == "box":
        return bars([left, right, (raised[0], raised[1]), (raised[2], raised[3])], width, flat)
    pairs = [left, right]
    if kind != "sides":
        pairs.append((0.5 * (low[0] + low[3]), 0.5 * (low[1] + low[2])))
    if kind == "H and front":
        pairs.append((raised[0], raised[1]))
    return bars(pairs, width, flat)


def cushion(size: Vector, centre: Vector, plump: float = 0.35, corner: float = 5.0) -> Manifold:
    """A cushion: flat with round edges for a small ``plump``, a pillow for one near 1.

    Args:
        size: Lengths ``[3]`` along x, y and z.
        centre: Its middle.
        plump: Exponent of the superellipsoid's upright section; 1 is an ellipsoid.
        corner: Exponent of the outline from above, see :func:`solids.superellipse`.
    """
    x, y, z = np.asarray(size, dtype=float) / 2
    outline = superellipse(x, y, corner, 28)
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, 9)
    rings = []
    for latitude in latitudes:
        reach = np.cos(latitude).clip(0.0) ** plump if abs(latitude) < 1.5 else 0.0
        height = z * np.sign(latitude) * np.abs(np.sin(latitude)) ** max(plump, 0.6)
        rings.append(np.insert(reach * outline, 2, height, axis=1))
    return placed(loft(rings), centre)


def pad(outline: np.ndarray, low: float, high: float) -> Manifold:
    """A cushion of any convex outline ``[K, 2]``, between two heights, slightly crowned."""
    middle, height = outline.mean(axis=0), high - low
    insets = [(0.96, 0.0), (1.0, 0.25), (1.0, 0.6), (0.97, 0.85), (0.88, 0.96), (0.6, 1.0)]
    rings = [
        np.insert(middle + scale * (outline - middle), 2, low + share * height, axis=1)
        for scale, share in insets
    ]
    return loft(rings)


def star_base(
    random: np.random.Generator, height: float, reach: float
) -> tuple[Manifold, Manifold]:
    """A swivel chair's foot and column up to ``height``; and its castors or gliders."""
    count = int(random.choice([4, 5, 5, 5, 6]))
    rolls = random.random() < 0.75
    floor = 0.07 if rolls else 0.015
    hub = floor + 0.05
    column = [
        cylinder(0.028, (0, 0, hub), (0, 0, height)),
        cylinder(0.04, (0, 0, floor), (0, 0, hub + 0.06)),
    ]
    if random.random() < 0.5:
        column.append(cylinder(0.04, (0, 0, hub), (0, 0, 0.6 * height)))
    section, feet = rectangle(0.045, 0.05, 0.01, 2), []
    for i in range(count):
        turn = 2 * np.pi * (i + 0.25) / count
        tip = np.array([reach * np.cos(turn), reach * np.sin(turn), floor + 0.01])
        column.append(sweep([(0, 0, hub + 0.01), tip], section, [1.0, 0.62], up=(0, 0, 1)))
        glider = cylinder(0.022, (*tip[:2], 0), tip, segments=12)
        feet.append(_castor(tip, turn) if rolls else glider)
    return union(column), union(feet)


def _castor(tip: np.ndarray, turn: float) -> Manifold:
    radius, across = 0.028, np.array([-np.sin(turn), np.cos(turn), 0.0])
    hub = np.array([tip[0], tip[1], radius])
    wheel = cylinder(radius, hub - 0.02 * across, hub + 0.02 * across, segments=16)
    return wheel + cylinder(0.01, hub, tip + [0, 0, 0.01], segments=10)


def board(size: Vector, centre: Vector) -> Manifold:
    """A sawn board: a box whose edges are just broken."""
    return box(size, centre, min(0.004, 0.2 * float(np.min(size))), segments=1)
