"""The camera that took a picture, from a cloud of its object in the common frame.

The network's student says how the camera was turned; where it stood and how far it was zoomed in
follows from the mask, to which the cloud's projection is fitted together with a small rotation.
What sticks out of the mask is drawn in, what the mask has beyond the cloud draws it out, and
whatever covers and is covered has no say: least squares by Gauss and Newton, with the nearest
neighbours found anew in every round.

What silhouettes cannot tell is left to the student: an object's front and its back have mirrored
outlines, and the lens' angle of view hardly shows at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from ...geometry.visual_hull import mask_distance
from ...views import Camera

SIZE = 64
"""Pixels along the mask that is fitted to."""

POINTS = 3000
MASK_PIXELS = 1500
ROUNDS = 20
SLACK = 1.0 / SIZE
"""Picture widths that a mask's pixel may lie beside the nearest point and be covered."""

ROTATION_WEIGHT = 0.005
"""Picture widths for a radian: noise in the outline must not turn the object."""

TRUSTED = 0.8
"""Overlap from which the student's rotation is not doubted."""

PREFERENCE = 0.05
"""Overlap by which another rotation must be better than the student's."""

AZIMUTHS, ELEVATIONS = 24, (-15, 0, 15, 30, 50, 75)
SEARCHED = 4
_COARSE = 24
_STEP = 1e-4  # of the differences that stand in for derivatives


@dataclass(frozen=True)
class _Target:
    """A mask of ``SIZE`` pixels, ready to be fitted to; lengths in widths, from its middle.

    Attributes:
        mask: ``[S, S]`` bool.
        outside: ``[2 S, 2 S]`` distance to the mask, on a canvas twice as wide.
        slope: ``[2, 2 S, 2 S]`` its derivatives along x and y.
        pixels: ``[K, 2]`` places in the mask.
        centre: ``[2]`` of its box.
        extent: The box's longer edge.
    """

    mask: np.ndarray
    outside: np.ndarray
    slope: np.ndarray
    pixels: np.ndarray
    centre: np.ndarray
    extent: float


@dataclass(frozen=True)
class _Pose:
    """Where a cloud is seen: turned, then zoomed, then moved in the picture.

    Attributes:
        rotation: ``[3, 3]`` world to camera.
        zoom: Focal length in widths.
        shift: ``[2]`` of the cube's centre, in widths from the picture's.
        distance: From the camera to the cube's centre, in cubes; 0 for parallel rays.
    """

    rotation: np.ndarray
    zoom: float
    shift: np.ndarray
    distance: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Places ``[N, 2]`` in widths from the picture's middle of points ``[N, 3]``."""
        return _flat(points, self.rotation, self.distance) * self.zoom + self.shift

    def changed(self, change: np.ndarray) -> _Pose:
        """Turned by a rotation vector, zoomed by an exponent and moved: ``[6]`` in this order."""
        turn = Rotation.from_rotvec(change[:3]).as_matrix()
        zoom = self.zoom * math.exp(np.clip(change[3], -0.5, 0.5))
        # Zooming leaves the cube's centre where it is.
        return _Pose(turn @ self.rotation, zoom, self.shift + change[4:], self.distance)

    def camera(self) -> Camera:
        """The camera of a picture of ``SIZE`` pixels."""
        left, _, right = np.linalg.svd(self.rotation)  # orthonormal to the last bit
        pose = np.eye(4)
        pose[:3, :3] = left @ right
        pose[2, 3] = self.distance or 2.0  # of no meaning for parallel rays
        focal, middle = SIZE * self.zoom, SIZE * (self.shift + 0.5)
        intrinsics = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1.0]])
        return Camera(intrinsics, pose, (SIZE, SIZE), orthographic=not self.distance)


def fit_camera(
    points: np.ndarray, mask: np.ndarray, rotation: np.ndarray, distance: float
) -> Camera:
    """The camera of a square picture whose mask a cloud should fill.

    Args:
        points: ``[N, 3]`` in the unit cube.
        mask: ``[S, S]`` coverage in [0, 1], not empty.
        rotation: ``[3, 3]`` world to camera, where to begin.
        distance: From the camera to the cube's centre, in cubes; 0 for parallel rays.
    """
    target = _target(mask)
    few = points[:: max(1, len(points) // POINTS)]
    best = _fitted(few, target, rotation, distance)
    score = cloud_overlap(points, best, target.mask)
    if score < TRUSTED:
        score += PREFERENCE
        for other in _searched_rotations(few, target, distance):
            camera = _fitted(few, target, other, distance)
            if (overlap := cloud_overlap(points, camera, target.mask)) > score:
                best, score = camera, overlap
    size = mask.shape[0]
    return best.resampled(0.0, 0.0, size / SIZE, (size, size))


def cloud_silhouette(pixels: np.ndarray, size: int) -> np.ndarray:
    """Which pixels ``[S, S]`` (bool) a cloud's projections ``[N, 2]`` cover, small gaps closed."""
    cells = np.floor(pixels).astype(np.int64)
    cells = cells[((cells >= 0) & (cells < size)).all(axis=1)]
    hit = np.zeros((size + 2, size + 2), np.uint8)  # room, so that closing treats borders alike
    hit[cells[:, 1] + 1, cells[:, 0] + 1] = 1
    closed = cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return closed[1:-1, 1:-1] > 0


def cloud_overlap(points: np.ndarray, camera: Camera, mask: np.ndarray) -> float:
    """IoU of a cloud's silhouette with a mask ``[S, S]``, both at ``SIZE`` pixels at most."""
    size = min(SIZE, len(mask))
    small = _resized(mask, size) >= 0.5
    view = camera.resampled(0.0, 0.0, size / len(mask), (size, size))
    pixels, depth = view.project(points)
    seen = cloud_silhouette(pixels[(depth > 0) | view.orthographic], size)
    return float((seen & small).sum() / max((seen | small).sum(), 1))


def _resized(mask: np.ndarray, size: int) -> np.ndarray:
    how = cv2.INTER_AREA if len(mask) >= size else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=how)


def _target(mask: np.ndarray) -> _Target:
    small = _resized(mask, SIZE)
    inside = small >= min(0.5, float(small.max()))
    canvas = np.pad(inside, SIZE // 2).astype(np.float32)
    outside = np.maximum(-mask_distance(canvas), 0) / SIZE
    down, right = np.gradient(outside, 1 / SIZE)
    places = (np.argwhere(inside)[:, ::-1] + 0.5) / SIZE - 0.5
    low, high = places.min(axis=0), places.max(axis=0)
    return _Target(
        inside,
        outside,
        np.stack([right, down]),
        places[:: max(1, len(places) // MASK_PIXELS)],
        (low + high) / 2,
        float((high - low).max()) + 1 / SIZE,
    )


def _flat(points: np.ndarray, rotations: np.ndarray, distance: float) -> np.ndarray:
    """Projections ``[..., N, 2]`` with focal length 1 of points ``[N, 3]``."""
    in_camera = points @ np.swapaxes(rotations, -1, -2)
    if not distance:
        return in_camera[..., :2]
    return in_camera[..., :2] / np.maximum(in_camera[..., 2:] + distance, 0.1)


def _box(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre ``[..., 2]`` and longer edge ``[...]`` of projections, without the outermost."""
    low, high = np.quantile(flat, [0.005, 0.995], axis=-2)
    return (low + high) / 2, (high - low).max(axis=-1).clip(min=1e-6)


def _fitted(points: np.ndarray, target: _Target, rotation: np.ndarray, distance: float) -> Camera:
    """Move, zoom and turn until the cloud's projection fills the mask."""
    centre, edge = _box(_flat(points, rotation, distance))
    zoom = target.extent / float(edge)
    pose = _Pose(rotation, zoom, target.centre - zoom * centre, distance)
    turned = np.zeros(3)
    for _ in range(ROUNDS):
        values, slopes = _misfits(points, target, pose)
        prior = np.concatenate([np.eye(3), np.zeros((3, 3))], axis=1) * ROTATION_WEIGHT
        slopes = np.concatenate([slopes, prior])
        values = np.concatenate([values, ROTATION_WEIGHT * turned])
        normal = slopes.T @ slopes + 1e-5 * np.eye(6)
        change = -np.linalg.solve(normal, slopes.T @ values)
        change = change.clip(-0.2, 0.2)
        turned = turned + change[:3]
        pose = pose.changed(change)
    return pose.camera()


def _misfits(points: np.ndarray, target: _Target, pose: _Pose) -> tuple[np.ndarray, np.ndarray]:
    """Lengths ``[M]`` by which points stick out and pixels are left bare, and slopes ``[M, 6]``.

    Both kinds are divided by the square root of how many there could be.
    """
    places = pose.project(points)
    moves = np.stack(
        [(pose.changed(step).project(points) - places) / _STEP for step in _STEP * np.eye(6)],
        axis=-1,
    )  # [N, 2, 6]
    cells = np.floor((places + 1) * SIZE).astype(int).clip(0, 2 * SIZE - 1)
    out = target.outside[cells[:, 1], cells[:, 0]]
    away = target.slope[:, cells[:, 1], cells[:, 0]].T  # [N, 2]
    gap, nearest = map(np.asarray, KDTree(places).query(target.pixels))
    bare = gap > SLACK
    towards = (places[nearest[bare]] - target.pixels[bare]) / gap[bare, None]
    values = [out / math.sqrt(len(out)), (gap[bare] - SLACK) / math.sqrt(len(gap))]
    slopes = [
        np.einsum("na,nac->nc", away * (out > 0)[:, None], moves) / math.sqrt(len(out)),
        np.einsum("na,nac->nc", towards, moves[nearest[bare]]) / math.sqrt(len(gap)),
    ]
    return np.concatenate(values), np.concatenate(slopes)


def _searched_rotations(points: np.ndarray, target: _Target, distance: float) -> list[np.ndarray]:
    """Upright rotations whose outlines, brought to one size, overlap best with the mask."""
    rotations = _upright_rotations()
    drawn = _coarse(_flat(points[:: max(1, len(points) // 800)], rotations, distance))
    wanted = _coarse(target.pixels[None])
    overlaps = (drawn & wanted).sum((1, 2)) / (drawn | wanted).sum((1, 2))
    return list(rotations[np.argsort(-overlaps, kind="stable")[:SEARCHED]])


def _coarse(flat: np.ndarray) -> np.ndarray:
    """Outlines ``[R, C, C]`` of projections ``[R, N, 2]``, filling the frame, gaps closed."""
    centre, edge = _box(flat)
    places = (flat - centre[:, None]) / edge[:, None, None] * (_COARSE - 4) + _COARSE / 2
    return np.stack([cloud_silhouette(one, _COARSE) for one in places])


def _upright_rotations() -> np.ndarray:
    """Cameras ``[R, 3, 3]`` that look at the origin with Z up; rows right, down, forward."""
    angles = [
        (math.tau * step / AZIMUTHS, math.radians(elevation))
        for elevation in ELEVATIONS
        for step in range(AZIMUTHS)
    ]
    a, e = np.array(angles).T
    right = np.stack([np.cos(a), np.sin(a), 0 * a], axis=-1)
    forward = np.stack([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)], axis=-1)
    return np.stack([right, np.cross(forward, right), forward], axis=1)
