"""DRWR's ablation (table 4) on a dataset of ours: does leaving a part out hurt as it did there?

    python benchmarks/drwr_ablation.py data/chairs --steps 3000

Each row trains the recipe with one part left out, on the same samples, for the same number of steps
and from the same weights, and scores it on the validation split. The paper's row, on airplanes with
2,000 points at 32 pixels, stands beside it. ``--loss`` says which form is taken apart: the authors'
program's (``released``), the paper's own (``paper``), or ours (``recommended``), which has neither
omega nor delta. Our whole loss, DPC's projection loss and its voxels (DPC-V) have their own rows.

The last rows have no network and see the scored objects' own masks, four of each: the points that
lie in the visual hull, whose distance says how much the silhouettes alone leave open, and the
training split's best constant cloud. Both forms' time grows with the square of the points, so a
small budget wants few (``--points 500``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from backend.geometry.visual_hull import mask_distance, signed_hull
from training.datasets import RenderedDataset
from training.metrics import chamfer_dpc, cloud_distances, thinned
from training.recipes.drwr import (
    SPEC,
    DrwrRecipe,
    Options,
    mask_of,
    object_square,
    scored_views,
    view_camera,
)

HULL_VIEWS = 4
HULL_SAMPLES = 1 << 19


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        name: What is left out.
        paper: Chamfer distance of the paper's table, None where it has no such row.
        options: The recipe's, as they differ from the whole loss'.
    """

    name: str
    paper: float | None
    options: Mapping[str, Any] = field(default_factory=dict)


ROWS = (
    Row("whole loss, 4 views", 4.01),
    Row("3 views", 4.54, {"views": 3}),
    Row("2 views", 4.79, {"views": 2}),
    Row("without bias delta", 4.41, {"delta": False}),
    Row("without weights omega", 4.58, {"omega": False}),
    Row("hard pixels", 24.59, {"smooth": False}),
    Row("unary term only", 19.50, {"push": 0.0}),
    Row("pairwise term only", 139.1, {"pull": 0.0}),
    Row("recommended form", None, {"loss": "recommended"}),
    Row("DPC's projection", 4.52, {"loss": "projection"}),
    Row("DPC's voxels", None, {"loss": "projection", "shape": "voxels"}),
)


def trained(recipe: DrwrRecipe, steps: int, batch_size: int, seed: int) -> nn.Module:
    """The recipe's network after ``steps``; equal seeds draw equal objects."""
    torch.manual_seed(seed)
    model, data = recipe.model(), recipe.training_data()
    group = recipe.param_groups(model)["network"]
    optimizer = torch.optim.Adam(group.parameters, group.learning_rate, fused=True)
    for step in range(steps):
        random = np.random.default_rng((seed, step))
        samples = [data.sample(int(i), random) for i in random.integers(len(data), size=batch_size)]
        batch = {key: torch.as_tensor(np.stack([s[key] for s in samples])) for key in samples[0]}
        losses = recipe.loss(model, "network", batch, step)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    return model.eval()


def hull_score(recipe: DrwrRecipe, data: RenderedDataset, points: int) -> float:
    """``cd_dpc`` of points spread evenly through the visual hull of four masks, mean of objects."""
    random = np.random.default_rng(0)
    cube = torch.as_tensor(random.random((HULL_SAMPLES, 3)) - 0.5, dtype=torch.float32)
    size, scores = recipe.options.image_size, []
    for index in range(len(data)):
        inside = torch.full((len(cube),), torch.inf)
        for view in scored_views(data)[:HULL_VIEWS]:
            square = object_square(data, index, view)
            mask = mask_of(data.images[index, view], square, size)
            camera = view_camera(data, index, view, square, size, torch.float32)
            distances = torch.as_tensor(mask_distance(mask))[None]
            inside = torch.minimum(inside, signed_hull(distances, camera, cube))
        # The samples are in random order; where too few are inside, the deepest others help.
        chosen = (inside > 0).nonzero()[:points, 0]
        if len(chosen) < points // 10:
            chosen = inside.topk(points // 10).indices
        cloud = cube[chosen].double().numpy()
        truth = thinned(data.surface(index)[0])
        scores.append(chamfer_dpc(cloud_distances(cloud, truth)))
    return float(np.mean(scores))


def measure(arguments: argparse.Namespace, row: Row) -> dict[str, Any]:
    """Train and score one row."""
    common = {
        "image_size": arguments.image_size,
        "points": arguments.points,
        "width": arguments.width,
        "learning_rate": arguments.learning_rate,
        "spreading": arguments.steps // 2,
        "loss": arguments.loss,
    }
    recipe = SPEC.make(Options(**{**common, **row.options}), arguments.dataset, arguments.category)
    assert isinstance(recipe, DrwrRecipe)
    start = time.perf_counter()
    model = trained(recipe, arguments.steps, arguments.batch_size, arguments.seed)
    seconds = time.perf_counter() - start
    scores = recipe.evaluate(model, arguments.split, lambda done, total: None)
    return {"row": row.name, "paper": row.paper, "seconds": round(seconds, 1), **scores}


def agreement(rows: list[dict[str, Any]]) -> list[str]:
    """Sentences: for each part, whether leaving it out hurts here as in the paper."""
    whole, sentences = rows[0], []
    for row in rows[1:]:
        if row["paper"] is None:
            continue
        here, there = row["cd_dpc_mean"] > whole["cd_dpc_mean"], row["paper"] > whole["paper"]
        verdict = "as in the paper" if here == there else "other than in the paper"
        change = row["cd_dpc_mean"] / whole["cd_dpc_mean"]
        sentences.append(f"{row['row']}: {change:.2f} times the whole loss' distance, {verdict}.")
    return sentences


def table(rows: list[dict[str, Any]]) -> str:
    """The figures for people."""
    lines = [f"{'':24}  cd_dpc    best   paper  mask IoU  seconds"]
    for row in rows:
        paper = f"{row['paper']:7.2f}" if row["paper"] is not None else f"{'':7}"
        lines.append(
            f"{row['row']:24} {row['cd_dpc_mean']:7.2f} {row['cd_dpc_best']:7.2f} {paper} "
            f"{row['mask_iou']:9.3f} {row['seconds']:8.0f}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train every row, print the table and, if asked, one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path, help="A dataset that is rendered and prepared.")
    parser.add_argument("--category", default="", help="Of its objects; all if left out.")
    parser.add_argument("--split", default="val", choices=("val", "test"), help="That is scored.")
    parser.add_argument("--steps", type=int, default=3000, help="Of each row.")
    parser.add_argument("--batch-size", type=int, default=4, help="Objects in a step.")
    parser.add_argument("--image-size", type=int, default=32, help="Pixels.")
    parser.add_argument("--points", type=int, default=2000, help="Of each cloud.")
    parser.add_argument("--width", type=float, default=0.5, help="Of the network.")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="Of Adam.")
    parser.add_argument(
        "--loss",
        default="released",
        choices=("released", "paper", "recommended"),
        help="The form that is taken apart.",
    )
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="Only these, and the first.")
    parser.add_argument("--seed", type=int, default=0, help="Of weights and samples.")
    parser.add_argument("--json", action="store_true", help="End with one line of JSON.")
    options = parser.parse_args(arguments)
    chosen = [r for r in ROWS if not options.rows or r is ROWS[0] or r.name in options.rows]
    if options.loss == "recommended":
        chosen = [r for r in chosen if not {"omega", "delta", "loss"} & set(r.options)]
    rows = []
    for row in chosen:
        rows.append(measure(options, row))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print()
    print(table(rows))
    recipe = SPEC.make(Options(image_size=options.image_size), options.dataset, options.category)
    assert isinstance(recipe, DrwrRecipe)
    data = RenderedDataset(options.dataset, options.split, options.category)
    hull = hull_score(recipe, data, options.points)
    print(f"{'visual hull, 4 masks':24} {hull:7.2f}")
    print(f"{'best constant cloud':24} {rows[0]['constant_cd_dpc']:7.2f}")
    print(f"{'nearest training object':24} {rows[0]['retrieval_cd_dpc']:7.2f}")
    print()
    print("\n".join(agreement(rows)))
    if options.json:
        settings = {key: str(value) for key, value in vars(options).items() if key != "json"}
        print(json.dumps({"benchmark": "drwr_ablation", **settings, "rows": rows, "hull": hull}))


if __name__ == "__main__":
    main()
