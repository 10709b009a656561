"""What a run tells while it trains: a bar or lines, ``metrics.jsonl``, TensorBoard, pictures."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from backend.dataset_files import safe_names
from backend.files import png, write_files

from .large_files import disk_errors
from .run_files import METRICS_FILE, PICTURES_FOLDER, TENSORBOARD_FOLDER, finite, read_metrics

_SECONDS_BETWEEN_LINES = 30.0


class Monitor:
    """Tells how a run goes; use it in a ``with`` statement.

    Args:
        folder: The run's.
        name: What is trained, as the bar calls it.
        start: Steps that were done before.
        steps: Steps that there will be.
    """

    def __init__(self, folder: Path, name: str, start: int, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._metrics = folder / METRICS_FILE
        self._pictures = folder / PICTURES_FOLDER
        write_files({self._metrics: read_metrics(self._metrics, start).encode()})
        # Events of steps that will be done again are hidden by TensorBoard.
        purge = start + 1 if start else None
        self._events_folder = folder / TENSORBOARD_FOLDER
        with disk_errors(self._events_folder):
            self._events = SummaryWriter(str(self._events_folder), purge_step=purge)
        self._name, self._start, self._steps = name, start, steps
        self._begin = self._said_at = time.monotonic()
        self._bar: Progress | None = None
        self._training, self._evaluating = TaskID(0), TaskID(1)

    def __enter__(self) -> Monitor:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[said]}"),
                console=Console(stderr=True),
            )
            add = self._bar.add_task
            self._training = add(self._name, total=self._steps, completed=self._start, said="")
            self._evaluating = add("evaluating", total=None, visible=False, said="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._events.close()

    def stepped(self, step: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._training, completed=step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write values down and tell what a person wants to know: losses at times, scores always.

        Args:
            step: How many steps are done.
            values: By name; ``/`` makes groups. What is not finite is written as null.
        """
        line = json.dumps({"step": step, **finite(values)})
        with disk_errors(self._metrics), self._metrics.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        with disk_errors(self._events_folder):
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
        losses = {n.rpartition("/")[2]: v for n, v in values.items() if n.startswith("loss/")}
        said = ", ".join(f"{name} {value:.4g}" for name, value in (losses or values).items())
        now = time.monotonic()
        if not losses:
            self._say(f"{self._name}: step {step}, {said}")
        elif self._bar:
            self._bar.update(self._training, said=said)
        elif now - self._said_at >= _SECONDS_BETWEEN_LINES:
            self._said_at = now
            left = (now - self._begin) * (self._steps - step) / (step - self._start)
            self._say(f"{self._name}: step {step} of {self._steps}, {said}, {_duration(left)} left")

    def _say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self._bar:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def evaluated(self, done: int, total: int) -> None:
        """Show how far an evaluation is; it disappears when all is done."""
        if self._bar:
            task = self._evaluating
            self._bar.update(task, completed=done, total=total, visible=done < total)

    def picture(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Write pictures ``[H, W, 3]`` uint8 by name."""
        for name, pixels in zip(safe_names([*pictures]), pictures.values(), strict=True):
            write_files({self._pictures / f"{step:07}_{name}.png": png(pixels)})
            with disk_errors(self._events_folder):
                self._events.add_image(f"pictures/{name}", pixels, step, dataformats="HWC")


class Clock:
    """How long training takes, and which share of it the loop waits for data.

    A GPU works while the loop goes on, so that share is the most it can have waited.
    """

    def __init__(self, done: int, seconds: float) -> None:
        self._begin = time.perf_counter() - seconds
        self.begin_lap(done)

    @property
    def seconds(self) -> float:
        """Of all steps, with what the run took before it was resumed."""
        return time.perf_counter() - self._begin

    def begin_lap(self, done: int) -> None:
        """Measure anew: evaluations and the like are no steps."""
        self._done, self._lap_begin, self._waited = done, time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block as waiting for data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def lap(self, done: int) -> dict[str, float]:
        """What to log."""
        lap = time.perf_counter() - self._lap_begin
        return {
            "seconds": self.seconds,
            "steps_per_second": (done - self._done) / lap,
            "data_wait": self._waited / lap,
        }


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
