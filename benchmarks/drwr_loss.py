"""How much faster DRWR's recommended loss is on a grid than pair by pair, and how well both agree.

    python benchmarks/drwr_loss.py --points 16000

Without ``--points`` it measures the papers' three sizes: 2,000, 8,000 and 16,000 points. The points
fill a ball evenly in projection, 4 parallel views of 128 x 128 pixels see it, and each run takes
the loss and its gradient at the 3-D points: projection, distance to the mask, repulsion, backward.

``pairwise`` is the N x N computation that the papers' programs do, as torch differentiates it, view
by view and in blocks of rows. Each block runs backward at once, so that nothing is computed twice.
``grid`` is the form that the method uses. Both use the same threads: torch's own number, or
``--threads``.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backend.geometry.cameras import Cameras
from backend.methods.drwr.losses import (
    LossTerms,
    SilhouetteTargets,
    default_terms,
    drwr_loss,
    silhouette_targets,
)
from backend.methods.drwr.model import project_visible
from backend.views import Camera

SIZES = (2_000, 8_000, 16_000)
VIEWS = 4
IMAGE_SIZE = 128
RADIUS = 0.4
PAIRS_IN_BLOCK = 1 << 20
"""Among the fastest of 2^16 to 2^21 on one thread and on two."""

GRID_RUNS = 30


@dataclass(frozen=True)
class Problem:
    """A cloud ``points`` ``[N, 3]``, its cameras and what their silhouettes ask."""

    points: Tensor
    cameras: Cameras
    targets: SilhouetteTargets
    terms: LossTerms


def make_problem(count: int, seed: int = 0, image_size: int = IMAGE_SIZE) -> Problem:
    """Points as the loss itself would leave them: evenly over the disc in every view."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.sqrt(1 - random.random((count, 1)) ** 2)
    points = torch.as_tensor(RADIUS * radii * directions, dtype=torch.float32)
    centres = np.arange(image_size) + 0.5 - image_size / 2
    disc = np.hypot(*np.meshgrid(centres, centres)) < RADIUS * image_size
    masks = np.broadcast_to(disc, (VIEWS, *disc.shape)).astype(np.float32)
    targets = silhouette_targets(masks, np.ones(masks.shape, bool))
    cameras = Cameras.stack([_camera(i * math.pi / VIEWS, image_size) for i in range(VIEWS)])
    return Problem(points, cameras, targets, default_terms(targets, count))


def _camera(angle: float, image_size: int) -> Camera:
    """A parallel view from the side, ``angle`` around the vertical."""
    forward = np.array([math.cos(angle), math.sin(angle), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(down, forward), down, forward])
    pose[2, 3] = 2.0
    half = image_size / 2
    intrinsics = np.array([[image_size, 0, half], [0, image_size, half], [0, 0, 1.0]])
    return Camera(intrinsics, pose, (image_size, image_size), orthographic=True)


def grid(problem: Problem) -> tuple[float, Tensor]:
    """Loss and its gradient ``[N, 3]`` by the grid."""
    points = problem.points.clone().requires_grad_()
    pixels, visible = project_visible(problem.cameras, points)
    loss = drwr_loss(problem.targets, problem.terms, pixels, visible)
    loss.backward()
    assert points.grad is not None
    return loss.item(), points.grad


def pairwise(problem: Problem) -> tuple[float, Tensor]:
    """The same, pair by pair."""
    points = problem.points.clone().requires_grad_()
    pixels, visible = project_visible(problem.cameras, points)
    leaf = pixels.detach().requires_grad_()
    # Without beta the loss is its pull alone, which needs no pairs.
    pull_terms = LossTerms(problem.terms.alpha, 0.0, problem.terms.sigma)
    loss = drwr_loss(problem.targets, pull_terms, leaf, visible)
    loss.backward()
    total = loss.item()
    for view in range(VIEWS):
        total += _push_backward(problem, leaf, view)
    pixels.backward(leaf.grad)
    assert points.grad is not None
    return total, points.grad


def _push_backward(problem: Problem, leaf: Tensor, view: int) -> float:
    """One view's repulsion, block by block, its gradient added to that of ``leaf``."""
    count, sigma = len(problem.points), problem.terms.sigma
    area = float(problem.targets.area[view])
    factor = problem.terms.beta * area / (2 * math.pi * sigma**2 * count * (count - 1) * VIEWS)
    rows, total = max(1, PAIRS_IN_BLOCK // count), -factor * count
    for start in range(0, count, rows):
        positions = leaf[view] / IMAGE_SIZE
        block = positions[start : start + rows, None]
        across, down = block[..., 0] - positions[:, 0], block[..., 1] - positions[:, 1]
        kernel = torch.exp((across.square() + down.square()) * (-0.5 / sigma**2))
        part = factor * kernel.sum()
        part.backward()
        total += part.item()
    return total


def timed(work: Callable[[], tuple[float, Tensor]], runs: int) -> tuple[float, float, Tensor]:
    """Median seconds of ``runs``, and the last loss and gradient."""
    seconds, loss, gradient = [], 0.0, torch.empty(0)
    for _ in range(runs):
        start = time.perf_counter()
        loss, gradient = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), loss, gradient


def measure(count: int) -> dict[str, float]:
    """Times and agreement of both forms for ``count`` points."""
    problem = make_problem(count)
    grid(problem)  # what is kept between steps is made here
    fast, fast_loss, fast_gradient = timed(lambda: grid(problem), GRID_RUNS)
    runs = 3 if count <= 2_000 else 1
    slow, slow_loss, slow_gradient = timed(lambda: pairwise(problem), runs)
    return {
        "points": count,
        "pairwise_seconds": slow,
        "grid_seconds": fast,
        "speedup": slow / fast,
        "gradient_cosine": _cosine(fast_gradient, slow_gradient),
        "loss_relative_error": abs(fast_loss / slow_loss - 1),
    }


def _cosine(one: Tensor, other: Tensor) -> float:
    one, other = one.double().flatten(), other.double().flatten()
    return float(one @ other / (one.norm() * other.norm()))


def table(rows: list[dict[str, float]]) -> str:
    """The figures for people."""
    lines = ["points   pairwise       grid   speedup   1 - gradient cosine   loss error"]
    for row in rows:
        lines.append(
            f"{row['points']:6.0f} {row['pairwise_seconds']:8.3f} s "
            f"{row['grid_seconds'] * 1e3:7.2f} ms"
            f" {row['speedup']:8.0f}x {1 - row['gradient_cosine']:21.1e} "
            f"{row['loss_relative_error']:12.1e}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and, if asked, one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, help="Only this many points.")
    parser.add_argument("--threads", type=int, help="Threads of torch, for both forms.")
    parser.add_argument("--json", action="store_true", help="End with one line of JSON.")
    options = parser.parse_args(arguments)
    if options.points is not None and options.points < 2:
        parser.error(f"--points must be 2 or more, got {options.points}.")
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = [measure(count) for count in ([options.points] if options.points else SIZES)]
    print(table(rows))
    if options.json:
        largest = rows[-1]
        summary = {
            "benchmark": "drwr_loss",
            "views": VIEWS,
            "image_size": IMAGE_SIZE,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "sizes": rows,
            "points": largest["points"],
            "speedup": largest["speedup"],
            "gradient_cosine": largest["gradient_cosine"],
        }
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
