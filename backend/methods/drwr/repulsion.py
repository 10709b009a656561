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
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CELLS_PER_SIGMA = 1.5
"""Grid cells along one standard deviation; gradients are then within 1e-2 degrees or so of exact."""

MARGIN_SIGMAS = 7.0
"""Empty border that keeps the FFT's periodic images apart: exp(-7^2 / 2) is below 1e-10."""

_TAPS = 4
_PAIRS_AT_ONCE = 1 << 22


def pair_sums(
    points: Tensor, weights: Tensor, kernel: Callable[[Tensor], Tensor], pairs_at_once: int = 0
) -> Tensor:
    """``sum_j' weights_j' kernel(|points_j - points_j'|^2)`` for every j, itself included.

    Works through blocks of rows and keeps none of them: the backward pass computes them again, as
    16,000 points would otherwise hold some gigabytes.

    Args:
        points: ``[N, 2]``.
        weights: ``[N]``.
        kernel: Maps squared distances ``[R, N]`` to values of the same shape.
        pairs_at_once: Pairs in a block; 0 chooses.

    Returns:
        ``[N]``.
    """

    def rows(block: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        squared = (block[:, None, 0] - points[None, :, 0]) ** 2
        squared = squared + (block[:, None, 1] - points[None, :, 1]) ** 2  # [R, N]
        return kernel(squared) @ weights

    count = max(1, (pairs_at_once or _PAIRS_AT_ONCE) // max(len(points), 1))
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


class _GridEnergy(torch.autograd.Function):
    """Value and gradient in one go: the energy is x^T G x, so its derivative reuses G x."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor) -> Tensor:
        lattice = points.movedim(-1, 0).contiguous() * CELLS_PER_SIGMA  # [2, V, N], x, y in cells
        cell = lattice.floor()
        base, size = _window(cell)
        values, slopes = _spline(lattice - cell)  # [4, 2, V, N]
        index = _tap_indices(base, size)  # [4, 4, V, N]
        density = _splat(index, values, weights, size)
        field = _convolve(density)
        self_value, self_slope = _self_energy(values, slopes)
        energy = (density * field).sum((1, 2)) - (weights**2 * self_value).sum(1)
        if ctx.needs_input_grad[0]:
            force = _gradient(field, index, values, slopes)
            force = force * weights - self_slope * weights**2
            ctx.save_for_backward((2 * CELLS_PER_SIGMA * force).movedim(0, -1))
        return energy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None
        (gradient,) = ctx.saved_tensors
        return grads[0][:, None, None] * gradient, None


def _window(cell: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """First tap of every point, ``[2, V, N]`` in its view's window, and the windows' size (y, x).

    Windows start at whole cells, so that where they start changes nothing.
    """
    lowest = cell.amin(-1, keepdim=True)
    span_x, span_y = (cell.amax(-1, keepdim=True) - lowest).amax((1, 2)).tolist()
    margin = math.ceil(MARGIN_SIGMAS * CELLS_PER_SIGMA) + _TAPS
    size = tuple(next_fast_len(int(span) + margin, real=True) for span in (span_y, span_x))
    return (cell - lowest).long(), (size[0], size[1])


def _spline(fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Cubic B-spline weights of the four taps and their derivatives, ``[4, *fraction.shape]``."""
    f, g = fraction, 1 - fraction
    f2, g2 = f * f, g * g
    first, last = g2 * g / 6, f2 * f / 6
    second = (0.5 * f - 1) * f2 + 2 / 3
    values = torch.stack([first, second, 1 - first - second - last, last])
    second_slope = (1.5 * f - 2) * f
    first_slope, last_slope = -0.5 * g2, 0.5 * f2
    third_slope = -first_slope - second_slope - last_slope
    return values, torch.stack([first_slope, second_slope, third_slope, last_slope])


def _tap_indices(base: Tensor, size: tuple[int, int]) -> Tensor:
    """``[4, 4, V, N]`` (y tap, x tap) places in the flattened ``[V, *size]`` grids."""
    views = torch.arange(base.shape[1], device=base.device)[:, None]
    first = (views * size[0] + base[1]) * size[1] + base[0]
    taps = torch.arange(_TAPS, device=base.device)
    return first + (taps[:, None] * size[1] + taps)[..., None, None]


def _splat(index: Tensor, values: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    views = index.shape[2]
    shares = (values[:, 1] * weights)[:, None] * values[None, :, 0]  # [4, 4, V, N]
    density = torch.zeros(views * size[0] * size[1], dtype=weights.dtype, device=weights.device)
    return density.scatter_add_(0, index.flatten(), shares.flatten()).view(views, *size)


def _convolve(density: Tensor) -> Tensor:
    rows, columns = density.shape[1:]
    along_y = _spectrum(rows, density.dtype, density.device)
    along_x = _spectrum(columns, density.dtype, density.device)[: columns // 2 + 1]
    transformed = torch.fft.rfft2(density) * (along_y[:, None] * along_x)
    return torch.fft.irfft2(transformed, s=(rows, columns))


def _gradient(field: Tensor, index: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
    """Derivative ``[2, V, N]`` of the field at the points, per cell."""
    taps = field.reshape(-1).index_select(0, index.flatten()).view(index.shape)
    over_y = (taps * values[:, None, 1]).sum(0)  # [4, V, N], taps along x remain
    over_x = (taps * values[None, :, 0]).sum(1)
    return torch.stack([(over_y * slopes[:, 0]).sum(0), (over_x * slopes[:, 1]).sum(0)])


def _self_energy(values: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """What the grid gives for a point's pair with itself, ``[V, N]``, and half its derivative."""
    nearest = _nearest_kernel(values.dtype, values.device)
    smoothed = (nearest @ values.flatten(1)).view(values.shape)
    axes = (values * smoothed).sum(0)  # [2, V, N]
    return axes[0] * axes[1], (slopes * smoothed).sum(0) * axes.flip(0)


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
