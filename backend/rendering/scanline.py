"""Which face a camera sees at each sample of a picture: a scan-line rasteriser in numpy.

What :mod:`.mesh_rasterizer` does on a CPU, and several times as fast as its own torch operations
there, where memory traffic is what takes time. It gives the same faces.

Pixel centres lie at half-integers. A face is cut at the height of its middle corner into two
halves, each of which lies between two edges. An edge runs from its upper to its lower end, whatever
the order of the corners, so that two faces that share it get the very same crossings and leave no
crack between them. Both orientations of a face are drawn.

``nearness`` is the depth's monotone stand-in that is linear on the screen: the camera z for
parallel rays and -1/z for perspective; the smallest wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..views import Camera

NEAR = 1e-6
_PORTION = 1 << 22  # samples of faces worked on at a time, about


@dataclass(frozen=True)
class _Screen:
    """Faces on the screen: pixels and nearness of their corners, ``[3, F]`` each."""

    x: np.ndarray
    y: np.ndarray
    nearness: np.ndarray
    face: np.ndarray  # [F] index among the faces given
    image_size: tuple[int, int]
    parallel: bool


@dataclass(frozen=True)
class Fragments:
    """The samples at which a camera sees something.

    Attributes:
        sample: ``[N]`` int64, ascending: row * width + column.
        face: ``[N]`` int64, the nearest.
        depth: ``[N]`` camera z.
    """

    sample: np.ndarray
    face: np.ndarray
    depth: np.ndarray
    _position: np.ndarray  # [N] of the face on the screen
    _screen: _Screen

    def barycentric(self, chosen: np.ndarray) -> np.ndarray:
        """Perspective-correct weights ``[3, M]`` float32 of the face's corners, for M samples."""
        weights = _barycentric(self._screen, self._position[chosen], self.sample[chosen])
        return weights.astype(np.float32)


def rasterize(vertices: np.ndarray, faces: np.ndarray, camera: Camera) -> Fragments:
    """Find the nearest face behind every pixel centre.

    In a perspective view, faces with a corner at or behind the plane z = ``NEAR`` are dropped; in
    an orthographic view all faces are drawn, as its camera plane has no meaning. Of two faces at
    exactly the same depth the one with the lower index wins, so that results are repeatable.

    Args:
        vertices: ``[V, 3]`` in the camera's world, finite.
        faces: ``[F, 3]`` vertex indices.
        camera: Its image's pixels are the samples.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels, depth = camera.project(vertices)
    return rasterize_projected(pixels, depth, faces, camera.image_size, camera.orthographic)


def rasterize_projected(
    pixels: np.ndarray,
    depth: np.ndarray,
    faces: np.ndarray,
    image_size: tuple[int, int],
    parallel: bool,
) -> Fragments:
    """The same for vertices that have been projected.

    Args:
        pixels: ``[V, 2]``; overwritten where a vertex is not in front of the camera.
        depth: ``[V]`` camera z.
        faces: ``[F, 3]`` vertex indices.
        image_size: (height, width).
        parallel: Whether the view is orthographic.
    """
    height, width = image_size
    screen = _on_screen(pixels, depth, faces, image_size, parallel)
    nearest = np.full(height * width, np.inf)
    winner = np.full(height * width, -1)
    for part in _portions(screen):
        sample, nearness, position = _cover(screen, part)
        before = nearest[sample]
        np.minimum.at(nearest, sample, nearness)
        # Of equally near faces the one written last wins: the lowest, the order being reversed.
        best = np.flatnonzero((nearness == nearest[sample]) & (nearness < before))[::-1]
        winner[sample[best]] = position[best]
    sample = np.flatnonzero(winner >= 0)
    position = winner[sample]
    depth = nearest[sample] if screen.parallel else -1.0 / nearest[sample]
    return Fragments(sample, screen.face[position], depth, position, screen)


def _on_screen(
    pixels: np.ndarray,
    depth: np.ndarray,
    faces: np.ndarray,
    image_size: tuple[int, int],
    parallel: bool,
) -> _Screen:
    height, width = image_size
    ahead = np.isfinite(depth) if parallel else depth > NEAR
    pixels[~ahead] = 0.0
    nearness = depth if parallel else -1.0 / np.where(ahead, depth, 1.0)
    corners = np.ascontiguousarray(faces.T)  # [3, F]
    x, y = pixels[:, 0].take(corners), pixels[:, 1].take(corners)
    # Most faces of a fine mesh lie between the samples.
    face = np.flatnonzero(_between(x, width) & _between(y, height) & ahead[corners].all(axis=0))
    return _Screen(
        x[:, face],
        y[:, face],
        nearness[corners[:, face]],
        face,
        image_size,
        parallel,
    )


def _between(places: np.ndarray, size: int) -> np.ndarray:
    """Whether there are half-integers below ``size`` between the corners ``[3, F]``, ``[F]``."""
    return _centres_between(places.min(axis=0), places.max(axis=0), size)[1] > 0


def _portions(screen: _Screen) -> Iterator[slice]:
    """Ranges of faces whose boxes hold a bounded number of samples, and whose rows do."""
    height, width = screen.image_size
    across = np.ptp(screen.x.clip(0, width), axis=0) + 1.0
    down = np.ptp(screen.y.clip(0, height), axis=0) + 1.0
    total = (across * down).cumsum()
    cuts = np.searchsorted(total, np.arange(_PORTION, total[-1:].sum(), _PORTION))
    bounds = np.unique([0, *cuts, len(total)])
    yield from (slice(first, last) for first, last in pairwise(bounds.tolist()))


def _cover(screen: _Screen, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every sample of some faces: its index, its nearness, and the face's position on the screen.

    Sorted by position.
    """
    height, width = screen.image_size
    halves = _halves(screen, part)
    half, row = _enumerate(*_centres_between(halves[10], halves[11], height))
    left, right, near_left, near_right = _cross_rows(halves[:10].take(half, axis=1), row + 0.5)
    first, count = _centres_between(left, right, width)
    # A row as narrow as this holds one sample at most, at the nearness of either end.
    slope = (near_right - near_left) / np.maximum(right - left, 1e-9)
    start = near_left + np.maximum(first + 0.5 - left, 0.0) * slope
    step = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    sample = np.repeat(row * width + first, count) + step
    nearness = np.repeat(start, count) + step * np.repeat(slope, count)
    return sample, nearness, np.repeat(half // 2 + part.start, count)


def _halves(screen: _Screen, part: slice) -> np.ndarray:
    """The upper and lower half of each face in turn, ``[12, 2F]``.

    Rows: five of the left edge (x, y and nearness of its upper end, and what x and nearness gain in
    a pixel downwards), five of the right edge, and the half's first and last y. Halves without
    height are empty: their first y is infinite.
    """
    corners = np.stack([screen.x[:, part], screen.y[:, part], screen.nearness[:, part]])
    order = corners[1].argsort(axis=0)
    top, middle, bottom = np.take_along_axis(corners, order[None], axis=1).transpose(1, 0, 2)
    long, upper, lower = _edge(top, bottom), _edge(top, middle), _edge(middle, bottom)
    ends_left = long[0] + (middle[1] - top[1]) * long[3] > middle[0]
    result = np.empty((12, top.shape[1], 2))
    pieces = ((upper, top[1], middle[1]), (lower, middle[1], bottom[1]))
    for half, (short, first, last) in enumerate(pieces):
        result[:5, :, half] = np.where(ends_left, short, long)
        result[5:10, :, half] = np.where(ends_left, long, short)
        result[10, :, half] = np.where(last > first, first, np.inf)
        result[11, :, half] = last
    return result.reshape(12, -1)


def _edge(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """``[5, F]`` of edges ``[3, F]`` (x, y, nearness); of no meaning where they are level."""
    run = end - start
    height = np.where(run[1] > 0, run[1], 1.0)
    return np.stack([*start, run[0] / height, run[2] / height])


def _cross_rows(
    edges: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left and right x, left and right nearness ``[R]`` of halves ``[10, R]`` at the heights y."""
    below_left, below_right = y - edges[1], y - edges[6]
    left = edges[0] + below_left * edges[3]
    right = edges[5] + below_right * edges[8]
    return left, right, edges[2] + below_left * edges[4], edges[7] + below_right * edges[9]


def _centres_between(low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and number of the ``size`` half-integers in the closed intervals ``[low, high]``."""
    first = np.ceil((low - 0.5).clip(0, size))
    last = np.floor((high - 0.5).clip(-1, size - 1))
    return first.astype(np.int64), np.maximum(last - first + 1, 0).astype(np.int64)


def _enumerate(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item ``count`` times, and beside it ``first, first + 1, ...``."""
    item = np.repeat(np.arange(len(count)), count)
    return item, np.arange(len(item)) + np.repeat(first - (count.cumsum() - count), count)


def _barycentric(screen: _Screen, position: np.ndarray, sample: np.ndarray) -> np.ndarray:
    row, column = np.divmod(sample, screen.image_size[1])
    x = [corner.take(position) - (column + 0.5) for corner in screen.x]
    y = [corner.take(position) - (row + 0.5) for corner in screen.y]
    areas = np.stack([x[i] * y[j] - x[j] * y[i] for i, j in ((1, 2), (2, 0), (0, 1))])
    weights = np.maximum(areas * np.sign(areas.sum(axis=0)), 0.0)
    if not screen.parallel:
        weights *= [-corner.take(position) for corner in screen.nearness]
    total = weights.sum(axis=0)
    return np.divide(weights, total, out=np.full_like(weights, 1.0 / 3.0), where=total > 0)
