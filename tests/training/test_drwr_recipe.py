from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from backend import dataset_files as files
from backend.errors import InputError
from backend.geometry.cameras import Cameras
from backend.images import working_views
from backend.methods.drwr import SINGLE_IMAGE
from backend.methods.drwr.losses import default_terms, drwr_loss, silhouette_targets
from backend.methods.drwr.model import project_visible
from backend.methods.drwr.network import DrwrNetwork, from_settings, quaternion_to_matrix
from backend.methods.drwr.projection import projection_losses
from backend.methods.interface import MakePreview
from backend.views import Camera, Similarity, View
from tests.dataset_parts import SETTINGS, box, render, together
from training.datasets import RenderedDataset
from training.metrics import chamfer_dpc, cloud_distances, iou
from training.prepare import prepare
from training.recipes import drwr as recipe_module
from training.recipes.drwr import (
    SPEC,
    DrwrRecipe,
    Options,
    Samples,
    around,
    common_rotation,
    hindsight,
    jittered,
    object_square,
    rotation_angles,
    some_points,
    student_loss,
)
from training.trainer import TrainerSettings, evaluate, train

OBJECTS = {
    "post/lying": ("train", box((0.9, 0.2, 0.2), (0, 0, 0.3))),
    "post/standing": ("train", together(box((0.2, 0.2, 0.9)), box((0.5, 0.5, 0.1), (0, 0, -0.4)))),
    "post/unseen": ("val", box((0.5, 0.2, 0.4), (0, 0.2, 0.2))),
}
SMALL: dict[str, Any] = {
    "image_size": 16,
    "points": 300,
    "width": 0.125,
    "views": 3,
    "learning_rate": 2e-3,
    "spreading": 20,
    "grid": 16,
}
QUICK = TrainerSettings(
    *(4, 2), validate_every=4, checkpoint_every=2, picture_every=4, workers=0, device="cpu"
)
VOXELS: dict[str, Any] = {"shape": "voxels", "loss": "projection"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "posts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "views", 6)
        files.open_dataset(folder, SETTINGS, "posts")
        for number, (key, (split, mesh)) in enumerate(OBJECTS.items()):
            render(folder, key, mesh, split=split, dup_group=str(number))
        prepare(folder, points=2000)
    return folder


def make(dataset: Path, **values: Any) -> DrwrRecipe:
    recipe = SPEC.make(Options(**{**SMALL, **values}), dataset, "post")
    assert isinstance(recipe, DrwrRecipe)
    return recipe


def batch_of(recipe: DrwrRecipe, seed: int = 0) -> dict[str, Tensor]:
    data, random = recipe.training_data(), np.random.default_rng(seed)
    samples = [data.sample(index, random) for index in range(len(data))]
    return {k: torch.as_tensor(np.stack([s[k] for s in samples])) for k in samples[0]}


def trained(recipe: DrwrRecipe, steps: int) -> nn.Module:
    torch.manual_seed(0)
    model = recipe.model()
    group = recipe.param_groups(model)["network"]
    optimizer = torch.optim.Adam(group.parameters, group.learning_rate)
    for step in range(steps):
        optimizer.zero_grad()
        losses = recipe.loss(model, "network", batch_of(recipe, step), step)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    return model.eval()


def quiet(done: int, total: int) -> None:
    pass


def silent(fraction: float, message: str, preview: MakePreview | None = None) -> None:
    pass


# Samples


def test_equal_random_states_give_equal_samples(dataset: Path):
    data = make(dataset, cameras="unknown").training_data()
    one, other, different = (data.sample(1, np.random.default_rng(s)) for s in (3, 3, 4))
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)
    assert one["image"].tobytes() != different["image"].tobytes()
    assert one["pictures"].shape == (3, 3, 16, 16)


def test_the_object_projects_into_its_masks(dataset: Path):
    """Cameras of cut-outs see the true surface where the masks are, to half a pixel."""
    options = Options(**{**SMALL, "image_size": 32})
    data = RenderedDataset(dataset, "train")
    for index in range(len(data)):
        sample = Samples(data, options).sample(index, np.random.default_rng(index))
        cameras = Cameras(
            torch.as_tensor(sample["intrinsics"]),
            torch.as_tensor(sample["world_to_camera"]),
            torch.as_tensor(sample["orthographic"]),
            (32, 32),
        )
        points = torch.as_tensor(data.surface(index)[0])
        pixels, _ = cameras.project(points)
        targets = silhouette_targets(sample["mask"], np.ones(sample["mask"].shape, bool))
        far = sample["pull"] * 32 - targets.pull.numpy() * 32
        np.testing.assert_allclose(far, 0, atol=1e-5)
        for view in range(3):
            column, row = (pixels[view].numpy() + targets.margin).astype(int).T
            assert (sample["pull"][view][row, column] * 32 <= 1.5).mean() > 0.99
            # The object fills the cut-out but for the margin and what whole pixels add.
            assert 26 < np.ptp(pixels[view].numpy(), axis=0).max() < 32 / 1.08 + 0.5


def test_training_cuts_out_as_the_backend_does(dataset: Path):
    """The same picture as a photograph: the same square, so the same camera and mask."""
    data = RenderedDataset(dataset, "train")
    picture = data.images[0, 1]
    camera = Camera(
        data.intrinsics[0, 1].astype(float),
        data.world_to_camera[0, 1].astype(float),
        picture.shape[:2],
    )
    values = picture.astype(np.float32) / 255
    views = working_views([View("a", values[..., :3], values[..., 3], camera)], Similarity(), 32)
    square = object_square(data, 0, 1)
    np.testing.assert_allclose(
        square.intrinsics(data.intrinsics[0, 1], 32), views.cameras[0].intrinsics, rtol=1e-5
    )
    assert jittered(square, 0.0, np.random.default_rng(0)) == square


def test_what_lies_beyond_the_picture_is_empty():
    picture = np.zeros((8, 8, 1), np.uint8)
    picture[0, 5:8] = 255
    square = around(picture[..., 0])
    assert (square.side, square.left) == (4, 4)
    cut = square.pixels(picture)[..., 0]
    assert cut.sum() == picture.sum()
    assert (cut[:, 0] == 0).all()


def test_an_empty_mask_is_named(dataset: Path):
    data = RenderedDataset(dataset, "train")
    picture = np.zeros_like(data.images[0])
    with pytest.raises(ValueError, match="empty"):
        around(picture[0, :, :, 3])


def test_too_few_views_are_refused(dataset: Path):
    with pytest.raises(InputError, match="has 6 views of each object but 7 are asked for"):
        make(dataset, views=7).training_data()


# The loss


def test_a_batch_costs_the_mean_of_its_objects(dataset: Path):
    recipe = make(dataset, push=2.0)
    torch.manual_seed(0)
    model, batch = recipe.model(), batch_of(recipe)
    found = {k: float(v.detach()) for k, v in recipe.loss(model, "network", batch, 1000).items()}
    prediction, costs, turns = model(batch["image"]), [], []
    for index in range(len(batch["mask"])):
        masks = batch["mask"][index].numpy()
        targets = silhouette_targets(masks, np.ones(masks.shape, bool))
        terms = default_terms(targets, 300)
        terms = dataclasses.replace(terms, beta=2 * terms.beta)
        cameras = Cameras(
            batch["intrinsics"][index],
            batch["world_to_camera"][index],
            batch["orthographic"][index],
            (16, 16),
        )
        costs.append(drwr_loss(targets, terms, *project_visible(cameras, prediction.shapes[index])))
        one, other = (
            quaternion_to_matrix(q[index].detach().double()).numpy()
            for q in (batch["quaternion"], prediction.student)
        )
        turns.append(math.sin(Rotation.from_matrix(one @ other.T).magnitude() / 2) ** 2)
    assert found["silhouettes"] == pytest.approx(
        float(torch.stack(costs).mean().detach()), rel=1e-4
    )
    assert found["student"] == pytest.approx(20 * np.mean(turns), rel=1e-4)


def test_hindsight_learns_from_the_winner_alone():
    candidates = nn.functional.normalize(
        torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(0)), dim=-1
    ).requires_grad_()
    wanted = nn.functional.normalize(torch.arange(20.0).view(5, 4), dim=-1)

    def losses(quaternions: Tensor) -> Tensor:
        return 1 - (quaternions * wanted).sum(-1).square()

    found, winners = hindsight(candidates, losses)
    every = torch.stack([losses(candidates[:, k]) for k in range(4)], dim=1)
    torch.testing.assert_close(found, every.amin(dim=1))
    found.sum().backward()
    assert candidates.grad is not None
    moved = candidates.grad.abs().sum(-1) > 0
    assert moved.sum(dim=1).tolist() == [1] * 5
    torch.testing.assert_close(candidates.detach()[moved], winners.detach())


def test_the_student_follows_the_rotation_not_its_sign():
    one = torch.tensor([[0.6, 0.0, 0.8, 0.0]], requires_grad=True)
    for sign in (1, -1):
        assert float(student_loss(one, sign * one.detach())) == pytest.approx(0, abs=1e-6)
    half_turn = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    loss = student_loss(one, half_turn.requires_grad_())
    assert float(loss) == pytest.approx(1)
    loss.backward()
    assert one.grad is None


def test_unknown_cameras_are_learnt_by_their_heads(dataset: Path):
    recipe = make(dataset, cameras="unknown", candidates=3)
    torch.manual_seed(0)
    model, batch = recipe.model(), batch_of(recipe)
    recipe.loss(model, "network", batch, 0)["silhouettes"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any(name.startswith("pose.candidates") for name in moved)
    assert not any(name.startswith("pose.student") for name in moved)
    # The true rotations have no part in it.
    before = recipe.loss(model, "network", batch, 0)
    batch["world_to_camera"][..., :3, :3] = torch.eye(3)
    batch["quaternion"] = torch.zeros_like(batch["quaternion"])
    after = recipe.loss(model, "network", batch, 0)
    assert {k: float(v) for k, v in before.items()} == {k: float(v) for k, v in after.items()}


def test_ablations_change_the_loss(dataset: Path):
    """Each row of DRWR's table 4 asks for something else."""
    rows: list[dict[str, Any]] = [
        {},
        {"push": 0.0},
        {"pull": 0.0},
        {"smooth": False},
        {"omega": False},
        {"delta": False},
        {"warmup": 10},
    ]
    costs = []
    for row in rows:
        recipe = make(dataset, loss="released", **row)
        torch.manual_seed(0)
        model = recipe.model()
        assert isinstance(model, DrwrNetwork)
        with torch.no_grad():
            model.decoder.fc.weight *= 20  # points in and outside the silhouettes
        costs.append(float(recipe.loss(model, "network", batch_of(recipe), 0)["silhouettes"]))
    assert len({round(cost, 6) for cost in costs}) == len(rows)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"omega": False}, "neither omega nor delta"),
        ({"loss": "projection", "push": 0.0}, "neither pulls nor pushes"),
        ({"warmup": 5, "grid": 12}, "must divide the image size"),
        ({"keep": 0.07}, "leaves points out of the projection loss, which is not used"),
        ({"shape": "voxels"}, "the loss recommended asks for points; for --shape voxels choose"),
        ({**VOXELS, "grid": 12, "image_size": 48}, "power of two from 8 such as 32, got 12"),
        ({**VOXELS, "keep": 0.5}, "voxels have no points to leave out"),
    ],
)
def test_options_that_contradict_are_refused(values: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Options(**{**SMALL, **values})


def test_point_dropout_keeps_distinct_points_of_each_cloud():
    torch.manual_seed(0)
    points = torch.arange(2 * 50 * 3.0).view(2, 50, 3)
    kept = some_points(points, 0.2)
    assert kept.shape == (2, 10, 3)
    for one, cloud in zip(kept.tolist(), points.tolist(), strict=True):
        assert len({tuple(point) for point in one} & {tuple(point) for point in cloud}) == 10
    assert kept[0, :, 0].tolist() != (kept[1, :, 0] - 150).tolist()
    assert kept.tolist() != some_points(points, 0.2).tolist()
    assert some_points(points, 1e-3).shape == (2, 1, 3)


def test_with_all_points_kept_nothing_is_drawn():
    points, before = torch.rand(2, 5, 3), torch.get_rng_state()
    assert some_points(points, 1.0) is points
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "values", [{"loss": "projection"}, {"loss": "projection", "cameras": "unknown"}, {"warmup": 21}]
)
def test_the_projection_sees_more_and_more_points(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
):
    """Of 300: 30 at first, all after ``spreading`` (20) steps; and all candidates the same."""
    recipe = make(dataset, keep=0.1, **values)
    torch.manual_seed(0)
    model, batch = recipe.model(), batch_of(recipe)
    seen: list[Tensor] = []

    def noted(points: Tensor, cameras: Cameras, *rest: Any) -> Tensor:
        seen.append(points.detach())
        return projection_losses(points, cameras, *rest)

    monkeypatch.setattr(recipe_module, "projection_losses", noted)
    for step, count in ((0, 30), (10, 165), (20, 300)):
        seen.clear()
        recipe.loss(model, "network", batch, step)
        assert {points.shape for points in seen} == {(6, count, 3)}
        assert all(torch.equal(points, seen[0]) for points in seen)


def test_all_points_are_seen_without_dropout(dataset: Path):
    batch = batch_of(make(dataset, loss="projection"))
    costs = []
    for seed in (1, 2):
        recipe = make(dataset, loss="projection", keep=1.0)
        torch.manual_seed(0)
        model = recipe.model()
        torch.manual_seed(seed)
        costs.append(float(recipe.loss(model, "network", batch, 0)["silhouettes"].detach()))
    assert costs[0] == costs[1]


# Learning


@pytest.mark.parametrize("cameras", ["known", "unknown"])
def test_voxels_are_learnt(dataset: Path, cameras: str):
    recipe = make(dataset, **VOXELS, cameras=cameras, candidates=2)
    batch = batch_of(recipe)
    losses = [
        float(recipe.loss(model, "network", batch, 0)["silhouettes"].detach())
        for model in (trained(recipe, 0), trained(recipe, 40))
    ]
    assert losses[1] < 0.6 * losses[0]


@pytest.mark.parametrize(("resolution", "least"), [(32, 1.0), (64, 0.8)])
def test_a_grid_is_scored_by_its_cells_and_its_surface(
    dataset: Path, resolution: int, least: float
):
    """Predicting one of the objects itself, straight and in a frame that is turned."""
    data, turn = RenderedDataset(dataset, "train"), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    recipe, truth = make(dataset, **VOXELS), data.surface(0)[0]
    grid = torch.as_tensor(data.voxels(0, resolution).astype(float))
    for shape, alignment in ((grid, np.eye(3)), (grid.rot90(-1, (0, 1)), turn)):
        assert iou(recipe._cells(shape, alignment), data.voxels(0, 32)) >= least
        between = cloud_distances(recipe._cloud(shape) @ alignment.T, truth)
        assert chamfer_dpc(between) < 5


def test_a_run_of_voxels_and_its_checkpoint(dataset: Path, tmp_path: Path):
    """From the loop to the model file, to ``evaluate`` and to a mesh."""
    options = Options(**{**SMALL, **VOXELS})
    result = train(SPEC, options, QUICK, dataset, "post", tmp_path / "run", "training drwr")
    assert evaluate(result.model, dataset, "post", "val", "cpu") == result.scores["val"]
    params = SINGLE_IMAGE.make_params("draft", {"resolution": 32})
    method = SINGLE_IMAGE.load(params, "cpu", 0, str(result.model))
    data = RenderedDataset(dataset, "val")
    picture = data.images[0, 0].astype(np.float32) / 255
    photo = View(
        "a", picture[..., :3], picture[..., 3], Camera(np.eye(3), np.eye(4), picture.shape[:2])
    )
    mesh = method.reconstruct(working_views([photo], Similarity(), 16), silent)
    assert mesh.is_closed_manifold()


def test_a_stopped_run_with_dropout_goes_on_as_if_nothing_had_been(dataset: Path, tmp_path: Path):
    options = Options(**{**SMALL, "loss": "projection", "keep": 0.1})
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(SPEC, options, QUICK, dataset, "post", whole, "training drwr")
    for steps in (QUICK.steps // 2, QUICK.steps):
        settings = dataclasses.replace(QUICK, steps=steps)
        train(SPEC, options, settings, dataset, "post", halves, "training drwr")
    one, other = (load_file(path / "last.safetensors") for path in (whole, halves))
    assert sorted(one) == sorted(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_objects_are_learnt_by_heart(dataset: Path):
    """Their clouds come nearer to them than the best cloud for both, and in all views."""
    recipe = make(dataset, points=1500, width=0.25, learning_rate=1e-3, spreading=100)
    scores = recipe.evaluate(trained(recipe, 250), "train", quiet)
    assert scores["cd_of_constant"] < 0.85
    assert scores["cd_of_constant"] == scores["cd_dpc_mean"] / scores["constant_cd_dpc"]
    assert scores["cd_dpc_best"] <= scores["cd_dpc_mean"]
    assert scores["mask_iou"] > 0.8
    # Each training object is the most similar to itself.
    assert scores["retrieval_cd_dpc"] < 2


def test_settings_bring_the_recipe_back(dataset: Path):
    recipe = make(dataset)
    model = trained(recipe, 3)
    settings = recipe.settings()
    again = SPEC.restore(settings, dataset, "post")
    assert again.settings() == settings
    network = from_settings(settings)
    network.load_state_dict(model.state_dict())
    assert again.evaluate(network.eval(), "val", quiet) == recipe.evaluate(model, "val", quiet)
    assert settings["network"]["distance"] == pytest.approx(math.sqrt(2.5**2 + 1))
    older = {k: v for k, v in settings["options"].items() if k not in ("shape", "keep")}
    assert SPEC.restore({**settings, "options": older}, dataset, "post").settings() == settings
    with pytest.raises(InputError, match="train the checkpoint again"):
        SPEC.restore({**settings, "options": {"depth": 3}}, dataset, "post")


@pytest.mark.parametrize("values", [{}, VOXELS], ids=["points", "voxels"])
def test_pictures_are_shown_of_validation_objects(dataset: Path, values: dict[str, Any]):
    recipe = make(dataset, **values)
    pictures = recipe.pictures(recipe.model().eval())
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "post_unseen": (48, 144, 3)
    }
    assert all(picture.dtype == np.uint8 for picture in pictures.values())


# The common frame of unknown cameras


def test_the_common_rotation_survives_wrong_pictures():
    random = np.random.default_rng(0)
    turns = Rotation.from_quat(random.normal(size=(40, 4)))
    frame = Rotation.from_rotvec([0.5, -1.1, 2.0])
    noise = Rotation.from_rotvec(0.05 * random.normal(size=(40, 3)))
    found = (noise * turns * frame).as_matrix()
    found[:15] = Rotation.from_quat(random.normal(size=(15, 4))).as_matrix()
    # Points q of the learnt frame are seen as found @ q, so frame @ q is their place.
    rotation = common_rotation(found, turns.as_matrix())
    assert rotation_angles(rotation[None], frame.as_matrix()[None])[0] < 3
