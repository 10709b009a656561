"""``blender -b FILE --command image_to_mesh``, called: the module bpy cannot dispatch it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from tests.blender_addon.conftest import HALF_EDGES, MIDDLE

pytestmark = pytest.mark.blender

QUICK = ["--quality", "draft", "--param", "resolution=32", "--param", "fairness=0"]


def test_a_mesh_file_of_the_scenes_references(
    blender: Any, drawings: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blender.stand_drawings(drawings)
    output = tmp_path / "Ei é.glb"
    words = ["reconstruct", "-o", str(output), *QUICK, "--faces", "1500", "--json", "--seed", "4"]
    assert blender.command_line.run([*words, "--references", "Top", "Front"]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["seed"] == 4
    assert result["faces"] <= 1500
    assert len(result["silhouette_iou"]) == 2
    mesh: Any = trimesh.load(output, force="mesh")
    low, high = np.asarray(mesh.bounds)
    middle = MIDDLE[[0, 2, 1]] * [1, 1, -1]  # in glTF Y is up
    np.testing.assert_allclose((low + high) / 2, middle, atol=0.05)
    assert blender.current.backend is None


def test_files_instead_of_references(
    blender: Any, drawings: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, preview = tmp_path / "scene.blend", tmp_path / "preview.png"
    words = ["--views", "front,right,top", "--masks", "auto", "--preview", str(preview)]
    files = list(map(str, drawings))
    assert blender.command_line.run(["reconstruct", *files, "-o", str(output), *QUICK, *words]) == 0
    assert preview.is_file()
    item = blender.bpy.context.active_object
    made = np.array([v.co[:] for v in item.data.vertices])
    assert json.loads(item["image_to_mesh"]["agreement"]).keys() == {p.name for p in drawings}
    assert blender.ops.recreate() == {"FINISHED"}
    again = np.array([v.co[:] for v in blender.bpy.context.active_object.data.vertices])
    np.testing.assert_array_equal(again, made)
    capfd.readouterr()
    missing = ["reconstruct", "no.png", "-o", str(output)]
    assert blender.command_line.run(missing) == 2
    assert "no.png does not exist" in capfd.readouterr().err


@pytest.mark.parametrize("ending", [".obj", ".ply"])
def test_other_mesh_files(blender: Any, drawings: list[Path], tmp_path: Path, ending: str) -> None:
    blender.stand_drawings(drawings)
    output = tmp_path / f"mesh{ending}"
    words = ["--texture", "none", "--method", "visual_hull", "--symmetry", "x", "--device", "cpu"]
    assert blender.command_line.run(["reconstruct", "-o", str(output), *QUICK, *words]) == 0
    mesh: Any = trimesh.load(output, force="mesh")
    assert len(mesh.faces) > 100


def test_a_blend_file_holds_what_the_button_makes(
    blender: Any, drawings: list[Path], tmp_path: Path
) -> None:
    blender.stand_drawings(drawings)
    output = tmp_path / "scene.blend"
    assert blender.command_line.run(["reconstruct", "-o", str(output), *QUICK]) == 0
    by_command = np.array([v.co[:] for v in blender.bpy.context.active_object.data.vertices])
    assert blender.ops.reconstruct() == {"FINISHED"}
    by_button = np.array([v.co[:] for v in blender.bpy.context.active_object.data.vertices])
    np.testing.assert_array_equal(by_command, by_button)
    blender.bpy.ops.wm.open_mainfile(filepath=str(output), load_ui=False)
    item = blender.scene.objects["Reconstruction"]
    np.testing.assert_array_equal([v.co[:] for v in item.data.vertices], by_command)
    assert item["image_to_mesh"]["quality"] == "draft"
    np.testing.assert_allclose(np.ptp(by_command, axis=0) / 2, HALF_EDGES, atol=0.03)
    # Without -o the file itself is saved.
    blender.scene.objects["Top"].select_set(True)
    assert blender.command_line.run(["reconstruct", *QUICK]) == 0
    blender.bpy.ops.wm.open_mainfile(filepath=str(output), load_ui=False)
    assert "Reconstruction.001" in blender.scene.objects


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "--help"),
        (["reconstruct", "-o", "x.stl"], 2, "must end in .blend or .glb"),
        (["reconstruct", "-o", "no/such/x.glb"], 2, "does not exist"),
        (["reconstruct"], 2, "say with -o where the result goes"),
        (["reconstruct", "-o", "x.glb"], 2, "needs 2 references or more, got 1"),
        (["reconstruct", "-o", "x.glb", "--method", "magic"], 2, "invalid choice"),
        (["reconstruct", "-o", "x.glb", "--param", "resolution=1"], 2, "between 16 and 384"),
        (["reconstruct", "-o", "x.glb", "--param", "nothing=1"], 2, "no parameter 'nothing'"),
        (["reconstruct", "-o", "x.glb", "--param", "align=odd"], 2, "align must be one of"),
        (["reconstruct", "-o", "x.glb", "--references", "Back"], 2, "no reference 'Back'"),
        (["reconstruct", "-o", "x.glb", "--views", "front"], 2, "and there is none"),
        (["reconstruct", "--help"], 0, ""),
    ],
)
def test_wrong_words_are_refused(
    blender: Any,
    drawings: list[Path],
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    blender.image_empty("Front", drawings[0])
    assert blender.command_line.run(words) == code
    assert message in capfd.readouterr().err


def test_a_missing_backend_ends_with_one(
    blender: Any, drawings: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blender.stand_drawings(drawings)
    blender.preferences.preferences().python = "/no/such/python"
    assert blender.command_line.run(["reconstruct", "-o", str(tmp_path / "x.glb")]) == 1
    assert "There is no Python at '/no/such/python'" in capfd.readouterr().err
