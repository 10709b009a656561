"""How close the fitted meshes come to the truth: render known meshes, reconstruct, score.

    python benchmarks/fit_quality.py --meshes FOLDER --views 8 --methods exact_hull visual_hull dvr

``exact_hull`` is ``visual_hull`` with ``fairness=0`` and without symmetry, the baseline; ratios are
against the first method named. The others look for symmetry, as the command does; ``dvr:none`` does
not.

FOLDER holds mesh files (GLB, OBJ, OFF, PLY) in sub-folders by category, and may hold an
``index.csv`` with the columns ``file`` and ``split``; then only the asked split is used. Meshes are
chosen in turns over the categories, in the order of their names.

Truth is the outer surface: points that at least one of 96 directions around the object sees, since
no photograph can tell what is inside. Scores are in units of the longest edge:

* ``chamfer_l1``: half the sum of the two mean point-to-point distances, times 10 as in Occupancy
  Networks and DVR. 60,000 points ask, 600,000 answer, so that the spacing of the samples adds no
  more than about 0.01;
* ``f_score``: at 1 % of the longest edge;
* ``normal_consistency``: mean |cosine| between a sample's normal and its neighbour's, both ways;
* ``iou``: volume, on a 96^3 grid, outside = what those directions see through;
* ``silhouette_iou``: mean over the input views, of the result against the masks.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from backend.geometry.cameras import Cameras
from backend.geometry.mesh import Mesh
from backend.geometry.symmetry import with_mirrors
from backend.geometry.visual_hull import unit_cube
from backend.images import working_views
from backend.mesh_files import read_scene_mesh
from backend.methods import METHODS
from backend.pipeline import finished, silhouette_agreement
from backend.rendering.mesh_rasterizer import Fragments, rasterize
from backend.views import Camera, View

SAMPLES = 60_000
REFERENCE_SAMPLES = 600_000
GRID = 96
DIRECTIONS = 96
LONGEST_EDGE = 1.0


def fibonacci_sphere(count: int) -> np.ndarray:
    """``[N, 3]`` unit vectors spread evenly over the sphere by the golden angle."""
    index = np.arange(count) + 0.5
    z = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def look_at(eye: np.ndarray) -> np.ndarray:
    """World-to-camera matrix (OpenCV axes) of a camera at ``eye`` that looks at the origin."""
    forward = -eye / np.linalg.norm(eye)
    up = np.array([0.0, 1, 0]) if abs(forward[2]) > 0.99 else np.array([0.0, 0, 1])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ eye
    return matrix


def perspective_cameras(count: int, size: int, distance: float = 2.4) -> list[Camera]:
    """Cameras all around that see the whole unit cube, 40 degrees wide."""
    focal = 0.5 * size / np.tan(np.radians(20))
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    directions = fibonacci_sphere(count)
    return [Camera(intrinsics, look_at(distance * d), (size, size)) for d in directions]


def orthographic_cameras(count: int, size: int) -> list[Camera]:
    """Parallel cameras all around, of a window that holds the unit cube's ball."""
    intrinsics = np.array([[size / 1.8, 0, size / 2], [0, size / 1.8, size / 2], [0, 0, 1.0]])
    directions = fibonacci_sphere(count)
    return [Camera(intrinsics, look_at(3 * d), (size, size), orthographic=True) for d in directions]


def normalised(mesh: Mesh) -> Mesh:
    """The mesh centred at the origin, its longest edge :data:`LONGEST_EDGE`."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    scale = LONGEST_EDGE / float((high - low).max())
    return mesh.transformed(scale, -scale * (low + high) / 2)


def albedo(mesh: Mesh, fragments: Fragments) -> np.ndarray:
    """sRGB ``[H, W, 3]`` of the surface in every pixel, unlit."""
    face = fragments.face.numpy().clip(min=0)
    weights = fragments.barycentric.numpy()[..., None]
    if mesh.texture is not None and mesh.face_uvs is not None:
        uv = (mesh.face_uvs[face] * weights).sum(axis=2) % 1.0
        height, width = mesh.texture.shape[:2]
        row = ((1 - uv[..., 1]) * height).astype(int).clip(0, height - 1)
        column = (uv[..., 0] * width).astype(int).clip(0, width - 1)
        return mesh.texture[row, column].astype(np.float32) / 255
    if mesh.vertex_colors is not None:
        return (mesh.vertex_colors[mesh.faces[face]] * weights).sum(axis=2)
    return np.full((*face.shape, 3), 0.7, np.float32)


def shade(mesh: Mesh, fragments: Fragments, camera: Camera) -> np.ndarray:
    """Light the surface: sky and ground, a sun that stays put, and a weak highlight."""
    face = fragments.face.numpy().clip(min=0)
    normals = mesh.face_normals()[face]
    rays = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in face.shape[::-1])), axis=-1)
    to_eye = -camera.rays(rays)[1]
    to_eye /= np.linalg.norm(to_eye, axis=-1, keepdims=True)
    normals = normals * np.sign((normals * to_eye).sum(axis=-1, keepdims=True) + 1e-12)
    sun = np.array([0.4, -0.6, 0.7]) / np.linalg.norm([0.4, -0.6, 0.7])
    half = to_eye + sun
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    sky = 0.45 + 0.15 * normals[..., 2]
    light = sky + 0.5 * (normals @ sun).clip(min=0)
    highlight = 0.12 * ((normals * half).sum(axis=-1).clip(min=0)) ** 40
    linear = albedo(mesh, fragments) ** 2.2 * light[..., None] + highlight[..., None]
    return linear.clip(0, 1) ** (1 / 2.2)


def photograph(mesh: Mesh, cameras: list[Camera]) -> list[View]:
    """Render each camera's picture and mask, two samples along each side of a pixel."""
    size = cameras[0].image_size[0]
    doubled = [camera.resampled(0, 0, 2, (2 * size, 2 * size)) for camera in cameras]
    batch = Cameras.stack(doubled)
    vertices, faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces.astype(np.int64))
    views = []
    for index, camera in enumerate(cameras):
        fragments = rasterize(vertices, faces, batch, index)
        hit = (fragments.face >= 0).numpy().astype(np.float32)[..., None]
        coloured = np.concatenate([shade(mesh, fragments, doubled[index]) * hit, hit], axis=-1)
        mean = coloured.reshape(size, 2, size, 2, 4).mean(axis=(1, 3)).astype(np.float32)
        image = np.divide(
            mean[..., :3], mean[..., 3:], where=mean[..., 3:] > 0, out=0 * mean[..., :3]
        )
        views.append(View(f"view_{index:02d}", image, mean[..., 3], camera))
    return views


def sample_surface(mesh: Mesh, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` points spread evenly over the area, and their faces' normals."""
    generator = np.random.default_rng(seed)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    face = generator.choice(len(area), count, p=area / area.sum())
    u, v = generator.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    a, b, c = corners[face].transpose(1, 0, 2)
    return a + u * (b - a) + v * (c - a), cross[face] / area[face, None]


@dataclasses.dataclass
class Truth:
    """The outer surface's samples ``points``, ``normals`` and the solid ``occupied`` grid."""

    points: np.ndarray
    normals: np.ndarray
    occupied: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh) -> Truth:
        """Sample what is seen from outside, and carve away what is seen through."""
        points, normals = sample_surface(mesh, 2 * REFERENCE_SAMPLES)
        depths, cameras = depth_maps(mesh)
        visible = np.zeros(len(points), bool)
        for depth, camera in zip(depths, cameras, strict=True):
            at, z = lookup(depth, camera, points)
            visible |= z <= at + 3e-3
        chosen = np.flatnonzero(visible)[:REFERENCE_SAMPLES]
        return cls(points[chosen], normals[chosen], solid(depths, cameras))


def depth_maps(mesh: Mesh) -> tuple[list[np.ndarray], list[Camera]]:
    """Depth from :data:`DIRECTIONS` parallel cameras, inf where nothing is hit."""
    cameras = orthographic_cameras(DIRECTIONS, 512)
    batch = Cameras.stack(cameras)
    vertices, faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces.astype(np.int64))
    return [
        rasterize(vertices, faces, batch, i).depth.numpy() for i in range(len(cameras))
    ], cameras


def lookup(depth: np.ndarray, camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The depth map's value where each point falls, and the point's own depth."""
    pixels, z = camera.project(points)
    column, row = np.floor(pixels).astype(int).clip(0, np.array(depth.shape[::-1]) - 1).T
    return depth[row, column], z


def solid(depths: list[np.ndarray], cameras: list[Camera]) -> np.ndarray:
    """``[G, G, G]`` bool: cells of [-0.55, 0.55]^3 that no direction sees through."""
    axis = ((np.arange(GRID) + 0.5) / GRID - 0.5) * 1.1
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.ones(len(cells), bool)
    for depth, camera in zip(depths, cameras, strict=True):
        left = np.flatnonzero(inside)
        at, z = lookup(depth, camera, cells[left])
        inside[left[z < at]] = False
    return inside.reshape(GRID, GRID, GRID)


def score(mesh: Mesh, truth: Truth) -> dict[str, float]:
    """Every score of the module's docstring but the silhouettes'."""
    points, normals = sample_surface(mesh, REFERENCE_SAMPLES, seed=1)
    asked = slice(0, SAMPLES)
    to_truth, nearest_truth = KDTree(truth.points).query(points[asked], workers=-1)
    to_result, nearest_result = KDTree(points).query(truth.points[asked], workers=-1)
    precision, recall = (to_truth < 0.01).mean(), (to_result < 0.01).mean()
    forward = np.abs((normals[asked] * truth.normals[nearest_truth]).sum(axis=1)).mean()
    backward = np.abs((truth.normals[asked] * normals[nearest_result]).sum(axis=1)).mean()
    occupied = solid(*depth_maps(mesh))
    return {
        "chamfer_l1": float(10 * (to_truth.mean() + to_result.mean()) / 2),
        "f_score": float(2 * precision * recall / max(precision + recall, 1e-12)),
        "normal_consistency": float((forward + backward) / 2),
        "iou": float((occupied & truth.occupied).sum() / (occupied | truth.occupied).sum()),
    }


@dataclasses.dataclass(frozen=True)
class Trial:
    """A method's name in the table, and how it is run."""

    label: str
    method: str
    symmetry: str
    values: dict[str, float]

    @classmethod
    def named(cls, label: str) -> Trial:
        """``exact_hull``, or a method's name, with ``:`` and a word for symmetry behind it."""
        if label == "exact_hull":
            return cls(label, "visual_hull", "none", {"fairness": 0.0})
        method, _, symmetry = label.partition(":")
        return cls(label, method, symmetry or "auto", {})


def run(trial: Trial, photographs: list[View], truth: Truth, quality: str) -> dict[str, float]:
    """Reconstruct from the photographs as the command does, and score the mesh it would write."""
    spec = METHODS[trial.method]
    begin = time.perf_counter()
    views = working_views(photographs, unit_cube(photographs), spec.image_size[quality])
    views = with_mirrors(views, trial.symmetry)
    method = spec.load(spec.make_params(quality, trial.values), "cpu", seed=0)
    mesh = method.reconstruct(views, lambda fraction, message, preview=None: None)
    seconds = time.perf_counter() - begin
    mesh = finished(mesh, faces=20_000)
    agreement = silhouette_agreement(mesh, views, "cpu")
    world = mesh.transformed(views.to_world.scale, views.to_world.offset)
    return score(world, truth) | {
        "silhouette_iou": float(np.mean(list(agreement.values()))),
        "closed": float(mesh.is_closed_manifold()),
        "mirrors": float(len(views.mirrors)),
        "seconds": seconds,
    }


def chosen_meshes(folder: Path, split: str, count: int) -> list[Path]:
    """``count`` meshes, in turns over the sub-folders; of one split where there is an index."""
    index = folder / "index.csv"
    if index.exists():
        with index.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["split"] == split]
        paths = sorted(folder / row["file"] for row in rows)
    else:
        endings = (".glb", ".obj", ".off", ".ply")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    categories: dict[str, list[Path]] = {}
    for path in paths:
        categories.setdefault(path.relative_to(folder).parts[0], []).append(path)
    rounds = max(map(len, categories.values()), default=0)
    turns = [group[k] for k in range(rounds) for group in categories.values() if k < len(group)]
    return turns[:count]


def table(results: dict[str, dict[str, dict[str, float]]], labels: list[str]) -> dict[str, dict]:
    """Print a row for each method: means over all meshes, ratios mesh by mesh."""
    base, summary = labels[0], {}
    print(
        f"\n{'method':16} chamfer  ratio worst  F@1%  normal   iou  silh. min   closed  s mean  max"
    )
    for label in labels:
        rows = [result[label] for result in results.values()]
        ratios = [r[label]["chamfer_l1"] / r[base]["chamfer_l1"] for r in results.values()]
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        summary[label] = mean | {
            "chamfer_ratio": float(np.mean(ratios)),
            "chamfer_ratio_worst": float(np.max(ratios)),
            "silhouette_iou_least": min(row["silhouette_iou"] for row in rows),
            "seconds_most": max(row["seconds"] for row in rows),
        }
        print(
            f"{label:16} {mean['chamfer_l1']:7.3f} {np.mean(ratios):6.3f} {np.max(ratios):5.2f}"
            f" {mean['f_score']:5.3f} {mean['normal_consistency']:7.3f} {mean['iou']:5.3f}"
            f" {mean['silhouette_iou']:5.3f} {summary[label]['silhouette_iou_least']:5.3f}"
            f" {int(sum(row['closed'] for row in rows)):3d}/{len(rows):<3d}"
            f" {mean['seconds']:6.1f} {summary[label]['seconds_most']:5.1f}"
        )
    return summary


def scored(args: argparse.Namespace, path: Path) -> tuple[dict[str, dict[str, float]], float]:
    """The scores of every method asked for on one mesh, and this process's peak memory in GiB."""
    mesh = normalised(read_scene_mesh(path))
    truth = Truth.of(mesh)
    photographs = photograph(mesh, perspective_cameras(args.views, args.size))
    trials = [Trial.named(label) for label in args.methods]
    rows = {t.label: run(t, photographs, truth, args.quality) for t in trials}
    return rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--meshes", type=Path, required=True, help="folder of mesh files")
    parser.add_argument("--views", type=int, default=8, help="photographs of each mesh")
    parser.add_argument("--count", type=int, default=20, help="meshes to take")
    parser.add_argument("--split", default="test", help="split of index.csv")
    parser.add_argument("--quality", default="standard", choices=("draft", "standard", "high"))
    parser.add_argument("--size", type=int, default=512, help="pixels along each photograph")
    parser.add_argument("--workers", type=int, default=1, help="meshes at once; 1 to time them")
    parser.add_argument("--methods", nargs="+", default=["exact_hull", "visual_hull", "dvr"])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    paths = chosen_meshes(args.meshes, args.split, args.count)
    if not paths:
        parser.error(f"no meshes of split '{args.split}' in {args.meshes}")
    results: dict[str, dict[str, dict[str, float]]] = {}
    peaks = []
    # Spawned: a fork of a process in which torch has started its threads can hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // args.workers)
    with ProcessPoolExecutor(
        args.workers, context, initializer=torch.set_num_threads, initargs=(threads,)
    ) as pool:
        for path, (rows, peak) in zip(paths, pool.map(partial(scored, args), paths), strict=True):
            name = str(path.relative_to(args.meshes))
            results[name] = rows
            peaks.append(peak)
            scores = "  ".join(
                f"{label} {row['chamfer_l1']:.4f} "
                f"({row['silhouette_iou']:.3f}, {row['seconds']:.1f} s)"
                for label, row in rows.items()
            )
            print(f"{name:40} {scores}", flush=True)
    summary = table(results, args.methods)
    peak = max(peaks)
    print(f"peak memory of a process {peak:.2f} GiB")
    if args.json:
        answer = {"views": args.views, "quality": args.quality, "meshes": results}
        print(json.dumps(answer | {"summary": summary, "peak_gib": peak}))


if __name__ == "__main__":
    main()
