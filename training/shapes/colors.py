"""Colours that things of the same material have, sRGB in [0, 1], and how to draw by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from .solids import Color

Item = TypeVar("Item")


def _hex(*codes: str) -> tuple[Color, ...]:
    pairs = [[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in codes]
    return tuple((r, g, b) for r, g, b in pairs)


# Beech, oak, ash, pine, teak, cherry, walnut, mahogany, wenge, ebonised.
WOODS = _hex(
    "d8b285",
    "c39a63",
    "d9c3a0",
    "dcb577",
    "a8703f",
    "9c5a35",
    "6b4529",
    "5e2f22",
    "43322a",
    "2b2523",
)
PAINTS = _hex(
    "f1efe9", "2a2a2c", "b23a2e", "d9a32b", "3f6f8f", "5b7f5e", "8fa9a8", "d6cfc0", "70425a"
)
FABRICS = _hex(
    "8c8f91", "4b5058", "bfb5a2", "d8d0c0", "35506e", "2f4a3f", "7a3b36", "a8653d", "c28f2c",
    "6e5a7e", "94a58d", "d4a59a", "5f7f94", "222326",
)  # fmt: skip
LEATHERS = _hex("5a3a26", "7b4b2a", "a56d3f", "2c211c", "1f1e1f", "6e2a22", "c9b391", "e6ded0")
METALS = _hex("c4c7ca", "9a9da1", "4a4c50", "232427", "b8935a", "a9745a")
PLASTICS = _hex("eeeeec", "26272a", "c23b2b", "e0b12f", "2f6d9c", "4f8f6a", "9aa3a8", "e28a3c")
CERAMICS = _hex(
    "f4f2ec", "ece6d8", "dfe6e6", "2d3033", "7f9aa8", "8fa58c", "b7654a", "d9b9a0", "31506f"
)


def pick(random: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of ``items``, whatever they are."""
    return items[int(random.integers(len(items)))]


def pick_weighted(random: np.random.Generator, weights: Mapping[Item, float]) -> Item:
    """One of the keys, with probabilities in proportion to their weights."""
    shares = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(shares, random.random() * shares[-1], side="right"))]


def varied(random: np.random.Generator, color: Color, amount: float = 0.04) -> Color:
    """A colour like the given one, a little lighter or darker and warmer or colder."""
    light, warm = random.uniform(-amount, amount), random.uniform(-amount, amount) / 2
    return _clipped(np.array(color) + light + np.array([warm, 0.0, -warm]))


def shaded(color: Color, factor: float) -> Color:
    """A colour made darker (``factor`` below 1) or lighter."""
    return _clipped(np.array(color) * factor)


def _clipped(values: np.ndarray) -> Color:
    r, g, b = values.clip(0.02, 0.97).tolist()
    return r, g, b
