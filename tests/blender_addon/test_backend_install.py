"""Checking and installing with the real pip, in real environments, from tiny wheels."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from tests.addon_parts import ROOT, backend_install, python_check
from tests.wheels import make_wheel

check_python, Installer = python_check.check_python, backend_install.Installer
installed_python, read_installed = backend_install.installed_python, backend_install.read_installed
WANTED = ("tiny-shape>=1.0", "tiny_color>=2.0,<3")
TIMEOUT = 60.0


def plan(folder: Path, wheels: Path | None = None, **values: object) -> backend_install.Plan:
    made = backend_install.plan_installation(folder, wheels, graphics="none")
    return replace(made, **values)  # pyright: ignore[reportArgumentType]


def install(
    folder: Path, wheels: Path, wanted: tuple[str, ...] = WANTED, afresh: bool = False
) -> backend_install.Installer:
    installer = Installer(plan(folder, wheels), wanted, [sys.executable], afresh)
    installer.start()
    installer.wait(TIMEOUT)
    return installer


def site_packages(folder: Path) -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    inside = "Lib" if os.name == "nt" else f"lib/{version}"
    return backend_install.environment_folder(folder) / inside / "site-packages"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """What WANTED asks for, and what that needs in turn."""
    folder = tmp_path / "Räder für alle"
    make_wheel(folder, "tiny-shape", "1.2", needs=["tiny-base>=1"])
    make_wheel(folder, "tiny-color", "2.5")
    make_wheel(folder, "tiny-base", "1.0")
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with pip and nothing else, made once: it takes seconds."""
    folder = tmp_path_factory.mktemp("environment") / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def begun(tmp_path: Path, environment: Path) -> Path:
    """An installation that got as far as the environment."""
    folder = tmp_path / "backend é"
    shutil.copytree(environment, backend_install.environment_folder(folder), symlinks=True)
    return folder


@pytest.fixture
def installed(begun: Path, wheels: Path) -> Path:
    """A finished installation of WANTED."""
    assert install(begun, wheels).state == "done"
    return begun


# The requirements


def test_the_requirements_are_pyprojects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(python_check.REQUIREMENTS) == project["dependencies"]
    assert project["requires-python"] == ">=" + ".".join(map(str, python_check.OLDEST_PYTHON))


@pytest.mark.parametrize(
    ("requirement", "version", "met"),
    [
        ("torch>=2.11,<2.14", "2.13.0+cpu", True),
        ("torch>=2.11,<2.14", "2.14.0", False),
        ("torch>=2.11,<2.14", "2.9.1", False),
        ("trimesh>=5.0", "5", True),
        ("opencv-python-headless>=4.11,<5", "4.11.0.86", True),
        ("opencv-python-headless>=4.11,<5", "5.0", False),
        ("pillow", "1", True),
    ],
)
def test_versions_meet_requirements(requirement: str, version: str, met: bool) -> None:
    assert python_check.meets(requirement, version) is met


# Checking a Python


def test_this_python_is_fit_and_its_versions_are_told() -> None:
    found = check_python(Path(sys.executable)).wait()
    assert found.problem == ""
    assert found.python == sys.executable
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.torch == torch.__version__
    assert ("cuda" in found.devices) is torch.cuda.is_available()
    assert found.packages["numpy"] == numpy.__version__
    assert len(found.packages) == len(python_check.REQUIREMENTS)
    assert found.torch in found.summary
    assert python_check.Environment.from_json(found.to_json()) == found


def test_an_environments_folder_is_as_good_as_its_python() -> None:
    found = check_python(Path(sys.prefix), ["numpy>=1.26"]).wait()
    assert found.problem == ""
    assert Path(found.python).parent.parent == Path(sys.prefix)


def test_a_check_never_waits() -> None:
    begun = time.perf_counter()
    check = check_python(Path(sys.executable))
    assert check.poll() is None
    assert time.perf_counter() - begun < 0.5  # importing torch takes longer
    check.cancel()
    found = check.poll()
    assert found is not None
    assert "gave no answer" in found.problem


def test_a_bare_environment_lacks_packages_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "leer é"
    venv.create(folder, symlinks=os.name != "nt")
    found = check_python(folder).wait()
    assert found.version.startswith("3.")
    names = [re.split("[<>]", wanted)[0] for wanted in python_check.REQUIREMENTS]
    assert f"lacks {', '.join(names)}." in found.problem


def test_an_old_package_is_named_with_its_version() -> None:
    found = check_python(Path(sys.executable), ["numpy>=99", "rich>=1"]).wait()
    assert f"lacks numpy>=99 ({numpy.__version__} is there)." in found.problem


def test_a_torch_that_cannot_be_loaded_is_told(begun: Path, wheels: Path) -> None:
    make_wheel(wheels, "torch", "2.12", {"torch/__init__.py": "raise OSError('no libfoo.so')\n"})
    installer = install(begun, wheels, ("torch>=2.11",))
    assert installer.state == "failed"
    assert "torch is installed" in installer.failure
    assert "OSError: no libfoo.so" in installer.failure


@pytest.mark.parametrize(
    ("version", "word"), [("3.10.14", "too old"), ("3.14.0", "too new"), ("2.7.18", "too old")]
)
def test_a_python_of_another_age_is_refused(version: str, word: str) -> None:
    answer = json.dumps({"version": version, "packages": {}, "devices": []})
    found = python_check.judge("python", 0, ["noise", answer], ["numpy"])
    assert f"is Python {version}, which is {word}: 3.11 to 3.13 is needed." in found.problem


def test_what_is_no_python_is_told_in_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no program", encoding="utf-8")
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho usage: other FILE\nexit 2\n", encoding="utf-8")
    other.chmod(0o755)
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    expected = {
        text: "is not executable",
        other: "is not a Python that runs (usage: other FILE)",
        broken: "cannot be run as a program",
        tmp_path / "nothing": "There is no file",
        tmp_path: "There is no Python in the folder",
    }
    for place, words in expected.items():
        problem = check_python(place).wait().problem
        assert words in problem
        assert str(place) in problem


def test_old_pythons_can_read_the_check() -> None:
    """It must get as far as telling its version."""
    assert not re.search(r"f['\"]|:=|\bprint [^(]", python_check._CHECK)


# What will be installed


@pytest.mark.parametrize(
    ("system", "graphics", "index", "build", "note"),
    [
        ("linux", "nvidia", "", "CUDA", ""),
        ("linux", "none", "", "CUDA", "far smaller"),
        ("linux", "none", "https://example.org/cpu", "CPU", ""),
        ("win32", "nvidia", "", "CPU", "processor only"),
        ("win32", "nvidia", "https://example.org/cu130", "CUDA", ""),
        ("win32", "none", "", "CPU", ""),
        ("darwin", "apple", "", "MPS", ""),
        ("darwin", "none", "", "CPU", "Intel"),
    ],
)
def test_the_build_is_said_beforehand(
    tmp_path: Path,
    system: str,
    graphics: python_check.Graphics,
    index: str,
    build: str,
    note: str,
) -> None:
    made = backend_install.plan_installation(
        tmp_path, index=index, graphics=graphics, system=system
    )
    said = "\n".join(made.sentences())
    assert made.build == build
    assert note in said
    assert (made.note == "") is (note == "")
    assert f"about {made.download / 1e9:.1f} GB to download" in said
    assert f"about {made.disk / 1e9:.1f} GB on the disk" in said
    assert "BSD-3-Clause" in said
    assert ("NVIDIA's own licence" in said) is (build == "CUDA")
    assert all(name.split(">")[0] in said for name in python_check.REQUIREMENTS)


def test_without_network_a_folder_of_wheels_is_needed(tmp_path: Path, wheels: Path) -> None:
    offline = plan(tmp_path / "backend", online=False)
    assert "allow it in Preferences > System > Network" in offline.problem
    assert replace(offline, wheels=wheels).problem == ""
    assert replace(offline, online=True).problem == ""
    assert "There is no folder" in replace(offline, wheels=tmp_path / "gone").problem
    assert "holds no wheels" in replace(offline, wheels=ROOT / "tests").problem


def test_too_little_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "backend"
    installer = Installer(plan(folder, disk=10**18), WANTED)
    installer.start()
    assert installer.state == "failed"
    assert "Installing needs 1000000006.3 GB free" in installer.failure
    assert not folder.exists()


# Installing


@pytest.mark.slow
def test_install_from_a_folder_of_wheels(tmp_path: Path, wheels: Path) -> None:
    folder = tmp_path / "Erweiterung é" / "backend"
    assert read_installed(folder, WANTED).problem == "No backend is installed yet."
    installer = Installer(plan(folder, wheels), WANTED, [sys.executable])
    installer.start()
    fractions, seconds = [], []
    while installer.state == "running":
        begun = time.perf_counter()
        installer.poll()
        seconds.append(time.perf_counter() - begun)
        fractions.append(installer.fraction)
        time.sleep(0.02)
    assert (installer.state, installer.failure, installer.fraction) == ("done", "", 1.0)
    assert fractions == sorted(fractions)
    assert sorted(seconds)[len(seconds) * 9 // 10] < 0.02
    found = read_installed(folder, WANTED)
    assert found == installer.environment
    assert found.problem == ""
    assert found.packages == {"tiny-shape": "1.2", "tiny_color": "2.5"}
    assert (site_packages(folder) / "tiny_base/__init__.py").is_file()
    assert Path(found.python) == installed_python(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["install.log", "installed.json", "python"]
    assert "Successfully installed" in (folder / "install.log").read_text(encoding="utf-8")
    # And nothing anywhere else.
    assert check_python(Path(sys.executable), WANTED).wait().packages == {}


def test_an_extension_with_other_needs_asks_for_an_update(installed: Path, wheels: Path) -> None:
    more = (*WANTED, "tiny-more>=1")
    assert "press Install to update" in read_installed(installed, more).problem
    make_wheel(wheels, "tiny-more")
    made = (installed / "python").stat().st_ctime_ns
    assert install(installed, wheels, more).state == "done"
    assert read_installed(installed, more).packages["tiny-more"] == "1.0"
    assert (installed / "python").stat().st_ctime_ns == made  # used again


def test_missing_wheels_are_named(begun: Path, wheels: Path) -> None:
    wanted = (*WANTED, "tiny-more>=1", "tiny-other>=3,<4")
    make_wheel(wheels, "tiny-other", "4.0")
    installer = install(begun, wheels, wanted)
    assert installer.state == "failed"
    assert f"The folder '{wheels}' has no wheel that fits" in installer.failure
    assert installer.failure.endswith("for: tiny-more>=1, tiny-other>=3,<4.")
    assert "unfinished" in read_installed(begun, wanted).problem
    make_wheel(wheels, "tiny-more")
    make_wheel(wheels, "tiny-other", "3.1")
    assert install(begun, wheels, wanted).state == "done"


def test_a_missing_wheel_that_another_needs_is_named(begun: Path, wheels: Path) -> None:
    next(wheels.glob("tiny_base*")).unlink()
    assert install(begun, wheels).failure.endswith("for: tiny-base>=1.")


def test_a_wheel_for_another_system_is_named(begun: Path, wheels: Path) -> None:
    make_wheel(wheels, "tiny-more", tag="cp27-cp27m-win32")
    installer = install(begun, wheels, (*WANTED, "tiny-more>=1"))
    assert "for: tiny-more>=1." in installer.failure


def test_cancel_in_the_middle_and_go_on(begun: Path, wheels: Path) -> None:
    files = {f"tiny_many/part_{n}.py": f"x = {n}\n" for n in range(3000)}
    make_wheel(wheels, "tiny-many", "1.0", files)
    wanted = (*WANTED, "tiny-many>=1")
    installer = Installer(plan(begun, wheels), wanted, [sys.executable])
    installer.start()
    ends = time.monotonic() + TIMEOUT
    while not (site_packages(begun) / "tiny_many/part_900.py").exists():
        installer.poll()
        assert installer.state == "running", installer.failure
        assert time.monotonic() < ends
    assert installer._child is not None
    process = installer._child._process
    installer.cancel()
    assert installer.state == "cancelled"
    assert process.wait(timeout=1.0) != 0
    assert "unfinished" in read_installed(begun, wanted).problem
    there = len(list((site_packages(begun) / "tiny_many").glob("part_*.py")))
    assert 0 < there < 3000

    made = (begun / "python").stat().st_ctime_ns
    assert install(begun, wheels, wanted).state == "done"
    assert read_installed(begun, wanted).problem == ""
    assert len(list((site_packages(begun) / "tiny_many").glob("part_*.py"))) == 3000
    assert (begun / "python").stat().st_ctime_ns == made


def test_what_is_thrown_away_ends_its_processes(tmp_path: Path) -> None:
    """As when Blender quits in the middle; with the child's own children."""
    place = tmp_path / "sleeper"
    place.write_text('#!/bin/sh\n(sleep 1; touch "$0.woke") &\nwait\n', encoding="utf-8")
    place.chmod(0o755)
    check = check_python(place)
    assert check._child is not None
    process = check._child._process
    assert check.poll() is None
    del check
    gc.collect()
    assert process.wait(timeout=0.5) < 0
    time.sleep(1.2)
    assert not (tmp_path / "sleeper.woke").exists()


def test_repair_brings_back_deleted_and_changed_files(installed: Path, wheels: Path) -> None:
    gone = site_packages(installed) / "tiny_base/__init__.py"
    changed = site_packages(installed) / "tiny_color/__init__.py"
    before = gone.read_text(), changed.read_text()
    gone.unlink()
    changed.write_text("cut", encoding="utf-8")
    assert install(installed, wheels).state == "done"
    assert (gone.read_text(), changed.read_text()) == before
    log = (installed / "install.log").read_text(encoding="utf-8")
    assert "tiny-shape" not in log.partition("--- Installing packages")[0]  # it was whole


def test_repair_without_the_wheel_says_so(installed: Path, wheels: Path) -> None:
    (site_packages(installed) / "tiny_base/__init__.py").unlink()
    next(wheels.glob("tiny_base*")).unlink()
    installer = install(installed, wheels)
    assert "no wheel that fits this Python for: tiny-base==1.0." in installer.failure
    assert "unfinished" in read_installed(installed, WANTED).problem


def test_repair_makes_a_broken_environment_again(installed: Path, wheels: Path) -> None:
    installed_python(installed).unlink()
    assert "is missing; press Repair" in read_installed(installed, WANTED).problem
    assert install(installed, wheels).state == "done"
    assert read_installed(installed, WANTED).problem == ""
    assert not list(installed.glob("removed-*"))


def test_start_afresh_leaves_nothing_of_the_old(installed: Path, wheels: Path) -> None:
    stray = site_packages(installed) / "stray.py"
    stray.touch()
    assert install(installed, wheels, afresh=True).state == "done"
    assert not stray.exists()
    assert not list(installed.glob("removed-*"))


@pytest.mark.slow
def test_bases_are_tried_in_turn(tmp_path: Path, wheels: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\necho No module named ensurepip\nexit 1\n", encoding="utf-8")
    bare.chmod(0o755)
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\necho \'{"version": "3.9"}\'\n', encoding="utf-8")
    old.chmod(0o755)
    bases = [str(bare), str(old), str(tmp_path / "gone")]
    installer = Installer(plan(tmp_path / "a", wheels), WANTED, bases)
    installer.start()
    installer.wait(TIMEOUT)
    assert installer.state == "failed"
    assert f"'{bare}' lacks venv or ensurepip (No module named ensurepip)" in installer.failure
    assert f"'{old}' is too old: 3.11 to 3.13 is needed" in installer.failure
    assert f"'{tmp_path / 'gone'}'" in installer.failure
    installer = Installer(plan(tmp_path / "a", wheels), WANTED, [*bases, sys.executable])
    installer.start()
    installer.wait(TIMEOUT)
    assert installer.state == "done"


def test_the_running_python_comes_first_as_a_base() -> None:
    bases = backend_install.base_pythons()
    assert bases[0] == sys.executable
    assert len({os.path.realpath(base) for base in bases}) == len(bases)


# From an index, which here is a folder served on this machine


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "index"
    folder.mkdir()
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"port (\d+)", server.stdout.readline())
        assert found is not None
        yield folder, f"http://127.0.0.1:{found[1]}"
    finally:
        server.kill()
        server.communicate()


def test_install_from_an_index_and_an_extra_one(
    tmp_path: Path, begun: Path, index: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, address = index
    make_wheel(served / "usual/tiny-shape", "tiny-shape", "1.2")
    make_wheel(served / "extra/tiny-color", "tiny-color", "2.5")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/usual")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))
    installer = Installer(plan(begun, index=f"{address}/extra"), WANTED, [sys.executable])
    installer.start()
    installer.wait(TIMEOUT)
    assert installer.failure == ""
    assert read_installed(begun, WANTED).packages == {"tiny-shape": "1.2", "tiny_color": "2.5"}
    assert not (tmp_path / "elsewhere").exists()
    assert sorted(p.name for p in begun.iterdir()) == ["install.log", "installed.json", "python"]


def test_an_index_that_cannot_be_reached_is_told(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    installer = Installer(plan(begun), WANTED, [sys.executable])
    installer.start()
    installer.wait(TIMEOUT)
    assert "index cannot be reached; check the network" in installer.failure
