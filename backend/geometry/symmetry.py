"""Which vertical planes an object is its own mirror image across, from its silhouettes alone.

Most of what is made, and most of what lives, has such a plane, and then every view is worth two.
Mirrored silhouettes may carve nothing that the photographs show: a ray that grazes the object in
some view must still find the hull when that has been cut with its mirror image. By how much it
misses is its deficit. Where deficits are less than a pixel the plane is taken; one arm raised, a
handle, or a door ajar cost many pixels along some contour.

Planes are looked for where the cube's x or y is near 0, as objects that stand on the ground and
face an axis have them; if both are found, also between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..views import Similarity, Views
from .cameras import Cameras
from .silhouettes import (
    NearZero,
    RaySamples,
    Silhouettes,
    mirrored_grid,
    pixels_per_cell,
    sample_grid,
    view_rays,
    with_mirror_images,
)

RESOLUTION = 96
"""Rays go through every cell of so many along the cube."""

COARSE = 64
"""Cells along the cube of the hull that tells where on a ray to look."""

REACH = 0.045
"""How far from the cube's middle a plane is looked for: the hull bulges to either side."""

ASKED_REACH = 0.15
"""The same where the user says that there is one: views may be from one side only."""

NOISE = 1.0
"""Deficit in pixels that masks cause by themselves."""

NOISY_SHARE = 0.02
"""Rays that may have more: a feature of one side alone is many rays."""

WORTH = 0.003
"""Share of the hull's volume that a plane cuts off, or is left alone."""

_COARSE_STEP, _FINE_STEP = 0.005, 0.001
_ALIKE = 0.02
"""Pixels by which planes' mean deficits may differ and still count as alike."""
_FEW_RAYS = 1000


def with_mirrors(views: Views, wanted: str) -> Views:
    """Find the object's planes of symmetry and move them into the middle of the cube.

    Args:
        views: In the unit cube.
        wanted: ``"auto"`` takes the planes that the silhouettes show and that tell something new;
            ``"x"`` or ``"y"`` takes the best plane across that axis, whatever they show;
            ``"none"`` none.

    Returns:
        The views, with ``mirrors`` and ``distances``; cameras and ``to_world`` have moved with the
        cube.
    """
    if wanted == "none":
        return views
    silhouettes = Silhouettes.of(views)
    views = replace(views, distances=silhouettes.distances.numpy())
    contours = Contours(silhouettes)
    offset, mirrors = np.zeros(3), []
    for axis, mirror in enumerate("xy"):
        if wanted not in ("auto", mirror):
            continue
        middle, mean = contours.best_offset(axis, REACH if wanted == "auto" else ASKED_REACH)
        likely = wanted == "auto" and mean < NOISE
        if wanted == mirror or (likely and _is_noise(contours.deficits(mirror, middle))):
            offset[axis] = middle
            mirrors.append(mirror)
    moved = _moved(views, offset)
    silhouettes = replace(silhouettes, cameras=Cameras.stack(moved.cameras))
    if len(mirrors) == 2 and _is_noise(Contours(silhouettes).deficits("diagonal")):
        mirrors.append("diagonal")
    if wanted == "auto":
        mirrors = _telling(mirrors, silhouettes.hull(COARSE))
    return replace(moved, mirrors=tuple(mirrors)) if mirrors else views


def _telling(mirrors: Sequence[str], hull: np.ndarray) -> list[str]:
    """Those planes that cut something off a hull ``[R, R, R]``.

    Cameras that stand symmetrically around the object have seen already what their mirror images
    see; to be told twice, a cell apart, makes the fair hull no fairer.
    """
    telling = []
    for mirror in mirrors:
        cut = np.minimum(hull, mirrored_grid(hull, mirror))
        if (cut > 0).sum() < (1 - WORTH) * (hull > 0).sum():
            telling.append(mirror)
            hull = cut
    return telling


def unfolded(views: Views) -> Views:
    """The views and the mirror images of all, for methods that cannot mirror what they make."""
    for mirror in views.mirrors:
        views = _with_mirror_images(views, mirror)
    return replace(views, mirrors=())


class Contours:
    """Rays through the masks' contours, and how a mirrored hull would cut them off."""

    def __init__(self, silhouettes: Silhouettes) -> None:
        """Cast a ray through every cell or so of every contour."""
        self._silhouettes = silhouettes
        self._grid = torch.as_tensor(silhouettes.hull(COARSE)) / COARSE
        near = NearZero(silhouettes.hull(COARSE))
        parts, pixels = [], [torch.zeros(0)]
        for view, rays in view_rays(silhouettes, RESOLUTION, True):
            parts.append(near.samples(*rays))
            scale = RESOLUTION * pixels_per_cell(silhouettes.cameras, view, RESOLUTION)
            pixels.append(torch.full((parts[-1].count,), scale))
        samples, self._pixels = RaySamples.joined(parts), torch.cat(pixels)
        self._points, self._owner = samples.points, torch.as_tensor(samples.ray)
        # What lies a whole cell below the deepest sample is of no use to any ray.
        values = sample_grid(self._grid, self._points)
        most = torch.full_like(self._pixels, -1.0).scatter_reduce(0, self._owner, values, "amax")
        near = values > most[self._owner] - 1 / COARSE
        self._points, self._owner = self._points[near], self._owner[near]
        self._hull = self._hull_at(self._points)
        self._few = self._owner % -(-len(self._pixels) // _FEW_RAYS) == 0

    def best_offset(self, axis: int, reach: float) -> tuple[float, float]:
        """Where the plane across an axis fits best: the middle of all that fit as well as any.

        Returns:
            The offset, and the mean deficit there of some rays, in pixels.
        """
        steps, mirror = round(reach / _COARSE_STEP), "xy"[axis]
        coarse = _COARSE_STEP * np.arange(-steps, steps + 1)
        middle, mean = self._best(mirror, coarse, exact=False)
        if mean > 2 * NOISE:  # no finer step makes that good
            return middle, mean
        return self._best(mirror, middle + _FINE_STEP * np.arange(-4, 5), exact=True)

    def _best(self, mirror: str, offsets: np.ndarray, exact: bool) -> tuple[float, float]:
        means = np.array([self._mean_of_few(mirror, float(at), exact) for at in offsets])
        # Loose hulls fit a range of planes alike; its middle errs least.
        return float(offsets[means <= means.min() + _ALIKE].mean()), float(means.min())

    def deficits(self, mirror: str, offset: float = 0.0) -> Tensor:
        """How many pixels ``[N]`` deeper each ray lies once the hull is cut with its mirror image.

        Args:
            mirror: As in ``views.Views``.
            offset: Where the plane is, in the unit cube; the diagonal goes through its middle.
        """
        mirrored = self._hull_at(_mirrored(self._points, mirror, offset))
        return self._cut(mirrored, self._hull, self._owner)

    def _mean_of_few(self, mirror: str, offset: float, exact: bool) -> float:
        points = _mirrored(self._points[self._few], mirror, offset)
        mirrored = self._hull_at(points) if exact else sample_grid(self._grid, points)
        cut = self._cut(mirrored, self._hull[self._few], self._owner[self._few])
        return float(cut.sum()) / max(1, len(torch.unique(self._owner[self._few])))

    def _cut(self, mirrored: Tensor, hull: Tensor, owner: Tensor) -> Tensor:
        """Deficits from both hulls' values ``[P]``; ``owner`` ``[P]`` says of which ray."""
        lowest = torch.full_like(self._pixels, -1.0)
        before, after = (
            lowest.scatter_reduce(0, owner, values, "amax")
            for values in (hull, torch.minimum(hull, mirrored))
        )
        # At most what a sample that was left out has.
        return (before - after).clamp(max=1 / COARSE) * self._pixels

    def _hull_at(self, points: Tensor) -> Tensor:
        device = self._silhouettes.distances.device
        return self._silhouettes.hull_at(points.to(device)).cpu()


def _is_noise(deficits: Tensor) -> bool:
    """Whether so few rays have so small deficits that the masks may be the cause."""
    return float((deficits > NOISE).float().mean()) <= NOISY_SHARE


def _mirrored(points: Tensor, mirror: str, offset: float) -> Tensor:
    shift = torch.zeros(3)
    if mirror != "diagonal":
        shift["xy".index(mirror)] = 2 * offset
    return with_mirror_images(points, (mirror,))[len(points) :] + shift


def _moved(views: Views, offset: np.ndarray) -> Views:
    """The same views in a cube whose middle is at ``offset`` of the present one."""
    shift = Similarity(1.0, offset)
    to_world = views.to_world
    return replace(
        views,
        cameras=tuple(camera.in_unit_cube(shift) for camera in views.cameras),
        to_world=Similarity(to_world.scale, to_world.offset + to_world.scale * offset),
    )


def _with_mirror_images(views: Views, mirror: str) -> Views:
    """The views and their flipped pictures, seen by the mirrored cameras."""
    cameras = views.cameras
    if mirror == "diagonal":  # a quarter turn about z, then across x
        turn = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        cameras = [replace(one, world_to_camera=one.world_to_camera @ turn) for one in cameras]
    axis = 1 if mirror == "y" else 0
    images, masks, known = (
        np.concatenate([part, part[:, :, ::-1]])
        for part in (views.images, views.masks, views.known)
    )
    return replace(
        views,
        names=views.names + tuple(f"{name} (mirrored)" for name in views.names),
        images=images,
        masks=masks,
        known=known,
        cameras=views.cameras + tuple(camera.mirrored(axis, 0.0) for camera in cameras),
        distances=None,
    )
