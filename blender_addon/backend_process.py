"""The backend as a child process: started, spoken to, watched and ended without ever waiting.

Blender does not support Python threads, so a timer calls :meth:`BackendProcess.poll`. It takes a
bounded amount of what the pipes hold and returns. All that the child says beside messages goes to
files: a full pipe would block it, and when it dies early its last words name the cause.

No bpy here.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..backend.protocol import (
    Answer,
    Failure,
    Heartbeat,
    Hello,
    Request,
    Shutdown,
    decode,
    encode,
)

SILENCE_LIMIT = 20.0
"""Seconds without a message, ten heartbeats, after which the backend is given up."""

# What one poll does at most: a few milliseconds' work.
_BYTES_A_POLL = 65_536
_LINES_A_POLL = 256

_LONGEST_LINE = 4_000_000  # bytes; no message comes near
_LONGEST_STEP = 1.0  # seconds of silence that one poll counts: Blender itself may have been busy
_TERMINATE_AFTER, _KILL_AFTER = 1.0, 2.0  # seconds after the input was closed
_NOTED_LINES = 20  # of those that are no messages


class BackendError(RuntimeError):
    """The backend cannot be started or spoken to: one sentence for the artist."""


# Pipes that never block ---------------------------------------------------------------------------

if sys.platform == "win32":
    # Written from Microsoft's and CPython's documentation; this branch has not been run yet.
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    _PIPE_NOWAIT = 1
    _PIECE = 1024  # a pipe takes a piece whole or not at all, and its buffer may be only 4 KiB

    def _handle(descriptor: int) -> wintypes.HANDLE:
        return wintypes.HANDLE(msvcrt.get_osfhandle(descriptor))

    def _make_non_blocking(reading: int, writing: int) -> None:
        mode = wintypes.DWORD(_PIPE_NOWAIT)
        set_state = ctypes.windll.kernel32.SetNamedPipeHandleState
        if not set_state(_handle(writing), ctypes.byref(mode), None, None):
            raise ctypes.WinError()

    def _read(descriptor: int) -> bytes | None:
        """What is there; None: nothing yet; empty: the other end is closed."""
        waiting = wintypes.DWORD()
        peek = ctypes.windll.kernel32.PeekNamedPipe
        if not peek(_handle(descriptor), None, 0, None, ctypes.byref(waiting), None):
            return b""
        size = min(waiting.value, _BYTES_A_POLL)
        return os.read(descriptor, size) if size else None

    def _write(descriptor: int, data: bytes | bytearray) -> int:
        """Number of bytes that were taken; 0: the pipe is full."""
        try:
            return os.write(descriptor, data[:_PIECE])
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EAGAIN):
                return 0
            raise

else:
    _CREATION_FLAGS = 0

    def _make_non_blocking(reading: int, writing: int) -> None:
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

    def _read(descriptor: int) -> bytes | None:
        """What is there; None: nothing yet; empty: the other end is closed."""
        try:
            return os.read(descriptor, _BYTES_A_POLL)
        except BlockingIOError:
            return None

    def _write(descriptor: int, data: bytes | bytearray) -> int:
        """Number of bytes that were taken; 0: the pipe is full."""
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            return 0


def _survive_broken_pipes() -> None:
    """Make a write to a child that is gone an error: Blender before 4.4 would die of it.

    Python does so by itself, except inside those Blenders (Blender's issue 129657).
    """
    if sys.platform != "win32" and signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def clean_environment() -> dict[str, str]:
    """The environment for another Python: without what Blender set for its own.

    UTF-8 everywhere, nothing from the user's own packages, and no byte code written, as the
    extension's folder may be read-only.
    """
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "__PYVENV"))}
    switched_on = ("PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONUTF8")
    return ours | dict.fromkeys(switched_on, "1")


# One run of the program ---------------------------------------------------------------------------


class _Child:
    """One run of the backend, from its start until it has been seen off.

    Attributes:
        silence: Seconds without a message, as far as polls saw them.
        drained: The last look into the pipe found it empty or closed.
        deaf: It no longer reads.
    """

    def __init__(self, command: Sequence[str], folder: Path, errors: IO[bytes]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            # No Ctrl-C that is meant for Blender, and no window.
            start_new_session=True,
            creationflags=_CREATION_FLAGS,
        )
        # Also when Blender leaves without a word, or this object is thrown away.
        weakref.finalize(self, _abandon, self.process)
        # Popen was asked for both pipes.
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout
        _make_non_blocking(self._output.fileno(), self._input.fileno())
        self._outgoing, self._incoming = bytearray(), bytearray()
        self._asked_to_leave: float | None = None
        self.silence = 0.0
        self.drained = self.deaf = False

    def say(self, message: Request) -> None:
        self._outgoing += encode(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write what the pipe takes."""
        written = 0
        try:
            while self._outgoing and not self.deaf and written < _BYTES_A_POLL:
                taken = _write(self._input.fileno(), self._outgoing)
                del self._outgoing[:taken]
                written += taken
                if not taken:
                    return
        except OSError:  # a broken pipe; that it ended is seen elsewhere
            self.deaf = True

    def lines(self) -> list[bytes]:
        """The next complete lines, a bounded number of them."""
        if b"\n" not in self._incoming:
            self._read_some()
        *lines, rest = self._incoming.split(b"\n", _LINES_A_POLL)
        if len(rest) > _LONGEST_LINE and b"\n" not in rest:
            lines, rest = [*lines, rest], bytearray()
        self._incoming = rest
        return [bytes(line) for line in lines]

    def _read_some(self) -> None:
        before = len(self._incoming)
        self.drained = False
        while not self.drained and len(self._incoming) - before < _BYTES_A_POLL:
            data = _read(self._output.fileno())
            self.drained = not data
            self._incoming += data or b""

    def has_ended(self) -> bool:
        """Whether the process is gone; takes its workers along and leaves no zombie."""
        if self.process.returncode is not None:
            return True
        if self.process.poll() is None:
            return False
        _kill_group(self.process)
        return True

    def close(self) -> None:
        """Close the pipes; without its input the backend ends by itself."""
        for pipe in (self._input, self._output):
            with suppress(OSError):
                pipe.close()

    def ask_to_leave(self) -> None:
        self.say(Shutdown())
        self._asked_to_leave = time.monotonic()
        self.close()

    def kill(self) -> None:
        if self.process.returncode is None:
            _kill_group(self.process)
        self.close()

    def urge(self) -> None:
        """Press harder the longer it stays after it was asked to leave."""
        if self._asked_to_leave is None or self.has_ended():
            return
        waited = time.monotonic() - self._asked_to_leave
        if waited > _KILL_AFTER:
            _kill_group(self.process)
        elif waited > _TERMINATE_AFTER:
            self.process.terminate()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and, where there are groups, the workers it started."""
    if sys.platform == "win32":
        process.kill()
        return
    # Nobody left; macOS says PermissionError when only a zombie is.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _abandon(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    _kill_group(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)


# Why it ended -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cause:
    """Recognised by an exit code or by a word in the last lines of stderr."""

    kind: str
    message: str
    hint: str
    codes: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    def fits(self, code: int, said: str) -> bool:
        return code in self.codes or any(word in said for word in self.words)


_LESS_MEMORY = "Choose a lower quality, or close other programs."
_OTHER_PYTHON = "Press Install or Repair in the preferences, or choose another Python there."
_CAUSES = (  # the first that fits; Windows' codes are its NTSTATUS values
    _Cause(
        "memory",
        "The system ended the backend, most likely because the memory is full",
        _LESS_MEMORY,
        codes=(-9, 137),
    ),
    _Cause(
        "memory",
        "The backend found no more memory",
        _LESS_MEMORY,
        codes=(0xC0000017, 0xC000012D),
        words=("bad_alloc", "memoryerror", "out of memory", "allocate memory"),
    ),
    _Cause(
        "library",
        "The chosen Python is too old for the backend, which needs 3.11 or later",
        "Choose a newer Python in the preferences, or press Install there.",
        words=("syntaxerror", "unsupported operand type(s) for |"),
    ),
    _Cause(
        "library",
        "The backend's own files are missing",
        "Install the extension again.",
        words=("no module named backend", "no module named 'backend"),
    ),
    _Cause(
        "library",
        "The chosen Python lacks a library that the backend needs",
        _OTHER_PYTHON,
        codes=(0xC0000135, 0xC0000139),
        words=(
            *("no module named", "importerror", "dll load failed", "library not loaded"),
            *("cannot open shared object", "undefined symbol", "symbol not found", "glibc"),
            *("is missing in", "fails to load in"),  # the backend's own sentences
        ),
    ),
    _Cause(
        "cuda",
        "The graphics card failed",
        "Choose the device CPU, or update the card's driver; the next click starts anew.",
        words=("cuda error", "cuda driver", "cuda runtime", "cudnn", "cublas", "nvrtc"),
    ),
)
_CRASH = _Cause(
    "crash",
    "The backend ended unexpectedly",
    "The next click starts it anew; its log may say more.",
)
_HUNG = _Cause(
    "crash",
    "The backend does not answer",
    "It was ended; the next click starts it anew. Its log may say more.",
)


def exit_failure(code: int, stderr: str) -> Failure:
    """Say in words why the backend ended by itself.

    Args:
        code: Its exit code; negative for a signal, as ``subprocess`` has it.
        stderr: The end of what it wrote there.
    """
    said_at_last = "" if code == 0 else stderr  # in an orderly end it is of something else
    lines = [line.strip() for line in said_at_last.splitlines() if line.strip()][-5:]
    said = "\n".join(lines).lower()
    cause = next((cause for cause in _CAUSES if cause.fits(code, said)), _CRASH)
    return _failure(cause, f" ({_code_in_words(code)})", lines)


def _failure(cause: _Cause, detail: str, lines: Sequence[str]) -> Failure:
    last = f": {lines[-1][:200].rstrip('.')}" if lines else ""
    return Failure(f"{cause.message}{detail}{last}.", cause.hint, cause.kind)


def _code_in_words(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code:#x}" if code > 0xFFFF else f"exit code {code}"


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 8192))
            return stream.read(8192).decode("utf-8", errors="replace")
    except OSError:
        return ""


# The backend --------------------------------------------------------------------------------------


class BackendProcess:
    """The backend, which may be down, starting, or running; started anew as often as needed.

    Attributes:
        hello: What it said of itself; None until then, and when it is down.
        heartbeat: Its last one; None likewise.
        exit: Why it ended by itself; None while it runs and after ``stop`` or ``kill``.
        stray_lines: How many lines of its output were no messages, since the last start.
        log_file: Its log.
        errors_file: What it wrote to stderr since the last start, beside the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log_file: Path,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        """Describe the program; nothing is started yet.

        Args:
            command: Python, and perhaps options of it.
            folder: The one that holds the folder ``backend``.
            log_file: For the backend's log; its folder is made when needed.
            silence_limit: Seconds without a message after which it counts as hung.
        """
        self.command, self.folder, self.log_file = tuple(command), folder, log_file
        self.errors_file = log_file.with_name(f"{log_file.stem}-errors{log_file.suffix}")
        self.hello: Hello | None = None
        self.heartbeat: Heartbeat | None = None
        self.exit: Failure | None = None
        self.stray_lines = 0
        self._silence_limit = silence_limit
        self._child: _Child | None = None
        self._leaving: list[_Child] = []
        self._polled = 0.0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; it may not have said Hello yet."""
        return self._child is not None

    def start(self) -> None:
        """Start it, unless it runs; its Hello comes with a later poll.

        Raises:
            BackendError: There is no such Python, or it cannot be run, or the log not written.
        """
        self._see_off()
        if self._child is not None:
            return
        self.exit, self.stray_lines, self._polled = None, 0, time.monotonic()
        _survive_broken_pipes()
        words = ("-m", "backend", "serve", "--log-file", os.fspath(self.log_file))
        with self._open_errors() as errors:
            try:
                self._child = _Child([*self.command, *words], self.folder, errors)
            except OSError as error:
                raise BackendError(self._why_not(error)) from error

    def _open_errors(self) -> IO[bytes]:
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            return self.errors_file.open("wb")
        except OSError as error:
            place = error.filename or self.errors_file
            message = f"The backend's log '{place}' cannot be written ({error.strerror})."
            raise BackendError(message) from error

    def _why_not(self, error: OSError) -> str:
        if not self.folder.is_dir():
            return f"The backend's folder '{self.folder}' is missing; install the extension again."
        remedy = "choose another in the preferences, or press Install there."
        if isinstance(error, FileNotFoundError):
            return f"There is no Python at '{self.command[0]}'; {remedy}"
        return f"'{self.command[0]}' cannot be run as Python ({error.strerror or error}); {remedy}"

    def send(self, message: Request) -> None:
        """Send a message; what the pipe does not take now goes with later polls.

        Raises:
            BackendError: The backend is down.
        """
        if self._child is None:
            raise BackendError("The backend is not running; start it first.")
        self._child.say(message)

    def poll(self) -> list[Answer]:
        """Send what waits, and return what has come; never waits and works for milliseconds."""
        self._see_off()
        child = self._child
        if child is None:
            return []
        child.flush()
        had_ended = child.has_ended()  # asked before reading, so that nothing is left unread
        lines = child.lines()
        answers = [a for a in map(self._understand, lines) if a is not None]
        self._remember(answers)
        self._listen(child, bool(answers))
        if had_ended and child.drained and not lines:
            self._ended(exit_failure(child.process.returncode, _tail(self.errors_file)))
        elif child.silence > self._silence_limit:
            self._give_up(child)
        return answers

    def stop(self, seconds: float = 0.0) -> None:
        """Ask it to end, a running job included, and wait for that no longer than ``seconds``.

        If it stays, later polls terminate and then kill it.
        """
        child = self._let_go()
        if child is not None:
            child.ask_to_leave()
        deadline = time.monotonic() + seconds
        self._see_off()
        while self._leaving and time.monotonic() < deadline:
            time.sleep(0.01)
            self._see_off()

    def kill(self) -> None:
        """End it at once, with all that it is doing; waits for nothing."""
        child = self._let_go()
        if child is not None:
            child.kill()

    def _understand(self, line: bytes) -> Answer | None:
        if not line.strip():
            return None
        try:
            message = decode(line.decode())
        except ValueError:
            message = None
        if isinstance(message, Answer):
            return message
        self.stray_lines += 1
        if self.stray_lines <= _NOTED_LINES:
            self._note(line)
        return None

    def _note(self, line: bytes) -> None:
        text = line[:200].decode("utf-8", errors="backslashreplace")
        # The note is a help; a full disk is not to stop the job.
        with suppress(OSError), self.log_file.open("a", encoding="utf-8") as log:
            log.write(f"add-on: the backend's output had a line that is no message: {text!r}\n")

    def _remember(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            if isinstance(answer, Hello):
                self.hello = answer
            elif isinstance(answer, Heartbeat):
                self.heartbeat = answer

    def _listen(self, child: _Child, heard: bool) -> None:
        """Count the silence; one that no longer reads counts as silent."""
        now = time.monotonic()
        step = min(now - self._polled, _LONGEST_STEP)
        self._polled = now
        child.silence = 0.0 if heard and not child.deaf else child.silence + step

    def _give_up(self, child: _Child) -> None:
        child.kill()
        lines = _tail(self.errors_file).split("\n")
        detail = f" (nothing heard for {child.silence:.0f} s)"
        self._ended(_failure(_HUNG, detail, [line for line in lines if line.strip()]))

    def _ended(self, failure: Failure) -> None:
        child = self._let_go()
        if child is not None:
            child.close()
        self.exit = failure

    def _let_go(self) -> _Child | None:
        child, self._child = self._child, None
        self.hello = self.heartbeat = None
        if child is not None:
            self._leaving.append(child)
        return child

    def _see_off(self) -> None:
        for child in self._leaving:
            child.urge()
        self._leaving = [child for child in self._leaving if not child.has_ended()]
