"""The hull's field, made fair and round as asked, and its surface."""

from __future__ import annotations

import torch

from ...geometry.fair_hull import fair_hull, refined
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.silhouettes import Silhouettes, hull_near_surface, without_stray_pieces
from ...views import Views
from ..interface import Report
from . import Params
from .model import round_target


def load(checkpoint: str | None, params: Params, device: str, seed: int) -> VisualHull:
    """Make the method ready; it has no weights and nothing random."""
    return VisualHull(params, torch.device(device))


class VisualHull:
    """The exact, fair or rounded visual hull."""

    def __init__(self, params: Params, device: torch.device) -> None:
        self.params = params
        self.device = device

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        """Return the hull's closed surface in the unit cube.

        Raises:
            ReconstructionError: No cell lies inside all masks.
            Cancelled: By ``report``.
        """
        params = self.params
        report(0.0, "carving the hull")
        silhouettes = Silhouettes.of(views, self.device)
        rounded = round_target(silhouettes, params.resolution, params.rounding)
        if params.fairness == 0 and rounded is None:
            hull = hull_near_surface(silhouettes, 2 * params.resolution).numpy()
            return extract(without_stray_pieces(silhouettes, hull))
        field = rounded.field if rounded else silhouettes.hull(params.resolution)
        if params.fairness > 0:
            report(0.1, "smoothing the hull", lambda: extract(field))
            fair = fair_hull(
                silhouettes,
                params.resolution,
                lambda resolution: round_target(silhouettes, resolution, params.rounding),
                lambda done: report(0.1 + 0.9 * done, "smoothing the hull"),
            ).field
            # Both fields stay inside the hull, so every mixture of them does.
            field = (1 - params.fairness) * field + params.fairness * fair
        return extract(refined(silhouettes, field))
