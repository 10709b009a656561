"""What DRWR's loss takes of a training step, beside the network's own forward and backward pass.

    python benchmarks/drwr_step.py --image-size 128 --points 16000

A step has 4 shapes and 4 views of each. ``network`` is the recipe's network at full width, from
pictures to clouds and back from random gradients; ``loss`` is the recommended form from the clouds,
which fill a ball, to the gradients at their points: projection, distances, repulsion. The optimiser
is left out of both. Without sizes it measures 64 pixels with 8,000 points and 128 with 16,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from drwr_loss import VIEWS, make_problem
from torch import Tensor

from backend.geometry.cameras import Cameras
from backend.methods.drwr.losses import default_terms, silhouette_targets, view_losses
from backend.methods.drwr.model import project_visible
from backend.methods.drwr.network import DrwrNetwork, NetworkSettings

SIZES = ((64, 8_000), (128, 16_000))
SHAPES = 4
RUNS = 15


def median_seconds(work: Callable[[], None], device: torch.device) -> float:
    """Median of :data:`RUNS` after three to warm up."""
    seconds = []
    for run in range(RUNS + 3):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if run >= 3:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def network_step(image_size: int, points: int, device: torch.device) -> Callable[[], None]:
    """Forward and backward of the network for a batch of pictures."""
    torch.manual_seed(0)
    network = DrwrNetwork(NetworkSettings(image_size=image_size, points=points)).to(device)
    pictures = torch.rand(SHAPES, 3, image_size, image_size, device=device)
    gradient = torch.randn(SHAPES, points, 3, device=device)

    def step() -> None:
        network.zero_grad()
        network(pictures, None).shapes.backward(gradient)

    return step


def loss_step(image_size: int, points: int, device: torch.device) -> Callable[[], None]:
    """The loss of the batch's clouds in all views, and its gradient at their points."""
    problem = make_problem(points, image_size=image_size)
    masks = problem.targets.mask.repeat(SHAPES, 1, 1).numpy()
    targets = silhouette_targets(masks, masks >= 0, device=device)
    terms = default_terms(targets, points)
    cameras = _repeated(problem.cameras, device)
    cloud = problem.points.to(device)

    def step() -> None:
        shapes = cloud.expand(SHAPES, -1, -1).clone().requires_grad_()
        seen = project_visible(cameras, shapes.repeat_interleave(VIEWS, dim=0))
        view_losses(targets, terms, *seen).mean().backward()

    return step


def _repeated(cameras: Cameras, device: torch.device) -> Cameras:
    def every(values: Tensor) -> Tensor:
        return values.repeat(SHAPES, *(1 for _ in values.shape[1:])).to(device)

    return Cameras(
        every(cameras.intrinsics),
        every(cameras.world_to_camera),
        every(cameras.orthographic),
        cameras.image_size,
    )


def measure(image_size: int, points: int, device: torch.device) -> dict[str, float]:
    """Seconds of both parts."""
    network = median_seconds(network_step(image_size, points, device), device)
    loss = median_seconds(loss_step(image_size, points, device), device)
    return {
        "image_size": image_size,
        "points": points,
        "network_seconds": network,
        "loss_seconds": loss,
        "loss_share": loss / network,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and, if asked, one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--image-size", type=int, help="Pixels; with --points.")
    parser.add_argument("--points", type=int, help="Points of each cloud; with --image-size.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda.")
    parser.add_argument("--threads", type=int, help="Threads of torch.")
    parser.add_argument("--json", action="store_true", help="End with one line of JSON.")
    options = parser.parse_args(arguments)
    if (options.image_size is None) != (options.points is None):
        parser.error("give both --image-size and --points, or neither.")
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    sizes = [(options.image_size, options.points)] if options.points else SIZES
    rows = [measure(image_size, points, device) for image_size, points in sizes]
    print("pixels  points    network       loss   loss / network")
    for row in rows:
        print(
            f"{row['image_size']:6.0f} {row['points']:7.0f} {row['network_seconds'] * 1e3:7.1f} ms"
            f" {row['loss_seconds'] * 1e3:7.1f} ms {row['loss_share']:16.2f}"
        )
    if options.json:
        settings = {"device": options.device, "threads": torch.get_num_threads()}
        print(json.dumps({"benchmark": "drwr_step", **settings, "sizes": rows}))


if __name__ == "__main__":
    main()
