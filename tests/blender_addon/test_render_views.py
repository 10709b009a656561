"""What is seen of an object, against its geometry: real renders, a few pixels wide."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.blender_addon.conftest import MODULE

pytestmark = pytest.mark.blender

SMALL = {"views": 3, "resolution": 56, "samples": 4}


def lopsided(blender: Any, name: str = "Thing") -> Any:
    """A wedge with a spike, unlike each of its mirror images, off the origin and turned."""
    places = [(0, 0, 0), (3, 0, 0), (3, 1, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (2, 0.3, 2.2)]
    faces = [(3, 2, 1, 0), (0, 1, 4), (2, 3, 5), (0, 4, 5, 3), (1, 6, 4), (4, 6, 5), (1, 2, 6)]
    faces += [(2, 5, 6)]
    return add_mesh(blender, name, places, faces, (5, -3, 2), (0.3, 0.2, 0.9))


def add_mesh(
    blender: Any, name: str, places: Any, faces: Any, location: Any = (0, 0, 0), turned: Any = 0
) -> Any:
    mesh = blender.bpy.data.meshes.new(name)
    mesh.from_pydata(places, [], faces)
    item = blender.bpy.data.objects.new(name, mesh)
    item.location = location
    item.rotation_euler = turned or (0, 0, 0)
    blender.scene.collection.objects.link(item)
    return item


def add_sphere(blender: Any, name: str, radius: float = 1.0) -> Any:
    import bmesh

    item = add_mesh(blender, name, [], [])
    built = bmesh.new()
    bmesh.ops.create_icosphere(built, subdivisions=4, radius=radius)
    built.to_mesh(item.data)
    built.free()
    item.data.shade_smooth()
    return item


class Seen:
    """A captured object in its studio, its cameras and settings."""

    def __init__(self, blender: Any, captured: Any, studio: Any, settings: Any) -> None:
        self.captured, self.studio, self.settings = captured, studio, settings
        generator = np.random.default_rng(3)
        samplers = importlib.import_module(f"{MODULE}.backend.camera_samplers")
        self.cameras = samplers.sample_cameras(settings, "objects", generator)
        self.test = blender.render_views.SelfTest(captured)

    def views(self) -> list[tuple[Any, Any]]:
        return [(self.studio.render(camera, i), camera) for i, camera in enumerate(self.cameras)]


@contextmanager
def seen(blender: Any, objects: list[Any], **values: Any) -> Iterator[Seen]:
    settings = blender.render_settings.make_settings(SMALL | values)
    with blender.render_capture.leaving_no_trace():
        captured = blender.render_capture.capture(objects, blender.scene, "Thing")
        with blender.render_views.Studio(captured, settings, threads=1) as studio:
            yield Seen(blender, captured, studio, settings)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"projection": "orthographic"},
        {"shift_x": 0.1, "shift_y": -0.07, "field_of_view": 60.0},
        {"engine": "workbench"},
        {"engine": "workbench", "projection": "orthographic", "albedo": True},
        {"engine": "eevee", "samples": 2, "normal": False},
        {"light": "random", "albedo": True},
    ],
    ids=lambda values: "-".join(map(str, values.values())) or "default",
)
def test_masks_and_depths_are_what_rays_meet(blender: Any, values: dict[str, Any]) -> None:
    from mathutils.bvhtree import BVHTree

    with seen(blender, [lopsided(blender)], **values) as thing:
        captured = thing.captured
        tree: Any = BVHTree.FromPolygons(captured.vertices.tolist(), captured.faces.tolist())
        for view, camera in thing.views():
            columns, rows = np.meshgrid(np.arange(56) + 0.5, np.arange(56) + 0.5)
            origins, directions = camera.rays(np.stack([columns, rows], axis=-1).reshape(-1, 2))
            cast: Any = [tree.ray_cast(o, d) for o, d in zip(origins, directions, strict=True)]
            lengths = np.linalg.norm(directions, axis=1)
            depths = np.array([np.inf if hit[0] is None else hit[3] for hit in cast]) / lengths
            depths = depths.reshape(56, 56)
            border = (view.mask > 0) & (view.mask < 255)
            hit = np.isfinite(depths)
            assert hit.sum() > 100
            np.testing.assert_array_equal(hit[~border], (view.mask > 0)[~border])
            np.testing.assert_array_equal(np.isfinite(view.depth)[~border], hit[~border])
            both = hit & np.isfinite(view.depth)
            errors = np.abs(view.depth[both] - depths[both])
            assert np.median(errors) < 1e-4
            assert np.quantile(errors, 0.98) < 2e-3
            assert (view.color[..., 3] == view.mask).all()


def test_vertices_project_onto_their_pixels(blender: Any) -> None:
    """The outermost vertices touch the mask's box, in the frame of the files."""
    with seen(blender, [lopsided(blender)], resolution=96) as thing:
        for view, camera in thing.views():
            pixels, _ = camera.project(thing.captured.vertices)
            rows, columns = np.nonzero(view.mask)
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            assert abs(columns.min() - low[0]) < 1.7
            assert abs(columns.max() + 1 - high[0]) < 1.7
            assert abs(rows.min() - low[1]) < 1.7
            assert abs(rows.max() + 1 - high[1]) < 1.7


@pytest.mark.parametrize("engine", ["cycles", "workbench"])
def test_normals_of_a_sphere(blender: Any, engine: str) -> None:
    with seen(blender, [add_sphere(blender, "Ball")], engine=engine, samples=8) as thing:
        for view, camera in thing.views():
            full = view.mask == 255
            rows, columns = np.nonzero(full & np.isfinite(view.depth))
            pixels = np.stack([columns, rows], axis=-1) + 0.5
            origins, directions = camera.rays(pixels)
            points = origins + view.depth[rows, columns][:, None] * directions
            outward = points / np.linalg.norm(points, axis=1, keepdims=True)
            cosines = (view.normal[rows, columns] * outward).sum(axis=1)
            assert np.degrees(np.arccos(np.median(cosines))) < 1.5
            assert cosines.min() > 0.9
            assert (view.normal[view.mask == 0] == 0).all()


def test_colours_are_srgb_with_straight_alpha(blender: Any) -> None:
    item = add_sphere(blender, "Ball")
    material = blender.bpy.data.materials.new("Glow")
    material.use_nodes = True
    tree = material.node_tree
    glow = tree.nodes.new("ShaderNodeEmission")
    glow.inputs["Color"].default_value = (0.5, 0.2, 0.05, 1.0)
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(glow.outputs[0], output.inputs["Surface"])
    item.data.materials.append(material)
    blender.scene.view_settings.exposure = 2.0  # the artist's own, which is not used
    with seen(blender, [item]) as thing:
        view, _ = thing.views()[0]
    expected = np.round(255 * blender.render_views.srgb(np.array([0.5, 0.2, 0.05])))
    covered = view.mask > 0
    assert (np.abs(view.color[covered][:, :3] - expected) <= 1).all()
    assert ((view.mask > 0) & (view.mask < 255)).any()
    assert (view.color[~covered] == 0).all()


def test_files_hold_what_was_rendered(blender: Any, tmp_path: Any) -> None:
    import cv2

    from backend.exr_files import read_exr

    with seen(blender, [lopsided(blender)], albedo=True) as thing:
        view, _ = thing.views()[0]
        files = blender.render_views.view_files(view, 7, thing.settings)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    image: Any = cv2.imread(str(tmp_path / "image/0007.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(image[..., [2, 1, 0, 3]], view.color)
    mask: Any = cv2.imread(str(tmp_path / "mask/0007.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, np.where(view.mask >= 128, 255, 0))
    np.testing.assert_array_equal(read_exr(tmp_path / "depth/0007.exr")["Y"], view.depth)
    codes: Any = cv2.imread(str(tmp_path / "normal/0007.png"), cv2.IMREAD_UNCHANGED)
    assert codes.dtype == np.uint16
    inside = (codes > 0).any(axis=-1)
    np.testing.assert_array_equal(inside, (view.normal != 0).any(axis=-1))
    decoded = codes[..., ::-1] / 65535 * 2 - 1
    np.testing.assert_allclose(decoded[inside], view.normal[inside], atol=2e-5)
    assert (tmp_path / "albedo/0007.png").is_file()


def test_modifiers_hierarchies_and_instances_are_captured_as_rendered(blender: Any) -> None:
    bpy, capture = blender.bpy, blender.render_capture
    parent = bpy.data.objects.new("Parent", None)
    blender.scene.collection.objects.link(parent)
    parent.location = (10, 0, 0)
    cube = lopsided(blender, "Child")
    cube.parent = parent
    subdivided = cube.modifiers.new("Subdivision", "SUBSURF")
    subdivided.levels, subdivided.render_levels = 0, 2
    collection = bpy.data.collections.new("Leaf")
    leaf = add_mesh(blender, "Leaf", [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)])
    blender.scene.collection.objects.unlink(leaf)
    collection.objects.link(leaf)
    for height in (4, 5):
        empty = bpy.data.objects.new("Instance", None)
        empty.instance_type, empty.instance_collection = "COLLECTION", collection
        empty.location, empty.parent = (0, 0, height), parent
        blender.scene.collection.objects.link(empty)
    hidden = add_sphere(blender, "Hidden", 50.0)
    hidden.parent, hidden.hide_render = parent, True
    with capture.leaving_no_trace():
        captured = capture.capture(capture.with_descendants(parent), blender.scene, "Parent")
        assert len(captured.parts) == 3
        sizes = sorted(len(mesh.polygons) for mesh, _ in captured.parts)
        assert sizes == [1, 1, sum(n * 4 for n in [4, 3, 3, 4, 3, 3, 3, 3])]
        assert len({mesh.name for mesh, _ in captured.parts}) == 2  # instances share one
        world = captured.vertices * captured.to_world.scale + captured.to_world.offset
        assert abs(world[:, 2].max() - 5.0) < 1e-5


def test_the_unit_cube_is_centred_and_leads_back(blender: Any) -> None:
    item = lopsided(blender)
    item.scale = (2, 3, -1)
    blender.bpy.context.view_layer.update()
    capture = blender.render_capture
    with capture.leaving_no_trace():
        captured = capture.capture([item], blender.scene, "Thing")
    low, high = captured.vertices.min(axis=0), captured.vertices.max(axis=0)
    np.testing.assert_allclose(low + high, 0.0, atol=1e-6)
    assert abs((high - low).max() - 1.0) < 1e-6
    own = np.array([item.matrix_world @ vertex.co for vertex in item.data.vertices])
    world = captured.vertices * captured.to_world.scale + captured.to_world.offset
    np.testing.assert_allclose(world, own, atol=1e-5)


def test_materials_of_objects_and_missing_textures(blender: Any) -> None:
    bpy = blender.bpy
    item = lopsided(blender)
    item.data.materials.append(bpy.data.materials.new("Of the mesh"))
    material = bpy.data.materials.new("Of the object")
    material.use_nodes = True
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.new("gone", 4, 4)
    texture.image.source, texture.image.filepath = "FILE", "//no/wood.png"
    item.material_slots[0].link = "OBJECT"
    item.material_slots[0].material = material
    with blender.render_capture.leaving_no_trace():
        captured = blender.render_capture.capture([item], blender.scene, "Thing")
        assert [m.name for m in captured.parts[0][0].materials] == ["Of the object"]
    assert len(captured.problems) == 1
    assert "'wood.png' of the material 'Of the object' is missing" in captured.problems[0]


@pytest.mark.parametrize(
    ("places", "faces", "message"),
    [
        ([(0, 0, 0), (1, 0, 0)], [], "has no faces"),
        ([(1, 1, 1)] * 3, [(0, 1, 2)], "has no size"),
        ([(0, 0, 0), (1, 0, 0), (0, float("nan"), 0)], [(0, 1, 2)], "are no numbers"),
    ],
)
def test_objects_that_cannot_be_rendered(
    blender: Any, places: Any, faces: Any, message: str
) -> None:
    item = add_mesh(blender, "Odd", places, faces)
    with pytest.raises(ValueError, match=message), blender.render_capture.leaving_no_trace():
        blender.render_capture.capture([item], blender.scene, "Odd")


def test_the_self_test_names_what_is_wrong(blender: Any) -> None:
    from dataclasses import replace

    with seen(blender, [lopsided(blender)]) as thing:
        view, camera = thing.views()[0]
        thing.test.check(view, camera, "view 0")
        turned = thing.cameras[1]
        for wrong, at, message in [
            (view, turned, "beside the mask|off the surface"),
            (replace(view, mask=view.mask[:, ::-1]), camera, "depth where the mask is empty"),
            (replace(view, depth=view.depth * 1.01), camera, "off the surface"),
            (replace(view, depth=np.full_like(view.depth, np.inf)), camera, "no depth where"),
            (replace(view, normal=np.zeros((56, 56, 3))), camera, "no normal where"),
            (replace(view, mask=np.zeros_like(view.mask)), camera, "not in the picture"),
        ]:
            with pytest.raises(ValueError, match=f"view 5.*({message})"):
                thing.test.check(wrong, at, "view 5")
