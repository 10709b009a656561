"""Meshes as GLB, OBJ and PLY files, and as plain arrays for the add-on.

Axes: a mesh is Z-up in memory. GLB is Y-up as glTF demands, and OBJ is Y-up too, because that is
what Blender's importer and most others expect without being told; both turn (x, y, z) into
(x, z, -y) and reading turns it back. PLY keeps Z up.

Colours: sRGB in memory, in PLY, OBJ and textures; linear in the vertex colours and colour factors
of glTF. A GLB or OBJ with a texture has no vertex colours, as viewers would multiply the two; a PLY
has vertex colours only.

Arrays (.npz, for whoever has numpy and no more): ``vertices`` ``[V, 3]`` float32 and ``faces``
``[F, 3]`` int32, in the world, Z up; where the mesh has them ``colors`` ``[V, 4]`` uint8 sRGB,
``uvs`` ``[F, 3, 2]`` float32 of each face's corners, v up, and ``texture`` uint8, the bytes of a
PNG file; ``metadata``, JSON as a string.

Equal meshes and metadata give equal bytes. Files appear whole or not at all.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .errors import InputError
from .files import png, write_files
from .geometry.mesh import Mesh

if TYPE_CHECKING:
    import trimesh

SUFFIXES = (".glb", ".obj", ".ply")
ARRAYS_SUFFIX = ".npz"
_GENERATOR = "Image to Mesh"
_FLOAT, _UINT32, _UINT16 = 5126, 5125, 5123
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963


def write_mesh(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> None:
    """Write a mesh in the format that the file's suffix names.

    An OBJ with a texture is accompanied by an ``.mtl`` and a ``.png`` file of its name.

    Args:
        path: Ends in .glb, .obj, .ply or .npz.
        mesh: Z-up.
        metadata: Values that JSON can hold; kept in ``asset.extras`` of a GLB, in an array of
            its own in .npz and in a comment of the other formats.

    Raises:
        InputError: Another suffix, or a place that cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    write_files(mesh_contents(path, mesh, metadata))


def mesh_contents(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> dict[Path, bytes]:
    """What :func:`write_mesh` writes, by file.

    Raises:
        InputError: Another suffix.
    """
    return _writer(path)(path, mesh, metadata)


def check_suffix(path: Path) -> None:
    """Refuse, before any work, a file that no mesh can be written to.

    Raises:
        InputError: Another suffix than those of :func:`write_mesh`.
    """
    _writer(path)


def _writer(path: Path) -> Callable[[Path, Mesh, Mapping[str, Any]], dict[Path, bytes]]:
    writers = {
        ".glb": _glb_files,
        ".obj": _obj_files,
        ".ply": _ply_files,
        ARRAYS_SUFFIX: _array_files,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise InputError(
            f"cannot write '{path.name}': meshes are written as {', '.join(SUFFIXES)}; "
            "give the output one of these endings."
        )
    return writer


def read_mesh(path: Path) -> Mesh:
    """Read a mesh that :func:`write_mesh` wrote; seams are welded, so that it is closed again.

    Raises:
        InputError: The file is missing, of another format, or damaged.
    """
    if path.suffix.lower() == ARRAYS_SUFFIX:
        return _read_arrays(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot read '{path.name}': meshes are read from {', '.join(SUFFIXES)}.")
    return _welded(_merged(_load_parts(path)))


def read_scene_mesh(path: Path) -> Mesh:
    """Read any asset that trimesh can: all its objects in one mesh, Z-up, vertices not welded.

    GLB and glTF are turned from Y-up; other formats are taken as they are. Every vertex gets a
    colour, from vertex colours, the material's colour or its texture at that vertex. The texture
    itself and ``face_uvs`` are kept when all objects share a single one that does not repeat.

    Raises:
        InputError: The file is missing, of an unknown format, damaged, or without triangles.
    """
    return _merged(_load_parts(path, turn_obj=False))


# Axes and colours --------------------------------------------------------------------------------


def _to_y_up(vectors: np.ndarray) -> np.ndarray:
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)


def _to_z_up(vectors: np.ndarray) -> np.ndarray:
    return np.stack([vectors[:, 0], -vectors[:, 2], vectors[:, 1]], axis=1)


def _srgb_to_linear(colors: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(colors: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    curved = 1.055 * np.maximum(colors, 0.0) ** (1 / 2.4) - 0.055
    return np.where(colors <= 0.0031308, colors * 12.92, curved)


def _to_bytes(colors: np.ndarray) -> np.ndarray:
    return np.round(colors.clip(0.0, 1.0) * 255.0).astype(np.uint8)


def _seams_split(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give every texture coordinate of a vertex a vertex of its own.

    Returns:
        ``[N]`` vertex and ``[N, 2]`` texture coordinate of each, in the order of the vertices, and
        faces ``[F, 3]`` among them.
    """
    assert mesh.face_uvs is not None
    uvs = np.ascontiguousarray(mesh.face_uvs, dtype=np.float32).reshape(-1, 2)
    bits = (uvs + np.float32(0.0)).view(np.uint32).astype(np.uint64)
    place = np.unique(bits[:, 0] << np.uint64(32) | bits[:, 1], return_inverse=True)[1].reshape(-1)
    keys = mesh.faces.reshape(-1).astype(np.int64) * (int(place.max(initial=0)) + 1) + place
    _, corner, number = np.unique(keys, return_index=True, return_inverse=True)
    return mesh.faces.reshape(-1)[corner], uvs[corner], number.reshape(-1, 3)


# GLB ---------------------------------------------------------------------------------------------


class _Buffer:
    """The binary chunk of a GLB and the views and accessors that describe it."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add_bytes(self, content: bytes, target: int | None = None) -> int:
        """Append a buffer view and return its number."""
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(content)}
        self.views.append(view if target is None else {**view, "target": target})
        self.content += content + b"\0" * (-len(content) % 4)
        return len(self.views) - 1

    def add_array(self, values: np.ndarray, kind: str, target: int, **more: Any) -> int:
        """Append an accessor for ``values`` and return its number."""
        components = {"float32": _FLOAT, "uint32": _UINT32, "uint16": _UINT16}
        self.accessors.append(
            {
                "bufferView": self.add_bytes(np.ascontiguousarray(values).tobytes(), target),
                "componentType": components[values.dtype.name],
                "count": len(values),
                "type": kind,
                **more,
            }
        )
        return len(self.accessors) - 1


def _glb_files(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> dict[Path, bytes]:
    buffer = _Buffer()
    textured = mesh.texture is not None and mesh.face_uvs is not None
    material: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": _GENERATOR, "extras": dict(metadata)},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": path.stem}],
        "meshes": [{"name": path.stem, "primitives": [_glb_primitive(buffer, mesh, textured)]}],
        "materials": [{"name": path.stem, "pbrMetallicRoughness": material}],
    }
    if textured:
        assert mesh.texture is not None
        view = buffer.add_bytes(png(mesh.texture))
        scene["images"] = [{"bufferView": view, "mimeType": "image/png", "name": path.stem}]
        scene["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        scene["textures"] = [{"source": 0, "sampler": 0}]
        material["baseColorTexture"] = {"index": 0}
    scene["accessors"], scene["bufferViews"] = buffer.accessors, buffer.views
    scene["buffers"] = [{"byteLength": len(buffer.content)}]
    return {path: _glb_container(scene, bytes(buffer.content))}


def _glb_primitive(buffer: _Buffer, mesh: Mesh, textured: bool) -> dict[str, Any]:
    if textured:
        vertex, uvs, faces = _seams_split(mesh)
    else:
        vertex, uvs, faces = np.arange(len(mesh.vertices)), None, mesh.faces
    positions = _to_y_up(mesh.vertices)[vertex].astype("<f4")
    box = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    normals = mesh.vertex_normals()
    normals[(normals == 0).all(axis=1)] = [0.0, 0.0, 1.0]  # glTF demands unit length
    normals = _to_y_up(normals)[vertex].astype("<f4")
    attributes = {
        "POSITION": buffer.add_array(positions, "VEC3", _VERTEX_BUFFER, **box),
        "NORMAL": buffer.add_array(normals, "VEC3", _VERTEX_BUFFER),
    }
    if uvs is not None:
        flipped = np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1).astype("<f4")
        attributes["TEXCOORD_0"] = buffer.add_array(flipped, "VEC2", _VERTEX_BUFFER)
    elif mesh.vertex_colors is not None:
        linear = np.pad(
            _srgb_to_linear(mesh.vertex_colors.clip(0, 1)), ((0, 0), (0, 1)), constant_values=1
        )
        shorts = np.round(linear * 65535.0).astype("<u2")
        attributes["COLOR_0"] = buffer.add_array(shorts, "VEC4", _VERTEX_BUFFER, normalized=True)
    indices = buffer.add_array(faces.astype("<u4").reshape(-1), "SCALAR", _INDEX_BUFFER)
    return {"attributes": attributes, "indices": indices, "material": 0}


def _glb_container(scene: Mapping[str, Any], binary: bytes) -> bytes:
    text = json.dumps(scene, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    return header + chunks + struct.pack("<I4s", len(binary), b"BIN\0") + binary


# PLY and OBJ -------------------------------------------------------------------------------------


def _comment(metadata: Mapping[str, Any]) -> str:
    """The metadata on one line of ASCII."""
    return f"{_GENERATOR}: {json.dumps(dict(metadata), allow_nan=False)}"


def _ply_files(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> dict[Path, bytes]:
    fields = [("position", "<f4", 3)]
    header = ["ply", "format binary_little_endian 1.0", f"comment {_comment(metadata)}"]
    header += [f"element vertex {len(mesh.vertices)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    if mesh.vertex_colors is not None:
        fields.append(("color", "u1", 3))
        header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices"]
    vertices = np.zeros(len(mesh.vertices), dtype=fields)
    vertices["position"] = mesh.vertices
    if mesh.vertex_colors is not None:
        vertices["color"] = _to_bytes(mesh.vertex_colors)
    faces = np.zeros(len(mesh.faces), dtype=[("count", "u1"), ("index", "<i4", 3)])
    faces["count"], faces["index"] = 3, mesh.faces
    text = "\n".join([*header, "end_header", ""]).encode("ascii")
    return {path: text + vertices.tobytes() + faces.tobytes()}


def _obj_files(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> dict[Path, bytes]:
    name = re.sub(r"[^\w.-]+", "_", path.stem)  # spaces would end the name in the OBJ's own lines
    textured = mesh.texture is not None and mesh.face_uvs is not None
    lines = [f"# {_comment(metadata)}", *([f"mtllib {name}.mtl"] if textured else []), f"o {name}"]
    positions = _to_y_up(mesh.vertices)
    if textured or mesh.vertex_colors is None:
        lines += _rows("v %.9g %.9g %.9g", positions)
    else:
        colored = np.concatenate([positions, mesh.vertex_colors], axis=1)
        lines += _rows("v %.9g %.9g %.9g %.5g %.5g %.5g", colored)
    files: dict[Path, bytes] = {}
    if textured and mesh.texture is not None:
        vertex, uvs, corners = _seams_split(mesh)
        lines += _rows("vt %.9g %.9g", uvs)
        faces = np.stack([vertex[corners], corners], axis=2).reshape(-1, 6)
        lines += [f"usemtl {name}", "s 1", *_rows("f %d/%d %d/%d %d/%d", faces + 1)]
        files[path.with_name(f"{name}.png")] = png(mesh.texture)
        files[path.with_name(f"{name}.mtl")] = _material(name).encode()
    else:
        lines += ["s 1", *_rows("f %d %d %d", mesh.faces + 1)]
    files[path] = "\n".join([*lines, ""]).encode()
    return files


def _material(name: str) -> str:
    return f"newmtl {name}\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n"


def _rows(pattern: str, values: np.ndarray) -> list[str]:
    return [pattern % tuple(row) for row in values.tolist()]


# Arrays ------------------------------------------------------------------------------------------


def _array_files(path: Path, mesh: Mesh, metadata: Mapping[str, Any]) -> dict[Path, bytes]:
    arrays = {"vertices": mesh.vertices.astype("<f4"), "faces": mesh.faces.astype("<i4")}
    if mesh.vertex_colors is not None:
        opaque = np.pad(mesh.vertex_colors, ((0, 0), (0, 1)), constant_values=1.0)
        arrays["colors"] = _to_bytes(opaque)
    if mesh.texture is not None and mesh.face_uvs is not None:
        arrays["uvs"] = mesh.face_uvs.astype("<f4")
        arrays["texture"] = np.frombuffer(png(mesh.texture), np.uint8)
    arrays["metadata"] = np.array(json.dumps(dict(metadata), allow_nan=False))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, values in arrays.items():
            # numpy.savez writes the time of day into the file.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return {path: stream.getvalue()}


def _read_arrays(path: Path) -> Mesh:
    if not path.is_file():
        raise InputError(f"the mesh file '{path}' does not exist.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        texture = arrays.get("texture")
        colors = arrays.get("colors")
        return Mesh(
            arrays["vertices"],
            arrays["faces"],
            None if colors is None else (colors[:, :3] / 255).astype(np.float32),
            arrays.get("uvs"),
            None if texture is None else np.asarray(Image.open(io.BytesIO(texture.tobytes()))),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"'{path}' cannot be read as a mesh: {error}.") from error


# Reading -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One object of a file, in the world, Z-up; ``uvs`` ``[V, 2]`` belong to ``texture``."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray | None
    texture: np.ndarray | None


def _load_parts(path: Path, turn_obj: bool = True) -> list[_Part]:
    import trimesh  # here, as it takes a fifth of a second and a reconstruction only writes

    if not path.is_file():
        raise InputError(f"the mesh file '{path}' does not exist.")
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # each of trimesh's loaders fails in its own way
        raise InputError(f"'{path}' cannot be read as a mesh: {error}.") from error
    suffix = path.suffix.lower()
    linear = suffix in (".glb", ".gltf")
    y_up = linear or (turn_obj and suffix == ".obj")
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            parts.append(_part(geometry, transform, y_up, linear))
    if not parts:
        raise InputError(f"'{path}' contains no triangles.")
    return parts


def _part(geometry: trimesh.Trimesh, transform: np.ndarray, y_up: bool, linear: bool) -> _Part:
    vertices = geometry.vertices @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(geometry.faces)
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1]
    colors, uvs, texture = _appearance(geometry, linear)
    return _Part(_to_z_up(vertices) if y_up else vertices, faces, colors, uvs, texture)


def _appearance(
    geometry: trimesh.Trimesh, linear: bool
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Vertex colours, texture coordinates and texture; the last two only if nothing tints them."""
    visual: Any = geometry.visual
    count = len(geometry.vertices)
    if visual.kind in ("vertex", "face"):
        return _decoded(np.asarray(visual.vertex_colors)[:, :3], linear), None, None
    if visual.kind != "texture":
        return None, None, None
    factor, image = _material_of(visual, linear)
    tint = _vertex_tint(visual, linear)
    colors = np.broadcast_to(factor, (count, 3)) if tint is None else factor * tint
    uvs = None if visual.uv is None else np.asarray(visual.uv, dtype=np.float64)
    if image is None or uvs is None or len(uvs) != count:
        return colors, None, None
    texture = np.asarray(image.convert("RGB"))
    plain = tint is None and bool((factor > 0.999).all())
    colors = colors * _sampled(texture, uvs)
    inside = uvs.min() > -0.01 and uvs.max() < 1.01
    return (colors, uvs, texture) if plain and inside else (colors, None, None)


def _decoded(colors: np.ndarray, linear: bool) -> np.ndarray:
    """Bytes or floats to sRGB in [0, 1]."""
    scale = np.iinfo(colors.dtype).max if np.issubdtype(colors.dtype, np.integer) else 1.0
    values = (colors.astype(np.float64) / scale).clip(0.0, 1.0)
    return _linear_to_srgb(values) if linear else values


def _material_of(visual: Any, linear: bool) -> tuple[np.ndarray, Image.Image | None]:
    """The material's colour ``[3]`` in sRGB and its picture."""
    from trimesh.visual.material import PBRMaterial

    material = visual.material
    if isinstance(material, PBRMaterial):
        factor, image = material.baseColorFactor, material.baseColorTexture
    else:
        factor, image = material.diffuse, material.image
        linear = False
        if image is not None:
            factor = None  # exporters write any diffuse colour beside a texture
    if factor is None:
        return np.ones(3), image
    return _decoded(np.asarray(factor)[:3], linear), image


def _vertex_tint(visual: Any, linear: bool) -> np.ndarray | None:
    colors = visual.vertex_attributes.get("color")
    return None if colors is None else _decoded(np.asarray(colors)[:, :3], linear)


def _sampled(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """The texel ``[V, 3]`` in [0, 1] at each texture coordinate; beyond [0, 1] it repeats."""
    height, width = texture.shape[:2]
    places = np.where((uvs >= 0) & (uvs <= 1), uvs, uvs - np.floor(uvs))
    column = (places[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1.0 - places[:, 1]) * height).astype(int).clip(0, height - 1)
    return texture[row, column] / 255.0


def _merged(parts: list[_Part]) -> Mesh:
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])[:-1]
    faces = [part.faces + offset for part, offset in zip(parts, offsets, strict=True)]
    mesh = Mesh(
        np.concatenate([part.vertices for part in parts]).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        _merged_colors(parts),
    )
    texture = parts[0].texture
    if texture is None or not all(
        part.texture is not None and np.array_equal(part.texture, texture) for part in parts
    ):
        return mesh
    uvs = np.concatenate([part.uvs for part in parts if part.uvs is not None]).astype(np.float32)
    return Mesh(mesh.vertices, mesh.faces, mesh.vertex_colors, uvs[mesh.faces], texture)


def _merged_colors(parts: list[_Part]) -> np.ndarray | None:
    if all(part.colors is None for part in parts):
        return None
    colors = [
        np.full((len(part.vertices), 3), 0.8) if part.colors is None else part.colors
        for part in parts
    ]
    return np.concatenate(colors).astype(np.float32)


def _welded(mesh: Mesh) -> Mesh:
    """Merge vertices at the same position, in the order of their first appearance."""
    _, first, number = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.argsort(order)
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[first[order]]
    faces = rank[number.reshape(-1)][mesh.faces].astype(np.int32)
    return Mesh(mesh.vertices[first[order]], faces, colors, mesh.face_uvs, mesh.texture)
