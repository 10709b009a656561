"""Points of the current surface, and what the photographs show there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.ndimage import minimum_filter
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional

from ...geometry.cameras import Cameras
from ...geometry.fair_hull import Target
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.silhouettes import sample_grid, with_mirror_images
from ...rendering.mesh_rasterizer import depth_map
from ...threads import in_threads
from ...views import Views

DISAGREEMENT = 0.04
"""Difference of colours at which a photograph counts a quarter."""

STEEPEST = 0.15
"""Smallest cosine between a surface and a view that may still judge its colour."""

HELD_BACK = 10
"""One cell in so many is held back."""

CONTRADICTION = 0.02
"""Difference of colours at which the exact hull's pull on the surface falls to a quarter."""


@dataclass(frozen=True)
class Photographs:
    """The views at one scale.

    Attributes:
        colors: ``[V, 4, S, S]`` sRGB of the object alone, and coverage.
        cameras: Of these pictures.
    """

    colors: Tensor
    cameras: Cameras

    @classmethod
    def shrunk(cls, views: Views, factor: int, device: torch.device) -> Photographs:
        """Average blocks of ``factor`` pixels, weighted by the mask."""
        size = views.masks.shape[1] // factor
        mask = torch.as_tensor(views.masks, device=device)[:, None]
        image = torch.as_tensor(views.images, device=device).permute(0, 3, 1, 2)
        coverage = functional.avg_pool2d(mask, factor)
        mean = functional.avg_pool2d(image * mask, factor) / coverage.clamp(min=1e-3)
        cameras = [camera.resampled(0, 0, 1 / factor, (size, size)) for camera in views.cameras]
        return cls(torch.cat([mean, coverage], dim=1), Cameras.stack(cameras, device))

    def look(self, view: int, points: Tensor) -> Tensor:
        """Colour and coverage ``[N, 4]`` where ``points`` ``[N, 3]`` fall in one view."""
        pixels = self.cameras.one(view).project(points)[0]
        lookup = 2 * pixels / self.colors.shape[-1] - 1
        return functional.grid_sample(
            self.colors[view : view + 1], lookup[None], padding_mode="border", align_corners=False
        )[0, :, 0].T


@dataclass(frozen=True)
class Surface:
    """Points on the current surface, the cells they lie in, and which views see them.

    Attributes:
        points: ``[P, 3]`` in the unit cube.
        outward: ``[P, 3]`` unit normals.
        slope: ``[P]`` length of the field's gradient, in cells per cell.
        seen: ``[V, P]`` weight of each view, 0 where it sees nothing.
        average: ``[P, P]`` row-stochastic mean over neighbours.
        judging: ``[P]`` bool, the points held back.
    """

    points: Tensor
    outward: Tensor
    slope: Tensor
    seen: Tensor
    average: scipy.sparse.csr_matrix
    judging: Tensor

    def smoothed(self, values: Tensor, times: int) -> Tensor:
        """Average ``[P, C]`` over the neighbourhood, again and again."""
        array = values.cpu().numpy()
        for _ in range(times):
            array = self.average @ array
        return torch.as_tensor(array, dtype=values.dtype, device=values.device)

    def summed_over_mirrors(self, values: Tensor, mirrors: Sequence[str]) -> Tensor:
        """Add to ``[P, C]`` the values of all mirror images of each point."""
        if not mirrors:
            return values
        points = self.points.cpu()
        tree = KDTree(points.numpy())
        for mirror in mirrors:
            images = with_mirror_images(points, (mirror,))[len(points) :]
            nearest = torch.as_tensor(tree.query(images.numpy())[1], device=values.device)
            values = values + values[nearest]
        return values


def find_surface(field: np.ndarray, cameras: Cameras, mirrors: Sequence[str] = ()) -> Surface:
    """The zero surface of a field in cells, and which of the cameras see its points.

    A cell is held back with its mirror images, whose colours pull at it as much as its own.
    """
    device, resolution = cameras.intrinsics.device, field.shape[0]
    mesh = extract(field)
    points = torch.as_tensor(mesh.vertices)
    gradient = torch.stack(
        [sample_grid(torch.as_tensor(part), points) for part in np.gradient(field)], dim=1
    )
    slope = gradient.norm(dim=1)
    outward = -gradient / slope.clamp(min=1e-6)[:, None]
    cells = common_cells(((points + 0.5) * resolution).long(), resolution, mirrors)
    judging = (73 * cells[:, 0] + 19 * cells[:, 1] + 83 * cells[:, 2]) % HELD_BACK == 0
    return Surface(
        points.to(device),
        outward.to(device),
        slope.clamp(min=0.2).to(device),
        visibility(mesh, outward.to(device), cameras),
        _neighbour_average(mesh),
        judging.to(device),
    )


def common_cells(cells: Tensor, resolution: int, mirrors: Sequence[str]) -> Tensor:
    """For cells ``[P, 3]``, the one of each and its mirror images that stands for all."""
    cells = cells.clone()
    for axis, mirror in enumerate("xy"):
        if mirror in mirrors:
            cells[:, axis] = torch.minimum(cells[:, axis], resolution - 1 - cells[:, axis])
    if "diagonal" in mirrors:
        cells[:, :2] = cells[:, :2].sort(dim=1).values
    return cells


def visibility(mesh: Mesh, outward: Tensor, cameras: Cameras) -> Tensor:
    """How well each view sees each vertex, ``[V, P]``: 0 if hidden or grazing, else up to 0.9."""
    device = cameras.intrinsics.device
    vertices = torch.as_tensor(mesh.vertices, device=device)
    faces = torch.as_tensor(mesh.faces.astype(np.int64), device=device)
    pixels, depth = cameras.project(vertices)
    size = torch.tensor(cameras.image_size[::-1], device=device)

    def of_view(view: int) -> Tensor:
        nearest = depth_map(vertices, faces, cameras, view).clamp(max=1e6)
        at = pixels[view].floor().long().clamp(min=0).minimum(size - 1)
        in_front = depth[view] <= nearest[at[:, 1], at[:, 0]] + 0.015
        _, away = cameras.rays(torch.full((len(vertices),), view, device=device), pixels[view])
        cosine = -(outward * functional.normalize(away, dim=1)).sum(dim=1)
        return (in_front & (cosine > STEEPEST)) * (cosine - STEEPEST + 0.05)

    return torch.stack(in_threads(of_view, range(len(cameras))))


def _neighbour_average(mesh: Mesh) -> scipy.sparse.csr_matrix:
    """Row-stochastic mean over each vertex and its neighbours."""
    count = len(mesh.vertices)
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    ones = np.ones(len(start), np.float32)
    # On a closed surface every edge runs both ways, so this is symmetric already.
    edges = scipy.sparse.csr_matrix((ones, (start, end)), shape=(count, count))
    whole = edges + scipy.sparse.diags(np.ones(count, np.float32), format="csr")
    return scipy.sparse.diags(1 / np.asarray(whole.sum(axis=1)).ravel()) @ whole


def look(
    surface: Surface, photographs: Photographs, heights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """What the views show at the points, raised outward by each of the heights.

    Returns:
        Colours ``[H, V, P, 3]`` and the weights ``[V, P]`` of views that see object there.
    """
    count, views = len(surface.points), len(surface.seen)
    colors = surface.points.new_zeros((len(heights), views, count, 3))
    seen = surface.seen.clone()
    for view in range(views):
        some = seen[view].nonzero()[:, 0]
        covered = torch.ones_like(some, dtype=torch.bool)
        for index, height in enumerate(heights):
            raised = surface.points[some] + height * surface.outward[some]
            look = photographs.look(view, raised)
            colors[index, view, some] = look[:, :3]
            covered &= look[:, 3] > 0.9
        seen[view, some] *= covered
    return colors, seen


def minus_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Subtract from ``[V, P, 3]`` the views' weighted mean."""
    total = weights.sum(dim=0).clamp(min=1e-6)
    return values - (weights[..., None] * values).sum(dim=0) / total[:, None]


def disagreements_at(
    surface: Surface, photographs: Photographs, height: float, asked: Tensor
) -> tuple[Tensor, Tensor]:
    """Robust squared differences from the best colours at points raised outward by ``height``.

    Returns:
        ``[P]`` sums over the views of weighted differences, and of the weights; 0 unless ``asked``.
    """
    colors, seen = look(surface, photographs, [height])
    seen = seen * asked
    residual, _ = residual_of(surface, colors[0], seen)
    return (seen * robust(residual.square().mean(dim=2))).sum(dim=0), seen.sum(dim=0)


def robust(squared: Tensor) -> Tensor:
    """Squared differences that end at the square of :data:`DISAGREEMENT` (Geman, McClure)."""
    return squared / (1 + squared / DISAGREEMENT**2)


def mean_error(residual: Tensor, seen: Tensor) -> Tensor:
    """``[P]`` mean over the views of the squared residual ``[V, P, 3]``."""
    return (seen * residual.square().mean(dim=2)).sum(dim=0) / seen.sum(dim=0).clamp(min=1e-6)


def residual_of(surface: Surface, colors: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Photographs minus the best colour: ``[V, P, 3]``, and the weights ``[V, P]`` it took.

    A view is distrusted by how much it disagrees around a point, not in the one point.
    """
    weights = seen
    residual = minus_mean(colors, weights)
    for _ in range(2):
        error = surface.smoothed(residual.square().mean(dim=2).T, 2).T
        weights = seen / (1 + error / DISAGREEMENT**2) ** 2
        residual = minus_mean(colors, weights)
    return residual, weights


def hull_faith(surface: Surface, error: Tensor, resolution: int) -> np.ndarray:
    """Where the surface may lie on the exact hull, as far as the photographs tell.

    Args:
        surface: The current one.
        error: ``[P]`` of :func:`mean_error`.
        resolution: R of the grid.

    Returns:
        ``[R, R, R]`` in [0, 1], low around points in which the photographs contradict each other.
    """
    error = surface.smoothed(error[:, None], 4)[:, 0]
    faith = 1 / (1 + error / CONTRADICTION**2) ** 2
    return minimum_filter(_mean_on_cells(surface, faith, resolution, elsewhere=1.0), 5)


def ignorance(surface: Surface, certainty: Tensor, faint: float, resolution: int) -> np.ndarray:
    """Where the photographs tell nothing about the surface, as on a side of even colour.

    Args:
        surface: The current one.
        certainty: ``[P]`` of the points' motion.
        faint: Certainty at which a quarter is left.
        resolution: R of the grid.

    Returns:
        ``[R, R, R]`` in [0, 1] around the surface, 1 where there is no certainty for some cells
        around; 0 away from it.
    """
    around = surface.smoothed(certainty[:, None], 12)[:, 0]
    return _mean_on_cells(surface, (1 + around / faint) ** -2, resolution, elsewhere=0.0)


def spread(surface: Surface, motion: Tensor, weight: Tensor, field: np.ndarray) -> Target:
    """Turn the points' motion into a pull on the cells around them.

    A point that moves inward by dx wants the field there lower by ``slope * dx``.
    """
    pull = weight / surface.slope.square()
    weights, changes = _on_cells(
        surface, torch.stack([pull, -motion * surface.slope * pull]), len(field)
    )
    wanted = field + changes / np.maximum(weights, 1e-9)
    return Target(wanted.astype(np.float32), weights.astype(np.float32))


def _mean_on_cells(
    surface: Surface, values: Tensor, resolution: int, elsewhere: float
) -> np.ndarray:
    """Mean ``[R, R, R]`` of the values ``[P]`` of the points around each cell."""
    count, total = _on_cells(surface, torch.stack([torch.ones_like(values), values]), resolution)
    mean = np.divide(total, count, where=count > 1e-6, out=np.full_like(total, elsewhere))
    return mean.astype(np.float32)


def _on_cells(surface: Surface, values: Tensor, resolution: int) -> np.ndarray:
    """Sums ``[C, R, R, R]`` of the points' values ``[C, P]``, shared by the cells around each."""
    at = (surface.points.cpu() + 0.5) * resolution - 0.5
    low, given = at.floor(), values.cpu().numpy()
    part, sums = at - low, np.zeros((len(values), resolution**3))
    for corner in np.ndindex(2, 2, 2):
        step = torch.tensor(corner)
        share = torch.where(step > 0, part, 1 - part).prod(dim=1).numpy()
        cell = (low.long() + step).clamp(0, resolution - 1).numpy()
        flat = (cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2]
        for total, value in zip(sums, given, strict=True):
            total += np.bincount(flat, share * value, minlength=resolution**3)
    return sums.reshape(len(values), resolution, resolution, resolution)
