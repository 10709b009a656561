"""One object of a rendered dataset: its files decoded, wherever they lie.

What the files are is said in :mod:`backend.dataset_files` and :mod:`training.prepare`. Everything
is in the unit cube, cameras too.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from PIL import Image

from backend.camera_files import read_cameras
from backend.errors import InputError
from backend.geometry.mesh import Mesh
from backend.mesh_files import read_mesh

_DAMAGED = "is damaged; check the dataset with --repair, then render and prepare it again"


@dataclass(frozen=True)
class ObjectViews:
    """All views of an object.

    Attributes:
        images: ``[V, S, S, 4]`` uint8, straight sRGB and alpha.
        intrinsics: ``[V, 3, 3]`` float32, in pixels of these images.
        world_to_camera: ``[V, 4, 4]`` float32, from the unit cube.
        orthographic: ``[V]`` bool.
    """

    images: np.ndarray
    intrinsics: np.ndarray
    world_to_camera: np.ndarray
    orthographic: np.ndarray


@dataclass(frozen=True)
class RenderedObject:
    """One object's files, wherever they lie.

    Attributes:
        key: ``<category>/<object>``.
        hashes: SHA-256 by the files' names, relative to the object's folder.
        read: Gives a file's bytes by that name; raises OSError.
    """

    key: str
    hashes: Mapping[str, str]
    read: Callable[[str], bytes]

    @property
    def image_names(self) -> list[str]:
        """The names of its images, in order."""
        return sorted(name for name in self.hashes if name.startswith("image/"))

    def views(self, image_size: int = 0) -> ObjectViews:
        """Decode its images and read their cameras.

        Args:
            image_size: Pixels along a side to average them down to; 0 for as rendered.

        Raises:
            InputError: A file is missing or damaged, or images are not square, differ in size, have
                no alpha channel or are smaller than asked for.
        """
        images = [self._image(name, image_size) for name in self.image_names]
        if sizes := {image.shape for image in images} - {images[0].shape}:
            raise InputError(
                f"{self.key} has images of {images[0].shape[0]} and of {sizes.pop()[0]} pixels; "
                "name a size to average all down to, or render all alike."
            )
        side = len(images[0])
        named = [Path(name) for name in self.image_names]
        with self._as_file("transforms.json") as path:
            cameras = [p.camera for p in read_cameras(path, named, lambda _: (side, side)).images]
        return ObjectViews(
            np.stack(images),
            np.stack([camera.intrinsics for camera in cameras]).astype(np.float32),
            np.stack([camera.world_to_camera for camera in cameras]).astype(np.float32),
            np.array([camera.orthographic for camera in cameras]),
        )

    def surface(self) -> tuple[np.ndarray, np.ndarray]:
        """Points on the surface and their normals, ``[P, 3]`` float32 each.

        Raises:
            InputError: The file is missing or damaged.
        """
        arrays = self._arrays("pointcloud.npz", "points", "normals")
        return arrays["points"], arrays["normals"].astype(np.float32)

    def occupancy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points in and around the object, and where they are.

        Returns:
            Points ``[P, 3]`` float32, whether they are inside ``[P]`` bool, and signed distances
            ``[P]`` float32, negative inside.

        Raises:
            InputError: The file is missing or damaged.
        """
        arrays = self._arrays("points.npz", "points", "occupancies", "sdf")
        inside = np.unpackbits(arrays["occupancies"], count=len(arrays["points"])).astype(bool)
        return arrays["points"], inside, arrays["sdf"]

    def voxels(self, resolution: int) -> np.ndarray:
        """Which cells' centres are inside: ``[R, R, R]`` bool, indexed ``[x, y, z]``.

        Raises:
            InputError: The file is missing or damaged, or there is none of this resolution.
        """
        name = f"voxels_{resolution}.npz"
        if name not in self.hashes:
            there = sorted(n[7:-4] for n in self.hashes if n.startswith("voxels_"))
            raise InputError(
                f"{self.key} has no voxels of resolution {resolution}, only {', '.join(there)}."
            )
        return self._arrays(name, "voxels")["voxels"]

    def mesh(self) -> Mesh:
        """The welded mesh.

        Raises:
            InputError: The file is missing or damaged.
        """
        with self._as_file("mesh_welded.ply") as path:
            return read_mesh(path)

    def _bytes(self, name: str) -> bytes:
        try:
            return self.read(name)
        except (OSError, KeyError):
            raise InputError(
                f"{self.key}/{name} is missing; check the dataset with --repair, then render and "
                "prepare it again."
            ) from None

    def _image(self, name: str, image_size: int) -> np.ndarray:
        content = self._bytes(name)
        if hashlib.sha256(content).hexdigest() != self.hashes[name]:
            raise InputError(f"{self.key}/{name} {_DAMAGED}.")
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.key}/{name} cannot be read as an image: {error}.") from error
        if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
            raise InputError(f"{self.key}/{name} has no alpha channel of 8 bits.")
        if pixels.shape[0] != pixels.shape[1]:
            raise InputError(
                f"{self.key}/{name} has {pixels.shape[1]} x {pixels.shape[0]} pixels; training "
                "needs square images."
            )
        if len(pixels) < image_size:
            raise InputError(
                f"{self.key}/{name} has {len(pixels)} pixels a side and {image_size} were asked "
                "for; render it larger or ask for less."
            )
        return area_averaged(pixels, image_size or len(pixels))

    def _arrays(self, name: str, *wanted: str) -> dict[str, np.ndarray]:
        content = self._bytes(name)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {array: arrays[array] for array in wanted}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
            raise InputError(f"{self.key}/{name} {_DAMAGED}.") from None

    @contextmanager
    def _as_file(self, name: str) -> Iterator[Path]:
        """A file's bytes under a path of the same name, for readers that take nothing else."""
        content = self._bytes(name)
        if hashlib.sha256(content).hexdigest() != self.hashes.get(name):
            raise InputError(f"{self.key}/{name} {_DAMAGED}.")
        with tempfile.TemporaryDirectory(prefix="image-to-mesh-") as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            yield path


def area_averaged(pixels: np.ndarray, size: int) -> np.ndarray:
    """Average an image down, each pixel by its coverage, so that no background colour bleeds in.

    Args:
        pixels: ``[S, S, 4]`` uint8, straight sRGB and alpha.
        size: New pixels along a side, at most S.

    Returns:
        ``[size, size, 4]`` uint8, straight sRGB and alpha; black where alpha is 0.
    """
    if len(pixels) == size:
        return pixels
    values = pixels.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    values = cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)
    values[..., :3] *= 255 / np.maximum(values[..., 3:], 1e-3)
    return np.rint(values).clip(0, 255).astype(np.uint8)


def hashes_by_object(hashes: Mapping[str, str], keys: Collection[str]) -> dict[str, dict[str, str]]:
    """What ``dataset.json`` says about files, object by object.

    Args:
        hashes: SHA-256 by path in the dataset.
        keys: Of the objects wanted.

    Returns:
        SHA-256 by path in the object's folder, for each key.
    """
    found: dict[str, dict[str, str]] = {key: {} for key in keys}
    for path, value in hashes.items():
        category, _, rest = path.partition("/")
        name, _, inside = rest.partition("/")
        if (key := f"{category}/{name}") in found:
            found[key][inside] = value
    return found
