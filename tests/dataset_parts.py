"""A rendered dataset without a renderer: meshes of known shape, and masks drawn from them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image, ImageDraw

from backend import dataset_files as files
from backend.camera_files import PosedImage, write_cameras_npz, write_transforms
from backend.files import write_files
from backend.geometry.mesh import Mesh
from backend.mesh_files import write_mesh
from backend.views import Camera
from tests.shapes import camera

SETTINGS: dict[str, Any] = {"seed": 7, "views": 3, "size": 48}


def from_trimesh(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(shape.vertices, np.float32), np.asarray(shape.faces, np.int32))


def sphere(radius: float = 0.4, subdivisions: int = 4) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions, radius))


def box(edges: tuple[float, float, float], centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    return from_trimesh(trimesh.creation.box(edges)).transformed(1.0, np.array(centre))


def together(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts[:-1], strict=True)]
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces).astype(np.int32)
    )


def drawn_mask(mesh: Mesh, view: Camera) -> np.ndarray:
    height, width = view.image_size
    picture = Image.new("L", (width, height))
    pixels = view.project(mesh.vertices.astype(float))[0]
    for face in mesh.faces:
        ImageDraw.Draw(picture).polygon([tuple(p - 0.5) for p in pixels[face]], fill=255)
    return np.asarray(picture)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def render(dataset: Path, key: str, mesh: Mesh, **record: Any) -> Path:
    """Write one object as the renderer does; returns its folder."""
    folder = files.start_object(dataset, key)
    write_mesh(folder / "mesh.ply", mesh, {})
    posed = []
    for number, azimuth in enumerate(np.linspace(0.3, 5.0, SETTINGS["views"])):
        view = camera([2.5 * np.cos(azimuth), 2.5 * np.sin(azimuth), 1.0], SETTINGS["size"])
        mask = drawn_mask(mesh, view)
        content = {"image": png(np.stack([mask] * 4, axis=-1)), "mask": png(mask)}
        for name, data in content.items():
            (folder / name).mkdir(exist_ok=True)
            write_files({folder / name / f"{number:04d}.png": data})
        posed.append(PosedImage(folder / "image" / f"{number:04d}.png", view))
    write_transforms(folder / "transforms.json", posed)
    write_cameras_npz(folder / "cameras.npz", posed)
    descriptor = files.shape_descriptor(mesh.vertices, mesh.faces)
    settings = files.settings_hash(SETTINGS)
    filled = {"descriptor": descriptor, "licence": "CC0", **record}
    files.finish_object(dataset, files.ObjectRecord(key, settings, **filled))
    return folder


def rendered_dataset(dataset: Path, meshes: Mapping[str, Mesh]) -> Path:
    files.open_dataset(dataset, SETTINGS, "shapes")
    for key, mesh in meshes.items():
        render(dataset, key, mesh)
    files.compose_dataset(dataset)
    return dataset


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files.files_in(folder)}
