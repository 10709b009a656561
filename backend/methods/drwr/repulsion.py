"""DRWR's pairwise term: sums of a kernel over all pairs of projected points.

Two ways to the same number, both for V views at once:

* pair by pair, N^2 work, exact, for any kernel: the reference;
* on a grid, N + M^2 log M work, for the Gaussian. The points are spread onto a grid with cubic
  B-splines, the grid is convolved with the Gaussian by FFT, and the result is read back at the
  points with the same splines. What the splines blur is divided out of the Gaussian's spectrum, as
  in particle-mesh Ewald sums (R. Hockney and J. Eastwood, "Computer Simulation Using Particles",
  1988, section 8-3; U. Essmann et al., J. Chem. Phys. 103, 1995), and each point's pair with itself
  is taken off as the grid sees it, so that no point pushes itself.

Lengths are in units of the Gaussian's standard deviation: the kernel is exp(-d^2 / 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CELLS_PER_SIGMA = 1.5
"""Grid cells along one standard deviation; gradients are then within 1 % of exact."""

MARGIN_SIGMAS = 7.0
"""Empty border that keeps the FFT's periodic images apart: exp(-7^2 / 2) is below 1e-10."""

_TAPS = 4
_PAIRS_AT_ONCE = 1 << 18  # a block then stays in the cache


def pair_sums(
    points: Tensor,
    weights: Tensor,
    kernel: Callable[[Tensor], Tensor],
    pairs_at_once: int = _PAIRS_AT_ONCE,
) -> Tensor:
    """``sum_j' weights_j' kernel(|points_j - points_j'|^2)`` for every j, itself included.

    Works through blocks of rows and keeps none of them: the backward pass computes them again, as
    16,000 points would otherwise hold some gigabytes.

    Args:
        points: ``[N, 2]``.
        weights: ``[N]``.
        kernel: Maps squared distances ``[R, N]`` to values of the same shape.
        pairs_at_once: Pairs in a block of rows.

    Returns:
        ``[N]``.
    """

    def rows(block: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        squared = (block[:, None, 0] - points[None, :, 0]) ** 2
        squared = squared + (block[:, None, 1] - points[None, :, 1]) ** 2  # [R, N]
        return kernel(squared) @ weights

    count = max(1, pairs_at_once // max(len(points), 1))
    sums = [
        checkpoint(rows, block, points, weights, use_reentrant=False)
        for block in points.split(count)
    ]
    return torch.cat(sums)


def exact_energy(points: Tensor, weights: Tensor) -> Tensor:
    """Gaussian energy of each view, pair by pair: the slow twin of :func:`grid_energy`.

    Args:
        points: ``[V, N, 2]`` in standard deviations.
        weights: ``[V, N]``.

    Returns:
        ``[V]``: ``sum_{j != j'} w_j w_j' exp(-|x_j - x_j'|^2 / 2)``.
    """
    energies = []
    for view_points, view_weights in zip(points, weights, strict=True):
        sums = pair_sums(view_points, view_weights, lambda squared: torch.exp(-0.5 * squared))
        energies.append((view_weights * (sums - view_weights)).sum())
    return torch.stack(energies)


def grid_energy(points: Tensor, weights: Tensor) -> Tensor:
    """The energy of :func:`exact_energy` on a grid; gradients flow to ``points`` only.

    The grid reaches from the lowest to the highest point, so a single point far away makes it
    large; give such a point a place among the others and weight 0.

    Args:
        points: ``[V, N, 2]`` in standard deviations.
        weights: ``[V, N]``.

    Returns:
        ``[V]``.
    """
    energy = _GridEnergy.apply(points, weights)
    assert isinstance(energy, Tensor)
    return energy


@dataclass(frozen=True)
class _Taps:
    """Where one view's N points touch its grid of ``size`` (y, x) cells, and how.

    Attributes:
        first: ``[N]`` place of the lowest tap in the flattened grid.
        values: ``[4, 2, N]`` weights of the four taps along x and y.
        slopes: ``[4, 2, N]`` their derivatives, per cell.
        weights: ``[N]`` of the points.
        size: Of the grid.
    """

    first: Tensor
    values: Tensor
    slopes: Tensor
    weights: Tensor
    size: tuple[int, int]

    def places(self) -> Tensor:
        """``[4, 4, N]`` (y tap, x tap) places in the flattened grid."""
        taps = torch.arange(_TAPS, device=self.first.device)
        return self.first + (taps[:, None] * self.size[1] + taps)[..., None]


class _GridEnergy(torch.autograd.Function):
    """Value and gradient in one go: the energy is x^T G x, so its derivative reuses G x.

    All but the FFT goes view by view: all views at once take so much memory that fetching it from
    the system costs more than the work.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor) -> Tensor:
        taps = _make_taps(points, weights)
        density = torch.stack([_splat(view) for view in taps])
        field = _convolve(density)
        alone = [_self_energy(view) for view in taps]
        energy = (density * field).sum((1, 2)) - torch.stack([value for value, _ in alone])
        if ctx.needs_input_grad[0]:
            views = zip(field, taps, alone, strict=True)
            force = [_gradient(one, view) - slope for one, view, (_, slope) in views]
            ctx.save_for_backward(2 * CELLS_PER_SIGMA * torch.stack(force))
        return energy

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_energy: Tensor
    ) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        (gradient,) = ctx.saved_tensors
        return grad_energy[:, None, None] * gradient, None


def _make_taps(points: Tensor, weights: Tensor) -> list[_Taps]:
    """Lay a window of the lattice over each view; all windows have one size.

    Windows start at whole cells, so that where they start changes nothing.
    """
    lattice = points.transpose(1, 2).contiguous() * CELLS_PER_SIGMA  # [V, 2, N]: x, y in cells
    cell = lattice.floor()
    lowest = cell.amin(-1, keepdim=True)
    place = cell - lowest
    span_x, span_y = place.amax((0, 2)).tolist()
    size = _grid_length(span_y), _grid_length(span_x)
    first = place[:, 1].long() * size[1] + place[:, 0].long()
    splines = [_spline(fraction) for fraction in lattice - cell]
    return [
        _Taps(f, *spline, w, size) for f, spline, w in zip(first, splines, weights, strict=True)
    ]


def _grid_length(span: float) -> int:
    """Cells for taps that start ``span`` cells apart at most, with room, and quick to transform."""
    margin = math.ceil(MARGIN_SIGMAS * CELLS_PER_SIGMA) + _TAPS
    length = next_fast_len(int(span) + margin, real=True)
    assert length is not None
    return length


def _spline(fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Cubic B-spline weights of the four taps and their derivatives, ``[4, *fraction.shape]``."""
    f, g = fraction, 1 - fraction
    f2, g2 = f * f, g * g
    first, second, last = g2 * g / 6, (0.5 * f - 1) * f2 + 2 / 3, f2 * f / 6
    values = torch.stack([first, second, 1 - first - second - last, last])
    first, second, last = -0.5 * g2, (1.5 * f - 2) * f, 0.5 * f2
    return values, torch.stack([first, second, -first - second - last, last])


def _splat(taps: _Taps) -> Tensor:
    """The points' density on the grid, ``[*size]``."""
    shares = (taps.values[:, 1] * taps.weights)[:, None] * taps.values[None, :, 0]  # [4, 4, N]
    density = torch.zeros(math.prod(taps.size), dtype=shares.dtype, device=shares.device)
    return density.scatter_add_(0, taps.places().flatten(), shares.flatten()).view(taps.size)


def _gradient(field: Tensor, taps: _Taps) -> Tensor:
    """Derivative ``[N, 2]`` of the field at the points, times their weights, per cell."""
    places = taps.places()
    nearby = field.reshape(-1).index_select(0, places.flatten()).view(places.shape)
    over_y = (nearby * taps.values[:, None, 1]).sum(0)  # [4, N], taps along x remain
    over_x = (nearby * taps.values[None, :, 0]).sum(1)
    x, y = (over_y * taps.slopes[:, 0]).sum(0), (over_x * taps.slopes[:, 1]).sum(0)
    return torch.stack([x * taps.weights, y * taps.weights], dim=-1)


def _self_energy(taps: _Taps) -> tuple[Tensor, Tensor]:
    """What the grid gives for all points' pairs with themselves, and half its slope ``[N, 2]``."""
    nearest = _nearest_kernel(taps.values.dtype, taps.values.device)
    smoothed = (nearest @ taps.values.flatten(1)).view(taps.values.shape)
    x, y = (taps.values * smoothed).sum(0)
    slope_x, slope_y = (taps.slopes * smoothed).sum(0)
    squares = taps.weights**2
    return squares @ (x * y), torch.stack([squares * slope_x * y, squares * slope_y * x], dim=-1)


def _convolve(density: Tensor) -> Tensor:
    rows, columns = density.shape[1:]
    along_y = _spectrum(rows, density.dtype, density.device)
    along_x = _spectrum(columns, density.dtype, density.device)[: columns // 2 + 1]
    transformed = torch.fft.rfft2(density) * (along_y[:, None] * along_x)
    return torch.fft.irfft2(transformed, s=(rows, columns))


@lru_cache(maxsize=64)
def _spectrum(cells: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Spectrum ``[cells]`` of the Gaussian along one axis, with the splines divided out."""
    return torch.as_tensor(_influence(cells), dtype=dtype, device=device)


@lru_cache(maxsize=8)
def _nearest_kernel(dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[4, 4]`` values of the grid's kernel between the taps of one point."""
    kernel = np.fft.ifft(_influence(256)).real
    taps = np.arange(_TAPS)
    return torch.as_tensor(kernel[np.abs(taps[:, None] - taps)], dtype=dtype, device=device)


def _influence(cells: int) -> np.ndarray:
    """The optimal influence function of Hockney and Eastwood, eq. 8-22, for an energy.

    With B the spline's spectrum and K the Gaussian's, summed over the frequencies k + 2 pi m that
    the grid cannot tell apart: sum B^2 K / (sum B^2)^2.
    """
    aliases = 2 * np.pi * (np.fft.fftfreq(cells)[:, None] + np.arange(-3, 4))
    spline = np.sinc(aliases / (2 * np.pi)) ** (2 * _TAPS)
    gaussian = math.sqrt(2 * np.pi) * CELLS_PER_SIGMA
    gaussian = gaussian * np.exp(-0.5 * (aliases * CELLS_PER_SIGMA) ** 2)
    return (spline * gaussian).sum(1) / spline.sum(1) ** 2
