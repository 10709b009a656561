"""How long a reconstruction will take, and how much memory: told before the click.

From earlier runs on this machine or, without any, from each method's own numbers and the speed
that the backend measured. No bpy here.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ..backend.methods import METHODS
from ..backend.protocol import Reconstruct, Result

REFERENCE_VIEWS = 8
"""Number of views for which the methods state their seconds."""

_KEPT_RUNS = 20
_GIB = 2**30
_SLOWEST = 0.05  # of the reference machine; less is a measurement gone wrong


@dataclass(frozen=True)
class Estimate:
    """What a reconstruction will need.

    Attributes:
        seconds: From the click to the mesh, on a backend that runs.
        memory_gib: At its highest.
        source: Where the numbers come from.
    """

    seconds: float
    memory_gib: float
    source: Literal["earlier runs", "calibration"]

    @property
    def words(self) -> str:
        """Such as "about 20 s, 1 GiB"."""
        return f"about {_time_in_words(self.seconds)}, {_memory_in_words(self.memory_gib)}"

    def warning(self, available_gib: float | None) -> str:
        """A sentence when the memory is too small for it, else empty; None: not known."""
        if available_gib is None or self.memory_gib <= available_gib:
            return ""
        return (
            f"This needs about {_memory_in_words(self.memory_gib)} of memory and only "
            f"{_memory_in_words(available_gib)} is free; choose a lower quality or close other "
            "programs."
        )


@dataclass(frozen=True)
class _Run:
    views: int
    seconds: float
    memory_gib: float


class Estimates:
    """The history of finished runs in a JSON file, and what it lets expect."""

    def __init__(self, file: Path) -> None:
        """Read the history; a missing or damaged file is an empty one."""
        self._file = file
        self._runs = _read(file)

    def record(self, request: Reconstruct, views: int, result: Result) -> None:
        """Remember a finished run; those with parameters of the artist's own are kept apart.

        A file that cannot be written is no reason to trouble anybody; the run is then remembered
        until Blender is closed.
        """
        self._runs = _read(self._file) or self._runs  # another Blender may have added some
        key = _key(result.method, result.quality, result.device, request.params)
        run = _Run(views, result.seconds, result.peak_memory_gib)
        self._runs[key] = [*self._runs.get(key, []), run][-_KEPT_RUNS:]
        with suppress(OSError):
            self._write()

    def expect(
        self,
        method: str,
        quality: str,
        device: str,
        views: int,
        speed: float,
        params: Mapping[str, Any] = MappingProxyType({}),
    ) -> Estimate:
        """Say what a reconstruction will need; quick enough for a panel's ``draw``.

        Args:
            method: A name in ``METHODS``.
            quality: draft, standard or high.
            device: cpu, cuda or mps; not auto.
            views: Number of images.
            speed: The backend's ``Hello.speed``.
            params: Parameters that differ from the quality's.
        """
        runs = self._runs.get(_key(method, quality, device, params))
        if runs:
            seconds = statistics.median(run.seconds * _growth(views, run.views) for run in runs)
            return Estimate(seconds, max(run.memory_gib for run in runs), "earlier runs")
        if params.keys() - {"align"}:
            usual = self.expect(method, quality, device, views, speed)
            return replace(usual, seconds=usual.seconds * _heavier(method, quality, params))
        spec = METHODS[method]
        seconds = spec.seconds[quality] * _growth(views, REFERENCE_VIEWS) / max(speed, _SLOWEST)
        return Estimate(seconds, spec.memory_gib[quality], "calibration")

    def _write(self) -> None:
        runs = {key: [asdict(run) for run in runs] for key, runs in self._runs.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f".{self._file.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps({"runs": runs}, indent=1), encoding="utf-8")
            part.replace(self._file)
        finally:
            part.unlink(missing_ok=True)


def _key(method: str, quality: str, device: str, params: Mapping[str, Any]) -> str:
    own = [f"{name}={params[name]}" for name in sorted(params.keys() - {"align"})]
    return " ".join([method, quality, device, *own])


def _heavier(method: str, quality: str, params: Mapping[str, Any]) -> float:
    """How much longer than usual the artist's own resolution takes: by its number of cells."""
    usual = METHODS[method].make_params(quality, {})
    if "resolution" not in params:
        return 1.0
    return (float(params["resolution"]) / usual.resolution) ** 3


def _growth(views: int, reference: int) -> float:
    """How much longer more views take: half of the work is the same however many there are."""
    return 0.5 + 0.5 * views / reference


def _read(file: Path) -> dict[str, list[_Run]]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): _valid_runs(runs) for key, runs in data["runs"].items()}
    except Exception:  # whatever may be in the file: a history is a nicety
        return {}


def _valid_runs(entries: list[Any]) -> list[_Run]:
    runs = [_Run(int(e["views"]), float(e["seconds"]), float(e["memory_gib"])) for e in entries]
    return [run for run in runs if _is_valid(run)][-_KEPT_RUNS:]


def _is_valid(run: _Run) -> bool:
    return run.views > 0 and 0 < run.seconds < math.inf and 0 <= run.memory_gib < math.inf


def _time_in_words(seconds: float) -> str:
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{round(minutes / 60)} h"


def _memory_in_words(gib: float) -> str:
    rounded = round(gib, 1) if gib < 10 else round(gib)
    return f"{rounded:g} GiB"


# Memory that is free ------------------------------------------------------------------------------


def available_memory_gib() -> float | None:
    """Main memory that programs can still have, in GiB; None when the system does not say."""
    try:
        if sys.platform == "win32":
            return _available_on_windows()
        if sys.platform == "darwin":
            return _available_on_macos()
        return _available_on_linux(Path("/proc/meminfo").read_text(encoding="ascii"))
    except (OSError, ValueError, AttributeError):
        return None


def _available_on_linux(meminfo: str) -> float | None:
    """Read ``MemAvailable``, which counts the caches that the system would give up."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024 / _GIB
    return None


def _available_on_macos() -> float | None:
    """Share of the memory that the system calls free; written from Apple's, not run there yet."""
    library = ctypes.CDLL(None)
    level, size = ctypes.c_int(), ctypes.c_int64()
    for name, value in ((b"kern.memorystatus_level", level), (b"hw.memsize", size)):
        length = ctypes.c_size_t(ctypes.sizeof(value))
        if library.sysctlbyname(name, ctypes.byref(value), ctypes.byref(length), None, 0):
            return None
    return size.value * level.value / 100 / _GIB


class _MemoryStatus(ctypes.Structure):
    """Windows' ``MEMORYSTATUSEX``."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 5),
    )


def _available_on_windows() -> float | None:
    """Ask ``GlobalMemoryStatusEx``; written from Microsoft's description, not run there yet."""
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # pyright: ignore[reportAttributeAccessIssue]
        return None
    return status.available / _GIB
