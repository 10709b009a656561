"""One image to a closed mesh, with a trained network."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, gaussian_filter, maximum_filter, zoom
from scipy.spatial import KDTree
from torch import Tensor

from ...errors import InputError, ReconstructionError
from ...geometry.cameras import Cameras
from ...geometry.isosurface import extract
from ...geometry.mesh import Mesh
from ...geometry.mesh_repair import keep_solid_parts
from ...geometry.point_cloud import points_to_density, sample_surface
from ...geometry.poisson import poisson_mesh, surface_of_volume
from ...geometry.visual_hull import grid_points, signed_hull, silhouette_distances
from ...views import Camera, Views
from ..interface import Report
from . import SingleImageParams
from .camera_fit import cloud_overlap, fit_camera
from .network import DrwrNetwork, network_image, quaternion_to_matrix

PEAK_SHARE = 0.5
"""The surface is where the density falls to this share of its highest nearby: at half of it a flat
side stays where it is, and thin parts, whose points are fewer, have a surface of their own."""

SURFACE_SHARE = 0.2
"""Of the median density at the points; what is thinner is stray."""

SMOOTHING = 1.0
"""Least width of a point's Gaussian in the surface's cells."""

CROWDING = 0.9
"""Width in median distances to the eighth neighbour; with less, chance gaps become holes."""

DETAIL = 1.5
"""Least width in pixels of the network's images; what is finer is chance."""

VOXEL_BLUR = 0.5
"""Cells of the network's grid: rounds its steps, and leaves legs of one cell standing."""

CARVING_OVERLAP = 0.7
"""The mask carves when it agrees with the cloud at least so well."""

CARVING_ROOM = 1.0
"""Cells that are left standing outside the mask's cone: the camera is an estimate."""


class SingleImageReconstructor:
    """DRWR's network, and what makes its cloud, or voxels, a mesh.

    The mesh lies in the unit cube of the category's common frame: Z up, facing -Y.
    """

    def __init__(
        self, network: DrwrNetwork, params: SingleImageParams, device: torch.device
    ) -> None:
        self.network = network.to(device)
        self.params = params
        self.device = device

    def camera(self, views: Views) -> Camera:
        """The camera that took the picture, in the unit cube of the common frame.

        Args:
            views: One view, whose camera is not looked at.

        Raises:
            InputError: There are several views.
        """
        shape, quaternion = self._predict(views)
        rotation = quaternion_to_matrix(quaternion.cpu().double()).numpy()
        distance = self.network.settings.distance
        return fit_camera(self._cloud(shape), views.masks[0], rotation, distance)

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        """Return a closed mesh in the unit cube of the common frame.

        Args:
            views: One view; if its camera is that of :meth:`camera`, its mask carves a little.
            report: Told the progress.

        Raises:
            InputError: There are several views.
            ReconstructionError: The predicted shape encloses nothing.
            Cancelled: By ``report``.
        """
        report(0.0, "predicting the shape")
        shape, _ = self._predict(views)
        report(0.2, "closing the surface")
        resolution, smoothing = self.params.resolution, self.params.smoothing
        if self.network.settings.voxels:
            field = occupancy_field(_numbers(shape), resolution, smoothing)
        else:
            detail = DETAIL / self.network.settings.image_size
            width = smoothing * gap_closing_width(shape, resolution, detail)
            if self.params.surface == "poisson":
                return poisson_mesh(*surface_of_volume(shape, resolution, width), resolution, width)
            field = density_field(shape, resolution, width)
        if _agrees(self._cloud(shape), views):
            field = np.minimum(field, _cone(field, views) + CARVING_ROOM)
        report(0.6, "closing the surface")
        return keep_solid_parts(extract(_filled(field)))

    def _cloud(self, shape: Tensor) -> np.ndarray:
        """Points ``[N, 3]`` that stand for a predicted shape."""
        settings = self.network.settings
        return (
            surface_points(_numbers(shape), settings.points) if settings.voxels else _numbers(shape)
        )

    @torch.no_grad()
    def _predict(self, views: Views) -> tuple[Tensor, Tensor]:
        """Points ``[N, 3]`` or occupancy ``[R, R, R]``, and the student's quaternion ``[4]``."""
        if len(views) != 1:
            raise InputError(
                f"the network reconstructs from one image, but there are {len(views)}; give one."
            )
        size = self.network.settings.image_size
        image = network_image(views.images[0], views.masks[0], size)
        prediction = self.network(torch.as_tensor(image, device=self.device)[None])
        return prediction.shapes[0], prediction.student[0]


def surface_level(occupancy: np.ndarray) -> float:
    """Where the surface of a grid ``[R, R, R]`` is: 0.5, or half its maximum if that is no more."""
    highest = float(occupancy.max())
    return 0.5 if highest > 0.5 else 0.5 * highest


def surface_points(occupancy: np.ndarray, count: int) -> np.ndarray:
    """Points ``[N, 3]`` spread evenly over the surface of a grid, the same at every call.

    Args:
        occupancy: ``[R, R, R]`` in [0, 1].
        count: Number of points N.

    Raises:
        ReconstructionError: The grid is empty.
    """
    mesh = extract(occupancy, surface_level(occupancy))
    return sample_surface(mesh, count, np.random.default_rng(0))[0]


def occupancy_field(occupancy: np.ndarray, resolution: int, smoothing: float) -> np.ndarray:
    """Voxels as a finer field ``[R, R, R]``, positive inside, whose slope is about 1 for each cell.

    A little blur and cubic interpolation, as the steps of a grid are not the object's.

    Args:
        occupancy: ``[S, S, S]`` in [0, 1].
        resolution: Cells along each axis.
        smoothing: Multiplies the blur.
    """
    finer = resolution / len(occupancy)
    smooth = gaussian_filter(occupancy, smoothing * VOXEL_BLUR, mode="constant")
    fine = np.asarray(zoom(smooth, finer, order=3, mode="grid-constant", grid_mode=True))
    return finer * (fine - surface_level(fine))


def gap_closing_width(points: Tensor, resolution: int, detail: float) -> float:
    """Width in cells of the Gaussian that makes a cloud ``[N, 3]`` one body without holes.

    Args:
        points: ``[N, 3]`` in the unit cube.
        resolution: Cells along each axis.
        detail: Least width in cubes.

    Raises:
        ReconstructionError: The points are not finite.
    """
    places = _numbers(points)
    if not np.isfinite(places).all():
        raise ReconstructionError("the network's points are not finite; use another checkpoint.")
    distances, _ = KDTree(places).query(places, k=min(9, len(places)))
    return max(SMOOTHING, resolution * max(detail, CROWDING * float(np.median(distances[:, -1]))))


def density_field(points: Tensor, resolution: int, width: float) -> np.ndarray:
    """A cloud as a field ``[R, R, R]``, positive inside, whose slope is about 1 for each cell.

    The cloud is no sample of a surface but fills what it stands for, so it becomes a density; the
    logarithm of a Gaussian's flank is nearly straight.

    Args:
        points: ``[N, 3]`` in the unit cube.
        resolution: Cells along each axis.
        width: Standard deviation in cells of the Gaussian that each point becomes.
    """
    places = _numbers(points)
    density = points_to_density(points, resolution, width)
    cells = np.floor((places + 0.5) * resolution).astype(int).clip(0, resolution - 1)
    least = SURFACE_SHARE * float(np.median(density[tuple(cells.T)]))
    peak = maximum_filter(density, 2 * math.ceil(1.5 * width) + 1)
    level = np.maximum(PEAK_SHARE * peak, least)
    return width * np.log(np.maximum(density, 1e-3 * least) / level)


def _filled(field: np.ndarray) -> np.ndarray:
    """The field with its cavities closed."""
    solid = np.asarray(binary_fill_holes(field > 0))
    return np.where(solid & (field <= 0), 1.0, field)


def _agrees(points: np.ndarray, views: Views) -> bool:
    return cloud_overlap(points, views.cameras[0], views.masks[0]) >= CARVING_OVERLAP


def _numbers(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()


def _cone(field: np.ndarray, views: Views) -> np.ndarray:
    """Signed distance in cells to the mask's cone, in and near the field's surface."""
    near = field > -2.0
    centres = grid_points(len(field))[torch.as_tensor(near)]
    cone = np.full(field.shape, np.inf, np.float32)
    distances = silhouette_distances(views)
    hull = signed_hull(distances, Cameras.stack(views.cameras), centres)
    cone[near] = hull.numpy() * len(field)
    return cone
