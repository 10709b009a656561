"""The cameras of ``backend.views`` as a batch of tensors, for work on many points at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..views import Camera


@dataclass(frozen=True)
class Cameras:
    """V cameras; conventions as in ``backend.views``.

    Attributes:
        intrinsics: ``[V, 3, 3]``, pixels.
        world_to_camera: ``[V, 4, 4]``.
        orthographic: ``[V]`` bool.
        image_size: (height, width), the same for all.
    """

    intrinsics: Tensor
    world_to_camera: Tensor
    orthographic: Tensor
    image_size: tuple[int, int]

    @classmethod
    def stack(
        cls,
        cameras: Sequence[Camera],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Cameras:
        """Batch cameras whose images have one size."""
        sizes = {camera.image_size for camera in cameras}
        if len(sizes) != 1:
            raise ValueError(f"cameras must share one image size, got {sorted(sizes)}")
        return cls(
            torch.as_tensor(np.stack([c.intrinsics for c in cameras]), dtype=dtype, device=device),
            torch.as_tensor(
                np.stack([c.world_to_camera for c in cameras]), dtype=dtype, device=device
            ),
            torch.tensor([c.orthographic for c in cameras], device=device),
            sizes.pop(),
        )

    def __len__(self) -> int:
        """Number of cameras."""
        return len(self.intrinsics)

    def one(self, view: int) -> Cameras:
        """The batch of one view alone."""
        some = slice(view, view + 1)
        return Cameras(
            self.intrinsics[some],
            self.world_to_camera[some],
            self.orthographic[some],
            self.image_size,
        )

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points into every view.

        Args:
            points: ``[N, 3]`` for all views, or ``[V, N, 3]``.

        Returns:
            Pixels ``[V, N, 2]`` and camera depths ``[V, N]``.
        """
        matrix, shift = self._screen()
        points = points if points.ndim == 3 else points.expand(len(self), *points.shape)
        screen = torch.baddbmm(shift[:, None], points, matrix.transpose(1, 2))  # [V, N, 3]
        depth = screen[..., 2]
        divisor = torch.where(self.orthographic[:, None], torch.ones_like(depth), depth)
        return screen[..., :2] / divisor[..., None], depth

    def _screen(self) -> tuple[Tensor, Tensor]:
        """``[V, 3, 3]`` and ``[V, 3]``: ``matrix @ point + shift`` is (u, v, 1) times the divisor.

        The third component is the depth all the same, as parallel rays are not divided.
        """
        rotation, translation = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        focal, centre = self.intrinsics[:, :2, :2], self.intrinsics[:, :2, 2]
        parallel = self.orthographic[:, None]
        along = torch.where(parallel[..., None], 0, centre[..., None] * rotation[:, 2:])
        moved = torch.where(parallel, centre, centre * translation[:, 2:])
        matrix = torch.cat([focal @ rotation[:, :2] + along, rotation[:, 2:]], dim=1)
        shift = (focal @ translation[:, :2, None])[..., 0] + moved
        return matrix, torch.cat([shift, translation[:, 2:]], dim=1)

    def rays(self, view: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Rays through ``pixels`` ``[N, 2]`` of the views ``view`` ``[N]``.

        Returns:
            Origins and directions ``[N, 3]``; directions have camera z = 1, not unit length.
        """
        inverse = torch.linalg.inv(self.intrinsics[:, :2, :2])[view]  # [N, 2, 2]
        flat = (inverse @ (pixels - self.intrinsics[view, :2, 2])[..., None])[..., 0]
        rotation = self.world_to_camera[view, :3, :3]
        translation = self.world_to_camera[view, :3, 3]
        parallel = self.orthographic[view][:, None]
        zero, one = torch.zeros_like(flat[:, :1]), torch.ones_like(flat[:, :1])
        start = torch.cat([torch.where(parallel, flat, torch.zeros_like(flat)), zero], dim=1)
        ahead = torch.cat([torch.where(parallel, torch.zeros_like(flat), flat), one], dim=1)
        origins = torch.einsum("nji,nj->ni", rotation, start - translation)
        return origins, torch.einsum("nji,nj->ni", rotation, ahead)
