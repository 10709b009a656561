"""Hollows that no silhouette shows: where photographs prove that the surface lies deeper.

A hollow begins as a lid many cells above the truth. Two things open it with many photographs:

* :func:`sweep`: where photographs that contradict each other agree much better at some depth, the
  surface goes down towards it (planes do that for R. Collins, "A Space-Sweep Approach to True
  Multi-Image Matching", 1996). That happens twice: on half the resolution, where a sweep reaches
  down to the bottom of a bowl and smoothness acts far, and in the first looks of the fit;
* :func:`judged`, after each: a region that went down stays so only if the photographs agree better
  there than before, each predicted from the others. What highlights, chance agreement of fine
  patterns, and thin walls dented from the other side have done is undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from scipy.ndimage import binary_dilation, label, maximum_filter
from torch import Tensor

from ...geometry.silhouettes import folded
from .surface import (
    Photographs,
    Surface,
    disagreements_at,
    find_surface,
    look,
    residual_of,
    robust,
)

MANY_VIEWS = 12
"""So many photographs may open hollows; the two or three of few that see a point agree anyway."""

DEPTHS = (1, 2, 3, 4, 6, 8)
"""Cells below the surface at which a sweep looks during the fit."""

FAR_DEPTHS = (*DEPTHS, 12, 16, 24)
"""The same on half the resolution, before the fit."""

NO_CONTRADICTION = 0.007
"""Difference of colours below which photographs need no other depth."""

MUCH_BETTER = 0.7
"""Share of the disagreement at the surface below which that at a depth must be."""

STRIDE = 2.0
"""Most cells that a sweep lets the surface go down at once, during the fit."""

FAR_STRIDE = 3.0
"""The same on half the resolution."""

SWEPT = 0.1
"""Certainty of a depth that a sweep found where photographs agree there entirely."""

BETTER = 0.95
"""Share of a swept region's error that may be left, or it goes back."""

FAR_GAIN = 0.014**2
"""What a region swept on half the resolution must take from the mean squared difference."""


def sweep(
    surface: Surface,
    photographs: Photographs,
    resolution: int,
    mirrors: Sequence[str] = (),
    depths: Sequence[int] = DEPTHS,
    stride: float = STRIDE,
) -> tuple[Tensor, Tensor]:
    """Where below the surface the photographs agree much better than on it.

    The held-back points are not asked. A depth counts only if enough of the views that see a point
    show object there. All mirror images of a point are judged as one, or a highlight on one side
    would hollow out the other.

    Returns:
        ``[P]`` depth in cells, at most ``stride``, and ``[P]`` certainty, 0 where none is better.
    """
    looked = [
        torch.stack(
            disagreements_at(surface, photographs, -depth / resolution, ~surface.judging), 1
        )
        for depth in (0, *depths)
    ]
    sums = surface.smoothed(torch.cat(looked, dim=1), 6)
    sums = surface.summed_over_mirrors(sums, mirrors)
    error, seen = sums[:, ::2], sums[:, 1::2]
    enough = seen > 0.5 * seen[:, :1]
    errors = torch.where(enough, error / seen.clamp(min=1e-6), torch.inf)
    here, (least, which) = errors[:, 0], errors[:, 1:].min(dim=1)
    better = here.isfinite() & (here > NO_CONTRADICTION**2) & (least < MUCH_BETTER * here)
    depth = torch.tensor(depths, dtype=here.dtype, device=here.device)[which].clamp(max=stride)
    return depth, torch.where(better, SWEPT * (1 - least / here), 0.0)


def judged(
    before: np.ndarray,
    after: np.ndarray,
    photographs: Photographs,
    mirrors: Sequence[str] = (),
    least_gain: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the surface went down, and whether the photographs agree better for it.

    Each connected region of cells that left the object is judged as a whole, with its mirror
    images. Where the photographs agreed before, nothing can be better.

    Args:
        before: ``[R, R, R]`` in cells.
        after: ``[R, R, R]`` in cells.
        photographs: That judge.
        mirrors: Planes of symmetry.
        least_gain: What must go of the mean squared difference, beside a share of it.

    Returns:
        Twice ``[R, R, R]`` bool, the cells of proven regions and those of unproven ones, and the
        cells around them.
    """
    gone = (before > 0) & (after < 0) & (before - after > 1)
    regions, count = cast(tuple[np.ndarray, int], label(binary_dilation(gone)))
    regions = folded(regions, mirrors, np.maximum)
    error_before, error_after = (
        _errors_in_regions(field, regions, count, photographs, mirrors) for field in (before, after)
    )
    is_proven = (error_after <= BETTER * error_before) & (error_before > 0)
    is_proven &= error_before - error_after >= least_gain
    is_region = np.arange(count + 1) > 0  # 0 is the rest of the grid
    return (
        maximum_filter((is_region & is_proven)[regions], 5),
        maximum_filter((is_region & ~is_proven)[regions], 5),
    )


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
    errors = (seen * robust(squared)).sum(dim=0)
    cells = ((surface.points.cpu() + 0.5) * len(field)).long().clamp(0, len(field) - 1)
    at = regions[tuple(cells.T.numpy())]
    total = np.bincount(at, seen.sum(dim=0).cpu().numpy(), minlength=count + 1)
    return np.bincount(at, errors.cpu().numpy(), minlength=count + 1) / np.maximum(total, 1e-9)
