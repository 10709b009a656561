"""One reconstruction, from waiting to done, failed or cancelled. No bpy here.

A timer calls :meth:`Job.poll`, which never waits. Whatever becomes of the backend, the job ends in
one of the three ways and says why.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..backend.methods import METHODS
from ..backend.methods.interface import QUALITIES
from ..backend.protocol import (
    Answer,
    Cancel,
    Failure,
    Hello,
    Preview,
    Progress,
    Reconstruct,
    Result,
    Stopped,
)
from .backend_process import BackendError, BackendProcess

State = Literal["waiting", "running", "done", "failed", "cancelled"]

_PATIENCE = 1.0  # seconds that the backend has to stop a cancelled job, as the protocol promises
_TICK = 0.02  # seconds between the polls of ``wait``


class Job:
    """One reconstruction.

    Attributes:
        request: What is asked of the backend; of a lower quality after a second try.
        state: waiting until the backend has the request, then running, then how it ended.
        fraction: Share that is done, in [0, 1]; it grows, and restarts only with a second try.
        stage: Name of what is being done.
        seconds_left: The backend's estimate, or None.
        preview: The newest mesh file to look at meanwhile, or None.
        result: What came out, when done.
        failure: Why nothing came out, when failed.
        notes: Sentences that the artist should read, whatever the ending.
    """

    def __init__(
        self, backend: BackendProcess, request: Reconstruct, owns_folder: bool = False
    ) -> None:
        """Describe the job; nothing is asked of the backend yet.

        Args:
            backend: May be down; the job starts it.
            request: Gets a name of its own if it has none.
            owns_folder: Whether the folder of ``request.output`` is this job's alone, and is to
                be removed when nothing came out.
        """
        self.backend = backend
        self.request = request if request.job else replace(request, job=uuid.uuid4().hex)
        self.state: State = "waiting"
        self.fraction = 0.0
        self.stage = ""
        self.seconds_left: float | None = None
        self.preview: Path | None = None
        self.result: Result | None = None
        self.failure: Failure | None = None
        self.notes: list[str] = []
        self._owns_folder = owns_folder
        self._tried_again = False
        self._asked_to_stop: float | None = None
        self._hello: Hello | None = None  # of the very process that has the request

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state not in ("waiting", "running")

    def start(self) -> None:
        """Start the backend if it is down; the request goes out with the first poll after Hello."""
        self.stage = "starting the backend"
        try:
            self.backend.start()
        except BackendError as error:
            self._fail(Failure(str(error), kind="library"))

    def poll(self) -> None:
        """Take what the backend has said, and go on; never waits."""
        self.hear(self.backend.poll())

    def hear(self, answers: Iterable[Answer]) -> None:
        """Like :meth:`poll`, for a caller that polls the backend itself."""
        for answer in answers:
            if not self.ended and getattr(answer, "job", None) == self.request.job:
                self._take(answer)
        if self.state == "running":
            self._watch()
        elif self.state == "waiting":
            self._send()

    def cancel(self) -> None:
        """Stop the work; the state is ``cancelled`` about a second later at most, if polled."""
        if self.state == "waiting":
            self._end("cancelled")
        elif self.state == "running" and self._asked_to_stop is None:
            self._asked_to_stop = time.monotonic()
            self.stage = "stopping"
            if self.backend.running:
                self.backend.send(Cancel(self.request.job))

    def wait(self, timeout: float) -> None:
        """Poll until the job has ended, or ``timeout`` seconds are over: for scripts."""
        deadline = time.monotonic() + timeout
        while not self.ended and time.monotonic() < deadline:
            self.poll()
            time.sleep(_TICK)

    def _send(self) -> None:
        if not self.backend.running:
            self._fail(self._why_gone())
        elif self.backend.hello is not None:
            self._hello = self.backend.hello
            self.backend.send(self.request)
            self.state = "running"

    def _watch(self) -> None:
        if self.backend.hello is not self._hello:
            self._end_without_answer(self._why_gone())
        elif self._asked_to_stop and time.monotonic() - self._asked_to_stop > _PATIENCE:
            self.backend.kill()
            self._end("cancelled")

    def _why_gone(self) -> Failure:
        stopped = Failure("The backend was stopped.", "Click again to start it anew.", "crash")
        return self.backend.exit or stopped

    def _take(self, answer: Answer) -> None:
        if isinstance(answer, Stopped):
            self._end_without_answer(self._why_gone())
        elif isinstance(answer, Failure):
            self._end_without_answer(answer)
        elif self._asked_to_stop is not None:
            if isinstance(answer, Result):  # too late to be stopped, but nobody wants it
                self._end("cancelled")
        elif isinstance(answer, Progress):
            self.fraction = min(1.0, max(self.fraction, answer.fraction))
            self.stage, self.seconds_left = answer.stage, answer.seconds_left
        elif isinstance(answer, Preview):
            self.preview = Path(answer.path)
        elif isinstance(answer, Result):
            self.result, self.fraction, self.seconds_left = answer, 1.0, 0.0
            self._end("done")

    def _end_without_answer(self, failure: Failure) -> None:
        if self._asked_to_stop is not None:
            self._end("cancelled")
        elif failure.kind == "memory" and not self._tried_again and self._lower_quality():
            self._try_again()
        else:
            self._fail(failure)

    def _lower_quality(self) -> str:
        """The next one down, or empty."""
        index = QUALITIES.index(self.request.quality)
        return QUALITIES[index - 1] if index else ""

    def _try_again(self) -> None:
        """Once more with less memory: parameters that qualities set are the quality's again."""
        tried, quality = self.request.quality, self._lower_quality()
        presets = METHODS[self.request.method].presets.values()
        of_quality = {name for preset in presets for name in preset}
        kept = {k: v for k, v in self.request.params.items() if k not in of_quality}
        dropped = sorted(self.request.params.keys() - kept)
        own = f", with that quality's {' and '.join(dropped)}" if dropped else ""
        self.notes.append(
            f"The memory did not suffice for {tried} quality; tried again at {quality}{own}."
        )
        self.request = replace(self.request, quality=quality, params=kept)
        self._tried_again = True
        self.state, self.fraction = "waiting", 0.0
        self.seconds_left = self.preview = None
        self.start()

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self._end("failed")

    def _end(self, state: State) -> None:
        self.state = state
        if state != "done":
            self.seconds_left = None
            if self._owns_folder:
                shutil.rmtree(Path(self.request.output).parent, ignore_errors=True)
