"""What is trained on at which step: a function of the seed and the step alone.

The objects are numbered through all steps: the k-th object of step t is slot ``t * B + k``, with B
the batch over all processes. Slot s belongs to pass ``s // N`` through the N objects, and is the
``s % N``-th of that pass's permutation; its sample is drawn with a random state of its own. So a
resumed run needs no state of the data, and P processes with B / P objects each see what one
process with B sees.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from backend.errors import InputError, ReconstructionError

from .recipes.interface import TrainingData

_ORDER, _SAMPLE = 0, 1  # what random numbers are for, so that no two uses share theirs
_PREFETCHED = 4  # parts of a batch that each worker has ready


def object_of(slot: int, objects: int, seed: int) -> int:
    """Index of the object in a slot."""
    return int(_permutation(objects, seed, slot // objects)[slot % objects])


@lru_cache(maxsize=2)
def _permutation(objects: int, seed: int, number: int) -> np.ndarray:
    return np.random.default_rng((seed, _ORDER, number)).permutation(objects)


class _Parts(Dataset):
    """Samples of slots, stacked; what cannot be read is returned, not raised.

    A worker process would raise it with its traceback in the message.
    """

    def __init__(self, data: TrainingData, seed: int) -> None:
        self._data, self._seed = data, seed

    def __getitem__(
        self, slots: Sequence[int]
    ) -> dict[str, Tensor] | InputError | ReconstructionError:
        try:
            samples = [self._sample(slot) for slot in slots]
        except (InputError, ReconstructionError) as error:
            return error
        return {
            name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
            for name in samples[0]
        }

    def _sample(self, slot: int) -> Mapping[str, np.ndarray]:
        index = object_of(slot, len(self._data), self._seed)
        return self._data.sample(index, np.random.default_rng((self._seed, _SAMPLE, slot)))


class _Slots:
    """The slots of each part of each step that fall to one process."""

    def __init__(self, steps: range, batch: int, rank: int, processes: int, parts: int) -> None:
        self._steps, self._batch = steps, batch
        self._first, self._size, self._parts = rank * parts, batch // (processes * parts), parts

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            for part in range(self._first, self._first + self._parts):
                start = step * self._batch + part * self._size
                yield list(range(start, start + self._size))


def batches(
    data: TrainingData,
    steps: range,
    batch: int,
    *,
    seed: int,
    rank: int = 0,
    processes: int = 1,
    parts: int = 1,
    workers: int = 0,
    pinned: bool = False,
) -> Iterator[list[dict[str, Tensor]]]:
    """What one process trains on, step by step.

    Args:
        data: What is drawn from.
        steps: The steps to come.
        batch: Objects in a step over all processes; ``processes * parts`` divides it.
        seed: Of order and samples.
        rank: Which of the processes this is.
        processes: Number of them.
        parts: Into how many parts a process cuts its share of a step.
        workers: Processes that draw ahead; 0 draws in this one, when asked.
        pinned: Whether to place the tensors in memory from which a GPU copies by itself.

    Yields:
        The parts of one step: tensors ``[batch / processes / parts, ...]`` by name.

    Raises:
        InputError: A file is missing or damaged.
        ReconstructionError: A worker died.
    """
    loader = DataLoader(
        _Parts(data, seed),
        batch_size=None,
        sampler=_Slots(steps, batch, rank, processes, parts),
        num_workers=workers,
        pin_memory=pinned,
        prefetch_factor=_PREFETCHED if workers else None,
        worker_init_fn=_ignore_interrupts,
    )
    drawn = iter(loader)
    for _ in steps:
        yield [_next(drawn) for _ in range(parts)]


def _next(drawn: Iterator) -> dict[str, Tensor]:
    try:
        part = next(drawn)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ReconstructionError(
            "a process that draws the data died, perhaps because the memory is full; use fewer "
            "--workers, or 0 to draw in the training process."
        ) from error
    if isinstance(part, Exception):
        raise part
    return part


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the training process decides what follows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
