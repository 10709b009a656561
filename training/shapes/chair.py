"""Chairs: what they stand on, what one sits on, what one leans on, each of many kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold
from scipy.interpolate import PchipInterpolator

from .colors import FABRICS, LEATHERS, METALS, PLASTICS, WOODS, pick, pick_weighted, varied
from .furniture import (
    all_legs,
    along,
    around,
    bars,
    board,
    corners,
    cushion,
    ends,
    leg_style,
    pad,
    star_base,
)
from .soft_chair import upholstered_chair
from .solids import (
    Color,
    Part,
    Vector,
    both_sides,
    box,
    cylinder,
    extrude,
    placed,
    rectangle,
    revolve,
    rounded,
    sheet,
    smooth_curve,
    superellipse,
    sweep,
    union,
    warped,
)
from .wooden_chair import wooden_chair


def make(random: np.random.Generator) -> list[Part]:
    """One chair; see :mod:`training.shapes`."""
    kinds: dict[Callable[[np.random.Generator], list[Part]], float] = {
        wooden_chair: 0.46,
        _shell: 0.14,
        _office: 0.12,
        _cantilever: 0.07,
        _stacking: 0.07,
        upholstered_chair: 0.14,
    }
    return pick_weighted(random, kinds)(random)


# Moulded shells -----------------------------------------------------------------------------------


def _shell(random: np.random.Generator) -> list[Part]:
    """A seat and back in one moulded piece, on legs, tubes, a star or a tulip's stem."""
    height = random.uniform(0.42, 0.46)
    color = varied(random, pick(random, PLASTICS if random.random() < 0.75 else WOODS))
    shell = _moulded(random, height)
    parts = [Part(shell, color)]
    parts += _shell_base(random, height - 0.006)
    if random.random() < 0.3:
        outline = superellipse(0.16, 0.15, 3.0, 32)
        cover = varied(random, pick(random, FABRICS + LEATHERS))
        parts.append(Part(pad(outline, height - 0.008, height + 0.03), cover))
    return parts


def _moulded(random: np.random.Generator, height: float) -> Manifold:
    """A curved sheet between a profile in the middle and one at the sides, which rise to arms."""
    tall, rear, lean = random.uniform((0.33, 0.18, 0.08), (0.48, 0.21, 0.2))
    armchair = random.random() < 0.4
    side = random.uniform(0.15, 0.19) if armchair else random.uniform(0.02, 0.06)
    ahead = 0.06 if armchair else 0.03
    profile = np.array(
        [
            (-0.24, height - 0.03),
            (-0.17, height),
            (0.0, height - 0.008),
            (rear - 0.06, height + 0.005),
            (rear, height + 0.08),
            (rear + 0.5 * lean * tall, height + 0.6 * tall),
            (rear + lean * tall, height + tall),
        ]
    )
    rise = np.array([-0.005, 0.3 * side, side, side, 0.75 * side, 0.2 * side, 0.0])
    shift = ahead * np.array([0.0, 0.0, 0.0, -0.8, -1.0, -0.8, -0.2])
    share = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 30))  # more of them near both ends
    knots = np.concatenate([profile, profile + np.stack([shift, rise], axis=1)], axis=1)
    curves = smooth_curve(knots, 201)[np.round(200 * share).astype(int)]  # [30, 4]
    waist = 1.0 if armchair else random.uniform(0.8, 1.0)
    widths = PchipInterpolator([0, 0.3, 0.55, 0.8, 1], [0.96, 1, waist, 0.96, 0.8])(share)
    widths *= (1 - np.abs(2 * share - 1) ** random.uniform(6, 14)).clip(0.06) ** 0.35
    across = np.linspace(-1.0, 1.0, 19)
    bend = (np.abs(across) ** random.uniform(2.2, 3.2))[:, None]
    level = (1 - bend) * curves[:, None, :2] + bend * curves[:, None, 2:]
    x = random.uniform(0.2, 0.24) * widths[:, None] * across
    shell = sheet(np.concatenate([x[..., None], level], axis=2), 0.014)
    if not armchair and random.random() < 0.25:
        hole = superellipse(0.09, 0.03, 3.0, 20) + [0.0, height + 0.7 * tall]
        shell -= extrude(hole, 0.0, 0.6, "y")
    return shell


def _shell_base(random: np.random.Generator, top: float) -> list[Part]:
    metal = varied(random, pick(random, METALS))
    kind = random.choice(["dowels", "tubes", "sled", "star", "tulip", "wire"])
    plate = cylinder(0.06, (0, 0, top - 0.03), (0, 0, top - 0.004), segments=16)
    if kind == "star":
        column, feet = star_base(random, top - 0.01, random.uniform(0.26, 0.31))
        return [Part(column + plate, metal), Part(feet, (0.12, 0.12, 0.13))]
    if kind == "tulip":
        profile = [(0, 0), (0.24, 0), (0.235, 0.012), (0.1, 0.03), (0.035, 0.1), (0.03, 0.22)]
        stem = revolve([*profile, (0.04, top - 0.06), (0.07, top - 0.004), (0, top - 0.004)])
        return [Part(stem, varied(random, pick(random, PLASTICS)))]
    if kind == "sled":
        return [Part(_runners(top - 0.01, 0.36, 0.4, 0.011) + plate, metal)]
    tops, feet = ends(corners(0.22, 0.22), top - 0.012, random.uniform(0.3, 0.42))
    style = {"dowels": "cone", "tubes": "rod", "wire": "rod"}[str(kind)]
    leg = leg_style(random, style, 0.036)
    legs = all_legs(leg, tops, feet)
    rails = bars([(tops[0], tops[2]), (tops[1], tops[3])], 0.02)
    braces = plate + rails
    if kind == "wire":
        high, low = along(tops, feet, 0.75 * top), along(tops, feet, 0.3 * top)
        pairs = [(high[i], low[(i + 1) % 4]) for i in range(4)]
        braces += bars([*pairs, *((low[i], high[(i + 1) % 4]) for i in range(4))], 0.009)
    wood = varied(random, pick(random, WOODS)) if kind == "dowels" else metal
    return [Part(legs, wood), Part(braces, metal)]


# Metal chairs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _MetalFrame:
    """Where seat and back are on a frame of bent tubes.

    Attributes:
        x: Half the width between the tubes' middles.
        radius: Of the tubes.
        seat: Height of the tubes under the seat.
        rear: Their y where they turn upwards.
        top: Height of the back.
        lean: How far the top is behind ``rear``.
    """

    x: float
    radius: float
    seat: float
    rear: float
    top: float
    lean: float

    def behind(self, height: float) -> float:
        """The y of the back's tubes at a height."""
        return self.rear + self.lean * (height - self.seat) / (self.top - self.seat)

    def back_rest(self, tall: float, thickness: float, bulge: float) -> Manifold:
        """A board between the tubes' upper ends, bent backwards by ``bulge`` in the middle."""
        size = (2 * self.x + 2.2 * self.radius, thickness, tall)
        flat = box(size, rounding=0.35 * thickness)
        middle = self.top - tall / 2 + 0.01

        def move(points: np.ndarray) -> np.ndarray:
            return points + np.outer(bulge * (1 - (points[:, 0] / self.x) ** 2), [0, 1, 0])

        turn = -np.degrees(np.arctan2(self.lean, self.top - self.seat))
        bent = warped(flat, move, 0.06) if bulge else flat
        return placed(bent, (0, self.behind(middle), middle), (turn, 0, 0))


def _cantilever(random: np.random.Generator) -> list[Part]:
    """A single bent tube without hind legs."""
    metal = varied(random, pick(random, METALS), 0.02)
    x, radius, seat, top, lean = random.uniform(
        (0.21, 0.011, 0.43, 0.78, 0.05), (0.25, 0.014, 0.46, 0.92, 0.1)
    )
    frame, front = _MetalFrame(x, radius, seat, 0.2, top, lean), -0.24
    half = np.array(
        [
            (x, frame.rear + lean, top),
            (x, frame.rear, seat),
            (x, front, seat),
            (x, front + random.uniform(-0.02, 0.02), radius),
            (x, frame.rear + 0.03, radius),
        ]
    )
    tube = _tube(np.concatenate([half, half[::-1] * [-1, 1, 1]]), 0.07, radius)
    if random.random() < 0.4:
        z = seat + random.uniform(0.18, 0.22)
        y = front + 0.06
        arm = _tube([(x, frame.behind(z), z), (x, y, z), (x, y, seat)], 0.05, radius)
        tube += both_sides(arm)
    cover = varied(random, pick(random, FABRICS + LEATHERS + WOODS))
    thick = float(random.choice([0.015, 0.03, 0.05]))
    size = (2 * x + radius, frame.rear - front - 0.06, thick)
    seat_pad = box(size, (0, (front + frame.rear) / 2 - 0.01, seat + 0.3 * thick), 0.4 * thick)
    tall = random.uniform(0.16, top - seat - 0.12)
    rest = frame.back_rest(tall, 0.7 * thick + 0.008, random.choice([0.0, 0.03]))
    return [Part(tube, metal), Part(seat_pad, cover), Part(rest, cover)]


def _stacking(random: np.random.Generator) -> list[Part]:
    """A frame of tubes on runners or four legs, and two boards or pads."""
    metal = varied(random, pick(random, METALS), 0.02)
    x, radius, seat, top, lean = random.uniform(
        (0.2, 0.009, 0.43, 0.76, 0.06), (0.24, 0.012, 0.46, 0.88, 0.12)
    )
    frame = _MetalFrame(x, radius, seat - 0.012, 0.18, top, lean)
    if random.random() < 0.5:
        base = _runners(frame.seat, 2 * x, 0.46, radius)
    else:
        tops, feet = ends(corners(2 * x, 0.38), frame.seat, random.uniform(0.0, 0.12))
        leg = leg_style(random, "rod", 2.4 * radius)
        base = all_legs(leg, tops, feet)
        base += bars(around(tops), 2 * radius)
    post = [(x, -0.05, frame.seat), (x, frame.rear, frame.seat), (x, frame.rear + lean, top)]
    base += both_sides(_tube(post, 0.06, radius))
    cover = varied(random, pick(random, PLASTICS + FABRICS + WOODS))
    thick = float(random.choice([0.014, 0.014, 0.04]))
    outline = superellipse(x + 0.01, 0.21, random.choice([4.0, 7.0]), 32) - [0.0, 0.02]
    board_ = extrude(outline, seat - 0.016, seat + thick, rounding=0.006)
    tall = random.uniform(0.14, 0.28)
    rest = frame.back_rest(tall, 0.6 * thick + 0.012, random.choice([0.0, 0.03, 0.05]))
    if random.random() < 0.2:
        slots = [box((1.4 * x, 0.4, 0.02), (0, frame.rear, top - tall * s)) for s in (0.3, 0.7)]
        rest -= union(slots)
    return [Part(base, metal), Part(board_, cover), Part(rest, cover)]


def _tube(knots: Sequence[Vector] | np.ndarray, bend: float, radius: float) -> Manifold:
    """A tube along straight lines and bends of radius ``bend``."""
    return sweep(rounded(knots, bend, 5, closed=False), radius)


def _runners(top: float, width: float, depth: float, radius: float) -> Manifold:
    """Two runners of bent tube and the bars that join them under the seat."""
    x, y = width / 2, depth / 2
    knots = [(x, y - 0.06, top), (x, y, radius), (x, -y, radius), (x, -y + 0.08, top)]
    rail = cylinder(radius, (x, y - 0.06, top), (x, -y + 0.08, top), segments=12)
    across = [((-x, place, top), (x, place, top)) for place in (0.09 - y, y - 0.09)]
    return both_sides(_tube(knots, 0.05, radius) + rail) + bars(across, 2 * radius)


# Office chairs ------------------------------------------------------------------------------------


def _office(random: np.random.Generator) -> list[Part]:
    """Swivel chairs on a star."""
    black = varied(random, (0.13, 0.13, 0.14), 0.02)
    metal = black if random.random() < 0.6 else varied(random, pick(random, METALS))
    cover = varied(random, pick(random, FABRICS + LEATHERS))
    width, depth, thick, seat = random.uniform((0.46, 0.44, 0.05, 0.44), (0.52, 0.5, 0.1, 0.52))
    column, feet = star_base(random, seat - 0.01, random.uniform(0.28, 0.34))
    mechanism = box((0.18, 0.24, 0.05), (0, 0, seat - 0.015), 0.01)
    soft = cushion((width, depth, thick), (0, 0, seat + thick / 2 - 0.004), 0.3, 4.0)
    parts = [Part(column + mechanism, metal), Part(feet, black), Part(soft, cover)]
    back = _OfficeBack(
        low=seat + thick - 0.03 + random.choice([0.0, random.uniform(0.06, 0.14)]),
        tall=random.choice([random.uniform(0.3, 0.42), random.uniform(0.55, 0.7)]),
        width=width * random.uniform(0.82, 0.98),
        y=0.47 * depth,
        lean=random.uniform(0.08, 0.18),
        bulge=random.uniform(0.02, 0.06),
    )
    parts += back.parts(random, cover, metal)
    parts.append(Part(back.bracket(seat), metal))
    if random.random() < 0.7:
        parts.append(Part(_office_arms(random, width, seat, thick), metal))
    return parts


@dataclass(frozen=True)
class _OfficeBack:
    """A back that is made upright in the plane y = 0 and then bent to a spine's curve."""

    low: float
    tall: float
    width: float
    y: float
    lean: float
    bulge: float  # how far the sides are ahead of the middle

    def bent(self, points: np.ndarray) -> np.ndarray:
        """``[V, 3]`` from the upright plane to their places."""
        x, y, z = points.T
        share = (z - self.low) / self.tall
        lumbar = -0.025 * np.sin(1.5 * np.pi * share.clip(0, 1))
        behind = self.y + self.lean * (z - self.low) + lumbar
        return np.stack([x, y + behind - self.bulge * (2 * x / self.width) ** 2, z], axis=1)

    def parts(self, random: np.random.Generator, cover: Color, metal: Color) -> list[Part]:
        """A padded back or a net in a frame, perhaps with a head rest."""
        exponent = random.choice([3.0, 5.0, 8.0])
        outline = superellipse(self.width / 2, self.tall / 2, exponent, 36)
        middle = np.array([0.0, self.low + self.tall / 2])
        if random.random() < 0.35:
            hole = extrude(0.86 * outline + middle, -0.1, 0.1, "y")
            ring = extrude(outline + middle, -0.015, 0.015, "y") - hole
            places = np.linspace(-0.4, 0.4, 7) * self.width
            net = [board((0.01, 0.01, self.tall), (x, 0, middle[1])) for x in places]
            net = union(net) ^ extrude(0.98 * outline + middle, -0.1, 0.1, "y")
            solids = [(ring, metal), (net, cover)]
        else:
            thick = random.uniform(0.045, 0.09)
            rounding = 0.4 * thick
            solids = [(extrude(outline + middle, -thick / 2, thick / 2, "y", rounding, 3), cover)]
        if random.random() < 0.25:
            top = self.low + self.tall
            solids.append((box((0.5 * self.width, 0.04, 0.12), (0, 0, top + 0.1), 0.018), cover))
            solids.append((board((0.05, 0.014, 0.2), (0, 0.004, top + 0.02)), metal))
        return [Part(warped(solid, self.bent, 0.08), color) for solid, color in solids]

    def bracket(self, seat: float) -> Manifold:
        """A flat bar from under the seat up the back."""
        heights = np.linspace(self.low + 0.03, self.low + 0.45 * self.tall, 5)
        spine = self.bent(np.stack([0 * heights, np.full(5, 0.014), heights], axis=1))
        start = [(0, 0.06, seat - 0.02), (0, spine[0, 1] + 0.03, seat - 0.01)]
        turn = rounded([*start, spine[0]], 0.04, 5, closed=False)
        section = rectangle(0.07, 0.022, 0.006, 2)
        return sweep(np.concatenate([turn[:-1], spine]), section, up=(0, 0, 1))


def _office_arms(random: np.random.Generator, width: float, seat: float, thick: float) -> Manifold:
    x, z = width / 2 + 0.03, seat + thick + random.uniform(0.16, 0.22)
    rest = box((0.07, 0.26, 0.025), (x, 0.0, z), 0.011)
    if random.random() < 0.5:
        knots = [(0.05, 0, seat - 0.01), (x, 0, seat - 0.01), (x, 0, z)]
        path = rounded(knots, 0.04, 5, closed=False)
        return both_sides(rest + sweep(path, rectangle(0.05, 0.02, 0.006, 2), up=(0, 0, 1)))
    loop = [(x, 0.12, z), (x, 0.16, seat + 0.02), (x, -0.1, seat + 0.02), (x, -0.12, z)]
    ring = sweep(rounded(loop, 0.04, 5), 0.012, closed=True)
    return both_sides(rest + ring + cylinder(0.014, (0.05, 0.02, seat), (x, 0.02, seat + 0.02)))
