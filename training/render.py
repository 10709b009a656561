"""``views``: asset files to a rendered dataset, without Blender.

The dataset is laid out as Blender's side lays it out (see ``backend.dataset_files`` and
``blender_addon.render_views``): for each object ``image/0000.png``, ``mask/0000.png`` and, if asked
for, ``depth/0000.exr`` and ``normal/0000.png``; ``mesh.ply``, ``transforms.json``, ``cameras.npz``
and the record. The same settings put cameras and lights where Blender's side puts them. What
pictures show and do not show: ``view_renderer``.

Objects are rendered in child processes. An object is done when its record says so, so a second run
renders only what is missing, damaged, or failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend import dataset_files as files
from backend.asset_files import Asset, list_assets
from backend.camera_files import PosedImage, write_cameras_npz, write_transforms
from backend.camera_samplers import CameraSettings, sample_cameras
from backend.errors import InputError, ReconstructionError
from backend.exr_files import write_exr
from backend.files import write_files
from backend.geometry.mesh import Mesh
from backend.mesh_files import mesh_contents
from backend.methods.interface import param
from backend.studio_lights import SKY, STUDIO, TWO_BEAMS, Beam, random_beams
from backend.views import Camera

from .view_assets import ASSET_SUFFIXES, ColoredMesh, read_asset
from .view_renderer import RenderedView, ViewRenderer
from .worker_pool import DIED, in_processes

_VERSION = 1  # of the renderer; a change renders all objects anew
_TEXELS_PER_PIXEL = 4  # along a side; finer textures would flicker


@dataclass(frozen=True)
class ViewSettings(CameraSettings):
    """How each object is seen, and how it is rendered without Blender."""

    resolution: int = param(
        128, "Width and height of the pictures in pixels.", minimum=16, maximum=2048
    )
    light: str = param(
        "studio",
        "Where light comes from: studio (key, fill, rim and a grey sky), two_beams (as in "
        "IG-GAN), uniform (white sky), random (other beams in each view).",
        choices=tuple(SKY),
    )
    crease_angle: float = param(
        40.0,
        "Edges whose faces' normals differ by more than these degrees stay sharp; 0 makes all "
        "faces flat.",
        minimum=0.0,
        maximum=180.0,
    )
    samples: int = param(
        3,
        "Samples along each side of a pixel: 1, 3 or 5, as the one in its middle gives depth and "
        "normal.",
        minimum=1,
        maximum=5,
    )
    depth: bool = param(False, "Write depth along the camera's axis.")
    normal: bool = param(False, "Write normals.")
    seed: int = param(0, "Of cameras, lights and splits.", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        """Check the samples, and what two fields say together.

        Raises:
            InputError: An even number of samples, or fields that contradict each other.
        """
        super().__post_init__()
        if self.samples % 2 == 0:
            raise InputError(f"views: samples must be an odd number, got {self.samples}.")


@dataclass(frozen=True)
class Outcome:
    """What became of one object.

    Attributes:
        key: The object.
        state: ``"rendered"``, ``"already rendered"`` or ``"failed"``.
        reason: Why it failed, one sentence.
        problems: What the user should know about it.
    """

    key: str
    state: str
    reason: str = ""
    problems: tuple[str, ...] = ()


def all_settings(settings: ViewSettings) -> dict[str, Any]:
    """What ``dataset.json`` holds: the settings, and the renderer whose pictures they are."""
    return asdict(settings) | {"renderer": f"views {_VERSION}"}


def render_views_dataset(
    sources: Sequence[Path],
    dataset: Path,
    settings: ViewSettings,
    category: str = "",
    workers: int = 1,
    report: Callable[[int, int, Outcome], None] = lambda done, total, outcome: None,
) -> list[Outcome]:
    """Render every asset that is not rendered yet.

    Args:
        sources: Folders of asset files, or single files; see ``backend.asset_files`` for their
            categories and for what an ``index.csv`` may say.
        dataset: An empty or new folder, or a dataset of the same settings.
        settings: How objects are seen.
        category: Of all; else what the index says, or the folder in which an asset lies.
        workers: Processes at a time.
        report: Told of each object as it ends, with how many have ended and how many there are.

    Returns:
        What became of each object, by key. The same, and the same bytes, whatever the number of
        workers.

    Raises:
        InputError: A source is missing or has no assets, two assets would become one object, or
            the dataset is of other settings or cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    assets = _listed(sources, category)
    files.open_dataset(dataset, all_settings(settings))
    outcomes = []
    work = partial(render_object, dataset, settings)
    died = partial(_failed, dataset, settings, reason=DIED)
    for outcome in in_processes(work, assets, workers, died):
        outcomes.append(outcome)
        report(len(outcomes), len(assets), outcome)
    files.compose_dataset(dataset)
    return sorted(outcomes, key=lambda outcome: outcome.key)


def _listed(sources: Sequence[Path], category: str) -> list[Asset]:
    assets = [
        asset for source in sources for asset in list_assets(source, ASSET_SUFFIXES, category)
    ]
    key, count = Counter(asset.key for asset in assets).most_common(1)[0]
    if count > 1:
        same = [str(asset.path) for asset in assets if asset.key == key]
        raise InputError(
            f"'{same[0]}' and '{same[1]}' would both become the object '{key}'; rename one, or "
            "render them into two datasets."
        )
    return sorted(assets, key=lambda asset: asset.key)


# One object ---------------------------------------------------------------------------------------


def render_object(dataset: Path, settings: ViewSettings, asset: Asset) -> Outcome:
    """Render one object unless it is; whatever is wrong with it becomes the reason.

    Raises:
        ReconstructionError: Writing failed, say because the disk is full.
    """
    if files.is_rendered(dataset, asset.key, all_settings(settings)):
        return Outcome(asset.key, "already rendered")
    try:
        if asset.refused:
            raise InputError(asset.refused)
        problems = _render(dataset, settings, asset)
    except ReconstructionError:
        raise
    except Exception as error:  # any, because one broken asset must not stop the others
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return _failed(dataset, settings, asset, said)
    return Outcome(asset.key, "rendered", problems=problems)


def _failed(dataset: Path, settings: ViewSettings, asset: Asset, reason: str) -> Outcome:
    reason = " ".join(reason.split())
    files.fail_object(dataset, _record(settings, asset), reason)
    return Outcome(asset.key, "failed", reason)


def _record(settings: ViewSettings, asset: Asset) -> files.ObjectRecord:
    return files.ObjectRecord(
        asset.key,
        files.settings_hash(all_settings(settings)),
        source=asset.source,
        licence=asset.licence,
        attribution=asset.attribution,
        seed=files.object_seed(settings.seed, asset.key, "cameras"),
        dup_group=asset.dup_group,
        split=asset.split,
    )


def _render(dataset: Path, settings: ViewSettings, asset: Asset) -> tuple[str, ...]:
    """Write all files of one object; returns what the user should know about it."""
    mesh = read_asset(asset.path, asset.up_axis, _TEXELS_PER_PIXEL * settings.resolution)
    record = _record(settings, asset)
    generator = np.random.default_rng(record.seed)
    cameras = sample_cameras(settings, asset.key.partition("/")[0], generator)
    folder = files.start_object(dataset, asset.key)
    write_files(_mesh_file(folder, mesh))
    renderer = ViewRenderer(mesh, settings.crease_angle, settings.samples)
    for number, camera in enumerate(cameras):
        seed = files.object_seed(settings.seed, asset.key, f"view {number}")
        beams, sky = _beams(settings.light, seed), SKY[settings.light]
        view = renderer.render(camera, beams, sky, with_normals=settings.normal)
        if not view.mask.any():
            raise InputError(f"the object is not in the picture in view {number:04d}.")
        _write(folder, view_files(view, number, settings))
    _write_cameras(folder, cameras)
    record = replace(
        record,
        scale=mesh.to_world.scale,
        offset=tuple(mesh.to_world.offset.tolist()),
        problems=mesh.problems,
        descriptor=files.shape_descriptor(mesh.vertices, mesh.faces),
    )
    files.finish_object(dataset, record)
    return record.problems


def _beams(light: str, seed: int) -> Sequence[Beam]:
    if light == "random":
        return random_beams(np.random.default_rng(seed))
    return {"studio": STUDIO, "two_beams": TWO_BEAMS, "uniform": ()}[light]


# Files --------------------------------------------------------------------------------------------


def _mesh_file(folder: Path, mesh: ColoredMesh) -> dict[Path, bytes]:
    plain = Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
    return mesh_contents(folder / "mesh.ply", plain, {})


def view_files(view: RenderedView, number: int, settings: ViewSettings) -> dict[str, bytes]:
    """The files of one view, by path in the object's folder."""
    name, mask = f"{number:04d}", np.where(view.mask >= 128, 255, 0).astype(np.uint8)
    contents = {f"image/{name}.png": _png(view.color), f"mask/{name}.png": _png(mask)}
    if settings.depth:
        contents[f"depth/{name}.exr"] = write_exr({"Y": view.depth})
    if view.normal is not None:
        inside = (view.normal != 0).any(axis=-1, keepdims=True)
        codes = np.round((view.normal + 1.0) * 0.5 * 65535.0) * inside
        contents[f"normal/{name}.png"] = _png(codes.astype(np.uint16))
    return contents


def _png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file of ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]``, 8 or 16 bits."""
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]]  # as OpenCV orders channels
    # Level 1: a few per cent larger than the default, several times as fast.
    done, content = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    assert done
    return content.tobytes()


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name in contents:
        (folder / name).parent.mkdir(exist_ok=True)
    write_files({folder / name: content for name, content in contents.items()})


def _write_cameras(folder: Path, cameras: Sequence[Camera]) -> None:
    posed = [PosedImage(folder / f"image/{i:04d}.png", c) for i, c in enumerate(cameras)]
    write_transforms(folder / "transforms.json", posed)
    if not any(camera.orthographic for camera in cameras):
        write_cameras_npz(folder / "cameras.npz", posed)
