"""The backend's own Python environment: installed and repaired; never Blender's own Python.

Every piece of work is a child process that writes to a file and is looked at from a timer:
``poll()`` never waits. An installation is a generator of such pieces (``Installer._work``), which
reads from top to bottom what happens.

In the folder of an installation lie ``python`` (the environment), ``installed.json`` (written last;
without it the installation is unfinished), ``install.log``, and until it is finished ``cache`` and
``temporary``, from which a later attempt goes on.

No bpy here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .python_check import (
    LICENCES,
    REQUIREMENTS,
    Child,
    Environment,
    Graphics,
    check_command,
    find_device,
    json_answer,
    judge,
    meets,
    normalized_name,
    package_name,
    unfit_version,
)

_FAILED_TO_START = -1000


class InstallError(RuntimeError):
    """The installation cannot go on: one sentence for the artist."""


def base_pythons() -> list[str]:
    """Pythons that might make an environment: the running one, Blender's own, comes first."""
    names = ["python3.13", "python3.12", "python3.11", "python3", "python"]
    found: dict[str, str] = {}
    for path in filter(None, [sys.executable, *map(shutil.which, names)]):
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


# What an installation will take -------------------------------------------------------------------

_GB = 10**9
_SIZES = {
    "CUDA": (3.0 * _GB, 7.0 * _GB),
    "CPU": (0.2 * _GB, 0.8 * _GB),
    "MPS": (0.1 * _GB, 0.5 * _GB),
}
_OTHERS = (0.15 * _GB, 0.5 * _GB)


@dataclass(frozen=True)
class Plan:
    """What will be installed, from where, and what it takes.

    Attributes:
        folder: Of the installation.
        build: Of torch: CUDA, MPS or CPU; of wheels that are there already, a guess.
        download: Bytes, about.
        disk: Bytes on the disk in the end, about.
        wheels: Folder with the wheels for an installation without network, or None.
        index: Address of one more index of wheels, or empty.
        online: Whether Blender may use the network.
        note: What the artist should know about this build, or empty.
    """

    folder: Path
    build: str
    download: int
    disk: int
    wheels: Path | None = None
    index: str = ""
    online: bool = True
    note: str = ""

    @property
    def needed(self) -> int:
        """Bytes that must be free: for a while packages lie there packed and unpacked."""
        return self.disk if self.wheels else self.disk + 2 * self.download

    @property
    def free(self) -> int:
        """Bytes free on the disk."""
        return shutil.disk_usage(_existing(self.folder)).free

    @property
    def problem(self) -> str:
        """Why it cannot be begun, one sentence; empty when it can."""
        if self.wheels is not None:
            if not self.wheels.is_dir():
                return f"There is no folder '{self.wheels}'; choose the folder with the wheels."
            if next(self.wheels.glob("*.whl"), None) is None:
                return f"The folder '{self.wheels}' holds no wheels (*.whl); choose another."
        elif not self.online:
            return (
                "Blender may not use the network: allow it in Preferences > System > Network, "
                "or choose a folder of wheels."
            )
        # What is already there is not counted, so an existing environment is simply gone on with.
        if not environment_folder(self.folder).exists() and self.free < self.needed:
            return (
                f"Installing needs {_size(self.needed)} free in '{self.folder}', and "
                f"{_size(self.free)} are; free some first."
            )
        return ""

    def sentences(self) -> list[str]:
        """What the artist agrees to by pressing Install."""
        licences: dict[str, list[str]] = {}
        for requirement, licence in LICENCES.items():
            licences.setdefault(licence, []).append(package_name(requirement))
        named = [f"{', '.join(names)} ({licence})" for licence, names in licences.items()]
        cuda = "; NVIDIA's CUDA libraries come under NVIDIA's own licence"
        source = (
            f"from the wheels in '{self.wheels}', without network"
            if self.wheels
            else f"from the network, about {_size(self.download)} to download"
        )
        return [
            f"Installs torch ({self.build} build) and the backend's other packages {source}.",
            f"Takes about {_size(self.disk)} on the disk in '{self.folder}' "
            f"({_size(self.free)} free). Blender's own Python is left alone.",
            f"Licences: {', '.join(named)}, and what these need"
            f"{cuda if self.build == 'CUDA' else ''}.",
            *([self.note] if self.note else []),
        ]


def plan_installation(
    folder: Path,
    wheels: Path | None = None,
    index: str = "",
    online: bool = True,
    graphics: Graphics | None = None,
    system: str = sys.platform,
) -> Plan:
    """Decide which build of torch comes, as pip's default index holds one for each system.

    Linux gets CUDA, Windows the processor, macOS Metal; others need ``index`` or ``wheels``.

    Args:
        folder: Where to install.
        wheels: Folder of wheels, or None.
        index: Address of one more index of wheels, or empty.
        online: Whether Blender may use the network.
        graphics: What ``find_device`` says; None asks it.
        system: As ``sys.platform`` names it.
    """
    graphics = graphics or find_device()
    build, note = _build(graphics, system, index.strip(), wheels is not None)
    download, disk = (int(a + b) for a, b in zip(_SIZES[build], _OTHERS, strict=True))
    return Plan(folder, build, download, disk, wheels, index.strip(), online, note)


def _build(graphics: Graphics, system: str, index: str, wheels: bool) -> tuple[str, str]:
    """The build of torch, and what to say about it."""
    if system == "darwin":
        note = "torch has no packages any more for Macs with Intel processors."
        return ("MPS", "") if graphics == "apple" else ("CPU", note)
    if index.rstrip("/").endswith("/cpu"):
        return "CPU", ""
    if wheels or index:
        return ("CUDA" if graphics == "nvidia" else "CPU"), ""
    if system == "win32":
        note = (
            "An NVIDIA card is here, but the usual torch for Windows works on the processor only: "
            "give the address of torch's CUDA wheels, which its installation page names."
        )
        return "CPU", note if graphics == "nvidia" else ""
    note = (
        "No NVIDIA card was found, but the usual torch for Linux comes with CUDA: the address of "
        "torch's CPU wheels, which its installation page names, makes it far smaller."
    )
    return "CUDA", "" if graphics == "nvidia" else note


def _size(size: float) -> str:
    return f"{size / _GB:.1f} GB"


# What is installed --------------------------------------------------------------------------------


def environment_folder(folder: Path) -> Path:
    """Where the environment of an installation lies; a short name, for Windows' short paths."""
    return folder / "python"


def installed_python(folder: Path) -> Path:
    """The interpreter of an installation, there or not."""
    name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return environment_folder(folder) / name


def read_installed(folder: Path, requirements: Sequence[str] = REQUIREMENTS) -> Environment:
    """What an installation holds, as it was when it finished; starts nothing.

    Returns:
        With a ``problem`` when there is none, or it is unfinished, out of date or broken.
    """
    python = installed_python(folder)
    nothing = Environment(os.fspath(python))
    try:
        text = _marker(folder).read_text(encoding="utf-8")
        made_for = json.loads(text)["requirements"]
    except (OSError, ValueError, KeyError, TypeError):
        if environment_folder(folder).exists():
            unfinished = "The installation is unfinished; press Install to go on with it."
            return replace(nothing, problem=unfinished)
        return replace(nothing, problem="No backend is installed yet.")
    found = Environment.from_json(text) or nothing
    if not python.exists():
        return replace(found, problem=f"'{python}' is missing; press Repair.")
    if made_for != list(requirements):
        text = "It was installed for another version of this extension; press Install to update it."
        return replace(found, problem=text)
    return found


def _marker(folder: Path) -> Path:
    return folder / "installed.json"


def _write_marker(folder: Path, environment: Environment, requirements: Sequence[str]) -> None:
    aside = _marker(folder).with_suffix(".part")
    data = asdict(environment) | {"requirements": list(requirements)}
    aside.write_text(json.dumps(data, indent=1), encoding="utf-8")
    os.replace(aside, _marker(folder))


# Installing ---------------------------------------------------------------------------------------

_PROBE = 'import sys, venv, ensurepip; print(\'\\n{"version": "%d.%d"}\' % sys.version_info[:2])'

# Names packages whose files are not as they were installed, and forgets those that pip never
# finished: it writes RECORD last.
_VERIFY = """
import csv, json, shutil, sysconfig
from importlib import metadata
from pathlib import Path

def is_whole(site, record):
    with record.open(encoding="utf-8", newline="") as lines:
        for name, _, size in csv.reader(lines):
            path = site / name
            if path.suffix == ".pyc":
                continue
            if not path.is_file() or (size and path.stat().st_size != int(size)):
                return False
    return True

damaged = []
for site in {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}:
    for info in site.glob("*.dist-info"):
        if not (info / "RECORD").is_file() or not (info / "METADATA").is_file():
            shutil.rmtree(info)
            continue
        package = metadata.Distribution.at(info).metadata
        if package["Name"] not in ("pip", "setuptools") and not is_whole(site, info / "RECORD"):
            damaged.append("%s==%s" % (package["Name"], package["Version"]))
print("\\n" + json.dumps({"damaged": sorted(damaged)}))
"""

_REMOVE = """
import shutil, sys
for folder in sys.argv[1:]:
    shutil.rmtree(folder, ignore_errors=True)
"""


@dataclass(frozen=True)
class _Step:
    """One command and the part of the whole that it is."""

    stage: str
    begins: float
    ends: float
    command: tuple[str, ...]


@dataclass(frozen=True)
class _Ended:
    code: int
    lines: tuple[str, ...]

    @property
    def last_words(self) -> str:
        return self.lines[-1][:200] if self.lines else f"exit code {self.code}"


_Steps = Generator[_Step, _Ended, None]


class Installer:
    """One installation, or repair, which begins with what an earlier one left.

    Attributes:
        state: waiting, running, done, failed or cancelled.
        fraction: In [0, 1].
        stage: What is being done.
        message: The last line that it said.
        failure: One sentence, when it failed.
        environment: What was installed, when it is done.
        log: File with all that was said.
    """

    def __init__(
        self,
        plan: Plan,
        requirements: Sequence[str] = REQUIREMENTS,
        bases: Sequence[str] | None = None,
        afresh: bool = False,
    ) -> None:
        """Describe it; nothing is started yet.

        Args:
            plan: From ``plan_installation``.
            requirements: What to install.
            bases: Pythons to make the environment with, tried in order; None: ``base_pythons()``.
            afresh: Begin with an empty environment, whatever is there.
        """
        self.plan, self.requirements, self.afresh = plan, tuple(requirements), afresh
        self.bases = base_pythons() if bases is None else list(bases)
        self.state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
        self.fraction, self.stage, self.message, self.failure = 0.0, "", "", ""
        self.environment: Environment | None = None
        self.log = plan.folder / "install.log"
        self._python = os.fspath(installed_python(plan.folder))
        self._temporary, self._cache = plan.folder / "temporary", plan.folder / "cache"
        self._steps: _Steps = self._work()
        self._step: _Step | None = None
        self._child: Child | None = None
        self._packages_before = 0

    def start(self) -> None:
        """Begin; what hinders it shows as ``failure``."""
        self.state = "running"
        try:
            if self.plan.problem:
                raise InstallError(self.plan.problem)
            self.plan.folder.mkdir(parents=True, exist_ok=True)
            self.log.write_bytes(b"")
            _marker(self.plan.folder).unlink(missing_ok=True)
        except (InstallError, OSError) as error:
            self._fail(error)
            return
        self._advance(None)

    def poll(self) -> None:
        """Look at the running piece of work and begin the next one; never waits."""
        if self.state != "running" or self._child is None or self._step is None:
            return
        code = self._child.poll()
        said = [line for line in self._child.lines if not line.startswith("{")]
        self.message = said[-1][:200] if said else ""
        part = self._part_installed() if "install" in self._step.command else 0.0
        reached = self._step.begins + (self._step.ends - self._step.begins) * part
        self.fraction = max(self.fraction, reached)
        if code is not None:
            self._advance(_Ended(code, tuple(self._child.lines)))

    def cancel(self) -> None:
        """End it at once; what is there stays, unfinished, for the next attempt."""
        if self.state in ("waiting", "running"):
            self.state, self.message = "cancelled", "Cancelled; Install goes on from here."
            self._stop()

    def wait(self, timeout: float) -> None:
        """Poll until it has ended; for scripts. After ``timeout`` seconds it is cancelled."""
        ends = time.monotonic() + timeout
        while self.state == "running":
            self.poll()
            if time.monotonic() > ends:
                self.cancel()
            time.sleep(0.02)

    # The work, piece by piece

    def _work(self) -> _Steps:
        if self.afresh or not (yield from self._is_healthy()):
            yield from self._make_environment()
        yield self._remove("Tidying up", 0.08, self._temporary, *self._set_aside())
        yield from self._mend()
        wanted = self._pip("Installing packages", 0.12, 0.93, self.requirements)
        self._demand((yield wanted))
        command = tuple(check_command(self._python, self.requirements))
        ended = yield _Step("Checking the installation", 0.93, 0.98, command)
        self.environment = judge(self._python, ended.code, ended.lines, self.requirements)
        if self.environment.problem:
            raise InstallError(self.environment.problem)
        yield self._remove("Tidying up", 0.98, self._temporary, self._cache)
        _write_marker(self.plan.folder, self.environment, self.requirements)

    def _is_healthy(self) -> Generator[_Step, _Ended, bool]:
        command = (self._python, "-m", "pip", "--version")
        ended = yield _Step("Looking at the environment", 0.0, 0.01, command)
        return ended.code == 0

    def _make_environment(self) -> _Steps:
        """With the first of the base Pythons that can."""
        reasons = []
        folder = environment_folder(self.plan.folder)
        for base in self.bases:
            self._move_aside(folder)
            ended = yield _Step("Looking for a Python", 0.01, 0.02, (base, "-c", _PROBE))
            if reason := _unfit_base(base, ended):
                reasons.append(reason)
                continue
            command = (base, "-m", "venv", os.fspath(folder))
            ended = yield _Step("Making the environment", 0.02, 0.08, command)
            if ended.code == 0 and (yield from self._is_healthy()):
                return
            reasons.append(f"'{base}' could not make an environment ({ended.last_words})")
        raise InstallError(
            "No Python 3.11 to 3.13 that can make an environment was found: "
            f"{'; '.join(reasons) or 'there is none'}; install one (on Debian and Ubuntu also "
            "python3-venv) or choose a Python that has the packages."
        )

    def _mend(self) -> _Steps:
        """Install again what has lost files."""
        ended = yield _Step("Verifying files", 0.09, 0.1, (self._python, "-c", _VERIFY))
        found = json_answer(ended.lines)
        if found is None:
            raise InstallError(
                f"The environment cannot be verified ({ended.last_words}); press Start Afresh."
            )
        if damaged := found["damaged"]:
            words = ("--force-reinstall", "--no-deps", *damaged)
            self._demand((yield self._pip("Repairing packages", 0.1, 0.12, words)))

    def _pip(self, stage: str, begins: float, ends: float, words: Sequence[str]) -> _Step:
        source = ["--cache-dir", os.fspath(self._cache)]
        if self.plan.wheels is not None:
            source = ["--isolated", "--no-index", "--find-links", os.fspath(self.plan.wheels)]
        elif self.plan.index:
            source += ["--extra-index-url", self.plan.index]
        quiet = ("--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar", "off")
        # Wheels only: nothing of a package is run while it is installed.
        command = (self._python, "-m", "pip", "install", *quiet, "--only-binary", ":all:", *source)
        return _Step(stage, begins, ends, (*command, *words))

    def _remove(self, stage: str, begins: float, *folders: Path) -> _Step:
        command = (self._python, "-c", _REMOVE, *map(os.fspath, folders))
        return _Step(stage, begins, begins + 0.01, command)

    def _demand(self, ended: _Ended) -> None:
        if ended.code != 0:
            raise InstallError(self._why_pip_failed(ended))

    def _why_pip_failed(self, ended: _Ended) -> str:
        said = "\n".join(ended.lines)
        if "No space left" in said or "Errno 28" in said:
            return f"The disk of '{self.plan.folder}' is full; free some space and press Install."
        if self.plan.wheels is None and ("connection broken" in said or "ConnectionError" in said):
            return "The packages' index cannot be reached; check the network and press Install."
        if lacking := self._lacking(said):
            place = f"The folder '{self.plan.wheels}'" if self.plan.wheels else "The index"
            return f"{place} has no wheel that fits this Python for: {', '.join(lacking)}."
        errors = [line for line in ended.lines if line.startswith("ERROR:")]
        reason = errors[-1].removeprefix("ERROR:").strip()[:300] if errors else ended.last_words
        return f"pip could not install the packages ({reason}); the log '{self.log}' says more."

    def _lacking(self, said: str) -> list[str]:
        """Requirements without a wheel: the one that stopped pip and the rest it did not reach."""
        stopped = re.findall(r"No matching distribution found for (\S+)", said)
        lacking = {normalized_name(package_name(wanted)): wanted for wanted in stopped}
        wheels = self.plan.wheels.glob("*.whl") if lacking and self.plan.wheels else ()
        there = [wheel.name.split("-")[:2] for wheel in wheels]
        for wanted in self.requirements if there else ():
            key = normalized_name(package_name(wanted))
            fits = [version for name, version in there if normalized_name(name) == key]
            if key in lacking or not any(meets(wanted, version) for version in fits):
                lacking[key] = wanted
        return list(lacking.values())

    # Moving on

    def _advance(self, ended: _Ended | None) -> None:
        """Begin the next piece of work."""
        try:
            step = self._steps.send(ended) if ended else next(self._steps)
            while (child := self._begin(step)) is None:
                step = self._steps.send(_Ended(_FAILED_TO_START, ("it cannot be started",)))
        except StopIteration:
            self.state, self.fraction, self.stage, self.message = "done", 1.0, "Done", ""
            self._stop()
        except (InstallError, OSError) as error:
            self._fail(error)
        else:
            self._step, self._child = step, child

    def _begin(self, step: _Step) -> Child | None:
        self.stage, self.fraction = step.stage, max(self.fraction, step.begins)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"--- {step.stage}\n")
        self._temporary.mkdir(exist_ok=True)
        self._packages_before = self._packages()
        place = os.fspath(self._temporary)
        try:
            return Child(step.command, self.log, dict.fromkeys(("TMPDIR", "TEMP", "TMP"), place))
        except OSError as error:
            if isinstance(error, (FileNotFoundError, PermissionError)) or error.errno == 8:
                return None
            raise

    def _fail(self, error: Exception) -> None:
        said = f"{error.strerror}: '{error.filename}'" if isinstance(error, OSError) else str(error)
        self.state, self.failure = "failed", said
        self._stop()

    def _stop(self) -> None:
        self._steps.close()
        if self._child is not None:
            self._child.kill()

    # Folders and progress

    def _move_aside(self, folder: Path) -> None:
        """Removing thousands of files takes long; a later piece of work does it."""
        if not folder.exists():
            return
        try:
            folder.rename(self.plan.folder / f"removed-{time.time_ns()}")
        except OSError as error:
            raise InstallError(
                f"'{folder}' is in use ({error.strerror}); end what runs with it and try again."
            ) from None

    def _set_aside(self) -> list[Path]:
        return list(self.plan.folder.glob("removed-*"))

    def _packages(self) -> int:
        inside = "Lib" if sys.platform == "win32" else "lib/python3*"
        packages = environment_folder(self.plan.folder).glob(f"{inside}/site-packages/*.dist-info")
        return sum(1 for _ in packages)

    def _part_installed(self) -> float:
        """How far pip is: by the bytes it has fetched, then by the packages it has unpacked."""
        lines = self._child.lines if self._child else []
        starts = "Installing collected packages:"
        listed = next((line for line in reversed(lines) if line.startswith(starts)), "")
        if listed:
            new = self._packages() - self._packages_before
            return 0.7 + 0.3 * min(1.0, new / (listed.count(",") + 1))
        return 0.7 * min(1.0, self._fetched() / self.plan.download)

    def _fetched(self) -> int:
        """Bytes of pip's wheels; 0 when pip was just removing them."""
        try:
            return sum(wheel.stat().st_size for wheel in self._temporary.glob("*/*.whl"))
        except FileNotFoundError:
            return 0


def _unfit_base(base: str, ended: _Ended) -> str:
    """Why a Python cannot make an environment; empty when it can."""
    found = json_answer(ended.lines)
    if ended.code == 0 and found is not None:
        unfit = unfit_version(found["version"])
        return f"'{base}' is {unfit}" if unfit else ""
    return f"'{base}' lacks venv or ensurepip ({ended.last_words})"
