"""What the viewport shows beside Blender's own data: the growing mesh, masks, agreement.

It is drawn, not added as objects: so it is in no undo step, in no file and in nobody's way, and
vanishes with the extension. Pixels and meshes are read when they come; what belongs to the graphics
card is made when Blender draws.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import gpu
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from ..backend.lazy_numpy import np
from .mesh_object import read_mesh, stored_on
from .pictures import pixels_of, read_pixels
from .properties import settings_of
from .reference_views import NAMED_DEPTH, ReferenceView, find_image, named_camera, views_from_json

_CLAY = (0.62, 0.66, 0.72)
_LIGHT = Vector((-0.4, -0.7, 0.6)).normalized()
_OUTSIDE = (255, 40, 40, 150)
"""Colour over what a mask leaves out, as in masks of painting programs."""

_FACING = 0.5  # cosine of the angle beyond which a reference is seen too much from the side
_TEXTURE_CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))


@dataclass
class _Quad:
    """A picture in the world; texture and batch are made when it is first drawn.

    Attributes:
        corners: ``[4, 3]`` lower left, lower right, upper right, upper left.
        forward: ``[3]`` direction in which its camera looks.
        pixels: ``[H, W, 4]`` uint8, first row on top.
    """

    corners: np.ndarray
    forward: np.ndarray
    pixels: np.ndarray
    ready: Any = None


@dataclass
class _Mesh:
    """A mesh to look at: positions and colours ``[V, 3]`` and ``[V, 4]``, faces ``[F, 3]``."""

    vertices: np.ndarray
    colors: np.ndarray
    faces: np.ndarray
    ready: Any = None


@dataclass
class _Shown:
    """Everything that is drawn."""

    preview_path: Path | None = None
    preview: _Mesh | None = None
    masks: dict[str, list[_Quad]] = field(default_factory=dict)
    expected: dict[str, ReferenceView] = field(default_factory=dict)
    agreement_of: str = ""
    agreement: list[_Quad] = field(default_factory=list)
    handler: Any = None


_shown = _Shown()


# The growing mesh ---------------------------------------------------------------------------------


def show_preview(path: Path | None) -> None:
    """Show a job's newest mesh, or none."""
    if path == _shown.preview_path:
        return
    _shown.preview_path = path
    try:
        _shown.preview = _shaded_mesh(path) if path else None
    except (OSError, ValueError):  # a newer one has replaced it, or the job's folder has gone
        return
    redraw()


def preview_is_shown() -> bool:
    """Whether there is a mesh to look at meanwhile."""
    return _shown.preview is not None


def _shaded_mesh(path: Path) -> _Mesh:
    arrays = read_mesh(path)
    if arrays.colors is None:
        base = np.broadcast_to(_CLAY, arrays.vertices.shape)
    else:
        base = arrays.colors[:, :3] / 255.0
    light = 0.45 + 0.55 * (
        0.5 + 0.5 * _vertex_normals(arrays.vertices, arrays.faces) @ np.array(_LIGHT)
    )
    colors = np.concatenate([base * light[:, None], np.ones((len(base), 1))], axis=1)
    return _Mesh(arrays.vertices, colors.astype(np.float32), arrays.faces)


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """``[V, 3]`` unit normals, each face counting by its area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    corners = faces.ravel()
    normals = np.stack(
        [
            np.bincount(corners, np.repeat(face_normals[:, axis], 3), len(vertices))
            for axis in range(3)
        ],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


# Masks --------------------------------------------------------------------------------------------


def mask_is_shown(name: str) -> bool:
    """Whether a reference's mask is shown, or about to be."""
    return name in _shown.masks or name in _shown.expected


def expect_mask(view: ReferenceView) -> None:
    """Remember where a mask is to be shown when it has been found."""
    _shown.expected[view.name] = view


def show_mask(name: str, path: Path) -> None:
    """Show a found mask (a grey PNG of the picture's size) over its picture."""
    view = _shown.expected.pop(name, None)
    if view is None:
        return
    mask = read_pixels(path)[..., :1]
    tinted = np.broadcast_to(np.array(_OUTSIDE, np.uint8), (*mask.shape[:2], 4)).copy()
    tinted[..., 3:] = ((255 - mask.astype(np.uint16)) * _OUTSIDE[3] // 255).astype(np.uint8)
    _shown.masks[name] = [*_picture_behind(view, mask.shape[:2]), _quad(view, tinted)]
    redraw()


def hide_mask(name: str) -> None:
    """Show a reference's mask no longer."""
    _shown.masks.pop(name, None)
    _shown.expected.pop(name, None)


def _picture_behind(view: ReferenceView, image_size: tuple[int, ...]) -> list[_Quad]:
    """The picture itself where the scene does not show it: all but empties."""
    if view.depth is not None:
        return []
    image = find_image(view.image, view.file)
    return [_quad(view, read_pixels(Path(view.file)) if view.untouched else pixels_of(image))]


# Agreement ----------------------------------------------------------------------------------------


def _update_agreement() -> None:
    """Read the overlays of the active object, once for each object; called outside of drawing."""
    item = bpy.context.active_object
    stored = stored_on(item) if item else None
    _shown.agreement_of, _shown.agreement = _agreement_key(item), []
    if item is None or stored is None:
        return
    corners = [item.matrix_world @ Vector(corner) for corner in item.bound_box]
    centre = np.mean(np.array(corners), axis=0)
    files = json.loads(stored["overlays"])
    for view in views_from_json(stored["seen_from"]):
        file = Path(files.get(view.name, ""))
        if view.camera and file.is_file():
            _shown.agreement.append(_quad(view, read_pixels(file), centre))
    redraw()


def _agreement_key(item: bpy.types.Object | None) -> str:
    stored = stored_on(item) if item else None
    return f"{item.name} {stored['overlays']}" if item and stored else ""


def has_overlays(item: bpy.types.Object) -> bool:
    """Whether the pictures of an object's agreement are still there; Blender's end removes them."""
    stored = stored_on(item)
    files = json.loads(stored["overlays"]).values() if stored else ()
    return any(Path(file).is_file() for file in files)


# Drawing ------------------------------------------------------------------------------------------


def clear() -> None:
    """Show nothing any more, but the agreement, which the artist switches off."""
    _shown.preview_path = _shown.preview = None
    _shown.masks.clear()
    _shown.expected.clear()
    redraw()


def redraw() -> None:
    """Draw every 3D view and its sidebar anew."""
    manager: Any = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _quad(view: ReferenceView, pixels: np.ndarray, centre: np.ndarray | None = None) -> _Quad:
    """Where a reference's picture lies in the world.

    Args:
        view: The reference.
        pixels: What to show there.
        centre: ``[3]`` of the object; through it goes what stands nowhere by itself.
    """
    height, width = pixels.shape[:2]
    camera = view.camera or named_camera(view.view, (height, width))
    depth = view.depth if view.camera else NAMED_DEPTH
    if depth is None:
        depth = 1.0 if centre is None else float((centre - camera.centre) @ camera.forward)
    height, width = camera.image_size
    corners = np.array([[0, height], [width, height], [width, 0], [0, 0]], dtype=np.float64)
    origins, directions = camera.rays(corners)
    return _Quad(origins + depth * directions, camera.forward, pixels)


def _draw() -> None:
    """Called by Blender after it has drawn the objects of a 3D view."""
    context: Any = bpy.context
    scene, region = context.scene, context.region_data
    if scene is None or region is None:
        return
    if _shown.preview:
        _draw_mesh(_shown.preview)
    for quads in _shown.masks.values():
        for quad in quads:
            _draw_quad(quad)
    if settings_of(scene).show_overlay and not _shown.preview:
        _draw_agreement(context.active_object, region)


def _draw_agreement(item: bpy.types.Object | None, region: bpy.types.RegionView3D) -> None:
    if _agreement_key(item) != _shown.agreement_of:
        bpy.app.timers.register(_update_agreement, first_interval=0.0)
        return
    forward = np.array(region.view_rotation @ Vector((0, 0, -1)))
    for quad in _shown.agreement:
        if item is not None and item.visible_get() and quad.forward @ forward > _FACING:
            _draw_quad(quad)


def _draw_mesh(mesh: _Mesh) -> None:
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    if mesh.ready is None:
        content: Any = {"pos": mesh.vertices, "color": mesh.colors}
        mesh.ready = batch_for_shader(shader, "TRIS", content, indices=mesh.faces)
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(True)
    mesh.ready.draw(shader)
    gpu.state.depth_mask_set(False)
    gpu.state.depth_test_set("NONE")


def _draw_quad(quad: _Quad) -> None:
    """Over everything: a difference is no less one where the mesh hides it."""
    shader = gpu.shader.from_builtin("IMAGE")
    if quad.ready is None:
        content: Any = {"pos": quad.corners.astype(np.float32), "texCoord": _TEXTURE_CORNERS}
        batch = batch_for_shader(shader, "TRI_FAN", content)
        quad.ready = (batch, _texture(quad.pixels))
    batch, texture = quad.ready
    gpu.state.blend_set("ALPHA")
    shader.bind()
    shader.uniform_sampler("image", texture)
    batch.draw(shader)
    gpu.state.blend_set("NONE")


def _texture(pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    values = np.ascontiguousarray(pixels[::-1], np.float32).ravel() / 255.0
    types: Any = gpu.types  # the stubs know no arguments
    buffer = types.Buffer("FLOAT", len(values), values)
    return types.GPUTexture((width, height), format="RGBA8", data=buffer)


def register() -> None:
    """Draw in every 3D view."""
    if not bpy.app.background:
        _shown.handler = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def unregister() -> None:
    """Draw no more."""
    clear()
    _shown.agreement_of, _shown.agreement = "", []
    if _shown.handler is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_shown.handler, "WINDOW")
    _shown.handler = None
