"""Turned bodies with a section of any form: what mugs, bottles and lamps are made of.

A profile is a curve ``[R, 2]`` of (radius, height) from the bottom up; a section is an outline
``[K, 2]`` of about unit radius that a profile's radii scale.
"""

from __future__ import annotations

import numpy as np
from manifold3d import Manifold
from scipy.interpolate import PchipInterpolator

from .solids import Vector, loft, rounded, superellipse

_SEGMENTS = 48  # around a section


def profile(points: Vector | list[tuple[float, float]], count: int = 24) -> np.ndarray:
    """A smooth curve ``[count, 2]`` through points ``[P, 2]`` that never overshoots them.

    It is monotone between points (Fritsch and Carlson 1980), so that a straight wall stays straight
    and nothing bulges where no point does.
    """
    knots = np.asarray(points, dtype=float)
    lengths = np.linalg.norm(np.diff(knots, axis=0), axis=1)
    place = np.concatenate([[0.0], np.cumsum(lengths)])
    return PchipInterpolator(place, knots)(np.linspace(0.0, place[-1], count))


def round_section(exponent: float = 2.0, aspect: float = 1.0) -> np.ndarray:
    """A circle, or with an exponent above 2 a rounded square, ``aspect`` times as deep as wide."""
    return superellipse(1.0, aspect, exponent, _SEGMENTS)


def polygon_section(sides: int, softness: float = 0.2) -> np.ndarray:
    """A regular polygon with rounded corners, a side facing +X."""
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return rounded(corners, softness, 3)


def fluted_section(flutes: int, depth: float) -> np.ndarray:
    """A circle with waves of ``depth`` radii, a crest at +X."""
    angles = 2 * np.pi * np.arange(6 * flutes) / (6 * flutes)
    radii = 1.0 - depth * (0.5 - 0.5 * np.cos(flutes * angles))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def turned(curve: np.ndarray, section: np.ndarray, closed: bool = False) -> Manifold:
    """The solid of a section that follows a profile.

    Args:
        curve: Profile ``[R, 2]``, or with ``closed`` the outline of a wall around the axis.
        section: ``[K, 2]``.
        closed: Whether the last point of the profile joins the first instead of caps.
    """
    return loft(rings(curve, section), closed)


def rings(curve: np.ndarray, section: np.ndarray) -> np.ndarray:
    """The rings ``[R, K, 3]`` of :func:`turned`."""
    flat = curve[:, None, :1] * section
    height = np.broadcast_to(curve[:, None, 1:], (*flat.shape[:2], 1))
    return np.concatenate([flat, height], axis=2)


def hollow(outside: np.ndarray, inside: np.ndarray, section: np.ndarray) -> Manifold:
    """A vessel, open above: between an outer profile and an inner one, each from its floor up."""
    return turned(np.concatenate([outside, inside[::-1]]), section)


def stretch(curve: np.ndarray, low: float, high: float) -> np.ndarray:
    """The part of a rising profile between two heights."""
    inner = curve[(curve[:, 1] > low) & (curve[:, 1] < high)]
    ends = [(radius_at(curve, z), z) for z in (low, high)]
    return np.concatenate([ends[:1], inner, ends[1:]])


def radius_at(curve: np.ndarray, height: float) -> float:
    """The radius of a rising profile at a height."""
    return float(np.interp(height, curve[:, 1], curve[:, 0]))


def band(
    curve: np.ndarray, section: np.ndarray, low: float, high: float, proud: float, depth: float
) -> Manifold:
    """A ring of another colour around a body, between two heights.

    Args:
        curve: The body's rising profile.
        section: The body's.
        low: Where the band begins.
        high: Where it ends.
        proud: How far it stands out, above 0, lest two colours share a face.
        depth: How far it reaches into the body: less than a hollow body's wall.
    """
    part = stretch(curve, low, high)
    outer, inner = part + [proud, 0.0], part - [depth, 0.0]
    return turned(np.concatenate([outer, inner[::-1]]), section, closed=True)
