"""Fit one object: on the grid from the fair hull, or with the paper's network."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from ...geometry.fair_hull import Fairing, fair_hull, prolonged, refined
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.silhouettes import Silhouettes
from ...geometry.symmetry import unfolded
from ...views import Views
from ..interface import Report
from . import Params
from .grid_fit import Schedule, fit, open_hollows
from .hollows import MANY_VIEWS
from .network_fit import NetworkSettings, extract_mesh, fit_network

START_RESOLUTION = 0.75
"""Of the grid's resolution, the fair hull's, which finer cells make slower and no better."""

START_SHARE = 0.2
"""Of the whole work, until the fair hull is there."""

HOLLOWS_SHARE = 0.15
"""Of the whole work, for hollows on half the resolution, where there are views enough."""

TRUST = 0.1
"""Weight of a certain colour beside the bending energy, at ``trust = 1``."""


def load(checkpoint: str | None, params: Params, device: str, seed: int) -> Dvr:
    """Make the method ready; fitted to one object, it needs no weights."""
    return Dvr(params, torch.device(device), seed)


class Dvr:
    """Differentiable volumetric rendering of one object."""

    def __init__(self, params: Params, device: torch.device, seed: int) -> None:
        self.params = params
        self.device = device
        self.seed = seed

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        """Return a closed mesh in the unit cube.

        Raises:
            ReconstructionError: No cell lies inside all masks, or the network holds no surface.
            Cancelled: By ``report``.
        """
        if self.params.field == "mlp":
            settings = NetworkSettings(
                steps=self.params.steps, hidden=self.params.hidden, rays=self.params.rays
            )
            network = fit_network(unfolded(views), settings, str(self.device), self.seed, report)
            return extract_mesh(network, self.params.resolution)
        return self._fit_grid(views, report)

    def _fit_grid(self, views: Views, report: Report) -> Mesh:
        params = self.params
        report(0.0, "carving the hull")
        silhouettes = Silhouettes.of(views, self.device)
        report(0.02, "smoothing the hull", lambda: extract(silhouettes.hull(params.resolution)))
        start = fair_hull(
            silhouettes,
            round(START_RESOLUTION * params.resolution),
            progress=lambda done: report(START_SHARE * done, "smoothing the hull"),
            rounds=params.smoothing_rounds,
        )
        upper = silhouettes.hull(params.resolution)
        field, hollows, share = prolonged(start.field, params.resolution), None, START_SHARE
        if len(views.cameras) >= MANY_VIEWS:
            depth = self._depth_of_hollows(silhouettes, start.field, views, report)
            field = np.minimum(field - depth, upper)
            hollows = maximum_filter(depth > 2, 7)  # lower by a coarse cell, and what is around
            share += HOLLOWS_SHARE
        fairing = Fairing(silhouettes, upper, field, is_solution=True)

        def progress(done: float, field: np.ndarray) -> None:
            report(share + (1 - share) * done, "comparing colors", lambda: extract(field))

        schedule = Schedule(params.rounds, TRUST * params.trust)
        field = fit(fairing, views, schedule, self.device, progress, hollows)
        return extract(refined(silhouettes, field))

    def _depth_of_hollows(
        self, silhouettes: Silhouettes, start: np.ndarray, views: Views, report: Report
    ) -> np.ndarray:
        """How much lower, in cells, the field is in hollows than a fair hull; found on half R."""
        half = self.params.resolution // 2
        upper = silhouettes.hull(half)
        depth = open_hollows(
            Fairing(silhouettes, upper, np.minimum(prolonged(start, half), upper), True),
            views,
            TRUST * self.params.trust,
            self.device,
            lambda done: report(START_SHARE + HOLLOWS_SHARE * done, "opening hollows"),
        )
        return prolonged(depth, self.params.resolution)
