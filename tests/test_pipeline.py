"""The whole job, from drawings on disk to a mesh file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import KDTree

from backend.camera_files import PosedImage, write_transforms
from backend.errors import Cancelled, InputError
from backend.geometry.mesh import Mesh
from backend.mesh_files import read_mesh
from backend.methods.interface import MakePreview
from backend.overlays import ONLY_MASK
from backend.pipeline import reconstruct
from backend.protocol import Reconstruct, Result
from tests.shapes import Hit, ball, box, camera, cameras_around, coverage, view, views_of
from tests.trained_parts import BALLS

PLACES = {"front": (0, -2, 0), "right": (2, 0, 0), "top": (0, 0, 2)}
SMALL: dict[str, Any] = {
    "quality": "draft",
    "params": {"resolution": 32, "fairness": 0},
    "faces": 2000,
}


class Log:
    """Writes the reports down, and cancels when it hears a word."""

    def __init__(self, cancel_at: str = "") -> None:
        self.told: list[tuple[float, str]] = []
        self.cancel_at = cancel_at

    def __call__(self, fraction: float, message: str, preview: MakePreview | None = None) -> None:
        self.told.append((fraction, message))
        if message == self.cancel_at:
            raise Cancelled


def draw(folder: Path, hit: Hit, names: Sequence[str] = ("front", "right", "top")) -> tuple:
    paths = []
    for name in names:
        one = view(name, camera(PLACES[name], 96, True), hit)
        Image.fromarray(np.round(one.image * 255).astype(np.uint8)).save(folder / f"{name}.png")
        paths.append(str(folder / f"{name}.png"))
    return tuple(paths)


def run(folder: Path, inputs: tuple, **words: Any) -> tuple[Result, Mesh]:
    output = folder / words.pop("output", "out.glb")
    request = Reconstruct(inputs, str(output), **(SMALL | words))
    result = reconstruct(request, Log())
    return result, read_mesh(output)


def test_drawings_of_a_ball_become_a_ball(tmp_path: Path):
    """Named views have no scale of their own: the longest edge is 2, its middle the origin."""
    log = Log()
    inputs = draw(tmp_path, ball(0.4))
    result = reconstruct(Reconstruct(inputs, str(tmp_path / "out.glb"), **SMALL), log)
    mesh = read_mesh(tmp_path / "out.glb")
    assert result.watertight
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() > 0
    assert len(mesh.faces) == result.faces <= 2000
    assert len(mesh.vertices) == result.vertices
    assert min(result.silhouette_iou.values()) > 0.97
    assert list(result.silhouette_iou) == ["front.png", "right.png", "top.png"]
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert 0.9 < radii.min() < radii.max() < 1.25
    np.testing.assert_allclose(mesh.vertices.min(axis=0), -1.0, atol=0.05)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), 1.0, atol=0.05)
    fractions = [fraction for fraction, _ in log.told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert log.told[-1] == (1.0, "writing")
    assert sum(result.stage_seconds.values()) <= result.seconds + 0.01


def test_photographs_with_cameras_stay_in_their_world(tmp_path: Path):
    centre = (0.1, -0.06, 0.08)
    posed = []
    for one in views_of(ball(0.3, centre), cameras_around(5, 96)):
        path = tmp_path / f"{one.name}.png"
        rgba = np.concatenate([one.image, one.mask[..., None]], axis=-1)
        Image.fromarray(np.round(rgba * 255).astype(np.uint8)).save(path)
        posed.append(PosedImage(path, one.camera))
    write_transforms(tmp_path / "transforms.json", posed)
    _, mesh = run(tmp_path, (str(tmp_path),))
    radii = np.linalg.norm(mesh.vertices - np.array(centre), axis=1)
    assert radii.mean() == pytest.approx(0.3, rel=0.03)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), centre, atol=0.02)


def photograph_from(folder: Path, places: Sequence[Sequence[float]], hit: Hit) -> None:
    posed = []
    for index, place in enumerate(places):
        one = view(f"{index}", camera(place, 96), hit)
        rgba = np.concatenate([one.image, one.mask[..., None]], axis=-1)
        Image.fromarray(np.round(rgba * 255).astype(np.uint8)).save(folder / f"{index}.png")
        posed.append(PosedImage(folder / f"{index}.png", one.camera))
    write_transforms(folder / "transforms.json", posed)


ONE_SIDE = [(1.5, -2.0, 0.6), (2.2, 0.3, -0.5), (1.2, 1.8, 0.4)]


def test_symmetry_makes_halves_alike(tmp_path: Path):
    """Photographs from one side: without the mirror images the far side is a guess."""
    photograph_from(tmp_path, ONE_SIDE, box((0.7, 0.5, 0.4)))

    def gap(symmetry: str) -> float:
        _, mesh = run(tmp_path, (str(tmp_path),), symmetry=symmetry, texture="none")
        middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0))[0]
        mirrored = mesh.vertices * [-1, 1, 1] + [middle, 0, 0]
        return float(KDTree(mesh.vertices).query(mirrored)[0].mean())

    assert gap("x") < 0.012
    assert gap("x") < gap("none")


def test_symmetry_is_found_and_written_down(tmp_path: Path):
    """Somewhere else in the world than in its middle, and only where nothing contradicts it."""
    centre = (0.1, -0.06, 0.08)
    wide, nose = box((0.7, 0.5, 0.4), centre), ball(0.15, (0.5, -0.3, 0.2))
    for name, hit, found in (
        ("box", wide, True),
        ("nose", lambda o, d: wide(o, d) | nose(o, d), False),
    ):
        (tmp_path / name).mkdir()
        photograph_from(tmp_path / name, [*ONE_SIDE, (-2, 0.5, -1), (-1, -1.5, 1.5)], hit)
        result, _ = run(tmp_path / name, (str(tmp_path / name),), output="out.npz")
        assert ("x" in result.symmetry) == found
        with np.load(tmp_path / name / "out.npz") as arrays:
            written = json.loads(str(arrays["metadata"]))
        assert (written["symmetry"], written["mirrors"]) == ("auto", list(result.symmetry))
    assert run(tmp_path / "box", (str(tmp_path / "box"),), symmetry="none")[0].symmetry == ()


@pytest.mark.parametrize("texture", ["none", "vertex", "uv"])
def test_textures(tmp_path: Path, texture: str):
    """Clay in front of white: every colour of the mesh is the clay's."""
    clay = np.array([0.7, 0.4, 0.3])
    result, mesh = run(tmp_path, draw(tmp_path, ball(0.4)), texture=texture)
    assert result.watertight
    assert mesh.vertex_colors is not None  # a reader takes white where there are no colours
    colour = np.ones(3) if texture == "none" else clay
    off = np.abs(mesh.vertex_colors - colour).max(axis=1)
    assert np.median(off) < 0.02
    assert np.quantile(off, 0.95) < 0.1
    assert (mesh.texture is not None) == (mesh.face_uvs is not None) == (texture == "uv")
    if mesh.texture is not None:
        used = mesh.texture.reshape(-1, 3) / 255
        assert (np.abs(used - clay).max(axis=1) < 0.05).mean() > 0.5


def test_the_same_request_writes_the_same_bytes(tmp_path: Path):
    inputs = draw(tmp_path, ball(0.4))
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        run(folder, inputs, params={"resolution": 32})
        files.append((folder / "out.glb").read_bytes())
    assert files[0] == files[1]


def test_preview_is_written(tmp_path: Path):
    run(tmp_path, draw(tmp_path, ball(0.4)), preview=str(tmp_path / "preview.png"))
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (960, 640)


@pytest.mark.parametrize(
    "stage", ["reading images", "carving the hull", "cleaning the mesh", "texturing", "writing"]
)
def test_cancel_leaves_no_file(tmp_path: Path, stage: str):
    inputs = draw(tmp_path, ball(0.4))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Cancelled):
        reconstruct(Reconstruct(inputs, str(tmp_path / "out.glb"), **SMALL), Log(stage))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "magic"}, "there is no method 'magic'"),
        ({"quality": "best"}, "there is no quality 'best'"),
        ({"symmetry": "z"}, "symmetry must be auto, none, x or y"),
        ({"texture": "paint"}, "texture must be vertex, uv or none"),
        ({"faces": 3}, "4 faces or more"),
        ({"device": "abacus"}, "there is no device 'abacus'"),
        ({"params": {"size": 3}}, "has no parameter 'size'"),
        ({"params": {"resolution": 3}}, "resolution must be between"),
        ({"params": {"align": "sideways"}}, "align must be one of"),
        ({"inputs": ("gone.png",)}, "there is no file or folder"),
        ({"views": ("front", "right")}, "2 views are named"),
        ({"output": "out.stl"}, "out.stl"),
        ({"output": "gone/out.glb"}, "out.glb"),
    ],
)
def test_every_wrong_word_is_named(tmp_path: Path, words: dict[str, Any], message: str):
    request = Reconstruct(draw(tmp_path, ball(0.4)), "out.glb", **SMALL)
    request = dataclasses.replace(request, **words)
    request = dataclasses.replace(request, output=str(tmp_path / request.output))
    with pytest.raises(InputError, match=message):
        reconstruct(request, Log())
    assert not Path(request.output).exists()


def test_one_view_is_too_few(tmp_path: Path):
    with pytest.raises(InputError, match="needs 2 views or more, got 1"):
        run(tmp_path, draw(tmp_path, ball(0.4), ["front"]))


def test_previews_are_shown_in_the_world(tmp_path: Path):
    """The method's own are in the unit cube, these in the world, where named views are 2 long."""
    shown: list[Mesh] = []

    def report(fraction: float, message: str, preview: MakePreview | None = None) -> None:
        mesh = preview() if preview else None
        shown.extend([mesh] if mesh else [])

    words: dict[str, Any] = SMALL | {"params": {"resolution": 32, "fairness": 0.5}}
    reconstruct(Reconstruct(draw(tmp_path, ball(0.4)), str(tmp_path / "o.npz"), **words), report)
    for mesh in shown:
        np.testing.assert_allclose(mesh.vertices.min(axis=0), -1.0, atol=0.1)
        np.testing.assert_allclose(mesh.vertices.max(axis=0), 1.0, atol=0.1)
    assert shown


def test_overlays_are_of_the_original_views(tmp_path: Path):
    """The ball's front drawing has a bar that the other drawings rule out: only mask, so red."""
    inputs = draw(tmp_path, ball(0.4))
    with Image.open(inputs[0]) as picture:
        barred = picture.copy()
    barred.paste((178, 102, 76), (8, 44, 88, 52))
    barred.save(inputs[0])
    folder = tmp_path / "over lays" / "new"
    words: dict[str, Any] = {"params": SMALL["params"] | {"align": "as_drawn"}, "symmetry": "y"}
    result, _ = run(tmp_path, inputs, output="o.npz", overlays=str(folder), job="j", **words)
    assert result.job == "j"
    assert list(result.overlays) == [str(folder / f"view-00{n}.png") for n in range(3)]
    assert len(result.silhouette_iou) == 3
    counts = []
    for path in result.overlays:
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((96, 96), "RGBA")
            counts.append((np.asarray(picture) == ONLY_MASK).all(axis=-1).sum())
    assert counts[0] > 50
    assert counts[0] > 5 * max(counts[1:])


# One photograph and trained weights


def photograph(folder: Path) -> str:
    one = view("photo", camera((0.5, -2.0, 0.8), 96), ball(0.35))
    file = folder / "photo.png"
    Image.fromarray(np.round(one.image * 255).astype(np.uint8)).save(file)
    return str(file)


def test_one_photograph_without_a_camera(tmp_path: Path) -> None:
    weights = BALLS["drwr_single_image"](tmp_path / "model.safetensors", 0.35)
    words = {"method": "drwr_single_image", "checkpoint": str(weights), "params": {}}
    result, mesh = run(tmp_path, (photograph(tmp_path),), texture="vertex", **words)
    assert mesh.is_closed_manifold()
    assert mesh.signed_volume() == pytest.approx(4 / 3 * np.pi * 0.35**3, rel=0.25)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), 0, atol=0.05)
    assert result.silhouette_iou["photo.png"] > 0.9  # the fitted camera sees what the photo shows
    assert result.warnings == ()
    assert mesh.vertex_colors is not None
    np.testing.assert_allclose(
        np.median(mesh.vertex_colors[:, :3], axis=0), [0.7, 0.4, 0.3], atol=0.04
    )


def test_one_photograph_in_the_world(tmp_path: Path) -> None:
    """A camera file says where the picture stands; the object takes its place and its size."""
    weights = BALLS["drwr_single_image"](tmp_path / "model.safetensors", 0.35)
    picture = camera((3.0, -6.0, 2.0), 96, True, target=(3.0, 0.0, 2.0), span=4.0)
    inside = tmp_path / "inside"
    inside.mkdir()
    posed = [PosedImage(Path(photograph(inside)), picture)]
    write_transforms(inside / "transforms.json", posed)
    words = {"method": "drwr_single_image", "checkpoint": str(weights), "params": {}}
    _, mesh = run(tmp_path, (str(inside),), **words)
    middle = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    np.testing.assert_allclose(middle, [3.0, 0.0, 2.0], atol=0.15)
    # The ball's outline in the photograph, in the world's units.
    outline = coverage(camera((0.5, -2.0, 0.8), 96), ball(0.35)) >= 0.5
    width = np.ptp(np.flatnonzero(outline.any(axis=0))) * 4.0 / 96
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(width, rel=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "needs a checkpoint"),
        ({"checkpoint": "no.safetensors"}, "cannot be read"),
        ({"method": "dvr", "checkpoint": "model.safetensors"}, "not for 'dvr'|takes no checkpoint"),
    ],
)
def test_checkpoints_that_do_not_fit(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    BALLS["drwr_single_image"](tmp_path / "model.safetensors", 0.35)
    if words.get("checkpoint"):
        words = words | {"checkpoint": str(tmp_path / words["checkpoint"])}
    method = {"method": "drwr_single_image", "params": {}}
    inputs = draw(tmp_path, ball(0.3)) if words.get("method") else (photograph(tmp_path),)
    with pytest.raises(InputError, match=said):
        run(tmp_path, inputs, **(method | words))


def test_two_photographs_are_too_many(tmp_path: Path) -> None:
    weights = BALLS["drwr_single_image"](tmp_path / "model.safetensors", 0.35)
    words = {"method": "drwr_single_image", "checkpoint": str(weights), "params": {}}
    with pytest.raises(InputError, match="reads one view, got 3"):
        run(tmp_path, draw(tmp_path, ball(0.3)), **words)
