"""The exact visual hull as a signed field: which points project inside every mask, and how deep.

A. Laurentini, "The Visual Hull Concept for Silhouette-Based Image Understanding", TPAMI 1994.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..threads import in_threads
from ..views import Camera, Similarity, View, Views
from .cameras import Cameras

NEAREST_DEPTH = 1e-3
"""Points nearer to a camera than this (in units of the object) count as outside its view."""


def grid_points(resolution: int, device: torch.device | str = "cpu") -> Tensor:
    """Cell centres of the unit cube, ``[R, R, R, 3]``, indexed ``[x, y, z]``."""
    axis = (torch.arange(resolution, device=device) + 0.5) / resolution - 0.5
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def mask_distance(mask: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Signed distance to the mask's contour in pixels, ``[H, W]`` float32, positive inside.

    The contour is where coverage passes 0.5, found on a grid of half pixels.

    Args:
        mask: ``[H, W]`` coverage in [0, 1].
        known: ``[H, W]``; where False nothing is known, which counts as inside.
    """
    coverage = np.asarray(mask, np.float32)
    if known is not None:
        coverage = np.where(known, coverage, 1.0).astype(np.float32)
    height, width = coverage.shape
    doubled = cv2.resize(coverage, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    inside = (doubled >= 0.5).astype(np.uint8)
    far = float(height + width)
    distance = np.full(inside.shape, far, np.float32)
    if inside.any() and not inside.all():
        # Each transform measures to the nearest cell centre of the other side, half a cell too far.
        to_outside, to_inside = to_nearest_zero(inside) - 0.5, to_nearest_zero(1 - inside) - 0.5
        distance = np.where(inside > 0, to_outside, -to_inside) / 2
    elif not inside.any():
        distance = -distance
    return distance.reshape(height, 2, width, 2).mean(axis=(1, 3)).astype(np.float32)


def to_nearest_zero(image: np.ndarray) -> np.ndarray:
    """Distance to the nearest zero of a byte picture, ``[H, W]`` float64, the same bits always."""
    distance = cv2.distanceTransform(image, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The last bits depend on where the array lies in memory; but squares are whole numbers.
    return np.sqrt(np.rint(distance.astype(np.float64) ** 2))


def silhouette_distances(views: Views, device: torch.device | str = "cpu") -> Tensor:
    """:func:`mask_distance` of every view, ``[V, S, S]``."""
    if views.distances is not None:
        return torch.as_tensor(views.distances, device=device)
    fields = in_threads(mask_distance, views.masks, views.known)
    return torch.as_tensor(np.stack(fields), device=device)


def signed_hull(distances: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    """Signed hull at ``points``: the smallest signed distance to any view's silhouette cone.

    A view's distance in pixels becomes a length at the point's depth, so the value is close to the
    Euclidean distance to the hull's surface, positive inside, in the units of ``points``.

    Args:
        distances: ``[V, H, W]`` of :func:`silhouette_distances`.
        cameras: V cameras.
        points: ``[..., 3]``.
    """
    flat = points.reshape(-1, 3)
    hull = torch.full((len(flat),), torch.inf, device=flat.device)
    for view in range(len(distances)):
        hull = torch.minimum(hull, view_distance(distances, cameras, view, flat))
    return hull.reshape(points.shape[:-1])


def view_distance(distances: Tensor, cameras: Cameras, view: int, points: Tensor) -> Tensor:
    """Signed distance of ``points`` ``[N, 3]`` to one view's silhouette cone, ``[N]``."""
    one = cameras.one(view)
    pixels, depth = one.project(points)
    height, width = distances.shape[1:]
    size = torch.tensor([width, height], device=points.device, dtype=points.dtype)
    pixel_distance = torch.nn.functional.grid_sample(
        distances[view][None, None].to(points.dtype),
        (2 * pixels / size - 1)[:, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[0, 0, 0]
    focal = one.intrinsics[0, :2, :2].det().abs().sqrt()
    per_pixel = 1 / focal if bool(one.orthographic[0]) else depth[0] / focal
    return torch.where(depth[0] > NEAREST_DEPTH, pixel_distance * per_pixel, -torch.ones(()))


FILL = 0.9
"""Share of the unit cube that the object's longest edge takes."""

COARSE = 64
"""Cells along the cube while it is looked for."""


def unit_cube(views: Sequence[View]) -> Similarity:
    """Find the cube around the object from masks and cameras alone.

    The rays through the masks' centres nearly meet in the object; from there a coarse hull is
    carved until its box is known.

    Raises:
        InputError: A mask is empty, all views are parallel so that depth is unknown, they do not
            bound the object, or they contradict each other.
    """
    coarse = in_threads(_coarse_silhouette, views)
    offset, scale = _first_guess(views)
    points = grid_points(COARSE).reshape(-1, 3)
    for _ in range(8):
        # In the guessed cube's units nothing depends on the world's scale, nor on its origin.
        guess = Similarity(scale, offset)
        cameras = [Cameras.stack([camera.in_unit_cube(guess)]) for _, camera in coarse]
        lengths = torch.stack(
            [view_distance(d, c, 0, points) for (d, _), c in zip(coarse, cameras, strict=True)]
        )
        inside = (lengths.amin(0).reshape((COARSE,) * 3) > -0.5 / COARSE).nonzero()
        if len(inside) == 0:
            raise InputError(_contradiction([view.name for view in views], lengths))
        low, high = inside.amin(0).numpy(), inside.amax(0).numpy() + 1
        at_border = bool((low == 0).any() or (high == COARSE).any())
        extent = float((high - low).max()) / COARSE
        offset = offset + scale * ((low + high) / (2 * COARSE) - 0.5)
        scale = scale * (1.6 if at_border else extent / FILL)
        if not at_border and extent > 0.5:
            return Similarity(float(scale), offset)
    raise InputError(
        "the views do not bound the object: together they leave it open on one side; "
        "add a view from another direction."
    )


def _coarse_silhouette(view: View, longest: int = 128) -> tuple[Tensor, Camera]:
    """Small distance field ``[1, H, W]`` of one view and its camera, with room around it.

    Where the mask touches the picture's border the object may go on beyond it.
    """
    height, width = view.mask.shape
    zoom = min(1.0, longest / max(height, width))
    size = (max(1, round(height * zoom)), max(1, round(width * zoom)))
    small = cv2.resize(view.mask, size[::-1], interpolation=cv2.INTER_AREA)
    margin = max(size)
    inside = small >= 0.5
    known = np.ones(np.add(size, 2 * margin), bool)
    known[:margin] &= not inside[0].any()
    known[-margin:] &= not inside[-1].any()
    known[:, :margin] &= not inside[:, 0].any()
    known[:, -margin:] &= not inside[:, -1].any()
    distance = mask_distance(np.pad(small, margin), known)
    stretch = np.diag([size[1] / width, size[0] / height, 1.0])
    camera = replace(view.camera, intrinsics=stretch @ view.camera.intrinsics, image_size=size)
    padded = size[0] + 2 * margin, size[1] + 2 * margin
    return torch.as_tensor(distance)[None], camera.resampled(-margin, -margin, 1.0, padded)


def _first_guess(views: Sequence[View]) -> tuple[np.ndarray, float]:
    """Centre ``[3]`` nearest to all mask-centre rays, and an edge that should hold the object."""
    normal, moment = np.zeros((3, 3)), np.zeros(3)
    boxes = [_mask_box(view) for view in views]
    for view, (low, high) in zip(views, boxes, strict=True):
        origin, direction = view.camera.rays((low + high) / 2)
        direction = direction / np.linalg.norm(direction)
        across = np.eye(3) - np.outer(direction, direction)
        normal, moment = normal + across, moment + across @ origin
    values = np.linalg.eigvalsh(normal)
    if values[0] < 1e-3 * values[-1]:
        raise InputError(
            "all views look along one line, so that nothing tells the object's depth; "
            "add a view from the side or from above."
        )
    centre = np.linalg.solve(normal, moment)
    edges = []
    for view, (low, high) in zip(views, boxes, strict=True):
        focal = np.sqrt(abs(np.linalg.det(view.camera.intrinsics[:2, :2])))
        depth = 1.0 if view.camera.orthographic else abs(view.camera.project(centre)[1])
        edges.append((high - low).max() * depth / focal)
    return centre, 1.5 * float(np.max(edges))


def _mask_box(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Corners (x, y) of the mask's bounding box in pixels."""
    rows, columns = np.nonzero(view.mask >= 0.5)
    if len(rows) == 0:
        raise InputError(f"no object found in {view.name}: its mask is empty.")
    low = np.array([columns.min(), rows.min()], float)
    return low, np.array([columns.max(), rows.max()], float) + 1


def _contradiction(names: Sequence[str], lengths: Tensor) -> str:
    """Say which view empties the hull; ``lengths`` is ``[V, N]``."""
    culprits = []
    for index, name in enumerate(names):
        others = torch.cat([lengths[:index], lengths[index + 1 :]])
        if len(others) and bool((others.amin(0) > 0).any()):
            culprits.append(name)
    if not culprits:
        return (
            "the views contradict each other: no point lies inside all masks, whichever view is "
            "left out; check the cameras and that all masks show the same object."
        )
    return (
        "the views contradict each other: no point lies inside all masks. Without "
        f"{' or '.join(culprits)} there would be one; check that view's camera and mask."
    )
