"""``python -m backend serve``: requests in, answers out, one JSON object a line.

Of its threads one decides: the main thread alone holds the state, writes the answers and starts and
ends the worker. One thread reads standard input and one the worker's pipe; both only put what they
read into the main thread's queue, which works the same on every system.

Nothing but answers reaches standard output, whatever a library may print: the process keeps it for
itself and gives its children, and its own ``print``, standard error instead.

Imports no torch, which lives in the worker.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import logging.handlers
import os
import platform
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from . import __version__, machine, protocol
from .checkpoints import find_checkpoints
from .errors import InputError
from .job_files import JobFiles
from .methods import METHODS
from .methods.interface import MethodSpec
from .protocol import (
    Answer,
    Cancel,
    Checkpoints,
    Failure,
    FindMask,
    Heartbeat,
    Hello,
    ListCheckpoints,
    ListMethods,
    Methods,
    Preview,
    Progress,
    Reconstruct,
    ReleaseMemory,
    Shutdown,
    Stopped,
)
from .worker import STOPPED, Ending, Holding, Work, Worker, describe

HEARTBEAT_SECONDS = 2.0
COOPERATION_SECONDS = 0.6
"""How long a cancelled job may take to stop by itself before its process is ended."""

_LOG_BYTES, _LOG_FILES = 1_000_000, 2
_FAREWELL_SECONDS = 2.0
_WORKER_IS_LOST = ("memory", "cuda", "library", "crash")

log = logging.getLogger("image_to_mesh")


class ReaderGone(Exception):
    """Nobody reads the answers any more."""


def serve(log_file: str = "") -> None:
    """Answer until standard input closes.

    Args:
        log_file: Where the log goes; standard error if empty or if it cannot be written.

    Raises:
        SystemExit: This Python is not one for the backend; better said before the hello than by the
            first job.
    """
    if importlib.util.find_spec("numpy") is None:
        sys.exit("No module named 'numpy'")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Blender's Ctrl-C here too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    requests, answers = _private_streams()
    _start_log(log_file)
    try:
        Server(lambda answer: _write(answers, answer)).run(requests)
    except ReaderGone:
        log.info("nobody reads the answers any more")
    finally:
        logging.shutdown()


@dataclass
class _Job:
    """The request that the worker is at, and the worker's process.

    Attributes:
        may_begin_again: The worker has worked before, and of this job nothing was heard yet.
    """

    request: Work
    files: JobFiles
    process: int
    may_begin_again: bool
    kill_at: float = inf

    @property
    def is_cancelled(self) -> bool:
        return self.kill_at < inf


class Server:
    """The state of the service.

    Args:
        send: Takes the answers; raises :class:`ReaderGone` when nobody does.
    """

    def __init__(self, send: Callable[[Answer], None]) -> None:
        self._send = send
        self._events: queue.SimpleQueue[tuple[Callable[[Any], None], Any]] = queue.SimpleQueue()
        self._worker: Worker | None = None
        self._worker_is_warm = False
        self._device_memory_gib = 0.0
        self._job: _Job | None = None
        self._waiting: deque[Work] = deque()
        self._release_wanted = False
        self._beat_at = 0.0
        self._is_running = True

    def run(self, requests: int) -> None:
        """Answer what comes from the file descriptor ``requests`` until it closes."""
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        try:
            self._send(hello())
            self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
            while self._is_running:
                self._handle_next()
        finally:
            self._stop_everything()

    def _read(self, requests: int) -> None:
        """Put every line into the queue; runs in a thread of its own."""
        rest = b""
        with suppress(OSError):
            while chunk := os.read(requests, 1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, map(bytes.strip, lines)):
                    self._events.put((self._hear, line.decode("utf-8", "replace")))
        self._events.put((self._end, "standard input closed"))
        # The main thread may hang in an answer that nobody reads; it must not outlive its parent.
        time.sleep(_FAREWELL_SECONDS)
        os._exit(1)

    def _handle_next(self) -> None:
        kill_at = self._job.kill_at if self._job else inf
        due = min(self._beat_at, kill_at) - time.monotonic()
        with suppress(queue.Empty):
            handle, what = self._events.get(timeout=max(due, 0.0))
            try:
                handle(what)
            except ReaderGone:
                raise
            except Exception as error:
                log.exception("unexpected error of the service itself")
                self._send(Failure(f"unexpected {type(error).__name__}: {error}.", "See the log."))
        self._keep_time()

    def _keep_time(self) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + HEARTBEAT_SECONDS
            self._send(self._heartbeat())
        if self._job and now >= self._job.kill_at:
            log.info("job '%s' did not stop by itself", self._job.request.job)
            self._drop_worker()
            self._finish(Ending(STOPPED, "stopped."))

    def _heartbeat(self) -> Heartbeat:
        processes = [os.getpid(), *([self._worker.pid] if self._worker else [])]
        held = sum(map(machine.process_memory, processes)) / machine.GIB
        return Heartbeat(round(held, 3), self._device_memory_gib)

    # Requests

    def _hear(self, line: str) -> None:
        handlers: dict[type, Callable[[Any], None]] = {
            Reconstruct: self._accept,
            FindMask: self._accept,
            Cancel: self._cancel,
            ListMethods: lambda _: self._send(Methods(list_methods())),
            ListCheckpoints: self._list_checkpoints,
            ReleaseMemory: self._release,
            Shutdown: lambda _: self._end("shutdown asked for"),
        }
        try:
            request = protocol.decode(line)
            handle = handlers.get(type(request))
            if handle is None:
                raise ValueError(f"{type(request).__name__} is an answer")
        except ValueError as error:
            log.warning("not a request (%s): %.500s", error, line)
            hint = "Add-on and backend may be of different versions; restart or reinstall them."
            self._send(Failure(f"not a request: {error}.", hint, "input", _job_in(line)))
            return
        handle(request)

    def _accept(self, request: Work) -> None:
        at_work = [*([self._job.request] if self._job else []), *self._waiting]
        busy = any(isinstance(other, Reconstruct) for other in at_work)
        if busy and isinstance(request, Reconstruct):
            text, hint = "another job is running.", "Wait until it has ended, or cancel it."
            self._send(Failure(text, hint, "input", request.job))
            return
        self._waiting.append(request)
        self._start_next()

    def _cancel(self, message: Cancel) -> None:
        if self._job and self._worker and self._job.request.job == message.job:
            if not self._job.is_cancelled:
                self._job.kill_at = time.monotonic() + COOPERATION_SECONDS
                self._worker.send(message)
            return
        for request in [r for r in self._waiting if r.job == message.job]:
            self._waiting.remove(request)
            self._send(Stopped(request.job))

    def _list_checkpoints(self, request: ListCheckpoints) -> None:
        try:
            found, refused = find_checkpoints(Path(request.folder))
        except InputError as error:
            self._send(Failure(str(error), kind="input"))
        else:
            self._send(Checkpoints(request.folder, found, refused))

    def _release(self, _: ReleaseMemory) -> None:
        self._release_wanted = self._job is not None
        if self._job is None:
            self._drop_worker()
            self._beat_at = 0.0  # shows what is left

    def _end(self, why: str) -> None:
        log.info("ending: %s", why)
        self._is_running = False

    # Jobs

    def _start_next(self) -> None:
        if self._job or not self._waiting:
            return
        request = self._waiting.popleft()
        log.info("%s", request)
        try:
            worker = self._ready_worker()
        except OSError as error:
            log.exception("no worker could be started")
            self._send(describe(error).as_failure(request.job))
            return
        self._job = _Job(request, JobFiles(request), worker.pid, self._worker_is_warm)
        worker.send(request)

    def _ready_worker(self) -> Worker:
        if self._worker and not self._worker.is_alive:
            self._drop_worker()
        if self._worker is None:
            self._worker = Worker()
            log.info("worker %d started", self._worker.pid)
            threading.Thread(target=self._listen, args=(self._worker,), daemon=True).start()
        return self._worker

    def _listen(self, worker: Worker) -> None:
        """Put every message of a worker into the queue; runs in a thread of its own."""
        while True:
            message = worker.receive()
            self._events.put((self._hear_worker, (worker, message)))
            if worker.has_ended:
                return

    def _hear_worker(self, event: tuple[Worker, Any]) -> None:
        worker, message = event
        if worker is not self._worker:
            return  # it has been ended meanwhile
        if isinstance(message, Holding):
            self._device_memory_gib = message.device_memory_gib
        elif self._job is None:
            log.info("the idle worker ended: %s", message)
            self._drop_worker()
        elif isinstance(message, (Progress, Preview)):
            self._job.may_begin_again = False
            if not self._job.is_cancelled:
                self._send(message)
        elif worker.has_ended and self._job.may_begin_again and not self._job.is_cancelled:
            # It was dying while idle, which the system tells only when its last thread is gone.
            self._waiting.appendleft(self._job.request)
            self._job = None
            self._drop_worker()
            self._start_next()
        else:
            self._finish(message)

    def _finish(self, answer: Answer | Ending) -> None:
        """Answer the running job and go on."""
        assert self._job is not None
        job, self._job = self._job, None
        self._worker_is_warm = True
        if self._release_wanted or (isinstance(answer, Ending) and answer.kind in _WORKER_IS_LOST):
            self._drop_worker()
        self._release_wanted = False
        if isinstance(answer, Ending) or job.is_cancelled:
            job.files.remove(job.process)
        self._send(_final(answer, job))
        self._start_next()

    def _drop_worker(self) -> None:
        """End the worker with all that it holds."""
        if self._worker:
            log.info("worker %d ends", self._worker.pid)
            self._worker.kill()
        self._worker, self._worker_is_warm, self._device_memory_gib = None, False, 0.0

    def _stop_everything(self) -> None:
        self._drop_worker()
        if self._job:
            self._job.files.remove(self._job.process)
        with suppress(ReaderGone):
            for request in [*([self._job.request] if self._job else []), *self._waiting]:
                self._send(Stopped(request.job))


def _final(answer: Answer | Ending, job: _Job) -> Answer:
    name = job.request.job
    if isinstance(answer, Ending):
        if job.is_cancelled or answer.exit_code == STOPPED:
            log.info("job '%s' stopped", name)
            return Stopped(name)
        log.error("job '%s' failed: %s\n%s", name, answer.message, answer.details)
        return answer.as_failure(name)
    log.info("%s", answer)
    return Stopped(name) if job.is_cancelled else answer


def hello() -> Hello:
    """The first message: what there is to work with."""
    return Hello(
        version=__version__,
        python=platform.python_version(),
        torch=machine.torch_version(),
        devices=machine.devices(),
        speed=machine.speed(),
        process=os.getpid(),
    )


def list_methods() -> tuple[dict[str, Any], ...]:
    """Every method and its parameters as plain data."""
    return tuple(_method_as_data(spec) for spec in METHODS.values())


def _method_as_data(spec: MethodSpec) -> dict[str, Any]:
    words = ("name", "label", "summary", "citation", "minimum_views", "needs_cameras")
    params = [
        {"name": f.name, "type": type(f.default).__name__, "default": f.default, **f.metadata}
        for f in dataclasses.fields(spec.params)
    ]
    presets = {quality: dict(values) for quality, values in spec.presets.items()}
    data = {word: getattr(spec, word) for word in (*words, "needs_checkpoint")}
    return data | {"params": params, "presets": presets}


def _job_in(line: str) -> str:
    """The name of the job in a line that is no message, so that whoever waits for it hears."""
    with suppress(ValueError, RecursionError):
        data = json.loads(line)
        if isinstance(data, dict) and isinstance(data.get("job"), str):
            return data["job"]
    return ""


# Streams and log ---------------------------------------------------------------------------------


def _private_streams() -> tuple[int, int]:
    """Descriptors of standard input and output that no other code and no child can reach."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # started without standard error
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    return requests, answers


def _write(answers: int, answer: Answer) -> None:
    data = protocol.encode(answer).encode() + b"\n"
    try:
        while data:
            data = data[os.write(answers, data) :]
    except OSError:
        raise ReaderGone from None


def _start_log(log_file: str) -> None:
    handler: logging.Handler = logging.StreamHandler()
    problem = ""
    if log_file:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                log_file, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
            )
        except OSError as error:
            problem = f"cannot write the log {log_file}: {error}"
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.info("image-to-mesh %s, process %d, %s", __version__, os.getpid(), sys.executable)
    if problem:
        log.warning(problem)
