"""Photographs of a painted ball, whole or with a dent that no silhouette shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backend.geometry.visual_hull import grid_points
from backend.views import Camera, Similarity, Views
from tests.shapes import cameras_around

Paint = Callable[[np.ndarray], np.ndarray]

RADIUS, RESOLUTION = 0.38, 48
DENT_CENTRE, DENT_RADIUS = np.array([0.0, -0.42, 0.2]), 0.26


def crossings(origins: np.ndarray, along: np.ndarray, centre: np.ndarray, radius: float):
    """Distances ``[..., 2]`` at which unit rays enter and leave a ball; inf where they miss."""
    from_centre = origins - centre
    middle = -(from_centre * along).sum(axis=-1)
    under = radius**2 - (from_centre**2).sum(axis=-1) + middle**2
    half = np.sqrt(np.maximum(under, 0))
    found = np.stack([middle - half, middle + half], axis=-1)
    return np.where((under > 0)[..., None], found, np.inf)


def waves(points: np.ndarray) -> np.ndarray:
    """Smooth colours of three directions, a few waves across the ball."""
    return 0.5 + 0.15 * np.sin(points @ np.array([[23, 5, -9], [7, 21, 11], [-5, 13, 19]]).T)


def bands(points: np.ndarray) -> np.ndarray:
    """Two greys in bands six cells wide: nearly all of the surface has no texture."""
    return np.repeat(0.5 + 0.1 * np.sign(np.sin(25 * points[..., :1] + 0.4)), 3, axis=-1)


def photograph(camera: Camera, dented: bool, paint: Paint) -> tuple[np.ndarray, np.ndarray]:
    """The painted ball's picture and mask; the dent is a smaller ball taken out of it."""
    size = camera.image_size[0]
    pixels = np.stack(np.meshgrid(*(np.arange(size) + 0.5,) * 2), axis=-1)
    origins, directions = camera.rays(pixels)
    along = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    whole = crossings(origins, along, np.zeros(3), RADIUS)
    distance = whole[..., 0]
    if dented:
        dent = crossings(origins, along, DENT_CENTRE, DENT_RADIUS)
        within = (dent[..., 0] < distance) & (distance < dent[..., 1])
        beyond = np.where(dent[..., 1] < whole[..., 1], dent[..., 1], np.inf)
        distance = np.where(within, beyond, distance)
    hit = np.isfinite(distance)
    points = origins + np.where(hit, distance, 0.0)[..., None] * along
    return np.where(hit[..., None], paint(points), 0.0), hit


def painted_views(count: int, dented: bool = False, size: int = 192, paint: Paint = waves) -> Views:
    cameras = cameras_around(count, size)
    images, masks = zip(*(photograph(camera, dented, paint) for camera in cameras), strict=True)
    return Views(
        tuple(f"view {index}" for index in range(count)),
        np.stack(images).astype(np.float32),
        np.stack(masks).astype(np.float32),
        np.ones((count, size, size), bool),
        tuple(cameras),
        Similarity(),
    )


def ball_field(radius: float) -> np.ndarray:
    """Signed distance in cells."""
    return ((radius - grid_points(RESOLUTION).norm(dim=-1)) * RESOLUTION).numpy()


def dent_field() -> np.ndarray:
    """Signed distance from the dent in cells, negative in it."""
    away = np.linalg.norm(grid_points(RESOLUTION).numpy() - DENT_CENTRE, axis=-1)
    return ((away - DENT_RADIUS) * RESOLUTION).astype(np.float32)
