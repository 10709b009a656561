import errno
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from backend.errors import InputError, ReconstructionError
from backend.geometry.mesh import Mesh
from backend.mesh_files import read_mesh, read_scene_mesh, write_mesh

METADATA = {"method": "visual_hull", "seed": 3, "inputs": ["Stühle 1.png"], "fairness": 0.5}
BOX_FACES = np.array(
    [
        *([0, 2, 3], [0, 3, 1], [4, 5, 7], [4, 7, 6], [0, 1, 5], [0, 5, 4]),
        *([2, 6, 7], [2, 7, 3], [0, 4, 6], [0, 6, 2], [1, 3, 7], [1, 7, 5]),
    ],
    dtype=np.int32,
)


def colored_box() -> Mesh:
    """3 by 2 by 1, off the origin, with floats that have no short decimal form."""
    corners = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)])
    vertices = (corners * [3, 2, 1] + 1 / 3).astype(np.float32)
    return Mesh(vertices, BOX_FACES, vertex_colors=np.linspace(0, 1, 24).reshape(8, 3).astype("f4"))


def textured_box() -> Mesh:
    """Every face has a triangle of its own in the texture, so that every edge is a seam."""
    box = colored_box()
    cells = np.array([(i % 4, i // 4) for i in range(12)])[:, None]
    uvs = (cells + np.array([[0.1, 0.1], [0.9, 0.2], [0.3, 0.8]])) / [4, 3]
    texture = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    return Mesh(box.vertices, box.faces, box.vertex_colors, uvs.astype(np.float32), texture)


def glb_json(path: Path) -> dict:
    content = path.read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIII4s", content[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    return json.loads(content[20 : 20 + size])


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".PLY", ".npz"])
@pytest.mark.parametrize("make", [colored_box, textured_box])
def test_round_trip(tmp_path, suffix, make):
    mesh, path = make(), tmp_path / f"a mesh{suffix}"
    write_mesh(path, mesh, METADATA)
    back = read_mesh(path)
    assert back.is_closed_manifold() and back.vertices.dtype == np.float32
    # Faces keep their order; vertices may not, so compare corner by corner, to the last bit.
    np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    if make is textured_box and suffix in (".glb", ".obj", ".npz"):
        assert back.texture is not None and back.face_uvs is not None and mesh.face_uvs is not None
        np.testing.assert_array_equal(back.texture, mesh.texture)
        np.testing.assert_allclose(back.face_uvs, mesh.face_uvs, atol=1e-7)
    else:
        assert back.vertex_colors is not None and mesh.vertex_colors is not None
        difference = back.vertex_colors[back.faces] - mesh.vertex_colors[mesh.faces]
        assert np.abs(difference).max() < 0.5 / 255 + 1e-6


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".npz"])
def test_the_same_bytes_twice_and_nothing_else_in_the_folder(tmp_path, suffix):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_mesh(tmp_path / folder / f"mesh{suffix}", textured_box(), METADATA)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == (
        ["mesh.mtl", "mesh.obj", "mesh.png"] if suffix == ".obj" else [f"mesh{suffix}"]
    )
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_glb_is_y_up_and_says_so_in_its_numbers(tmp_path):
    path = tmp_path / "mesh.glb"
    write_mesh(path, textured_box(), METADATA)
    scene = glb_json(path)
    third = float(np.float32(1 / 3))
    position = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    # Width 3 along x, height 1 along y, depth 2 along -z.
    np.testing.assert_allclose(position["min"], [third, third, -2 - third], rtol=1e-6)
    np.testing.assert_allclose(position["max"], [3 + third, 1 + third, -third], rtol=1e-6)
    assert scene["asset"]["extras"] == METADATA


def test_glb_vertex_colours_are_linear(tmp_path):
    path, box = tmp_path / "mesh.glb", colored_box()
    grey = np.full((8, 3), 0.5, dtype=np.float32)
    write_mesh(path, Mesh(box.vertices, box.faces, grey), {})
    scene, content = glb_json(path), path.read_bytes()
    accessor = scene["accessors"][scene["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    view = scene["bufferViews"][accessor["bufferView"]]
    start = content.index(b"BIN\0") + 4 + view["byteOffset"]
    values = np.frombuffer(content[start : start + view["byteLength"]], "<u2").reshape(-1, 4)
    assert accessor["normalized"] and accessor["type"] == "VEC4"
    np.testing.assert_allclose(values[:, :3] / 65535, 0.21404, atol=1e-5)  # sRGB 0.5
    assert (values[:, 3] == 65535).all()


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_the_comment_holds_the_metadata(tmp_path, suffix):
    path = tmp_path / f"mesh{suffix}"
    write_mesh(path, colored_box(), METADATA)
    lines = path.read_bytes().split(b"\n")
    line = next(line for line in lines if b"Image to Mesh: " in line).decode("ascii")
    assert line.startswith({".obj": "# ", ".ply": "comment "}[suffix])
    assert json.loads(line.partition("Image to Mesh: ")[2]) == METADATA


def test_obj_parts_are_named_after_it_without_spaces(tmp_path):
    write_mesh(tmp_path / "my mesh.obj", textured_box(), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "my mesh.obj",
        "my_mesh.mtl",
        "my_mesh.png",
    ]
    assert "mtllib my_mesh.mtl\n" in (tmp_path / "my mesh.obj").read_text()


def test_other_endings_are_refused(tmp_path):
    for name in ("mesh.stl", "mesh"):
        with pytest.raises(InputError, match=r"\.glb, \.obj, \.ply"):
            write_mesh(tmp_path / name, colored_box(), {})
        with pytest.raises(InputError, match=r"\.glb, \.obj, \.ply"):
            read_mesh(tmp_path / name)


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.glb").mkdir()
    for path in ("missing/mesh.glb", "file/mesh.glb", "folder.glb"):
        with pytest.raises(InputError, match="cannot write"):
            write_mesh(tmp_path / path, colored_box(), {})
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder.glb"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    real_replace, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(ReconstructionError, match="disk is full"):
        write_mesh(tmp_path / "mesh.obj", textured_box(), {})
    assert len(calls) == 3 and not list(tmp_path.iterdir())


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_mesh(tmp_path / "no.glb")
    for suffix in (".glb", ".ply", ".obj"):
        path = tmp_path / f"bad{suffix}"
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(InputError):
            read_scene_mesh(path)


# Foreign assets ----------------------------------------------------------------------------------


def test_foreign_glb_with_nodes_and_materials(tmp_path):
    """Two boxes with plain materials, one moved and mirrored; glTF's colours are linear."""
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    scene = trimesh.Scene()
    for color, transform in [
        ([0.21404, 0.0, 1.0, 1.0], np.eye(4)),
        (
            [1.0, 1.0, 1.0, 1.0],
            np.array([[-1.0, 0, 0, 5], [0, 1, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ),
    ]:
        box = trimesh.creation.box((1, 2, 3))
        box.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=color))
        scene.add_geometry(box, transform=transform)
    path = tmp_path / "scene.glb"
    path.write_bytes(scene.export(file_type="glb"))
    mesh = read_scene_mesh(path)
    # glTF's y becomes z, its z becomes -y.
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-0.5, -1.5, -1], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [5.5, 1.5, 8], atol=1e-6)
    assert mesh.signed_volume() == pytest.approx(12.0, rel=1e-5)
    assert mesh.vertex_colors is not None
    first = mesh.vertices[:, 0] < 2
    np.testing.assert_allclose(mesh.vertex_colors[first], [[0.5, 0, 1]] * first.sum(), atol=0.01)
    np.testing.assert_allclose(mesh.vertex_colors[~first], 1.0, atol=0.01)


def test_foreign_texture_is_kept_and_sampled(tmp_path):
    write_mesh(tmp_path / "mesh.glb", textured_box(), {})
    mesh, expected = read_scene_mesh(tmp_path / "mesh.glb"), textured_box()
    assert mesh.face_uvs is not None and mesh.vertex_colors is not None
    assert expected.face_uvs is not None and expected.texture is not None
    np.testing.assert_allclose(mesh.face_uvs, expected.face_uvs, atol=1e-7)
    uv = expected.face_uvs[0, 0]
    texel = expected.texture[int((1 - uv[1]) * 24), int(uv[0] * 16)] / 255
    np.testing.assert_allclose(mesh.vertex_colors[mesh.faces[0, 0]], texel, atol=1e-6)


def test_foreign_off_and_obj_stay_as_they_are(tmp_path):
    box = colored_box()
    rows = [" ".join(map(str, row)) for row in box.vertices.tolist()]
    faces = [" ".join(map(str, row)) for row in box.faces.tolist()]
    (tmp_path / "box.off").write_text(
        "\n".join(["OFF", "8 12 0", *rows, *("3 " + f for f in faces)])
    )
    lines = ["v " + row for row in rows] + [
        "f " + " ".join(str(int(i) + 1) for i in face.split()) for face in faces
    ]
    (tmp_path / "box.obj").write_text("\n".join(lines))
    for name in ("box.off", "box.obj"):
        mesh = read_scene_mesh(tmp_path / name)
        np.testing.assert_array_equal(mesh.vertices[mesh.faces], box.vertices[box.faces])


IMPORT_IN_BLENDER = """
import json, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path = sys.argv[1]
if path.endswith("glb"):
    bpy.ops.import_scene.gltf(filepath=path)
elif path.endswith("ply"):
    bpy.ops.wm.ply_import(filepath=path)
else:
    bpy.ops.wm.obj_import(filepath=path)
imported = next(o for o in bpy.data.objects if o.type == "MESH")
bpy.context.view_layer.update()
corners = [list(imported.matrix_world @ v.co) for v in imported.data.vertices]
colors = imported.data.color_attributes
first = colors[0].data[0] if len(colors) else None
images = [n.image for m in imported.data.materials if m and m.use_nodes
          for n in m.node_tree.nodes if n.type == "TEX_IMAGE"]
print("RESULT" + json.dumps({
    "low": [min(axis) for axis in zip(*corners)], "high": [max(axis) for axis in zip(*corners)],
    "color": list(first.color_srgb) if first else None, "uvs": len(imported.data.uv_layers),
    "images": [list(image.size) for image in images], "polygons": len(imported.data.polygons)}))
"""


@pytest.mark.blender
@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
@pytest.mark.parametrize("make", [colored_box, textured_box])
def test_blender_imports_it_upright_with_its_colours(tmp_path, suffix, make):
    mesh, path = make(), tmp_path / f"mesh{suffix}"
    write_mesh(path, mesh, METADATA)
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_IN_BLENDER, str(path)], capture_output=True, text=True
    )
    line = next((line for line in run.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line is not None, run.stdout + run.stderr
    found = json.loads(line.removeprefix("RESULT"))
    np.testing.assert_allclose(found["low"], mesh.vertices.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(found["high"], mesh.vertices.max(axis=0), atol=1e-5)
    assert found["polygons"] == 12
    if make is textured_box and suffix != ".ply":
        assert found["uvs"] == 1 and found["images"] == [[16, 24]]
    else:
        assert mesh.vertex_colors is not None
        np.testing.assert_allclose(found["color"][:3], mesh.vertex_colors[0], atol=0.01)


def test_arrays_need_numpy_alone(tmp_path):
    """Read as the add-on does; the texture's first row is at the top, as in any PNG."""
    mesh, path = textured_box(), tmp_path / "mesh.npz"
    write_mesh(path, mesh, METADATA)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert {name: (a.dtype.name, a.shape) for name, a in arrays.items() if a.ndim} == {
        "vertices": ("float32", (8, 3)),
        "faces": ("int32", (12, 3)),
        "colors": ("uint8", (8, 4)),
        "uvs": ("float32", (12, 3, 2)),
        "texture": ("uint8", arrays["texture"].shape),
    }
    assert mesh.face_uvs is not None and mesh.texture is not None
    np.testing.assert_array_equal(arrays["vertices"], mesh.vertices)
    np.testing.assert_array_equal(arrays["uvs"], mesh.face_uvs)
    assert (arrays["colors"][:, 3] == 255).all()
    assert json.loads(str(arrays["metadata"])) == METADATA
    picture = Image.open(io.BytesIO(arrays["texture"].tobytes()))
    np.testing.assert_array_equal(np.asarray(picture), mesh.texture)


def test_arrays_do_not_carry_the_time_of_day(tmp_path):
    write_mesh(tmp_path / "mesh.npz", Mesh(colored_box().vertices, BOX_FACES), {})
    with zipfile.ZipFile(tmp_path / "mesh.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert [entry.filename for entry in archive.infolist()] == [
            *("vertices.npy", "faces.npy", "metadata.npy")
        ]


@pytest.mark.parametrize("change", ["missing", "empty", "cut", "foreign", "pickled"])
def test_damaged_arrays_are_refused(tmp_path, change):
    path = tmp_path / "mesh.npz"
    write_mesh(path, colored_box(), METADATA)
    content = path.read_bytes()
    if change == "missing":
        path.unlink()
    elif change == "foreign":
        np.savez(path, points=np.zeros(3))
    elif change == "pickled":
        np.savez(path, vertices=np.array([{}], dtype=object), faces=BOX_FACES)
    else:
        path.write_bytes(content[: 0 if change == "empty" else len(content) // 2])
    with pytest.raises(InputError, match="mesh"):
        read_mesh(path)
