"""Hollows that no silhouette shows: where photographs prove that the surface lies deeper.

A hollow begins as a lid many cells above the truth. Three things open it:

* :func:`open_hollows`, on a coarse grid, before the fit: what most of the views that see a point
  contradict cannot be surface, whatever lies below, and goes (K. Kutulakos and S. Seitz, "A Theory
  of Shape by Space Carving", 2000). Theirs judges each voxel alone and cannot stop where
  photographs are noisy; here the evidence is averaged around a point, must not be what a small
  motion would explain, and only pulls: the silhouettes' bounds hold and the bending energy acts;
* :func:`sweep`, in the first looks of the fit: where photographs that contradict each other agree
  much better at some depth, the surface goes down towards it (planes do that for R. Collins, "A
  Space-Sweep Approach to True Multi-Image Matching", 1996);
* a carved region stays so only if the photographs agree much better there than before, each
  predicted from the others, and a swept one if they agree better at all (:func:`unproven`), as the
  fit is not done with it. Highlights, which no depth explains, chance agreement of fine patterns,
  and thin walls dented from the other side are undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from scipy.ndimage import binary_dilation, label, maximum_filter
from torch import Tensor

from ...geometry.fair_hull import Fairing, folded_target, prolonged
from ...geometry.silhouettes import Silhouettes, folded
from ...views import Views
from .surface import (
    DISAGREEMENT,
    Photographs,
    Surface,
    disagreements_at,
    find_surface,
    hull_faith,
    look,
    mean_error,
    minus_mean,
    residual_of,
    spread,
)

MANY_VIEWS = 12
"""So many photographs may open hollows; the two or three of few that see a point agree anyway."""

DEPTHS = (1, 2, 3, 4, 6, 8)
"""Cells below the surface at which a sweep looks."""

NO_CONTRADICTION = 0.007
"""Difference of colours below which photographs need no other depth."""

MUCH_BETTER = 0.7
"""Share of the disagreement at the surface below which that at a depth must be."""

STRIDE = 2.0
"""Most cells that a sweep lets the surface go down at once."""

SWEPT = 0.1
"""Certainty of a depth that a sweep found where photographs agree there entirely."""

ROUNDS = 30
"""Looks at the photographs on the coarse grid."""

STEPS = 8
"""ADMM steps between two looks, here and in the fit."""

FEWEST = 3
"""Views that must see a point before they may contradict each other."""

MOST = 0.7
"""Share of the views' weight that is the most a highlight may spare."""

CONTRADICTED = 0.015
"""Difference of colours from which that share of the views contradicts a point."""

NEARBY = 1 / 64
"""Part of the cube's edge by which a point may be off without being carved away."""

UNEXPLAINED = 1.5
"""How often the difference must exceed what a motion by :data:`NEARBY` changes."""

CARVED = 0.02
"""Weight of a carved point's pull beside the bending energy."""

PROVEN = 0.85
"""Share of a carved region's error that may be left, or it is filled again."""

BETTER = 0.95
"""Share of a swept region's error that may be left, or it goes back."""


def open_hollows(
    silhouettes: Silhouettes,
    start: np.ndarray,
    resolution: int,
    views: Views,
    device: torch.device,
    progress: Callable[[float], None],
) -> np.ndarray:
    """Carve hollows out of a fair hull.

    Args:
        silhouettes: Of the views.
        start: The fair hull's field in cells, at any resolution.
        resolution: R of the coarse grid on which they are found.
        views: In the unit cube.
        device: Where colours are looked up.
        progress: Told the share of the work done; may raise to stop.

    Returns:
        ``[R, R, R]`` by how much the field goes down, in cells of the coarse grid; 0 outside the
        hollows.
    """
    photographs = Photographs.shrunk(views, 4, device)
    upper = silhouettes.hull(resolution)
    fairing = Fairing(silhouettes, upper, np.minimum(prolonged(start, resolution), upper), True)
    before = fairing.field
    for turn in range(ROUNDS):
        field = fairing.field
        surface = find_surface(field, photographs.cameras, views.mirrors)
        is_carved, error = contradicted(surface, photographs, resolution, views.mirrors)
        target = spread(surface, is_carved.float(), CARVED * is_carved, field)
        faith = folded(hull_faith(surface, error, resolution), views.mirrors, np.minimum)
        faith *= 1 - maximum_filter((before - field > 1).astype(np.float32), 5)
        fairing.advance(STEPS, folded_target(target, views.mirrors), faith)
        progress((turn + 1) / ROUNDS)
    after = fairing.field
    lower, left = _lowered_regions(before, after, photographs, views.mirrors)
    good = maximum_filter((lower & (left < PROVEN)).astype(np.float32), 3)
    return good * np.maximum(before - after, 0)


def contradicted(
    surface: Surface, photographs: Photographs, resolution: int, mirrors: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Where no colour suits most of the views, and no small motion would mend that.

    Returns:
        ``[P]`` bool; ``[P]`` mean squared difference of the photographs from the best colour.
    """
    half = 0.5 / resolution
    colors, seen = look(surface, photographs, [half, 0.0, -half])
    residual, _ = residual_of(surface, colors[1], seen)
    is_seen = seen > 0
    total = seen.sum(dim=0).clamp(min=1e-6)
    # Of each view around the point, then of so many of the views that agree best.
    around = surface.smoothed(is_seen.float().T, 4).T.clamp(min=1e-6)
    squared = surface.smoothed((residual.square().mean(dim=2) * is_seen).T, 4).T / around
    ordered, order = squared.where(is_seen, torch.inf).sort(dim=0)
    share = seen.gather(0, order).cumsum(dim=0) / total
    most = ordered.gather(0, (share >= MOST - 1e-6).float().argmax(dim=0)[None])[0]
    most = most.where(most.isfinite(), 0.0)
    change = minus_mean(colors[2] - colors[0], seen)  # per cell inward
    steepness = (seen * change.square().mean(dim=2)).sum(dim=0) / total
    both = surface.smoothed(torch.stack([most, steepness, torch.ones_like(most)], dim=1), 4)
    both = surface.summed_over_mirrors(both, mirrors)
    difference, change_per_cell = (both[:, :2] / both[:, 2:]).sqrt().unbind(dim=1)
    explained = NEARBY * resolution * change_per_cell + 0.003
    is_carved = (difference > CONTRADICTED) & (difference > UNEXPLAINED * explained)
    return is_carved & (is_seen.sum(dim=0) >= FEWEST), mean_error(residual, seen)


def sweep(
    surface: Surface, photographs: Photographs, resolution: int, mirrors: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """Where below the surface the photographs agree much better than on it.

    The held-back points are not asked. A depth counts only if enough of the views that see a point
    show object there. All mirror images of a point are judged as one, or a highlight on one side
    would hollow out the other.

    Returns:
        ``[P]`` depth in cells, at most :data:`STRIDE`, and ``[P]`` certainty, 0 where none is
        better.
    """
    looked = [
        torch.stack(
            disagreements_at(surface, photographs, -depth / resolution, ~surface.judging), 1
        )
        for depth in (0, *DEPTHS)
    ]
    sums = surface.smoothed(torch.cat(looked, dim=1), 6)
    sums = surface.summed_over_mirrors(sums, mirrors)
    error, seen = sums[:, ::2], sums[:, 1::2]
    enough = seen > 0.5 * seen[:, :1]
    errors = torch.where(enough, error / seen.clamp(min=1e-6), torch.inf)
    here, (least, which) = errors[:, 0], errors[:, 1:].min(dim=1)
    better = here.isfinite() & (here > NO_CONTRADICTION**2) & (least < MUCH_BETTER * here)
    depth = torch.tensor(DEPTHS, dtype=here.dtype, device=here.device)[which].clamp(max=STRIDE)
    return depth, torch.where(better, SWEPT * (1 - least / here), 0.0)


def unproven(
    before: np.ndarray, after: np.ndarray, photographs: Photographs, mirrors: Sequence[str] = ()
) -> np.ndarray:
    """Where the surface went down and the photographs agree no better for it.

    Args:
        before: ``[R, R, R]`` in cells.
        after: ``[R, R, R]`` in cells.
        photographs: That judge.
        mirrors: Planes of symmetry.

    Returns:
        ``[R, R, R]`` bool, the cells of such regions and those around them.
    """
    lower, left = _lowered_regions(before, after, photographs, mirrors)
    return maximum_filter(lower & (left > BETTER), 5)


def _lowered_regions(
    before: np.ndarray, after: np.ndarray, photographs: Photographs, mirrors: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Cells that left the object, with those around them, and the share of the error left there.

    Each connected region is judged as a whole, with its mirror images; where there was no error
    before, all of it is left.
    """
    gone = (before > 0) & (after < 0) & (before - after > 1)
    regions, count = cast(tuple[np.ndarray, int], label(binary_dilation(gone)))
    regions = folded(regions, mirrors, np.maximum)
    one, other = (
        _errors_in_regions(field, regions, count, photographs, mirrors) for field in (before, after)
    )
    share = np.divide(other, one, out=np.ones_like(one), where=one > 0)
    return regions > 0, share[regions]


def _errors_in_regions(
    field: np.ndarray,
    regions: np.ndarray,
    count: int,
    photographs: Photographs,
    mirrors: Sequence[str],
) -> np.ndarray:
    """Mean robust squared error of the views in each region, ``[count + 1]``.

    Every view is predicted from the others that see the point: dividing a residual by one minus its
    share in the mean does that, and takes from few views the advantage of fitting themselves.
    """
    surface = find_surface(field, photographs.cameras, mirrors)
    colors, seen = look(surface, photographs, [0.0])
    residual, weights = residual_of(surface, colors[0], seen)
    own_share = weights / weights.sum(dim=0).clamp(min=1e-9)
    squared = residual.square().mean(dim=2) / (1 - own_share.clamp(max=0.999)).square()
    seen = seen * ((seen > 0).sum(dim=0) >= 2)
    errors = (seen * (squared / (1 + squared / DISAGREEMENT**2))).sum(dim=0)
    cells = ((surface.points.cpu() + 0.5) * len(field)).long().clamp(0, len(field) - 1)
    at = regions[tuple(cells.T.numpy())]
    total = np.bincount(at, seen.sum(dim=0).cpu().numpy(), minlength=count + 1)
    return np.bincount(at, errors.cpu().numpy(), minlength=count + 1) / np.maximum(total, 1e-9)
