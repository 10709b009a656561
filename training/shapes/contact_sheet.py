"""Many shapes in one picture, for a person to look over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from backend.geometry.cameras import Cameras
from backend.geometry.mesh import Mesh
from backend.rendering.mesh_rasterizer import rasterize
from backend.views import Camera

from .surface import with_sharp_edges

_TILE = 200  # pixels
_SUPERSAMPLE = 2
_AZIMUTH, _ELEVATION = -35.0, 22.0  # of the camera in degrees; a front looks towards azimuth 0
_DISTANCE = 2.6
_FILLED = 0.88  # of a tile's side
_BACKGROUND = 0.93
# Towards each light in camera axes (x right, y down, z forward), and its strength.
_LIGHTS = (((-0.5, -0.7, -0.6), 0.75), ((0.8, -0.1, -0.5), 0.30), ((0.1, -0.9, 0.6), 0.20))
_AMBIENT = 0.15


def contact_sheet(meshes: Sequence[Mesh], columns: int = 8) -> np.ndarray:
    """Draw shapes side by side, from the front left and above.

    Args:
        meshes: From :func:`training.shapes.make_shape`, at least one.
        columns: Shapes in a row.

    Returns:
        ``[H, W, 3]`` uint8 sRGB, with square tiles; the last row may have empty ones.
    """
    tiles = [_tile(with_sharp_edges(mesh)) for mesh in meshes]
    empty = np.full((_TILE, _TILE, 3), _BACKGROUND)
    tiles += [empty] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.round(255.0 * np.concatenate(rows)).astype(np.uint8)


def _camera(mesh: Mesh) -> Camera:
    """Looks from the same direction at every mesh, and is zoomed so that it fills its tile."""
    around, up = np.radians(_AZIMUTH), np.radians(_ELEVATION)
    backward = np.array([np.sin(around) * np.cos(up), -np.cos(around) * np.cos(up), np.sin(up)])
    right = np.array([np.cos(around), np.sin(around), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = [right, np.cross(-backward, right), -backward]
    pose[2, 3] = _DISTANCE
    size = _TILE * _SUPERSAMPLE
    seen = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    on_plane = seen[:, :2] / seen[:, 2:]
    low, high = on_plane.min(axis=0), on_plane.max(axis=0)
    focal = _FILLED * size / float((high - low).max())
    x, y = size / 2 - focal * (low + high) / 2
    return Camera(np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]]), pose, (size, size))


def _tile(mesh: Mesh) -> np.ndarray:
    """``[_TILE, _TILE, 3]`` sRGB in [0, 1]."""
    camera = _camera(mesh)
    assert mesh.face_uvs is not None and mesh.texture is not None
    seen = rasterize(
        torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces), Cameras.stack([camera]), 0
    )
    covered = (seen.face >= 0).numpy()
    face, weights = seen.face.numpy()[covered], seen.barycentric.numpy()[covered]
    normals = np.einsum("nic,ni->nc", mesh.vertex_normals()[mesh.faces[face]], weights)
    normals = normals @ camera.world_to_camera[:3, :3].T
    pixel = (mesh.face_uvs[face, 0, 0] * mesh.texture.shape[1]).astype(int)
    colors = mesh.texture[0, pixel] / 255.0
    fine = np.full((*camera.image_size, 3), _BACKGROUND)
    fine[covered] = np.clip(colors**2.2 * _light(normals)[:, None], 0.0, 1.0) ** (1 / 2.2)
    return fine.reshape(_TILE, _SUPERSAMPLE, _TILE, _SUPERSAMPLE, 3).mean(axis=(1, 3))


def _light(normals: np.ndarray) -> np.ndarray:
    """Brightness ``[N]`` of surfaces with ``normals`` ``[N, 3]`` in camera axes."""
    brightness = np.full(len(normals), _AMBIENT)
    for towards, strength in _LIGHTS:
        towards = np.array(towards) / np.linalg.norm(towards)
        brightness += strength * np.maximum(0.2 + 0.8 * normals @ towards, 0.0)
    return brightness
