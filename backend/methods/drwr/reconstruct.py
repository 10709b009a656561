"""Fits a point cloud to one object's silhouettes and closes it to a surface.

With a checkpoint, one image is enough: see ``single_image``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from ...errors import InputError, ReconstructionError
from ...geometry.cameras import Cameras
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.mesh_repair import keep_solid_parts
from ...geometry.point_cloud import points_to_density
from ...geometry.silhouettes import Silhouettes
from ...geometry.visual_hull import grid_points
from ...views import Views
from ..interface import Report
from . import Params, SingleImageParams
from .losses import (
    LossForm,
    LossTerms,
    SilhouetteTargets,
    default_terms,
    drwr_loss,
    silhouette_targets,
)
from .model import PointCloud
from .network import load_network
from .single_image import SingleImageReconstructor

LEARNING_RATE = 3e-3
"""Of Adam, in cubes; it falls to a tenth, so that the points come to rest."""

WIDE_START = 3.0
"""The repulsion first reaches this many times as far: it evens out the cloud as a whole."""

SURFACE_SHARE = 0.2
"""The surface is where the density falls below this share of its median inside."""

SMOOTHING = 1.2
"""Least width of a point's Gaussian in the surface's cells."""

CROWDING = 0.9
"""Least width in mean distances between points; with less, chance gaps become holes."""

START_RESOLUTION = 64
REPORT_EVERY = 5


def load(
    checkpoint: str | None, params: Params | SingleImageParams, device: str, seed: int
) -> DrwrReconstructor | SingleImageReconstructor:
    """Make one of the two methods ready; whose ``params`` they are says which.

    Raises:
        InputError: The checkpoint is missing, damaged, of another method, or does not fit its
            model card.
    """
    if isinstance(params, SingleImageParams):
        if not checkpoint:
            raise InputError("drwr_single_image needs a checkpoint (trained weights).")
        network = load_network(Path(checkpoint))
        return SingleImageReconstructor(network, params, torch.device(device))
    return DrwrReconstructor(params, torch.device(device), seed)


class DrwrReconstructor:
    """DRWR's loss, minimised over the points of one object."""

    def __init__(self, params: Params, device: torch.device, seed: int) -> None:
        self.params = params
        self.device = device
        self.seed = seed

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        """Return a closed mesh in the unit cube of ``views``.

        Raises:
            InputError: A view's mask is empty.
            ReconstructionError: The silhouettes have nothing in common, or no surface is left.
            Cancelled: By ``report``.
        """
        report(0.0, "carving the hull")
        silhouettes = Silhouettes.of(views, self.device)
        inside = _hull_cells(silhouettes)
        cloud = PointCloud(self._start(inside, len(views.mirrors)), views.mirrors)
        points = self._fit(views, silhouettes.cameras, cloud, report)
        report(0.85, "closing the surface")
        resolution = self.params.resolution
        room = len(inside) * (resolution / START_RESOLUTION) ** 3 / len(points)
        smoothing = max(SMOOTHING, CROWDING * room ** (1 / 3))
        return surface(points, silhouettes, resolution, smoothing)

    def _start(self, inside: Tensor, planes: int) -> Tensor:
        """Random points ``[N, 3]`` in the cells with centres ``inside``; fewer if mirrored."""
        random = torch.Generator().manual_seed(self.seed)
        count = max(1, self.params.points // 2**planes)
        chosen = torch.randint(len(inside), (count,), generator=random)
        jitter = torch.rand((count, 3), generator=random) - 0.5
        return inside[chosen.to(self.device)] + jitter.to(self.device) / START_RESOLUTION

    def _fit(self, views: Views, cameras: Cameras, cloud: PointCloud, report: Report) -> Tensor:
        """Minimise the loss over the cloud; returns its points ``[N, 3]``."""
        targets, terms = self._objective(views)
        steps = self.params.steps
        optimizer = torch.optim.Adam(cloud.parameters(), lr=LEARNING_RATE)
        for step in range(steps):
            done = step / steps
            if step % REPORT_EVERY == 0:
                report(0.1 + 0.75 * done, "fitting points")
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * 0.1**done
            optimizer.zero_grad()
            drwr_loss(targets, self._annealed(terms, done), *cloud(cameras)).backward()
            optimizer.step()
        return cloud.points.detach()

    def _objective(self, views: Views) -> tuple[SilhouetteTargets, LossTerms]:
        params = self.params
        form = cast(LossForm, params.loss)  # make_params has checked the word
        targets = silhouette_targets(views.masks, views.known, form, self.device)
        terms = default_terms(targets, params.points)
        terms = replace(terms, alpha=terms.alpha * params.pull, beta=terms.beta * params.push)
        return targets, terms

    def _annealed(self, terms: LossTerms, done: float) -> LossTerms:
        """Let the recommended form's repulsion shrink to its width in the first half."""
        if self.params.loss != "recommended":
            return terms
        return replace(terms, sigma=terms.sigma * WIDE_START ** max(0.0, 1 - 2 * done))


def surface(points: Tensor, silhouettes: Silhouettes, resolution: int, smoothing: float) -> Mesh:
    """The closed surface of a cloud that fills an object, carved by its visual hull.

    The cloud is no sample of the surface: points fill the volume, denser towards the rim. So it
    becomes a density; inside is where that reaches a share of its median and the hull allows it.

    Args:
        points: ``[N, 3]``.
        silhouettes: What it was fitted to.
        resolution: Cells along each axis of the unit cube.
        smoothing: Standard deviation in cells of the Gaussian that each point becomes.

    Raises:
        ReconstructionError: Nothing is left inside.
    """
    density = points_to_density(points, resolution, smoothing)
    hull = _hull_near(density, silhouettes)
    occupied = (hull > 0) & (density > 0)
    if not occupied.any():
        raise ReconstructionError(
            "no point of the fitted cloud lies inside all silhouettes; "
            "with loss=recommended the points stay in them."
        )
    level = SURFACE_SHARE * float(np.median(density[occupied]))
    # The logarithm of a Gaussian's flank is nearly straight: a length, as the hull is one.
    field = smoothing * np.log(np.maximum(density, 1e-3 * level) / level)
    field = np.minimum(field, hull)
    solid = np.asarray(binary_fill_holes(field > 0))
    return keep_solid_parts(extract(np.where(solid & (field <= 0), smoothing, field)))


def _hull_cells(silhouettes: Silhouettes) -> Tensor:
    """Centres ``[M, 3]`` of the coarse cells inside the visual hull."""
    device = silhouettes.distances.device
    inside = grid_points(START_RESOLUTION, device)[
        torch.as_tensor(silhouettes.hull(START_RESOLUTION) > 0, device=device)
    ]
    if len(inside) == 0:
        raise ReconstructionError(
            "no point lies inside all silhouettes; check that the cameras fit the pictures."
        )
    return inside


def _hull_near(density: np.ndarray, silhouettes: Silhouettes) -> np.ndarray:
    """Signed hull in cells where there is any density worth the name, elsewhere -1."""
    hull = np.full(density.shape, -1.0, np.float32)
    near = density > 1e-3 * density.max()
    device = silhouettes.distances.device
    centres = grid_points(len(density), device)[torch.as_tensor(near, device=device)]
    hull[near] = silhouettes.hull_at(centres).cpu().numpy() * len(density)
    return hull
