"""DVR's losses, one value for each ray or patch; :func:`reduced` adds them up.

M. Niemeyer et al., "Differentiable Volumetric Rendering", CVPR 2020, section 3.4 and supplement.
Which rays take part in which loss is the caller's business: photometric terms where the mask is
object and a surface is found, free space where the mask is background, occupancy where the mask
is object and no surface is found.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

NORMAL_STEP = 1e-3
"""Step of the central differences that give normals, in units of the cube."""


def reduced(values: Tensor, count: int) -> Tensor:
    """Sum of ``values`` over ``count``; 0 when there are none.

    The paper adds over all rays of a loss and divides by the number of images in the batch: that
    is ``count`` = images. With ``count`` = rays drawn in the step, all terms change by one common
    factor, so that their balance stays the paper's while the total no longer grows with the number
    of rays. Dividing each term by its own number of rays would change the balance: a handful of
    false hits would weigh as much as the whole picture.

    Args:
        values: ``[N]`` of any of the losses below.
        count: Images, or rays.
    """
    return values.sum() / count


def photometric(rendered: Tensor, observed: Tensor) -> Tensor:
    """Colour difference, L1 over the channels (equation 12 with the colours themselves).

    Args:
        rendered: ``[N, 3]``.
        observed: ``[N, 3]``.

    Returns:
        ``[N]``.
    """
    return (rendered - observed).abs().sum(-1)


def image_gradient(rendered: Tensor, observed: Tensor, valid: Tensor) -> Tensor:
    """Difference of the image gradients in patches of 2×2 pixels (equation 12, DTU set-up).

    Differences run one pixel along x (two) and along y (two); each counts with the Euclidean length
    of its error over the channels, if both of its pixels are valid.

    Args:
        rendered: ``[P, 2, 2, 3]``, indexed [patch, y, x, channel].
        observed: ``[P, 2, 2, 3]``.
        valid: ``[P, 2, 2]`` bool; where False the colours may be anything finite.

    Returns:
        ``[P]``.
    """
    error = rendered - observed
    along_x = _length(error[:, :, 1] - error[:, :, 0]) * (valid[:, :, 1] & valid[:, :, 0])
    along_y = _length(error[:, 1] - error[:, 0]) * (valid[:, 1] & valid[:, 0])
    return along_x.sum(-1) + along_y.sum(-1)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1)


def freespace(logits: Tensor) -> Tensor:
    """Binary cross entropy of logits ``[N]`` with 0: points must be free (equation 14)."""
    return functional.softplus(logits)


def occupancy(logits: Tensor) -> Tensor:
    """Binary cross entropy of logits ``[N]`` with 1: points must be occupied (equation 15)."""
    return functional.softplus(-logits)


def outward_normals(
    logit: Callable[[Tensor], Tensor], points: Tensor, step: float = NORMAL_STEP
) -> Tensor:
    """Unit normals ``[N, 3]`` at ``points`` ``[N, 3]``: central differences of the logit.

    Differentiable in the field's parameters without second derivatives. Zero where the field is
    constant over the step.
    """
    offsets = step * torch.eye(3, dtype=points.dtype, device=points.device)
    samples = points[:, None, None] + torch.stack([-offsets, offsets])  # [N, 2, 3, 3]
    values = logit(samples.reshape(-1, 3)).reshape(-1, 2, 3)
    return functional.normalize(values[:, 0] - values[:, 1], dim=-1)


def normal_smoothness(
    logit: Callable[[Tensor], Tensor],
    points: Tensor,
    offsets: Tensor,
    step: float = NORMAL_STEP,
) -> Tensor:
    """Length of the difference between the normals at surface points and beside them (supplement).

    Args:
        logit: The occupancy logit.
        points: ``[N, 3]`` on the surface.
        offsets: ``[N, 3]`` small random vectors; the paper draws them from a cube around 0.
        step: See :func:`outward_normals`.

    Returns:
        ``[N]``, at most 2.
    """
    both = outward_normals(logit, torch.cat([points, points + offsets]), step)
    return _length(both[: len(points)] - both[len(points) :])
