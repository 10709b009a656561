"""DVR for one object without a GPU: occupancy on a grid, colours solved for, Gauss-Newton steps.

The published method lets a network hold occupancy ``f`` and colour ``t`` and walks down the
gradient of the photometric loss sum |I(u) - t(p(u))| (section 3.3), with the derivative of the
surface point from implicit differentiation, dp/df = -w / (grad f . w) (eq. 9). On a laptop that
takes hours. Here every part has a form that is solved instead of trained:

* occupancy is the fair hull's field, from the state its solver stopped in;
* the freespace and occupancy losses are its bounds, which hold exactly: ``f`` never leaves the hull
  and never lets go of a silhouette;
* the normal loss is its bending energy;
* the colour at a surface point is what minimises the photometric loss there: the mean of the
  photographs that see the point, each trusted less the more it disagrees (highlights, hidden
  surfaces; the weights are those of S. Geman and D. McClure, 1987). That is variable projection
  (G. Golub, V. Pereyra, 1973) and leaves the loss a function of the surface alone;
* a surface point moves along its normal, so w = -grad f / |grad f| and df = -|grad f| dx. Both
  derivatives of the loss with respect to dx come from three looks into each photograph, and give
  every point a step and a certainty. Where nothing changes with dx the certainty is none, and the
  bending energy alone decides: colour is trusted where views agree and texture exists;
* a hollow that no silhouette shows begins as a lid many cells above the truth, where such steps end
  in the nearest accident. So the first looks at many views also sweep the space below the surface
  (as planes do for R. Collins, "A Space-Sweep Approach to True Multi-Image Matching", 1996): where
  photographs that contradict each other agree much better at some depth, the surface goes down
  towards it.

Some of the surface is held back: its colours steer nothing and only judge. The round they liked
best is the result; a fit that does not carry over, or hardly, is given up for the fair hull.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.ndimage import minimum_filter
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional

from ...geometry.cameras import Cameras
from ...geometry.fair_hull import Fairing, Target, folded_target
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.silhouettes import folded, sample_grid, with_mirror_images
from ...rendering.mesh_rasterizer import depth_map
from ...views import Views

NOISE = 0.02
"""Difference of colours, of 1, that two photographs of one point have anyway."""

DISAGREEMENT = 0.04
"""Difference of colours at which a photograph counts a quarter."""

STEEPEST = 0.15
"""Smallest cosine between a surface and a view that may still judge its colour."""

MOST_CERTAIN = 50.0
"""A point's certainty ends here, in units of ``NOISE`` per cell."""

STEPS = 8
"""ADMM steps between two looks at the photographs."""

CONTRADICTION = 0.02
"""Difference of colours at which the exact hull's pull on the surface falls to a quarter."""

LEAST_GAIN = 0.025
"""Share of the held-back points' error that must go, or the fair hull stays as it is."""

HELD_BACK = 10
"""One cell in so many is held back."""

MANY_VIEWS = 12
"""So many photographs allow a sweep; the two or three of few that see a point agree by chance."""

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


@dataclass(frozen=True)
class Schedule:
    """How long to look and how much to believe.

    Attributes:
        rounds: Looks at the photographs; from a quarter of the resolution to all of it.
        trust: Weight of the colours against the bending energy.
    """

    rounds: int
    trust: float


def fit(
    fairing: Fairing,
    views: Views,
    schedule: Schedule,
    device: torch.device,
    progress: Callable[[float, np.ndarray], None],
) -> np.ndarray:
    """Let photographs shape the fair hull.

    Args:
        fairing: The solved fair hull; it goes on from there.
        views: In the unit cube.
        schedule: Length and trust.
        device: Where colours are looked up; the bending energy is solved on the CPU.
        progress: Told the share of the work done and the current field; may raise to stop.

    Returns:
        ``[R, R, R]`` the field in cells of the round that the held-back points liked best.
    """
    scales = [Photographs.shrunk(views, factor, device) for factor in (4, 2, 1)]
    judge = scales[1]
    sweeps = len(views.cameras) >= MANY_VIEWS
    settled = schedule.rounds // 2 if sweeps else 0
    best, best_error = fairing.field, torch.inf
    for turn in range(schedule.rounds + 1):
        field = fairing.field
        surface = find_surface(field, judge.cameras, views.mirrors)
        error = disagreement(surface, judge)
        if turn == 0:
            best_error = (1 - LEAST_GAIN) * error
        elif error < best_error and turn >= settled:
            best, best_error = field, error
        if turn == schedule.rounds:
            break
        photographs = scales[min(turn * len(scales) // schedule.rounds, len(scales) - 1)]
        motion, certainty, error = surface_motion(surface, photographs, fairing.resolution)
        if sweeps and photographs is scales[0]:
            depth, belief = sweep(surface, photographs, fairing.resolution, views.mirrors)
            motion = torch.where(belief > 0, depth, motion)
            certainty = torch.maximum(certainty, belief)
        steering = ~surface.judging
        target = spread(surface, motion, schedule.trust * certainty * steering, field)
        faith = folded(hull_faith(surface, error, fairing.resolution), views.mirrors, np.minimum)
        fairing.advance(STEPS, folded_target(target, views.mirrors), faith)
        progress((turn + 1) / schedule.rounds, field)
    return best


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
    cells = _common_cells(((points + 0.5) * resolution).long(), resolution, mirrors)
    judging = (73 * cells[:, 0] + 19 * cells[:, 1] + 83 * cells[:, 2]) % HELD_BACK == 0
    return Surface(
        points.to(device),
        outward.to(device),
        slope.clamp(min=0.2).to(device),
        visibility(mesh, outward.to(device), cameras),
        _neighbour_average(mesh),
        judging.to(device),
    )


def _common_cells(cells: Tensor, resolution: int, mirrors: Sequence[str]) -> Tensor:
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
    weights = []
    for view in range(len(cameras)):
        nearest = depth_map(vertices, faces, cameras, view).clamp(max=1e6)
        at = pixels[view].floor().long().clamp(min=0).minimum(size - 1)
        in_front = depth[view] <= nearest[at[:, 1], at[:, 0]] + 0.015
        _, away = cameras.rays(torch.full((len(vertices),), view, device=device), pixels[view])
        cosine = -(outward * functional.normalize(away, dim=1)).sum(dim=1)
        weights.append((in_front & (cosine > STEEPEST)) * (cosine - STEEPEST + 0.05))
    return torch.stack(weights)


def _neighbour_average(mesh: Mesh) -> scipy.sparse.csr_matrix:
    """Row-stochastic mean over each vertex and its neighbours."""
    count = len(mesh.vertices)
    start, end = mesh.faces[:, [0, 1, 2]].ravel(), mesh.faces[:, [1, 2, 0]].ravel()
    ones = np.ones(len(start), np.float32)
    # On a closed surface every edge runs both ways, so this is symmetric already.
    edges = scipy.sparse.csr_matrix((ones, (start, end)), shape=(count, count))
    whole = edges + scipy.sparse.diags(np.ones(count, np.float32), format="csr")
    return scipy.sparse.diags(1 / np.asarray(whole.sum(axis=1)).ravel()) @ whole


def disagreement(surface: Surface, photographs: Photographs) -> float:
    """Mean robust difference between the photographs and the colours, over the held-back points."""
    errors, seen = _disagreements(surface, photographs, 0.0, surface.judging)
    return float(errors.sum() / seen.sum().clamp(min=1e-6))


def _disagreements(
    surface: Surface, photographs: Photographs, height: float, asked: Tensor
) -> tuple[Tensor, Tensor]:
    """Robust squared differences from the best colours at points raised outward by ``height``.

    Returns:
        ``[P]`` sums over the views of weighted differences, and of the weights; 0 unless ``asked``.
    """
    colors, seen = _look(surface, photographs, [height])
    seen = seen * asked
    residual, _ = _residual(surface, colors[0], seen)
    squared = residual.square().mean(dim=2)
    robust = squared / (1 + squared / DISAGREEMENT**2)
    return (seen * robust).sum(dim=0), seen.sum(dim=0)


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
        torch.stack(_disagreements(surface, photographs, -depth / resolution, ~surface.judging), 1)
        for depth in (0, *DEPTHS)
    ]
    sums = surface.smoothed(torch.cat(looked, dim=1), 6)
    if mirrors:
        points = surface.points.cpu()
        tree = KDTree(points.numpy())
        for mirror in mirrors:
            images = with_mirror_images(points, (mirror,))[len(points) :]
            sums = sums + sums[torch.as_tensor(tree.query(images.numpy())[1], device=sums.device)]
    error, seen = sums[:, ::2], sums[:, 1::2]
    enough = seen > 0.5 * seen[:, :1]
    errors = torch.where(enough, error / seen.clamp(min=1e-6), torch.inf)
    here, (least, which) = errors[:, 0], errors[:, 1:].min(dim=1)
    better = here.isfinite() & (here > NO_CONTRADICTION**2) & (least < MUCH_BETTER * here)
    depth = torch.tensor(DEPTHS, dtype=here.dtype, device=here.device)[which].clamp(max=STRIDE)
    return depth, torch.where(better, SWEPT * (1 - least / here), 0.0)


def surface_motion(
    surface: Surface, photographs: Photographs, resolution: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One Gauss-Newton step of the photometric loss for every point.

    Returns:
        ``[P]`` motion inward in cells, at most one; ``[P]`` certainty, the loss's second
        derivative in units of ``NOISE`` per cell, 0 where fewer than two views see the point;
        ``[P]`` mean squared difference of the photographs from the best colour.
    """
    half = 0.5 / resolution
    colors, seen = _look(surface, photographs, [half, 0.0, -half])
    residual, weights = _residual(surface, colors[1], seen)
    change = _minus_mean(colors[2] - colors[0], weights)  # per cell inward
    slope = (weights[..., None] * change * residual).sum(dim=(0, 2))
    curvature = (weights[..., None] * change.square()).sum(dim=(0, 2))
    enough = (seen > 0).sum(dim=0) >= 2
    both = surface.smoothed(torch.stack([slope * enough, curvature * enough], dim=1), 3)
    motion = (-both[:, 0] / (both[:, 1] + 1e-4)).clamp(-1, 1)
    error = (seen * residual.square().mean(dim=2)).sum(dim=0) / seen.sum(dim=0).clamp(min=1e-6)
    return motion, (both[:, 1] / NOISE**2).clamp(max=MOST_CERTAIN), error


def _look(
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


def _minus_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Subtract from ``[V, P, 3]`` the views' weighted mean."""
    total = weights.sum(dim=0).clamp(min=1e-6)
    return values - (weights[..., None] * values).sum(dim=0) / total[:, None]


def _residual(surface: Surface, colors: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Photographs minus the best colour: ``[V, P, 3]``, and the weights ``[V, P]`` it took.

    A view is distrusted by how much it disagrees around a point, not in the one point.
    """
    weights = seen
    residual = _minus_mean(colors, weights)
    for _ in range(2):
        error = surface.smoothed(residual.square().mean(dim=2).T, 2).T
        weights = seen / (1 + error / DISAGREEMENT**2) ** 2
        residual = _minus_mean(colors, weights)
    return residual, weights


def hull_faith(surface: Surface, error: Tensor, resolution: int) -> np.ndarray:
    """Where the surface may lie on the exact hull, as far as the photographs tell.

    Args:
        surface: The current one.
        error: ``[P]`` of :func:`surface_motion`.
        resolution: R of the grid.

    Returns:
        ``[R, R, R]`` in [0, 1], low around points in which the photographs contradict each other.
    """
    error = surface.smoothed(error[:, None], 4)[:, 0]
    faith = 1 / (1 + error / CONTRADICTION**2) ** 2
    around, values = _on_cells(surface, torch.stack([torch.ones_like(faith), faith]), resolution)
    whole = np.divide(values, around, where=around > 1e-6, out=np.ones_like(values))
    return minimum_filter(whole.astype(np.float32), 5)


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
