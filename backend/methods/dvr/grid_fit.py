"""DVR for one object without a GPU: occupancy on a grid, colours solved for, Gauss-Newton steps.

The published method lets a network hold occupancy ``f`` and colour ``t`` and walks down the
gradient of the photometric loss sum |I(u) - t(p(u))| (section 3.3), with the derivative of the
surface point from implicit differentiation, dp/df = -w / (grad f . w) (eq. 9). On a laptop that
takes hours. Here every part has a form that is solved instead of trained:

* occupancy is the fair hull's field, from the state its solver stopped in;
* the freespace and occupancy losses are its bounds, which hold exactly: ``f`` never leaves the hull
  and never lets go of a silhouette;
* the normal loss is its bending energy;
* the colour at a surface point is what minimises the photometric loss there: the mean of the
  photographs that see the point, each trusted less the more it disagrees (highlights, hidden
  surfaces; the weights are those of S. Geman and D. McClure, 1987). That is variable projection
  (G. Golub, V. Pereyra, 1973) and leaves the loss a function of the surface alone;
* a surface point moves along its normal, so w = -grad f / |grad f| and df = -|grad f| dx. Both
  derivatives of the loss with respect to dx come from three looks into each photograph, and give
  every point a step and a certainty. Where little changes with dx the certainty is small, and the
  bending energy decides; where nothing does for some cells around, the surface is held where it is:
  colour is trusted where views agree and texture exists;
* a hollow that no silhouette shows begins as a lid many cells above the truth, where such steps end
  in the nearest accident; many views open it first (:mod:`.hollows`).

Some of the surface is held back: its colours steer nothing and only judge. The rounds they liked
best end in the result. A fit that does not carry over to them, or hardly, is given up for the fair
hull; there they are asked only where the two surfaces differ, as the rest would drown it in chance.
Blur where shades meet moves a surface by a tenth of a cell and pleases the points that are held
back as well, so that a slight motion has to please them all over the surface, or counts for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor

from ...geometry.fair_hull import Fairing, Target, folded_target
from ...geometry.silhouettes import folded, sample_grid
from ...views import Views
from .hollows import FAR_DEPTHS, FAR_GAIN, FAR_STRIDE, MANY_VIEWS, judged, sweep
from .surface import (
    Photographs,
    Surface,
    common_cells,
    disagreements_at,
    find_surface,
    hull_faith,
    ignorance,
    look,
    mean_error,
    minus_mean,
    residual_of,
    spread,
)

NOISE = 0.02
"""Difference of colours, of 1, that two photographs of one point have anyway."""

MOST_CERTAIN = 50.0
"""A point's certainty ends here, in units of ``NOISE`` per cell."""

STEPS = 8
"""ADMM steps between two looks at the photographs."""

FAR_SWEEPS, FAR_REST = 24, 8
"""Looks on half the resolution that sweep for hollows, and those after them that do not."""

HOLD = 1e-2
"""Weight of the fair hull beside the bending energy where the photographs tell nothing.

The fair hull is not solved to the end, for in the end flat sides of even colour sag between their
edges, by a tenth or two of a cell.
"""

GIVES_WAY = 0.2
"""Cells from the fair hull at which a quarter of that weight is left (Geman and McClure's again):
what goes farther does not sag, but follows neighbours that photographs have moved."""

FAINT_CERTAINTY = 0.002
"""Of a point's neighbourhood: so much is as good as nothing."""

LEAST_GAIN = 0.05
"""Share of the held-back points' error that must go where the surface has moved, or the fair hull
stays as it is."""

BLUR = 0.08
"""Cells of mean motion that no gain can prove. Photographs pull at the true surface of flat-shaded
development meshes by so much: where shades meet, a view mixes in the more of its neighbour the more
it sees a side at a slant."""

SLIGHT = 0.15
"""Cells of mean motion, below which a gain must also exceed chance."""

CHANCE = 2.0
"""Standard errors of a gain that may be chance."""

BLOCKS = 16
"""Along the cube; points in one block, or in its mirror images, err together."""

JUDGED_ROUNDS = 5
"""So many rounds are judged by the mean of their errors; the best single one may be mere chance."""


@dataclass(frozen=True)
class Schedule:
    """How long to look and how much to believe.

    Attributes:
        rounds: Looks at the photographs; from a quarter of the resolution to all of it.
        trust: Weight of the colours against the bending energy.
    """

    rounds: int
    trust: float


def fit(
    fairing: Fairing,
    views: Views,
    schedule: Schedule,
    device: torch.device,
    progress: Callable[[float, np.ndarray], None],
    hollows: np.ndarray | None = None,
) -> np.ndarray:
    """Let photographs shape the fair hull.

    Args:
        fairing: The solved fair hull; it goes on from there.
        views: In the unit cube.
        schedule: Length and trust.
        device: Where colours are looked up; the bending energy is solved on the CPU.
        progress: Told the share of the work done and the current field; may raise to stop.
        hollows: ``[R, R, R]`` bool, where the exact hull is known to be far.

    Returns:
        ``[R, R, R]`` in cells, the field up to which the held-back points liked the rounds best,
        or the fair hull's own if they hardly liked the fit better.
    """
    scales = [Photographs.shrunk(views, factor, device) for factor in (4, 2, 1)]
    judge = scales[1]
    # As many as there are looks at the smallest photographs.
    sweeps = -(-schedule.rounds // len(scales)) if len(views.cameras) >= MANY_VIEWS else 0
    settled = schedule.rounds // 2 if sweeps else 0
    judged_rounds = min(JUDGED_ROUNDS, schedule.rounds)
    start = fairing.field
    surface = find_surface(start, judge.cameras, views.mirrors)
    at_start = best = Evidence.of(start, surface, judge)
    errors, least = [at_start.error()], np.inf
    pull = Pull(schedule.trust, views.mirrors, start)
    for turn in range(schedule.rounds):
        photographs = scales[turn * len(scales) // schedule.rounds]
        swept = None
        if turn < sweeps:
            swept = sweep(surface, photographs, fairing.resolution, views.mirrors)
        pull.advance(fairing, surface, photographs, swept, hollows)
        done = turn + 1
        if done == sweeps:
            _, unproven = judged(start, fairing.field, scales[0], views.mirrors)
            fairing.restore(start, unproven)
        field = fairing.field
        surface = find_surface(field, judge.cameras, views.mirrors)
        evidence = Evidence.of(field, surface, judge)
        errors.append(evidence.error())
        recent = float(np.mean(errors[-judged_rounds:]))
        if done >= max(judged_rounds, settled) and recent < least:
            best, least = evidence, recent
        progress(done / schedule.rounds, field)
    return best.field if is_clearly_better(best, at_start, views.mirrors) else start


def open_hollows(
    fairing: Fairing,
    views: Views,
    trust: float,
    device: torch.device,
    progress: Callable[[float], None],
) -> np.ndarray:
    """Find hollows that no silhouette shows, on a coarse grid.

    Args:
        fairing: The solved fair hull on that grid; it goes on from there.
        views: In the unit cube, many.
        trust: Weight of the colours against the bending energy.
        device: Where colours are looked up.
        progress: Told the share of the work done; may raise to stop.

    Returns:
        ``[R, R, R]`` in cells, how much lower the field is in hollows that are proven; 0 elsewhere.
    """
    photographs = Photographs.shrunk(views, 4, device)
    resolution, mirrors, start = fairing.resolution, views.mirrors, fairing.field
    pull = Pull(trust, mirrors)
    for turn in range(FAR_SWEEPS + FAR_REST):
        field = fairing.field
        surface = find_surface(field, photographs.cameras, mirrors)
        swept = None
        if turn < FAR_SWEEPS:
            swept = sweep(surface, photographs, resolution, mirrors, FAR_DEPTHS, FAR_STRIDE)
        hollows = maximum_filter(start - field > 1, 5)
        pull.advance(fairing, surface, photographs, swept, hollows)
        progress((turn + 1) / (FAR_SWEEPS + FAR_REST))
    after = fairing.field
    proven, _ = judged(start, after, photographs, mirrors, FAR_GAIN)
    return np.where(proven, np.maximum(start - after, 0), 0)


@dataclass(frozen=True)
class Pull:
    """How photographs pull at the surface.

    Attributes:
        trust: Their weight.
        mirrors: Planes of symmetry.
        held: ``[R, R, R]`` in cells, what the field stays at where the photographs tell nothing.
    """

    trust: float
    mirrors: Sequence[str]
    held: np.ndarray | None = None

    def advance(
        self,
        fairing: Fairing,
        surface: Surface,
        photographs: Photographs,
        swept: tuple[Tensor, Tensor] | None,
        hollows: np.ndarray | None,
    ) -> None:
        """Take some steps.

        Args:
            fairing: Goes on.
            surface: Of its field.
            photographs: That pull.
            swept: Depth and certainty of each point where a sweep found more than the nearest
                cells tell.
            hollows: ``[R, R, R]`` bool, where the exact hull does not pull.
        """
        resolution, field = fairing.resolution, fairing.field
        motion, certainty, error = surface_motion(surface, photographs, resolution)
        if swept:
            depth, belief = swept
            motion = torch.where(belief > 0, depth, motion)
            certainty = torch.maximum(certainty, belief)
        weight = self.trust * certainty * ~surface.judging
        target = spread(surface, motion, weight, field)
        if self.held is not None:
            unknown = ignorance(surface, certainty, FAINT_CERTAINTY, resolution)
            target = target.joined(hold(self.held, field, unknown))
        faith = folded(hull_faith(surface, error, resolution), self.mirrors, np.minimum)
        if hollows is not None:
            faith = np.where(hollows, np.float32(0), faith)
        fairing.advance(STEPS, folded_target(target, self.mirrors), faith)


def hold(held: np.ndarray, field: np.ndarray, unknown: np.ndarray) -> Target:
    """The pull back to ``held`` where nothing is known, which ends where ``field`` has left it.

    Args:
        held: ``[R, R, R]`` in cells, what to stay at.
        field: ``[R, R, R]`` in cells, the current one.
        unknown: ``[R, R, R]`` in [0, 1] of :func:`ignorance`.
    """
    away = (field - held) / GIVES_WAY
    return Target(held, HOLD * unknown / (1 + away**2) ** 2)


@dataclass(frozen=True)
class Evidence:
    """How well the photographs agree in the held-back points of a surface.

    Attributes:
        field: ``[R, R, R]`` in cells, whose surface it is.
        points: ``[P, 3]`` in the unit cube.
        errors: ``[P]`` sums over the views of weighted robust differences from the best colour.
        seen: ``[P]`` sums of the weights.
    """

    field: np.ndarray
    points: Tensor
    errors: Tensor
    seen: Tensor

    @classmethod
    def of(cls, field: np.ndarray, surface: Surface, photographs: Photographs) -> Evidence:
        """Ask the photographs."""
        errors, seen = disagreements_at(surface, photographs, 0.0, surface.judging)
        some = surface.judging
        return cls(field, surface.points[some], errors[some], seen[some])

    def error(self) -> float:
        """Mean over the points."""
        return float(self.errors.sum() / self.seen.sum().clamp(min=1e-6))

    def distance(self, other: Evidence) -> Tensor:
        """Of each point from the other surface, ``[P]`` in cells."""
        at = sample_grid(torch.as_tensor(other.field), self.points.cpu())
        return at.abs().to(self.points)

    def sums(self, other: Evidence, mirrors: Sequence[str]) -> np.ndarray:
        """Errors and weights ``[2, B]``, summed over blocks of the cube and their mirror images.

        Each point counts by its distance from the other surface, up to a cell: what both share says
        nothing about which is right.
        """
        counts = self.distance(other).clamp(max=1.0)
        blocks = common_cells(((self.points + 0.5) * BLOCKS).long(), BLOCKS, mirrors)
        flat = (blocks[:, 0] * BLOCKS + blocks[:, 1]) * BLOCKS + blocks[:, 2]
        values = (counts * self.errors, counts * self.seen)
        at = flat.clamp(0, BLOCKS**3 - 1).cpu().numpy()
        return np.stack([np.bincount(at, v.cpu().numpy(), minlength=BLOCKS**3) for v in values])


def is_clearly_better(after: Evidence, before: Evidence, mirrors: Sequence[str]) -> bool:
    """Whether the held-back points clearly like one surface better than another.

    The standard error of the gain comes from leaving out one block at a time (the jackknife of
    J. Tukey, 1958; of blocks, as neighbours err together: H. Kuensch, 1989).

    Args:
        after: Of the surface that must prove itself.
        before: Of the one it came from.
        mirrors: Planes of symmetry.
    """
    parts = np.stack([after.sums(before, mirrors), before.sums(after, mirrors)])  # [2, 2, B]
    parts = parts[..., parts[:, 1].sum(axis=0) > 0]
    count = parts.shape[-1]
    total = parts.sum(axis=-1)
    if count < 2 or not total[:, 1].all():
        return False
    gain, gains = (
        np.log(x[1, 0] / x[1, 1]) - np.log(x[0, 0] / x[0, 1])
        for x in (total.clip(1e-12), (total[..., None] - parts).clip(1e-12))
    )
    deviation = np.sqrt((count - 1) * np.var(gains))
    moved = float(after.distance(before).mean())
    is_chance = moved < SLIGHT and gain < CHANCE * deviation
    return bool(moved >= BLUR and gain > -np.log(1 - LEAST_GAIN) and not is_chance)


def surface_motion(
    surface: Surface, photographs: Photographs, resolution: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One Gauss-Newton step of the photometric loss for every point.

    Returns:
        ``[P]`` motion inward in cells, at most one; ``[P]`` certainty, the loss's second
        derivative in units of ``NOISE`` per cell, 0 where fewer than two views see the point;
        ``[P]`` mean squared difference of the photographs from the best colour.
    """
    half = 0.5 / resolution
    colors, seen = look(surface, photographs, [half, 0.0, -half])
    residual, weights = residual_of(surface, colors[1], seen)
    change = minus_mean(colors[2] - colors[0], weights)  # per cell inward
    slope = (weights[..., None] * change * residual).sum(dim=(0, 2))
    curvature = (weights[..., None] * change.square()).sum(dim=(0, 2))
    enough = (seen > 0).sum(dim=0) >= 2
    both = surface.smoothed(torch.stack([slope * enough, curvature * enough], dim=1), 3)
    motion = (-both[:, 0] / (both[:, 1] + 1e-4)).clamp(-1, 1)
    certainty = (both[:, 1] / NOISE**2).clamp(max=MOST_CERTAIN)
    return motion, certainty, mean_error(residual, seen)
