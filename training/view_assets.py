"""Asset files as coloured triangles in the unit cube, for the renderer of training views.

Axes, the unit cube and messages are those of Blender's side (``blender_addon.render_capture``), so
that both make the same objects of the same files. What a colour is: vertex or face colours, the
material's colour, or its texture; transparency, metal and the like are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from backend.dataset_files import unit_cube_of
from backend.errors import InputError
from backend.views import Similarity

ASSET_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")

_GREY = 0.8  # linear; Blender's colour of what has no material
_GLTF = (".glb", ".gltf")
_USUAL_UP = {".obj": "y"}  # of files that do not say
_LINEAR = np.where(
    np.arange(256) <= 0.04045 * 255,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055) ** 2.4,
).astype(np.float32)
"""Linear light by sRGB byte, IEC 61966-2-1."""


@dataclass(frozen=True)
class ColoredMesh:
    """Triangles and the colour of their surface. Colours are linear light in [0, 1].

    Attributes:
        vertices: ``[V, 3]`` float64 in the unit cube: the middle of the box is the origin, its
            longest edge is 1. Those of faces alone.
        faces: ``[F, 3]`` int64, as the file winds them.
        to_world: From the unit cube to the file's own place, Z up.
        colors: ``[F, 3, 3]`` float32 at each face's corners; multiplied with the texture, if any.
        uvs: ``[F, 3, 2]`` float32 of each face's corners, origin at the bottom left, repeating.
        texture: ``[F]`` int64 index among ``textures``, -1 for none.
        textures: ``[H, W, 3]`` float32 each, first row at the top.
        problems: What the user should know about.
    """

    vertices: np.ndarray
    faces: np.ndarray
    to_world: Similarity
    colors: np.ndarray
    uvs: np.ndarray
    texture: np.ndarray
    textures: tuple[np.ndarray, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """One object of a file, Z up."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    colors: np.ndarray  # [F, 3, 3]
    uvs: np.ndarray | None  # [F, 3, 2]
    image: Image.Image | None
    transparent: bool


def read_asset(path: Path, up_axis: str = "", texture_size: int = 1024) -> ColoredMesh:
    """Read a file of a kind in ``ASSET_SUFFIXES``.

    Args:
        path: The file.
        up_axis: "y" or "z" for OBJ, PLY and STL, which do not say; empty for what is usual.
        texture_size: Textures are shrunk until no side is longer, by averaging.

    Raises:
        InputError: The file is missing, damaged or holds no faces, the object has no size, or
            coordinates are no numbers.
    """
    if not path.is_file():
        raise InputError(f"'{path.name}' does not exist.")
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # each of trimesh's loaders fails in its own way
        words = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"'{path.name}' cannot be read: {words}.") from error
    parts = _parts(scene, path.suffix.lower(), up_axis)
    if not parts:
        raise InputError(f"'{path.name}' has no faces.")
    return _joined(parts, path, texture_size)


def _parts(scene: trimesh.Scene, suffix: str, up_axis: str) -> list[_Part]:
    if suffix in _GLTF:
        up_axis = "y"
    elif suffix == ".off" or not up_axis:
        up_axis = _USUAL_UP.get(suffix, "z")
    parts = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue
        vertices = geometry.vertices @ transform[:3, :3].T + transform[:3, 3]
        if up_axis == "y":
            vertices = vertices[:, [0, 2, 1]] * [1.0, -1.0, 1.0]
        part = _part(geometry, vertices, linear=suffix in _GLTF)
        parts.append(_turned(part) if np.linalg.det(transform[:3, :3]) < 0 else part)
    return parts


def _turned(part: _Part) -> _Part:
    """The part with its other side outside, for mirrored instances."""
    uvs = None if part.uvs is None else part.uvs[:, ::-1]
    colors, faces = part.colors[:, ::-1], part.faces[:, ::-1]
    return _Part(part.vertices, faces, colors, uvs, part.image, part.transparent)


# Appearance ---------------------------------------------------------------------------------------


def _part(geometry: trimesh.Trimesh, vertices: np.ndarray, linear: bool) -> _Part:
    """``linear``: whether the file's colours are, apart from its textures."""
    visual: Any = geometry.visual
    faces = np.asarray(geometry.faces, dtype=np.int64)
    colors, uvs, image, transparent = np.ones((len(faces), 3, 3), np.float32), None, None, False
    if visual.kind == "face":
        colors = colors * _decoded(visual.face_colors, linear)[:, None]
    elif visual.kind == "vertex":
        colors = _decoded(visual.vertex_colors, linear)[faces]
    elif visual.kind == "texture":
        factor, image, transparent = _material(visual.material, linear)
        colors = colors * factor
        tint = visual.vertex_attributes.get("color")
        if tint is not None:
            colors = colors * _decoded(tint, linear)[faces]
        if image is not None and visual.uv is not None and len(visual.uv) == len(vertices):
            uvs = np.asarray(visual.uv, dtype=np.float32)[faces]
    else:
        colors *= _GREY
    return _Part(vertices, faces, colors, uvs, image if uvs is not None else None, transparent)


def _material(material: Any, linear: bool) -> tuple[np.ndarray, Image.Image | None, bool]:
    """Colour ``[3]``, picture, and whether light shines through."""
    if isinstance(material, PBRMaterial):
        factor, image = material.baseColorFactor, material.baseColorTexture
        transparent = material.alphaMode in ("BLEND", "MASK") and _has_alpha(factor, image)
    else:
        factor, image = material.diffuse, material.image
        transparent = _has_alpha(factor, None)
        if image is not None:
            factor = None  # exporters write any diffuse colour beside a texture
    color = np.ones(3, np.float32) if factor is None else _decoded(np.asarray(factor)[None], linear)
    return color.reshape(3), image, transparent


def _has_alpha(factor: Any, image: Image.Image | None) -> bool:
    if factor is not None and len(factor) == 4 and factor[3] < 255:
        return True
    return image is not None and np.asarray(image.convert("RGBA"))[..., 3].min() < 255


def _decoded(colors: np.ndarray, linear: bool) -> np.ndarray:
    """Colours ``[N, 3 or 4]`` of a file, bytes or floats, as linear light ``[N, 3]``."""
    colors = np.asarray(colors)[:, :3]
    scale = np.iinfo(colors.dtype).max if np.issubdtype(colors.dtype, np.integer) else 1.0
    values = (colors.astype(np.float32) / scale).clip(0.0, 1.0)
    return values if linear else _LINEAR[np.round(values * 255).astype(np.uint8)]


# Joining ------------------------------------------------------------------------------------------


def _joined(parts: Sequence[_Part], path: Path, texture_size: int) -> ColoredMesh:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=False)])
    vertices = np.concatenate([part.vertices for part in parts])
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"'{path.name}' is damaged: a face names a vertex that is not there.")
    used, faces = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    to_world = unit_cube_of(vertices, path.name)
    colors = np.concatenate([part.colors for part in parts])
    uvs = [np.zeros((len(p.faces), 3, 2), np.float32) if p.uvs is None else p.uvs for p in parts]
    images = list({id(p.image): p.image for p in parts if p.image is not None}.values())
    number = {id(image): i for i, image in enumerate(images)}
    textures = [number[id(part.image)] if part.image is not None else -1 for part in parts]
    mesh = ColoredMesh(
        (vertices - to_world.offset) / to_world.scale,
        faces.reshape(-1, 3),
        to_world,
        colors,
        np.concatenate(uvs),
        np.repeat(textures, [len(part.faces) for part in parts]),
        tuple(_texture(image, texture_size) for image in images),
        (*_see_through(parts), *_missing_textures(path)),
    )
    return _without_plain_texels(mesh)


def _texture(image: Image.Image, texture_size: int) -> np.ndarray:
    """``[H, W, 3]`` linear; averaged to the size at which a picture can show it."""
    texture = np.asarray(image.convert("RGB"))
    zoom = texture_size / max(texture.shape[:2])
    if zoom < 1:
        height, width = (max(1, round(zoom * length)) for length in texture.shape[:2])
        smaller = cv2.resize(texture, (width, height), interpolation=cv2.INTER_AREA)
        texture = np.asarray(smaller, np.uint8)
    return _LINEAR[texture]


def _without_plain_texels(mesh: ColoredMesh) -> ColoredMesh:
    """Give faces that see a single place of their texture, as of palettes, its colour instead."""
    colors, texture = mesh.colors.copy(), mesh.texture.copy()
    for number, picture in enumerate(mesh.textures):
        extent = np.ptp(mesh.uvs, axis=1) * picture.shape[1::-1]
        plain = np.flatnonzero((mesh.texture == number) & (extent.max(axis=1) < 1e-3))
        places = mesh.uvs[plain].reshape(-1, 2)
        colors[plain] *= sample_texture(picture, places).reshape(-1, 3, 3)
        texture[plain] = -1
    return ColoredMesh(**{**vars(mesh), "colors": colors, "texture": texture})


def sample_texture(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear colours ``[N, 3]`` of a repeating texture at ``uvs`` ``[N, 2]``, v upwards."""
    height, width = texture.shape[:2]
    x = uvs[:, 0] * width - 0.5
    y = (1.0 - uvs[:, 1]) * height - 0.5
    left, top = np.floor(x), np.floor(y)
    across, down = (x - left)[:, None], (y - top)[:, None]
    columns = [(left.astype(np.int64) + i) % width for i in (0, 1)]
    rows = [(top.astype(np.int64) + i) % height * width for i in (0, 1)]
    texels = texture.reshape(-1, 3)
    upper, lower = (
        texels.take(row + columns[0], axis=0) * (1.0 - across)
        + texels.take(row + columns[1], axis=0) * across
        for row in rows
    )
    return (upper * (1.0 - down) + lower * down).astype(np.float32)


# Problems -----------------------------------------------------------------------------------------


def _see_through(parts: Sequence[_Part]) -> list[str]:
    if not any(part.transparent for part in parts):
        return []
    return ["a material lets light through; it is rendered opaque."]


def _missing_textures(path: Path) -> list[str]:
    """Of an OBJ's materials; trimesh leaves them out without a word."""
    if path.suffix.lower() != ".obj":
        return []
    found = []
    for library in re.findall(rb"^mtllib[ \t]+(.+?)\s*$", path.read_bytes(), re.MULTILINE):
        file = path.parent / library.decode("utf-8", "replace")
        if not file.is_file():
            found.append(f"the material file '{file.name}' is missing; its parts are grey.")
            continue
        names = re.findall(rb"^\s*map_kd[ \t]+(.+?)\s*$", file.read_bytes(), re.MULTILINE | re.I)
        textures = (file.parent / name.decode("utf-8", "replace") for name in names)
        missing = dict.fromkeys(texture.name for texture in textures if not texture.is_file())
        found += [f"the texture '{name}' is missing; its parts are plain." for name in missing]
    return found
