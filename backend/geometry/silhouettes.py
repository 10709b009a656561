"""The silhouettes of all views together: the exact hull's field, and the rays that touch it.

Everything is in the unit cube. An object that is its own mirror image has, for each view, one more:
what the mirrored camera would see. Grids over the cube need not be told: what the mirrored views
would have carved is the mirrored grid, so :func:`folded` doubles the views at no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from scipy.ndimage import label
from skimage.measure import find_contours
from torch import Tensor
from torch.nn import functional

from ..views import Views
from .cameras import Cameras
from .visual_hull import grid_points, signed_hull, silhouette_distances


def mirrored_grid(grid: np.ndarray, mirror: str) -> np.ndarray:
    """A grid ``[R, R, R]`` over the unit cube, mirrored.

    Args:
        grid: Indexed ``[x, y, z]``.
        mirror: ``"x"`` or ``"y"`` for the plane where that is 0; ``"diagonal"`` for x = y.
    """
    if mirror == "diagonal":
        return grid.swapaxes(0, 1)
    return np.flip(grid, "xy".index(mirror))


def folded(
    grid: np.ndarray,
    mirrors: Sequence[str],
    combine: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Combine a grid ``[R, R, R]`` with all its mirror images; the result is its own."""
    for mirror in mirrors:
        grid = combine(grid, mirrored_grid(grid, mirror))
    return grid


def with_mirror_images(points: Tensor, mirrors: Sequence[str]) -> Tensor:
    """Points ``[N, 3]`` and all their mirror images, ``[2^M N, 3]`` for M planes."""
    for mirror in mirrors:
        if mirror == "diagonal":
            images = points[:, [1, 0, 2]]
        else:
            sign = torch.ones(3, dtype=points.dtype, device=points.device)
            sign["xy".index(mirror)] = -1
            images = points * sign
        points = torch.cat([points, images])
    return points


@dataclass(frozen=True)
class Silhouettes:
    """What the views say.

    Attributes:
        distances: Distance fields ``[V, S, S]`` in pixels.
        cameras: V cameras.
        mirrors: The planes across which the object is its own mirror image; see ``views.Views``.
    """

    distances: Tensor
    cameras: Cameras
    mirrors: tuple[str, ...] = ()
    _hulls: dict[int, np.ndarray] = field(default_factory=dict, init=False, compare=False)

    @classmethod
    def of(cls, views: Views, device: torch.device | str = "cpu") -> Silhouettes:
        """Those of ``views``, on ``device``."""
        cameras = Cameras.stack(views.cameras, device)
        return cls(silhouette_distances(views, device), cameras, views.mirrors)

    @property
    def number_of_views(self) -> int:
        """Counting the mirror images of all."""
        return len(self.distances) * 2 ** len(self.mirrors)

    def hull_at(self, points: Tensor) -> Tensor:
        """The exact hull's field ``[N]`` at points ``[N, 3]``, in units of the cube."""
        images = with_mirror_images(points, self.mirrors)
        values = signed_hull(self.distances, self.cameras, images)
        return values.reshape(-1, len(points)).amin(dim=0)

    def hull(self, resolution: int) -> np.ndarray:
        """The exact hull's field ``[R, R, R]`` in cells; made once, not to be written to."""
        if resolution not in self._hulls:
            points = grid_points(resolution, self.distances.device)
            values = signed_hull(self.distances, self.cameras, points) * resolution
            self._hulls[resolution] = folded(values.cpu().numpy(), self.mirrors, np.minimum)
        return self._hulls[resolution]


def view_rays(
    silhouettes: Silhouettes, resolution: int, rim: bool
) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Each view with rays through its contour (``rim``) or its inside, as :func:`cast_rays`."""
    for view, distance in enumerate(silhouettes.distances.cpu().numpy()):
        pitch = pixels_per_cell(silhouettes.cameras, view, resolution)
        pixels = _contour(distance, pitch) if rim else _interior(distance, pitch)
        if len(pixels):
            yield view, cast_rays(silhouettes, view, pixels)


OUTLINE = 3.0
"""How far inside a mask's contour, in pixels, :func:`outline_rays` go."""


def outline_rays(silhouettes: Silhouettes) -> Iterator[tuple[Tensor, Tensor]]:
    """For each view, rays through every pixel just inside its contour, as :func:`cast_rays`."""
    for view, distance in enumerate(silhouettes.distances.cpu().numpy()):
        rows, columns = np.nonzero((distance > 0.5) & (distance < OUTLINE))
        yield cast_rays(silhouettes, view, np.stack([columns, rows], axis=1) + 0.5)


def cast_rays(silhouettes: Silhouettes, view: int, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Origins and directions ``[N, 3]`` of rays through ``pixels`` ``[N, 2]``, on the CPU."""
    device = silhouettes.distances.device
    at = torch.as_tensor(pixels, dtype=torch.float32, device=device)
    index = torch.full((len(at),), view, device=device)
    origins, directions = silhouettes.cameras.rays(index, at)
    return origins.cpu(), directions.cpu()


def pixels_per_cell(cameras: Cameras, view: int, resolution: int) -> float:
    """How many pixels one cell at the cube's centre covers in a view."""
    focal = float(cameras.intrinsics[view, :2, :2].det().abs().sqrt())
    depth = 1.0 if bool(cameras.orthographic[view]) else float(cameras.world_to_camera[view, 2, 3])
    return focal / (depth * resolution)


def _contour(distance: np.ndarray, pitch: float) -> np.ndarray:
    """Points ``[N, 2]`` on the zero line of a distance field, about one every ``pitch`` pixels."""
    step = max(1, round(pitch))
    lines = find_contours(distance, 0.0)
    return np.concatenate([line[::step, ::-1] + 0.5 for line in lines] or [np.zeros((0, 2))])


def _interior(distance: np.ndarray, pitch: float) -> np.ndarray:
    """Points ``[N, 2]`` on a lattice inside the mask."""
    step = max(1, round(1.5 * pitch))
    rows, columns = np.nonzero(distance[step // 2 :: step, step // 2 :: step] > 0)
    return np.stack([columns, rows], axis=1) * step + step // 2 + 0.5


@dataclass(frozen=True)
class RaySamples:
    """Points along N rays, half a cell apart, where something may be; ray by ray.

    Attributes:
        points: ``[K, 3]``.
        ray: ``[K]`` int64, ascending; not every ray need have one.
        count: N.
    """

    points: Tensor
    ray: np.ndarray
    count: int

    @classmethod
    def joined(cls, parts: Sequence[RaySamples]) -> RaySamples:
        """The samples of all rays, one part's after the other's."""
        parts = [cls(torch.zeros((0, 3)), np.zeros(0, np.int64), 0), *parts]
        before = np.cumsum([0] + [part.count for part in parts])
        rays = [part.ray + first for part, first in zip(parts, before, strict=False)]
        points = torch.cat([part.points for part in parts])
        return cls(points, np.concatenate(rays), int(before[-1]))

    def where(self, chosen: np.ndarray) -> RaySamples:
        """Those samples of which ``chosen`` ``[K]`` is true."""
        return RaySamples(self.points[torch.as_tensor(chosen)], self.ray[chosen], self.count)

    def largest(self, values: np.ndarray) -> np.ndarray:
        """For each ray that has samples, the index of the first with its largest value."""
        if not len(self.ray):
            return np.zeros(0, np.int64)
        first = np.flatnonzero(np.diff(self.ray, prepend=-1))
        most = np.maximum.reduceat(values, first)
        counts = np.diff(first, append=len(values))
        candidates = np.flatnonzero(values == np.repeat(most, counts))
        return candidates[np.diff(self.ray[candidates], prepend=-1) != 0]


_BLOCK = 4


class NearZero:
    """Where a field that stays below another may come near zero, by blocks of cells."""

    def __init__(self, upper: np.ndarray) -> None:
        """Find the blocks.

        Args:
            upper: ``[R, R, R]`` in cells; where it is below -2 all around, nothing is.
        """
        self._resolution = len(upper)
        padding = -len(upper) % _BLOCK
        whole = functional.pad(
            torch.as_tensor(upper)[None, None], (0, padding) * 3, value=-torch.inf
        )
        most = functional.max_pool3d(whole, _BLOCK)
        self._blocks = functional.max_pool3d(most, 3, stride=1, padding=1)[0, 0] > -2.0

    def samples(self, origins: Tensor, directions: Tensor) -> RaySamples:
        """Those there on rays from ``origins`` ``[N, 3]`` along ``directions`` ``[N, 3]``."""
        steps = int(0.4375 * self._resolution)  # of four samples each
        start, along, length = _in_cube(origins, directions)
        middles = start[:, None] + ((torch.arange(steps) + 0.5) / steps * length[:, None])
        points = origins[:, None] + middles[..., None] * along[:, None]
        cell = ((points + 0.5) * (self._resolution / _BLOCK)).long()
        x, y, z = cell.clamp_(0, len(self._blocks) - 1).unbind(dim=-1)
        ray, step = self._blocks[x, y, z].nonzero(as_tuple=True)
        ray = ray.repeat_interleave(4)
        share = (4 * step[:, None] + torch.arange(4) + 0.5).view(-1) / (4 * steps)
        distance = start[ray] + share * length[ray]
        points = origins[ray] + distance[:, None] * along[ray]
        return RaySamples(points, ray.numpy(), len(origins))


def _in_cube(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays enter the unit cube ``[N]``, unit directions ``[N, 3]``, length inside ``[N]``."""
    along = directions / directions.norm(dim=1, keepdim=True)
    inverse = 1 / torch.where(along.abs() < 1e-9, torch.full_like(along, 1e-9), along)
    one, other = (-0.5 - origins) * inverse, (0.5 - origins) * inverse
    near = torch.minimum(one, other).amax(dim=1)
    return near, along, (torch.maximum(one, other).amin(dim=1) - near).clamp(min=0)


def sample_grid(grid: Tensor, points: Tensor) -> Tensor:
    """Trilinear values ``[...]`` of a grid ``[R, R, R]`` over the unit cube at ``[..., 3]``."""
    lookup = 2 * points.flip(-1).reshape(1, 1, 1, -1, 3)
    values = functional.grid_sample(
        grid[None, None], lookup, padding_mode="border", align_corners=False
    )
    return values.reshape(points.shape[:-1])


def hull_near_surface(silhouettes: Silhouettes, resolution: int) -> Tensor:
    """The exact hull near its surface, ``[R, R, R]`` in cells; -3 outside, roughly right inside."""
    coarse = torch.as_tensor(silhouettes.hull(resolution // 2))
    near = functional.max_pool3d(coarse[None, None], 3, stride=1, padding=1)[0, 0] > -1.5
    hull = torch.where(near, (2 * coarse).clamp(min=-3.0), -3.0)
    near &= coarse < 3.0
    hull, near = (
        part.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
        for part in (hull, near)
    )
    cells = near.nonzero()
    points = ((cells + 0.5) / resolution - 0.5).to(silhouettes.distances.device)
    values = signed_hull(silhouettes.distances, silhouettes.cameras, points).cpu() * resolution
    hull[near] = values
    return torch.as_tensor(folded(hull.numpy(), silhouettes.mirrors, np.minimum))


SPECK = 1e-3
"""Share of the largest piece's cells below which a piece is stray whatever it fills."""

NEEDED = 10
"""So many rays through the masks' outlines must meet a piece and nothing else, or it is stray."""


def without_stray_pieces(silhouettes: Silhouettes, field: np.ndarray) -> np.ndarray:
    """Clear away the pieces of a solid that the silhouettes do without, the smallest first.

    Where no view looks between its parts, a hull has phantoms: pieces that hide behind the object
    in every view. A true piece, however small, fills some part of a mask alone.

    Args:
        silhouettes: Views in the unit cube.
        field: ``[R, R, R]`` in cells, positive inside.

    Returns:
        The field, negative in every stray piece.
    """
    number, pieces = cast(tuple[np.ndarray, int], label(field > 0))
    if pieces < 2:
        return field
    sizes = np.bincount(number.ravel())
    sizes[0] = 0
    stray = (sizes > 0) & (sizes < SPECK * sizes.max())
    order = np.argsort(sizes)[1 + stray.sum() : -1]  # the smallest first, and not the largest
    if len(order):
        ray, piece = _met_pieces(silhouettes, np.where(stray[number], 0, number))
        others = np.bincount(ray) - 1
        for one in order:
            its_rays = ray[piece == one]
            if (others[its_rays] == 0).sum() < NEEDED:
                others[its_rays] -= 1
                stray[one] = True
    return np.where(stray[number], -field, field)


def _met_pieces(silhouettes: Silhouettes, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rays through the masks' outlines and the pieces that they meet, pair by pair.

    Args:
        silhouettes: Views in the unit cube.
        number: ``[R, R, R]`` of the piece in each cell, 0 where there is none.
    """
    pairs, before, base = [np.zeros(0, np.int64)], 0, int(number.max()) + 1
    solid = NearZero(np.where(number > 0, np.float32(0), np.float32(-np.inf)))
    for rays in outline_rays(silhouettes):
        samples = solid.samples(*rays)
        cells = ((samples.points.numpy() + 0.5) * len(number)).astype(np.int64)
        met = number[tuple(cells.clip(0, len(number) - 1).T)]
        pairs.append(np.unique(((samples.ray + before) * base + met)[met > 0]))
        before += samples.count
    ray, piece = np.divmod(np.concatenate(pairs), base)
    return ray, piece
