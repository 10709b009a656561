"""Ways from a point cloud that fills an object to its closed surface, compared.

    python benchmarks/point_cloud_surfaces.py
    python benchmarks/point_cloud_surfaces.py --meshes FOLDER --count 20

Clouds are what DRWR's loss leaves after fitting each object's silhouettes: points that fill the
volume, not a sample of the surface. Without ``--meshes`` the objects are solids made of balls,
boxes and cylinders; FOLDER is as for ``fit_quality.py``. Each way sees the same cloud:

* ``density``: the logarithm of the points' density, at a share of its median: DRWR's own;
* ``poisson``: the skin of the cloud and its normals, then Poisson, on the same grid;
* ``balls``: the union of balls around the points, shrunk by their radius;
* ``alpha``: Delaunay's tetrahedra whose circumscribed ball is small;

and again as ``density+hull`` and so on, cut to the silhouettes' hull, but for ``alpha``, which is
no field. ``hull`` is the hull alone: the baseline. ``poisson_surface`` is given points of the true
surface with their normals, as many: what Poisson makes of a good cloud, where the mesh is closed
and wound well; many files in FOLDER are not.

Truth is the outer surface, as in ``fit_quality.py``, and so are the scores, in units of the longest
edge; but on 50,000 points of each surface, whose spacing alone makes a Chamfer distance of 0.03 to
0.04, and as many cells for the IoU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from fit_quality import GRID, Truth, chosen_meshes, normalised, perspective_cameras, photograph
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from scipy.spatial import Delaunay, KDTree
from torch import Tensor

from backend.errors import ReconstructionError
from backend.geometry.cameras import Cameras
from backend.geometry.isosurface import extract
from backend.geometry.mesh import Mesh
from backend.geometry.mesh_repair import keep_solid_parts, make_closed_manifold
from backend.geometry.point_cloud import sample_surface
from backend.geometry.poisson import poisson_field, surface_of_volume, turned_outward
from backend.geometry.visual_hull import grid_points, signed_hull, silhouette_distances, unit_cube
from backend.images import working_views
from backend.mesh_files import read_scene_mesh
from backend.methods.drwr.losses import default_terms, drwr_loss, silhouette_targets
from backend.methods.drwr.model import PointCloud
from backend.methods.drwr.reconstruct import LEARNING_RATE, WIDE_START
from backend.methods.drwr.single_image import density_field, gap_closing_width
from backend.views import Views
from training.metrics import (
    chamfer_l1,
    cloud_distances,
    f_score,
    mesh_iou,
    normal_consistency,
)

POISSON_SIGMA = 1.5
SAMPLES = 50_000


@dataclass(frozen=True)
class Cloud:
    """A fitted cloud, and what it was fitted to.

    Attributes:
        points: ``[N, 3]`` in the unit cube.
        spacing: Median distance to the eighth neighbour, in cubes.
        distances: ``[V, S, S]``, signed, to the silhouettes' outlines.
        cameras: V cameras.
        resolution: Cells along the grids to be made.
    """

    points: Tensor
    spacing: float
    distances: Tensor
    cameras: Cameras
    resolution: int

    @property
    def smoothing(self) -> float:
        """Standard deviation in cells of a Gaussian that reaches a point's neighbours."""
        return max(1.2, 0.6 * self.resolution * self.spacing)


Field = Callable[[Cloud], np.ndarray]
"""``[R, R, R]``, positive inside, in about cells from the surface."""


# Objects and their clouds -------------------------------------------------------------------------


def solids() -> dict[str, Mesh]:
    """Closed objects with thick and thin parts, holes and hollows."""
    create, move = trimesh.creation, trimesh.transformations.translation_matrix
    legs = [
        create.box((0.06, 0.06, 0.6), move((x, y, -0.3))) for x in (-0.4, 0.4) for y in (-0.3, 0.3)
    ]
    cup = create.cylinder(0.3, 0.7).difference(
        create.cylinder(0.24, 0.7, transform=move((0, 0, 0.08)))
    )
    handle = create.torus(
        0.2, 0.04, transform=trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
    )
    handle.apply_translation((0.35, 0, 0))
    handle = handle.difference(create.cylinder(0.27, 0.7))
    objects = {
        "ball": create.icosphere(4, 0.5),
        "torus": create.torus(0.35, 0.12),
        "box": create.box((1.0, 0.6, 0.4)),
        "table": trimesh.boolean.union([create.box((1.0, 0.8, 0.06)), *legs]),
        "mug": cup.union(handle),
        "drilled box": create.box((0.8, 0.8, 0.5)).difference(create.cylinder(0.25, 1.0)),
    }
    return {
        name: normalised(Mesh(np.asarray(m.vertices, np.float32), np.asarray(m.faces, np.int32)))
        for name, m in objects.items()
    }


def fitted_cloud(views: Views, count: int, steps: int, resolution: int) -> Cloud:
    """Fit points to the silhouettes as the method does."""
    cameras, distances = Cameras.stack(views.cameras), silhouette_distances(views)
    centres = grid_points(64).reshape(-1, 3)
    inside = centres[signed_hull(distances, cameras, centres) > 0]
    random = torch.Generator().manual_seed(0)
    start = inside[torch.randint(len(inside), (count,), generator=random)]
    cloud = PointCloud(start + (torch.rand(start.shape, generator=random) - 0.5) / 64)
    targets = silhouette_targets(views.masks, views.known)
    terms = default_terms(targets, count)
    optimizer = torch.optim.Adam(cloud.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        done = step / steps
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.1**done
        wide = replace(terms, sigma=terms.sigma * WIDE_START ** max(0.0, 1 - 2 * done))
        optimizer.zero_grad()
        drwr_loss(targets, wide, *cloud(cameras)).backward()
        optimizer.step()
    points = cloud.positions.detach()
    spacing = float(np.median(KDTree(points.numpy()).query(points.numpy(), k=9)[0][:, -1]))
    return Cloud(points, spacing, distances, cameras, resolution)


# Fields -------------------------------------------------------------------------------------------


def density(cloud: Cloud) -> np.ndarray:
    """The program's own for one image."""
    width = gap_closing_width(cloud.points, cloud.resolution, 0.0)
    return density_field(cloud.points, cloud.resolution, width)


def skin(cloud: Cloud) -> tuple[Tensor, Tensor]:
    """Points and outward normals of the cloud's surface."""
    points, normals = surface_of_volume(cloud.points, cloud.resolution, cloud.smoothing)
    step = 1 / cloud.resolution
    return points, turned_outward(points, normals, cloud.distances, cloud.cameras, step)


def poisson(cloud: Cloud) -> np.ndarray:
    """Poisson's field of the skin."""
    return in_cells(poisson_field(*skin(cloud), cloud.resolution, POISSON_SIGMA))


def in_cells(indicator: Tensor) -> np.ndarray:
    """A blurred step's height over its slope at the step."""
    return indicator.numpy() * POISSON_SIGMA * np.sqrt(2 * np.pi)


def balls(cloud: Cloud) -> np.ndarray:
    """Dilation by a radius that closes the gaps, then erosion by the same."""
    radius = max(1.5, cloud.resolution * cloud.spacing)
    reach = int(np.ceil(radius)) + 2
    near, _ = KDTree(cloud.points.numpy()).query(
        grid_points(cloud.resolution).numpy().reshape(-1, 3),
        distance_upper_bound=(radius + 1) / cloud.resolution,
    )
    dilated = near.reshape((cloud.resolution,) * 3) * cloud.resolution < radius
    padded = np.pad(dilated, reach)
    depth = np.asarray(distance_transform_edt(padded)) - np.asarray(distance_transform_edt(~padded))
    inner = slice(reach, -reach)
    return depth[inner, inner, inner] - radius


def hull(cloud: Cloud) -> np.ndarray:
    """Signed distance to the visual hull."""
    centres = grid_points(cloud.resolution)
    return signed_hull(cloud.distances, cloud.cameras, centres).numpy() * cloud.resolution


def closed(field: np.ndarray) -> Mesh:
    """The surface of a field, its cavities filled."""
    filled = np.asarray(binary_fill_holes(field > 0))
    return keep_solid_parts(extract(np.where(filled & (field <= 0), 1.0, field)))


# Alpha shape --------------------------------------------------------------------------------------


def alpha_shape(cloud: Cloud) -> Mesh:
    """The border of all tetrahedra whose circumscribed ball has at most twice the spacing."""
    points = cloud.points.double().numpy()
    tetrahedra = Delaunay(points).simplices
    tetrahedra = tetrahedra[_circumradii(points[tetrahedra]) < 2 * cloud.spacing]
    a, b, c, d = points[tetrahedra].transpose(1, 0, 2)
    turned = np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a) < 0
    tetrahedra[turned] = tetrahedra[turned][:, [1, 0, 2, 3]]
    faces = tetrahedra[:, [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]].reshape(-1, 3)
    _, first, count = np.unique(
        np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True
    )
    border = faces[first[count == 1]]
    used, corners = np.unique(border, return_inverse=True)
    mesh = Mesh(points[used].astype(np.float32), corners.reshape(-1, 3).astype(np.int32))
    return keep_solid_parts(make_closed_manifold(mesh))


def _circumradii(corners: np.ndarray) -> np.ndarray:
    """``[T]`` of tetrahedra ``[T, 4, 3]``."""
    edges = corners[:, 1:] - corners[:, :1]
    squares = (edges**2).sum(axis=-1) / 2
    flat = np.abs(np.linalg.det(edges)) < 1e-15
    centres = np.linalg.solve(np.where(flat[:, None, None], np.eye(3), edges), squares[..., None])
    return np.where(flat, np.inf, np.linalg.norm(centres[..., 0], axis=1))


# Scores -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """The outer surface's ``points`` and ``normals``, and cells, of which some are ``inside``."""

    points: np.ndarray
    normals: np.ndarray
    cells: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh) -> Samples:
        """Of a mesh whose longest edge is 1."""
        truth = Truth.of(mesh)
        chosen = np.random.default_rng(0).choice(GRID**3, SAMPLES, replace=False)
        cells = np.stack(np.unravel_index(chosen, truth.occupied.shape), axis=1)
        centres = ((cells + 0.5) / GRID - 0.5) * 1.1
        inside = truth.occupied.reshape(-1)[chosen]
        return cls(truth.points[:SAMPLES], truth.normals[:SAMPLES], centres, inside)


def scores(mesh: Mesh, truth: Samples) -> dict[str, float]:
    """Every score of the table."""
    points, normals = sample_surface(mesh, SAMPLES, np.random.default_rng(1))
    between = cloud_distances(points, truth.points)
    return {
        "chamfer_l1": chamfer_l1(between, longest_edge=1.0),
        "f_score": f_score(between, 0.01),
        "normal_consistency": normal_consistency(points, normals, truth.points, truth.normals),
        "iou": mesh_iou(mesh, truth.cells, truth.inside),
        "closed": float(mesh.is_closed_manifold()),
    }


# Comparison ---------------------------------------------------------------------------------------

FIELDS: dict[str, Field] = {
    "density": density,
    "poisson": poisson,
    "balls": balls,
}


def ways(truth_points: Tensor, truth_normals: Tensor) -> dict[str, Callable[[Cloud], Mesh]]:
    """Every way from a cloud to a mesh, by its name; the truth is for Poisson's own test."""

    def surface_given(cloud: Cloud) -> Mesh:
        field = poisson_field(truth_points, truth_normals, cloud.resolution, POISSON_SIGMA)
        return closed(in_cells(field))

    alone = {name: lambda c, f=field: closed(f(c)) for name, field in FIELDS.items()}
    cut = {
        f"{name}+hull": lambda c, f=field: closed(np.minimum(f(c), hull(c)))
        for name, field in FIELDS.items()
    }
    others = {"hull": lambda c: closed(hull(c)), "poisson_surface": surface_given}
    return {**alone, "alpha": alpha_shape, **cut, **others}


def compare(mesh: Mesh, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Scores of every way by its name; an empty row where one fails."""
    photographs = photograph(mesh, perspective_cameras(args.views, 2 * args.size))
    views = working_views(photographs, unit_cube(photographs), args.size)
    cloud = fitted_cloud(views, args.points, args.steps, args.resolution)
    to_cube = 1 / views.to_world.scale, -views.to_world.offset / views.to_world.scale
    points, normals = sample_surface(
        mesh.transformed(*to_cube), args.points, np.random.default_rng(0)
    )
    truth, rows = Samples.of(mesh), {}
    tensors = torch.as_tensor(points).float(), torch.as_tensor(normals).float()
    for name, way in ways(*tensors).items():
        begin = time.perf_counter()
        try:
            made = way(cloud)
        except ReconstructionError as error:
            print(f"  {name}: {error}")
            rows[name] = {}
            continue
        seconds = time.perf_counter() - begin
        in_world = made.transformed(views.to_world.scale, views.to_world.offset)
        rows[name] = scores(in_world, truth) | {"seconds": seconds}
    return rows


def table(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Print and return each way's means over the objects where it gave a mesh."""
    summary = {}
    print(f"\n{'way':22} chamfer  F@1%  normal   iou  closed  seconds")
    for name in next(iter(results.values())):
        rows = [ways_of[name] for ways_of in results.values() if ways_of[name]]
        if not rows:
            continue
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        summary[name] = mean | {"meshes": len(rows)}
        print(
            f"{name:22} {mean['chamfer_l1']:7.3f} {mean['f_score']:5.3f}"
            f" {mean['normal_consistency']:7.3f} {mean['iou']:5.3f}"
            f" {int(sum(row['closed'] for row in rows)):3d}/{len(results):<3d}"
            f" {mean['seconds']:7.2f}"
        )
    return summary


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--meshes", type=Path, help="folder of mesh files")
    parser.add_argument("--count", type=int, default=12, help="meshes to take from the folder")
    parser.add_argument("--split", default="test", help="split of its index.csv")
    parser.add_argument("--views", type=int, default=8, help="silhouettes of each object")
    parser.add_argument("--size", type=int, default=128, help="pixels along each silhouette")
    parser.add_argument("--points", type=int, default=8000, help="points of each cloud")
    parser.add_argument("--steps", type=int, default=160, help="steps of the fit")
    parser.add_argument("--resolution", type=int, default=128, help="cells along the grids")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    if args.meshes is None:
        objects = solids()
    else:
        paths = chosen_meshes(args.meshes, args.split, args.count)
        objects = {str(p.relative_to(args.meshes)): normalised(read_scene_mesh(p)) for p in paths}
    results = {}
    for name, mesh in objects.items():
        results[name] = compare(mesh, args)
        said = (f"{w} {r['chamfer_l1']:.3f}" if r else f"{w} -" for w, r in results[name].items())
        print(f"{name:30} {'  '.join(said)}", flush=True)
    if not results:
        parser.error(f"no meshes of split '{args.split}' in {args.meshes}")
    summary = table(results)
    if args.json:
        settings = {key: str(value) for key, value in vars(args).items()}
        print(json.dumps({"settings": settings, "objects": results, "summary": summary}))


if __name__ == "__main__":
    main()
