"""DVR's network: occupancy and colour of every point from one decoder.

M. Niemeyer et al., "Differentiable Volumetric Rendering", CVPR 2020, sections 3.1 and 3.5. Points
are those of the unit cube, [-0.5, 0.5]^3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SPHERE_STEEPNESS = 20.0
"""Logit per unit of length of the initial sphere."""


class ResnetBlockFC(nn.Module):
    """A fully connected residual block, ``x + W1 ReLU(W0 ReLU(x))`` (section 3.5).

    The second layer starts at zero, so that a new block is the identity.
    """

    def __init__(self, width: int) -> None:
        """Make a block of ``width`` features in and out."""
        super().__init__()
        self.fc_0 = nn.Linear(width, width)
        self.fc_1 = nn.Linear(width, width)
        _set_zero(self.fc_1)

    def forward(self, features: Tensor) -> Tensor:
        """``[..., width]`` to ``[..., width]``."""
        return features + self.fc_1(torch.relu(self.fc_0(torch.relu(features))))


class OccupancyColorNetwork(nn.Module):
    """The occupancy network f (equation 1) and the texture field t (equation 2) with one trunk.

    A layer from 3 to H features, five residual blocks, ReLU, and a layer to four numbers: the
    occupancy's logit, positive inside, and three that a sigmoid turns into sRGB. Occupancy's
    threshold of one half is the logit 0. Coordinates enter as they are, without a frequency
    encoding.

    A latent code z may condition both functions: before each block, a layer of its own adds its
    features (section 3.5). The code ``condition`` broadcasts against the points, ``[..., C]``.
    """

    def __init__(self, hidden: int = 512, blocks: int = 5, condition_size: int = 0) -> None:
        """Make the network.

        Args:
            hidden: Width H; the paper uses 512.
            blocks: Number of residual blocks; the paper uses 5.
            condition_size: Length C of the latent code, 0 for none; the paper's encoder gives 256.
        """
        super().__init__()
        self.condition_size = condition_size
        self.fc_in = nn.Linear(3, hidden)
        self.blocks = nn.ModuleList(ResnetBlockFC(hidden) for _ in range(blocks))
        self.fc_condition = nn.ModuleList(
            nn.Linear(condition_size, hidden) for _ in range(blocks if condition_size else 0)
        )
        self.fc_out = nn.Linear(hidden, 4)

    def forward(self, points: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Occupancy logits ``[...]`` and sRGB in [0, 1] ``[..., 3]`` of points ``[..., 3]``.

        Raises:
            ValueError: A condition is missing, or given to a network that has none.
        """
        if (condition is not None) != bool(self.condition_size):
            raise ValueError(
                f"the network takes a condition of length {self.condition_size}, "
                f"got {'none' if condition is None else tuple(condition.shape)}"
            )
        features = self.fc_in(points)
        for index, block in enumerate(self.blocks):
            if condition is not None:
                features = features + self.fc_condition[index](condition)
            features = block(features)
        output = self.fc_out(torch.relu(features))
        return output[..., 0], torch.sigmoid(output[..., 1:])

    def occupancy_logit(self, points: Tensor, condition: Tensor | None = None) -> Tensor:
        """Occupancy logits ``[...]`` of points ``[..., 3]``, positive inside."""
        return self(points, condition)[0]

    def color(self, points: Tensor, condition: Tensor | None = None) -> Tensor:
        """SRGB in [0, 1] ``[..., 3]`` of points ``[..., 3]``."""
        return self(points, condition)[1]

    @torch.no_grad()
    def initialise_sphere(self, radius: float) -> None:
        """Set the weights so that the surface is a sphere around the origin, with any condition.

        The paper starts from random weights, whose surface may be empty, which no ray then finds.
        With the blocks at the identity, the mean of ReLU(u·p) over unit vectors u spread evenly on
        the sphere is |p| / 4; half of the features are such u·p, so that the last layer can write
        ``SPHERE_STEEPNESS * (radius - |p|)`` in closed form. The other half keeps its random
        weights for the colours and for what is learnt later.

        Args:
            radius: In units of the cube.
        """
        half = (self.fc_in.out_features + 1) // 2
        self.fc_in.weight[:half] = _sphere_directions(half).to(self.fc_in.weight)
        self.fc_in.bias[:half] = 0
        for block in self.blocks:
            assert isinstance(block, ResnetBlockFC)
            _set_zero(block.fc_1)
        for layer in self.fc_condition:
            _set_zero(layer)
        self.fc_out.weight[0] = 0
        self.fc_out.weight[0, :half] = -4 * SPHERE_STEEPNESS / half
        self.fc_out.bias[0] = SPHERE_STEEPNESS * radius


def _set_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _sphere_directions(count: int) -> Tensor:
    """Unit vectors ``[count, 3]`` spread evenly: a Fibonacci spiral."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * index / count
    angle = index * math.pi * (3 - math.sqrt(5))
    across = (1 - height**2).sqrt()
    return torch.stack([across * angle.cos(), across * angle.sin(), height], dim=1)
