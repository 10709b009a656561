"""Sofas: seats side by side between arms of many kinds, with cushions, legs, a chaise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from .colors import FABRICS, LEATHERS, METALS, WOODS, pick, pick_weighted, shaded, varied
from .furniture import all_legs, board, corners, cushion, ends, leg_style
from .solids import (
    Color,
    Part,
    both_sides,
    box,
    cylinder,
    extrude,
    mirrored,
    placed,
    rounded,
    smooth_curve,
    sweep,
    union,
    warped,
)


def make(random: np.random.Generator) -> list[Part]:
    """One sofa; see :mod:`training.shapes`."""
    sofa = _Sofa.drawn(random)
    framed = random.random() < 0.15
    parts = _frame(random, sofa) if framed else _body(random, sofa)
    parts += _seat_cushions(random, sofa)
    if framed or random.random() < 0.8:
        parts += _back_cushions(random, sofa)
    if sofa.chaise and not framed:
        parts += _chaise(random, sofa)
    return parts + _pillows(random, sofa)


@dataclass(frozen=True)
class _Sofa:
    """A sofa's measures, in metres; its seats lie around the Z axis."""

    seats: int
    seat_width: float  # of one seat
    depth: float  # from the front of the seat to the rear of the back
    under: float  # height of the body's underside
    seat: float  # height of the cushions' upper side
    cushion: float  # their thickness
    top: float  # height of the back
    back: float  # thickness of the back's body
    lean: float  # tangent of the back's angle
    arm: float  # thickness of an arm
    arm_top: float
    chaise: int  # -1 left, 1 right, 0 none
    cover: Color
    wood: Color

    @classmethod
    def drawn(cls, random: np.random.Generator) -> _Sofa:
        seats = int(random.choice([1, 2, 3, 4], p=[0.18, 0.32, 0.38, 0.12]))
        seat = random.uniform(0.4, 0.48)
        top = seat + random.uniform(0.28, 0.5)
        arm_top = seat + random.uniform(0.12, 0.24)
        if random.random() < 0.2:
            arm_top = top
        leather = random.random() < 0.3
        return cls(
            seats=seats,
            seat_width=random.uniform(0.56, 0.72) if seats > 1 else random.uniform(0.58, 0.8),
            depth=random.uniform(0.82, 1.0),
            under=float(random.choice([0.03, random.uniform(0.09, 0.18)])),
            seat=seat,
            cushion=random.uniform(0.11, 0.18),
            top=top,
            back=random.uniform(0.12, 0.22),
            lean=random.uniform(0.05, 0.2),
            arm=float(random.choice([random.uniform(0.08, 0.14), random.uniform(0.16, 0.26)])),
            arm_top=arm_top,
            chaise=int(random.choice([-1, 0, 1], p=[0.13, 0.74, 0.13])) if seats > 1 else 0,
            cover=varied(random, pick(random, LEATHERS if leather else FABRICS)),
            wood=varied(random, pick(random, WOODS)),
        )

    @property
    def width(self) -> float:
        """Of all seats."""
        return self.seats * self.seat_width

    @property
    def rear(self) -> float:
        return self.depth / 2

    @property
    def deck(self) -> float:
        """Height of what the cushions lie on."""
        return self.seat - self.cushion

    def leant(self, solid: Manifold) -> Manifold:
        """Lean what stands at the rear."""

        def move(points: np.ndarray) -> np.ndarray:
            return points + np.outer(
                self.lean * np.maximum(points[:, 2] - self.deck, 0.0), [0, 1, 0]
            )

        return warped(solid, move, 0.3)


# Body and arms ------------------------------------------------------------------------------------


def _body(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    """An upholstered box with back and arms, on legs or a plinth."""
    kinds: dict[_Arm, float] = {
        _box_arm: 0.4,
        _rolled_arm: 0.22,
        _sloped_arm: 0.16,
        _flared_arm: 0.14,
        _no_arm: 0.08,
    }
    arm = pick_weighted(random, kinds)(random, sofa)
    base_depth = sofa.depth - 0.02
    low, high = sofa.under, sofa.deck + 0.02
    base = box((sofa.width + 0.04, base_depth, high - low), (0, 0, (high + low) / 2), 0.025)
    back = _back(random, sofa)
    parts = [Part(base + back, sofa.cover)]
    left = arm is not None and sofa.chaise != -1
    right = arm is not None and sofa.chaise != 1
    if arm is not None:
        parts += [Part(arm, sofa.cover)] * right + [Part(mirrored(arm), sofa.cover)] * left
    return parts + _legs(random, sofa)


def _back(random: np.random.Generator, sofa: _Sofa) -> Manifold:
    """The back's body: level, arched or humped on top."""
    half, low = sofa.width / 2 + 0.02, sofa.under + 0.01
    kinds = {"level": 0.65, "arched": 0.15, "camel": 0.1, "seats": 0.1}
    kind = pick_weighted(random, kinds) if sofa.seats > 1 else "level"
    x = np.linspace(-1.0, 1.0, 33)
    rise = {
        "level": 0 * x,
        "arched": 0.1 * (1 - x**2),
        "camel": 0.12 * np.exp(-6 * x**2) + 0.05 * np.exp(-30 * (np.abs(x) - 0.9) ** 2),
        "seats": 0.05 * np.abs(np.cos(np.pi / 2 * sofa.seats * (x + 1 - 1 / sofa.seats))),
    }[kind]
    upper = np.stack([x * half, sofa.top + rise], axis=1)[::-1]
    if kind == "level":
        upper = rounded([(half, low), (half, sofa.top), (-half, sofa.top), (-half, low)], 0.05)[
            5:15
        ]
    outline = np.concatenate([[(-half, low), (half, low)], upper])
    solid = extrude(outline, sofa.rear - sofa.back, sofa.rear, "y", 0.035, 3)
    return sofa.leant(solid)


_Arm = Callable[[np.random.Generator, _Sofa], Manifold | None]


def _no_arm(random: np.random.Generator, sofa: _Sofa) -> Manifold | None:
    return None


def _box_arm(random: np.random.Generator, sofa: _Sofa) -> Manifold:
    """A block, sharp or soft, perhaps set back at the front."""
    x, front = sofa.width / 2, -sofa.rear + random.choice([0.0, random.uniform(0.03, 0.12)])
    size = (sofa.arm, sofa.rear - front, sofa.arm_top - sofa.under)
    middle = (x + sofa.arm / 2, (sofa.rear + front) / 2, (sofa.arm_top + sofa.under) / 2)
    return box(size, middle, random.choice([0.015, 0.04, 0.45 * sofa.arm]), 3)


def _rolled_arm(random: np.random.Generator, sofa: _Sofa) -> Manifold:
    """A wall with a roll on top."""
    radius = max(0.6 * sofa.arm, 0.08)
    x, z = sofa.width / 2 + sofa.arm / 2 + 0.2 * radius, sofa.arm_top - radius
    roll = cylinder(radius, (x, -sofa.rear - 0.012, z), (x, sofa.rear - 0.02, z))
    wall = box(
        (sofa.arm, sofa.depth - 0.01, z - sofa.under),
        (sofa.width / 2 + sofa.arm / 2, 0, (z + sofa.under) / 2),
        0.02,
    )
    return roll + wall


def _sloped_arm(random: np.random.Generator, sofa: _Sofa) -> Manifold:
    """A wall whose edge rises in a curve to the back."""
    x, front, rear = sofa.width / 2, -sofa.rear, sofa.rear
    low = sofa.seat + random.uniform(-0.03, 0.08)
    high = max(sofa.top - 0.04, low + 0.1)
    knots = [
        (rear, high),
        (0.3 * rear, high - 0.12),
        (-0.3 * rear, low + 0.03),
        (front + 0.02, low),
    ]
    curve = smooth_curve(knots, 15)
    outline = np.concatenate([[(front, sofa.under), (rear, sofa.under)], curve])
    return extrude(outline, x, x + min(sofa.arm, 0.14), "x", 0.03, 3)


def _flared_arm(random: np.random.Generator, sofa: _Sofa) -> Manifold:
    """A wall that leans outwards."""
    lean = random.uniform(0.12, 0.3)
    arm = _box_arm(random, sofa)

    def move(points: np.ndarray) -> np.ndarray:
        return points + np.outer(lean * np.maximum(points[:, 2] - sofa.deck, 0.0), [1, 0, 0])

    return warped(arm, move, 0.3)


def _legs(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    if sofa.under < 0.05:
        plinth = box((sofa.width - 0.04, sofa.depth - 0.1, 0.08), (0, 0, 0.04))
        return [Part(plinth, shaded(sofa.wood, 0.5))]
    metal = random.random() < 0.3
    color = varied(random, pick(random, METALS)) if metal else sofa.wood
    places = corners(sofa.width - 0.06, sofa.depth - 0.14)
    if metal and random.random() < 0.5:
        x, y, z = sofa.width / 2 - 0.04, sofa.rear - 0.08, sofa.under + 0.02
        knots = [(x, -y, z), (x, -y, 0.01), (x, y, 0.01), (x, y, z)]
        runner = sweep(rounded(knots, 0.015, 2, closed=False), 0.011)
        return [Part(both_sides(runner), color)]
    style = str(
        random.choice(["square", "rod"] if metal else ["tapered", "cone", "turned", "square"])
    )
    leg = leg_style(random, style, random.uniform(0.045, 0.065))
    if sofa.seats > 2:
        places = np.concatenate([places, places[[0, 2]] * [0, 1]])
    tops, feet = ends(places, sofa.under + 0.03, random.choice([0.0, 0.2]))
    return [Part(all_legs(leg, tops, feet), color)]


# Frames of wood or metal --------------------------------------------------------------------------


def _frame(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    """Open arms and a slatted or barred back, to which the cushions are loose."""
    metal = random.random() < 0.35
    color = varied(random, pick(random, METALS)) if metal else sofa.wood
    thick = 0.03 if metal else random.uniform(0.04, 0.06)
    x, rear = sofa.width / 2 + thick / 2 - 0.004, sofa.rear - 0.05
    deck, top = sofa.deck, sofa.top - 0.06
    solids = [board((sofa.width + 0.01, sofa.depth - 0.06, 0.05), (0, 0, deck - 0.005))]
    high = sofa.arm_top - 0.01
    post = [board((thick, thick, high), (x, y, high / 2)) for y in (-rear, rear)]
    rest = box((thick + 0.03, 2 * rear + 0.1, 0.03), (x, 0, sofa.arm_top - 0.01), 0.008)
    rail = board((thick, 2 * rear, 0.06), (x, 0, deck))
    solids.append(both_sides(union([*post, rest, rail])))
    count = 2 + 2 * sofa.seats
    uprights = np.linspace(-sofa.width / 2, sofa.width / 2, count)
    bar = [board((0.03, 0.02, top - deck + 0.02), (u, rear, (top + deck) / 2)) for u in uprights]
    bar.append(board((sofa.width + 0.03, 0.03, 0.06), (0, rear, top)))
    solids.append(sofa.leant(union(bar)))
    return [Part(union(solids), color)]


# Cushions -----------------------------------------------------------------------------------------


def _seat_cushions(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    count = sofa.seats if random.random() < 0.8 else 1
    wide = sofa.width / count
    deep = sofa.depth - sofa.back + 0.02
    y = -sofa.rear + deep / 2 - 0.02
    thick = sofa.cushion + 0.03
    z = sofa.seat - thick / 2
    plump = random.choice([0.15, 0.25, 0.35])
    x = (np.arange(count) - (count - 1) / 2) * wide
    color = shaded(sofa.cover, random.choice([1.0, 1.06, 0.95]))
    return [
        Part(cushion((wide - 0.004, deep, thick), (place, y, z), plump, 8.0), color) for place in x
    ]


def _back_cushions(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    """One at each seat, leaning on the back."""
    tall = sofa.top - sofa.seat + random.choice([-0.05, 0.02, 0.08]) + 0.04
    thick = random.uniform(0.14, 0.2)
    plump = random.choice([0.25, 0.4])
    upright = cushion((sofa.seat_width - 0.004, tall, thick), (0, 0, 0), plump, 6.0)
    turn = 90.0 - np.degrees(np.arctan(sofa.lean + 0.05))
    z = sofa.seat + tall / 2 - 0.05
    y = sofa.rear - sofa.back - 0.35 * thick + sofa.lean * (z - sofa.deck)
    color = shaded(sofa.cover, random.choice([1.0, 1.06, 0.95]))
    x = (np.arange(sofa.seats) - (sofa.seats - 1) / 2) * sofa.seat_width
    return [Part(placed(upright, (place, y, z), (turn, 0, 0)), color) for place in x]


def _chaise(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    """The seat at one end goes on to the front, as a couch."""
    x = sofa.chaise * (sofa.width - sofa.seat_width) / 2
    reach = random.uniform(0.55, 0.8)
    wide = sofa.seat_width + 0.02
    y = -sofa.rear - reach / 2 + 0.03
    low, high = max(sofa.under, 0.05), sofa.deck + 0.02
    base = box((wide, reach + 0.06, high - low), (x, y, (high + low) / 2), 0.025)
    thick = sofa.cushion + 0.03
    soft = cushion((wide - 0.01, reach + 0.06, thick), (x, y, sofa.seat - thick / 2), 0.25, 8.0)
    leg = leg_style(random, "cone", 0.05)
    places = np.array([(x - 0.4 * wide, y - 0.4 * reach), (x + 0.4 * wide, y - 0.4 * reach)])
    tops, feet = ends(places, low + 0.03)
    legs = all_legs(leg, tops, feet)
    return [Part(base, sofa.cover), Part(soft, sofa.cover), Part(legs, sofa.wood)]


def _pillows(random: np.random.Generator, sofa: _Sofa) -> list[Part]:
    """Scatter cushions in another colour, leaning at the ends."""
    if random.random() < 0.55:
        return []
    color = varied(random, pick(random, FABRICS))
    size = random.uniform(0.36, 0.46)
    pillow = placed(cushion((size, size, 0.15), (0, 0, 0), 0.6, 3.5), turn=(64, 0, 0))
    sides = [-1, 1] if sofa.seats > 1 and random.random() < 0.6 else [int(random.choice([-1, 1]))]
    y = sofa.rear - sofa.back - 0.2
    z = sofa.seat + 0.46 * size - 0.03
    x = max(sofa.width / 2 - 0.6 * size, 0.0)
    parts = [Part(placed(pillow, (s * x, y, z), (0, 0, -18 * s)), color) for s in sides]
    if sofa.seats > 2 and random.random() < 0.4:
        parts.append(Part(placed(pillow, (0.3 * x, y, z), (0, 0, 8)), varied(random, color, 0.2)))
    return parts
