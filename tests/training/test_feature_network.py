"""The network that FID and KID look through: it learns, it tells sets apart, its file is itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from backend.checkpoints import read_model_card
from backend.errors import InputError
from training.feature_network import (
    FeatureNetwork,
    accuracy,
    extract_features,
    load_feature_network,
    random_feature_network,
    save_feature_network,
    train_feature_network,
)
from training.metrics import frechet_distance, kernel_distance


def pictures(kind: str, count: int, seed: int, size: int = 64) -> np.ndarray:
    """Grey discs, squares or rings of any place, size and shade on white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size][:, None] / size - random.uniform(0.4, 0.6, (2, count, 1, 1))
    radius, shade = random.uniform((0.15, 40), (0.3, 180), (count, 2)).T[..., None, None]
    if kind == "square":
        inside = np.maximum(abs(x), abs(y)) < radius
    else:
        inside = np.hypot(x, y) < radius
        if kind == "ring":
            inside &= np.hypot(x, y) > 0.6 * radius
    grey = np.where(inside, shade, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def mixed(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    kinds = ["disc", "ring", "square"]
    images = np.concatenate([pictures(k, count, seed + i) for i, k in enumerate(kinds)])
    return images, [kind for kind in kinds for _ in range(count)]


@pytest.fixture(scope="module")
def trained() -> FeatureNetwork:
    images, labels = mixed(150, 0)
    return train_feature_network(images, labels, steps=80, batch_size=32)


def test_it_learns_categories_that_it_then_knows_in_new_pictures(trained: FeatureNetwork) -> None:
    images, labels = mixed(60, 100)
    assert trained.categories == ("disc", "ring", "square")
    assert accuracy(trained, images, labels) > 0.9


@pytest.mark.parametrize("which", ["trained", "random"])
def test_distances_order_sets_by_how_much_they_differ(which: str, trained: FeatureNetwork) -> None:
    """The same kind, half of another kind mixed in, all of another kind."""
    network = trained if which == "trained" else random_feature_network()
    reference = extract_features(network, pictures("disc", 150, 1))
    same, other = pictures("disc", 150, 2), pictures("square", 150, 3)
    sets = [same, np.concatenate([same[:75], other[:75]]), other]
    for distance in (frechet_distance, kernel_distance):
        near, middle, far = (distance(reference, extract_features(network, s)) for s in sets)
        assert near < middle < far


def test_training_is_repeatable_and_leaves_the_global_random_state() -> None:
    images, labels = mixed(10, 0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    losses: list[float] = []
    first = train_feature_network(
        images, labels, 4, 8, seed=5, report=lambda step, steps, loss: losses.append(loss)
    )
    assert torch.equal(torch.rand(3), expected)
    assert len(losses) == 4
    assert train_feature_network(images, labels, 4, 8, seed=5).fingerprint == first.fingerprint
    assert train_feature_network(images, labels, 4, 8, seed=6).fingerprint != first.fingerprint


def test_random_networks_are_their_seed() -> None:
    images = pictures("ring", 5, 0)
    first = extract_features(random_feature_network(1), images)
    assert np.array_equal(first, extract_features(random_feature_network(1), images))
    assert not np.allclose(first, extract_features(random_feature_network(2), images))


def test_batches_and_sizes_change_little() -> None:
    network, images = random_feature_network(), pictures("square", 7, 0)
    features = extract_features(network, images)
    assert features.shape == (7, 256)
    np.testing.assert_allclose(extract_features(network, images, 3), features, rtol=1e-4, atol=1e-5)
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)
    apart = np.linalg.norm(extract_features(network, doubled) - features, axis=1)
    others = np.linalg.norm(np.roll(features, 1, axis=0) - features, axis=1)
    assert (apart < 0.5 * others).all()


def test_one_category_is_too_few() -> None:
    with pytest.raises(InputError, match="two or more, found disc; render more"):
        train_feature_network(pictures("disc", 4, 0), ["disc"] * 4)


def test_file_keeps_the_network(tmp_path: Path, trained: FeatureNetwork) -> None:
    path = tmp_path / "features.safetensors"
    save_feature_network(path, trained)
    read = load_feature_network(path)
    assert (read.categories, read.fingerprint) == (trained.categories, trained.fingerprint)
    images = pictures("disc", 4, 9)
    assert np.array_equal(extract_features(read, images), extract_features(trained, images))
    with pytest.raises(InputError, match="no model card"):  # it is no checkpoint for the panel
        read_model_card(path)


def test_wrong_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    with pytest.raises(InputError, match="cannot be read"):
        load_feature_network(path)
    save_feature_network(path, random_feature_network())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be read"):
        load_feature_network(path)
    save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(InputError, match="holds no feature network"):
        load_feature_network(path)
    save_file(
        {"weight": np.zeros(3, np.float32)},
        path,
        {"kind": "image_to_mesh_feature_network", "categories": "[]"},
    )
    with pytest.raises(InputError, match="another version"):
        load_feature_network(path)
