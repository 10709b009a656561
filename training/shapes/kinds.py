"""Drawing one kind of a category, some more often than others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def draw_kind(random: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One of the names, each as often as its weight says; the weights need not sum to 1."""
    shares = np.array(list(weights.values()), dtype=float)
    return str(random.choice(list(weights), p=shares / shares.sum()))
