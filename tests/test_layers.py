"""The arrows between the folders, read from the syntax trees, and the files that need no torch.

``RULES`` pairs a folder with what its files may not do; ``PLANTED`` breaks every rule once, so a
rule that stopped looking would fail here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = {"backend", "blender_addon", "training", "tests", "benchmarks"}
RECIPES = sorted(p.stem for p in (ROOT / "training/recipes").glob("[!_]*.py"))
RECIPES.remove("interface")
METHODS = sorted(p.parent.name for p in (ROOT / "backend/methods").glob("*/__init__.py"))

# Read by Blender's side too, so they must run without torch and without bpy.
LIGHT = [
    "backend",
    "backend.asset_files",
    "backend.protocol",
    "backend.views",
    "backend.camera_files",
    "backend.camera_samplers",
    "backend.checkpoints",
    "backend.command_options",
    "backend.dataset_files",
    "backend.exr_files",
    "backend.files",
    "backend.lazy_numpy",
    "backend.named_views",
    "backend.studio_lights",
    "backend.errors",
    "backend.methods",
    "backend.methods.interface",
    *(f"backend.methods.{name}" for name in METHODS),
]
# Not numpy, which loads when it is used: backend.lazy_numpy.
BLENDERS_LIBRARIES = {"bpy", "bpy_extras", "bmesh", "gpu", "gpu_extras", "mathutils"}
HEAVY_LIBRARIES = ["torch", "bpy", "scipy", "cv2", "PIL", "skimage", "trimesh"]


# Reading a file


def module_name(path: str) -> str:
    """``backend/geometry/__init__.py`` -> ``backend.geometry``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, source: str) -> Iterator[tuple[str, int]]:
    """Every import in a file: the full dotted name, the imported word included, and its level.

    ``from ..views import Camera`` in ``backend/geometry/mesh.py`` is
    ``("backend.views.Camera", 2)``; an absolute import has level 0.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.split("/")[: -node.level] if node.level else []
            base = [*package, *([node.module] if node.module else [])]
            yield from ((".".join([*base, alias.name]), node.level) for alias in node.names)


def is_within(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def heavy_modules() -> set[str]:
    """The modules of ``backend`` that are not light."""
    files = (ROOT / "backend").rglob("*.py")
    return {module_name(p.relative_to(ROOT).as_posix()) for p in files} - set(LIGHT)


# The rules: each takes a file and names what is wrong with it


Rule = Callable[[str, str], list[str]]


def never_imports(*modules: str) -> Rule:
    def rule(path: str, source: str) -> list[str]:
        return [name for name, _ in imports(path, source) if is_within(name, modules)]

    return rule


def of_the_project_only(*modules: str) -> Rule:
    def rule(path: str, source: str) -> list[str]:
        names = [name for name, _ in imports(path, source) if is_within(name, PROJECT)]
        return [name for name in names if not is_within(name, modules)]

    return rule


def relative_imports_only(path: str, source: str) -> list[str]:
    absolute = [name for name, level in imports(path, source) if level == 0]
    return [name for name in absolute if is_within(name, PROJECT | {"bl_ext", "image_to_mesh"})]


def blenders_own_python_only(path: str, source: str) -> list[str]:
    """What every Blender brings; a relative import is of this project."""
    known = sys.stdlib_module_names | BLENDERS_LIBRARIES
    absolute = [name for name, level in imports(path, source) if level == 0]
    return [name for name in absolute if name.partition(".")[0] not in known]


def no_import_of_heavy_backend(path: str, source: str) -> list[str]:
    heavy = heavy_modules()
    return [name for name, _ in imports(path, source) if is_within(name, heavy)]


def no_import_of_another_method(path: str, source: str) -> list[str]:
    own = path.split("/")[2]
    others = [f"backend.methods.{name}" for name in METHODS if name != own]
    return [name for name, _ in imports(path, source) if is_within(name, others)]


def no_import_of_another_recipe(path: str, source: str) -> list[str]:
    own = path.split("/")[-1].removesuffix(".py")
    others = [f"training.recipes.{name}" for name in RECIPES if name != own]
    return [name for name, _ in imports(path, source) if is_within(name, others)]


def no_tricks(path: str, source: str) -> list[str]:
    """Reviewers of extensions refuse these; the installed extension must not need them either."""
    names = [name for name, _ in imports(path, source)]
    nodes = list(ast.walk(ast.parse(source)))
    names += [ast.unparse(n) for n in nodes if isinstance(n, ast.Attribute)]
    names += [ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)]
    tricks = ["sys.path", "sys.modules", "exec", "eval", "__import__", "builtins"]
    return [name for name in names if is_within(name, tricks)]


BELOW_GEOMETRY = ["backend.errors", "backend.threads", "backend.views"]
RULES: dict[str, tuple[str, Rule]] = {
    "backend knows nothing above it": (
        "backend/**/*.py",
        never_imports("bpy", "training", "blender_addon"),
    ),
    "backend imports itself relatively": ("backend/**/*.py", relative_imports_only),
    "the add-on never imports torch": ("blender_addon/**/*.py", never_imports("torch", "training")),
    "the add-on needs Blender's own Python": ("blender_addon/**/*.py", blenders_own_python_only),
    "the add-on has no threads": (
        "blender_addon/**/*.py",
        never_imports("threading", "_thread", "concurrent", "multiprocessing", "queue"),
    ),
    "the add-on reads light files only": ("blender_addon/**/*.py", no_import_of_heavy_backend),
    "the add-on imports relatively": ("blender_addon/**/*.py", relative_imports_only),
    "the add-on plays no tricks": ("blender_addon/**/*.py", no_tricks),
    "a method never imports another": ("backend/methods/*/*.py", no_import_of_another_method),
    "geometry is the bottom": (
        "backend/geometry/**/*.py",
        of_the_project_only("backend.geometry", *BELOW_GEOMETRY),
    ),
    "rendering stands on geometry": (
        "backend/rendering/**/*.py",
        of_the_project_only("backend.rendering", "backend.geometry", *BELOW_GEOMETRY),
    ),
    "a recipe never imports another": ("training/recipes/*.py", no_import_of_another_recipe),
    "the loop knows no method by name": (
        "training/*.py",
        never_imports(
            *(f"training.recipes.{name}" for name in RECIPES),
            *(f"backend.methods.{name}" for name in METHODS),
        ),
    ),
    "training needs no Blender": ("training/**/*.py", never_imports("bpy", "blender_addon")),
}

PLANTED: list[tuple[str, str, str, str]] = [
    ("backend knows nothing above it", "backend/server.py", "import bpy", "bpy"),
    (
        "backend knows nothing above it",
        "backend/methods/dvr/model.py",
        "def f():\n    from training.datasets import x",
        "training.datasets.x",
    ),
    (
        "backend imports itself relatively",
        "backend/server.py",
        "from backend.errors import InputError",
        "backend.errors.InputError",
    ),
    ("the add-on never imports torch", "blender_addon/job.py", "import torch.nn", "torch.nn"),
    (
        "the add-on needs Blender's own Python",
        "blender_addon/job.py",
        "def f():\n    from PIL import Image",
        "PIL.Image",
    ),
    (
        "the add-on has no threads",
        "blender_addon/job.py",
        "from threading import Thread",
        "threading.Thread",
    ),
    (
        "the add-on reads light files only",
        "blender_addon/operators/run.py",
        "from ...backend.geometry import mesh",
        "backend.geometry.mesh",
    ),
    (
        "the add-on reads light files only",
        "blender_addon/job.py",
        "from ..backend import geometry",
        "backend.geometry",
    ),
    (
        "the add-on imports relatively",
        "blender_addon/job.py",
        "import backend.views",
        "backend.views",
    ),
    (
        "the add-on imports relatively",
        "blender_addon/job.py",
        "from bl_ext.user_default.image_to_mesh.backend import views",
        "bl_ext.user_default.image_to_mesh.backend.views",
    ),
    (
        "the add-on plays no tricks",
        "blender_addon/job.py",
        "import sys\nsys.path.append('x')",
        "sys.path",
    ),
    ("the add-on plays no tricks", "blender_addon/job.py", "from sys import path", "sys.path"),
    ("the add-on plays no tricks", "blender_addon/job.py", "exec('1')", "exec"),
    ("the add-on plays no tricks", "blender_addon/job.py", "x = eval('1')", "eval"),
    (
        "a method never imports another",
        "backend/methods/dvr/reconstruct.py",
        "from ..visual_hull.reconstruct import load",
        "backend.methods.visual_hull.reconstruct.load",
    ),
    (
        "a method never imports another",
        "backend/methods/dvr/reconstruct.py",
        "from .. import drwr",
        "backend.methods.drwr",
    ),
    (
        "geometry is the bottom",
        "backend/geometry/texture.py",
        "from ..rendering.mesh_rasterizer import rasterize",
        "backend.rendering.mesh_rasterizer.rasterize",
    ),
    (
        "rendering stands on geometry",
        "backend/rendering/ray_marching.py",
        "from ..methods import METHODS",
        "backend.methods.METHODS",
    ),
    (
        "a recipe never imports another",
        "training/recipes/of_tomorrow.py",
        "from .drwr import Options",
        "training.recipes.drwr.Options",
    ),
    (
        "the loop knows no method by name",
        "training/trainer.py",
        "from backend.methods.drwr.losses import drwr_loss",
        "backend.methods.drwr.losses.drwr_loss",
    ),
    ("training needs no Blender", "training/datasets.py", "import bpy.types", "bpy.types"),
]
ALLOWED: list[tuple[str, str, str]] = [
    ("the add-on needs Blender's own Python", "blender_addon/job.py", "from bpy.props import x"),
    ("the add-on reads light files only", "blender_addon/job.py", "from ..backend import protocol"),
    (
        "the add-on reads light files only",
        "blender_addon/operators/run.py",
        "from ...backend.methods.dvr import SPEC",
    ),
    ("the add-on plays no tricks", "blender_addon/job.py", "import sys\nsys.platform"),
    (
        "a method never imports another",
        "backend/methods/dvr/model.py",
        "from .reconstruct import f",
    ),
    (
        "geometry is the bottom",
        "backend/geometry/mesh.py",
        "import torch\nfrom ..views import Camera",
    ),
    ("rendering stands on geometry", "backend/rendering/a.py", "from ..geometry.mesh import Mesh"),
]


@pytest.mark.parametrize("name", RULES)
def test_rule_holds(name: str) -> None:
    pattern, rule = RULES[name]
    files = [p.relative_to(ROOT).as_posix() for p in ROOT.glob(pattern)]
    broken = {f: rule(f, (ROOT / f).read_text(encoding="utf-8")) for f in files}
    assert {f: names for f, names in broken.items() if names} == {}


@pytest.mark.parametrize(("name", "path", "source", "found"), PLANTED)
def test_rule_catches_a_planted_violation(name: str, path: str, source: str, found: str) -> None:
    assert found in RULES[name][1](path, source)


@pytest.mark.parametrize(("name", "path", "source"), ALLOWED)
def test_rule_lets_the_rest_pass(name: str, path: str, source: str) -> None:
    assert RULES[name][1](path, source) == []


def test_every_rule_is_planted_and_reads_files() -> None:
    assert {name for name, *_ in PLANTED} == set(RULES)
    assert [name for name, (pattern, _) in RULES.items() if not any(ROOT.glob(pattern))] == []


# The light files in a fresh process


RUN_LIGHT = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
before = set(sys.modules)
for name in {modules!r}:
    importlib.import_module(name)
# Cython's shared tables are listed as modules without being any.
found = [n for n in set(sys.modules) - before if getattr(sys.modules[n], "__spec__", None)]
loaded = {{name.partition(".")[0] for name in found}}
print(*sorted(loaded - set(sys.stdlib_module_names)))
"""


def load_blocked(folder: Path, modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import modules in a fresh process without the heavy libraries; prints what they loaded."""
    code = RUN_LIGHT.format(blocked=set(HEAVY_LIBRARIES), modules=modules)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", LIGHT)
def test_light_file_runs_alone(module: str) -> None:
    done = load_blocked(ROOT, [module])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["backend"], "numpy waits for its first use: lazy_numpy"


@pytest.mark.parametrize("library", HEAVY_LIBRARIES)
def test_blocking_catches_a_planted_import(tmp_path: Path, library: str) -> None:
    (tmp_path / "planted.py").write_text(f"import {library}\n", encoding="utf-8")
    done = load_blocked(tmp_path, ["planted"])
    assert done.returncode != 0
    assert f"blocked: {library}" in done.stderr


def test_a_planted_light_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import numpy\n", encoding="utf-8")
    assert load_blocked(tmp_path, ["planted"]).stdout.split() == ["numpy", "planted"]
