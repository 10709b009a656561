"""Image empties and cameras against where Blender itself puts a picture's corners."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.inputs import read_inputs
from backend.protocol import Reconstruct

pytestmark = pytest.mark.blender

SIZES = [(300, 200), (200, 300), (64, 64)]  # width, height
OFFSETS = [(-0.5, -0.5), (0.0, 0.0), (-1.0, 0.25)]
ASPECTS = [(1.0, 1.0), (1.0, 2.0), (1.7, 1.0)]
POSES = [
    ((1, 2, 3), (0.3, -1.0, 2.0), (1, 1, 1)),
    ((-4, 0, 1), (1.5, 0, 0), (0.5, 2.0, 1.3)),
    ((0, 0, 0), (0.3, -1.0, 2.0), (-1, 1, 1)),
    ((0, 5, 0), (1.5, 0, 1.5), (2, -1, 1)),
    ((0, 5, 0), (0.2, 0, 0), (-1, -1, 1)),
]


def save_picture(path: Path, size: tuple[int, int] = (48, 32), **words: Any) -> Path:
    """A picture in which left, right, top and bottom differ."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x * 255 // size[0], y * 255 // size[1], 0 * x + 90], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path, **words)
    return path


def world_corners(item: Any) -> np.ndarray:
    """Lower left, lower right, upper left and upper right corner as Blender draws them."""
    from mathutils import Vector

    width, height = item.data.size
    across, up = item.data.display_aspect
    height, width = height * min(up / across, 1.0), width * min(across / up, 1.0)
    size_x = item.empty_display_size * width / max(width, height)
    size_y = item.empty_display_size * height / max(width, height)
    left, bottom = item.empty_image_offset
    corners = [(left + i, bottom + j) for j in (0, 1) for i in (0, 1)]
    return np.array([item.matrix_world @ Vector((u * size_x, v * size_y, 0)) for u, v in corners])


@pytest.mark.parametrize("pose", POSES)
def test_an_empty_sees_its_picture_from_edge_to_edge(
    blender: Any, tmp_path: Path, pose: Any
) -> None:
    location, rotation, scale = pose
    for (width, height), offset, aspect in product(SIZES, OFFSETS, ASPECTS):
        path = save_picture(tmp_path / f"{width} {height}.png", (width, height))
        item = blender.image_empty("Front", path, rotation)
        item.location, item.scale, item.empty_image_offset = location, scale, offset
        item.empty_display_size, item.data.display_aspect = 2.5, aspect
        blender.bpy.context.view_layer.update()
        camera, mirrored = blender.reference_views.camera_of_empty(item, (height, width))
        pixels, depth = camera.project(world_corners(item))
        expected = np.array([[0, height], [width, height], [0, 0], [width, 0]], float)
        if mirrored:
            expected[:, 0] = width - expected[:, 0]
        np.testing.assert_allclose(pixels, expected, atol=2e-3)
        np.testing.assert_allclose(depth, 0, atol=1e-5)
        towards = np.array(item.matrix_world.to_3x3().col[2])
        assert camera.forward @ towards < 0
        assert mirrored == (scale[0] * scale[1] < 0)
        blender.bpy.data.objects.remove(item)


@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
@pytest.mark.parametrize("size", SIZES)
def test_a_camera_sees_what_blender_says(
    blender: Any, kind: str, fit: str, size: tuple[int, int]
) -> None:
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    data = blender.bpy.data.cameras.new("Camera")
    item = blender.bpy.data.objects.new("Camera", data)
    blender.scene.collection.objects.link(item)
    data.type, data.sensor_fit, data.shift_x, data.shift_y = kind, fit, 0.2, -0.15
    data.sensor_width, data.sensor_height, data.lens, data.ortho_scale = 30, 20, 40, 3.0
    item.location, item.rotation_euler, item.scale = (4, -3, 2), (1.2, 0.1, 0.8), (2, 0.5, 3)
    blender.scene.render.resolution_x, blender.scene.render.resolution_y = size
    blender.bpy.context.view_layer.update()
    camera = blender.reference_views.camera_of_object(item, size[::-1])
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    views = [world_to_camera_view(blender.scene, item, Vector(point)) for point in points]
    expected = np.array([(v.x * size[0], (1 - v.y) * size[1], v.z) for v in views])
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels, expected[:, :2], atol=2e-3)
    np.testing.assert_allclose(depth, expected[:, 2], atol=1e-5)


def test_what_has_no_camera_is_refused(blender: Any, tmp_path: Path) -> None:
    views = blender.reference_views
    item = blender.image_empty("Front", save_picture(tmp_path / "front.png"))
    parent = blender.bpy.data.objects.new("Parent", None)
    parent.scale, item.parent, item.rotation_euler = (1, 3, 1), parent, (0, 0, 0.7)
    blender.scene.collection.objects.link(parent)
    blender.bpy.context.view_layer.update()
    with pytest.raises(ValueError, match="'Front' is sheared"):
        views.view_of_empty(item)
    item.parent, item.scale = None, (0, 1, 1)
    blender.bpy.context.view_layer.update()
    with pytest.raises(ValueError, match="'Front' has no size"):
        views.view_of_empty(item)
    item.empty_display_type = "ARROWS"
    with pytest.raises(ValueError, match="'Front' shows no picture"):
        views.view_of_empty(item)
    data = blender.bpy.data.cameras.new("Camera")
    data.type = "PANO"
    with pytest.raises(ValueError, match="neither perspective nor orthographic"):
        views.camera_of_object(blender.bpy.data.objects.new("Camera", data), (10, 10))


# Pictures


def shown(blender: Any, image: Any) -> np.ndarray:
    """[H, W, 3] of what Blender shows, first row on top."""
    width, height = image.size
    return np.array(image.pixels[:]).reshape(height, width, -1)[::-1, :, :3]


def on_disk(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")) / 255.0


def test_a_plain_file_is_used_where_it_lies(blender: Any, tmp_path: Path) -> None:
    for name in ("a é.png", "b.jpg", "c.webp", "d.tif", "e.bmp"):
        path = save_picture(tmp_path / name)
        image = blender.bpy.data.images.load(str(path))
        assert blender.pictures.picture_file(image, tmp_path / "none", "x") == path


def test_what_differs_from_its_file_is_written(blender: Any, tmp_path: Path) -> None:
    images = blender.bpy.data.images
    job = tmp_path / "job"
    job.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side; Blender shows it so, the backend would turn it
    turned = images.load(str(save_picture(tmp_path / "turned.jpg", exif=exif)))
    painted = images.load(str(save_picture(tmp_path / "painted.png")))
    painted.pixels[0] = 0.75
    packed = images.load(str(save_picture(tmp_path / "packed.png")))
    packed.pack()
    (tmp_path / "packed.png").unlink()
    generated = images.new("generated", 20, 10)
    generated.generated_color = (1, 0.5, 0.25, 1)
    targa = save_picture(tmp_path / "foreign.tga")
    foreign = images.load(str(targa))
    for number, image in enumerate((turned, painted, packed, generated, foreign)):
        path = blender.pictures.picture_file(image, job, f"view_{number}")
        assert path.parent == job
        np.testing.assert_allclose(on_disk(path), shown(blender, image), atol=0.003)
    flipped = blender.pictures.picture_file(foreign, job, "flipped", mirrored=True)
    np.testing.assert_allclose(on_disk(flipped), shown(blender, foreign)[:, ::-1], atol=0.003)


def test_linear_pixels_become_srgb(blender: Any, tmp_path: Path) -> None:
    image = blender.bpy.data.images.new("linear", 4, 4, float_buffer=True)
    image.pixels.foreach_set(np.full(64, 0.5, np.float32))  # alpha 0.5, premultiplied
    path = blender.pictures.picture_file(image, tmp_path, "linear")
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (4, 4, 4)
    assert (pixels[..., :3] == 255).all()
    assert (pixels[..., 3] == 128).all()


def test_missing_pictures_are_named(blender: Any, tmp_path: Path) -> None:
    path = save_picture(tmp_path / "gone.png")
    item = blender.image_empty("Front", path)
    blender.bpy.context.view_layer.update()
    path.unlink()
    with pytest.raises(ValueError, match=r"'gone.png' is missing: .*gone\.png"):
        blender.reference_views.view_of_empty(item)
    film = blender.bpy.data.images.new("film", 4, 4)
    film.source = "SEQUENCE"
    with pytest.raises(ValueError, match="'film' is an image sequence"):
        blender.pictures.check_picture(film)


# Which references there are


def views(blender: Any, least: int = 2, names: tuple[str, ...] = ()) -> list[Any]:
    context = blender.bpy.context
    context.view_layer.update()
    return blender.reference_views.views_of_scene(
        blender.settings.references, context.scene, context.view_layer, least, names
    )


def test_without_a_list_the_selected_empties_are_the_references(
    blender: Any, drawings: list[Path]
) -> None:
    with pytest.raises(ValueError, match="there are no references"):
        views(blender)
    front, _, top = blender.stand_drawings(drawings)
    top.select_set(False)
    assert [view.name for view in views(blender)] == ["Front", "Right"]
    front.select_set(False)
    assert [view.name for view in views(blender)] == ["Front", "Right", "Top"]
    assert [view.name for view in views(blender, least=1)] == ["Right"]
    top.hide_set(True)
    assert [view.name for view in views(blender)] == ["Front", "Right"]
    assert [view.name for view in views(blender, names=("Top", "Front"))] == ["Top", "Front"]
    with pytest.raises(ValueError, match="no reference 'Back'; there are Front, Right, Top"):
        views(blender, names=("Back",))


def test_the_list_wins_and_says_what_is_wrong(blender: Any, drawings: list[Path]) -> None:
    front, right, _ = blender.stand_drawings(drawings)
    listed = blender.settings.references
    for name, empty in (("Same", front), ("Same", right)):
        reference = listed.add()
        reference.name, reference.view, reference.empty = name, "EMPTY", empty
    assert [view.name for view in views(blender)] == ["Same", "Same 2"]
    listed[1].enabled = False
    assert len(views(blender)) == 1
    third = listed.add()
    third.name, third.view = "Drawing", "TOP"
    with pytest.raises(ValueError, match="'Drawing' has no picture"):
        views(blender)
    third.image = front.data
    with pytest.raises(ValueError, match="'Drawing' has a named view and 'Same' stands"):
        views(blender)
    third.mask, third.enabled, listed[0].enabled = "IMAGE", True, False
    with pytest.raises(ValueError, match="'Drawing' has no mask image"):
        views(blender)
    listed[0].enabled = True
    blender.scene.collection.objects.unlink(front)
    with pytest.raises(ValueError, match="image empty of the reference 'Same' is not in the scene"):
        views(blender)


def read(fields: dict[str, Any]) -> Any:
    return read_inputs(Reconstruct(output="x.npz", **fields), "extents")


def test_the_backend_reads_the_same_cameras(
    blender: Any, drawings: list[Path], tmp_path: Path
) -> None:
    empties = blender.stand_drawings(drawings)
    empties[0].data = empties[1].data  # one picture, twice
    empties[2].scale[0] = -1
    given = views(blender)
    again = blender.reference_views.views_from_json(blender.reference_views.views_to_json(given))
    found = read(blender.reference_views.write_inputs(again, tmp_path))
    points = np.random.default_rng(1).uniform(-1, 1, (5, 3))
    for view, expected in zip(found.views, given, strict=True):
        pixels, depth = view.camera.project(points)
        np.testing.assert_allclose(pixels, expected.camera.project(points)[0], atol=1e-6)
        assert (depth > 0).all()
    flipped = on_disk(drawings[2])[:, ::-1]
    np.testing.assert_allclose(found.views[2].image, flipped, atol=0.003)


def test_named_views_and_masks_reach_the_backend(
    blender: Any, drawings: list[Path], tmp_path: Path
) -> None:
    masks = blender.bpy.data.images.new("mask", 128, 128)
    pixels = np.zeros((128, 128, 4), np.float32)
    pixels[40:90, 30:80], pixels[..., 3] = 1, 1
    masks.pixels.foreach_set(pixels.ravel())
    for path, mask in zip(drawings, ("AUTO", "IMAGE", "AUTO"), strict=True):
        reference = blender.settings.references.add()
        reference.name, reference.view, reference.mask = path.stem, path.stem.upper(), mask
        reference.image = blender.bpy.data.images.load(str(path))
        reference.mask_image = masks
    fields = blender.reference_views.write_inputs(views(blender), tmp_path)
    assert fields["views"] == ("front", "right", "top")
    assert fields["inputs"] == tuple(map(str, drawings))
    assert fields["masks"] == ("auto", str(tmp_path / "mask_1.png"), "auto")
    assert np.asarray(Image.open(fields["masks"][1]).convert("L")).sum() == 50 * 50 * 255
