"""One reconstruction in a process of its own.

Native code, above all the unwrapper of textures, holds Python for seconds and sees no Ctrl-C. A
process can be stopped at any moment, and a crash or the system's out-of-memory killer ends only it,
so that there is always somebody left to say what happened and to tidy up.

This file imports neither torch nor anything else that is slow; the child does.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .errors import Cancelled, InputError, ReconstructionError
from .protocol import Progress, Reconstruct, Result

BAD_INPUT, FAILURE, STOPPED = 2, 1, 130
"""Exit codes; the last is what a shell gives for Ctrl-C."""

_LESS_MEMORY = "lower --quality or --param resolution, or use --device cpu"
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ending:
    """A job that ended without a result.

    Attributes:
        exit_code: One of the three above.
        message: One sentence for the user.
        details: The traceback, for ``--debug``.
    """

    exit_code: int
    message: str
    details: str = ""


def describe(error: BaseException) -> Ending:
    """Say what an exception means to the user."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return Ending(STOPPED, "stopped; nothing was written.", details)
    if isinstance(error, InputError):
        return Ending(BAD_INPUT, str(error), details)
    if isinstance(error, ReconstructionError):
        return Ending(FAILURE, str(error), details)
    if _is_out_of_memory(error):
        return Ending(FAILURE, f"{_whose_memory(error)} is full; {_LESS_MEMORY}.", details)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Ending(FAILURE, f"{place}{error.strerror or error}.", details)
    said = " ".join(str(error).split())
    message = f"unexpected {type(error).__name__}: {said}; run again with --debug to see where."
    return Ending(FAILURE, message, details)


def _is_out_of_memory(error: BaseException) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return named or any(word in str(error).lower() for word in words)


def _whose_memory(error: BaseException) -> str:
    said = str(error)
    return next((f"the memory of the {d} device" for d in ("CUDA", "MPS") if d in said), "memory")


def attempt(request: Reconstruct, show: Callable[[Progress], None]) -> Result | Ending:
    """Reconstruct in this process; every exception becomes an ``Ending``."""

    def report(fraction: float, message: str, preview: Any = None) -> None:
        show(Progress(fraction, message))

    try:
        from .pipeline import reconstruct

        return reconstruct(request, report)
    except Exception as error:
        return describe(error)


def run(request: Reconstruct, show: Callable[[Progress], None]) -> Result | Ending:
    """Reconstruct in a child process and wait for its end.

    Args:
        request: What is wanted.
        show: Called here with the child's progress.

    Raises:
        KeyboardInterrupt: As it came; the child is gone and has left no unfinished files.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(request, sender), daemon=True)
    try:
        _start_deaf(child)
        sender.close()
        return _answer(receiver, child, show)
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
            _remove_unfinished(request, child.pid)


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


def _child(request: Reconstruct, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    try:
        sender.send(attempt(request, sender.send))
    except BrokenPipeError:
        return  # the parent is gone


def _answer(
    receiver: Connection, child: BaseProcess, show: Callable[[Progress], None]
) -> Result | Ending:
    while True:
        if not receiver.poll(_POLL_SECONDS):
            continue
        try:
            message = receiver.recv()
        except EOFError:
            child.join()
            return _crash(child.exitcode)
        if not isinstance(message, Progress):
            return message
        show(message)


def _crash(exit_code: int | None) -> Ending:
    """Killed: seen from here, a lack of memory looks like any other kill."""
    if exit_code == -9:
        return Ending(
            FAILURE,
            f"the system ended the work, most likely because memory is full; {_LESS_MEMORY}.",
        )
    return Ending(
        FAILURE, f"the work ended by itself with exit code {exit_code}; please report it."
    )


def _remove_unfinished(request: Reconstruct, pid: int) -> None:
    """Delete what a killed child was writing; ``mesh_files.write_files`` names the files so."""
    for place in filter(None, (request.output, request.preview)):
        for part in Path(place).parent.glob(f".*.{pid}.part"):
            part.unlink(missing_ok=True)
