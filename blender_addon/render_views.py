"""One object, alone, seen by its cameras: colours, mask, depth, normals and albedo of each view.

The object stays where it is in the world, because materials may depend on it; cameras go there by
the similarity that leads from the unit cube. What a render gives is read from a temporary OpenEXR
file with all passes in it, so that one render makes all of a view. Cycles with one sample, a few
hundredths of a second, helps out where an engine does not give a pass: Workbench has no normals and
no albedo, and EEVEE's passes are not those at the middles of the pixels.

On disk (see ``backend.dataset_files``): ``image/0000.png`` sRGB with straight alpha, without the
scene's view transform; ``mask/0000.png`` 255 where half of the pixel and more is covered, else 0,
as DVR's program takes any value above 0 for object; ``depth/0000.exr`` channel Y, float32, along
the camera's axis in edges of the unit cube, infinite beside the object, as DVR's program reads it;
``normal/0000.png`` world normals that face the camera, (n + 1) / 2 * 65535 in 16 bits, 0 beside the
object; ``albedo/0000.png`` sRGB, without alpha. The depth of a pixel is that at its middle.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree

from ..backend.errors import InputError
from ..backend.exr_files import read_exr, write_exr
from ..backend.lazy_numpy import np
from ..backend.studio_lights import (
    SKY,
    STUDIO,
    TWO_BEAMS,
    Beam,
    beam_direction,
    random_beams,
)
from ..backend.views import Camera, opengl_to_opencv
from .pictures import png_content
from .render_capture import Captured, remove, without_render_result
from .render_settings import RenderSettings

_GPU_KINDS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")
_SENSOR = 36.0  # millimetres; of no meaning, but Blender's lens is a length
_EEVEE = ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")  # Blender 4.2 to 4.5, and 5

# The self-test.
_TESTED_VERTICES, _TESTED_PIXELS = 2048, 64

_DEPTH_ERROR = 2e-3  # edges of the unit cube
_UNSEEN_SHARE = 0.1  # of the vertices may lie in parts thinner than a pixel


class SelfTestError(InputError):
    """Pictures and cameras contradict each other; says in which view."""


@dataclass(frozen=True)
class RenderedView:
    """What one render gives.

    Attributes:
        color: ``[H, W, 4]`` uint8 sRGB, straight alpha.
        mask: ``[H, W]`` uint8 coverage.
        depth: ``[H, W]`` float32, infinite beside the object.
        normal: ``[H, W, 3]`` float32 of length 1, 0 beside the object; None if not asked for.
        albedo: ``[H, W, 3]`` uint8 sRGB; None if not asked for.
    """

    color: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    normal: np.ndarray | None
    albedo: np.ndarray | None


class Studio:
    """A temporary scene that holds one captured object. Use it in a ``with`` statement."""

    def __init__(
        self,
        captured: Captured,
        settings: RenderSettings,
        lights: Sequence[bpy.types.Object] = (),
        world: bpy.types.World | None = None,
        threads: int = 0,
    ) -> None:
        """Build the scene.

        Args:
            captured: The object.
            settings: How it is seen.
            lights: Lamps for the light "scene"; they are linked, not copied.
            world: Sky for the light "scene".
            threads: Of Cycles; 0 for all.
        """
        self._captured, self._settings = captured, settings
        self._made: list[Any] = []
        self._folder = tempfile.TemporaryDirectory(prefix="image-to-mesh-")
        try:
            self._collection = self._keep(bpy.data.collections.new("Image to Mesh"))
            for mesh, matrix in captured.parts:
                item = self._keep(bpy.data.objects.new("Image to Mesh", mesh))
                item.matrix_world = matrix
                self._collection.objects.link(item)
            self._camera = self._keep(
                bpy.data.objects.new(
                    "Image to Mesh", self._keep(bpy.data.cameras.new("Image to Mesh"))
                )
            )
            self._beams: list[Any] = []
            self._world = world
            if settings.light == "scene":
                for lamp in dict.fromkeys(lights):
                    self._collection.objects.link(lamp)
            else:
                self._light(TWO_BEAMS if settings.light == "two_beams" else STUDIO)
            self._scenes = self._make_scenes(threads)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove all that was made; the captured meshes stay."""
        remove(self._made)
        self._made.clear()
        self._folder.cleanup()

    def render(self, camera: Camera, seed: int) -> RenderedView:
        """See the object from a camera of the unit cube; ``seed`` decides noise and random lights.

        Raises:
            RuntimeError: Blender cannot render, say because there is no graphics card for EEVEE.
        """
        self._place(camera)
        if self._settings.light == "random":
            self._light(random_beams(np.random.default_rng(seed)))
        channels: dict[str, np.ndarray] = {}
        for scene in self._scenes:
            scene.cycles.seed = seed % 2**31
            channels = _render(scene, Path(self._folder.name)) | channels
        if self._settings.engine == "workbench":
            channels["Combined.A"] = _whole(channels["Combined.A"])
        far = float(np.linalg.norm(camera.centre)) + 1.0  # nothing of the unit cube is there
        return _view(channels, self._captured.to_world.scale, far)

    def _keep(self, block: Any) -> Any:
        self._made.append(block)
        return block

    # The scenes -----------------------------------------------------------------------------------

    def _make_scenes(self, threads: int) -> list[Any]:
        """The scene whose colours are used, and one for what its engine does not give."""
        settings = self._settings
        color = self._make_scene(threads)
        if settings.engine == "cycles":
            _use_cycles(color, settings.samples, settings.bounces, settings.gpu, settings.denoise)
            color.view_layers[0].use_pass_z = True
            self._add_passes(color)
            return [color]
        if settings.engine == "workbench":
            _use_workbench(color)
            color.view_layers[0].use_pass_z = True
            if not (settings.normal or settings.albedo):
                return [color]
        else:
            _use_eevee(color, settings.samples)
        geometry = self._make_scene(threads)
        _use_cycles(geometry, samples=1, bounces=0, gpu=settings.gpu)
        geometry.cycles.filter_width = 0.01  # the middle of the pixel
        geometry.view_layers[0].use_pass_z = settings.engine == "eevee"
        self._add_passes(geometry)
        return [color, geometry]

    def _add_passes(self, scene: Any) -> None:
        layer = scene.view_layers[0]
        layer.use_pass_normal = self._settings.normal
        layer.use_pass_diffuse_color = self._settings.albedo

    def _make_scene(self, threads: int) -> Any:
        scene: Any = self._keep(bpy.data.scenes.new("Image to Mesh"))
        scene.collection.children.link(self._collection)
        scene.collection.objects.link(self._camera)
        scene.camera, scene.world = self._camera, self._world
        render = scene.render
        render.resolution_x = render.resolution_y = self._settings.resolution
        render.film_transparent = True
        render.use_compositing = render.use_sequencer = False
        render.use_persistent_data = True
        if threads:
            render.threads_mode, render.threads = "FIXED", threads
        image = render.image_settings
        if hasattr(image, "media_type"):  # Blender 5
            image.media_type = "MULTI_LAYER_IMAGE"
        image.file_format = "OPEN_EXR_MULTILAYER"
        image.color_depth, image.exr_codec = "32", "NONE"
        return scene

    # Light and camera -----------------------------------------------------------------------------

    def _light(self, beams: Sequence[Beam]) -> None:
        """Make or move the beams, and make the sky once."""
        if self._world is None:
            self._world = self._keep(bpy.data.worlds.new("Image to Mesh"))
            if bpy.app.version < (5, 0, 0):  # later they always do
                self._world.use_nodes = True
            background = next(n for n in self._world.node_tree.nodes if n.type == "BACKGROUND")
            background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
            background.inputs["Strength"].default_value = SKY[self._settings.light]
        if self._settings.light == "uniform":
            return
        while len(self._beams) < len(beams):
            data = self._keep(bpy.data.lights.new("Image to Mesh", "SUN"))
            self._beams.append(self._keep(bpy.data.objects.new("Image to Mesh", data)))
            self._collection.objects.link(self._beams[-1])
        for item, (azimuth, elevation, strength, angle) in zip(self._beams, beams, strict=True):
            item.data.energy, item.data.angle = strength, math.radians(angle)
            toward = Vector(beam_direction(azimuth, elevation))
            item.matrix_world = toward.to_track_quat("Z", "Y").to_matrix().to_4x4()

    def _place(self, camera: Camera) -> None:
        """Give Blender's camera the pose and lens of a camera of the unit cube."""
        to_world, data = self._captured.to_world, self._camera.data
        pose = np.eye(4)
        pose[:3, :3] = camera.world_to_camera[:3, :3].T
        pose[:3, 3] = to_world.scale * camera.centre + to_world.offset
        self._camera.matrix_world = Matrix(opengl_to_opencv(pose).tolist())
        height, width = camera.image_size
        (focal, _, centre_x), (_, _, centre_y) = camera.intrinsics[:2].tolist()
        data.sensor_fit, data.sensor_width = "HORIZONTAL", _SENSOR
        data.type = "ORTHO" if camera.orthographic else "PERSP"
        if camera.orthographic:
            data.ortho_scale = to_world.scale * width / focal
        else:
            data.lens = _SENSOR * focal / width
        data.shift_x, data.shift_y = 0.5 - centre_x / width, (centre_y - height / 2) / width
        depth = float(np.linalg.norm(camera.centre))
        data.clip_start = to_world.scale * max(1e-3 * depth, depth - 2.0)
        data.clip_end = to_world.scale * (depth + 2.0)


def _use_cycles(scene: Any, samples: int, bounces: int, gpu: bool, denoise: bool = False) -> None:
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    if gpu:
        _choose_gpu()
    cycles.device = "GPU" if gpu else "CPU"
    cycles.samples, cycles.max_bounces = samples, bounces
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = denoise


def _choose_gpu() -> None:
    """Let Cycles use what the preferences say; where they say nothing, as in workers, any card.

    Raises:
        InputError: There is none.
    """
    context: Any = bpy.context
    cycles = context.preferences.addons["cycles"].preferences
    cycles.refresh_devices()
    for kind in _GPU_KINDS if cycles.compute_device_type == "NONE" else ():
        devices = [d for d in _devices(cycles, kind) if d.type == kind]
        if devices:
            cycles.compute_device_type = kind
            for device in devices:
                device.use = True
            break
    if not cycles.has_active_device():
        raise InputError("Cycles finds no graphics card; render without --gpu.")


def _devices(cycles: Any, kind: str) -> list[Any]:
    try:
        return list(cycles.get_devices_for_type(kind))
    except ValueError:  # a kind that this Blender was built without
        return []


def _use_eevee(scene: Any, samples: int) -> None:
    known = scene.render.bl_rna.properties["engine"].enum_items.keys()
    scene.render.engine = next((name for name in _EEVEE if name in known), _EEVEE[-1])
    scene.eevee.taa_render_samples = samples


def _use_workbench(scene: Any) -> None:
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.display.render_aa = "8"
    shading = scene.display.shading
    shading.light, shading.color_type = "STUDIO", "TEXTURE"
    shading.show_object_outline = False
    scene.view_settings.view_transform = "Standard"


# From a render to arrays --------------------------------------------------------------------------


def _render(scene: bpy.types.Scene, folder: Path) -> dict[str, np.ndarray]:
    """Render a scene; returns the passes' channels by the end of their names, as in "Depth.Z".

    Colours are straight, not multiplied with the coverage as in the file.
    """
    path = folder / "passes.exr"
    scene.render.filepath = str(path)
    with without_render_result():
        bpy.ops.render.render(scene=scene.name, write_still=True)
    if not path.is_file():
        raise RuntimeError("Blender rendered nothing; does this engine need a graphics card?")
    channels = read_exr(path)
    path.unlink()
    found = {_short(name): values for name, values in channels.items()}
    coverage = np.maximum(found["Combined.A"], 1e-6)
    covered = [name for name in found if name.startswith(("Combined", "DiffCol"))]
    return found | {name: found[name] / coverage for name in covered if name != "Combined.A"}


def _short(name: str) -> str:
    """Make "Depth.Z" of "ViewLayer.Depth.Z", with the albedo's name before Blender 5."""
    return ".".join(name.split(".")[-2:]).replace("Diffuse Color", "DiffCol")


def _view(channels: dict[str, np.ndarray], scale: float, far: float) -> RenderedView:
    alpha = channels["Combined.A"].clip(0.0, 1.0)
    color = srgb(_stack(channels, "Combined", "RGB")) * (alpha > 0)[..., None]
    color = np.concatenate([color, alpha[..., None]], axis=-1)
    # Beside the object engines give 1e10, or the end of what the camera sees.
    depth = channels["Depth.Z"].astype(np.float64) / scale
    depth = np.where(depth < far, depth, np.inf).astype(np.float32)
    normal = albedo = None
    if "Normal.X" in channels:
        normal = _stack(channels, "Normal", "XYZ")
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        normal = np.where(length > 1e-3, normal / np.maximum(length, 1e-3), 0.0)
    if "DiffCol.R" in channels:
        albedo = _bytes(srgb(_stack(channels, "DiffCol", "RGB")))
    return RenderedView(_bytes(color), _bytes(alpha), depth, normal, albedo)


def _whole(alpha: np.ndarray) -> np.ndarray:
    """Workbench adds its samples up in half floats, so full coverage comes out as 0.99 or so."""
    full = float(alpha.max())
    return np.where(alpha > full - 2e-3, 1.0, alpha) if full > 0.98 else alpha


def _stack(channels: dict[str, np.ndarray], name: str, letters: str) -> np.ndarray:
    return np.stack([channels[f"{name}.{letter}"] for letter in letters], axis=-1)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.round(np.nan_to_num(values).clip(0.0, 1.0) * 255.0).astype(np.uint8)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Encode linear light in [0, 1] as sRGB."""
    linear = linear.clip(0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def view_files(view: RenderedView, number: int, settings: RenderSettings) -> dict[str, bytes]:
    """The files of one view, by path in the object's folder."""
    name = f"{number:04d}"
    files = {
        f"image/{name}.png": png_content(view.color),
        f"mask/{name}.png": png_content(np.where(view.mask >= 128, 255, 0).astype(np.uint8)),
    }
    if settings.depth:
        files[f"depth/{name}.exr"] = write_exr({"Y": view.depth})
    if view.normal is not None:
        inside = (view.normal != 0).any(axis=-1, keepdims=True)
        codes = np.round((view.normal + 1.0) * 0.5 * 65535.0) * inside
        files[f"normal/{name}.png"] = png_content(codes.astype(np.uint16))
    if view.albedo is not None:
        files[f"albedo/{name}.png"] = png_content(view.albedo)
    return files


def mesh_content(captured: Captured) -> bytes:
    """A binary PLY file of the captured triangles in the unit cube."""
    vertices, faces = captured.vertices.astype("<f4"), captured.faces
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    rows["count"], rows["corners"] = 3, faces
    return header.encode() + vertices.tobytes() + rows.tobytes()


# The self-test ------------------------------------------------------------------------------------


class SelfTest:
    """Checks each view of one object against its geometry and its camera."""

    def __init__(self, captured: Captured) -> None:
        self._vertices = _some(captured.vertices, _TESTED_VERTICES)
        self._transparent = captured.transparent
        self._surface: Any = BVHTree.FromPolygons(
            captured.vertices.tolist(), captured.faces.tolist()
        )

    def check(self, view: RenderedView, camera: Camera, name: str) -> None:
        """Compare what a view shows with where things are.

        Raises:
            SelfTestError: Vertices lie beside the mask, depth beside the surface, or the passes
                show different outlines.
        """
        for complaint in self._complaints(view, camera):
            raise SelfTestError(f"the self-test failed in {name}: {complaint}.")

    def _complaints(self, view: RenderedView, camera: Camera) -> Iterator[str]:
        if not view.mask.any():
            transparent = ", or wholly transparent" if self._transparent else ""
            yield f"the object is not in the picture{transparent}"
            return
        # Not at borders: of many samples, the one in the middle may be the only one to hit or miss.
        found, full = np.isfinite(view.depth), ~_grown(view.mask < 255)
        if (found & ~_grown(view.mask > 0)).any():
            yield "there is depth where the mask is empty"
        if not self._transparent:
            if (~found & full).any():
                yield "there is no depth where the mask is full"
            if view.normal is not None and not (view.normal[full] != 0).any(axis=-1).all():
                yield "there is no normal where the mask is full"
            yield from self._projected(view.mask, camera)
        yield from self._unprojected(view, camera)

    def _projected(self, mask: np.ndarray, camera: Camera) -> Iterator[str]:
        """Vertices lie on or next to covered pixels."""
        height, width = mask.shape
        places, depths = camera.project(self._vertices)
        columns, rows = np.floor(places).astype(int).T
        inside = (depths > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        if not inside.any():
            return
        covered = _grown(mask > 0)[rows[inside], columns[inside]]
        if covered.mean() < 1.0 - _UNSEEN_SHARE:
            yield f"{1.0 - covered.mean():.0%} of the vertices project beside the mask"

    def _unprojected(self, view: RenderedView, camera: Camera) -> Iterator[str]:
        """Depths lead to points of the surface."""
        rows, columns = np.nonzero(np.isfinite(view.depth))
        pixels = _some(np.stack([columns, rows], axis=-1), _TESTED_PIXELS)
        origins, directions = camera.rays(pixels + 0.5)
        depths = view.depth[pixels[:, 1], pixels[:, 0]]
        points = origins + depths[:, None] * directions
        errors = [self._surface.find_nearest(point)[3] or 0.0 for point in points.tolist()]
        if errors and max(errors) > _DEPTH_ERROR:
            yield f"depth leads to a point {max(errors):.4f} edges of the unit cube off the surface"


def _some(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the rows, evenly chosen."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels around it."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.logical_or.reduce(shifts)
