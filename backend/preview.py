"""A picture of a mesh to look at: from three sides, in its colours above and as clay below."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .files import write_files
from .geometry.cameras import Cameras
from .geometry.mesh import Mesh
from .rendering.mesh_rasterizer import rasterize
from .views import Camera

# Azimuth and elevation of the camera in degrees; an object's front looks towards azimuth 0.
_DIRECTIONS = ((-35.0, 20.0), (70.0, 12.0), (160.0, 30.0))
_SUPERSAMPLE = 3
_DISTANCE = 3.2  # in radii of the bounding sphere
_MARGIN = 0.07
_CLAY = np.array([0.80, 0.78, 0.75])
_BACKGROUND = np.array([[0.93, 0.94, 0.95], [0.80, 0.81, 0.83]])  # above, below
# Towards each light in camera axes (x right, y down, z forward), and its strength.
_LIGHTS = (((-0.5, -0.7, -0.6), 0.80), ((0.8, -0.1, -0.5), 0.22), ((0.1, -0.9, 0.6), 0.20))
_AMBIENT = 0.10


def render_preview(mesh: Mesh, path: Path, size: tuple[int, int] = (640, 960)) -> None:
    """Render a mesh and write the picture as PNG.

    Args:
        mesh: Z-up, front towards -Y; its texture, else its vertex colours, else clay is shown.
        path: Where the picture goes.
        size: (height, width) in pixels.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed.
    """
    write_files({path: preview_png(mesh, size)})


def preview_png(mesh: Mesh, size: tuple[int, int] = (640, 960)) -> bytes:
    """The picture of :func:`render_preview`, as the content of a PNG file."""
    columns, rows = len(_DIRECTIONS), 2
    tile = size[0] // rows, size[1] // columns
    pairs = [_tiles(mesh, camera, tile) for camera in _cameras(mesh, tile)]
    whole = np.concatenate([np.concatenate(row, axis=1) for row in zip(*pairs, strict=True)])
    framed = np.pad(
        whole, ((0, size[0] - len(whole)), (0, size[1] - whole.shape[1]), (0, 0)), mode="edge"
    )
    stream = io.BytesIO()
    Image.fromarray(np.round(framed * 255.0).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _backdrop(tile: tuple[int, int]) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, tile[0])[:, None, None]
    shades = (1.0 - ramp) * _BACKGROUND[0] + ramp * _BACKGROUND[1]
    return np.broadcast_to(shades, (*tile, 3)).copy()


def _cameras(mesh: Mesh, tile: tuple[int, int]) -> list[Camera]:
    """One camera for each direction, all at one scale, with the object in the middle."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    centre = 0.5 * (low.astype(np.float64) + high)
    radius = max(float(np.linalg.norm(mesh.vertices - centre, axis=1).max()), 1e-9)
    size = tile[0] * _SUPERSAMPLE, tile[1] * _SUPERSAMPLE
    rough = [_looking_at(centre, radius, *direction, size) for direction in _DIRECTIONS]
    boxes = []
    for camera in rough:
        pixels, _ = camera.project(mesh.vertices.astype(np.float64))
        boxes.append((pixels.min(axis=0), pixels.max(axis=0)))
    room = (1.0 - 2.0 * _MARGIN) * np.array(size[::-1])
    zoom = min(float((room / np.maximum(b - a, 1e-9)).min()) for a, b in boxes)
    corners = [0.5 * (a + b) - 0.5 * np.array(size[::-1]) / zoom for a, b in boxes]
    return [
        camera.resampled(float(left), float(top), zoom, size)
        for camera, (left, top) in zip(rough, corners, strict=True)
    ]


def _looking_at(
    centre: np.ndarray, radius: float, azimuth: float, elevation: float, size: tuple[int, int]
) -> Camera:
    around, up = np.radians(azimuth), np.radians(elevation)
    backward = np.array([np.sin(around) * np.cos(up), -np.cos(around) * np.cos(up), np.sin(up)])
    right = np.array([np.cos(around), np.sin(around), 0.0])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = [right, np.cross(-backward, right), -backward]
    world_to_camera[:3, 3] = -world_to_camera[:3, :3] @ (centre + _DISTANCE * radius * backward)
    return Camera(np.diag([size[0], size[0], 1.0]), world_to_camera, size)


def _tiles(mesh: Mesh, camera: Camera, tile: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The mesh ``[h, w, 3]`` in its colours and as clay."""
    vertices, faces = torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces)
    seen = rasterize(vertices, faces, Cameras.stack([camera]), 0)
    covered = (seen.face >= 0).numpy()
    face, weights = seen.face.numpy()[covered], seen.barycentric.numpy()[covered]
    normals = _interpolated(mesh.vertex_normals()[mesh.faces[face]], weights)
    normals = normals @ camera.world_to_camera[:3, :3].T
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    # Photographs hold light and shadow of their own, so colours get a flatter light than clay.
    light = _light(normals)[:, None]
    colors = _surface_colors(mesh, face, weights)
    clay = _on_backdrop(_CLAY, light, covered, tile)
    return clay if colors is None else _on_backdrop(colors, 0.6 + 0.4 * light, covered, tile), clay


def _on_backdrop(
    colors: np.ndarray, light: np.ndarray, covered: np.ndarray, tile: tuple[int, int]
) -> np.ndarray:
    fine = _backdrop(tile).repeat(_SUPERSAMPLE, axis=0).repeat(_SUPERSAMPLE, axis=1)
    fine[covered] = np.clip(colors**2.2 * light, 0.0, 1.0) ** (1 / 2.2)
    return fine.reshape(tile[0], _SUPERSAMPLE, tile[1], _SUPERSAMPLE, 3).mean(axis=(1, 3))


def _light(normals: np.ndarray) -> np.ndarray:
    """Brightness ``[N]`` of surfaces with ``normals`` ``[N, 3]`` in camera axes."""
    brightness = np.full(len(normals), _AMBIENT)
    for towards, strength in _LIGHTS:
        towards = np.array(towards) / np.linalg.norm(towards)
        brightness += strength * np.maximum(0.2 + 0.8 * normals @ towards, 0.0)
    return brightness


def _interpolated(corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("nic,ni->nc", corners, weights)


def _surface_colors(mesh: Mesh, face: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """sRGB ``[N, 3]`` in [0, 1], if the mesh has any colours."""
    if mesh.texture is not None and mesh.face_uvs is not None:
        return _bilinear(mesh.texture, _interpolated(mesh.face_uvs[face], weights))
    if mesh.vertex_colors is None:
        return None
    return _interpolated(mesh.vertex_colors[mesh.faces[face]], weights).clip(0.0, 1.0)


def _bilinear(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    height, width = texture.shape[:2]
    x = (uvs[:, 0] * width - 0.5).clip(0, width - 1)
    y = ((1.0 - uvs[:, 1]) * height - 0.5).clip(0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[:, None], (y - top)[:, None]
    above = texture[top, left] * (1 - across) + texture[top, right] * across
    below = texture[bottom, left] * (1 - across) + texture[bottom, right] * across
    return (above * (1 - down) + below * down) / 255.0
