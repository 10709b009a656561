"""Where a ray enters an implicit surface, and the gradient of that depth: DVR's analytic step.

M. Niemeyer, L. Mescheder, M. Oechsle and A. Geiger, "Differentiable Volumetric Rendering: Learning
Implicit 3D Representations without 3D Supervision", CVPR 2020, sections 3.2 and 3.3.

A ray is ``origin + depth * direction``. Directions need no unit length: with those of
``backend.geometry.cameras`` a depth is the camera's z. A ``logit`` is a field that is negative in
free space and positive in the object (the paper's occupancy against its threshold of one half).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Logit = Callable[[Tensor], Tensor]
"""From points ``[N, 3]`` to values ``[N]``."""

POINTS_PER_CALL = 1 << 16
"""Most points for which a field is asked at once, so that memory does not grow with the rays."""

SATURATION = 20.0
"""Logits are clipped to this magnitude, beyond which an occupancy is 0 or 1 in float32 anyway."""

GRAZING = 1e-2
"""Smallest cosine between ray and surface normal by which the depth's gradient is divided."""


@dataclass(frozen=True)
class Crossing:
    """Where rays first pass from free space into the object.

    Attributes:
        depth: ``[N]``, always finite: the crossing where ``hit``; elsewhere the depth up to which
            the ray is free, that is its near end where it starts inside and else its far end.
        hit: ``[N]`` bool.
        starts_inside: ``[N]`` bool, the near end is already occupied; such a ray hits nothing.
    """

    depth: Tensor
    hit: Tensor
    starts_inside: Tensor


@dataclass(frozen=True)
class _Bracket:
    """Rays, the depths on both sides of their crossings and the logits there, each ``[A]``."""

    rays: Tensor
    low: Tensor
    high: Tensor
    low_value: Tensor
    high_value: Tensor

    def columns(self) -> tuple[Tensor, ...]:
        return self.rays, self.low, self.high, self.low_value, self.high_value


def ray_box(origins: Tensor, directions: Tensor, half_size: float) -> tuple[Tensor, Tensor]:
    """Depths at which lines enter and leave the cube ``[-half_size, half_size]^3``.

    Depths are negative behind the origin: for perspective rays, clamp ``near`` to zero or above.

    Args:
        origins: ``[N, 3]``.
        directions: ``[N, 3]``, any length but zero; components may be zero.
        half_size: Half of the cube's edge.

    Returns:
        ``near`` and ``far``, ``[N]`` each and finite; both 0 where the line misses the cube, so
        that ``far > near`` tells whether it passes through.
    """
    parallel = directions == 0
    divisor = torch.where(parallel, 1.0, directions)
    ends = torch.stack([(-half_size - origins) / divisor, (half_size - origins) / divisor])
    between = parallel & (origins.abs() <= half_size)
    enters = torch.where(between, -torch.inf, ends.amin(0)).amax(-1)
    leaves = torch.where(between, torch.inf, ends.amax(0)).amin(-1)
    beside = (parallel & ~between).any(-1)
    meets = (leaves > enters) & ~beside
    return torch.where(meets, enters, 0.0), torch.where(meets, leaves, 0.0)


@torch.no_grad()
def first_crossing(
    logit: Logit,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    secant_steps: int = 8,
) -> Crossing:
    """Find the first change from free to occupied along each ray (paper, equations 9 and 10).

    The field is sampled at ``samples`` equally spaced depths, both ends included, and the first
    change from negative to not negative is refined. Sampling goes from front to back and leaves a
    ray once it is decided, which changes no result. Nothing is kept for a backward pass.

    Args:
        logit: The field; called with at most ``POINTS_PER_CALL`` points.
        origins: ``[N, 3]``.
        directions: ``[N, 3]``.
        near: ``[N]`` depth of the first sample.
        far: ``[N]`` depth of the last one; where it is not beyond ``near``, nothing is looked for.
        samples: At least 2.
        secant_steps: Evaluations that refine each crossing.

    Raises:
        ValueError: Fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"a ray needs at least 2 samples, got {samples}")
    block = min(samples, max(8, samples // 8))
    rays = max(1, POINTS_PER_CALL // block)
    parts = []
    for start in range(0, len(origins), rays):
        chunk = slice(start, start + rays)
        march = _March(logit, origins[chunk], directions[chunk], near[chunk], far[chunk])
        parts.append(march.crossing(samples, block, secant_steps))
    if not parts:
        nothing = torch.zeros_like(near, dtype=torch.bool)
        return Crossing(near.clone(), nothing, nothing.clone())
    return Crossing(
        torch.cat([part.depth for part in parts]),
        torch.cat([part.hit for part in parts]),
        torch.cat([part.starts_inside for part in parts]),
    )


@dataclass(frozen=True)
class _March:
    logit: Logit
    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor

    def values(self, rays: Tensor, depths: Tensor) -> Tensor:
        """Clipped logits ``[A, B]`` of the rays ``[A]`` at ``depths`` ``[A, B]``."""
        points = self.origins[rays, None] + depths[..., None] * self.directions[rays, None]
        values = self.logit(points.reshape(-1, 3)).reshape(depths.shape)
        return values.clamp(-SATURATION, SATURATION)

    def crossing(self, samples: int, block: int, secant_steps: int) -> Crossing:
        depth, hit = self.far.clone(), torch.zeros_like(self.near, dtype=torch.bool)
        active = (self.far > self.near).nonzero()[:, 0]
        values = self.values(active, self.near[active, None])[:, 0]
        starts_inside = hit.clone()
        starts_inside[active] = values >= 0
        active, values = active[values < 0], values[values < 0]
        fractions = torch.linspace(0, 1, samples, dtype=depth.dtype, device=depth.device)
        brackets = []
        for start in range(1, samples, block):
            if len(active) == 0:
                break
            bracket, active, values = self._block(
                active, values, fractions[start - 1 : start + block]
            )
            brackets.append(bracket)
        if brackets:
            columns = zip(*(bracket.columns() for bracket in brackets), strict=True)
            bracket = _Bracket(*(torch.cat(column) for column in columns))
            depth[bracket.rays] = self._refined(bracket, secant_steps)
            hit[bracket.rays] = True
        return Crossing(torch.where(starts_inside, self.near, depth), hit, starts_inside)

    def _block(
        self, rays: Tensor, first: Tensor, fractions: Tensor
    ) -> tuple[_Bracket, Tensor, Tensor]:
        """Sample a stretch of rays ``[A]`` whose values at ``fractions[0]`` are ``first`` ``[A]``.

        Returns:
            The brackets of the rays that enter the object here, the other rays, and their values
            at the end.
        """
        near, length = self.near[rays, None], (self.far - self.near)[rays, None]
        depths = near + length * fractions  # [A, B + 1]
        values = torch.cat([first[:, None], self.values(rays, depths[:, 1:])], dim=1)
        enters = (values[:, :-1] < 0) & (values[:, 1:] >= 0)
        found = enters.any(dim=1)
        after = enters[found].int().argmax(dim=1, keepdim=True) + 1
        ends = (
            column[found].gather(1, index)[:, 0]
            for column in (depths, values)
            for index in (after - 1, after)
        )
        return _Bracket(rays[found], *ends), rays[~found], values[~found, -1]

    def _refined(self, bracket: _Bracket, steps: int) -> Tensor:
        """Depths ``[A]`` of the crossings by the secant method.

        The crossing stays bracketed, as in the released code; there, one end can stay for ever
        while the other creeps, where the field is steeper on one side. Here an end that stays twice
        has its value lowered (N. Anderson and Å. Björck, "A new high order method of regula falsi
        type for computing a root of an equation", BIT 13, 1973): the same crossing, found to
        rounding in a few steps.
        """
        previous = None
        for _ in range(steps):
            middle = _secant(bracket)
            value = self.values(bracket.rays, middle[:, None])[:, 0]
            inside = value >= 0
            repeated = torch.zeros_like(inside) if previous is None else inside == previous
            factor = 1 - value / torch.where(inside, bracket.high_value, bracket.low_value)
            factor = torch.where(repeated, torch.where(factor > 0, factor, 0.5), 1.0)
            bracket = _Bracket(
                bracket.rays,
                torch.where(inside, bracket.low, middle),
                torch.where(inside, middle, bracket.high),
                torch.where(inside, bracket.low_value * factor, value),
                torch.where(inside, value, bracket.high_value * factor),
            )
            previous = inside
        return _secant(bracket)


def _secant(bracket: _Bracket) -> Tensor:
    """Where a straight line through the bracket's ends is zero; its middle where that is flat."""
    rise = bracket.high_value - bracket.low_value
    steep = rise > torch.finfo(rise.dtype).tiny
    fraction = torch.where(steep, -bracket.low_value / torch.where(steep, rise, 1.0), 0.5)
    return bracket.low + fraction * (bracket.high - bracket.low)


def implicit_depth(
    logit: Logit, origins: Tensor, directions: Tensor, crossing_depth: Tensor
) -> Tensor:
    r"""Make the depth of crossings differentiable (paper, equations 7, 8 and 11).

    Differentiating f(r0 + d w) = 0 gives ∂d/∂θ = −(∇f·w)⁻¹ ∂f/∂θ at the crossing. The same
    gradient, with no march to remember, comes from

        d = d̂ − f(r0 + d̂ w) / stopgrad(∇f·w),

    whose value is a Newton step from d̂ and so leaves a converged depth as it is. It holds for the
    field's parameters, and for origins and directions as well. First derivatives only.

    A ray enters the object where f rises, so ∇f·w is positive. The released code adds 1e-3 when it
    is smaller than that in magnitude, which turns small negative values into positive ones and
    their gradient around. Here it is at least ``GRAZING`` |∇f| |w|, a bound that does not depend on
    the field's or the direction's scale, and rays that leave the object (∇f·w not positive, or no
    gradient at all) are dropped: their depth is returned as it is, without a gradient.

    Args:
        logit: The field, differentiable by torch in its points.
        origins: ``[N, 3]``.
        directions: ``[N, 3]``.
        crossing_depth: ``[N]`` depths d̂ of :func:`first_crossing`; only where ``hit``.

    Returns:
        Depths ``[N]``.
    """
    points = origins + crossing_depth.detach()[:, None] * directions
    if not points.requires_grad:
        points.requires_grad_()
    values = logit(points)
    (gradient,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
    with torch.no_grad():
        rise = (gradient * directions).sum(-1)
        least = GRAZING * gradient.norm(dim=-1) * directions.norm(dim=-1)
        enters = rise > 0
        rise = torch.where(enters, torch.maximum(rise, least), 1.0)
    return crossing_depth.detach() - torch.where(enters, values / rise, 0.0)
