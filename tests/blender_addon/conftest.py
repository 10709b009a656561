"""The extension, switched on in the real Blender that runs the tests."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MODULE = "bl_ext.user_default.image_to_mesh"
HALF_EDGES, MIDDLE = np.array([0.4, 0.6, 0.25]), np.array([1.0, 2.0, 3.0])
"""Of the ellipsoid that the drawings show."""


class Blender:
    """Blender's ``bpy`` and the add-on's modules, by their names."""

    def __init__(self) -> None:
        self.bpy = importlib.import_module("bpy")

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"{MODULE}.blender_addon.{name}")

    def operators(self, name: str) -> Any:
        return importlib.import_module(f"{MODULE}.blender_addon.operators.{name}")

    @property
    def ops(self) -> Any:
        return self.bpy.ops.image_to_mesh

    @property
    def scene(self) -> Any:
        return self.bpy.context.scene

    @property
    def settings(self) -> Any:
        return self.scene.image_to_mesh

    @property
    def current(self) -> Any:
        return self.session.session

    def image_empty(self, name: str, path: Path, rotation: Sequence[float] = (0, 0, 0)) -> Any:
        """A selected image empty."""
        item = self.bpy.data.objects.new(name, None)
        item.empty_display_type = "IMAGE"
        item.data = self.bpy.data.images.load(os.fspath(path), check_existing=True)
        item.rotation_euler = rotation
        self.scene.collection.objects.link(item)
        item.select_set(True)
        return item

    def stand_drawings(self, drawings: Sequence[Path]) -> list[Any]:
        """Front, right and top drawing of the ellipsoid, of different sizes, around its middle."""
        quarter = np.pi / 2
        x, y, z = MIDDLE
        placed = [
            ("Front", (quarter, 0, 0), (x, y + 3, z), 1.5),
            ("Right", (quarter, 0, quarter), (x - 2, y, z), 3.0),
            ("Top", (0, 0, 0), (x, y, z - 1), 2.0),
        ]
        empties = []
        for path, (name, rotation, location, size) in zip(drawings, placed, strict=True):
            item = self.image_empty(name, path, rotation)
            item.location, item.empty_display_size = location, size
            empties.append(item)
        return empties


def switch_on(profile: Path) -> None:
    """Copy the extension to where Blender unpacks one, and enable it."""
    import addon_utils  # pyright: ignore[reportMissingImports]  # found only once bpy is loaded
    import bpy

    extension = profile / "extensions/user_default/image_to_mesh"
    for name in ("backend", "blender_addon"):
        ignored = shutil.ignore_patterns("*.pyc", "__pycache__")
        shutil.copytree(ROOT / name, extension / name, ignore=ignored)
    for name in ("__init__.py", "blender_manifest.toml"):
        shutil.copy(ROOT / name, extension)
    addon_utils.extensions_refresh()
    bpy.ops.preferences.addon_enable(module=MODULE)


@pytest.fixture(scope="session")
def switched_on() -> Iterator[Blender]:
    blender = Blender()
    switch_on(Path(os.environ["BLENDER_USER_RESOURCES"]))
    yield blender
    blender.bpy.ops.preferences.addon_disable(module=MODULE)


@pytest.fixture
def blender(switched_on: Blender) -> Iterator[Blender]:
    """An empty scene; the backend runs with this Python."""
    switched_on.bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, load_ui=False)
    switched_on.preferences.preferences().python = sys.executable
    yield switched_on
    switched_on.current.forget_job()
    switched_on.current.failure = None
    if switched_on.current.backend is not None:
        switched_on.current.wait()


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An ellipsoid from the front, the right and the top, each at another scale.

    The empties of ``Blender.stand_drawings`` give them one scale.
    """
    folder = tmp_path_factory.mktemp("Bilder é")
    x, y, z = HALF_EDGES
    seen = [("front", x, z, 1.5), ("right", y, z, 3.0), ("top", x, y, 2.0)]
    paths = []
    for name, across, up, size in seen:
        paths.append(folder / f"{name}.png")
        draw_ellipse(paths[-1], 128, 2 * across / size, 2 * up / size)
    return paths


def draw_ellipse(path: Path, size: int, width: float, height: float) -> None:
    """A brown ellipse before white; its axes are shares of the picture's side."""
    places = (np.arange(4 * size) + 0.5) / (4 * size) - 0.5
    inside = (2 * places / width) ** 2 + (2 * places[:, None] / height) ** 2 < 1
    covered = inside.reshape(size, 4, size, 4).mean(axis=(1, 3))[..., None]
    pixels = covered * np.array([150, 90, 40]) + (1 - covered) * 255
    Image.fromarray(np.round(pixels).astype(np.uint8)).save(path)
