"""The fair hull: the smoothest surface inside the visual hull that still meets every silhouette.

An exact hull of a few views is a sharpened version of the object: between the curves where the
viewing rays graze the object it bulges out to ridges. Here its signed field ``u`` becomes an upper
bound, silhouettes become lower bounds, and between both lies the field ``f`` of least bending:

    minimise  1/2 sum |grad(laplacian f)|^2    subject to    lower <= f <= u.

The energy is zero for every quadratic, so that balls, ellipsoids and cylinders cost nothing,
whereas the thin-plate energy |laplacian f|^2 pulls a ball inwards between the bounds. Where the
bending passes a limit, the square turns into a straight line (P. Huber, 1964): creases are cheap,
and a box keeps its flat sides, which the square alone would hollow out between sharp edges. Where
the rims of several views meet in one place, the object has an edge, for only there are many cones
tangent at once; bending costs nothing there. It costs nothing at the border of the grid either,
whose mirrored continuation no object has. The lower bound says that along every ray on a mask's
contour ``f`` must reach ``u`` somewhere (there, the surface touches the ray and its tangent plane
holds the ray), and along every ray inside a mask it must come inside. Where on the ray is not
known: it is where the current ``f`` is largest, chosen anew as ``f`` goes.

Many views leave a hull that lies so close that it is worth more than a surface drawn by least
bending alone, which sags between the rims. What a hull stands off shrinks with the square of the
number of views, so the field is drawn to the bound with a weight that grows with the fourth power.

The obstacle problem is solved by the alternating direction method of multipliers (S. Boyd et al.,
"Distributed Optimization and Statistical Learning via ADMM", 2011, section 5): the energy's step
is diagonal in the cosine basis, the bounds' step is a clamp. Huber's line is the square of what is
left when the excess over the limit is taken away (D. Geman, C. Yang, 1995), so that it only adds to
the right-hand side. Coarse grids start fine ones, and on each grid long waves come first, which is
faster and lands a little better: short ones take on what the contacts ask while they still move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor
from torch.nn import functional

from .silhouettes import (
    NearZero,
    RaySamples,
    Silhouettes,
    folded,
    hull_near_surface,
    outline_rays,
    sample_grid,
    view_rays,
    without_stray_pieces,
)

_PENALTY = 1e-3
_RELAXATION = 1.6
ROUNDS = 8
"""How often, on the finest grid, the contacts are chosen; 30 made some surfaces worse."""

_SHARP_ROUNDS = 4
"""The last of them, in which short waves take part; with 2, wings and chair legs suffer."""

_FAINT = 1e-3
"""Waves of which the energy's step leaves less are short: below six cells."""

_GRAZING = -0.75
"""Where the hull is above this, in cells, a ray on a contour may touch the surface."""

_INSIDE = 0.5
"""How deep, in cells, a ray inside a mask must come inside the surface."""

_CREASE = 0.06
"""Bending from which on a crease is cheap, with 8 views on 96 cells.

More views leave flatter ridges on the hull, which a lower limit still tells from true edges.
"""
_CLOSENESS = 1e-4
"""Weight of the pull to the exact hull with 48 views."""

_FURTHEST = 1.0
"""Cells from which on the exact hull pulls no harder."""

_CREASE_STEPS = 4
"""Steps between two looks for creases."""

_BORDER = 4
"""Cells at the border of the grid in which bending costs nothing."""

_EDGE_VIEWS = 3
"""So many views' rims in one cell make an edge, or more where cells are large and views many."""


@dataclass(frozen=True)
class Level:
    """One grid of the coarse-to-fine solve.

    Attributes:
        resolution: Cells along the cube.
        rounds: How often the contacts are chosen.
        steps: Of each round.
        sharp: Rounds at the end in which short waves take part.
    """

    resolution: int
    rounds: int
    steps: int
    sharp: int = 0


@dataclass(frozen=True)
class Target:
    """What else shapes the surface: a quadratic pull ``weight / 2 * (f - field)^2`` on each cell.

    Attributes:
        field: ``[R, R, R]`` in cells.
        weight: ``[R, R, R]``, zero where nothing is known.
    """

    field: np.ndarray
    weight: np.ndarray

    @classmethod
    def of_sums(cls, pull: np.ndarray, weight: np.ndarray) -> Target:
        """Several pulls as one, from the sums of ``weight * field`` and of ``weight``."""
        return cls(pull / np.maximum(weight, np.float32(1e-12)), weight)

    def joined(self, other: Target) -> Target:
        """The pull of both together."""
        pull = self.weight * self.field + other.weight * other.field
        return Target.of_sums(pull, self.weight + other.weight)


def folded_target(target: Target, mirrors: Sequence[str]) -> Target:
    """The pull of a target and of all its mirror images together."""
    pull = folded(target.weight * target.field, mirrors, np.add)
    return Target.of_sums(pull, folded(target.weight, mirrors, np.add))


class Fairing:
    """The obstacle problem on one grid, in a state from which it can go on."""

    def __init__(
        self,
        silhouettes: Silhouettes,
        upper: np.ndarray,
        start: np.ndarray,
        is_solution: bool = False,
    ) -> None:
        """Make ready.

        Args:
            silhouettes: Views in the unit cube.
            upper: ``[R, R, R]`` in cells, the exact hull.
            start: ``[R, R, R]`` in cells, below ``upper``.
            is_solution: Whether ``start`` says where the surface touches the rays.
        """
        self.resolution = upper.shape[0]
        self.upper = upper
        self._contacts = Contacts(silhouettes, upper)
        self._smooth = torch.tensor(start)
        self._dual = torch.zeros_like(self._smooth)
        self._energy = Energy(self.resolution, _PENALTY)
        views = silhouettes.number_of_views
        self._closeness = np.float32(_CLOSENESS * (views / 48) ** 4)
        self._crease = _CREASE * (8 / views) * (96 / self.resolution) ** 2
        self._bound = self._contacts.bound(start, first=not is_solution)

    @property
    def field(self) -> np.ndarray:
        """The current solution, within its bounds."""
        return np.minimum(np.maximum(self._smooth.numpy(), self._bound.lower), self.upper)

    def advance(
        self,
        steps: int,
        target: Target | None = None,
        faith: np.ndarray | None = None,
        long_waves_only: bool = False,
    ) -> None:
        """Take ADMM steps, then choose the contacts anew.

        Args:
            steps: How many.
            target: What else pulls.
            faith: ``[R, R, R]`` share of the pull to the exact hull, 0 where it is known to be far.
            long_waves_only: Whether to leave out short ones, in less than half the time.
        """
        smoothed = self._energy.smoothed_coarsely if long_waves_only else self._energy.smoothed
        lower, upper = torch.from_numpy(self._bound.lower), torch.from_numpy(self.upper)
        creases = torch.zeros_like(self._smooth)
        pulled = target is not None or self._closeness > 1e-3 * _PENALTY
        keep, pull = self._pull(target, faith) if pulled else (1.0, 0.0)
        limits = _face_limits(torch.from_numpy(self._bound.edges), self._crease)
        for step in range(steps):
            if step % _CREASE_STEPS == 0:
                creases = _creases(self._smooth, limits) / _PENALTY
            # In place: fresh memory costs more than the arithmetic.
            proposed = self._smooth + self._dual
            if pulled:
                proposed *= keep
                proposed += pull
            torch.clamp(proposed, lower, upper, out=proposed)
            proposed *= _RELAXATION
            self._smooth *= 1 - _RELAXATION
            proposed += self._smooth
            self._dual -= proposed
            torch.sub(creases, self._dual, out=proposed)
            self._smooth = smoothed(proposed)
            self._dual += self._smooth
        self._bound = self._contacts.bound(self._smooth.numpy())

    def restore(self, field: np.ndarray, where: np.ndarray) -> None:
        """Go back to an earlier field in the cells of a mask, both ``[R, R, R]``."""
        self._smooth[torch.from_numpy(where)] = torch.from_numpy(field[where])
        self._dual[torch.from_numpy(where)] = 0
        self._bound = self._contacts.bound(self._smooth.numpy())

    def _pull(self, target: Target | None, faith: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """What the exact hull and a target make of a proposed field: ``keep * proposed + pull``."""
        weight = self._closeness if faith is None else self._closeness * faith
        pull = weight * np.minimum(self.upper, self._smooth.numpy() + np.float32(_FURTHEST))
        if target is not None:
            weight, pull = weight + target.weight, pull + target.weight * target.field
        keep = np.asarray(_PENALTY / (_PENALTY + weight), pull.dtype)
        return torch.from_numpy(keep), torch.from_numpy(pull / (_PENALTY + weight))


def fair_hull(
    silhouettes: Silhouettes,
    resolution: int,
    target: Callable[[int], Target | None] = lambda resolution: None,
    progress: Callable[[float], None] = lambda fraction: None,
    rounds: int = ROUNDS,
) -> Fairing:
    """Solve for the fair hull.

    Args:
        silhouettes: Views in the unit cube.
        resolution: Cells along the cube.
        target: Gives what else pulls at the field, for a resolution.
        progress: Called with the share of the work done; may raise to stop.
        rounds: How often the contacts are chosen on the finest grid.

    Returns:
        The solved problem; its ``field`` is signed, in cells, positive inside.
    """
    levels = _levels(resolution, rounds)
    work = np.cumsum([0.0] + [level.rounds * level.steps * level.resolution**3 for level in levels])
    most = silhouettes.hull(levels[0].resolution)
    fairing = Fairing(silhouettes, most, most)
    for index, level in enumerate(levels):
        if index > 0:
            start = prolonged(fairing.field, level.resolution)
            fairing = Fairing(silhouettes, silhouettes.hull(level.resolution), start)
        pull = target(level.resolution)
        for turn in range(level.rounds):
            fairing.advance(level.steps, pull, long_waves_only=turn < level.rounds - level.sharp)
            done = (turn + 1) / level.rounds
            progress(float((work[index] + done * (work[index + 1] - work[index])) / work[-1]))
    return fairing


def _levels(resolution: int, rounds: int) -> list[Level]:
    """Halve the grid down to about 24 cells."""
    levels = [Level(resolution, rounds, 20, _SHARP_ROUNDS)]
    while levels[0].resolution > 36:
        levels.insert(0, Level((levels[0].resolution + 1) // 2, 10, 15))
    return levels


def prolonged(field: np.ndarray, resolution: int) -> np.ndarray:
    """Trilinear refinement; values are in cells and grow with their number."""
    finer = functional.interpolate(
        torch.as_tensor(field)[None, None], size=(resolution,) * 3, mode="trilinear"
    )[0, 0]
    return finer.numpy() * (resolution / field.shape[0])


class Energy:
    """The energy's step, which keeps ``penalty / (eigenvalue^3 + penalty)`` of each cosine wave.

    The eigenvalue is that of minus the seven-point Laplacian with mirrored ends: of ``field``, what
    comes out is the ``f`` of least ``1/2 sum |grad(laplacian f)|^2 + penalty / 2 |f - field|^2``.
    """

    def __init__(self, resolution: int, penalty: float) -> None:
        along = 2 - 2 * np.cos(np.pi * np.arange(resolution) / resolution)
        eigenvalues = along[:, None, None] + along[None, :, None] + along[None, None, :]
        self._kept = (penalty / (eigenvalues**3 + penalty)).astype(np.float32)
        count = int(np.count_nonzero(self._kept[:, 0, 0] > _FAINT))
        self._kept_long = torch.tensor(self._kept[:count, :count, :count])
        waves = scipy.fft.dct(np.eye(resolution, dtype=np.float32), axis=0, norm="ortho")
        self._waves = torch.tensor(waves[:count])
        self._cells = self._waves.T.contiguous()

    def smoothed(self, field: Tensor) -> Tensor:
        """Of ``field`` ``[R, R, R]``, whose memory is used up."""
        spectrum: Any = scipy.fft.dctn(field.numpy(), norm="ortho", workers=-1, overwrite_x=True)
        spectrum *= self._kept
        smooth = scipy.fft.idctn(spectrum, norm="ortho", workers=-1, overwrite_x=True)
        return torch.from_numpy(np.asarray(smooth))

    def smoothed_coarsely(self, field: Tensor) -> Tensor:
        """The long waves of it; for so few, products with matrices are faster than transforms."""
        size, count = self._cells.shape
        spectrum = (self._waves @ field.view(size, -1)).view(count, size, size)
        spectrum = self._waves @ spectrum @ self._cells
        spectrum *= self._kept_long
        smooth = self._cells @ (spectrum @ self._waves)
        return (self._cells @ smooth.view(count, -1)).view(size, size, size)


def _face_limits(edges: Tensor, limit: float) -> list[Tensor]:
    """``limit`` between neighbours as :func:`_gradient` has it, 0 where one of them is an edge."""
    faces = [
        (edges.narrow(axis, 0, n - 1), edges.narrow(axis, 1, n - 1))
        for axis, n in enumerate(edges.shape)
    ]
    return [torch.where(one | other, 0.0, limit) for one, other in faces]


def _creases(field: Tensor, limits: list[Tensor]) -> Tensor:
    """What bending beyond ``limits`` adds to the right-hand side, ``[R, R, R]``."""
    bending = _gradient(_laplacian(field))
    for part, most in zip(bending, limits, strict=True):
        part -= part.clamp(-most, most)
    return _laplacian(-_divergence(bending))


def _laplacian(field: Tensor) -> Tensor:
    """Seven-point Laplacian with mirrored ends."""
    return _divergence(_gradient(field))


def _gradient(field: Tensor) -> list[Tensor]:
    """Differences between neighbours along each axis, one fewer than cells."""
    return [field.diff(dim=axis) for axis in range(3)]


def _divergence(parts: list[Tensor]) -> Tensor:
    """Minus the transpose of :func:`_gradient`."""
    total = parts[0].new_zeros((parts[1].shape[0], *parts[0].shape[1:]))
    for axis, part in enumerate(parts):
        total.narrow(axis, 0, part.shape[axis]).add_(part)
        total.narrow(axis, 1, part.shape[axis]).sub_(part)
    return total


@dataclass(frozen=True)
class Bound:
    """What the silhouettes ask of a field.

    Attributes:
        lower: ``[R, R, R]``; -inf where the field is free.
        edges: ``[R, R, R]`` bool, where bending costs nothing.
    """

    lower: np.ndarray
    edges: np.ndarray


class Contacts:
    """Rays on the masks' contours and inside them, and where the surface must reach them."""

    def __init__(self, silhouettes: Silhouettes, upper: np.ndarray) -> None:
        """Cast the rays through the grid of ``upper``, one about every cell."""
        self.upper = upper
        self.resolution = upper.shape[0]
        self._mirrors = silhouettes.mirrors
        self._views = silhouettes.number_of_views
        near = NearZero(upper)
        self.rims, self._view_of_rim = self._cast(silhouettes, near, True, _GRAZING)
        self.insides, _ = self._cast(silhouettes, near, False, 0.0)

    def _cast(
        self, silhouettes: Silhouettes, near: NearZero, rim: bool, least: float
    ) -> tuple[RaySamples, np.ndarray]:
        """Samples at which the hull is above ``least``, and the view of each sample.

        A ray that finds none keeps the one at which the hull is largest.
        """
        parts, views = [], [np.zeros(0, np.int64)]
        for view, rays in view_rays(silhouettes, self.resolution, rim):
            samples = near.samples(*rays)
            hull = sample_grid(torch.as_tensor(self.upper), samples.points).numpy()
            allowed = hull > least
            allowed[samples.largest(hull)] = True
            samples = samples.where(allowed)
            parts.append(samples)
            views.append(np.full(len(samples.ray), view))
        return RaySamples.joined(parts), np.concatenate(views)

    def bound(self, field: np.ndarray, first: bool = False) -> Bound:
        """What the rays ask of the current field.

        Args:
            field: The current solution.
            first: Take the middle of each grazing segment, for want of a solution.
        """
        values, upper = torch.as_tensor(field), self.upper.ravel()
        lower = np.full(field.size, -np.inf, np.float32)
        chosen = self.insides.largest(sample_grid(values, self.insides.points).numpy())
        cells = _cells_around(self.insides.points[chosen], self.resolution)
        lower[cells] = np.minimum(upper[cells], _INSIDE)
        along = (
            _centredness(self.rims.ray) if first else sample_grid(values, self.rims.points).numpy()
        )
        chosen = self.rims.largest(along)
        cells = _cells_around(self.rims.points[chosen], self.resolution)
        lower[cells] = upper[cells]
        views = np.repeat(self._view_of_rim[chosen], 8)
        rims = np.bincount(np.unique(views * field.size + cells) % field.size, minlength=field.size)
        return Bound(
            folded(lower.reshape(field.shape), self._mirrors, np.maximum),
            self._edges(folded(rims.reshape(field.shape), self._mirrors, np.add)),
        )

    def _edges(self, rims: np.ndarray) -> np.ndarray:
        """Cells next to those in which the rims of many views meet, and the border."""
        many = max(_EDGE_VIEWS, round(16 * self._views / self.resolution))
        edges = np.ones(rims.shape, bool)
        inner = (slice(_BORDER, -_BORDER),) * 3
        edges[inner] = maximum_filter(rims.astype(np.uint16), 3)[inner] >= many
        return edges


def _centredness(ray: np.ndarray) -> np.ndarray:
    """Largest in the middle of each ray's samples, ``[K]``; ``ray`` says whose they are."""
    position = np.arange(len(ray), dtype=np.float64)
    middle = np.bincount(ray, position) / np.maximum(np.bincount(ray), 1)
    return -np.abs(position - middle[ray])


def _cells_around(points: Tensor, resolution: int) -> np.ndarray:
    """Flat indices ``[8 N]`` of the eight cells around each point ``[N, 3]``."""
    at = (points + 0.5) * resolution - 0.5
    steps = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    cells = (at.floor().long()[:, None] + steps).clamp(0, resolution - 1)
    return (
        ((cells[..., 0] * resolution + cells[..., 1]) * resolution + cells[..., 2]).view(-1).numpy()
    )


_FAR = 1e3
"""More than any field's values differ by, in cells."""


def refined(silhouettes: Silhouettes, field: np.ndarray) -> np.ndarray:
    """Double the grid, and bring back what was too thin for the coarse one.

    Wires, wings and sharp edges vanish between the centres of coarse cells although a mask shows
    them. Every pixel along the masks' outlines whose ray misses the surface gets it back, from the
    exact hull, where the ray comes nearest to the surface. Everywhere else the field is the coarse
    one, kept inside the hull.

    Args:
        silhouettes: Views in the unit cube.
        field: ``[R, R, R]`` in cells.

    Returns:
        ``[2 R, 2 R, 2 R]`` in cells of its own.
    """
    fine = 2 * field.shape[0]
    hull = hull_near_surface(silhouettes, fine)
    inside = torch.minimum(torch.as_tensor(prolonged(field, fine)), hull)
    if silhouettes.mirrors:  # what is too thin is lost in many views' hull as well
        hull = hull_near_surface(replace(silhouettes, mirrors=()), fine)
    near, cells = NearZero(hull.numpy()), []
    for rays in outline_rays(silhouettes):
        samples = near.samples(*rays)
        values = sample_grid(inside, samples.points).numpy()
        deepest = samples.largest(values)
        empty = np.zeros(samples.count, bool)
        empty[samples.ray[deepest]] = values[deepest] < 0
        samples, values = samples.where(empty[samples.ray]), values[empty[samples.ray]]
        in_hull = sample_grid(hull, samples.points).numpy() > 0
        chosen = samples.largest(np.where(in_hull, values + _FAR, values))
        cells.append(_cells_around(samples.points[chosen], fine))
    missing = torch.as_tensor(np.concatenate(cells))
    inside.view(-1)[missing] = hull.view(-1)[missing]
    return without_stray_pieces(silhouettes, inside.numpy())
