"""From files on disk to views: folders, drawings, sheets and masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from backend.camera_files import PosedImage, write_transforms
from backend.errors import InputError
from backend.inputs import Inputs, read_inputs, write_mask
from backend.protocol import FindMask, Reconstruct
from backend.views import Camera, View
from tests.shapes import ball, box, camera, cameras_around, view, views_of

DRAWN = {"front": (0, -2, 0), "right": (2, 0, 0), "top": (0, 0, 2)}


def save(path: Path, one: View, alpha: bool = False) -> Path:
    path.parent.mkdir(exist_ok=True)
    parts = [one.image, one.mask[..., None]] if alpha else [one.image]
    pixels = np.round(np.concatenate(parts, axis=-1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save_mask(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.round(mask * 255).astype(np.uint8)).save(path)
    return path


def drawing(name: str) -> View:
    return view(name, camera(DRAWN[name], 64, True), box((0.8, 0.6, 0.4)))


def drawings(folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(save(folder / f"{name}.png", drawing(name))) for name in names)


def read(*inputs: str | Path, **words) -> Inputs:
    request = Reconstruct(inputs=tuple(map(str, inputs)), output="x.glb", **words)
    return read_inputs(request, "extents")


@pytest.fixture
def posed(tmp_path: Path) -> tuple[Path, list[Camera]]:
    """A folder with three pictures with alpha and their transforms.json."""
    cameras = cameras_around(3, 64)
    images = [
        save(tmp_path / f"{one.name}.png", one, alpha=True) for one in views_of(ball(0.4), cameras)
    ]
    posed = [PosedImage(i, c) for i, c in zip(images, cameras, strict=True)]
    write_transforms(tmp_path / "transforms.json", posed)
    return tmp_path, cameras


def check_cameras(found: Inputs, cameras: Sequence[Camera]) -> None:
    points = np.array([[0.1, 0.2, -0.3], [0.0, -0.1, 0.2]])
    for one, expected in zip(found.views, cameras, strict=True):
        np.testing.assert_allclose(
            one.camera.project(points)[0], expected.project(points)[0], atol=1e-6
        )


def test_folder_with_cameras(posed: tuple[Path, list[Camera]]):
    folder, cameras = posed
    found = read(folder)
    assert [one.name for one in found.views] == ["view 0.png", "view 1.png", "view 2.png"]
    check_cameras(found, cameras)
    assert set(found.mask_sources.values()) == {"alpha"}
    expected = views_of(ball(0.4), cameras)[1]
    np.testing.assert_allclose(found.views[1].mask, expected.mask, atol=0.01)
    content = (folder / "view 0.png").read_bytes()
    assert found.hashes["view 0.png"] == hashlib.sha256(content).hexdigest()
    assert set(found.hashes) == {"view 0.png", "view 1.png", "view 2.png", "transforms.json"}


def test_camera_file_elsewhere(posed: tuple[Path, list[Camera]]):
    folder, cameras = posed
    check_cameras(read(folder, cameras=str(folder / "transforms.json")), cameras)


def test_files_called_as_the_views(tmp_path: Path):
    found = read(*drawings(tmp_path, ["front", "right"]))
    np.testing.assert_allclose(found.views[0].camera.forward, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(found.views[1].camera.forward, [-1, 0, 0], atol=1e-12)
    assert set(found.mask_sources.values()) == {"plain background"}


def test_the_named_views_win_over_file_names(tmp_path: Path):
    paths = drawings(tmp_path, ["front", "right"])
    found = read(*paths, views=("back", "left"))
    np.testing.assert_allclose(found.views[0].camera.forward, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(found.views[1].camera.forward, [1, 0, 0], atol=1e-12)


def test_drawings_of_one_name_in_two_folders(tmp_path: Path):
    front = save(tmp_path / "a" / "drawing.png", drawing("front"))
    right = save(tmp_path / "b" / "drawing.png", drawing("right"))
    found = read(front, right, views=("front", "right"))
    assert len({one.name for one in found.views}) == 2
    assert set(found.mask_sources) == {one.name for one in found.views}
    assert set(found.hashes) == {"a/drawing.png", "b/drawing.png"}


def test_folder_of_drawings_with_named_views(tmp_path: Path):
    drawings(tmp_path, ["front", "right"])
    found = read(tmp_path, views=("front", "right"))
    assert [one.name for one in found.views] == ["front.png", "right.png"]


def test_masks_from_files(tmp_path: Path):
    paths = drawings(tmp_path, ["front", "right"])
    squares = np.zeros((2, 64, 64))
    squares[0, 20:40, 10:50], squares[1, 20:40, 12:44] = 1, 1
    masks = [save_mask(tmp_path / "m" / f"{i}.png", mask) for i, mask in enumerate(squares)]
    found = read(*paths, masks=tuple(map(str, masks)))
    for one, expected in zip(found.views, squares, strict=True):
        np.testing.assert_array_equal(one.mask, expected)
    assert set(found.mask_sources.values()) == {"file"}


def test_masks_of_several_kinds(tmp_path: Path):
    """One has alpha, one a mask file, and the plain background of one is to be found."""
    cut_out = save(tmp_path / "front.png", drawing("front"), alpha=True)
    (right, top) = drawings(tmp_path, ["right", "top"])
    square = np.zeros((64, 64))
    square[20:40, 10:50] = 1
    mask = save_mask(tmp_path / "mask.png", square)
    found = read(cut_out, right, top, masks=("alpha", str(mask), "auto"))
    sources = {"front.png": "alpha", "right.png": "file", "top.png": "plain background"}
    assert found.mask_sources == sources
    np.testing.assert_array_equal(found.views[1].mask, square)
    assert set(found.hashes) == {"front.png", "right.png", "top.png", "mask.png"}
    with pytest.raises(InputError, match=r"right.png has no alpha channel"):
        read(cut_out, right, masks=("auto", "alpha"))
    with pytest.raises(InputError, match="2 masks for 3 images; give one for each image"):
        read(cut_out, right, top, masks=("auto", "alpha"))


def test_a_mask_file_that_is_asked_for_wins_over_the_camera_files(
    posed: tuple[Path, list[Camera]],
):
    folder, cameras = posed
    square = np.zeros((64, 64))
    square[20:40, 10:50] = 1
    own = save_mask(folder / "masks" / "own.png", square)
    other = save_mask(folder / "masks" / "other.png", 1 - square)
    images = [PosedImage(folder / f"view {i}.png", cameras[i], own) for i in range(3)]
    write_transforms(folder / "transforms.json", images)
    found = read(folder, masks=("auto", str(other), "auto"))
    for one, expected in zip(found.views, [square, 1 - square, square], strict=True):
        np.testing.assert_array_equal(one.mask, expected)


def test_a_mask_alone_is_upright_like_its_picture(tmp_path: Path):
    """EXIF orientation 6: the stored picture must be turned a quarter clockwise."""
    stored = Image.new("RGB", (60, 40), "white")
    stored.paste((0, 0, 0), (5, 5, 25, 20))
    exif = stored.getexif()
    exif[ExifTags.Base.Orientation] = 6
    stored.save(tmp_path / "photo.png", exif=exif)
    request = FindMask(str(tmp_path / "photo.png"), "auto", str(tmp_path / "mask.png"), "job")
    answer = write_mask(request)
    assert [answer.source, answer.job, answer.warnings] == ["plain background", "job", ()]
    mask = np.asarray(Image.open(answer.output))
    assert mask.shape == (60, 40)
    expected = np.zeros((40, 60), bool)
    expected[5:20, 5:25] = True
    np.testing.assert_array_equal(mask >= 128, np.rot90(expected, -1))


def test_masks_that_are_called_as_the_pictures_keep_their_own_hash(tmp_path: Path):
    paths = drawings(tmp_path / "images", ["front", "right"])
    masks = [
        save_mask(tmp_path / "masks" / Path(p).name, drawing(Path(p).stem).mask) for p in paths
    ]
    found = read(*paths, masks=tuple(map(str, masks)))
    assert len(found.hashes) == 4
    content = hashlib.sha256(masks[1].read_bytes()).hexdigest()
    assert found.hashes["masks/right.png"] == content


def sheet(folder: Path, names: Sequence[str]) -> Path:
    parts = [drawing(name) for name in names]
    image = np.concatenate([part.image for part in parts], axis=1)
    mask = np.concatenate([part.mask for part in parts], axis=1)
    return save(folder / "sheet.png", replace(parts[0], image=image, mask=mask))


def test_sheet_is_cut_into_its_drawings(tmp_path: Path):
    names = ("front", "right", "top")
    found = read(sheet(tmp_path, names), sheet=names)
    assert tuple(one.name for one in found.views) == names
    separate = read(*drawings(tmp_path, names))
    for one, alone in zip(found.views, separate.views, strict=True):
        assert one.camera.image_size == one.mask.shape
        assert one.mask.sum() == pytest.approx(alone.mask.sum(), rel=0.02)
        np.testing.assert_allclose(one.camera.forward, alone.camera.forward, atol=1e-12)
    assert found.warnings == []


def test_sheet_with_too_many_names(tmp_path: Path):
    with pytest.raises(InputError, match="found 2 separate drawings"):
        read(sheet(tmp_path, ["front", "right"]), sheet=("front", "right", "top"))


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        ((), {}, "no input is named"),
        ((), {"views": ("front",)}, "no input is named"),
        (("gone.png",), {}, "there is no file or folder"),
        (("front.png", "."), {}, "not a folder among files"),
        ((".",), {}, "no camera file"),
        (("empty",), {"views": ("front",)}, "there are no images"),
        (("front.png", "right.png"), {"views": ("front",)}, "1 views are named"),
        (("front.png", "right.png"), {"views": ("front", "side")}, "there is no view 'side'"),
        (("front.png", "right.png"), {"views": ("front", "front")}, "named twice"),
        (("front.png", "other.png"), {}, "2 images but no cameras"),
        (("front.png", "right.png"), {"masks": ("front.png",)}, "1 mask files for 2 images"),
        (("front.png", "right.png"), {"masks": ("alpha",)}, "no alpha channel"),
        (("front.png", "right.png"), {"masks": ("gone.png", "right.png")}, "gone.png"),
        (("front.png", "right.png"), {"sheet": ("front", "right")}, "a sheet is one picture"),
        ((".",), {"sheet": ("front", "right")}, "a sheet is one picture"),
        (("front.png",), {"views": ("front",), "cameras": "c.json"}, "give one"),
        (("front.png",), {"views": ("front",), "sheet": ("front",)}, "give one"),
        (("front.png",), {"cameras": "gone.json"}, "gone.json"),
        (("text.png",), {"views": ("front",)}, "text.png"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    words: dict,
    message: str,
):
    drawings(tmp_path, ["front", "right"])
    save(tmp_path / "other.png", drawing("right"))
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        read(*files, **words)


def test_a_folder_of_drawings_alone_needs_no_camera_file(tmp_path: Path):
    folder = tmp_path / "drawings"
    folder.mkdir()
    for name in ("front", "right"):
        pixels = np.full((40, 40, 3), 255, np.uint8)
        pixels[10:30, 10:30] = 40
        Image.fromarray(pixels).save(folder / f"{name}.png")
    inputs = read_inputs(Reconstruct(inputs=(str(folder),), output="x.glb"), "extents")
    assert [view.name for view in inputs.views] == ["front.png", "right.png"]
    assert all(view.camera.orthographic for view in inputs.views)
