"""Solids to build shapes from: a thin layer over manifold3d, whose unions and cuts stay closed.

Metres, Z up, angles in degrees. ``axis`` is "x", "y" or "z". A ``Manifold`` has ``a + b`` (union),
``a - b`` (cut) and ``a ^ b`` (intersection) of its own. Parts that should hang together must
overlap a little: solids that merely touch stay apart.

An outline is a polygon ``[K, 2]`` whose last point joins its first, in either direction; a ring is
the same in space, ``[K, 3]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import manifold3d
import numpy as np
from manifold3d import CrossSection, Manifold, Mesh64, OpType
from scipy.interpolate import CubicSpline

Color = tuple[float, float, float]
Vector = Sequence[float] | np.ndarray

_SEGMENTS = 24  # around anything round
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Part:
    """A solid of one colour.

    Attributes:
        solid: In metres, Z up, the object's front towards -Y.
        color: sRGB in [0, 1].
        cut: Whether the solid is taken away from the parts before it, which then have its colour
            where it was.
    """

    solid: Manifold
    color: Color
    cut: bool = False


# Solids -------------------------------------------------------------------------------------------


def box(
    size: Vector, centre: Vector = (0.0, 0.0, 0.0), rounding: float = 0.0, segments: int = 2
) -> Manifold:
    """A box.

    Args:
        size: Lengths ``[3]`` along x, y and z.
        centre: Its middle.
        rounding: Radius of edges and corners, limited to half the shortest side.
        segments: Faces around a rounded edge.
    """
    half = np.asarray(size, dtype=float) / 2
    radius = min(rounding, 0.999 * float(half.min()))
    if radius <= 0:
        return Manifold.cube(_numbers(2 * half), center=True).translate(_numbers(centre))
    around, up = np.meshgrid(*[np.linspace(0.0, np.pi / 2, segments + 1)] * 2)
    octant = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], -1)
    corner = half - radius + radius * octant.reshape(-1, 3)
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(-1, 1, 3)
    return Manifold.hull_points((signs * corner).reshape(-1, 3) + np.asarray(centre, dtype=float))


def cylinder(
    radius: float,
    start: Vector,
    end: Vector,
    radius_end: float | None = None,
    segments: int = _SEGMENTS,
) -> Manifold:
    """A cylinder, or a cone's frustum, between two points in any direction.

    Args:
        radius: At ``start``.
        start: Middle of one cap.
        end: Middle of the other.
        radius_end: At ``end``; None for the same.
        segments: Faces around it; 4 makes a square bar, whose ``radius`` is half its diagonal.
    """
    start = np.asarray(start, dtype=float)
    along = np.asarray(end, dtype=float) - start
    length = float(np.linalg.norm(along))
    tip = radius if radius_end is None else radius_end
    upright = Manifold.cylinder(length, radius, tip, segments)
    if segments == 4:
        upright = upright.rotate((0.0, 0.0, 45.0))
    return stretched(upright, start, start + along / length)


def ellipsoid(
    radii: Vector, centre: Vector = (0.0, 0.0, 0.0), segments: int = _SEGMENTS
) -> Manifold:
    """An ellipsoid with half axes ``radii`` ``[3]``."""
    return Manifold.sphere(1.0, segments).scale(_numbers(radii)).translate(_numbers(centre))


def sphere(radius: float, centre: Vector = (0.0, 0.0, 0.0), segments: int = _SEGMENTS) -> Manifold:
    """A ball."""
    return ellipsoid((radius, radius, radius), centre, segments)


def revolve(profile: Vector | Sequence[Vector], segments: int = 2 * _SEGMENTS) -> Manifold:
    """Turn an outline around Z, as on a lathe.

    Args:
        profile: ``[K, 2]`` outline (r, z) of the section, r at least 0: begin and end at r = 0 for
            something solid, or go around the wall for something hollow.
        segments: Faces around the axis.
    """
    return _cross_section(profile).revolve(segments)


def extrude(
    outline: Vector | Sequence[Vector],
    low: float,
    high: float,
    axis: str = "z",
    rounding: float = 0.0,
    segments: int = 2,
) -> Manifold:
    """Give an outline thickness.

    Args:
        outline: ``[K, 2]`` in (y, z), (x, z) or (x, y) for the axes x, y and z.
        low: Where it begins along the axis.
        high: Where it ends.
        axis: Along which it is extruded.
        rounding: Radius of the edges at both ends; below the outline's smallest details.
        segments: Faces around a rounded edge.
    """
    points = _counter_clockwise(outline)
    steps = np.linspace(0.0, np.pi / 2, segments + 1) if rounding > 0 else np.array([np.pi / 2])
    inset, depth = rounding * (1.0 - np.sin(steps)), rounding * (1.0 - np.cos(steps))
    insets = np.concatenate([inset, inset[::-1]])
    levels = np.concatenate([low + depth, high - depth[::-1]])
    normals = _mitred_normals(points)
    rings = [
        np.insert(points - inset * normals, _AXES[axis], level, axis=1)
        for inset, level in zip(insets, levels, strict=True)
    ]
    return loft(np.stack(rings))


def loft(rings: np.ndarray | Sequence[np.ndarray], closed: bool = False) -> Manifold:
    """Stretch a skin over rings and cap both ends.

    Args:
        rings: ``[R, K, 3]``, in order along the body, each starting at corresponding points. A ring
            whose points coincide makes a tip.
        closed: Whether the last ring joins the first, as in a torus, instead of caps.

    Raises:
        ValueError: The skin is not closed, say because a ring has equal points.
    """
    rings = np.asarray(rings, dtype=float)
    count, size = rings.shape[:2]
    number = np.arange(count * size).reshape(count, size)
    rows = number if closed else number[:-1]
    a, b = rows, np.roll(rows, -1, axis=1)
    above = np.roll(number, -1, axis=0)[: len(rows)]
    d, c = above, np.roll(above, -1, axis=1)
    quads = [np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]
    faces = [quad.reshape(-1, 3) for quad in quads]
    if not closed:
        faces += [number[0][_cap(rings[0])[:, ::-1]], number[-1][_cap(rings[-1])]]
    return _manifold(rings.reshape(-1, 3), np.concatenate(faces))


def sweep(
    path: Vector | Sequence[Vector],
    section: float | np.ndarray,
    scale: Vector | None = None,
    closed: bool = False,
    up: Vector | None = None,
) -> Manifold:
    """Draw a section along a path, without twist.

    Args:
        path: ``[P, 3]``; see :func:`smooth_curve`. Bends must be wider than the section.
        section: Radius of a tube, or an outline ``[K, 2]`` (across, upwards).
        scale: ``[P]`` factors on the section.
        closed: Whether the path, which lies in a plane then, joins its ends.
        up: What is upwards in the section at the path's start; None where it does not matter.
    """
    points = np.asarray(path, dtype=float)
    outline = ellipse(section, section, 12) if isinstance(section, (int, float)) else section
    factors = np.ones(len(points)) if scale is None else np.asarray(scale, dtype=float)
    tangents = _tangents(points, closed)
    upwards = _frame(tangents[0])[1] if up is None else np.asarray(up, dtype=float)
    rings = []
    for point, tangent, factor in zip(points, tangents, factors, strict=True):
        # Parallel transport: the upward direction loses only what the path's turn takes.
        upwards = _unit(upwards - (upwards @ tangent) * tangent)
        axes = np.stack([np.cross(tangent, upwards), upwards])
        rings.append(point + factor * np.asarray(outline, dtype=float) @ axes)
    return loft(np.stack(rings), closed)


def sheet(points: Vector | Sequence[Vector] | np.ndarray, thickness: float) -> Manifold:
    """Give a curved sheet thickness, half of it to each side.

    Args:
        points: ``[R, C, 3]`` grid on the sheet, which must not touch itself.
        thickness: Below the sheet's tightest curvature.
    """
    grid = np.asarray(points, dtype=float)
    normals = _unit(np.cross(np.gradient(grid, axis=0), np.gradient(grid, axis=1)))
    front, back = grid + 0.5 * thickness * normals, grid - 0.5 * thickness * normals
    return loft(np.concatenate([front, back[:, ::-1]], axis=1))


# Moving and combining -----------------------------------------------------------------------------


def placed(solid: Manifold, offset: Vector = (0, 0, 0), turn: Vector = (0, 0, 0)) -> Manifold:
    """Turn a solid around the x, then the y, then the z axis by ``turn``, then move it."""
    return solid.rotate(_numbers(turn)).translate(_numbers(offset))


def stretched(solid: Manifold, start: Vector, end: Vector) -> Manifold:
    """Put a solid that stands on the Z axis from z = 0 to 1 between two points."""
    start = np.asarray(start, dtype=float)
    along = np.asarray(end, dtype=float) - start
    across, sideways = _frame(_unit(along))
    return solid.transform(np.stack([across, sideways, along, start], axis=1))


def mirrored(solid: Manifold, axis: str = "x") -> Manifold:
    """The mirror image, across the plane through the origin that ``axis`` stands on."""
    return solid.mirror(_numbers(np.eye(3)[_AXES[axis]]))


def both_sides(solid: Manifold, axis: str = "x") -> Manifold:
    """A solid together with its mirror image."""
    return solid + mirrored(solid, axis)


def union(solids: Sequence[Manifold]) -> Manifold:
    """All solids in one."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def warped(
    solid: Manifold, move: Callable[[np.ndarray], np.ndarray], spacing: float = 0.05
) -> Manifold:
    """Bend a solid.

    Args:
        solid: What to bend.
        move: From positions ``[V, 3]`` to new ones; must not fold the solid.
        spacing: Longest edge before bending.
    """
    return solid.refine_to_length(spacing).warp_batch(lambda points: move(np.asarray(points)))


# Curves -------------------------------------------------------------------------------------------


def ellipse(radius_x: float, radius_y: float, count: int = _SEGMENTS) -> np.ndarray:
    """Outline ``[count, 2]`` of an ellipse."""
    return superellipse(radius_x, radius_y, 2.0, count)


def superellipse(
    radius_x: float, radius_y: float, exponent: float, count: int = _SEGMENTS
) -> np.ndarray:
    """Outline ``[count, 2]`` of ``|x / a|^n + |y / b|^n = 1``, counter-clockwise from (a, 0).

    Args:
        radius_x: ``a``.
        radius_y: ``b``.
        exponent: ``n``: 2 is an ellipse, 4 and above a rectangle with round corners.
        count: Number of points, at equal angles as seen from the middle in the unit square.
    """
    angles = 2 * np.pi * np.arange(count) / count
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    reach = (np.abs(directions) ** exponent).sum(axis=1) ** (-1.0 / exponent)
    return directions * reach[:, None] * [radius_x, radius_y]


def rectangle(width: float, depth: float, rounding: float = 0.0, segments: int = 4) -> np.ndarray:
    """Outline of a rectangle around the origin, its corners rounded."""
    x, y = width / 2, depth / 2
    return rounded([(x, -y), (x, y), (-x, y), (-x, -y)], rounding, segments)


def rounded(
    points: Vector | Sequence[Vector], radius: float, segments: int = 4, closed: bool = True
) -> np.ndarray:
    """Replace the corners of an outline or a path by arcs that touch both sides.

    Args:
        points: ``[K, D]`` in the plane or in space; no three neighbours in one line.
        radius: Of the arcs; smaller where the sides are too short for it.
        segments: Of each arc.
        closed: Whether the last point joins the first; else both ends stay.

    Returns:
        ``[K * (segments + 1), D]``, fewer for an open path; the points themselves for no radius.
    """
    corners = np.asarray(points, dtype=float)
    if radius <= 0:
        return corners
    inner = slice(None) if closed else slice(1, -1)
    before = (np.roll(corners, 1, axis=0) - corners)[inner]
    after = (np.roll(corners, -1, axis=0) - corners)[inner]
    shorter = np.minimum(np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1))
    to_before, to_after = _unit(before), _unit(after)
    half = 0.5 * np.arccos(np.clip((to_before * to_after).sum(axis=1), -1.0, 1.0))
    touch = np.minimum(radius / np.tan(half), 0.49 * shorter)[:, None]  # corner to tangent point
    middle = corners[inner] + _unit(to_before + to_after) * touch / np.cos(half)[:, None]
    start = corners[inner] + touch * to_before - middle
    end = corners[inner] + touch * to_after - middle
    share = np.linspace(0.0, 1.0, segments + 1)[:, None, None]
    # Spherical interpolation between both radii of the arc, which are pi - 2 * half apart.
    turn = (np.pi - 2 * half)[:, None]
    arcs = (np.sin((1 - share) * turn) * start + np.sin(share * turn) * end) / np.sin(turn)
    path = (middle + arcs).transpose(1, 0, 2).reshape(-1, corners.shape[1])
    return path if closed else np.concatenate([corners[:1], path, corners[-1:]])


def smooth_curve(points: Vector | Sequence[Vector], count: int, closed: bool = False) -> np.ndarray:
    """A smooth curve through points: a cubic spline over the chords' lengths.

    Args:
        points: ``[P, D]``, of any dimension.
        count: Number of samples.
        closed: Whether the curve returns to the first point, which is then not repeated.

    Returns:
        ``[count, D]``, from the first point to the last.
    """
    knots = np.asarray(points, dtype=float)
    if closed:
        knots = np.concatenate([knots, knots[:1]])
    lengths = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    place = np.concatenate([[0.0], np.cumsum(lengths)])
    curve = CubicSpline(place, knots, bc_type="periodic" if closed else "not-a-knot")
    return curve(np.linspace(0.0, place[-1], count, endpoint=not closed))


# Helpers ------------------------------------------------------------------------------------------


def _manifold(vertices: np.ndarray, faces: np.ndarray) -> Manifold:
    """The solid of a skin: equal vertices merged, empty faces dropped, turned outwards."""
    places, number = np.unique(vertices, axis=0, return_inverse=True)
    faces = number.reshape(-1)[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    corners = places[faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    if volume < 0:
        faces = faces[:, ::-1]
    solid = Manifold(Mesh64(np.ascontiguousarray(places), np.ascontiguousarray(faces, np.uint64)))
    if solid.status() != manifold3d.Error.NoError:
        raise ValueError(f"these points do not make a closed solid: {solid.status().name}.")
    return solid


def _cap(ring: np.ndarray) -> np.ndarray:
    """Triangles ``[T, 3]`` of a ring ``[K, 3]``, wound as it runs; none for a tip."""
    if np.ptp(ring, axis=0).max() < 1e-9:
        return np.zeros((0, 3), dtype=np.int64)
    normal = np.cross(ring, np.roll(ring, -1, axis=0)).sum(axis=0)  # Newell's
    flat = ring @ np.stack(_frame(_unit(normal)), axis=1)
    return np.asarray(manifold3d.triangulate([np.ascontiguousarray(flat)]), dtype=np.int64)


def _cross_section(outline: Vector | Sequence[Vector]) -> CrossSection:
    return CrossSection([np.ascontiguousarray(_counter_clockwise(outline))])


def _counter_clockwise(outline: Vector | Sequence[Vector]) -> np.ndarray:
    points = np.asarray(outline, dtype=float)
    following = np.roll(points, -1, axis=0)
    twice_area = (points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum()
    return points if twice_area > 0 else points[::-1]


def _mitred_normals(points: np.ndarray) -> np.ndarray:
    """``[K, 2]`` such that ``points + d * normals`` moves every side outwards by ``d``."""
    along = _unit(np.roll(points, -1, axis=0) - points)
    outwards = np.stack([along[:, 1], -along[:, 0]], axis=1)
    before = np.roll(outwards, 1, axis=0)
    return (before + outwards) / (1.0 + (before * outwards).sum(axis=1, keepdims=True))


def _tangents(points: np.ndarray, closed: bool) -> np.ndarray:
    if closed:
        return _unit(np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0))
    steps = _unit(np.diff(points, axis=0))
    return _unit(np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]]))


def _frame(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that make a right-handed frame with a third, a unit vector.

    For the z axis they are x and y; for level directions the second one is upwards.
    """
    upright = abs(direction[2]) > 0.999
    hint = np.array([0.0, 1.0, 0.0]) if upright else np.array([0.0, 0.0, 1.0])
    across = _unit(np.cross(hint, direction))
    return across, np.cross(direction, across)


def _numbers(vector: Vector) -> list[float]:
    return np.asarray(vector, dtype=float).tolist()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
