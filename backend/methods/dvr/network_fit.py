"""The paper's own network fitted to one object's views, and the mesh in it.

M. Niemeyer et al., "Differentiable Volumetric Rendering", CVPR 2020, sections 3.4, 3.5 and 4.3.
All lengths are those of the unit cube.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...errors import ReconstructionError
from ...geometry.cameras import Cameras
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.visual_hull import NEAREST_DEPTH, grid_points, signed_hull, silhouette_distances
from ...rendering.ray_marching import (
    POINTS_PER_CALL,
    Crossing,
    first_crossing,
    implicit_depth,
    ray_box,
)
from ...views import Views
from ..interface import Report
from . import losses
from .model import OccupancyColorNetwork

HALF_CUBE = 0.5
"""Rays are searched where the mesh is extracted; views leave the paper's margin inside the cube."""

HULL_RESOLUTION = 64
HULL_CANDIDATES = 32
OPAQUE = 0.95
"""Coverage from which a pixel's colour is the object's alone."""

COARSEST = 32
"""Cells along the edge of the first grid that a mesh is looked for on."""


@dataclass(frozen=True)
class NetworkSettings:
    """How the network is fitted.

    The paper trains many objects with 512 features, a learning rate of 1e-4 and 16 samples that
    double after 50, 100 and 250 thousand steps. For one object that starts as a sphere, fewer steps
    at a higher rate do, and the doubling is in shares of the steps.

    Attributes:
        hidden: Features of each layer.
        steps: Adam steps.
        rays: Rays in a step; they are drawn in patches of 2×2 pixels.
        learning_rate: At the start; it falls to ``final_learning_rate`` along a cosine.
        final_learning_rate: At the end.
        samples: Samples along a ray in the first quarter, the second, and after.
        mask_share: Share of the steps, at the start, in which masks alone count.
        sphere_radius: The initial shape.
        photometric: Weight of the colours.
        image_gradient: Weight of the colour differences in a patch.
        freespace: Weight of rays outside the mask.
        occupancy: Weight of rays inside the mask that find no surface.
        smoothness: Weight of the normals' change.
        smoothness_radius: Half the edge of the cube from which neighbours are drawn.
        dtype: Of the network and of all geometry.
    """

    hidden: int = 256
    steps: int = 10_000
    rays: int = 4096
    learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    samples: tuple[int, int, int] = (16, 32, 64)
    mask_share: float = 0.1
    sphere_radius: float = 0.3
    photometric: float = 1.0
    image_gradient: float = 1.0
    freespace: float = 1.0
    occupancy: float = 1.0
    smoothness: float = 0.1
    smoothness_radius: float = 5e-4
    dtype: torch.dtype = torch.float32

    def samples_at(self, step: int) -> int:
        """Samples along each ray in ``step``."""
        quarter = 4 * step // max(self.steps, 1)
        return self.samples[min(quarter, 2)]


@dataclass(frozen=True)
class _Rays:
    """Rays of P patches, 4 P of them in a row; [4 P] but where said.

    Those that miss the cube, or whose pixel is not known, are neither ``object`` nor
    ``background``.
    """

    origins: Tensor  # [4 P, 3]
    directions: Tensor  # [4 P, 3]
    near: Tensor
    far: Tensor
    colors: Tensor  # [4 P, 3]
    object: Tensor
    background: Tensor
    opaque: Tensor

    def points(self, rays: Tensor, depths: Tensor) -> Tensor:
        """Points ``[A, 3]`` at ``depths`` ``[A]`` of the rays ``[A]`` (indices)."""
        return self.origins[rays] + depths[:, None] * self.directions[rays]


class _Scene:
    """The views as tensors, and the random draws from them."""

    def __init__(self, views: Views, settings: NetworkSettings, device: str, seed: int) -> None:
        """Move the views to ``device`` and carve their hull: the object is inside it."""
        self.device, self.dtype = torch.device(device), settings.dtype
        self.images = torch.as_tensor(views.images, dtype=self.dtype, device=device)
        self.masks = torch.as_tensor(views.masks, dtype=self.dtype, device=device)
        self.known = torch.as_tensor(views.known, device=device)
        self.cameras = Cameras.stack(views.cameras, device, self.dtype)
        self.generator = torch.Generator().manual_seed(seed)
        hull = signed_hull(
            silhouette_distances(views, device),
            Cameras.stack(views.cameras, device),
            grid_points(HULL_RESOLUTION, device),
        )
        self.hull = hull.to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        """Random numbers in [0, 1), the same on every device."""
        return torch.rand(shape, generator=self.generator).to(self.device, self.dtype)

    def draw(self, count: int) -> _Rays:
        """About ``count`` rays in patches of 2×2 pixels, anywhere in any view."""
        patches = max(1, count // 4)
        height, width = self.masks.shape[1:]
        limits = torch.tensor([len(self.masks), height - 1, width - 1])
        corner = (torch.rand(patches, 3, generator=self.generator) * limits).long()  # view, y, x
        steps = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])
        chosen = (corner[:, None] + steps).reshape(-1, 3).to(self.device)
        return self._rays(*chosen.unbind(1))

    def _rays(self, view: Tensor, row: Tensor, column: Tensor) -> _Rays:
        centres = torch.stack([column, row], dim=1).to(self.dtype) + 0.5
        origins, directions = self.cameras.rays(view, centres)
        near, far = ray_box(origins, directions, HALF_CUBE)
        parallel = self.cameras.orthographic[view]
        near = torch.where(parallel, near, near.clamp(min=NEAREST_DEPTH))
        usable = self.known[view, row, column] & (far > near)
        coverage = self.masks[view, row, column]
        return _Rays(
            origins,
            directions,
            near,
            far,
            self.images[view, row, column],
            object=usable & (coverage >= 0.5),
            background=usable & (coverage < 0.5),
            opaque=usable & (coverage >= OPAQUE),
        )

    def anywhere(self, rays: _Rays, index: Tensor) -> Tensor:
        """A random depth ``[A]`` in the cube for each ray of ``index`` ``[A]``."""
        near, far = rays.near[index], rays.far[index]
        return near + self.uniform(len(index)) * (far - near)

    def inside_hull(self, rays: _Rays, index: Tensor) -> Tensor:
        """Points ``[A, 3]`` of the rays of ``index`` ``[A]``, random in the visual hull.

        Where a ray seems to pass it by, the point nearest to it.
        """
        near, length = rays.near[index], (rays.far - rays.near)[index]
        share = self.uniform(len(index), HULL_CANDIDATES)
        depths = near[:, None] + share * length[:, None]
        points = rays.origins[index, None] + depths[..., None] * rays.directions[index, None]
        signed = _looked_up(self.hull, points)
        # The candidates' depths are random, so any rule that ignores depth draws one at random.
        order = torch.arange(HULL_CANDIDATES, 0, -1, device=self.device).to(signed)
        best = torch.where(signed > 0, order, signed.clamp(max=0)).argmax(dim=1)
        return points[torch.arange(len(index), device=self.device), best]


def _looked_up(field: Tensor, points: Tensor) -> Tensor:
    """Values ``[...]`` of the cells of ``field`` ``[R, R, R]`` (x, y, z) at points ``[..., 3]``."""
    x, y, z = ((points + 0.5) * len(field)).long().clamp(0, len(field) - 1).unbind(-1)
    return field[x, y, z]


def fit_network(
    views: Views, settings: NetworkSettings, device: str, seed: int, report: Report
) -> OccupancyColorNetwork:
    """Fit the paper's network to the views of one object (section 4.3), from masks, then colours.

    Args:
        views: Pictures, masks and cameras; pixels that are not known take part in no loss.
        settings: Size, steps and weights.
        device: Where to work.
        seed: Of the weights and of all draws; draws are made on the CPU, so that they are the same
            on every device.
        report: Called in every step, as a step of a wide network can take seconds; ten times with a
            coarse preview.

    Raises:
        Cancelled: By ``report``.
    """
    network = _new_network(settings, device, seed)
    objective = _Objective(network, _Scene(views, settings, device, seed), settings)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, max(settings.steps, 1), eta_min=settings.final_learning_rate
    )
    preview_every = max(1, settings.steps // 10)
    for step in range(settings.steps):
        preview = partial(_preview, network) if step and step % preview_every == 0 else None
        report(step / settings.steps, "Fitting the network", preview)
        optimiser.zero_grad()
        objective(step).backward()
        optimiser.step()
        schedule.step()
    return network


def _new_network(settings: NetworkSettings, device: str, seed: int) -> OccupancyColorNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OccupancyColorNetwork(settings.hidden)
    network.initialise_sphere(settings.sphere_radius)
    return network.to(device, settings.dtype)


def _preview(network: OccupancyColorNetwork) -> Mesh | None:
    try:
        return extract_mesh(network, COARSEST)
    except ReconstructionError:
        return None


class _Objective:
    """The sum of the losses that a step of the fit lowers."""

    def __init__(
        self, network: OccupancyColorNetwork, scene: _Scene, settings: NetworkSettings
    ) -> None:
        self.network, self.scene, self.settings = network, scene, settings

    def __call__(self, step: int) -> Tensor:
        """Draw rays and return their loss; masks alone count at first."""
        rays = self.scene.draw(self.settings.rays)
        crossing = first_crossing(
            self.network.occupancy_logit,
            rays.origins,
            rays.directions,
            rays.near,
            rays.far,
            self.settings.samples_at(step),
        )
        terms = self._mask_losses(rays, crossing)
        if step >= self.settings.mask_share * self.settings.steps:
            terms += self._surface_losses(rays, crossing)
        return losses.reduced(torch.cat(terms), len(rays.near))

    def _mask_losses(self, rays: _Rays, crossing: Crossing) -> list[Tensor]:
        """Free space and occupancy (equations 14 and 15), weighted, one value for each ray.

        Points are fixed: a gradient through a hit's position would push it away rather than free
        it. A ray that starts inside the object has no crossing and counts as one without a hit.
        """
        logit, scene = self.network.occupancy_logit, self.scene
        background = rays.background.nonzero()[:, 0]
        depths = torch.where(
            crossing.hit[background], crossing.depth[background], scene.anywhere(rays, background)
        )
        free = losses.freespace(logit(rays.points(background, depths)))
        missed = (rays.object & ~crossing.hit).nonzero()[:, 0]
        filled = losses.occupancy(logit(scene.inside_hull(rays, missed)))
        return [self.settings.freespace * free, self.settings.occupancy * filled]

    def _surface_losses(self, rays: _Rays, crossing: Crossing) -> list[Tensor]:
        """Colours, their differences in a patch (equation 12) and the normals' change, weighted."""
        logit, settings = self.network.occupancy_logit, self.settings
        seen = rays.opaque & crossing.hit
        index = seen.nonzero()[:, 0]
        depths = implicit_depth(
            logit, rays.origins[index], rays.directions[index], crossing.depth[index]
        )
        points = rays.points(index, depths)
        rendered = rays.colors.index_put((index,), self.network.color(points))
        colors = losses.photometric(rendered[index], rays.colors[index])
        gradients = losses.image_gradient(
            rendered.reshape(-1, 2, 2, 3), rays.colors.reshape(-1, 2, 2, 3), seen.reshape(-1, 2, 2)
        )
        offsets = (2 * self.scene.uniform(len(index), 3) - 1) * settings.smoothness_radius
        smooth = losses.normal_smoothness(logit, points.detach(), offsets)
        return [
            settings.photometric * colors,
            settings.image_gradient * gradients,
            settings.smoothness * smooth,
        ]


def extract_mesh(network: OccupancyColorNetwork, resolution: int) -> Mesh:
    """Extract the closed surface with the network's colours at its vertices.

    In the way of the multiresolution isosurface extraction of L. Mescheder et al., "Occupancy
    Networks", CVPR 2019: the network is evaluated on a grid of 32³ cells or a little more, then
    the grid is doubled and evaluated anew only beside the surface. Here that goes on until every
    cell beside a change of sign is evaluated, so that each part of the surface that the first grid
    shows comes out as if all cells had been.

    Args:
        network: On any device.
        resolution: Cells along the cube, rounded up to a coarse grid's size times a power of two.

    Raises:
        ReconstructionError: Nothing is inside.
    """
    field = _refined_field(network, resolution)
    mesh = extract(field.cpu().numpy())
    weight = network.fc_in.weight
    vertices = torch.as_tensor(mesh.vertices, dtype=weight.dtype, device=weight.device)
    colors = _evaluated(network.color, vertices).cpu().numpy().astype(np.float32)
    return replace(mesh, vertex_colors=colors)


def _refined_field(network: OccupancyColorNetwork, resolution: int) -> Tensor:
    """Logits at the cell centres, ``[R, R, R]`` with R at least ``resolution``."""
    doublings = max(0, int(math.log2(max(resolution, 1) / COARSEST)))
    coarse = max(1, math.ceil(resolution / 2**doublings))
    everything = torch.ones((coarse,) * 3, dtype=torch.bool, device=network.fc_in.weight.device)
    field = torch.zeros_like(everything, dtype=network.fc_in.weight.dtype)
    _evaluate_cells(network, field, everything)
    for _ in range(doublings):
        for axis in range(3):
            field = field.repeat_interleave(2, dim=axis)
        exact = torch.zeros_like(field, dtype=torch.bool)
        while (wanted := _beside_surface(field) & ~exact).any():
            _evaluate_cells(network, field, wanted)
            exact |= wanted
    return field


def _evaluate_cells(network: OccupancyColorNetwork, field: Tensor, cells: Tensor) -> None:
    """Put the network's logits into the ``cells`` (bool, of the field's shape) of ``field``."""
    centres = (cells.nonzero().to(field.dtype) + 0.5) / len(field) - 0.5
    field[cells] = _evaluated(network.occupancy_logit, centres)


@torch.no_grad()
def _evaluated(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    return torch.cat([function(part) for part in points.split(POINTS_PER_CALL)])


def _beside_surface(field: Tensor) -> Tensor:
    """Cells with a neighbour, along an axis, on the other side of the surface; bool."""
    inside = field > 0
    beside = torch.zeros_like(inside)
    for axis in range(3):
        length = inside.shape[axis] - 1
        changes = inside.narrow(axis, 0, length) != inside.narrow(axis, 1, length)
        beside.narrow(axis, 0, length).logical_or_(changes)
        beside.narrow(axis, 1, length).logical_or_(changes)
    return beside
