"""Upholstered chairs: wing chairs, tub chairs and padded dining chairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .colors import FABRICS, LEATHERS, WOODS, pick, shaded, varied
from .furniture import (
    all_legs,
    corners,
    cushion,
    ends,
    leg_style,
    pad,
)
from .solids import (
    Part,
    both_sides,
    box,
    cylinder,
    extrude,
    loft,
    placed,
    rectangle,
    rounded,
    superellipse,
    union,
    warped,
)


def upholstered_chair(random: np.random.Generator) -> list[Part]:
    """One of the three kinds, on wooden legs."""
    cover = varied(random, pick(random, FABRICS + LEATHERS))
    body = pick(random, [_wing, _tub, _padded])(random)
    style = str(random.choice(["tapered", "cone", "turned", "sabre", "cabriole"]))
    leg = leg_style(random, style, random.uniform(0.038, 0.05))
    tops, feet = ends(body.legs, body.under + 0.03, 0.04)
    legs = all_legs(leg, tops, feet)
    parts = [Part(body.solid, cover), Part(legs, varied(random, pick(random, WOODS)))]
    if body.soft:
        other = random.random() < 0.4
        parts.append(Part(body.soft, pick(random, FABRICS) if other else shaded(cover, 1.06)))
    return parts


@dataclass(frozen=True)
class _Body:
    """What stands on the legs.

    Attributes:
        solid: Seat, back and arms.
        soft: A loose cushion, or None.
        under: Height of its underside.
        legs: ``[4, 2]`` where they join it.
    """

    solid: Manifold
    soft: Manifold | None
    under: float
    legs: np.ndarray


def _padded(random: np.random.Generator) -> _Body:
    """A dining chair without arms."""
    width, depth, seat = random.uniform((0.44, 0.44, 0.45), (0.5, 0.5, 0.48))
    half, tall, lean = width / 2, *random.uniform((0.48, 5.0), (0.62, 12.0))
    top = half * random.uniform(0.75, 1.05)
    knots = [(half, 0), (top, tall), (-top, tall), (-half, 0)]
    outline = rounded(knots, random.uniform(0.03, 0.15))
    rest = extrude(outline, -0.04, 0.04, "y", 0.028, 3)
    if random.random() < 0.25:  # an opening between back and seat
        gap = rectangle(1.4 * half, 0.08, 0.03) + [0.0, 0.17]
        rest -= extrude(gap, -0.1, 0.1, "y")
    base = box((width, depth, 0.1), (0, 0, seat - 0.05), 0.03, 3)
    solid = base + placed(rest, (0, depth / 2 - 0.04, seat - 0.08), (-lean, 0, 0))
    return _Body(solid, None, seat - 0.1, corners(width - 0.09, depth - 0.09))


def _wing(random: np.random.Generator) -> _Body:
    width, depth, seat = random.uniform((0.64, 0.6, 0.4), (0.74, 0.72, 0.44))
    under, top = random.uniform(0.14, 0.22), random.uniform(0.95, 1.12)
    arm, rear, thick = seat + random.uniform(0.14, 0.2), depth / 2, 0.13
    base = box((width - 0.1, depth, seat - 0.03 - under), (0, 0, (seat - 0.03 + under) / 2), 0.03)
    size = (width - 0.12, 0.13, top - under - 0.05)
    rest = box(size, (0, rear - 0.05, (top + under) / 2 + 0.02), 0.05, 3)
    wing = random.uniform(0.1, 0.24)
    outline = [
        (-rear, under),
        (-rear, arm - 0.05),
        (-rear + 0.05, arm),
        (rear - wing - 0.05, arm + 0.01),
        (rear - wing, arm + 0.12),
        (rear - wing + 0.02, top - 0.1),
        (rear - 0.06, top - 0.01),
        (rear, top - 0.04),
        (rear + 0.01, under),
    ]
    side = extrude(rounded(outline, 0.05, 3), width / 2 - thick, width / 2, "x", 0.035, 3)
    if random.random() < 0.4:
        x, z = width / 2 - 0.06, arm - 0.02
        side += cylinder(0.075, (x, -rear - 0.005, z), (x, rear - wing, z))
    lean = random.uniform(0.05, 0.14)

    def move(points: np.ndarray) -> np.ndarray:
        behind = lean * np.maximum(points[:, 2] - seat, 0.0) * (points[:, 1] / rear).clip(0.0)
        return points + np.outer(behind, [0.0, 1.0, 0.0])

    solid = union([warped(one, move, 0.12) for one in (base, rest, both_sides(side))])
    soft = cushion((width - 0.24, depth - 0.13, 0.13), (0, -0.07, seat), 0.25, 6.0)
    return _Body(solid, soft, under, corners(width - 0.14, depth - 0.12))


def _tub(random: np.random.Generator) -> _Body:
    """A back that runs around into the arms."""
    width, depth, seat = random.uniform((0.62, 0.6, 0.4), (0.74, 0.7, 0.44))
    under, thick = random.uniform(0.12, 0.22), random.uniform(0.08, 0.12)
    arm, top = seat + random.uniform(0.16, 0.24), seat + random.uniform(0.26, 0.42)
    opening = random.uniform(0.1, 0.25) * np.pi  # how far the arms reach to the front
    rings = []
    for angle in np.linspace(-opening, np.pi + opening, 33):
        behind = ((np.sin(angle) + np.sin(opening)) / (1 + np.sin(opening))).clip(0.0)
        high = arm + (top - arm) * behind**1.5
        side = rectangle(thick, high - under, 0.4 * thick) + [0.0, (high + under) / 2]
        outwards = np.array([np.cos(angle), np.sin(angle), 0.0])
        middle = outwards * [width / 2 - thick / 2, depth / 2 - thick / 2, 0.0]
        rings.append(middle + side[:, :1] * outwards + side[:, 1:] * np.array([0.0, 0.0, 1.0]))
    inside = width / 2 - 0.3 * thick, depth / 2 - 0.3 * thick
    base = extrude(superellipse(inside[0], inside[1], 2.4, 40), under, seat - 0.03, rounding=0.02)
    outline = superellipse(inside[0] - 0.5 * thick, inside[1] - 0.4 * thick, 2.5, 40) - [0, 0.02]
    soft = pad(outline, seat - 0.04, seat + random.uniform(0.04, 0.08))
    return _Body(loft(rings) + base, soft, under, corners(0.6 * width, 0.6 * depth))
