"""A small network that tells categories apart, whose features FID and KID compare pictures by.

IG-GAN (S. Lunz et al., "Inverse Graphics GAN", 2020) retrains Inception on renders of ShapeNet's
categories for this. No pretrained weights are shipped or fetched here, so ours is trained from
nothing on our own renders; where there is a single category, a network with seeded random weights
takes its place. Numbers compare between sets of pictures through one network only, never with
published ones: they are called ``fid_lite`` and ``kid_lite`` and kept with the network's
fingerprint.

Pictures are ``[N, H, W, 3]`` uint8, with the same background, light and crop in both sets.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from backend.errors import InputError
from backend.files import write_files

IMAGE_SIZE = 64
"""Pixels along the pictures that the network sees; others are resampled, without aliasing."""

WIDTHS = (32, 64, 128, 256)
"""Channels of the layers, each of which halves the picture; the last are the features."""

LEARNING_RATE = 3e-3
SHIFT = 4
"""Pixels by which training moves pictures at random."""

_KIND = "image_to_mesh_feature_network"


class FeatureNetwork(nn.Module):
    """Convolutions that end in one vector for a picture, and a linear layer to the categories.

    Attributes:
        categories: What the outputs stand for; none when the weights are random.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        super().__init__()
        self.categories = tuple(categories)
        layers: list[nn.Module] = []
        for before, after in zip((3, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(WIDTHS[-1], len(categories)) if categories else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``[B, C]`` of ``[B, 3, 64, 64]`` pictures in [-1, 1]."""
        return self.classifier(self.features(images))

    @property
    def fingerprint(self) -> str:
        """Twelve digits that differ where the weights differ."""
        return hashlib.sha256(save(_tensors(self))).hexdigest()[:12]


def random_feature_network(seed: int = 0) -> FeatureNetwork:
    """A network with random weights, equal for equal seeds."""
    return _initialised((), seed).eval()


def _initialised(categories: Sequence[str], seed: int) -> FeatureNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return FeatureNetwork(categories)


def train_feature_network(
    images: np.ndarray,
    labels: Sequence[str],
    steps: int = 600,
    batch_size: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> FeatureNetwork:
    """Train a network to name the category of a picture.

    Cross entropy, Adam with one cycle of the learning rate; pictures are mirrored and shifted.

    Args:
        images: ``[N, H, W, 3]`` uint8.
        labels: The category of each.
        steps: Optimisation steps.
        batch_size: Pictures in a step.
        seed: Of the weights and of the pictures' order.
        device: Where to train; the network comes back on the CPU.
        report: Called after each step with the steps done, all of them, and the loss.

    Raises:
        InputError: There are fewer than two categories.
    """
    categories = sorted(set(labels))
    if len(categories) < 2:
        raise InputError(
            "a feature network learns to tell categories apart and needs two or more, "
            f"found {', '.join(categories) or 'none'}; render more, or take random features."
        )
    targets = torch.as_tensor([categories.index(label) for label in labels])
    random = np.random.default_rng(seed)
    network = _initialised(categories, seed).to(device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        chosen = random.integers(len(images), size=batch_size)
        batch = _varied(_normalised(images[chosen], device), random)
        loss = nn.functional.cross_entropy(network(batch), targets[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step + 1, steps, loss.item())
    return network.cpu().eval()


def _normalised(images: np.ndarray, device: torch.device | str) -> Tensor:
    """``[N, H, W, 3]`` uint8 to ``[N, 3, 64, 64]`` in [-1, 1]."""
    pixels = torch.as_tensor(images, device=device).permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE):
        return pixels
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)


def _varied(images: Tensor, random: np.random.Generator) -> Tensor:
    """Mirror half of the pictures and shift all; what comes in repeats the border."""
    half = len(images) // 2
    images = torch.cat([images[:half], images[half:].flip(-1)])
    padded = nn.functional.pad(images, (SHIFT,) * 4, mode="replicate")
    top, left = random.integers(2 * SHIFT + 1, size=2)
    return padded[..., top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]


@torch.no_grad()
def extract_features(
    network: FeatureNetwork, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """Features ``[N, 256]`` float32 of ``[N, H, W, 3]`` uint8 pictures, for FID and KID.

    Runs on the device where the network is, on ``batch_size`` pictures at once.
    """
    device = next(network.parameters()).device
    batches = range(0, len(images), batch_size)
    found = [network.features(_normalised(images[b : b + batch_size], device)) for b in batches]
    return torch.cat(found).cpu().numpy()


@torch.no_grad()
def accuracy(network: FeatureNetwork, images: np.ndarray, labels: Sequence[str]) -> float:
    """Share of pictures whose category a trained network names rightly."""
    features = torch.as_tensor(extract_features(network, images))
    device = next(network.parameters()).device
    guesses = network.classifier(features.to(device)).argmax(1).tolist()
    right = [network.categories[g] == label for g, label in zip(guesses, labels, strict=True)]
    return float(np.mean(right))


# Files --------------------------------------------------------------------------------------------


def save_feature_network(path: Path, network: FeatureNetwork) -> None:
    """Write a network as safetensors.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    metadata = {"kind": _KIND, "categories": json.dumps(network.categories)}
    write_files({path: save(_tensors(network), metadata)})


def load_feature_network(path: Path) -> FeatureNetwork:
    """Read what :func:`save_feature_network` wrote.

    Raises:
        InputError: The file is not there, is damaged, or holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"the feature network '{path}' cannot be read: {error}.") from error
    if metadata.get("kind") != _KIND:
        raise InputError(f"'{path}' holds no feature network; train one on your renders.")
    try:
        network = FeatureNetwork(json.loads(metadata["categories"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the feature network '{path}' is of another version; train it again."
        ) from error
    return network.eval()


def _tensors(network: FeatureNetwork) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}
