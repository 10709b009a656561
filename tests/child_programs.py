"""Small programs in the place of the backend, which misbehave as it could but never should.

A program stands as ``backend/__main__.py`` in a folder of its own, and is started, spoken to and
watched as the real one is.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from tests.addon_parts import backend_process

PRELUDE = """
import json, os, signal, subprocess, sys, time

def say(type, **fields):
    sys.stdout.write(json.dumps(dict(type=type, **fields)) + "\\n")
    sys.stdout.flush()

def hello():
    say("Hello", version="0", python="3", torch="2", devices=[], speed=1.0, process=os.getpid())

def beat():
    say("Heartbeat", memory_gib=1.0)

def ask():
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit()
"""


class Programs:
    """Describes backends that run a test's programs, and ends them after it.

    Args:
        folder: For the programs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[backend_process.BackendProcess] = []

    def __call__(self, program: str, **words: float) -> backend_process.BackendProcess:
        folder = self._folder / f"extension {len(self._made)}"
        (folder / "backend").mkdir(parents=True)
        text = PRELUDE + textwrap.dedent(program)
        (folder / "backend" / "__main__.py").write_text(text, encoding="utf-8")
        log = folder / "backend.log"
        backend = backend_process.BackendProcess([sys.executable], folder, log, **words)
        self._made.append(backend)
        return backend

    def end(self) -> None:
        for backend in self._made:
            backend.kill()
            until(lambda one=backend: not one.poll() and not leaving(one))


def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def leaving(backend: backend_process.BackendProcess) -> bool:
    """Whether a process of an earlier run has not been seen off."""
    return bool(backend._leaving)


def state(process: int) -> str:
    """The letter of ``/proc``: Z for one that ended and whose parent did not notice; or empty."""
    try:
        os.kill(process, 0)
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return ""
    return text.rpartition(")")[2].split()[0]


def is_alive(process: int) -> bool:
    return state(process) not in ("", "Z")


def started(backend: backend_process.BackendProcess) -> int:
    """Start it, wait for its Hello, and return its process number."""
    backend.start()
    until(lambda: backend.poll() is None or backend.hello or not backend.running)
    assert backend.hello is not None, backend.exit
    return backend.hello.process
