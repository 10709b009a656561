"""The extension as Blender builds, checks, installs and enables it, from this very folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.blender

SWITCH_ON_AND_OFF = """
import sys
import bpy
import addon_utils  # found only once bpy is loaded

MODULE = "bl_ext.user_default.image_to_mesh"

def state():
    loaded = addon_utils.check(MODULE)[1]
    return MODULE in bpy.context.preferences.addons and loaded

bpy.ops.extensions.package_install_files(
    filepath=sys.argv[1], repo="user_default", enable_on_install=True
)
states = [state()]
bpy.ops.preferences.addon_disable(module=MODULE)
states.append(state())
bpy.ops.preferences.addon_enable(module=MODULE)
states.append(state())
print("FILE", sys.modules[MODULE].__file__)
bpy.ops.preferences.addon_disable(module=MODULE)
states.append(state())
print("STATES", *states)
print("TORCH", "torch" in sys.modules)
"""


def run_python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in its own process.

    bpy hangs at exit when a class, timer or handler is left behind; TimeoutExpired then says so.
    """
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONUTF8": "1", **environment}
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


def extension_tool(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Blender's own tool, found without loading Blender, with Blender's own list of tags.

    ``blender --command extension`` adds that list by itself; without it any tag would pass.
    """
    spec = importlib.util.find_spec("bpy")
    assert spec is not None
    assert spec.origin is not None
    [scripts] = Path(spec.origin).parent.glob("*/scripts")
    tool = scripts / "addons_core/bl_pkg/cli/blender_ext.py"
    tags = scripts / "modules/_bpy_internal/extensions/tags.py"
    return run_python(tool, command, "--valid-tags", tags, *arguments)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("extension")
    done = extension_tool("build", "--source-dir", ROOT, "--output-dir", output)
    assert done.returncode == 0, done.stdout + done.stderr
    [archive] = output.iterdir()
    return archive


def test_the_zip_passes_blenders_check(archive: Path) -> None:
    done = extension_tool("validate", archive)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_refuses_an_unknown_tag(tmp_path: Path) -> None:
    manifest = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    wrong = manifest.replace('"Modeling"', '"No such tag"')
    assert wrong != manifest
    (tmp_path / "blender_manifest.toml").write_text(wrong, encoding="utf-8")
    (tmp_path / "__init__.py").touch()
    done = extension_tool("validate", tmp_path)
    assert done.returncode != 0
    assert "No such tag" in done.stdout + done.stderr


def test_the_zip_holds_what_ships_and_nothing_else(archive: Path) -> None:
    shipped = [p for folder in ("blender_addon", "backend") for p in (ROOT / folder).rglob("*.py")]
    expected = {p.relative_to(ROOT).as_posix() for p in shipped}
    expected |= {"__init__.py", "LICENSE", "blender_manifest.toml"}
    with zipfile.ZipFile(archive) as content:
        names = {name for name in content.namelist() if not name.endswith("/")}
        assert names == expected
        assert all(content.read(name) == (ROOT / name).read_bytes() for name in names)
    assert archive.stat().st_size < 1_000_000


def test_install_disable_and_enable_again(archive: Path, tmp_path: Path) -> None:
    profile = tmp_path / "Profil mit Leerzeichen é"
    profile.mkdir()
    done = run_python("-c", SWITCH_ON_AND_OFF, archive, BLENDER_USER_RESOURCES=os.fspath(profile))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "STATES True False True False" in lines
    assert "TORCH False" in lines
    [file] = [Path(line.removeprefix("FILE ")) for line in lines if line.startswith("FILE ")]
    assert file.is_relative_to(profile)
    assert file.read_bytes() == (ROOT / "__init__.py").read_bytes()


def test_a_session_that_leaves_a_class_registered_ends_with_its_own_status(tmp_path: Path) -> None:
    """``tests/conftest.py`` leaves before bpy's exit, and must not hide a failure by that."""
    test = "import bpy\nclass X(bpy.types.PropertyGroup):\n    pass\n"
    test += "def test_x():\n    bpy.utils.register_class(X)\n    assert {outcome}\n"
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests/conftest.py").read_bytes())
    for outcome, status in [("True", 0), ("False", 1)]:
        (tmp_path / f"test_{outcome}.py").write_text(test.format(outcome=outcome), encoding="utf-8")
        done = run_python(
            "-m", "pytest", "-q", "--rootdir", tmp_path, tmp_path / f"test_{outcome}.py"
        )
        assert done.returncode == status, done.stdout + done.stderr
