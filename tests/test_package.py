"""The settings that must agree with one another."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import backend

ROOT = Path(__file__).parents[1]


def read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return read_toml("blender_manifest.toml")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return read_toml("pyproject.toml")


def test_one_version_everywhere(manifest: dict, pyproject: dict) -> None:
    assert manifest["version"] == backend.__version__
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "backend.__version__"}
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == backend.__version__


def test_extension_asks_for_files_and_for_network_to_install(manifest: dict) -> None:
    assert manifest["id"] == "image_to_mesh"
    assert manifest["blender_version_min"] == "4.2.0"
    assert list(manifest["permissions"]) == ["files", "network"]
    assert manifest["permissions"]["network"].startswith("Install the backend's Python packages")
    assert "wheels" not in manifest


def test_one_license_everywhere(manifest: dict, pyproject: dict) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:6] == ["GNU", "GENERAL", "PUBLIC", "LICENSE", "Version", "3,"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert manifest["license"] == ["SPDX:" + pyproject["project"]["license"]]
    assert pyproject["project"]["license"] == "GPL-3.0-or-later"


def test_console_script_exists(pyproject: dict) -> None:
    module, function = pyproject["project"]["scripts"]["image-to-mesh"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_root_module_only_hands_on_the_add_on() -> None:
    statements = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    assert ast.get_docstring(ast.Module(statements, [])) is not None
    assert [ast.unparse(s) for s in statements[1:]] == [
        "from .blender_addon import register, unregister"
    ]


def test_blender_wheel_is_pinned_to_its_python(pyproject: dict) -> None:
    [bpy] = pyproject["project"]["optional-dependencies"]["blender"]
    assert re.fullmatch(r"bpy==4\.5\.\d+; python_version == '3\.11'", bpy)


def test_a_test_run_never_imports_the_root_module(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    conftest = (ROOT / "tests/conftest.py").read_bytes()
    (tmp_path / "tests/conftest.py").write_bytes(conftest)
    (tmp_path / "tests/test_x.py").write_text("def test_x():\n    pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
