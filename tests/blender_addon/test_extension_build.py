"""The extension as Blender builds, checks, installs and enables it, from this very folder."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.blender


def respect_permissions() -> None:
    """Take root's power to write anywhere, for good; anyone else has none to lose."""
    drop_capability, write_anywhere = 24, 1
    ctypes.CDLL(None).prctl(drop_capability, write_anywhere, 0, 0, 0)


def run_python(
    *arguments: str | Path, preexec_fn: Callable[[], None] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in its own process, from the repository's root.

    bpy hangs at exit when a class, timer or handler is left behind; TimeoutExpired then says so.
    """
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        preexec_fn=preexec_fn,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
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
    words = () if command == "server-generate" else ("--valid-tags", tags)
    return run_python(tool, command, *words, *arguments)


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


# Leaves before 4.2's exit, which crashes once any extension whose properties have callbacks was
# replaced in the same session.
FROM_REPOSITORIES = """
import os
import sys
from pathlib import Path
import bpy

MODULE = "bl_ext.studio.image_to_mesh"
bpy.context.preferences.system.use_online_access = True  # Blender asks for it even for file://
repositories = bpy.context.preferences.extensions.repos
studio = repositories.new(name="Studio", module="studio", remote_url="file:")
number = list(repositories).index(studio)
for address in sys.argv[1:]:
    studio.remote_url = address
    bpy.ops.extensions.repo_sync(repo_index=number)
    bpy.ops.extensions.package_install(
        repo_index=number, pkg_id="image_to_mesh", enable_on_install=True
    )
    preferences = bpy.context.preferences.addons[MODULE].preferences
    manifest = Path(sys.modules[MODULE].__file__).with_name("blender_manifest.toml")
    [version] = [x for x in manifest.read_text("utf-8").splitlines() if x.startswith("version")]
    print("HERE", version, repr(preferences.python))
    preferences.python = "/chosen"
bpy.ops.preferences.addon_disable(module=MODULE)
sys.stdout.flush()
os._exit(0)
"""


def make_repository(folder: Path, version: str) -> dict[str, Any]:
    """A repository with a version of this extension; returns what its index says of that."""
    source = folder.with_name(f"source of {version}")
    for name in ("backend", "blender_addon"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "LICENSE"):
        shutil.copy(ROOT / name, source)
    text = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    text = re.sub("(?m)^version = .*", f'version = "{version}"', text)
    (source / "blender_manifest.toml").write_text(text, encoding="utf-8")
    folder.mkdir()
    for words in (
        ("build", "--source-dir", source, "--output-dir", folder),
        ("server-generate", "--repo-dir", folder, "--html"),
    ):
        done = extension_tool(*map(str, words))
        assert done.returncode == 0, done.stdout + done.stderr
    [entry] = json.loads((folder / "index.json").read_text(encoding="utf-8"))["data"]
    return entry


@pytest.mark.slow
def test_a_repository_of_ones_own_serves_updates(tmp_path: Path) -> None:
    old, new, profile = tmp_path / "alt é", tmp_path / "neu é", tmp_path / "profile"
    make_repository(old, "1.0.0")
    entry = make_repository(new, "1.0.1")
    archive = (new / entry["archive_url"]).read_bytes()
    assert (entry["id"], entry["version"]) == ("image_to_mesh", "1.0.1")
    assert entry["archive_size"] == len(archive)
    assert entry["archive_hash"] == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    assert "image_to_mesh" in (new / "index.html").read_text(encoding="utf-8")
    profile.mkdir()
    addresses = [(folder / "index.json").as_uri() for folder in (old, new)]
    done = run_python(
        "-c", FROM_REPOSITORIES, *addresses, BLENDER_USER_RESOURCES=os.fspath(profile)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("HERE")] == [
        "HERE version = \"1.0.0\" ''",
        "HERE version = \"1.0.1\" '/chosen'",
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="drops root's rights the way of Linux")
def test_a_whole_life_from_installing_to_quitting(
    archive: Path, drawings: list[Path], tmp_path: Path
) -> None:
    profile = tmp_path / "Profil mit Leerzeichen é"
    profile.mkdir()
    done = run_python(
        *("-m", "tests.blender_addon.whole_life", archive, sys.executable, *drawings),
        preexec_fn=respect_permissions,
        BLENDER_USER_RESOURCES=os.fspath(profile),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "DONE" in done.stdout.splitlines()
    [line] = [line for line in done.stdout.splitlines() if line.startswith("FILE ")]
    folder = Path(line.removeprefix("FILE ")).parent
    assert folder.is_relative_to(profile)
    with zipfile.ZipFile(archive) as content:
        names = {name for name in content.namelist() if not name.endswith("/")}
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == names


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
