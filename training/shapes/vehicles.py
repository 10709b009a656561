"""What cars and airplanes have in common: blocks to cut skins with, and two like sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from manifold3d import Manifold

from .solids import Part, Vector, both_sides, box


def slab(low: Vector, high: Vector) -> Manifold:
    """The block between two opposite corners."""
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    return box(high - low, (low + high) / 2)


def on_both_sides(parts: Sequence[Part]) -> list[Part]:
    """Every part together with its mirror image."""
    return [Part(both_sides(part.solid), part.color) for part in parts]
