"""A dataset rendered by other processes of Blender: as many as wanted, and never for too long.

Each process renders some items, appends a line to its progress file after every view, and ends;
another one takes the next items, so no importer's leak lasts. When one dies, the item that it was
at is listed as failed and the others go to the next process. :meth:`Workers.poll` never waits, so
a timer of the panel can call it. Needs no Blender.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ..backend.dataset_files import ObjectRecord, compose_dataset, fail_object, settings_hash
from ..backend.errors import InputError, ReconstructionError

RECYCLE = 50
PATIENCE = 3600.0
"""Seconds without a view after which a process is taken for hung."""

_STOP_SECONDS = 3.0
_WAIT = 0.1
_CREATE_NO_WINDOW = 0x0800_0000  # of Windows


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        items: How many there are.
        done: Items that need no more work, failed ones included.
        views: Rendered in this run.
        share: Of the work, in [0, 1].
        key: The item that was worked on last.
        rendered: Items rendered in this run.
        skipped: Items that were done before.
        failures: Reasons by key.
        problems: What the user should know, by key.
    """

    items: int
    done: int = 0
    views: int = 0
    share: float = 0.0
    key: str = ""
    rendered: int = 0
    skipped: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _begun: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Expected; None until an item is rendered."""
        worked = self.share - self.skipped / max(self.items, 1)
        if self.share >= 1.0 or worked <= 0 or self.views < 3:
            return None
        return self.seconds * (1.0 - self.share) / worked

    def add(self, step: dict[str, Any]) -> None:
        """Take in the fields of a ``render_dataset.Step``."""
        key, event = step["key"], step["event"]
        self.key = key
        if event == "view":
            self.views += 1
            self._begun[key] = self._begun.get(key, 0.0) + 1.0 / max(step["views"], 1)
        elif event != "started":
            self._begun.pop(key, None)
            self.done += 1
            self.rendered += event == "rendered"
            self.skipped += event == "skipped"
        if event == "failed":
            self.failures[key] = step["reason"]
        if step["problems"]:
            self.problems[key] = list(step["problems"])
        self.share = min(1.0, (self.done + sum(self._begun.values())) / max(self.items, 1))

    def forget(self, key: str) -> None:
        """Count an item anew that a process left unfinished."""
        self._begun.pop(key, None)

    @property
    def all_failed(self) -> bool:
        """Whether nothing but failures came out."""
        return bool(self.failures) and len(self.failures) == self.items

    def summary(self) -> str:
        """One line for the end of a run."""
        words = [f"{self.rendered} rendered ({self.views} views in {self.seconds:.0f} s)"]
        words += [f"{self.skipped} done before"] if self.skipped else []
        words += [f"{len(self.failures)} failed"] if self.failures else []
        return ", ".join(words)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    items: list[dict[str, Any]]
    folder: Path
    log: Path
    steps: IO[str]
    line: str = ""
    at: str = ""
    finished: set[str] = field(default_factory=set)
    error: dict[str, str] | None = None
    heard: float = field(default_factory=time.monotonic)
    hung: bool = False


class Workers:
    """A run over several processes."""

    def __init__(
        self,
        dataset: Path,
        settings: dict[str, Any],
        items: Sequence[Any],
        command: Callable[[Path], list[str]],
        workers: int = 1,
        recycle: int = RECYCLE,
        threads: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        """Prepare a run; :meth:`poll` starts it.

        Args:
            dataset: Opened with ``settings``.
            settings: Those of ``dataset.json``.
            items: ``render_dataset.Item``.
            command: Starts a process that renders a job file.
            workers: How many at once.
            recycle: How many items a process renders at most.
            threads: Of each process; 0 shares the processor's among them.
            patience: Seconds without a view after which a process is ended.
        """
        self.dataset, self.settings = dataset, settings
        self.progress = Progress(len(items))
        self.state = "running"
        self.error: Exception | None = None
        self._waiting = [asdict(item) for item in items]
        self._command, self._count, self._recycle = command, max(workers, 1), max(recycle, 1)
        self._patience = patience
        self._threads = threads or max(1, (os.cpu_count() or 1) // self._count)
        self._running: list[_Worker] = []
        self._folder = tempfile.TemporaryDirectory(prefix="image-to-mesh-render-")
        self._numbers = 0

    def poll(self) -> bool:
        """Read what the processes say, and start others. Returns whether the run goes on."""
        if self.state != "running":
            return False
        try:
            for worker in list(self._running):
                self._read(worker)
                if time.monotonic() - worker.heard > self._patience:
                    worker.hung = True
                    worker.process.kill()
                    worker.process.wait()
                if worker.process.poll() is not None:
                    self._read(worker)
                    self._running.remove(worker)
                    self._ended(worker)
            while self._waiting and len(self._running) < self._count:
                self._running.append(self._start())
        except (InputError, ReconstructionError, OSError) as error:
            self._end("failed", error)
        if not self._running and not self._waiting and self.state == "running":
            self._end("done")
        return self.state == "running"

    def wait(self, report: Callable[[Progress], None] | None = None) -> None:
        """Poll until the run has ended.

        Raises:
            InputError: The input cannot be used.
            ReconstructionError: The work cannot go on.
            OSError: No process can be started.
        """
        try:
            while self.poll():
                if report:
                    report(self.progress)
                time.sleep(_WAIT)
        except BaseException:
            self.cancel()
            raise
        if self.error:
            raise self.error

    def cancel(self) -> None:
        """End the processes; what they finished stays."""
        if self.state == "running":
            self._end("cancelled")

    # Parts ----------------------------------------------------------------------------------------

    def _end(self, state: str, error: Exception | None = None) -> None:
        self.state, self.error = state, error
        for worker in self._running:
            worker.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._running:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.steps.close()
        self._running.clear()
        self._folder.cleanup()
        try:
            compose_dataset(self.dataset)
        except (InputError, ReconstructionError) as failure:
            self.error = self.error or failure
            self.state = "failed"

    def _start(self) -> _Worker:
        share = -(-len(self._waiting) // self._count)
        count = max(1, min(self._recycle, share))
        items, self._waiting = self._waiting[:count], self._waiting[count:]
        self._numbers += 1
        folder = Path(self._folder.name) / str(self._numbers)
        folder.mkdir()
        job, log, steps = folder / "job.json", folder / "log.txt", folder / "steps.jsonl"
        settings = {k: v for k, v in self.settings.items() if k != "blender"}
        content = {
            "dataset": os.fspath(self.dataset.resolve()),
            "settings": settings,
            "items": items,
            "threads": self._threads,
            "steps": os.fspath(steps),
        }
        job.write_text(json.dumps(content), encoding="utf-8")
        steps.touch()
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(job),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # Blender tells of every sample
                stderr=output,
                creationflags=_CREATE_NO_WINDOW if os.name == "nt" else 0,
            )
        return _Worker(process, items, folder, log, steps.open(encoding="utf-8"))

    def _read(self, worker: _Worker) -> None:
        worker.line += worker.steps.read()
        *lines, worker.line = worker.line.split("\n")
        if lines:
            worker.heard = time.monotonic()
        for step in map(json.loads, lines):
            if "error" in step:
                worker.error = step
                continue
            self.progress.add(step)
            worker.at = step["key"] if step["event"] in ("started", "view") else ""
            if step["event"] in ("rendered", "skipped", "failed"):
                worker.finished.add(step["key"])

    def _ended(self, worker: _Worker) -> None:
        """Look after what a process left."""
        worker.steps.close()
        if worker.error:
            kind = InputError if worker.error["kind"] == "input" else ReconstructionError
            raise kind(worker.error["error"])
        left = [item for item in worker.items if item["key"] not in worker.finished]
        if not left:
            return
        if not worker.at and not worker.finished:
            raise ReconstructionError(
                f"Blender could not begin to render ({_how(worker)}): {_last_words(worker.log)}"
            )
        if worker.at:
            self._fail(next(item for item in left if item["key"] == worker.at), worker)
            left = [item for item in left if item["key"] != worker.at]
        self._waiting = left + self._waiting

    def _fail(self, item: dict[str, Any], worker: _Worker) -> None:
        reason = f"Blender ended while it was rendered ({_how(worker)})."
        names = ("key", "source", "licence", "attribution", "split", "dup_group")
        record = ObjectRecord(settings=settings_hash(self.settings), **{n: item[n] for n in names})
        fail_object(self.dataset, record, reason)
        self.progress.add({"key": item["key"], "event": "failed", "reason": reason, "problems": ()})


def _how(worker: _Worker) -> str:
    if worker.hung:
        return "it was stopped because it hung"
    code = worker.process.returncode
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing."
