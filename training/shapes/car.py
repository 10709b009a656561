"""Cars: saloons, hatchbacks, estates, off-roaders, vans, pickups, sports cars, convertibles, buses.

The nose points to -Y, wheels stand on z = 0, y = 0 is the middle; sizes are those of real cars, in
metres. A body is one skin over cross sections; windows, lamps, lines and stripes are pieces of
the same skin a few millimetres further out. The arches are cut out of all that before the wheels
come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from manifold3d import Manifold

from .colors import FABRICS, METALS, pick, shaded, varied
from .kinds import draw_kind
from .solids import (
    Color,
    Part,
    both_sides,
    box,
    cylinder,
    ellipsoid,
    extrude,
    loft,
    placed,
    rounded,
    sweep,
    union,
)
from .vehicles import slab
from .vessels import round_section, turned

_GLASS: Color = (0.13, 0.16, 0.19)
_BLACK: Color = (0.11, 0.11, 0.12)
_LAMP: Color = (0.92, 0.94, 0.95)
_RED: Color = (0.72, 0.08, 0.08)
_PLATE: Color = (0.95, 0.95, 0.92)
_LACQUERS: tuple[Color, ...] = (
    (0.93, 0.93, 0.93),
    (0.72, 0.74, 0.76),
    (0.42, 0.44, 0.47),
    (0.13, 0.13, 0.15),
    (0.70, 0.09, 0.10),
    (0.10, 0.22, 0.50),
    (0.22, 0.45, 0.68),
    (0.07, 0.30, 0.20),
    (0.92, 0.74, 0.14),
    (0.90, 0.42, 0.12),
    (0.42, 0.28, 0.20),
    (0.82, 0.77, 0.66),
    (0.45, 0.60, 0.52),
    (0.40, 0.12, 0.22),
)
_FAR = 9.0  # beyond any car
_ARCH = 1.12  # radius of a wheel's arch in wheels
_CORNER = 0.035  # of the length, over which the bumpers' corners are rounded
# What the bends of a cross section take of their sides; the roof's edge is a body's own.
_TAKES = (0.1, 0.07, 0.12, 0.2, 0.045, 0.3)


@dataclass(frozen=True)
class _Style:
    """One family: ranges that sizes are drawn from, and the side view.

    ``top`` runs from the front to the rear as (y in lengths, z in heights); ``belt`` is where
    windows begin at the front and at the rear, in heights.
    """

    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    top: tuple[tuple[float, float], ...]
    belt: tuple[float, float]
    roof_width: tuple[float, float]
    clearance: tuple[float, float]
    wheel: tuple[float, float]
    axles: tuple[float, float]  # distance from the nose and from the tail in lengths
    cabin: tuple[float, float]  # where side windows may be, y in lengths
    panes: tuple[int, ...]  # on each side, as often as they stand here
    weight: float


_STYLES = {
    "saloon": _Style(
        (4.3, 5.1), (1.72, 1.9), (1.38, 1.5),
        ((-0.5, 0.44), (-0.487, 0.52), (-0.23, 0.66), (-0.05, 0.965), (0.08, 1.0), (0.2, 0.965),
         (0.345, 0.74), (0.478, 0.71), (0.5, 0.6)),
        (0.64, 0.68), (0.68, 0.76), (0.16, 0.2), (0.3, 0.34), (0.19, 0.21), (-0.2, 0.3),
        (2,), 3,
    ),
    "hatchback": _Style(
        (3.5, 4.3), (1.62, 1.8), (1.42, 1.6),
        ((-0.5, 0.42), (-0.48, 0.5), (-0.26, 0.64), (-0.07, 0.96), (0.08, 1.0), (0.32, 0.95),
         (0.45, 0.68), (0.485, 0.6), (0.5, 0.45)),
        (0.62, 0.67), (0.7, 0.78), (0.16, 0.2), (0.28, 0.33), (0.19, 0.17), (-0.23, 0.36),
        (2, 2, 1), 2.5,
    ),
    "estate": _Style(
        (4.4, 5.0), (1.72, 1.88), (1.42, 1.52),
        ((-0.5, 0.43), (-0.487, 0.52), (-0.24, 0.65), (-0.06, 0.965), (0.08, 1.0), (0.38, 0.96),
         (0.47, 0.68), (0.49, 0.6), (0.5, 0.48)),
        (0.63, 0.66), (0.7, 0.78), (0.16, 0.2), (0.3, 0.34), (0.19, 0.2), (-0.21, 0.42),
        (3,), 1.5,
    ),
    "off-roader": _Style(
        (4.0, 5.0), (1.78, 2.0), (1.65, 1.9),
        ((-0.5, 0.46), (-0.488, 0.57), (-0.24, 0.635), (-0.12, 0.955), (0.04, 1.0), (0.4, 0.975),
         (0.47, 0.66), (0.488, 0.58), (0.5, 0.42)),
        (0.62, 0.64), (0.74, 0.86), (0.22, 0.3), (0.36, 0.42), (0.18, 0.19), (-0.2, 0.42),
        (3, 3, 2), 2,
    ),
    "jeep": _Style(
        (3.6, 4.4), (1.7, 1.9), (1.75, 2.0),
        ((-0.5, 0.5), (-0.495, 0.58), (-0.2, 0.61), (-0.15, 0.96), (-0.1, 1.0), (0.45, 1.0),
         (0.475, 0.97), (0.49, 0.6), (0.5, 0.4)),
        (0.6, 0.6), (0.84, 0.92), (0.26, 0.34), (0.38, 0.43), (0.17, 0.18), (-0.17, 0.45),
        (3, 2), 1,
    ),
    "minivan": _Style(
        (4.3, 5.1), (1.8, 1.98), (1.7, 1.85),
        ((-0.5, 0.38), (-0.48, 0.47), (-0.32, 0.58), (-0.08, 0.955), (0.05, 1.0), (0.4, 0.965),
         (0.47, 0.62), (0.49, 0.55), (0.5, 0.4)),
        (0.57, 0.6), (0.74, 0.82), (0.15, 0.19), (0.31, 0.35), (0.2, 0.19), (-0.26, 0.42),
        (3,), 1.3,
    ),
    "van": _Style(
        (4.8, 6.2), (1.9, 2.05), (2.0, 2.7),
        ((-0.5, 0.3), (-0.49, 0.4), (-0.37, 0.5), (-0.24, 0.93), (-0.17, 1.0), (0.47, 1.0),
         (0.492, 0.97), (0.5, 0.4)),
        (0.5, 0.5), (0.86, 0.94), (0.17, 0.24), (0.32, 0.37), (0.17, 0.2), (-0.34, -0.1),
        (1,), 1.2,
    ),
    "pickup": _Style(
        (4.9, 5.8), (1.82, 2.02), (1.7, 1.9),
        ((-0.5, 0.48), (-0.49, 0.56), (-0.25, 0.63), (-0.14, 0.96), (-0.02, 1.0), (0.07, 0.975),
         (0.115, 0.64), (0.494, 0.62), (0.5, 0.5)),
        (0.62, 0.63), (0.76, 0.84), (0.22, 0.3), (0.36, 0.41), (0.17, 0.2), (-0.2, 0.1),
        (1, 2, 2), 1.6,
    ),
    "sports": _Style(
        (4.1, 4.7), (1.8, 2.0), (1.15, 1.3),
        ((-0.5, 0.36), (-0.48, 0.46), (-0.22, 0.66), (-0.03, 0.965), (0.06, 1.0), (0.17, 0.96),
         (0.4, 0.74), (0.482, 0.73), (0.5, 0.58)),
        (0.66, 0.72), (0.62, 0.72), (0.11, 0.15), (0.32, 0.36), (0.2, 0.2), (-0.2, 0.24),
        (1,), 2,
    ),
    "mid-engined": _Style(
        (4.2, 4.7), (1.9, 2.05), (1.08, 1.2),
        ((-0.5, 0.34), (-0.47, 0.42), (-0.3, 0.62), (-0.05, 0.97), (0.03, 1.0), (0.12, 0.97),
         (0.38, 0.76), (0.485, 0.72), (0.5, 0.55)),
        (0.66, 0.74), (0.6, 0.68), (0.1, 0.13), (0.33, 0.37), (0.2, 0.19), (-0.27, 0.14),
        (1,), 0.8,
    ),
    "rounded": _Style(
        (3.4, 4.2), (1.55, 1.75), (1.42, 1.55),
        ((-0.5, 0.34), (-0.46, 0.48), (-0.32, 0.6), (-0.22, 0.645), (-0.1, 0.93), (0.02, 1.0),
         (0.14, 0.96), (0.33, 0.74), (0.45, 0.54), (0.5, 0.34)),
        (0.63, 0.66), (0.66, 0.74), (0.17, 0.22), (0.29, 0.33), (0.2, 0.22), (-0.2, 0.27),
        (2, 1), 1,
    ),
    "classic": _Style(
        (4.4, 5.4), (1.75, 1.98), (1.42, 1.55),
        ((-0.5, 0.56), (-0.492, 0.63), (-0.2, 0.67), (-0.12, 0.95), (-0.04, 1.0), (0.14, 1.0),
         (0.2, 0.95), (0.27, 0.69), (0.49, 0.64), (0.5, 0.55)),
        (0.66, 0.67), (0.76, 0.84), (0.17, 0.22), (0.31, 0.35), (0.2, 0.24), (-0.17, 0.24),
        (2, 1), 1,
    ),
    "convertible": _Style(
        (3.8, 4.6), (1.68, 1.88), (1.0, 1.05),
        ((-0.5, 0.55), (-0.485, 0.68), (-0.2, 0.9), (0.0, 0.93), (0.2, 0.96), (0.42, 0.98),
         (0.485, 0.92), (0.5, 0.75)),
        (0.84, 0.9), (0.9, 0.94), (0.14, 0.18), (0.3, 0.34), (0.2, 0.2), (0.0, 0.0),
        (1,), 1.8,
    ),
    "bus": _Style(
        (8.0, 12.0), (2.4, 2.55), (2.8, 3.3),
        ((-0.5, 0.3), (-0.497, 0.48), (-0.482, 0.94), (-0.465, 1.0), (0.48, 1.0), (0.494, 0.96),
         (0.5, 0.4)),
        (0.47, 0.47), (0.92, 0.97), (0.28, 0.36), (0.46, 0.52), (0.22, 0.27), (-0.47, 0.47),
        (5, 6, 7, 8), 1,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Body:
    """A car's skin, as what its cross sections are made of.

    Attributes:
        length: Along y, its middle at 0.
        width: The largest.
        height: Of the roof.
        clearance: Height of the underside.
        top: ``[K, 2]`` the side view's upper line (y, z).
        belt: Heights of the window line at the front and at the rear end.
        lean: How much narrower a side becomes per metre above the belt.
        taper: Part of the half width lost at the nose and at the tail.
        edge: Radius of the roof's and bonnet's edges.
    """

    length: float
    width: float
    height: float
    clearance: float
    top: np.ndarray
    belt: tuple[float, float]
    lean: float
    taper: tuple[float, float]
    edge: float

    def top_at(self, y: np.ndarray | float) -> np.ndarray:
        return np.interp(y, self.top[:, 0], self.top[:, 1])

    def belt_at(self, y: np.ndarray | float) -> np.ndarray:
        return np.interp(y, [-self.length / 2, self.length / 2], self.belt)

    def half_width(self, y: np.ndarray | float) -> np.ndarray:
        """Seen from above, at the widest height."""
        beyond = np.abs(y) / self.length - 0.25
        taper = np.where(np.asarray(y) < 0, *self.taper)
        return 0.5 * self.width * (1.0 - taper * np.maximum(beyond / 0.25, 0.0) ** 2.2)

    def side(self, y: float, z: float) -> float:
        """Half width ``x`` above the belt at a place."""
        return float(0.96 * self.half_width(y) - self.lean * max(0.0, z - float(self.belt_at(y))))

    def solid(self, grown: float = 0.0) -> Manifold:
        """The body, or one ``grown`` metres larger on all sides; without arches."""
        y = self._stations()
        outline = _bent(self._corners(y, grown), np.array([*_TAKES[:5], self.edge, _TAKES[5]]))
        along = np.broadcast_to((y * (1.0 + 2.0 * grown / self.length))[:, None], outline.shape[:2])
        return loft(np.stack([outline[..., 0], along, outline[..., 1]], axis=-1))

    def _stations(self) -> np.ndarray:
        """Where cross sections are: close together where the side view or the plan bends."""
        half = self.length / 2
        ends = half - _CORNER * self.length * (1.0 - np.cos(np.linspace(0.0, np.pi / 2, 4)))
        even = np.linspace(-half, half, 21)[1:-1]
        middle = np.concatenate([self.top[:, 0], even])
        middle = np.unique(middle[np.abs(middle) < ends[-1] - 0.01].round(6))
        spaced = middle[np.append(True, np.diff(middle) > 0.015)]
        return np.concatenate([-ends, spaced, ends[::-1]])

    def _corners(self, y: np.ndarray, grown: float) -> np.ndarray:
        """Right halves ``[S, 7, 2]`` (x, z) of cross sections at y ``[S]``, from the floor up.

        Floor, edge of the floor, sill, waist, belt, edge of the roof, roof.
        """
        # Towards both ends the section shrinks along a quarter of an ellipse: bumper corners.
        corner = _CORNER * self.length
        inset = np.maximum(0.0, np.abs(y) - self.length / 2 + corner) / corner
        shrink = 1.0 - np.sqrt(np.maximum(0.0, 1.0 - inset**2))
        half = self.half_width(y) * (1.0 - 0.16 * shrink)
        bottom = self.clearance + 0.05 * self.height * shrink
        top = self.top_at(y) - 0.02 * self.height * shrink
        belt = np.minimum(self.belt_at(y), bottom + 0.84 * (top - bottom))
        x = np.stack([
            0.0 * half, 0.86 * half, 0.96 * half, half, 0.96 * half,
            0.96 * half - self.lean * (top - belt), 0.0 * half,
        ], axis=1)  # fmt: skip
        z = np.stack([
            bottom, bottom, bottom + 0.2 * (belt - bottom), bottom + 0.6 * (belt - bottom), belt,
            top - 0.03 * half, top,
        ], axis=1)  # fmt: skip
        x[:, 1:-1] += grown
        z += grown * np.array([-1, -1, 0, 0, 0, 1, 1])
        return np.stack([x, z], axis=-1)


def _bent(right: np.ndarray, takes: np.ndarray) -> np.ndarray:
    """Whole outlines ``[S, K, 2]`` of right halves ``[S, H, 2]``, their corners bent.

    Each corner becomes a quadratic Bézier curve that takes ``takes`` ``[H]`` metres of both sides,
    at most half. Unlike an arc that also bends corners that are hardly any.
    """
    left = right[:, -2:0:-1] * [-1.0, 1.0]
    corners = np.concatenate([right, left], axis=1)
    takes = np.concatenate([takes, takes[-2:0:-1]])[:, None]
    starts, ends = (
        corners + side * np.minimum(takes / np.linalg.norm(side, axis=-1, keepdims=True), 0.49)
        for side in (np.roll(corners, turn, axis=1) - corners for turn in (1, -1))
    )
    bends = np.stack([starts, 0.25 * starts + 0.5 * corners + 0.25 * ends, ends], axis=2)
    return bends.reshape(len(right), -1, 2)


@dataclass(frozen=True)
class _Car:
    """A body with what is cut off it and where its parts belong."""

    style: str
    body: _Body
    arches: Manifold
    axles: tuple[float, float]
    wheel: float
    cabin: tuple[float, float]

    # Skins over the body, each proud of the one before it, so that no two colours share a face.

    @cached_property
    def paint(self) -> Manifold:
        """For stripes and lines."""
        return self.body.solid(0.003)

    @cached_property
    def fittings(self) -> Manifold:
        """For glass, lamps, grilles and bumpers."""
        return self.body.solid(0.008)

    @cached_property
    def plates(self) -> Manifold:
        """For number plates and door handles."""
        return self.body.solid(0.018)

    @property
    def front(self) -> float:
        return -self.body.length / 2

    @property
    def rear(self) -> float:
        return self.body.length / 2


def make(random: np.random.Generator) -> list[Part]:
    """Draw one car."""
    weights = {name: style.weight for name, style in _STYLES.items()}
    car = _car(random, draw_kind(random, weights))
    color = varied(random, pick(random, _LACQUERS), 0.03)
    parts = [Part(car.body.solid(), color)]
    if car.style != "convertible":
        parts.append(Part(_glass(random, car), _GLASS))
    parts += _face(random, car)
    parts += _lines(random, car, color)
    parts.append(Part(car.arches, _BLACK, cut=True))
    if car.style == "pickup":
        parts.append(Part(_bed(car), shaded(color, 0.8), cut=True))
    if car.style == "convertible":
        parts += _cockpit(random, car)
        parts += _windscreen(random, car, color)
    parts += _wheels(random, car)
    parts += _mirrors(random, car, color)
    return parts + _extras(random, car, color)


def _car(random: np.random.Generator, name: str) -> _Car:
    style = _STYLES[name]
    length, width, height = (
        random.uniform(*span) for span in (style.length, style.width, style.height)
    )
    knots = np.array(style.top)
    knots[1:-1] += random.uniform(-1.0, 1.0, (len(knots) - 2, 2)) * [0.009, 0.008]
    boxy = name in ("bus", "van", "jeep")
    if boxy:
        knots = np.array(style.top)
    top = rounded(knots * [length, height], random.uniform(0.3, 1.6), 3, closed=False)
    top = top[np.append(True, np.diff(top[:, 0]) > 1e-4)]
    belt = height * (np.array(style.belt) + random.uniform(-0.012, 0.012))
    above = height - float(belt.mean())
    lean = 0.5 * width * (0.96 - random.uniform(*style.roof_width)) / max(above, 0.3)
    taper = (random.uniform(0.03, 0.06), random.uniform(0.01, 0.03)) if boxy else (
        random.uniform(0.08, 0.17), random.uniform(0.06, 0.14))  # fmt: skip
    body = _Body(
        length,
        width,
        height,
        random.uniform(*style.clearance),
        top,
        (float(belt[0]), float(belt[1])),
        float(lean),
        taper,
        random.uniform(0.06, 0.14) * (1.6 if name in ("van", "bus") else 1.0),
    )
    axles = ((style.axles[0] - 0.5) * length, (0.5 - style.axles[1]) * length)
    # The arches stay under the bonnet and the boot.
    lowest = min(float(body.top_at(y)) for axle in axles for y in (axle - 0.3, axle, axle + 0.3))
    wheel = min(random.uniform(*style.wheel), (lowest - 0.09) / (1.02 + _ARCH))
    arches = [
        cylinder(
            _ARCH * wheel,
            (x, y, 1.02 * wheel),
            (x + (0.9 if x > 0 else -0.9), y, 1.02 * wheel),
            segments=32,
        )
        for x in (-0.5 * width + 0.78 * wheel, 0.5 * width - 0.78 * wheel)
        for y in axles
    ]
    cabin = (style.cabin[0] * length, style.cabin[1] * length)
    return _Car(name, body, union(arches), axles, wheel, cabin)


# Glass --------------------------------------------------------------------------------------------


def _glass(random: np.random.Generator, car: _Car) -> Manifold:
    """Side windows between pillars, windscreen and rear window."""
    panes = [_side_pane(car, start, end) for start, end in _bays(random, car)]
    regions = [pane for pane in panes if pane is not None]
    regions.append(_end_pane(car, rear=False))
    if not (car.style == "van" and random.random() < 0.5):
        regions.append(_end_pane(car, rear=True))
    return car.fittings ^ union(regions)


def _bays(random: np.random.Generator, car: _Car) -> list[tuple[float, float]]:
    """Where side windows begin and end along y: between them stand the pillars."""
    start, end = car.cabin
    post, count = random.uniform(0.05, 0.1), pick(random, _STYLES[car.style].panes)
    if car.style == "van" and random.random() < 0.4:
        end, count = car.rear - 0.3, int(random.integers(2, 4))  # one for passengers
    edges = np.linspace(start, end, count + 1)
    if count > 1 and car.style != "bus":
        edges[1:-1] += random.uniform(-0.08, 0.08, count - 1)
    return [(a + post / 2, b - post / 2) for a, b in pairwise(edges)]


def _side_pane(car: _Car, start: float, end: float) -> Manifold | None:
    """A prism along x under the roof's edge; None where the roof leaves no room."""
    body = car.body
    y = np.linspace(start, end, 15)
    margin = np.linspace(-0.05, 0.05, 5) * body.height
    roof = body.top_at(y[:, None] + margin).min(axis=1) - 0.5 * body.edge - 0.045 * body.height
    sill = body.belt_at(y) + 0.025
    kept = roof > sill + 0.03
    if kept.sum() < 3:
        return None
    y, roof, sill = y[kept], roof[kept], sill[kept]
    outline = np.stack([np.concatenate([y, y[::-1]]), np.concatenate([sill, roof[::-1]])], axis=1)
    return extrude(outline, -_FAR, _FAR, "x")


def _end_pane(car: _Car, rear: bool) -> Manifold:
    """A prism along y that cuts the windscreen or the rear window out of the skin."""
    body = car.body
    slope = _slope(car, rear)
    low = slope[-1, 1] + 0.04 * body.height
    high = slope[0, 1] - 0.03 * body.height - 0.3 * body.edge
    post = 0.055 + 0.35 * body.edge
    bottom, top = (float(np.interp(z, slope[::-1, 1], slope[::-1, 0])) for z in (low, high))
    wide, narrow = body.side(bottom, low) - post, body.side(top, high) - post
    outline = rounded([(-wide, low), (wide, low), (narrow, high), (-narrow, high)], 0.06, 3)
    return extrude(outline, top, _FAR, "y") if rear else extrude(outline, -_FAR, top, "y")


def _slope(car: _Car, rear: bool) -> np.ndarray:
    """The side view's line ``[K, 2]`` from the roof down the windscreen or the rear window.

    It ends at the belt, or before that where the line turns level: on a bonnet or a boot.
    """
    body = car.body
    line = body.top if rear else body.top[::-1]
    steps = np.diff(line, axis=0)
    steep = steps[:, 1] < -0.15 * np.abs(steps[:, 0])
    upper = line[:-1, 1] > 0.88 * body.height
    start = int(np.flatnonzero(steep & upper)[0])
    end = start + 1
    while end < len(steps) and (steep[end] or line[end, 1] > 0.9 * body.height):
        end += 1
    floor = float(body.belt_at(line[end, 0])) - 0.01
    heights = np.maximum(line[start : end + 1, 1], floor)
    return np.stack([line[start : end + 1, 0], np.minimum.accumulate(heights)], axis=1)


# Wheels -------------------------------------------------------------------------------------------


def _wheels(random: np.random.Generator, car: _Car) -> list[Part]:
    """Four wheels on two axles."""
    radius, wide = car.wheel, car.wheel * random.uniform(0.56, 0.7)
    rim = radius * random.uniform(0.58, 0.72)
    alloy = varied(random, pick(random, (METALS[0], METALS[0], METALS[1], METALS[2], _BLACK)), 0.03)
    pieces = _wheel(random, radius, rim, wide, alloy)
    places = [(float(car.body.half_width(y)) - 0.5 * wide - 0.015, y, radius) for y in car.axles]
    axles = [cylinder(0.2 * z, (-x, y, z), (x, y, z), segments=10) for x, y, z in places]
    # Turned around Z with the outside above; +Z becomes +X.
    wheels = [
        Part(
            both_sides(union([placed(piece.solid, at, (0.0, 90.0, 0.0)) for at in places])),
            piece.color,
        )
        for piece in pieces
    ]
    return [*wheels, Part(union(axles), _BLACK)]


def _wheel(
    random: np.random.Generator, radius: float, rim: float, wide: float, alloy: Color
) -> list[Part]:
    """A tyre, a rim with spokes or a hub cap, and the brake behind it; the outside is +Z."""
    half, shoulder = 0.5 * wide, 0.1 * radius
    section = round_section()[::2]
    tyre = np.array([
        (rim, -half), (radius - shoulder, -half), (radius, -half + shoulder),
        (radius, half - shoulder), (radius - shoulder, half), (rim, half - 0.02 * radius),
        (rim - 0.02, 0.0),
    ])  # fmt: skip
    ring = np.array([
        (rim + 0.012, 0.5 * half), (rim + 0.012, half - 0.006), (rim - 0.1 * rim, half - 0.002),
        (rim - 0.14 * rim, 0.5 * half),
    ])  # fmt: skip
    backing = cylinder(rim + 0.005, (0, 0, -0.8 * half), (0, 0, 0.45 * half))
    parts = [
        Part(turned(tyre, section, closed=True), (0.09, 0.09, 0.09)),
        Part(backing, (0.17, 0.17, 0.18)),
    ]
    bright = turned(ring, section, closed=True)
    if random.random() < 0.25:
        cap = [(0.92 * rim, 0.3 * half), (0.9 * rim, 0.75 * half), (0.45 * rim, 0.9 * half),
               (0.3 * rim, 1.02 * half), (0.05 * rim, 1.04 * half)]  # fmt: skip
        return [*parts, Part(bright + turned(np.array(cap), section), alloy)]
    count = int(random.choice([3, 5, 5, 5, 6, 7, 8, 10, 12]))
    slim = 2.2 * rim / count * random.uniform(0.3, 0.6)
    outline = [(0.1 * rim, -slim / 2), (0.95 * rim, -0.35 * slim), (0.95 * rim, 0.35 * slim),
               (0.1 * rim, slim / 2)]  # fmt: skip
    spoke = extrude(outline, 0.4 * half, 0.85 * half)
    spokes = union([spoke.rotate((0, 0, 360.0 * number / count)) for number in range(count)])
    hub = cylinder(0.24 * rim, (0, 0, 0.3 * half), (0, 0, 0.92 * half), 0.2 * rim, 16)
    return [*parts, Part(union([bright, spokes, hub]), alloy)]


# Faces, lines, mirrors ----------------------------------------------------------------------------


def _face(random: np.random.Generator, car: _Car) -> list[Part]:
    """Head and tail lamps, grille, bumpers, number plates."""
    body = car.body
    nose, tail = (float(body.top_at(y)) for y in (car.front + 0.15, car.rear - 0.12))
    half, low = 0.5 * body.width, body.clearance
    top = min(nose, float(body.belt_at(car.front))) - 0.035
    room = top - low
    lamps = _headlamps(random, car, low + 0.68 * room, top)
    grille = slab(
        (-random.uniform(0.3, 0.5) * half, car.front - 0.1, low + random.uniform(0.4, 0.6) * room),
        (0, car.front + 0.4, low + random.uniform(0.78, 0.95) * room),
    )
    intake = slab(
        (-0.55 * half, car.front - 0.1, low + 0.1 * room),
        (0.55 * half, car.front + 0.3, low + 0.27 * room),
    )
    chrome = random.random() < 0.35
    dark = [Manifold()]
    parts = [Part(car.fittings ^ lamps, _LAMP)]
    if random.random() < 0.8:
        opening = both_sides(grille) - lamps
        if chrome:
            parts.append(Part(car.fittings ^ opening, METALS[0]))
        else:
            dark.append(opening)
    if random.random() < 0.6:
        dark.append(intake)
    if car.style == "classic":
        parts.append(Part(_chrome_bumpers(car, low + 0.3 * room), METALS[0]))
    elif random.random() < 0.6:
        dark += [
            slab((-_FAR, y - 0.3, 0), (_FAR, y + 0.3, low + 0.23 * room))
            for y in (car.front, car.rear)
        ]
    parts.append(Part(car.fittings ^ union(dark), _BLACK))
    parts.append(Part(_tail_lamps(random, car, min(tail, float(body.belt_at(car.rear)))), _RED))
    plates = [
        slab((-0.26, y - 0.5, z), (0.26, y + 0.5, z + 0.11))
        for y, z in ((car.front, low + 0.36 * room), (car.rear, low + 0.42 * (tail - low)))
    ]
    return [*parts, Part(car.plates ^ union(plates), _PLATE)]


def _chrome_bumpers(car: _Car, height: float) -> Manifold:
    ends = [
        slab((-_FAR, y - 0.35, height - 0.07), (_FAR, y + 0.35, height + 0.06))
        for y in (car.front, car.rear)
    ]
    return car.body.solid(0.06) ^ union(ends)


def _headlamps(random: np.random.Generator, car: _Car, low: float, high: float) -> Manifold:
    """Where the headlamps cut the skin: round, rectangular or slit-eyed."""
    ends = float(car.body.half_width(car.front))
    middle, size = 0.5 * (low + high), 0.5 * (high - low)
    style = pick(random, ("round", "box", "slit", "slit", "box"))
    if style == "round":
        lamp = cylinder(
            size, (0.68 * ends, car.front - 0.1, middle), (0.68 * ends, car.front + 0.6, middle)
        )
        return both_sides(lamp)
    inner = random.uniform(0.42, 0.6) * ends
    if style == "box":
        lamp = slab((inner, car.front - 0.1, low + 0.2 * size), (_FAR, car.front + 0.32, high))
        return both_sides(lamp)
    outline = [(inner, middle - 0.25 * size), (1.2 * ends, middle), (1.2 * ends, high),
               (0.85 * ends, high), (inner, middle + 0.2 * size)]  # fmt: skip
    return both_sides(extrude(outline, car.front - 0.1, car.front + 0.55, "y"))


def _tail_lamps(random: np.random.Generator, car: _Car, top: float) -> Manifold:
    ends = float(car.body.half_width(car.rear))
    low = car.body.clearance
    high = top - 0.04
    style = pick(random, ("upright", "wide", "bar", "round"))
    size = 0.4 * (high - low)
    boxes = {
        "upright": ((0.76 * ends, high - 1.2 * size), (_FAR, high)),
        "wide": ((0.5 * ends, high - 0.45 * size), (_FAR, high)),
        "bar": ((-0.1, high - 0.3 * size), (_FAR, high - 0.02)),
        "round": ((0.55 * ends, high - 0.6 * size), (0.9 * ends, high)),
    }
    (x0, z0), (x1, z1) = boxes[style]
    lamp = slab((x0, car.rear - 0.22, z0), (x1, car.rear + 0.2, z1))
    if style == "round":
        rings = [
            cylinder(0.26 * size, (x * ends, car.rear - 0.4, z), (x * ends, car.rear + 0.2, z))
            for x, z in ((0.6, high - 0.35 * size), (0.82, high - 0.35 * size))
        ]
        lamp = union(rings)
    return car.fittings ^ both_sides(lamp)


def _lines(random: np.random.Generator, car: _Car, color: Color) -> list[Part]:
    """Gaps around the doors, door handles, dark sills, stripes."""
    body = car.body
    edges = _door_edges(car)
    high = float(body.belt_at(edges[0])) + 0.02
    sill = body.clearance + random.uniform(0.04, 0.1) * body.height
    low, thin, inner = sill + 0.01, 0.009, 0.35 * body.width
    strokes = [slab((inner, y - thin, low), (_FAR, y + thin, high)) for y in edges]
    strokes.append(slab((inner, edges[0], low), (_FAR, edges[-1], low + 2 * thin)))
    parts = [Part(car.paint ^ both_sides(union(strokes)), shaded(color, 0.35))]
    handles = [
        slab((inner, y - 0.24, high - 0.13), (_FAR, y - 0.08, high - 0.1)) for y in edges[1:]
    ]
    handle_color = pick(random, (color, _BLACK, METALS[0]))
    parts.append(Part(car.plates ^ both_sides(union(handles)), handle_color))
    if random.random() < 0.5:
        trim = slab((-_FAR, -_FAR, 0), (_FAR, _FAR, sill))
        parts.append(Part(car.paint ^ trim, _BLACK))
    if car.style in ("sports", "mid-engined", "convertible", "hatchback") and random.random() < 0.3:
        parts.append(Part(_racing_stripes(random, car), pick(random, _LACQUERS)))
    elif car.style in ("van", "bus") and random.random() < 0.6:
        level = random.uniform(0.25, 0.4) * body.height
        band = slab((-_FAR, -_FAR, level), (_FAR, _FAR, level + random.uniform(0.1, 0.4)))
        parts.append(Part(body.solid(0.0015) ^ band, varied(random, pick(random, _LACQUERS))))
    elif car.style not in ("convertible", "pickup", "bus") and random.random() < 0.15:
        level = pick(random, (0.9 * body.height, max(body.belt) + 0.03))
        roof = slab((-_FAR, -_FAR, level), (_FAR, _FAR, _FAR))
        parts.append(Part(car.paint ^ roof, pick(random, (_BLACK, _LACQUERS[0]))))
    return parts


def _door_edges(car: _Car) -> np.ndarray:
    """Where doors begin and end along y: one or two on each side, between the wheels."""
    length = car.body.length
    cabin = (-0.15 * length, 0.14 * length) if car.style == "convertible" else car.cabin
    start = max(cabin[0] + 0.04 * length, car.axles[0] + 1.25 * car.wheel)
    end = max(start + 0.7, min(cabin[1], car.axles[1] + 0.2 * car.wheel))
    if end - start < 1.5 or car.style in ("sports", "mid-engined", "van"):
        return np.array([start, min(end, start + 1.25)])
    return np.linspace(start, end, 3)


def _racing_stripes(random: np.random.Generator, car: _Car) -> Manifold:
    """One or two stripes over bonnet, roof and boot."""
    inner, outer = pick(random, ((0.05, 0.22), (0.0, 0.2), (0.2, 0.34)))
    stripe = slab((inner - 0.001, -_FAR, 0.3 * car.body.height), (outer, _FAR, _FAR))
    return car.body.solid(0.0015) ^ both_sides(stripe)


def _mirrors(random: np.random.Generator, car: _Car, color: Color) -> list[Part]:
    body = car.body
    y = car.cabin[0] + 0.07 * body.length if car.style != "convertible" else -0.14 * body.length
    if car.style in ("bus", "van"):
        y = car.front + 0.25
    z = float(body.belt_at(y)) + 0.09
    x = body.side(y, z) + 0.09
    size = random.uniform(0.85, 1.15)
    tall = 2.0 if car.style in ("bus", "van") else 1.0
    glass = ellipsoid((0.095 * size, 0.055 * size, 0.065 * size * tall), (x, y, z), 16)
    # The arm reaches down to where the body is there for sure.
    foot = (x - 0.28, y + 0.12, min(z - 0.12, float(body.top_at(y + 0.12)) - 0.1))
    arm = cylinder(0.025, (x, y, z), foot, segments=8)
    return [Part(both_sides(glass + arm), pick(random, (color, color, _BLACK)))]


# Open cars and beds -------------------------------------------------------------------------------


def _bed(car: _Car) -> Manifold:
    """What a pickup's bed leaves empty."""
    body = car.body
    start, end = car.cabin[1] + 0.07 * body.length, car.rear - 0.07
    half = 0.5 * body.width - 0.14
    deck = max(0.55, body.clearance + 0.3)
    return slab((-half, start, deck), (half, end, _FAR))


def _cockpit_hole(car: _Car) -> Manifold:
    """What a convertible's cockpit leaves empty."""
    body = car.body
    half = 0.5 * body.width - 0.16
    size = (2 * half, 0.36 * body.length, 2.0)
    return box(size, (0, 0.02 * body.length, body.clearance + 0.12 + 1.0), 0.08)


def _cockpit(random: np.random.Generator, car: _Car) -> list[Part]:
    """The hole, seats, dashboard and steering wheel."""
    body = car.body
    leather = varied(random, pick(random, (*FABRICS, (0.5, 0.2, 0.1), _BLACK)))
    floor = body.clearance + 0.1
    x = 0.22 * body.width
    rows = [0.05] if body.length < 4.3 or random.random() < 0.5 else [0.0, 0.14]
    seats = []
    for share in rows:
        y = share * body.length
        cushion = box((0.48, 0.5, 0.28), (x, y, floor + 0.13), 0.06)
        back = placed(
            box((0.48, 0.16, 0.72), (0, 0, 0.3), 0.06), (x, y + 0.27, floor + 0.16), (-14, 0, 0)
        )
        seats.append(cushion + back)
    start = -0.16 * body.length
    dash = box(
        (body.width - 0.3, 0.3, 0.3), (0, start + 0.08, float(body.belt_at(start)) - 0.13), 0.05
    )
    wheel = round_section()[::3] * 0.18
    ring = sweep(np.insert(wheel, 2, 0.0, axis=1), 0.017, closed=True)
    bar = box((0.36, 0.045, 0.03)) + cylinder(0.03, (0, 0, 0), (0, 0, -0.35), segments=10)
    place = (x, start + 0.4, float(body.belt_at(start)) + 0.02)
    steering = placed(ring + bar, place, (-65.0, 0.0, 0.0))
    return [
        Part(_cockpit_hole(car), shaded(leather, 0.5), cut=True),
        Part(both_sides(union(seats)), leather),
        Part(dash, _BLACK),
        Part(steering, _BLACK),
    ]


def _windscreen(random: np.random.Generator, car: _Car, color: Color) -> list[Part]:
    """A raked pane in a frame; at times a folded roof or a roll bar behind the seats."""
    body = car.body
    y = -0.175 * body.length
    base = float(body.top_at(y)) - 0.06
    low, high = 0.5 * body.width - 0.1, 0.5 * body.width - 0.24
    tall, bar = random.uniform(0.4, 0.5), 0.035
    outer = rounded([(-low, 0), (low, 0), (high, tall), (-high, tall)], 0.08, 3)
    inner = rounded(
        [(-low + bar, bar), (low - bar, bar), (high - bar, tall - bar), (-high + bar, tall - bar)],
        0.06,
        3,
    )
    rake = (-random.uniform(32.0, 48.0), 0.0, 0.0)
    frame = placed(extrude(outer, -0.022, 0.022, "y"), (0, y, base), rake)
    pane = placed(extrude(inner, -0.03, 0.03, "y"), (0, y, base), rake)
    parts = [Part(frame, pick(random, (color, _BLACK, METALS[0]))), Part(pane, (0.45, 0.55, 0.6))]
    end = 0.2 * body.length
    extra = pick(random, ("hood", "hoops", "none"))
    top = float(body.top_at(end))
    if extra == "hood":
        folded = box((body.width - 0.36, 0.34, 0.2), (0, end + 0.05, top + 0.02), 0.08)
        parts.append(Part(folded, varied(random, pick(random, (_BLACK, (0.35, 0.2, 0.14))))))
    elif extra == "hoops":
        corners = [(0.1, 0, -0.2), (0.1, 0, 0.2), (0.52, 0, 0.2), (0.52, 0, -0.2)]
        path = rounded(corners, 0.12, 4, closed=False)
        hoop = placed(sweep(path, 0.028), (0, 0.2 * body.length + 0.02, top))
        parts.append(Part(both_sides(hoop), METALS[0]))
    return parts


# Extras -------------------------------------------------------------------------------------------


def _extras(random: np.random.Generator, car: _Car, color: Color) -> list[Part]:
    """What some cars have: rails, spoilers, exhausts, a spare wheel, a sign or a light bar."""
    parts: list[Part] = []
    style = car.style
    if style in ("estate", "off-roader", "minivan", "jeep") and random.random() < 0.5:
        parts += _roof_rails(random, car)
    if style in ("sports", "mid-engined", "saloon") and random.random() < (
        0.2 if style == "saloon" else 0.5
    ):
        parts += _spoiler(random, car, color)
    if style in ("hatchback", "off-roader", "estate") and random.random() < 0.4:
        parts.append(Part(_roof_lip(car), color))
    if style in ("jeep", "off-roader") and random.random() < (0.7 if style == "jeep" else 0.15):
        parts += _spare_wheel(random, car)
    if style in ("saloon", "estate", "minivan") and random.random() < 0.15:
        parts += _roof_sign(random, car)
    if style not in ("bus", "van") and random.random() < 0.6:
        z, y = car.body.clearance + 0.05, car.rear
        pipe = cylinder(0.045, (0, y - 0.5, z), (0, y + 0.02, z), segments=14)
        places = pick(random, ((0.45,), (-0.45, 0.45), (0.0,)))
        pipes = [pipe.translate((x * 0.62 * car.body.width, 0, 0)) for x in places]
        parts.append(Part(union(pipes), METALS[1]))
    if style == "pickup" and random.random() < 0.3:
        parts += _roll_bar(car)
    return parts


def _roof_rails(random: np.random.Generator, car: _Car) -> list[Part]:
    body = car.body
    start, end = (float(v) for v in np.quantile(np.array(car.cabin), [0.42, 0.88]))
    z = min(float(body.top_at(y)) for y in (start, end))
    x = body.side(0.5 * (start + end), body.height) - 0.1
    path = rounded(
        [(x, start, z - 0.1), (x, start, z + 0.07), (x, end, z + 0.07), (x, end, z - 0.1)],
        0.06,
        closed=False,
    )
    rails = both_sides(sweep(path, 0.02))
    if random.random() < 0.5:
        bars = [
            box((2 * x, 0.06, 0.03), (0, y, z + 0.07))
            for y in (start + 0.25 * (end - start), start + 0.75 * (end - start))
        ]
        rails = rails + union(bars)
    return [Part(rails, pick(random, (METALS[0], _BLACK)))]


def _spoiler(random: np.random.Generator, car: _Car, color: Color) -> list[Part]:
    """A wing on two posts over the boot, so that light passes under it."""
    body = car.body
    y = car.rear - 0.2
    z = float(body.top_at(y))
    rise = random.uniform(0.1, 0.24)
    half = 0.42 * body.width
    blade = box((2 * half, 0.22, 0.035), (0, y, z + rise), 0.012)
    ends = both_sides(box((0.02, 0.26, 0.14), (half, y, z + rise - 0.02)))
    posts = both_sides(box((0.04, 0.12, rise + 0.12), (0.55 * half, y, z + rise / 2 - 0.06)))
    return [Part(blade + ends + posts, pick(random, (color, _BLACK)))]


def _roof_lip(car: _Car) -> Manifold:
    """A small lip that carries the roof on over the rear window."""
    body = car.body
    y, z = _slope(car, rear=True)[0]
    half = body.side(y, z) - 0.08
    return box((2 * half, 0.4, 0.05), (0, y + 0.08, z - 0.02), 0.02)


def _spare_wheel(random: np.random.Generator, car: _Car) -> list[Part]:
    pieces = _wheel(random, 0.92 * car.wheel, 0.58 * car.wheel, 0.22, METALS[1])
    z = max(0.52 * car.body.height, car.body.clearance + 1.1 * car.wheel)
    carrier = cylinder(0.12, (0, car.rear - 0.3, z), (0, car.rear + 0.1, z))
    place = (0, car.rear + 0.08, z)
    wheel = [Part(placed(piece.solid, place, (-90.0, 0, 0)), piece.color) for piece in pieces]
    return [*wheel, Part(carrier, _BLACK)]


def _roof_sign(random: np.random.Generator, car: _Car) -> list[Part]:
    """A taxi's sign, or the light bar of the police."""
    body = car.body
    y = 0.5 * (car.cabin[0] + car.cabin[1])
    z = float(body.top_at(y))
    if random.random() < 0.5:
        return [Part(box((0.5, 0.2, 0.2), (0, y, z + 0.06), 0.05), (0.95, 0.8, 0.2))]
    base = box((1.0, 0.24, 0.08), (0, y, z + 0.02), 0.02)
    lamp = box((0.42, 0.22, 0.12), (0.27, y, z + 0.08), 0.04)
    return [
        Part(base, METALS[1]),
        Part(lamp, (0.1, 0.25, 0.85)),
        Part(placed(lamp, (-0.54, 0, 0)), _RED),
    ]


def _roll_bar(car: _Car) -> list[Part]:
    body = car.body
    y, half = car.cabin[1] + 0.09 * body.length, 0.5 * body.width - 0.1
    deck, roof = 0.9 * float(body.top_at(y + 0.3)), 0.97 * body.height
    path = rounded(
        [(-half, y, deck), (-0.8 * half, y, roof), (0.8 * half, y, roof), (half, y, deck)],
        0.15,
        closed=False,
    )
    return [Part(sweep(path, 0.035), _BLACK)]
