"""DRWR's network, which is DPC's: one image to a shape, and the camera that took it.

E. Insafutdinov and A. Dosovitskiy, "Unsupervised Learning of Shape and Pose with Differentiable
Point Clouds", NeurIPS 2018, section 4 and supplement; DRWR (section 3) and Effective Loss change
the loss alone. For an image of S pixels (128, 64, 32):

    encoder   5×5 convolution, stride 2, 16 channels; then, until 4×4 pixels are left, 3×3 with
              stride 2 to twice the channels and 3×3 with stride 1: 9, 7 or 5 convolutions
    code      fully connected: 1024 features, 1024 features, the code of 1024
    decoder   one linear layer from the code to N points; tanh / 2 keeps them in the unit cube; or
              for DPC-V, the voxels that the papers compare with, see :class:`VoxelDecoder`
    pose      from the second 1024 features: one layer of 1024, then heads 32, 32, 4

Leaky ReLU (0.2) follows every layer but the last of decoder and heads; nothing is normalised.

The pose is DPC's where cameras are unknown. Where they are known the papers have none; we need one
to use the network on a photograph, and let a student look at the convolutions' result through two
layers of 1024. The features before the code no longer tell well from where an object is seen: they
learn to forget it.

An image enters cut out around its object and laid on ``BACKGROUND``, in training as in use, so that
photographs, whose background is masked away, look like renders. Points are those of the unit cube,
in the category's common frame (Z up, faces -Y); rotations turn that frame into OpenCV's camera.
Grids are indexed [x, y, z] over the unit cube, with the cells' centres of
``geometry.visual_hull.grid_points``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ...checkpoints import read_model_card
from ...errors import InputError
from ..interface import checked_value, param

POINTS = {32: 2000, 64: 8000, 128: 16_000}
"""Points that the papers give to each image size."""

CHANNELS = 16
FEATURES = 1024
HEAD_FEATURES = 32
SLOPE = 0.2
DECODER_DEVIATION = 0.025
SMALLEST_MAP = 4
VOXEL_CHANNELS = 256
SMALLEST_GRID = 8
EVEN_START = 0.03
"""Of its usual deviation is that of the voxels' last layer.

A silhouette is content with any one cell on each ray. Cells that begin alike rise together and fill
the shape; from an uneven start it becomes a sponge that looks right from outside.
"""

ADDED_SETTINGS = {"voxels"}
"""Fields that older model cards lack; their defaults describe those networks."""

BACKGROUND = 0.5
"""Grey around the object: 0, like the padding, once the image is scaled to [-1, 1]."""


@dataclass(frozen=True)
class NetworkSettings:
    """What the network is built from; kept in the model card."""

    image_size: int = param(64, "Pixels along the input image.", minimum=16, maximum=256)
    points: int = param(
        8000,
        "Points of the cloud, or to take of the surface of voxels.",
        minimum=10,
        maximum=200_000,
    )
    width: float = param(
        1.0, "Multiplies the channels and features of every layer.", minimum=1 / 16, maximum=4.0
    )
    candidates: int = param(
        0, "Pose candidates of the ensemble; 0 where cameras are known.", minimum=0, maximum=64
    )
    distance: float = param(
        2.0,
        "From the training cameras to the object, in cubes; 0 where their rays are parallel.",
        minimum=0.0,
        maximum=1e6,
    )
    voxels: int = param(
        0, "Cells along the occupancy grid that is predicted; 0 for points.", minimum=0, maximum=128
    )

    def __post_init__(self) -> None:
        """Check that halving the image ends at 4 × 4, and the grid at 4 × 4 × 4.

        Raises:
            InputError: It does not.
        """
        size = self.image_size
        if size & (size - 1):
            raise InputError(f"drwr: image_size must be a power of two such as 64, got {size}.")
        if self.voxels and not is_grid_size(self.voxels):
            raise InputError(
                f"drwr: voxels must be 0 or a power of two from 8 such as 32, got {self.voxels}."
            )


class Prediction(NamedTuple):
    """What the network says about B images, and about M pictures of their objects.

    Attributes:
        shapes: Points ``[B, N, 3]``, or of a network with voxels the occupancy ``[B, R, R, R]``
            in [0, 1].
        student: Unit quaternions (w, x, y, z) of the one camera rotation that the student gives:
            ``[M, 4]``, or ``[B, 4]`` of the images themselves where no pictures were given.
        candidates: ``[M, K, 4]`` of the ensemble, or None where there is none.
    """

    shapes: Tensor
    student: Tensor
    candidates: Tensor | None


class DrwrNetwork(nn.Module):
    """Image to point cloud, or voxels, and camera rotation."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        features = scaled(FEATURES, settings.width)
        self.encoder = Encoder(settings.image_size, settings.width)
        self.decoder = (
            VoxelDecoder(features, settings.voxels, settings.width)
            if settings.voxels
            else PointDecoder(features, settings.points)
        )
        if settings.candidates:
            self.pose = PoseEnsemble(features, settings.candidates)
        else:
            self.pose = PoseStudent(self.encoder.fc_1.in_features, features)

    def forward(self, images: Tensor, pictures: Tensor | None = None) -> Prediction:
        """Predict shapes, and the cameras of other pictures of the same objects.

        Args:
            images: ``[B, 3, S, S]`` sRGB in [0, 1] on ``BACKGROUND``: their objects' shapes are
                wanted.
            pictures: ``[M, 3, S, S]``, whose cameras are wanted; the images' own if None.
        """
        seen = images if pictures is None else torch.cat([images, pictures])
        maps, features, code = self.encoder(seen)
        asked = slice(0 if pictures is None else len(images), None)
        if isinstance(self.pose, PoseEnsemble):
            student, candidates = self.pose(features[asked])
        else:
            student, candidates = self.pose(maps[asked]), None
        return Prediction(self.decoder(code[: len(images)]), student, candidates)


class Encoder(nn.Module):
    """Convolutions down to 4×4, then the code."""

    def __init__(self, image_size: int, width: float = 1.0) -> None:
        """Make it for images of ``image_size``, its layers ``width`` times the papers'."""
        super().__init__()
        channels, features = scaled(CHANNELS, width), scaled(FEATURES, width)
        layers: list[nn.Module] = [SameConv2d(3, channels, 5, stride=2), nn.LeakyReLU(SLOPE)]
        for _ in range(int(math.log2(image_size // SMALLEST_MAP)) - 1):
            layers += [SameConv2d(channels, 2 * channels, 3, stride=2), nn.LeakyReLU(SLOPE)]
            layers += [SameConv2d(2 * channels, 2 * channels, 3), nn.LeakyReLU(SLOPE)]
            channels *= 2
        self.convolutions = nn.Sequential(*layers)
        self.fc_1 = _linear(channels * SMALLEST_MAP**2, features)
        self.fc_2 = _linear(features, features)
        self.fc_code = _linear(features, features)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What images ``[B, 3, S, S]`` become.

        Returns:
            The convolutions' result ``[B, M]``, the features before the code ``[B, C]``, and the
            code ``[B, C]``.
        """
        maps = self.convolutions(2 * images - 1).flatten(1)
        features = _leaky(self.fc_2(_leaky(self.fc_1(maps))))
        return maps, features, _leaky(self.fc_code(features))


class PointDecoder(nn.Module):
    """One linear layer from the code to the points."""

    def __init__(self, features: int, points: int) -> None:
        super().__init__()
        self.fc = nn.Linear(features, 3 * points)
        _truncated_normal(self.fc.weight, DECODER_DEVIATION)
        nn.init.zeros_(self.fc.bias)

    def forward(self, code: Tensor) -> Tensor:
        """``[B, N, 3]`` in (-0.5, 0.5) of codes ``[B, C]``."""
        return torch.tanh(self.fc(code)).unflatten(-1, (-1, 3)) / 2


class VoxelDecoder(nn.Module):
    """DPC-V's decoder: from the code to the occupancy of a grid.

    That of X. Yan et al., "Perspective Transformer Nets", NeurIPS 2016: a linear layer to 4×4×4
    cells, then transposed convolutions of stride 2 up to the grid, and a sigmoid. Here kernels have
    4×4×4 taps at every size, so that all cells get equally many, and channels halve each time.
    """

    def __init__(self, features: int, voxels: int, width: float = 1.0) -> None:
        """Make it for codes of ``features`` and ``voxels``³ cells, its layers ``width`` as wide."""
        super().__init__()
        doublings = int(math.log2(voxels // SMALLEST_MAP))
        channels = [scaled(VOXEL_CHANNELS >> step, width) for step in range(doublings)] + [1]
        self.fc = _linear(features, channels[0] * SMALLEST_MAP**3)
        layers = [
            nn.ConvTranspose3d(*pair, kernel_size=4, stride=2, padding=1)
            for pair in itertools.pairwise(channels)
        ]
        for layer in layers:
            _initialise(layer)
        with torch.no_grad():
            layers[-1].weight.mul_(EVEN_START)
        # At first a ray ends in one cell of the grid on average. Were each cell 0.5, all rays
        # would end, and hardly any gradient would reach a cell past the others on its ray.
        assert layers[-1].bias is not None
        nn.init.constant_(layers[-1].bias, -math.log(voxels - 1))
        self.convolutions = nn.ModuleList(layers)

    def forward(self, code: Tensor) -> Tensor:
        """``[B, R, R, R]`` in [0, 1], indexed [x, y, z], of codes ``[B, C]``."""
        grids = self.fc(code).unflatten(-1, (-1, *(SMALLEST_MAP,) * 3))
        for layer in self.convolutions:
            grids = layer(_leaky(grids))
        return torch.sigmoid(grids[:, 0])


class PoseEnsemble(nn.Module):
    """DPC's pose regressors: candidates, and the student that the best of them teaches.

    The student moves nothing but itself: it follows the candidates.
    """

    def __init__(self, features: int, candidates: int) -> None:
        super().__init__()
        self.fc = _linear(features, features)
        self.student = _pose_head(features)
        self.candidates = nn.ModuleList(_pose_head(features) for _ in range(candidates))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Student's ``[M, 4]`` and candidates' ``[M, K, 4]`` quaternions of ``[M, C]``."""
        shared = _leaky(self.fc(features))
        heads = torch.stack([head(shared) for head in self.candidates], dim=1)
        student = functional.normalize(self.student(shared.detach()), dim=-1)
        return student, functional.normalize(heads, dim=-1)


class PoseStudent(nn.Module):
    """The camera's rotation, learnt from known ones; it has no part in the shape."""

    def __init__(self, maps: int, features: int) -> None:
        super().__init__()
        self.fc_1 = _linear(maps, features)
        self.fc_2 = _linear(features, features)
        self.student = _pose_head(features)

    def forward(self, maps: Tensor) -> Tensor:
        """Quaternions ``[M, 4]`` of the convolutions' results ``[M, C]``."""
        features = _leaky(self.fc_2(_leaky(self.fc_1(maps.detach()))))
        return functional.normalize(self.student(features), dim=-1)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: ``ceil(n / stride)`` pixels come out.

    Where the padding is odd its greater half lies at the bottom and at the right.
    """

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, size, stride)
        _initialise(self)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """``[B, C, H, W]`` to ``[B, D, ceil(H / stride), ceil(W / stride)]``."""
        size, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(input.shape[-2], size, stride)
        left, right = same_padding(input.shape[-1], size, stride)
        return super().forward(functional.pad(input, (left, right, top, bottom)))


def network_image(pixels: np.ndarray, coverage: np.ndarray, size: int) -> np.ndarray:
    """A square cut-out as the network sees it, in training as in use.

    Args:
        pixels: ``[H, H, 3]`` sRGB in [0, 1].
        coverage: ``[H, H]`` mask in [0, 1].
        size: Pixels S that the network takes.

    Returns:
        ``[3, S, S]`` float32, on ``BACKGROUND``.
    """
    image = BACKGROUND + (pixels - BACKGROUND) * coverage[..., None]
    how = cv2.INTER_AREA if len(image) >= size else cv2.INTER_LINEAR
    resized = cv2.resize(image.astype(np.float32), (size, size), interpolation=how)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def same_padding(length: int, size: int, stride: int) -> tuple[int, int]:
    """Zeros before and after ``length`` values under a kernel of ``size``."""
    total = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return total // 2, total - total // 2


def is_grid_size(cells: int) -> bool:
    """Whether the voxels' decoder can end at so many cells along its grid."""
    return cells >= SMALLEST_GRID and not cells & (cells - 1)


def scaled(features: int, width: float) -> int:
    """A layer's ``features`` in a network of another width."""
    return max(1, round(features * width))


def _pose_head(features: int) -> nn.Sequential:
    return nn.Sequential(
        _linear(features, HEAD_FEATURES),
        nn.LeakyReLU(SLOPE),
        _linear(HEAD_FEATURES, HEAD_FEATURES),
        nn.LeakyReLU(SLOPE),
        _linear(HEAD_FEATURES, 4),
    )


def _leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, SLOPE)


def _linear(features_in: int, features_out: int) -> nn.Linear:
    layer = nn.Linear(features_in, features_out)
    _initialise(layer)
    return layer


def _initialise(layer: nn.Conv2d | nn.ConvTranspose3d | nn.Linear) -> None:
    """TensorFlow 1's variance scaling, as DPC's program has it: variance 2 / inputs.

    The deviation is widened by sqrt(1.3), as what lies beyond two deviations is drawn again.
    """
    inputs = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose3d):  # the kernel's taps are shared out among the strides
        inputs = layer.in_channels * math.prod(layer.kernel_size) // math.prod(layer.stride)
    _truncated_normal(layer.weight, math.sqrt(1.3 * 2 / inputs))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _truncated_normal(weight: Tensor, deviation: float) -> None:
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


# Rotations ----------------------------------------------------------------------------------------


def quaternion_to_matrix(quaternions: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` of unit quaternions ``[..., 4]`` (w, x, y, z)."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quaternion(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions ``[..., 4]`` (w, x, y, z), w not below 0, of rotations ``[..., 3, 3]``.

    The eigenvector of the greatest eigenvalue of I. Bar-Itzhack's matrix ("New Method for
    Extracting the Quaternion from a Rotation Matrix", 2000), which has no special cases.
    """
    m = np.asarray(matrices, np.float64)
    xx, xy, xz = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2]
    yx, yy, yz = m[..., 1, 0], m[..., 1, 1], m[..., 1, 2]
    zx, zy, zz = m[..., 2, 0], m[..., 2, 1], m[..., 2, 2]
    rows = [
        *(xx + yy + zz, zy - yz, xz - zx, yx - xy),
        *(zy - yz, xx - yy - zz, xy + yx, xz + zx),
        *(xz - zx, xy + yx, yy - xx - zz, yz + zy),
        *(yx - xy, xz + zx, yz + zy, zz - xx - yy),
    ]
    values = np.stack(rows, axis=-1).reshape(*m.shape[:-2], 4, 4)
    quaternions = np.linalg.eigh(values)[1][..., -1]
    return np.where(quaternions[..., :1] < 0, -quaternions, quaternions)


# From and to files --------------------------------------------------------------------------------


def from_settings(settings: Any) -> DrwrNetwork:
    """The freshly initialised network of a model card's ``settings``, which has it as "network".

    Raises:
        InputError: The settings are incomplete, unknown or out of range.
    """
    given = settings.get("network") if isinstance(settings, Mapping) else None
    fields = {field.name: field for field in dataclasses.fields(NetworkSettings)}
    if not isinstance(given, Mapping) or {*given} | ADDED_SETTINGS != {*fields}:
        raise InputError(
            "drwr: the model card does not describe this version's network "
            f"({', '.join(fields)}); train the checkpoint again."
        )
    checked = {name: checked_value("drwr", fields[name], value) for name, value in given.items()}
    return DrwrNetwork(NetworkSettings(**checked))


def load_network(checkpoint: Path, device: torch.device | str = "cpu") -> DrwrNetwork:
    """A trained network from its model file, ready for use.

    Raises:
        InputError: The file is damaged, of another method, or its tensors do not fit its card.
    """
    card = read_model_card(checkpoint, "drwr_single_image")
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
        network = from_settings(card.get("settings"))
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(checkpoint).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{checkpoint.name} cannot be read: {error}.") from error
    if problem := _misfit(tensors, network.state_dict()):
        raise InputError(
            f"{checkpoint.name} does not fit the network of its model card: {problem}; "
            "use the file as training wrote it."
        )
    network.load_state_dict(tensors, assign=True)
    return network.to(device).eval().requires_grad_(False)


def _misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """The first difference between two sets of tensors; empty if there is none."""
    for name in sorted({*found, *wanted}):
        if name not in found:
            return f"the tensor '{name}' is missing"
        if name not in wanted:
            return f"the tensor '{name}' has no place in it"
        if found[name].shape != wanted[name].shape:
            shapes = tuple(found[name].shape), tuple(wanted[name].shape)
            return f"'{name}' has the shape {shapes[0]} where {shapes[1]} is needed"
        if not torch.isfinite(found[name]).all():
            return f"'{name}' holds numbers that are not finite"
    return ""
