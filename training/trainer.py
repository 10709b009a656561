"""The training loop: one for all recipes, of which it knows no more than their interface.

Lightning Fabric gives devices, precision and the other processes (``torchrun``, SLURM, or
``--devices``); everything else is the loop in :func:`train`, :mod:`training.learner` (one step) and
:mod:`training.batches` (what is trained on). A run's folder is described in
:mod:`training.run_files`. A stopped or killed run goes on where it last saved when the same
command is given again, and ends as one that was never stopped: on one machine and device, equal to
the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from backend import __version__
from backend.errors import InputError, ReconstructionError
from backend.methods.interface import param

from .batches import batches
from .datasets import RenderedDataset, split_sizes
from .learner import Learner, load_weights
from .monitor import Clock, Monitor
from .processes import Interrupts, accelerator, launched
from .recipes import recipe_spec
from .recipes.interface import Recipe, RecipeSpec, TrainingData
from .run_files import (
    MODEL_FILE,
    STATE_FILE,
    finite,
    open_run,
    read_model,
    read_state,
    write_model,
    write_state,
)


@dataclass(frozen=True)
class TrainerSettings:
    """How a recipe is trained."""

    steps: int = param(10_000, "Steps to train for.", minimum=1)
    batch_size: int = param(16, "Objects in a step, over all processes.", minimum=1)
    accumulate: int = param(
        1,
        "Parts in which each process works off its share of a step: less memory, the same result.",
        minimum=1,
    )
    precision: str = param(
        "32-true",
        "Numbers that the networks calculate with; bf16-mixed is faster on newer GPUs.",
        choices=("32-true", "bf16-mixed"),
    )
    clip: float = param(
        0.0,
        "Longest gradient of a group of parameters; longer ones are cut, 0 cuts none.",
        minimum=0.0,
    )
    ema: float = param(
        0.999,
        "Decay of the running mean of the weights, which is what is evaluated and saved.",
        minimum=0.0,
        maximum=0.99999,
    )
    validate_every: int = param(1000, "Steps between evaluations on the split val.", minimum=1)
    checkpoint_every: int = param(
        500, "Steps between savings of all that a resumed run needs.", minimum=1
    )
    picture_every: int = param(1000, "Steps between sample pictures.", minimum=1)
    log_every: int = param(20, "Steps between lines of metrics.", minimum=1)
    seed: int = param(
        0, "Of the first weights, the order of the data and all else that is random.", minimum=0
    )
    workers: int = param(2, "Processes that draw the data, for each training process.", minimum=0)
    device: str = param("auto", "Where to train.", choices=("auto", "cpu", "cuda", "mps"))
    devices: int = param(
        1, "Devices to use on each machine; torchrun and SLURM say it themselves.", minimum=1
    )
    nodes: int = param(1, "Machines; torchrun and SLURM say it themselves.", minimum=1)


_FREE = ("steps", "accumulate", "checkpoint_every", "picture_every", "log_every") + (
    *("workers", "device", "devices", "nodes"),
)
"""What may change when a run goes on, as it decides about duration and looks, not the result."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        model: The best checkpoint.
        steps: Steps that were trained.
        best_step: After how many of them the best checkpoint was made.
        scores: Its scores on the split val and, unless that is empty, test, by split and name.
        seconds: What the steps took, evaluations included.
    """

    model: Path
    steps: int
    best_step: int
    scores: Mapping[str, Mapping[str, float]]
    seconds: float


def train(
    spec: RecipeSpec,
    options: Any,
    settings: TrainerSettings,
    dataset: Path,
    category: str,
    out: Path,
    command: str = "",
) -> RunResult:
    """Train a recipe, or go on with a training that was stopped.

    Args:
        spec: The recipe.
        options: An instance of ``spec.options``.
        settings: How to train.
        dataset: A dataset's folder, or a packed one's.
        category: Of the objects; all if empty.
        out: The run's folder: new, empty, or of a run with the same settings, which goes on. All
            machines must see it.
        command: What the user typed, for the model card.

    Raises:
        InputError: The dataset or the run's folder cannot be used; numbers do not fit together.
        ReconstructionError: The loss is no longer a number, or memory or disk are full.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM, after saving.
    """
    with launched(
        settings.device,
        settings.devices,
        settings.nodes,
        settings.precision,
        settings.batch_size,
        settings.accumulate,
    ) as fabric:
        objects = RenderedDataset(dataset, "train", category)
        # Refuse now what would fail after the first steps.
        RenderedDataset(dataset, "val", category)
        if fabric.is_global_zero:
            asked = {
                "run": {"recipe": spec.name, "category": category, "data_hash": objects.data_hash},
                "options": asdict(options),
                "training": asdict(settings),
            }
            open_run(out, asked, _FREE)
        fabric.barrier()
        with fabric.rank_zero_first(local=True):  # the others find the decoded images made
            recipe = spec.make(options, dataset, category)
            data = recipe.training_data()
            data.sample(0, np.random.default_rng(0))
        learner = Learner(fabric, recipe, settings.seed, settings.clip, settings.ema)
        card = _model_card(spec, recipe, settings, objects, category, out, command)
        run = _Run(fabric, spec, recipe, settings, learner, card, out)
        with run.monitor or nullcontext(), Interrupts() as interrupts:
            _loop(run, data, interrupts)
        return run.finish(has_test=split_sizes(dataset, category)["test"] > 0)


def _loop(run: _Run, data: TrainingData, interrupts: Interrupts) -> None:
    """Every step of every training; what happens after which of them."""
    settings, fabric = run.settings, run.fabric
    steps = range(run.done, settings.steps)
    drawn = batches(
        data,
        steps,
        settings.batch_size,
        seed=settings.seed,
        rank=fabric.global_rank,
        processes=fabric.world_size,
        parts=settings.accumulate,
        workers=settings.workers,
        pinned=fabric.device.type == "cuda",
    )
    clock = Clock(run.done, run.seconds)
    for step in steps:
        with clock.waiting():
            parts = next(drawn)
        values = _step(run, parts, step)
        run.done = step + 1
        if run.monitor:
            run.monitor.stepped(run.done)
        logs, validates, draws, saves = (
            run.done % every == 0 or run.done == settings.steps
            for every in (
                *(settings.log_every, settings.validate_every),
                *(settings.picture_every, settings.checkpoint_every),
            )
        )
        stops = interrupts.agreed(fabric, logs)
        if not (logs or validates or draws or saves or stops):
            continue
        numbers = run.checked(values)
        if logs:
            run.log({**numbers, **clock.lap(run.done)})
        if validates:
            run.validate()
        if draws:
            run.draw()
        if saves or stops:
            run.save(clock.seconds)
        if stops:
            raise KeyboardInterrupt
        clock.begin_lap(run.done)


def _step(run: _Run, parts: Sequence[Mapping[str, Tensor]], step: int) -> dict[str, Tensor]:
    try:
        return run.learner.step(parts, step)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    # Outside of the handler, where the error no longer holds on to the memory.
    raise ReconstructionError(_memory_advice(run, parts[0], step))


class _Run:
    """A training under way. What the first process does alone, the others wait for here.

    Attributes:
        done: Steps so far.
        seconds: What they took, over all sittings, when they were last saved.
        monitor: Of the first process.
    """

    def __init__(
        self,
        fabric: Fabric,
        spec: RecipeSpec,
        recipe: Recipe,
        settings: TrainerSettings,
        learner: Learner,
        card: Mapping[str, Any],
        out: Path,
    ) -> None:
        """Go on where the run was saved, if it was.

        Raises:
            InputError: What was saved is damaged, or of another version.
        """
        self.fabric, self.recipe, self.settings, self.learner = fabric, recipe, settings, learner
        self.done, self.seconds = 0, 0.0
        self._spec, self._card, self._out = spec, card, out
        self._checked = 0  # the last step at which all numbers were finite
        self._best: dict[str, Any] | None = None  # "step" and "scores"
        if (path := out / STATE_FILE).is_file():
            tensors, progress = read_state(path)
            learner.restore(tensors)
            self.done = self._checked = int(progress["step"])
            self.seconds, self._best = float(progress["seconds"]), progress["best"]
        self.monitor = (
            Monitor(out, spec.name, self.done, settings.steps) if fabric.is_global_zero else None
        )

    def checked(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """A step's values as numbers, averaged over the processes.

        Raises:
            ReconstructionError: One is not finite.
        """
        stacked = torch.stack([value.float() for value in values.values()])
        if self.fabric.world_size > 1:
            self.fabric.all_reduce(stacked, reduce_op="mean")
        numbers = dict(zip(values, stacked.tolist(), strict=True))
        if wrong := [name for name, number in numbers.items() if not math.isfinite(number)]:
            raise ReconstructionError(self._not_finite(wrong[0], numbers[wrong[0]]))
        self._checked = self.done
        return numbers

    def _not_finite(self, name: str, number: float) -> str:
        path = self._out / STATE_FILE
        kept = (
            f"the last good checkpoint is '{path}'" if path.is_file() else "nothing was saved yet"
        )
        clip = f" (now {self.settings.clip:g})" if self.settings.clip else " to 1, say"
        return (
            f"{name} became {number} between step {self._checked} and step {self.done}; {kept}. "
            f"Lower the learning rate, set --clip{clip}, or use --precision 32-true, in another "
            "folder."
        )

    def log(self, numbers: Mapping[str, float]) -> None:
        """Write numbers of this step down."""
        if self.monitor:
            self.monitor.log(self.done, numbers)

    def validate(self) -> None:
        """Evaluate the running mean; write it down as the model if it is the best so far."""
        if self.monitor:
            scores = _scores(
                self.recipe, self.learner.average, "val", self.settings.seed, self.monitor.evaluated
            )
            self.monitor.log(self.done, {f"val/{name}": value for name, value in scores.items()})
            if self._best is None or _is_better(self._spec, scores, self._best["scores"]):
                self._best = {"step": self.done, "scores": scores}
                card = {**self._card, "steps": self.done, "held_out": {"val": finite(scores)}}
                write_model(self._out / MODEL_FILE, self.learner.average.state_dict(), card)
        self.fabric.barrier()

    def draw(self) -> None:
        """Draw sample pictures with the running mean."""
        if self.monitor:
            torch.manual_seed(self.settings.seed)
            with torch.no_grad():
                self.monitor.picture(self.done, self.recipe.pictures(self.learner.average))
        self.fabric.barrier()

    def save(self, seconds: float) -> None:
        """Write all that a resumed run needs."""
        self.seconds = seconds
        if self.monitor:
            progress = {"step": self.done, "seconds": seconds, "best": self._best}
            write_state(self._out / STATE_FILE, self.learner.state(), progress)
        self.fabric.barrier()

    def finish(self, has_test: bool) -> RunResult:
        """Evaluate the best checkpoint on the split test, once, and say what the run came to."""
        path = self._out / MODEL_FILE
        card: dict[str, Any] = {}
        if self.fabric.is_global_zero:
            tensors, card = read_model(path)
            if has_test and "test" not in card["held_out"]:
                load_weights(self.learner.average, tensors)
                model, seed = self.learner.average, self.settings.seed
                card["held_out"]["test"] = finite(_scores(self.recipe, model, "test", seed))
                write_model(path, tensors, card)
        card = self.fabric.broadcast(card)
        return RunResult(path, self.done, card["steps"], card["held_out"], self.seconds)


def _scores(
    recipe: Recipe,
    model: nn.Module,
    split: str,
    seed: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Scores in full precision and with the same random numbers at every call."""
    torch.manual_seed(seed)
    with torch.no_grad():
        scores = recipe.evaluate(model, split, report)
    return {name: float(value) for name, value in scores.items()}


def _is_better(spec: RecipeSpec, scores: Mapping[str, float], best: Mapping[str, float]) -> bool:
    name, way = spec.best
    new, old = scores[name], best[name]
    return math.isnan(old) or (new < old if way == "lowest" else new > old)


def _model_card(
    spec: RecipeSpec,
    recipe: Recipe,
    settings: TrainerSettings,
    objects: RenderedDataset,
    category: str,
    out: Path,
    command: str,
) -> dict[str, Any]:
    """All but the steps and the scores."""
    return {
        "method": spec.method,
        "recipe": spec.name,
        "label": f"{out.resolve().name}: {spec.name}, {category or 'all categories'}",
        "citation": spec.citation,
        "settings": recipe.settings(),
        "training": asdict(settings),
        "dataset": objects.name,
        "data_hash": objects.data_hash,
        "data_licences": objects.licences,
        "split": "train",
        "category": category,
        "objects": len(objects),
        "seed": settings.seed,
        "project_version": __version__,
        "created_by": command,
    }


# Evaluating a checkpoint --------------------------------------------------------------------------


def evaluate(
    checkpoint: Path,
    dataset: Path,
    category: str | None = None,
    split: str = "test",
    device: str = "auto",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Scores of a checkpoint; on the machine and the data of its training, those of its card.

    Args:
        checkpoint: ``model.safetensors`` of a run.
        dataset: A dataset's folder, or a packed one's.
        category: Of the objects, all if empty; the card's if None.
        split: ``"train"``, ``"val"`` or ``"test"``.
        device: As in :class:`TrainerSettings`.
        report: Told how many objects are evaluated, of how many.

    Raises:
        InputError: The checkpoint or the dataset cannot be used; says why.
    """
    tensors, card = read_model(checkpoint)
    name = card.get("recipe")
    if not isinstance(name, str) or not isinstance(card.get("settings"), dict):
        raise InputError(f"{checkpoint.name} was not trained here: its card names no recipe.")
    chosen = str(card.get("category", "")) if category is None else category
    RenderedDataset(dataset, split, chosen)
    recipe = recipe_spec(name).restore(card["settings"], dataset, chosen)
    model = recipe.model().eval().requires_grad_(False)
    try:
        load_weights(model, tensors)
    except InputError as error:
        raise InputError(f"{checkpoint.name}: {error}") from None
    fabric = Fabric(accelerator=accelerator(device, 1), devices=1)
    return _scores(recipe, fabric.to_device(model), split, int(card.get("seed", 0)), report)


# Memory -------------------------------------------------------------------------------------------


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _memory_advice(run: _Run, part: Mapping[str, Tensor], step: int) -> str:
    """Try smaller batches, as nothing of this run is used any more, and name one that fits."""
    settings, processes = run.settings, run.fabric.world_size
    size = len(next(iter(part.values())))
    what = f"the memory of the device {run.fabric.device} is too small for {size} objects at a time"
    fits = size // 2
    while fits and not _fits(run, {name: value[:fits] for name, value in part.items()}, step):
        fits //= 2
    if not fits:
        return f"{what}, and even for one; lower what the recipe calculates, or use --device cpu."
    share = settings.batch_size // processes
    parts = next(n for n in range(1, share + 1) if share % n == 0 and share // n <= fits)
    return (
        f"{what}, {fits} fit; use --accumulate {parts}, which gives the same result, or "
        f"--batch-size {fits * processes}."
    )


def _fits(run: _Run, part: Mapping[str, Tensor], step: int) -> bool:
    if run.fabric.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        run.learner.step([part], step, alone=True)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return False
    return True
