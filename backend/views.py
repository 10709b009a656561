"""Views of one object: images, masks and cameras, and the conventions that hold everywhere.

World: Blender's. Right-handed, Z up, metres; an object faces -Y (its front view looks along +Y).

Camera (OpenCV axes): x right, y down, z forward; ``x_camera = R @ x_world + t``. Pixel centres lie
at half-integers, so an image of width W spans [0, W]:

* perspective: ``u = fx * x / z + cx``, ``v = fy * y / z + cy``, focal lengths in pixels;
* orthographic: ``u = fx * x + cx``, ``v = fy * y + cy``, focal lengths in pixels per world unit.

On disk, ``transforms.json`` keeps Blender/OpenGL axes (x right, y up, z backward); only
:func:`opengl_to_opencv` and its users in ``camera_files`` convert.

Unit cube: methods work in [-0.5, 0.5]^3 with the object's longest edge at most 0.9.
:class:`Similarity` leads from there to the world. Needs numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .errors import InputError
from .lazy_numpy import np


def opengl_to_opencv(camera_to_world: np.ndarray) -> np.ndarray:
    """Turn camera-to-world matrices ``[..., 4, 4]`` between OpenGL/Blender and OpenCV axes.

    The map is its own inverse: it negates the camera's y and z axes.
    """
    return camera_to_world * np.array([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Camera:
    """One camera; see the module's conventions.

    Attributes:
        intrinsics: ``[3, 3]`` float64, zero skew is not required.
        world_to_camera: ``[4, 4]`` float64, a rotation and a translation.
        image_size: (height, width) in pixels.
        orthographic: Whether rays are parallel.
        distortion: OpenCV's (k1, k2, p1, p2, k3); images are undistorted once, on loading.
    """

    intrinsics: np.ndarray
    world_to_camera: np.ndarray
    image_size: tuple[int, int]
    orthographic: bool = False
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check what every reader must deliver.

        Raises:
            InputError: Not finite, a singular or left-handed matrix, or an empty image.
        """
        rotation = self.world_to_camera[:3, :3]
        if not (np.isfinite(self.intrinsics).all() and np.isfinite(self.world_to_camera).all()):
            raise InputError("the camera matrix contains numbers that are not finite.")
        if abs(np.linalg.det(self.intrinsics)) < 1e-12:
            raise InputError("the camera's intrinsic matrix is singular (a focal length is zero).")
        determinant = float(np.linalg.det(rotation))
        if abs(determinant) < 1e-6:
            raise InputError("the camera's rotation matrix is singular.")
        if determinant < 0:
            raise InputError(
                "the camera's matrix is left-handed (determinant below zero); "
                "mirror one axis so that it is right-handed."
            )
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3:
            raise InputError("the camera's rotation matrix is not orthonormal (sheared or scaled).")
        if min(self.image_size) < 1:
            raise InputError(f"the camera's image size {self.image_size} is empty.")

    @property
    def centre(self) -> np.ndarray:
        """``[3]`` position in the world (of no meaning for parallel rays but along the axis)."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]

    @property
    def forward(self) -> np.ndarray:
        """``[3]`` unit viewing direction in the world."""
        return self.world_to_camera[2, :3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world points ``[..., 3]`` to pixels ``[..., 2]`` and camera depths ``[...]``."""
        in_camera = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = in_camera[..., 2]
        divisor = np.ones_like(depth) if self.orthographic else depth
        flat = np.stack([in_camera[..., 0] / divisor, in_camera[..., 1] / divisor], axis=-1)
        return flat @ self.intrinsics[:2, :2].T + self.intrinsics[:2, 2], depth

    def rays(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays through ``pixels`` ``[..., 2]``: origins and directions ``[..., 3]`` in the world.

        Directions are not normalised: their camera z is 1, so that ``origin + depth * direction``
        has camera depth ``depth``.
        """
        flat = (pixels - self.intrinsics[:2, 2]) @ np.linalg.inv(self.intrinsics[:2, :2]).T
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        ones, zeros = np.ones(flat.shape[:-1] + (1,)), np.zeros(flat.shape[:-1] + (1,))
        if self.orthographic:
            origins = np.concatenate([flat, zeros], axis=-1)
            directions = np.concatenate([0.0 * flat, ones], axis=-1)
        else:
            origins = np.concatenate([0.0 * flat, zeros], axis=-1)
            directions = np.concatenate([flat, ones], axis=-1)
        return (origins - translation) @ rotation, directions @ rotation

    def resampled(self, left: float, top: float, zoom: float, size: tuple[int, int]) -> Camera:
        """The camera of a crop whose corner was at pixel (left, top), enlarged ``zoom`` times."""
        to_crop = np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top], [0, 0, 1.0]])
        return replace(self, intrinsics=to_crop @ self.intrinsics, image_size=size)

    def in_unit_cube(self, similarity: Similarity) -> Camera:
        """The same camera for an object whose coordinates are those of the unit cube."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        moved = np.eye(4)
        moved[:3, :3] = rotation
        moved[:3, 3] = (rotation @ similarity.offset + translation) / similarity.scale
        intrinsics = self.intrinsics.copy()
        if self.orthographic:
            intrinsics[:2, :2] *= similarity.scale
        return replace(self, intrinsics=intrinsics, world_to_camera=moved)

    def mirrored(self, axis: int, offset: float) -> Camera:
        """The camera that sees the world mirrored at ``axis = offset`` in the flipped picture."""
        flip, mirror = np.diag([-1.0, 1, 1, 1]), np.eye(4)
        mirror[axis, axis], mirror[axis, 3] = -1.0, 2.0 * offset
        width = self.image_size[1]
        flip_pixels = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]])
        return replace(
            self,
            intrinsics=flip_pixels @ self.intrinsics @ np.diag([-1.0, 1, 1]),
            world_to_camera=flip @ self.world_to_camera @ mirror,
        )


@dataclass(frozen=True)
class Similarity:
    """``world = scale * unit + offset``."""

    scale: float = 1.0
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class View:
    """One picture as it was given, in the world.

    Attributes:
        name: How messages call it: the file's name, or the named view.
        image: ``[H, W, 3]`` float32 sRGB in [0, 1].
        mask: ``[H, W]`` float32 coverage in [0, 1], 1 = object.
        camera: With ``image_size == (H, W)`` and no distortion left.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    camera: Camera


@dataclass(frozen=True)
class Views:
    """What a method gets: square pictures of one size, cut out around the object, in the unit cube.

    Attributes:
        names: One for each view.
        images: ``[V, S, S, 3]`` float32 sRGB in [0, 1].
        masks: ``[V, S, S]`` float32 coverage in [0, 1].
        known: ``[V, S, S]`` bool; False where the photograph ended although the object went on.
        cameras: V cameras of the cut-outs, in unit-cube coordinates.
        to_world: From the unit cube to the world.
        mirrors: Planes through the cube's centre across which the object is its own mirror image:
            ``"x"`` (where x is 0), ``"y"``, and with both perhaps ``"diagonal"`` (where x is y).
        distances: ``[V, S, S]`` signed distances to the masks' contours, if they have been measured
            (``geometry.visual_hull.mask_distance``).
    """

    names: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    known: np.ndarray
    cameras: tuple[Camera, ...]
    to_world: Similarity
    mirrors: tuple[str, ...] = ()
    distances: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of views."""
        return len(self.names)
