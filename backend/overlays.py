"""How a mesh's silhouette agrees with a view's mask, as a picture to lay over the photograph."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .geometry.cameras import Cameras
from .geometry.mesh import Mesh
from .rendering.mesh_rasterizer import silhouette
from .views import View

LONGEST_SIDE = 1024
BOTH = (40, 200, 80, 70)
ONLY_MASK = (235, 45, 45, 190)
ONLY_MESH = (50, 110, 255, 190)
"""sRGB and alpha: agreement is faint, so that the picture below and the differences are seen."""


def overlay(mesh: Mesh, view: View, device: str = "cpu") -> np.ndarray:
    """Draw where mesh and mask agree, where there is only mask and where only mesh.

    Args:
        mesh: In the world.
        view: In the world; its whole picture is drawn, at most ``LONGEST_SIDE`` pixels long.
        device: Where the mesh is rendered.

    Returns:
        ``[H, W, 4]`` uint8 sRGB with straight alpha, transparent where there is neither.
    """
    height, width = view.mask.shape
    zoom = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(round(height * zoom), 1), max(round(width * zoom), 1)
    camera = view.camera.resampled(0, 0, zoom, size)
    faces = torch.as_tensor(mesh.faces.astype(np.int64), device=device)
    vertices = torch.as_tensor(mesh.vertices, device=device)
    rendered = silhouette(vertices, faces, Cameras.stack([camera], device), 0, supersample=1)
    seen = rendered.cpu().numpy() >= 0.5
    mask = view.mask.astype(np.float32)
    observed = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA) >= 0.5
    pixels = np.zeros((*size, 4), np.uint8)
    for color, where in (
        (BOTH, seen & observed),
        (ONLY_MASK, observed & ~seen),
        (ONLY_MESH, seen & ~observed),
    ):
        pixels[where] = color
    return pixels
