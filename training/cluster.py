"""``render --cluster``: a renderer's shards spread over a Ray cluster.

Each shard is one Ray task, which runs the renderer's command with ``--shard I/N`` as a child
process. Ray decides where and when, starts a task anew whose machine was lost, and reports. Because
a renderer passes over finished objects, a task that starts anew does only what is missing. The
dataset's folder must be the same path on every machine; the machines need Ray and the renderer, not
this project.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backend.errors import InputError

_LAST_WORDS = 1500  # characters of a child's output that are kept
# Ends the renderer and what it started when standard input ends, which the task holds open.
_LEASH = """
import os, signal, subprocess, sys, threading

posix = os.name == "posix"
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=posix)

def hold():
    sys.stdin.buffer.read()
    os.killpg(child.pid, signal.SIGKILL) if posix else child.kill()

threading.Thread(target=hold, daemon=True).start()
os._exit(child.wait() % 256)
"""
# Ray kills the children of a worker that ends, but not theirs; so the leash is no child.
_STARTER = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@dataclass(frozen=True)
class ShardEnd:
    """How one shard ended.

    Attributes:
        shard: ``I/N``.
        code: The renderer's exit code; 0 done, None where Ray gave up.
        output: The last of what it said.
    """

    shard: str
    code: int | None
    output: str = ""


def render_on_cluster(
    command: Sequence[str],
    address: str,
    shards: int,
    workers: int | None = None,
    cpus: float = 1.0,
    retries: int = 5,
    report: Callable[[int, ShardEnd], None] = lambda done, end: None,
) -> list[ShardEnd]:
    """Run a renderer's command on a Ray cluster, once for each shard.

    Args:
        command: Without ``--shard``.
        address: Of the cluster, or ``"local"`` for one on this machine alone.
        shards: How many tasks the objects are spread over.
        workers: Tasks at a time with ``"local"``; as many as there are processors if None.
        cpus: Processors that one task takes.
        retries: How often a task is started anew whose machine or process was killed.
        report: Told of each shard as it ends, with how many have ended.

    Returns:
        How each shard ended, in order.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()
    _connect(ray, address, workers)
    try:
        task = ray.remote(num_cpus=cpus, max_retries=retries, retry_exceptions=[ChildProcessError])
        run = task(_run_shard)
        names = [f"{number}/{shards}" for number in range(1, shards + 1)]
        waiting = {run.remote(list(command), name): name for name in names}
        ends: dict[str, ShardEnd] = {}
        while len(ends) < shards:
            ready, _ = ray.wait([r for r, name in waiting.items() if name not in ends])
            for reference in ready:
                end = _end(ray, reference, waiting[reference])
                ends[end.shard] = end
                report(len(ends), end)
        return [ends[name] for name in names]
    finally:
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "Ray is not installed; install it with: pip install 'image-to-mesh[cluster]'."
        ) from error
    # The tasks' code travels with them, so that the machines need not have this project.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            _check_listening(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"there is no Ray cluster at '{address}': {said}") from error


def _check_listening(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: Nothing listens at ``host:port``.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _run_shard(command: list[str], shard: str) -> tuple[int, str]:
    """In a Ray worker: run the renderer on one shard; its exit code and last words.

    Between the two stand small processes that end the renderer when the worker is gone, so that
    no renderer goes on unseen beside the one that was started in its place.

    Raises:
        ChildProcessError: The renderer was killed; Ray tries again.
    """
    leash = [sys.executable, "-c", _LEASH, *command, "--shard", shard]
    child = subprocess.Popen(
        [sys.executable, "-c", _STARTER, *leash],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert child.stdout
    said = b""
    while block := os.read(child.stdout.fileno(), 65536):
        said = (said + block)[-_LAST_WORDS:]
    code = child.wait()
    text = said.decode(errors="replace")
    if code < 0 or code > 128:
        raise ChildProcessError(f"the renderer was killed (exit code {code}); it said: {text}")
    return code, text


def _end(ray: Any, reference: Any, shard: str) -> ShardEnd:
    try:
        code, text = ray.get(reference)
    except ray.exceptions.RayError as error:
        with suppress(AttributeError):
            error = error.cause or error
        return ShardEnd(shard, None, " ".join(str(error).split())[-_LAST_WORDS:])
    return ShardEnd(shard, code, text)
