"""What a Python is good for: its version, its packages, its torch; found out by a child process.

Nothing here waits: a child process writes to a file, and ``poll()`` looks at both. No bpy here.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from .backend_process import clean_environment

LICENCES = {
    "torch>=2.11,<2.14": "BSD-3-Clause",
    "numpy>=1.26": "BSD-3-Clause",
    "scipy>=1.13": "BSD-3-Clause",
    "scikit-image>=0.24": "BSD-3-Clause",
    "pillow>=11": "MIT-CMU",
    "opencv-python-headless>=4.11,<5": "Apache-2.0, with FFmpeg under LGPL-2.1",
    "trimesh>=5.0": "MIT",
    "xatlas>=0.0.11": "MIT",
    "fast-simplification>=0.2": "MIT",
    "rich>=14": "MIT",
    "safetensors>=0.5": "Apache-2.0",
}
"""What the backend needs, as pyproject.toml says it, and under which licence it comes."""

REQUIREMENTS = tuple(LICENCES)
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)

# The same module in another package.
_SAME = {
    "opencv-python-headless": (
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    )
}
_CHECK_SECONDS = 180.0  # the first import of torch from a slow disk

# They would send packages elsewhere than into the environment.
_PIP_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_NO_CACHE_DIR")

Graphics = Literal["nvidia", "apple", "none"]


# The machine --------------------------------------------------------------------------------------


@functools.cache
def find_device() -> Graphics:
    """Which graphics processor that torch could use is here; looked for once, in milliseconds."""
    if sys.platform == "darwin":
        return "apple" if platform.machine() == "arm64" else "none"
    if shutil.which("nvidia-smi"):
        return "nvidia"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "none"
    return "nvidia"


def find_python(place: Path) -> Path | None:
    """The interpreter in an environment's folder; a file is taken as it is; None: there is none."""
    if place.is_file():
        return place
    names = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")
    return next((place / name for name in names if (place / name).is_file()), None)


# Requirements -------------------------------------------------------------------------------------


def package_name(requirement: str) -> str:
    """``torch>=2.11,<2.14`` -> ``torch``."""
    return re.split(r"[<>=!~ ]", requirement, maxsplit=1)[0]


def normalized_name(name: str) -> str:
    """As package indexes compare names: ``Fast_Simplification`` -> ``fast-simplification``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _release(version: str) -> tuple[int, ...]:
    """``2.13.0+cpu`` -> (2, 13); zeros at the end do not count."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def meets(requirement: str, version: str) -> bool:
    """Whether a version is one that the requirement (only ``>=`` and ``<``) asks for."""
    for sign, limit in re.findall(r"(>=|<)([\d.]+)", requirement):
        if (_release(version) < _release(limit)) == (sign == ">="):
            return False
    return True


# One child process --------------------------------------------------------------------------------


class Child:
    """A running command, whose output goes to the end of a file.

    Attributes:
        lines: What it has said so far.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        with log.open("ab") as output:
            self._position = output.tell()
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env=_environment() | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A group of its own to end, and no window.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        # Also when Blender leaves in the middle, or this object is thrown away.
        self._abandon = weakref.finalize(self, _kill_if_running, self._process)
        self._log, self._rest = log, b""
        self.lines: list[str] = []

    def poll(self) -> int | None:
        """Read what it has said since; the exit code once it has ended."""
        code = self._process.poll()
        with self._log.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if code is not None:
            lines.append(self._rest)
            self._abandon.detach()
        said = (line.decode(errors="replace").strip() for line in lines)
        self.lines += [line for line in said if line]
        return code

    def kill(self) -> None:
        """End it at once, and what it started."""
        _kill_if_running(self._process)


def _environment() -> dict[str, str]:
    return {k: v for k, v in clean_environment().items() if k not in _PIP_ELSEWHERE}


def _kill_if_running(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        process.kill()  # an environment's Python takes its child along
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=0.01)


def json_answer(lines: Iterable[str]) -> dict[str, Any] | None:
    """The JSON object that one of our own scripts ended with."""
    for line in reversed(list(lines)):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return None


# Checking a Python --------------------------------------------------------------------------------

# Written so that any old Python can read it and tell its version.
_CHECK = """
import json, sys
found = {"version": "%d.%d.%d" % sys.version_info[:3], "packages": {}, "devices": []}

def look_for_packages():
    from importlib import metadata
    for names in json.loads(sys.argv[1]):
        for name in names:
            try:
                found["packages"].setdefault(names[0], metadata.version(name) or "")
            except metadata.PackageNotFoundError:
                pass

def look_at_torch():
    import torch
    found["torch"] = torch.__version__
    found["devices"].append("cpu")
    if torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda").item()
            found["devices"].append("cuda")
        except Exception as error:
            found["note"] = "CUDA does not work: %s" % error
    if torch.backends.mps.is_available():
        found["devices"].append("mps")

if sys.version_info >= (3, 8):
    look_for_packages()
    if found["packages"].get("torch"):
        try:
            look_at_torch()
        except BaseException as error:
            found["error"] = "%s: %s" % (type(error).__name__, error)
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Environment:
    """What was found out about a Python.

    Attributes:
        python: The interpreter.
        version: Of Python, or empty.
        torch: Its version, or empty.
        devices: Those that torch can work on there: cpu, cuda, mps.
        packages: Versions of the needed packages that are there.
        note: Something odd that hinders nothing, or empty.
        problem: Why it cannot run the backend, one sentence; empty when it can.
    """

    python: str
    version: str = ""
    torch: str = ""
    devices: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    note: str = ""
    problem: str = ""

    @property
    def summary(self) -> str:
        """One line: versions and devices."""
        devices = " and ".join(self.devices) or "no device"
        torch = f", torch {self.torch} on {devices}" if self.torch else ""
        return f"Python {self.version}{torch}"

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Environment | None:
        """Read ``to_json`` back; None when it is something else."""
        try:
            data = json.loads(text)
            known: dict[str, Any] = {f.name: data[f.name] for f in fields(Environment)}
            known["devices"] = tuple(known["devices"])
            return Environment(**known)
        except (ValueError, TypeError, KeyError):
            return None


class EnvironmentCheck:
    """The check of one Python, in a process of that Python; started at once.

    Attributes:
        place: What was given: an interpreter or an environment's folder.
    """

    def __init__(self, place: Path, requirements: Sequence[str] = REQUIREMENTS) -> None:
        self.place, self._requirements = place, requirements
        self._folder = tempfile.TemporaryDirectory(
            prefix="image-to-mesh-", ignore_cleanup_errors=True
        )
        self._ends = time.monotonic() + _CHECK_SECONDS
        self._child: Child | None = None
        self._found: Environment | None = None
        python = find_python(place)
        self._python = os.fspath(python or place)
        if python is None:
            self._found = self._useless(_no_python(place))
            return
        try:
            command = check_command(self._python, requirements)
            self._child = Child(command, Path(self._folder.name) / "output.txt")
        except OSError as error:
            self._found = self._useless(_not_a_program(self._python, error))

    def poll(self) -> Environment | None:
        """The result, or None while it is not there yet."""
        if self._found is None and self._child is not None:
            code = self._child.poll()
            if code is not None:
                lines = self._child.lines
                self._found = judge(self._python, code, lines, self._requirements)
            elif time.monotonic() > self._ends:
                self.cancel()
        if self._found is not None:
            self._folder.cleanup()
        return self._found

    def cancel(self) -> None:
        """End it; the result then is that it gave no answer."""
        if self._found is None and self._child is not None:
            self._child.kill()
            self._found = self._useless(f"'{self._python}' gave no answer; choose another Python.")

    def wait(self, timeout: float = _CHECK_SECONDS) -> Environment:
        """Wait for the result; for scripts."""
        ends = time.monotonic() + timeout
        while (found := self.poll()) is None:
            if time.monotonic() > ends:
                self.cancel()
            time.sleep(0.02)
        return found

    def _useless(self, problem: str) -> Environment:
        return Environment(self._python, problem=problem)


def check_python(place: Path, requirements: Sequence[str] = REQUIREMENTS) -> EnvironmentCheck:
    """Start to check a Python; ask ``poll()`` for the result.

    Args:
        place: Its executable or the folder of an environment.
        requirements: What has to be installed there.
    """
    return EnvironmentCheck(place, requirements)


def check_command(python: str, requirements: Sequence[str]) -> list[str]:
    """The command whose output ``judge`` understands."""
    names = [package_name(requirement) for requirement in requirements]
    asked = [[name, *_SAME.get(name, ())] for name in names]
    return [python, "-c", _CHECK, json.dumps(asked)]


def _no_python(place: Path) -> str:
    if place.is_dir():
        return f"There is no Python in the folder '{place}'; choose an environment's folder."
    return f"There is no file '{place}'; choose a Python executable or an environment's folder."


def _not_a_program(python: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"'{python}' is not executable; choose a Python executable."
    said = error.strerror or error
    return f"'{python}' cannot be run as a program ({said}); choose a Python executable."


def judge(python: str, code: int, lines: Sequence[str], requirements: Sequence[str]) -> Environment:
    """Say from a finished check's exit code and output what that Python is good for."""
    found = json_answer(lines)
    if found is None or "version" not in found:
        said = lines[-1] if lines else f"exit code {code}"
        problem = f"'{python}' is not a Python that runs ({said[:80]}); choose another."
        return Environment(python, problem=problem)
    torch, devices, note = found.get("torch", ""), tuple(found["devices"]), found.get("note", "")
    if torch and not note and "cuda" not in devices and find_device() == "nvidia":
        note = "An NVIDIA card is here, but this torch cannot use it."
    environment = Environment(
        python, found["version"], torch, devices, found["packages"], " ".join(note.split())[:300]
    )
    return replace(environment, problem=_problem(environment, found.get("error", ""), requirements))


def _problem(environment: Environment, error: str, requirements: Sequence[str]) -> str:
    python, version = environment.python, environment.version
    if unfit := unfit_version(version):
        return f"'{python}' is Python {version}, which is {unfit}."
    packages = environment.packages
    lacking = []
    for wanted in requirements:
        there = packages.get(package_name(wanted))
        if not there:
            lacking.append(package_name(wanted))
        elif not meets(wanted, there):
            lacking.append(f"{wanted} ({there} is there)")
    if lacking:
        return f"Python {version} in '{python}' lacks {', '.join(lacking)}."
    if error:
        said = " ".join(error.split())[:300]
        return f"torch is installed in '{python}' but cannot be loaded ({said}); repair it there."
    return ""


def unfit_version(version: str) -> str:
    """Why the backend cannot run with this version of Python; empty when it can."""
    oldest, newest = (".".join(map(str, v)) for v in (OLDEST_PYTHON, NEWEST_PYTHON))
    found = tuple(int(part) for part in version.split(".")[:2])
    if OLDEST_PYTHON <= found <= NEWEST_PYTHON:
        return ""
    return f"too {'old' if found < OLDEST_PYTHON else 'new'}: {oldest} to {newest} is needed"
