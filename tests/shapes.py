"""Views of shapes whose every ray has a formula: the tests' own photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from backend.geometry.cameras import Cameras
from backend.geometry.mesh import Mesh
from backend.rendering.mesh_rasterizer import silhouette
from backend.views import Camera, Similarity, View, Views

Hit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether the lines ``origins + t * directions`` ``[..., 3]`` meet a shape, ``[...]`` bool."""


def ball(radius: float, centre: Sequence[float] = (0, 0, 0)) -> Hit:
    def hit(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        along = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.linalg.norm(np.cross(origins - np.array(centre), along), axis=-1) < radius

    return hit


def box(edges: Sequence[float], centre: Sequence[float] = (0, 0, 0)) -> Hit:
    def hit(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        along = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
        half, start = np.array(edges) / 2, origins - np.array(centre)
        ends = np.stack([(-half - start) / along, (half - start) / along])
        return ends.min(axis=0).max(axis=-1) < ends.max(axis=0).min(axis=-1)

    return hit


def camera(
    position: Sequence[float],
    size: int = 64,
    orthographic: bool = False,
    target: Sequence[float] = (0, 0, 0),
    span: float = 1.2,
) -> Camera:
    """Looks from ``position`` at ``target``, where its picture is ``span`` wide."""
    away = np.array(target, float) - position
    distance = float(np.linalg.norm(away))
    forward = away / distance
    right = np.cross(forward, [0.0, 0, 1] if abs(forward[2]) < 0.99 else [0.0, 1, 0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(forward, right), forward]
    pose[:3, 3] = -pose[:3, :3] @ position
    focal = size / span * (1.0 if orthographic else distance)
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(intrinsics, pose, (size, size), orthographic)


def cameras_around(
    count: int = 8, size: int = 64, orthographic: bool = False, distance: float = 2.5
) -> list[Camera]:
    """Cameras around the origin, by turns from above and from below."""
    turns = 2 * np.pi * np.arange(count) / count
    heights = np.where(np.arange(count) % 2, -0.5, 0.7)
    places = np.stack([np.sin(turns), -np.cos(turns), heights], axis=1)
    places *= distance / np.linalg.norm(places, axis=1, keepdims=True)
    return [camera(place, size, orthographic) for place in places.tolist()]


def coverage(one: Camera, hit: Hit, samples: int = 4) -> np.ndarray:
    """Share of each pixel that the shape covers, ``[H, W]`` float32."""
    height, width = one.image_size
    rows = (np.arange(height * samples) + 0.5) / samples
    columns = (np.arange(width * samples) + 0.5) / samples
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1)
    covered = hit(*one.rays(pixels)).reshape(height, samples, width, samples)
    return covered.mean(axis=(1, 3)).astype(np.float32)


def view(name: str, one: Camera, hit: Hit, samples: int = 4) -> View:
    """A clay-coloured shape before white."""
    mask = coverage(one, hit, samples)
    clay, white = np.array([0.7, 0.4, 0.3], np.float32), np.ones(3, np.float32)
    image = mask[..., None] * clay + (1 - mask[..., None]) * white
    return View(name, image, mask, one)


def views_of(hit: Hit, cameras: Sequence[Camera]) -> list[View]:
    return [view(f"view {index}", one, hit) for index, one in enumerate(cameras)]


def in_unit_cube(views: Sequence[View]) -> Views:
    """Square pictures of one size whose cameras are the unit cube's already."""
    masks = np.stack([view.mask for view in views])
    return Views(
        names=tuple(view.name for view in views),
        images=np.stack([view.image for view in views]),
        masks=masks,
        known=np.ones(masks.shape, bool),
        cameras=tuple(view.camera for view in views),
        to_world=Similarity(),
    )


def agreement(mesh: Mesh, views: Views) -> list[float]:
    """IoU of the rendered silhouette with each mask."""
    vertices, faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces).long()
    cameras, ious = Cameras.stack(views.cameras), []
    for index, mask in enumerate(views.masks):
        seen, observed = silhouette(vertices, faces, cameras, index).numpy() >= 0.5, mask >= 0.5
        ious.append(float((seen & observed).sum() / (seen | observed).sum()))
    return ious
