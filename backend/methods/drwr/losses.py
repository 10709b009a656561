"""The silhouette losses of DRWR and Effective Loss: pull projections in, push them apart.

Z. Han, C. Chen, Y.-S. Liu, M. Zwicker, "DRWR: A Differentiable Renderer without Rendering for
Unsupervised 3D Structure Learning from Silhouette Images", ICML 2020. With u_j the projection of
point j, averaged over views and points (eq. 6):

    L = alpha * pull(u_j) + beta * push_j

N. Zubic and P. Lio, "An Effective Loss Function for Generating 3D Models from Single 2D Image
without Rendering", 2021, is the same loss in other letters: E_L's theta, mu and w are DRWR's sigma,
delta and omega; only alpha is new (1 in DRWR). So there is one implementation.

Three forms:

* ``paper``: pull = |1 - G(u_j)| (eq. 4), G being 1 inside and 1 - distance outside, rescaled to
  [0, 1] (eq. 3); push_j = omega_j sum_j' omega_j' exp(-|u_j - u_j'| / sigma + delta_j) (eq. 5),
  omega being the mask at the point and delta its mean over five scales; sigma = 1 image width,
  beta = 3.
* ``released``: the authors' program instead has squared distances, a mean over j', a constant 3.5
  added to delta, and a field that falls by 0.137 at the contour; its Gaussian is 1.6 to 3.2 pixels
  wide.
* ``recommended``: ours. Distance to the mask with no rescaling and no end; a Gaussian density
  normalised to 1 where the coverage is uniform; neither omega nor delta.

The first two are kept for comparison; they do not hold one object's points in its silhouettes.
Leaving the mask costs about 0.14 and staying costs beta times a density of 1 to 20; omega falls to
0 outside, so the gradient through it expels every point that comes to the contour; and with sigma =
1 the paper's kernel is nearly flat over the image and pushes everything apart at any distance.

Lengths are in image widths unless named otherwise; pixel centres lie at half-integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ...errors import InputError
from .repulsion import exact_energy, grid_energy, pair_sums

LossForm = Literal["recommended", "released", "paper"]

NEAREST_DEPTH = 0.1
"""Points of a perspective view nearer than this, in cubes, neither pull nor push in it."""

REACH = 1.0
"""Points farther than this off the frame, in image widths, are pulled but push nothing."""

RING_SCALES = 5
RELEASED_BIAS = 3.5


@dataclass(frozen=True)
class SilhouetteTargets:
    """What V silhouettes ask of projected points.

    Attributes:
        form: The loss that the pull belongs to.
        pull: ``[V, P, P]`` cost of a projection at each pixel, on a canvas with ``margin`` around.
        margin: Pixels between the canvas's border and the image's.
        mask: ``[V, S, S]``, 1 where the object is, else 0.
        known: ``[V, S, S]`` bool, or None when every pixel is known.
        area: ``[V]`` share of the image that is known to be object.
    """

    form: LossForm
    pull: Tensor
    margin: int
    mask: Tensor
    known: Tensor | None
    area: Tensor

    @property
    def size(self) -> int:
        """Pixels along the image."""
        return self.mask.shape[-1]


@dataclass(frozen=True)
class LossTerms:
    """Weights of pull and push, and the push's reach.

    Attributes:
        alpha: Weight of the pull.
        beta: Weight of the push.
        sigma: How far the push reaches, in image widths.
        omega: False takes the literal forms' weights omega for 1, as DRWR's ablation does (table
            4); the recommended form has none.
        delta: False takes their delta for 0.
    """

    alpha: float
    beta: float
    sigma: float
    omega: bool = True
    delta: bool = True


def silhouette_targets(
    masks: np.ndarray,
    known: np.ndarray,
    form: LossForm = "recommended",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    smooth: bool = True,
) -> SilhouetteTargets:
    """Prepare silhouettes for :func:`drwr_loss`.

    Args:
        masks: ``[V, S, S]`` coverage in [0, 1]; the object is where it is 0.5 or more.
        known: ``[V, S, S]`` bool; points on unknown pixels are neither pulled nor pushed.
        form: Which loss.
        device: Where the targets are wanted.
        dtype: Of the targets.
        smooth: False pulls by 1 wherever the object is not, the hard pixels of DRWR's ablation
            (table 4), which have a gradient at the contour alone.

    Raises:
        InputError: A mask is empty.
    """
    inside = (np.asarray(masks) >= 0.5) & known
    for view, mask in enumerate(inside):
        if not mask.any():
            raise InputError(
                f"the mask of view {view + 1} of {len(inside)} is empty: "
                "there is no silhouette to fit points to."
            )
    margin = math.ceil(masks.shape[-1] / 2) if form == "recommended" else 0
    field = _PULLS[form] if smooth else _hard_pull
    pull = [field(m, k, margin) for m, k in zip(inside, known, strict=True)]
    return SilhouetteTargets(
        form,
        torch.as_tensor(np.stack(pull), dtype=dtype, device=device),
        margin,
        torch.as_tensor(inside, dtype=dtype, device=device),
        None if known.all() else torch.as_tensor(known, device=device),
        torch.as_tensor(inside.mean(axis=(1, 2)), dtype=dtype, device=device),
    )


def default_terms(targets: SilhouetteTargets, points: int) -> LossTerms:
    """The weights of each form; ``points`` is how many are to cover the silhouettes.

    Our Gaussian is 0.75 pixels wide, or wider where points are too few to touch one another. Twice
    as wide, with 3 or more points for each pixel, it draws them into clumps in its own blind spot.
    """
    size = targets.size
    if targets.form == "paper":
        return LossTerms(alpha=1.0, beta=3.0, sigma=1.0)
    if targets.form == "released":
        return LossTerms(alpha=1.0, beta=3.0, sigma=math.sqrt(2.5 * size / 32) / size)
    spacing = math.sqrt(float(targets.area.mean()) / points)
    return LossTerms(alpha=20.0, beta=0.1, sigma=max(0.75 / size, 0.7 * spacing))


def drwr_loss(
    targets: SilhouetteTargets,
    terms: LossTerms,
    pixels: Tensor,
    visible: Tensor,
    exact: bool = False,
) -> Tensor:
    """The loss of projected points, averaged over views and points; see :func:`view_losses`.

    Returns:
        Scalar.
    """
    return view_losses(targets, terms, pixels, visible, exact).mean()


def view_losses(
    targets: SilhouetteTargets,
    terms: LossTerms,
    pixels: Tensor,
    visible: Tensor,
    exact: bool = False,
) -> Tensor:
    """The loss of each view's projected points, averaged over its points.

    Args:
        targets: From :func:`silhouette_targets`.
        terms: From :func:`default_terms`.
        pixels: ``[V, N, 2]`` projections in pixels.
        visible: ``[V, N]`` bool; points that are False take no part in that view.
        exact: Sum the recommended form's repulsion over all pairs rather than on a grid.

    Returns:
        ``[V]``.
    """
    weights = _weights(targets, pixels, visible)
    if not bool(visible.all()):
        # A point without weight must not stretch the repulsion's grid.
        pixels = torch.where(visible[..., None], pixels, pixels.new_tensor(targets.size / 2))
    pull = (weights * _pull(targets, pixels)).sum(1) / weights.sum(1).clamp(min=1)
    if terms.beta == 0:
        return terms.alpha * pull
    return terms.alpha * pull + terms.beta * _push(targets, terms, pixels, weights, exact)


def _weights(targets: SilhouetteTargets, pixels: Tensor, visible: Tensor) -> Tensor:
    """``[V, N]``: 1 for points that are visible on a known pixel, else 0."""
    weights = visible.to(pixels.dtype)
    if targets.known is None:
        return weights
    cell = pixels.detach().floor().clamp(0, targets.size - 1).long()
    cell = torch.where(visible[..., None], cell, 0)
    views = torch.arange(len(pixels), device=pixels.device)[:, None]
    return weights * targets.known[views, cell[..., 1], cell[..., 0]]


# Pull (eq. 3 and 4) -------------------------------------------------------------------------------


def _distance(inside: np.ndarray) -> np.ndarray:
    """Pixels from each pixel's centre to the nearest one inside."""
    distance = distance_transform_edt(~inside)
    assert isinstance(distance, np.ndarray)
    return distance


def _recommended_pull(inside: np.ndarray, known: np.ndarray, margin: int) -> np.ndarray:
    """Distance in image widths; unknown pixels, which may be object, are as good as inside."""
    free = np.pad(inside | ~known, margin)
    beyond = np.pad(~known, margin, mode="edge")
    return _distance(free | beyond) / inside.shape[-1]


def _paper_pull(inside: np.ndarray, known: np.ndarray, _margin: int) -> np.ndarray:
    """1 - G with the background rescaled to [0, 1], eq. 3."""
    background = ~inside & known
    distance = _distance(inside | ~known)
    if not background.any():
        return np.zeros(inside.shape)
    low, high = distance[background].min(), distance[background].max()
    rescaled = (distance - low) / (high - low if high > low else 1.0)
    return np.where(background, rescaled, 0.0)


def _released_pull(inside: np.ndarray, known: np.ndarray, _margin: int) -> np.ndarray:
    """1 - (220 - 255 d / (64 sqrt 2)) / 255 in the background, d in pixels of a 128-pixel image."""
    distance = _distance(inside | ~known) * 128 / inside.shape[-1]
    field = (220 - 255 / (64 * math.sqrt(2)) * distance) / 255
    return np.where(inside | ~known, 0.0, 1 - field)


def _hard_pull(inside: np.ndarray, known: np.ndarray, margin: int) -> np.ndarray:
    """1 in the background."""
    return np.pad(~inside & known, margin, constant_values=True).astype(np.float64)


_PULLS = {"recommended": _recommended_pull, "released": _released_pull, "paper": _paper_pull}


def _pull(targets: SilhouetteTargets, pixels: Tensor) -> Tensor:
    """Cost ``[V, N]`` of each projection."""
    cost = _bilinear(targets.pull, pixels + targets.margin)
    low, high = 0.5 - targets.margin, targets.size + targets.margin - 0.5
    if targets.form != "recommended" or not _reaches_beyond(pixels, low, high):
        return cost
    outside = (low - pixels).relu() + (pixels - high).relu()
    return cost + outside.sum(-1) / targets.size


def _reaches_beyond(pixels: Tensor, low: float, high: float) -> bool:
    """Whether any coordinate lies outside; usually none does, which saves the work for those."""
    lowest, highest = torch.aminmax(pixels.detach())
    return bool(lowest < low) or bool(highest > high)


def _bilinear(images: Tensor, pixels: Tensor) -> Tensor:
    """Sample ``images`` ``[V, P, P]`` at ``pixels`` ``[V, N, 2]``, as at the border beyond it."""
    return torch.nn.functional.grid_sample(
        images[:, None],
        (pixels * (2 / images.shape[-1]) - 1)[:, :, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[:, 0, :, 0]


# Push (eq. 5) -------------------------------------------------------------------------------------


def _push(
    targets: SilhouetteTargets, terms: LossTerms, pixels: Tensor, weights: Tensor, exact: bool
) -> Tensor:
    """Mean repulsion ``[V]`` of each view's points."""
    if targets.form == "recommended":
        return _density(targets, terms, pixels, weights, exact)
    views = [
        _literal_push(targets, terms, view, pixels[view], weights[view])
        for view in range(len(pixels))
    ]
    return torch.stack(views)


def _density(
    targets: SilhouetteTargets, terms: LossTerms, pixels: Tensor, weights: Tensor, exact: bool
) -> Tensor:
    """Mean over points of the others' Gaussian density; about 1 where coverage is uniform.

    rho_j = a / (2 pi s^2 (N - 1)) sum_{j' != j} exp(-|u_j - u_j'|^2 / (2 s^2)), a the mask's area.
    """
    count = weights.sum(1)
    pairs = (count * (count - 1)).clamp(min=1)
    low, high = -REACH * targets.size, (1 + REACH) * targets.size
    if _reaches_beyond(pixels, low, high):
        weights = weights * ((pixels > low) & (pixels < high)).all(-1)
        pixels = pixels.clamp(low, high)
    positions = pixels / (terms.sigma * targets.size)
    energy = (exact_energy if exact else grid_energy)(positions, weights)
    return targets.area / (2 * math.pi * terms.sigma**2) * energy / pairs


def _literal_push(
    targets: SilhouetteTargets, terms: LossTerms, view: int, pixels: Tensor, weights: Tensor
) -> Tensor:
    """Mean of l2(j) over one view's points, as published or as released; itself is a partner."""
    mask = targets.mask[view : view + 1]
    omega = weights * _bilinear(mask, pixels[None])[0] if terms.omega else weights
    delta = _ring_mean(mask[0], pixels) if terms.delta else torch.zeros_like(omega)
    count = weights.sum().clamp(min=1)
    widths = pixels / targets.size
    if targets.form == "paper":
        # sqrt has no gradient at 0, where every point meets itself.
        sums = pair_sums(widths, omega, lambda d2: torch.exp(-(d2 + 1e-12).sqrt() / terms.sigma))
    else:
        sums = pair_sums(widths, omega, lambda d2: torch.exp(-0.5 * d2 / terms.sigma**2))
        sums, delta = sums / count, delta + RELEASED_BIAS
    return (omega * torch.exp(delta) * sums).sum() / count


def _ring_mean(mask: Tensor, pixels: Tensor) -> Tensor:
    """delta: mean of the mask ``[S, S]`` over widening squares of four corners around each point.

    Square k has its corners k pixels farther out than the four pixels around the point; all are
    weighted as the innermost four.
    """
    centred = pixels - 0.5
    low = centred.detach().floor()
    right, down = (centred - low).unbind(-1)
    total = torch.zeros_like(right)
    for k in range(RING_SCALES):
        near = (low - k).clamp(0, mask.shape[-1] - 1).long()
        far = (low + k + 1).clamp(0, mask.shape[-1] - 1).long()
        top = (1 - right) * mask[near[:, 1], near[:, 0]] + right * mask[near[:, 1], far[:, 0]]
        bottom = (1 - right) * mask[far[:, 1], near[:, 0]] + right * mask[far[:, 1], far[:, 0]]
        total = total + (1 - down) * top + down * bottom
    return total / RING_SCALES
