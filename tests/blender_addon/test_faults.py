"""What can go wrong with the backend under the button, and that the button is the function."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.blender_addon.conftest import ROOT
from tests.child_programs import is_alive, until

pytestmark = [pytest.mark.blender, pytest.mark.slow]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def egg(blender: Any, drawings: list[Path]) -> Any:
    """Blender with the references of a small and quick job; its backend has not been started."""
    blender.current.stop_backend(seconds=2.0)
    blender.stand_drawings(drawings)
    settings = blender.settings
    settings.quality, settings.texture = "draft", "vertex"
    settings.visual_hull.resolution = 32
    return blender


def start(blender: Any, resolution: int = 32) -> Any:
    """What the button does when it is clicked in a window; returns the job."""
    blender.settings.visual_hull.resolution = resolution
    return blender.current.start(blender.session.order_of_scene(blender.bpy.context))


def children() -> set[int]:
    """The processes that this one has started and that still run."""
    lists = Path("/proc/self/task").glob("*/children")
    found = {int(number) for file in lists for number in file.read_text("ascii").split()}
    return {number for number in found if is_alive(number)}


@LINUX
def test_killed_in_mid_job_and_again_during_the_restart(egg: Any) -> None:
    current: Any = egg.current
    others = children()
    job = start(egg, resolution=300)
    until(lambda: current.tick() or job.fraction > 0.05)
    os.kill(current.backend.hello.process, signal.SIGKILL)
    until(lambda: current.tick() or not current.busy)
    assert current.finish() is None
    assert (job.state, current.failure.kind) == ("failed", "memory")
    assert "SIGKILL" in current.failure.message

    job: Any = start(egg)
    assert current.failure is None
    [process] = children() - others
    os.kill(process, signal.SIGKILL)
    until(lambda: current.tick() or not current.busy)
    assert current.finish() is None
    assert (job.state, egg.current.failure.kind) == ("failed", "memory")

    assert len(egg.bpy.data.objects) == 3
    assert egg.ops.reconstruct() == {"FINISHED"}
    assert egg.bpy.context.active_object.type == "MESH"
    assert current.failure is None


def test_an_environment_without_torch_is_named(egg: Any, tmp_path: Path) -> None:
    venv.create(tmp_path / "leer é")
    preferences = egg.preferences.preferences()
    preferences.python = str(tmp_path / "leer é")
    with pytest.raises(RuntimeError, match="lacks a library"):
        egg.ops.reconstruct()
    assert egg.current.failure.kind == "library"
    assert "preferences" in egg.current.failure.hint
    with pytest.raises(RuntimeError, match="lacks torch"):
        egg.ops.check_python()
    assert "lacks torch" in preferences.backend_problem()
    with pytest.raises(RuntimeError, match="lacks torch"):
        egg.ops.reconstruct()
    preferences.python = sys.executable
    assert egg.ops.reconstruct() == {"FINISHED"}


def test_the_button_is_the_function(egg: Any, tmp_path: Path) -> None:
    egg.settings.faces, egg.settings.seed = 3000, 7
    assert egg.ops.reconstruct() == {"FINISHED"}
    request, mesh = egg.current.job.request, egg.bpy.context.active_object.data
    output = tmp_path / "by hand.ply"
    words = ["--cameras", request.cameras, "--quality", "draft", "--faces", "3000", "--seed", "7"]
    words += ["--param", "resolution=32", "--texture", "vertex", "--device", request.device]
    done = subprocess.run(
        [sys.executable, "-m", "backend", "reconstruct", *request.inputs, *words, "-o", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_hand: Any = trimesh.load(output, process=False)
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.ravel())
    np.testing.assert_array_equal(vertices, by_hand.vertices.astype(np.float32))
    faces = np.array([polygon.vertices[:] for polygon in mesh.polygons])
    np.testing.assert_array_equal(faces, by_hand.faces)
