"""The work in a process of its own.

Native code, above all the unwrapper of textures, holds Python for seconds and sees no Ctrl-C. A
process can be stopped at any moment, and a crash or the system's out-of-memory killer ends only it,
so that there is always somebody left to say what happened and to tidy up.

The command line works off one request in it; the service keeps it, and the torch that it has
loaded, for the next. This file imports neither torch nor anything else slow; the child does.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from . import machine
from .errors import Cancelled, InputError, ReconstructionError
from .job_files import JobFiles
from .progress import Reporter
from .protocol import Cancel, Failure, FindMask, Mask, Preview, Progress, Reconstruct, Result

BAD_INPUT, FAILURE, STOPPED = 2, 1, 130
"""Exit codes; the last is what a shell gives for Ctrl-C."""

_LESS_MEMORY = "Lower the quality or the resolution, or use the device cpu."
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",  # of CUDA's libraries
)
_CUDA_WORDS = ("cuda error", "cudnn", "cublas", "cufft", "cusolver", "cusparse", "nvrtc")
_WINDOWS_OUT_OF_MEMORY = (0xC0000017, 0xC000012D)  # STATUS_NO_MEMORY, STATUS_COMMITMENT_LIMIT
_POLL_SECONDS = 0.1

Work = Reconstruct | FindMask


@dataclass(frozen=True)
class Ending:
    """A job that ended without a result.

    Attributes:
        exit_code: One of the three above.
        message: One sentence for the user.
        details: The traceback, for ``--debug`` and the log.
        hint: What to do, where the message does not say it already.
        kind: One of ``protocol.FAILURE_KINDS``.
    """

    exit_code: int
    message: str
    details: str = ""
    hint: str = ""
    kind: str = "failure"

    def as_failure(self, job: str) -> Failure:
        """The same as a message."""
        return Failure(self.message, self.hint, self.kind, job)


@dataclass(frozen=True)
class Holding:
    """What the child holds on the device, in GiB; told during and after each job."""

    device_memory_gib: float


# What went wrong ---------------------------------------------------------------------------------


def describe(error: BaseException) -> Ending:
    """Say what an exception means to the user."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return Ending(STOPPED, "stopped; nothing was written.", details)
    if isinstance(error, InputError):
        return Ending(BAD_INPUT, str(error), details, kind="input")
    if isinstance(error, ReconstructionError):
        return Ending(FAILURE, str(error), details)
    if isinstance(error, ImportError):
        return _missing_library(error, details)
    if _is_out_of_memory(error):
        message = f"{_whose_memory(error)} is full."
        return Ending(FAILURE, message, details, _LESS_MEMORY, "memory")
    return _described_by_its_words(error, details)


def _described_by_its_words(error: BaseException, details: str) -> Ending:
    said = " ".join(str(error).split())
    if any(word in said.lower() for word in _CUDA_WORDS):
        hint = "Try again; if it comes back, update the NVIDIA driver or use the device cpu."
        return Ending(FAILURE, f"the CUDA device failed: {said[:200]}.", details, hint, "cuda")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Ending(FAILURE, f"{place}{error.strerror or error}.", details)
    hint = "The log, or the command line with --debug, shows where."
    return Ending(FAILURE, f"unexpected {type(error).__name__}: {said}.", details, hint)


def _missing_library(error: BaseException, details: str) -> Ending:
    name = getattr(error, "name", None)
    lacks = isinstance(error, ModuleNotFoundError) and name
    what = f"the library {name} is missing in" if lacks else f"a library ({error}) fails to load in"
    hint = "Repair the backend's installation, or choose a Python that has its libraries."
    return Ending(FAILURE, f"{what} {sys.executable}.", details, hint, "library")


def _is_out_of_memory(error: BaseException) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(word in str(error).lower() for word in _MEMORY_WORDS)


def _whose_memory(error: BaseException) -> str:
    said = str(error)
    return next((f"the memory of the {d} device" for d in ("CUDA", "MPS") if d in said), "memory")


def _crash(exit_code: int | None) -> Ending:
    """Killed: seen from here, a lack of memory looks like any other kill."""
    if exit_code == -9 or exit_code in _WINDOWS_OUT_OF_MEMORY:
        message = "the system ended the work, most likely because memory is full."
        return Ending(FAILURE, message, "", _LESS_MEMORY, "memory")
    message = f"the work ended by itself with exit code {exit_code}."
    return Ending(FAILURE, message, "", "Try again; if it comes back, please report it.", "crash")


# The child ---------------------------------------------------------------------------------------


def attempt(
    request: Reconstruct,
    show: Callable[[Progress | Preview], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Result | Ending:
    """Reconstruct in this process; every exception becomes an ``Ending``."""
    if "torch" not in sys.modules:
        show(Progress(0.0, "loading torch", request.job))
    try:
        from .pipeline import reconstruct
    except Exception as error:  # libraries that do not fit each other fail in many ways
        ending = describe(error)
        return ending if ending.kind == "memory" else _missing_library(error, ending.details)
    try:
        _reset_peaks()
        result = reconstruct(request, Reporter(request, show, is_cancelled))
        return dataclasses.replace(result, peak_memory_gib=_peak_memory_gib())
    except Exception as error:
        return describe(error)


def attempt_mask(request: FindMask) -> Mask | Ending:
    """Find a mask in this process; every exception becomes an ``Ending``."""
    try:
        from .inputs import write_mask

        return write_mask(request)
    except Exception as error:
        return describe(error)


def _device() -> Any:
    """``torch.cuda``, if this process uses it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _reset_peaks() -> None:
    machine.reset_peak_memory()
    if device := _device():
        device.reset_peak_memory_stats()


def _peak_memory_gib() -> float:
    device = _device()
    on_device = device.max_memory_reserved() if device else 0
    return round((machine.peak_memory() + on_device) / machine.GIB, 3)


def _holding() -> Holding:
    device = _device()
    return Holding(round(device.memory_reserved() / machine.GIB, 3) if device else 0.0)


def _work(connection: Connection) -> None:
    """Work off requests until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    if sys.stderr is not None:
        faulthandler.enable()
    requests: queue.SimpleQueue[Work] = queue.SimpleQueue()
    cancelled = threading.Event()
    listener = threading.Thread(target=_listen, args=(connection, requests, cancelled), daemon=True)
    listener.start()

    def show(message: Progress | Preview) -> None:
        connection.send(message)
        if _device():
            connection.send(_holding())

    while True:
        request = requests.get()
        if isinstance(request, FindMask):
            answer = attempt_mask(request)
        else:
            answer = attempt(request, show, cancelled.is_set)
        connection.send(_holding())
        connection.send(answer)


def _listen(
    connection: Connection, requests: queue.SimpleQueue[Work], cancelled: threading.Event
) -> None:
    """Hear requests and Cancel during the work; end the process when nobody is left to work for."""
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        if isinstance(message, Cancel):
            cancelled.set()
        else:
            cancelled.clear()
            requests.put(message)


# The parent's side -------------------------------------------------------------------------------


class Worker:
    """A child process that works off one request after the other.

    Attributes:
        has_ended: Whether :meth:`receive` has found it dead.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self._asking = threading.Lock()  # of two threads that ask at once, one is told nothing
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._child = context.Process(target=_work, args=(other,), daemon=True)
        _start_deaf(self._child)
        other.close()

    @property
    def pid(self) -> int:
        """The operating system's number for it."""
        assert self._child.pid is not None
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        with self._asking:
            return self._child.is_alive()

    def send(self, message: Work | Cancel) -> None:
        """Hand over a request, or Cancel for the one that it is at; nothing if it has died."""
        with suppress(OSError):
            self._connection.send(message)

    def receive(self, seconds: float | None = None) -> Any:
        """The child's next message, which is an ``Ending`` when it has died.

        Args:
            seconds: Longest time to wait, after which None is returned; None waits for ever.
        """
        try:
            if seconds is not None and not self._connection.poll(seconds):
                return None
            return self._connection.recv()
        except (EOFError, OSError):
            with self._asking:
                self._child.join()
                self.has_ended = True
            return _crash(self._child.exitcode)

    def kill(self) -> None:
        """End the child, whatever it is doing; it is gone when this returns."""
        self._child.kill()
        with self._asking:
            self._child.join()


def run(request: Reconstruct, show: Callable[[Progress], None]) -> Result | Ending:
    """Reconstruct in a child process and wait for its end.

    Args:
        request: What is wanted.
        show: Called here with the child's progress.

    Raises:
        KeyboardInterrupt: As it came; the child is gone and has left no unfinished files.
    """
    files = JobFiles(request)
    worker = Worker()
    try:
        worker.send(request)
        while True:
            message = worker.receive(_POLL_SECONDS)
            if isinstance(message, Progress):
                show(message)
            elif isinstance(message, (Result, Ending)):
                return message
    finally:
        worker.kill()
        files.remove_parts(worker.pid)


def _start_deaf(child: BaseProcess) -> None:
    """Start a child that ignores Ctrl-C, which a terminal sends to both."""
    try:
        hearing = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, to which signals do not come
        child.start()
        return
    try:
        child.start()
    finally:
        signal.signal(signal.SIGINT, hearing)
