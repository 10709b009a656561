"""The networks of a run with their optimisers: one step, and all that a resumed run needs.

Several processes average their gradients here, once for each group and step, instead of wrapping
the networks as ``DistributedDataParallel`` does. So a loss may call the networks as often and in
whatever parts it likes, and an adversarial method's groups may be frozen in turn; StyleGAN2-ADA's
training does the same (Karras et al. 2020, arXiv:2006.06676).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from backend.errors import InputError

from .recipes.interface import Recipe

_RANDOM = 2  # beside those of ``batches``: what random numbers are for
_WARMING = 10  # steps over which the running mean begins to remember


class Learner:
    """The networks, the running mean of their weights and one AdamW for each group.

    The random state at a step is a function of the seed, the step and the process, so that nothing
    which happens between two steps (an evaluation, an interruption) changes what follows.

    Attributes:
        model: The networks, in training mode.
        average: A copy in evaluation mode, whose weights are the running mean (EMA).
    """

    def __init__(self, fabric: Fabric, recipe: Recipe, seed: int, clip: float, ema: float) -> None:
        """Make the networks, the same in every process.

        Args:
            fabric: Launched.
            recipe: What is trained.
            seed: Of the first weights and of every step.
            clip: Largest norm of a group's gradient; 0 for none.
            ema: Decay of the running mean.
        """
        torch.manual_seed(seed)
        self.model = fabric.to_device(recipe.model()).train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._groups = recipe.param_groups(self.model)
        self._optimizers = {
            name: torch.optim.AdamW(
                group.parameters,
                lr=group.learning_rate,
                betas=group.betas,
                weight_decay=group.weight_decay,
                fused=True,
            )
            for name, group in self._groups.items()
        }
        self._fabric, self._recipe = fabric, recipe
        self._seed, self._clip, self._ema = seed, clip, ema

    def step(
        self, parts: Sequence[Mapping[str, Tensor]], step: int, alone: bool = False
    ) -> dict[str, Tensor]:
        """Step every group once, in turn.

        Args:
            parts: This process's share of the batch, on the CPU; gradients of parts are averaged.
            step: Counted from 0.
            alone: Leave the other processes out, which do not take this step.

        Returns:
            The loss's terms (``loss/<group>/<term>``, this process's) and the gradient's norm
            (``gradient_norm/<group>``), on the device, so that nothing has to wait for them.
        """
        numbers = (self._seed, _RANDOM, step, self._fabric.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))
        parts = [self._fabric.to_device(part) for part in parts]
        values: dict[str, Tensor] = {}
        for name in self._groups:
            values |= self._step_group(name, parts, step, alone)
        self._update_average(step)
        return values

    def _step_group(
        self, name: str, parts: Sequence[Mapping[str, Tensor]], step: int, alone: bool
    ) -> dict[str, Tensor]:
        group, optimizer = self._groups[name], self._optimizers[name]
        self.model.requires_grad_(False)
        for parameter in group.parameters:
            parameter.requires_grad_(True)
        optimizer.zero_grad()
        values: dict[str, Tensor] = {}
        for part in parts:
            with self._fabric.autocast():
                terms = self._recipe.loss(self.model, name, part, step)
            total = torch.stack([term for term in terms.values() if term.requires_grad]).sum()
            self._fabric.backward(total / len(parts))
            for term, value in terms.items():
                key = f"loss/{name}/{term}"
                values[key] = values.get(key, 0.0) + value.detach() / len(parts)
        gradients = self._gradients(group.parameters, alone)
        norm = get_total_norm(gradients)
        if self._clip:
            clip_grads_with_norm_(group.parameters, self._clip, norm)
        factor = group.schedule(step) if group.schedule else 1.0
        for options in optimizer.param_groups:
            options["lr"] = group.learning_rate * factor
        optimizer.step()
        return {**values, f"gradient_norm/{name}": norm}

    def _gradients(self, parameters: Sequence[nn.Parameter], alone: bool) -> list[Tensor]:
        """The gradients, averaged over the processes; 0 where the loss does not depend on one."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._fabric.world_size > 1 and not alone:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._fabric.all_reduce(flat, reduce_op="mean")
            pieces = flat.split([gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))
        return gradients

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Young means forget faster, or the first weights would stay in them for long."""
        decay = min(self._ema, (1 + step) / (_WARMING + step))
        for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)
        for mean, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(value)

    # What a resumed run needs ---------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """All tensors, by name: weights, running mean and the optimisers'."""
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.state_dict().items()}
        for group, optimizer in self._optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{group}/{index}/{n}": v for n, v in values.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave.

        Raises:
            InputError: The tensors are those of other networks.
        """
        load_weights(self.model, _below("model/", tensors))
        load_weights(self.average, _below("average/", tensors))
        for group, optimizer in self._optimizers.items():
            content = optimizer.state_dict()
            content["state"] = {}
            for name, value in _below(f"optimizer/{group}/", tensors).items():
                index, _, kind = name.partition("/")
                content["state"].setdefault(int(index), {})[kind] = value
            optimizer.load_state_dict(content)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put weights into networks.

    Raises:
        InputError: Names or shapes are those of other networks.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    differing = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
    if differing:
        name = differing[0]
        raise InputError(
            f"the weights are not those of these networks: '{name}' is "
            f"{found.get(name, 'missing')} there and {wanted.get(name, 'missing')} here "
            f"({len(differing)} differ); they were made by another recipe or version."
        )
    model.load_state_dict(dict(tensors))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
