"""The add-on's parts that need no Blender, imported as when it is installed but without bpy.

They import ``..backend``, so they must lie in a package that holds both folders. Its own
``__init__.py`` and the add-on's import bpy and are not run.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
PACKAGE = "image_to_mesh_parts"


def _add_package(name: str, folder: Path) -> None:
    spec = ModuleSpec(name, loader=None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules.setdefault(name, module_from_spec(spec))


if TYPE_CHECKING:
    from backend import methods, protocol
    from blender_addon import (
        backend_install,
        backend_process,
        estimates,
        job,
        python_check,
        render_settings,
    )
else:
    _add_package(PACKAGE, ROOT)
    _add_package(f"{PACKAGE}.blender_addon", ROOT / "blender_addon")
    methods = importlib.import_module(f"{PACKAGE}.backend.methods")
    protocol = importlib.import_module(f"{PACKAGE}.backend.protocol")
    backend_install = importlib.import_module(f"{PACKAGE}.blender_addon.backend_install")
    backend_process = importlib.import_module(f"{PACKAGE}.blender_addon.backend_process")
    estimates = importlib.import_module(f"{PACKAGE}.blender_addon.estimates")
    job = importlib.import_module(f"{PACKAGE}.blender_addon.job")
    python_check = importlib.import_module(f"{PACKAGE}.blender_addon.python_check")
    render_settings = importlib.import_module(f"{PACKAGE}.blender_addon.render_settings")
