"""What every test run needs: few threads, an empty Blender profile, and honest counts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Read by torch and by bpy when they are first imported, here and in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "2")
PROFILE = tempfile.mkdtemp(prefix="blender-profile-")
os.environ["BLENDER_USER_RESOURCES"] = PROFILE


def cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def blender_is_available() -> bool:
    # fake-bpy-module brings stubs only, which are no module.
    return importlib.util.find_spec("bpy") is not None


def ray_is_available() -> bool:
    return importlib.util.find_spec("ray") is not None


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "cuda": (cuda_is_available, "torch finds no CUDA device"),
    "ray": (ray_is_available, "Ray is not installed; it comes with the extra cluster"),
    "blender": (blender_is_available, "the module bpy is not installed; it needs Python 3.11"),
}
NOT_RUN = pytest.StashKey[list[str]]()
EXIT_STATUS = pytest.StashKey[int]()


class RootIsNoPackage:
    """Keeps pytest from importing the root's ``__init__.py``, which is Blender's and needs bpy.

    A plugin, because a conftest's own hook is not asked about the folder above it.
    """

    def pytest_collect_directory(
        self, path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RootIsNoPackage())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count, the tests whose machine this is not."""
    lines = config.stash.setdefault(NOT_RUN, [])
    for marker, (is_available, reason) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not is_available():
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]
            lines.append(f"not run, marked {marker}: {len(marked)} ({reason})")


def pytest_report_header() -> list[str]:
    return [f"bpy: {version('bpy')}"] if blender_is_available() else []


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return config.stash[NOT_RUN]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once when bpy was loaded: it can hang at exit while anything is registered."""
    shutil.rmtree(PROFILE, ignore_errors=True)
    if "bpy" in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash.get(EXIT_STATUS, int(pytest.ExitCode.INTERNAL_ERROR)))
