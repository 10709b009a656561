"""Devices, the processes that train together, and how they are asked to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from backend.errors import InputError

_LONGEST_WAIT = timedelta(days=1)  # of the other processes, while the first one evaluates


@contextmanager
def launched(
    device: str, devices: int, nodes: int, precision: str, batch_size: int, accumulate: int
) -> Iterator[Fabric]:
    """The processes that train together, begun or joined, and left; see ``TrainerSettings``.

    They are left in good order because threads that still wait for other processes end an
    interpreter that ends before them with SIGABRT.

    Raises:
        InputError: A device is not there, or the batch cannot be shared out evenly.
    """
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["GROUP_WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        devices = int(os.environ["SLURM_NTASKS"]) // nodes
    shares = devices * nodes * accumulate
    if batch_size % shares:
        raise InputError(
            f"a batch of {batch_size} objects cannot be shared out evenly among "
            f"{devices * nodes} processes in {accumulate} parts each; use a multiple of "
            f"{shares}, such as --batch-size {-(-batch_size // shares) * shares}."
        )
    fabric = Fabric(
        accelerator=accelerator(device, devices),
        devices=devices,
        num_nodes=nodes,
        precision=cast(Any, precision),
        strategy=DDPStrategy(timeout=_LONGEST_WAIT) if devices * nodes > 1 else "auto",
    )
    fabric.launch()
    try:
        yield fabric
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def accelerator(name: str, count: int) -> str:
    """The accelerator, as Fabric calls it.

    Raises:
        InputError: There are not so many.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        name = "mps" if torch.backends.mps.is_available() else name
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if count > there.get(name, count):
        raise InputError(
            f"{count} {name} devices were asked for, and torch finds {there[name]}; use --device "
            "cpu or fewer --devices."
        )
    return name


class Interrupts:
    """Ctrl-C and SIGTERM end the training after the step under way; a second one does at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # signals come to the main thread only
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        self.__exit__()

    def agreed(self, fabric: Fabric, may_ask: bool) -> bool:
        """Whether to stop; several processes agree on it when ``may_ask``, as it costs time."""
        if fabric.world_size == 1:
            return self._asked
        if not may_ask:
            return False
        asked = torch.tensor(float(self._asked), device=fabric.device)
        fabric.all_reduce(asked, reduce_op="sum")
        return bool(asked > 0)
