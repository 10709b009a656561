"""What every recipe offers the trainer, which knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """Parameters that are stepped together by one Adam.

    Attributes:
        parameters: Of the model.
        learning_rate: At the first step.
        betas: Adam's.
        weight_decay: Decoupled, as in AdamW.
        schedule: Factor on the learning rate at a step, or None for a constant rate.
    """

    parameters: Sequence[nn.Parameter]
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Callable[[int], float] | None = None


class TrainingData(Protocol):
    """The objects of a split, and one training sample of each at a time."""

    def __len__(self) -> int:
        """Number of objects."""
        ...

    def sample(self, index: int, random: np.random.Generator) -> Mapping[str, np.ndarray]:
        """One sample of object ``index``; equal states of ``random`` give equal samples.

        Every sample has the same names and shapes; the trainer stacks them into a batch.
        """
        ...


class Recipe(Protocol):
    """A recipe that has its options and its dataset."""

    def model(self) -> nn.Module:
        """The networks, freshly initialised from torch's global random state."""
        ...

    def training_data(self) -> TrainingData:
        """What the trainer draws from."""
        ...

    def param_groups(self, model: nn.Module) -> dict[str, Group]:
        """The groups that are stepped in turn: one, or generator and discriminator."""
        ...

    def loss(
        self, model: nn.Module, group: str, batch: Mapping[str, Tensor], step: int
    ) -> dict[str, Tensor]:
        """The terms of a group's loss, scalars; their sum is minimised.

        Detached terms are shown and written down only.
        """
        ...

    def evaluate(
        self, model: nn.Module, split: str, report: Callable[[int, int], None]
    ) -> dict[str, float]:
        """Scores on the objects of a split (train, val or test), the same at every call."""
        ...

    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Input beside prediction for a few validation objects: ``[H, W, 3]`` uint8 by name."""
        ...

    def settings(self) -> dict[str, Any]:
        """What ``backend.methods`` needs to build the same networks; goes into the model card."""
        ...


@dataclass(frozen=True)
class RecipeSpec:
    """A recipe's front page.

    Attributes:
        name: The recipe's word on the command line, and its file's name.
        method: The method in ``backend.methods.METHODS`` that uses its checkpoints.
        summary: One sentence.
        citation: The paper.
        options: Frozen dataclass whose fields are made by ``backend.methods.interface.param``;
            each becomes an option of the command line.
        make: From the options, the dataset's folder and a category ("" for all) to a recipe.
        restore: The same from a model card's ``settings`` in place of the options, to evaluate a
            checkpoint.
        best: The score that chooses the best checkpoint, and which way is better.
        batch_size: Objects in a step, when the user names no number.
        steps: Steps, when the user names no number.
    """

    name: str
    method: str
    summary: str
    citation: str
    options: type
    make: Callable[[Any, Path, str], Recipe]
    restore: Callable[[Mapping[str, Any], Path, str], Recipe]
    best: tuple[str, Literal["lowest", "highest"]]
    batch_size: int
    steps: int
