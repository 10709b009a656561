"""Two small recipes, with faults on demand, and a program that trains one in its own process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.methods.interface import param
from training.datasets import RenderedDataset
from training.recipes.interface import Group, RecipeSpec
from training.trainer import TrainerSettings, train

SIZE = 8


@dataclass(frozen=True)
class Options:
    """Of both recipes."""

    width: int = param(6, "Hidden numbers.", minimum=1)
    learning_rate: float = param(0.02, "Of Adam.", minimum=0.0)
    dropout: float = param(0.0, "Share of hidden numbers left out.", minimum=0.0, maximum=0.9)
    adversarial: bool = param(False, "Train a generator against a discriminator.")
    nan_at: int = param(-1, "Step whose loss is not a number.")
    largest: int = param(1000, "Most objects that fit into memory.")


class Data:
    def __init__(self, dataset: RenderedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, random: np.random.Generator) -> Mapping[str, np.ndarray]:
        view = random.integers(self.dataset.views)
        image = self.dataset.images[index, view, ..., 3].reshape(-1) / np.float32(255)
        noisy = image + 0.1 * random.standard_normal(image.shape, np.float32)
        return {"image": noisy, "coverage": image.mean(keepdims=True)}


class Networks(nn.Module):
    def __init__(self, options: Options) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(SIZE**2, options.width),
            nn.Tanh(),
            nn.Dropout(options.dropout),
            nn.Linear(options.width, 1),
        )
        self.discriminator = nn.Sequential(nn.Linear(1, options.width), nn.Tanh())
        self.register_buffer("seen", torch.zeros(()))
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(images)


class Recipe:
    def __init__(self, options: Options, dataset: Path, category: str) -> None:
        self.options, self.dataset, self.category = options, dataset, category
        self.required: list[tuple[str, set[str]]] = []  # which parameters were trained when

    def model(self) -> nn.Module:
        return Networks(self.options)

    def training_data(self) -> Data:
        return Data(RenderedDataset(self.dataset, "train", self.category, SIZE))

    def param_groups(self, model: nn.Module) -> dict[str, Group]:
        assert isinstance(model, Networks)
        rate = self.options.learning_rate
        generator = [*model.generator.parameters(), model.unused]
        groups = {"generator": Group(generator, rate, (0.5, 0.9), 0.01, lambda step: 0.99**step)}
        if self.options.adversarial:
            groups["discriminator"] = Group([*model.discriminator.parameters()], 2 * rate)
        return groups

    def loss(
        self, model: nn.Module, group: str, batch: Mapping[str, Tensor], step: int
    ) -> dict[str, Tensor]:
        assert isinstance(model, Networks)
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        self.required.append((group, trained))
        if group == "generator" and os.environ.get("TOY_SIGNAL") == str(step):
            os.kill(os.getpid(), int(os.environ["TOY_SIGNAL_NUMBER"]))
        if len(batch["image"]) > self.options.largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made = model(batch["image"])
        if group == "discriminator":
            score = model.discriminator(made.detach()) - model.discriminator(batch["coverage"])
            return {"score": score.mean()}
        error = (made - batch["coverage"]).square().mean()
        terms = {"error": error * (np.nan if step == self.options.nan_at else 1.0)}
        if self.options.adversarial:
            terms["fooling"] = -0.01 * model.discriminator(made).mean()
        return {**terms, "shown": made.detach().mean()}

    def evaluate(
        self, model: nn.Module, split: str, report: Callable[[int, int], None]
    ) -> dict[str, float]:
        data = Data(RenderedDataset(self.dataset, split, self.category, SIZE))
        errors = []
        for index in range(len(data)):
            sample = data.sample(index, np.random.default_rng(index))
            made = model(torch.from_numpy(sample["image"])) + 0.01 * torch.randn(1)
            errors.append(float((made - float(sample["coverage"][0])).abs()))
            report(index + 1, len(data))
        return {"error": float(np.mean(errors)), "undefined": float("nan")}

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        return {"balls/a": np.full((4, 8, 3), 200, np.uint8)}

    def settings(self) -> dict[str, Any]:
        return asdict(self.options)


SPEC = RecipeSpec(
    name="toy",
    method="drwr",  # one that there is, as checkpoints of others are refused
    summary="A toy.",
    citation="None",
    options=Options,
    make=Recipe,
    restore=lambda settings, dataset, category: Recipe(Options(**settings), dataset, category),
    best=("error", "lowest"),
    batch_size=4,
    steps=20,
)


if __name__ == "__main__":
    words = json.loads(sys.argv[1])
    try:
        train(
            SPEC,
            Options(**words["options"]),
            TrainerSettings(**words["settings"]),
            Path(words["dataset"]),
            "",
            Path(words["out"]),
        )
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        assert not torch.distributed.is_initialized()
