"""Checkpoints of networks that always predict the same, by the name of the method they are for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from backend.methods.drwr.network import DrwrNetwork, NetworkSettings, matrix_to_quaternion
from tests.shapes import camera

DRWR_SETTINGS = NetworkSettings(
    image_size=64, points=4000, width=1 / 16, candidates=0, distance=2.5
)
FRONT = (0.0, -2.5, 0.0)
"""From where the networks believe that every picture was taken."""


def drwr_network(points: np.ndarray) -> DrwrNetwork:
    """Whatever it sees, it predicts ``points`` ``[4000, 3]``, seen straight from the front."""
    torch.manual_seed(0)
    network = DrwrNetwork(DRWR_SETTINGS)
    front = camera(FRONT).world_to_camera[:3, :3]
    with torch.no_grad():
        network.decoder.fc.weight.zero_()
        network.decoder.fc.bias.copy_(torch.atanh(2 * torch.as_tensor(points)).flatten())
        last = network.pose.student[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.copy_(torch.as_tensor(matrix_to_quaternion(front)))
    return network.eval()


def drwr_checkpoint(path: Path, network: DrwrNetwork, **card: Any) -> Path:
    settings = {"network": dataclasses.asdict(DRWR_SETTINGS)}
    content = {"method": "drwr_single_image", "recipe": "drwr", "settings": settings, **card}
    metadata = {"model_card": json.dumps(content)}
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path, metadata)
    return path


def drwr_ball(path: Path, radius: float) -> Path:
    """Predicts a ball, filled evenly."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(DRWR_SETTINGS.points, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = radius * random.uniform(size=(DRWR_SETTINGS.points, 1)) ** (1 / 3) * directions
    return drwr_checkpoint(path, drwr_network(points))


BALLS: dict[str, Callable[[Path, float], Path]] = {"drwr_single_image": drwr_ball}
"""Writes a checkpoint that predicts a ball of a radius, for each method that needs weights."""
