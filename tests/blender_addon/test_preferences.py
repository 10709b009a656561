"""The preferences in a real Blender: what they say about the backend, and their buttons."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.addon_parts import ROOT, python_check
from tests.wheels import make_wheel

pytestmark = pytest.mark.blender

# Runs in a Blender of its own; SAID collects what the tests look at. The bundled zip is not built:
# the extension's folders are copied to where Blender would unpack it.
PRELUDE = """
import json, os, sys, time
from pathlib import Path
import bpy
import addon_utils

MODULE = "bl_ext.user_default.image_to_mesh"
addon_utils.extensions_refresh()
bpy.ops.preferences.addon_enable(module=MODULE)
from bl_ext.user_default.image_to_mesh.blender_addon import extension, preferences as module
from bl_ext.user_default.image_to_mesh.blender_addon.operators import installation
from bl_ext.user_default.image_to_mesh.blender_addon.backend_process import BackendError

for cls in module.CLASSES + installation.CLASSES:
    if not cls.is_registered:
        bpy.utils.register_class(cls)
settings = module.preferences()
SAID = {}

def command():
    try:
        return settings.backend_command()
    except BackendError as error:
        return str(error)

def press(name, **words):
    try:
        return sorted(getattr(bpy.ops.image_to_mesh, name)("INVOKE_DEFAULT", **words))
    except RuntimeError as error:
        return str(error)
"""

ENDING = """
SAID["torch loaded"] = "torch" in sys.modules
print("SAID", json.dumps(SAID))
bpy.ops.preferences.addon_disable(module=MODULE)
for cls in reversed(module.CLASSES + installation.CLASSES):
    if cls.is_registered:
        bpy.utils.unregister_class(cls)
"""


def in_blender(profile: Path, code: str, *arguments: str | Path) -> dict[str, Any]:
    """Run code between PRELUDE and ENDING; what it put into SAID."""
    extension = profile / "extensions/user_default/image_to_mesh"
    if not extension.exists():
        extension.mkdir(parents=True)
        for name in ("backend", "blender_addon"):
            shutil.copytree(ROOT / name, extension / name, ignore=shutil.ignore_patterns("*.pyc"))
        for name in ("__init__.py", "blender_manifest.toml"):
            shutil.copy(ROOT / name, extension)
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code + ENDING, *map(str, arguments)],
        env={**os.environ, "BLENDER_USER_RESOURCES": os.fspath(profile), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert lines, done.stdout + done.stderr
    return json.loads(lines[0].removeprefix("SAID "))


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "Profil é"


def test_without_a_backend_it_says_so(profile: Path) -> None:
    code = """
SAID["problem"] = settings.backend_problem()
SAID["command"] = command()
SAID["device"] = settings.device
SAID["folder"] = str(module.installation_folder())
SAID["check"] = installation.CheckPython.poll(bpy.context)
SAID["cancel"] = installation.CancelInstallation.poll(bpy.context)
SAID["install"] = press("install_backend")
settings.python = "/no/such/python"
SAID["missing"] = settings.backend_problem()
"""
    said = in_blender(profile, code)
    assert said["problem"] == "No backend is installed yet."
    assert said["command"].startswith("No backend is installed yet.")
    assert said["device"] == "auto"
    assert Path(said["folder"]).is_dir()
    assert Path(said["folder"]).is_relative_to(profile / "extensions/.user")
    assert (said["check"], said["cancel"]) == (False, False)
    assert "Blender may not use the network" in said["install"]  # it is off unless allowed
    assert said["missing"] == "There is no Python at '/no/such/python'."
    assert not said["torch loaded"]


def test_use_this_python(profile: Path, tmp_path: Path) -> None:
    code = """
settings.python = sys.argv[1]
SAID["unchecked"] = command()
SAID["chosen"] = press("choose_python", filepath=sys.argv[1])
SAID["summary"] = settings.environment().summary
SAID["command"] = command()
SAID["kept"] = settings.checked != ""
SAID["text"] = press("choose_python", filepath=sys.argv[2])
SAID["text command"] = command()
SAID["folder"] = press("choose_python", filepath=sys.argv[3])
SAID["again"] = press("check_python")
settings.python = ""
SAID["forgotten"] = settings.checked
SAID["back"] = command()
"""
    text = tmp_path / "text é.txt"
    text.write_text("no program", encoding="utf-8")
    said = in_blender(profile, code, sys.executable, text, tmp_path)
    assert said["unchecked"] == said["command"] == [sys.executable]
    assert said["chosen"] == ["FINISHED"]
    assert f"torch {torch.__version__} on cpu" in said["summary"]
    assert said["kept"]
    assert f"'{text}' is not executable" in said["text"]
    assert f"'{text}' is not executable" in said["text command"]
    assert f"There is no Python at '{tmp_path}'" in said["folder"]
    assert f"There is no Python at '{tmp_path}'" in said["again"]
    assert said["forgotten"] == ""
    assert said["back"].startswith("No backend is installed yet.")


FAKE_TORCH = """
__version__ = "2.12.0"

class cuda:
    is_available = staticmethod(lambda: False)

class backends:
    class mps:
        is_available = staticmethod(lambda: False)
"""


@pytest.mark.slow
def test_install_from_wheels_repair_and_switch_off_in_the_middle(
    profile: Path, tmp_path: Path
) -> None:
    """The whole list of packages, each of them tiny."""
    wheels = tmp_path / "Räder"
    make_wheel(wheels, "torch", "2.12.0", {"torch/__init__.py": FAKE_TORCH})
    for requirement in python_check.REQUIREMENTS[1:]:
        name, _, version = requirement.partition(",")[0].partition(">=")
        make_wheel(wheels, name, version)
    code = """
settings.wheels = sys.argv[1]
settings.python = "/no/such/python"
SAID["install"] = press("install_backend")
SAID["python"] = settings.python
SAID["command"] = command()
SAID["summary"] = settings.environment().summary
broken = next(Path(module.installation_folder()).glob("python/**/torch/__init__.py"))
broken.unlink()
SAID["repair"] = press("repair_backend")
SAID["whole"] = broken.is_file()

installation._start_installer(afresh=True)
SAID["busy"] = settings.backend_problem()
SAID["install poll"] = installation.InstallBackend.poll(bpy.context)
SAID["cancel poll"] = installation.CancelInstallation.poll(bpy.context)
SAID["cancel"] = press("cancel_installation")
SAID["state"] = module.WORK.installer.state
SAID["after"] = settings.backend_problem()
installation._start_installer(afresh=True)
process = module.WORK.installer._child._process
bpy.utils.unregister_class(installation.InstallBackend)
SAID["left"] = process.wait(timeout=2.0)
bpy.utils.register_class(installation.InstallBackend)
"""
    said = in_blender(profile, code, wheels)
    assert said["install"] == said["repair"] == ["FINISHED"]
    assert said["python"] == ""
    [python] = said["command"]
    assert Path(python).is_relative_to(profile / "extensions/.user")
    version = ".".join(map(str, sys.version_info[:3]))
    assert said["summary"] == f"Python {version}, torch 2.12.0 on cpu"
    assert said["whole"]
    assert "is being installed" in said["busy"]
    assert (said["install poll"], said["cancel poll"]) == (False, True)
    assert (said["cancel"], said["state"]) == (["FINISHED"], "cancelled")
    assert said["after"] == "No backend is installed yet."  # the old one was to go
    assert said["left"] != 0
    assert not said["torch loaded"]
